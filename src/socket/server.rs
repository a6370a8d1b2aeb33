//! The accepting side: who is let in, how much of each connection is read, and how it ends.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use mio::Interest;
use mio::net::UnixListener;

use super::batch::Batch;
use super::link::{Fill, Link, Look};
use super::path::{BoundSocket, peer_credentials};
use super::{Event, Hub, Until, check_text};
use crate::error::{Code, Error, Result};
use crate::frame;
use crate::limits;
use crate::reactor::{Key, KeySet};
use crate::validate::{self, Dialect, QUEUE_MESSAGE, Refusal};

/// Connections accepted in one turn, so that a flood of them does not hold the loop.
const ACCEPTS_PER_TURN: u32 = 64;

/// Frames that a connection which waited may hand over in any case: what a turn costs has to be
/// small beside them. If they fill the room, those that got nothing are the first next time.
const SHARE_MIN: u32 = 64;

/// Of the control frames that a server sends; see `docs/protocol.md`.
const ACKNOWLEDGEMENT_VERSION: u32 = 1;

/// How a server behaves. The defaults are those of [`limits`].
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Path of the socket file.
    pub path: String,
    /// Permission bits of the socket file.
    pub mode: u32,
    /// Clients served at once.
    pub connections_max: u32,
    /// Longest frame body, in bytes.
    pub frame_bytes_max: u32,
    /// Time within which a begun frame has to be complete.
    pub frame_timeout: Duration,
    /// Frames handed over and not settled at which reading stops.
    pub high_water_mark: u32,
    /// Bytes that may wait for one peer.
    pub outbound_bytes_max: u32,
    /// Users that are served; empty for everybody.
    pub allowed_uids: Vec<u32>,
    /// Given: messages have to satisfy the schema of a queue message, as the zod with these
    /// properties would judge.
    pub validate: Option<Dialect>,
}

impl ServerOptions {
    /// Defaults: one's own user and root are served.
    pub fn new(path: impl Into<String>) -> Self {
        // SAFETY: plain system call that cannot fail.
        let own = unsafe { libc::geteuid() };
        ServerOptions {
            path: path.into(),
            mode: limits::SOCKET_MODE,
            connections_max: limits::CONNECTIONS_MAX,
            frame_bytes_max: limits::FRAME_BYTES_MAX,
            frame_timeout: Duration::from_millis(limits::FRAME_TIMEOUT_MS.into()),
            high_water_mark: limits::HIGH_WATER_MARK,
            outbound_bytes_max: limits::SERVER_OUTBOUND_BYTES_MAX,
            allowed_uids: if own == 0 { vec![0] } else { vec![own, 0] },
            validate: None,
        }
    }
}

/// Counters since the server began to listen.
#[derive(Debug, Clone, Copy, Default)]
pub struct ServerStats {
    /// Connections now.
    pub connections: u32,
    /// Connections ever accepted, without those turned away.
    pub accepted: u64,
    /// Connections turned away.
    pub refused: u64,
    /// Frames received, bad ones included.
    pub frames_received: u64,
    /// Complete frames that were not accepted, so far as the core judges them.
    pub bad_frames: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Frames sent.
    pub frames_sent: u64,
    /// Bytes that wait for slow peers.
    pub outbound_bytes: u64,
    /// Frames handed over and not settled, those included that were not accepted.
    pub in_flight: u32,
    /// Connections that are not read because the high-water mark is reached.
    pub stalled: u32,
}

pub(super) struct Server {
    pub(super) options: ServerOptions,
    pub(super) stats: ServerStats,
    /// `None` once the server stops.
    listening: Option<(BoundSocket, UnixListener)>,
    peers: KeySet,
    stalled: VecDeque<Key>,
    /// [`Event::Stopped`] is under way; only the counters are still of use.
    pub(super) stopped: bool,
}

pub(super) struct Peer {
    pub(super) link: Link,
    pub(super) server: Key,
    in_flight: u32,
    stalled: bool,
    /// Frames that it may still hand over before the others that waited have had their turn.
    share: Option<u32>,
    /// It has handed a frame over in its last turn.
    is_served: bool,
    /// Nothing more will be read from the kernel.
    ended: bool,
    /// The server stops: read what is there, then refuse more.
    draining: bool,
    /// Complete frames when the frame deadline was set: tells a new partial frame from an old.
    watched_frame: Option<u64>,
    /// Marked frames received.
    marked: u64,
    greeting: Greeting,
}

/// Whether a client knows that its marked frames are acknowledged. Once it finds all its bytes
/// read and no greeting, it takes the server for one that acknowledges nothing; a server that is
/// stopped or killed in between must not be mistaken for that. The kernel therefore keeps a byte
/// of the client's until the greeting is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Greeting {
    /// It has not marked a frame so far as is known.
    NotDue,
    /// The kernel has the greeting when it has taken so many bytes.
    Waits { until: u64 },
    /// The kernel has it, or the client is gone.
    Given,
}

impl Peer {
    /// Whether a read is preceded by a look. Whoever wants acknowledgements marks the first frame as
    /// a rule; a plain client should not have to pay for a look at each. Where the first one is not
    /// marked, a greeting leaves in the turn that reads a marked one, unless replies wait before it.
    fn is_looked_at(&self) -> bool {
        self.link.frames() == 0 || self.link.outbound_bytes() > 0
    }

    /// Whether bytes are left in the kernel until the greeting has been given.
    fn holds_back(&self) -> bool {
        matches!(self.greeting, Greeting::Waits { .. })
    }

    /// Notices that the kernel has taken the greeting.
    fn note_greeting(&mut self) {
        if let Greeting::Waits { until } = self.greeting
            && (self.link.written() >= until || self.link.write_failed())
        {
            self.greeting = Greeting::Given;
        }
    }
}

impl Hub {
    /// Begins to listen.
    ///
    /// # Errors
    /// See [`BoundSocket::bind`].
    pub fn listen(&mut self, options: ServerOptions) -> Result<Key> {
        let bound = BoundSocket::bind(&options.path, options.mode)?;
        let wrap = |error| Error::system("listen", options.path.clone(), error);
        let mut listener = UnixListener::from_std(bound.listener().map_err(wrap)?);
        let key = self.reactor.new_key();
        self.reactor
            .register(&mut listener, key, Interest::READABLE)
            .map_err(wrap)?;
        let server = Server {
            options,
            stats: ServerStats::default(),
            listening: Some((bound, listener)),
            peers: KeySet::default(),
            stalled: VecDeque::new(),
            stopped: false,
        };
        self.servers.insert(key, server);
        Ok(key)
    }

    /// Stops accepting, gives the path up, and ends each connection once everything that the
    /// kernel already held for us has been handed over, settled and answered. At `deadline` the
    /// rest is cut. [`Event::Stopped`] tells the end.
    pub fn stop(&mut self, key: Key, deadline: Instant) {
        let Some(server) = self.servers.get_mut(&key) else {
            return;
        };
        if let Some((bound, _)) = &mut server.listening {
            // Nobody new can come; whoever came before may have sent something already.
            bound.give_path_up();
            self.accept_at_most(key, limits::LISTEN_BACKLOG.unsigned_abs() + 1);
        }
        let Some(server) = self.servers.get_mut(&key) else {
            return;
        };
        if let Some((_bound, mut listener)) = server.listening.take() {
            self.reactor.deregister(&mut listener);
        }
        let peers: Vec<Key> = server.peers.iter().copied().collect();
        self.reactor.set_deadline(key, Some(deadline));
        for peer in peers {
            if let Some(state) = self.peers.get_mut(&peer) {
                state.draining = true;
            }
            self.again(peer);
        }
        self.finish_stop(key);
    }

    /// Removes the files of all servers at once, for a process that is about to end without
    /// running anything else.
    pub fn release_paths(&mut self) {
        for server in self.servers.values_mut() {
            if let Some((bound, mut listener)) = server.listening.take() {
                self.reactor.deregister(&mut listener);
                drop(bound);
            }
        }
    }

    /// Counters of a server; `None` once its [`Event::Stopped`] has been handed over and the hub
    /// was polled again.
    pub fn server_stats(&self, key: Key) -> Option<ServerStats> {
        let server = self.servers.get(&key)?;
        let outbound = server.peers.iter().filter_map(|peer| self.peers.get(peer));
        Some(ServerStats {
            connections: server.peers.len() as u32,
            outbound_bytes: outbound.map(|peer| peer.link.outbound_bytes() as u64).sum(),
            stalled: server.stalled.len() as u32,
            ..server.stats
        })
    }

    /// Says that `count` frames of `connection` are done, those of [`Event::BadFrame`] included,
    /// which makes room below the high-water mark.
    pub fn settle(&mut self, server: Key, connection: Key, count: u32) {
        let Some(state) = self.servers.get_mut(&server) else {
            return;
        };
        state.stats.in_flight = state.stats.in_flight.saturating_sub(count);
        self.resume(server);
        if let Some(peer) = self.peers.get_mut(&connection) {
            peer.in_flight = peer.in_flight.saturating_sub(count);
            self.finish_peer(connection);
        }
        self.finish_stop(server);
    }

    /// Lets the connections that wait for room below the high-water mark go on. Those come first
    /// that got nothing the last time, and nobody takes more than its share of the room before
    /// all have had their turn: one that always has more to read would take everything.
    fn resume(&mut self, server: Key) {
        let Some(state) = self.servers.get_mut(&server) else {
            return;
        };
        let room = state
            .options
            .high_water_mark
            .saturating_sub(state.stats.in_flight);
        if room == 0 || state.stalled.is_empty() {
            return;
        }
        let mut waiting: Vec<Key> = state.stalled.drain(..).collect();
        let peers = &mut self.peers;
        // It is stable: apart from that they go on in the order in which they stalled.
        waiting.sort_by_key(|key| peers.get(key).is_some_and(|peer| peer.is_served));
        let share = (room / waiting.len() as u32).max(SHARE_MIN);
        for key in waiting {
            if let Some(peer) = self.peers.get_mut(&key) {
                peer.stalled = false;
                peer.share = Some(share);
            }
            self.again(key);
        }
    }

    /// Closes one connection at once, without an error.
    pub fn disconnect_peer(&mut self, connection: Key) {
        self.close_peer(connection, None);
    }

    pub(super) fn accept(&mut self, key: Key) {
        if self.accept_at_most(key, ACCEPTS_PER_TURN) {
            self.reactor.set_deadline(key, Some(Instant::now()));
        }
    }

    /// Lets so many connections in; `true` if more may wait.
    fn accept_at_most(&mut self, key: Key, count: u32) -> bool {
        for _ in 0..count {
            let Some(server) = self.servers.get(&key) else {
                return false;
            };
            let Some((_, listener)) = &server.listening else {
                return false;
            };
            match listener.accept() {
                Ok((stream, _)) => {
                    let stream =
                        std::os::unix::net::UnixStream::from(std::os::fd::OwnedFd::from(stream));
                    self.admit(key, stream);
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return false,
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    _ => {
                        // Out of descriptors or memory: the client waits in the backlog. Trying
                        // again at once would spin.
                        let pause = Duration::from_millis(limits::ACCEPT_PAUSE_MS.into());
                        self.reactor.set_deadline(key, Some(Instant::now() + pause));
                        let error = Error::system("accept", server.options.path.clone(), error);
                        self.events.push(Event::AcceptFailed { server: key, error });
                        return false;
                    }
                },
            }
        }
        true
    }

    fn admit(&mut self, key: Key, stream: std::os::unix::net::UnixStream) {
        let Some(server) = self.servers.get_mut(&key) else {
            return;
        };
        let options = &server.options;
        let credentials = match peer_credentials(&stream) {
            Ok(credentials) => credentials,
            // The peer is gone already.
            Err(_) => return,
        };
        let refusal = if !options.allowed_uids.is_empty()
            && !options.allowed_uids.contains(&credentials.uid)
        {
            Some(Error::rule(
                Code::UidRefused,
                format!(
                    "Connection refused: the server does not serve user {}",
                    credentials.uid
                ),
            ))
        } else if server.peers.len() >= options.connections_max as usize {
            Some(Error::rule(
                Code::MaxConnections,
                format!(
                    "Connection refused: the server already serves {} clients (maxConnections)",
                    options.connections_max
                ),
            ))
        } else {
            None
        };
        if let Some(error) = refusal {
            server.stats.refused += 1;
            refuse(stream, &error);
            self.events.push(Event::Refused {
                server: key,
                credentials,
                error,
            });
            return;
        }
        let connection = self.reactor.new_key();
        let mut link = Link::new(stream);
        if let Err(error) = link.register(&self.reactor, connection) {
            let error = Error::system("accept", server.options.path.clone(), error);
            self.events.push(Event::AcceptFailed { server: key, error });
            return;
        }
        server.stats.accepted += 1;
        server.peers.insert(connection);
        let peer = Peer {
            link,
            server: key,
            in_flight: 0,
            stalled: false,
            share: None,
            is_served: false,
            ended: false,
            draining: false,
            watched_frame: None,
            marked: 0,
            greeting: Greeting::NotDue,
        };
        self.peers.insert(connection, peer);
        self.push_event(
            key,
            Event::Accepted {
                server: key,
                connection,
                credentials,
            },
        );
        self.peer_turn(connection, Until::WouldBlock);
    }

    pub(super) fn server_deadline(&mut self, key: Key) {
        let Some(server) = self.servers.get(&key) else {
            return;
        };
        if server.listening.is_some() {
            self.accept(key);
            return;
        }
        if server.stopped {
            return;
        }
        let peers: Vec<Key> = server.peers.iter().copied().collect();
        let cut = peers.len() as u32;
        for peer in peers {
            self.remove_peer(peer, None);
        }
        self.stopped(key, cut);
    }

    /// One turn of a connection: writes what waits, then reads a bounded amount.
    pub(super) fn peer_turn(&mut self, key: Key, until: Until) {
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        if peer.link.outbound_bytes() > 0 || peer.link.has_news() {
            // A failed write is not the end: the peer may have sent messages before it left.
            let _ = peer.link.flush();
            if let Some(written) = peer.link.news() {
                self.events.push(Event::Flushed {
                    connection: key,
                    written,
                });
            }
            self.watch_writable(key);
        }
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.is_served = false;
        }
        let mut budget = limits::READ_TURN_BYTES;
        let mut is_empty = false;
        loop {
            match self.deliver(key) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return self.close_peer(key, Some(error)),
            }
            let Some(peer) = self.peers.get_mut(&key) else {
                return;
            };
            if peer.ended || is_empty {
                break;
            }
            if budget == 0 {
                self.again(key);
                break;
            }
            let fill = self.read(key);
            let Some(peer) = self.peers.get_mut(&key) else {
                return;
            };
            match fill {
                Fill::Bytes(count) | Fill::Short(count) => {
                    budget = budget.saturating_sub(count);
                    // Who drains goes on to the very end.
                    is_empty =
                        until == Until::Short && matches!(fill, Fill::Short(_)) && !peer.draining;
                }
                Fill::WouldBlock if peer.draining => {
                    // Whatever the kernel accepted before this line is read in the next round.
                    peer.draining = false;
                    peer.link.refuse_more();
                }
                Fill::WouldBlock => break,
                Fill::End => peer.ended = true,
                // A reset: the peer left without reading our replies. What it sent was read.
                Fill::Failed(_) => peer.ended = true,
            }
        }
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.link.settle_inbound(&mut self.spare);
        }
        self.watch_partial_frame(key);
        self.finish_peer(key);
    }

    /// Reads once, and gives the greeting before the kernel has given away the last byte of a first
    /// marked frame.
    fn read(&mut self, key: Key) -> Fill {
        let Some(peer) = self.peers.get_mut(&key) else {
            return Fill::End;
        };
        let Some(server) = self.servers.get_mut(&peer.server) else {
            return Fill::End;
        };
        let frame_bytes_max = server.options.frame_bytes_max;
        peer.note_greeting();
        let fill = match peer.greeting {
            Greeting::Given => peer.link.fill(frame_bytes_max, &mut self.spare),
            Greeting::NotDue if !peer.is_looked_at() => {
                peer.link.fill(frame_bytes_max, &mut self.spare)
            }
            Greeting::Waits { .. } => peer.link.fill_all_but_one(frame_bytes_max, &mut self.spare),
            Greeting::NotDue => match peer.link.look(frame_bytes_max, &mut self.spare) {
                Look::Nothing(fill) => fill,
                Look::Bytes {
                    complete_marked: true,
                    ..
                } => {
                    self.greet(key);
                    return self.read(key);
                }
                Look::Bytes { count, are_all, .. } => {
                    let link = &mut peer.link;
                    link.fill_after_look(count, are_all, frame_bytes_max, &mut self.spare)
                }
            },
        };
        if let Fill::Bytes(count) | Fill::Short(count) = fill {
            server.stats.bytes_received += count as u64;
        }
        // A read takes more than a look sees.
        if peer.greeting == Greeting::NotDue
            && matches!(fill, Fill::Bytes(_) | Fill::Short(_))
            && peer.link.holds_marked(frame_bytes_max)
        {
            self.greet(key);
        }
        fill
    }

    /// Hands complete frames over. `false` if the high-water mark was reached, or the peer's share.
    fn deliver(&mut self, key: Key) -> Result<bool> {
        loop {
            let Some(peer) = self.peers.get_mut(&key) else {
                return Ok(false);
            };
            if peer.stalled {
                return Ok(false);
            }
            let owner = peer.server;
            let Some(server) = self.servers.get_mut(&owner) else {
                return Ok(false);
            };
            if server.stats.in_flight >= server.options.high_water_mark {
                peer.stalled = true;
                server.stalled.push_back(key);
                return Ok(false);
            }
            if peer.share == Some(0) {
                // The others have their turns before its next one, which is not bounded.
                peer.share = None;
                self.again(key);
                return Ok(false);
            }
            let Some(frame) = peer.link.next_frame(server.options.frame_bytes_max)? else {
                return Ok(true);
            };
            server.stats.frames_received += 1;
            let separator = self.separator;
            let mut number = 0;
            if frame::is_marked(frame) {
                debug_assert_ne!(peer.greeting, Greeting::NotDue);
                peer.marked += 1;
                number = peer.marked;
            }
            // A frame that is not accepted counts as well: JavaScript may have an answer to write.
            peer.in_flight += 1;
            server.stats.in_flight += 1;
            peer.is_served = true;
            peer.share = peer.share.map(|share| share - 1);
            match judge(frame, server.options.validate) {
                Ok(ascii) => {
                    let batch = Batch::of(&mut self.batches, owner, separator);
                    if let Some(frames) = batch.push(key, frame, ascii, number) {
                        self.events.push(Event::Frames { owner, frames });
                    }
                }
                Err((error, id)) => {
                    server.stats.bad_frames += 1;
                    self.push_event(
                        owner,
                        Event::BadFrame {
                            owner,
                            connection: key,
                            error,
                            id,
                            number,
                        },
                    );
                }
            }
        }
    }

    /// Tells a client that marked its first frame what acknowledgements it may expect, before all
    /// replies that wait for it: it may take long to read them.
    fn greet(&mut self, key: Key) {
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        let Some(server) = self.servers.get(&peer.server) else {
            return;
        };
        let options = &server.options;
        let hello = serde_json::json!({
            "version": ACKNOWLEDGEMENT_VERSION,
            "window": options.high_water_mark,
            "maxFrameBytes": options.frame_bytes_max,
        });
        let mut body = serde_json::json!({ "$ipc": { "hello": hello } })
            .to_string()
            .into_bytes();
        body.extend_from_slice(frame::MARK);
        peer.greeting = match peer.link.write_next(&frame::encode(&body)) {
            Ok(until) => Greeting::Waits { until },
            // The peer is gone, as the next read says.
            Err(_) => Greeting::Given,
        };
        peer.note_greeting();
        self.watch_writable(key);
    }

    /// Goes on with a peer from which bytes were held back, once its greeting has been given.
    pub(super) fn go_on_if_greeted(&mut self, key: Key) {
        if let Some(peer) = self.peers.get_mut(&key)
            && peer.holds_back()
        {
            peer.note_greeting();
            if !peer.holds_back() {
                self.again(key);
            }
        }
    }

    /// Sets the deadline of a frame that was begun, unless it is our own doing that the rest has
    /// not been read.
    fn watch_partial_frame(&mut self, key: Key) {
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        let is_ours = peer.stalled || peer.ended || peer.holds_back();
        if is_ours || !peer.link.has_partial_frame() {
            if peer.watched_frame.take().is_some() {
                self.reactor.set_deadline(key, None);
            }
            return;
        }
        if peer.watched_frame != Some(peer.link.frames()) {
            peer.watched_frame = Some(peer.link.frames());
            let Some(server) = self.servers.get(&peer.server) else {
                return;
            };
            let deadline = Instant::now() + server.options.frame_timeout;
            self.reactor.set_deadline(key, Some(deadline));
        }
    }

    pub(super) fn peer_deadline(&mut self, key: Key) {
        let Some(peer) = self.peers.get(&key) else {
            return;
        };
        let watched = peer.watched_frame;
        // The loop may have been late: look once more before judging.
        self.peer_turn(key, Until::WouldBlock);
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        if peer.watched_frame != watched || watched.is_none() {
            return;
        }
        if self.in_again.contains(&key) {
            // There is more to read, which may complete the frame.
            self.reactor.set_deadline(key, Some(Instant::now()));
            return;
        }
        let timeout = self
            .servers
            .get(&peer.server)
            .map_or(0, |s| s.options.frame_timeout.as_millis());
        let error = Error::rule(
            Code::FrameTimeout,
            format!(
                "Connection closed: a frame was not complete after {timeout} ms (frameTimeoutMs)"
            ),
        );
        self.close_peer(key, Some(error));
    }

    /// Closes a connection whose peer will send no more, once all its messages are settled and
    /// all replies written, or at once if nobody is there to read them.
    fn finish_peer(&mut self, key: Key) {
        let Some(peer) = self.peers.get(&key) else {
            return;
        };
        if !peer.ended || peer.stalled {
            return;
        }
        let is_answered = peer.in_flight == 0 && peer.link.outbound_bytes() == 0;
        if is_answered || peer.link.is_gone() {
            self.close_peer(key, None);
        }
    }

    pub(super) fn close_peer(&mut self, key: Key, error: Option<Error>) {
        if let Some(server) = self.remove_peer(key, error) {
            self.finish_stop(server);
        }
    }

    fn remove_peer(&mut self, key: Key, error: Option<Error>) -> Option<Key> {
        let mut peer = self.peers.remove(&key)?;
        self.reactor.deregister(peer.link.source());
        self.reactor.set_deadline(key, None);
        let owner = peer.server;
        drop(peer);
        if let Some(server) = self.servers.get_mut(&owner) {
            server.peers.remove(&key);
            server.stalled.retain(|stalled| *stalled != key);
        }
        self.push_event(
            owner,
            Event::PeerClosed {
                server: owner,
                connection: key,
                error,
            },
        );
        Some(owner)
    }

    /// Ends a stop as soon as nothing is left to wait for.
    fn finish_stop(&mut self, key: Key) {
        let Some(server) = self.servers.get(&key) else {
            return;
        };
        if server.listening.is_none()
            && !server.stopped
            && server.peers.is_empty()
            && server.stats.in_flight == 0
        {
            self.stopped(key, 0);
        }
    }

    fn stopped(&mut self, key: Key, cut: u32) {
        self.reactor.set_deadline(key, None);
        self.push_event(key, Event::Stopped { server: key, cut });
        self.batches.remove(&key);
        if let Some(server) = self.servers.get_mut(&key) {
            server.stopped = true;
        }
    }
}

/// Whether a frame may be handed over, and if so whether it is ASCII. A refusal carries the `id`
/// of a message that is JSON but breaks the rules.
fn judge(
    frame: &[u8],
    dialect: Option<Dialect>,
) -> std::result::Result<bool, (Error, Option<String>)> {
    let ascii = check_text(frame).map_err(|error| (error, None))?;
    let Some(dialect) = dialect else {
        return Ok(ascii);
    };
    match validate::validate_json(&QUEUE_MESSAGE, frame, dialect) {
        Ok(()) => Ok(ascii),
        Err(Refusal::NotJson(why)) => {
            let error = Error::rule(Code::MalformedFrame, format!("A frame is not JSON: {why}"));
            Err((error, None))
        }
        Err(refusal) => Err((refusal.into(), message_id(frame))),
    }
}

/// The `id` of a message, as JSON.
fn message_id(frame: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Head<'a> {
        #[serde(borrow)]
        id: &'a serde_json::value::RawValue,
    }
    let head: Head<'_> = serde_json::from_slice(frame).ok()?;
    Some(head.id.get().to_owned())
}

/// Tells the client why, in the form of a failed reply, which every generation of clients either
/// understands or never reads.
fn refuse(mut stream: std::os::unix::net::UnixStream, error: &Error) {
    use std::io::Write;
    let reply = serde_json::json!({
        "success": false,
        "error": error.to_string(),
        "code": error.code(),
    });
    // A new connection always has room for a frame this short; if it is gone, nobody asks.
    let _ = stream.write(&frame::encode(reply.to_string().as_bytes()));
}

/// The error behind a refusal, if `frame` is one. What has an `id` is a handler's reply, whatever
/// code the handler passes on.
pub(super) fn refusal(frame: &[u8]) -> Option<Error> {
    #[derive(serde::Deserialize)]
    struct Refusal {
        success: bool,
        error: String,
        code: String,
        id: Option<serde::de::IgnoredAny>,
    }
    let refusal: Refusal = serde_json::from_slice(frame).ok()?;
    if refusal.id.is_some() {
        return None;
    }
    let code = [Code::MaxConnections, Code::UidRefused]
        .into_iter()
        .find(|code| code.as_str() == refusal.code)?;
    (!refusal.success).then(|| Error::rule(code, refusal.error))
}
