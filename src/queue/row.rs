//! A row on its way out of the queue. Whether its payload is JSON is found out by whoever takes it apart, or
//! here.
//!
//! Rows come from any process that ever wrote to the file. One that cannot become a message is
//! set aside alone, so that it does not stop the others.

use std::cmp::Ordering;

use rusqlite::Row;
use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, Value, ValueRef};

use crate::error::Result;
use crate::limits;
use crate::values::{Part, is_json};

/// A timestamp as the column holds it: whole numbers as INTEGER, which old processes expect and
/// the index keeps small, others as REAL.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Timestamp {
    Whole(i64),
    Real(f64),
}

impl Timestamp {
    pub(super) fn new(value: f64) -> Self {
        /// 2^63, the first number that does not fit.
        const LIMIT: f64 = 9_223_372_036_854_775_808.0;
        if value.fract() == 0.0 && (-LIMIT..LIMIT).contains(&value) {
            // Exact: whole and within the range.
            #[allow(clippy::cast_possible_truncation)]
            return Timestamp::Whole(value as i64);
        }
        Timestamp::Real(value)
    }

    pub(super) fn of_column(value: ValueRef<'_>) -> Option<Self> {
        match value {
            ValueRef::Integer(value) => Some(Timestamp::Whole(value)),
            ValueRef::Real(value) if value.is_finite() => Some(Timestamp::Real(value)),
            _ => None,
        }
    }

    pub(super) fn as_f64(self) -> f64 {
        match self {
            // What V8 makes of the same digits.
            #[allow(clippy::cast_precision_loss)]
            Timestamp::Whole(value) => value as f64,
            Timestamp::Real(value) => value,
        }
    }

    pub(super) fn write(self, out: &mut String) {
        match self {
            Timestamp::Whole(value) => out.push_str(&value.to_string()),
            // `{:?}` is the shortest text that reads back as the same number, and valid JSON.
            Timestamp::Real(value) => out.push_str(&format!("{value:?}")),
        }
    }
}

impl ToSql for Timestamp {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Owned(match *self {
            Timestamp::Whole(value) => Value::Integer(value),
            Timestamp::Real(value) => Value::Real(value),
        }))
    }
}

/// A value of a column as it is, also where it is not what the column should hold: text need not be
/// UTF-8.
#[derive(Debug, Clone)]
pub(super) enum Raw {
    Null,
    Integer(i64),
    Real(f64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

impl Raw {
    /// The text, if it is one in UTF-8.
    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Raw::Text(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// Where SQLite sorts values of this kind.
    fn rank(&self) -> u8 {
        match self {
            Raw::Null => 0,
            Raw::Integer(_) | Raw::Real(_) => 1,
            Raw::Text(_) => 2,
            Raw::Blob(_) => 3,
        }
    }
}

/// The order that SQLite has.
impl Ord for Raw {
    fn cmp(&self, other: &Self) -> Ordering {
        // Numbers of both kinds meet in no order that matters beyond 2^53.
        #[allow(clippy::cast_precision_loss)]
        match (self, other) {
            (Raw::Integer(one), Raw::Integer(other)) => one.cmp(other),
            (Raw::Real(one), Raw::Real(other)) => one.total_cmp(other),
            (Raw::Integer(one), Raw::Real(other)) => (*one as f64).total_cmp(other),
            (Raw::Real(one), Raw::Integer(other)) => one.total_cmp(&(*other as f64)),
            (Raw::Text(one), Raw::Text(other)) | (Raw::Blob(one), Raw::Blob(other)) => {
                one.cmp(other)
            }
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Raw {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Raw {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Raw {}

impl FromSql for Raw {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Ok(match value {
            ValueRef::Null => Raw::Null,
            ValueRef::Integer(value) => Raw::Integer(value),
            ValueRef::Real(value) => Raw::Real(value),
            ValueRef::Text(bytes) => Raw::Text(bytes.to_vec()),
            ValueRef::Blob(bytes) => Raw::Blob(bytes.to_vec()),
        })
    }
}

impl ToSql for Raw {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Raw::Null => ValueRef::Null,
            Raw::Integer(value) => ValueRef::Integer(*value),
            Raw::Real(value) => ValueRef::Real(*value),
            Raw::Text(bytes) => ValueRef::Text(bytes),
            Raw::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// A row that is a message. It borrows from the row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'r> {
    pub(super) id: &'r str,
    pub(super) kind: &'r str,
    pub(super) payload: &'r str,
    pub(super) timestamp: Timestamp,
}

impl Message<'_> {
    /// Bytes of text it holds.
    pub(super) fn bytes(&self) -> usize {
        self.id.len() + self.kind.len() + self.payload.len()
    }

    /// Whether the payload is JSON.
    pub(super) fn is_json(&self) -> bool {
        is_json(self.payload)
    }

    /// The fields as JavaScript has them.
    pub(super) fn fields(&self) -> [(&'static str, Part<'_>); 4] {
        [
            ("id", Part::Text(self.id)),
            ("type", Part::Text(self.kind)),
            ("payload", Part::Json(self.payload)),
            ("timestamp", Part::Number(self.timestamp.as_f64())),
        ]
    }

    /// Appends `{"id", "type", "payload", "timestamp"}`.
    pub(super) fn write(&self, out: &mut String) {
        out.push_str("{\"id\":");
        write_string(out, self.id);
        out.push_str(",\"type\":");
        write_string(out, self.kind);
        out.push_str(",\"payload\":");
        out.push_str(self.payload);
        out.push_str(",\"timestamp\":");
        self.timestamp.write(out);
        out.push('}');
    }
}

/// Why a row is no message, in words for the dead letter.
pub(super) type Flaw = &'static str;

pub(super) const NOT_JSON: Flaw = "The payload is not valid JSON.";

/// As [`read`], for who needs to know whether the payload is JSON.
pub(super) fn judge<'r>(row: &'r Row<'_>, first: usize) -> Result<Result<Message<'r>, Flaw>> {
    Ok(
        read(row, first)?.and_then(|message| match message.is_json() {
            true => Ok(message),
            false => Err(NOT_JSON),
        }),
    )
}

/// Reads the columns id, type, payload and timestamp, in this order, the first of them at `first`. The
/// payload is text that may not be JSON.
pub(super) fn read<'r>(row: &'r Row<'_>, first: usize) -> Result<Result<Message<'r>, Flaw>> {
    let (id, kind, payload, timestamp) = (
        row.get_ref(first)?,
        row.get_ref(first + 1)?,
        row.get_ref(first + 2)?,
        row.get_ref(first + 3)?,
    );
    Ok((|| {
        let id = text(id).ok_or("The id is not text in UTF-8.")?;
        let kind = text(kind).ok_or("The type is not text in UTF-8.")?;
        let payload = match payload {
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes,
            _ => return Err("The payload is not text."),
        };
        if payload.len() > limits::PAYLOAD_BYTES_MAX as usize {
            return Err("The payload is longer than can be delivered.");
        }
        let payload =
            std::str::from_utf8(payload).map_err(|_| "The payload is not text in UTF-8.")?;
        let timestamp =
            Timestamp::of_column(timestamp).ok_or("The timestamp is not a finite number.")?;
        Ok(Message {
            id,
            kind,
            payload,
            timestamp,
        })
    })())
}

pub(super) fn text(value: ValueRef<'_>) -> Option<&str> {
    match value {
        ValueRef::Text(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}

/// Appends a JSON string.
pub(super) fn write_string(out: &mut String, text: &str) {
    if text
        .bytes()
        .any(|byte| byte < 0x20 || byte == b'"' || byte == b'\\')
    {
        // Only control characters, quotes and backslashes need escapes, and those cannot fail.
        out.push_str(&serde_json::Value::from(text).to_string());
        return;
    }
    out.push('"');
    out.push_str(text);
    out.push('"');
}

/// Appends a JSON string, or null.
pub(super) fn write_option(out: &mut String, text: Option<&str>) {
    match text {
        Some(text) => write_string(out, text),
        None => out.push_str("null"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_keep_their_value() {
        let cases = [
            (0.0, "0"),
            (-0.0, "0"),
            (1_700_000_000_000.0, "1700000000000"),
            (1.5, "1.5"),
            (-2.25, "-2.25"),
            (1e300, "1e300"),
            (5e-324, "5e-324"),
            (9_223_372_036_854_775_808.0, "9.223372036854776e18"),
            (-9_223_372_036_854_775_808.0, "-9223372036854775808"),
        ];
        for (value, text) in cases {
            let timestamp = Timestamp::new(value);
            let mut out = String::new();
            timestamp.write(&mut out);
            assert_eq!(out, text);
            assert_eq!(out.parse(), Ok(timestamp.as_f64()));
            assert!(serde_json::from_str::<f64>(&out).is_ok());
        }
    }

    #[test]
    fn strings_are_escaped_where_json_demands_it() {
        for text in [
            "",
            "plain",
            "é\u{2028}😀",
            "a\"b",
            "a\\b",
            "\0\n\u{1f}",
            "\u{7f}",
        ] {
            let mut out = String::new();
            write_string(&mut out, text);
            assert_eq!(
                serde_json::from_str::<String>(&out).expect("valid JSON"),
                text
            );
        }
    }
}
