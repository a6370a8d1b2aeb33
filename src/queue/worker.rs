//! The queue's own thread: SQLite without blocking the caller, and group commit.
//!
//! ```text
//! submit(ticket, request) --> bounded channel --> thread with its own Store
//! take() <-- mailbox <-- completions of a group    |  settlements and extensions first
//!            wake() when it was empty <------------'  all enqueues that wait: one commit
//!                                                     everything else: one by one, in order
//! ```
//!
//! A lease that is to be extended may run out while the request waits. So such requests overtake
//! others, which depend on them in nothing, and a cleanup gives way after every chunk of rows.
//!
//! Every request that was submitted is answered once, whatever happens to the thread's work: a
//! failed commit answers all of its requests, a panic those that it took along.

mod request;
mod work;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use super::upkeep::CleanupProgress;
use super::{Options, Owner, Store};
use crate::error::{Code, Error, Result};
use crate::limits;
pub use request::{Batch, Completion, Refused, Reply, Request};

/// Called when the mailbox is no longer empty, on the worker's thread. It must return soon and
/// not call the worker.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// The handle of the thread. Dropping it discards what waits, and returns at once.
pub struct Worker {
    sender: Option<mpsc::Sender<Envelope>>,
    shared: Arc<Shared>,
}

struct Envelope {
    ticket: u64,
    /// For how many requests it counts: the number of its messages, if it has any.
    weight: usize,
    bytes: usize,
    request: Request,
    /// How far a cleanup has come in earlier turns.
    progress: CleanupProgress,
}

struct Shared {
    mailbox: Mutex<Vec<Completion>>,
    /// Taken away when nobody wants to be woken any more. Held during the call, so that no call
    /// is under way once it was taken away.
    wake: Mutex<Option<Wake>>,
    /// Requests that were not answered, by their weight.
    pending: AtomicUsize,
    pending_bytes: AtomicUsize,
    /// Requests that were not begun are answered with `QueueClosed`, but for settlements: what was
    /// handled is recorded if it can be, or it would be delivered again.
    discard: AtomicBool,
    finished: Mutex<bool>,
    /// Rung when the thread has ended, and after every answer.
    finish: Condvar,
}

impl Worker {
    /// Starts the thread. It opens the file with the first request; should that fail, the
    /// requests of that moment get the error, and later ones try again.
    ///
    /// `options.path` is the [`Store::path`] of an open store: the path that a user gave may lead
    /// elsewhere by now. See [`Store::reopen`].
    ///
    /// `options.busy_timeout_ms` is replaced by [`limits::WORKER_BUSY_TIMEOUT_MS`]: here waiting
    /// blocks nobody. Claims belong to `owner`, who may outlive the worker.
    ///
    /// # Errors
    /// `EAGAIN` and the like when no thread can be started.
    pub fn start(options: Options, owner: Arc<Owner>, wake: Wake) -> Result<Self> {
        Self::spawn(
            Options {
                busy_timeout_ms: limits::WORKER_BUSY_TIMEOUT_MS,
                ..options
            },
            owner,
            wake,
        )
    }

    fn spawn(options: Options, owner: Arc<Owner>, wake: Wake) -> Result<Self> {
        let shared = Arc::new(Shared {
            mailbox: Mutex::default(),
            wake: Mutex::new(Some(wake)),
            pending: AtomicUsize::new(0),
            pending_bytes: AtomicUsize::new(0),
            discard: AtomicBool::new(false),
            finished: Mutex::new(false),
            finish: Condvar::new(),
        });
        let (sender, receiver) = mpsc::channel(limits::PENDING_REQUESTS_MAX);
        let thread = Thread {
            store: None,
            options,
            owner,
            shared: Arc::clone(&shared),
        };
        std::thread::Builder::new()
            .name("ipc-queue".to_owned())
            .spawn(move || thread.serve(receiver))
            .map_err(|error| Error::system("pthread_create", None, error))?;
        Ok(Worker {
            sender: Some(sender),
            shared,
        })
    }

    /// Hands a request over, without waiting. Its outcome arrives under `ticket`.
    ///
    /// # Errors
    /// `QueueFull` when too many requests wait ([`limits::PENDING_REQUESTS_MAX`]) or too many
    /// bytes of messages ([`limits::PENDING_BYTES_MAX`]; a request that is larger by itself is
    /// taken when nothing else waits); `QueueClosed` after [`Worker::close`]. Then nothing arrives.
    pub fn submit(&self, ticket: u64, request: Request) -> Result<()> {
        let Some(sender) = &self.sender else {
            return Err(closed());
        };
        let (weight, bytes) = (request.weight(), request.bytes());
        // Only new messages are refused for their number or size: settling those that are there
        // makes room.
        let grows = matches!(request, Request::Enqueue(_));
        let shared = &self.shared;
        let waiting = shared.pending.fetch_add(weight, Ordering::AcqRel);
        let before = shared.pending_bytes.fetch_add(bytes, Ordering::AcqRel);
        let max = limits::PENDING_BYTES_MAX as usize;
        let outcome = if grows && before > 0 && before + bytes > max {
            Err(full(format!(
                "{before} bytes wait for the queue's worker; with {bytes} more it would be over \
                 the limit of {max}."
            )))
        } else if grows && waiting > 0 && waiting + weight > limits::PENDING_REQUESTS_MAX {
            Err(too_many(waiting))
        } else {
            sender
                .try_send(Envelope {
                    ticket,
                    weight,
                    bytes,
                    request,
                    progress: CleanupProgress::default(),
                })
                .map_err(|error| match error {
                    mpsc::error::TrySendError::Full(_) => too_many(waiting),
                    mpsc::error::TrySendError::Closed(_) => {
                        Error::rule(Code::Internal, "The queue's worker has ended unexpectedly.")
                    }
                })
        };
        if outcome.is_err() {
            shared.pending.fetch_sub(weight, Ordering::AcqRel);
            shared.pending_bytes.fetch_sub(bytes, Ordering::AcqRel);
        }
        outcome
    }

    /// Takes the completions that have arrived, in the order of their commits.
    pub fn take(&self) -> Vec<Completion> {
        std::mem::take(&mut *lock(&self.shared.mailbox))
    }

    /// Waits until everything that was submitted is done, at most [`limits::DEADLINE_MS`]: then
    /// the thread holds no lock of the file.
    pub fn finish(&self) {
        let is_busy =
            |finished: &mut bool| !*finished && self.shared.pending.load(Ordering::Acquire) > 0;
        self.wait_while(is_busy);
    }

    fn wait_while(&self, condition: impl FnMut(&mut bool) -> bool) {
        let deadline = Duration::from_millis(u64::from(limits::DEADLINE_MS));
        let finished = lock(&self.shared.finished);
        // Whether it took too long shows elsewhere: in the file, or in the mailbox.
        let _ = self
            .shared
            .finish
            .wait_timeout_while(finished, deadline, condition);
    }

    /// Ends the worker; it takes no requests from now on.
    ///
    /// With `flush` this blocks until everything that was submitted is done, at most
    /// [`limits::DEADLINE_MS`]. What was not begun by then, or without `flush` by now, is
    /// answered with `QueueClosed`, except settlements, which are still tried. Call [`Worker::take`] afterwards, and when woken.
    pub fn close(&mut self, flush: bool) {
        self.sender = None;
        if flush {
            self.wait_while(|finished| !*finished);
        }
        self.shared.discard.store(true, Ordering::Release);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.sender = None;
        self.shared.discard.store(true, Ordering::Release);
        *lock(&self.shared.wake) = None;
    }
}

impl Shared {
    /// Delivers completions, and rings if the mailbox was empty.
    fn deliver(&self, completions: impl IntoIterator<Item = Completion>) {
        let mut mailbox = lock(&self.mailbox);
        let was_empty = mailbox.is_empty();
        mailbox.extend(completions);
        let ring = was_empty && !mailbox.is_empty();
        drop(mailbox);
        if ring && let Some(wake) = &*lock(&self.wake) {
            wake();
        }
    }
}

/// Nothing that is held under these locks can be left half-done by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn closed() -> Error {
    Error::rule(Code::QueueClosed, "The queue is closed.")
}

fn too_many(waiting: usize) -> Error {
    full(format!(
        "{waiting} requests wait for the queue's worker; the limit is {}.",
        limits::PENDING_REQUESTS_MAX
    ))
}

fn full(text: String) -> Error {
    Error::rule(Code::QueueFull, text)
}

/// What lives on the thread.
struct Thread {
    store: Option<Store>,
    options: Options,
    owner: Arc<Owner>,
    shared: Arc<Shared>,
}

impl Thread {
    fn serve(mut self, mut receiver: mpsc::Receiver<Envelope>) {
        let mut received = Vec::new();
        // Cleanups that have more to delete.
        let mut unfinished: Vec<Envelope> = Vec::new();
        loop {
            if unfinished.is_empty() {
                if receiver.blocking_recv_many(&mut received, limits::GROUP_REQUESTS_MAX) == 0 {
                    break;
                }
            } else {
                while received.len() < limits::GROUP_REQUESTS_MAX
                    && let Ok(envelope) = receiver.try_recv()
                {
                    received.push(envelope);
                }
            }
            // Stable: among themselves both kinds keep their order.
            received.sort_by_key(|envelope| !envelope.request.is_urgent());
            let mut waiting: VecDeque<Envelope> = received
                .drain(..)
                .chain(std::mem::take(&mut unfinished))
                .collect();
            while let Some(group) = next_group(&mut waiting) {
                unfinished.extend(self.answer(group));
            }
        }
        if let Some(mut store) = self.store.take() {
            // Every commit has been answered; what remains is tidiness. Claims that cannot be
            // given back now end with their lease.
            let _ = catch_unwind(AssertUnwindSafe(|| {
                let _ = store.release_all(&self.owner);
                store.close()
            }));
        }
        *lock(&self.shared.finished) = true;
        self.shared.finish.notify_all();
    }

    /// Works on one group, and answers each of its requests but a cleanup that it returns,
    /// because it has more to delete.
    fn answer(&mut self, mut group: Vec<Envelope>) -> Option<Envelope> {
        let results: Vec<Result<Reply>> = if let [envelope] = group.as_mut_slice()
            && let Request::Cleanup { retention_hours } = envelope.request
        {
            let progress = &mut envelope.progress;
            let step = |store: &mut Store, _: &Owner| store.cleanup_step(retention_hours, progress);
            match self.with_store(true, step) {
                Ok(()) if !envelope.progress.is_done() => return group.pop(),
                Ok(()) => vec![Ok(Reply::Cleaned(envelope.progress.deleted))],
                Err(error) => vec![Err(error)],
            }
        } else {
            let work = |store: &mut Store, owner: &Owner| Ok(work::work(store, &group, owner));
            let may_discard = !matches!(
                group[..],
                [Envelope {
                    request: Request::Settle(_),
                    ..
                }]
            );
            match self.with_store(may_discard, work) {
                Ok(results) => results,
                Err(error) => group.iter().map(|_| Err(work::repeat(&error))).collect(),
            }
        };
        let is_moved = |result: &Result<Reply>| matches!(result, Err(error) if error.is_moved());
        if results.iter().any(is_moved) {
            // The next request looks whether there is another file by then.
            self.store = None;
        }
        let weight: usize = group.iter().map(|envelope| envelope.weight).sum();
        let bytes: usize = group.iter().map(|envelope| envelope.bytes).sum();
        self.shared.pending.fetch_sub(weight, Ordering::AcqRel);
        self.shared.pending_bytes.fetch_sub(bytes, Ordering::AcqRel);
        let completions = group
            .iter()
            .map(|envelope| envelope.ticket)
            .zip(results)
            .map(|(ticket, result)| Completion { ticket, result });
        self.shared.deliver(completions);
        // Under the lock, so that nobody who has just looked misses it.
        drop(lock(&self.shared.finished));
        self.shared.finish.notify_all();
        None
    }

    /// Runs `work` on the store, which is opened if it is not.
    ///
    /// # Errors
    /// `QueueClosed` when nobody wants the work any more and it may be left undone; those of opening; `Internal` after a
    /// panic; those of `work`.
    fn with_store<T>(
        &mut self,
        may_discard: bool,
        work: impl FnOnce(&mut Store, &Owner) -> Result<T>,
    ) -> Result<T> {
        if may_discard && self.shared.discard.load(Ordering::Acquire) {
            return Err(closed());
        }
        let guarded = AssertUnwindSafe(|| {
            let store = match self.store.take() {
                Some(store) => store,
                None => Store::reopen(&self.options)?,
            };
            work(self.store.insert(store), &self.owner)
        });
        catch_unwind(guarded).unwrap_or_else(|_| {
            // It is not used again after a panic, whatever state it was left in.
            self.store = None;
            let text = "The queue's worker failed; whether the request took effect is unknown.";
            Err(Error::rule(Code::Internal, text))
        })
    }
}

/// Requests that share a commit: enqueues up to the next other request, within the limits of one
/// commit, or handled ids likewise; else one request alone.
fn next_group(waiting: &mut VecDeque<Envelope>) -> Option<Vec<Envelope>> {
    let first = waiting.front()?.request.shares();
    let (mut count, mut weight, mut bytes) = (0, 0, 0);
    for envelope in waiting.iter() {
        weight += envelope.weight;
        bytes += envelope.bytes;
        let fits = weight <= limits::GROUP_REQUESTS_MAX && bytes <= limits::GROUP_BYTES_MAX;
        let joins = first.is_some() && envelope.request.shares() == first;
        if count > 0 && !(joins && fits) {
            break;
        }
        count += 1;
    }
    Some(waiting.drain(..count).collect())
}

#[cfg(test)]
mod tests;
