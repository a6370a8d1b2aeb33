//! One connection of a server: what is read of it and when, the greeting, and how it ends.

use std::time::Instant;

use super::batch::Batch;
use super::inbound::{Fill, Look};
use super::link::Link;
use super::{Event, Hub, Until, check_text};
use crate::error::{Code, Error, Result};
use crate::frame;
use crate::limits;
use crate::reactor::Key;
use crate::validate::{self, Dialect, QUEUE_MESSAGE, Refusal};

/// Of the control frames that a server sends; see `docs/protocol.md`.
const ACKNOWLEDGEMENT_VERSION: u32 = 1;

/// The server's side of a connection.
pub(super) struct Peer {
    pub(super) link: Link,
    pub(super) server: Key,
    pub(super) in_flight: u32,
    pub(super) stalled: bool,
    /// Frames that it may still hand over before the others that waited have had their turn.
    pub(super) share: Option<u32>,
    /// It has handed a frame over in its last turn.
    pub(super) is_served: bool,
    /// Nothing more will be read from the kernel.
    ended: bool,
    /// The server stops: read what is there, then refuse more.
    pub(super) draining: bool,
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
    /// A connection of this server.
    pub(super) fn new(server: Key, link: Link) -> Self {
        Peer {
            link,
            server,
            in_flight: 0,
            stalled: false,
            share: None,
            is_served: false,
            ended: false,
            draining: false,
            watched_frame: None,
            marked: 0,
            greeting: Greeting::NotDue,
        }
    }

    /// Whether a read is preceded by a look. Whoever wants acknowledgements marks the first frame as
    /// a rule; a plain client should not have to pay for a look at each. Where the first one is not
    /// marked, a greeting leaves in the turn that reads a marked one, unless replies wait before it.
    fn is_looked_at(&self) -> bool {
        self.link.inbound.frames() == 0 || self.link.outbound_bytes() > 0
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
    /// Closes one connection at once, without an error.
    pub fn disconnect_peer(&mut self, connection: Key) {
        self.close_peer(connection, None);
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
            peer.link.inbound.settle(&mut self.spare);
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
            && peer.link.inbound.holds_marked(frame_bytes_max)
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
            let Some(frame) = peer
                .link
                .inbound
                .next_frame(server.options.frame_bytes_max)?
            else {
                return Ok(true);
            };
            server.stats.frames_received += 1;
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
                Ok(()) => {
                    let batch = Batch::of(&mut self.batches, owner);
                    if let Some(frames) = batch.push(&mut self.scanner, key, frame, number) {
                        self.push_frames(owner, frames);
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
        if is_ours || !peer.link.inbound.has_partial_frame() {
            if peer.watched_frame.take().is_some() {
                self.reactor.set_deadline(key, None);
            }
            return;
        }
        if peer.watched_frame != Some(peer.link.inbound.frames()) {
            peer.watched_frame = Some(peer.link.inbound.frames());
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
    pub(super) fn finish_peer(&mut self, key: Key) {
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

    pub(super) fn remove_peer(&mut self, key: Key, error: Option<Error>) -> Option<Key> {
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
}

/// Whether a frame may be handed over. A refusal carries the `id`
/// of a message that is JSON but breaks the rules.
fn judge(
    frame: &[u8],
    dialect: Option<Dialect>,
) -> std::result::Result<(), (Error, Option<String>)> {
    check_text(frame).map_err(|error| (error, None))?;
    let Some(dialect) = dialect else {
        return Ok(());
    };
    match validate::validate_json(&QUEUE_MESSAGE, frame, dialect) {
        Ok(()) => Ok(()),
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
