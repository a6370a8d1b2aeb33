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

/// A small message.
pub(crate) fn message(id: &str, timestamp: u32) -> NewMessage<'static> {
    NewMessage::new(id.to_owned(), "t", "{\"x\":1}", f64::from(timestamp)).expect("valid")
}
