//! What an environment listens to besides sockets: the workers and doorbells of its queues.

use std::collections::HashMap;
use std::os::fd::AsRawFd;

use mio::Interest;
use mio::unix::SourceFd;

use crate::queue::{Completion, Doorbell, Worker};
use crate::reactor::{Key, Reactor, Signal};

/// What is to be told to JavaScript about a queue.
pub enum Told {
    /// A request of this queue is done.
    Completed(Key, Completion),
    /// Some process wrote to this queue's file.
    Rung(Key),
}

/// The sources of one queue.
#[derive(Default)]
pub struct QueueSources {
    /// Started when first needed.
    pub worker: Option<Worker>,
    bell: Option<(Key, Doorbell)>,
}

impl QueueSources {
    /// Begins to listen to `bell`. Does nothing if a bell is there already.
    pub fn watch(&mut self, bell: Doorbell, reactor: &mut Reactor) {
        if self.bell.is_some() {
            return;
        }
        let key = reactor.new_key();
        let fd = bell.as_raw_fd();
        // Without it the poller has its interval.
        if reactor
            .register(&mut SourceFd(&fd), key, Interest::READABLE)
            .is_ok()
        {
            self.bell = Some((key, bell));
        }
    }

    /// Ends [`QueueSources::watch`].
    pub fn unwatch(&mut self, reactor: &mut Reactor) {
        if let Some((_, bell)) = self.bell.take() {
            reactor.deregister(&mut SourceFd(&bell.as_raw_fd()));
        }
    }

    /// Takes notices of writes that whoever calls this is about to look at anyway.
    pub fn hush(&mut self) {
        if let Some((_, bell)) = &mut self.bell {
            // An error shows again when the bell itself is polled.
            let _ = bell.drain();
        }
    }
}

/// The sources of all queues of one environment.
#[derive(Default)]
pub struct Sources {
    queues: HashMap<Key, QueueSources>,
}

impl Sources {
    /// The sources of one queue, which are made when there are none.
    pub fn of(&mut self, queue: Key) -> &mut QueueSources {
        self.queues.entry(queue).or_default()
    }

    /// Forgets a queue.
    pub fn remove(&mut self, queue: Key, reactor: &mut Reactor) {
        if let Some(mut sources) = self.queues.remove(&queue) {
            sources.unwatch(reactor);
        }
    }

    /// What there is to tell after these signals.
    pub fn collect(&mut self, signals: &[Signal]) -> Vec<Told> {
        let mut told = Vec::new();
        for signal in signals {
            match signal {
                Signal::Woken => {
                    for (queue, sources) in &self.queues {
                        let done = sources
                            .worker
                            .as_ref()
                            .map(Worker::take)
                            .unwrap_or_default();
                        told.extend(done.into_iter().map(|done| Told::Completed(*queue, done)));
                    }
                }
                Signal::Ready(key) | Signal::Readable(key) => {
                    for (queue, sources) in &mut self.queues {
                        if let Some((bell_key, bell)) = &mut sources.bell
                            && bell_key == key
                        {
                            match bell.drain() {
                                Ok(true) => told.push(Told::Rung(*queue)),
                                Ok(false) => {}
                                // It would fail again and again; the interval is left.
                                Err(_) => sources.bell = None,
                            }
                        }
                    }
                }
                Signal::Writable(_) | Signal::Deadline(_) => {}
            }
        }
        told
    }
}
