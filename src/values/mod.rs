//! JSON values on their way between JavaScript and the core, in a form that both sides are quick
//! with, without I/O.
//!
//! V8 prints and reads numbers slowly, and the core walks the objects of V8 slowly. So JavaScript
//! walks a value and notes its parts, and [`print()`] makes the JSON text of them. The text is what
//! `JSON.stringify` would have made, byte for byte; nobody outside sees the notes.
//!
//! ```text
//! notes       (Message value)*
//! value       Null | True | False
//!             Integer i32
//!             Double f64
//!             Text u8 bytes             ASCII that needs no escape
//!             Units u32 u16*            any string, as UTF-16
//!             Json u32 bytes            a JSON text
//!             Array u32 value*
//!             Object u16 value*         the number of its shape, counted from 0
//!             Dictionary u32 (key value)*
//! key         Text u8 bytes | Units u32 u16*
//!
//! shapes      (u16 (u8 bytes)*)*        the keys of one after the other, each as `"name":`
//! ```
//!
//! Numbers are little-endian. `ts/value-tokens.ts` has the same tokens.

mod notes;
mod number;
mod print;

pub use notes::Malformed;
pub use print::print;

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
    Dictionary,
    Message,
}

impl Token {
    const ALL: [Token; 12] = [
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
        Token::Dictionary,
        Token::Message,
    ];
}
