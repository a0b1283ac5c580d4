//! The signals to stop.
//!
//! They are taken before anything else is done: from then on none of them ends
//! the process by itself, and one that comes during a long start is not lost.

use tokio::signal::unix::{Signal, SignalKind, signal};
use varve_model::{Error, Result};

/// SIGTERM and SIGINT.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes both over; a runtime must be entered. Errors: `Internal`, they cannot be had.
    pub fn take() -> Result<Self> {
        let take = |kind| {
            signal(kind).map_err(|error| Error::internal("cannot wait for the signals to stop").with_source(error))
        };
        Ok(Self { terminate: take(SignalKind::terminate())?, interrupt: take(SignalKind::interrupt())? })
    }

    /// Resolves with the name of the next one, which may have come before. Cancel-safe.
    pub async fn stop(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
