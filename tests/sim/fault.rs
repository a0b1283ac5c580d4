//! What happens to the node: kill, power loss, a failed sync, a bucket that errs.

use std::time::Duration;

use varve_engine::store::fault::FaultRates;

use crate::world::World;

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Kill,
    PowerLoss,
    SyncError,
    BucketErrors,
    BucketHeals,
}

impl Fault {
    pub(crate) fn draw(world: &World) -> Self {
        match world.draw(10) {
            0..=2 => Self::Kill,
            3..=5 => Self::PowerLoss,
            6 => Self::SyncError,
            7 | 8 => Self::BucketErrors,
            _ => Self::BucketHeals,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::PowerLoss => "power loss",
            Self::SyncError => "sync error",
            Self::BucketErrors => "bucket errors",
            Self::BucketHeals => "bucket heals",
        }
    }

    /// Whether the process is gone after it.
    pub(crate) fn ends_the_process(self) -> bool {
        matches!(self, Self::Kill | Self::PowerLoss)
    }

    /// Does it to the world; the caller has dropped the process where it ends.
    pub(crate) fn strike(self, world: &World) {
        match self {
            Self::Kill => world.disk.kill(),
            Self::PowerLoss => world.disk.power_loss(world.draw(u64::MAX)),
            Self::SyncError => world.disk.fail_syncs(1),
            Self::BucketErrors => world.bucket.set_rates(FaultRates {
                error_before: world.draw(150) as u32,
                error_after: world.draw(150) as u32,
                late_effect: world.draw(80) as u32,
                latency_max: Duration::from_millis(world.draw(500)),
                late_max: Duration::from_secs(1 + world.draw(20)),
                ..FaultRates::default()
            }),
            Self::BucketHeals => world.heal(),
        }
    }
}
