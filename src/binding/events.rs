//! How the events of one wake-up cross the boundary: in one array, one behind the other.

use std::cell::RefCell;

use napi::sys;

use super::answers::{Answer, answer};
use super::errors;
use super::inbox::Inbox;
use super::sources::{Sources, Told};
use super::text::{check, write_utf8};
use crate::error::Error;
use crate::queue::Completion;
use crate::reactor::Key;
use crate::socket::{Event, Frames};

/// The first element of each event in the array that the dispatcher receives, with the elements
/// that follow it. `ts/native.ts` has the same names in the same order. Bytes are a buffer, and where
/// they begin and end in it.
#[derive(Clone, Copy)]
enum Kind {
    /// nobody, buffer, begin, end
    Shapes,
    /// nobody
    ShapesForgotten,
    /// owner, buffer, begin, end, [connection, count, number of the first marked frame or 0, …]
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
    /// queue, ticket, whether suspected messages follow, buffer, begin, end
    Claimed,
    /// queue
    Doorbell,
}

/// Builds the array for the dispatcher: the events one after the other, flat.
pub fn encode(
    env: sys::napi_env,
    inbox: &mut Inbox,
    sources: &RefCell<Sources>,
    events: Vec<Event>,
    told: Vec<Told>,
) -> errors::Result<sys::napi_value> {
    let mut list = List::new(env)?;
    for event in events {
        match event {
            Event::Shapes { definitions } => {
                list.begin(Kind::Shapes, None)?;
                list.bytes(inbox, &definitions)?;
            }
            Event::ShapesForgotten => list.begin(Kind::ShapesForgotten, None)?,
            Event::Frames {
                owner,
                frames: Frames { notes, runs },
            } => {
                list.begin(Kind::Frames, owner)?;
                list.bytes(inbox, &notes)?;
                let mut flat = List::new(env)?;
                for run in runs {
                    flat.number(run.connection.to_number())?;
                    flat.number(run.count.into())?;
                    flat.number(run.first as f64)?;
                }
                list.push(flat.array)?;
            }
            Event::BadFrame {
                owner,
                connection,
                error,
                id,
                number,
            } => {
                list.begin(Kind::BadFrame, owner)?;
                list.number(connection.to_number())?;
                list.error(Some(&error))?;
                match id {
                    Some(id) => list.push(write_utf8(env, id.as_bytes(), false)?)?,
                    None => list.null()?,
                }
                list.number(number as f64)?;
            }
            Event::Connected { client } => list.begin(Kind::Connected, client)?,
            Event::ConnectFailed { client, error } => {
                list.begin(Kind::ConnectFailed, client)?;
                list.error(Some(&error))?;
            }
            Event::Disconnected { client, error } => {
                list.begin(Kind::Disconnected, client)?;
                list.error(Some(&error))?;
            }
            Event::RetryScheduled {
                client,
                attempt,
                wait,
                error,
            } => {
                list.begin(Kind::RetryScheduled, client)?;
                list.number(attempt.into())?;
                list.number(wait.as_secs_f64() * 1e3)?;
                list.error(error.as_ref())?;
            }
            Event::Flushed {
                connection,
                written,
            } => {
                list.begin(Kind::Flushed, connection)?;
                list.number(written as f64)?;
            }
            Event::Accepted {
                server,
                connection,
                credentials,
            } => {
                list.begin(Kind::Accepted, server)?;
                list.number(connection.to_number())?;
                list.number(credentials.uid.into())?;
                list.number(credentials.pid.into())?;
            }
            Event::Refused {
                server,
                credentials,
                error,
            } => {
                list.begin(Kind::Refused, server)?;
                list.number(credentials.uid.into())?;
                list.number(credentials.pid.into())?;
                list.error(Some(&error))?;
            }
            Event::PeerClosed {
                server,
                connection,
                error,
            } => {
                list.begin(Kind::PeerClosed, server)?;
                list.number(connection.to_number())?;
                list.error(error.as_ref())?;
            }
            Event::AcceptFailed { server, error } => {
                list.begin(Kind::AcceptFailed, server)?;
                list.error(Some(&error))?;
            }
            Event::Stopped { server, cut } => {
                list.begin(Kind::Stopped, server)?;
                list.number(cut.into())?;
            }
        }
    }
    for told in told {
        match told {
            Told::Completed(queue, Completion { ticket, result }) => match result.map(answer) {
                Ok(Answer::Claimed(claimed)) => {
                    let mut sources = sources.borrow_mut();
                    let scanner = &mut sources.of(queue).scanner;
                    list.begin(Kind::Claimed, queue)?;
                    list.number(ticket as f64)?;
                    list.number(f64::from(u8::from(claimed.suspects)))?;
                    list.bytes(inbox, &scanner.package(claimed.json.as_bytes()))?;
                }
                Ok(Answer::Json(json)) => {
                    list.begin(Kind::Completed, queue)?;
                    list.number(ticket as f64)?;
                    list.null()?;
                    list.push(write_utf8(env, json.as_bytes(), json.is_ascii())?)?;
                }
                Err(error) => {
                    list.begin(Kind::Completed, queue)?;
                    list.number(ticket as f64)?;
                    list.error(Some(&error))?;
                }
            },
            Told::Rung(queue) => list.begin(Kind::Doorbell, queue)?,
        }
    }
    Ok(list.array)
}

/// A JavaScript array in the making.
struct List {
    env: sys::napi_env,
    array: sys::napi_value,
    length: u32,
}

impl List {
    fn new(env: sys::napi_env) -> errors::Result<Self> {
        let mut array = std::ptr::null_mut();
        // SAFETY: `env` is the environment of this thread, inside a handle scope.
        check(unsafe { sys::napi_create_array(env, &raw mut array) })?;
        Ok(List {
            env,
            array,
            length: 0,
        })
    }

    fn push(&mut self, value: sys::napi_value) -> errors::Result<()> {
        // SAFETY: both values belong to the open handle scope.
        check(unsafe { sys::napi_set_element(self.env, self.array, self.length, value) })?;
        self.length += 1;
        Ok(())
    }

    /// The buffer that has `bytes`, and where they begin and end in it.
    fn bytes(&mut self, inbox: &mut Inbox, bytes: &[u8]) -> errors::Result<()> {
        let (buffer, begin) = inbox.put(self.env, bytes)?;
        self.push(buffer)?;
        self.number(begin as f64)?;
        self.number((begin + bytes.len()) as f64)
    }

    fn number(&mut self, number: f64) -> errors::Result<()> {
        let mut value = std::ptr::null_mut();
        let whole = number as i32;
        // SAFETY: as in `new`.
        check(unsafe {
            // V8 keeps short integers in the array itself, others on its heap.
            if f64::from(whole) == number {
                sys::napi_create_int32(self.env, whole, &raw mut value)
            } else {
                sys::napi_create_double(self.env, number, &raw mut value)
            }
        })?;
        self.push(value)
    }

    fn begin(&mut self, kind: Kind, owner: impl Into<Option<Key>>) -> errors::Result<()> {
        self.number(f64::from(kind as u8))?;
        self.number(owner.into().map_or(0.0, Key::to_number))
    }

    /// Code and message, or twice null.
    fn error(&mut self, error: Option<&Error>) -> errors::Result<()> {
        match error {
            Some(error) => {
                self.push(write_utf8(self.env, error.code().as_bytes(), true)?)?;
                self.push(write_utf8(self.env, error.to_string().as_bytes(), false)?)
            }
            None => {
                self.null()?;
                self.null()
            }
        }
    }

    fn null(&mut self) -> errors::Result<()> {
        let mut null = std::ptr::null_mut();
        // SAFETY: as in `new`.
        check(unsafe { sys::napi_get_null(self.env, &raw mut null) })?;
        self.push(null)
    }
}
