//! JSON values on their way between JavaScript and the core, in a form that both sides are quick
//! with, without I/O.
//!
//! V8 prints and reads numbers slowly, and the core walks the objects of V8 slowly. So JavaScript
//! walks a value and notes its parts, and [`print()`] makes the JSON text of them. The text is what
//! `JSON.stringify` would have made, byte for byte; nobody outside sees the notes.
//!
//! ```text
//! notes       messages | Texts u32 u32 messages texts
//!                                   so many bytes of messages, and so many of the texts that are listed: a JSON
//!                                   array, or nothing if there are none. Only the core does that
//! messages    ((Message | Marked) (value | (Apart | ApartUnits) u32 value letters))*
//!                                   a marked one asks for an acknowledgement. The letters of the
//!                                   texts may be apart, behind so many bytes: ASCII, or UTF-16 units.
//!                                   Only JavaScript does that
//! value       Null | True | False
//!             Integer i32
//!             Double f64
//!             Text text
//!             Units u32 u16*            any string, as UTF-16
//!             Letters u16               the next so many of the letters that are apart
//!             Json u32 bytes            any value, as a JSON text
//!             Array u32 value*
//!             Words u32 u16*            an array of words, by their numbers. Only the core does that
//!             Object u16 fixed* value*  the number of its shape, counted from 0; values whose kind has a
//!                                       fixed length, and behind them the others, in the order of their keys
//!             Extended u16 value* u32 (key value)*
//!                                       an object with further keys behind those of its shape, whose
//!                                       kinds are all Any
//! text        u8 bytes                  at most 251 of them: ASCII that needs no escape
//!             0xfc u32 bytes            a long one that needs no escape
//!             0xfd u32 bytes            the same in ASCII
//!             0xfe                      any string: the next one of those that are listed
//!             0xff u16                  the number of a word
//!                                       Only the core uses the last four
//! key         any of the strings
//!
//! definitions (shape | word | NoWords)*
//! shape       u16 (kind u8 bytes)*      so many keys, one after the other, each as `"name":`
//! word        0xffff u8 bytes           a text with its quotes
//! NoWords     0xfffe                    words are counted from 0 again
//! kind        Any                       a value
//!             Text                      a text
//!             Integer i32, Double f64, Flag u8
//!                                       of fixed length; a flag is 0 or 1, `false` or `true`
//! ```
//!
//! Numbers are little-endian. `ts/value-tokens.ts` has the same tokens and kinds.
//!
//! A kind other than Any is what all values of a key had in the objects of a shape so far. Both sides are
//! several times as quick with those as with values that say themselves what they are. Where an object
//! differs it is read anew, and its shape gets a further number, with kinds that admit it too.

mod draft;
mod layouts;
mod makeup;
mod notes;
mod number;
mod package;
mod print;
mod scan;
mod shapes;
mod text;
mod words;

pub use draft::Draft;
pub use notes::Malformed;
#[cfg(test)]
pub(crate) use package::PackageReader;
pub use package::{Package, Part, is_json};
pub use print::{Around, print, print_apart};

use shapes::ShapeTree;
use words::Words;

#[cfg(test)]
mod tests;

/// The first byte of everything in notes; the module says what they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Token {
    Null,
    True,
    False,
    Integer,
    Double,
    Text,
    Units,
    Json,
    Array,
    Object,
    Extended,
    Message,
    Marked,
    Apart,
    ApartUnits,
    Letters,
    Texts,
    Words,
}

impl Token {
    const ALL: [Token; 18] = [
        Token::Null,
        Token::True,
        Token::False,
        Token::Integer,
        Token::Double,
        Token::Text,
        Token::Units,
        Token::Json,
        Token::Array,
        Token::Object,
        Token::Extended,
        Token::Message,
        Token::Marked,
        Token::Apart,
        Token::ApartUnits,
        Token::Letters,
        Token::Texts,
        Token::Words,
    ];
}

/// How the values of one key are noted in the objects of one shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Any,
    Text,
    Integer,
    Double,
    Flag,
}

impl Kind {
    const ALL: [Kind; 5] = [
        Kind::Any,
        Kind::Text,
        Kind::Integer,
        Kind::Double,
        Kind::Flag,
    ];

    /// The length of a value in bytes if it is fixed, else 0.
    fn fixed_bytes(self) -> usize {
        match self {
            Kind::Any | Kind::Text => 0,
            Kind::Integer => 4,
            Kind::Double => 8,
            Kind::Flag => 1,
        }
    }

    /// The narrowest kind that has the values of both.
    fn with(self, other: Kind) -> Kind {
        match (self, other) {
            (same, other) if same == other => same,
            (Kind::Integer | Kind::Double, Kind::Integer | Kind::Double) => Kind::Double,
            _ => Kind::Any,
        }
    }
}

/// In the place of the length of a text: the number of a word follows.
const WORD_FOLLOWS: u8 = 0xff;

/// In the same place: the text is listed.
const IS_LISTED: u8 = 0xfe;

/// In the same place: the length in four bytes, and a text in ASCII.
const ASCII_FOLLOWS: u8 = 0xfd;

/// In the same place: the length in four bytes, and a text.
const LONG_FOLLOWS: u8 = 0xfc;

/// Makes notes of JSON texts. It knows the shapes and words that it has seen, and so does the reader of the
/// notes, who has to get every definition that [`Scanner::take_definitions`] returns.
#[derive(Debug)]
pub struct Scanner {
    shapes: ShapeTree,
    words: Words,
    /// Room for the kinds of the values of objects that are being read.
    kinds: Vec<Kind>,
    habit: Habit,
}

/// How many messages in a row were better left to `JSON.parse`. After a few of them the next ones are
/// not even looked at, but for one now and then.
#[derive(Debug, Default)]
struct Habit {
    unsuited: u32,
    unseen: u32,
}

impl Habit {
    /// In a row, until messages are passed on unseen.
    const UNSUITED: u32 = 4;

    /// So many at a time.
    const UNSEEN: u32 = 31;

    /// Whether the next message is to be passed on unseen.
    fn passes_next(&mut self) -> bool {
        let passes = self.unseen > 0;
        self.unseen -= u32::from(passes);
        passes
    }

    fn saw(&mut self, is_suited: bool) {
        self.unsuited = match is_suited {
            true => 0,
            false => self.unsuited.saturating_add(1),
        };
        if self.unsuited >= Self::UNSUITED {
            self.unseen = Self::UNSEEN;
        }
    }
}

impl Default for Scanner {
    fn default() -> Self {
        Scanner {
            shapes: ShapeTree::new(),
            words: Words::new(),
            kinds: Vec::new(),
            habit: Habit::default(),
        }
    }
}

/// Appends a message as its JSON text.
fn pass_on(json: &[u8], Draft { notes, .. }: &mut Draft) {
    notes.extend_from_slice(&[Token::Message as u8, Token::Json as u8]);
    // Neither frames nor packages are that long: see `limits::TEXT_BYTES_MAX` and `DEQUEUE_BYTES_MAX`.
    notes.extend_from_slice(&(json.len() as u32).to_le_bytes());
    notes.extend_from_slice(json);
}

impl Scanner {
    /// Appends a message to `draft`: `json`, which is UTF-8 and may be malformed. What is not plainly
    /// taken apart is passed on as it is, and so is what `JSON.parse` is quicker with.
    pub fn message(&mut self, json: &[u8], draft: &mut Draft) {
        draft.prepare();
        if self.habit.passes_next() {
            return pass_on(json, draft);
        }
        let is_suited = self.take_apart(json, draft);
        self.habit.saw(is_suited);
    }

    /// Appends a message, whatever those before it were. Returns whether it was taken apart.
    fn take_apart(&mut self, json: &[u8], draft: &mut Draft) -> bool {
        let begin = draft.progress();
        draft.notes.push(Token::Message as u8);
        let makeup = scan::scan(
            json,
            &mut self.shapes,
            &mut self.words,
            &mut self.kinds,
            draft,
        );
        let is_suited = makeup.is_some_and(|makeup| makeup.suits_notes(json.len()));
        if !is_suited {
            draft.back_to(begin);
            pass_on(json, draft);
        }
        is_suited
    }

    /// Whether new shapes find no more room, and it is time for a new scanner.
    pub fn is_full(&self) -> bool {
        self.shapes.is_full()
    }

    /// Before notes are begun, when nobody has any that were not read: sees to it that there is room for
    /// new words.
    pub fn make_room(&mut self) {
        if self.words.is_full() {
            self.words.forget();
        }
    }

    /// The definitions of shapes and words that are new in notes since this was asked last; their numbers
    /// follow on those before.
    pub fn take_definitions(&mut self) -> Vec<u8> {
        let mut definitions = self.shapes.take_definitions();
        definitions.append(&mut self.words.take_definitions());
        definitions
    }

    /// Of how many shapes, and in the upper half of how many words, the definitions were taken.
    fn defined(&self) -> u32 {
        u32::from(self.shapes.defined()) | u32::from(self.words.defined()) << 16
    }
}
