//! Waiting for another connection's lock.
//!
//! SQLite's own busy timeout pauses up to 100 ms between two tries. Where several processes write
//! without a break, the lock is free for moments only, and whoever looks a dozen times within the
//! timeout may miss them all: the call fails although nobody held the lock for long.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ffi};

use crate::error::Result;

/// Between two tries: some commits long, and no load where a lock is held for seconds.
const PAUSE: Duration = Duration::from_millis(1);

thread_local! {
    /// When the wait in progress began. A thread waits for one lock at a time.
    static BEGAN: Cell<Instant> = Cell::new(Instant::now());
}

/// Lets every statement of the connection wait this long for a lock; 0: not at all.
pub(super) fn wait_at_most(conn: &Connection, timeout_ms: u32) -> Result<()> {
    // Whatever was set before: rusqlite's handler, SQLite's timeout, or ours.
    conn.busy_timeout(Duration::ZERO)?;
    if timeout_ms == 0 {
        return Ok(());
    }
    // The limit itself takes the place of a pointer to it, so that nothing has to outlive anything.
    let limit = timeout_ms as usize as *mut c_void;
    // SAFETY: the connection is open, and `try_again` does not look behind the pointer.
    let code = unsafe { ffi::sqlite3_busy_handler(conn.handle(), Some(try_again), limit) };
    if code != ffi::SQLITE_OK {
        return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None).into());
    }
    Ok(())
}

/// Called by SQLite when a lock is taken, with how often it was called for the same wait before.
unsafe extern "C" fn try_again(limit: *mut c_void, calls: c_int) -> c_int {
    if calls == 0 {
        BEGAN.set(Instant::now());
    }
    let left = Duration::from_millis(limit as usize as u64).saturating_sub(BEGAN.get().elapsed());
    std::thread::sleep(PAUSE.min(left));
    c_int::from(!left.is_zero())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::super::open;
    use super::super::testing::Folder;
    use super::*;

    #[test]
    fn a_lock_that_is_free_for_moments_only_is_taken() {
        let folder = Folder::new();
        let conn = open::open(&folder.options(), None).expect("a new file");
        let other = open::open(&folder.options(), None).expect("shared");
        let (locked, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
        let (locked, is_over) = (&locked, &is_over);
        thread::scope(|scope| {
            let holder = scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    other.execute_batch("BEGIN IMMEDIATE").expect("fair");
                    locked.store(true, Ordering::Relaxed);
                    thread::sleep(PAUSE * 10);
                    locked.store(false, Ordering::Relaxed);
                    other.execute_batch("COMMIT").expect("ours");
                    thread::sleep(PAUSE * 3);
                }
            });
            // Each time it has to wait, and meets the lock free about twenty times.
            let outcomes: Vec<_> = (0..50)
                .map(|_| {
                    while !locked.load(Ordering::Relaxed) && !holder.is_finished() {
                        thread::yield_now();
                    }
                    conn.execute_batch("BEGIN IMMEDIATE; COMMIT")
                })
                .collect();
            is_over.store(true, Ordering::Relaxed);
            assert_eq!(outcomes.iter().find(|outcome| outcome.is_err()), None);
        });
    }

    #[test]
    fn the_limit_ends_the_wait_and_can_be_changed() {
        let folder = Folder::new();
        let conn = open::open(&folder.options(), None).expect("a new file");
        let other = open::open(&folder.options(), None).expect("shared");
        other.execute_batch("BEGIN IMMEDIATE").expect("free");
        for limit_ms in [1, 0, 5] {
            wait_at_most(&conn, limit_ms).expect("open");
            let error = conn.execute_batch("BEGIN IMMEDIATE").expect_err("locked");
            assert_eq!(
                error.sqlite_error_code(),
                Some(rusqlite::ErrorCode::DatabaseBusy)
            );
        }
        other.execute_batch("COMMIT").expect("ours");
        conn.execute_batch("BEGIN IMMEDIATE; COMMIT")
            .expect("free again");
    }
}
