//! The wire format, without I/O.
//!
//! ```text
//! +----------------------------+--------------------------+
//! | length of the body, u32 BE | body: one JSON text, UTF-8 |
//! +----------------------------+--------------------------+
//! ```
//!
//! The format is shared with services that speak it over plain sockets and cannot change.

use crate::error::{Code, Error, Result};

/// Bytes in front of every body.
pub const HEADER_BYTES: usize = 4;

/// Room for one header in the text that [`patch_headers`] completes. A line feed never occurs
/// inside the output of `JSON.stringify`, so it marks where a frame begins.
pub const HEADER_PLACE: [u8; HEADER_BYTES] = *b"\n\0\0\0";

/// White space behind the JSON text of a frame by which a client asks for an acknowledgement, and a
/// server tells its control frames from the messages of its user. Every JSON parser skips it;
/// `JSON.stringify` never writes it, nor does any habit of other languages (a trailing line feed).
pub const MARK: &[u8] = b"\t \t";

/// Whether a body ends with [`MARK`].
pub fn is_marked(body: &[u8]) -> bool {
    body.ends_with(MARK)
}

/// What stands at the front of a receive buffer.
#[derive(Debug, PartialEq, Eq)]
pub enum Front<'a> {
    /// A whole frame: its body. It takes `HEADER_BYTES + body.len()` bytes of the buffer.
    Frame(&'a [u8]),
    /// The beginning of a frame, or nothing. `missing` more bytes complete what is known so far
    /// (the header first, then the body).
    Incomplete {
        /// Bytes still to come, at least 1.
        missing: usize,
    },
}

/// Looks at the front of `buffer`. Constant time, so asking again after every read keeps the
/// whole transfer linear.
///
/// # Errors
/// [`Code::FrameTooLarge`] when the header claims more than `frame_bytes_max`; nothing after it
/// can be understood, the connection has to be closed.
pub fn front(buffer: &[u8], frame_bytes_max: u32) -> Result<Front<'_>> {
    let Some((header, rest)) = buffer.split_first_chunk::<HEADER_BYTES>() else {
        return Ok(Front::Incomplete {
            missing: HEADER_BYTES - buffer.len(),
        });
    };
    let length = u32::from_be_bytes(*header);
    if length > frame_bytes_max {
        return Err(too_large(u64::from(length), frame_bytes_max));
    }
    let length = length as usize;
    match rest.get(..length) {
        Some(body) => Ok(Front::Frame(body)),
        None => Ok(Front::Incomplete {
            missing: length - rest.len(),
        }),
    }
}

/// Writes the lengths into `text`, a sequence of [`HEADER_PLACE`] and a JSON text each, and so
/// turns it into frames in place. Returns how many there are.
///
/// # Errors
/// [`Code::FrameTooLarge`] when a body is longer than `frame_bytes_max`, [`Code::Internal`] when
/// `text` does not begin with a header place. `text` is then only partly patched.
pub fn patch_headers(text: &mut [u8], frame_bytes_max: u32) -> Result<u32> {
    let mut frames = 0;
    let mut begin = 0;
    while begin < text.len() {
        if !text[begin..].starts_with(&HEADER_PLACE) {
            return Err(Error::rule(
                Code::Internal,
                "a batch of frames lacks a header place",
            ));
        }
        let body = begin + HEADER_BYTES;
        let end = memchr::memchr(HEADER_PLACE[0], &text[body..]).map_or(text.len(), |at| body + at);
        let length = u32::try_from(end - body)
            .ok()
            .filter(|length| *length <= frame_bytes_max)
            .ok_or_else(|| too_large((end - body) as u64, frame_bytes_max))?;
        text[begin..body].copy_from_slice(&length.to_be_bytes());
        frames += 1;
        begin = end;
    }
    Ok(frames)
}

/// The first place at or behind `from` at which a frame of `frames` begins, or their end.
pub fn boundary(frames: &[u8], from: usize) -> usize {
    let mut at = 0;
    while at < from {
        let Some(header) = frames[at..].first_chunk::<HEADER_BYTES>() else {
            return frames.len();
        };
        at += HEADER_BYTES + u32::from_be_bytes(*header) as usize;
    }
    at.min(frames.len())
}

/// One frame around `body`, for the few that the core writes itself.
pub fn encode(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("the core writes short frames only");
    let mut frame = Vec::with_capacity(HEADER_BYTES + body.len());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(body);
    frame
}

/// Whether arrays and objects of a JSON text are nested deeper than `levels`. What is not JSON
/// gets some answer, for its parser to refuse.
pub fn nests_deeper_than(body: &[u8], levels: usize) -> bool {
    // Almost every message ends here: with so few brackets it cannot be deep. `[` and `{` differ
    // in one bit.
    if body.len() <= levels || body.iter().filter(|byte| **byte | 0x20 == b'{').count() <= levels {
        return false;
    }
    let mut depth = 0usize;
    let mut at = 0;
    while let Some(byte) = body.get(at) {
        at += 1;
        match byte {
            b'[' | b'{' => {
                depth += 1;
                if depth > levels {
                    return true;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => {
                while let Some(found) = memchr::memchr2(b'"', b'\\', &body[at..]) {
                    at += found + 1;
                    if body[at - 1] == b'"' {
                        break;
                    }
                    // The escaped character. A text that ends here is not JSON.
                    at = (at + 1).min(body.len());
                }
            }
            _ => {}
        }
    }
    false
}

fn too_large(length: u64, frame_bytes_max: u32) -> Error {
    Error::rule(
        Code::FrameTooLarge,
        format!(
            "Connection closed: a frame of {length} bytes exceeds maxFrameBytes ({frame_bytes_max})"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every way to cut three frames into two reads gives the same three bodies.
    #[test]
    fn splits_at_every_byte() {
        let bodies: [&[u8]; 3] = [b"{\"a\":1}", b"", b"[\"\xc3\xa4\"]"];
        let wire: Vec<u8> = bodies.iter().flat_map(|body| encode(body)).collect();
        for cut in 0..=wire.len() {
            let mut buffer = Vec::new();
            let mut seen: Vec<Vec<u8>> = Vec::new();
            for part in [&wire[..cut], &wire[cut..]] {
                buffer.extend_from_slice(part);
                while let Front::Frame(body) = front(&buffer, 64).unwrap() {
                    let taken = HEADER_BYTES + body.len();
                    seen.push(body.to_vec());
                    buffer.drain(..taken);
                }
            }
            assert_eq!(seen, bodies, "cut at {cut}");
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn says_how_much_is_missing() {
        let cases: [(&[u8], usize); 5] = [
            (b"", 4),
            (b"\0", 3),
            (b"\0\0\0", 1),
            (b"\0\0\0\x05", 5),
            (b"\0\0\0\x05abc", 2),
        ];
        for (buffer, missing) in cases {
            assert_eq!(
                front(buffer, 64).unwrap(),
                Front::Incomplete { missing },
                "{buffer:?}"
            );
        }
    }

    #[test]
    fn limits_are_checked_before_anything_is_stored() {
        assert!(matches!(
            front(&64u32.to_be_bytes(), 64),
            Ok(Front::Incomplete { missing: 64 })
        ));
        for header in [65u32.to_be_bytes(), u32::MAX.to_be_bytes(), *b"GET "] {
            let error = front(&header, 64).unwrap_err();
            assert_eq!(error.code(), "ERR_IPC_FRAME_TOO_LARGE");
        }
    }

    #[test]
    fn headers_are_patched_in_place() {
        let mut text = b"\n\0\0\0{\"a\":1}\n\0\0\0\"\xc3\xa4\"".to_vec();
        assert_eq!(patch_headers(&mut text, 64).unwrap(), 2);
        let expected: Vec<u8> = [b"{\"a\":1}".as_slice(), b"\"\xc3\xa4\""]
            .iter()
            .flat_map(|b| encode(b))
            .collect();
        assert_eq!(text, expected);

        // A length that contains the byte of the line feed does not confuse the next search.
        let body = "x".repeat(0x0a0a);
        let mut text = [&HEADER_PLACE[..], body.as_bytes(), &HEADER_PLACE[..], b"1"].concat();
        assert_eq!(patch_headers(&mut text, u32::MAX).unwrap(), 2);
        assert!(matches!(front(&text, u32::MAX), Ok(Front::Frame(first)) if first.len() == 0x0a0a));

        let too_long = [&HEADER_PLACE[..], &[b'1'; 65]].concat();
        let error = patch_headers(&mut too_long.clone(), 64).unwrap_err();
        assert_eq!(error.code(), "ERR_IPC_FRAME_TOO_LARGE");
        assert_eq!(patch_headers(&mut [], 64).unwrap(), 0);
        assert_eq!(
            patch_headers(&mut b"{}".to_vec(), 64).unwrap_err().code(),
            "ERR_IPC_INTERNAL"
        );
    }

    #[test]
    fn the_next_frame_begins_at_a_boundary() {
        let frames = [encode(b"12"), encode(b""), encode(b"3")].concat();
        for (from, expected) in [(0, 0), (1, 6), (6, 6), (7, 10), (11, 15), (15, 15)] {
            assert_eq!(boundary(&frames, from), expected, "from {from}");
        }
    }

    #[test]
    fn depth_is_that_of_brackets_outside_strings() {
        let cases: [(&str, bool); 9] = [
            ("[[[1]]]", false),
            ("[[[[1]]]]", true),
            ("[[[[", true),
            ("{\"a\":{\"a\":{\"a\":{}}}}", true),
            ("[[],[],[],[],[],{},{}]", false),
            ("[\"[[[[[[[[\",\"{{{{{\"]", false),
            ("[\"\\\"[[[[[\",\"\\\\\",[[1]]]", false),
            ("[\"\\\\\",[[[1]]]]", true),
            ("[\"[[[[[\\", false),
        ];
        for (text, deeper) in cases {
            assert_eq!(nests_deeper_than(text.as_bytes(), 3), deeper, "{text}");
        }
    }
}
