//! A connection to a queue's file: the file is ours, it is in WAL mode, every pragma is set.

use std::ops::Deref;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::copies::OpenFile;
use super::room::{self, Reserve};
use super::schema::{self, Extension, Found};
use super::{Options, busy, place, vfs};
use crate::error::{Code, Error, Result};
use crate::limits;

/// A connection to a queue's file.
#[derive(Debug)]
pub(crate) struct Handle {
    // Closed before it is said to be: fields are dropped in their order.
    conn: Connection,
    file: OpenFile,
}

impl Handle {
    /// Closes the connection.
    pub(super) fn close(self) -> Result<()> {
        let Handle { conn, file } = self;
        let outcome = conn.close().map_err(|(_, error)| Error::Sqlite(error));
        drop(file);
        outcome
    }
}

impl Deref for Handle {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.conn
    }
}

/// Prepared statements kept per connection: more than there are.
const STATEMENTS_MAX: usize = 64;

/// Opens the file, creating it where it is missing. Nothing is changed before it is known that
/// the file is a queue's. `extension` is what it holds beside the queue.
pub(super) fn open(options: &Options, extension: Option<&Extension>) -> Result<Handle> {
    schema::require_version()?;
    let path = place::prepare(&options.path)?;
    connect_on_full_disk(&path, options, extension, true)
}

/// Opens a file that another connection has open: it is there, with all of its tables.
pub(super) fn reopen(options: &Options) -> Result<Handle> {
    let path = place::require(&options.path)?;
    connect_on_full_disk(&path, options, None, false)
}

/// [`connect`]; where the disk is full, with as much of the reserve as that needs.
fn connect_on_full_disk(
    path: &Path,
    options: &Options,
    extension: Option<&Extension>,
    may_create: bool,
) -> Result<Handle> {
    loop {
        match connect(path, options, extension, may_create) {
            Err(error) if error.is_full() && Reserve::beside(path).spend() => {}
            outcome => return outcome,
        }
    }
}

fn connect(
    path: &Path,
    options: &Options,
    extension: Option<&Extension>,
    may_create: bool,
) -> Result<Handle> {
    place::require_access(path)?;
    // Without CREATE: `place` has made the file with the right mode. Without URI: a name that
    // begins with `file:` is a name.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    vfs::register()?;
    let file = OpenFile::announce(path)?;
    let conn = Connection::open_with_flags_and_vfs(path, flags, vfs::NAME)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    // Otherwise statements are prepared anew for other values, which costs more than they do.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    busy::wait_at_most(&conn, limits::OPEN_TIMEOUT_MS)?;
    let patience = Patience::begin();

    // Closing the last connection of a database in WAL mode would write the log of another
    // application into its file.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    let found = patience.wait(|| schema::inspect(&conn, extension))?;
    if conn.is_readonly("main")? {
        // SQLite silently falls back to reading where writing is not permitted.
        return Err(place::read_only(path));
    }
    if !may_create && found != Found::Complete {
        return Err(place::gone(path));
    }
    if found == Found::Empty {
        // Only possible before the first page is written.
        conn.execute_batch("PRAGMA auto_vacuum = INCREMENTAL")?;
    }
    patience.wait(|| enter_wal(&conn))?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    for (name, value) in schema::pragmas() {
        // `locking_mode` alone takes a word.
        let value = match name {
            "locking_mode" => "NORMAL".to_owned(),
            _ => value.to_string(),
        };
        conn.execute_batch(&format!("PRAGMA {name} = {value}"))?;
    }
    room::grow_in_chunks(&conn)?;
    if found != Found::Complete {
        patience.wait(|| schema::create(&conn, extension))?;
    }
    busy::wait_at_most(&conn, options.busy_timeout_ms)?;
    Ok(Handle { conn, file })
}

fn enter_wal(conn: &Connection) -> Result<()> {
    let mode: String = conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode.eq_ignore_ascii_case("wal") {
        return Ok(());
    }
    Err(Error::rule(
        Code::NetworkFilesystem,
        format!(
            "The file system does not support SQLite's write-ahead log (the journal mode stays \
             `{mode}`). Use a local disk."
        ),
    ))
}

/// The time left for opening. SQLite's busy timeout does not cover every lock that a switch of
/// the journal mode takes, so such steps are tried again.
struct Patience {
    until: Instant,
}

impl Patience {
    fn begin() -> Self {
        let limit = Duration::from_millis(u64::from(limits::OPEN_TIMEOUT_MS));
        Patience {
            until: Instant::now() + limit,
        }
    }

    fn wait<T>(&self, mut step: impl FnMut() -> Result<T>) -> Result<T> {
        /// Long enough for a transaction to end, short enough to go unnoticed.
        const PAUSE: Duration = Duration::from_millis(2);
        loop {
            match step() {
                Err(error) if error.is_busy() && Instant::now() < self.until => {
                    std::thread::sleep(PAUSE);
                }
                outcome => return outcome,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Folder;
    use super::*;

    fn answer(conn: &Connection, pragma: &str) -> String {
        conn.query_row(&format!("PRAGMA {pragma}"), [], |row| {
            Ok(match row.get_ref(0)? {
                rusqlite::types::ValueRef::Integer(value) => value.to_string(),
                rusqlite::types::ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
                other => format!("{other:?}"),
            })
        })
        .expect("every pragma answers")
    }

    #[test]
    fn every_pragma_is_what_we_set() {
        let folder = Folder::new();
        let conn = open(&folder.options(), None).expect("a new file");
        for (name, value) in schema::pragmas() {
            let value = match name {
                "locking_mode" => "normal".to_owned(),
                _ => value.to_string(),
            };
            assert_eq!(answer(&conn, name), value, "{name}");
        }
        assert_eq!(answer(&conn, "journal_mode"), "wal");
        assert_eq!(answer(&conn, "auto_vacuum"), "2");
        // Old processes share the file: both stay as they were.
        assert_eq!(answer(&conn, "user_version"), "0");
        assert_eq!(answer(&conn, "application_id"), "0");
    }

    #[test]
    fn a_file_that_was_opened_before_is_complete() {
        let folder = Folder::new();
        let first = open(&folder.options(), None).expect("a new file");
        assert_eq!(
            schema::inspect(&first, None).expect("ours"),
            Found::Complete
        );
        open(&folder.options(), None).expect("an old file");
    }

    #[test]
    fn an_open_file_is_refused_only_while_it_is_locked_longer_than_the_patience() {
        let folder = Folder::new();
        let first = open(&folder.options(), None).expect("a new file");
        first.execute_batch("BEGIN IMMEDIATE").expect("free");
        // A complete file is opened without a write, so a writer does not matter.
        open(&folder.options(), None).expect("readers do not wait for writers");
    }
}
