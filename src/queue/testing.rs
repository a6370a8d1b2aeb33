//! What the unit tests of everything with a queue share.

use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;

use super::{ManualClock, NewMessage, Options, Store};

/// A folder of one test, with a clock that stands still.
pub(crate) struct Folder {
    folder: TempDir,
    pub(crate) clock: Arc<ManualClock>,
}

impl Folder {
    pub(crate) fn new() -> Self {
        Folder {
            folder: tempfile::tempdir().expect("a folder"),
            clock: Arc::new(ManualClock::new(1_700_000_000_000)),
        }
    }

    /// One with a file that a process with the original package has made.
    pub(crate) fn with_original() -> Self {
        let folder = Folder::new();
        rusqlite::Connection::open(folder.path())
            .and_then(|conn| conn.execute_batch(ORIGINAL_SCHEMA))
            .expect("a new file");
        folder
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("queue.db")
    }

    pub(crate) fn options(&self) -> Options {
        Options::new(self.path())
    }

    /// A store on this folder's clock.
    pub(crate) fn store(&self) -> Store {
        Store::open_with_clock(&self.options(), self.clock.clone()).expect("a file of our own")
    }

    /// The ids that a dequeue returns.
    pub(crate) fn ids(&self, store: &mut Store) -> Vec<String> {
        let text = store.dequeue(1_000).expect("readable");
        let values: Vec<serde_json::Value> = serde_json::from_str(&text).expect("valid JSON");
        values
            .iter()
            .map(|value| value["id"].as_str().expect("ids are text").to_owned())
            .collect()
    }
}

/// The table and the indexes as the original makes them.
const ORIGINAL_SCHEMA: &str = "
    CREATE TABLE message_queue (
      message_id TEXT PRIMARY KEY, type TEXT NOT NULL, payload TEXT NOT NULL,
      timestamp INTEGER NOT NULL, processed INTEGER DEFAULT 0, processed_at INTEGER,
      created_at INTEGER DEFAULT (strftime('%s', 'now')));
    CREATE INDEX idx_message_queue_processed ON message_queue (processed, timestamp);
    CREATE INDEX idx_message_queue_cleanup ON message_queue (processed, processed_at)";

/// The steps by which SQLite does what a statement says.
pub(crate) fn plan(store: &Store, sql: &str) -> Vec<String> {
    store
        .conn
        .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
        .and_then(|mut statement| {
            let values = vec![1; statement.parameter_count()];
            let values = rusqlite::params_from_iter(values);
            statement.query_map(values, |row| row.get(3))?.collect()
        })
        .expect("a statement")
}

/// A small message.
pub(crate) fn message(id: &str, timestamp: u32) -> NewMessage<'static> {
    NewMessage::new(id.to_owned(), "t", "{\"x\":1}", f64::from(timestamp)).expect("valid")
}
