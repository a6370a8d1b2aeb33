//! What a worker can be asked, and what it answers.

use std::borrow::Cow;

use crate::error::{Error, Result};
use crate::queue::Idempotence;
use crate::queue::claim::{ClaimedPackage, Settled, Settlement};
use crate::queue::message::Records;
use crate::validate::Dialect;

/// Work for the worker.
#[derive(Debug, Clone)]
pub enum Request {
    /// Store messages, each by itself; answered once they are committed. The text is read on the
    /// worker's thread.
    Enqueue(Batch),
    /// See [`Store::claim_package`].
    Claim {
        /// Messages at most.
        limit: u32,
        /// Length of the lease, in milliseconds.
        lease_ms: u64,
        /// See [`Terms::attempts_max`].
        attempts_max: u32,
        /// See [`Terms::alone`].
        alone: bool,
        /// See [`Terms::least_tried`].
        least_tried: bool,
        /// See [`Store::forget_shapes`].
        forget_shapes: bool,
    },
    /// See [`Store::settle`].
    Settle(Settlement),
    /// See [`Store::extend`].
    Extend {
        /// The claims, as `(id, token)`.
        claims: Vec<(String, i64)>,
        /// Length of the lease from now, in milliseconds.
        lease_ms: u64,
    },
    /// See [`Store::mark_handled`], and with `remember` [`Store::remember_handled`].
    Handled {
        /// Of the messages.
        ids: Vec<String>,
        /// Whether to remember the ids.
        remember: bool,
    },
    /// See [`Store::release_all`].
    Release,
    /// See [`Store::cleanup`].
    Cleanup {
        /// Hours that processed messages stay.
        retention_hours: f64,
    },
    /// A fault, to see that it is survived.
    #[cfg(test)]
    Panic,
}

/// Requests that share a commit with others of the kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Commit {
    Enqueue,
    Handled { remember: bool },
}

/// Messages that arrive together.
#[derive(Debug, Clone)]
pub struct Batch {
    /// What is to be stored.
    pub messages: Records,
    /// What counts as stored already.
    pub idempotence: Idempotence,
    /// Whether they have to satisfy the schema too, as this zod judges.
    pub validate: Option<Dialect>,
}

impl Request {
    /// Whether claims may be lost while it waits. It concerns claims that were answered before,
    /// so that no request that still waits has a part in it.
    pub(super) fn is_urgent(&self) -> bool {
        matches!(self, Request::Settle(_) | Request::Extend { .. })
    }

    /// With which requests it shares a commit, if with any.
    pub(super) fn shares(&self) -> Option<Commit> {
        match self {
            Request::Enqueue(_) => Some(Commit::Enqueue),
            Request::Handled { remember, .. } => Some(Commit::Handled {
                remember: *remember,
            }),
            _ => None,
        }
    }

    /// For how many requests it counts.
    pub(super) fn weight(&self) -> usize {
        match self {
            Request::Enqueue(batch) => batch.messages.len().max(1),
            _ => 1,
        }
    }

    /// Bytes of memory that the request pins while it waits, without its fixed part.
    pub(super) fn bytes(&self) -> usize {
        let claims = |claims: &[(String, i64)]| claims.iter().map(|(id, _)| id.len() + 32).sum();
        match self {
            Request::Enqueue(batch) => batch.messages.bytes(),
            Request::Handled { ids, .. } => ids.iter().map(|id| id.len() + 24).sum(),
            Request::Settle(settlement) => {
                let failures: usize = settlement
                    .fail
                    .iter()
                    .map(|f| f.id.len() + f.error.len() + 80)
                    .sum();
                let (complete, release): (usize, usize) =
                    (claims(&settlement.complete), claims(&settlement.release));
                complete + failures + release
            }
            Request::Extend { claims: held, .. } => claims(held),
            _ => 0,
        }
    }
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// [`Request::Enqueue`]: committed, but for these.
    Enqueued(Vec<Refused>),
    /// [`Request::Claim`].
    Claimed(ClaimedPackage),
    /// [`Request::Settle`].
    Settled(Settled),
    /// [`Request::Extend`]: whether each claim is still held.
    Extended(Vec<bool>),
    /// [`Request::Handled`].
    Handled,
    /// [`Request::Release`].
    Released,
    /// [`Request::Cleanup`]: how many messages were deleted.
    Cleaned(u64),
}

/// A message of a batch that was not stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its place in the batch.
    pub place: usize,
    /// See [`Error::code`].
    pub code: Cow<'static, str>,
    /// Why, for people.
    pub text: String,
}

impl Refused {
    pub(super) fn new(place: usize, error: &Error) -> Self {
        Refused {
            place,
            code: error.code(),
            text: error.to_string(),
        }
    }
}

/// The outcome of one request.
#[derive(Debug)]
pub struct Completion {
    /// The number that the request was submitted with.
    pub ticket: u64,
    /// Its answer.
    pub result: Result<Reply>,
}
