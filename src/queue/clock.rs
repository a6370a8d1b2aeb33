//! Two clocks: one that does not jump, for leases and retries, and the calendar, for records.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where the queue reads the time. Tests bring their own.
pub trait Clock: Send + Sync {
    /// Milliseconds on a clock that never jumps, runs on while the machine sleeps, and is the
    /// same for every process of one boot. Values of different boots cannot be compared.
    fn boot_ms(&self) -> i64;

    /// Milliseconds since 1970 by the calendar, which people and time servers may set.
    fn unix_ms(&self) -> i64;
}

/// The clocks of the kernel.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

/// On Linux `CLOCK_MONOTONIC` stops while the machine sleeps; elsewhere it does not, and there
/// is no other.
#[cfg(target_os = "linux")]
const STEADY: libc::clockid_t = libc::CLOCK_BOOTTIME;
#[cfg(not(target_os = "linux"))]
const STEADY: libc::clockid_t = libc::CLOCK_MONOTONIC;

impl Clock for SystemClock {
    fn boot_ms(&self) -> i64 {
        let mut now = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: `now` is a valid place for one timespec. The call fails only for a clock that
        // the kernel does not know, and then leaves zero, on which every lease is in force until
        // it is taken by the owner's death.
        unsafe { libc::clock_gettime(STEADY, &mut now) };
        // The fields are 32 bits wide on some platforms.
        #[allow(clippy::useless_conversion)]
        let (seconds, nanoseconds) = (i64::from(now.tv_sec), i64::from(now.tv_nsec));
        seconds * 1_000 + nanoseconds / 1_000_000
    }

    fn unix_ms(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(_) => 0,
        }
    }
}

/// A clock that moves only when told.
#[derive(Debug)]
pub struct ManualClock {
    boot_ms: AtomicI64,
    unix_ms: AtomicI64,
}

impl ManualClock {
    /// A clock that stands at this time of the calendar, one second after boot.
    pub fn new(unix_ms: i64) -> Self {
        ManualClock {
            boot_ms: AtomicI64::new(1_000),
            unix_ms: AtomicI64::new(unix_ms),
        }
    }

    /// Moves both clocks on.
    pub fn advance(&self, ms: i64) {
        self.boot_ms.fetch_add(ms, Ordering::SeqCst);
        self.unix_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// Sets the calendar alone, as a time server does.
    pub fn set_unix_ms(&self, unix_ms: i64) {
        self.unix_ms.store(unix_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn boot_ms(&self) -> i64 {
        self.boot_ms.load(Ordering::SeqCst)
    }

    fn unix_ms(&self) -> i64 {
        self.unix_ms.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_clocks_run() {
        let first = SystemClock.boot_ms();
        assert!(first > 0);
        assert!(SystemClock.boot_ms() >= first);
        assert!(SystemClock.unix_ms() > 1_700_000_000_000);
    }
}
