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

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::error::{Code, Error};
use crate::limits::ISSUES_MAX;

/// What a value may be.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(
    tag = "kind",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum Kind {
    /// Any value. A field of this kind is always marked [`Field::optional`]: zod versions
    /// disagree on whether a missing key counts as "any".
    Any,
    /// `true` or `false`.
    Boolean,
    /// A string.
    String {
        /// Whether the empty string is refused. There is no rule for other lengths: zod counts
        /// UTF-16 code units up to 4.4 and code points since.
        non_empty: bool,
    },
    /// A number.
    Number {
        /// Whether fractions are refused.
        integer: bool,
        /// Which side of zero is allowed.
        bound: Bound,
    },
    /// An array.
    Array {
        /// What each element is.
        items: &'static Kind,
    },
    /// An object of another schema; the tables cannot be cyclic, so this nests only a few deep.
    Object {
        /// Its schema.
        schema: &'static Schema,
    },
}

/// Which side of zero a number may lie on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Bound {
    /// Either side.
    Any,
    /// Zero or above.
    Nonnegative,
    /// Above zero.
    Positive,
}

/// One key of an object, and what may stand under it.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Field {
    /// The key.
    pub key: &'static str,
    /// What the value may be.
    #[serde(flatten)]
    pub kind: Kind,
    /// Whether the key may be missing.
    #[serde(skip_serializing_if = "is_false")]
    pub optional: bool,
    /// Whether the value may also be `null`.
    #[serde(skip_serializing_if = "is_false")]
    pub nullable: bool,
}

impl Field {
    /// A field that has to be there.
    pub const fn new(key: &'static str, kind: Kind) -> Self {
        Field {
            key,
            kind,
            optional: false,
            nullable: false,
        }
    }

    /// The same field, which may be missing.
    pub const fn optional(self) -> Self {
        Field {
            optional: true,
            ..self
        }
    }

    /// The same field, which may be `null`.
    pub const fn nullable(self) -> Self {
        Field {
            nullable: true,
            ..self
        }
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// The fields of one kind of message. Keys that it does not name are allowed and mean nothing.
#[derive(Debug)]
pub struct Schema {
    /// The name, without suffix: `GapRecord` becomes `GapRecordDTOSchema` in JavaScript.
    pub name: &'static str,
    /// The fields, in the order in which issues are reported.
    pub fields: &'static [Field],
}

impl Serialize for Schema {
    /// A schema within a rule is written as its name; [`rules_json`] writes the fields once.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name)
    }
}

const TEXT: Kind = Kind::String { non_empty: false };
const NON_EMPTY: Kind = Kind::String { non_empty: true };
const NUMBER: Kind = number(false, Bound::Any);
const NONNEGATIVE: Kind = number(false, Bound::Nonnegative);
const POSITIVE: Kind = number(false, Bound::Positive);
const NONNEGATIVE_INTEGER: Kind = number(true, Bound::Nonnegative);
const POSITIVE_INTEGER: Kind = number(true, Bound::Positive);

const fn number(integer: bool, bound: Bound) -> Kind {
    Kind::Number { integer, bound }
}

/// JavaScript's `Number.MAX_SAFE_INTEGER`.
const SAFE_INTEGER_MAX: f64 = 9_007_199_254_740_991.0;

/// A message of the queue.
pub static QUEUE_MESSAGE: Schema = Schema {
    name: "QueueMessage",
    fields: &[
        Field::new("id", NON_EMPTY),
        Field::new("type", NON_EMPTY),
        Field::new("payload", Kind::Any).optional(),
        Field::new("timestamp", POSITIVE),
    ],
};

const EXCHANGE: Field = Field::new("exchange", NON_EMPTY);
const SYMBOL: Field = Field::new("symbol", NON_EMPTY);

/// The state of the candle of one symbol, as the runtime database keeps it.
pub static STATE_ENTRY: Schema = Schema {
    name: "StateEntry",
    fields: &[
        EXCHANGE,
        SYMBOL,
        Field::new("stateJson", NON_EMPTY),
        Field::new("updatedAt", POSITIVE_INTEGER).optional(),
    ],
};

/// What was traded at one price level of a candle.
pub static AGGS: Schema = Schema {
    name: "Aggs",
    fields: &[
        Field::new("tp", NUMBER),
        Field::new("bv", NONNEGATIVE),
        Field::new("sv", NONNEGATIVE),
        Field::new("v", NONNEGATIVE),
        Field::new("bq", NONNEGATIVE).optional(),
        Field::new("sq", NONNEGATIVE).optional(),
        Field::new("q", NONNEGATIVE).optional(),
    ],
};

/// A footprint candle: a candle with what was traded at each of its price levels.
pub static FOOTPRINT_CANDLE: Schema = Schema {
    name: "FootprintCandle",
    fields: &[
        Field::new("e", TEXT),
        Field::new("tz", TEXT),
        Field::new("ex", TEXT),
        Field::new("a", TEXT),
        Field::new("s", NON_EMPTY),
        Field::new("i", NON_EMPTY),
        Field::new("vi", POSITIVE_INTEGER),
        Field::new("t", NONNEGATIVE_INTEGER),
        Field::new("ct", NONNEGATIVE_INTEGER),
        Field::new("n", NONNEGATIVE_INTEGER),
        Field::new("f", NONNEGATIVE_INTEGER),
        Field::new("ls", NONNEGATIVE_INTEGER),
        Field::new("o", NONNEGATIVE),
        Field::new("h", NONNEGATIVE),
        Field::new("l", NONNEGATIVE),
        Field::new("c", NONNEGATIVE),
        Field::new("v", NONNEGATIVE),
        Field::new("bv", NONNEGATIVE),
        Field::new("sv", NONNEGATIVE),
        Field::new("q", NONNEGATIVE),
        Field::new("bq", NONNEGATIVE),
        Field::new("sq", NONNEGATIVE),
        Field::new("d", NUMBER),
        Field::new("dMax", NUMBER),
        Field::new("dMin", NUMBER),
        Field::new("tv", POSITIVE),
        Field::new("bm", NUMBER).optional(),
        Field::new("ebs", NUMBER).optional(),
        Field::new(
            "aggs",
            Kind::Array {
                items: &Kind::Object { schema: &AGGS },
            },
        ),
        Field::new("x", Kind::Boolean),
    ],
};

/// Candles of one symbol that travel together.
pub static CANDLE_GROUP: Schema = Schema {
    name: "CandleGroup",
    fields: &[
        Field::new("event", TEXT),
        Field::new("typeData", TEXT),
        Field::new("asset", TEXT),
        Field::new("contSymbol", TEXT),
        SYMBOL,
        Field::new("eventTime", POSITIVE_INTEGER),
        Field::new(
            "data",
            Kind::Array {
                items: &Kind::Object {
                    schema: &FOOTPRINT_CANDLE,
                },
            },
        ),
    ],
};

const FROM_TRADE_ID: Field = Field::new("fromTradeId", NONNEGATIVE_INTEGER);
const TO_TRADE_ID: Field = Field::new("toTradeId", NONNEGATIVE_INTEGER);
const GAP_SIZE: Field = Field::new("gapSize", POSITIVE_INTEGER);
const DETECTED_AT: Field = Field::new("detectedAt", POSITIVE_INTEGER);

/// A gap in the trades of one symbol, as it is reported.
pub static GAP_RECORD_INPUT: Schema = Schema {
    name: "GapRecordInput",
    fields: &[
        EXCHANGE,
        SYMBOL,
        FROM_TRADE_ID,
        TO_TRADE_ID,
        GAP_SIZE,
        DETECTED_AT,
    ],
};

/// A gap as the runtime database keeps it.
pub static GAP_RECORD: Schema = Schema {
    name: "GapRecord",
    fields: &[
        EXCHANGE,
        SYMBOL,
        FROM_TRADE_ID,
        TO_TRADE_ID,
        GAP_SIZE,
        DETECTED_AT,
        Field::new("id", POSITIVE_INTEGER),
        Field::new("synced", Kind::Boolean),
        Field::new("syncedAt", POSITIVE_INTEGER).nullable(),
    ],
};

/// Every schema, including those that stand only within others.
pub static SCHEMAS: &[&Schema] = &[
    &QUEUE_MESSAGE,
    &STATE_ENTRY,
    &AGGS,
    &FOOTPRINT_CANDLE,
    &CANDLE_GROUP,
    &GAP_RECORD_INPUT,
    &GAP_RECORD,
];

/// The table as JSON text: an object of schema names, each with the array of its fields, such as
/// `{"QueueMessage":[{"key":"id","kind":"string","nonEmpty":true}, …]}`. Flags that are not set
/// are left out.
pub fn rules_json() -> String {
    rules_json_of(SCHEMAS)
}

fn rules_json_of(schemas: &[&Schema]) -> String {
    let table: BTreeMap<_, _> = schemas
        .iter()
        .map(|schema| (schema.name, schema.fields))
        .collect();
    serde_json::to_string(&table).expect("the table holds only strings, numbers and flags")
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    static LINE: Schema = Schema {
        name: "Line",
        fields: &[
            Field::new("quantity", number(false, Bound::Nonnegative)),
            Field::new("price", number(false, Bound::Positive)).optional(),
        ],
    };

    /// A schema with every kind of rule, which the JavaScript tests know too.
    static ORDER: Schema = Schema {
        name: "Order",
        fields: &[
            Field::new("id", NON_EMPTY),
            Field::new("label", Kind::String { non_empty: false }),
            Field::new("paid", Kind::Boolean),
            Field::new("balance", number(false, Bound::Any)),
            Field::new("offset", number(true, Bound::Any)),
            Field::new("sequence", number(true, Bound::Nonnegative)),
            Field::new("shippedAt", number(true, Bound::Positive)).nullable(),
            Field::new("updatedAt", number(true, Bound::Positive)).optional(),
            Field::new(
                "lines",
                Kind::Array {
                    items: &Kind::Object { schema: &LINE },
                },
            ),
            Field::new("tags", Kind::Array { items: &NON_EMPTY }),
            Field::new("extra", Kind::Any).optional(),
        ],
    };

    const DIALECTS: [(&str, Dialect); 2] = [("zod3", Dialect::ZOD_3), ("zod4", Dialect::ZOD_4)];

    fn parse(json: &str) -> Value {
        serde_json::from_str(json).unwrap()
    }

    /// A verdict in the words of the corpus: `not JSON`, or paths with codes.
    fn verdict(schema: &'static Schema, json: &[u8], dialect: Dialect) -> Value {
        let issues = match validate_json(schema, json, dialect) {
            Ok(()) => vec![],
            Err(Refusal::NotJson(_)) => return Value::from("not JSON"),
            Err(Refusal::Issues(issues)) => issues,
        };
        let in_words = issues.iter().map(|issue| {
            let path: Vec<_> = issue
                .path
                .iter()
                .map(|segment| match segment {
                    Segment::Key(key) => (*key).to_owned(),
                    Segment::Index(index) => index.to_string(),
                })
                .collect();
            Value::from(format!("{} {}", path.join("."), issue.code.as_str()))
        });
        Value::Array(in_words.collect())
    }

    #[test]
    fn the_table_is_the_one_that_the_javascript_tests_use() {
        let fixture = include_str!("../__test__/fixtures/rules.json");
        assert_eq!(parse(&rules_json()), parse(fixture));
        let fixture = include_str!("../__test__/fixtures/rules-sample.json");
        assert_eq!(parse(&rules_json_of(&[&ORDER, &LINE])), parse(fixture));
    }

    #[test]
    fn the_table_is_sound() {
        for schema in SCHEMAS {
            for (index, field) in schema.fields.iter().enumerate() {
                let name = format!("{}.{}", schema.name, field.key);
                assert!(
                    schema.fields[..index]
                        .iter()
                        .all(|other| other.key != field.key),
                    "{name} stands twice"
                );
                assert!(
                    field.optional || !matches!(field.kind, Kind::Any),
                    "{name}: any, so also missing"
                );
                let mut kind = &field.kind;
                while let Kind::Array { items } = kind {
                    kind = items;
                }
                if let Kind::Object { schema: inner } = kind {
                    assert!(
                        SCHEMAS.iter().any(|known| known.name == inner.name),
                        "{name}: {} is not in the table",
                        inner.name
                    );
                }
            }
        }
    }

    #[test]
    fn verdicts_and_issues_are_those_of_zod() {
        let corpus = parse(include_str!("../__test__/fixtures/validation-corpus.json"));
        let schemas: Vec<_> = SCHEMAS.iter().copied().chain([&ORDER]).collect();
        for entry in corpus.as_array().unwrap() {
            let schema = *schemas
                .iter()
                .find(|schema| entry["schema"] == schema.name)
                .expect("a schema of the table");
            let json = entry["json"].as_str().unwrap();
            for (name, dialect) in DIALECTS {
                assert_eq!(
                    verdict(schema, json.as_bytes(), dialect),
                    entry[name],
                    "{name} on {json}"
                );
            }
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_not_json() {
        let documents: [&[u8]; 4] = [
            b"\xff",
            b"{\"id\":\"\xed\xa0\x80\",\"type\":\"b\",\"timestamp\":1}",
            b"{\"id\":\"a\",\"type\":\"b\",\"payload\":\"\xc3\",\"timestamp\":1}",
            b"{\"id\":\"a\",\"type\":\"b\",\"timestamp\":1,\"\x80\":1}",
        ];
        for document in documents {
            assert_eq!(
                verdict(&QUEUE_MESSAGE, document, Dialect::ZOD_4),
                "not JSON"
            );
        }
    }

    #[test]
    fn every_cut_of_a_message_is_not_json() {
        let message = br#"{"id":"a","type":"\u0062","payload":[{"c":-1.5e+3}],"timestamp":1.0}"#;
        assert_eq!(
            verdict(&QUEUE_MESSAGE, message, Dialect::ZOD_4),
            Value::Array(vec![])
        );
        for end in 0..message.len() {
            assert_eq!(
                verdict(&QUEUE_MESSAGE, &message[..end], Dialect::ZOD_4),
                "not JSON"
            );
        }
    }

    #[test]
    fn depth_costs_no_stack() {
        const DEPTH: usize = 10_000_000;
        let nested = "[".repeat(DEPTH) + &"]".repeat(DEPTH);
        let check = move || {
            let place = |key: &str| {
                format!(r#"{{"id":"a","type":"b","timestamp":1,"{key}":{nested}}}"#).into_bytes()
            };
            for (document, expected) in [
                (place("payload"), vec![]),
                (place("unknown"), vec![]),
                (place("id"), vec![Value::from("id invalid_type")]),
                (
                    nested.clone().into_bytes(),
                    vec![Value::from(" invalid_type")],
                ),
            ] {
                let actual = verdict(&QUEUE_MESSAGE, &document, Dialect::ZOD_4);
                assert_eq!(actual, Value::Array(expected));
            }
            let open = format!(r#"{{"payload":{}"#, "[{\"a\":".repeat(DEPTH / 10));
            assert_eq!(
                verdict(&QUEUE_MESSAGE, open.as_bytes(), Dialect::ZOD_4),
                "not JSON"
            );
        };
        let thread = std::thread::Builder::new()
            .stack_size(128 * 1024)
            .spawn(check)
            .unwrap();
        thread.join().unwrap();
    }

    #[test]
    fn a_refusal_lists_a_bounded_number_of_issues() {
        let document = format!(r#"{{"tags":[{}1]}}"#, "1,".repeat(10_000));
        let Err(Refusal::Issues(issues)) =
            validate_json(&ORDER, document.as_bytes(), Dialect::ZOD_4)
        else {
            panic!("an array of numbers passed for strings");
        };
        assert_eq!(issues.len(), ISSUES_MAX);
    }

    #[test]
    fn a_refusal_reads_well() {
        let refusal = |schema, json: &str| {
            validate_json(schema, json.as_bytes(), Dialect::ZOD_4).unwrap_err()
        };
        let cases = [
            ("[]", "expected object, received array"),
            (
                r#"{"id":"","type":null,"timestamp":0}"#,
                "id: expected a string that is not empty; type: expected string, received null; \
                 timestamp: expected a number above 0",
            ),
            (r#"{"id":"a","type":"b"}"#, "timestamp: required"),
            (
                "{",
                "not valid JSON: EOF while parsing an object at line 1 column 1",
            ),
        ];
        for (json, text) in cases {
            assert_eq!(refusal(&QUEUE_MESSAGE, json).to_string(), text);
        }
        let order = refusal(&ORDER, r#"{"lines":[{"quantity":true}]}"#).to_string();
        assert!(
            order.contains("lines[0].quantity: expected number, received boolean"),
            "{order}"
        );

        let error = Error::from(refusal(&QUEUE_MESSAGE, "1"));
        assert_eq!(error.code(), Code::InvalidMessage.as_str());
        assert_eq!(
            error.to_string(),
            "The message is invalid: expected object, received number"
        );
    }
}
