//! Strings: between UTF-16 and what stands in a JSON text.

/// How many bytes at the front of `text` are neither a quote, nor a backslash, nor a control
/// character, and whether they are ASCII.
pub(super) fn plain_prefix(text: &[u8]) -> (usize, bool) {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = EACH << 7;
    let mut high = 0;
    let mut at = 0;
    // Eight letters at a time. Of each mask the lowest bit is exact: a difference borrows only from
    // bytes above one that is found.
    while let Some(eight) = text[at..].first_chunk() {
        let eight = u64::from_le_bytes(*eight);
        let quote = eight ^ (EACH * u64::from(b'"'));
        let backslash = eight ^ (EACH * u64::from(b'\\'));
        let ends = ((quote.wrapping_sub(EACH) & !quote)
            | (backslash.wrapping_sub(EACH) & !backslash)
            | (eight.wrapping_sub(EACH * u64::from(b' ')) & !eight))
            & HIGH;
        if ends != 0 {
            let count = ends.trailing_zeros() / 8;
            high |= eight & ((1 << (8 * count)) - 1);
            return (at + count as usize, high & HIGH == 0);
        }
        high |= eight;
        at += 8;
    }
    for byte in &text[at..] {
        if matches!(byte, b'"' | b'\\' | ..b' ') {
            break;
        }
        high |= u64::from(*byte);
        at += 1;
    }
    (at, high & HIGH == 0)
}

/// How many bytes a string has up to its quote, from behind the other one, with the quote. `None`: it is
/// malformed, or does not end.
pub(super) fn string_length(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += plain_prefix(&text[at..]).0;
        match *text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += escape_length(&text[at + 1..])? + 1,
            _ => return None,
        }
    }
}

/// How many bytes there are of an escape behind its backslash.
fn escape_length(text: &[u8]) -> Option<usize> {
    match *text.first()? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(1),
        b'u' => {
            let digits = text.get(1..5)?;
            digits.iter().all(u8::is_ascii_hexdigit).then_some(5)
        }
        _ => None,
    }
}

/// Letters of a run that are looked at and copied together.
const RUN: usize = 8;

/// A letter that is one byte in UTF-8 and stands for itself in a JSON text.
fn is_plain(unit: u16) -> bool {
    (0x20..0x80).contains(&unit) & (unit != u16::from(b'"')) & (unit != u16::from(b'\\'))
}

/// The first unit of a pair, with ten bits of the letter.
const HIGH_SURROGATES: u16 = 0xd800;

/// The second one, with ten more.
const LOW_SURROGATES: u16 = 0xdc00;

/// Prints a string as `JSON.stringify` does (ECMAScript, `QuoteJSONString`): half of a surrogate pair
/// is escaped, so that the text is well-formed.
pub(super) fn print_units(units: &[u16], text: &mut Vec<u8>) {
    const UTF8_BYTES_PER_UNIT: usize = 3;
    text.reserve(units.len() * UTF8_BYTES_PER_UNIT + 2);
    text.push(b'"');
    let mut rest = units;
    while let Some((&unit, after)) = rest.split_first() {
        rest = after;
        match unit {
            0x22 | 0x5c => text.extend_from_slice(&[b'\\', unit as u8]),
            0x20..0x80 => {
                text.push(unit as u8);
                // Letters without escapes come in runs.
                while let Some((run, after)) = rest.split_first_chunk::<RUN>()
                    && run.iter().fold(true, |all, unit| all & is_plain(*unit))
                {
                    text.extend_from_slice(&run.map(|unit| unit as u8));
                    rest = after;
                }
            }
            0x08 => text.extend_from_slice(b"\\b"),
            0x09 => text.extend_from_slice(b"\\t"),
            0x0a => text.extend_from_slice(b"\\n"),
            0x0c => text.extend_from_slice(b"\\f"),
            0x0d => text.extend_from_slice(b"\\r"),
            ..0x20 => escape(unit, text),
            0x80..0x800 => text.extend_from_slice(&[0xc0 | (unit >> 6) as u8, continuation(unit)]),
            HIGH_SURROGATES..LOW_SURROGATES => match rest.split_first() {
                Some((&second @ LOW_SURROGATES..=0xdfff, after)) => {
                    let upper = (unit & 0x3ff) + 0x40;
                    text.extend_from_slice(&[
                        0xf0 | (upper >> 8) as u8,
                        continuation(upper >> 2),
                        continuation(upper << 4 | (second >> 6 & 0xf)),
                        continuation(second),
                    ]);
                    rest = after;
                }
                _ => escape(unit, text),
            },
            LOW_SURROGATES..=0xdfff => escape(unit, text),
            _ => text.extend_from_slice(&[
                0xe0 | (unit >> 12) as u8,
                continuation(unit >> 6),
                continuation(unit),
            ]),
        }
    }
    text.push(b'"');
}

/// A byte behind the first of a letter, with the lowest six bits.
fn continuation(bits: u16) -> u8 {
    0x80 | (bits & 0x3f) as u8
}

/// `\u` and four digits.
fn escape(unit: u16, text: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    text.extend_from_slice(b"\\u");
    for shift in [12, 8, 4, 0] {
        text.push(DIGITS[usize::from(unit >> shift & 0xf)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_a_string_of_json() {
        let odd = [
            0, 8, 9, 0x1f, 0x22, 0x5c, 0x7f, 0xe9, 0x20ac, 0xd83d, 0xdcc8, 0xdc00, 0xffff,
        ];
        let mut units: Vec<u16> = "a text of plain letters".encode_utf16().collect();
        for first in odd {
            for second in odd {
                units.extend_from_slice(&[first, second]);
                units.extend("xyz".encode_utf16().take(usize::from(first % 4)));
                let mut text = Vec::new();
                print_units(&units, &mut text);
                assert_eq!(string_length(&text[1..]), Some(text.len() - 1));
                // One that has halves of pairs is none of Rust's.
                if let Ok(expected) = String::from_utf16(&units) {
                    assert_eq!(serde_json::from_slice::<String>(&text).unwrap(), expected);
                }
            }
        }
    }

    #[test]
    fn a_string_ends_at_its_quote_and_nowhere_else() {
        let good = [
            "",
            "a",
            "\\\"",
            "\\\\",
            "\\u00e9",
            "\\uD800",
            "é",
            "\\/\\b\\f\\n\\r\\t",
            "long enough for eight\\n",
        ];
        for content in good {
            let text = format!("{content}\",\"x\"");
            assert_eq!(
                string_length(text.as_bytes()),
                Some(content.len() + 1),
                "{text}"
            );
            assert_eq!(string_length(content.as_bytes()), None, "{content}");
        }
        for content in [
            "\\x",
            "\\u12g4",
            "\\u+123",
            "\\u123",
            "\\",
            "\n",
            "more than eight\t",
            "\\\n",
        ] {
            let text = format!("{content}\"");
            assert!(string_length(text.as_bytes()).is_none(), "{text}");
        }
        assert_eq!(string_length(b"\\\""), None);
    }

    #[test]
    fn every_letter_is_what_it_is_in_utf_8() {
        for letter in '\u{80}'..=char::MAX {
            let mut units = [0; 2];
            let units = letter.encode_utf16(&mut units);
            let mut text = Vec::new();
            print_units(units, &mut text);
            let mut utf8 = [0; 4];
            let expected = letter.encode_utf8(&mut utf8).as_bytes();
            assert_eq!(&text[1..text.len() - 1], expected);
            assert_eq!(string_length(&text[1..]), Some(text.len() - 1));
        }
    }

    #[test]
    fn half_a_pair_and_control_characters_are_escaped() {
        let mut text = Vec::new();
        print_units(
            &[0x61, 0xd800, 0x62, 0xdfff, 0x1f, 0x0a, 0xd83d, 0xdcc8],
            &mut text,
        );
        assert_eq!(text, "\"a\\ud800b\\udfff\\u001f\\n📈\"".as_bytes());
    }
}
