//! Texts that come again and again, such as `"buy"` and `"open"`.

/// A longer text is none, in bytes.
const WORD_BYTES_MAX: usize = 24;

/// Sets of places for words, a power of two: as many places as there are words.
const SETS: usize = WORDS_MAX as usize / PLACES;

/// The upper bits of a product depend on all of its factors.
const SET_SHIFT: u32 = u64::BITS - SETS.ilog2();

/// So many words are known to the reader at the same time, in use or not.
pub(super) const WORDS_MAX: u16 = 4096;

/// Places of a set.
const PLACES: usize = 2;

/// So many texts are looked at for each new word: to make one known costs many times what it saves when it comes
/// again.
const TEXTS_PER_WORD: u32 = 64;

/// So many words may become known without that, one after the other.
const WORDS_AT_ONCE: u32 = 256;

/// Begins the definition of a word, in the place of a number of keys.
pub(super) const WORD: u16 = u16::MAX;

/// The same where all words are forgotten.
pub(super) const NO_WORDS: u16 = u16::MAX - 1;

/// A text behind which there are zeros, which are in none.
type Text = [u64; WORD_BYTES_MAX / 8];

/// Words by their hash in so many sets. What the reader knows is numbered on until it is too much and all
/// are forgotten.
#[derive(Debug)]
pub(super) struct Words {
    /// Empty until there is a text.
    sets: Vec<Set>,
    /// By set, of the text that was none of its words when it came last.
    missed: Vec<u32>,
    /// How many have a number.
    count: u16,
    /// How many had one when the definitions were asked for last.
    defined: u16,
    /// How many texts were looked at that no word has been taken for.
    credit: u32,
    definitions: Vec<u8>,
}

/// The newer word first. One line of the processor's cache.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
struct Set([Word; PLACES]);

#[derive(Debug, Clone, Copy, Default)]
struct Word {
    text: Text,
    number: u16,
}

impl Words {
    pub fn new() -> Self {
        Words {
            sets: Vec::new(),
            missed: Vec::new(),
            count: 0,
            defined: 0,
            credit: WORDS_AT_ONCE * TEXTS_PER_WORD,
            definitions: Vec::new(),
        }
    }

    /// The number of the text of `length` bytes at the front of `json`, if it is a word. It needs no escapes.
    /// It becomes one if it comes again before another one that is none and has the same place.
    pub fn number(&mut self, json: &[u8], length: usize) -> Option<u16> {
        let text = &json[..length];
        // What begins or ends like a number, as prices and ids do, seldom comes again.
        if length > WORD_BYTES_MAX || text.first().min(text.last()) <= Some(&b'9') {
            return None;
        }
        let text = load(json, length);
        let hash = hash(text);
        self.credit = (self.credit + 1).min(WORDS_AT_ONCE * TEXTS_PER_WORD);
        if self.sets.is_empty() {
            self.sets.resize(SETS, Set::default());
            self.missed.resize(SETS, 0);
        }
        let index = (hash >> SET_SHIFT) as usize;
        let Set(words) = &mut self.sets[index];
        for word in &*words {
            if word.text == text {
                return Some(word.number);
            }
        }
        let missed = hash as u32;
        if std::mem::replace(&mut self.missed[index], missed) != missed {
            return None;
        }
        if self.credit < TEXTS_PER_WORD || self.count == WORDS_MAX {
            return None;
        }
        self.credit -= TEXTS_PER_WORD;
        let number = self.count;
        self.count += 1;
        *words = [Word { text, number }, words[0]];
        self.definitions.extend_from_slice(&WORD.to_le_bytes());
        // With its quotes.
        self.definitions
            .extend_from_slice(&[length as u8 + 2, b'"']);
        self.definitions.extend_from_slice(&json[..length]);
        self.definitions.push(b'"');
        Some(number)
    }

    /// Whether no further word can become known.
    pub fn is_full(&self) -> bool {
        self.count == WORDS_MAX
    }

    /// Has all words become known anew.
    pub fn forget(&mut self) {
        self.sets.fill(Set::default());
        self.missed.fill(0);
        self.count = 0;
        // Those that nobody has got define what nobody has heard of.
        self.definitions.clear();
        self.definitions.extend_from_slice(&NO_WORDS.to_le_bytes());
    }

    /// Of how many words the definitions were taken.
    pub fn defined(&self) -> u16 {
        self.defined
    }

    /// The definitions of words that have become known since this was asked last.
    pub fn take_definitions(&mut self) -> Vec<u8> {
        self.defined = self.count;
        std::mem::take(&mut self.definitions)
    }
}

fn load(json: &[u8], length: usize) -> Text {
    match json.first_chunk() {
        // A copy of known length, of which the rest is cleared, takes less time than one of any.
        Some(first) => text_of(first, length),
        None => load_last(json, length),
    }
}

/// Of a text near the end of all. Apart, or a compiler makes one copy of both, of any length.
#[cold]
#[inline(never)]
fn load_last(json: &[u8], length: usize) -> Text {
    let mut bytes = [0; WORD_BYTES_MAX];
    bytes[..length].copy_from_slice(&json[..length]);
    text_of(&bytes, length)
}

/// The text that the first `length` bytes are.
fn text_of(bytes: &[u8; WORD_BYTES_MAX], length: usize) -> Text {
    let (eights, _) = bytes.as_chunks();
    let mut text = [0; WORD_BYTES_MAX / 8];
    for ((to, eight), mask) in text.iter_mut().zip(eights).zip(&MASKS[length]) {
        *to = u64::from_le_bytes(*eight) & mask;
    }
    text
}

/// By length, the bits that a text has.
static MASKS: [Text; WORD_BYTES_MAX + 1] = {
    let mut masks = [[0; WORD_BYTES_MAX / 8]; WORD_BYTES_MAX + 1];
    let mut length = 0;
    while length <= WORD_BYTES_MAX {
        let mut byte = 0;
        while byte < length {
            masks[length][byte / 8] |= 0xff << (8 * (byte % 8));
            byte += 1;
        }
        length += 1;
    }
    masks
};

/// Nothing but speed depends on it, so that it need not be safe against those who look for collisions.
fn hash([first, second, third]: Text) -> u64 {
    // An odd number without a pattern in its bits.
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = (first.wrapping_mul(FACTOR) ^ second).rotate_left(29) ^ third;
    let hash = mix.wrapping_mul(FACTOR);
    hash ^ hash >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of a text, in front of others or at the end of a JSON text.
    fn number(words: &mut Words, text: &str) -> Option<u16> {
        words.number(text.as_bytes(), text.len())
    }

    #[test]
    fn a_text_is_a_word_when_it_comes_again() {
        let mut words = Words::new();
        let texts = [
            "a",
            "ab",
            "A",
            "eight ch",
            "eight chr",
            "sixteen letters.z",
            "sixteen letters.y",
            "of twenty-three letters",
            "twenty-four letters long",
            "twenty-four letters lonk",
        ];
        for (text, expected) in texts.iter().zip(0..) {
            assert_eq!(number(&mut words, text), None, "{text}");
            let followed = format!("{text}\",\"and so on\":\"for more than 24 bytes\"");
            assert_eq!(
                words.number(followed.as_bytes(), text.len()),
                Some(expected)
            );
        }
        let definitions = words.take_definitions();
        let expected: Vec<u8> = texts
            .iter()
            .flat_map(|text| {
                let word = format!("\"{text}\"");
                [&[0xff, 0xff, word.len() as u8], word.as_bytes()].concat()
            })
            .collect();
        assert_eq!(definitions, expected);
        assert_eq!(usize::from(words.defined()), texts.len());
        for (text, expected) in texts.iter().zip(0..) {
            assert_eq!(number(&mut words, text), Some(expected), "{text}");
        }
        assert!(words.take_definitions().is_empty());
    }

    #[test]
    fn what_seldom_comes_again_is_no_word() {
        let mut words = Words::new();
        for text in [
            "",
            "0",
            "9a",
            "a9",
            "-a",
            "a.",
            "1.5",
            "more than twenty-four letters",
        ] {
            for _ in 0..3 {
                assert_eq!(number(&mut words, text), None, "{text}");
            }
        }
        assert!(words.take_definitions().is_empty());
    }

    #[test]
    fn two_words_of_one_set_stay_and_a_third_takes_the_place_of_the_older() {
        let set = |text: &str| hash(load(text.as_bytes(), text.len())) >> SET_SHIFT;
        let names = (0..).map(|number| format!("a{number}z"));
        let texts: Vec<_> = names.filter(|name| set(name) == 0).take(3).collect();
        let mut words = Words::new();
        let mut turn = |texts: &[&String]| -> Vec<_> {
            texts.iter().map(|text| number(&mut words, text)).collect()
        };
        let [a, b, c] = [&texts[0], &texts[1], &texts[2]];
        assert_eq!(
            turn(&[a, a, b, b, a, b]),
            [None, Some(0), None, Some(1), Some(0), Some(1)]
        );
        // Not for one that comes alone.
        assert_eq!(turn(&[c, a, b]), [None, Some(0), Some(1)]);
        assert_eq!(turn(&[c, b, c, a]), [Some(2), Some(1), Some(2), None]);
        // It is known under a new number.
        assert_eq!(turn(&[a, c, b]), [Some(3), Some(2), None]);
    }

    #[test]
    fn ever_new_words_become_known_to_a_measure() {
        let mut words = Words::new();
        let rounds = 20_000;
        for round in 0..rounds {
            let text = format!("a{round}z");
            number(&mut words, &text);
            number(&mut words, &text);
        }
        let expected = WORDS_AT_ONCE + 2 * rounds / TEXTS_PER_WORD;
        assert!(
            u32::from(words.count).abs_diff(expected) <= 1,
            "{}",
            words.count
        );
    }

    #[test]
    fn no_more_words_become_known_than_fit_until_all_are_forgotten() {
        let mut words = Words::new();
        let mut round = 0;
        while !words.is_full() {
            let text = format!("a{round}z");
            number(&mut words, &text);
            number(&mut words, &text);
            round += 1;
        }
        words.take_definitions();
        for _ in 0..3 {
            assert_eq!(number(&mut words, "one more"), None);
        }
        words.forget();
        for other in 0..TEXTS_PER_WORD {
            assert_eq!(number(&mut words, &format!("b{other}z")), None);
        }
        let mut again = |text: &str| [(); 3].map(|()| number(&mut words, text));
        assert_eq!(again("one more"), [None, Some(0), Some(0)]);
        let definitions = words.take_definitions();
        assert_eq!(definitions[..5], [0xfe, 0xff, 0xff, 0xff, 10]);
        // Definitions that nobody takes do not pile up.
        assert_eq!(number(&mut words, "another"), None);
        for _ in 0..3 {
            words.forget();
        }
        assert_eq!(words.take_definitions(), [0xfe, 0xff]);
    }
}
