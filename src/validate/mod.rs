//! The rules that messages obey, as one table, and the check of raw JSON against it.
//!
//! The rules are those of the zod schemas that services know. They are written here and nowhere
//! else: the JavaScript face derives its zod schemas and its fast checks from [`rules_json`],
//! and the socket and the queue judge bytes with [`validate_json`], without making a JavaScript
//! value of them.
//!
//! A verdict on bytes is the verdict that zod gives on `JSON.parse` of them. The two major
//! versions of zod differ on numbers, and the version that counts is the one that the service
//! has installed; [`Dialect`] says what it does.

mod rules;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::error::{Code, Error};
use crate::limits::ISSUES_MAX;

pub use rules::{
    AGGS, Bound, CANDLE_GROUP, FOOTPRINT_CANDLE, Field, GAP_RECORD, GAP_RECORD_INPUT, Kind,
    QUEUE_MESSAGE, SCHEMAS, STATE_ENTRY, Schema, rules_json,
};

/// JavaScript's `Number.MAX_SAFE_INTEGER`.
const SAFE_INTEGER_MAX: f64 = 9_007_199_254_740_991.0;

/// Where the major versions of zod differ on values that JSON can express. The JavaScript face
/// finds the flags by asking the caller's zod, not by its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// Whether `Infinity`, which `JSON.parse` makes of `1e999`, is a number.
    pub infinity_is_number: bool,
    /// Whether an integer has to be within ±(2^53 − 1).
    pub safe_integers: bool,
}

impl Dialect {
    /// zod from 3.23 on.
    pub const ZOD_3: Dialect = Dialect {
        infinity_is_number: true,
        safe_integers: false,
    };

    /// zod 4.
    pub const ZOD_4: Dialect = Dialect {
        infinity_is_number: false,
        safe_integers: true,
    };
}

/// Why a document was refused.
#[derive(Debug)]
pub enum Refusal {
    /// The bytes are not one JSON value in UTF-8, where `JSON.parse` would throw. The text says
    /// what is wrong and where.
    NotJson(String),
    /// The value breaks rules: the first [`ISSUES_MAX`] issues, in the order of the table. Of each
    /// value within the document only the first issue is told; versions of zod differ on what
    /// else they report of a value that is wrong already.
    Issues(Vec<Issue>),
}

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// Keys and indexes from the document to the value; empty for the document itself.
    pub path: Vec<Segment>,
    /// What is wrong, by zod's name for it.
    pub code: IssueCode,
    /// What is wrong, for people.
    pub message: Cow<'static, str>,
}

/// One step of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Segment {
    /// Under this key of an object.
    Key(&'static str),
    /// At this index of an array.
    Index(usize),
}

/// The kinds of issues that the rules can lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IssueCode {
    /// The value has another type, or is missing.
    InvalidType,
    /// A number lies below its least value, or a string is empty.
    TooSmall,
    /// A number lies above its greatest value.
    TooBig,
}

impl IssueCode {
    /// zod's name of it.
    pub const fn as_str(self) -> &'static str {
        match self {
            IssueCode::InvalidType => "invalid_type",
            IssueCode::TooSmall => "too_small",
            IssueCode::TooBig => "too_big",
        }
    }
}

impl fmt::Display for Issue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, segment) in self.path.iter().enumerate() {
            match segment {
                Segment::Key(key) if depth == 0 => f.write_str(key)?,
                Segment::Key(key) => write!(f, ".{key}")?,
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        if !self.path.is_empty() {
            f.write_str(": ")?;
        }
        f.write_str(&self.message)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NotJson(reason) => write!(f, "not valid JSON: {reason}"),
            Refusal::Issues(issues) => {
                for (index, issue) in issues.iter().enumerate() {
                    let separator = if index == 0 { "" } else { "; " };
                    write!(f, "{separator}{issue}")?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for Refusal {}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Error::rule(
            Code::InvalidMessage,
            format!("The message is invalid: {refusal}"),
        )
    }
}

/// Judges a document as zod in this dialect judges `JSON.parse` of it.
///
/// Nesting costs no stack, however deep: what the rules do not look into is skipped over. Where
/// a key stands twice in an object, the last one counts, as for `JSON.parse`. Keys and strings
/// with lone surrogate escapes are legal, as there.
///
/// # Errors
/// [`Refusal::NotJson`] for bytes that are not JSON, also where only a part is broken that no
/// rule looks into; [`Refusal::Issues`] for JSON that breaks rules.
pub fn validate_json(
    schema: &'static Schema,
    json: &[u8],
    dialect: Dialect,
) -> Result<(), Refusal> {
    let text = std::str::from_utf8(json).map_err(|error| Refusal::NotJson(error.to_string()))?;
    // Only what JSON calls white space: `str::trim` would also remove what `JSON.parse` refuses.
    let text = text.trim_matches([' ', '\t', '\n', '\r']);
    let mut check = Check {
        dialect,
        path: Vec::new(),
        issues: Vec::new(),
    };
    check
        .value(&Kind::Object { schema }, text)
        .map_err(|error| Refusal::NotJson(error.to_string()))?;
    if check.issues.is_empty() {
        Ok(())
    } else {
        Err(Refusal::Issues(check.issues))
    }
}

/// The state of one validation.
struct Check {
    dialect: Dialect,
    path: Vec<Segment>,
    issues: Vec<Issue>,
}

impl Check {
    /// Judges one value, given as its JSON text without surrounding white space.
    ///
    /// An object is first read into slices of its fields' texts and only then judged field by
    /// field: that makes the last of equal keys count, and the order of issues that of the rules,
    /// as in zod. Only the document itself can still turn out not to be JSON; all values within
    /// it are slices that the parser has been over.
    fn value(&mut self, kind: &Kind, json: &str) -> serde_json::Result<()> {
        match kind {
            Kind::Any => {}
            Kind::Boolean => {
                if !matches!(json, "true" | "false") {
                    self.wrong_type("boolean", json);
                }
            }
            Kind::String { non_empty } => {
                if !json.starts_with('"') {
                    self.wrong_type("string", json);
                } else if *non_empty && json == "\"\"" {
                    self.issue(IssueCode::TooSmall, "expected a string that is not empty");
                }
            }
            Kind::Number { integer, bound } => self.number(*integer, *bound, json),
            Kind::Array { items } => {
                if json.starts_with('[') {
                    let mut elements = Elements {
                        check: self,
                        items,
                        index: 0,
                    };
                    let mut parser = serde_json::Deserializer::from_str(json);
                    parser.deserialize_seq(&mut elements)?;
                } else {
                    self.wrong_type("array", json);
                }
            }
            Kind::Object { schema } => {
                if json.starts_with('{') {
                    let mut parser = serde_json::Deserializer::from_str(json);
                    let values = parser.deserialize_map(FieldTexts(schema))?;
                    parser.end()?;
                    self.fields(schema, &values)?;
                } else {
                    serde_json::from_str::<IgnoredAny>(json)?;
                    self.wrong_type("object", json);
                }
            }
        }
        Ok(())
    }

    fn fields(&mut self, schema: &Schema, values: &[Option<&RawValue>]) -> serde_json::Result<()> {
        for (field, value) in schema.fields.iter().zip(values) {
            self.path.push(Segment::Key(field.key));
            match value {
                Some(value) if field.nullable && value.get() == "null" => {}
                Some(value) => self.value(&field.kind, value.get())?,
                None if field.optional => {}
                None => self.issue(IssueCode::InvalidType, "required"),
            }
            self.path.pop();
        }
        Ok(())
    }

    fn number(&mut self, integer: bool, bound: Bound, json: &str) {
        // Among the texts of JSON values, Rust takes exactly the numbers for numbers. It rounds
        // them as JavaScript does, and makes an infinity of what is out of range.
        let Ok(value) = json.parse::<f64>() else {
            return self.wrong_type("number", json);
        };
        if value.is_infinite() && !self.dialect.infinity_is_number {
            return self.issue(
                IssueCode::InvalidType,
                "expected number, received an infinity",
            );
        }
        if integer && (value.is_infinite() || value.fract() != 0.0) {
            return self.issue(
                IssueCode::InvalidType,
                "expected integer, received a fraction",
            );
        }
        if integer && self.dialect.safe_integers && value.abs() > SAFE_INTEGER_MAX {
            let code = if value > 0.0 {
                IssueCode::TooBig
            } else {
                IssueCode::TooSmall
            };
            return self.issue(
                code,
                "expected an integer within the safe range, ±(2^53 − 1)",
            );
        }
        match bound {
            Bound::Positive if value <= 0.0 => {
                self.issue(IssueCode::TooSmall, "expected a number above 0");
            }
            Bound::Nonnegative if value < 0.0 => {
                self.issue(IssueCode::TooSmall, "expected a number of at least 0");
            }
            _ => {}
        }
    }

    fn wrong_type(&mut self, expected: &str, json: &str) {
        let received = match json.as_bytes().first() {
            Some(b'{') => "object",
            Some(b'[') => "array",
            Some(b'"') => "string",
            Some(b't' | b'f') => "boolean",
            Some(b'n') => "null",
            _ => "number",
        };
        self.issue(
            IssueCode::InvalidType,
            format!("expected {expected}, received {received}"),
        );
    }

    fn issue(&mut self, code: IssueCode, message: impl Into<Cow<'static, str>>) {
        if self.issues.len() < ISSUES_MAX {
            self.issues.push(Issue {
                path: self.path.clone(),
                code,
                message: message.into(),
            });
        }
    }
}

/// Reads an object into the texts of the fields that a schema names, in the schema's order.
struct FieldTexts<'s>(&'s Schema);

impl<'de> Visitor<'de> for FieldTexts<'_> {
    type Value = Vec<Option<&'de RawValue>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut values = vec![None; self.0.fields.len()];
        // Keys are taken raw too: an unknown key may hold a lone surrogate, which a Rust string
        // cannot.
        while let Some(key) = map.next_key::<&RawValue>()? {
            match field_index(self.0, key.get()) {
                Some(index) => values[index] = Some(map.next_value()?),
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(values)
    }
}

/// Which field of a schema a key in JSON text, with its quotes, names.
fn field_index(schema: &Schema, key: &str) -> Option<usize> {
    let decoded;
    let name = if key.contains('\\') {
        // What does not decode holds a lone surrogate, and no field's key does.
        decoded = serde_json::from_str::<String>(key).ok()?;
        decoded.as_str()
    } else {
        key.strip_prefix('"')?.strip_suffix('"')?
    };
    schema.fields.iter().position(|field| field.key == name)
}

/// Judges the elements of an array one after the other, without holding them all.
struct Elements<'c> {
    check: &'c mut Check,
    items: &'static Kind,
    index: usize,
}

impl<'de> Visitor<'de> for &mut Elements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(element) = seq.next_element::<&RawValue>()? {
            self.check.path.push(Segment::Index(self.index));
            self.check
                .value(self.items, element.get())
                .map_err(serde::de::Error::custom)?;
            self.check.path.pop();
            self.index += 1;
        }
        Ok(())
    }
}
