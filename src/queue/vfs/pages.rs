//! The pages of a checkpoint on their way to the database.
//!
//! A checkpoint copies pages from the log to the database in the order of their numbers, with a
//! call for each. Most of them follow each other, so that here they are gathered.
//!
//! When all pages are copied, SQLite publishes that in the shared index, and from then on others
//! read them in the database. It does not ask before whether they are there. Where the whole log was
//! copied it cuts the database to its length first, which may fail; where a part was copied,
//! because somebody still reads an older state or has committed meanwhile, nothing is in between
//! that could say that the last pages found no room. So pages are gathered only where the whole log
//! is copied, and stays whole until the end:
//!
//! ```text
//! start      the lock of writers is taken, if it is free; is it the whole log?
//! write …    gathered, if so
//! done       what is left of them is written, and the lock released
//! truncate   fails if that failed; the lock was kept for it
//! ```
//!
//! The form of the shared index: <https://www.sqlite.org/walformat.html#the_wal_index_file_format>.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use rusqlite::ffi;

use super::{Run, WRITE_LOCK, extra};

/// Bytes of the shared index that are mapped together.
const INDEX_BYTES: c_int = 32 * 1024;

/// Where the shared index has the number of the last frame.
const LAST_FRAME_AT: usize = 16;

/// Where the shared index has the number of the last frame that a checkpoint is to copy.
const ATTEMPTED_AT: usize = 128;

/// See the module.
#[derive(Default)]
pub(super) struct Pages {
    run: Run,
    gathers: bool,
    /// SQLite holds the lock of writers.
    is_writer: bool,
    /// The lock of writers was taken here.
    has_taken_lock: bool,
    /// Why the last pages are not in the database, as long as SQLite does not know.
    failure: c_int,
}

impl Pages {
    /// SQLite has taken or released the lock of writers.
    pub(super) fn set_writer(&mut self, is_writer: bool) {
        self.is_writer = is_writer;
    }
}

/// Replaces the methods of databases.
pub(super) fn replace(methods: &mut ffi::sqlite3_io_methods) {
    methods.xWrite = Some(write);
    methods.xTruncate = Some(truncate);
    methods.xFileControl = Some(control);
}

/// Releases the lock of writers, if it was taken here. When SQLite releases one of its own, the
/// checkpoint has ended, whatever became of it.
pub(super) unsafe fn release(file: *mut ffi::sqlite3_file) {
    // SAFETY: the caller passes a database and has no reference to its pages.
    unsafe {
        let pages = &raw mut (*extra(file)).pages;
        if (*pages).has_taken_lock {
            (*pages).has_taken_lock = false;
            let flags = ffi::SQLITE_SHM_UNLOCK | ffi::SQLITE_SHM_EXCLUSIVE;
            original!(file.xShmLock(WRITE_LOCK, 1, flags));
        }
    }
}

unsafe fn start(file: *mut ffi::sqlite3_file) {
    // SAFETY: the caller passes a database whose log a checkpoint begins to copy.
    unsafe {
        let pages = &raw mut (*extra(file)).pages;
        (*pages).failure = ffi::SQLITE_OK;
        if !(*pages).is_writer {
            let flags = ffi::SQLITE_SHM_LOCK | ffi::SQLITE_SHM_EXCLUSIVE;
            if original!(file.xShmLock(WRITE_LOCK, 1, flags)) != ffi::SQLITE_OK {
                return;
            }
            (*pages).has_taken_lock = true;
        }
        (*pages).gathers = copies_whole_log(file);
        if !(*pages).gathers {
            release(file);
        }
    }
}

/// Whether the checkpoint that has begun is to copy the whole log.
unsafe fn copies_whole_log(file: *mut ffi::sqlite3_file) -> bool {
    let mut index: *mut c_void = ptr::null_mut();
    // SAFETY: the caller passes a database with a log, whose index is mapped, aligned to a page, as long as
    // the file is open. Others may write to it, as atomically.
    unsafe {
        if original!(file.xShmMap(0, INDEX_BYTES, 0, &raw mut index)) != ffi::SQLITE_OK
            || index.is_null()
        {
            return false;
        }
        let word = |at| AtomicU32::from_ptr(index.byte_add(at).cast()).load(Ordering::Relaxed);
        word(ATTEMPTED_AT) == word(LAST_FRAME_AT)
    }
}

unsafe fn done(file: *mut ffi::sqlite3_file) {
    // SAFETY: the caller passes a database whose checkpoint has copied all that it wanted to.
    unsafe {
        let pages = &raw mut (*extra(file)).pages;
        if !(*pages).gathers {
            return;
        }
        (*pages).gathers = false;
        (*pages).failure = (*pages).run.write(file);
        (*pages).run = Run::default();
        if (*pages).failure == ffi::SQLITE_OK {
            release(file);
        }
    }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    length: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite calls this with a database and as many bytes as it says.
    unsafe {
        let pages = &raw mut (*extra(file)).pages;
        if !(*pages).gathers {
            return original!(file.xWrite(bytes, length, at));
        }
        let page = std::slice::from_raw_parts(bytes.cast::<u8>(), length as usize);
        if (*pages).run.is_full() || !(*pages).run.add(page, at) {
            let code = (*pages).run.write(file);
            if code != ffi::SQLITE_OK {
                return code;
            }
            (*pages).run.add(page, at);
        }
        ffi::SQLITE_OK
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: ffi::sqlite3_int64) -> c_int {
    // SAFETY: SQLite calls this with a database.
    unsafe {
        match std::mem::take(&mut (*extra(file)).pages.failure) {
            ffi::SQLITE_OK => original!(file.xTruncate(size)),
            failure => failure,
        }
    }
}

unsafe extern "C" fn control(
    file: *mut ffi::sqlite3_file,
    operation: c_int,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: SQLite calls this with a database.
    unsafe {
        match operation {
            ffi::SQLITE_FCNTL_CKPT_START => start(file),
            ffi::SQLITE_FCNTL_CKPT_DONE => done(file),
            _ => {}
        }
        original!(file.xFileControl(operation, argument))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::ffi::c_void;

    use rusqlite::{Connection, ErrorCode};

    use super::super::tests::{after_a_kill, check, connect, count, insert};
    use super::*;
    use crate::queue::testing::Folder;

    const ROWS: i64 = 200;

    thread_local! {
        /// What [`observed`] is to do in each call.
        static OBSERVER: RefCell<Box<dyn FnMut(usize) -> c_int>> = RefCell::new(Box::new(|_| 0));
        static ORIGINAL: Cell<*const ffi::sqlite3_io_methods> = const { Cell::new(ptr::null()) };
    }

    /// SQLite's own `xWrite`, after the observer has been told how many bytes there are. If that
    /// returns a code, nothing is written.
    unsafe extern "C" fn observed(
        file: *mut ffi::sqlite3_file,
        bytes: *const c_void,
        length: c_int,
        at: ffi::sqlite3_int64,
    ) -> c_int {
        match OBSERVER.with_borrow_mut(|observer| observer(length as usize)) {
            // SAFETY: the arguments are SQLite's.
            ffi::SQLITE_OK => unsafe {
                ((*ORIGINAL.get()).xWrite.expect("there is one"))(file, bytes, length, at)
            },
            code => code,
        }
    }

    /// Runs `work` while `observer` is told of what is written to the database of `conn`.
    fn observe<T>(
        conn: &Connection,
        observer: impl FnMut(usize) -> c_int + 'static,
        work: impl FnOnce() -> T,
    ) -> T {
        let mut file: *mut ffi::sqlite3_file = ptr::null_mut();
        // SAFETY: the connection is open, and its database of this layer. Its methods are a copy of
        // SQLite's but for one, and replaced for the time of `work`.
        unsafe {
            ffi::sqlite3_file_control(
                conn.handle(),
                c"main".as_ptr(),
                ffi::SQLITE_FCNTL_FILE_POINTER,
                (&raw mut file).cast(),
            );
            let original = (*extra(file)).original;
            let mut methods = *original;
            methods.xWrite = Some(observed);
            ORIGINAL.set(original);
            OBSERVER.set(Box::new(observer));
            (*extra(file)).original = &raw const methods;
            let result = work();
            (*extra(file)).original = original;
            OBSERVER.set(Box::new(|_| ffi::SQLITE_OK));
            result
        }
    }

    /// How many frames the log has, and how many of them are in the database afterwards.
    fn checkpoint(conn: &Connection, mode: &str) -> rusqlite::Result<(i64, i64)> {
        conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
            Ok((row.get(1)?, row.get(2)?))
        })
    }

    /// Calls of `observe` and the bytes of the largest one.
    fn calls_of(conn: &Connection, work: impl FnOnce()) -> (usize, usize) {
        thread_local!(static CALLS: Cell<(usize, usize)> = const { Cell::new((0, 0)) });
        CALLS.set((0, 0));
        let note = |length: usize| {
            let (calls, largest) = CALLS.get();
            CALLS.set((calls + 1, largest.max(length)));
            ffi::SQLITE_OK
        };
        observe(conn, note, work);
        CALLS.get()
    }

    #[test]
    fn the_pages_of_a_whole_log_are_written_together() {
        for mode in ["PASSIVE", "FULL", "RESTART", "TRUNCATE"] {
            let folder = Folder::new();
            let conn = connect(&folder);
            insert(&conn, ROWS);
            let (calls, largest) = calls_of(&conn, || {
                checkpoint(&conn, mode).expect("free");
            });
            assert!(calls < ROWS as usize / 8, "{mode}: {calls}");
            assert!((32 * 1024..128 * 1024).contains(&largest), "{largest}");
            let (_copy, copy) = after_a_kill(&folder);
            assert_eq!(count(&copy), ROWS);
            check(&copy);
        }
    }

    #[test]
    fn a_database_has_all_of_its_log_without_it() {
        let folder = Folder::new();
        let conn = connect(&folder);
        insert(&conn, ROWS);
        conn.execute("DELETE FROM blobs WHERE id % 3 = 0", [])
            .expect("ours");
        let (frames, copied) = checkpoint(&conn, "PASSIVE").expect("free");
        assert_eq!(frames, copied);
        let (folder, copy) = after_a_kill(&folder);
        drop(copy);
        std::fs::write(folder.path().join("copy.db-wal"), "").expect("there is one");
        let copy = Connection::open(folder.path().join("copy.db")).expect("a database");
        assert_eq!(count(&copy), count(&conn));
        check(&copy);
    }

    #[test]
    fn pages_that_are_no_checkpoint_s_are_written_as_they_come() {
        let folder = Folder::new();
        let conn = connect(&folder);
        insert(&conn, ROWS);
        checkpoint(&conn, "PASSIVE").expect("free");
        let mode_of = |conn: &Connection, sql| -> String {
            conn.query_row(sql, [], |row| row.get(0)).expect("free")
        };
        assert_eq!(mode_of(&conn, "PRAGMA journal_mode = DELETE"), "delete");
        insert(&conn, 1);
        let other = Connection::open(folder.path()).expect("a database");
        assert_eq!(mode_of(&other, "PRAGMA journal_mode"), "delete");
        assert_eq!(count(&other), ROWS + 1);
        check(&other);
    }

    #[test]
    fn a_part_of_the_log_is_written_as_it_comes_while_others_write() {
        let folder = Folder::new();
        let (conn, reader, writer) = (connect(&folder), connect(&folder), connect(&folder));
        insert(&conn, ROWS);
        reader
            .execute_batch("BEGIN; SELECT count(*) FROM blobs")
            .expect("free");
        insert(&conn, ROWS);
        let mut writes = 0;
        let write = move |length: usize| {
            assert!(length <= 4096, "{length}");
            // It may commit in the middle of a checkpoint.
            writes += 1;
            if writes == 5 {
                insert(&writer, 1);
            }
            ffi::SQLITE_OK
        };
        let (frames, copied) =
            observe(&conn, write, || checkpoint(&conn, "PASSIVE")).expect("free");
        assert!(0 < copied && copied < frames, "{copied} of {frames}");
        assert_eq!(count(&reader), ROWS);
        assert_eq!(count(&conn), 2 * ROWS + 1);
        reader.execute_batch("COMMIT").expect("ours");
        checkpoint(&conn, "TRUNCATE").expect("free");
        check(&conn);
    }

    #[test]
    fn nobody_commits_while_pages_are_gathered() {
        let folder = Folder::new();
        let (conn, writer) = (connect(&folder), connect(&folder));
        writer
            .busy_timeout(std::time::Duration::ZERO)
            .expect("open");
        insert(&conn, ROWS);
        let locked = std::rc::Rc::new(Cell::new(0));
        let seen = locked.clone();
        let write = move |_| {
            let begun = writer.execute_batch("BEGIN IMMEDIATE");
            let code = begun.expect_err("locked").sqlite_error_code();
            assert_eq!(code, Some(ErrorCode::DatabaseBusy));
            seen.set(seen.get() + 1);
            ffi::SQLITE_OK
        };
        observe(&conn, write, || checkpoint(&conn, "PASSIVE")).expect("free");
        assert!(locked.get() > 0);
        insert(&connect(&folder), 1);
    }

    #[test]
    fn a_writer_in_its_transaction_is_in_nobodys_way() {
        let folder = Folder::new();
        let (conn, writer) = (connect(&folder), connect(&folder));
        insert(&conn, ROWS);
        writer.execute_batch("BEGIN IMMEDIATE").expect("free");
        insert(&writer, 1);
        let (frames, copied) = checkpoint(&conn, "PASSIVE").expect("no lock of its own");
        assert_eq!(frames, copied);
        writer.execute_batch("COMMIT").expect("still its own lock");
        assert_eq!(count(&conn), ROWS + 1);
        check(&conn);
    }

    #[test]
    fn a_checkpoint_whose_pages_find_no_room_is_told_and_changes_nothing() {
        let folder = Folder::new();
        let (conn, other) = (connect(&folder), connect(&folder));
        insert(&conn, ROWS);
        let (calls, _) = calls_of(&conn, || {
            checkpoint(&conn, "PASSIVE").expect("free");
        });
        let mut total = ROWS;
        // Each call in turn fails, the last one too, which comes when SQLite has handed over all pages.
        for failing in 1..=calls {
            conn.execute("UPDATE blobs SET round = ?1", [failing as i64])
                .expect("ours");
            let mut call = 0;
            let write = move |_| {
                call += 1;
                match call == failing {
                    true => ffi::SQLITE_FULL,
                    false => ffi::SQLITE_OK,
                }
            };
            let outcome = observe(&conn, write, || checkpoint(&conn, "PASSIVE"));
            let code = outcome.expect_err("told").sqlite_error_code();
            assert_eq!(code, Some(ErrorCode::DiskFull), "{failing} of {calls}");
            // Whoever reads and writes next finds everything, and no lock.
            let changed: i64 = other
                .query_row(
                    "SELECT count(*) FROM blobs WHERE round = ?1",
                    [failing as i64],
                    |row| row.get(0),
                )
                .expect("readable");
            assert_eq!(changed, total);
            insert(&other, 1);
            total += 1;
            let (_copy, copy) = after_a_kill(&folder);
            assert_eq!(count(&copy), total);
            check(&copy);
            let (frames, copied) = checkpoint(&other, "PASSIVE").expect("free");
            assert_eq!(frames, copied);
        }
    }
}
