//! The runtime database: a queue's file that also keeps the state of candles under construction
//! and the records of gaps in the trades that were received.
//!
//! | file | noun |
//! |---|---|
//! | `migrate` | the tables, and how files of every version come to have them |
//! | `state` | candle states, one per exchange and symbol |
//! | `gaps` | gap records |
//!
//! There is one implementation of the queue, [`crate::queue`]; a [`RuntimeStore`] owns a
//! [`Store`] and uses its connection, its clock and its transactions. A file of either kind can
//! be opened as the other.

mod gaps;
mod migrate;
mod state;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use rusqlite::Connection;

use crate::error::Result;
use crate::queue::{Clock, Options, Store, SystemClock};

pub use gaps::{Gap, GapFilter, NewGap};
pub use state::State;

/// One connection to a runtime database. Every method is synchronous and may wait
/// `busy_timeout_ms` for another process's write; then its error is `SQLITE_BUSY`.
///
/// States and gaps are written as durably as [`Options::durability`] says.
pub struct RuntimeStore {
    queue: Store,
}

impl RuntimeStore {
    /// Opens the file, creating or migrating what it lacks: all of it or nothing, and once,
    /// however many processes open it at the same time.
    ///
    /// # Errors
    /// Those of [`Store::open`]; `ForeignDatabase` also when the tables of states or gaps are not
    /// those of any version. After an error the file is as it was.
    pub fn open(options: &Options) -> Result<Self> {
        Self::open_with_clock(options, Arc::new(SystemClock))
    }

    /// As [`RuntimeStore::open`], with another source of time.
    ///
    /// # Errors
    /// Those of [`RuntimeStore::open`].
    pub fn open_with_clock(options: &Options, clock: Arc<dyn Clock>) -> Result<Self> {
        let queue = Store::open_extended(options, clock, Some(&migrate::TABLES))?;
        Ok(RuntimeStore { queue })
    }

    /// The queue in the same file, on the same connection.
    pub fn queue(&mut self) -> &mut Store {
        &mut self.queue
    }

    /// The highest version that the file is known to have, by whichever process raised it.
    pub fn schema_version(&self) -> Result<i64> {
        migrate::newest_version(self.conn())
    }

    /// See [`Store::close`].
    ///
    /// # Errors
    /// Those of [`Store::close`].
    pub fn close(self) -> Result<()> {
        self.queue.close()
    }

    fn conn(&self) -> &Connection {
        &self.queue.conn
    }
}
