//! Notice of writes by any process: the write-ahead log is a file, and the kernel tells who
//! writes to it.
//!
//! Linux only (inotify). Elsewhere [`Doorbell::watch`] gives `None`, and a poller finds new
//! messages at its next interval.

#[cfg(target_os = "linux")]
pub use linux::Doorbell;
#[cfg(not(target_os = "linux"))]
pub use other::Doorbell;

#[cfg(target_os = "linux")]
mod linux {
    use std::io::{self, ErrorKind};
    use std::os::fd::{AsRawFd, RawFd};
    use std::path::{Path, PathBuf};

    use inotify::{EventMask, Inotify, WatchMask};

    use crate::error::{Error, Result};

    /// Rings when a process writes to a queue: readable (see [`AsRawFd`]) until it is drained.
    ///
    /// It rings for every write, also the caller's own, and sometimes for none; it is a hint to
    /// look, and a look that finds nothing writes nothing.
    #[derive(Debug)]
    pub struct Doorbell {
        inotify: Inotify,
        wal: PathBuf,
        armed: bool,
    }

    impl Doorbell {
        /// Watches this write-ahead log ([`Store::wal_path`]). `None` where the platform has no
        /// such notice.
        ///
        /// [`Store::wal_path`]: super::super::Store::wal_path
        ///
        /// # Errors
        /// `EMFILE` when the user has too many inotify instances (128 by default), `ENOSPC` when
        /// too many watches: go on with the interval alone.
        pub fn watch(wal: &Path) -> Result<Option<Self>> {
            let inotify = Inotify::init().map_err(|error| failed("inotify_init", wal, error))?;
            let mut bell = Doorbell {
                inotify,
                wal: wal.to_owned(),
                armed: false,
            };
            bell.arm()?;
            Ok(Some(bell))
        }

        /// Takes the pending notices. `true`: something was written since the last call, or the
        /// log was replaced, so a look is due. When the log is missing, every call tries to watch
        /// it again: call it at the interval too.
        ///
        /// # Errors
        /// As [`Doorbell::watch`], and whatever the kernel says.
        pub fn drain(&mut self) -> Result<bool> {
            // Several events, aligned as the kernel writes them by the reader itself.
            let mut buffer = [0; 4096];
            let mut rung = false;
            loop {
                match self.inotify.read_events(&mut buffer) {
                    Ok(events) => {
                        for event in events {
                            rung = true;
                            // All but a write may mean that the name leads to another file now.
                            // A deleted log that somebody keeps open reports only ATTRIB.
                            if event.mask != EventMask::MODIFY {
                                self.armed = false;
                            }
                        }
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(failed("read", &self.wal, error)),
                }
            }
            if !self.armed {
                // What was written before the watch was in place rang no bell.
                rung |= self.arm()?;
            }
            Ok(rung)
        }

        /// Puts the watch in place. `false`: there is no log yet.
        fn arm(&mut self) -> Result<bool> {
            let mask = WatchMask::MODIFY
                | WatchMask::ATTRIB
                | WatchMask::DELETE_SELF
                | WatchMask::MOVE_SELF;
            match self.inotify.watches().add(&self.wal, mask) {
                Ok(_) => self.armed = true,
                Err(error) if error.kind() == ErrorKind::NotFound => self.armed = false,
                Err(error) => return Err(failed("inotify_add_watch", &self.wal, error)),
            }
            Ok(self.armed)
        }
    }

    impl AsRawFd for Doorbell {
        fn as_raw_fd(&self) -> RawFd {
            self.inotify.as_raw_fd()
        }
    }

    fn failed(syscall: &'static str, path: &Path, error: io::Error) -> Error {
        Error::system(syscall, path.display().to_string(), error)
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    use std::convert::Infallible;
    use std::os::fd::{AsRawFd, RawFd};
    use std::path::Path;

    use crate::error::Result;

    /// Does not exist on this platform.
    #[derive(Debug)]
    pub struct Doorbell(Infallible);

    impl Doorbell {
        /// Always `None`: the interval is all there is.
        ///
        /// # Errors
        /// None.
        pub fn watch(_: &Path) -> Result<Option<Self>> {
            Ok(None)
        }

        /// Never called.
        ///
        /// # Errors
        /// None.
        pub fn drain(&mut self) -> Result<bool> {
            match self.0 {}
        }
    }

    impl AsRawFd for Doorbell {
        fn as_raw_fd(&self) -> RawFd {
            match self.0 {}
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::super::testing::{Folder, message};
    use super::super::{Owner, Store};
    use super::Doorbell;

    #[test]
    fn it_rings_for_writes_and_not_for_looks() {
        let folder = Folder::new();
        let (mut reader, mut writer, owner) = (folder.store(), folder.store(), Owner::new());
        let mut bell = Doorbell::watch(&reader.wal_path())
            .expect("watchable")
            .expect("linux");
        assert!(!bell.drain().expect("open"));
        writer.enqueue(&message("a", 1)).expect("new");
        assert!(bell.drain().expect("open"));
        assert!(!bell.drain().expect("open"), "once");
        let claimed = reader.claim(1, 60_000, 0, &owner).expect("free");
        assert_eq!(claimed.len(), 1);
        assert!(bell.drain().expect("open"), "a claim is a write");
        for _ in 0..3 {
            assert!(
                reader
                    .claim(1, 60_000, 0, &owner)
                    .expect("none free")
                    .is_empty()
            );
            reader.dequeue(9).expect("readable");
            reader.stats().expect("readable");
        }
        assert!(!bell.drain().expect("open"), "an idle poll writes nothing");
        reader.compact().expect("nobody in the way");
        bell.drain().expect("open");
        writer.enqueue(&message("b", 1)).expect("new");
        assert!(bell.drain().expect("open"), "after the log was truncated");
    }

    #[test]
    fn it_finds_a_log_that_was_replaced() {
        let folder = Folder::new();
        let store = folder.store();
        let wal = store.wal_path();
        let mut bell = Doorbell::watch(&wal).expect("watchable").expect("linux");
        store.close().expect("the last one deletes the log");
        assert!(!wal.exists());
        assert!(bell.drain().expect("open"), "the deletion rings");
        assert!(!bell.drain().expect("open"), "nothing to watch");
        let mut store = Store::open(&folder.options()).expect("again");
        assert!(
            bell.drain().expect("open"),
            "the new log is found at the next look"
        );
        store.enqueue(&message("a", 1)).expect("new");
        assert!(bell.drain().expect("open"));
    }
}
