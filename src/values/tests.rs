//! Notes made of a JSON text and printed again are the text as `JSON.stringify` would have it.

use super::{Around, Malformed, Scanner, Token, print, print_apart};

const LINES: Around<'_> = Around {
    before: b"\n",
    mark: b"",
};

/// What a text is printed as, and whether it was taken apart.
fn round_trip(json: &str) -> (String, bool) {
    let mut scanner = Scanner::default();
    let mut notes = Vec::new();
    scanner.message(json.as_bytes(), &mut notes);
    let mut text = Vec::new();
    print(
        &notes,
        &scanner.take_definitions(),
        Around::default(),
        &mut text,
    )
    .unwrap();
    let is_scanned = notes[1] != Token::Json as u8 || json.starts_with('"');
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
        "{\"Lücke\":1,\"a key that is rather long, much longer than keys are, so long that nobody would ever write it more than once in a life\":2}",
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

#[test]
fn strings_are_cut_where_they_end() {
    for length in 0..40 {
        for special in ["", "\u{7f}", "é", "\u{10ffff}"] {
            for place in [0, length / 2, length] {
                let mut text = "x".repeat(length);
                text.insert_str(place, special);
                let json = format!("[\"{text}\",\"{text}\"]");
                assert_eq!(round_trip(&json), (json.clone(), true), "{json}");
            }
        }
    }
}

#[test]
fn further_keys_of_objects_are_noted_by_themselves() {
    let mut scanner = Scanner::default();
    let mut definitions = Vec::new();
    for number in 0..20_000 {
        let json = format!("{{\"id\":1,\"key {number}\":{{\"x\":2}}}}");
        let (mut notes, mut text) = (Vec::new(), Vec::new());
        scanner.message(json.as_bytes(), &mut notes);
        definitions.extend_from_slice(&scanner.take_definitions());
        if number % 1000 == 0 {
            print(&notes, &definitions, LINES, &mut text).unwrap();
            assert_eq!(String::from_utf8(text).unwrap(), format!("\n{json}"));
        }
    }
    assert!(scanner.is_full());
}

#[test]
fn a_long_array_of_short_numbers_is_taken_apart() {
    let json = format!("[{}0]", "1,".repeat(100_000));
    assert_eq!(round_trip(&json), (json.clone(), true));
}

#[test]
fn notes_without_meaning_are_refused() {
    let cases: [&[u8]; 9] = [
        &[Token::Null as u8],
        &[Token::Message as u8],
        &[Token::Message as u8, 200],
        &[Token::Message as u8, Token::Integer as u8, 1, 2, 3],
        &[Token::Message as u8, Token::Text as u8, 5, b'a'],
        &[Token::Message as u8, Token::Array as u8, 2, 0, 0, 0, 0],
        &[Token::Message as u8, Token::Object as u8, 0, 0],
        &[Token::Message as u8, Token::Units as u8, 255, 255, 255, 255],
        &[Token::Message as u8, Token::Extended as u8, 0, 0],
    ];
    for notes in cases {
        assert_eq!(
            print(notes, &[], Around::default(), &mut Vec::new()),
            Err(Malformed)
        );
    }
    assert_eq!(
        print(&[], &[1, 0, 9], Around::default(), &mut Vec::new()),
        Err(Malformed)
    );
}

#[test]
fn marked_messages_get_the_mark_and_each_knows_its_end() {
    let mut notes = vec![Token::Marked as u8, Token::Null as u8];
    notes.extend_from_slice(&[Token::Message as u8, Token::Text as u8, 1, b'x']);
    let around = Around {
        before: b"<",
        mark: b">",
    };
    let mut text = Vec::new();
    print(&notes, &[], around, &mut text).unwrap();
    assert_eq!(text, b"<null><\"x\"");
    let (text, ends) = print_apart(&notes, &[]).unwrap();
    assert_eq!(
        (text.as_slice(), ends),
        (b"null\"x\"".as_slice(), vec![4, 7])
    );
}

/// Whoever visits a value twice because of a key visits nested ones 2^depth times.
#[test]
fn nested_objects_with_further_keys_take_linear_time() {
    let long = "k".repeat(101);
    let mut json = "1".to_owned();
    for _ in 0..60 {
        json = format!("{{\"a\":{json},\"{long}\":1}}");
    }
    assert_eq!(round_trip(&json), (json.clone(), true));
}

#[test]
fn further_keys_stand_behind_those_of_the_shape() {
    let long = "k".repeat(101);
    let cases = [
        format!("{{\"{long}\":1}}"),
        format!("{{\"a\":1,\"{long}\":{{}},\"b\":[{{\"{long}\":2,\"a\":3}}]}}"),
        format!("{{\"a\":{{\"{long}é\":null}},\"b\":{{}}}}"),
    ];
    for json in cases {
        assert_eq!(round_trip(&json), (json.clone(), true), "{json}");
    }
}

/// Objects that differ in their last key share the nodes of the tree, not their definitions.
#[test]
fn wide_objects_cannot_fill_the_memory_of_the_reader() {
    let prefix: Vec<String> = (0..250)
        .map(|key| format!("\"a longer key {key}\":{key}"))
        .collect();
    let prefix = prefix.join(",");
    let (mut scanner, mut definitions) = (Scanner::default(), Vec::new());
    for number in 0..7_000 {
        let json = format!("{{{prefix},\"d{number}\":0}}");
        let (mut notes, mut text) = (Vec::new(), Vec::new());
        scanner.message(json.as_bytes(), &mut notes);
        definitions.extend_from_slice(&scanner.take_definitions());
        if number % 500 == 0 {
            print(&notes, &definitions, Around::default(), &mut text).unwrap();
            assert_eq!(String::from_utf8(text).unwrap(), json);
        }
    }
    assert!(scanner.is_full());
    assert!(definitions.len() < 1100 * 1024, "{}", definitions.len());
}
