//! Memory accounts: every buffer is charged to one, and an account has a limit and a parent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Reason, Result};

#[cfg(test)]
mod tests;

/// Bytes in use against a limit. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Account(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: &'static str,
    bytes_max: u64,
    bytes: AtomicU64,
    parent: Option<Account>,
}

impl Account {
    /// A root account.
    pub fn root(name: &'static str, bytes_max: u64) -> Self {
        Self(Arc::new(Inner { name, bytes_max, bytes: AtomicU64::new(0), parent: None }))
    }

    /// An account whose charges count in this one too.
    pub fn child(&self, name: &'static str, bytes_max: u64) -> Self {
        Self(Arc::new(Inner { name, bytes_max, bytes: AtomicU64::new(0), parent: Some(self.clone()) }))
    }

    /// Charges bytes until the returned charge is dropped. Errors: `Busy` naming the account that is full.
    pub fn charge(&self, bytes: u64) -> Result<Charge> {
        self.add(bytes)?;
        Ok(Charge { account: self.clone(), bytes })
    }

    /// Charges a request, or what is made of it. Errors: `Busy` as [`Account::charge`], but `InvalidRequest/TooLarge`
    /// when it would not fit into the empty account either: no pause helps, only a smaller request.
    pub fn admit(&self, bytes: u64) -> Result<Charge> {
        let mut charge = self.empty();
        charge.admit(bytes)?;
        Ok(charge)
    }

    /// A charge of nothing, to be [`Charge::set`] or to [`Charge::admit`].
    pub fn empty(&self) -> Charge {
        Charge { account: self.clone(), bytes: 0 }
    }

    fn add(&self, bytes: u64) -> Result<()> {
        if let Some(parent) = &self.0.parent {
            parent.add(bytes)?;
        }
        let before = self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > self.0.bytes_max {
            self.sub(bytes);
            return Err(Error::busy(format!(
                "memory account '{}' is full: {before} of {} bytes used, {bytes} more asked for",
                self.0.name, self.0.bytes_max
            )));
        }
        Ok(())
    }

    /// Errors: `InvalidRequest/TooLarge` when so much never fits.
    fn check(&self, bytes: u64) -> Result<()> {
        if bytes > self.0.bytes_max {
            let (name, bytes_max) = (self.0.name, self.0.bytes_max);
            let text = format!("{bytes} bytes of memory are asked for, account '{name}' has {bytes_max} in all");
            return Err(Error::invalid(text).with_reason(Reason::TooLarge));
        }
        self.0.parent.as_ref().map_or(Ok(()), |parent| parent.check(bytes))
    }

    fn sub(&self, bytes: u64) {
        self.0.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(parent) = &self.0.parent {
            parent.sub(bytes);
        }
    }

    /// Whether this account or one above it has reached its limit.
    pub fn is_full(&self) -> bool {
        self.bytes() >= self.0.bytes_max || self.0.parent.as_ref().is_some_and(Self::is_full)
    }

    /// Bytes in use.
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// The limit.
    pub fn bytes_max(&self) -> u64 {
        self.0.bytes_max
    }

    /// The name, for metrics and error texts.
    pub fn name(&self) -> &'static str {
        self.0.name
    }
}

/// Bytes charged to an account; given back on drop.
#[derive(Debug)]
pub struct Charge {
    account: Account,
    bytes: u64,
}

impl Charge {
    /// Bytes charged.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Charges more of the same request. Errors: those of [`Account::admit`] for all of it; nothing is added then.
    pub fn admit(&mut self, bytes: u64) -> Result<()> {
        self.account.check(self.bytes.saturating_add(bytes))?;
        self.account.add(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Gives bytes back before the drop; at most all of them.
    pub fn shrink(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.account.sub(bytes);
    }

    /// Follows a structure that has grown or shrunk already. May pass the limit: [`Account::is_full`] then tells.
    pub fn set(&mut self, bytes: u64) {
        let mut account = Some(&self.account);
        while let Some(Account(inner)) = account {
            inner.bytes.fetch_add(bytes, Ordering::Relaxed);
            account = inner.parent.as_ref();
        }
        self.account.sub(self.bytes);
        self.bytes = bytes;
    }

    /// Takes over another charge of the same account.
    pub fn absorb(&mut self, mut other: Self) {
        debug_assert!(Arc::ptr_eq(&self.account.0, &other.account.0), "charges of two accounts");
        self.bytes += std::mem::take(&mut other.bytes);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.account.sub(self.bytes);
    }
}
