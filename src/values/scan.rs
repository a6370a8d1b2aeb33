//! From JSON text to notes.

use super::Token;
use super::package::Part;
use super::shapes::{Path, ROOT, ShapeTree};
use super::text::{plain_prefix, read_escaped};
use encoding_rs::mem::{convert_utf8_to_latin1_lossy, convert_utf8_to_utf16};
use encoding_rs::mem::{is_utf8_latin1, is_utf16_latin1};

/// Nested deeper than this, a text is not taken apart.
const DEPTH_MAX: usize = 64;

/// A longer text is not taken apart: its notes may be three times as long.
pub(super) const JSON_BYTES_MAX: usize = 16 * 1024 * 1024;

/// 10^0 to 10^22, all the powers that a double holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// An object with more keys that no shape has is left to `JSON.parse`.
const FURTHER_KEYS_MAX: usize = 100;

/// So many of the keys that no shape has are not looked for among those that came before, and as many have
/// to be left then: most objects with such keys have fewer, and a look costs as much as an integer.
const SKIPPED_KEYS: usize = 4;

/// With more such objects than that all of a message is, and with it the package that it is in.
const JSON_OBJECTS_MAX: usize = 4;

/// Up to so many letters `JSON.parse` looks for a string in a table (V8, `kMaxInternalizedStringValueLength`).
const SHORT_LETTERS_MAX: usize = 10;

/// Of a message with more strings that are not short, the rest decides how it is read.
const LONG_STRINGS_MAX: usize = 12;

/// The same of whole numbers, `true`, `false` and `null`.
const PLAIN_MAX: usize = 64;

/// What a message consists of, keys apart.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Makeup {
    short_strings: usize,
    long_strings: usize,
    /// Whole numbers, `true`, `false` and `null`.
    plain: usize,
    doubles: usize,
    /// Keys that no shape has.
    further_keys: usize,
    /// Of objects that were noted as JSON.
    json_bytes: usize,
}

impl Makeup {
    /// Whether `JSON.parse` takes longer for it than its notes do. It looks for each short string in a
    /// table, and takes several times as long as its note for that, for a number with a fraction, and
    /// for a key that it has not seen there. A longer string it makes in half the time that JavaScript
    /// needs for one by itself. Of a text of `json_bytes` most must have become notes.
    pub fn suits_notes(&self, json_bytes: usize) -> bool {
        let quick = self.short_strings + self.doubles + self.further_keys;
        self.long_strings <= LONG_STRINGS_MAX + quick
            && self.plain <= PLAIN_MAX + 4 * quick
            && 2 * self.json_bytes <= json_bytes
    }

    /// Adds what another message consists of.
    pub fn add(&mut self, other: Makeup) {
        self.short_strings += other.short_strings;
        self.long_strings += other.long_strings;
        self.plain += other.plain;
        self.doubles += other.doubles;
        self.further_keys += other.further_keys;
        self.json_bytes += other.json_bytes;
    }
}

/// A value that is being noted, and the JSON text of it, or of the part of it, that is read.
pub(super) struct Scan<'a, 'n> {
    json: &'a [u8],
    at: usize,
    notes: &'n mut Vec<u8>,
    shapes: &'n mut ShapeTree,
    /// A string on its way.
    units: &'n mut Vec<u16>,
    depth: usize,
    makeup: Makeup,
    /// How many objects were noted as JSON, and where the last one ends.
    json_count: usize,
    json_end: usize,
}

/// Appends the notes of `json`, which is UTF-8. `None`: it is no JSON text, or one for `JSON.parse`;
/// what was appended then has no meaning.
pub(super) fn scan(
    json: &[u8],
    shapes: &mut ShapeTree,
    units: &mut Vec<u16>,
    notes: &mut Vec<u8>,
) -> Option<Makeup> {
    let mut scan = Scan::new(shapes, units, notes);
    scan.text_of_json(json)?;
    Some(scan.makeup)
}

/// A key of an object.
enum Key<'a> {
    /// The last one of this shape.
    OfShape(u16),
    /// One that no shape is to have.
    Further(&'a [u8]),
}

/// The keys of an object that no shape has.
struct FurtherKeys {
    /// Where it is noted how many there are.
    place: usize,
    count: usize,
    /// Those that V8 takes for an index, whose values it keeps as those of an array.
    indices: usize,
    /// All keys up to the last one.
    path: Path,
    /// Those behind the first few that came before.
    seen: usize,
    /// What the message consists of without their values.
    makeup: Makeup,
}

impl FurtherKeys {
    /// Whether `JSON.parse` makes the object sooner: V8 makes a table where there are many, takes what looks
    /// like an index for the places of an array, and has a hidden class for keys that it had in this order.
    fn suit_json(&self) -> bool {
        self.count > FURTHER_KEYS_MAX
            || 2 * self.indices > self.count
            || (self.count >= 2 * SKIPPED_KEYS && 2 * self.seen > self.count - SKIPPED_KEYS)
    }
}

/// Whether a key looks like the index of an array.
fn is_index(key: &[u8]) -> bool {
    (1..=10).contains(&key.len()) && key.iter().all(u8::is_ascii_digit)
}

impl<'a, 'n> Scan<'a, 'n> {
    /// One that appends to `notes`.
    pub fn new(shapes: &'n mut ShapeTree, units: &'n mut Vec<u16>, notes: &'n mut Vec<u8>) -> Self {
        Scan {
            json: &[],
            at: 0,
            notes,
            shapes,
            units,
            depth: 0,
            makeup: Makeup::default(),
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
                let is_plain = self.text(text.as_bytes());
                self.count_string(is_plain && text.len() <= SHORT_LETTERS_MAX);
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

    fn value(&mut self) -> Option<()> {
        match self.next()? {
            b'"' => self.string(),
            b'{' => self.nested(Self::object),
            b'[' => self.nested(Self::array),
            b't' => self.word(b"true", Token::True),
            b'f' => self.word(b"false", Token::False),
            b'n' => self.word(b"null", Token::Null),
            _ => self.number(),
        }
    }

    fn nested(&mut self, inner: impl FnOnce(&mut Self) -> Option<()>) -> Option<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return None;
        }
        self.at += 1;
        inner(self)?;
        self.depth -= 1;
        Some(())
    }

    fn word(&mut self, word: &[u8], token: Token) -> Option<()> {
        self.json[self.at..].starts_with(word).then(|| {
            self.at += word.len();
            self.makeup.plain += 1;
            self.notes.push(token as u8);
        })
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
        let place = self.begin_counted(Token::Array);
        let mut count = 0;
        if self.next()? == b']' {
            self.at += 1;
            return Some(());
        }
        loop {
            self.value()?;
            count += 1;
            match self.next()? {
                b',' => self.at += 1,
                b']' => break,
                _ => return None,
            }
        }
        self.at += 1;
        self.set_count(place, count);
        Some(())
    }

    fn object(&mut self) -> Option<()> {
        self.shapes.begin_object();
        let json_begin = self.at - 1;
        let begin = self.notes.len();
        self.notes.extend_from_slice(&[Token::Object as u8, 0, 0]);
        let mut shape = ROOT;
        // Once there is a key that no shape is to have.
        let mut further: Option<FurtherKeys> = None;
        if self.next()? != b'}' {
            loop {
                let key = match further {
                    None => self.key_behind(shape)?,
                    Some(_) => Key::Further(self.key()?),
                };
                match key {
                    Key::OfShape(child) => shape = child,
                    Key::Further(key) => {
                        let keys = further.get_or_insert_with(|| FurtherKeys {
                            place: self.begin_count(),
                            count: 0,
                            indices: 0,
                            path: Path::of_shape(shape),
                            seen: 0,
                            makeup: self.makeup,
                        });
                        keys.count += 1;
                        keys.indices += usize::from(is_index(key));
                        keys.path = keys.path.with(key);
                        if keys.count > SKIPPED_KEYS {
                            keys.seen += usize::from(self.shapes.seen().add(keys.path));
                        }
                        self.text(key);
                    }
                }
                self.value()?;
                match self.next()? {
                    b',' => self.at += 1,
                    b'}' => break,
                    _ => return None,
                }
            }
        }
        self.at += 1;
        if let Some(keys) = further {
            if keys.suit_json() {
                self.makeup = keys.makeup;
                return self.json_since(json_begin, begin);
            }
            self.makeup.further_keys += keys.count;
            self.notes[begin] = Token::Extended as u8;
            self.set_count(keys.place, keys.count as u32);
        }
        let number = self.shapes.number(shape);
        self.notes[begin + 1..begin + 3].copy_from_slice(&number.to_le_bytes());
        Some(())
    }

    /// Takes the key that comes behind those of `shape`, and its colon.
    fn key_behind(&mut self, shape: u16) -> Option<Key<'a>> {
        if let Some(child) = self.known_key(shape) {
            return Some(Key::OfShape(child));
        }
        let key = self.key()?;
        let child = self.shapes.child(shape, key);
        Some(child.map_or(Key::Further(key), Key::OfShape))
    }

    /// Notes an object as it stands in the text, in the place of what was noted of it. `None`: many
    /// objects, or one in this one, were left to `JSON.parse` already, and all of the message had better
    /// be.
    fn json_since(&mut self, json_begin: usize, begin: usize) -> Option<()> {
        self.json_count += 1;
        if self.json_end > begin || self.json_count > JSON_OBJECTS_MAX {
            return None;
        }
        self.notes.truncate(begin);
        self.counted(Token::Json, self.at - json_begin);
        self.notes
            .extend_from_slice(&self.json[json_begin..self.at]);
        self.json_end = self.notes.len();
        self.makeup.json_bytes += self.at - json_begin;
        Some(())
    }

    /// Takes a key that came next in objects before, and its colon, if one of them comes here too.
    fn known_key(&mut self, shape: u16) -> Option<u16> {
        let (child, length) = self.shapes.likely_child(shape, &self.json[self.at..])?;
        self.at += length;
        Some(child)
    }

    fn string(&mut self) -> Option<()> {
        let begin = self.at + 1;
        let (length, is_ascii) = plain_prefix(&self.json[begin..]);
        let end = begin + length;
        if *self.json.get(end)? == b'"' {
            self.at = end + 1;
            let text = &self.json[begin..end];
            if is_ascii {
                self.ascii(text);
            } else {
                self.letters(text);
            }
            self.count_string(is_ascii && length <= SHORT_LETTERS_MAX);
            return Some(());
        }
        self.count_string(false);
        self.units.clear();
        self.at = begin + read_escaped(&self.json[begin..], self.units)?;
        if is_utf16_latin1(self.units) {
            self.counted(Token::Latin1, self.units.len());
            self.notes.extend(self.units.iter().map(|unit| *unit as u8));
        } else {
            self.noted_units();
        }
        Some(())
    }

    fn count_string(&mut self, is_short: bool) {
        self.makeup.short_strings += usize::from(is_short);
        self.makeup.long_strings += usize::from(!is_short);
    }

    /// Notes a text. Returns whether it is ASCII that needs no escapes.
    fn text(&mut self, text: &[u8]) -> bool {
        let (length, is_ascii) = plain_prefix(text);
        let is_plain = length == text.len() && is_ascii;
        match is_plain {
            true => self.ascii(text),
            false => self.letters(text),
        }
        is_plain
    }

    /// Notes one in ASCII.
    fn ascii(&mut self, text: &[u8]) {
        match u8::try_from(text.len()) {
            Ok(length) => self.notes.extend_from_slice(&[Token::Text as u8, length]),
            Err(_) => self.counted(Token::Ascii, text.len()),
        }
        self.notes.extend_from_slice(text);
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
            self.units.resize(text.len() + 1, 0);
            let count = convert_utf8_to_utf16(text, self.units);
            self.units.truncate(count);
            self.noted_units();
        }
    }

    /// Notes the string in `units`.
    fn noted_units(&mut self) {
        self.counted(Token::Units, self.units.len());
        let begin = self.notes.len();
        self.notes.resize(begin + 2 * self.units.len(), 0);
        let places = self.notes[begin..].chunks_exact_mut(2);
        for (place, unit) in places.zip(self.units.iter()) {
            place.copy_from_slice(&unit.to_le_bytes());
        }
    }

    /// Takes a key without escapes and its colon. `None` also if only V8 should judge it.
    fn key(&mut self) -> Option<&'a [u8]> {
        if self.next()? != b'"' {
            return None;
        }
        let begin = self.at + 1;
        let end = begin + plain_prefix(&self.json[begin..]).0;
        if *self.json.get(end)? != b'"' {
            return None;
        }
        self.at = end + 1;
        self.expect(b':')?;
        let key = &self.json[begin..end];
        // An assignment of it would set the prototype.
        (key != b"__proto__").then_some(key)
    }

    fn number(&mut self) -> Option<()> {
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
                self.integer(number);
                return Some(());
            }
        }
        let number = match POWERS.get(places) {
            // Both operands are exact, so that the quotient is what the decimal is rounded to.
            Some(power) if is_short => {
                let number = digits as f64 / power;
                if is_negative { -number } else { number }
            }
            _ => std::str::from_utf8(&self.json[begin..self.at])
                .ok()?
                .parse()
                .ok()?,
        };
        self.double(number);
        Some(())
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

    fn integer(&mut self, number: i32) {
        self.makeup.plain += 1;
        self.notes.push(Token::Integer as u8);
        self.notes.extend_from_slice(&number.to_le_bytes());
    }

    fn double(&mut self, number: f64) {
        self.makeup.doubles += 1;
        self.notes.push(Token::Double as u8);
        self.notes.extend_from_slice(&number.to_le_bytes());
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
