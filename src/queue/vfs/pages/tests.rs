use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::rc::Rc;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::super::tests::{after_a_kill, check, connect, count, insert};
use super::*;
use crate::queue::testing::Folder;

const ROWS: i64 = 200;
const PAGE_BYTES: usize = 4096;

/// What is done to the file of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    /// A write, and which one it is, from 1.
    Write(usize),
    Truncate,
    /// The lock of writers has just been released.
    Released,
}

type Observer = Box<dyn FnMut(Call) -> c_int>;

thread_local! {
    static OBSERVER: RefCell<Observer> = RefCell::new(Box::new(pass));
    /// How many bytes each write had.
    static LENGTHS: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
    static ORIGINAL: Cell<*const ffi::sqlite3_io_methods> = const { Cell::new(ptr::null()) };
}

fn pass(_: Call) -> c_int {
    ffi::SQLITE_OK
}

fn tell(call: Call) -> c_int {
    OBSERVER.with_borrow_mut(|observer| observer(call))
}

unsafe extern "C" fn observed_write(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    length: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    let nth = LENGTHS.with_borrow_mut(|lengths| {
        lengths.push(length as usize);
        lengths.len()
    });
    match tell(Call::Write(nth)) {
        // SAFETY: the arguments are SQLite's.
        ffi::SQLITE_OK => unsafe {
            ((*ORIGINAL.get()).xWrite.expect("there is one"))(file, bytes, length, at)
        },
        code => code,
    }
}

unsafe extern "C" fn observed_truncate(
    file: *mut ffi::sqlite3_file,
    size: ffi::sqlite3_int64,
) -> c_int {
    match tell(Call::Truncate) {
        // SAFETY: the arguments are SQLite's.
        ffi::SQLITE_OK => unsafe {
            ((*ORIGINAL.get()).xTruncate.expect("there is one"))(file, size)
        },
        code => code,
    }
}

unsafe extern "C" fn observed_lock(
    file: *mut ffi::sqlite3_file,
    slot: c_int,
    slots: c_int,
    flags: c_int,
) -> c_int {
    // SAFETY: the arguments are SQLite's.
    let code =
        unsafe { ((*ORIGINAL.get()).xShmLock.expect("there is one"))(file, slot, slots, flags) };
    if slot == WRITE_LOCK && flags & ffi::SQLITE_SHM_UNLOCK != 0 {
        tell(Call::Released);
    }
    code
}

/// Runs `work` while `observer` is told what is done to the database of `conn`. What it returns instead
/// of `SQLITE_OK` for a call is the outcome of that. It must not panic: SQLite calls it. Returns also how
/// many bytes each write had.
fn observe<T>(
    conn: &Connection,
    observer: impl FnMut(Call) -> c_int + 'static,
    work: impl FnOnce() -> T,
) -> (T, Vec<usize>) {
    let mut file: *mut ffi::sqlite3_file = ptr::null_mut();
    // SAFETY: the connection is open, and its database of this layer. Its methods are a copy of
    // SQLite's but for some, and replaced for the time of `work`.
    unsafe {
        ffi::sqlite3_file_control(
            conn.handle(),
            c"main".as_ptr(),
            ffi::SQLITE_FCNTL_FILE_POINTER,
            (&raw mut file).cast(),
        );
        let original = (*extra(file)).original;
        let mut methods = *original;
        methods.xWrite = Some(observed_write);
        methods.xTruncate = Some(observed_truncate);
        methods.xShmLock = Some(observed_lock);
        ORIGINAL.set(original);
        OBSERVER.set(Box::new(observer));
        (*extra(file)).original = &raw const methods;
        let result = work();
        (*extra(file)).original = original;
        OBSERVER.set(Box::new(pass));
        (result, LENGTHS.take())
    }
}

/// An observer that lets one write fail.
fn failing_write(nth: usize) -> impl FnMut(Call) -> c_int {
    move |call| match call == Call::Write(nth) {
        true => ffi::SQLITE_FULL,
        false => ffi::SQLITE_OK,
    }
}

/// How many frames the log has, and how many of them are in the database afterwards.
fn checkpoint(conn: &Connection, mode: &str) -> rusqlite::Result<(i64, i64)> {
    conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
        Ok((row.get(1)?, row.get(2)?))
    })
}

/// How many bytes each write of a checkpoint has that succeeds.
fn writes_of_checkpoint(conn: &Connection, mode: &str) -> Vec<usize> {
    let (outcome, lengths) = observe(conn, pass, || checkpoint(conn, mode));
    outcome.expect("free");
    lengths
}

/// How often a checkpoint writes that copies all rows once more.
fn writes_of_all(conn: &Connection) -> usize {
    checkpoint(conn, "PASSIVE").expect("free");
    set_round(conn, 0).expect("ours");
    let lengths = writes_of_checkpoint(conn, "PASSIVE");
    assert!(are_gathered(&lengths));
    lengths.len()
}

/// Whether there are writes of more than a page.
fn are_gathered(lengths: &[usize]) -> bool {
    lengths.iter().any(|length| *length > PAGE_BYTES)
}

/// Commits a row, if that is possible: for observers. Whoever counts the rows finds out.
fn try_to_insert(conn: &Connection) {
    let _ = conn.execute("INSERT INTO blobs (bytes) VALUES (x'00')", []);
}

/// A checkpoint whose pages are written one by one, while `writer` commits a row.
fn checkpoint_while_another_commits(conn: &Connection, writer: Connection) -> (i64, i64) {
    let before = count(conn);
    let observer = move |call| {
        if call == Call::Write(5) {
            try_to_insert(&writer);
        }
        ffi::SQLITE_OK
    };
    let (outcome, lengths) = observe(conn, observer, || checkpoint(conn, "PASSIVE"));
    assert!(!are_gathered(&lengths));
    assert_eq!(count(conn), before + 1);
    outcome.expect("free")
}

fn set_round(conn: &Connection, round: i64) -> rusqlite::Result<usize> {
    conn.execute("UPDATE blobs SET round = ?1", [round])
}

fn count_of_round(conn: &Connection, round: i64) -> i64 {
    let sql = "SELECT count(*) FROM blobs WHERE round = ?1";
    conn.query_row(sql, [round], |row| row.get(0))
        .expect("readable")
}

/// One that waits for no lock.
fn impatient(folder: &Folder) -> Connection {
    let conn = Connection::open(folder.path()).expect("a database");
    conn.busy_timeout(Duration::ZERO).expect("open");
    conn
}

fn assert_locked(outcome: rusqlite::Result<()>) {
    let code = outcome.expect_err("locked").sqlite_error_code();
    assert_eq!(code, Some(ErrorCode::DatabaseBusy));
}

#[test]
fn the_pages_of_a_whole_log_are_written_together() {
    for mode in ["PASSIVE", "FULL", "RESTART", "TRUNCATE"] {
        let folder = Folder::new();
        let conn = connect(&folder);
        insert(&conn, ROWS);
        let lengths = writes_of_checkpoint(&conn, mode);
        assert!(lengths.len() < ROWS as usize / 8, "{mode}: {lengths:?}");
        let longest = lengths.iter().max().expect("there are pages");
        assert!((32 * 1024..128 * 1024).contains(longest), "{longest}");
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
fn pages_of_any_size_are_gathered() {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    super::super::register().expect("room");
    for size in [512, 1024, 16_384, 65_536] {
        let folder = Folder::new();
        let conn = Connection::open_with_flags_and_vfs(folder.path(), flags, super::super::NAME)
            .expect("new");
        conn.execute_batch(&format!(
            "PRAGMA page_size = {size}; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;
             PRAGMA wal_autocheckpoint = 0;
             CREATE TABLE blobs (id INTEGER PRIMARY KEY, round INTEGER, bytes BLOB)"
        ))
        .expect("ours");
        for mode in ["PASSIVE", "FULL", "RESTART", "TRUNCATE"] {
            insert(&conn, ROWS);
            let lengths = writes_of_checkpoint(&conn, mode);
            let is_long = |length: &usize| *length >= 64 * 1024;
            assert!(lengths.iter().any(is_long), "{size}, {mode}: {lengths:?}");
            conn.execute_batch("DELETE FROM blobs WHERE id % 2 = 0; PRAGMA incremental_vacuum(50)")
                .expect("ours");
            let (_copy, copy) = after_a_kill(&folder);
            assert_eq!(count(&copy), count(&conn));
            check(&copy);
        }
        conn.execute_batch("VACUUM").expect("alone");
        check(&conn);
    }
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
    let (conn, reader, writer) = (connect(&folder), connect(&folder), impatient(&folder));
    insert(&conn, ROWS);
    reader
        .execute_batch("BEGIN; SELECT count(*) FROM blobs")
        .expect("free");
    insert(&conn, ROWS);
    let (frames, copied) = checkpoint_while_another_commits(&conn, writer);
    assert!(0 < copied && copied < frames, "{copied} of {frames}");
    assert_eq!(count(&reader), ROWS);
    reader.execute_batch("COMMIT").expect("ours");
    checkpoint(&conn, "TRUNCATE").expect("free");
    check(&conn);
}

#[test]
fn a_log_that_has_become_large_holds_up_no_writer() {
    let folder = Folder::new();
    let (conn, writer) = (connect(&folder), impatient(&folder));
    conn.execute_batch("PRAGMA wal_autocheckpoint = 0")
        .expect("ours");
    insert(&conn, i64::from(FRAMES_MAX) + 1);
    checkpoint_while_another_commits(&conn, writer);
    // SQLite itself holds the lock for this one.
    set_round(&conn, 1).expect("ours");
    assert!(are_gathered(&writes_of_checkpoint(&conn, "FULL")));
    check(&conn);
}

#[test]
fn nobody_commits_while_pages_are_gathered() {
    let folder = Folder::new();
    let (conn, writer) = (connect(&folder), impatient(&folder));
    insert(&conn, ROWS);
    let (writes, truncations) = (Rc::new(RefCell::new(vec![])), Rc::new(RefCell::new(vec![])));
    let (at_writes, at_truncations) = (Rc::clone(&writes), Rc::clone(&truncations));
    let observer = move |call| {
        let outcomes = match call {
            Call::Write(_) => &at_writes,
            // What takes longest, flushing the database to the disk, comes behind it.
            Call::Truncate => &at_truncations,
            Call::Released => return ffi::SQLITE_OK,
        };
        let outcome = writer.execute_batch("BEGIN IMMEDIATE; ROLLBACK");
        outcomes.borrow_mut().push(outcome);
        ffi::SQLITE_OK
    };
    let (outcome, _) = observe(&conn, observer, || checkpoint(&conn, "PASSIVE"));
    outcome.expect("free");
    assert!(!writes.borrow().is_empty());
    writes.take().into_iter().for_each(assert_locked);
    assert_eq!(truncations.take(), [Ok(())]);
    insert(&impatient(&folder), 1);
}

#[test]
fn a_writer_in_its_transaction_is_not_waited_for() {
    let folder = Folder::new();
    let (conn, writer) = (connect(&folder), connect(&folder));
    conn.busy_timeout(Duration::ZERO).expect("open");
    insert(&conn, ROWS);
    writer.execute_batch("BEGIN IMMEDIATE").expect("free");
    insert(&writer, 1);
    // A lock that was refused is not taken for one that is held.
    assert_locked(conn.execute_batch("BEGIN IMMEDIATE"));
    let (outcome, lengths) = observe(&conn, pass, || checkpoint(&conn, "PASSIVE"));
    let (frames, copied) = outcome.expect("no lock of its own");
    assert_eq!(frames, copied);
    assert!(!lengths.is_empty() && !are_gathered(&lengths));
    writer.execute_batch("COMMIT").expect("still its own lock");
    assert_eq!(count(&conn), ROWS + 1);
    check(&conn);
}

#[test]
fn a_writer_keeps_its_lock_when_its_log_begins_anew() {
    let folder = Folder::new();
    let (conn, other) = (connect(&folder), impatient(&folder));
    insert(&conn, ROWS);
    checkpoint(&conn, "PASSIVE").expect("free");
    conn.execute_batch("BEGIN IMMEDIATE").expect("free");
    insert(&conn, ROWS);
    assert_locked(other.execute_batch("BEGIN IMMEDIATE"));
    conn.execute_batch("COMMIT").expect("ours");
    check(&conn);
}

#[test]
fn a_checkpoint_whose_pages_find_no_room_is_told_and_changes_nothing() {
    let folder = Folder::new();
    let (conn, other) = (connect(&folder), connect(&folder));
    insert(&conn, ROWS);
    let writes = writes_of_all(&conn);
    let (mut total, mut round) = (ROWS, 0);
    // Each write in turn fails, the last one too, which comes when SQLite has handed over all pages.
    for failing in 1..=writes {
        for mode in ["PASSIVE", "FULL", "RESTART", "TRUNCATE"] {
            round += 1;
            set_round(&conn, round).expect("ours");
            let (outcome, _) = observe(&conn, failing_write(failing), || checkpoint(&conn, mode));
            let code = outcome.expect_err("told").sqlite_error_code();
            assert_eq!(code, Some(ErrorCode::DiskFull), "{failing} of {writes}");
            // Whoever reads and writes next finds everything, and no lock.
            assert_eq!(count_of_round(&other, round), total);
            insert(&impatient(&folder), 1);
            total += 1;
            let (_copy, copy) = after_a_kill(&folder);
            assert_eq!(count(&copy), total);
            check(&copy);
            let (frames, copied) = checkpoint(&other, "PASSIVE").expect("free");
            assert_eq!(frames, copied);
        }
    }
}

#[test]
fn nobody_commits_before_a_failure_is_told() {
    let folder = Folder::new();
    let (conn, writer) = (connect(&folder), connect(&folder));
    insert(&conn, ROWS);
    let writes = writes_of_all(&conn);
    set_round(&conn, 1).expect("ours");
    let mut fail = failing_write(writes);
    let mut has_written = false;
    // What comes behind the log would keep SQLite from cutting the database.
    let observer = move |call| {
        if call == Call::Released && !std::mem::replace(&mut has_written, true) {
            try_to_insert(&writer);
        }
        fail(call)
    };
    let (outcome, _) = observe(&conn, observer, || checkpoint(&conn, "PASSIVE"));
    outcome.expect_err("told");
    let other = connect(&folder);
    assert_eq!((count_of_round(&other, 1), count(&other)), (ROWS, ROWS + 1));
    check(&other);
}

#[test]
fn a_lock_is_gone_with_the_index_that_it_is_in() {
    let folder = Folder::new();
    let conn = connect(&folder);
    insert(&conn, ROWS);
    let writes = writes_of_all(&conn);
    set_round(&conn, 1).expect("ours");
    // The checkpoint before the switch fails when its last pages are written, in a mode in which SQLite
    // releases no lock.
    let (outcome, _) = observe(&conn, failing_write(writes), || {
        conn.query_row("PRAGMA journal_mode = DELETE", [], |row| {
            row.get::<_, String>(0)
        })
    });
    outcome.expect_err("told");
    let other = impatient(&folder);
    checkpoint(&other, "PASSIVE").expect("free");
    insert(&other, 1);
    checkpoint(&other, "PASSIVE").expect("free");
    // The log begins anew, for which locks are taken and released.
    conn.execute_batch("BEGIN IMMEDIATE").expect("free");
    set_round(&conn, 2).expect("ours");
    assert_locked(other.execute_batch("BEGIN IMMEDIATE"));
    conn.execute_batch("COMMIT").expect("ours");
    assert_eq!(count_of_round(&other, 2), ROWS + 1);
    check(&other);
}

#[test]
fn the_failure_of_a_checkpoint_is_none_of_a_later_call() {
    enum Next {
        Checkpoint,
        CheckpointBesideAWriter,
        CheckpointOfAnother,
    }
    for next in [
        Next::Checkpoint,
        Next::CheckpointBesideAWriter,
        Next::CheckpointOfAnother,
    ] {
        let folder = Folder::new();
        let conn = connect(&folder);
        insert(&conn, ROWS);
        let handle = conn.get_interrupt_handle();
        // Interrupted, so that SQLite does not ask any more what became of the pages that were left.
        let mut fail = failing_write(4);
        let observer = move |call| {
            if call == Call::Write(3) {
                handle.interrupt();
            }
            fail(call)
        };
        let (outcome, _) = observe(&conn, observer, || checkpoint(&conn, "PASSIVE"));
        let code = outcome.expect_err("interrupted").sqlite_error_code();
        assert_eq!(code, Some(ErrorCode::OperationInterrupted));
        let other = impatient(&folder);
        match next {
            Next::Checkpoint => checkpoint(&conn, "PASSIVE").expect("there is room"),
            Next::CheckpointBesideAWriter => {
                other.execute_batch("BEGIN IMMEDIATE").expect("free");
                checkpoint(&conn, "PASSIVE").expect("there is room")
            }
            Next::CheckpointOfAnother => checkpoint(&other, "TRUNCATE").expect("free"),
        };
        drop(other);
        let mode: String = conn
            .query_row("PRAGMA journal_mode = DELETE", [], |row| row.get(0))
            .expect("free");
        assert_eq!(mode, "delete");
        conn.execute("DELETE FROM blobs", []).expect("ours");
        conn.execute_batch("VACUUM").expect("there is room");
        check(&conn);
    }
}

#[test]
fn the_only_user_of_a_file_gathers_again_after_a_failure() {
    let folder = Folder::new();
    let conn = connect(&folder);
    insert(&conn, ROWS);
    let writes = writes_of_all(&conn);
    conn.execute_batch("PRAGMA locking_mode = EXCLUSIVE")
        .expect("ours");
    set_round(&conn, 1).expect("alone");
    let (outcome, _) = observe(&conn, failing_write(writes), || {
        checkpoint(&conn, "PASSIVE")
    });
    outcome.expect_err("told");
    assert!(are_gathered(&writes_of_checkpoint(&conn, "PASSIVE")));
    conn.execute_batch("PRAGMA locking_mode = NORMAL")
        .expect("ours");
    set_round(&conn, 2).expect("ours");
    let other = impatient(&folder);
    set_round(&other, 3).expect("free");
    assert_eq!(count_of_round(&conn, 3), ROWS);
    check(&other);
}
