//! One open queue. Methods that end in `later` run on the queue's worker thread; their results
//! come through the dispatcher. Batches cross the boundary in one piece: messages as notes (`src/values/mod.rs`),
//! everything else as a JSON text.

use std::rc::Rc;
use std::sync::Arc;

use napi::bindgen_prelude::*;
use napi::{JsString, JsValue};
use napi_derive::napi;
use serde_json::json;

use super::answers::{from_json, settled_json, settlement, unlimited};
use super::errors::{self, exception};
use super::event_loop::EventLoop;
use super::hub::NativeHub;
use super::messages::print_records;
use super::runtime::Opened;
use super::text::read_utf8;
use crate::error::{Code, Error};
use crate::queue::{
    Batch, Doorbell, Durability, FailOutcome, Failure, Idempotence, NewMessage, Options, Owner,
    Records, Request, Selection, Store, Terms, Worker,
};
use crate::reactor::Key;
use crate::validate::{self, Dialect};

/// How the caller's zod judges the numbers on which its versions differ.
#[napi(object)]
pub struct NativeDialect {
    pub infinity_is_number: bool,
    pub safe_integers: bool,
}

impl From<NativeDialect> for Dialect {
    fn from(dialect: NativeDialect) -> Self {
        Dialect {
            infinity_is_number: dialect.infinity_is_number,
            safe_integers: dialect.safe_integers,
        }
    }
}

/// Options of `NativeQueue`.
#[napi(object)]
pub struct NativeQueueOptions {
    pub path: String,
    pub full_durability: bool,
    pub busy_timeout_ms: Option<u32>,
    pub validate: Option<NativeDialect>,
    /// Whether the file is a runtime database: states and gaps beside the queue.
    pub runtime: bool,
}

/// An open queue.
#[napi]
pub struct NativeQueue {
    event_loop: Rc<EventLoop>,
    key: Key,
    options: Options,
    owner: Arc<Owner>,
    validate: Option<Dialect>,
    /// `None` once closed.
    pub(super) store: Option<Opened>,
    pub(super) scratch: Vec<u8>,
}

#[napi]
impl NativeQueue {
    #[napi(constructor, catch_unwind)]
    pub fn new(hub: &NativeHub, options: NativeQueueOptions) -> errors::Result<Self> {
        let event_loop = hub.event_loop();
        let durability = if options.full_durability {
            Durability::Full
        } else {
            Durability::Normal
        };
        let defaults = Options::new(&options.path);
        let busy_timeout_ms = options.busy_timeout_ms.unwrap_or(defaults.busy_timeout_ms);
        let opened = Options {
            durability,
            busy_timeout_ms,
            ..defaults
        };
        let mut store = Opened::open(&opened, options.runtime).map_err(exception)?;
        // For the worker: by then the working directory or a link may lead elsewhere.
        let opened = Options {
            path: store.queue().path().to_owned(),
            ..opened
        };
        let key = event_loop.with_hub(|hub| hub.reactor().new_key())?;
        Ok(NativeQueue {
            event_loop,
            key,
            options: opened,
            owner: Arc::new(Owner::new()),
            validate: options.validate.map(Dialect::from),
            store: Some(store),
            scratch: Vec::new(),
        })
    }

    /// What events of this queue are addressed to.
    #[napi(getter)]
    pub fn key(&self) -> f64 {
        self.key.to_number()
    }

    #[napi(catch_unwind)]
    pub fn enqueue(
        &mut self,
        env: Env,
        id: String,
        kind: String,
        payload: JsString<'_>,
        timestamp: f64,
        idempotent: bool,
    ) -> errors::Result<()> {
        read_utf8(env.raw(), payload.raw(), &mut self.scratch)?;
        let store = self.store.as_mut().ok_or_else(closed)?.queue();
        let payload = utf8(&self.scratch)?;
        let message = NewMessage::new(id, kind, payload, timestamp).map_err(exception)?;
        match idempotent {
            true => store.enqueue_idempotent(&message),
            false => store.enqueue(&message),
        }
        .map_err(exception)
    }

    /// All or none; returns how many. The messages come as in `NativeHub.writeValues`.
    #[napi(catch_unwind)]
    pub fn enqueue_many(
        &mut self,
        bytes: &[u8],
        begin: u32,
        end: u32,
        shapes_begin: u32,
        shapes_end: u32,
        idempotent: bool,
    ) -> errors::Result<u32> {
        let records = print_records(bytes, begin..end, shapes_begin..shapes_end)?;
        let store = self.store.as_mut().ok_or_else(closed)?.queue();
        if let Some(dialect) = self.validate {
            for (index, record) in records.iter().enumerate() {
                check(record, dialect, index)?;
            }
        }
        let messages = records.messages().map_err(exception)?;
        match idempotent {
            true => store.enqueue_many_idempotent(&messages),
            false => store.enqueue_many(&messages),
        }
        .map_err(exception)?;
        Ok(messages.len() as u32)
    }

    /// Stores messages, each by itself, in one commit. Answers `[[place, code, text], …]` for those
    /// that were refused.
    #[allow(
        clippy::too_many_arguments,
        reason = "an object would be read property by property"
    )]
    #[napi(catch_unwind)]
    pub fn enqueue_later(
        &mut self,
        ticket: f64,
        bytes: &[u8],
        begin: u32,
        end: u32,
        shapes_begin: u32,
        shapes_end: u32,
        idempotent: bool,
    ) -> errors::Result<()> {
        let idempotence = match idempotent {
            true => Idempotence::Message,
            false => Idempotence::None,
        };
        self.submit_records(
            ticket,
            print_records(bytes, begin..end, shapes_begin..shapes_end)?,
            idempotence,
        )
    }

    /// Answers a package, see [`crate::values::Package`].
    #[napi(catch_unwind)]
    pub fn dequeue(&mut self, env: Env, limit: u32) -> errors::Result<Unknown<'static>> {
        let package = self.store()?.dequeue_package(limit).map_err(exception)?;
        self.hand_over(env, &package)
    }

    /// Has the next package define all its shapes anew.
    #[napi(catch_unwind)]
    pub fn forget_shapes(&mut self) -> errors::Result<()> {
        self.store()?.forget_shapes();
        Ok(())
    }

    #[napi(catch_unwind)]
    pub fn mark_processed(&mut self, id: String) -> errors::Result<()> {
        self.store()?
            .mark_processed(&id)
            .map(drop)
            .map_err(exception)
    }

    #[napi(catch_unwind)]
    pub fn mark_processed_many(&mut self, ids: Vec<String>) -> errors::Result<f64> {
        let marked = self.store()?.mark_processed_many(&ids).map_err(exception)?;
        Ok(marked as f64)
    }

    #[napi(catch_unwind)]
    pub fn cleanup(&mut self, retention_hours: f64) -> errors::Result<f64> {
        let deleted = self.store()?.cleanup(retention_hours).map_err(exception)?;
        Ok(deleted as f64)
    }

    /// `[{ message, token, attempt }, …]` as a package; no attempts mean no limit. `name` stands beside the
    /// claims, for people. A suspected message is claimed by itself. `least_tried`: those come first of
    /// which the fewest deliveries were begun.
    #[napi(catch_unwind)]
    pub fn claim(
        &mut self,
        env: Env,
        limit: u32,
        lease_ms: u32,
        attempts_max: u32,
        name: Option<String>,
        least_tried: Option<bool>,
    ) -> errors::Result<Unknown<'static>> {
        let owner = Arc::clone(&self.owner);
        let named = name.map(|name| owner.named(&name));
        let owner = named.as_ref().unwrap_or(&owner);
        let terms = Terms {
            lease_ms: lease_ms.into(),
            attempts_max,
            owner,
            alone: true,
            least_tried: least_tried.unwrap_or_default(),
        };
        let store = self.store()?;
        let claimed = store.claim_package(limit, &terms).map_err(exception)?;
        self.hand_over(env, &claimed.bytes)
    }

    #[napi(catch_unwind)]
    pub fn complete(&mut self, id: String, token: i64) -> errors::Result<bool> {
        let held = self.store()?.complete(&[(id, token)]).map_err(exception)?;
        Ok(held.first().copied().unwrap_or_default())
    }

    /// `{ outcome: 'retry' | 'dead' | 'stale', retryInMs? }`; no attempts mean no limit.
    #[napi(catch_unwind)]
    pub fn fail(
        &mut self,
        id: String,
        token: i64,
        error: String,
        attempts_max: u32,
        retry_delay_ms: u32,
        retry_delay_ms_max: u32,
    ) -> errors::Result<String> {
        let failure = Failure {
            id,
            token,
            error,
            attempts_max: unlimited(attempts_max),
            retry_base_ms: retry_delay_ms.into(),
            retry_max_ms: retry_delay_ms_max.into(),
        };
        let outcomes = self.store()?.fail(&[failure]).map_err(exception)?;
        let outcome = match outcomes.first() {
            Some(FailOutcome::Retry { delay_ms }) => {
                json!({ "outcome": "retry", "retryInMs": delay_ms })
            }
            Some(FailOutcome::Dead) => json!({ "outcome": "dead" }),
            Some(FailOutcome::Stale) | None => json!({ "outcome": "stale" }),
        };
        Ok(outcome.to_string())
    }

    #[napi(catch_unwind)]
    pub fn release(&mut self, id: String, token: i64) -> errors::Result<bool> {
        let held = self.store()?.release(&[(id, token)]).map_err(exception)?;
        Ok(held.first().copied().unwrap_or_default())
    }

    #[napi(catch_unwind)]
    pub fn extend(&mut self, id: String, token: i64, lease_ms: u32) -> errors::Result<bool> {
        let held = self
            .store()?
            .extend(&[(id, token)], lease_ms.into())
            .map_err(exception)?;
        Ok(held.first().copied().unwrap_or_default())
    }

    /// See [`Store::dead_letters`].
    #[napi(catch_unwind)]
    pub fn dead_letters(&mut self, limit: u32, offset: u32) -> errors::Result<String> {
        self.store()?.dead_letters(limit, offset).map_err(exception)
    }

    #[napi(catch_unwind)]
    pub fn redrive(&mut self, ids: Option<Vec<String>>) -> errors::Result<f64> {
        let revived = self
            .store()?
            .redrive(selection(ids.as_deref()))
            .map_err(exception)?;
        Ok(revived as f64)
    }

    #[napi(catch_unwind)]
    pub fn purge_dead(&mut self, ids: Option<Vec<String>>) -> errors::Result<f64> {
        let deleted = self
            .store()?
            .purge_dead(selection(ids.as_deref()))
            .map_err(exception)?;
        Ok(deleted as f64)
    }

    /// The counters as JSON, in the form of `QueueStats` in `ts/queue.ts`.
    #[napi(catch_unwind)]
    pub fn stats(&mut self, exact: bool) -> errors::Result<String> {
        let store = self.store()?;
        let stats = match exact {
            true => store.exact_stats(),
            false => store.stats(),
        }
        .map_err(exception)?;
        let counters = json!({
            "pending": stats.pending,
            "claimed": stats.claimed,
            "waiting": stats.waiting,
            "processed": stats.processed,
            "dead": stats.dead,
            "exact": stats.exact,
            "oldestPending": stats.oldest_timestamp,
            "fileBytes": stats.file_bytes,
            "freeBytes": stats.free_bytes,
            "walBytes": stats.wal_bytes,
        });
        Ok(counters.to_string())
    }

    #[napi(catch_unwind)]
    pub fn compact(&mut self) -> errors::Result<()> {
        self.store()?.compact().map_err(exception)
    }

    /// `Claimed` brings the answer, whose shapes are numbered apart from those of the other packages;
    /// `forget_shapes` has them defined anew. Whether a suspected message may be claimed is what `alone` says.
    #[allow(
        clippy::too_many_arguments,
        reason = "an object would be read property by property"
    )]
    #[napi(catch_unwind)]
    pub fn claim_later(
        &mut self,
        ticket: f64,
        limit: u32,
        lease_ms: u32,
        attempts_max: u32,
        alone: bool,
        least_tried: bool,
        forget_shapes: bool,
    ) -> errors::Result<()> {
        self.event_loop.sources().borrow_mut().of(self.key).hush();
        self.submit(
            ticket as u64,
            Request::Claim {
                limit,
                lease_ms: lease_ms.into(),
                attempts_max,
                alone,
                least_tried,
                forget_shapes,
            },
        )
    }

    #[napi(catch_unwind)]
    pub fn settle_later(&mut self, ticket: f64, request: String) -> errors::Result<()> {
        let settlement = settlement(&request)?;
        self.submit(ticket as u64, Request::Settle(settlement))
    }

    /// As `settleLater`, now; returns its answer.
    #[napi(catch_unwind)]
    pub fn settle(&mut self, request: String) -> errors::Result<String> {
        let settlement = settlement(&request)?;
        let settled = self.store()?.settle(&settlement).map_err(exception)?;
        Ok(settled_json(&settled))
    }

    #[napi(catch_unwind)]
    pub fn extend_later(
        &mut self,
        ticket: f64,
        claims: String,
        lease_ms: u32,
    ) -> errors::Result<()> {
        let claims = from_json(&claims)?;
        self.submit(
            ticket as u64,
            Request::Extend {
                claims,
                lease_ms: lease_ms.into(),
            },
        )
    }

    #[napi(catch_unwind)]
    pub fn cleanup_later(&mut self, ticket: f64, retention_hours: f64) -> errors::Result<()> {
        self.submit(ticket as u64, Request::Cleanup { retention_hours })
    }

    /// Whether writes of any process are told from now on.
    #[napi(catch_unwind)]
    pub fn watch(&mut self, on: bool) -> errors::Result<bool> {
        // No notice is no failure: the poller has its interval.
        let bell = if on {
            Doorbell::watch(&self.store()?.wal_path()).ok().flatten()
        } else {
            None
        };
        let key = self.key;
        let event_loop = Rc::clone(&self.event_loop);
        event_loop.with_hub(|hub| {
            let mut sources = event_loop.sources().borrow_mut();
            let queue = sources.of(key);
            match bell {
                Some(bell) => {
                    queue.watch(bell, hub.reactor());
                    true
                }
                None => {
                    queue.unwatch(hub.reactor());
                    false
                }
            }
        })
    }

    /// Gives back every claim that this queue holds.
    #[napi(catch_unwind)]
    pub fn release_all_later(&mut self, ticket: f64) -> errors::Result<()> {
        self.submit(ticket as u64, Request::Release)
    }

    /// Closes the file. With `wait` this first finishes what the worker was asked, see
    /// [`Worker::close`]; without, the worker finishes what it has begun and gives the claims back,
    /// in its own time. Results of it may still follow; `forget` ends that.
    #[napi(catch_unwind)]
    pub fn close(&mut self, wait: bool) -> errors::Result<()> {
        let Some(mut store) = self.store.take() else {
            return Ok(());
        };
        let key = self.key;
        let event_loop = Rc::clone(&self.event_loop);
        let stopped = event_loop.with_hub(|hub| {
            let mut sources = event_loop.sources().borrow_mut();
            let queue = sources.of(key);
            queue.unwatch(hub.reactor());
            let Some(worker) = &mut queue.worker else {
                return false;
            };
            worker.close(wait);
            !wait
        });
        let is_left_to_worker = *stopped.as_ref().unwrap_or(&false);
        if !is_left_to_worker {
            // Claims that cannot be given back now end with their lease.
            let _ = store.queue().release_all(&self.owner);
        }
        store.close().map_err(exception)?;
        stopped.map(drop)
    }

    /// Nobody waits for results any more.
    #[napi(catch_unwind)]
    pub fn forget(&self) -> errors::Result<()> {
        let key = self.key;
        self.event_loop.with_hub(|hub| {
            self.event_loop
                .sources()
                .borrow_mut()
                .remove(key, hub.reactor());
        })
    }

    pub(super) fn submit_records(
        &self,
        ticket: f64,
        messages: Records,
        idempotence: Idempotence,
    ) -> errors::Result<()> {
        let batch = Batch {
            messages,
            idempotence,
            validate: self.validate,
        };
        self.submit(ticket as u64, Request::Enqueue(batch))
    }

    /// Waits for the worker, if there is one; see [`Worker::finish`].
    pub(super) fn finish(&self) -> errors::Result<()> {
        self.event_loop.with_hub(|_| {
            if let Some(worker) = &self.event_loop.sources().borrow_mut().of(self.key).worker {
                worker.finish();
            }
        })
    }

    pub(super) fn store(&mut self) -> errors::Result<&mut Store> {
        self.store.as_mut().map(Opened::queue).ok_or_else(closed)
    }

    /// An `ArrayBuffer` with the package, which JavaScript reads at once.
    fn hand_over(&self, env: Env, package: &[u8]) -> errors::Result<Unknown<'static>> {
        let mut inbox = self.event_loop.inbox().borrow_mut();
        inbox.clear();
        let (buffer, _) = inbox.put(env.raw(), package)?;
        // SAFETY: the buffer belongs to this environment.
        Ok(unsafe { Unknown::from_raw_unchecked(env.raw(), buffer) })
    }

    /// Hands a request to the worker, which is started if there is none.
    pub(super) fn submit(&self, ticket: u64, request: Request) -> errors::Result<()> {
        if self.store.is_none() {
            return Err(closed());
        }
        let waker = self.event_loop.with_hub(|hub| hub.reactor().waker())?;
        let mut sources = self.event_loop.sources().borrow_mut();
        let queue = sources.of(self.key);
        let worker = match &mut queue.worker {
            Some(worker) => worker,
            none => {
                // A failing wake means that the reactor is gone, and with it whoever waits.
                let wake = Arc::new(move || drop(waker.wake()));
                let worker = Worker::start(self.options.clone(), Arc::clone(&self.owner), wake)
                    .map_err(exception)?;
                none.insert(worker)
            }
        };
        worker.submit(ticket, request).map_err(exception)
    }
}

/// A worker thread of JavaScript that is terminated closes nothing.
impl Drop for NativeQueue {
    fn drop(&mut self) {
        if let Some(mut store) = self.store.take() {
            let _ = store.queue().release_all(&self.owner);
        }
    }
}

fn selection(ids: Option<&[String]>) -> Selection<'_> {
    ids.map_or(Selection::All, Selection::Ids)
}

pub(super) fn closed() -> napi::Error<String> {
    exception(Error::rule(Code::QueueClosed, "The queue is closed"))
}

pub(super) fn utf8(bytes: &[u8]) -> errors::Result<&str> {
    std::str::from_utf8(bytes)
        .map_err(|error| exception(Error::rule(Code::Internal, error.to_string())))
}

fn check(record: &str, dialect: Dialect, index: usize) -> errors::Result<()> {
    validate::validate_json(&validate::QUEUE_MESSAGE, record.as_bytes(), dialect).map_err(
        |refusal| {
            exception(Error::rule(
                Code::InvalidMessage,
                format!("message {index}: {}", Error::from(refusal)),
            ))
        },
    )
}
