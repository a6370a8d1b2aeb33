//! A hub with what it has told, for the tests of the socket side. Nothing here sleeps; every wait is
//! for an event, with a deadline.

// Each file of tests is a crate of its own, and uses a part of this.
#![allow(dead_code)]

use std::time::{Duration, Instant};

use flowtrace_ipc::frame::{self, HEADER_PLACE};
use flowtrace_ipc::reactor::Key;
use flowtrace_ipc::socket::{ClientOptions, Event, Hub, Run, ServerOptions};
use tempfile::TempDir;

pub const DEADLINE: Duration = Duration::from_secs(20);

/// A hub and what it has told so far.
pub struct Rig {
    pub hub: Hub,
    pub events: Vec<Event>,
    folder: TempDir,
}

impl Rig {
    pub fn new() -> Self {
        Rig {
            hub: Hub::new().unwrap(),
            events: Vec::new(),
            folder: TempDir::new().unwrap(),
        }
    }

    pub fn path(&self) -> String {
        self.folder
            .path()
            .join("ipc.sock")
            .to_str()
            .unwrap()
            .to_owned()
    }

    pub fn server(&mut self, change: impl FnOnce(&mut ServerOptions)) -> Key {
        let mut options = ServerOptions::new(self.path());
        change(&mut options);
        self.hub.listen(options).unwrap()
    }

    pub fn client(&mut self, change: impl FnOnce(&mut ClientOptions)) -> Key {
        let mut options = ClientOptions::new(self.path());
        options.refusal_grace = Duration::ZERO;
        change(&mut options);
        self.hub.client(options).unwrap()
    }

    /// One poll without waiting, as an event loop does it that found something readable.
    pub fn poll(&mut self) {
        self.hub.poll_likely(&mut self.events);
        self.hub
            .poll(Some(Duration::ZERO), &mut self.events, &mut Vec::new())
            .unwrap();
    }

    /// Polls until `done`, waiting as an event loop does.
    pub fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let end = Instant::now() + DEADLINE;
        while !done(self) {
            let now = Instant::now();
            assert!(
                now < end,
                "gave up waiting for {what}; told: {:?}",
                self.events
            );
            let next = self.hub.next_deadline().map_or(end, |at| at.min(end));
            let wait = next.saturating_duration_since(now);
            self.hub
                .poll(Some(wait), &mut self.events, &mut Vec::new())
                .unwrap();
        }
    }

    /// Takes the first event for which `pick` has an answer, and all before it.
    pub fn next<T>(&mut self, what: &str, mut pick: impl FnMut(&Event) -> Option<T>) -> T {
        let mut found = None;
        self.until(what, |rig| {
            while found.is_none() && !rig.events.is_empty() {
                found = pick(&rig.events.remove(0));
            }
            found.is_some()
        });
        found.unwrap()
    }

    pub fn bodies(&self, events: &[Event]) -> Vec<(Key, String)> {
        let between = format!(",{},", self.hub.separator().value());
        let mut bodies = Vec::new();
        for event in events {
            let Event::Frames { frames, .. } = event else {
                continue;
            };
            let text = std::str::from_utf8(&frames.text).unwrap();
            let mut parts = text[1..text.len() - 1].split(&between);
            for Run {
                connection, count, ..
            } in &frames.runs
            {
                bodies.extend(
                    parts
                        .by_ref()
                        .take(*count as usize)
                        .map(|p| (*connection, p.into())),
                );
            }
            assert!(parts.next().is_none());
        }
        bodies
    }
}

pub fn text(bodies: &[&str]) -> Vec<u8> {
    bodies
        .iter()
        .flat_map(|body| [&HEADER_PLACE[..], body.as_bytes()].concat())
        .collect()
}

pub fn wire(bodies: &[&str]) -> Vec<u8> {
    bodies
        .iter()
        .flat_map(|body| frame::encode(body.as_bytes()))
        .collect()
}
