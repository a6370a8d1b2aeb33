//! The write-ahead log stays small, however many processes read and write.
//!
//! SQLite moves the log into the database every [`limits::WAL_CHECKPOINT_PAGES`] pages, but begins
//! it anew only when a writer happens to come while everything was moved and nobody reads. Where
//! several processes drain a queue somebody always reads, and the log grows for as long as they
//! have work. So whoever finds it longer than [`limits::WAL_BYTES_MAX`] after a commit makes that
//! moment: it holds the writers up until the readers of this instant are done. Those that begin
//! meanwhile find everything in the database, and are in nobody's way.

use std::time::{Duration, Instant};

use super::busy;
use super::store::Store;
use super::vfs;
use crate::limits;

/// By how much the log grows before the same connection tries again: what it waits for in vain,
/// a long reading, may last.
const STEP_BYTES: i64 = limits::WAL_BYTES_MAX as i64 / 4;

/// When a connection sees to the log of its file.
#[derive(Debug)]
pub(super) struct LogBound {
    /// How long the log may be.
    bytes_max: i64,
    /// The same until it is tried the next time.
    try_at: i64,
    busy_timeout_ms: u32,
}

impl LogBound {
    /// Of a worker's connection, where waiting blocks nobody.
    pub(super) fn of_worker(busy_timeout_ms: u32) -> Self {
        let bytes_max = i64::from(limits::WAL_BYTES_MAX);
        LogBound {
            bytes_max,
            try_at: bytes_max,
            busy_timeout_ms,
        }
    }

    /// Of a connection whose caller waits: it leaves the work to others where there are any.
    pub(super) fn of_callers(busy_timeout_ms: u32) -> Self {
        let bytes_max = i64::from(limits::WAL_BYTES_MAX) * 2;
        LogBound {
            bytes_max,
            try_at: bytes_max,
            busy_timeout_ms,
        }
    }
}

impl Store {
    /// After a commit that belongs to a call since `began`: makes the log begin anew if it is too
    /// long. Where that fails it is left to a later commit, and to others.
    pub(super) fn bound_log(&mut self, began: Instant) {
        let bytes = vfs::log_bytes(&self.conn);
        if bytes <= self.log.bytes_max {
            self.log.try_at = self.log.bytes_max;
        } else if bytes > self.log.try_at {
            let timeout_ms = self.log.busy_timeout_ms;
            let limit = Duration::from_millis(u64::from(timeout_ms));
            let left = limit.saturating_sub(began.elapsed()).as_millis();
            let wait_ms = limits::WAL_RESTART_WAIT_MS.min(u32::try_from(left).unwrap_or(0));
            self.log.try_at = match self.restart_log(wait_ms) {
                true => self.log.bytes_max,
                false => bytes + STEP_BYTES,
            };
        }
    }

    /// Moves the log into the database, and lets the next writer begin it anew. `false`: somebody
    /// was in the way for longer than `wait_ms`.
    fn restart_log(&self, wait_ms: u32) -> bool {
        let restarted = busy::wait_at_most(&self.conn, wait_ms).and_then(|()| {
            let sql = "PRAGMA wal_checkpoint(RESTART)";
            Ok(self.conn.query_row(sql, [], |row| row.get::<_, i64>(0))?)
        });
        // It fails only where a connection is not open.
        let _ = busy::wait_at_most(&self.conn, self.log.busy_timeout_ms);
        matches!(restarted, Ok(0))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::thread;

    use super::super::testing::Folder;
    use super::super::{NewMessage, Options};
    use super::*;

    const BODY_BYTES: usize = 256 * 1024;

    fn fill(store: &mut Store, name: &str, count: usize) -> u64 {
        let payload = format!("\"{}\"", "x".repeat(BODY_BYTES));
        let mut largest = 0;
        for index in 0..count {
            let id = format!("{name}{index}");
            let message = NewMessage::new(id, "t", payload.as_str(), 1.0).expect("valid");
            store.enqueue(&message).expect("room");
            let size = std::fs::metadata(store.wal_path()).expect("there is a log");
            largest = largest.max(size.len());
        }
        largest
    }

    /// Reads again and again, in turn with another, each time until the other one has begun, so that
    /// there is no moment at which nobody reads.
    fn read_in_turn(options: &Options, own_turn: u64, begun: &AtomicU64, is_over: &AtomicBool) {
        let store = Store::open(options).expect("ours");
        let wait_for = |turn: u64| {
            while begun.load(Ordering::SeqCst) != turn && !is_over.load(Ordering::SeqCst) {
                thread::yield_now();
            }
        };
        for turn in (own_turn..).step_by(2) {
            wait_for(turn);
            if is_over.load(Ordering::SeqCst) {
                return;
            }
            let select = "BEGIN; SELECT count(*) FROM message_queue";
            store.conn.execute_batch(select).expect("readable");
            begun.store(turn + 1, Ordering::SeqCst);
            wait_for(turn + 2);
            store.conn.execute_batch("COMMIT").expect("ours");
        }
    }

    #[test]
    fn the_log_stays_small_while_somebody_always_reads() {
        let folder = Folder::new();
        let mut store = folder.store();
        let (begun, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
        let largest = thread::scope(|scope| {
            for turn in [0, 1] {
                let (options, begun, is_over) = (folder.options(), &begun, &is_over);
                scope.spawn(move || read_in_turn(&options, turn, begun, is_over));
            }
            while begun.load(Ordering::SeqCst) < 2 {
                thread::yield_now();
            }
            let largest = fill(&mut store, "m", 600);
            is_over.store(true, Ordering::SeqCst);
            largest
        });
        let max = u64::from(limits::WAL_BYTES_MAX);
        assert!(largest < 4 * max, "{largest}");
    }

    #[test]
    fn a_reading_that_lasts_holds_nobody_up_and_the_log_shrinks_when_it_ends() {
        let folder = Folder::new();
        let (mut store, reader) = (folder.store(), folder.store());
        reader
            .conn
            .execute_batch("BEGIN; SELECT count(*) FROM message_queue")
            .expect("free");
        let max = u64::from(limits::WAL_BYTES_MAX);
        let enough = 3 * max as usize / BODY_BYTES;
        assert!(
            fill(&mut store, "a", enough) > 2 * max,
            "nothing else is possible"
        );
        reader.conn.execute_batch("COMMIT").expect("ours");
        // As much as it grows between two attempts.
        fill(&mut store, "b", 2 * STEP_BYTES as usize / BODY_BYTES);
        let size = std::fs::metadata(store.wal_path()).expect("there is a log");
        assert!(size.len() <= max, "{}", size.len());
    }

    #[test]
    fn without_patience_nothing_waits() {
        let folder = Folder::new();
        let (mut store, reader) = (folder.store(), folder.store());
        fill(&mut store, "a", 1);
        reader
            .conn
            .execute_batch("BEGIN; SELECT count(*) FROM message_queue")
            .expect("free");
        fill(&mut store, "b", 1);
        assert!(!store.restart_log(0));
        reader.conn.execute_batch("COMMIT").expect("ours");
        assert!(store.restart_log(0));
        // The patience of the other calls is what it was.
        reader.conn.execute_batch("BEGIN IMMEDIATE").expect("free");
        let began = Instant::now();
        store.await_writer().expect_err("locked");
        assert!(began.elapsed() >= Duration::from_millis(u64::from(limits::BUSY_TIMEOUT_MS)));
    }
}
