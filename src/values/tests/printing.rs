//! Notes that JavaScript makes, and such as nobody does.

use super::*;

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
