//! Runtime databases of every version: they open, keep their rows, and old processes go on. So do
//! files that the original left in the middle of a migration, which it ran without a transaction.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use flowtrace_ipc::queue::{NewMessage, Options, Store};
use flowtrace_ipc::runtime::{GapFilter, NewGap, RuntimeStore, State};
use rusqlite::Connection;

/// The migrations of the original, each by its statements.
const VERSION_TABLE: &str = "CREATE TABLE schema_version (version INTEGER PRIMARY KEY,
  applied_at INTEGER NOT NULL, description TEXT);";
const V1: &str = "CREATE TABLE message_queue (message_id TEXT PRIMARY KEY, type TEXT NOT NULL,
  payload TEXT NOT NULL, timestamp INTEGER NOT NULL, processed INTEGER DEFAULT 0,
  processed_at INTEGER, created_at INTEGER DEFAULT (strftime('%s', 'now')));
CREATE INDEX idx_message_queue_processed ON message_queue(processed, timestamp);
CREATE INDEX idx_message_queue_cleanup ON message_queue(processed, processed_at);";
const V2: &str = "CREATE TABLE candle_state (symbol TEXT PRIMARY KEY, state_json BLOB NOT NULL,
  updated_at INTEGER NOT NULL);
CREATE INDEX idx_candle_state_updated ON candle_state(updated_at);";
const V3: &str = "CREATE TABLE gap_records (id INTEGER PRIMARY KEY AUTOINCREMENT,
  symbol TEXT NOT NULL, from_trade_id INTEGER NOT NULL, to_trade_id INTEGER NOT NULL,
  gap_size INTEGER NOT NULL, detected_at INTEGER NOT NULL, synced INTEGER DEFAULT 0,
  synced_at INTEGER);
CREATE UNIQUE INDEX idx_gap_records_unique ON gap_records(symbol, from_trade_id, to_trade_id);
CREATE INDEX idx_gap_records_synced ON gap_records(synced, detected_at);";
const V3_CONSTRAINT: &str = "CREATE TABLE gap_records (id INTEGER PRIMARY KEY AUTOINCREMENT,
  symbol TEXT NOT NULL, from_trade_id INTEGER NOT NULL, to_trade_id INTEGER NOT NULL,
  gap_size INTEGER NOT NULL, detected_at INTEGER NOT NULL, synced INTEGER DEFAULT 0,
  synced_at INTEGER, UNIQUE (symbol, from_trade_id, to_trade_id));";
const V4: [&str; 3] = [
    "ALTER TABLE gap_records ADD COLUMN exchange TEXT NOT NULL DEFAULT 'binance';",
    "DROP INDEX idx_gap_records_unique;",
    "CREATE UNIQUE INDEX idx_gap_records_exchange_unique
       ON gap_records(exchange, symbol, from_trade_id, to_trade_id);",
];
const V5: [&str; 4] = [
    "CREATE TABLE candle_state_new (exchange TEXT NOT NULL DEFAULT 'binance',
       symbol TEXT NOT NULL, state_json BLOB NOT NULL, updated_at INTEGER NOT NULL,
       PRIMARY KEY (exchange, symbol));",
    "INSERT INTO candle_state_new SELECT 'binance', symbol, state_json, updated_at
       FROM candle_state;",
    "DROP TABLE candle_state;",
    "ALTER TABLE candle_state_new RENAME TO candle_state;",
];
const MESSAGES: &str = "INSERT INTO message_queue (message_id, type, payload, timestamp)
  VALUES ('m1', 't', '1', 1), ('m2', 't', '2', 2);";
const STATES: &str = "INSERT INTO candle_state (symbol, state_json, updated_at)
  VALUES ('S1', '{\"a\":1}', 10), ('S2', '{\"a\":2}', 20);";
/// The record 2 was deleted: its id must not be given again.
const GAPS: &str = "INSERT INTO gap_records
  (id, symbol, from_trade_id, to_trade_id, gap_size, detected_at, synced, synced_at) VALUES
  (1, 'S1', 1, 5, 3, 100, 1, 150), (3, 'S2', 1, 5, 3, 300, 0, NULL), (7, 'S1', 8, 9, 0, 700, 0, NULL);
  DELETE FROM gap_records WHERE id = 7;";

fn recorded(versions: std::ops::RangeInclusive<i64>) -> String {
    versions
        .map(|version| format!("INSERT INTO schema_version VALUES ({version}, 1, 'old');"))
        .collect()
}

/// What a file holds: rows of the queue, of states, of gaps.
#[derive(Clone, Copy, PartialEq)]
struct Rows(bool, bool, bool);

/// Files by how they came to be, each with what has to be found in it.
fn files() -> Vec<(String, String, Rows)> {
    let joined = |parts: &[&str]| parts.concat();
    let upto3 = [VERSION_TABLE, V1, V2, V3, MESSAGES, STATES, GAPS].concat();
    let upto4 = [&upto3, joined(&V4).as_str()].concat();
    let full = Rows(true, true, true);
    let mut files: Vec<(String, String, Rows)> = vec![
        ("new".into(), String::new(), Rows(false, false, false)),
        (
            "0: a queue".into(),
            joined(&[V1, MESSAGES]),
            Rows(true, false, false),
        ),
        (
            "0: a version table".into(),
            VERSION_TABLE.into(),
            Rows(false, false, false),
        ),
        (
            "0: a version table without its columns".into(),
            joined(&[
                "CREATE TABLE schema_version (version INTEGER PRIMARY KEY);",
                V1,
                MESSAGES,
            ]),
            Rows(true, false, false),
        ),
        (
            "1".into(),
            joined(&[VERSION_TABLE, V1, MESSAGES, &recorded(1..=1)]),
            Rows(true, false, false),
        ),
        (
            "2".into(),
            joined(&[VERSION_TABLE, V1, V2, MESSAGES, STATES, &recorded(1..=2)]),
            Rows(true, true, false),
        ),
        ("3".into(), joined(&[&upto3, &recorded(1..=3)]), full),
        (
            "3, the key a constraint".into(),
            joined(&[
                VERSION_TABLE,
                V1,
                V2,
                V3_CONSTRAINT,
                MESSAGES,
                STATES,
                GAPS,
                &recorded(1..=3),
            ]),
            full,
        ),
        (
            "4, the constraint still there".into(),
            joined(&[
                VERSION_TABLE,
                V1,
                V2,
                V3_CONSTRAINT,
                V4[0],
                V4[2],
                MESSAGES,
                STATES,
                GAPS,
                &recorded(1..=4),
            ]),
            full,
        ),
        ("4".into(), joined(&[&upto4, &recorded(1..=4)]), full),
        (
            "5".into(),
            joined(&[&upto4, &joined(&V5), &recorded(1..=5)]),
            full,
        ),
        (
            "5, the old unique index still there".into(),
            joined(&[&upto3, V4[0], V4[2], &joined(&V5), &recorded(1..=5)]),
            full,
        ),
        (
            "7, of a later process".into(),
            joined(&[&upto4, &joined(&V5), &recorded(1..=7)]),
            full,
        ),
        (
            "5, and all rows of versions but one are missing".into(),
            joined(&[&upto4, &joined(&V5), &recorded(5..=5)]),
            full,
        ),
    ];
    // Migrations that were applied, and the row of the version is missing.
    let applied = [
        (
            1,
            joined(&[VERSION_TABLE, V1, MESSAGES]),
            Rows(true, false, false),
        ),
        (
            2,
            joined(&[VERSION_TABLE, V1, V2, MESSAGES, STATES]),
            Rows(true, true, false),
        ),
        (3, upto3.clone(), full),
        (4, upto4.clone(), full),
        (5, joined(&[&upto4, &joined(&V5)]), full),
    ];
    for (version, sql, rows) in applied {
        let sql = sql + &recorded(1..=version - 1);
        files.push((format!("{version} without its row"), sql, rows));
    }
    // Migrations that ended in between their statements.
    for count in 1..V4.len() {
        let sql = joined(&[&upto3, &joined(&V4[..count]), &recorded(1..=3)]);
        files.push((format!("{count} statements of 4"), sql, full));
    }
    for count in 1..V5.len() {
        let sql = joined(&[&upto4, &joined(&V5[..count]), &recorded(1..=4)]);
        files.push((format!("{count} statements of 5"), sql, full));
    }
    let newer = "UPDATE candle_state_new SET state_json = 'stale', updated_at = 1;";
    files.push((
        "an old process went on after the copy".into(),
        joined(&[&upto4, V5[0], V5[1], newer, &recorded(1..=4)]),
        full,
    ));
    files.push((
        "an old process made the table again after the drop".into(),
        joined(&[&upto4, V5[0], V5[1], V5[2], V2, &recorded(1..=4)]),
        full,
    ));
    files
}

fn create(path: &Path, sql: &str) {
    let conn = Connection::open(path).expect("a new file");
    conn.execute_batch(sql).expect(sql);
}

fn open(path: &Path) -> RuntimeStore {
    RuntimeStore::open(&Options::new(path)).expect("opens")
}

fn gap(exchange: &str, symbol: &str) -> NewGap {
    NewGap {
        exchange: exchange.into(),
        symbol: symbol.into(),
        from_trade_id: 1,
        to_trade_id: 5,
        gap_size: 3,
        detected_at: 900,
    }
}

fn number(conn: &Connection, sql: &str) -> i64 {
    conn.query_row(sql, [], |row| row.get(0)).expect(sql)
}

/// Everything that has to hold of an open file.
fn check(name: &str, store: &mut RuntimeStore, rows: Rows) {
    let pending = store.queue().stats().expect("readable").pending;
    assert_eq!(pending, if rows.0 { 2 } else { 0 }, "{name}");
    let mut states = Vec::new();
    store
        .load_all_states(|state| {
            states.push(format!(
                "{} {} {}",
                state.exchange, state.symbol, state.json
            ));
            Ok(())
        })
        .expect("readable");
    states.sort();
    let expected: &[&str] = match rows.1 {
        true => &["binance S1 {\"a\":1}", "binance S2 {\"a\":2}"],
        false => &[],
    };
    assert_eq!(states, expected, "{name}");
    let gaps: Vec<(i64, String, String, bool, Option<i64>)> = store
        .load_gaps(&GapFilter::default())
        .expect("readable")
        .into_iter()
        .map(|gap| (gap.id, gap.exchange, gap.symbol, gap.synced, gap.synced_at))
        .collect();
    let expected = [
        (3, "binance".to_owned(), "S2".to_owned(), false, None),
        (1, "binance".to_owned(), "S1".to_owned(), true, Some(150)),
    ];
    let expected = &expected[..if rows.2 { 2 } else { 0 }];
    assert_eq!(gaps, expected, "{name}");
}

#[test]
fn files_of_every_version_open_and_keep_their_rows() {
    for (name, sql, rows) in files() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("runtime.db");
        create(&path, &sql);
        let old = Connection::open(&path).expect("an old process");
        let mut store = open(&path);
        check(&name, &mut store, rows);

        // A second exchange has the same symbols and trades.
        store
            .save_gaps(&[gap("binance", "S1"), gap("okx", "S1")])
            .expect("kept apart");
        let both = store.load_gaps(&GapFilter::default()).expect("readable");
        let kept: Vec<i64> = both
            .iter()
            .filter(|gap| gap.symbol == "S1")
            .map(|gap| gap.id)
            .collect();
        assert_eq!(kept.len(), 2, "{name}: {both:?}");
        if rows.2 {
            assert!(kept[0] > 7, "{name}: ids are never given again: {kept:?}");
        }
        store
            .save_state(&State {
                exchange: "okx",
                symbol: "S1",
                json: "2",
            })
            .expect("kept apart");

        // The old process goes on, with the statements of its version.
        old.execute_batch(
            "INSERT OR REPLACE INTO candle_state (symbol, state_json, updated_at)
               VALUES ('old', '1', 1);
             INSERT OR IGNORE INTO gap_records
               (symbol, from_trade_id, to_trade_id, gap_size, detected_at)
               VALUES ('old', 1, 2, 1, 1)",
        )
        .expect("an old process goes on");
        old.execute_batch(
            "INSERT INTO candle_state (exchange, symbol, state_json, updated_at)
               VALUES ('okx', 'S1', '3', 2) ON CONFLICT (exchange, symbol)
               DO UPDATE SET state_json = excluded.state_json;
             INSERT INTO gap_records
               (exchange, symbol, from_trade_id, to_trade_id, gap_size, detected_at)
               VALUES ('okx', 'S1', 1, 5, 1, 1)
               ON CONFLICT (exchange, symbol, from_trade_id, to_trade_id) DO NOTHING",
        )
        .expect("and one of the current version");
        assert_eq!(
            store
                .load_state("binance", "old")
                .expect("readable")
                .as_deref(),
            Some("1")
        );
        assert_eq!(
            store.load_state("okx", "S1").expect("readable").as_deref(),
            Some("3")
        );

        let versions = number(
            &old,
            "SELECT count(*) FROM schema_version
             WHERE version BETWEEN 1 AND 5 AND applied_at > 0 AND description <> ''",
        );
        assert_eq!(versions, 5, "{name}");
        let newest = number(&old, "SELECT max(version) FROM schema_version");
        assert_eq!(newest, if name.starts_with('7') { 7 } else { 5 }, "{name}");
        assert_eq!(store.schema_version().expect("readable"), newest);
        let strays = number(
            &old,
            "SELECT count(*) FROM sqlite_schema WHERE name LIKE '%candle_state_%' AND type = 'table'
               OR name LIKE '%_before_%' OR name LIKE '%_new'",
        );
        assert_eq!(strays, 0, "{name}");
        assert_eq!(number(&old, "PRAGMA user_version"), 0, "{name}");
        let intact: String = old
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .expect("readable");
        assert_eq!(intact, "ok", "{name}");
        drop(store);

        // Once is enough: now it opens while somebody else writes.
        old.execute_batch("BEGIN IMMEDIATE").expect("free");
        let version = open(&path).schema_version().expect("readable");
        assert_eq!(version, newest, "{name}");
        old.execute_batch("ROLLBACK").expect("begun");
        // And as a queue.
        let mut queue = Store::open(&Options::new(&path)).expect("the same format");
        let message = NewMessage::new("late", "t", "1", 9.0).expect("valid");
        queue.enqueue(&message).expect("new");
    }
}

#[test]
fn what_users_attached_stays_attached() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("runtime.db");
    let attached = "
        ALTER TABLE candle_state ADD COLUMN \"my note\" TEXT;
        UPDATE candle_state SET \"my note\" = 'n' || symbol;
        CREATE VIEW newest AS SELECT max(updated_at) AS at FROM candle_state;
        CREATE TABLE log (symbol);
        CREATE TRIGGER logged AFTER INSERT ON gap_records
          BEGIN INSERT INTO log VALUES (new.symbol); END;";
    let sql = [
        VERSION_TABLE,
        V1,
        V2,
        V3,
        STATES,
        GAPS,
        attached,
        &recorded(1..=3),
    ]
    .concat();
    create(&path, &sql);
    let mut store = open(&path);
    let conn = Connection::open(&path).expect("another process");
    assert_eq!(number(&conn, "SELECT at FROM newest"), 20);
    assert_eq!(
        number(
            &conn,
            "SELECT count(*) FROM candle_state WHERE \"my note\" = 'n' || symbol"
        ),
        2
    );
    let indexes = "SELECT count(*) FROM sqlite_schema
        WHERE name IN ('idx_candle_state_updated', 'idx_gap_records_synced')";
    assert_eq!(number(&conn, indexes), 2);
    assert_eq!(
        number(&conn, "SELECT count(*) FROM log"),
        0,
        "moving is no insert"
    );
    store.save_gaps(&[gap("okx", "S9")]).expect("free");
    assert_eq!(number(&conn, "SELECT count(*) FROM log"), 1);
}

#[test]
fn gaps_without_a_key_are_merged() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("runtime.db");
    let double = "INSERT INTO gap_records
        (symbol, from_trade_id, to_trade_id, gap_size, detected_at, synced, synced_at) VALUES
        ('S2', 1, 5, 3, 301, 1, 350), ('S1', 1, 5, 3, 101, 0, NULL);";
    let sql = [
        VERSION_TABLE,
        V1,
        V2,
        V3,
        STATES,
        GAPS,
        V4[0],
        V4[1],
        double,
        &recorded(1..=3),
    ];
    create(&path, &sql.concat());
    let gaps: Vec<(i64, bool, Option<i64>)> = open(&path)
        .load_gaps(&GapFilter::default())
        .expect("readable")
        .into_iter()
        .map(|gap| (gap.id, gap.synced, gap.synced_at))
        .collect();
    assert_eq!(gaps, [(3, true, Some(350)), (1, true, Some(150))]);
}

#[test]
fn a_later_version_keeps_its_keys() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("runtime.db");
    create(
        &path,
        &[
            VERSION_TABLE,
            V1,
            "CREATE TABLE candle_state (exchange TEXT NOT NULL, symbol TEXT NOT NULL,
               interval TEXT NOT NULL DEFAULT '1m', state_json BLOB NOT NULL,
               updated_at INTEGER NOT NULL, PRIMARY KEY (exchange, symbol, interval));
             CREATE TABLE candle_state_new (exchange, symbol, state_json, updated_at);
             INSERT INTO candle_state VALUES ('a', 'S', '1m', '1', 1), ('a', 'S', '5m', '2', 1);",
            &recorded(1..=6),
        ]
        .concat(),
    );
    let store = open(&path);
    assert_eq!(store.schema_version().expect("readable"), 6);
    let conn = Connection::open(&path).expect("another process");
    assert_eq!(number(&conn, "SELECT count(*) FROM candle_state"), 2);
    assert_eq!(
        number(
            &conn,
            "SELECT count(*) FROM sqlite_schema WHERE name = 'candle_state_new'"
        ),
        1
    );
    assert!(
        store
            .load_gaps(&GapFilter::default())
            .expect("made")
            .is_empty()
    );
}

#[test]
fn foreign_tables_are_refused_unchanged() {
    let cases = [
        "CREATE TABLE candle_state (symbol PRIMARY KEY, state)",
        "CREATE TABLE gap_records (id INTEGER PRIMARY KEY, symbol)",
        "CREATE TABLE schema_version (number)",
        "CREATE TABLE message_queue (message_id TEXT PRIMARY KEY, type, payload, timestamp,
           processed, processed_at);
         CREATE VIEW candle_state AS SELECT 1 AS symbol, 2 AS state_json, 3 AS updated_at",
    ];
    for sql in cases {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("foreign.db");
        create(&path, sql);
        let before = fs::read(&path).expect("readable");
        let error = RuntimeStore::open(&Options::new(&path)).err().expect(sql);
        assert_eq!(error.code(), "ERR_IPC_FOREIGN_DATABASE", "{sql}");
        assert!(fs::read(&path).expect("readable") == before, "{sql}");
    }
}

#[test]
fn a_migration_that_fails_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("runtime.db");
    // The name that the migration needs is taken.
    let taken = "CREATE TABLE gap_records_before_migration (x);";
    create(
        &path,
        &[
            VERSION_TABLE,
            V1,
            V2,
            V3,
            MESSAGES,
            STATES,
            GAPS,
            taken,
            &recorded(1..=3),
        ]
        .concat(),
    );
    let conn = Connection::open(&path).expect("another process");
    let schema = || -> String {
        conn.query_row(
            "SELECT group_concat(name || sql) FROM sqlite_schema",
            [],
            |row| row.get(0),
        )
        .expect("readable")
    };
    let before = schema();
    assert!(RuntimeStore::open(&Options::new(&path)).is_err());
    assert_eq!(schema(), before);
    conn.execute_batch("DROP TABLE gap_records_before_migration")
        .expect("free");
    check("at last", &mut open(&path), Rows(true, true, true));
}

/// One of the processes of the next test; in the first one, nothing.
#[test]
fn child() {
    let Some(path) = std::env::var_os("IPC_TEST_RUNTIME") else {
        return;
    };
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("readable");
    let options = Options {
        busy_timeout_ms: 20_000,
        ..Options::new(path)
    };
    let mut store = RuntimeStore::open(&options).expect("opens");
    let symbol = format!("process {}", std::process::id());
    store
        .save_state(&State {
            exchange: "okx",
            symbol: &symbol,
            json: "{}",
        })
        .expect("free");
    store.save_gaps(&[gap("okx", &symbol)]).expect("free");
}

#[test]
fn processes_that_open_a_file_at_once_all_succeed() {
    const PROCESSES: usize = 4;
    let names = ["new", "0: a queue", "3", "2 statements of 5", "5"];
    for (name, sql, rows) in files() {
        if !names.contains(&name.as_str()) {
            continue;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("runtime.db");
        if name != "new" {
            create(&path, &sql);
        }
        let mut children: Vec<_> = (0..PROCESSES)
            .map(|_| {
                Command::new(std::env::current_exe().expect("known"))
                    .args(["--exact", "child", "--nocapture"])
                    .env("IPC_TEST_RUNTIME", &path)
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn()
                    .expect("this program runs")
            })
            .collect();
        // All wait for the end of their input.
        for child in &mut children {
            drop(child.stdin.take());
        }
        for child in children {
            let output = child.wait_with_output().expect("ours");
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{name}: {text}");
        }
        let store = open(&path);
        let mut states = 0;
        store
            .load_states_of("okx", |_| {
                states += 1;
                Ok(())
            })
            .expect("readable");
        assert_eq!(states, PROCESSES, "{name}");
        let gaps = store.load_gaps(&GapFilter::default()).expect("readable");
        assert_eq!(gaps.len(), PROCESSES + if rows.2 { 2 } else { 0 }, "{name}");
    }
}
