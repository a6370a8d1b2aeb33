//! Room on the disk: what lets a queue be drained while its disk is full.
//!
//! Marking and deleting need room too: for the write-ahead log, and for index pages that divide.
//! Three things provide it, while the files of others take the rest to the last byte:
//!
//! 1. The database file is extended before a commit that makes the database larger. So whatever
//!    was committed can be moved from the log into the file, and the log used from its beginning
//!    again, without more room. An enqueue for which there is no room fails before it is stored.
//! 2. A write that finds the disk full does that: a checkpoint. Then it is tried again.
//! 3. A reserve file beside the database, [`limits::RESERVE_BYTES`] large. Writes that drain, and
//!    the opening of the file, give it back step by step where the checkpoint was not enough;
//!    what stores messages never does. The step is taken inside of the write transaction, so that
//!    no other process of this package stores messages into it. The reserve is filled again once
//!    there is room.

use std::ffi::{CString, c_int, c_void};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ffi};

use super::store::Store;
use crate::error::{Error, Result};
use crate::limits;

/// By how much the database file grows at once.
const CHUNK_BYTES: c_int = 64 * 1024;

/// What of the reserve is given back at once: enough for the index of the log (32 KiB) and a small
/// transaction.
const STEP_BYTES: u64 = 64 * 1024;

/// So many messages are settled at once with the help of the reserve. More would waste it: the
/// room of a large transaction stays with the log.
pub(super) const FEW: usize = 16;

/// The part of the free disk that the reserve may take: on a small disk messages come first.
const SHARE: u64 = 4;

/// Between two attempts to fill it.
const FILL_PAUSE: Duration = Duration::from_secs(1);

/// The file whose room is kept for draining.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    /// When to look again whether there is room for what is missing.
    fill_at: Option<Instant>,
}

impl Reserve {
    /// The reserve of this database, without looking for it.
    pub(super) fn beside(database: &Path) -> Self {
        let mut name = database.as_os_str().to_owned();
        name.push("-reserve");
        Reserve {
            path: name.into(),
            fill_at: None,
        }
    }

    /// Makes it as large as it should be, as far as there is room. It is no error if there is
    /// none: storing messages does not depend on it.
    pub(super) fn fill(&mut self, database: &Path) {
        let is_full = self.try_fill(database).unwrap_or(false);
        self.fill_at = (!is_full).then(|| Instant::now() + FILL_PAUSE);
    }

    /// [`Reserve::fill`], if something is missing and it is time to look again.
    fn fill_if_due(&mut self, database: &Path) {
        if self.fill_at.is_some_and(|at| at <= Instant::now()) {
            self.fill(database);
        }
    }

    fn try_fill(&self, database: &Path) -> io::Result<bool> {
        let now = match fs::symlink_metadata(&self.path) {
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        };
        let wanted = u64::from(limits::RESERVE_BYTES);
        if now >= wanted {
            return Ok(true);
        }
        let share = (free_bytes(&self.path)? + now) / SHARE;
        let size = wanted.min(share / STEP_BYTES * STEP_BYTES);
        if size > now {
            let mode = {
                use std::os::unix::fs::PermissionsExt;
                fs::metadata(database)?.permissions().mode() & 0o666
            };
            let file = self.open(OpenOptions::new().create(true).mode(mode))?;
            let written = extend(&file, now, size);
            if written.is_err() {
                file.set_len(now)?;
            }
            written?;
        }
        Ok(size >= wanted)
    }

    /// Gives a step back to the disk; `false` if nothing is left.
    pub(super) fn spend(&mut self) -> bool {
        let spent = || -> io::Result<bool> {
            let file = self.open(&mut OpenOptions::new())?;
            let now = file.metadata()?.len();
            file.set_len(now.saturating_sub(STEP_BYTES))?;
            Ok(now > 0)
        };
        let spent = spent().unwrap_or(false);
        self.fill_at = Some(Instant::now() + FILL_PAUSE);
        spent
    }

    /// Whether the file system can take room without writing. Where it cannot, the C library does it
    /// by writing, which [`Store::back_pages`] must not do. Asked of this file, not of the
    /// database: closing a second descriptor of that would give up the locks on it.
    #[cfg(target_os = "linux")]
    fn can_take_room(&self) -> bool {
        use std::os::fd::AsRawFd;
        let Ok(file) = self.open(OpenOptions::new().create(true).mode(0o600)) else {
            return false;
        };
        // SAFETY: plain system call on a descriptor that is open.
        let status = unsafe { libc::fallocate(file.as_raw_fd(), libc::FALLOC_FL_KEEP_SIZE, 0, 1) };
        let error = io::Error::last_os_error().raw_os_error();
        status == 0 || !matches!(error, Some(libc::EOPNOTSUPP | libc::ENOSYS))
    }

    #[cfg(not(target_os = "linux"))]
    fn can_take_room(&self) -> bool {
        false
    }

    /// Never by a link: what it leads to is not ours to shorten.
    fn open(&self, options: &mut OpenOptions) -> io::Result<File> {
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = options.write(true).custom_flags(flags).open(&self.path)?;
        if file.metadata()?.is_file() {
            return Ok(file);
        }
        Err(io::ErrorKind::InvalidInput.into())
    }
}

/// Writes zeros, because a hole takes no room.
fn extend(file: &File, from: u64, to: u64) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    let zeros = vec![0; STEP_BYTES as usize];
    let mut at = from;
    while at < to {
        let count = (to - at).min(STEP_BYTES) as usize;
        file.write_all_at(&zeros[..count], at)?;
        at += count as u64;
    }
    let mut file = file;
    file.flush()
}

/// Bytes that are free for us on the disk of this file.
#[allow(clippy::unnecessary_cast)] // The types differ between platforms.
fn free_bytes(path: &Path) -> io::Result<u64> {
    let folder = path.parent().unwrap_or(path);
    let folder = CString::new(folder.as_os_str().as_bytes())?;
    let mut status = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the name ends with a zero, and the call fills the structure where it succeeds.
    let status = unsafe {
        if libc::statvfs(folder.as_ptr(), status.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        status.assume_init()
    };
    Ok(status.f_bavail as u64 * status.f_frsize as u64)
}

/// Lets the database file grow in chunks from now on.
pub(super) fn grow_in_chunks(conn: &Connection) -> Result<()> {
    let mut size = CHUNK_BYTES;
    control(
        conn,
        ffi::SQLITE_FCNTL_CHUNK_SIZE,
        &raw mut size as *mut c_void,
    )
}

/// Whether the path of the database file leads to another one by now, or nowhere.
pub(super) fn has_moved(conn: &Connection) -> Result<bool> {
    let mut moved: c_int = 0;
    control(
        conn,
        ffi::SQLITE_FCNTL_HAS_MOVED,
        &raw mut moved as *mut c_void,
    )?;
    Ok(moved != 0)
}

fn control(conn: &Connection, what: c_int, value: *mut c_void) -> Result<()> {
    // SAFETY: the connection is open, the name is a constant, and all operations take a pointer
    // to an integer of the type that their callers here have.
    let code = unsafe { ffi::sqlite3_file_control(conn.handle(), c"main".as_ptr(), what, value) };
    if code == ffi::SQLITE_OK {
        return Ok(());
    }
    Err(Error::Sqlite(rusqlite::Error::SqliteFailure(
        ffi::Error::new(code),
        None,
    )))
}

/// What becomes of the log once everything in it was moved into the database.
#[derive(Clone, Copy)]
enum Checkpoint {
    /// It keeps its blocks, and is written from its beginning again.
    Passive,
    /// Its blocks are free for the database, and for others.
    Truncate,
}

impl Store {
    /// Runs `op`, which stores messages; while the disk is full, again with the room that the log
    /// has, then with its blocks given to the database.
    pub(super) fn storing<T>(&mut self, mut op: impl FnMut(&mut Self) -> Result<T>) -> Result<T> {
        let mut outcome = op(self);
        for mode in [Checkpoint::Passive, Checkpoint::Truncate] {
            match &outcome {
                Err(error) if error.is_full() && self.checkpoint(mode) => outcome = op(self),
                _ => break,
            }
        }
        outcome
    }

    /// Runs `op`; once more after a checkpoint if the disk is full.
    pub(super) fn reusing_log<T>(
        &mut self,
        mut op: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<T> {
        let outcome = op(self);
        match &outcome {
            Err(error) if error.is_full() && self.checkpoint(Checkpoint::Passive) => op(self),
            _ => outcome,
        }
    }

    /// Runs `op`, which settles or deletes a few messages; while the disk is full, again after a
    /// checkpoint, with ever more of the reserve, and at last with the blocks that the log took
    /// of it.
    pub(super) fn draining<T>(&mut self, mut op: impl FnMut(&mut Self) -> Result<T>) -> Result<T> {
        let is_full = |outcome: &Result<T>| matches!(outcome, Err(error) if error.is_full());
        let mut outcome = self.reusing_log(&mut op);
        for _ in 0..=u64::from(limits::RESERVE_BYTES).div_ceil(STEP_BYTES) {
            if !is_full(&outcome) {
                return outcome;
            }
            self.spends = Some(true);
            outcome = op(self);
            if self.spends.take() == Some(false) {
                break;
            }
            // What was just written moves into the file: the log is there for the next write.
            self.checkpoint(Checkpoint::Passive);
        }
        if is_full(&outcome) && self.checkpoint(Checkpoint::Truncate) {
            outcome = op(self);
        }
        outcome
    }

    /// [`Store::draining`] of up to `count` things at once; while the disk is full, of half as
    /// many, and again, before the reserve is touched.
    pub(super) fn draining_fewer<T>(
        &mut self,
        mut count: usize,
        mut op: impl FnMut(&mut Self, usize) -> Result<T>,
    ) -> Result<T> {
        loop {
            let outcome = match count {
                0..=FEW => self.draining(|store| op(store, count)),
                _ => self.reusing_log(|store| op(store, count)),
            };
            match outcome {
                Err(error) if error.is_full() && count > 1 => count /= 2,
                outcome => return outcome,
            }
        }
    }

    /// Inside of a write transaction: makes the database file as large as the database is about
    /// to be, so that no checkpoint needs room.
    ///
    /// Another process may be moving pages into that part of the file at the same time, because a
    /// checkpoint need not hold the writer's lock, and may just have made the file shorter. So the
    /// room has to be taken without writing, or not at all.
    pub(super) fn back_pages(&self) -> Result<()> {
        if !*self.takes_room.get_or_init(|| self.reserve.can_take_room()) {
            return Ok(());
        }
        let pages: i64 = self
            .conn
            .prepare_cached("PRAGMA page_count")?
            .query_row([], |row| row.get(0))?;
        if pages == self.backed_pages.get() {
            return Ok(());
        }
        let mut bytes = pages * self.page_bytes;
        let hint = ffi::SQLITE_FCNTL_SIZE_HINT;
        control(&self.conn, hint, &raw mut bytes as *mut c_void).map_err(|error| {
            // SQLite calls it an I/O error. All of what is missing was asked for at once.
            let wanted = (pages * self.page_bytes) as u64 + CHUNK_BYTES as u64;
            let there = fs::metadata(self.path()).map_or(0, |metadata| metadata.len());
            match free_bytes(self.path()) {
                Ok(free) if free < wanted.saturating_sub(there) => full(),
                _ => error,
            }
        })?;
        self.backed_pages.set(pages);
        Ok(())
    }

    /// Inside of a write transaction: gives a step of the reserve back if this one may have it.
    pub(super) fn spend_if_asked(&mut self) {
        if self.spends == Some(true) {
            self.spends = Some(self.reserve.spend());
        }
    }

    /// After a write: fills the reserve if something is missing.
    pub(super) fn restore_reserve(&mut self) {
        if self.spends.is_none() {
            let Store { reserve, path, .. } = self;
            reserve.fill_if_due(path);
        }
    }

    /// `false`: somebody reads what is in the log, or it failed.
    fn checkpoint(&self, mode: Checkpoint) -> bool {
        let sql = match mode {
            Checkpoint::Passive => "PRAGMA wal_checkpoint(PASSIVE)",
            Checkpoint::Truncate => "PRAGMA wal_checkpoint(TRUNCATE)",
        };
        let done = self.conn.query_row(sql, [], |row| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, i64>(1)?,
                row.get::<_, i64>(2)?,
            ))
        });
        matches!(done, Ok((0, log, moved)) if log == moved)
    }
}

/// The error that SQLite itself has for a disk that is full.
fn full() -> Error {
    let text = "database or disk is full".to_owned();
    Error::Sqlite(rusqlite::Error::SqliteFailure(
        ffi::Error::new(ffi::SQLITE_FULL),
        Some(text),
    ))
}
