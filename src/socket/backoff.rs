//! Reconnection waits: exponential with full jitter, so that the clients of a restarted server
//! do not come back in step.

use std::time::Duration;

/// The growing wait between attempts. The `n`-th wait is uniform in
/// `0..=min(base * 2^n, max)`.
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    max: Duration,
    attempt: u32,
    random: u64,
}

impl Backoff {
    /// A wait that begins with `base` and never exceeds `max`.
    pub fn new(base: Duration, max: Duration) -> Self {
        use std::hash::{BuildHasher, RandomState};
        // The keys of the standard hasher are random per process and differ per call: enough to
        // spread clients, which is all the jitter is for.
        Backoff {
            base,
            max: max.max(base),
            attempt: 0,
            random: RandomState::new().hash_one(0) | 1,
        }
    }

    /// The wait before the next attempt.
    pub fn next_wait(&mut self) -> Duration {
        let ceiling = self
            .base
            .saturating_mul(1u32 << self.attempt.min(31))
            .min(self.max);
        self.attempt = self.attempt.saturating_add(1);
        // xorshift64*, by G. Marsaglia and S. Vigna.
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        let fraction =
            (self.random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 53) as f64;
        ceiling.mul_f64(fraction)
    }

    /// Attempts since the last [`Backoff::reset`].
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Begins again with the shortest wait, after a success.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_maximum_and_vary() {
        let base = Duration::from_millis(100);
        let max = Duration::from_secs(2);
        let mut seen = std::collections::HashSet::new();
        for _ in 0..50 {
            let mut backoff = Backoff::new(base, max);
            for attempt in 0..40u32 {
                let ceiling = base.saturating_mul(1 << attempt.min(31)).min(max);
                let wait = backoff.next_wait();
                assert!(wait <= ceiling, "attempt {attempt}: {wait:?}");
                seen.insert(wait);
            }
            assert_eq!(backoff.attempt(), 40);
            backoff.reset();
            assert!(backoff.next_wait() <= base);
        }
        assert!(seen.len() > 1_000, "waits repeat: {}", seen.len());
    }

    #[test]
    fn a_base_of_zero_does_not_wait() {
        assert_eq!(
            Backoff::new(Duration::ZERO, Duration::ZERO).next_wait(),
            Duration::ZERO
        );
    }
}
