//! From notes to JSON text.

use std::mem;

use super::notes::{Malformed, Notes};
use super::number::NumberPrinter;
use super::text::{plain_prefix, print_units, string_length};
use super::words::{NO_WORDS, WORD};
use super::{ASCII_FOLLOWS, IS_LISTED, Kind, LONG_FOLLOWS, Token, WORD_FOLLOWS};

/// What stands around the JSON texts of messages.
#[derive(Debug, Clone, Copy, Default)]
pub struct Around<'a> {
    /// Before each message.
    pub before: &'a [u8],
    /// Behind each that is marked.
    pub mark: &'a [u8],
}

/// Appends the JSON texts of all messages in `notes` to `text`.
///
/// # Errors
/// When `notes` or `definitions` are not what the module describes. `text` then ends somewhere.
pub fn print(
    notes: &[u8],
    definitions: &[u8],
    around: Around<'_>,
    text: &mut Vec<u8>,
) -> Result<(), Malformed> {
    print_each(notes, definitions, around, text, |_| {})
}

/// The JSON texts of all messages in `notes`, one behind the other, and where each ends.
///
/// # Errors
/// As [`print()`].
pub fn print_apart(notes: &[u8], definitions: &[u8]) -> Result<(Vec<u8>, Vec<usize>), Malformed> {
    let (mut text, mut ends) = (Vec::new(), Vec::new());
    print_each(notes, definitions, Around::default(), &mut text, |end| {
        ends.push(end)
    })?;
    Ok((text, ends))
}

/// `ended` is told where each message ends.
fn print_each(
    notes: &[u8],
    definitions: &[u8],
    around: Around<'_>,
    text: &mut Vec<u8>,
    mut ended: impl FnMut(usize),
) -> Result<(), Malformed> {
    text.reserve(2 * notes.len());
    let mut printer = Printer {
        notes: Notes(notes),
        letters: Notes(&[]),
        listed: Notes(&[]),
        are_letters_units: false,
        definitions: Definitions::of(definitions)?,
        text,
        outer: Vec::new(),
        numbers: NumberPrinter::new(),
        units: Vec::new(),
    };
    if notes.first() == Some(&(Token::Texts as u8)) {
        printer.notes.token()?;
        let (messages, texts) = (printer.notes.u32()?, printer.notes.u32()?);
        let messages = printer.notes.take(messages as usize)?;
        printer.listed = Notes(printer.notes.take(texts as usize)?);
        printer.notes = Notes(messages);
    }
    while !printer.notes.0.is_empty() {
        let is_marked = match printer.notes.token()? {
            Token::Message => false,
            Token::Marked => true,
            _ => return Err(Malformed),
        };
        printer.text.extend_from_slice(around.before);
        match printer.notes.0.first() {
            Some(&APART | &APART_UNITS) => printer.message_apart()?,
            _ => printer.message()?,
        }
        if is_marked {
            printer.text.extend_from_slice(around.mark);
        }
        ended(printer.text.len());
    }
    // Each was the next one once, so that none of what was given up is among them.
    match printer.listed.0 {
        [] | [b']'] => Ok(()),
        _ => Err(Malformed),
    }
}

const APART: u8 = Token::Apart as u8;
const APART_UNITS: u8 = Token::ApartUnits as u8;

/// Room for the keys and the shapes of a message of its own.
const KEYS: usize = 32;
const SHAPES: usize = 8;

/// Keys and words in the form in which they are printed.
struct Definitions<'a> {
    keys: Vec<(Kind, Bytes<'a>)>,
    ends: Vec<ShapeEnd>,
    /// With their quotes.
    words: Vec<Bytes<'a>>,
}

/// So many bytes are copied without a look at how many there are: a call of `memcpy` takes longer.
const COPIED: usize = 16;

/// Some bytes, and what is behind them.
#[derive(Clone, Copy)]
struct Bytes<'a> {
    bytes: &'a [u8],
    length: usize,
}

impl<'a> Bytes<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        let length = bytes.len();
        Bytes { bytes, length }
    }

    /// Bytes behind their length in one byte.
    fn short(notes: &mut Notes<'a>) -> Result<Self, Malformed> {
        let length = notes.byte()?.into();
        let bytes = notes.0;
        notes.take(length)?;
        Ok(Bytes { bytes, length })
    }

    fn append_to(self, text: &mut Vec<u8>) {
        match self.bytes.first_chunk::<COPIED>() {
            Some(first) if self.length <= COPIED => {
                let end = text.len() + self.length;
                text.extend_from_slice(first);
                text.truncate(end);
            }
            _ => text.extend_from_slice(&self.bytes[..self.length]),
        }
    }
}

/// The place behind the last key of a shape, and the length of its values that have a fixed one.
#[derive(Clone, Copy, Default)]
struct ShapeEnd {
    keys: usize,
    fixed_bytes: usize,
}

impl<'a> Definitions<'a> {
    fn of(definitions: &'a [u8]) -> Result<Self, Malformed> {
        let mut notes = Notes(definitions);
        let mut keys = Vec::with_capacity(KEYS);
        let (mut ends, mut words) = (Vec::with_capacity(SHAPES), Vec::new());
        while !notes.0.is_empty() {
            let mut fixed_bytes = 0;
            let count = match notes.u16()? {
                WORD => {
                    words.push(Bytes::short(&mut notes)?);
                    continue;
                }
                NO_WORDS => {
                    words.clear();
                    continue;
                }
                count => count,
            };
            for _ in 0..count {
                let kind = notes.kind()?;
                fixed_bytes += kind.fixed_bytes();
                keys.push((kind, Bytes::short(&mut notes)?));
            }
            ends.push(ShapeEnd {
                keys: keys.len(),
                fixed_bytes,
            });
        }
        Ok(Definitions { keys, ends, words })
    }

    /// Where its keys begin and end.
    fn range(&self, shape: u16) -> Result<(usize, ShapeEnd), Malformed> {
        let shape = usize::from(shape);
        let end = *self.ends.get(shape).ok_or(Malformed)?;
        let begin = match shape {
            0 => 0,
            _ => self.ends[shape - 1].keys,
        };
        Ok((begin, end))
    }
}

/// What is being printed, and how much of it is left.
#[derive(Clone, Copy)]
enum Open<'a> {
    Message,
    Array {
        left: u32,
    },
    Object {
        next_key: usize,
        end: usize,
        /// Values of fixed length.
        fixed: Notes<'a>,
        is_extended: bool,
    },
    /// The further keys of an object.
    Extension {
        left: u32,
    },
}

struct Printer<'a, 't> {
    notes: Notes<'a>,
    /// Those that are apart.
    letters: Notes<'a>,
    /// Those that are listed, with what stands before each.
    listed: Notes<'a>,
    /// Whether the letters are UTF-16 units, and not ASCII.
    are_letters_units: bool,
    definitions: Definitions<'a>,
    text: &'t mut Vec<u8>,
    /// What is around that which is being printed.
    outer: Vec<Open<'a>>,
    numbers: NumberPrinter,
    /// The string that is being printed.
    units: Vec<u16>,
}

impl<'a> Printer<'a, '_> {
    /// Prints a message whose letters are behind its value.
    fn message_apart(&mut self) -> Result<(), Malformed> {
        self.are_letters_units = self.notes.token()? == Token::ApartUnits;
        let count = self.notes.u32()?;
        let value = self.notes.take(count as usize)?;
        self.letters = mem::replace(&mut self.notes, Notes(value));
        self.message()?;
        if !self.notes.0.is_empty() {
            return Err(Malformed);
        }
        self.notes = mem::replace(&mut self.letters, Notes(&[]));
        Ok(())
    }

    fn message(&mut self) -> Result<(), Malformed> {
        let mut open = Open::Message;
        // Whether nothing was printed yet of what is open.
        let mut is_first = true;
        loop {
            // What follows next: the end, or else what stands before the next value.
            let end = match &mut open {
                Open::Message if is_first => None,
                Open::Message => return Ok(()),
                Open::Array { left: 0 } => Some(b']'),
                Open::Extension { left: 0 } => Some(b'}'),
                Open::Object {
                    next_key,
                    end,
                    is_extended,
                    ..
                } if next_key == end => {
                    if mem::take(is_extended) {
                        let left = self.notes.u32()?;
                        open = Open::Extension { left };
                        continue;
                    }
                    Some(b'}')
                }
                Open::Array { left } | Open::Extension { left } => {
                    *left -= 1;
                    None
                }
                Open::Object { .. } => None,
            };
            if let Some(end) = end {
                self.text.push(end);
                open = self.outer.pop().ok_or(Malformed)?;
                is_first = false;
                continue;
            }
            if !is_first {
                self.text.push(b',');
            }
            match &mut open {
                Open::Object {
                    next_key, fixed, ..
                } => {
                    let (kind, key) = self.definitions.keys[*next_key];
                    key.append_to(self.text);
                    *next_key += 1;
                    if kind != Kind::Any {
                        self.of_kind(kind, fixed)?;
                        is_first = false;
                        continue;
                    }
                }
                Open::Extension { .. } => {
                    let token = self.notes.token()?;
                    self.string(token)?;
                    self.text.push(b':');
                }
                Open::Message | Open::Array { .. } => {}
            }
            is_first = false;
            if let Some(inner) = self.value()? {
                self.outer.push(mem::replace(&mut open, inner));
                is_first = true;
            }
        }
    }

    /// Prints a value that does not say itself what it is.
    fn of_kind(&mut self, kind: Kind, fixed: &mut Notes<'_>) -> Result<(), Malformed> {
        match kind {
            Kind::Any => return Err(Malformed),
            Kind::Text => self.text()?,
            Kind::Integer => {
                let number = i32::from_le_bytes(fixed.array()?);
                self.numbers.integer(number, self.text);
            }
            Kind::Double => {
                let number = f64::from_le_bytes(fixed.array()?);
                self.numbers.double(number, self.text);
            }
            Kind::Flag => self.text.extend_from_slice(match fixed.byte()? {
                0 => b"false",
                _ => b"true",
            }),
        }
        Ok(())
    }

    /// Prints a value, or the beginning of one that has others in it.
    fn value(&mut self) -> Result<Option<Open<'a>>, Malformed> {
        match self.notes.token()? {
            Token::Null => self.text.extend_from_slice(b"null"),
            Token::True => self.text.extend_from_slice(b"true"),
            Token::False => self.text.extend_from_slice(b"false"),
            Token::Integer => {
                let number = i32::from_le_bytes(self.notes.array()?);
                self.numbers.integer(number, self.text);
            }
            Token::Double => {
                let number = f64::from_le_bytes(self.notes.array()?);
                self.numbers.double(number, self.text);
            }
            Token::Json => self.text.extend_from_slice(self.notes.long()?),
            Token::Words => self.words()?,
            Token::Array => {
                self.text.push(b'[');
                let left = self.notes.u32()?;
                return Ok(Some(Open::Array { left }));
            }
            token @ (Token::Object | Token::Extended) => {
                self.text.push(b'{');
                let (next_key, end) = self.definitions.range(self.notes.u16()?)?;
                return Ok(Some(Open::Object {
                    next_key,
                    end: end.keys,
                    fixed: Notes(self.notes.take(end.fixed_bytes)?),
                    is_extended: token == Token::Extended,
                }));
            }
            token => self.string(token)?,
        }
        Ok(None)
    }

    /// Prints the string that `token` begins.
    fn string(&mut self, token: Token) -> Result<(), Malformed> {
        let plain = match token {
            Token::Text => return self.text(),
            Token::Letters => {
                let count = usize::from(self.notes.u16()?);
                if self.are_letters_units {
                    let letters = self.letters.take(2 * count)?;
                    self.utf16(letters);
                    return Ok(());
                }
                let letters = self.letters.take(count)?;
                if plain_prefix(letters) != (letters.len(), true) {
                    self.latin1(letters);
                    return Ok(());
                }
                Bytes::of(letters)
            }
            Token::Units => {
                let count = self.notes.u32()? as usize;
                let bytes = self.notes.take(count.checked_mul(2).ok_or(Malformed)?)?;
                self.utf16(bytes);
                return Ok(());
            }
            _ => return Err(Malformed),
        };
        self.plain(plain);
        Ok(())
    }

    /// Prints a text as JavaScript notes it, or as the core does: this one is what tests compare with.
    fn text(&mut self) -> Result<(), Malformed> {
        match self.notes.0.first() {
            Some(&WORD_FOLLOWS) => {
                self.notes.byte()?;
                self.word()?;
            }
            Some(&IS_LISTED) => {
                self.notes.byte()?;
                // `[` or `,`, and its quote.
                self.listed.take(2)?;
                let length = string_length(self.listed.0).ok_or(Malformed)?;
                self.text.push(b'"');
                self.text.extend_from_slice(self.listed.take(length)?);
            }
            Some(&(ASCII_FOLLOWS | LONG_FOLLOWS)) => {
                self.notes.byte()?;
                let text = Bytes::of(self.notes.long()?);
                self.plain(text);
            }
            _ => {
                let text = Bytes::short(&mut self.notes)?;
                self.plain(text);
            }
        }
        Ok(())
    }

    fn word(&mut self) -> Result<(), Malformed> {
        let number = usize::from(self.notes.u16()?);
        let word = *self.definitions.words.get(number).ok_or(Malformed)?;
        word.append_to(self.text);
        Ok(())
    }

    /// Prints an array of words.
    fn words(&mut self) -> Result<(), Malformed> {
        let mut before = b'[';
        for _ in 0..self.notes.u32()? {
            self.text.push(before);
            self.word()?;
            before = b',';
        }
        self.text.push(b']');
        Ok(())
    }

    /// Prints a string that needs no escapes.
    fn plain(&mut self, text: Bytes<'_>) {
        self.text.push(b'"');
        text.append_to(self.text);
        self.text.push(b'"');
    }

    fn utf16(&mut self, bytes: &[u8]) {
        let units = bytes.chunks_exact(2);
        self.units.clear();
        self.units
            .extend(units.map(|unit| u16::from_le_bytes([unit[0], unit[1]])));
        print_units(&self.units, self.text);
    }

    fn latin1(&mut self, letters: &[u8]) {
        self.units.clear();
        self.units.extend(letters.iter().copied().map(u16::from));
        print_units(&self.units, self.text);
    }
}
