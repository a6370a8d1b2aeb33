//! The frames of a commit on their way to the log.
//!
//! SQLite writes each page of a commit in two calls: 24 bytes that head the frame, then the page.
//! Here frames are gathered until the commit is complete.
//!
//! ```text
//! write(header) write(page) … write(commit header) write(page)     SQLite
//!      '------------'-- run --'---------'----------'--> one write  the kernel
//! ```
//!
//! What must hold, because other processes read and write the same log:
//!
//! - **A commit is in the kernel's hands before SQLite publishes it** in the shared index. So the
//!   page that completes a commit takes the run along, and its outcome is that of both.
//! - **Nothing is written without the write lock.** A transaction that was undone leaves frames
//!   in the run, which are dropped before the lock is released: the place in the log where they
//!   would go belongs to the next writer.
//! - **Nobody reads around the run**, which comes first wherever the log is read, cut, measured
//!   or flushed.
//!
//! The form of the log: <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>.

use std::ffi::{c_int, c_void};
use std::ptr;

use rusqlite::ffi;

use super::{Run, extra};

/// The header of a frame. Its second word is 0 unless the frame completes a commit.
const FRAME_HEADER_BYTES: usize = 24;

/// See the module.
#[derive(Default)]
pub(super) struct Frames {
    run: Run,
    /// The page that completes a commit comes next.
    commits: bool,
    /// The end of what was written last.
    end: i64,
}

/// What became of some bytes.
enum Taken {
    /// They wait with the others.
    Gathered,
    /// As above, and it is time to write them all.
    Full,
    /// They do not follow what waits, or nothing waits and they do not begin a run.
    Refused,
}

impl Frames {
    fn take(&mut self, new: &[u8], at: i64) -> Taken {
        let is_header = new.len() == FRAME_HEADER_BYTES;
        let completes_commit = is_header && new[4..8] != [0; 4];
        // SQLite writes a header again whose checksum has changed. If that is the header of a
        // commit no page follows it, so that it must not wait for one.
        if self.run.bytes.is_empty() && (!is_header || completes_commit) {
            return Taken::Refused;
        }
        if !self.run.add(new, at) {
            return Taken::Refused;
        }
        if self.commits || self.run.is_full() {
            return Taken::Full;
        }
        self.commits = completes_commit;
        Taken::Gathered
    }

    /// Forgets what was not written: its transaction was undone.
    pub(super) fn discard(&mut self) {
        self.run.bytes.clear();
        self.commits = false;
    }

    /// Where in the log ends what was written last.
    pub(super) fn end(&self) -> i64 {
        self.end
    }
}

/// Replaces the methods of logs.
pub(super) fn replace(methods: &mut ffi::sqlite3_io_methods) {
    methods.xWrite = Some(write);
    methods.xRead = Some(read);
    methods.xTruncate = Some(truncate);
    methods.xSync = Some(sync);
    methods.xFileSize = Some(file_size);
    methods.xClose = Some(close);
}

/// Hands the run to the kernel. If that fails it is gone, and so is the transaction.
unsafe fn flush(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: the caller passes a log and has no reference to its frames.
    unsafe {
        let frames = &mut (*extra(file)).frames;
        let code = frames.run.write(file);
        frames.commits = false;
        code
    }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    length: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite calls this with a log and as many bytes as it says.
    unsafe {
        let new = std::slice::from_raw_parts(bytes.cast::<u8>(), length as usize);
        let frames = &raw mut (*extra(file)).frames;
        (*frames).end = at + ffi::sqlite3_int64::from(length);
        let mut taken = (*frames).take(new, at);
        if matches!(taken, Taken::Refused) {
            match flush(file) {
                ffi::SQLITE_OK => taken = (*frames).take(new, at),
                code => return code,
            }
        }
        match taken {
            Taken::Gathered => ffi::SQLITE_OK,
            Taken::Full => flush(file),
            Taken::Refused => original!(file.xWrite(bytes, length, at)),
        }
    }
}

/// Defines a method of logs that is SQLite's own, once the run is with the kernel.
macro_rules! behind_the_run {
    ($name:ident, $method:ident, $($argument:ident: $kind:ty),+) => {
        unsafe extern "C" fn $name(file: *mut ffi::sqlite3_file, $($argument: $kind),+) -> c_int {
            // SAFETY: SQLite calls this with a log, and with what its own method asks for.
            unsafe {
                match flush(file) {
                    ffi::SQLITE_OK => original!(file.$method($($argument),+)),
                    code => code,
                }
            }
        }
    };
}

behind_the_run!(read, xRead, bytes: *mut c_void, length: c_int, at: ffi::sqlite3_int64);
behind_the_run!(truncate, xTruncate, size: ffi::sqlite3_int64);
behind_the_run!(sync, xSync, flags: c_int);
behind_the_run!(file_size, xFileSize, size: *mut ffi::sqlite3_int64);

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite calls this with a log, once, before it closes the database.
    unsafe {
        let this = extra(file);
        let database = (*this).partner;
        if !database.is_null() {
            (*extra(database)).partner = ptr::null_mut();
        }
        let code = original!(file.xClose());
        // The write lock is not held any more: what is left was undone.
        ptr::drop_in_place(&raw mut (*this).frames);
        code
    }
}

#[cfg(test)]
mod tests {
    use super::super::RUN_BYTES_MAX;
    use super::*;

    const PAGE: [u8; 512] = [7; 512];

    fn header(commit: bool) -> [u8; FRAME_HEADER_BYTES] {
        let mut header = [9; FRAME_HEADER_BYTES];
        header[4..8].copy_from_slice(&u32::from(commit).to_be_bytes());
        header
    }

    #[test]
    fn a_run_is_complete_with_the_page_of_its_commit() {
        let mut frames = Frames::default();
        assert!(matches!(frames.take(&header(false), 32), Taken::Gathered));
        assert!(matches!(frames.take(&PAGE, 56), Taken::Gathered));
        assert!(matches!(frames.take(&header(true), 568), Taken::Gathered));
        assert!(matches!(frames.take(&PAGE, 592), Taken::Full));
        assert_eq!(
            (frames.run.begin, frames.run.bytes.len()),
            (32, 2 * (24 + 512))
        );
        frames.discard();
        assert!(matches!(frames.take(&header(false), 1104), Taken::Gathered));
        assert!(matches!(frames.take(&PAGE, 1128), Taken::Gathered));
    }

    #[test]
    fn what_begins_no_run_or_leaves_a_gap_does_not_wait() {
        let mut frames = Frames::default();
        // The header of the log, a page that is written again, the header of a commit alone.
        assert!(matches!(frames.take(&[1; 32], 0), Taken::Refused));
        assert!(matches!(frames.take(&PAGE, 56), Taken::Refused));
        assert!(matches!(frames.take(&header(true), 32), Taken::Refused));
        assert!(matches!(frames.take(&header(false), 32), Taken::Gathered));
        for elsewhere in [32, 55, 57, 0] {
            assert!(matches!(frames.take(&PAGE, elsewhere), Taken::Refused));
        }
        assert_eq!(frames.run.bytes.len(), FRAME_HEADER_BYTES);
    }

    #[test]
    fn a_run_is_bounded() {
        let mut frames = Frames::default();
        let mut at = 32;
        let mut write = |bytes: &[u8]| {
            let taken = frames.take(bytes, at);
            at += bytes.len() as i64;
            taken
        };
        while matches!(write(&header(false)), Taken::Gathered)
            && matches!(write(&PAGE), Taken::Gathered)
        {}
        assert!(frames.run.bytes.len() < RUN_BYTES_MAX + PAGE.len());
    }
}
