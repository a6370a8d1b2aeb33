//! A hub with what it has told, for the tests of the socket side. Nothing here sleeps; every wait is
//! for an event, with a deadline.

// Each file of tests is a crate of its own, and uses a part of this.
#![allow(dead_code)]

use std::time::{Duration, Instant};

use flowtrace_ipc::frame::{self, HEADER_PLACE};
use flowtrace_ipc::reactor::Key;
use flowtrace_ipc::socket::{ClientOptions, Event, Frames, Hub, Run, ServerOptions};
use flowtrace_ipc::values;
use tempfile::TempDir;

pub const DEADLINE: Duration = Duration::from_secs(20);

/// A hub and what it has told so far.
pub struct Rig {
    pub hub: Hub,
    pub events: Vec<Event>,
    /// Definitions of all shapes that were told.
    shapes: Vec<u8>,
    folder: TempDir,
}

impl Rig {
    pub fn new() -> Self {
        Rig {
            hub: Hub::new().unwrap(),
            events: Vec::new(),
            shapes: Vec::new(),
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
        if !self.hub.is_done() {
            self.hub
                .poll(Some(Duration::ZERO), &mut self.events, &mut Vec::new())
                .unwrap();
        }
        self.learn_shapes();
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
            self.learn_shapes();
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

    /// How often words were forgotten; see `values`.
    pub fn forgotten(&self) -> usize {
        let is_mark = |bytes: &&[u8]| *bytes == [0xfe, 0xff];
        self.shapes.windows(2).filter(is_mark).count()
    }

    fn learn_shapes(&mut self) {
        let shapes = &mut self.shapes;
        self.events.retain(|event| match event {
            Event::Shapes { definitions } => {
                shapes.extend_from_slice(definitions);
                false
            }
            _ => true,
        });
    }

    pub fn bodies(&self, events: &[Event]) -> Vec<(Key, String)> {
        let mut bodies = Vec::new();
        for event in events {
            let Event::Frames { frames, .. } = event else {
                continue;
            };
            let mut texts = texts(frames, &self.shapes).into_iter();
            for Run {
                connection, count, ..
            } in &frames.runs
            {
                let of_run = texts.by_ref().take(*count as usize);
                bodies.extend(of_run.map(|text| (*connection, text)));
            }
            assert!(texts.next().is_none());
        }
        bodies
    }
}

/// The JSON texts of frames, which are printed anew.
pub fn texts(frames: &Frames, shapes: &[u8]) -> Vec<String> {
    let mut text = Vec::new();
    let lines = values::Around {
        before: b"\n",
        mark: b"",
    };
    values::print(&frames.notes, shapes, lines, &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    text[1..].split('\n').map(str::to_owned).collect()
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
