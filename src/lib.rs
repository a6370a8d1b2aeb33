//! Local messaging between the processes of one machine: a Unix socket as the fast channel, a
//! SQLite queue as the durable one. The core of the npm package `@flowtrace/ipc`.
//!
//! | module | what it is | names |
//! |---|---|---|
//! | [`frame`] | the length prefix, without I/O | nothing |
//! | [`values`] | JSON values between JavaScript and the core | nothing |
//! | [`validate`] | the rules of messages, on raw JSON | serde |
//! | [`reactor`] | readiness, deadlines and wake-ups of one event loop | mio |
//! | [`socket`] | clients and servers | mio |
//! | [`queue`] | the durable queue | rusqlite; `worker` alone tokio |
//! | [`runtime`] | candle states and gap records beside the queue | rusqlite |
//! | [`error`], [`limits`] | every error code; every default and bound | |
//! | `binding` | Node-API; only with the feature `node` | napi |
//!
//! Invariants: `socket` and `queue` do not know each other. Nothing but `binding` knows
//! JavaScript. Nothing here waits for a peer, and nothing that a peer says is believed before it
//! is checked. No panic is used for what input can cause.

pub mod error;
pub mod frame;
pub mod limits;
pub mod queue;
pub mod reactor;
pub mod runtime;
pub mod socket;
pub mod validate;
pub mod values;

#[cfg(feature = "node")]
mod binding;

pub use error::{Code, Error, Result};
