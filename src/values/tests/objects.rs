//! Objects: their shapes, the kinds of their values, and keys that no shape has.

use super::*;

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

#[test]
fn values_of_the_kinds_that_they_had_before_are_noted_without_a_token() {
    let usual = "{\"i\":7,\"d\":0.5,\"f\":true,\"t\":\"1.5\",\"a\":[]}".to_owned();
    let texts = vec![usual; 20];
    let printed = print_in_turn(&mut Scanner::default(), &texts);
    assert_eq!(printed[0].1, 1 + 3 + 5 + 9 + 1 + (2 + 3) + 5);
    assert_eq!(printed[19].1, 1 + 3 + 4 + 8 + 1 + (1 + 3) + 5);
    assert_unchanged(&printed, &texts);
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
    assert_unchanged(&printed, &texts);
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
