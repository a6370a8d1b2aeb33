//! Bytes on their way to a peer that the kernel did not take at once.
//!
//! The event loop writes them on as the peer reads. It cannot while JavaScript works: a process that
//! makes one long message after the other would send what a socket holds per message, and its peer
//! would wait for the rest. So where much waits a thread writes as well, for as long as the peer
//! goes on reading.
//!
//! ```text
//! event loop: write(frames) ──> waiting ──> write(2) <── the thread, between two polls
//!             flush() ───────────────┘                   of the socket; then it wakes the loop
//! ```
//!
//! Who writes holds the lock, so that the bytes leave in order.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mio::Waker;

use crate::frame;

/// So many bytes that wait are worth a thread: about what a socket holds.
const HELPED_BYTES_MIN: usize = 128 * 1024;

/// Milliseconds that the thread waits for the peer to read something.
const PATIENCE_MS: libc::c_int = 100;

/// Threads of one process at most.
const HELPERS_MAX: usize = 16;

/// The thread calls nothing deep.
const STACK_BYTES: usize = 128 * 1024;

/// Threads of this process that write.
static HELPERS: AtomicUsize = AtomicUsize::new(0);

/// What waits, and what became of the bytes before.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    chunks: VecDeque<Vec<u8>>,
    /// Bytes of the first chunk that the kernel already has.
    first_written: usize,
    /// A place in the first chunk at which a frame begins, or its end.
    first_boundary: usize,
    bytes: usize,
    /// Bytes that the kernel took since the connection was made.
    written: u64,
    /// Why the thread could not write on.
    failure: Option<io::Error>,
    is_helped: bool,
    /// The connection is closed.
    is_over: bool,
}

impl Waiting {
    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes that the kernel took since the connection was made.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Writes what waits and then `bytes`, whole frames, and keeps what the kernel does not take now.
    ///
    /// # Errors
    /// Those of `write(2)`: the peer takes no more.
    pub(super) fn write(&mut self, mut stream: impl Write, mut bytes: &[u8]) -> io::Result<()> {
        // The peer may have read meanwhile. Whoever sends much without a pause comes to the event
        // loop late; the peer should not have to wait for that.
        self.flush(&mut stream)?;
        if self.chunks.is_empty() {
            let taken = write_all(&mut stream, bytes)?;
            self.written += taken as u64;
            self.first_boundary = frame::boundary(bytes, taken) - taken;
            bytes = &bytes[taken..];
        }
        if !bytes.is_empty() {
            self.bytes += bytes.len();
            self.chunks.push_back(bytes.to_vec());
        }
        Ok(())
    }

    /// Puts one short frame before all that wait, except the rest of a frame that was begun. Returns
    /// the number of bytes after which the kernel has it; `None`: nothing waits.
    pub(super) fn insert(&mut self, frame: &[u8]) -> Option<u64> {
        let first = self.chunks.front_mut()?;
        let begun = self.first_written.saturating_sub(self.first_boundary);
        let at = self.first_boundary + frame::boundary(&first[self.first_boundary..], begun);
        first.splice(at..at, frame.iter().copied());
        self.bytes += frame.len();
        Some(self.written + (at - self.first_written + frame.len()) as u64)
    }

    /// Writes what waits, as far as the kernel takes it.
    ///
    /// # Errors
    /// Those of `write(2)`, also of an earlier one by the thread: the peer takes no more.
    pub(super) fn flush(&mut self, mut stream: impl Write) -> io::Result<()> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        while let Some(first) = self.chunks.front() {
            let taken = write_all(&mut stream, &first[self.first_written..])?;
            self.written += taken as u64;
            self.bytes -= taken;
            self.first_written += taken;
            if self.first_written < first.len() {
                break;
            }
            self.chunks.pop_front();
            self.first_written = 0;
            self.first_boundary = 0;
        }
        Ok(())
    }

    /// Whether the thread could not write on.
    pub(super) fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// Forgets what waits.
    pub(super) fn clear(&mut self) {
        self.chunks.clear();
        self.bytes = 0;
        self.first_written = 0;
        self.first_boundary = 0;
    }
}

/// Writes until the kernel takes no more. Returns how much it took.
fn write_all(mut stream: impl Write, bytes: &[u8]) -> io::Result<usize> {
    let mut taken = 0;
    while taken < bytes.len() {
        match stream.write(&bytes[taken..]) {
            Ok(count) => taken += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(taken)
}

/// What one connection has to send. See the module.
#[derive(Debug, Default)]
pub(super) struct Outbound(Arc<Mutex<Waiting>>);

impl Outbound {
    pub(super) fn lock(&self) -> MutexGuard<'_, Waiting> {
        lock(&self.0)
    }

    /// Whether a thread is at work.
    pub(super) fn is_helped(&self) -> bool {
        self.lock().is_helped
    }

    /// Sees to it that a thread helps to write, if so much waits that it is worth one. When the
    /// thread ends, because nothing waits or nothing is read, it uses `waker`.
    ///
    /// Returns whether one is at work. Without it, also where the system has none to give, the event
    /// loop writes on alone.
    pub(super) fn seek_help(&self, stream: impl AsFd, waker: Arc<Waker>) -> bool {
        let mut waiting = self.lock();
        if waiting.is_helped || waiting.bytes < HELPED_BYTES_MIN {
            return waiting.is_helped;
        }
        // A descriptor of its own: that of the event loop may be closed at any time, and its number
        // given to another file.
        let Ok(stream) = stream.as_fd().try_clone_to_owned() else {
            return false;
        };
        let Some(place) = Place::take() else {
            return false;
        };
        let helper = Helper {
            stream: stream.into(),
            waiting: Arc::clone(&self.0),
            waker,
            _place: place,
        };
        waiting.is_helped = std::thread::Builder::new()
            .name("ipc-writer".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || helper.work())
            .is_ok();
        waiting.is_helped
    }
}

impl Drop for Outbound {
    fn drop(&mut self) {
        self.lock().is_over = true;
    }
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    // Nothing in it can be left half-done by a panic.
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One of the [`HELPERS_MAX`] places for threads.
struct Place;

impl Place {
    fn take() -> Option<Self> {
        let taken = HELPERS.fetch_add(1, Ordering::Relaxed);
        let place = Place;
        (taken < HELPERS_MAX).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        HELPERS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the thread has.
struct Helper {
    stream: UnixStream,
    waiting: Arc<Mutex<Waiting>>,
    waker: Arc<Waker>,
    _place: Place,
}

impl Helper {
    fn work(self) {
        loop {
            let has_room = self.await_room();
            let mut waiting = lock(&self.waiting);
            if has_room && !waiting.is_over {
                waiting.failure = waiting.flush(&self.stream).err();
            }
            let goes_on = has_room && waiting.bytes > 0 && waiting.failure.is_none();
            if !goes_on || waiting.is_over {
                waiting.is_helped = false;
                break;
            }
        }
        // A failing wake means that the event loop is gone.
        let _ = self.waker.wake();
    }

    /// Waits until the peer has read something, at most [`PATIENCE_MS`].
    fn await_room(&self) -> bool {
        let mut poll = libc::pollfd {
            fd: self.stream.as_raw_fd(),
            events: libc::POLLOUT,
            revents: 0,
        };
        // SAFETY: one valid `pollfd`.
        unsafe { libc::poll(&raw mut poll, 1, PATIENCE_MS) == 1 }
    }
}

#[cfg(test)]
mod tests {
    use mio::{Events, Poll, Token};

    use super::*;

    /// Two ends of which one does not block, and as much that waits for the other as is worth a thread.
    fn stuck() -> (UnixStream, UnixStream, Outbound) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let outbound = Outbound::default();
        while outbound.lock().bytes() < HELPED_BYTES_MIN {
            let frame = frame::encode(&[b'1'; 100_000]);
            outbound.lock().write(&ours, &frame).unwrap();
        }
        (ours, theirs, outbound)
    }

    // One test, because all of a process share the places.
    #[test]
    fn threads_are_bounded_in_number_and_patience() {
        let mut poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
        let (ours, _theirs, outbound) = stuck();

        let places: Vec<_> = std::iter::from_fn(Place::take).take(99).collect();
        assert_eq!(places.len(), HELPERS_MAX);
        assert!(!outbound.seek_help(&ours, Arc::clone(&waker)));
        drop(places);

        // Nobody reads: it gives up, says so, and leaves everything to the event loop.
        let waits = outbound.lock().bytes();
        assert!(outbound.seek_help(&ours, Arc::clone(&waker)));
        poll.poll(&mut Events::with_capacity(1), None).unwrap();
        assert!(!outbound.is_helped());
        assert_eq!(outbound.lock().bytes(), waits);
        assert!(!outbound.lock().has_failed());
    }

    #[test]
    fn little_that_waits_is_worth_no_thread() {
        let poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let outbound = Outbound::default();
        outbound.lock().chunks.push_back(vec![1]);
        outbound.lock().bytes = HELPED_BYTES_MIN - 1;
        assert!(!outbound.seek_help(&ours, waker));
    }
}
