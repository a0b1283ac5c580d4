//! The single writer: takes what waits, makes blocks, keeps several on their way to the log, applies them in order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{mpsc, oneshot};
use tracing::{Instrument, Span};
use varve_model::batch::RegionBatch;
use varve_model::budget::Charge;
use varve_model::id::{Sequence, SeriesId};
use varve_model::matcher::Matcher;
use varve_model::time::TimeRange;
use varve_model::{Error, ErrorKind, Result};
use varve_service::telemetry::stage::{Stage, StageTimer};

use super::batch::{self, Counters, Place, advance, check_schema, check_series};
use super::tokens::Known;
use super::{Ack, Shared, Unflushed};
use crate::format::block::{self, Block, BlockBody};
use crate::wal::{EncodedBlock, Pending};

/// Blocks on their way to the log at once: enough to encode the next while one is synced.
const IN_FLIGHT_MAX: usize = 8;
/// Rows above which a block takes no further batch: copying large batches into one costs more than a block does.
const BLOCK_ROWS: usize = 4096;

/// Who asked for a write, and in which span: the writer's own began when the region was opened.
#[derive(Debug)]
pub(super) struct Asker {
    pub(super) reply: oneshot::Sender<Result<Ack>>,
    pub(super) span: Span,
}

impl Asker {
    fn answer(self, answer: Result<Ack>) {
        let _ = self.reply.send(answer);
    }
}

#[derive(Debug)]
pub(super) enum Command {
    Insert {
        batch: RegionBatch,
        charge: Charge,
        asker: Asker,
    },
    Delete {
        matchers: Vec<Matcher>,
        time: TimeRange,
        asker: Asker,
    },
    /// Answers everything before, then waits until the sender of the answer is dropped.
    Hold(oneshot::Sender<oneshot::Sender<()>>),
    Close(oneshot::Sender<()>),
}

/// Keeps writes waiting until dropped.
#[derive(Debug)]
pub(super) struct Held(#[allow(dead_code, reason = "its drop releases the writer")] oneshot::Sender<()>);

/// Waits until every write before is answered, and holds those behind.
pub(super) async fn hold(commands: &mpsc::Sender<Command>) -> Result<Held> {
    let closed = || Error::unavailable("the region is closing");
    let (ready, held) = oneshot::channel();
    commands.send(Command::Hold(ready)).await.map_err(|_| closed())?;
    held.await.map(Held).map_err(|_| closed())
}

/// Who waits for a block, and with which part of it.
#[derive(Debug)]
struct Waiter {
    asker: Asker,
    ack: Ack,
}

/// The span of the request that waits for a block, or of the first of several.
fn request_of(waiters: &[Waiter]) -> Span {
    waiters.first().map_or_else(Span::none, |waiter| waiter.asker.span.clone())
}

/// Lets a stage follow from the other requests of its block.
fn follow(stage: &Span, waiters: &[Waiter]) {
    for waiter in waiters.iter().skip(1) {
        stage.follows_from(waiter.asker.span.id());
    }
}

#[derive(Debug)]
struct InFlight {
    block: Arc<Block>,
    pending: Pending,
    waiters: Vec<Waiter>,
    charge: Charge,
}

#[derive(Debug)]
pub(super) struct Worker {
    shared: Arc<Shared>,
    counters: Counters,
    in_flight: VecDeque<InFlight>,
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let counters = Counters {
            next_seq: Sequence(shared.sequence.load(Ordering::Acquire) + 1),
            logged_series: shared.index.next_id(),
        };
        Self { shared, counters, in_flight: VecDeque::new() }
    }

    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut held: Option<Command> = None;
        loop {
            if let Some(command) = held.take() {
                held = self.handle(command, &mut commands).await;
                continue;
            }
            tokio::select! {
                biased;
                done = durable(&mut self.in_flight) => self.complete(done).await,
                command = commands.recv(), if self.in_flight.len() < IN_FLIGHT_MAX => match command {
                    Some(Command::Close(reply)) => {
                        commands.close();
                        self.drain().await;
                        let _ = reply.send(());
                        return;
                    }
                    Some(command) => held = self.handle(command, &mut commands).await,
                    None => return self.drain().await,
                },
            }
        }
    }

    /// Carries out one command, with inserts that wait behind it; returns the command that did not fit.
    async fn handle(&mut self, command: Command, commands: &mut mpsc::Receiver<Command>) -> Option<Command> {
        match command {
            Command::Insert { batch, charge, asker } => return self.insert((batch, charge, asker), commands).await,
            Command::Delete { matchers, time, asker } => {
                let request = asker.span.clone();
                self.delete(&matchers, time, asker).instrument(request).await;
            }
            Command::Hold(ready) => {
                self.drain().await;
                let (release, released) = oneshot::channel();
                if ready.send(release).is_ok() {
                    let _ = released.await;
                }
            }
            Command::Close(reply) => {
                commands.close();
                self.drain().await;
                let _ = reply.send(());
            }
        }
        None
    }

    async fn insert(
        &mut self,
        first: (RegionBatch, Charge, Asker),
        commands: &mut mpsc::Receiver<Command>,
    ) -> Option<Command> {
        let schema_version = first.0.schema_version;
        let mut group = Group::default();
        let mut rest = None;
        let mut next = Some(first);
        while let Some(insert) = next.take() {
            self.admit(insert, &mut group);
            if group.rows >= BLOCK_ROWS {
                break;
            }
            match commands.try_recv() {
                Ok(Command::Insert { batch, charge, asker }) if batch.schema_version == schema_version => {
                    next = Some((batch, charge, asker));
                }
                Ok(other) => rest = Some(other),
                Err(_) => {}
            }
        }
        if !group.batches.is_empty() {
            let request = request_of(&group.waiters);
            self.log_group(group).instrument(request).await;
        }
        rest
    }

    /// Checks one insert and adds it to the group, or answers it.
    fn admit(&mut self, (batch, charge, asker): (RegionBatch, Charge, Asker), group: &mut Group) {
        let checked = check_schema(&batch, &self.shared.version.view().table.schema)
            .and_then(|()| check_series(&batch, &self.shared.index, &self.shared.indexes));
        let known = checked.and_then(|()| {
            if batch.tokens.is_empty() {
                return Ok(Known::Fresh);
            }
            let mut tokens = self.shared.tokens.lock();
            let known = tokens.look(&batch.tokens)?;
            if known == Known::Fresh {
                tokens.reserve(batch.tokens.len(), self.shared.ctx.clock.boot())?;
            }
            Ok(known)
        });
        let rows = batch.rows() as u64;
        match known {
            Err(error) => asker.answer(Err(error)),
            Ok(Known::Durable(sequence)) => {
                asker.answer(self.shared.check_permit().map(|()| Ack { sequence, rows }));
            }
            Ok(Known::Pending(sequence)) => self.join(sequence, Waiter { asker, ack: Ack { sequence, rows } }, group),
            Ok(Known::Fresh) => {
                group.rows += batch.rows();
                let sequence = Sequence(self.counters.next_seq.0 + group.rows as u64 - 1);
                self.shared.tokens.lock().begin(&batch.tokens, sequence);
                group.waiters.push(Waiter { asker, ack: Ack { sequence, rows } });
                match &mut group.charge {
                    None => group.charge = Some(charge),
                    Some(whole) => whole.absorb(charge),
                }
                group.batches.push(batch);
            }
        }
    }

    /// Waits with the first request of the same token: in this group, or in a block on its way.
    fn join(&mut self, sequence: Sequence, waiter: Waiter, group: &mut Group) {
        match self.in_flight.iter_mut().find(|in_flight| in_flight.block.last_seq() >= sequence) {
            Some(in_flight) => in_flight.waiters.push(waiter),
            None => group.waiters.push(waiter),
        }
    }

    async fn log_group(&mut self, group: Group) {
        let block = {
            let stage = tracing::debug_span!("sequence", region = %self.shared.region(), rows = group.rows).entered();
            follow(&stage, &group.waiters);
            let timer = StageTimer::start(Stage::Sequence);
            let place = Place { region: self.shared.region(), epoch: self.shared.epoch() };
            let block = batch::sequence(group.batches, &self.shared.index, &mut self.counters, place);
            timer.finish(group.rows, 0);
            block
        };
        if !block.new_series.is_empty() {
            self.shared.charge_index();
        }
        let charge = group.charge.expect("a group with batches has their charge");
        self.log(block, group.waiters, charge).await;
    }

    async fn delete(&mut self, matchers: &[Matcher], time: TimeRange, asker: Asker) {
        let selected = match matchers {
            [] => Ok(None),
            matchers => {
                self.shared.index.select(matchers).map(|ids| Some(ids.iter().map(SeriesId).collect::<Vec<_>>()))
            }
        };
        let series = match selected {
            Ok(series) => series,
            Err(error) => return asker.answer(Err(error)),
        };
        if time.is_empty() || series.as_ref().is_some_and(Vec::is_empty) {
            let sequence = Sequence(self.counters.next_seq.0 - 1);
            return asker.answer(Ok(Ack { sequence, rows: 0 }));
        }
        let charge = match self.shared.memory.charge(series.as_ref().map_or(0, |ids| ids.len() as u64 * 4)) {
            Ok(charge) => charge,
            Err(error) => return asker.answer(Err(error)),
        };
        let new_series = batch::undefined(&self.shared.index, self.counters.logged_series);
        let block = Block {
            region: self.shared.region(),
            epoch: self.shared.epoch(),
            schema_version: self.shared.version.view().table.schema.version,
            first_seq: self.counters.next_seq,
            tokens: Vec::new(),
            first_new_series: self.counters.logged_series,
            new_series,
            body: BlockBody::Delete { series, time },
        };
        advance(&block, &mut self.counters);
        let ack = Ack { sequence: block.last_seq(), rows: 0 };
        self.log(block, vec![Waiter { asker, ack }], charge).await;
    }

    /// Hands a block to the log.
    #[tracing::instrument(
        level = "debug", name = "append", skip_all,
        fields(region = %block.region, first = block.first_seq.0, rows = block.rows())
    )]
    async fn log(&mut self, block: Block, waiters: Vec<Waiter>, charge: Charge) {
        let timer = StageTimer::start(Stage::WalEncode);
        let mut bytes = Vec::with_capacity(block.bytes_len() / 4 + 256);
        block::encode(&block, &mut bytes);
        timer.finish(block.rows() as usize, bytes.len());
        let encoded = EncodedBlock { region: block.region, first_seq: block.first_seq, rows: block.rows(), bytes };
        let block = Arc::new(block);
        match self.shared.wal.append(encoded).await {
            Ok(pending) => self.in_flight.push_back(InFlight { block, pending, waiters, charge }),
            Err(error) => {
                self.note_end(&error);
                self.shared.tokens.lock().forget(&block.tokens);
                self.counters = Counters { next_seq: block.first_seq, logged_series: block.first_new_series };
                refuse(waiters, &error);
            }
        }
    }

    /// The oldest block is durable, or was refused.
    async fn complete(&mut self, done: Result<()>) {
        let in_flight = self.in_flight.pop_front().expect("only a block on its way completes");
        match done {
            Ok(()) => self.apply(in_flight),
            Err(error) => self.roll_back(in_flight, &error).await,
        }
    }

    fn apply(&mut self, in_flight: InFlight) {
        let InFlight { block, waiters, charge, .. } = in_flight;
        let shared = &self.shared;
        let (last, rows) = (block.last_seq(), block.rows() as usize);
        let _request = request_of(&waiters).entered();
        let stage = tracing::debug_span!("apply", region = %shared.region(), first = block.first_seq.0, rows).entered();
        follow(&stage, &waiters);
        let timer = StageTimer::start(Stage::Apply);
        let tokens = block.tokens.clone();
        if let Err(error) = shared.version.apply(block) {
            tracing::error!(region = %shared.region(), %error, "a logged block cannot be applied");
            refuse(waiters, &Error::unavailable("the write is durable but cannot be read yet"));
            return;
        }
        timer.finish(rows, 0);
        shared.sequence.store(last.0, Ordering::Release);
        let now = shared.ctx.clock.boot();
        if !tokens.is_empty() {
            shared.tokens.lock().confirm(&tokens, last, now, shared.ctx.clock.wall_nanos() / 1_000_000_000);
        }
        shared.unflushed.lock().push_back(Unflushed { last, at: now, _charge: charge });
        let permitted = shared.check_permit();
        for waiter in waiters {
            let answer = match &permitted {
                Ok(()) => Ok(waiter.ack),
                // Durable and visible, but perhaps not ours to confirm any more.
                Err(error) => Err(Error::unavailable(format!("{error}: the outcome of the write is unknown"))),
            };
            waiter.asker.answer(answer);
        }
    }

    /// The log was ended by another process: so was this region's ownership.
    fn note_end(&self, error: &Error) {
        if error.kind() == ErrorKind::Fenced {
            self.shared.fenced.store(true, Ordering::Release);
        }
    }

    /// A block was refused, so the log refuses all behind it: none may leave a gap.
    async fn roll_back(&mut self, first: InFlight, error: &Error) {
        self.note_end(error);
        self.counters = Counters { next_seq: first.block.first_seq, logged_series: first.block.first_new_series };
        self.shared.tokens.lock().forget(&first.block.tokens);
        refuse(first.waiters, error);
        while let Some(mut behind) = self.in_flight.pop_front() {
            let outcome = behind.pending.durable().await;
            debug_assert!(outcome.is_err(), "the log took a block behind a refused one");
            self.shared.tokens.lock().forget(&behind.block.tokens);
            refuse(behind.waiters, outcome.as_ref().err().unwrap_or(error));
        }
    }

    /// Waits until every block on its way is answered.
    async fn drain(&mut self) {
        while !self.in_flight.is_empty() {
            let done = durable(&mut self.in_flight).await;
            self.complete(done).await;
        }
    }
}

/// Batches of one block.
#[derive(Debug, Default)]
struct Group {
    batches: Vec<RegionBatch>,
    waiters: Vec<Waiter>,
    charge: Option<Charge>,
    rows: usize,
}

/// Resolves when the oldest block on its way is durable; never without one.
async fn durable(in_flight: &mut VecDeque<InFlight>) -> Result<()> {
    match in_flight.front_mut() {
        Some(front) => front.pending.durable().await.map(|_| ()),
        None => std::future::pending().await,
    }
}

/// Answers all waiters with the same error. `Busy` is a definite refusal, anything else is unknown.
fn refuse(waiters: Vec<Waiter>, error: &Error) {
    for waiter in waiters {
        let kind = if error.kind() == ErrorKind::Busy { ErrorKind::Busy } else { ErrorKind::Unavailable };
        waiter.asker.answer(Err(Error::new(kind, error.message()).with_reason(error.reason())));
    }
}
