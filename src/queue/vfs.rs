//! SQLite's own file system layer, with what SQLite writes page by page handed to the kernel
//! together.
//!
//! A call costs several times what the bytes of a page do. So the frames of a commit are gathered
//! on their way to the log, see [`frames`], and the pages of a checkpoint on their way to the
//! database, see [`pages`]. Everything else is SQLite's.

use std::ffi::{CStr, c_char, c_int};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

use rusqlite::{Connection, ffi};

use crate::error::Result;

/// Calls a method of SQLite's layer on a file of it.
macro_rules! original {
    ($file:ident . $method:ident ( $($argument:expr),* )) => {{
        let methods = (*crate::queue::vfs::extra($file)).original;
        ((*methods).$method.expect("SQLite has every method"))($file $(, $argument)*)
    }};
}

mod frames;
mod pages;

use frames::Frames;
use pages::Pages;

/// The name under which SQLite knows this layer.
pub(super) const NAME: &CStr = c"flowtrace-ipc";

/// Bytes that are gathered at most, about. More of them gain nothing.
const RUN_BYTES_MAX: usize = 64 * 1024;

/// The slot of the shared index that a writer locks (`WAL_WRITE_LOCK`).
const WRITE_LOCK: c_int = 0;

/// Behind each file of SQLite's layer stands what is added here.
#[repr(C)]
struct Extra {
    /// SQLite's methods but for those that are replaced; the file points to it.
    methods: ffi::sqlite3_io_methods,
    original: *const ffi::sqlite3_io_methods,
    /// Of a database its log and of a log its database, while it is open.
    partner: *mut ffi::sqlite3_file,
    /// What is on its way to a log.
    frames: Frames,
    /// What is on its way to a database.
    pages: Pages,
}

/// Bytes on their way to a file: without a gap, and the place of the first one.
#[derive(Default)]
struct Run {
    begin: i64,
    bytes: Vec<u8>,
}

impl Run {
    /// Adds bytes, if they follow those that are there. Returns whether they do.
    fn add(&mut self, new: &[u8], at: i64) -> bool {
        if self.bytes.is_empty() {
            self.begin = at;
        }
        let follow = at == self.begin + self.bytes.len() as i64;
        if follow {
            self.bytes.extend_from_slice(new);
        }
        follow
    }

    fn is_full(&self) -> bool {
        self.bytes.len() >= RUN_BYTES_MAX
    }

    /// Hands all bytes to the kernel. If that fails they are gone.
    unsafe fn write(&mut self, file: *mut ffi::sqlite3_file) -> c_int {
        if self.bytes.is_empty() {
            return ffi::SQLITE_OK;
        }
        let (begin, length) = (self.begin, self.bytes.len() as c_int);
        // SAFETY: the caller passes an open file of this layer.
        let code = unsafe { original!(file.xWrite(self.bytes.as_ptr().cast(), length, begin)) };
        self.bytes.clear();
        code
    }
}

/// Makes the layer known to SQLite.
///
/// # Errors
/// SQLite's, when it cannot be initialised.
pub(super) fn register() -> Result<()> {
    static REGISTERED: OnceLock<c_int> = OnceLock::new();
    // SAFETY: the structure is a copy of SQLite's own, whose functions ask nothing of it that the
    // copy does not have, and lives as long as the process.
    let code = *REGISTERED.get_or_init(|| unsafe {
        let original = original();
        if original.is_null() {
            return ffi::SQLITE_ERROR;
        }
        let mut layer = *original;
        layer.zName = NAME.as_ptr();
        layer.pNext = ptr::null_mut();
        layer.szOsFile = (extra_offset(original) + size_of::<Extra>()) as c_int;
        layer.xOpen = Some(open);
        ffi::sqlite3_vfs_register(Box::leak(Box::new(layer)), 0)
    });
    match code {
        ffi::SQLITE_OK => Ok(()),
        code => Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None).into()),
    }
}

/// How far the log reaches that this connection has just committed to, in bytes. Where somebody
/// has made it begin anew, its file may be larger.
pub(super) fn log_bytes(conn: &Connection) -> i64 {
    let mut file: *mut ffi::sqlite3_file = ptr::null_mut();
    // SAFETY: the connection is open, and the operation takes a place for a pointer. What it
    // points to lives as long as the connection, and is of this layer if it has methods of its own.
    unsafe {
        let code = ffi::sqlite3_file_control(
            conn.handle(),
            c"main".as_ptr(),
            ffi::SQLITE_FCNTL_JOURNAL_POINTER,
            (&raw mut file).cast(),
        );
        let is_log = code == ffi::SQLITE_OK
            && !file.is_null()
            && ptr::eq((*file).pMethods, &raw const (*extra(file)).methods);
        if is_log {
            (*extra(file)).frames.end()
        } else {
            0
        }
    }
}

/// SQLite's own layer; null if SQLite cannot be initialised. It is asked for with every page, and SQLite
/// looks for it under a lock.
fn original() -> *mut ffi::sqlite3_vfs {
    static ORIGINAL: AtomicPtr<ffi::sqlite3_vfs> = AtomicPtr::new(ptr::null_mut());
    let mut found = ORIGINAL.load(Ordering::Relaxed);
    if found.is_null() {
        // SAFETY: no name asks for the default, which stays what it is: nobody else uses this SQLite.
        found = unsafe { ffi::sqlite3_vfs_find(ptr::null()) };
        ORIGINAL.store(found, Ordering::Relaxed);
    }
    found
}

/// Where [`Extra`] begins, from the begin of a file.
unsafe fn extra_offset(original: *const ffi::sqlite3_vfs) -> usize {
    // SAFETY: the caller passes SQLite's layer.
    let bytes = unsafe { (*original).szOsFile } as usize;
    bytes.next_multiple_of(align_of::<Extra>())
}

/// What is added to a file that [`open`] has opened as a database or a log.
unsafe fn extra(file: *mut ffi::sqlite3_file) -> *mut Extra {
    // SAFETY: SQLite has allocated `szOsFile` bytes, aligned for any of its structures.
    unsafe { file.byte_add(extra_offset(original())).cast() }
}

unsafe extern "C" fn open(
    _layer: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite calls this with memory for a file of `szOsFile` bytes; its own layer needs
    // the first part of them. A log comes with a name that belongs to an open database.
    unsafe {
        let layer = original();
        let open = (*layer).xOpen.expect("SQLite has every method");
        let code = open(layer, name, file, flags, out_flags);
        let is_log = flags & ffi::SQLITE_OPEN_WAL != 0;
        if code != ffi::SQLITE_OK || !(is_log || flags & ffi::SQLITE_OPEN_MAIN_DB != 0) {
            return code;
        }
        let original = (*file).pMethods;
        let mut methods = *original;
        let mut partner = ptr::null_mut();
        if is_log {
            partner = ffi::sqlite3_database_file_object(name.cast::<c_char>());
            (*extra(partner)).partner = file;
            frames::replace(&mut methods);
        } else {
            methods.xShmLock = Some(shm_lock);
            pages::replace(&mut methods);
        }
        let place = extra(file);
        place.write(Extra {
            methods,
            original,
            partner,
            frames: Frames::default(),
            pages: Pages::default(),
        });
        (*file).pMethods = &raw const (*place).methods;
        ffi::SQLITE_OK
    }
}

unsafe extern "C" fn shm_lock(
    file: *mut ffi::sqlite3_file,
    slot: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    // SAFETY: SQLite calls this with a database.
    unsafe {
        let log = (*extra(file)).partner;
        let unlocks = flags & ffi::SQLITE_SHM_UNLOCK != 0;
        if unlocks {
            pages::release(file);
            if slot == WRITE_LOCK && !log.is_null() {
                (*extra(log)).frames.discard();
            }
        }
        let code = original!(file.xShmLock(slot, count, flags));
        if slot == WRITE_LOCK && code == ffi::SQLITE_OK {
            (*extra(file)).pages.set_writer(!unlocks);
        }
        code
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::process::Command;

    use super::super::open;
    use super::super::testing::Folder;
    use super::*;

    /// A database with a table of blobs, whose cache holds a few pages only.
    pub(super) fn connect(folder: &Folder) -> open::Handle {
        let conn = open::open(&folder.options(), None).expect("a queue");
        conn.execute_batch(
            "PRAGMA cache_size = 10; PRAGMA synchronous = NORMAL;
             CREATE TABLE IF NOT EXISTS blobs (id INTEGER PRIMARY KEY, round INTEGER, bytes BLOB)",
        )
        .expect("ours");
        conn
    }

    pub(super) fn insert(conn: &Connection, count: i64) {
        conn.execute(
            "INSERT INTO blobs (bytes)
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
             SELECT randomblob(3000) FROM n",
            [count],
        )
        .expect("room");
    }

    pub(super) fn count(conn: &Connection) -> i64 {
        conn.query_row("SELECT count(*) FROM blobs", [], |row| row.get(0))
            .expect("readable")
    }

    pub(super) fn check(conn: &Connection) {
        let verdict: String = conn
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .expect("readable");
        assert_eq!(verdict, "ok");
    }

    /// What is left of the files when every process dies at this moment, as SQLite's own layer
    /// reads it.
    pub(super) fn after_a_kill(folder: &Folder) -> (tempfile::TempDir, Connection) {
        let copy = tempfile::tempdir().expect("a folder");
        // By another process: closing the file in this one would end the locks of SQLite.
        for suffix in ["", "-wal"] {
            let name = |path: PathBuf| format!("{}{suffix}", path.display());
            let target = name(copy.path().join("copy.db"));
            let copied = Command::new("cp")
                .args([name(folder.path()), target])
                .status();
            assert!(copied.expect("there is cp").success());
        }
        let conn = Connection::open(copy.path().join("copy.db")).expect("a database");
        (copy, conn)
    }

    #[test]
    fn a_commit_is_in_the_files_when_it_returns() {
        let folder = Folder::new();
        let conn = connect(&folder);
        let other = connect(&folder);
        let mut total = 0;
        // One page, some, more than a run holds, more than the cache holds.
        for rows in [1, 3, 40, 500] {
            insert(&conn, rows);
            total += rows;
            let (_copy, copy) = after_a_kill(&folder);
            assert_eq!((count(&copy), count(&other)), (total, total));
            check(&copy);
        }
    }

    #[test]
    fn a_page_that_was_written_before_its_commit_may_change_again() {
        let folder = Folder::new();
        let conn = connect(&folder);
        insert(&conn, 200);
        conn.execute_batch("BEGIN IMMEDIATE").expect("free");
        for round in 1..=3 {
            // Every page leaves the cache for the log, and is written there again: the checksums of
            // all frames are made anew at the commit.
            conn.execute("UPDATE blobs SET round = ?1", [round])
                .expect("ours");
        }
        conn.execute_batch("COMMIT").expect("ours");
        let (_copy, copy) = after_a_kill(&folder);
        check(&copy);
        let changed: i64 = copy
            .query_row("SELECT count(*) FROM blobs WHERE round = 3", [], |row| {
                row.get(0)
            })
            .expect("readable");
        assert_eq!(changed, 200);
    }

    #[test]
    fn what_was_undone_never_reaches_the_log_of_the_next_writer() {
        let folder = Folder::new();
        let conn = connect(&folder);
        let other = connect(&folder);
        insert(&conn, 30);
        for round in 0..20 {
            // With the log moved into the file, undoing does not read the log.
            conn.query_row("PRAGMA wal_checkpoint", [], |_| Ok(()))
                .expect("free");
            conn.execute_batch("BEGIN IMMEDIATE").expect("free");
            insert(&conn, 20 + round);
            conn.execute_batch("ROLLBACK").expect("ours");
            // It takes the place in the log that the frames above were meant for.
            insert(&other, 40);
            let expected = 30 + (round + 1) * 40;
            assert_eq!((count(&conn), count(&other)), (expected, expected));
            check(&conn);
        }
        let (_copy, copy) = after_a_kill(&folder);
        assert_eq!(count(&copy), 30 + 20 * 40);
        check(&copy);
    }

    #[test]
    fn a_file_is_opened_and_closed_any_number_of_times() {
        let folder = Folder::new();
        for round in 0..20 {
            let conn = connect(&folder);
            let other = connect(&folder);
            insert(&conn, 5);
            drop(conn);
            insert(&other, 5);
            assert_eq!(count(&other), (round + 1) * 10);
        }
        check(&connect(&folder));
    }
}
