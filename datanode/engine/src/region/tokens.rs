//! Idempotency tokens: a request that comes twice is applied once.
//!
//! A *pending* token makes the second request wait with the first; only a
//! *durable* one acknowledges without applying, since the first may still fail.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use varve_model::id::{Sequence, Token};
use varve_model::limits::{TOKEN_WINDOW, TOKENS_MAX};
use varve_model::{Error, Result};
use xxhash_rust::xxh3::xxh3_64;

use crate::manifest::TokenEntry;

/// Shortest time a token is remembered, whatever the load.
const WINDOW_MIN: Duration = Duration::from_mins(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the block that ends with this sequence.
    Pending(Sequence),
    /// Its rows end with or before this sequence and are durable since then (boot clock).
    Durable(Sequence, Duration),
}

/// What a batch's tokens say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Never seen: apply.
    Fresh,
    /// On its way in the block that ends with this sequence: wait for it.
    Pending(Sequence),
    /// Done.
    Durable(Sequence),
}

/// The tokens of one region.
#[derive(Debug, Default)]
pub(super) struct TokenWindow {
    states: HashMap<u64, State>,
    /// Durable tokens by age.
    durable: VecDeque<(Duration, u64)>,
    /// Durable tokens of unflushed blocks by sequence, with their wall clock second.
    unflushed: VecDeque<(Sequence, TokenEntry)>,
}

fn hash_of(token: &Token) -> u64 {
    xxh3_64(&token.0)
}

impl TokenWindow {
    /// Takes over what the manifest remembers.
    pub(super) fn restore(&mut self, entries: &[TokenEntry], upto: Sequence, now: Duration) {
        for entry in entries {
            self.states.insert(entry.hash, State::Durable(upto, now));
            self.durable.push_back((now, entry.hash));
        }
    }

    /// What is known of a batch with these tokens.
    /// Errors: `InvalidRequest` when chunks that are done come together with new ones: which rows are which is not known.
    pub(super) fn look(&self, tokens: &[Token]) -> Result<Known> {
        let mut found = None;
        let (mut fresh, mut pending) = (0, None);
        for token in tokens {
            match self.states.get(&hash_of(token)) {
                None => fresh += 1,
                Some(State::Pending(sequence)) => pending = pending.max(Some(*sequence)),
                Some(State::Durable(sequence, _)) => found = found.max(Some(*sequence)),
            }
        }
        if fresh == tokens.len() {
            return Ok(Known::Fresh);
        }
        if fresh > 0 {
            return Err(Error::invalid("a batch holds chunks that were applied before and chunks that were not"));
        }
        Ok(match (pending, found) {
            (Some(_), _) if crate::fault::bug::is(crate::fault::bug::Bug::TokenAckedWhilePending) => {
                Known::Durable(pending.unwrap_or_default())
            }
            (Some(sequence), _) => Known::Pending(sequence),
            (None, found) => Known::Durable(found.unwrap_or_default()),
        })
    }

    /// Makes room for `count` tokens. Errors: `Busy` when that would break the shortest window.
    pub(super) fn reserve(&mut self, count: usize, now: Duration) -> Result<()> {
        while let Some(&(at, hash)) = self.durable.front() {
            let full = self.states.len() + count > TOKENS_MAX;
            let age = now.saturating_sub(at);
            if age <= TOKEN_WINDOW && !(full && age > WINDOW_MIN) {
                break;
            }
            self.durable.pop_front();
            if matches!(self.states.get(&hash), Some(State::Durable(_, since)) if *since == at) {
                self.states.remove(&hash);
            }
        }
        if self.states.len() + count > TOKENS_MAX {
            return Err(Error::busy("too many idempotency tokens within a minute"));
        }
        Ok(())
    }

    /// Notes the tokens of a block that is on its way.
    pub(super) fn begin(&mut self, tokens: &[Token], last: Sequence) {
        for token in tokens {
            self.states.insert(hash_of(token), State::Pending(last));
        }
    }

    /// The block is durable.
    pub(super) fn confirm(&mut self, tokens: &[Token], last: Sequence, now: Duration, wall_s: i64) {
        for token in tokens {
            let hash = hash_of(token);
            self.states.insert(hash, State::Durable(last, now));
            self.durable.push_back((now, hash));
            self.unflushed.push_back((last, TokenEntry { hash, at_s: wall_s }));
        }
    }

    /// The block was refused.
    pub(super) fn forget(&mut self, tokens: &[Token]) {
        for token in tokens {
            self.states.remove(&hash_of(token));
        }
    }

    /// Tokens of blocks up to a flushed sequence, for the manifest.
    pub(super) fn upto(&self, flushed_to: Sequence) -> Vec<TokenEntry> {
        self.unflushed.iter().take_while(|(last, _)| *last <= flushed_to).map(|(_, entry)| *entry).collect()
    }

    /// The manifest has them now.
    pub(super) fn flushed(&mut self, flushed_to: Sequence) {
        while self.unflushed.front().is_some_and(|(last, _)| *last <= flushed_to) {
            self.unflushed.pop_front();
        }
    }
}
