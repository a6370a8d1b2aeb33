//! One established connection: bytes in, frames out, and the other way round. Knows neither
//! clients nor servers, and never waits.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::net;

use mio::Interest;
use mio::net::UnixStream;

use super::inbound::{self, Fill, Inbound, Look};
use super::outbound::Outbound;
use crate::error::{Code, Error, Result};
use crate::reactor::{Key, Reactor};

/// How far both sides of a connection have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that the peer has not read: those that wait here and those that the kernel holds. On
    /// Linux the kernel counts its memory, which is more than the bytes, and 0 exactly when all were
    /// read.
    pub unread: u64,
    /// The bytes that the kernel took less the memory that it holds them in. What it holds grows by at
    /// least the bytes that it takes, so that a higher number than before means that the peer reads.
    pub read_at_least: i64,
    /// Bytes that have arrived and were not handed over: those in the kernel, and a frame that is not
    /// complete.
    pub unseen: u64,
    /// Bytes received since the connection was made.
    pub received: u64,
    /// Complete frames among them that were taken.
    pub frames: u64,
}

/// An established connection.
#[derive(Debug)]
pub struct Link {
    stream: UnixStream,
    pub(super) inbound: Inbound,
    outbound: Outbound,
    /// Bytes ever given to [`Link::write`].
    queued: u64,
    /// How many of them are known to have been taken by whoever asked, see [`Link::news`].
    told: u64,
    /// The peer takes no more bytes; it may still send.
    write_failed: bool,
    /// The reactor tells when the peer takes bytes again. Not before that is needed: it would tell
    /// each time that the peer reads something.
    watches_writable: bool,
}

impl Link {
    /// Takes over a connected, non-blocking stream.
    pub fn new(stream: net::UnixStream) -> Self {
        Link {
            stream: UnixStream::from_std(stream),
            inbound: Inbound::default(),
            outbound: Outbound::default(),
            queued: 0,
            told: 0,
            write_failed: false,
            watches_writable: false,
        }
    }

    /// For the reactor.
    pub fn source(&mut self) -> &mut UnixStream {
        &mut self.stream
    }

    /// Begins to be watched, under `key`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn register(&mut self, reactor: &Reactor, key: Key) -> io::Result<()> {
        reactor.register(&mut self.stream, key, Interest::READABLE)
    }

    /// Sees to being told when bytes that wait can be written.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn watch_writable(&mut self, reactor: &Reactor, key: Key) -> io::Result<()> {
        if self.outbound_bytes() == 0 || self.watches_writable {
            return Ok(());
        }
        reactor.reregister(
            &mut self.stream,
            key,
            Interest::READABLE | Interest::WRITABLE,
        )?;
        self.watches_writable = true;
        Ok(())
    }

    /// Ends [`Link::watch_writable`] when it tells what nobody waits for. Not as soon as nothing
    /// waits, because whoever had to wait once sends much and will have to again.
    pub fn unwatch_writable(&mut self, reactor: &Reactor, key: Key) {
        if self.outbound_bytes() > 0 || !self.watches_writable {
            return;
        }
        // If it fails, the next such signal tries again.
        self.watches_writable = reactor
            .reregister(&mut self.stream, key, Interest::READABLE)
            .is_err();
    }

    /// Bytes that wait for the peer.
    pub fn outbound_bytes(&self) -> usize {
        self.outbound.lock().bytes()
    }

    /// Bytes given to [`Link::write`] since the connection was made.
    pub fn queued(&self) -> u64 {
        self.queued
    }

    /// Bytes the kernel took since the connection was made.
    pub fn written(&self) -> u64 {
        self.outbound.lock().written()
    }

    /// What is known of the bytes in both directions; `None` if the kernel does not tell.
    pub fn progress(&self) -> Option<Progress> {
        // In this order: what the peer wrote before it read something is among the unseen bytes then.
        let held = self.held_bytes()?;
        let arrived = inbound::arrived_bytes(self.as_raw_fd())?;
        Some(Progress {
            unread: self.outbound_bytes() as u64 + held,
            read_at_least: self.written().cast_signed() - held.cast_signed(),
            unseen: arrived + self.inbound.waiting() as u64,
            received: self.inbound.received(),
            frames: self.inbound.frames(),
        })
    }

    /// Bytes that the kernel has taken and the peer has not read. On Linux the number is that of the
    /// kernel's memory, more than the bytes themselves, and 0 exactly when all were read.
    fn held_bytes(&self) -> Option<u64> {
        let mut held: libc::c_int = 0;
        #[cfg(target_os = "linux")]
        // SAFETY: `SIOCOUTQ` (the same number as `TIOCOUTQ`) writes one int.
        let status = unsafe { libc::ioctl(self.as_raw_fd(), libc::TIOCOUTQ, &raw mut held) };
        #[cfg(not(target_os = "linux"))]
        // SAFETY: `SO_NWRITE` writes one int, and `size` says that there is room for it.
        let status = unsafe {
            let mut size = size_of::<libc::c_int>() as libc::socklen_t;
            libc::getsockopt(
                self.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_NWRITE,
                (&raw mut held).cast(),
                &raw mut size,
            )
        };
        (status == 0).then_some(u64::from(held.unsigned_abs()))
    }

    /// Whether writing has failed.
    pub fn write_failed(&self) -> bool {
        self.write_failed
    }

    /// Whether the kernel already knows that the peer is gone, asked now.
    pub fn is_hung_up(&self) -> bool {
        let mut poll = libc::pollfd {
            fd: self.as_raw_fd(),
            events: HANGUP,
            revents: 0,
        };
        // SAFETY: one valid `pollfd`, and no wait.
        let ready = unsafe { libc::poll(&raw mut poll, 1, 0) };
        ready == 1 && poll.revents & (HANGUP | libc::POLLHUP | libc::POLLERR) != 0
    }

    /// Whether the peer has closed its socket altogether, so that no reply can arrive. A peer
    /// that only said that it will send no more is still there.
    #[cfg(target_os = "linux")]
    pub fn is_gone(&self) -> bool {
        let mut poll = libc::pollfd {
            fd: self.as_raw_fd(),
            events: 0,
            revents: 0,
        };
        // SAFETY: one valid `pollfd`, and no wait.
        let ready = unsafe { libc::poll(&raw mut poll, 1, 0) };
        ready == 1 && poll.revents & (libc::POLLHUP | libc::POLLERR) != 0
    }

    /// Other systems do not tell the two apart; there only a failed write shows it.
    #[cfg(not(target_os = "linux"))]
    pub fn is_gone(&self) -> bool {
        self.write_failed
    }

    /// Reads once, see [`Inbound::fill`].
    pub fn fill(&mut self, frame_bytes_max: u32, spare: &mut Vec<u8>) -> Fill {
        self.inbound
            .fill(self.stream.as_raw_fd(), frame_bytes_max, spare)
    }

    /// See [`Inbound::fill_all_but_one`].
    pub fn fill_all_but_one(&mut self, frame_bytes_max: u32, spare: &mut Vec<u8>) -> Fill {
        self.inbound
            .fill_all_but_one(self.stream.as_raw_fd(), frame_bytes_max, spare)
    }

    /// See [`Inbound::fill_after_look`].
    pub fn fill_after_look(
        &mut self,
        seen: usize,
        are_all: bool,
        frame_bytes_max: u32,
        spare: &mut Vec<u8>,
    ) -> Fill {
        let fd = self.stream.as_raw_fd();
        self.inbound
            .fill_after_look(fd, seen, are_all, frame_bytes_max, spare)
    }

    /// See [`Inbound::look`].
    pub fn look(&mut self, frame_bytes_max: u32, spare: &mut Vec<u8>) -> Look {
        self.inbound
            .look(self.stream.as_raw_fd(), frame_bytes_max, spare)
    }

    /// Hands `bytes`, whole frames, to the kernel, and keeps what it does not take now. `true` if
    /// nothing waits.
    ///
    /// # Errors
    /// [`Code::OutboundFull`] when more than `outbound_bytes_max` would wait: nothing of `bytes`
    /// was taken. [`Code::ConnectionLost`] when the peer is gone.
    pub fn write(&mut self, bytes: &[u8], outbound_bytes_max: usize) -> Result<bool> {
        if self.write_failed {
            return Err(lost(None));
        }
        let mut waiting = self.outbound.lock();
        let before = waiting.bytes();
        if before > 0 && before + bytes.len() > outbound_bytes_max {
            return Err(Error::rule(
                Code::OutboundFull,
                format!(
                    "Connection is not drained by its peer: {before} bytes wait, {} more would \
                     exceed maxOutboundBytes ({outbound_bytes_max})",
                    bytes.len()
                ),
            ));
        }
        self.queued += bytes.len() as u64;
        // Nothing waits, and nobody has still to hear of what did.
        let is_first = before == 0 && waiting.written() == self.told;
        let outcome = waiting.write(&mut self.stream, bytes);
        if is_first {
            self.told = waiting.written();
        }
        let is_done = waiting.bytes() == 0;
        drop(waiting);
        match outcome {
            Ok(()) => Ok(is_done),
            Err(error) => Err(self.fail(error)),
        }
    }

    /// Writes one short frame before all that wait, except the rest of a frame that was begun, and
    /// whatever waits already. Returns the number of bytes after which the kernel has it (compare
    /// [`Link::written`]). Those that wait for the number of an earlier write hear of it by the
    /// length of this frame too early: it is for connections of which nobody does.
    ///
    /// # Errors
    /// [`Code::ConnectionLost`] when the peer is gone.
    pub fn write_next(&mut self, frame: &[u8]) -> Result<u64> {
        let inserted = self.outbound.lock().insert(frame);
        if let Some(until) = inserted {
            self.queued += frame.len() as u64;
            return Ok(until);
        }
        self.write(frame, usize::MAX)?;
        Ok(self.queued)
    }

    /// Continues to write what waits.
    ///
    /// # Errors
    /// [`Code::ConnectionLost`] when the peer is gone.
    pub fn flush(&mut self) -> Result<()> {
        let outcome = self.outbound.lock().flush(&mut self.stream);
        outcome.map_err(|error| self.fail(error))
    }

    /// Bytes taken since the connection was made, if the kernel has taken more of those that had to
    /// wait since this was asked last.
    pub fn news(&mut self) -> Option<u64> {
        let written = self.written();
        let is_news = written > self.told;
        self.told = written;
        is_news.then_some(written)
    }

    /// Whether [`Link::news`] would be news, or a thread has failed to write.
    pub fn has_news(&self) -> bool {
        let waiting = self.outbound.lock();
        waiting.written() > self.told || waiting.has_failed()
    }

    /// Whether a thread helps to write.
    pub fn is_helped(&self) -> bool {
        self.outbound.is_helped()
    }

    /// Sees to help with what waits, see [`Outbound::seek_help`].
    pub fn seek_help(&self, reactor: &Reactor) -> bool {
        self.outbound
            .seek_help(self.stream.as_fd(), reactor.waker())
    }

    fn fail(&mut self, error: io::Error) -> Error {
        self.write_failed = true;
        self.outbound.lock().clear();
        lost(Some(error))
    }

    /// Lets the peer send no more; what the kernel already holds can still be read.
    pub fn refuse_more(&self) {
        // It fails only if the peer is gone already.
        let _ = self.stream.shutdown(Shutdown::Read);
    }
}

/// The connection is closed, whatever waits. A thread that helps has a duplicate of its descriptor,
/// so that closing alone would tell the peer nothing.
impl Drop for Link {
    fn drop(&mut self) {
        if self.outbound.is_helped() {
            // It fails only if the peer is gone already.
            let _ = self.stream.shutdown(Shutdown::Both);
        }
    }
}

impl AsRawFd for Link {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

#[cfg(target_os = "linux")]
const HANGUP: libc::c_short = libc::POLLRDHUP;
#[cfg(not(target_os = "linux"))]
const HANGUP: libc::c_short = 0;

/// The error of a connection that ended; the wording is one that callers match on.
pub fn lost(cause: Option<io::Error>) -> Error {
    let message = match cause {
        None => "Connection lost: the peer closed it".to_owned(),
        Some(cause) => format!("Connection lost: {cause}"),
    };
    Error::rule(Code::ConnectionLost, message)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::super::inbound::READ_BYTES_MIN;
    use super::*;
    use crate::{frame, limits};

    fn pair() -> (Link, net::UnixStream) {
        let (ours, theirs) = net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (Link::new(ours), theirs)
    }

    fn read_all(link: &mut Link, spare: &mut Vec<u8>, max: u32) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        loop {
            while let Some(frame) = link.inbound.next_frame(max).unwrap() {
                frames.push(frame.to_vec());
            }
            if !matches!(link.fill(max, spare), Fill::Bytes(_) | Fill::Short(_)) {
                break;
            }
        }
        link.inbound.settle(spare);
        frames
    }

    #[test]
    fn one_byte_at_a_time() {
        let (mut link, mut peer) = pair();
        let mut spare = Vec::new();
        let wire = [frame::encode(b"{\"n\":1}"), frame::encode(b"2")].concat();
        let mut frames = Vec::new();
        for byte in &wire {
            peer.write_all(&[*byte]).unwrap();
            frames.extend(read_all(&mut link, &mut spare, 64));
        }
        assert_eq!(frames, [b"{\"n\":1}".to_vec(), b"2".to_vec()]);
        assert!(!link.inbound.has_partial_frame());
        drop(peer);
        assert!(matches!(link.fill(64, &mut spare), Fill::End));
    }

    #[test]
    fn progress_tells_what_either_side_has_not_read() {
        let (mut link, mut peer) = pair();
        let mut spare = Vec::new();
        let progress = |link: &Link| {
            let Progress {
                unread,
                unseen,
                received,
                ..
            } = link.progress().unwrap();
            (unread > 0, unseen, received)
        };
        assert_eq!(progress(&link), (false, 0, 0));
        assert!(link.write(&frame::encode(b"1"), 64).unwrap());
        assert_eq!(progress(&link), (true, 0, 0));
        // Written before the frame is read, as a greeting is: nobody can miss it.
        peer.write_all(&frame::encode(b"23")).unwrap();
        peer.write_all(&[0, 0]).unwrap();
        peer.read_exact(&mut [0; 5]).unwrap();
        assert_eq!(progress(&link), (false, 8, 0));
        assert_eq!(read_all(&mut link, &mut spare, 64), [b"23"]);
        assert_eq!(progress(&link), (false, 2, 8));
        peer.write_all(&[0, 1, b'4']).unwrap();
        assert_eq!(read_all(&mut link, &mut spare, 64), [b"4"]);
        assert_eq!(progress(&link), (false, 0, 11));
    }

    #[test]
    fn a_peer_that_reads_is_told_from_one_that_does_not() {
        let (mut link, mut peer) = pair();
        let read = |link: &Link| link.progress().unwrap().read_at_least;
        let mut before = read(&link);
        for _ in 0..5 {
            link.write(&[7; 1_000], 1_000_000).unwrap();
            assert!(read(&link) <= before);
            before = read(&link);
        }
        for _ in 0..5 {
            peer.read_exact(&mut [0; 1_000]).unwrap();
            assert!(read(&link) > before);
            before = read(&link);
        }
        assert_eq!(before, 5_000);
    }

    #[test]
    fn a_claimed_length_pins_no_memory() {
        let (mut link, mut peer) = pair();
        let mut spare = Vec::new();
        peer.write_all(&(1u32 << 30).to_be_bytes()).unwrap();
        peer.write_all(&[b'x'; 1000]).unwrap();
        assert!(read_all(&mut link, &mut spare, 1 << 30).is_empty());
        assert!(link.inbound.has_partial_frame());
        assert!(
            link.inbound.pinned() < 2 * READ_BYTES_MIN,
            "{}",
            link.inbound.pinned()
        );
        assert!(link.inbound.next_frame(1 << 20).is_err());
    }

    #[test]
    fn an_idle_connection_pins_no_memory() {
        let (mut link, mut peer) = pair();
        let mut spare = Vec::new();
        peer.write_all(&frame::encode(&vec![b'1'; 1000])).unwrap();
        assert_eq!(read_all(&mut link, &mut spare, 4096).len(), 1);
        assert_eq!(link.inbound.pinned(), 0);
        assert!(spare.capacity() >= limits::READ_TURN_BYTES);
    }

    #[test]
    fn a_large_frame_arrives_whole() {
        let (mut link, mut peer) = pair();
        let body: Vec<u8> = (0..3_000_000u32).map(|n| b'0' + (n % 10) as u8).collect();
        let wire = frame::encode(&body);
        let writer = std::thread::spawn(move || peer.write_all(&wire).map(|()| peer));
        let mut spare = Vec::new();
        let mut frames = Vec::new();
        while frames.is_empty() {
            frames = read_all(&mut link, &mut spare, 4_000_000);
            std::thread::yield_now();
        }
        assert!(frames[0] == body);
        writer.join().unwrap().unwrap();
        assert_eq!(link.inbound.pinned(), 0);
    }

    #[test]
    fn what_the_kernel_does_not_take_waits_within_the_limit() {
        let (mut link, mut peer) = pair();
        let chunk = vec![7u8; 100_000];
        let error = loop {
            match link.write(&chunk, 250_000) {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(error.code(), "ERR_IPC_OUTBOUND_FULL");
        assert!(link.outbound_bytes() <= 250_000);
        let queued = link.queued();
        let reader = std::thread::spawn(move || {
            let mut total = 0u64;
            let mut buffer = vec![0; 65_536];
            while total < queued {
                total += peer.read(&mut buffer).unwrap() as u64;
            }
            peer
        });
        while link.outbound_bytes() > 0 {
            link.flush().unwrap();
            std::thread::yield_now();
        }
        assert_eq!(link.written(), queued);
        drop(reader.join().unwrap());
        assert!(link.is_hung_up());
        assert_eq!(
            link.write(b"x", 1).unwrap_err().code(),
            "ERR_IPC_CONNECTION_LOST"
        );
        assert!(link.write_failed());
        assert_eq!(
            link.write(b"x", 1).unwrap_err().code(),
            "ERR_IPC_CONNECTION_LOST"
        );
    }
}
