//! A message on its way into the queue, and the JSON text that brings a batch of them.
//!
//! A whole batch crosses the language boundary as one text; ids, types and payloads borrow from
//! it, so the only copy of a payload is the one that SQLite makes.

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

/// Reads the JSON text `[{"id", "type", "payload", "timestamp"}, …]`. Unknown keys are ignored;
/// of a key that occurs twice the last one counts, as in `JSON.parse`.
///
/// # Errors
/// `InvalidMessage`, naming the field and, in a batch of several, the index of the message. A
/// batch is accepted as a whole or not at all.
pub fn parse_messages(text: &str) -> Result<Vec<NewMessage<'_>>> {
    let elements = elements(text)?;
    let count = elements.len();
    elements
        .into_iter()
        .enumerate()
        .map(|(index, element)| {
            element.into_message().map_err(|text| match count {
                1 => invalid(text),
                _ => invalid(format!("At index {index} of {count}: {text}")),
            })
        })
        .collect()
}

/// As [`parse_messages`], but each message is accepted or refused by itself.
///
/// # Errors
/// `InvalidMessage` when the text is not a JSON array.
pub fn parse_each(text: &str) -> Result<Vec<Result<NewMessage<'_>>>> {
    Ok(elements(text)?
        .into_iter()
        .map(|element| element.into_message().map_err(invalid))
        .collect())
}

/// As [`parse_each`], of messages that have to satisfy the schema too.
///
/// # Errors
/// Those of [`parse_each`].
pub fn parse_valid(text: &str, dialect: Dialect) -> Result<Vec<Result<NewMessage<'_>>>> {
    let raw: Vec<&RawValue> = serde_json::from_str(text)
        .map_err(|error| invalid(format!("The messages are not a JSON array: {error}.")))?;
    let judge = |message: &'_ RawValue| {
        validate::validate_json(&validate::QUEUE_MESSAGE, message.get().as_bytes(), dialect)
    };
    let judged = raw.into_iter().map(judge);
    Ok(judged
        .zip(parse_each(text)?)
        .map(|(verdict, message)| verdict.map_err(Error::from).and(message))
        .collect())
}

fn elements(text: &str) -> Result<Vec<Element<'_>>> {
    let mut reader = serde_json::Deserializer::from_str(text);
    reader
        .deserialize_seq(ElementsVisitor)
        .and_then(|elements| reader.end().map(|()| elements))
        .map_err(|error| invalid(format!("The messages are not a JSON array: {error}.")))
}

fn invalid(text: impl Into<Cow<'static, str>>) -> Error {
    Error::rule(Code::InvalidMessage, text)
}

/// One element of the batch, not yet judged: the raw text of each field.
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
            // The grammar of JSON numbers is a part of Rust's; serde_json's own conversion may
            // be off by one unit in the last place.
            Some(text) if json_type(text) == "number" => text.parse().unwrap_or(f64::NAN),
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

struct ElementsVisitor;

impl<'de> Visitor<'de> for ElementsVisitor {
    type Value = Vec<Element<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of messages")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = seq.next_element_seed(ElementSeed)? {
            elements.push(element);
        }
        Ok(elements)
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
        let text = r#" [ {"id":"a\n","type":"t","payload": {"x":[1, 2]} ,"timestamp":1.5e3},
            {"\ud800":1,"extra":[[]],"timestamp":1700000000000.1,"payload":null,"id":"old",
             "type":"é","\u0069d":"new"}] "#;
        let messages = parse_messages(text).expect("both are valid");
        let fields: Vec<_> = messages
            .iter()
            .map(|m| (m.id(), m.kind(), m.payload(), m.timestamp()))
            .collect();
        assert_eq!(
            fields,
            [
                ("a\n", "t", r#"{"x":[1, 2]}"#, 1500.0),
                ("new", "é", "null", 1_700_000_000_000.1),
            ]
        );
        assert!(parse_messages("[]").expect("empty is valid").is_empty());
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
            ("[[1]]", "must be an object"),
            ("null", "must be an object"),
            ("\"x\"", "must be an object"),
            ("-7", "must be an object"),
        ];
        for (broken, expected) in cases {
            let alone = parse_messages(&format!("[{broken}]")).expect_err(broken);
            assert_eq!(alone.code(), "ERR_IPC_INVALID_MESSAGE");
            assert!(alone.to_string().contains(expected), "{broken}: {alone}");
            let batch = parse_messages(&format!("[{good},{broken}]")).expect_err(broken);
            assert!(
                batch.to_string().starts_with("At index 1 of 2: "),
                "{batch}"
            );
        }
        for text in ["", "{}", "[", "[] 1", "nonsense"] {
            let error = parse_messages(text).expect_err(text);
            assert_eq!(error.code(), "ERR_IPC_INVALID_MESSAGE");
        }
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        let text =
            format!(r#"[{{"id":"a","type":"t","x":{deep},"payload":{deep},"timestamp":1}}]"#);
        let messages = parse_messages(&text).expect("depth is no fault");
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
