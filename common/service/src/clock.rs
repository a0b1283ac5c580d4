//! Time and randomness: the seam through which the simulation owns both.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};

#[cfg(test)]
mod tests;

/// Clock and random source of one node.
pub trait Clock: Debug + Send + Sync {
    /// Time since boot, suspend included (`CLOCK_BOOTTIME`): leases count on it.
    fn boot(&self) -> Duration;
    /// Nanoseconds since the epoch by the wall clock.
    fn wall_nanos(&self) -> i64;
    /// Waits.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
    /// 128 random bits.
    fn random(&self) -> u128;
}

/// A clock shared by the parts of a node.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clocks and randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn boot(&self) -> Duration {
        let now = clock_gettime(ClockId::Boottime);
        Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
    }

    fn wall_nanos(&self) -> i64 {
        let now = clock_gettime(ClockId::Realtime);
        now.tv_sec * 1_000_000_000 + now.tv_nsec
    }

    #[allow(clippy::disallowed_methods, reason = "this is the replacement that clippy.toml names")]
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn random(&self) -> u128 {
        uuid::Uuid::new_v4().as_u128() ^ (uuid::Uuid::new_v4().as_u128() << 64)
    }
}

/// Virtual time (tokio's paused clock) and seeded randomness.
#[derive(Debug)]
pub struct ManualClock {
    start: tokio::time::Instant,
    wall_start_nanos: i64,
    state: Mutex<u64>,
}

impl ManualClock {
    /// A clock of a paused runtime whose wall clock starts at the given time.
    pub fn new(seed: u64, wall_start_nanos: i64) -> Self {
        Self { start: tokio::time::Instant::now(), wall_start_nanos, state: Mutex::new(seed) }
    }

    /// splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
    fn next(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Clock for ManualClock {
    fn boot(&self) -> Duration {
        self.start.elapsed()
    }

    fn wall_nanos(&self) -> i64 {
        self.wall_start_nanos + self.start.elapsed().as_nanos() as i64
    }

    #[allow(clippy::disallowed_methods, reason = "this is the replacement that clippy.toml names")]
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn random(&self) -> u128 {
        let mut state = self.state.lock();
        u128::from(Self::next(&mut state)) << 64 | u128::from(Self::next(&mut state))
    }
}
