//! Bytes that have come from a peer, and the frames in them.

use std::io;
use std::os::fd::RawFd;

use crate::error::Result;
use crate::frame::{self, Front, HEADER_BYTES};
use crate::limits;

/// Smallest room for one read, in bytes.
pub(super) const READ_BYTES_MIN: usize = 64 * 1024;

/// Bytes that [`Inbound::look`] looks at: as many as a message or a few have, so that to look costs
/// little beside a system call.
const LOOK_BYTES: usize = 4 * 1024;

/// What came of one call of [`Inbound::fill`].
#[derive(Debug)]
pub enum Fill {
    /// So many bytes arrived.
    Bytes(usize),
    /// So many bytes arrived, fewer than there was room for.
    Short(usize),
    /// The kernel has no more for now; the reactor tells when it does.
    WouldBlock,
    /// The peer will send no more.
    End,
    /// The connection is broken.
    Failed(io::Error),
}

/// What [`Inbound::look`] saw in the kernel.
#[derive(Debug)]
pub enum Look {
    /// No bytes; what a read would have said.
    Nothing(Fill),
    /// So many bytes.
    Bytes {
        /// How many.
        count: usize,
        /// Whether the kernel holds no more.
        are_all: bool,
        /// Whether they complete a marked frame.
        complete_marked: bool,
    },
}

/// What one connection has received. The descriptors that are passed in are those of its stream,
/// which does not block.
#[derive(Debug, Default)]
pub struct Inbound {
    /// Received bytes; those before `begin` have been consumed.
    bytes: Vec<u8>,
    begin: usize,
    /// Bytes ever received.
    received: u64,
    frames: u64,
}

impl Inbound {
    /// Whether a frame was begun and is not complete.
    pub fn has_partial_frame(&self) -> bool {
        self.begin < self.bytes.len()
    }

    /// The next complete frame, if there is one.
    ///
    /// # Errors
    /// [`Code::FrameTooLarge`]; the connection is then of no further use.
    pub fn next_frame(&mut self, frame_bytes_max: u32) -> Result<Option<&[u8]>> {
        match frame::front(&self.bytes[self.begin..], frame_bytes_max)? {
            Front::Frame(body) => {
                let from = self.begin + HEADER_BYTES;
                let to = from + body.len();
                self.begin = to;
                self.frames += 1;
                Ok(Some(&self.bytes[from..to]))
            }
            Front::Incomplete { .. } => Ok(None),
        }
    }

    /// The next complete frame, left where it is.
    ///
    /// # Errors
    /// As [`Inbound::next_frame`].
    pub fn peek_frame(&self, frame_bytes_max: u32) -> Result<Option<&[u8]>> {
        Ok(
            match frame::front(&self.bytes[self.begin..], frame_bytes_max)? {
                Front::Frame(body) => Some(body),
                Front::Incomplete { .. } => None,
            },
        )
    }

    /// Whether a marked frame is among the complete ones that wait to be taken.
    pub fn holds_marked(&self, frame_bytes_max: u32) -> bool {
        let mut at = self.begin;
        while let Ok(Front::Frame(body)) = frame::front(&self.bytes[at..], frame_bytes_max) {
            if frame::is_marked(body) {
                return true;
            }
            at += HEADER_BYTES + body.len();
        }
        false
    }

    /// Bytes that wait to be taken.
    pub fn waiting(&self) -> usize {
        self.bytes.len() - self.begin
    }

    /// Bytes of memory that are pinned.
    #[cfg(test)]
    pub fn pinned(&self) -> usize {
        self.bytes.capacity()
    }

    /// Bytes received since the connection was made.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Frames taken with [`Inbound::next_frame`] so far.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Reads once. `spare` is a buffer that many connections share: an idle connection then
    /// pins no memory.
    pub fn fill(&mut self, fd: RawFd, frame_bytes_max: u32, spare: &mut Vec<u8>) -> Fill {
        self.fill_at_most(fd, usize::MAX, frame_bytes_max, spare)
    }

    /// Reads once and leaves the last byte in the kernel, so that the peer can see that not
    /// everything was read.
    pub fn fill_all_but_one(
        &mut self,
        fd: RawFd,
        frame_bytes_max: u32,
        spare: &mut Vec<u8>,
    ) -> Fill {
        let count = arrived(fd).saturating_sub(1);
        if count > 0 {
            return self.fill_at_most(fd, count, frame_bytes_max, spare);
        }
        self.make_room(frame_bytes_max, spare);
        match self.receive(fd, 1, libc::MSG_PEEK) {
            Fill::Bytes(_) | Fill::Short(_) => Fill::WouldBlock,
            nothing => nothing,
        }
    }

    /// Reads once, after a [`Inbound::look`], and no byte that was not seen unless another one stays
    /// in the kernel.
    pub fn fill_after_look(
        &mut self,
        fd: RawFd,
        seen: usize,
        are_all: bool,
        frame_bytes_max: u32,
        spare: &mut Vec<u8>,
    ) -> Fill {
        if !are_all {
            let count = seen.max(arrived(fd).saturating_sub(1));
            return self.fill_at_most(fd, count, frame_bytes_max, spare);
        }
        match self.fill_at_most(fd, seen, frame_bytes_max, spare) {
            Fill::Bytes(count) => Fill::Short(count),
            other => other,
        }
    }

    /// Looks at what the kernel holds, and leaves it there.
    pub fn look(&mut self, fd: RawFd, frame_bytes_max: u32, spare: &mut Vec<u8>) -> Look {
        self.make_room(frame_bytes_max, spare);
        let fill = self.receive(fd, LOOK_BYTES, libc::MSG_PEEK);
        let (Fill::Bytes(count) | Fill::Short(count)) = fill else {
            return Look::Nothing(fill);
        };
        let have = self.bytes.len();
        // SAFETY: the kernel has initialised that many bytes behind the old length.
        unsafe { self.bytes.set_len(have + count) };
        let complete_marked = self.holds_marked(frame_bytes_max);
        self.bytes.truncate(have);
        Look::Bytes {
            count,
            are_all: matches!(fill, Fill::Short(_)),
            complete_marked,
        }
    }

    fn fill_at_most(
        &mut self,
        fd: RawFd,
        bytes_max: usize,
        frame_bytes_max: u32,
        spare: &mut Vec<u8>,
    ) -> Fill {
        self.make_room(frame_bytes_max, spare);
        let fill = self.receive(fd, bytes_max, 0);
        if let Fill::Bytes(count) | Fill::Short(count) = fill {
            self.received += count as u64;
            // SAFETY: the kernel has initialised that many bytes behind the old length.
            unsafe { self.bytes.set_len(self.bytes.len() + count) };
        }
        fill
    }

    /// Receives once into the room behind the inbound bytes, at most `bytes_max`.
    fn receive(&mut self, fd: RawFd, bytes_max: usize, flags: libc::c_int) -> Fill {
        let room = self.bytes.spare_capacity_mut();
        let room_bytes = room.len().min(bytes_max);
        debug_assert_ne!(room_bytes, 0, "the answer would look like an end");
        loop {
            // SAFETY: the kernel writes at most `room_bytes` bytes into memory that we own.
            let received = unsafe { libc::recv(fd, room.as_mut_ptr().cast(), room_bytes, flags) };
            match received {
                0 => return Fill::End,
                1.. if received.unsigned_abs() < room_bytes => {
                    return Fill::Short(received.unsigned_abs());
                }
                1.. => return Fill::Bytes(room_bytes),
                _ => {}
            }
            let error = io::Error::last_os_error();
            match error.kind() {
                io::ErrorKind::WouldBlock => return Fill::WouldBlock,
                io::ErrorKind::Interrupted => {}
                _ => return Fill::Failed(error),
            }
        }
    }

    /// Grows with what has arrived, never by the length that a peer claims: at most twice the
    /// bytes received so far, and no more than the frame still needs.
    fn make_room(&mut self, frame_bytes_max: u32, spare: &mut Vec<u8>) {
        let have = self.bytes.len() - self.begin;
        if have == 0 {
            self.bytes.clear();
            self.begin = 0;
            if self.bytes.capacity() == 0 {
                std::mem::swap(&mut self.bytes, spare);
            }
            self.bytes.reserve_exact(limits::READ_TURN_BYTES);
            return;
        }
        if self.begin > 0 {
            self.bytes.copy_within(self.begin.., 0);
            self.bytes.truncate(have);
            self.begin = 0;
        }
        let missing = match frame::front(&self.bytes, frame_bytes_max) {
            Ok(Front::Incomplete { missing }) => missing,
            _ => READ_BYTES_MIN,
        };
        let room = self.bytes.capacity() - have;
        if room < missing.min(READ_BYTES_MIN) {
            self.bytes
                .reserve_exact(missing.clamp(READ_BYTES_MIN, have.max(READ_BYTES_MIN)));
        }
    }

    /// Ends a turn of reading: gives the shared buffer back and keeps only what is unread.
    pub fn settle(&mut self, spare: &mut Vec<u8>) {
        let have = self.bytes.len() - self.begin;
        let is_shared_size = self.bytes.capacity() <= limits::READ_TURN_BYTES;
        if have == 0 {
            self.bytes.clear();
            self.begin = 0;
            if is_shared_size && spare.capacity() == 0 {
                std::mem::swap(&mut self.bytes, spare);
            }
            self.bytes = Vec::new();
        } else if is_shared_size && spare.capacity() == 0 && have <= READ_BYTES_MIN {
            let rest = self.bytes[self.begin..].to_vec();
            *spare = std::mem::replace(&mut self.bytes, rest);
            spare.clear();
            self.begin = 0;
        }
    }
}

/// Bytes that the kernel holds for us; `None` if it does not tell.
pub(super) fn arrived_bytes(fd: RawFd) -> Option<u64> {
    let mut arrived: libc::c_int = 0;
    // SAFETY: `FIONREAD` writes one int.
    let status = unsafe { libc::ioctl(fd, libc::FIONREAD, &raw mut arrived) };
    (status == 0).then_some(u64::from(arrived.unsigned_abs()))
}

/// As [`arrived_bytes`]; should the kernel not tell, nothing is known to be there.
fn arrived(fd: RawFd) -> usize {
    arrived_bytes(fd).unwrap_or(0) as usize
}
