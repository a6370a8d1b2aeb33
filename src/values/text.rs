//! Strings: between UTF-16 and what stands in a JSON text.

use encoding_rs::mem;

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

/// Reads the escapes and letters of a string up to its quote, from behind the other one, as UTF-16.
/// Returns how many bytes of `text`, which is UTF-8, that were, with the quote. `None`: it is
/// malformed.
pub(super) fn read_escaped(text: &[u8], units: &mut Vec<u16>) -> Option<usize> {
    let mut at = 0;
    loop {
        let (plain, is_ascii) = plain_prefix(&text[at..]);
        append_units(&text[at..at + plain], is_ascii, units);
        at += plain + 1;
        match text.get(at - 1)? {
            b'"' => return Some(at),
            b'\\' => {}
            _ => return None,
        }
        at += 1;
        units.push(match text.get(at - 1)? {
            quoted @ (b'"' | b'\\' | b'/') => u16::from(*quoted),
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => 0x0a,
            b'r' => 0x0d,
            b't' => 0x09,
            b'u' => {
                at += 4;
                let mut unit = 0;
                for digit in text.get(at - 4..at)? {
                    unit = unit << 4 | char::from(*digit).to_digit(16)? as u16;
                }
                unit
            }
            _ => return None,
        });
    }
}

/// Appends `text`, which is UTF-8, as UTF-16.
pub(super) fn append_units(text: &[u8], is_ascii: bool, units: &mut Vec<u16>) {
    if is_ascii {
        units.extend(text.iter().copied().map(u16::from));
        return;
    }
    let begin = units.len();
    // The conversion wants one unit more than there are bytes.
    units.resize(begin + text.len() + 1, 0);
    let count = mem::convert_utf8_to_utf16(text, &mut units[begin..]);
    units.truncate(begin + count);
}

/// Prints a string as `JSON.stringify` does (ECMAScript, `QuoteJSONString`): half of a surrogate pair
/// is escaped, so that the text is well-formed.
pub(super) fn print_units(units: &[u16], text: &mut Vec<u8>) {
    text.push(b'"');
    let mut rest = units;
    loop {
        let (whole, halved) = rest.split_at(mem::utf16_valid_up_to(rest));
        print_well_formed(whole, text);
        let Some((half, after)) = halved.split_first() else {
            break;
        };
        escape(*half, text);
        rest = after;
    }
    text.push(b'"');
}

fn print_well_formed(units: &[u16], text: &mut Vec<u8>) {
    const UTF8_BYTES_PER_UNIT: usize = 3;
    let begin = text.len();
    text.resize(begin + units.len() * UTF8_BYTES_PER_UNIT, 0);
    let count = mem::convert_utf16_to_utf8(units, &mut text[begin..]);
    text.truncate(begin + count);
    let plain = begin + plain_prefix(&text[begin..]).0;
    if plain == text.len() {
        return;
    }
    let printed = text.split_off(plain);
    let mut rest = printed.as_slice();
    while let Some((special, after)) = rest.split_first() {
        match special {
            b'"' | b'\\' => text.extend_from_slice(&[b'\\', *special]),
            0x08 => text.extend_from_slice(b"\\b"),
            b'\t' => text.extend_from_slice(b"\\t"),
            b'\n' => text.extend_from_slice(b"\\n"),
            0x0c => text.extend_from_slice(b"\\f"),
            b'\r' => text.extend_from_slice(b"\\r"),
            _ => escape(u16::from(*special), text),
        }
        let (plain, after) = after.split_at(plain_prefix(after).0);
        text.extend_from_slice(plain);
        rest = after;
    }
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
    fn what_is_printed_is_read_again() {
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
                let (mut read, length) = (Vec::new(), text.len());
                assert_eq!(read_escaped(&text[1..], &mut read), Some(length - 1));
                assert_eq!(read, units);
            }
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
