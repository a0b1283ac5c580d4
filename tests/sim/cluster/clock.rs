//! The clock of one machine: it drifts, and its wall clock is off.

use std::time::Duration;

use futures::future::BoxFuture;
use varve_service::clock::{Clock, SharedClock};

/// Largest drift, in millionths.
const DRIFT_MAX: i64 = 200;
/// How far a wall clock is off at most.
const WALL_MAX_NANOS: i64 = 5_000_000_000;

/// A clock that runs a little too fast or too slow.
#[derive(Debug)]
pub(crate) struct MachineClock {
    world: SharedClock,
    drift: i64,
    wall_off_nanos: i64,
}

impl MachineClock {
    /// A clock with a drift drawn from the world's randomness.
    pub(crate) fn draw(world: SharedClock) -> Self {
        let draw = |most: i64| (world.random() % (2 * most as u128 + 1)) as i64 - most;
        let (drift, wall_off_nanos) = (draw(DRIFT_MAX), draw(WALL_MAX_NANOS));
        Self { world, drift, wall_off_nanos }
    }

    fn scaled(&self, duration: Duration, drift: i64) -> Duration {
        let nanos = duration.as_nanos() as i128;
        Duration::from_nanos((nanos + nanos * i128::from(drift) / 1_000_000) as u64)
    }
}

impl Clock for MachineClock {
    fn boot(&self) -> Duration {
        self.scaled(self.world.boot(), self.drift)
    }

    fn wall_nanos(&self) -> i64 {
        self.world.wall_nanos() + self.wall_off_nanos
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        // The world has no end that a longer sleep could reach.
        self.world.sleep(self.scaled(duration.min(Duration::from_hours(24)), -self.drift))
    }

    fn random(&self) -> u128 {
        self.world.random()
    }
}
