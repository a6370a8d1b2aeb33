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

/// Reads the escapes and letters of a string up to its quote, from behind the other one, as UTF-16.
/// Returns how many bytes of `text`, which is UTF-8, that were, with the quote. `None`: it is
/// malformed.
pub(super) fn read_escaped(text: &[u8], units: &mut Vec<u16>) -> Option<usize> {
    let mut at = 0;
    loop {
        let first = *text.get(at)?;
        at += 1;
        match first {
            b'"' => return Some(at),
            b'\\' => {
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
            ..0x20 => return None,
            0x20..0x80 => {
                units.push(first.into());
                // Letters without escapes come in runs.
                while let Some(run) = text[at..].first_chunk::<RUN>()
                    && run
                        .iter()
                        .fold(true, |all, byte| all & is_plain((*byte).into()))
                {
                    units.extend_from_slice(&run.map(u16::from));
                    at += RUN;
                }
            }
            0x80..0xe0 => {
                let [second] = *text[at..].first_chunk()?;
                at += 1;
                units.push(u16::from(first & 0x1f) << 6 | six_bits(second));
            }
            0xe0..0xf0 => {
                let [second, third] = *text[at..].first_chunk()?;
                at += 2;
                units.push(u16::from(first) << 12 | six_bits(second) << 6 | six_bits(third));
            }
            _ => {
                let [second, third, fourth] = *text[at..].first_chunk()?;
                at += 3;
                // What is left of the number of the letter without 0x10000, in two halves.
                let upper =
                    u16::from(first & 7) << 8 | six_bits(second) << 2 | six_bits(third) >> 4;
                let lower = six_bits(third) << 6 & 0x3ff | six_bits(fourth);
                units.extend_from_slice(&[
                    HIGH_SURROGATES | upper.wrapping_sub(0x40) & 0x3ff,
                    LOW_SURROGATES | lower,
                ]);
            }
        }
    }
}

/// What a byte of a letter in UTF-8 has behind the first.
fn six_bits(byte: u8) -> u16 {
    u16::from(byte & 0x3f)
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
    fn every_letter_is_what_it_is_in_utf_8() {
        for letter in '\u{80}'..=char::MAX {
            let mut units = [0; 2];
            let units = letter.encode_utf16(&mut units);
            let mut text = Vec::new();
            print_units(units, &mut text);
            let mut utf8 = [0; 4];
            let expected = letter.encode_utf8(&mut utf8).as_bytes();
            assert_eq!(&text[1..text.len() - 1], expected);
            let mut read = Vec::new();
            assert_eq!(read_escaped(&text[1..], &mut read), Some(text.len() - 1));
            assert_eq!(read, units);
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
