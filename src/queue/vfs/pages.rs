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
//! To others this is a writer like any: whoever begins to write waits for it as long as its timeout
//! allows, and who has only read in a transaction until then is refused at once. It must not take
//! long, so that pages of a log that has become large are written one by one, without the lock.
//!
//! The form of the shared index: <https://www.sqlite.org/walformat.html#the_wal_index_file_format>.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use rusqlite::ffi;

use super::{Run, WRITE_LOCK, extra};
use crate::limits;

/// Frames to copy, at most, for which the lock of writers is taken: a few milliseconds. SQLite's own
/// checkpoints have about a quarter.
const FRAMES_MAX: u32 = 4 * limits::WAL_CHECKPOINT_PAGES;

/// Bytes of the shared index that are mapped together.
const INDEX_BYTES: c_int = 32 * 1024;

/// Where the shared index has the number of the last frame.
const LAST_AT: usize = 16;

/// Where it has the number of the last frame that is in the database.
const COPIED_AT: usize = 96;

/// Where it has the number of the last frame that a checkpoint is to copy.
const WANTED_AT: usize = 128;

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
    methods.xShmUnmap = Some(unmap);
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
        // In its exclusive mode SQLite releases none, so that there may be that of an earlier failure.
        if !(*pages).is_writer && !(*pages).has_taken_lock {
            let flags = ffi::SQLITE_SHM_LOCK | ffi::SQLITE_SHM_EXCLUSIVE;
            if original!(file.xShmLock(WRITE_LOCK, 1, flags)) != ffi::SQLITE_OK {
                return;
            }
            (*pages).has_taken_lock = true;
        }
        (*pages).gathers = Log::of(file).is_some_and(|log| {
            let is_short = log.wanted.saturating_sub(log.copied) <= FRAMES_MAX;
            log.wanted == log.last && (is_short || (*pages).is_writer)
        });
        if !(*pages).gathers {
            release(file);
        }
    }
}

/// What the shared index says of a log, by the numbers of frames.
struct Log {
    last: u32,
    /// In the database.
    copied: u32,
    /// Where the checkpoint is to end that has begun.
    wanted: u32,
}

impl Log {
    /// The log of a database; `None` if it has no shared index.
    unsafe fn of(file: *mut ffi::sqlite3_file) -> Option<Self> {
        let mut index: *mut c_void = ptr::null_mut();
        // SAFETY: the caller passes a database with a log. Its index is aligned to a page and stays
        // until it is unmapped. Others may write to it, as atomically.
        unsafe {
            let code = original!(file.xShmMap(0, INDEX_BYTES, 0, &raw mut index));
            if code != ffi::SQLITE_OK || index.is_null() {
                return None;
            }
            let word = |at| AtomicU32::from_ptr(index.byte_add(at).cast()).load(Ordering::Relaxed);
            Some(Log {
                last: word(LAST_AT),
                copied: word(COPIED_AT),
                wanted: word(WANTED_AT),
            })
        }
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

/// The shared index goes. SQLite expects that no lock in it is held, and would not release it.
unsafe extern "C" fn unmap(file: *mut ffi::sqlite3_file, deletes: c_int) -> c_int {
    // SAFETY: SQLite calls this with a database.
    unsafe {
        release(file);
        (*extra(file)).pages = Pages::default();
        original!(file.xShmUnmap(deletes))
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
mod tests;
