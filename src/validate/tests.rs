use super::rules::{NON_EMPTY, number, rules_json_of};
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
    let fixture = include_str!("../../__test__/fixtures/rules.json");
    assert_eq!(parse(&rules_json()), parse(fixture));
    let fixture = include_str!("../../__test__/fixtures/rules-sample.json");
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
    let corpus = parse(include_str!(
        "../../__test__/fixtures/validation-corpus.json"
    ));
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
    let Err(Refusal::Issues(issues)) = validate_json(&ORDER, document.as_bytes(), Dialect::ZOD_4)
    else {
        panic!("an array of numbers passed for strings");
    };
    assert_eq!(issues.len(), ISSUES_MAX);
}

#[test]
fn a_refusal_reads_well() {
    let refusal =
        |schema, json: &str| validate_json(schema, json.as_bytes(), Dialect::ZOD_4).unwrap_err();
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
