//! A message on its way into the queue, and the JSON texts that bring it.
//!
//! A whole batch crosses the language boundary in one call; ids, types and payloads borrow from its
//! text, so the only copy of a payload is the one that SQLite makes.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::error::{Code, Error, Result};
use crate::limits;
use crate::validate::{self, Dialect};

/// A message that can be stored: the rules hold by construction.
#[derive(Debug, Clone, PartialEq)]
pub struct NewMessage<'a> {
    id: Cow<'a, str>,
    kind: Cow<'a, str>,
    payload: Cow<'a, str>,
    timestamp: f64,
}

impl<'a> NewMessage<'a> {
    /// A message with this `payload`, a JSON text, and this `timestamp` in milliseconds, whole
    /// or not, positive or not.
    ///
    /// # Errors
    /// `InvalidMessage` when the id or the type is empty or longer than
    /// [`limits::NAME_BYTES_MAX`], the payload is not one JSON value or longer than
    /// [`limits::PAYLOAD_BYTES_MAX`], or the timestamp is not finite.
    pub fn new(
        id: impl Into<Cow<'a, str>>,
        kind: impl Into<Cow<'a, str>>,
        payload: impl Into<Cow<'a, str>>,
        timestamp: f64,
    ) -> Result<Self> {
        let payload = payload.into();
        // Skipping a value is iterative in serde_json: depth costs no stack.
        if let Err(error) = serde_json::from_str::<IgnoredAny>(&payload) {
            return Err(invalid(format!(
                "The message's `payload` is not JSON: {error}."
            )));
        }
        Self::of_json(id.into(), kind.into(), payload, timestamp).map_err(invalid)
    }

    /// The rules that remain once the payload is known to be JSON.
    fn of_json(
        id: Cow<'a, str>,
        kind: Cow<'a, str>,
        payload: Cow<'a, str>,
        timestamp: f64,
    ) -> Result<Self, String> {
        for (name, value) in [("id", &id), ("type", &kind)] {
            if value.is_empty() {
                return Err(format!(
                    "The message's `{name}` must not be an empty string."
                ));
            }
            if value.len() > limits::NAME_BYTES_MAX {
                return Err(format!(
                    "The message's `{name}` is {} bytes long; at most {} can be stored.",
                    value.len(),
                    limits::NAME_BYTES_MAX
                ));
            }
        }
        if payload.len() > limits::PAYLOAD_BYTES_MAX as usize {
            return Err(format!(
                "The message's `payload` is {} bytes of JSON long; at most {} can be stored.",
                payload.len(),
                limits::PAYLOAD_BYTES_MAX
            ));
        }
        if !timestamp.is_finite() {
            return Err("The message's `timestamp` must be a finite number.".to_owned());
        }
        Ok(NewMessage {
            id,
            kind,
            payload,
            timestamp,
        })
    }

    /// The id, unique in the queue.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The type.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The payload, a JSON text.
    pub fn payload(&self) -> &str {
        &self.payload
    }

    /// When the message arose, in milliseconds since 1970 by its sender's reckoning.
    pub fn timestamp(&self) -> f64 {
        self.timestamp
    }
}

/// Messages on their way into the queue: the JSON texts
/// `{"id": …, "type": …, "timestamp": …, "payload": …}`, one behind the other.
///
/// Whoever makes them vouches that each is one JSON value. A record in just this form, with its
/// payload last, is taken apart without reading the payload; any other order is read whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Records {
    text: String,
    /// Where each record ends.
    ends: Vec<usize>,
}

impl Records {
    /// The records that `text` is made of. Each ends where `ends` says, and the next begins there.
    ///
    /// # Errors
    /// `Internal` when these are no places in the text, in order.
    pub fn new(text: String, ends: Vec<usize>) -> Result<Self> {
        let fits = ends.is_sorted() && ends.iter().all(|&end| text.is_char_boundary(end));
        if !fits {
            return Err(Error::rule(
                Code::Internal,
                "Records end within their text.",
            ));
        }
        Ok(Records { text, ends })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of memory that they take.
    pub fn bytes(&self) -> usize {
        self.text.len() + size_of_val(self.ends.as_slice())
    }

    /// The JSON texts.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let begins = std::iter::once(&0).chain(&self.ends);
        begins
            .zip(&self.ends)
            .map(|(&begin, &end)| &self.text[begin..end])
    }

    /// The messages, all or none.
    ///
    /// # Errors
    /// `InvalidMessage`, naming the field and, among several, the index of the message.
    pub fn messages(&self) -> Result<Vec<NewMessage<'_>>> {
        let count = self.len();
        self.iter()
            .enumerate()
            .map(|(index, record)| {
                message_of(record).map_err(|text| match count {
                    1 => invalid(text),
                    _ => invalid(format!("At index {index} of {count}: {text}")),
                })
            })
            .collect()
    }

    /// The messages, each accepted or refused by itself; with a `dialect` they have to satisfy the
    /// schema too, as this zod judges.
    pub fn each_message(
        &self,
        dialect: Option<Dialect>,
    ) -> impl Iterator<Item = Result<NewMessage<'_>>> {
        self.iter().map(move |record| {
            if let Some(dialect) = dialect {
                validate::validate_json(&validate::QUEUE_MESSAGE, record.as_bytes(), dialect)?;
            }
            message_of(record).map_err(invalid)
        })
    }
}

impl<S: AsRef<str>> FromIterator<S> for Records {
    fn from_iter<I: IntoIterator<Item = S>>(records: I) -> Self {
        let mut all = Records::default();
        for record in records {
            all.text.push_str(record.as_ref());
            all.ends.push(all.text.len());
        }
        all
    }
}

fn message_of(record: &str) -> Result<NewMessage<'_>, String> {
    if let Some(parts) = Parts::of(record) {
        return NewMessage::of_json(
            parts.id.into(),
            parts.kind.into(),
            parts.payload.into(),
            parts.timestamp,
        );
    }
    let mut reader = serde_json::Deserializer::from_str(record);
    let element = ElementSeed.deserialize(&mut reader);
    element
        .and_then(|element| reader.end().map(|()| element))
        .map_err(|error| format!("The message is not JSON: {error}."))?
        .into_message()
}

/// The parts of a record whose payload is last and whose names need no unescaping.
struct Parts<'a> {
    id: &'a str,
    kind: &'a str,
    timestamp: f64,
    payload: &'a str,
}

impl<'a> Parts<'a> {
    fn of(record: &'a str) -> Option<Self> {
        let (id, rest) = plain_string(record.strip_prefix("{\"id\":")?)?;
        let (kind, rest) = plain_string(rest.strip_prefix(",\"type\":")?)?;
        let (timestamp, rest) = rest.strip_prefix(",\"timestamp\":")?.split_once(',')?;
        let payload = rest.strip_prefix("\"payload\":")?.strip_suffix('}')?;
        Some(Parts {
            id,
            kind,
            timestamp: number(timestamp)?,
            payload,
        })
    }
}

/// What stands between the quotes that the text begins with, and what follows. `None` where
/// something is escaped.
fn plain_string(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('"')?;
    let end = memchr::memchr2(b'"', b'\\', inner.as_bytes())?;
    let rest = inner[end..].strip_prefix('"')?;
    Some((&inner[..end], rest))
}

/// The grammar of JSON numbers is a part of Rust's, whose conversion is exact; serde_json's own may
/// be off by one unit in the last place.
fn number(json: &str) -> Option<f64> {
    match json_type(json) {
        "number" => json.parse().ok(),
        _ => None,
    }
}

fn invalid(text: impl Into<Cow<'static, str>>) -> Error {
    Error::rule(Code::InvalidMessage, text)
}

/// A record that was read whole, not yet judged: the raw text of each field.
#[derive(Default)]
struct Element<'a> {
    is_object: bool,
    id: Option<&'a RawValue>,
    kind: Option<&'a RawValue>,
    payload: Option<&'a RawValue>,
    timestamp: Option<&'a RawValue>,
}

impl<'a> Element<'a> {
    fn into_message(self) -> Result<NewMessage<'a>, String> {
        if !self.is_object {
            return Err("A message must be an object.".to_owned());
        }
        let id = string("id", self.id)?;
        let kind = string("type", self.kind)?;
        let Some(payload) = self.payload else {
            return Err("The message has no `payload`; use null for none.".to_owned());
        };
        let timestamp = match self.timestamp.map(RawValue::get) {
            Some(text) if json_type(text) == "number" => number(text).unwrap_or(f64::NAN),
            other => {
                return Err(format!(
                    "The message's `timestamp` must be a finite number, not {}.",
                    other.map_or("missing", json_type)
                ));
            }
        };
        NewMessage::of_json(id, kind, Cow::Borrowed(payload.get()), timestamp)
    }
}

fn string<'a>(name: &str, value: Option<&'a RawValue>) -> Result<Cow<'a, str>, String> {
    let text = value.map(RawValue::get);
    match text {
        Some(text) if json_type(text) == "string" => {
            let inner = text.get(1..text.len() - 1).unwrap_or_default();
            if !inner.contains('\\') {
                return Ok(Cow::Borrowed(inner));
            }
            serde_json::from_str::<String>(text)
                .map(Cow::Owned)
                .map_err(|_| {
                    format!(
                        "The message's `{name}` contains half of a surrogate pair, which has no \
                     UTF-8 form."
                    )
                })
        }
        other => Err(format!(
            "The message's `{name}` must be a non-empty string, not {}.",
            other.map_or("missing", json_type)
        )),
    }
}

/// The type of a JSON value, by its first letter.
fn json_type(text: &str) -> &'static str {
    match text.as_bytes().first() {
        Some(b'"') => "string",
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "number",
    }
}

struct ElementSeed;

impl<'de> DeserializeSeed<'de> for ElementSeed {
    type Value = Element<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// Anything that is not an object becomes an element that says so, for an error with its index.
impl<'de> Visitor<'de> for ElementSeed {
    type Value = Element<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Element::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Element::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Element::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Element::default())
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Element::default())
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Element::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Element::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut element = Element {
            is_object: true,
            ..Element::default()
        };
        while let Some(field) = map.next_key_seed(FieldSeed)? {
            let slot = match field {
                Field::Id => &mut element.id,
                Field::Type => &mut element.kind,
                Field::Payload => &mut element.payload,
                Field::Timestamp => &mut element.timestamp,
                Field::Other => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            *slot = Some(map.next_value()?);
        }
        Ok(element)
    }
}

enum Field {
    Id,
    Type,
    Payload,
    Timestamp,
    Other,
}

struct FieldSeed;

impl<'de> DeserializeSeed<'de> for FieldSeed {
    type Value = Field;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Field, D::Error> {
        // As bytes, a key may hold half of a surrogate pair; V8 writes such keys.
        deserializer.deserialize_bytes(self)
    }
}

impl Visitor<'_> for FieldSeed {
    type Value = Field;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_bytes<E: de::Error>(self, key: &[u8]) -> Result<Field, E> {
        Ok(match key {
            b"id" => Field::Id,
            b"type" => Field::Type,
            b"payload" => Field::Payload,
            b"timestamp" => Field::Timestamp,
            _ => Field::Other,
        })
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<Field, E> {
        self.visit_bytes(key.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_read_as_json_parse_reads_it() {
        let records = Records::from_iter([
            r#" {"id":"a\n","type":"t","payload": {"x":[1, 2]} ,"timestamp":1.5e3} "#,
            r#"{"\ud800":1,"extra":[[]],"timestamp":1700000000000.1,"payload":null,"id":"old",
                "type":"é","\u0069d":"new"}"#,
            r#"{"id":"b","type":"t","timestamp":-0.5,"payload":"}"}"#,
            r#"{"id":"\"","type":"\\","timestamp":1e3,"payload":[{"id":1}]}"#,
        ]);
        let messages = records.messages().expect("all are valid");
        let fields: Vec<_> = messages
            .iter()
            .map(|m| (m.id(), m.kind(), m.payload(), m.timestamp()))
            .collect();
        assert_eq!(
            fields,
            [
                ("a\n", "t", r#"{"x":[1, 2]}"#, 1500.0),
                ("new", "é", "null", 1_700_000_000_000.1),
                ("b", "t", r#""}""#, -0.5),
                ("\"", "\\", r#"[{"id":1}]"#, 1000.0),
            ]
        );
        let none = Records::default();
        assert!(none.is_empty() && none.messages().expect("empty is valid").is_empty());
    }

    #[test]
    fn records_end_where_they_are_said_to() {
        let records = Records::new("aé1".to_owned(), vec![1, 3, 3, 4]).expect("in order");
        assert_eq!(records.iter().collect::<Vec<_>>(), ["a", "é", "", "1"]);
        assert_eq!(records.len(), 4);
        for ends in [vec![2], vec![3, 1], vec![5]] {
            let error = Records::new("aé1".to_owned(), ends).expect_err("no such places");
            assert_eq!(error.code(), "ERR_IPC_INTERNAL");
        }
    }

    #[test]
    fn a_payload_that_comes_last_is_not_read() {
        for depth in [1, 100_000] {
            let payload = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            let record = format!(r#"{{"id":"a","type":"t","timestamp":1,"payload":{payload}}}"#);
            let parts = Parts::of(&record).expect("in this order");
            assert_eq!((parts.payload, parts.timestamp), (payload.as_str(), 1.0));
        }
        for other in [
            r#"{"id":"a","type":"t","payload":1,"timestamp":1}"#,
            r#"{"id":"a\n","type":"t","timestamp":1,"payload":1}"#,
            r#"{"id":7,"type":"t","timestamp":1,"payload":1}"#,
            r#"{"id":"a","type":"t","timestamp":null,"payload":1}"#,
            "",
        ] {
            assert!(Parts::of(other).is_none(), "{other}");
        }
    }

    #[test]
    fn a_broken_message_is_named() {
        let good = r#"{"id":"a","type":"t","payload":1,"timestamp":1}"#;
        let cases = [
            (
                r#"{"type":"t","payload":1,"timestamp":1}"#,
                "`id` must be a non-empty string, not missing",
            ),
            (
                r#"{"id":7,"type":"t","payload":1,"timestamp":1}"#,
                "`id` must be a non-empty string, not number",
            ),
            (
                r#"{"id":null,"type":"t","payload":1,"timestamp":1}"#,
                "not null",
            ),
            (
                r#"{"id":"","type":"t","payload":1,"timestamp":1}"#,
                "`id` must not be an empty",
            ),
            (
                r#"{"id":"\udc00","type":"t","payload":1,"timestamp":1}"#,
                "`id` contains half of",
            ),
            (
                r#"{"id":"a","type":[],"payload":1,"timestamp":1}"#,
                "`type` must be a non-empty string, not an array",
            ),
            (r#"{"id":"a","payload":1,"timestamp":1}"#, "`type` must be"),
            (r#"{"id":"a","type":"t","timestamp":1}"#, "no `payload`"),
            (
                r#"{"id":"a","type":"t","payload":1}"#,
                "`timestamp` must be a finite number, not missing",
            ),
            (
                r#"{"id":"a","type":"t","payload":1,"timestamp":null}"#,
                "not null",
            ),
            (
                r#"{"id":"a","type":"t","payload":1,"timestamp":"1"}"#,
                "not string",
            ),
            (
                r#"{"id":"a","type":"t","payload":1,"timestamp":1e999}"#,
                "must be a finite number",
            ),
            ("[1]", "must be an object"),
            (
                r#"{"id":"","type":"t","timestamp":1,"payload":1}"#,
                "`id` must not",
            ),
            (
                r#"{"id":"a","type":"t","timestamp":1e999,"payload":1}"#,
                "finite number",
            ),
            ("{", "is not JSON"),
            ("1 2", "is not JSON"),
            ("null", "must be an object"),
            ("\"x\"", "must be an object"),
            ("-7", "must be an object"),
        ];
        for (broken, expected) in cases {
            let alone = Records::from_iter([broken]);
            let alone = alone.messages().expect_err(broken);
            assert_eq!(alone.code(), "ERR_IPC_INVALID_MESSAGE");
            assert!(alone.to_string().contains(expected), "{broken}: {alone}");
            let batch = Records::from_iter([good, broken]);
            let each: Vec<_> = batch.each_message(None).collect();
            assert!(each[0].is_ok() && each[1].is_err(), "{broken}");
            let batch = batch.messages().expect_err(broken);
            assert!(
                batch.to_string().starts_with("At index 1 of 2: "),
                "{batch}"
            );
        }
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        let text = format!(r#"{{"id":"a","type":"t","x":{deep},"payload":{deep},"timestamp":1}}"#);
        let records = Records::from_iter([text]);
        let messages = records.messages().expect("depth is no fault");
        assert_eq!(messages[0].payload().len(), 2_000_000);
        NewMessage::new("a", "t", deep, 1.0).expect("depth is no fault");
    }

    #[test]
    fn a_message_made_by_hand_obeys_the_same_rules() {
        let long = "x".repeat(limits::NAME_BYTES_MAX + 1);
        let cases = [
            ("", "t", "1", 1.0),
            ("a", "", "1", 1.0),
            ("a", "t", "", 1.0),
            ("a", "t", "{", 1.0),
            ("a", "t", "1 2", 1.0),
            ("a", "t", "1", f64::NAN),
            ("a", "t", "1", f64::INFINITY),
            (&long, "t", "1", 1.0),
        ];
        for (id, kind, payload, timestamp) in cases {
            let error = NewMessage::new(id, kind, payload, timestamp).expect_err(payload);
            assert_eq!(error.code(), "ERR_IPC_INVALID_MESSAGE");
        }
    }
}
