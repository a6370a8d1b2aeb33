//! The sockets of one environment, and how its events cross the boundary.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use napi::bindgen_prelude::*;
use napi::{JsValue, sys};
use napi_derive::napi;

use super::errors::{self, exception};
use super::event_loop::EventLoop;
use super::functions::{Call, define};
use super::messages::{malformed, notes_of};
use super::queue::NativeDialect;
use super::text::read_utf8;
use crate::frame::{HEADER_PLACE, MARK};
use crate::reactor::Key;
use crate::socket::{ClientOptions, ServerOptions};
use crate::validate::Dialect;
use crate::values::{self, Around, Malformed};

/// Options of `NativeHub.listen`; missing ones take the defaults of the core.
#[napi(object)]
pub struct NativeServerOptions {
    pub path: String,
    pub mode: Option<u32>,
    pub max_connections: Option<u32>,
    pub max_frame_bytes: Option<u32>,
    pub frame_timeout_ms: Option<u32>,
    pub high_water_mark: Option<u32>,
    pub max_outbound_bytes: Option<u32>,
    pub allowed_uids: Option<Vec<u32>>,
    pub validate: Option<NativeDialect>,
}

/// Options of `NativeHub.client`; missing ones take the defaults of the core.
#[napi(object)]
pub struct NativeClientOptions {
    pub path: String,
    pub connect_timeout_ms: Option<u32>,
    pub refusal_grace_ms: Option<u32>,
    /// A negative delay switches reconnection off.
    pub reconnect_delay_ms: Option<i32>,
    pub max_reconnect_delay_ms: Option<u32>,
    pub max_frame_bytes: Option<u32>,
    pub max_outbound_bytes: Option<u32>,
}

/// Counters of a server.
#[napi(object)]
pub struct NativeServerStats {
    pub connections: u32,
    pub accepted: f64,
    pub refused: f64,
    pub frames_received: f64,
    pub bad_frames: f64,
    pub bytes_received: f64,
    pub frames_sent: f64,
    pub outbound_bytes: f64,
    pub in_flight: u32,
    pub stalled_connections: u32,
}

/// How far a client and its server have read each other, in bytes and, at last, in frames.
#[napi(object)]
pub struct NativeProgress {
    pub unread: f64,
    pub read_at_least: f64,
    pub unseen: f64,
    pub received: f64,
    pub frames: f64,
}

/// Counters of a client.
#[napi(object)]
pub struct NativeClientStats {
    pub connections: f64,
    pub frames_sent: f64,
    pub frames_received: f64,
    pub bytes_received: f64,
    pub outbound_bytes: f64,
}

fn ms(value: Option<u32>, default: Duration) -> Duration {
    value.map_or(default, |ms| Duration::from_millis(ms.into()))
}

/// See `events::Arguments`.
type DispatchArguments<'a> = FnArgs<(
    ArrayBuffer<'a>,
    f64,
    f64,
    ArrayBuffer<'a>,
    Option<Array<'a>>,
)>;

/// All sockets of one environment.
#[napi]
pub struct NativeHub {
    event_loop: Rc<EventLoop>,
}

impl NativeHub {
    /// The event loop that queues of this environment share with the sockets.
    pub(super) fn event_loop(&self) -> Rc<EventLoop> {
        Rc::clone(&self.event_loop)
    }
}

#[napi]
impl NativeHub {
    /// Gives itself the functions `write`, `writeBytes`, `writeValues`, `settle` and `isConnected`, see
    /// below.
    #[napi(constructor, catch_unwind)]
    pub fn new(
        env: Env,
        this: This<'_>,
        dispatch: Function<'_, DispatchArguments<'_>, ()>,
    ) -> errors::Result<Self> {
        let (env, this) = (env.raw(), this.raw());
        let event_loop = EventLoop::start(env, dispatch.raw())?;
        define_functions(env, this, &event_loop).inspect_err(|_| event_loop.close())?;
        Ok(NativeHub { event_loop })
    }

    /// Whether the environment's event loop has something to live for.
    #[napi(catch_unwind)]
    pub fn set_keep_alive(&self, alive: bool) {
        self.event_loop.set_keep_alive(alive);
    }

    #[napi(catch_unwind)]
    pub fn listen(&self, options: NativeServerOptions) -> errors::Result<f64> {
        let mut server = ServerOptions::new(options.path);
        server.mode = options.mode.unwrap_or(server.mode);
        server.connections_max = options.max_connections.unwrap_or(server.connections_max);
        server.frame_bytes_max = options.max_frame_bytes.unwrap_or(server.frame_bytes_max);
        server.frame_timeout = ms(options.frame_timeout_ms, server.frame_timeout);
        server.high_water_mark = options.high_water_mark.unwrap_or(server.high_water_mark);
        server.outbound_bytes_max = options
            .max_outbound_bytes
            .unwrap_or(server.outbound_bytes_max);
        server.allowed_uids = options.allowed_uids.unwrap_or(server.allowed_uids);
        server.validate = options.validate.map(Dialect::from);
        let key = self
            .event_loop
            .with_hub(|hub| hub.listen(server))?
            .map_err(exception)?;
        Ok(key.to_number())
    }

    #[napi(catch_unwind)]
    pub fn stop(&self, server: f64, deadline_ms: u32) -> errors::Result<()> {
        let deadline = Instant::now() + Duration::from_millis(deadline_ms.into());
        self.event_loop
            .with_hub(|hub| hub.stop(Key::from_number(server), deadline))
    }

    /// Closes every socket and leaves the event loop.
    #[napi(catch_unwind)]
    pub fn close(&self) {
        self.event_loop.close();
    }

    /// Removes the socket files of all servers; for the end of the process.
    #[napi(catch_unwind)]
    pub fn release_paths(&self) -> errors::Result<()> {
        self.event_loop.with_hub(|hub| hub.release_paths())
    }

    #[napi(catch_unwind)]
    pub fn server_stats(&self, server: f64) -> errors::Result<Option<NativeServerStats>> {
        let stats = self
            .event_loop
            .with_hub(|hub| hub.server_stats(Key::from_number(server)))?;
        Ok(stats.map(|stats| NativeServerStats {
            connections: stats.connections,
            accepted: stats.accepted as f64,
            refused: stats.refused as f64,
            frames_received: stats.frames_received as f64,
            bad_frames: stats.bad_frames as f64,
            bytes_received: stats.bytes_received as f64,
            frames_sent: stats.frames_sent as f64,
            outbound_bytes: stats.outbound_bytes as f64,
            in_flight: stats.in_flight,
            stalled_connections: stats.stalled,
        }))
    }

    #[napi(catch_unwind)]
    pub fn disconnect_peer(&self, connection: f64) -> errors::Result<()> {
        self.event_loop
            .with_hub(|hub| hub.disconnect_peer(Key::from_number(connection)))
    }

    #[napi(catch_unwind)]
    pub fn client(&self, options: NativeClientOptions) -> errors::Result<f64> {
        let mut client = ClientOptions::new(options.path);
        client.connect_timeout = ms(options.connect_timeout_ms, client.connect_timeout);
        client.refusal_grace = ms(options.refusal_grace_ms, client.refusal_grace);
        if let Some(delay) = options.reconnect_delay_ms {
            client.reconnect_delay = u32::try_from(delay)
                .ok()
                .map(|delay| Duration::from_millis(delay.into()));
        }
        client.reconnect_delay_max = ms(options.max_reconnect_delay_ms, client.reconnect_delay_max);
        client.frame_bytes_max = options.max_frame_bytes.unwrap_or(client.frame_bytes_max);
        client.outbound_bytes_max = options
            .max_outbound_bytes
            .unwrap_or(client.outbound_bytes_max);
        let key = self
            .event_loop
            .with_hub(|hub| hub.client(client))?
            .map_err(exception)?;
        Ok(key.to_number())
    }

    #[napi(catch_unwind)]
    pub fn connect(&self, client: f64) -> errors::Result<()> {
        let client = Key::from_number(client);
        self.event_loop
            .with_hub(|hub| hub.connect(client))?
            .map_err(exception)
    }

    #[napi(catch_unwind)]
    pub fn disconnect(&self, client: f64) -> errors::Result<()> {
        self.event_loop
            .with_hub(|hub| hub.disconnect(Key::from_number(client)))
    }

    #[napi(catch_unwind)]
    pub fn drop_client(&self, client: f64) -> errors::Result<()> {
        self.event_loop
            .with_hub(|hub| hub.drop_client(Key::from_number(client)))
    }

    #[napi(catch_unwind)]
    pub fn set_listening(&self, client: f64, listening: bool) -> errors::Result<()> {
        self.event_loop
            .with_hub(|hub| hub.set_listening(Key::from_number(client), listening))
    }

    /// How far client and server have read each other, or null if that cannot be known.
    #[napi(catch_unwind)]
    pub fn progress(&self, client: f64) -> errors::Result<Option<NativeProgress>> {
        let progress = self
            .event_loop
            .with_hub(|hub| hub.progress(Key::from_number(client)))?;
        Ok(progress.map(|progress| NativeProgress {
            unread: progress.unread as f64,
            read_at_least: progress.read_at_least as f64,
            unseen: progress.unseen as f64,
            received: progress.received as f64,
            frames: progress.frames as f64,
        }))
    }

    #[napi(catch_unwind)]
    pub fn client_stats(&self, client: f64) -> errors::Result<Option<NativeClientStats>> {
        let stats = self
            .event_loop
            .with_hub(|hub| hub.client_stats(Key::from_number(client)))?;
        Ok(stats.map(|stats| NativeClientStats {
            connections: stats.connections as f64,
            frames_sent: stats.frames_sent as f64,
            frames_received: stats.frames_received as f64,
            bytes_received: stats.bytes_received as f64,
            outbound_bytes: stats.outbound_bytes as f64,
        }))
    }
}

fn define_functions(
    env: sys::napi_env,
    hub: sys::napi_value,
    event_loop: &Rc<EventLoop>,
) -> errors::Result<()> {
    let writer = Rc::new(Writer {
        event_loop: Rc::clone(event_loop),
        scratch: RefCell::default(),
    });
    define(env, hub, c"write", &writer, write)?;
    define(env, hub, c"writeBytes", &writer, write_bytes)?;
    define(env, hub, c"writeValues", &writer, write_values)?;
    define(env, hub, c"settle", event_loop, settle)?;
    define(env, hub, c"isConnected", event_loop, is_connected)
}

/// `settle(server, connection, count)`: so many more messages of a server's connection are done.
fn settle(event_loop: &EventLoop, call: &Call<3>) -> errors::Result<f64> {
    let [server, connection] = [call.number(0)?, call.number(1)?].map(Key::from_number);
    let count = call.whole(2)?;
    event_loop.with_hub(|hub| hub.settle(server, connection, count))?;
    Ok(0.0)
}

/// `isConnected(client)`: 1 if it has a connection of which the kernel knows no end, else 0. Callers ask
/// before they send.
fn is_connected(event_loop: &EventLoop, call: &Call<1>) -> errors::Result<f64> {
    let client = Key::from_number(call.number(0)?);
    let is_connected = event_loop.with_hub(|hub| hub.is_connected(client))?;
    Ok(f64::from(u8::from(is_connected)))
}

/// A larger write buffer is given back after use.
const SCRATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What writes to the connections.
struct Writer {
    event_loop: Rc<EventLoop>,
    /// The bytes of a call, kept for the next one.
    scratch: RefCell<Vec<u8>>,
}

impl Writer {
    /// Sends what `fill` puts into an empty buffer.
    fn write(
        &self,
        connection: f64,
        fill: impl FnOnce(&mut Vec<u8>) -> errors::Result<()>,
    ) -> errors::Result<f64> {
        let mut scratch = self.scratch.borrow_mut();
        scratch.clear();
        let written = fill(&mut scratch).and_then(|()| {
            self.event_loop
                .with_hub(|hub| hub.write(Key::from_number(connection), &mut scratch))
        });
        if scratch.capacity() > SCRATCH_BYTES_MAX {
            *scratch = Vec::new();
        }
        let waits = written?.map_err(exception)?;
        Ok(waits.map_or(0.0, |bytes| bytes as f64))
    }
}

/// `write(connection, text)` sends frames: `"\n\0\0\0"` and a JSON text each. Returns 0 if the kernel took
/// everything, else the number of bytes after which it will have.
fn write(writer: &Writer, call: &Call<2>) -> errors::Result<f64> {
    writer.write(call.number(0)?, |scratch| {
        read_utf8(call.env(), call.value(1), scratch)
    })
}

/// `writeBytes(connection, bytes, length)`: as `write`, of the text that the first `length` of `bytes` are,
/// in UTF-8.
fn write_bytes(writer: &Writer, call: &Call<3>) -> errors::Result<f64> {
    let text = call.bytes(1)?.get(..call.whole(2)? as usize);
    let text = text.ok_or_else(|| malformed(Malformed))?;
    writer.write(call.number(0)?, |scratch| {
        scratch.extend_from_slice(text);
        Ok(())
    })
}

/// `writeValues(connection, bytes, begin, end, shapesBegin, shapesEnd)`: as `write`, of messages in the form
/// of [`values`], with their shapes.
fn write_values(writer: &Writer, call: &Call<6>) -> errors::Result<f64> {
    let (notes, shapes) = notes_of(
        call.bytes(1)?,
        call.whole(2)?..call.whole(3)?,
        call.whole(4)?..call.whole(5)?,
    )?;
    let around = Around {
        before: &HEADER_PLACE,
        mark: MARK,
    };
    writer.write(call.number(0)?, |scratch| {
        values::print(notes, shapes, around, scratch).map_err(malformed)
    })
}
