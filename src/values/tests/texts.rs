//! Strings: those that JavaScript makes by itself, those that V8 makes, and those that come again.

use super::*;

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
    assert_unchanged(&printed, &texts);
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
    assert_unchanged(&printed, &texts);
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
    assert_unchanged(&printed, &texts);
}
