//! The connecting side: one connection at a time, made again by itself when it is lost.

use std::io;
use std::time::{Duration, Instant};

use super::batch::Batch;
use super::inbound::Fill;
use super::link::{self, Link, Progress};
use super::{Backoff, Event, Hub, Until, check_text, path, server};
use crate::error::{Code, Error, Result};
use crate::frame;
use crate::limits;
use crate::reactor::Key;

/// The wording that callers match on.
pub(super) const NOT_CONNECTED: &str = "Not connected to Unix socket";

/// First and longest wait for a place in a full backlog.
const BACKLOG_WAIT: Duration = Duration::from_millis(1);
const BACKLOG_WAIT_MAX: Duration = Duration::from_millis(50);

/// How a client behaves. The defaults are those of [`limits`].
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Path of the socket file.
    pub path: String,
    /// Time one attempt may take.
    pub connect_timeout: Duration,
    /// Time that a new connection waits for a refusal.
    pub refusal_grace: Duration,
    /// Base of the reconnection backoff; `None` never reconnects.
    pub reconnect_delay: Option<Duration>,
    /// Longest reconnection wait.
    pub reconnect_delay_max: Duration,
    /// Longest frame body, in bytes, in both directions.
    pub frame_bytes_max: u32,
    /// Bytes that may wait for the server.
    pub outbound_bytes_max: u32,
}

impl ClientOptions {
    /// The defaults.
    pub fn new(path: impl Into<String>) -> Self {
        let ms = |ms: u32| Duration::from_millis(ms.into());
        ClientOptions {
            path: path.into(),
            connect_timeout: ms(limits::CONNECT_TIMEOUT_MS),
            refusal_grace: ms(limits::REFUSAL_GRACE_MS),
            reconnect_delay: Some(ms(limits::RECONNECT_DELAY_MS)),
            reconnect_delay_max: ms(limits::RECONNECT_DELAY_MS_MAX),
            frame_bytes_max: limits::FRAME_BYTES_MAX,
            outbound_bytes_max: limits::CLIENT_OUTBOUND_BYTES_MAX,
        }
    }
}

/// Counters since the client was made.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClientStats {
    /// Connections made.
    pub connections: u64,
    /// Frames sent.
    pub frames_sent: u64,
    /// Frames received, unread and bad ones included.
    pub frames_received: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Bytes that wait for the server.
    pub outbound_bytes: u64,
}

pub(super) enum State {
    /// No connection, and none is wanted.
    Idle,
    /// The server's backlog is full; try again after `wait`.
    Connecting { until: Instant, wait: Duration },
    /// Connected as far as the kernel is concerned; the server may still refuse.
    Grace(Link),
    /// Connected.
    Up(Link),
    /// Lost; the next attempt begins at the deadline of the client's key.
    Waiting,
}

impl State {
    pub(super) fn link(&mut self) -> Option<&mut Link> {
        match self {
            State::Up(link) => Some(link),
            _ => None,
        }
    }
}

pub(super) struct Client {
    pub(super) options: ClientOptions,
    pub(super) stats: ClientStats,
    pub(super) state: State,
    backoff: Option<Backoff>,
    /// The attempt under way was begun by the client itself, not by [`Hub::connect`].
    automatic: bool,
    /// There was a connection since the client last rested: a failed attempt, whoever began it, is
    /// followed by another.
    reconnects: bool,
    /// Frames are counted and dropped, because nobody listens.
    discards: bool,
}

impl Hub {
    /// A client at rest.
    ///
    /// # Errors
    /// [`Code::PathTooLong`], [`Code::InvalidArgument`].
    pub fn client(&mut self, options: ClientOptions) -> Result<Key> {
        path::check(&options.path)?;
        let backoff = options
            .reconnect_delay
            .map(|base| Backoff::new(base, options.reconnect_delay_max));
        let key = self.reactor.new_key();
        let client = Client {
            options,
            stats: ClientStats::default(),
            state: State::Idle,
            backoff,
            automatic: false,
            reconnects: false,
            discards: true,
        };
        self.clients.insert(key, client);
        Ok(key)
    }

    /// Forgets a client and closes its connection.
    pub fn drop_client(&mut self, key: Key) {
        self.disconnect(key);
        self.clients.remove(&key);
        self.batches.remove(&key);
    }

    /// Begins to connect. [`Event::Connected`] or [`Event::ConnectFailed`] follows. Does nothing
    /// if the client is connected.
    ///
    /// # Errors
    /// When the kernel refuses at once (`ENOENT`, `ECONNREFUSED`, `EACCES`). The client rests, or
    /// tries again by itself if it did so before.
    pub fn connect(&mut self, key: Key) -> Result<()> {
        let Some(client) = self.clients.get_mut(&key) else {
            return Ok(());
        };
        if let State::Up(link) = &client.state {
            if !link.write_failed() && !link.is_hung_up() {
                return Ok(());
            }
            // The loss has not been told yet.
            self.client_lost(key, link::lost(None));
        }
        let Some(client) = self.clients.get_mut(&key) else {
            return Ok(());
        };
        client.automatic = false;
        match client.state {
            // The attempt that is under way by itself serves this call too.
            State::Grace(_) | State::Up(_) => Ok(()),
            State::Connecting { .. } | State::Idle | State::Waiting => {
                let until = Instant::now() + client.options.connect_timeout;
                self.attempt(key, until, BACKLOG_WAIT)
                    .inspect_err(|_| self.give_up(key))
            }
        }
    }

    /// Closes the connection, ends every attempt and cancels a pending one. Bytes that the
    /// kernel has not taken are dropped. No event follows.
    pub fn disconnect(&mut self, key: Key) {
        if let Some(client) = self.clients.get_mut(&key)
            && let Some(link) = client.state.link()
        {
            // The last chance for what waits.
            let _ = link.flush();
        }
        self.rest(key);
    }

    /// Ends an attempt that somebody asked for.
    fn give_up(&mut self, key: Key) {
        if self
            .clients
            .get(&key)
            .is_some_and(|client| client.reconnects)
        {
            self.retry(key, None);
        } else {
            self.rest(key);
        }
    }

    fn rest(&mut self, key: Key) {
        self.reactor.set_deadline(key, None);
        let Some(client) = self.clients.get_mut(&key) else {
            return;
        };
        client.reconnects = false;
        if let Some(backoff) = &mut client.backoff {
            backoff.reset();
        }
        if let State::Up(mut link) | State::Grace(mut link) =
            std::mem::replace(&mut client.state, State::Idle)
        {
            self.reactor.deregister(link.source());
        }
    }

    /// Whether the client is connected, as the kernel knows it now.
    pub fn is_connected(&self, key: Key) -> bool {
        match self.clients.get(&key).map(|client| &client.state) {
            Some(State::Up(link)) => !link.write_failed() && !link.is_hung_up(),
            _ => false,
        }
    }

    /// Whether received frames are handed over; at first they are only counted.
    pub fn set_listening(&mut self, key: Key, listening: bool) {
        if let Some(client) = self.clients.get_mut(&key) {
            client.discards = !listening;
        }
    }

    /// How far a client and its server have read each other; `None` where there is no connection, or
    /// the system cannot tell.
    pub fn progress(&mut self, key: Key) -> Option<Progress> {
        let link = self.clients.get_mut(&key)?.state.link()?;
        link.progress()
    }

    /// Counters of a client.
    pub fn client_stats(&mut self, key: Key) -> Option<ClientStats> {
        let client = self.clients.get_mut(&key)?;
        let outbound_bytes = client
            .state
            .link()
            .map_or(0, |link| link.outbound_bytes() as u64);
        Some(ClientStats {
            outbound_bytes,
            ..client.stats
        })
    }

    fn attempt(&mut self, key: Key, until: Instant, wait: Duration) -> Result<()> {
        let Some(client) = self.clients.get_mut(&key) else {
            return Ok(());
        };
        let socket_path = client.options.path.clone();
        match path::connect(&socket_path) {
            Ok(stream) => {
                let mut link = Link::new(stream);
                link.register(&self.reactor, key)
                    .map_err(|error| Error::system("connect", socket_path, error))?;
                let grace = (Instant::now() + client.options.refusal_grace).min(until);
                client.state = State::Grace(link);
                self.reactor.set_deadline(key, Some(grace));
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                client.state = State::Connecting { until, wait };
                self.reactor
                    .set_deadline(key, Some((Instant::now() + wait).min(until)));
                Ok(())
            }
            Err(error) => Err(Error::system("connect", socket_path, error)),
        }
    }

    pub(super) fn client_deadline(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(&key) else {
            return;
        };
        match client.state {
            State::Idle => {}
            State::Connecting { until, wait } => {
                if Instant::now() >= until {
                    let error = Error::rule(
                        Code::ConnectTimeout,
                        format!(
                            "Connection timeout after {}ms",
                            client.options.connect_timeout.as_millis()
                        ),
                    );
                    self.attempt_failed(key, error);
                } else if let Err(error) =
                    self.attempt(key, until, (wait * 2).min(BACKLOG_WAIT_MAX))
                {
                    self.attempt_failed(key, error);
                }
            }
            State::Grace(_) => {
                // The refusal may be there already if the loop was late.
                self.client_turn(key, Until::WouldBlock);
                self.connected(key);
            }
            // The server took no more bytes and did not close either.
            State::Up(_) => self.client_lost(key, link::lost(None)),
            State::Waiting => {
                client.automatic = true;
                let until = Instant::now() + client.options.connect_timeout;
                if let Err(error) = self.attempt(key, until, BACKLOG_WAIT) {
                    self.attempt_failed(key, error);
                }
            }
        }
    }

    fn attempt_failed(&mut self, key: Key, error: Error) {
        let Some(client) = self.clients.get(&key) else {
            return;
        };
        if client.automatic {
            self.retry(key, Some(error));
        } else {
            self.push_event(key, Event::ConnectFailed { client: key, error });
            self.give_up(key);
        }
    }

    fn connected(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(&key) else {
            return;
        };
        if !matches!(client.state, State::Grace(_)) {
            return;
        }
        if let State::Grace(link) = std::mem::replace(&mut client.state, State::Idle) {
            client.state = State::Up(link);
            client.stats.connections += 1;
            client.reconnects = client.backoff.is_some();
            if let Some(backoff) = &mut client.backoff {
                backoff.reset();
            }
            self.reactor.set_deadline(key, None);
            self.push_event(key, Event::Connected { client: key });
        }
    }

    fn retry(&mut self, key: Key, error: Option<Error>) {
        let Some(client) = self.clients.get_mut(&key) else {
            return;
        };
        if let State::Up(mut link) | State::Grace(mut link) =
            std::mem::replace(&mut client.state, State::Idle)
        {
            self.reactor.deregister(link.source());
        }
        self.reactor.set_deadline(key, None);
        let Some(backoff) = &mut client.backoff else {
            return;
        };
        let wait = backoff.next_wait();
        let attempt = backoff.attempt();
        client.state = State::Waiting;
        self.reactor.set_deadline(key, Some(Instant::now() + wait));
        self.push_event(
            key,
            Event::RetryScheduled {
                client: key,
                attempt,
                wait,
                error,
            },
        );
    }

    fn client_lost(&mut self, key: Key, error: Error) {
        let Some(client) = self.clients.get_mut(&key) else {
            return;
        };
        match client.state {
            State::Up(_) => {
                self.push_event(key, Event::Disconnected { client: key, error });
                self.retry(key, None);
            }
            State::Grace(_) => self.attempt_failed(key, error),
            _ => {}
        }
    }

    /// One turn of the connection: writes what waits, then reads a bounded amount.
    pub(super) fn client_turn(&mut self, key: Key, until: Until) {
        let Some(client) = self.clients.get_mut(&key) else {
            return;
        };
        if let Some(link) = client.state.link()
            && (link.outbound_bytes() > 0 || link.has_news())
        {
            let flushed = link.flush();
            if let Some(written) = link.news() {
                self.events.push(Event::Flushed {
                    connection: key,
                    written,
                });
            }
            if let Err(error) = flushed {
                self.write_failed(key, &error);
            }
            self.watch_writable(key);
        }
        let mut budget = limits::READ_TURN_BYTES;
        let mut is_empty = false;
        let ended = loop {
            match self.receive(key) {
                Ok(()) => {}
                Err(error) => break Some(error),
            }
            let Some(client) = self.clients.get_mut(&key) else {
                return;
            };
            let frame_bytes_max = client.options.frame_bytes_max;
            let (State::Up(link) | State::Grace(link)) = &mut client.state else {
                return;
            };
            if is_empty {
                break None;
            }
            if budget == 0 {
                self.again(key);
                break None;
            }
            match link.fill(frame_bytes_max, &mut self.spare) {
                fill @ (Fill::Bytes(count) | Fill::Short(count)) => {
                    client.stats.bytes_received += count as u64;
                    budget = budget.saturating_sub(count);
                    is_empty = until == Until::Short && matches!(fill, Fill::Short(_));
                }
                Fill::WouldBlock => break None,
                Fill::End => break Some(link::lost(None)),
                Fill::Failed(error) => break Some(link::lost(Some(error))),
            }
        };
        if let Some(client) = self.clients.get_mut(&key)
            && let State::Up(link) | State::Grace(link) = &mut client.state
        {
            link.inbound.settle(&mut self.spare);
        }
        if let Some(error) = ended {
            self.client_lost(key, error);
        }
    }

    /// Hands complete frames over, or drops them.
    fn receive(&mut self, key: Key) -> Result<()> {
        loop {
            let Some(client) = self.clients.get_mut(&key) else {
                return Ok(());
            };
            let frame_bytes_max = client.options.frame_bytes_max;
            if let State::Grace(link) = &client.state {
                match link.inbound.peek_frame(frame_bytes_max)? {
                    None => return Ok(()),
                    Some(frame) => server::refusal(frame).map_or(Ok(()), Err)?,
                }
                // A server that speaks has let us in.
                self.connected(key);
                continue;
            }
            let State::Up(link) = &mut client.state else {
                return Ok(());
            };
            let is_first = link.inbound.frames() == 0;
            let Some(frame) = link.inbound.next_frame(frame_bytes_max)? else {
                return Ok(());
            };
            // A refusal that comes after the grace period ends the connection just the same.
            if is_first && let Some(error) = server::refusal(frame) {
                return Err(error);
            }
            client.stats.frames_received += 1;
            let is_control = frame::is_marked(frame);
            if client.discards && !is_control {
                continue;
            }
            match check_text(frame) {
                Ok(()) => {
                    let batch = Batch::of(&mut self.batches, key);
                    let number = is_control.into();
                    if let Some(frames) = batch.push(&mut self.scanner, key, frame, number) {
                        self.push_frames(key, frames);
                    }
                }
                Err(error) => {
                    self.push_event(
                        key,
                        Event::BadFrame {
                            owner: key,
                            connection: key,
                            error,
                            id: None,
                            number: 0,
                        },
                    );
                }
            }
        }
    }
}
