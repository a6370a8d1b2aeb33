//! The fast channel: clients and servers on Unix sockets.
//!
//! [`Hub`] holds every endpoint of one event loop. It never waits, and has no thread but those of
//! `outbound`: the owner polls it when the reactor says so and receives [`Event`]s. Everything that a peer can make
//! grow has a limit.
//!
//! What is absent: this module knows neither the queue nor JavaScript.

mod backoff;
mod batch;
mod client;
mod inbound;
mod link;
mod outbound;
mod path;
mod peer;
mod server;

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

pub use backoff::Backoff;
pub use batch::{Frames, Run};
pub use client::{ClientOptions, ClientStats};
pub use link::Progress;
pub use path::{PATH_BYTES_MAX, PeerCredentials};
pub use server::{ServerOptions, ServerStats};

use crate::error::{Code, Error, Result};
use crate::frame;
use crate::limits;
use crate::reactor::{Key, KeyMap, KeySet, Reactor, Signal};
use crate::values::Scanner;
use batch::Batch;
use client::Client;
use link::Link;
use peer::Peer;
use server::Server;

/// What happened to an endpoint.
#[derive(Debug)]
pub enum Event {
    /// Shapes of objects in the frames that follow; their numbers follow on those before. See
    /// [`crate::values`].
    Shapes {
        /// Their definitions.
        definitions: Vec<u8>,
    },
    /// The numbers of shapes begin anew.
    ShapesForgotten,
    /// Frames arrived at a client or server.
    Frames {
        /// The client or server.
        owner: Key,
        /// The frames, in order of arrival per connection.
        frames: Frames,
    },
    /// A complete frame was not accepted; its connection lives on. That of a server is in flight
    /// until it is settled, so that what is answered to it still finds the connection.
    BadFrame {
        /// The client or server.
        owner: Key,
        /// The connection (the client itself for a client).
        connection: Key,
        /// Why.
        error: Error,
        /// The `id` of the message as JSON, if it breaks the rules of its schema and has one.
        id: Option<String>,
        /// Its number among the marked frames of its connection, or 0.
        number: u64,
    },
    /// The client has a connection.
    Connected {
        /// The client.
        client: Key,
    },
    /// The attempt that [`Hub::connect`] began has failed; the client rests.
    ConnectFailed {
        /// The client.
        client: Key,
        /// Why.
        error: Error,
    },
    /// The client lost its connection.
    Disconnected {
        /// The client.
        client: Key,
        /// Why.
        error: Error,
    },
    /// The client will try to connect again by itself.
    RetryScheduled {
        /// The client.
        client: Key,
        /// Attempts since the last connection.
        attempt: u32,
        /// The wait.
        wait: Duration,
        /// Why the last attempt failed, if one was made.
        error: Option<Error>,
    },
    /// The kernel took bytes that had to wait.
    Flushed {
        /// The client or the server's connection.
        connection: Key,
        /// Bytes taken since the connection was made.
        written: u64,
    },
    /// The server has a new connection.
    Accepted {
        /// The server.
        server: Key,
        /// The connection.
        connection: Key,
        /// Who is at the other end.
        credentials: PeerCredentials,
    },
    /// The server turned a connection away.
    Refused {
        /// The server.
        server: Key,
        /// Who it was.
        credentials: PeerCredentials,
        /// Why.
        error: Error,
    },
    /// A connection of the server ended; with an error if it was cut.
    PeerClosed {
        /// The server.
        server: Key,
        /// The connection.
        connection: Key,
        /// Why, unless the peer simply left or the server stopped.
        error: Option<Error>,
    },
    /// The server could not accept, and will try again.
    AcceptFailed {
        /// The server.
        server: Key,
        /// Why.
        error: Error,
    },
    /// The server that was told to stop has no connection left.
    Stopped {
        /// The server.
        server: Key,
        /// Connections that were cut because the deadline had passed.
        cut: u32,
    },
}

/// So many turns in a row belong to the connection that most likely has something, then the kernel is
/// asked for others.
const LIKELY_TURNS: u32 = 8;

/// After a turn that has read more bytes the kernel is asked in any case.
const LIKELY_BYTES: u64 = 4 * 1024;

/// And when such turns, with what JavaScript did in them, have taken this long.
const LIKELY_TIME: Duration = Duration::from_micros(500);

/// The turns of the likely connection since the kernel was asked for others.
#[derive(Debug, Clone, Copy)]
struct LikelyTurns {
    count: u32,
    began: Instant,
    /// Bytes that the last one has read.
    read: u64,
}

/// How a turn of a connection knows that it has read everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// A read finds nothing.
    WouldBlock,
    /// A read finds less than it has room for; see [`Signal::Readable`].
    Short,
}

/// Every socket endpoint of one event loop. See the module.
pub struct Hub {
    reactor: Reactor,
    servers: KeyMap<Server>,
    peers: KeyMap<Peer>,
    clients: KeyMap<Client>,
    batches: KeyMap<Batch>,
    /// Takes received messages apart.
    scanner: Scanner,
    /// Connections that have more to do than their last turn allowed.
    again: VecDeque<Key>,
    in_again: KeySet,
    /// Connections that a thread helps to write, or did.
    helped: KeySet,
    /// The read buffer that idle connections share.
    spare: Vec<u8>,
    signals: Vec<Signal>,
    /// The connection that alone had something to be read when the kernel last told of something.
    hot: Option<Key>,
    /// `None` until it has one.
    likely_turns: Option<LikelyTurns>,
    /// Signals for sources that belong to others (see [`Hub::reactor`]).
    foreign: Vec<Signal>,
    events: Vec<Event>,
    /// Servers whose end was told since the last poll began.
    ended_servers: Vec<Key>,
}

impl Hub {
    /// # Errors
    /// When the process or the system has no file descriptors left.
    pub fn new() -> Result<Self> {
        let reactor = Reactor::new().map_err(|error| Error::system("epoll_create", None, error))?;
        Ok(Hub {
            reactor,
            scanner: Scanner::default(),
            servers: KeyMap::default(),
            peers: KeyMap::default(),
            clients: KeyMap::default(),
            batches: KeyMap::default(),
            again: VecDeque::new(),
            in_again: KeySet::default(),
            helped: KeySet::default(),
            spare: Vec::new(),
            signals: Vec::new(),
            hot: None,
            likely_turns: None,
            foreign: Vec::new(),
            events: Vec::new(),
            ended_servers: Vec::new(),
        })
    }

    /// The reactor, for sources that are not sockets. Their signals come out of [`Hub::poll`] as
    /// foreign ones.
    pub fn reactor(&mut self) -> &mut Reactor {
        &mut self.reactor
    }

    /// When [`Hub::poll`] has to be called at the latest, even if nothing becomes readable.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.again.is_empty() && self.events.is_empty() {
            self.reactor.next_deadline()
        } else {
            Some(Instant::now())
        }
    }

    /// Reads from the connection that most likely has something, without asking the kernel which
    /// ones have: who waits for a single message gets it one call sooner. Appends what happened to
    /// `events`. Unless [`Hub::is_done`] after that has been dealt with, [`Hub::poll`] has to follow, and
    /// does the rest.
    pub fn poll_likely(&mut self, events: &mut Vec<Event>) {
        let is_quiet = self.again.is_empty() && self.events.is_empty();
        let Some(key) = self.hot.filter(|_| is_quiet) else {
            self.likely_turns = None;
            return;
        };
        let turns = self.likely_turns.unwrap_or_else(|| LikelyTurns {
            count: 0,
            began: Instant::now(),
            read: 0,
        });
        let before = self.received(key);
        self.turn(key, Until::Short);
        self.likely_turns = Some(LikelyTurns {
            count: turns.count + 1,
            read: self.received(key).saturating_sub(before),
            ..turns
        });
        self.tell(events);
    }

    /// Whether [`Hub::poll_likely`] was all that there is to do for now. If others have something, the
    /// descriptor of the reactor is still readable; they must not wait for long.
    pub fn is_done(&self) -> bool {
        self.likely_turns.is_some_and(|turns| {
            (1..=LIKELY_BYTES).contains(&turns.read)
                && turns.count < LIKELY_TURNS
                && turns.began.elapsed() < LIKELY_TIME
        }) && self.again.is_empty()
            && self.events.is_empty()
            && self.ended_servers.is_empty()
    }

    fn received(&mut self, key: Key) -> u64 {
        let link = link_of(&mut self.peers, &mut self.clients, key);
        link.map_or(0, |link| link.inbound.received())
    }

    /// Does all the work that is possible now, waiting at most `timeout` for it. Appends what
    /// happened to `events`, and to `foreign` the signals that concern no socket.
    ///
    /// # Errors
    /// When the kernel refuses to tell what is ready.
    pub fn poll(
        &mut self,
        timeout: Option<Duration>,
        events: &mut Vec<Event>,
        foreign: &mut Vec<Signal>,
    ) -> Result<()> {
        self.likely_turns = None;
        for server in self.ended_servers.drain(..) {
            self.servers.remove(&server);
        }
        let timeout = if self.again.is_empty() && self.events.is_empty() {
            timeout
        } else {
            Some(Duration::ZERO)
        };
        let mut signals = std::mem::take(&mut self.signals);
        self.reactor
            .poll(timeout, &mut signals)
            .map_err(|error| Error::system("epoll_wait", None, error))?;
        match signals[..] {
            [] => {}
            [Signal::Readable(key)] => self.hot = Some(key),
            _ => self.hot = None,
        }
        for signal in signals.drain(..) {
            match signal {
                Signal::Ready(key) => self.ready(key, Until::WouldBlock),
                Signal::Readable(key) => self.ready(key, Until::Short),
                Signal::Writable(key) => self.writable(key),
                Signal::Deadline(key) => self.deadline(key),
                Signal::Woken => {
                    self.turn_helped();
                    self.foreign.push(signal);
                }
            }
        }
        self.signals = signals;
        // Only those that waited when the poll began: whoever is put back has its next turn in
        // the next poll, so that one busy connection cannot hold the loop.
        for _ in 0..self.again.len() {
            if let Some(key) = self.again.pop_front() {
                self.in_again.remove(&key);
                self.turn(key, Until::WouldBlock);
            }
        }
        self.tell(events);
        foreign.append(&mut self.foreign);
        Ok(())
    }

    fn tell(&mut self, events: &mut Vec<Event>) {
        self.hand_over_batches();
        self.ended_servers
            .extend(self.events.iter().filter_map(|event| match event {
                Event::Stopped { server, .. } => Some(*server),
                _ => None,
            }));
        events.append(&mut self.events);
    }

    fn ready(&mut self, key: Key, until: Until) {
        if self.peers.contains_key(&key) || self.clients.contains_key(&key) {
            self.turn_on_signal(key, until);
        } else if self.servers.contains_key(&key) {
            self.accept(key);
        } else {
            self.foreign.push(Signal::Ready(key));
        }
    }

    fn deadline(&mut self, key: Key) {
        if self.servers.contains_key(&key) {
            self.server_deadline(key);
        } else if self.peers.contains_key(&key) {
            self.peer_deadline(key);
        } else if self.clients.contains_key(&key) {
            self.client_deadline(key);
        } else {
            self.foreign.push(Signal::Deadline(key));
        }
    }

    fn turn(&mut self, key: Key, until: Until) {
        if self.peers.contains_key(&key) {
            self.peer_turn(key, until);
        } else if self.clients.contains_key(&key) {
            self.client_turn(key, until);
        }
    }

    fn writable(&mut self, key: Key) {
        match link_of(&mut self.peers, &mut self.clients, key) {
            Some(link) if link.outbound_bytes() == 0 && !link.has_news() => {
                link.unwatch_writable(&self.reactor, key);
            }
            _ => self.turn_on_signal(key, Until::Short),
        }
    }

    /// Whoever waits for a turn has it later in this poll, when those before it have had theirs.
    fn turn_on_signal(&mut self, key: Key, until: Until) {
        if !self.in_again.contains(&key) {
            self.turn(key, until);
        }
    }

    /// Goes on with the connections for which a thread has written.
    fn turn_helped(&mut self) {
        let helped: Vec<Key> = self.helped.iter().copied().collect();
        for key in helped {
            let link = link_of(&mut self.peers, &mut self.clients, key);
            // In this order: what it has written to its end is seen.
            let is_helped = link.as_ref().is_some_and(|link| link.is_helped());
            let has_news = link.is_some_and(|link| link.has_news());
            if !is_helped {
                self.helped.remove(&key);
            }
            if has_news {
                self.turn_on_signal(key, Until::WouldBlock);
            }
        }
    }

    /// Sees to being told when bytes that wait can be written.
    fn watch_writable(&mut self, key: Key) {
        let link = link_of(&mut self.peers, &mut self.clients, key);
        if link.is_some_and(|link| link.watch_writable(&self.reactor, key).is_err()) {
            // The kernel is short of memory; the next turn tries again.
            self.again(key);
        }
    }

    fn again(&mut self, key: Key) {
        if self.in_again.insert(key) {
            self.again.push_back(key);
        }
    }

    /// Writes `text`, frames with [`frame::HEADER_PLACE`] in front of each, to a client's or
    /// peer's connection. Returns `None` if the kernel took everything, else the number of bytes
    /// after which it will have (compare [`Event::Flushed`]).
    ///
    /// # Errors
    /// [`Code::FrameTooLarge`] and [`Code::OutboundFull`]: nothing of `text` was sent.
    /// [`Code::ConnectionLost`] when there is no such connection, or none any more. In the first two
    /// cases a server's connection is closed: what comes later must not arrive without this, an
    /// acknowledgement for instance without the refusals before it.
    pub fn write(&mut self, key: Key, text: &mut [u8]) -> Result<Option<u64>> {
        let (link, frame_bytes_max, outbound_bytes_max, frames_sent) = if let Some(peer) =
            self.peers.get_mut(&key)
        {
            let server = self.servers.get_mut(&peer.server);
            let Some(server) = server else {
                return Err(link::lost(None));
            };
            let options = &server.options;
            // What a server may answer is bounded by what may wait for the peer; what it has to
            // say of acknowledgements is short.
            (
                &mut peer.link,
                options.outbound_bytes_max.max(limits::CONTROL_BYTES_MAX),
                options.outbound_bytes_max,
                &mut server.stats.frames_sent,
            )
        } else if let Some(client) = self.clients.get_mut(&key) {
            let options = &client.options;
            let (frame_max, outbound_max) = (options.frame_bytes_max, options.outbound_bytes_max);
            let Some(link) = client.state.link() else {
                return Err(Error::rule(Code::ConnectionLost, client::NOT_CONNECTED));
            };
            (link, frame_max, outbound_max, &mut client.stats.frames_sent)
        } else {
            return Err(link::lost(None));
        };
        let result = frame::patch_headers(text, frame_bytes_max).and_then(|frames| {
            let done = link.write(text, outbound_bytes_max as usize)?;
            Ok((frames, done))
        });
        match result {
            Ok((frames, done)) => {
                *frames_sent += u64::from(frames);
                let queued = link.queued();
                let news = link.news();
                if !done && link.seek_help(&self.reactor) {
                    self.helped.insert(key);
                }
                if let Some(written) = news {
                    // Of what had to wait, somebody still waits to hear.
                    self.events.push(Event::Flushed {
                        connection: key,
                        written,
                    });
                    self.go_on_if_greeted(key);
                }
                if !done {
                    self.watch_writable(key);
                }
                Ok((!done).then_some(queued))
            }
            Err(error) => {
                self.write_failed(key, &error);
                Err(error)
            }
        }
    }

    fn write_failed(&mut self, key: Key, error: &Error) {
        let code = match error {
            Error::Rule { code, .. } => *code,
            _ => Code::Internal,
        };
        let is_lost = code == Code::ConnectionLost;
        if self.peers.contains_key(&key) {
            let error = match code {
                Code::ConnectionLost => return self.again(key),
                Code::FrameTooLarge => {
                    Error::rule(code, "Connection closed: a reply exceeds maxOutboundBytes")
                }
                _ => Error::rule(code, error.to_string()),
            };
            self.close_peer(key, Some(error));
        } else if is_lost && self.clients.contains_key(&key) {
            // The peer may have sent something before it left; read to the end, but not for ever.
            let deadline = Instant::now() + Duration::from_millis(limits::DEADLINE_MS.into());
            self.reactor.set_deadline(key, Some(deadline));
            self.again(key);
        }
    }

    /// Moves a batch to the events, so that what follows is told after the frames before it.
    fn hand_over(&mut self, owner: Key) {
        if let Some(frames) = self.batches.get_mut(&owner).and_then(Batch::take) {
            self.push_frames(owner, frames);
        }
    }

    fn hand_over_batches(&mut self) {
        let mut batches = std::mem::take(&mut self.batches);
        for (owner, batch) in &mut batches {
            if let Some(frames) = batch.take() {
                self.push_frames(*owner, frames);
            }
        }
        self.batches = batches;
        // No notes are left that know the shapes by their numbers.
        if self.scanner.is_full() {
            self.scanner = Scanner::default();
            self.events.push(Event::ShapesForgotten);
        }
        self.scanner.make_room();
    }

    fn push_frames(&mut self, owner: Key, frames: Frames) {
        let definitions = self.scanner.take_definitions();
        if !definitions.is_empty() {
            self.events.push(Event::Shapes { definitions });
        }
        self.events.push(Event::Frames { owner, frames });
    }

    fn push_event(&mut self, owner: Key, event: Event) {
        self.hand_over(owner);
        self.events.push(event);
    }
}

/// The established connection of a peer or client.
fn link_of<'a>(
    peers: &'a mut KeyMap<Peer>,
    clients: &'a mut KeyMap<Client>,
    key: Key,
) -> Option<&'a mut Link> {
    match peers.get_mut(&key) {
        Some(peer) => Some(&mut peer.link),
        None => clients.get_mut(&key)?.state.link(),
    }
}

impl AsRawFd for Hub {
    fn as_raw_fd(&self) -> RawFd {
        self.reactor.as_raw_fd()
    }
}

/// Checks that a frame is UTF-8 and not nested beyond reason.
fn check_text(frame: &[u8]) -> Result<()> {
    if frame::nests_deeper_than(frame, limits::NESTING_MAX) {
        return Err(Error::rule(
            Code::MalformedFrame,
            format!(
                "A frame is nested deeper than {} levels",
                limits::NESTING_MAX
            ),
        ));
    }
    if frame.is_ascii() {
        if frame.is_empty() {
            return Err(Error::rule(
                Code::MalformedFrame,
                "A frame is empty, it holds no JSON value",
            ));
        }
        return Ok(());
    }
    // It looks at many bytes at a time.
    match encoding_rs::Encoding::utf8_valid_up_to(frame) {
        all if all == frame.len() => Ok(()),
        valid => Err(Error::rule(
            Code::MalformedFrame,
            format!("A frame is not UTF-8: byte {valid} of {}", frame.len()),
        )),
    }
}
