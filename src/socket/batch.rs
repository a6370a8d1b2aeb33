//! Frames on their way to JavaScript: those of one wake-up together, in the form of
//! [`crate::values`], so that the boundary is crossed once.
//!
//! Each frame is a message of its own there: whatever it holds, it cannot shift its neighbours.

use crate::reactor::{Key, KeyMap};
use crate::values::{Draft, Scanner};

/// Bytes after which a batch is handed over and a new one is begun. A longer single frame makes a
/// batch of its own.
pub const BATCH_BYTES: usize = 96 * 1024;

/// Frames that are handed over together.
#[derive(Debug, Default)]
pub struct Batch {
    draft: Draft,
    runs: Vec<Run>,
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
    /// A message for each frame, in the form of [`crate::values`].
    pub notes: Vec<u8>,
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
    /// The batch of `owner`, which is made when there is none.
    pub fn of(batches: &mut KeyMap<Batch>, owner: Key) -> &mut Self {
        batches.entry(owner).or_default()
    }

    /// Appends one frame of `connection`, with its number if it is marked, else 0 (see [`Run`]).
    /// The caller has checked that it is UTF-8. Returns what was collected before if both
    /// together would be too long.
    #[must_use]
    pub fn push(
        &mut self,
        scanner: &mut Scanner,
        connection: Key,
        frame: &[u8],
        number: u64,
    ) -> Option<Frames> {
        let is_full = self.draft.length() + frame.len() > BATCH_BYTES;
        let full = if is_full { self.take() } else { None };
        scanner.message(frame, &mut self.draft);
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
        (!self.runs.is_empty()).then(|| Frames {
            notes: self.draft.finish(),
            runs: std::mem::take(&mut self.runs),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::{Around, print};

    fn texts(scanner: &mut Scanner, frames: &Frames) -> Vec<String> {
        let mut text = Vec::new();
        let lines = Around {
            before: b"\n",
            mark: b"",
        };
        print(&frames.notes, &scanner.take_definitions(), lines, &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        text[1..].split('\n').map(str::to_owned).collect()
    }

    #[test]
    fn frames_of_several_connections_travel_together() {
        let mut reactor = crate::reactor::Reactor::new().unwrap();
        let (a, b) = (reactor.new_key(), reactor.new_key());
        let (mut batch, mut scanner) = (Batch::default(), Scanner::default());
        assert!(batch.take().is_none());
        for (connection, frame) in [(a, "1"), (a, "{}"), (b, "\"ä\""), (b, "1,2")] {
            assert!(
                batch
                    .push(&mut scanner, connection, frame.as_bytes(), 0)
                    .is_none()
            );
        }
        let frames = batch.take().unwrap();
        let run = |connection, count, first| Run {
            connection,
            count,
            first,
        };
        assert_eq!(frames.runs, [run(a, 2, 0), run(b, 2, 0)]);
        assert_eq!(texts(&mut scanner, &frames), ["1", "{}", "\"ä\"", "1,2"]);
        assert!(batch.push(&mut scanner, b, b"2", 0).is_none());
        assert_eq!(texts(&mut scanner, &batch.take().unwrap()), ["2"]);
    }

    #[test]
    fn a_run_ends_where_the_numbers_do() {
        let mut reactor = crate::reactor::Reactor::new().unwrap();
        let key = reactor.new_key();
        let (mut batch, mut scanner) = (Batch::default(), Scanner::default());
        for number in [0, 0, 1, 2, 4, 0, 5] {
            assert!(batch.push(&mut scanner, key, b"1", number).is_none());
        }
        let runs: Vec<_> = batch.take().unwrap().runs;
        let runs: Vec<_> = runs.iter().map(|run| (run.count, run.first)).collect();
        assert_eq!(runs, [(2, 0), (2, 1), (1, 4), (1, 0), (1, 5)]);
    }

    #[test]
    fn a_long_frame_travels_alone() {
        let mut reactor = crate::reactor::Reactor::new().unwrap();
        let key = reactor.new_key();
        let (mut batch, mut scanner) = (Batch::default(), Scanner::default());
        let long = format!("\"{}\"", "x".repeat(BATCH_BYTES));
        assert!(batch.push(&mut scanner, key, b"1", 0).is_none());
        let first = batch.push(&mut scanner, key, long.as_bytes(), 0).unwrap();
        assert_eq!(texts(&mut scanner, &first), ["1"]);
        let second = batch.push(&mut scanner, key, b"2", 0).unwrap();
        assert_eq!(texts(&mut scanner, &second), [long]);
        assert_eq!(texts(&mut scanner, &batch.take().unwrap()), ["2"]);
    }
}
