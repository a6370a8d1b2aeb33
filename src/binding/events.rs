//! How the events of one wake-up cross the boundary: together, one behind the other.

use std::ptr;

use napi::sys;

use super::answers::{Answer, answer};
use super::errors;
use super::inbox::Inbox;
use super::sources::Told;
use super::text::{check, write_utf8};
use crate::error::Error;
use crate::queue::Completion;
use crate::reactor::Key;
use crate::socket::{Event, Frames};

/// The first number of each event that the dispatcher receives, and what follows it. `ts/native.ts` has
/// the same names in the same order, `ts/hub-events.ts` the form of what follows.
#[derive(Clone, Copy)]
enum Kind {
    /// nobody, bytes
    Shapes,
    /// nobody
    ShapesForgotten,
    /// owner, bytes, [connection, count, number of the first marked frame or 0, …]
    Frames,
    /// owner, connection, code, message, id as JSON or null, number among the marked frames or 0
    BadFrame,
    /// client
    Connected,
    /// client, code, message
    ConnectFailed,
    /// client, code, message
    Disconnected,
    /// client, attempt, wait in ms, code or null, message or null
    RetryScheduled,
    /// connection, bytes written
    Flushed,
    /// server, connection, uid, pid
    Accepted,
    /// server, uid, pid, code, message
    Refused,
    /// server, connection, code or null, message or null
    PeerClosed,
    /// server, code, message
    AcceptFailed,
    /// server, connections cut
    Stopped,
    /// queue, ticket, code or null, message or the answer as JSON
    Completed,
    /// queue, ticket, bytes, whether suspected messages follow
    Claimed,
    /// queue
    Doorbell,
}

/// Room for the numbers of a wake-up that brings a few events.
const NUMBERS: usize = 32;

/// What the dispatcher is called with: the buffer with the numbers, where among them those of these events
/// begin and how many there are, the inbox, and the values that are no numbers, if there are any.
pub type Arguments = [sys::napi_value; 5];

/// Encodes the events for the dispatcher, one behind the other.
pub fn encode(
    env: sys::napi_env,
    inbox: &mut Inbox,
    events: Vec<Event>,
    told: Vec<Told>,
) -> errors::Result<Arguments> {
    let mut list = List::new(env);
    for event in events {
        match event {
            Event::Shapes { definitions } => {
                list.begin(Kind::Shapes, None);
                list.bytes(inbox, &definitions)?;
            }
            Event::ShapesForgotten => list.begin(Kind::ShapesForgotten, None),
            Event::Frames {
                owner,
                frames: Frames { notes, runs },
            } => {
                list.begin(Kind::Frames, owner);
                list.bytes(inbox, &notes)?;
                list.number((runs.len() * 3) as f64);
                for run in runs {
                    list.number(run.connection.to_number());
                    list.number(run.count.into());
                    list.number(run.first as f64);
                }
            }
            Event::BadFrame {
                owner,
                connection,
                error,
                id,
                number,
            } => {
                list.begin(Kind::BadFrame, owner);
                list.number(connection.to_number());
                list.error(Some(&error))?;
                match id {
                    Some(id) => list.value(write_utf8(env, id.as_bytes(), false)?)?,
                    None => list.null()?,
                }
                list.number(number as f64);
            }
            Event::Connected { client } => list.begin(Kind::Connected, client),
            Event::ConnectFailed { client, error } => {
                list.begin(Kind::ConnectFailed, client);
                list.error(Some(&error))?;
            }
            Event::Disconnected { client, error } => {
                list.begin(Kind::Disconnected, client);
                list.error(Some(&error))?;
            }
            Event::RetryScheduled {
                client,
                attempt,
                wait,
                error,
            } => {
                list.begin(Kind::RetryScheduled, client);
                list.number(attempt.into());
                list.number(wait.as_secs_f64() * 1e3);
                list.error(error.as_ref())?;
            }
            Event::Flushed {
                connection,
                written,
            } => {
                list.begin(Kind::Flushed, connection);
                list.number(written as f64);
            }
            Event::Accepted {
                server,
                connection,
                credentials,
            } => {
                list.begin(Kind::Accepted, server);
                list.number(connection.to_number());
                list.number(credentials.uid.into());
                list.number(credentials.pid.into());
            }
            Event::Refused {
                server,
                credentials,
                error,
            } => {
                list.begin(Kind::Refused, server);
                list.number(credentials.uid.into());
                list.number(credentials.pid.into());
                list.error(Some(&error))?;
            }
            Event::PeerClosed {
                server,
                connection,
                error,
            } => {
                list.begin(Kind::PeerClosed, server);
                list.number(connection.to_number());
                list.error(error.as_ref())?;
            }
            Event::AcceptFailed { server, error } => {
                list.begin(Kind::AcceptFailed, server);
                list.error(Some(&error))?;
            }
            Event::Stopped { server, cut } => {
                list.begin(Kind::Stopped, server);
                list.number(cut.into());
            }
        }
    }
    for told in told {
        match told {
            Told::Completed(queue, Completion { ticket, result }) => match result.map(answer) {
                Ok(Answer::Claimed(claimed)) => {
                    list.begin(Kind::Claimed, queue);
                    list.number(ticket as f64);
                    list.bytes(inbox, &claimed.bytes)?;
                    list.number(f64::from(u8::from(claimed.suspects)));
                }
                Ok(Answer::Json(json)) => {
                    list.begin(Kind::Completed, queue);
                    list.number(ticket as f64);
                    list.null()?;
                    list.value(write_utf8(env, json.as_bytes(), json.is_ascii())?)?;
                }
                Err(error) => {
                    list.begin(Kind::Completed, queue);
                    list.number(ticket as f64);
                    list.error(Some(&error))?;
                }
            },
            Told::Rung(queue) => list.begin(Kind::Doorbell, queue),
        }
    }
    list.finish(inbox)
}

/// Events in the making. A number crosses the boundary in a buffer: as an element of an array it
/// would cost a call.
struct List {
    env: sys::napi_env,
    numbers: Vec<f64>,
    /// An array of what is no number; null as long as there is nothing.
    values: sys::napi_value,
    values_count: u32,
}

impl List {
    fn new(env: sys::napi_env) -> Self {
        List {
            env,
            numbers: Vec::with_capacity(NUMBERS),
            values: ptr::null_mut(),
            values_count: 0,
        }
    }

    fn finish(mut self, inbox: &mut Inbox) -> errors::Result<Arguments> {
        let (numbers, begin) = inbox.put_numbers(self.env, &self.numbers)?;
        let count = self.numbers.len();
        if self.values.is_null() {
            // SAFETY: `env` is the environment of this thread, inside a handle scope.
            check(unsafe { sys::napi_get_undefined(self.env, &raw mut self.values) })?;
        }
        Ok([
            numbers,
            self.whole(begin)?,
            self.whole(count)?,
            inbox.buffer(self.env)?,
            self.values,
        ])
    }

    fn whole(&self, number: usize) -> errors::Result<sys::napi_value> {
        let mut value = ptr::null_mut();
        // SAFETY: as in `finish`.
        check(unsafe { sys::napi_create_double(self.env, number as f64, &raw mut value) })?;
        Ok(value)
    }

    fn begin(&mut self, kind: Kind, owner: impl Into<Option<Key>>) {
        self.number(f64::from(kind as u8));
        self.number(owner.into().map_or(0.0, Key::to_number));
    }

    fn number(&mut self, number: f64) {
        self.numbers.push(number);
    }

    fn value(&mut self, value: sys::napi_value) -> errors::Result<()> {
        // SAFETY: as in `finish`; `value` belongs to the same scope.
        unsafe {
            if self.values.is_null() {
                check(sys::napi_create_array(self.env, &raw mut self.values))?;
            }
            check(sys::napi_set_element(
                self.env,
                self.values,
                self.values_count,
                value,
            ))?;
        }
        self.values_count += 1;
        Ok(())
    }

    /// Three numbers: whether the bytes are in a buffer of their own, which then is a value, and where
    /// they begin and end in it.
    fn bytes(&mut self, inbox: &mut Inbox, bytes: &[u8]) -> errors::Result<()> {
        let (own, begin) = inbox.copy(self.env, bytes)?;
        self.number(f64::from(u8::from(own.is_some())));
        self.number(begin as f64);
        self.number((begin + bytes.len()) as f64);
        own.map_or(Ok(()), |buffer| self.value(buffer))
    }

    /// Code and message, or twice null.
    fn error(&mut self, error: Option<&Error>) -> errors::Result<()> {
        match error {
            Some(error) => {
                self.value(write_utf8(self.env, error.code().as_bytes(), true)?)?;
                self.value(write_utf8(self.env, error.to_string().as_bytes(), false)?)
            }
            None => {
                self.null()?;
                self.null()
            }
        }
    }

    fn null(&mut self) -> errors::Result<()> {
        let mut null = ptr::null_mut();
        // SAFETY: as in `finish`.
        check(unsafe { sys::napi_get_null(self.env, &raw mut null) })?;
        self.value(null)
    }
}
