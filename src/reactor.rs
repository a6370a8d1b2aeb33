//! Readiness, timers and wake-ups of one event loop, with no thread of its own.
//!
//! The owner (the binding, or a test) waits until [`Reactor::as_raw_fd`] is readable or
//! [`Reactor::next_deadline`] has passed, then calls [`Reactor::poll`]. All sources are
//! edge-triggered: whoever is told that a source is ready has to use it until it would block.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mio::event::{Event, Source};
use mio::{Events, Interest, Poll, Token, Waker};

/// Names a source, a timer or both. Never used twice in the life of a process, so that a late
/// event or call can only miss its target, not hit another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(u64);

impl Key {
    /// The key as the number that crosses the language boundary; exact in a double below 2^53.
    pub fn to_number(self) -> f64 {
        self.0 as f64
    }

    /// The key behind a number from the other side. Anything that was not a key finds nothing.
    pub fn from_number(number: f64) -> Self {
        Key(number as u64)
    }
}

/// A map by key. Its hash is quick and guards against nothing: no peer can choose a key.
pub type KeyMap<Value> = HashMap<Key, Value, BuildHasherDefault<KeyHasher>>;
/// A set of keys; see [`KeyMap`].
pub type KeySet = HashSet<Key, BuildHasherDefault<KeyHasher>>;

/// The hash of [`KeyMap`].
#[derive(Debug, Clone, Copy, Default)]
pub struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    /// Multiplies by the golden ratio: keys follow each other, their hashes then lie far apart,
    /// both in the low bits, which choose the place in a map, and in the high ones.
    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Something that happened since the last poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// The source may be used again, or has ended.
    Ready(Key),
    /// Something can be read from the source, which has not ended. For a stream this means that a
    /// read which does not fill its buffer has emptied it: whatever comes or happens later is
    /// signalled anew. Linux alone promises that (see epoll(7), question 9), so that elsewhere
    /// this is a [`Signal::Ready`].
    Readable(Key),
    /// The source takes bytes again, and there is nothing to be read.
    Writable(Key),
    /// The deadline set with [`Reactor::set_deadline`] has passed.
    Deadline(Key),
    /// Somebody used the [`Reactor::waker`].
    Woken,
}

const WAKER: Token = Token(0);
/// Events taken from the kernel at once. More stay there until the next poll.
const EVENTS_PER_POLL: usize = 256;

/// See the module.
pub struct Reactor {
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
    deadlines: KeyMap<Instant>,
    by_time: BTreeSet<(Instant, Key)>,
}

impl Reactor {
    /// # Errors
    /// When the process or the system has no file descriptors left.
    pub fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        Ok(Reactor {
            poll,
            events: Events::with_capacity(EVENTS_PER_POLL),
            waker,
            deadlines: KeyMap::default(),
            by_time: BTreeSet::new(),
        })
    }

    /// A key that was never given out before, by no reactor of this process: one that is used
    /// late, even with another reactor, finds nothing.
    pub fn new_key(&mut self) -> Key {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Key(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// Makes [`Reactor::as_raw_fd`] readable from any thread, for results that wait elsewhere.
    pub fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }

    /// # Errors
    /// When the kernel refuses the source.
    pub fn register(
        &self,
        source: &mut impl Source,
        key: Key,
        interest: Interest,
    ) -> io::Result<()> {
        let token = usize::try_from(key.0).map_err(io::Error::other)?;
        self.poll
            .registry()
            .register(source, Token(token), interest)
    }

    /// Changes what a registered source is watched for; what it is ready for is signalled anew.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn reregister(
        &self,
        source: &mut impl Source,
        key: Key,
        interest: Interest,
    ) -> io::Result<()> {
        let token = usize::try_from(key.0).map_err(io::Error::other)?;
        self.poll
            .registry()
            .reregister(source, Token(token), interest)
    }

    /// Stops watching a source. One that is being closed needs this too, because a duplicate of
    /// its descriptor in a child process would keep it registered.
    pub fn deregister(&self, source: &mut impl Source) {
        // It fails only if the source was never registered, and then there is nothing to undo.
        let _ = self.poll.registry().deregister(source);
    }

    /// Sets the one deadline of `key`, or clears it.
    pub fn set_deadline(&mut self, key: Key, deadline: Option<Instant>) {
        if let Some(old) = self.deadlines.remove(&key) {
            self.by_time.remove(&(old, key));
        }
        if let Some(deadline) = deadline {
            self.deadlines.insert(key, deadline);
            self.by_time.insert((deadline, key));
        }
    }

    /// When [`Reactor::poll`] has to be called at the latest.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Appends what has happened to `signals`, waiting at most `timeout` (for ever if `None`).
    /// Readiness comes before deadlines, so that bytes which arrived in time are seen in time
    /// even if the loop was late.
    ///
    /// # Errors
    /// When the kernel refuses; an interrupted wait is not an error.
    pub fn poll(&mut self, timeout: Option<Duration>, signals: &mut Vec<Signal>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => other?,
        }
        for event in &self.events {
            signals.push(match event.token() {
                WAKER => Signal::Woken,
                Token(key) => ready(Key(key as u64), event),
            });
        }
        if self.by_time.is_empty() {
            return Ok(());
        }
        let now = Instant::now();
        while let Some(&(at, key)) = self.by_time.first() {
            if at > now {
                break;
            }
            self.by_time.pop_first();
            self.deadlines.remove(&key);
            signals.push(Signal::Deadline(key));
        }
        Ok(())
    }
}

fn ready(key: Key, event: &Event) -> Signal {
    let has_ended = event.is_read_closed() || event.is_write_closed() || event.is_error();
    if has_ended {
        return Signal::Ready(key);
    }
    match (event.is_readable(), event.is_writable()) {
        (true, _) if cfg!(target_os = "linux") => Signal::Readable(key),
        (false, true) => Signal::Writable(key),
        _ => Signal::Ready(key),
    }
}

impl AsRawFd for Reactor {
    fn as_raw_fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_come_in_order_and_once() {
        let mut reactor = Reactor::new().unwrap();
        let now = Instant::now();
        let [first, second, cleared, later] = std::array::from_fn(|_| reactor.new_key());
        reactor.set_deadline(second, Some(now));
        reactor.set_deadline(first, Some(now - Duration::from_millis(1)));
        reactor.set_deadline(cleared, Some(now));
        reactor.set_deadline(cleared, None);
        reactor.set_deadline(later, Some(now));
        reactor.set_deadline(later, Some(now + Duration::from_secs(3600)));
        let mut signals = Vec::new();
        reactor.poll(Some(Duration::ZERO), &mut signals).unwrap();
        assert_eq!(signals, [Signal::Deadline(first), Signal::Deadline(second)]);
        signals.clear();
        reactor.poll(Some(Duration::ZERO), &mut signals).unwrap();
        assert_eq!(signals, []);
        assert_eq!(
            reactor.next_deadline(),
            Some(now + Duration::from_secs(3600))
        );
    }

    #[test]
    fn a_wake_from_another_thread_ends_the_wait() {
        let mut reactor = Reactor::new().unwrap();
        let waker = reactor.waker();
        let thread = std::thread::spawn(move || waker.wake().unwrap());
        let mut signals = Vec::new();
        reactor.poll(None, &mut signals).unwrap();
        assert_eq!(signals, [Signal::Woken]);
        thread.join().unwrap();
    }

    #[test]
    fn a_stream_tells_its_bytes_from_its_end() {
        use std::io::{Read, Write};
        let (mut ours, mut theirs) = mio::net::UnixStream::pair().unwrap();
        let mut reactor = Reactor::new().unwrap();
        let key = reactor.new_key();
        let bytes_only = if cfg!(target_os = "linux") {
            Signal::Readable(key)
        } else {
            Signal::Ready(key)
        };
        reactor
            .register(&mut ours, key, Interest::READABLE)
            .unwrap();
        let told = |reactor: &mut Reactor| {
            let mut signals = Vec::new();
            reactor.poll(Some(Duration::ZERO), &mut signals).unwrap();
            signals
        };
        assert_eq!(told(&mut reactor), []);
        theirs.write_all(b"12").unwrap();
        assert_eq!(told(&mut reactor), [bytes_only]);
        assert_eq!(told(&mut reactor), []);
        assert_eq!(ours.read(&mut [0; 8]).unwrap(), 2);
        let both = Interest::READABLE | Interest::WRITABLE;
        reactor.reregister(&mut ours, key, both).unwrap();
        assert_eq!(told(&mut reactor), [Signal::Writable(key)]);
        reactor
            .reregister(&mut ours, key, Interest::READABLE)
            .unwrap();
        theirs.write_all(b"3").unwrap();
        drop(theirs);
        assert_eq!(told(&mut reactor), [Signal::Ready(key)]);
    }
}
