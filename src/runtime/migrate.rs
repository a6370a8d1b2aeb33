//! The tables of the runtime database, and how a file of any version comes to have them.
//!
//! The original numbered its migrations and ran their statements one by one. Interrupted, it left
//! files whose tables and whose version disagree. Therefore what is done here follows from the
//! tables alone: one that is not as it has to be is made anew and its rows are poured into it.
//! Everything happens in one transaction, and on a file that needs nothing it is not even begun.

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::Result;
use crate::queue::{Clock, Extension, SystemClock, foreign};

/// What the queue is to open beside its own tables.
pub(super) const TABLES: Extension = Extension {
    is_complete,
    complete,
};

/// The versions of the original, as rows of `schema_version`.
const VERSIONS: [(i64, &str); 5] = [
    (1, "Message queue"),
    (2, "Candle state"),
    (3, "Gap records"),
    (4, "Exchange of gap records"),
    (5, "Exchange of candle states"),
];

const VERSION_TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_version (
  version     INTEGER PRIMARY KEY,
  applied_at  INTEGER NOT NULL, -- ms since 1970
  description TEXT
)";

/// The highest version recorded, or 0.
pub(super) fn newest_version(conn: &Connection) -> Result<i64> {
    let newest = conn
        .prepare_cached("SELECT CAST(max(version) AS INTEGER) FROM schema_version")?
        .query_row([], |row| row.get::<_, Option<i64>>(0))?;
    Ok(newest.unwrap_or(0))
}

/// A table whose shape changed from version to version.
struct Table {
    name: &'static str,
    /// Statement that makes it, unless it is there.
    create: &'static str,
    /// Each column, and the expression for it where an old table has none. Without an expression
    /// every version has the column.
    columns: &'static [(&'static str, Option<&'static str>)],
    /// What is unique within an exchange.
    key: &'static [&'static str],
    /// What happens to a row that comes to lie on another.
    merge: &'static str,
}

/// `state_json` holds TEXT, whatever its declared type. States of one symbol: the newest counts.
const CANDLE_STATE: Table = Table {
    name: "candle_state",
    create: "CREATE TABLE IF NOT EXISTS candle_state (
      exchange   TEXT NOT NULL DEFAULT 'binance',
      symbol     TEXT NOT NULL,
      state_json BLOB NOT NULL,
      updated_at INTEGER NOT NULL, -- ms since 1970
      PRIMARY KEY (exchange, symbol)
    )",
    columns: &[
        ("exchange", Some("'binance'")),
        ("symbol", None),
        ("state_json", None),
        ("updated_at", None),
    ],
    key: &["symbol"],
    merge: "state_json = excluded.state_json, updated_at = excluded.updated_at
            WHERE excluded.updated_at > candle_state.updated_at",
};

/// The same gap twice: it is synced if either is.
const GAP_RECORDS: Table = Table {
    name: "gap_records",
    create: "CREATE TABLE IF NOT EXISTS gap_records (
      id            INTEGER PRIMARY KEY AUTOINCREMENT,
      symbol        TEXT NOT NULL,
      from_trade_id INTEGER NOT NULL,
      to_trade_id   INTEGER NOT NULL,
      gap_size      INTEGER NOT NULL,
      detected_at   INTEGER NOT NULL, -- ms since 1970
      synced        INTEGER DEFAULT 0,
      synced_at     INTEGER,          -- ms since 1970
      exchange      TEXT NOT NULL DEFAULT 'binance',
      UNIQUE (exchange, symbol, from_trade_id, to_trade_id)
    )",
    columns: &[
        ("id", None),
        ("symbol", None),
        ("from_trade_id", None),
        ("to_trade_id", None),
        ("gap_size", None),
        ("detected_at", None),
        ("synced", Some("0")),
        ("synced_at", Some("NULL")),
        ("exchange", Some("'binance'")),
    ],
    key: &["symbol", "from_trade_id", "to_trade_id"],
    merge: "synced = 1, synced_at = excluded.synced_at
            WHERE excluded.synced AND NOT coalesce(gap_records.synced, 0)",
};

/// The columns of a table and what is unique in it, all names in lower case.
struct Shape {
    columns: Vec<String>,
    /// The columns of each unique index, sorted.
    unique: Vec<Vec<String>>,
}

impl Shape {
    /// `None` if there is no such table.
    fn of(conn: &Connection, table: &str) -> Result<Option<Self>> {
        let kind: Option<String> = conn
            .prepare("SELECT type FROM sqlite_schema WHERE lower(name) = ?1")?
            .query_row([table], |row| row.get(0))
            .optional()?;
        match kind.as_deref() {
            None => return Ok(None),
            Some("table") => {}
            Some(_) => return Err(foreign(format!("its `{table}` is not a table"))),
        }
        let columns = conn
            .prepare("SELECT lower(name) FROM pragma_table_info(?1)")?
            .query_map([table], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        let mut unique: Vec<(String, Vec<String>)> = Vec::new();
        let mut statement = conn.prepare(
            "SELECT l.name, coalesce(lower(i.name), '') AS name
             FROM pragma_index_list(?1) AS l, pragma_index_info(l.name) AS i
             WHERE l.\"unique\" AND NOT l.partial ORDER BY 1, 2",
        )?;
        let mut rows = statement.query([table])?;
        while let Some(row) = rows.next()? {
            let (index, column): (String, String) = (row.get(0)?, row.get(1)?);
            match unique.last_mut() {
                Some((last, columns)) if *last == index => columns.push(column),
                _ => unique.push((index, vec![column])),
            }
        }
        Ok(Some(Shape {
            columns,
            unique: unique.into_iter().map(|(_, columns)| columns).collect(),
        }))
    }

    fn has(&self, column: &str) -> bool {
        self.columns.iter().any(|name| name == column)
    }

    fn is_unique(&self, columns: impl IntoIterator<Item = &'static str>) -> bool {
        let mut wanted: Vec<_> = columns.into_iter().collect();
        wanted.sort_unstable();
        self.unique.iter().any(|columns| *columns == wanted)
    }
}

impl Table {
    /// The table as it is in the file.
    ///
    /// # Errors
    /// `ForeignDatabase` when it is not the table of any version.
    fn shape(&self, conn: &Connection) -> Result<Option<Shape>> {
        let shape = Shape::of(conn, self.name)?;
        if let Some(missing) = shape.as_ref().and_then(|shape| self.missing(shape)) {
            let name = self.name;
            return Err(foreign(format!("its `{name}` has no column `{missing}`")));
        }
        Ok(shape)
    }

    /// A column that every version has and this shape has not.
    fn missing(&self, shape: &Shape) -> Option<&'static str> {
        let required = self.columns.iter().filter(|(_, absent)| absent.is_none());
        required
            .map(|(name, _)| *name)
            .find(|name| !shape.has(name))
    }

    /// Whether it can stay as it is. A version that is not known yet may have other keys; it is
    /// enough to find the columns that are used here.
    fn fits(&self, shape: &Shape, is_newer: bool) -> bool {
        let mut columns = self.columns.iter();
        columns.all(|(name, _)| shape.has(name))
            && (is_newer
                || shape.is_unique(self.key.iter().copied().chain(["exchange"]))
                    // With the key of an old version as well, the same symbol of a second
                    // exchange would vanish.
                    && !shape.is_unique(self.key.iter().copied()))
    }

    /// The new table of an interrupted migration, by the name that the original gave it.
    fn leftover(&self, conn: &Connection) -> Result<Option<String>> {
        let name = format!("{}_new", self.name);
        let is_table: bool = conn.query_row(
            "SELECT count(*) FROM sqlite_schema WHERE lower(name) = ?1 AND type = 'table'",
            [&name],
            |row| row.get(0),
        )?;
        if !is_table {
            return Ok(None);
        }
        let shape = Shape::of(conn, &name)?;
        // Another table of this name is none of our business.
        let ours = shape.is_some_and(|shape| self.missing(&shape).is_none());
        Ok(ours.then_some(name))
    }

    fn is_complete(&self, conn: &Connection, is_newer: bool) -> Result<bool> {
        let Some(shape) = self.shape(conn)? else {
            return Ok(false);
        };
        Ok(self.fits(&shape, is_newer) && (is_newer || self.leftover(conn)?.is_none()))
    }

    fn complete(&self, conn: &Connection, is_newer: bool) -> Result<()> {
        let name = self.name;
        let mut sources = Vec::new();
        let mut attached = Vec::new();
        if let Some(shape) = self.shape(conn)?
            && !self.fits(&shape, is_newer)
        {
            // Unique indexes are left behind with the table: they are what the key was.
            attached = conn
                .prepare(
                    "SELECT sql FROM sqlite_schema WHERE lower(tbl_name) = ?1 AND sql IS NOT NULL
                       AND (type = 'trigger' OR type = 'index' AND name NOT IN
                         (SELECT name FROM pragma_index_list(?1) WHERE \"unique\"))",
                )?
                .query_map([name], |row| row.get(0))?
                .collect::<rusqlite::Result<Vec<String>>>()?;
            let before = format!("{name}_before_migration");
            conn.execute_batch(&format!("ALTER TABLE {name} RENAME TO {before}"))?;
            sources.push(before);
        }
        conn.execute_batch(self.create)?;
        if !is_newer {
            sources.extend(self.leftover(conn)?);
        }
        for source in sources {
            self.pour(conn, &source)?;
            conn.execute_batch(&format!("DROP TABLE {source}"))?;
        }
        for sql in attached {
            conn.execute_batch(&sql)?;
        }
        Ok(())
    }

    /// Copies the rows of `source` into the table. Rows that lack what the table may not lack
    /// are dropped: no version could read them.
    fn pour(&self, conn: &Connection, source: &str) -> Result<()> {
        let name = self.name;
        let Some(shape) = Shape::of(conn, source)? else {
            return Ok(());
        };
        let (mut columns, mut values) = (Vec::new(), Vec::new());
        for (column, absent) in self.columns {
            columns.push((*column).to_owned());
            values.push(match absent {
                Some(absent) if !shape.has(column) => (*absent).to_owned(),
                Some(absent) => format!("coalesce(source.{column}, {absent})"),
                None if *column == "id" => {
                    // Ids stay, because somebody may be about to use them; only where one is
                    // taken the row gets another.
                    format!("iif(source.id IN (SELECT id FROM {name}), NULL, source.id)")
                }
                None => format!("source.{column}"),
            });
        }
        for (column, kind) in extra_columns(conn, source, self.columns)? {
            let is_there =
                Shape::of(conn, name)?.is_some_and(|shape| shape.has(&column.to_ascii_lowercase()));
            let column = format!("\"{}\"", column.replace('"', "\"\""));
            if !is_there {
                conn.execute_batch(&format!("ALTER TABLE {name} ADD COLUMN {column} {kind}"))?;
            }
            values.push(format!("source.{column}"));
            columns.push(column);
        }
        conn.execute_batch(&format!(
            "INSERT OR IGNORE INTO {name} ({}) SELECT {} FROM {source} AS source WHERE true
             ON CONFLICT DO UPDATE SET {}",
            columns.join(", "),
            values.join(", "),
            self.merge,
        ))?;
        if columns[0] == "id" {
            // An id is never given twice, not even that of a record which was deleted.
            conn.execute_batch(&format!(
                "INSERT INTO sqlite_sequence (name, seq) SELECT '{name}', 0
                 WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = '{name}');
                 UPDATE sqlite_sequence
                 SET seq = (SELECT max(seq) FROM sqlite_sequence
                            WHERE name IN ('{name}', '{source}'))
                 WHERE name = '{name}'"
            ))?;
        }
        Ok(())
    }
}

/// The columns of a table that are not among `known`, each with its declared type.
fn extra_columns(
    conn: &Connection,
    table: &str,
    known: &[(&str, Option<&str>)],
) -> Result<Vec<(String, String)>> {
    let columns = conn
        .prepare("SELECT name, type FROM pragma_table_info(?1)")?
        .query_map([table], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<Vec<(String, String)>>>()?;
    let is_known = |name: &str| known.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
    Ok(columns
        .into_iter()
        .filter(|(name, _)| !is_known(name))
        .collect())
}

fn is_complete(conn: &Connection) -> Result<bool> {
    let Some(versions) = version_shape(conn)? else {
        // The others too may show that the file is not ours.
        CANDLE_STATE.shape(conn)?;
        GAP_RECORDS.shape(conn)?;
        return Ok(false);
    };
    let is_newer = is_newer(conn)?;
    let tables = [
        CANDLE_STATE.is_complete(conn, is_newer)?,
        GAP_RECORDS.is_complete(conn, is_newer)?,
        versions.has("applied_at") && versions.has("description"),
        missing_versions(conn)?.is_empty(),
    ];
    Ok(tables.into_iter().all(|complete| complete))
}

fn complete(conn: &Connection) -> Result<()> {
    conn.execute_batch(VERSION_TABLE)?;
    if let Some(shape) = version_shape(conn)? {
        for (column, kind) in [("applied_at", "INTEGER"), ("description", "TEXT")] {
            if !shape.has(column) {
                conn.execute_batch(&format!(
                    "ALTER TABLE schema_version ADD COLUMN {column} {kind}"
                ))?;
            }
        }
    }
    let is_newer = is_newer(conn)?;
    // Views and triggers of the user that name a table go on naming the new one.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_LEGACY_ALTER_TABLE, true)?;
    let outcome = CANDLE_STATE
        .complete(conn, is_newer)
        .and_then(|()| GAP_RECORDS.complete(conn, is_newer));
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_LEGACY_ALTER_TABLE, false)?;
    outcome?;
    let now = SystemClock.unix_ms();
    for (version, description) in missing_versions(conn)? {
        conn.execute(
            "INSERT INTO schema_version (version, applied_at, description) VALUES (?1, ?2, ?3)",
            params![version, now, description],
        )?;
    }
    Ok(())
}

fn version_shape(conn: &Connection) -> Result<Option<Shape>> {
    let shape = Shape::of(conn, "schema_version")?;
    if shape.as_ref().is_some_and(|shape| !shape.has("version")) {
        return Err(foreign(
            "its `schema_version` has no column `version`".to_owned(),
        ));
    }
    Ok(shape)
}

/// Whether a process of a later version has been at work.
fn is_newer(conn: &Connection) -> Result<bool> {
    let known = VERSIONS.iter().map(|(version, _)| *version).max();
    Ok(Some(newest_version(conn)?) > known)
}

fn missing_versions(conn: &Connection) -> Result<Vec<(i64, &'static str)>> {
    let recorded = conn
        .prepare("SELECT CAST(version AS INTEGER) FROM schema_version WHERE version IS NOT NULL")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<i64>>>()?;
    Ok(VERSIONS
        .into_iter()
        .filter(|(version, _)| !recorded.contains(version))
        .collect())
}
