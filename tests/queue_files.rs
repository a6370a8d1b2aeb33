//! Files of every origin: what is not a queue stays as it is, what is one opens in place and
//! stays usable by processes with the original package.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use flowtrace_ipc::queue::{NewMessage, Options, Owner, Store};
use flowtrace_ipc::runtime::RuntimeStore;
use rusqlite::Connection;

/// The table as the original creates it.
const ORIGINAL: &str = "
CREATE TABLE message_queue (message_id TEXT PRIMARY KEY, type TEXT NOT NULL,
  payload TEXT NOT NULL, timestamp INTEGER NOT NULL, processed INTEGER DEFAULT 0,
  processed_at INTEGER, created_at INTEGER DEFAULT (strftime('%s', 'now')));
CREATE INDEX idx_message_queue_processed ON message_queue(processed, timestamp);
CREATE INDEX idx_message_queue_cleanup ON message_queue(processed, processed_at);";

/// Where the original keeps its versions.
const VERSIONS: &str = "CREATE TABLE schema_version (version INTEGER PRIMARY KEY,
  applied_at INTEGER NOT NULL, description TEXT)";

fn create(path: &Path, sql: &str) {
    let conn = Connection::open(path).expect("a new file");
    conn.execute_batch(sql).expect("valid SQL");
    conn.close().expect("nothing pending");
}

fn open_code(path: &Path) -> String {
    match Store::open(&Options::new(path)) {
        Ok(_) => "opened".to_owned(),
        Err(error) => error.code().into_owned(),
    }
}

fn ids(text: &str) -> Vec<String> {
    let values: Vec<serde_json::Value> = serde_json::from_str(text).expect("valid JSON");
    values
        .iter()
        .map(|value| value["id"].as_str().expect("text").to_owned())
        .collect()
}

#[test]
fn foreign_databases_are_refused_unchanged() {
    let columns = "message_id TEXT PRIMARY KEY, type, payload, timestamp, processed, processed_at";
    let cases = [
        (
            "other tables",
            "CREATE TABLE users (id); INSERT INTO users VALUES (1)".to_owned(),
        ),
        ("a view alone", "CREATE VIEW v AS SELECT 1".to_owned()),
        (
            "a version table beside others",
            format!("{VERSIONS}; CREATE TABLE users (id)"),
        ),
        (
            "a version table beside a view",
            format!("{VERSIONS}; CREATE VIEW v AS SELECT 1"),
        ),
        (
            "another version table",
            "CREATE TABLE schema_version (version INTEGER PRIMARY KEY)".to_owned(),
        ),
        (
            "other states",
            "CREATE TABLE candle_state (symbol, open, close); CREATE TABLE users (id)".to_owned(),
        ),
        (
            "other gaps",
            "CREATE TABLE gap_records (id, symbol)".to_owned(),
        ),
        (
            "a view as states",
            "CREATE VIEW candle_state AS SELECT 1 AS symbol, 2 AS state_json, 3 AS updated_at"
                .to_owned(),
        ),
        (
            "other claims",
            format!("{ORIGINAL} CREATE TABLE message_claim (message_id, user)"),
        ),
        (
            "an application id",
            format!("{ORIGINAL} PRAGMA application_id = 7"),
        ),
        (
            "a missing column",
            "CREATE TABLE message_queue (message_id TEXT PRIMARY KEY)".to_owned(),
        ),
        (
            "no key",
            "CREATE TABLE message_queue
            (message_id, type, payload, timestamp, processed, processed_at)"
                .to_owned(),
        ),
        (
            "a wider key",
            format!(
                "CREATE TABLE message_queue ({}, PRIMARY KEY (message_id, type))",
                columns.replace(" PRIMARY KEY", "")
            ),
        ),
        (
            "no rowid",
            format!("CREATE TABLE message_queue ({columns}) WITHOUT ROWID"),
        ),
        (
            "a view in its place",
            "CREATE VIEW message_queue AS SELECT 1 AS message_id, 2 AS type,
            3 AS payload, 4 AS timestamp, 5 AS processed, 6 AS processed_at"
                .to_owned(),
        ),
    ];
    for (name, sql) in cases {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("foreign.db");
        create(&path, &sql);
        let before = fs::read(&path).expect("readable");
        assert_eq!(open_code(&path), "ERR_IPC_FOREIGN_DATABASE", "{name}");
        let error = RuntimeStore::open(&Options::new(&path)).err();
        let code = error.map(|error| error.code().into_owned());
        assert_eq!(code.as_deref(), Some("ERR_IPC_FOREIGN_DATABASE"), "{name}");
        assert!(
            fs::read(&path).expect("readable") == before,
            "{name}: the file was changed"
        );
        let entries = fs::read_dir(folder.path()).expect("readable").count();
        assert_eq!(entries, 1, "{name}: nothing was left beside it");
    }
}

#[test]
fn the_log_of_a_foreign_database_is_not_written_into_its_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let (live, copy) = (folder.path().join("live.db"), folder.path().join("copy.db"));
    let wal = |path: &Path| PathBuf::from(format!("{}-wal", path.display()));
    let conn = Connection::open(&live).expect("a new file");
    conn.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE users (id);")
        .expect("valid");
    // What its application leaves behind when it is killed. The copies are no longer the file
    // that the connection has locks on.
    let status = Command::new("cp")
        .arg(&live)
        .arg(&copy)
        .status()
        .expect("cp is everywhere");
    assert!(status.success());
    let status = Command::new("cp")
        .arg(wal(&live))
        .arg(wal(&copy))
        .status()
        .expect("cp");
    assert!(status.success());
    let before = (
        fs::read(&copy).expect("readable"),
        fs::read(wal(&copy)).expect("readable"),
    );
    assert!(!before.1.is_empty());
    assert_eq!(open_code(&copy), "ERR_IPC_FOREIGN_DATABASE");
    let after = (
        fs::read(&copy).expect("readable"),
        fs::read(wal(&copy)).expect("readable"),
    );
    assert!(before == after);
}

#[test]
fn what_is_no_database_is_refused_unchanged() {
    let folder = tempfile::tempdir().expect("a folder");
    let original = folder.path().join("original.db");
    create(&original, ORIGINAL);
    let mut broken = fs::read(&original).expect("readable");
    broken[100..200].fill(0xee);
    let cases: [(&str, Vec<u8>, &str); 4] = [
        ("short.txt", b"hello".to_vec(), "SQLITE_NOTADB"),
        (
            "long.txt",
            b"GET / HTTP/1.1\r\n".repeat(1_000),
            "SQLITE_NOTADB",
        ),
        ("zeros", vec![0; 8_192], "SQLITE_NOTADB"),
        ("broken.db", broken, "SQLITE_CORRUPT"),
    ];
    for (name, bytes, code) in cases {
        let path = folder.path().join(name);
        fs::write(&path, &bytes).expect("writable");
        assert_eq!(open_code(&path), code, "{name}");
        assert!(
            fs::read(&path).expect("readable") == bytes,
            "{name}: the file was changed"
        );
    }
}

#[test]
fn columns_that_an_earlier_version_had_not_are_added() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("queue.db");
    let mut store = Store::open(&Options::new(&path)).expect("a new file");
    for id in ["a", "b"] {
        let message = NewMessage::new(id, "t", "1", 1.0).expect("valid");
        store.enqueue(&message).expect("new");
    }
    store.claim(1, 1, 0, &Owner::new()).expect("free");
    store.close().expect("closes");
    create(
        &path,
        "ALTER TABLE message_claim DROP COLUMN failures; ALTER TABLE message_claim DROP COLUMN alone",
    );
    let mut store = Store::open(&Options::new(&path)).expect("opens in place");
    let attempts: Vec<u32> = store
        .claim(2, 60_000, 0, &Owner::new())
        .expect("free")
        .iter()
        .map(|claimed| claimed.attempt)
        .collect();
    assert_eq!(attempts, [2, 1], "what it knew is kept");
    Store::reopen(&Options::new(store.path())).expect("complete");
}

#[test]
fn an_original_file_opens_in_place_and_old_processes_go_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("queue.db");
    create(
        &path,
        &format!(
            "{ORIGINAL}
             CREATE TABLE schema_version (version INTEGER PRIMARY KEY, applied_at, description);
             INSERT INTO schema_version VALUES (1, 1, 'queue');
             INSERT INTO message_queue (message_id, type, payload, timestamp) VALUES
               ('second', 't', '{{\"x\":2}}', 2), ('first', 't', '1', 1);"
        ),
    );
    let old = Connection::open(&path).expect("an old process");
    old.busy_timeout(std::time::Duration::from_secs(5))
        .expect("settable");
    let old_ids = || -> Vec<String> {
        old.prepare_cached(
            "SELECT message_id FROM message_queue WHERE processed = 0 ORDER BY timestamp LIMIT 50",
        )
        .and_then(|mut s| s.query_map([], |row| row.get(0))?.collect())
        .expect("readable")
    };
    assert_eq!(old_ids(), ["first", "second"]);
    let schema = |conn: &Connection| -> String {
        conn.query_row(
            "SELECT group_concat(sql, ';') FROM sqlite_schema WHERE tbl_name = 'message_queue'",
            [],
            |row| row.get(0),
        )
        .expect("readable")
    };
    let before = schema(&old);

    let mut store = Store::open(&Options::new(&path)).expect("opens in place");
    assert_eq!(schema(&old), before, "what it knows is as it was");
    assert_eq!(
        ids(&store.dequeue(50).expect("readable")),
        ["first", "second"]
    );
    assert_eq!(old_ids(), ["first", "second"]);
    let mode: String = old
        .query_row("PRAGMA journal_mode", [], |row| row.get(0))
        .expect("readable");
    assert_eq!(mode, "wal", "the old process follows");

    // Both ways: what either does, the other sees.
    store
        .enqueue(&NewMessage::new("new", "t", "null", 3.0).expect("valid"))
        .expect("new");
    old.execute(
        "INSERT INTO message_queue (message_id, type, payload, timestamp) VALUES ('old','t','[]',4)",
        [],
    )
    .expect("writable");
    assert_eq!(old_ids(), ["first", "second", "new", "old"]);
    let owner = Owner::new();
    let claimed = store.claim(2, 60_000, 0, &owner).expect("free");
    assert_eq!(claimed[0].payload, "1");
    assert_eq!(old_ids().len(), 4, "an old process knows no leases");
    old.execute(
        "UPDATE message_queue SET processed = 1 WHERE message_id = 'first'",
        [],
    )
    .expect("writable");
    let held: Vec<(String, i64)> = claimed
        .into_iter()
        .map(|claimed| (claimed.id, claimed.token))
        .collect();
    assert_eq!(store.complete(&held).expect("held"), [true, true]);
    assert_eq!(old_ids(), ["new", "old"]);
    let numbers: (i64, i64) = old
        .query_row(
            "SELECT user_version, application_id FROM pragma_user_version, pragma_application_id",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .expect("readable");
    assert_eq!(numbers, (0, 0));
    store.close().expect("another connection is open");
    assert_eq!(old_ids(), ["new", "old"]);
    let check: String = old
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .expect("readable");
    assert_eq!(check, "ok");
}

#[test]
fn files_of_an_interrupted_start_are_completed() {
    let cases = [
        ("an empty file", ""),
        ("a version table alone", VERSIONS),
        (
            "state alone",
            "CREATE TABLE candle_state (symbol PRIMARY KEY, state_json, updated_at)",
        ),
        (
            "no index",
            "CREATE TABLE Message_Queue (message_id TEXT PRIMARY KEY, type, payload,
            timestamp, processed DEFAULT 0, processed_at, extra)",
        ),
    ];
    for (name, sql) in cases {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("queue.db");
        create(&path, sql);
        let mut store = Store::open(&Options::new(&path)).expect(name);
        store
            .enqueue(&NewMessage::new("a", "t", "1", 1.0).expect("valid"))
            .expect(name);
        assert_eq!(ids(&store.dequeue(9).expect(name)), ["a"]);
    }
}

/// The part of the next test that runs without root's privilege to write anywhere.
#[test]
fn child_without_privileges() {
    let Some(folder) = std::env::var_os("IPC_TEST_UNPRIVILEGED").map(PathBuf::from) else {
        return;
    };
    let cases = [
        ("readonly.db", "SQLITE_READONLY"),
        ("unreadable.db", "SQLITE_CANTOPEN"),
        ("locked/queue.db", "SQLITE_READONLY_DIRECTORY"),
        ("locked/new.db", "EACCES"),
        ("locked/new/queue.db", "EACCES"),
        ("closed/queue.db", "EACCES"),
    ];
    for (name, code) in cases {
        assert_eq!(open_code(&folder.join(name)), code, "{name}");
    }
    println!("unprivileged: done");
}

#[test]
fn files_that_may_not_be_written_are_refused_unchanged() {
    const NOBODY: u32 = 65_534;
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    for name in ["locked", "closed"] {
        fs::create_dir(at(name)).expect("a folder");
    }
    let files = [
        "readonly.db",
        "unreadable.db",
        "locked/queue.db",
        "closed/queue.db",
    ];
    for name in files {
        create(&at(name), ORIGINAL);
    }
    let before: Vec<Vec<u8>> = files
        .iter()
        .map(|name| fs::read(at(name)).expect("ours"))
        .collect();
    // SAFETY: the call only looks.
    let is_root = unsafe { libc::geteuid() } == 0;
    if is_root {
        for path in files.iter().map(|name| at(name)).chain([
            folder.path().into(),
            at("locked"),
            at("closed"),
        ]) {
            let name = CString::new(path.as_os_str().as_bytes()).expect("no NUL");
            // SAFETY: the name ends with NUL.
            assert_eq!(unsafe { libc::chown(name.as_ptr(), NOBODY, NOBODY) }, 0);
        }
    }
    let modes = [
        ("readonly.db", 0o444),
        ("unreadable.db", 0o000),
        ("locked", 0o555),
        ("closed", 0o000),
    ];
    for (name, mode) in modes {
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).expect("ours");
    }
    let mut child = Command::new(std::env::current_exe().expect("known"));
    child
        .args(["--exact", "child_without_privileges", "--nocapture"])
        .env("IPC_TEST_UNPRIVILEGED", folder.path())
        .current_dir("/");
    if is_root {
        child.uid(NOBODY).gid(NOBODY);
    }
    let output = child.output();
    for (name, _) in modes {
        fs::set_permissions(at(name), fs::Permissions::from_mode(0o700)).expect("ours");
    }
    let output = match output {
        Ok(output) => output,
        Err(error) => {
            println!("SKIPPED: this program cannot be run without privileges: {error}");
            return;
        }
    };
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(
        output.status.success() && text.contains("unprivileged: done"),
        "{text}"
    );
    for (name, before) in files.iter().zip(before) {
        assert!(
            fs::read(at(name)).expect("ours") == before,
            "{name}: the file was changed"
        );
    }
}
