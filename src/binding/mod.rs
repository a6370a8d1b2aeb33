//! The boundary to JavaScript: the only module that names Node-API.
//!
//! Rules of this boundary:
//! - Everything here runs on the thread of its JavaScript environment. Other threads only ring a
//!   [`mio::Waker`]; the environment then collects what they left.
//! - One call into JavaScript per wake-up carries all its events.
//! - Errors cross as data (`code`, `message`); `ts/errors.ts` makes the exceptions that users
//!   see, so that they belong to the realm of the caller.
//! - No `static` holds anything of an environment: workers come and go.
//! - A panic becomes an error; it never unwinds into C.

mod answers;
mod delivery;
mod errors;
mod event_loop;
mod events;
mod functions;
mod hub;
mod inbox;
mod messages;
mod queue;
mod runtime;
mod sources;
mod tables;
mod text;
