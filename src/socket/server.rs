//! The accepting side: who is let in, whose turn it is to be read, and how a stop comes to its end.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use mio::Interest;
use mio::net::UnixListener;

use super::link::Link;
use super::path::{BoundSocket, peer_credentials};
use super::peer::Peer;
use super::{Event, Hub, Until};
use crate::error::{Code, Error, Result};
use crate::frame;
use crate::limits;
use crate::reactor::{Key, KeySet};
use crate::validate::Dialect;

/// Connections accepted in one turn, so that a flood of them does not hold the loop.
const ACCEPTS_PER_TURN: u32 = 64;

/// Frames that a connection which waited may hand over in any case: what a turn costs has to be
/// small beside them. If they fill the room, those that got nothing are the first next time.
const SHARE_MIN: u32 = 64;

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
    pub(super) peers: KeySet,
    pub(super) stalled: VecDeque<Key>,
    /// [`Event::Stopped`] is under way; only the counters are still of use.
    pub(super) stopped: bool,
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
        self.peers.insert(connection, Peer::new(key, link));
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

    /// Ends a stop as soon as nothing is left to wait for.
    pub(super) fn finish_stop(&mut self, key: Key) {
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
