//! One connection to a queue: enqueue, dequeue, mark processed.
//!
//! Claims, dead letters and upkeep extend [`Store`] in files of their own.

use std::cell::{Cell, OnceCell};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use rusqlite::{Connection, params};

use super::candidates::Place;
use super::clock::{Clock, SystemClock};
use super::insert::{self, Idempotence, Inserts};
use super::log::LogBound;
use super::message::NewMessage;
use super::room::Reserve;
use super::row::{self, Flaw, Message};
use super::schema::Extension;
use super::{Durability, Options, dead, open, place, room};
use crate::error::Result;
use crate::limits;
use crate::values::{Package, Part, Scanner};

/// Every pending message, the oldest first.
pub(super) const PENDING: &str =
    "SELECT message_id, type, payload, timestamp, rowid FROM message_queue
     WHERE processed = 0 ORDER BY timestamp, rowid";

/// One connection to a queue's file. Every method is synchronous and may wait
/// `busy_timeout_ms` for another process's write; then its error is `SQLITE_BUSY`.
pub struct Store {
    pub(crate) conn: open::Handle,
    pub(super) clock: Arc<dyn Clock>,
    /// Of the packages that were made of its messages.
    pub(super) scanner: Scanner,
    durability: Durability,
    /// The connection's synchronous level, once it was set.
    level: Option<Durability>,
    pub(super) path: PathBuf,
    pub(super) reserve: Reserve,
    pub(super) log: LogBound,
    /// Where the last claim came to.
    pub(super) place: Option<Place>,
    /// Whether the last claim found its fill: then the next one finds something too.
    pub(super) claims_go_on: bool,
    /// Whether the next write may have a step of the reserve; then whether it got one.
    pub(super) spends: Option<bool>,
    pub(super) page_bytes: i64,
    /// The size of the database, in pages, up to which the file is known to be there.
    pub(super) backed_pages: Cell<i64>,
    /// Whether it can be made larger without writing, once somebody wanted to know.
    pub(super) takes_room: OnceCell<bool>,
}

/// A write transaction in progress, and the time it takes place.
pub(crate) struct Writing<'c> {
    pub(crate) conn: &'c Connection,
    pub(super) boot_ms: i64,
    pub(crate) unix_ms: i64,
}

impl Writing<'_> {
    /// The time as `processed_at` holds it.
    pub(super) fn unix_seconds(&self) -> i64 {
        self.unix_ms.div_euclid(1_000)
    }
}

impl Store {
    /// Opens the queue, creating its folders, its file and its tables where they are missing.
    ///
    /// # Errors
    /// `InvalidArgument` for a path that cannot be a queue's, `ForeignDatabase`,
    /// `NetworkFilesystem`, `AnotherCopy`, Node's names for system calls, SQLite's for the rest
    /// (`SQLITE_NOTADB`, `SQLITE_READONLY`, `SQLITE_CANTOPEN`, …). After an error the file is as
    /// it was.
    pub fn open(options: &Options) -> Result<Self> {
        Self::open_with_clock(options, Arc::new(SystemClock))
    }

    /// As [`Store::open`], with another source of time.
    ///
    /// # Errors
    /// Those of [`Store::open`].
    pub fn open_with_clock(options: &Options, clock: Arc<dyn Clock>) -> Result<Self> {
        Self::open_extended(options, clock, None)
    }

    /// As [`Store::open_with_clock`], on a file that holds further tables.
    pub(crate) fn open_extended(
        options: &Options,
        clock: Arc<dyn Clock>,
        extension: Option<&Extension>,
    ) -> Result<Self> {
        let log = LogBound::of_callers(options.busy_timeout_ms);
        Self::with(open::open(options, extension)?, options, clock, log)
    }

    fn with(
        conn: open::Handle,
        options: &Options,
        clock: Arc<dyn Clock>,
        log: LogBound,
    ) -> Result<Self> {
        let path = match conn.path() {
            Some(path) => PathBuf::from(path),
            // It is not UTF-8.
            None => std::path::absolute(&options.path).unwrap_or_else(|_| options.path.clone()),
        };
        let page_bytes = conn.query_row("PRAGMA page_size", [], |row| row.get(0))?;
        let mut reserve = Reserve::beside(&path);
        reserve.fill(&path);
        Ok(Store {
            conn,
            clock,
            scanner: Scanner::default(),
            durability: options.durability,
            level: None,
            path,
            reserve,
            log,
            place: None,
            claims_go_on: false,
            spends: None,
            page_bytes,
            backed_pages: Cell::new(0),
            takes_room: OnceCell::new(),
        })
    }

    /// Opens a queue once more, by the path that [`Store::path`] gives. It has to be there: were a
    /// missing file created anew, messages would go where nobody looks for them.
    ///
    /// # Errors
    /// `SQLITE_CANTOPEN` when the file or one of its tables is missing; else those of
    /// [`Store::open`].
    pub fn reopen(options: &Options) -> Result<Self> {
        let log = LogBound::of_worker(options.busy_timeout_ms);
        Self::with(open::reopen(options)?, options, Arc::new(SystemClock), log)
    }

    /// The file, with symbolic links resolved: its log lies beside it under the same name and
    /// `-wal`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Stores one message. When this returns it survives what [`Options::durability`] says.
    ///
    /// # Errors
    /// `SQLITE_CONSTRAINT_PRIMARYKEY` when the id is stored already.
    pub fn enqueue(&mut self, message: &NewMessage<'_>) -> Result<()> {
        self.store_with(|conn| Inserts::begin(conn)?.insert(message, Idempotence::None))
    }

    /// As [`Store::enqueue`], but a message that is stored already counts as stored, whatever its
    /// state: the same id, type, payload text and timestamp.
    ///
    /// # Errors
    /// `IdConflict` when another message is stored under the id.
    pub fn enqueue_idempotent(&mut self, message: &NewMessage<'_>) -> Result<()> {
        self.store_with(|conn| Inserts::begin(conn)?.insert(message, Idempotence::Message))
    }

    /// Stores all of them in one transaction, or none.
    ///
    /// # Errors
    /// As [`Store::enqueue`]; the text names the message that could not be stored.
    pub fn enqueue_many(&mut self, messages: &[NewMessage<'_>]) -> Result<()> {
        self.store_many(messages, Idempotence::None)
    }

    /// [`Store::enqueue_many`] in the manner of [`Store::enqueue_idempotent`].
    ///
    /// # Errors
    /// As [`Store::enqueue_idempotent`]; the text names the message that could not be stored.
    pub fn enqueue_many_idempotent(&mut self, messages: &[NewMessage<'_>]) -> Result<()> {
        self.store_many(messages, Idempotence::Message)
    }

    /// As [`Store::enqueue_many_idempotent`], but a message that is stored already counts as
    /// stored whatever its timestamp: [`Idempotence::Content`].
    ///
    /// # Errors
    /// As [`Store::enqueue_idempotent`]; the text names the message that could not be stored.
    pub fn deliver_many(&mut self, messages: &[NewMessage<'_>]) -> Result<()> {
        self.store_many(messages, Idempotence::Content)
    }

    /// Stores messages in one transaction, each with an outcome of its own: a duplicate does not
    /// touch the others.
    ///
    /// # Errors
    /// The transaction failed as a whole: nothing is stored, or, when only the commit reported
    /// the failure, it is not known what is.
    pub fn enqueue_each(
        &mut self,
        messages: &[(&NewMessage<'_>, Idempotence)],
    ) -> Result<Vec<Result<()>>> {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        self.store_with(|conn| {
            let mut inserts = Inserts::begin(conn)?;
            let mut outcomes = Vec::with_capacity(messages.len());
            for &(message, idempotence) in messages {
                match inserts.insert(message, idempotence) {
                    // Anything else ends the transaction.
                    Err(error) if !insert::is_duplicate(&error) => return Err(error),
                    // SQLite has undone this statement alone.
                    outcome => outcomes.push(outcome),
                }
            }
            Ok(outcomes)
        })
    }

    fn store_many(&mut self, messages: &[NewMessage<'_>], idempotence: Idempotence) -> Result<()> {
        if messages.is_empty() {
            return Ok(());
        }
        self.store_with(|conn| Inserts::begin(conn)?.insert_all(messages, idempotence))
    }

    /// Stores what `insert` inserts, in one transaction.
    ///
    /// # Errors
    /// `SQLITE_READONLY_DBMOVED` when the file is not where it was opened any more.
    fn store_with<T>(&mut self, insert: impl Fn(&Connection) -> Result<T>) -> Result<T> {
        // One call of the kernel, which is nothing beside a commit that waits for the disk.
        if self.durability == Durability::Full && room::has_moved(&self.conn)? {
            return Err(place::moved(&self.path));
        }
        self.storing(|store| store.write(store.durability, |writing| insert(writing.conn)))
    }

    /// The oldest pending messages, by timestamp, as the JSON text of an array of
    /// `{"id", "type", "payload", "timestamp"}`. Nothing is claimed: a second call returns them
    /// again, as it returns messages that someone has claimed.
    ///
    /// Rows that cannot become a message are set aside as dead letters and do not count towards
    /// `limit`. At most [`limits::DEQUEUE_BYTES_MAX`] are returned, and at least one message.
    pub fn dequeue(&mut self, limit: u32) -> Result<String> {
        let mut out = String::from("[");
        self.dequeue_each(limit, |message| {
            let is_json = message.is_json();
            if is_json {
                if out.len() > 1 {
                    out.push(',');
                }
                message.write(&mut out);
            }
            is_json
        })?;
        out.push(']');
        Ok(out)
    }

    /// As [`Store::dequeue`], with the messages as a package, see [`Package`].
    pub fn dequeue_package(&mut self, limit: u32) -> Result<Vec<u8>> {
        let mut scanner = std::mem::take(&mut self.scanner);
        let mut package = Package::new(&mut scanner);
        let outcome = self.dequeue_each(limit, |message| {
            package.push(Part::Object(&message.fields()))
        });
        let outcome = outcome.map(|()| package.finish());
        self.scanner = scanner;
        outcome
    }

    /// Has the next package define all its shapes anew.
    pub fn forget_shapes(&mut self) {
        self.scanner = Scanner::default();
    }

    /// Hands every message to `take`, which says whether its payload is JSON; otherwise it has left it
    /// out.
    fn dequeue_each(
        &mut self,
        limit: u32,
        mut take: impl FnMut(&Message<'_>) -> bool,
    ) -> Result<()> {
        let mut corrupt: Vec<(i64, Flaw)> = Vec::new();
        if limit > 0 {
            let mut statement = self.conn.prepare_cached(PENDING)?;
            let mut rows = statement.query([])?;
            let (mut count, mut bytes) = (0, 0);
            while let Some(row) = rows.next()? {
                let message = match row::read(row, 0)? {
                    Ok(message) => message,
                    Err(flaw) => {
                        corrupt.push((row.get(4)?, flaw));
                        continue;
                    }
                };
                if count > 0 && bytes + message.bytes() > limits::DEQUEUE_BYTES_MAX {
                    break;
                }
                if !take(&message) {
                    corrupt.push((row.get(4)?, row::NOT_JSON));
                    continue;
                }
                bytes += message.bytes();
                count += 1;
                if count == limit {
                    break;
                }
            }
        }
        for chunk in corrupt.chunks(limits::CHUNK_ROWS) {
            let set_aside = |store: &mut Store| {
                store.write(Durability::Normal, |writing| {
                    dead::set_aside(writing, chunk)
                })
            };
            match self.draining(set_aside) {
                // The next call finds them again.
                Err(error) if error.is_busy() || error.is_full() => break,
                outcome => outcome?,
            }
        }
        Ok(())
    }

    /// Marks one message as processed, whatever its state and whoever holds it. Returns whether
    /// there was something to mark.
    pub fn mark_processed(&mut self, id: &str) -> Result<bool> {
        Ok(self.mark_processed_many(&[id])? == 1)
    }

    /// As [`Store::mark_processed`], all in one transaction. Returns how many were marked.
    pub fn mark_processed_many(&mut self, ids: &[impl AsRef<str>]) -> Result<u64> {
        if ids.is_empty() {
            return Ok(0);
        }
        let mark = |writing: &Writing<'_>| {
            let mut mark = writing.conn.prepare_cached(
                "UPDATE message_queue SET processed = 1, processed_at = ?2
                 WHERE message_id = ?1 AND processed IS NOT 1",
            )?;
            let mut count = 0;
            for id in ids {
                let id = id.as_ref();
                count += mark.execute(params![id, writing.unix_seconds()])? as u64;
                forget_claim(writing.conn, id)?;
                dead::forget(writing.conn, id)?;
            }
            Ok(count)
        };
        self.draining(|store| store.write(Durability::Normal, mark))
    }

    /// Waits until the write transaction of another connection, if one is in progress, has ended.
    ///
    /// A doorbell rings for the first page that a commit writes to the log; readers see that
    /// commit only once all of it is there and on the disk. Whoever looks when it rings and finds
    /// nothing has to look again after this.
    ///
    /// # Errors
    /// `SQLITE_BUSY` when it goes on longer than the busy timeout.
    pub fn await_writer(&mut self) -> Result<()> {
        self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let _nothing_to_commit = Rollback(&self.conn);
        Ok(())
    }

    /// Runs `work` in one write transaction and commits it as [`Options::durability`] says.
    pub(crate) fn write_durably<T>(
        &mut self,
        work: impl FnOnce(&Writing<'_>) -> Result<T>,
    ) -> Result<T> {
        self.write(self.durability, work)
    }

    /// Runs `work` in one write transaction and commits it at this level.
    pub(super) fn write<T>(
        &mut self,
        level: Durability,
        work: impl FnOnce(&Writing<'_>) -> Result<T>,
    ) -> Result<T> {
        if self.level != Some(level) {
            // Unknown until it succeeded.
            self.level = None;
            self.conn
                .prepare_cached(match level {
                    Durability::Full => "PRAGMA synchronous = FULL",
                    Durability::Normal => "PRAGMA synchronous = NORMAL",
                })?
                .execute([])?;
            self.level = Some(level);
        }
        let began = Instant::now();
        self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        self.spend_if_asked();
        let rollback = Rollback(&self.conn);
        let value = work(&Writing {
            conn: &self.conn,
            boot_ms: self.clock.boot_ms(),
            unix_ms: self.clock.unix_ms(),
        })?;
        self.back_pages()?;
        self.conn.prepare_cached("COMMIT")?.execute([])?;
        drop(rollback);
        self.restore_reserve();
        self.bound_log(began);
        Ok(value)
    }
}

/// Ends the transaction that an error or a panic left open.
pub(crate) struct Rollback<'c>(pub(crate) &'c Connection);

impl Drop for Rollback<'_> {
    fn drop(&mut self) {
        if !self.0.is_autocommit() {
            // The error that is reported is the one that led here.
            let _ = self.0.execute_batch("ROLLBACK");
        }
    }
}

pub(super) fn forget_claim(conn: &Connection, id: &str) -> Result<()> {
    conn.prepare_cached("DELETE FROM message_claim WHERE message_id = ?1")?
        .execute([id])?;
    Ok(())
}

#[cfg(test)]
mod tests;
