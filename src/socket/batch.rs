//! Frames on their way to JavaScript: all of one wake-up in one JSON text, so that the boundary
//! is crossed once and V8 parses once.
//!
//! ```text
//! [ frame , separator , frame , separator , frame ]
//! ```
//!
//! The separator is a number that peers do not know. Each separator is written between two
//! frames; if all of them are found at the odd places of the parsed array, each frame was exactly
//! one JSON value. A frame such as `1,2` or `[1` cannot hide inside the batch: the text then
//! does not parse, or a separator is not where it has to be, and the reader falls back to
//! parsing the frames one by one.

use crate::reactor::{Key, KeyMap};

/// Text after which a batch is handed over and a new one is begun, in bytes. A longer single
/// frame makes a batch of its own. V8 gives longer strings pages of their own, fresh ones from the
/// kernel each time, which costs more than a further batch does. Text that is not ASCII counts
/// twice, as it does there.
pub const BATCH_TEXT_BYTES: usize = 96 * 1024;

/// The number between frames.
#[derive(Debug, Clone, Copy)]
pub struct Separator(u32);

impl Separator {
    /// A new random separator of nine digits: V8 keeps it as a small integer, and a peer that
    /// wants to guess it has one chance in 900 million.
    pub fn random() -> Self {
        use std::hash::{BuildHasher, RandomState};
        let random = RandomState::new().hash_one(std::process::id());
        Separator(100_000_000 + (random % 900_000_000) as u32)
    }

    /// The number as JavaScript compares it.
    pub fn value(self) -> u32 {
        self.0
    }
}

/// One JSON array text in the making.
#[derive(Debug)]
pub struct Batch {
    between: [u8; 11],
    text: Vec<u8>,
    runs: Vec<Run>,
    ascii: bool,
}

/// Frames of one connection that follow each other in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The connection.
    pub connection: Key,
    /// How many frames there are, at least 1.
    pub count: u32,
    /// The number of the first one among the marked frames of its connection, where the others
    /// have the numbers that follow; 0 if they are not marked. See [`crate::frame::MARK`].
    pub first: u64,
}

/// A finished batch.
#[derive(Debug)]
pub struct Frames {
    /// The JSON array text.
    pub text: Vec<u8>,
    /// Whether `text` is ASCII throughout, which makes it cheaper to hand over.
    pub ascii: bool,
    /// Where the frames come from, in order.
    pub runs: Vec<Run>,
}

impl Run {
    /// Whether a frame of the same connection with this number is the next one of the run.
    fn follows(&self, number: u64) -> bool {
        match self.first {
            0 => number == 0,
            first => number == first + u64::from(self.count),
        }
    }
}

impl Batch {
    /// An empty batch.
    pub fn new(separator: Separator) -> Self {
        let mut between = *b",000000000,";
        between[1..10].copy_from_slice(format!("{:09}", separator.value()).as_bytes());
        Batch {
            between,
            text: Vec::new(),
            runs: Vec::new(),
            ascii: true,
        }
    }

    /// The batch of `owner`, which is made when there is none.
    pub fn of(batches: &mut KeyMap<Batch>, owner: Key, separator: Separator) -> &mut Self {
        batches
            .entry(owner)
            .or_insert_with(|| Batch::new(separator))
    }

    /// Appends one frame of `connection`, with its number if it is marked, else 0 (see [`Run`]).
    /// The caller has checked that it is UTF-8. Returns what was collected before if both
    /// together would be too long.
    #[must_use]
    pub fn push(
        &mut self,
        connection: Key,
        frame: &[u8],
        ascii: bool,
        number: u64,
    ) -> Option<Frames> {
        let max = if self.ascii && ascii {
            BATCH_TEXT_BYTES
        } else {
            BATCH_TEXT_BYTES / 2
        };
        let full = if self.text.len() + frame.len() > max {
            self.take()
        } else {
            None
        };
        if self.text.is_empty() {
            self.text.reserve(frame.len() + 2);
            self.text.push(b'[');
        } else {
            self.text.extend_from_slice(&self.between);
        }
        self.text.extend_from_slice(frame);
        self.ascii &= ascii;
        match self.runs.last_mut() {
            Some(run) if run.connection == connection && run.follows(number) => run.count += 1,
            _ => self.runs.push(Run {
                connection,
                count: 1,
                first: number,
            }),
        }
        full
    }

    /// Ends the batch and begins the next one; `None` if it is empty.
    pub fn take(&mut self) -> Option<Frames> {
        if self.text.is_empty() {
            return None;
        }
        let mut text = std::mem::take(&mut self.text);
        text.push(b']');
        let ascii = std::mem::replace(&mut self.ascii, true);
        Some(Frames {
            text,
            ascii,
            runs: std::mem::take(&mut self.runs),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_several_connections_share_one_text() {
        let mut reactor = crate::reactor::Reactor::new().unwrap();
        let (a, b) = (reactor.new_key(), reactor.new_key());
        let separator = Separator::random();
        let mut batch = Batch::new(separator);
        assert!(batch.take().is_none());
        assert!(batch.push(a, b"1", true, 0).is_none());
        assert!(batch.push(a, b"{}", true, 0).is_none());
        assert!(batch.push(b, "\"ä\"".as_bytes(), false, 0).is_none());
        let frames = batch.take().unwrap();
        let s = separator.value();
        assert_eq!(
            String::from_utf8(frames.text).unwrap(),
            format!("[1,{s},{{}},{s},\"ä\"]")
        );
        let run = |connection, count, first| Run {
            connection,
            count,
            first,
        };
        assert_eq!(frames.runs, [run(a, 2, 0), run(b, 1, 0)]);
        assert!(!frames.ascii);
        assert!(batch.push(b, b"2", true, 0).is_none());
        let frames = batch.take().unwrap();
        assert_eq!(
            (frames.text.as_slice(), frames.ascii),
            (b"[2]".as_slice(), true)
        );
        assert!((100_000_000..1_000_000_000).contains(&s));
    }

    #[test]
    fn a_run_ends_where_the_numbers_do() {
        let mut reactor = crate::reactor::Reactor::new().unwrap();
        let key = reactor.new_key();
        let mut batch = Batch::new(Separator::random());
        for number in [0, 0, 1, 2, 4, 0, 5] {
            assert!(batch.push(key, b"1", true, number).is_none());
        }
        let runs: Vec<_> = batch.take().unwrap().runs;
        let runs: Vec<_> = runs.iter().map(|run| (run.count, run.first)).collect();
        assert_eq!(runs, [(2, 0), (2, 1), (1, 4), (1, 0), (1, 5)]);
    }

    #[test]
    fn a_long_frame_travels_alone() {
        let mut reactor = crate::reactor::Reactor::new().unwrap();
        let key = reactor.new_key();
        let mut batch = Batch::new(Separator::random());
        let long = vec![b'1'; BATCH_TEXT_BYTES];
        assert!(batch.push(key, b"1", true, 0).is_none());
        assert_eq!(batch.push(key, &long, true, 0).unwrap().text, b"[1]");
        assert_eq!(
            batch.push(key, b"2", true, 0).unwrap().text.len(),
            long.len() + 2
        );
        assert_eq!(batch.take().unwrap().text, b"[2]");
    }
}
