//! Whose file is it: ours, empty, or another application's? And the tables it needs.

use rusqlite::Connection;

use super::store::Rollback;
use crate::error::{Code, Error, Result};
use crate::limits;

/// What a look at a file found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// No table at all: a new file.
    Empty,
    /// A file of the original package, or of an interrupted start: tables are missing.
    Incomplete,
    /// Everything is there.
    Complete,
}

/// Tables that a file holds beside the queue's, for whoever extends the queue.
pub(crate) struct Extension {
    /// Whether nothing is missing. Looks without changing anything.
    pub(crate) is_complete: fn(&Connection) -> Result<bool>,
    /// Makes what is missing, on any file, inside a write transaction that it does not end.
    pub(crate) complete: fn(&Connection) -> Result<()>,
}

/// Tables by which a file is known as one of this package or of the original, each with the
/// columns that it has in every version. By its name alone a table may be anybody's.
const KNOWN: [(&str, &[&str]); 3] = [
    ("message_queue", &COLUMNS),
    ("candle_state", &["symbol", "state_json", "updated_at"]),
    (
        "gap_records",
        &[
            "id",
            "symbol",
            "from_trade_id",
            "to_trade_id",
            "gap_size",
            "detected_at",
        ],
    ),
];

/// The first table that the original makes. Others number their migrations in the same way, so
/// that it says something only where there is nothing else.
const VERSIONS: (&str, &[&str]) = ("schema_version", &["version", "applied_at", "description"]);

/// Tables of the queue alone, with the columns that this code names.
const OWN: [(&str, &[&str]); 4] = [
    (
        "message_claim",
        &[
            "message_id",
            "attempt",
            "token",
            "owner",
            "leased",
            "available_at_ms",
            "error",
        ],
    ),
    (
        "message_dead_letter",
        &["message_id", "attempts", "reason", "error", "died_at"],
    ),
    ("message_handled", &["message_id", "handled_at"]),
    ("message_meta", &["key", "value"]),
];

/// Columns that tables of earlier versions of this package have not, with their declarations in
/// `schema.sql`.
const ADDED: [(&str, &str, &str); 2] = [
    ("message_claim", "failures", "INTEGER NOT NULL DEFAULT 0"),
    ("message_claim", "alone", "INTEGER NOT NULL DEFAULT 0"),
];

/// Everything that every file has.
const OBJECTS: [&str; 10] = [
    "message_queue",
    "idx_message_queue_processed",
    "idx_message_queue_cleanup",
    "message_claim",
    "idx_message_claim_waiting",
    "idx_message_claim_leased",
    "message_dead_letter",
    "message_handled",
    "idx_message_handled_at",
    "message_meta",
];

/// The index by timestamp of a table that the original has made: of every message, as it has it.
const INDEX_OF_ALL: &str = "CREATE INDEX IF NOT EXISTS idx_message_queue_processed
     ON message_queue (processed, timestamp)";

/// The same of a new table, in two: of messages that are to be delivered, and of dead letters. Nobody asks
/// for the others by their timestamp, and without them a message that becomes one of them takes a page
/// less. Under that name the original finds an index and makes none; its statements can use it.
const INDEXES_OF_NEW: &str = "
    CREATE INDEX IF NOT EXISTS idx_message_queue_processed
      ON message_queue (processed, timestamp) WHERE processed = 0;
    CREATE INDEX IF NOT EXISTS idx_message_queue_dead
      ON message_queue (processed, timestamp) WHERE processed = 2";

/// The columns that this code names. `created_at` fills itself.
const COLUMNS: [&str; 6] = [
    "message_id",
    "type",
    "payload",
    "timestamp",
    "processed",
    "processed_at",
];

/// Looks at the file without changing it.
///
/// # Errors
/// `ForeignDatabase`; `SQLITE_NOTADB` and whatever else SQLite says of a file it cannot read.
pub(super) fn inspect(conn: &Connection, extension: Option<&Extension>) -> Result<Found> {
    let application: i64 = conn.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    if application != 0 {
        return Err(foreign(format!("its application id is {application}")));
    }
    let mut statement = conn.prepare(
        "SELECT lower(name), type FROM sqlite_schema WHERE name NOT LIKE 'sqlite^_%' ESCAPE '^'",
    )?;
    let objects = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<Vec<(String, String)>>>()?;
    let has = |wanted: &str| objects.iter().any(|(name, _)| name == wanted);
    if objects.is_empty() {
        return Ok(Found::Empty);
    }
    let is_genuine = |(wanted, columns): (&str, &[&str])| -> Result<bool> {
        let is_table = objects
            .iter()
            .any(|(name, kind)| name == wanted && kind == "table");
        Ok(is_table && lacks(conn, wanted, columns)?.is_none())
    };
    // Before anything else is said of them: this names what is wrong.
    if has("message_queue") {
        inspect_queue(conn)?;
    }
    for (name, columns) in OWN {
        if has(name)
            && let Some(missing) = lacks(conn, name, columns)?
        {
            return Err(foreign(format!("its `{name}` has no column `{missing}`")));
        }
    }
    let mut is_known = false;
    for table in KNOWN {
        is_known |= is_genuine(table)?;
    }
    if !is_known {
        let is_alone = objects
            .iter()
            .all(|(name, kind)| name == VERSIONS.0 || kind == "index");
        if !(is_alone && is_genuine(VERSIONS)?) {
            return Err(foreign("it has tables, and none of a queue".to_owned()));
        }
    }
    // Asked in any case: it too may find that the file is not ours.
    let extended = extension.map_or(Ok(true), |extension| (extension.is_complete)(conn))?;
    let complete = extended && OBJECTS.iter().all(|name| has(name)) && lacking(conn)?.is_empty();
    Ok(match complete {
        true => Found::Complete,
        false => Found::Incomplete,
    })
}

fn inspect_queue(conn: &Connection) -> Result<()> {
    let plain: bool = conn.query_row(
        "SELECT count(*) FROM pragma_table_list
         WHERE schema = 'main' AND lower(name) = 'message_queue' AND type = 'table' AND wr = 0",
        [],
        |row| row.get(0),
    )?;
    if !plain {
        return Err(foreign(
            "its `message_queue` is not an ordinary table".to_owned(),
        ));
    }
    if let Some(missing) = lacks(conn, "message_queue", &COLUMNS)? {
        return Err(foreign(format!(
            "its `message_queue` has no column `{missing}`"
        )));
    }
    let mut statement =
        conn.prepare("SELECT lower(name), pk FROM pragma_table_info('message_queue')")?;
    let columns = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<Vec<(String, i64)>>>()?;
    // Without the key a message could be stored twice under one id.
    if columns
        .iter()
        .any(|(name, key)| (name == "message_id") != (*key != 0))
    {
        return Err(foreign(
            "the key of its `message_queue` is not `message_id`".to_owned(),
        ));
    }
    Ok(())
}

/// Those of [`ADDED`] that are missing.
fn lacking(conn: &Connection) -> Result<Vec<(&'static str, &'static str, &'static str)>> {
    let mut missing = Vec::new();
    for added in ADDED {
        if lacks(conn, added.0, &[added.1])?.is_some() {
            missing.push(added);
        }
    }
    Ok(missing)
}

/// The first of these columns that a table has not.
fn lacks<'c>(conn: &Connection, table: &str, columns: &[&'c str]) -> Result<Option<&'c str>> {
    let found = conn
        .prepare("SELECT lower(name) FROM pragma_table_info(?1)")?
        .query_map([table], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<String>>>()?;
    let is_missing = |wanted: &&&str| !found.iter().any(|name| name == **wanted);
    Ok(columns.iter().find(is_missing).copied())
}

/// The error for a file that belongs to another application.
pub(crate) fn foreign(reason: String) -> Error {
    Error::rule(
        Code::ForeignDatabase,
        format!("The file is a database of another application: {reason}. It was not changed."),
    )
}

/// Creates what is missing, all of it or nothing. Several processes may do so at once.
pub(super) fn create(conn: &Connection, extension: Option<&Extension>) -> Result<()> {
    conn.execute_batch("BEGIN IMMEDIATE")?;
    let rollback = Rollback(conn);
    let had_queue = conn
        .prepare("SELECT 1 FROM sqlite_schema WHERE lower(name) = 'message_queue'")?
        .exists([])?;
    conn.execute_batch(include_str!("schema.sql"))?;
    conn.execute_batch(match had_queue {
        true => INDEX_OF_ALL,
        false => INDEXES_OF_NEW,
    })?;
    for (table, column, declaration) in lacking(conn)? {
        conn.execute_batch(&format!(
            "ALTER TABLE {table} ADD COLUMN {column} {declaration}"
        ))?;
    }
    if let Some(extension) = extension {
        (extension.complete)(conn)?;
    }
    conn.execute_batch("COMMIT")?;
    drop(rollback);
    Ok(())
}

/// SQLite before this version may lose commits: its WAL-reset bug (3.7.0 to 3.51.2).
const SQLITE_VERSION_MIN: i32 = 3_051_003;

/// Makes sure of the SQLite that runs, which need not be the one that was compiled against.
pub(super) fn require_version() -> Result<()> {
    check_version(rusqlite::version_number(), rusqlite::version())
}

fn check_version(found: i32, name: &str) -> Result<()> {
    if found >= SQLITE_VERSION_MIN {
        return Ok(());
    }
    Err(Error::rule(
        Code::Internal,
        format!("SQLite {name} may lose commits; at least 3.51.3 is needed."),
    ))
}

/// The pragmas of every connection, with the value that reading them back gives. Nothing is left
/// to the defaults of a build; `journal_mode` and `synchronous` have code of their own.
pub(super) fn pragmas() -> [(&'static str, i64); 17] {
    [
        // Names in the file's own schema may not call functions with side effects.
        ("trusted_schema", 0),
        ("cell_size_check", 1),
        ("foreign_keys", 0),
        ("recursive_triggers", 0),
        ("read_uncommitted", 0),
        ("query_only", 0),
        ("secure_delete", 0),
        ("automatic_index", 0),
        ("locking_mode", 0),
        // In a file: VACUUM builds its copy there, which may be larger than memory.
        ("temp_store", 1),
        // An I/O error on a mapped page would be a signal that kills the process.
        ("mmap_size", 0),
        ("cache_size", -i64::from(limits::CACHE_KIB)),
        (
            "wal_autocheckpoint",
            i64::from(limits::WAL_CHECKPOINT_PAGES),
        ),
        ("journal_size_limit", i64::from(limits::WAL_BYTES_MAX)),
        // macOS: an ordinary fsync leaves data in the drive's cache, which power loss empties.
        ("fullfsync", 1),
        ("checkpoint_fullfsync", 1),
        ("threads", 0),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Folder, plan};
    use super::super::{dead, store, upkeep};
    use super::*;

    #[test]
    fn a_file_without_a_later_index_gets_it() {
        let folder = Folder::new();
        let store = folder.store();
        store
            .conn
            .execute_batch("DROP INDEX idx_message_claim_leased")
            .expect("ours");
        assert_eq!(inspect(&store.conn, None).expect("ours"), Found::Incomplete);
        let store = folder.store();
        assert_eq!(inspect(&store.conn, None).expect("ours"), Found::Complete);
    }

    #[test]
    fn the_queue_is_read_by_an_index_in_its_order_in_files_of_either_origin() {
        // The original's, as it writes them.
        let dequeue = "SELECT message_id, type, payload, timestamp FROM message_queue
                       WHERE processed = 0 ORDER BY timestamp ASC LIMIT ?";
        let cleanup = "DELETE FROM message_queue WHERE processed = 1 AND processed_at < ?";
        let statements = [
            dequeue,
            cleanup,
            store::PENDING,
            dead::LETTERS,
            upkeep::IN_STATE,
            upkeep::OLDEST,
        ];
        for (folder, is_new) in [(Folder::new(), true), (Folder::with_original(), false)] {
            let store = folder.store();
            let is_partial = |name: &str| -> Option<bool> {
                let sql = "SELECT partial FROM pragma_index_list('message_queue') WHERE name = ?1";
                store.conn.query_row(sql, [name], |row| row.get(0)).ok()
            };
            assert_eq!(is_partial("idx_message_queue_processed"), Some(is_new));
            assert_eq!(is_partial("idx_message_queue_dead"), is_new.then_some(true));
            for sql in statements {
                let plan = plan(&store, sql);
                assert!(
                    plan.iter().any(|step| step.starts_with("SEARCH"))
                        && !plan.iter().any(|step| step.contains("TEMP B-TREE")),
                    "{sql}: {plan:?}"
                );
            }
        }
    }

    #[test]
    fn a_sqlite_that_may_lose_commits_is_refused() {
        require_version().expect("the bundled one is newer");
        check_version(SQLITE_VERSION_MIN, "3.51.3").expect("the bug is mended there");
        let error = check_version(SQLITE_VERSION_MIN - 1, "3.51.2").unwrap_err();
        assert_eq!(error.code(), "ERR_IPC_INTERNAL");
        assert!(error.to_string().contains("3.51.2"), "{error}");
    }
}
