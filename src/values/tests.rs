//! Notes made of a JSON text and printed again are the text as `JSON.stringify` would have it.

use super::draft::PREFIX_BYTES;
use super::{Around, Draft, Habit, Malformed, Package, Scanner, Token, print, print_apart};

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

#[test]
fn strings_are_cut_where_they_end() {
    for length in (0..40).chain(95..105) {
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

/// Reads messages that `json` makes of numbers, and the definitions of their shapes; sees to it that
/// each is printed as it was.
fn read_many(count: u32, json: impl Fn(u32) -> String) -> (Scanner, Vec<u8>) {
    let (mut scanner, mut definitions) = (Scanner::default(), Vec::new());
    for number in 0..count {
        let json = json(number);
        let (notes, mut text) = (note(&mut scanner, &json), Vec::new());
        definitions.extend_from_slice(&scanner.take_definitions());
        if number % 499 == 0 {
            print(&notes, &definitions, LINES, &mut text).unwrap();
            assert_eq!(String::from_utf8(text).unwrap(), format!("\n{json}"));
        }
    }
    (scanner, definitions)
}

#[test]
fn keys_that_are_data_become_no_shapes_without_end() {
    let map = |number| format!("{{\"id\":1,\"map\":{{\"key {number}\":{{\"x\":2.5}}}}}}");
    let (mut scanner, definitions) = read_many(20_000, map);
    assert!(!scanner.is_full());
    assert!(definitions.len() < 100_000, "{}", definitions.len());
    // What has a shape has it still, and what is new gets one in time.
    let kinds = |number| format!("{{\"id\":1,\"kind\":{{\"of\":{number}}}}}");
    let notes = (0..1_000).map(|number| note(&mut scanner, &kinds(number)));
    let notes = notes.last().unwrap();
    // The last number is one of its kind, and does not say so.
    assert_eq!(notes.len(), PREFIX_BYTES + 1 + 3 + 4 + 3 + 4);
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

#[test]
fn values_of_the_kinds_that_they_had_before_are_noted_without_a_token() {
    let usual = "{\"i\":7,\"d\":0.5,\"f\":true,\"t\":\"1.5\",\"a\":[]}".to_owned();
    let texts = vec![usual; 20];
    let printed = print_in_turn(&mut Scanner::default(), &texts);
    assert_eq!(printed[0].1, 1 + 3 + 5 + 9 + 1 + (2 + 3) + 5);
    assert_eq!(printed[19].1, 1 + 3 + 4 + 8 + 1 + (1 + 3) + 5);
    assert!(
        printed
            .iter()
            .zip(&texts)
            .all(|((text, _), json)| text == json)
    );
}

#[test]
fn texts_that_come_again_are_noted_by_their_number() {
    let text = "twenty-four letters long";
    let object = |text: &str| format!("{{\"t\":\"{text}\",\"l\":[\"{text}\",0.5]}}");
    let mut texts = vec![object(text); 20];
    texts.extend([object("twenty-four letters lonk"), object(""), object("é")]);
    texts.push(object(text));
    let mut scanner = Scanner::default();
    let printed = print_in_turn(&mut scanner, &texts);
    // All of them without their tokens; the first time it is listed.
    let (message, list, number, word) = (1 + 3, 5, 9, 1 + 2);
    let listed = 1 + "[]".len() + 2 + text.len();
    assert_eq!(
        printed[0].1,
        message + 1 + listed + list + 1 + word + number
    );
    for known in [19, 23] {
        assert_eq!(printed[known].1, message + word + list + 1 + word + number);
    }
    assert_eq!(printed[20].1, message + listed + list + 1 + word + number);
    assert!(
        printed
            .iter()
            .zip(&texts)
            .all(|((text, _), json)| text == json)
    );
}

#[test]
fn an_array_of_words_is_noted_by_their_numbers_alone() {
    let usual = "[\"buy\",\"sell\",\"größer\"]";
    let mut texts = vec![usual.to_owned(); 20];
    texts.extend(
        [
            "[\"buy\"]",
            "[[\"buy\",\"sell\"],\"buy\"]",
            "[\"buy\",[\"sell\"],{\"t\":[\"sell\",\"buy\"]},[]]",
            "[\"buy\",\"of ten letters\"]",
            "[\"buy\",null]",
            "[\"buy\",\"\\u00ff\"]",
            "[\"buy\",1]",
            usual,
        ]
        .map(str::to_owned),
    );
    let printed = print_in_turn(&mut Scanner::default(), &texts);
    for ((printed, _), json) in printed.iter().zip(&texts) {
        assert_eq!(printed, json);
    }
    assert_eq!(printed[19].1, 1 + 5 + 3 * 2);
    assert_eq!(printed[20].1, 1 + 5 + 2);
    assert_eq!(printed[21].1, 1 + 5 + (5 + 2 * 2) + 4);
}

#[test]
fn words_are_forgotten_when_there_is_to_be_room() {
    let (mut scanner, mut definitions) = (Scanner::default(), Vec::new());
    let mut forgotten = 0;
    for number in 0..6_000 {
        let list = vec!["\"buy\""; 62].join(",");
        let json = format!("[\"a{number}z\",\"a{number}z\",{list}]");
        let (mut draft, mut text) = (Draft::default(), Vec::new());
        // Notes are printed late: nothing that they refer to may have gone by then.
        let was_full = scanner.words.is_full();
        scanner.make_room();
        forgotten += u32::from(was_full && !scanner.words.is_full());
        for _ in 0..2 {
            scanner.message(json.as_bytes(), &mut draft);
        }
        let notes = draft.finish();
        definitions.extend_from_slice(&scanner.take_definitions());
        if number % 97 == 0 || was_full {
            print(&notes, &definitions, LINES, &mut text).unwrap();
            assert_eq!(
                String::from_utf8(text).unwrap(),
                format!("\n{json}").repeat(2)
            );
        }
    }
    assert_eq!(forgotten, 1);
}

#[test]
fn values_of_so_many_keys_have_kinds() {
    let object = |keys| {
        let keys = (0..keys).map(|key| format!("\"{key:03}\":{key}"));
        format!("{{{}}}", keys.collect::<Vec<_>>().join(","))
    };
    for (keys, bytes) in [(128, 4), (129, 5)] {
        // Beside so many numbers with a fraction they are not left to `JSON.parse`.
        let json = format!("[{},{}]", object(keys), vec!["0.5"; 40].join(","));
        let printed = print_in_turn(&mut Scanner::default(), &vec![json.clone(); 20]);
        assert_eq!(printed[19].1, 1 + 5 + 3 + bytes * keys + 9 * 40);
        assert!(printed.iter().all(|(text, _)| *text == json));
    }
}

#[test]
fn a_value_may_be_of_another_kind_than_those_before_it() {
    let values = [
        "7",
        "-2147483648",
        "2147483648",
        "0.5",
        "true",
        "false",
        "null",
        "\"\"",
        "\"text\"",
        "\"größer\"",
        "\"a\\\"b\"",
        "[1,2]",
        "{\"x\":0.5}",
    ];
    let long = format!("\"{}\"", "x".repeat(256));
    for usual in values {
        for other in values.iter().chain(&[long.as_str()]) {
            let object = |value| format!("{{\"a\":1,\"v\":{value},\"z\":true}}");
            let mut texts = vec![object(usual); 20];
            texts.extend([object(other), object(usual), object(other)]);
            // It is the other keys that are missing or too many.
            texts
                .extend(["{\"a\":1}", "{\"a\":1,\"v\":2,\"z\":false,\"zz\":0}"].map(str::to_owned));
            texts.extend(vec![object(usual); 3]);
            let mut scanner = Scanner::default();
            for ((printed, _), json) in print_in_turn(&mut scanner, &texts).iter().zip(&texts) {
                assert_eq!(printed, json);
            }
        }
    }
}

#[test]
fn other_forms_of_an_object_are_read_as_the_usual_one() {
    let usual = "{\"a\":1,\"v\":0.5,\"z\":true,\"t\":\"x\"}";
    let printed_behind = |other: &str| {
        let mut texts = vec![usual.to_owned(); 20];
        texts.push(other.to_owned());
        let mut printed = print_in_turn(&mut Scanner::default(), &texts);
        printed.pop().unwrap().0
    };
    for other in [
        "{ \"a\":1,\"v\":0.5,\"z\":true,\"t\":\"x\"}",
        "{\"a\": 1,\"v\":0.5,\"z\":true,\"t\":\"x\"}",
        "{\"a\":1 ,\"v\":0.5,\"z\":true,\"t\":\"x\"}",
        "{\"a\":1,\"v\":5e-1,\"z\":true,\"t\":\"x\"}",
        "{\"a\":1,\"v\":0.5,\"z\":true,\"t\":\"x\" }",
    ] {
        assert_eq!(printed_behind(other), usual);
    }
    let escaped = "{\"a\":1,\"v\":0.5,\"z\":true,\"t\":\"\\u0078\"}";
    assert_eq!(printed_behind(escaped), escaped);
    // And what is malformed in it is passed on as it is.
    for other in [
        "{\"a\":1,\"v\":0.5,\"z\":true,\"t\":\"x\"",
        "{\"a\":1,\"v\":0.5,\"z\":true,\"t\":\"x\"]",
        "{\"a\":1,\"v\":0.5,\"z\":true;\"t\":\"x\"}",
        "{\"a\":1,\"v\":0.5,\"z\":trux,\"t\":\"x\"}",
        "{\"a\":1,\"v\":0.5,\"z\":tr",
        "{\"a\":01,\"v\":0.5,\"z\":true,\"t\":\"x\"}",
        "{\"a\":1,\"v\":.5,\"z\":true,\"t\":\"x\"}",
        "{\"a\":1,\"v\":0.5,\"z\":true,\"t\":\"\t\"}",
        "{\"a\":1,\"v\":0.5,\"z\":true,\"t\":x}",
        "{\"a\":1,\"v\":0.5,\"z\":true,\"t\":\"x\"}}",
    ] {
        assert_eq!(printed_behind(other), other);
    }
}

#[test]
fn objects_of_ever_other_kinds_get_layouts_to_an_end() {
    let keys = 40;
    let mut texts = Vec::new();
    let object = |kind: &dyn Fn(usize) -> &'static str| {
        let values = (0..keys).map(|key| format!("\"k{key}\":{}", kind(key)));
        format!("{{{}}}", values.collect::<Vec<_>>().join(","))
    };
    for (before, after) in [("1", "0.5"), ("0.5", "null")] {
        for changed in 0..=keys {
            let json = object(&|key| if key < changed { after } else { before });
            texts.extend(vec![json; 20]);
        }
    }
    let printed = print_in_turn(&mut Scanner::default(), &texts);
    assert!(
        printed
            .iter()
            .zip(&texts)
            .all(|((text, _), json)| text == json)
    );
    let (mut scanner, mut bytes) = (Scanner::default(), 0);
    for json in &texts {
        note(&mut scanner, json);
        bytes += scanner.take_definitions().len();
    }
    // One for each change, and one of the shape itself.
    let definition = 2
        + (0..keys)
            .map(|key| format!(" \"k{key}\": ").len())
            .sum::<usize>();
    assert!(bytes <= definition * (2 * keys + 2), "{bytes}");
}

/// Objects that differ in their last key share the nodes of the tree, not their definitions.
#[test]
fn wide_objects_cannot_fill_the_memory_of_the_reader() {
    let keys = (0..250).map(|key| format!("\"a longer key {key}\":{key}.5"));
    let prefix = keys.collect::<Vec<_>>().join(",");
    let (scanner, definitions) = read_many(7_000, |number| format!("{{{prefix},\"d{number}\":0}}"));
    assert!(scanner.is_full());
    assert!(definitions.len() < 1100 * 1024, "{}", definitions.len());
}

#[test]
fn keys_that_come_again_fill_the_table_and_it_is_begun_anew() {
    let objects = vec!["{\"x\":0.5}"; 20].join(",");
    let json = |number| format!("{{\"list\":[{objects}],\"key {number}\":1}}");
    let (mut scanner, _) = read_many(20_000, |number| json(number / 2));
    assert!(scanner.is_full());
    Package::new(&mut scanner);
    assert!(!scanner.is_full());
}

/// `count` keys that no shape has, each with a value.
fn further_keys(count: usize) -> String {
    let key = |number| format!("\"{}{number}\":null", "k".repeat(101));
    (0..count).map(key).collect::<Vec<_>>().join(",")
}

#[test]
fn further_keys_of_an_object_are_noted_with_their_values() {
    let cases = [
        format!("{{{}}}", further_keys(1)),
        format!("{{\"a\":1.5,\"b\":null,{}}}", further_keys(100)),
        // What has a shape otherwise does not behind one that has none.
        format!("{{{},\"a\":[{{\"a\":1}}],\"b\":2}}", further_keys(2)),
        format!(
            "[{{\"{}é\":{{}}}},{{\"{}価\":[]}}]",
            "k".repeat(200),
            "k".repeat(300)
        ),
        format!("{{\"{}\":1}}", "k".repeat(300)),
        format!("{{{0},\"a\":{{{0},\"a\":{{{0}}}}}}}", further_keys(3)),
    ];
    for json in cases {
        assert_eq!(round_trip(&json), (json.clone(), true), "{json}");
    }
}

#[test]
fn an_object_of_many_further_keys_is_noted_as_it_stands() {
    let many = further_keys(101);
    // Or most of the text would be JSON in the notes too, and then it may as well all be.
    let rest = "x".repeat(20_000);
    let cases = [
        (format!("[\"{rest}\",{{{many}}},{{ \"a\" : 2 }}]"), true),
        (
            format!("{{\"a\":{{\"é\":1,{many}}},\"b\":\"{rest}\"}}"),
            true,
        ),
        (format!("[{{{many}}},[2]]"), false),
        // One in another.
        (
            format!("{{\"b\":[{{{many}}}],\"c\":\"{rest}\",{many}}}"),
            false,
        ),
    ];
    for (json, is_scanned) in cases {
        let printed = json.replace(' ', "");
        let expected = if is_scanned { printed } else { json.clone() };
        assert_eq!(round_trip(&json), (expected, is_scanned), "{json}");
    }
}

#[test]
fn an_object_of_indices_is_noted_as_it_stands() {
    let long = "k".repeat(101);
    let rest = "x".repeat(300);
    for (keys, is_scanned) in [
        (format!("\"{long}\":0,\"1\":0,\"2\":0"), false),
        (format!("\"{long}\":0,\"1\":0,\"\":0"), true),
        (format!("\"{long}\":0,\"12345678901\":0,\"1.5\":0"), true),
    ] {
        let json = format!("{{{keys}}}");
        assert_eq!(round_trip(&json), (json.clone(), is_scanned), "{json}");
        // Beside enough other text it is not the rest of the message's matter.
        let json = format!("[\"{rest}\",{json}]");
        assert_eq!(round_trip(&json), (json.clone(), true), "{json}");
    }
}

#[test]
fn texts_that_are_listed_stand_behind_the_notes() {
    let mut draft = Draft::default();
    let mut scanner = Scanner::default();
    for text in ["größe!", "more than 12 letters!", "a\\n", ""] {
        // What is left to `JSON.parse` has none, nor has what is malformed.
        scanner.message("[\"höhe!\",{\"__proto__\":1}]".as_bytes(), &mut draft);
        scanner.message(format!("[\"{text}\",0.5").as_bytes(), &mut draft);
        scanner.message(format!("[\"{text}\",0.5]").as_bytes(), &mut draft);
    }
    let length = draft.length();
    let notes = draft.finish();
    let listed = "[\"größe!\",\"more than 12 letters!\",\"a\\n\"]";
    assert!(notes.ends_with(listed.as_bytes()));
    assert_eq!(notes.len(), length + 1);
    let messages = notes.len() - PREFIX_BYTES - listed.len();
    let lengths = [messages, listed.len()].map(|length| (length as u32).to_le_bytes());
    assert_eq!(notes[0], Token::Texts as u8);
    assert_eq!(notes[1..PREFIX_BYTES], *lengths.as_flattened());
    // The next one begins anew.
    assert_eq!(draft.length(), 0);
    scanner.message(b"[\"short\",0.5]", &mut draft);
    let notes = draft.finish();
    assert_eq!(notes.len(), PREFIX_BYTES + 1 + 5 + 2 + 5 + 9);
}

#[test]
fn texts_of_what_is_read_anew_are_listed_once() {
    let object = |number, value: &str| format!("{{\"t\":\"{number} größer\",\"v\":{value}}}");
    let mut texts: Vec<_> = (0..20).map(|number| object(number, "1")).collect();
    for value in ["null", "[\"7 größer\"]", "1,\"w\":2"] {
        texts.push(format!("[{},{},0.5]", object(30, value), object(40, "1")));
    }
    // One that is noted as JSON, because it has many keys.
    let keys = further_keys(101);
    let rest = "x".repeat(20_000);
    texts.push(format!(
        "[\"{rest}\",{{\"t\":\"50 größer\",{keys}}},{}]",
        object(60, "1")
    ));
    let printed = print_in_turn(&mut Scanner::default(), &texts);
    for ((printed, _), json) in printed.iter().zip(&texts) {
        assert_eq!(printed, json);
    }
}

/// Whoever visits a value again because of a key visits nested ones again at every level.
#[test]
fn nested_objects_without_shapes_take_linear_time() {
    for (keys, is_scanned) in [(1, true), (101, false)] {
        let further = further_keys(keys);
        let mut json = "1".to_owned();
        for _ in 0..60 {
            json = format!("{{\"a\":{json},{further}}}");
        }
        let (printed, was_scanned) = round_trip(&json);
        assert!(printed == json && was_scanned == is_scanned);
    }
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

#[test]
fn notes_without_meaning_are_refused() {
    const APART: u8 = Token::Apart as u8;
    const LETTERS: u8 = Token::Letters as u8;
    const NULL: u8 = Token::Null as u8;
    let cases: [&[u8]; 13] = [
        &[Token::Null as u8],
        &[Token::Message as u8],
        &[Token::Message as u8, 200],
        &[Token::Message as u8, Token::Integer as u8, 1, 2, 3],
        &[Token::Message as u8, Token::Text as u8, 5, b'a'],
        &[Token::Message as u8, Token::Array as u8, 2, 0, 0, 0, 0],
        &[Token::Message as u8, Token::Object as u8, 0, 0],
        &[Token::Message as u8, Token::Units as u8, 255, 255, 255, 255],
        &[Token::Message as u8, Token::Extended as u8, 0, 0],
        // Letters that are nowhere, too few of them, and a value that is shorter or longer than it says.
        &[Token::Message as u8, LETTERS, 1, 0],
        &[Token::Message as u8, APART, 3, 0, 0, 0, LETTERS, 2, 0, b'a'],
        &[Token::Message as u8, APART, 2, 0, 0, 0, NULL, NULL],
        &[Token::Message as u8, APART, 2, 0, 0, 0, NULL],
    ];
    for notes in cases {
        assert_eq!(
            print(notes, &[], Around::default(), &mut Vec::new()),
            Err(Malformed)
        );
    }
    assert_eq!(
        print(&[], &[1, 0, 0, 9], Around::default(), &mut Vec::new()),
        Err(Malformed)
    );
}

#[test]
fn letters_that_are_apart_are_printed_where_their_texts_are() {
    let mut notes = Vec::new();
    for head in [Token::Message, Token::Marked] {
        notes.extend_from_slice(&[head as u8, Token::Apart as u8, 12, 0, 0, 0]);
        notes.extend_from_slice(&[Token::Array as u8, 3, 0, 0, 0]);
        notes.extend_from_slice(&[Token::Letters as u8, 3, 0, Token::Null as u8]);
        notes.extend_from_slice(&[Token::Letters as u8, 2, 0]);
        notes.extend_from_slice(b"a\"b\x7f\n");
        notes.extend_from_slice(&[Token::Message as u8, Token::Text as u8, 1, b'x']);
    }
    let (text, _) = print_apart(&notes, &[]).unwrap();
    let one = "[\"a\\\"b\",null,\"\x7f\\n\"]\"x\"";
    assert_eq!(String::from_utf8(text).unwrap(), one.repeat(2));
    // As UTF-16, cut between the halves of a pair; then as ASCII again.
    let array = [Token::Array as u8, 2, 0, 0, 0];
    let letters = [Token::Letters as u8, 2, 0, Token::Letters as u8, 1, 0];
    let mut notes = vec![Token::Message as u8, Token::ApartUnits as u8, 11, 0, 0, 0];
    notes.extend_from_slice(&[&array[..], &letters].concat());
    notes.extend(
        [b'a'.into(), 0xd83d, 0xdcc8_u16]
            .iter()
            .flat_map(|unit| unit.to_le_bytes()),
    );
    notes.extend_from_slice(&[Token::Message as u8, Token::Apart as u8, 11, 0, 0, 0]);
    notes.extend_from_slice(&[&array[..], &letters, b"xyz"].concat());
    let (text, _) = print_apart(&notes, &[]).unwrap();
    assert_eq!(
        String::from_utf8(text).unwrap(),
        "[\"a\\ud83d\",\"\\udcc8\"][\"xy\",\"z\"]"
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
