//! Blocks that wait for the lane, and when they become an object. Pure: the lane asks, this answers.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::oneshot;
use varve_model::Result;
use varve_model::budget::Charge;

use super::{ObjectOptions, fenced, stopped};
use crate::wal::{EncodedBlock, Position};

/// A block and who waits for it.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) block: EncodedBlock,
    pub(super) reply: oneshot::Sender<Result<Position>>,
    /// When it was queued (boot clock).
    pub(super) at: Duration,
    #[allow(dead_code, reason = "its drop gives the bytes back")]
    pub(super) charge: Charge,
}

/// Who waits for the log's SEALs.
type Sealer = oneshot::Sender<Result<()>>;

/// How far the log's life has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    #[default]
    Open,
    /// Confirms what it has, then seals itself.
    Sealing,
    /// Over: sealed by itself, or stopped.
    Over,
    /// Over: another process has sealed it, for this reason.
    Fenced(String),
}

/// What the lane shall do next.
#[derive(Debug)]
pub(super) enum Cut {
    /// Write these.
    Batch(Vec<Waiter>),
    /// Wait for a change, at most this long.
    Wait(Option<Duration>),
    /// Write the SEALs.
    Seal,
    /// Nothing, ever.
    Over,
}

/// The waiting blocks, oldest first.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<Waiter>,
    bytes: usize,
    phase: Phase,
    sealers: Vec<Sealer>,
}

impl Queue {
    pub(super) fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Bytes of the waiting blocks.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a block. True when the lane must be woken. Errors: `Unavailable` and `Fenced`, both definite.
    pub(super) fn push(&mut self, waiter: Waiter, options: &ObjectOptions) -> Result<bool> {
        match &self.phase {
            Phase::Open => {}
            Phase::Fenced(why) => return Err(fenced(why)),
            Phase::Sealing | Phase::Over => return Err(stopped()),
        }
        let before = self.bytes;
        self.bytes += waiter.block.bytes.len();
        self.waiting.push_back(waiter);
        Ok(self.waiting.len() == 1 || (before < options.cut_bytes && self.bytes >= options.cut_bytes))
    }

    /// Asks for the SEALs behind what waits. False when the log is over already. Errors: `Fenced`.
    pub(super) fn seal(&mut self, reply: oneshot::Sender<Result<()>>) -> Result<bool> {
        match &self.phase {
            Phase::Open | Phase::Sealing => {
                self.phase = Phase::Sealing;
                self.sealers.push(reply);
                Ok(true)
            }
            Phase::Over => Ok(false),
            Phase::Fenced(why) => Err(fenced(why)),
        }
    }

    /// What to do while no PUT is in flight: a batch is due when it is large, has lingered, or the log ends.
    pub(super) fn cut(&mut self, now: Duration, options: &ObjectOptions) -> Cut {
        let Some(oldest) = self.waiting.front() else {
            return match self.phase {
                Phase::Open => Cut::Wait(None),
                Phase::Sealing => Cut::Seal,
                Phase::Over | Phase::Fenced(_) => Cut::Over,
            };
        };
        let due = oldest.at + options.linger;
        if self.phase == Phase::Open && self.bytes < options.cut_bytes && now < due {
            return Cut::Wait(Some(due.saturating_sub(now)));
        }
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some(next) = self.waiting.front() {
            let len = next.block.bytes.len();
            if !batch.is_empty() && bytes + len > options.object_bytes_max {
                break;
            }
            bytes += len;
            batch.extend(self.waiting.pop_front());
        }
        self.bytes -= bytes;
        Cut::Batch(batch)
    }

    /// Ends the log because another process did, unless that is known. Returns as [`Queue::end`].
    pub(super) fn fence(&mut self, why: &str) -> Option<(Vec<Waiter>, Vec<Sealer>)> {
        match self.phase {
            Phase::Fenced(_) => None,
            _ => Some(self.end(Phase::Fenced(why.to_owned()))),
        }
    }

    /// Ends the log; one that was fenced stays so. Returns those who wait for blocks and those who wait for its seal.
    pub(super) fn end(&mut self, phase: Phase) -> (Vec<Waiter>, Vec<Sealer>) {
        if !matches!(self.phase, Phase::Fenced(_)) {
            self.phase = phase;
        }
        self.bytes = 0;
        (std::mem::take(&mut self.waiting).into(), std::mem::take(&mut self.sealers))
    }
}
