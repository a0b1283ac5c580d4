//! Batches to the owners of their regions, in parallel, again for those whose route was stale.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::join_all;
use parking_lot::Mutex;
use varve_model::budget::Account;
use varve_model::id::{NodeId, RegionId};
use varve_model::{Error, ErrorKind, Result, ResultExt};
use varve_proto::datanode::{RegionDelete, RegionWrite, WriteRequest};

use super::split::readdress;
use crate::cluster::{Clients, Feed, Table, View, with_routes};
use crate::deadline::Deadline;

/// Sends writes.
#[derive(Clone, Debug)]
pub(crate) struct Dispatch {
    feed: Arc<Feed>,
    clients: Arc<Clients>,
    memory: Account,
}

/// What is still to be sent, and what has been acknowledged.
#[derive(Debug, Default)]
struct Progress {
    pending: Vec<RegionWrite>,
    rows: u64,
}

impl Dispatch {
    pub(crate) fn new(feed: Arc<Feed>, clients: Arc<Clients>, memory: Account) -> Self {
        Self { feed, clients, memory }
    }

    /// Sends all writes; returns the rows acknowledged once all parts are durable and readable.
    ///
    /// Errors: the first failing part's, naming its region; then any part may have been stored.
    #[tracing::instrument(level = "debug", name = "dispatch", skip_all)]
    pub(crate) async fn send(&self, writes: Vec<RegionWrite>, deadline: &Deadline) -> Result<u64> {
        if writes.is_empty() {
            return Ok(0);
        }
        let bytes = writes.iter().map(bytes_of).sum::<usize>();
        let _charge = self.memory.admit(bytes as u64)?;
        let progress = Mutex::new(Progress { pending: writes, rows: 0 });
        let attempt = |view: Arc<View>| self.attempt(view, &progress, deadline);
        deadline.bound("the write", with_routes(&self.feed, attempt)).await?;
        Ok(progress.into_inner().rows)
    }

    /// One try: what was refused for its route stays pending, and the error says so.
    async fn attempt(&self, view: Arc<View>, progress: &Mutex<Progress>, deadline: &Deadline) -> Result<()> {
        let mut pending = std::mem::take(&mut progress.lock().pending);
        let mut by_node = BTreeMap::<NodeId, Vec<RegionWrite>>::new();
        let mut stale = None;
        for mut write in pending.drain(..) {
            match address(&mut write, &view) {
                Ok(node) => by_node.entry(node).or_default().push(write),
                Err(error) => {
                    progress.lock().pending.push(write);
                    stale = Some(error);
                }
            }
        }
        let sends = by_node.into_iter().map(|(node, writes)| self.send_to(&view, node, writes, progress, deadline));
        let mut failed = None;
        for outcome in join_all(sends).await {
            match outcome {
                Ok(None) => {}
                Ok(Some(error)) => stale = Some(error),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        // A part that failed for good decides: sending the others again would not help.
        match (failed, stale) {
            (Some(error), _) | (None, Some(error)) => Err(error),
            (None, None) => Ok(()),
        }
    }

    /// The writes of one node. `Some` is the stale route of parts that went back to pending.
    async fn send_to(
        &self,
        view: &View,
        node: NodeId,
        writes: Vec<RegionWrite>,
        progress: &Mutex<Progress>,
        deadline: &Deadline,
    ) -> Result<Option<Error>> {
        let client = self.clients.client(view, node)?;
        // The callee takes the batches; a copy stays for the case of a stale route.
        let request = WriteRequest { writes: writes.clone() };
        let reply = client.write(&deadline.call(), request).await;
        let parts = match reply {
            Ok(reply) if reply.parts.len() == writes.len() => reply.parts,
            Ok(_) => return Err(Error::internal(format!("datanode {node} answered another number of parts"))),
            Err(error) if error.kind() == ErrorKind::StaleRoute => {
                progress.lock().pending.extend(writes);
                return Ok(Some(error));
            }
            Err(error) => return Err(error.context(format!("write to datanode {node}"))),
        };
        let mut stale = None;
        for (write, part) in writes.into_iter().zip(parts) {
            let region = write.region();
            match part {
                Ok(ack) => progress.lock().rows += ack.rows,
                Err(error) if error.kind() == ErrorKind::StaleRoute => {
                    progress.lock().pending.push(write);
                    stale = Some(error.context(describe(view, region)));
                }
                Err(error) => return Err(error).context(|| describe(view, region)),
            }
        }
        Ok(stale)
    }
}

/// Gives a write the epoch of this view and returns its owner.
fn address(write: &mut RegionWrite, view: &View) -> Result<NodeId> {
    let region = write.region();
    let table = view
        .table_by_id(region.table())
        .ok_or_else(|| Error::not_found(format!("the table of region {region} was dropped")))?;
    match write {
        RegionWrite::Insert(batch) => readdress(batch, table)?,
        RegionWrite::Delete(delete) => readdress_delete(delete, table)?,
    }
    Ok(table.route(region)?.node)
}

fn readdress_delete(delete: &mut RegionDelete, table: &Table) -> Result<()> {
    delete.epoch = table.route(delete.region)?.epoch;
    Ok(())
}

fn describe(view: &View, region: RegionId) -> String {
    match view.table_by_id(region.table()) {
        Some(table) => format!("write to region {region} of table '{}'", table.info.name),
        None => format!("write to region {region}"),
    }
}

fn bytes_of(write: &RegionWrite) -> usize {
    match write {
        RegionWrite::Insert(batch) => batch.bytes_len(),
        RegionWrite::Delete(_) => 0,
    }
}
