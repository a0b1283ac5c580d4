//! The clock of one machine: it drifts, its wall clock is off, and it may nearly stand still.
//!
//! Drift stays within what leases allow for. A clock that stands still does
//! not: its machine believes in a lease that everybody else knows to be over,
//! and no row may depend on that.

use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use varve_service::clock::{Clock, SharedClock};

/// Largest drift, in millionths.
const DRIFT_MAX: i64 = 200;
/// How far a wall clock is off at most.
const WALL_MAX_NANOS: i64 = 5_000_000_000;
/// Speeds are in millionths of the world's.
const SPEED: i64 = 1_000_000;

/// A clock with a speed of its own.
#[derive(Debug)]
pub(crate) struct MachineClock {
    world: SharedClock,
    drift: i64,
    wall_off_nanos: i64,
    pace: Mutex<Pace>,
}

/// Since `world` it runs from `own` at `speed`.
#[derive(Clone, Copy, Debug)]
struct Pace {
    world: Duration,
    own: Duration,
    speed: i64,
}

impl Pace {
    fn at(&self, world: Duration) -> Duration {
        self.own + scaled(world.saturating_sub(self.world), self.speed, SPEED)
    }
}

fn scaled(duration: Duration, by: i64, of: i64) -> Duration {
    Duration::from_nanos((duration.as_nanos() * by as u128 / of as u128) as u64)
}

impl MachineClock {
    /// A clock with a drift drawn from the world's randomness.
    pub(crate) fn draw(world: SharedClock) -> Self {
        let draw = |most: i64| (world.random() % (2 * most as u128 + 1)) as i64 - most;
        let (drift, wall_off_nanos) = (draw(DRIFT_MAX), draw(WALL_MAX_NANOS));
        let pace = Pace { world: world.boot(), own: world.boot(), speed: SPEED + drift };
        Self { world, drift, wall_off_nanos, pace: Mutex::new(pace) }
    }

    /// From now on a second takes `times` seconds.
    pub(crate) fn slow_down(&self, times: i64) {
        let now = self.world.boot();
        let mut pace = self.pace.lock();
        *pace = Pace { world: now, own: pace.at(now), speed: (SPEED + self.drift) / times };
    }
}

impl Clock for MachineClock {
    fn boot(&self) -> Duration {
        self.pace.lock().at(self.world.boot())
    }

    fn wall_nanos(&self) -> i64 {
        self.world.wall_nanos() + self.wall_off_nanos
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        // The world has no end that a longer sleep could reach.
        let speed = self.pace.lock().speed;
        self.world.sleep(scaled(duration.min(Duration::from_hours(24)), SPEED, speed))
    }

    fn random(&self) -> u128 {
        self.world.random()
    }
}
