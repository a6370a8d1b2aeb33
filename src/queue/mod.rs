//! The durable queue: one SQLite file, shared by processes.
//!
//! | file | noun |
//! |---|---|
//! | `place` | the file: its folders, its kind, its file system |
//! | `copies` | no other copy of SQLite in this process has it open |
//! | `open`, `schema` | a connection with every pragma set, on a file that is ours |
//! | `vfs` | how a commit reaches the kernel |
//! | `log` | the write-ahead log stays small |
//! | `busy` | waiting for another connection's lock |
//! | `room` | what lets it be drained while the disk is full |
//! | `message`, `row` | a message on its way in; a row on its way out |
//! | `store` | one connection: enqueue, dequeue, mark processed |
//! | `claim`, `owner`, `clock` | leases: who holds a message, until when |
//! | `candidates` | which messages may be claimed next |
//! | `dead` | dead letters |
//! | `handled` | ids that were handled, wherever their message came from |
//! | `upkeep` | cleanup, statistics, compaction |
//! | `worker` | one thread with its own store: group commit |
//! | `doorbell` | notice of other processes' writes |
//!
//! Invariants:
//! - Everything but `worker` is synchronous and knows no channel and no runtime.
//! - Nothing here knows the socket.
//! - `message_queue` holds nothing that a process with the original package could stumble over;
//!   claims and dead letters live in tables of their own (`schema.sql`).
//! - Every write transaction begins with `BEGIN IMMEDIATE`: the busy timeout does not cover the
//!   upgrade of a read lock.
//! - A write whose loss would lose a message is synchronous FULL (unless the caller chose
//!   `Durability::Normal`); a write whose loss only delivers again is NORMAL.

mod busy;
mod candidates;
mod claim;
mod clock;
mod copies;
mod dead;
mod doorbell;
mod handled;
mod insert;
mod log;
mod message;
mod open;
mod owner;
mod place;
mod room;
mod row;
mod schema;
mod store;
#[cfg(test)]
pub(crate) mod testing;
mod upkeep;
mod vfs;
mod worker;

use std::path::PathBuf;

use crate::limits;

pub use claim::{Claimed, ClaimedPackage, FailOutcome, Failure, Settled, Settlement, Terms};
pub use clock::{Clock, ManualClock, SystemClock};
pub use dead::Selection;
pub use doorbell::Doorbell;
pub use insert::Idempotence;
pub use message::{NewMessage, Records};
pub use owner::{Owner, is_dead};
pub(crate) use schema::{Extension, foreign};
pub use store::Store;
pub(crate) use store::{Rollback, Writing};
pub use upkeep::Stats;
pub use worker::{Batch, Completion, Refused, Reply, Request, Wake, Worker};

/// What a commit of an enqueue survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Power loss: the log is on the disk before `enqueue` returns (synchronous FULL).
    #[default]
    Full,
    /// The death of every process, but not power loss: the newest commits may be gone then,
    /// never others (synchronous NORMAL).
    Normal,
}

/// How to open a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The database file. Missing folders and the file are created, readable by their owner only.
    pub path: PathBuf,
    /// What an enqueue survives; default [`Durability::Full`].
    pub durability: Durability,
    /// Milliseconds that a call waits for another process's lock; default
    /// [`limits::BUSY_TIMEOUT_MS`].
    pub busy_timeout_ms: u32,
}

impl Options {
    /// The defaults, for this file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Options {
            path: path.into(),
            durability: Durability::default(),
            busy_timeout_ms: limits::BUSY_TIMEOUT_MS,
        }
    }
}
