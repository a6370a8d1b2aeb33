//! Notes made of a JSON text and printed again are the text as `JSON.stringify` would have it.

use super::draft::PREFIX_BYTES;
use super::{Around, Draft, Habit, Malformed, Package, Scanner, Token, print, print_apart};

mod objects;
mod printing;
mod texts;

const LINES: Around<'_> = Around {
    before: b"\n",
    mark: b"",
};

/// The notes of a message.
fn note(scanner: &mut Scanner, json: &str) -> Vec<u8> {
    let mut draft = Draft::default();
    scanner.message(json.as_bytes(), &mut draft);
    draft.finish()
}

/// What a text is printed as, and whether it was taken apart.
fn round_trip(json: &str) -> (String, bool) {
    let mut scanner = Scanner::default();
    let notes = note(&mut scanner, json);
    let mut text = Vec::new();
    print(
        &notes,
        &scanner.take_definitions(),
        Around::default(),
        &mut text,
    )
    .unwrap();
    let is_scanned = notes[PREFIX_BYTES + 1] != Token::Json as u8 || json.starts_with('"');
    (String::from_utf8(text).unwrap(), is_scanned)
}

#[test]
fn what_is_taken_apart_is_printed_as_before() {
    let cases = [
        "{}",
        "[]",
        "null",
        "[true,false,null]",
        "{\"a\":1,\"b\":[{\"a\":2,\"b\":3},{\"a\":4}],\"\":{}}",
        "[0,-1,2147483647,-2147483648,2147483648,9007199254740992,1e+21,1e-7]",
        "[0.1,-0.25,59980.1,123.456789,0.30000000000000004,5e-324,1.7976931348623157e+308]",
        "[\"\",\"short\",\"eight ch\",\"nine char\",\"Lücke\",\"価格 📈\"]",
        "[\"a\\\"b\",\"\\\\\",\"\\u0000\",\"\\ud800\",\"tab\\t\"]",
        "{\"Lücke\":1}",
    ];
    for json in cases {
        assert_eq!(round_trip(json), (json.to_owned(), true), "{json}");
    }
    let long = format!("[\"{}\",\"{}\"]", "x".repeat(300), "é".repeat(300));
    assert_eq!(round_trip(&long), (long.clone(), true));
}

#[test]
fn space_and_other_forms_of_numbers_are_read() {
    let cases = [
        (" { \"a\" : [ 1 , 2 ] } \t \t", "{\"a\":[1,2]}"),
        (
            "[1.0,1.50,1e2,1E-2,-0,0e0,100000000000000000000]",
            "[1,1.5,100,0.01,0,0,100000000000000000000]",
        ),
        ("[1e999,-1e999]", "[null,null]"),
        ("{\r\n\"a\":\n1}", "{\"a\":1}"),
    ];
    for (json, text) in cases {
        assert_eq!(round_trip(json), (text.to_owned(), true), "{json}");
    }
}

#[test]
fn what_is_malformed_or_for_v8_is_passed_on_as_it_is() {
    let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
    let cases = [
        "",
        " ",
        "{",
        "[",
        "[1",
        "[1,",
        "[1,]",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":1,}",
        "{a:1}",
        "01",
        "-",
        "1.",
        ".5",
        "1e",
        "+1",
        "nul",
        "truex",
        "[1 2]",
        "1 2",
        "{\"a\" 1}",
        "NaN",
        "[\"\u{1}\"]",
        "[\"a]",
        "[\"\\x\"]",
        "[\"\\u12g4\"]",
        "[\"\\",
        "[\"tab\there\"]",
        "{\"__proto__\":1}",
        "{\"a\\n\":1}",
        &deep,
    ];
    for json in cases {
        assert_eq!(round_trip(json), (json.to_owned(), false), "{json}");
    }
}

/// Every text cut off somewhere is malformed, and nothing is read behind its end.
#[test]
fn a_text_that_breaks_off_is_passed_on() {
    let json = "{\"a\":[1,-2.5,\"te\\u00e9xt\",true,{\"b\":null}],\"c\":\"long enough for eight\"}";
    for end in 0..json.len() {
        assert_eq!(round_trip(&json[..end]), (json[..end].to_owned(), false));
    }
    assert!(round_trip(json).1);
}

/// What texts are printed as that one scanner has taken apart, one after the other, and how long their
/// notes are.
fn print_in_turn(scanner: &mut Scanner, texts: &[String]) -> Vec<(String, usize)> {
    let mut definitions = Vec::new();
    let mut print_one = |json: &String| {
        let (notes, mut text) = (note(scanner, json), Vec::new());
        definitions.extend_from_slice(&scanner.take_definitions());
        print(&notes, &definitions, Around::default(), &mut text).unwrap();
        (String::from_utf8(text).unwrap(), notes.len() - PREFIX_BYTES)
    };
    texts.iter().map(&mut print_one).collect()
}

/// `count` keys that no shape has, each with a value.
fn further_keys(count: usize) -> String {
    let key = |number| format!("\"{}{number}\":null", "k".repeat(101));
    (0..count).map(key).collect::<Vec<_>>().join(",")
}

#[test]
fn what_json_parse_is_quicker_with_is_passed_on() {
    let list = |item: &str, count| format!("[{}]", vec![item; count].join(","));
    // Objects that are noted as they stand, beside more text than they have.
    let shapeless = |count| {
        let object = format!("{{{}}}", further_keys(101));
        format!(
            "[\"{}\",{}]",
            "x".repeat(50_000),
            vec![object; count].join(",")
        )
    };
    let cases = [
        (list("\"ten chars!\"", 100_000), true),
        (list("\"known by then\"", 100_000), true),
        (list("\"11 letters!\"", 12), true),
        (list("\"11 letters!\"", 13), false),
        (list("\"größer!\"", 13), false),
        (list("\"\\n\"", 13), false),
        (list("\"bekannte Größe\"", 100_000), true),
        (list("\"known by then\",\"11 letters!\"", 100), false),
        (list("\"known\",\"11 letters!\"", 100), true),
        (list("\"11 letters!\",0.5", 100_000), true),
        (list("\"11 letters!\",\"text\"", 100_000), true),
        (list("1", 64), true),
        (list("1", 65), false),
        (list("1,1,1,0.5", 100_000), true),
        (list(&format!("{{{}}}", further_keys(7)), 100), true),
        // The same eight keys come again.
        (list(&format!("{{{}}}", further_keys(8)), 2), true),
        (list(&format!("{{{}}}", further_keys(8)), 3), false),
        // Keys of one after the other that are expected to come.
        (
            list("{\"a\":\"11 letters!\",\"b\":\"11 letters!\",\"c\":1}", 100),
            true,
        ),
        (
            list("{\"a\":\"11 letters!\",\"b\":\"11 letters!\"}", 100),
            false,
        ),
        (list("true", 64), true),
        (list("null", 65), false),
        (
            list(&format!("\"11 letters!\",{{{}}}", further_keys(1)), 100),
            true,
        ),
        (shapeless(4), true),
        (shapeless(5), false),
    ];
    for (json, is_scanned) in cases {
        assert_eq!(round_trip(&json), (json.clone(), is_scanned), "{json:.50}");
    }
}

#[test]
fn after_a_few_of_a_kind_the_next_ones_are_not_looked_at() {
    let texts = format!(
        "[{}]",
        vec!["\"a text that is too long for a word\""; 20].join(",")
    );
    let mut scanner = Scanner::default();
    let mut is_scanned =
        |json: &str| note(&mut scanner, json)[PREFIX_BYTES + 1] != Token::Json as u8;
    for _ in 0..Habit::UNSUITED {
        assert!(is_scanned("[0.5]"));
        assert!(!is_scanned(&texts));
    }
    for _ in 1..Habit::UNSUITED {
        assert!(!is_scanned(&texts));
    }
    for _ in 0..2 {
        for _ in 0..Habit::UNSEEN {
            assert!(!is_scanned("[0.5]"));
        }
        assert!(!is_scanned(&texts));
    }
    for _ in 0..Habit::UNSEEN {
        assert!(!is_scanned("[0.5]"));
    }
    assert!(is_scanned("[0.5]"));
    assert!(is_scanned("[0.5]"));
}

/// Asserts that texts are printed as they were.
fn assert_unchanged(printed: &[(String, usize)], texts: &[String]) {
    for ((printed, _), json) in printed.iter().zip(texts) {
        assert_eq!(printed, json);
    }
}
