//! From JSON text to notes.

use super::layouts::Layout;
use super::package::Part;
use super::shapes::{Path, ROOT, ShapeTree};
use super::text::{plain_prefix, read_escaped};
use super::{Kind, Token};
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
    /// Whole numbers, `true`, `false` and `null` that are not of their kind in a layout.
    plain: usize,
    doubles: usize,
    /// Keys that no shape has.
    further_keys: usize,
    /// Keys of objects whose layout was known.
    expected_keys: usize,
    /// Of objects that were noted as JSON.
    json_bytes: usize,
}

impl Makeup {
    /// Whether `JSON.parse` takes longer for it than its notes do. It looks for each short string in a
    /// table, and takes several times as long as its note for that, for a number with a fraction, and
    /// for a key that it has not seen there; and it compares each key, which costs nothing where the layout
    /// of an object is known. A longer string it makes in half the time that JavaScript needs for one by
    /// itself. Of a text of `json_bytes` most must have become notes.
    pub fn suits_notes(&self, json_bytes: usize) -> bool {
        let quick = self.short_strings + self.doubles + self.further_keys + self.expected_keys;
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
        self.expected_keys += other.expected_keys;
        self.json_bytes += other.json_bytes;
    }
}

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

/// A value that is being noted, and the JSON text of it, or of the part of it, that is read.
pub(super) struct Scan<'a, 'n> {
    json: &'a [u8],
    at: usize,
    notes: &'n mut Vec<u8>,
    shapes: &'n mut ShapeTree,
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
    room: &mut Room,
    notes: &mut Vec<u8>,
) -> Option<Makeup> {
    let mut scan = Scan::new(shapes, room, notes);
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
    pub fn new(shapes: &'n mut ShapeTree, room: &'n mut Room, notes: &'n mut Vec<u8>) -> Self {
        room.kinds.clear();
        Scan {
            json: &[],
            at: 0,
            notes,
            shapes,
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

    fn object(&mut self) -> Option<()> {
        self.shapes.begin_object();
        let place = self.place;
        let first = self.shapes.likely_first(place, &self.json[self.at..]);
        let guess = first.and_then(|(first, _)| self.shapes.likely_layout(first));
        if let (Some((first, _)), Some(layout)) = (first, guess) {
            let is_right = self.try_layout(layout);
            self.shapes.tried(first, is_right);
            if is_right {
                return Some(());
            }
            // `JSON.parse` is quicker then, and somebody may want this to take long.
            if self.wasted > self.json.len() {
                return None;
            }
        }
        self.object_of_any(place, first, guess.is_some())
    }

    /// Notes an object if it has this layout. If not, nothing has happened.
    fn try_layout(&mut self, layout: u16) -> bool {
        let (at, depth, makeup, json) = (
            self.at,
            self.depth,
            self.makeup,
            (self.json_count, self.json_end),
        );
        let (notes, kinds) = (self.notes.len(), self.room.kinds.len());
        let is_right = self.object_of(layout).is_some();
        if !is_right {
            if self.wasted <= self.json.len() {
                self.wasted += self.at - at;
            }
            (
                self.at,
                self.depth,
                self.makeup,
                (self.json_count, self.json_end),
            ) = (at, depth, makeup, json);
            self.notes.truncate(notes);
            self.room.kinds.truncate(kinds);
        }
        is_right
    }

    /// Notes an object of a layout. `None`: it has another, or is malformed.
    fn object_of(&mut self, layout: u16) -> Option<()> {
        let Layout {
            number,
            fixed_bytes,
            fields,
        } = self.shapes.layout(layout);
        let count = fields.len();
        let [low, high] = number.to_le_bytes();
        self.notes
            .extend_from_slice(&[Token::Object as u8, low, high]);
        let fixed = self.notes.len();
        self.notes.resize(fixed + fixed_bytes, 0);
        for index in 0..count {
            // It is asked for anew each time because a value may come with shapes of its own.
            let field = &self.shapes.layout(layout).fields[index];
            if !field.key.begins(&self.json[self.at..]) {
                return None;
            }
            self.at += field.key.len();
            let begin = fixed + field.offset;
            match field.kind {
                Kind::Any => {
                    self.place = field.shape;
                    self.value()?;
                }
                Kind::Text => self.text_of_layout()?,
                Kind::Flag => {
                    let flag = self.peek()? == b't';
                    self.take_word(if flag { b"true" } else { b"false" })?;
                    self.notes[begin] = flag.into();
                }
                Kind::Integer => {
                    let Number::Integer(number) = self.number()? else {
                        return None;
                    };
                    self.notes[begin..begin + 4].copy_from_slice(&number.to_le_bytes());
                }
                Kind::Double => {
                    let number = match self.number()? {
                        Number::Integer(number) => number.into(),
                        Number::Double(number) => number,
                    };
                    self.makeup.doubles += 1;
                    self.notes[begin..begin + 8].copy_from_slice(&number.to_le_bytes());
                }
            }
            let end = if index + 1 == count { b'}' } else { b',' };
            if self.peek()? != end {
                return None;
            }
            self.at += 1;
        }
        self.makeup.expected_keys += count;
        Some(())
    }

    /// Notes a text without its token.
    fn text_of_layout(&mut self) -> Option<()> {
        if self.peek()? != b'"' {
            return None;
        }
        let begin = self.at + 1;
        let (count, is_ascii) = plain_prefix(&self.json[begin..]);
        let length = u8::try_from(count).ok()?;
        if !is_ascii || *self.json.get(begin + count)? != b'"' {
            return None;
        }
        self.at = begin + count + 1;
        self.notes.push(length);
        self.notes
            .extend_from_slice(&self.json[begin..begin + count]);
        self.count_string(count <= SHORT_LETTERS_MAX);
        Some(())
    }

    /// Notes an object at some place key by key. `likely_first` is its first key and the length of that, if
    /// it was found. `is_tried`: it has not the layout that was expected.
    fn object_of_any(
        &mut self,
        place: u16,
        likely_first: Option<(u16, usize)>,
        is_tried: bool,
    ) -> Option<()> {
        let json_begin = self.at - 1;
        let begin = self.notes.len();
        let kinds = self.room.kinds.len();
        let mut first = ROOT;
        self.notes.extend_from_slice(&[Token::Object as u8, 0, 0]);
        let mut shape = ROOT;
        // Once there is a key that no shape is to have.
        let mut further: Option<FurtherKeys> = None;
        if self.next()? != b'}' {
            loop {
                let key = match (&further, likely_first) {
                    (Some(_), _) => Key::Further(self.key()?),
                    (None, Some((child, length))) if shape == ROOT => {
                        self.at += length;
                        Key::OfShape(child)
                    }
                    (None, _) => self.key_behind(shape)?,
                };
                match key {
                    Key::OfShape(child) => {
                        if shape == ROOT {
                            first = child;
                        }
                        shape = child;
                    }
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
                self.place = shape;
                let kind = self.value()?;
                self.room.kinds.push(kind);
                match self.next()? {
                    b',' => self.at += 1,
                    b'}' => break,
                    _ => return None,
                }
            }
        }
        self.at += 1;
        if further.is_none() && first != ROOT {
            let kinds = &self.room.kinds[kinds..];
            self.shapes.learn(place, first, shape, kinds, is_tried);
        }
        self.room.kinds.truncate(kinds);
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

    fn string(&mut self) -> Option<Kind> {
        let begin = self.at + 1;
        let (length, is_ascii) = plain_prefix(&self.json[begin..]);
        let end = begin + length;
        if *self.json.get(end)? == b'"' {
            self.at = end + 1;
            let text = &self.json[begin..end];
            self.count_string(is_ascii && length <= SHORT_LETTERS_MAX);
            if is_ascii {
                return Some(self.ascii(text));
            }
            self.letters(text);
            return Some(Kind::Any);
        }
        self.count_string(false);
        let units = &mut self.room.units;
        units.clear();
        self.at = begin + read_escaped(&self.json[begin..], units)?;
        if is_utf16_latin1(&self.room.units) {
            self.counted(Token::Latin1, self.room.units.len());
            self.notes
                .extend(self.room.units.iter().map(|unit| *unit as u8));
        } else {
            self.noted_units();
        }
        Some(Kind::Any)
    }

    fn count_string(&mut self, is_short: bool) {
        self.makeup.short_strings += usize::from(is_short);
        self.makeup.long_strings += usize::from(!is_short);
    }

    /// Notes a text. Returns whether it is ASCII that needs no escapes.
    fn text(&mut self, text: &[u8]) -> bool {
        let (length, is_ascii) = plain_prefix(text);
        let is_plain = length == text.len() && is_ascii;
        if is_plain {
            self.ascii(text);
        } else {
            self.letters(text);
        }
        is_plain
    }

    /// Notes one in ASCII.
    fn ascii(&mut self, text: &[u8]) -> Kind {
        let kind = match u8::try_from(text.len()) {
            Ok(length) => {
                self.notes.extend_from_slice(&[Token::Text as u8, length]);
                Kind::Text
            }
            Err(_) => {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever reads an object anew, because it has not the layout that was expected, reads nested ones again
    /// at every level.
    #[test]
    fn little_is_read_in_vain() {
        // So many first keys of objects are looked for at once.
        const LEVELS: usize = 4;
        let (mut shapes, mut room) = (ShapeTree::new(), Room::default());
        let mut read = |json: &str| {
            let mut notes = Vec::new();
            let mut scan = Scan::new(&mut shapes, &mut room, &mut notes);
            (scan.text_of_json(json.as_bytes()).is_some(), scan.wasted)
        };
        for level in 0..LEVELS {
            for _ in 0..20 {
                read(&format!("{{\"k{level}\":[0.5],\"x\":0.5}}"));
            }
        }
        // Each of them is expected to end as the others did, and does not.
        let nested = |levels| {
            (0..levels).fold("[0.5]".to_owned(), |inner, level| {
                format!("{{\"k{level}\":{inner},\"x\":null}}")
            })
        };
        let one = nested(1);
        let (is_read, wasted) = read(&one);
        assert!(is_read && (1..=one.len()).contains(&wasted), "{wasted}");
        // What would be read in vain again and again is given up.
        let many = nested(LEVELS);
        let (is_read, wasted) = read(&many);
        assert!(!is_read, "{wasted}");
        assert!((many.len()..=2 * many.len()).contains(&wasted), "{wasted}");
        assert_eq!(read("{\"k3\":[0.5],\"x\":0.5}"), (true, 0));
    }
}
