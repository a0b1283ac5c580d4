//! DataFusion's memory pool over an account of ours.

use std::fmt;

use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryLimit, MemoryPool, MemoryReservation};
use std::sync::{Mutex, PoisonError};
use varve_model::budget::{Account, Charge};

/// All plans of a node charge one account; who comes too late is refused.
#[derive(Debug)]
pub(super) struct AccountPool {
    account: Account,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    charge: Option<Charge>,
    /// Bytes that had to be granted beyond the limit: DataFusion's `grow` cannot fail.
    overdraft: u64,
}

impl AccountPool {
    pub(super) fn new(account: &Account) -> Self {
        Self { account: account.clone(), state: Mutex::new(State::default()) }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn charge(&self, bytes: usize) -> varve_model::Result<()> {
        let fresh = self.account.charge(bytes as u64)?;
        let mut state = self.state();
        match &mut state.charge {
            Some(charge) => charge.absorb(fresh),
            none => *none = Some(fresh),
        }
        Ok(())
    }
}

impl fmt::Display for AccountPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "account '{}'", self.account.name())
    }
}

impl MemoryPool for AccountPool {
    fn name(&self) -> &str {
        self.account.name()
    }

    fn grow(&self, _: &MemoryReservation, additional: usize) {
        if self.charge(additional).is_err() {
            self.state().overdraft += additional as u64;
        }
    }

    fn shrink(&self, _: &MemoryReservation, shrink: usize) {
        let mut state = self.state();
        let from_overdraft = state.overdraft.min(shrink as u64);
        state.overdraft -= from_overdraft;
        if let Some(charge) = &mut state.charge {
            charge.shrink(shrink as u64 - from_overdraft);
        }
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        self.charge(additional).map_err(|error| {
            let consumer = reservation.consumer().name();
            DataFusionError::ResourcesExhausted(format!("{} (by {consumer})", error.message()))
        })
    }

    fn reserved(&self) -> usize {
        let state = self.state();
        (state.charge.as_ref().map_or(0, Charge::bytes) + state.overdraft) as usize
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.account.bytes_max() as usize)
    }
}
