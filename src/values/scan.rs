//! From JSON text to notes.

use super::draft::Draft;
use super::makeup::Makeup;
use super::package::Part;
use super::shapes::{ROOT, ShapeTree};
use super::text::{plain_prefix, string_length};
use super::words::Words;
use super::{ASCII_FOLLOWS, IS_LISTED, Kind, LONG_FOLLOWS, Token, WORD_FOLLOWS};

mod objects;

/// Nested deeper than this, a text is not taken apart.
const DEPTH_MAX: usize = 64;

/// A longer text is not taken apart: its notes may be three times as long.
pub(super) const JSON_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A text of more letters, or of others than ASCII, is listed: JavaScript makes a shorter one by itself.
const SHORT_BYTES_MAX: usize = 12;

/// A longer text that needs no escapes is not listed: to copy it once more takes longer than a call for it.
const LISTED_BYTES_MAX: usize = 100;

/// 10^0 to 10^22, all the powers that a double holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// A number as it is noted.
enum Number {
    Integer(i32),
    Double(f64),
}

/// Length of the notes of a word.
const WORD_BYTES: usize = 4;

/// Whether these are the notes of a word.
fn is_word(notes: &[u8]) -> bool {
    notes.len() == WORD_BYTES && notes[..2] == [Token::Text as u8, WORD_FOLLOWS]
}

/// A value that is being noted, and the JSON text of it, or of the part of it, that is read.
pub(super) struct Scan<'a, 'n> {
    json: &'a [u8],
    at: usize,
    draft: &'n mut Draft,
    shapes: &'n mut ShapeTree,
    words: &'n mut Words,
    /// Of the values of objects that are not complete, the outer ones first.
    kinds: &'n mut Vec<Kind>,
    /// At which key the value is that is read, as the shape that ends with it; for a message [`ROOT`].
    place: u16,
    depth: usize,
    makeup: Makeup,
    /// Bytes of objects that were read in vain, because their layout was guessed wrong.
    wasted: usize,
    /// How many objects were noted as JSON, and where the last one ends.
    json_count: usize,
    json_end: usize,
}

/// Appends the notes of `json`, which is UTF-8. `None`: it is no JSON text, or one for `JSON.parse`;
/// what was appended then has no meaning.
pub(super) fn scan(
    json: &[u8],
    shapes: &mut ShapeTree,
    words: &mut Words,
    kinds: &mut Vec<Kind>,
    draft: &mut Draft,
) -> Option<Makeup> {
    let mut scan = Scan::new(shapes, words, kinds, draft);
    scan.text_of_json(json)?;
    Some(scan.makeup)
}

impl<'a, 'n> Scan<'a, 'n> {
    /// One that appends to `draft`.
    pub fn new(
        shapes: &'n mut ShapeTree,
        words: &'n mut Words,
        kinds: &'n mut Vec<Kind>,
        draft: &'n mut Draft,
    ) -> Self {
        kinds.clear();
        Scan {
            json: &[],
            at: 0,
            draft,
            shapes,
            words,
            kinds,
            place: ROOT,
            depth: 0,
            makeup: Makeup::default(),
            wasted: 0,
            json_count: 0,
            json_end: 0,
        }
    }

    /// What was noted so far consists of.
    pub fn makeup(&self) -> Makeup {
        self.makeup
    }

    /// Notes a value that is given in parts; its objects have the next of these shapes.
    pub fn part<'s>(
        &mut self,
        part: Part<'a>,
        shapes: &mut impl Iterator<Item = &'s u16>,
    ) -> Option<()> {
        match part {
            Part::Text(text) => {
                self.draft.notes.push(Token::Text as u8);
                let (length, is_ascii) = plain_prefix(text.as_bytes());
                if length == text.len() {
                    self.plain(text.as_bytes(), length, is_ascii);
                } else {
                    self.makeup.add_string(text.len(), false);
                    self.draft.notes.push(IS_LISTED);
                    self.draft.list_any(text);
                }
            }
            Part::Number(number) => self.any_number(number),
            Part::Json(json) => self.text_of_json(json.as_bytes())?,
            Part::Object(fields) => {
                self.draft.notes.push(Token::Object as u8);
                self.draft
                    .notes
                    .extend_from_slice(&shapes.next()?.to_le_bytes());
                for (_, value) in fields {
                    self.part(*value, shapes)?;
                }
            }
        }
        Some(())
    }

    /// Notes a JSON text, all of it.
    fn text_of_json(&mut self, json: &'a [u8]) -> Option<()> {
        if json.len() > JSON_BYTES_MAX {
            return None;
        }
        self.json = json;
        self.at = 0;
        self.place = ROOT;
        self.wasted = 0;
        self.value()?;
        self.skip_space();
        (self.at == json.len()).then_some(())
    }

    fn peek(&self) -> Option<u8> {
        self.json.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// The next byte that is not white space; it is not taken.
    fn next(&mut self) -> Option<u8> {
        if self.peek()? <= b' ' {
            self.skip_space();
        }
        self.peek()
    }

    /// Takes `byte` behind white space.
    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then(|| self.at += 1)
    }

    /// Notes the next value, and says what kind it is.
    fn value(&mut self) -> Option<Kind> {
        match self.next()? {
            b'"' => self.string(),
            b'{' => self.nested(Self::object),
            b'[' => self.nested(Self::array),
            b't' => self.word(b"true", Token::True, Kind::Flag),
            b'f' => self.word(b"false", Token::False, Kind::Flag),
            b'n' => self.word(b"null", Token::Null, Kind::Any),
            _ => Some(match self.number()? {
                Number::Integer(number) => self.integer(number),
                Number::Double(number) => self.double(number),
            }),
        }
    }

    fn nested(&mut self, inner: impl FnOnce(&mut Self) -> Option<()>) -> Option<Kind> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return None;
        }
        self.at += 1;
        inner(self)?;
        self.depth -= 1;
        Some(Kind::Any)
    }

    fn word(&mut self, word: &[u8], token: Token, kind: Kind) -> Option<Kind> {
        self.take_word(word)?;
        self.makeup.plain += 1;
        self.draft.notes.push(token as u8);
        Some(kind)
    }

    fn take_word(&mut self, word: &[u8]) -> Option<()> {
        self.json[self.at..]
            .starts_with(word)
            .then(|| self.at += word.len())
    }

    fn counted(&mut self, token: Token, count: usize) {
        self.draft.notes.push(token as u8);
        // Nothing is as long as that: see `JSON_BYTES_MAX`.
        self.draft
            .notes
            .extend_from_slice(&(count as u32).to_le_bytes());
    }

    /// Appends a token with a count that is known later; returns where the count is.
    fn begin_counted(&mut self, token: Token) -> usize {
        self.draft.notes.push(token as u8);
        self.begin_count()
    }

    /// The same without a token.
    fn begin_count(&mut self) -> usize {
        let place = self.draft.notes.len();
        self.draft.notes.extend_from_slice(&[0; 4]);
        place
    }

    fn set_count(&mut self, place: usize, count: u32) {
        self.draft.notes[place..place + 4].copy_from_slice(&count.to_le_bytes());
    }

    fn array(&mut self) -> Option<()> {
        let count_place = self.begin_counted(Token::Array);
        let place = self.place;
        let (mut count, mut words) = (0, 0);
        if self.next()? == b']' {
            self.at += 1;
            return Some(());
        }
        loop {
            self.place = place;
            let begin = self.draft.notes.len();
            self.value()?;
            count += 1;
            words += u32::from(is_word(&self.draft.notes[begin..]));
            match self.next()? {
                b',' => self.at += 1,
                b']' => break,
                _ => return None,
            }
        }
        self.at += 1;
        self.set_count(count_place, count);
        if words == count {
            self.pack_words(count_place);
        }
        Some(())
    }

    /// Makes the array with this count, of words alone, one of their numbers.
    fn pack_words(&mut self, count_place: usize) {
        let notes = &mut self.draft.notes;
        notes[count_place - 1] = Token::Words as u8;
        let first = count_place + 4;
        let (mut from, mut to) = (first + 2, first);
        while from < notes.len() {
            notes.copy_within(from..from + 2, to);
            from += WORD_BYTES;
            to += 2;
        }
        notes.truncate(to);
    }

    fn string(&mut self) -> Option<Kind> {
        self.draft.notes.push(Token::Text as u8);
        self.text()?;
        Some(Kind::Text)
    }

    /// Notes a string without its token.
    fn text(&mut self) -> Option<()> {
        if self.peek()? != b'"' {
            return None;
        }
        let begin = self.at + 1;
        let text = &self.json[begin..];
        let (length, is_ascii) = plain_prefix(text);
        if *text.get(length)? == b'"' {
            self.at = begin + length + 1;
            self.plain(text, length, is_ascii);
        } else {
            let end = length + string_length(&text[length..])?;
            self.at = begin + end;
            self.makeup.add_string(end, false);
            self.list(&text[..end - 1]);
        }
        Some(())
    }

    /// Notes the text of `length` bytes at the front of `json`, which needs no escapes.
    fn plain(&mut self, json: &[u8], length: usize, is_ascii: bool) {
        if let Some(number) = self.words.number(json, length) {
            self.makeup.add_word(length);
            let [low, high] = number.to_le_bytes();
            let word = [WORD_FOLLOWS, low, high];
            self.draft.notes.extend_from_slice(&word);
        } else {
            self.makeup.add_string(length, is_ascii);
            self.no_word(&json[..length], is_ascii);
        }
    }

    /// Notes a text that needs no escapes and is no word.
    fn no_word(&mut self, text: &[u8], is_ascii: bool) {
        if is_ascii && text.len() <= SHORT_BYTES_MAX {
            self.draft.notes.push(text.len() as u8);
            self.draft.notes.extend_from_slice(text);
        } else if text.len() <= LISTED_BYTES_MAX {
            self.list(text);
        } else {
            let follows = if is_ascii {
                ASCII_FOLLOWS
            } else {
                LONG_FOLLOWS
            };
            self.draft.notes.push(follows);
            // Nothing is as long as that: see `JSON_BYTES_MAX`.
            let length = (text.len() as u32).to_le_bytes();
            self.draft.notes.extend_from_slice(&length);
            self.draft.notes.extend_from_slice(text);
        }
    }

    /// Notes a text that stands like this between its quotes.
    fn list(&mut self, text: &[u8]) {
        self.draft.notes.push(IS_LISTED);
        self.draft.list(text);
    }

    /// Notes a key that no shape has, and that may never come again.
    fn key_of_none(&mut self, key: &[u8]) {
        self.draft.notes.push(Token::Text as u8);
        self.no_word(key, key.is_ascii());
    }

    /// Takes a number.
    fn number(&mut self) -> Option<Number> {
        let begin = self.at;
        let is_negative = self.peek() == Some(b'-');
        self.at += usize::from(is_negative);
        let first = self.at;
        let mut digits = 0u64;
        self.digits(&mut digits)?;
        let whole = self.at - first;
        // No number but 0 begins with 0.
        if whole > 1 && self.json[first] == b'0' {
            return None;
        }
        let mut places = 0;
        if self.peek() == Some(b'.') {
            self.at += 1;
            let point = self.at;
            self.digits(&mut digits)?;
            places = self.at - point;
        }
        let has_exponent = matches!(self.peek(), Some(b'e' | b'E'));
        if has_exponent {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits(&mut 0)?;
        }
        let is_short = whole + places <= 19 && digits <= 1 << 53 && !has_exponent;
        if is_short && places == 0 && !(is_negative && digits == 0) {
            let number = if is_negative {
                -(digits as i64)
            } else {
                digits as i64
            };
            if let Ok(number) = i32::try_from(number) {
                return Some(Number::Integer(number));
            }
        }
        let number = match POWERS.get(places) {
            // Both operands are exact, so that the quotient is what the decimal is rounded to.
            Some(power) if is_short => {
                // As a signed one, which the processor knows how to convert.
                let number = digits as i64 as f64 / power;
                if is_negative { -number } else { number }
            }
            _ => std::str::from_utf8(&self.json[begin..self.at])
                .ok()?
                .parse()
                .ok()?,
        };
        Some(Number::Double(number))
    }

    /// Notes a number in the form that `number` gives it.
    fn any_number(&mut self, number: f64) {
        #[allow(clippy::cast_possible_truncation)]
        let integer = number as i32;
        // By its bits, because -0 is no integer.
        if f64::from(integer).to_bits() == number.to_bits() {
            self.integer(integer);
        } else {
            self.double(number);
        }
    }

    fn integer(&mut self, number: i32) -> Kind {
        self.makeup.plain += 1;
        self.draft.notes.push(Token::Integer as u8);
        self.draft.notes.extend_from_slice(&number.to_le_bytes());
        Kind::Integer
    }

    fn double(&mut self, number: f64) -> Kind {
        self.makeup.doubles += 1;
        self.draft.notes.push(Token::Double as u8);
        self.draft.notes.extend_from_slice(&number.to_le_bytes());
        Kind::Double
    }

    /// Takes one or more digits, and appends them to `digits`, which may run over.
    fn digits(&mut self, digits: &mut u64) -> Option<()> {
        let begin = self.at;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            *digits = digits
                .wrapping_mul(10)
                .wrapping_add(u64::from(digit - b'0'));
            self.at += 1;
        }
        (self.at > begin).then_some(())
    }
}
