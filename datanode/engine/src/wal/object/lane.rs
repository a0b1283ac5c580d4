//! The lane: cuts batches, puts one object at a time, confirms, and ends when its slot is taken.

use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use varve_model::id::Nonce;
use varve_model::{Error, ErrorKind, Result};
use varve_service::telemetry::stage::{self, Stage};

use super::body::{self, Body};
use super::index::{Object, last_of};
use super::queue::{Cut, Phase, Waiter};
use super::{Shared, fenced, seal, stopped, unknown};
use crate::fault::bug::{self, Bug};
use crate::format::object::{ObjectHeader, ObjectKind};
use crate::store::create::{Created, ReadBack, create_verified};
use crate::store::delete::delete_paths;
use crate::store::path;
use crate::wal::Position;

/// The only task that writes to the lane.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    /// Hash of the object before; 0 before the first.
    previous: u128,
}

/// What became of an object.
enum Put {
    Durable,
    /// Another process ended the session.
    Fenced(String),
    /// The node is stopping and nobody knows.
    Stopped,
    /// The planted bug of giving up on a slot.
    GivenUp,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, previous: 0 }
    }

    pub(super) async fn run(mut self) {
        loop {
            let goes_on = match self.next().await {
                Cut::Batch(batch) => self.write(batch).await,
                Cut::Seal => {
                    self.seal().await;
                    false
                }
                Cut::Wait(_) | Cut::Over => {
                    self.end(Phase::Over, &stopped());
                    false
                }
            };
            if !goes_on {
                return;
            }
        }
    }

    /// Waits until there is something to do. An idle log waits without a timer.
    async fn next(&self) -> Cut {
        let shared = &self.shared;
        loop {
            let cut = shared.queue.lock().cut(shared.clock.boot(), &shared.options);
            let Cut::Wait(limit) = cut else { return cut };
            let lingered = async {
                match limit {
                    Some(limit) => shared.clock.sleep(limit).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = shared.tasks.token().cancelled() => return Cut::Over,
                () = shared.wake.notified() => {}
                () = lingered => {}
            }
        }
    }

    /// Writes one object and answers its waiters. False when the log cannot go on.
    async fn write(&mut self, mut batch: Vec<Waiter>) -> bool {
        failpoint!("wal.cut.before");
        let blocks = batch.iter_mut().map(|waiter| std::mem::take(&mut waiter.block.bytes)).collect::<Vec<_>>();
        let header = ObjectHeader {
            kind: ObjectKind::Data,
            session: self.shared.session,
            lane: 0,
            seq: self.shared.index.lock().head(),
            nonce: Nonce(self.shared.clock.random()),
            previous: self.previous,
        };
        let encoded = self.shared.tasks.blocking("encode a log object", move || body::encode(&header, &blocks)).await;
        let body = match encoded.and_then(|encoded| encoded) {
            Ok(body) => body,
            Err(error) => {
                tracing::error!(%error, "a log object cannot be encoded: the log ends");
                refuse(batch, &unknown("the write-ahead log failed"));
                self.end(Phase::Over, &stopped());
                return false;
            }
        };
        if bug::is(Bug::AckBeforePut) {
            confirm(std::mem::take(&mut batch), &self.positions(&body, header.seq));
        }
        match self.put(&header, &body.bytes).await {
            Put::Durable => self.durable(header.seq, body, batch).await,
            Put::GivenUp => {
                refuse(batch, &Error::busy("the object store does not answer"));
                return true;
            }
            Put::Stopped => {
                refuse(batch, &unknown("the node is stopping"));
                self.end(Phase::Over, &stopped());
                return false;
            }
            Put::Fenced(why) => {
                // Those that wait are not in the log. Of those of this object nobody can tell, even when a SEAL has
                // its slot: the object may have landed, been replayed, flushed and deleted, and an earlier sealer's
                // late SEAL come into its place (docs/models.md).
                self.shared.end(&why);
                refuse(batch, &unknown(&why));
                return false;
            }
        }
        true
    }

    /// Puts one body into its slot, for as long as that takes: never another body, never another slot.
    async fn put(&self, header: &ObjectHeader, body: &Bytes) -> Put {
        let shared = &self.shared;
        let path = path::wal_object(header.session, header.lane, header.seq);
        loop {
            failpoint!("wal.put.before");
            let created = tokio::select! {
                biased;
                () = shared.tasks.token().cancelled() => return Put::Stopped,
                created = create_verified(&*shared.store, &shared.clock, &path, body, ReadBack::OnDoubt) => created,
            };
            failpoint!("wal.put.after");
            match created {
                Ok(Created::Created) => return Put::Durable,
                Ok(Created::Occupied(_)) if bug::is(Bug::TakenIsSuccess) => return Put::Durable,
                Ok(Created::Occupied(found)) => return Put::Fenced(describe(&path, &found)),
                Err(_) if bug::is(Bug::SecondBody) => return Put::GivenUp,
                Err(error) => {
                    tracing::warn!(%path, %error, "the outcome of a log write is not known: going on with the same body");
                }
            }
        }
    }

    async fn durable(&mut self, slot: u64, body: Body, batch: Vec<Waiter>) {
        let rows = body.entries.iter().map(|entry| entry.rows as usize).sum();
        stage::count(Stage::WalSync, rows, body.bytes.len());
        let positions = self.positions(&body, slot);
        self.previous = body.hash;
        let last = last_of(&body.entries);
        self.shared.index.lock().add(Object { bytes: body.bytes.len() as u64, entries: body.entries });
        failpoint!("wal.ack.before");
        confirm(batch, &positions);
        if self.shared.trim_on_ack(&last) {
            delete_trimmable(&self.shared).await;
        }
    }

    fn positions(&self, body: &Body, slot: u64) -> Vec<Position> {
        let session = self.shared.session;
        body.entries.iter().map(|entry| Position { session, lane: 0, seq: slot, offset: entry.offset }).collect()
    }

    /// Seals every declared lane behind what this session wrote: nobody has to wait for a lease to know it is over.
    async fn seal(&self) {
        let sealed = tokio::select! {
            biased;
            () = self.shared.tasks.token().cancelled() => Err(stopped()),
            sealed = self.put_seals() => sealed,
        };
        let phase = match &sealed {
            Err(error) if error.kind() == ErrorKind::Fenced => Phase::Fenced(error.message().to_owned()),
            _ => Phase::Over,
        };
        let (waiting, sealers) = self.shared.queue.lock().end(phase);
        refuse(waiting, &stopped());
        for sealer in sealers {
            let _ = sealer.send(sealed.as_ref().copied().map_err(Error::copy));
        }
    }

    async fn put_seals(&self) -> Result<()> {
        let shared = &self.shared;
        for lane in 0..shared.options.lanes {
            let slot = if lane == 0 { shared.index.lock().head() } else { 0 };
            failpoint!("seal.create.before");
            let body = seal::body(&shared.clock, (shared.session, lane, slot), shared.session);
            let path = path::wal_object(shared.session, lane, slot);
            let found = loop {
                match create_verified(&*shared.store, &shared.clock, &path, &body, ReadBack::Always).await {
                    Ok(Created::Created) => break None,
                    Ok(Created::Occupied(found)) => break Some(found),
                    Err(error) => tracing::warn!(%path, %error, "a SEAL is not yet known: going on with the same body"),
                }
            };
            if let Some(found) = found.filter(|found| !seal::is_seal(found)) {
                return Err(fenced(&describe(&path, &found)));
            }
        }
        Ok(())
    }

    /// Ends the log; whoever waits gets this error.
    fn end(&self, phase: Phase, error: &Error) {
        let (waiting, sealers) = self.shared.queue.lock().end(phase);
        refuse(waiting, error);
        for sealer in sealers {
            let _ = sealer.send(Err(error.copy()));
        }
    }
}

/// Deletes what nobody needs; what cannot be deleted now is tried again with the next.
pub(super) async fn delete_trimmable(shared: &Shared) {
    let slots = shared.index.lock().trimmable();
    let paths = slots.iter().map(|slot| path::wal_object(shared.session, 0, *slot)).collect::<Vec<_>>();
    let failed = delete_paths(&*shared.store, &shared.clock, &paths).await;
    if let Some((_, error)) = failed.first() {
        tracing::warn!(%error, objects = failed.len(), "log objects that nobody needs cannot be deleted yet");
    }
    let failed = slots.into_iter().zip(&paths).filter(|(_, path)| failed.iter().any(|(kept, _)| kept == *path));
    let failed = failed.map(|(slot, _)| slot).collect();
    shared.index.lock().not_deleted(failed);
}

/// What another process put into our slot.
fn describe(path: &Path, found: &[u8]) -> String {
    match ObjectHeader::decode(found).map(|header| header.kind) {
        Ok(ObjectKind::Seal { sealer }) => seal::sealed_by(sealer, path),
        Ok(ObjectKind::Data) => format!("{path} holds blocks that this process did not write"),
        Err(_) => format!("{path} holds something that is no log object"),
    }
}

fn confirm(batch: Vec<Waiter>, positions: &[Position]) {
    for (waiter, position) in batch.into_iter().zip(positions) {
        let _ = waiter.reply.send(Ok(*position));
    }
}

fn refuse(batch: Vec<Waiter>, error: &Error) {
    for waiter in batch {
        let _ = waiter.reply.send(Err(error.copy()));
    }
}
