//! From JSON text to notes.

use super::makeup::Makeup;
use super::package::Part;
use super::shapes::{ROOT, ShapeTree};
use super::text::{plain_prefix, read_escaped};
use super::words::Words;
use super::{Kind, Token, WORD_FOLLOWS};
use encoding_rs::mem::{convert_utf8_to_latin1_lossy, convert_utf8_to_utf16};
use encoding_rs::mem::{is_utf8_latin1, is_utf16_latin1};

mod objects;

/// Nested deeper than this, a text is not taken apart.
const DEPTH_MAX: usize = 64;

/// A longer text is not taken apart: its notes may be three times as long.
pub(super) const JSON_BYTES_MAX: usize = 16 * 1024 * 1024;

/// 10^0 to 10^22, all the powers that a double holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// Room that is used again and again.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// A string on its way.
    pub units: Vec<u16>,
    /// Of the values of objects that are not complete, the outer ones first.
    kinds: Vec<Kind>,
}

/// A number as it is noted.
enum Number {
    Integer(i32),
    Double(f64),
}

/// Whether a text is ASCII that needs no escapes.
fn is_plain(text: &[u8]) -> bool {
    plain_prefix(text) == (text.len(), true)
}

/// A value that is being noted, and the JSON text of it, or of the part of it, that is read.
pub(super) struct Scan<'a, 'n> {
    json: &'a [u8],
    at: usize,
    notes: &'n mut Vec<u8>,
    shapes: &'n mut ShapeTree,
    words: &'n mut Words,
    room: &'n mut Room,
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
    room: &mut Room,
    notes: &mut Vec<u8>,
) -> Option<Makeup> {
    let mut scan = Scan::new(shapes, words, room, notes);
    scan.text_of_json(json)?;
    Some(scan.makeup)
}

impl<'a, 'n> Scan<'a, 'n> {
    /// One that appends to `notes`.
    pub fn new(
        shapes: &'n mut ShapeTree,
        words: &'n mut Words,
        room: &'n mut Room,
        notes: &'n mut Vec<u8>,
    ) -> Self {
        room.kinds.clear();
        Scan {
            json: &[],
            at: 0,
            notes,
            shapes,
            words,
            room,
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
                let text = text.as_bytes();
                if is_plain(text) {
                    self.plain(text, text.len());
                } else {
                    self.makeup.add_string(text.len(), false);
                    self.letters(text);
                }
            }
            Part::Number(number) => self.any_number(number),
            Part::Json(json) => self.text_of_json(json.as_bytes())?,
            Part::Object(fields) => {
                self.notes.push(Token::Object as u8);
                self.notes.extend_from_slice(&shapes.next()?.to_le_bytes());
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
        self.notes.push(token as u8);
        Some(kind)
    }

    fn take_word(&mut self, word: &[u8]) -> Option<()> {
        self.json[self.at..]
            .starts_with(word)
            .then(|| self.at += word.len())
    }

    fn counted(&mut self, token: Token, count: usize) {
        self.notes.push(token as u8);
        // Nothing is as long as that: see `JSON_BYTES_MAX`.
        self.notes.extend_from_slice(&(count as u32).to_le_bytes());
    }

    /// Appends a token with a count that is known later; returns where the count is.
    fn begin_counted(&mut self, token: Token) -> usize {
        self.notes.push(token as u8);
        self.begin_count()
    }

    /// The same without a token.
    fn begin_count(&mut self) -> usize {
        let place = self.notes.len();
        self.notes.extend_from_slice(&[0; 4]);
        place
    }

    fn set_count(&mut self, place: usize, count: u32) {
        self.notes[place..place + 4].copy_from_slice(&count.to_le_bytes());
    }

    fn array(&mut self) -> Option<()> {
        let count_place = self.begin_counted(Token::Array);
        let place = self.place;
        let mut count = 0;
        if self.next()? == b']' {
            self.at += 1;
            return Some(());
        }
        loop {
            self.place = place;
            self.value()?;
            count += 1;
            match self.next()? {
                b',' => self.at += 1,
                b']' => break,
                _ => return None,
            }
        }
        self.at += 1;
        self.set_count(count_place, count);
        Some(())
    }

    fn string(&mut self) -> Option<Kind> {
        let begin = self.at + 1;
        let (length, is_ascii) = plain_prefix(&self.json[begin..]);
        let end = begin + length;
        if *self.json.get(end)? == b'"' {
            self.at = end + 1;
            let text = &self.json[begin..end];
            if is_ascii {
                return Some(self.plain(&self.json[begin..], length));
            }
            self.makeup.add_string(length, false);
            self.letters(text);
            return Some(Kind::Any);
        }
        let units = &mut self.room.units;
        units.clear();
        self.at = begin + read_escaped(&self.json[begin..], units)?;
        self.makeup.add_string(units.len(), false);
        if is_utf16_latin1(&self.room.units) {
            self.counted(Token::Latin1, self.room.units.len());
            self.notes
                .extend(self.room.units.iter().map(|unit| *unit as u8));
        } else {
            self.noted_units();
        }
        Some(Kind::Any)
    }

    /// Notes a text that may never come again.
    fn text(&mut self, text: &[u8]) {
        if is_plain(text) {
            self.ascii(text);
        } else {
            self.letters(text);
        }
    }

    /// Notes the text of `length` bytes at the front of `json`, which is ASCII that needs no escapes.
    fn plain(&mut self, json: &[u8], length: usize) -> Kind {
        if let Some(number) = self.words.number(json, length) {
            self.makeup.words += 1;
            self.notes.push(Token::Word as u8);
            self.notes.extend_from_slice(&number.to_le_bytes());
            return Kind::Text;
        }
        self.makeup.add_string(length, true);
        self.ascii(&json[..length])
    }

    /// Notes one that is no word.
    fn ascii(&mut self, text: &[u8]) -> Kind {
        let kind = match u8::try_from(text.len()) {
            Ok(length) if length != WORD_FOLLOWS => {
                self.notes.extend_from_slice(&[Token::Text as u8, length]);
                Kind::Text
            }
            _ => {
                self.counted(Token::Ascii, text.len());
                Kind::Any
            }
        };
        self.notes.extend_from_slice(text);
        kind
    }

    /// Notes one with other letters.
    fn letters(&mut self, text: &[u8]) {
        if is_utf8_latin1(text) {
            let place = self.begin_counted(Token::Latin1);
            let begin = self.notes.len();
            // It gets shorter.
            self.notes.resize(begin + text.len(), 0);
            let count = convert_utf8_to_latin1_lossy(text, &mut self.notes[begin..]);
            self.notes.truncate(begin + count);
            self.set_count(place, count as u32);
        } else {
            // One more than there can be is what the conversion asks for.
            self.room.units.resize(text.len() + 1, 0);
            let count = convert_utf8_to_utf16(text, &mut self.room.units);
            self.room.units.truncate(count);
            self.noted_units();
        }
    }

    /// Notes the string in `units`.
    fn noted_units(&mut self) {
        self.counted(Token::Units, self.room.units.len());
        let begin = self.notes.len();
        self.notes.resize(begin + 2 * self.room.units.len(), 0);
        let places = self.notes[begin..].chunks_exact_mut(2);
        for (place, unit) in places.zip(&self.room.units) {
            place.copy_from_slice(&unit.to_le_bytes());
        }
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
        self.notes.push(Token::Integer as u8);
        self.notes.extend_from_slice(&number.to_le_bytes());
        Kind::Integer
    }

    fn double(&mut self, number: f64) -> Kind {
        self.makeup.doubles += 1;
        self.notes.push(Token::Double as u8);
        self.notes.extend_from_slice(&number.to_le_bytes());
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
