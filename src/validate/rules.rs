//! The table: what every kind of data looks like. Written here and nowhere else.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

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
pub(super) const NON_EMPTY: Kind = Kind::String { non_empty: true };
const NUMBER: Kind = number(false, Bound::Any);
const NONNEGATIVE: Kind = number(false, Bound::Nonnegative);
const POSITIVE: Kind = number(false, Bound::Positive);
const NONNEGATIVE_INTEGER: Kind = number(true, Bound::Nonnegative);
const POSITIVE_INTEGER: Kind = number(true, Bound::Positive);

pub(super) const fn number(integer: bool, bound: Bound) -> Kind {
    Kind::Number { integer, bound }
}

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

pub(super) fn rules_json_of(schemas: &[&Schema]) -> String {
    let table: BTreeMap<_, _> = schemas
        .iter()
        .map(|schema| (schema.name, schema.fields))
        .collect();
    serde_json::to_string(&table).expect("the table holds only strings, numbers and flags")
}
