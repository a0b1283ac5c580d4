//! The map in memory that both the memory store and the file store serve from.
//!
//! A transaction is first planned, then applied: between the two the file
//! store makes it durable, so that nobody reads what a crash takes back.

use std::collections::{BTreeMap, VecDeque};

use futures::StreamExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use varve_model::{Error, Result};

use super::{Changes, Compare, Entry, Op, Range, Revision, Txn, WatchStream};

/// Transactions kept for watches that start in the past.
const HISTORY_MAX: usize = 1024;
/// Transactions a watcher may lag before it is ended.
const WATCH_QUEUE_MAX: usize = 1024;

/// Entries with revisions, history and watchers.
#[derive(Debug, Default)]
pub(super) struct Space {
    entries: BTreeMap<String, Entry>,
    revision: Revision,
    /// Consecutive transactions up to `revision`.
    history: VecDeque<Changes>,
    watchers: Vec<Watcher>,
}

#[derive(Debug)]
struct Watcher {
    prefix: String,
    queue: mpsc::Sender<Changes>,
}

/// A transaction whose comparisons hold: what it will change, and at which revision.
#[derive(Debug)]
pub(super) struct Plan {
    /// Revision it gets.
    pub(super) revision: Revision,
    /// Entries to write.
    pub(super) puts: Vec<Entry>,
    /// Keys to remove; all exist.
    pub(super) deletes: Vec<String>,
}

impl Space {
    /// A map as it was made durable before.
    pub(super) fn restore(entries: Vec<Entry>, revision: Revision) -> Self {
        let entries = entries.into_iter().map(|entry| (entry.key.clone(), entry)).collect();
        Self { entries, revision, ..Self::default() }
    }

    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    /// Ends every watch with an error: the watchers read anew.
    pub(super) fn end_watches(&mut self) {
        self.watchers.clear();
    }

    /// Forgets the past: a watch can only begin in the future.
    pub(super) fn compact(&mut self) {
        self.history.clear();
    }

    /// Everything there is.
    pub(super) fn entries(&self) -> Vec<Entry> {
        self.entries.values().cloned().collect()
    }

    pub(super) fn get(&self, key: &str) -> Option<Entry> {
        self.entries.get(key).cloned()
    }

    pub(super) fn range(&self, prefix: &str) -> Range {
        let entries = self
            .entries
            .range(prefix.to_owned()..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(_, entry)| entry.clone())
            .collect();
        Range { revision: self.revision, entries }
    }

    /// `None` when a comparison fails. Errors: `Internal` for what etcd would refuse too.
    pub(super) fn plan(&self, txn: Txn) -> Result<Option<Plan>> {
        txn.check()?;
        if !txn.compares.iter().all(|compare| self.holds(compare)) {
            return Ok(None);
        }
        let mut plan = Plan { revision: self.revision + 1, puts: Vec::new(), deletes: Vec::new() };
        for op in txn.ops {
            match op {
                Op::Put(key, value) | Op::PutLeased(key, value, _) => {
                    let create_revision = self.entries.get(&key).map_or(plan.revision, |entry| entry.create_revision);
                    plan.puts.push(Entry { key, value, create_revision, mod_revision: plan.revision });
                }
                Op::Delete(key) if self.entries.contains_key(&key) => plan.deletes.push(key),
                Op::Delete(_) => {}
            }
        }
        if plan.puts.is_empty() && plan.deletes.is_empty() {
            plan.revision = self.revision;
        }
        Ok(Some(plan))
    }

    fn holds(&self, compare: &Compare) -> bool {
        match compare {
            Compare::Created(key, revision) => {
                self.entries.get(key).map_or(0, |entry| entry.create_revision) == *revision
            }
            Compare::Modified(key, revision) => {
                self.entries.get(key).map_or(0, |entry| entry.mod_revision) == *revision
            }
        }
    }

    /// Applies a plan and tells the watchers. Precondition: planned on this very state.
    pub(super) fn apply(&mut self, plan: Plan) {
        if plan.revision == self.revision {
            return;
        }
        assert_eq!(plan.revision, self.revision + 1, "plans are applied in the order they were made");
        self.revision = plan.revision;
        let mut events = Vec::with_capacity(plan.puts.len() + plan.deletes.len());
        for entry in plan.puts {
            events.push((entry.key.clone(), Some(entry.value.clone())));
            self.entries.insert(entry.key.clone(), entry);
        }
        for key in plan.deletes {
            self.entries.remove(&key);
            events.push((key, None));
        }
        let changes = Changes { revision: plan.revision, events };
        self.watchers.retain(|watcher| match below(&changes, &watcher.prefix) {
            Some(changes) => watcher.queue.try_send(changes).is_ok(),
            None => !watcher.queue.is_closed(),
        });
        if self.history.len() == HISTORY_MAX {
            self.history.pop_front();
        }
        self.history.push_back(changes);
    }

    /// Errors: `Unavailable` when `from` is no longer kept.
    pub(super) fn watch(&mut self, prefix: &str, from: Revision) -> Result<WatchStream> {
        let kept_from = self.history.front().map_or(self.revision + 1, |changes| changes.revision);
        if from < kept_from {
            return Err(Error::unavailable(format!("metadata revision {from} is no longer kept (from {kept_from})")));
        }
        let past = self.history.iter().filter(|changes| changes.revision >= from);
        let past = past.filter_map(|changes| below(changes, prefix)).collect::<Vec<_>>();
        let (queue, news) = mpsc::channel(WATCH_QUEUE_MAX);
        self.watchers.push(Watcher { prefix: prefix.to_owned(), queue });
        let ended = futures::stream::once(async {
            Err(Error::unavailable("the metadata watch was ended: its reader lags or the store was closed"))
        });
        let changes = futures::stream::iter(past).chain(ReceiverStream::new(news)).map(Ok);
        Ok(Box::pin(changes.chain(ended)))
    }
}

/// The part of a transaction below a prefix.
fn below(changes: &Changes, prefix: &str) -> Option<Changes> {
    let events = changes.events.iter().filter(|(key, _)| key.starts_with(prefix)).cloned().collect::<Vec<_>>();
    (!events.is_empty()).then_some(Changes { revision: changes.revision, events })
}
