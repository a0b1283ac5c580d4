//! What clients do: put, delete, append with and without a token, flush, merge.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use varve_model::id::SchemaVersion;
use varve_model::matcher::{MatchOp, Matcher, MissingTag};
use varve_model::partition::Partition;
use varve_model::rows::{Rows, TableRows};
use varve_model::schema::{LogicalType, NewColumn, StoredType};
use varve_model::series::encode_key;
use varve_model::table::{MergeMode, TableOptions};
use varve_model::time::{TimeRange, TimeUnit};
use varve_model::{ErrorKind, Result};
use varve_proto::datanode::{RegionDelete, RegionWrite, WriteRequest};
use varve_proto::metasrv::{CreateTable, Procedure, RegionAction, TableName};
use varve_protocol::gateway::Gateway;
use varve_protocol::session::{Session, Wire};

use crate::door::Door;
use crate::judge::history::{Fate, History, Key};
use crate::judge::read::{call, locate};
use crate::world::World;

/// Regions of a table that is created.
pub(crate) const REGIONS: u32 = 2;
/// Nanoseconds.
const HOUR: i64 = 3_600_000_000_000;
/// Where rows of a series lie, in hours.
const WINDOWS: [i64; 3] = [0, 5, 30];
/// How often a request with a token is sent again while nobody knows what became of it.
const RETRIES_MAX: u32 = 3;
/// Longest a client waits.
const PATIENCE: Duration = Duration::from_secs(15);

/// The doors that are open now; a client takes any.
pub(crate) type Doors = Arc<Mutex<Vec<Arc<Door>>>>;

/// What a client works with.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) number: u64,
    pub(crate) world: Arc<World>,
    pub(crate) doors: Doors,
    pub(crate) history: Arc<Mutex<History>>,
    /// Held while an operation runs; a judge takes all of it.
    pub(crate) running: Arc<tokio::sync::RwLock<()>>,
}

fn table(name: &str) -> TableName {
    TableName { database: "public".to_owned(), table: name.to_owned() }
}

/// Creates a table of series and value, unless it is there.
pub(crate) async fn create(door: &Door, name: &str, merge_mode: MergeMode) -> Result<()> {
    let create = CreateTable {
        table: table(name),
        columns: vec![
            NewColumn::tag("s"),
            NewColumn::time("time", TimeUnit::Nanosecond),
            NewColumn::field("v", LogicalType::Int64),
        ],
        primary_key: Vec::new(),
        options: TableOptions { merge_mode, ..TableOptions::default() },
        regions: Some(REGIONS),
        if_not_exists: true,
    };
    door.metasrv.execute(&call(), Procedure::CreateTable(create)).await.map(|_| ())
}

/// Rows of one table: (series, ts, value).
fn rows_of(name: &str, rows: &[(String, i64, i64)]) -> Rows {
    let mut table = TableRows::new(name, TimeUnit::Nanosecond);
    table.tags.push("s".to_owned());
    let field = table.field_mut("v", StoredType::I64);
    for (at, (series, ts, value)) in rows.iter().enumerate() {
        let slot = table.keys.push_with(|bytes| encode_key(&mut [(b"s", series.as_bytes())], bytes));
        table.series.push(slot);
        table.ts.push(*ts);
        table.origin.push(at as u32);
        let varve_model::batch::Values::I64(values) = &mut table.fields[field].vector.values else {
            continue;
        };
        values.push(*value);
    }
    Rows { tables: vec![table] }
}

/// How many regions a request writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parts {
    One,
    Some,
}

/// The region that a series is in.
pub(crate) fn region_of(series: &str) -> u32 {
    let partition = Partition::even(REGIONS).expect("a valid count");
    let mut key = Vec::new();
    encode_key(&mut [(b"s".as_slice(), series.as_bytes())], &mut key);
    partition.ranges[partition.range_of(&key)].region
}

/// Whether an error says that no row was written or will be.
fn is_refused(kind: ErrorKind, parts: Parts) -> bool {
    match kind {
        ErrorKind::InvalidRequest => true,
        // A busy region took nothing; of several, others may have.
        ErrorKind::Busy => parts == Parts::One,
        _ => false,
    }
}

impl Client {
    /// An open door.
    pub(crate) fn door(&self) -> Option<Arc<Door>> {
        let doors = self.doors.lock();
        let at = if doors.len() > 1 { self.world.draw(doors.len() as u64) } else { 0 };
        doors.get(at as usize).cloned()
    }

    /// Works until its task is dropped.
    pub(crate) async fn work(self) {
        for turn in 0u64.. {
            self.world.sleep_millis(20 + self.world.draw(1500)).await;
            let Some(door) = self.door() else { continue };
            let _running = self.running.read().await;
            match self.world.draw(20) {
                0 | 1 => self.delete(&door).await,
                2 => self.admin(&door).await,
                3..=9 => drop(self.append(&door, turn).await),
                _ => drop(self.put_series(&door, turn, self.world.draw(5)).await),
            }
        }
    }

    /// Runs on the tasks of the client's process, so that a kill ends it where it stands. Giving up ends it too, so
    /// that nothing of an operation is sent after the client's next.
    async fn through<T: Send + 'static>(
        &self,
        door: &Arc<Door>,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Option<Result<T>> {
        let mut handle = door.tasks.spawn("client request", work);
        let done = tokio::time::timeout(PATIENCE, &mut handle).await;
        if done.is_err() {
            handle.abort();
        }
        done.ok()?.ok()
    }

    async fn write(&self, door: &Arc<Door>, rows: Rows, (parts, token): (Parts, Option<String>)) -> Fate {
        let mut session = Session::new(Wire::Influx);
        session.timeout = Duration::from_secs(10);
        // Each key is sent with one body only.
        session.body = token.is_some().then_some(0);
        session.idempotency_key = token;
        let frontend = Arc::clone(&door.frontend);
        match self.through(door, async move { frontend.write(&session, rows).await }).await {
            Some(Ok(written)) if written.refused.is_empty() => Fate::Acked,
            Some(Ok(_)) => Fate::Refused,
            Some(Err(error)) if is_refused(error.kind(), parts) => Fate::Refused,
            Some(Err(_)) | None => Fate::Unknown,
        }
    }

    /// Puts a value at some keys of one of its series.
    pub(crate) async fn put_series(&self, door: &Arc<Door>, turn: u64, series: u64) -> Fate {
        let series = format!("c{}x{series}", self.number);
        let value = (self.number << 32 | turn) as i64;
        // Two windows of one day, and one of the next.
        let mut stamps = (0..=self.world.draw(20))
            .map(|_| self.world.draw(40) as i64 * 1_000_000_000 + WINDOWS[self.world.draw(3) as usize] * HOUR)
            .collect::<Vec<_>>();
        stamps.sort_unstable();
        stamps.dedup();
        let rows = stamps.iter().map(|&ts| (series.clone(), ts, value)).collect::<Vec<_>>();
        let keys = stamps.iter().map(|&ts| (series.clone(), ts)).collect::<Vec<Key>>();
        let fate = self.write(door, rows_of("m", &rows), (Parts::One, None)).await;
        self.world.note(format_args!(
            "client {} puts {value} at {} keys of {series}: {fate:?}",
            self.number,
            keys.len()
        ));
        self.history.lock().put(&keys, Some(value), fate);
        fate
    }

    pub(crate) async fn append(&self, door: &Arc<Door>, turn: u64) -> Fate {
        let count = 1 + self.world.draw(30);
        let series = (0..count).map(|_| format!("s{}", self.world.draw(50))).collect();
        self.append_to(door, turn, series).await
    }

    /// Appends a row to each of these series.
    pub(crate) async fn append_to(&self, door: &Arc<Door>, turn: u64, series: Vec<String>) -> Fate {
        let request = self.number << 32 | turn;
        let row = |(at, series): (u64, String)| {
            let id = (request << 8 | at) as i64;
            (series, id % 1000 * 60_000_000_000, id)
        };
        let rows = (0..).zip(series).map(row).collect::<Vec<_>>();
        let token = (self.world.draw(2) == 0).then(|| format!("r{request}"));
        let regions = rows.iter().map(|(series, _, id)| (*id, region_of(series))).collect();
        self.history.lock().announce(request, regions);
        let fate = match token {
            None => self.write(door, rows_of("a", &rows), (Parts::Some, None)).await,
            Some(token) => self.write_until_known(door, &rows, token).await,
        };
        self.world.note(format_args!("client {} appends {} rows as {request}: {fate:?}", self.number, rows.len()));
        self.history.lock().append(request, fate);
        fate
    }

    /// As a client that wants to know: sends the request again, under its token, while its outcome is unknown.
    async fn write_until_known(&self, door: &Arc<Door>, rows: &[(String, i64, i64)], token: String) -> Fate {
        let mut fate = self.write_twice(door, rows, token.clone()).await;
        for _ in 0..RETRIES_MAX {
            if fate != Fate::Unknown {
                break;
            }
            self.world.sleep_millis(200 + self.world.draw(3_000)).await;
            let Some(door) = self.door() else { continue };
            // What was refused now may have been written before.
            if self.write(&door, rows_of("a", rows), (Parts::Some, Some(token.clone()))).await == Fate::Acked {
                fate = Fate::Acked;
            }
        }
        fate
    }

    /// Sends the same request twice under one token, the second while the first is on its way or after it.
    /// One acknowledgement is enough: the rows must then be there, once.
    async fn write_twice(&self, door: &Arc<Door>, rows: &[(String, i64, i64)], token: String) -> Fate {
        let pause = self.world.draw(40);
        let second = async {
            self.world.sleep_millis(pause).await;
            match self.door() {
                Some(door) => self.write(&door, rows_of("a", rows), (Parts::Some, Some(token.clone()))).await,
                None => Fate::Unknown,
            }
        };
        match futures::join!(self.write(door, rows_of("a", rows), (Parts::Some, Some(token.clone()))), second) {
            (Fate::Acked, _) | (_, Fate::Acked) => Fate::Acked,
            (Fate::Refused, Fate::Refused) => Fate::Refused,
            _ => Fate::Unknown,
        }
    }

    async fn delete(&self, door: &Arc<Door>) {
        let series = format!("c{}x{}", self.number, self.world.draw(5));
        let last_window = if self.world.draw(3) == 0 { WINDOWS[2] * HOUR } else { 0 };
        let (from, to) = (0, last_window + self.world.draw(40) as i64 * 1_000_000_000);
        let keys = self.history.lock().keys_of(&series, from, to);
        let work = {
            let (door, series) = (Arc::clone(door), series.clone());
            async move {
                let Some((table, routes)) = locate(&*door.metasrv, "m").await? else {
                    return Ok(());
                };
                for route in routes.iter() {
                    let write = RegionWrite::Delete(RegionDelete {
                        region: route.region,
                        epoch: route.epoch,
                        schema_version: SchemaVersion(table.schema.version.0),
                        matchers: vec![Matcher {
                            tag: "s".to_owned(),
                            op: MatchOp::In(vec![series.clone()]),
                            missing: MissingTag::Unknown,
                        }],
                        time: TimeRange { start: from, end: to },
                    });
                    let reply = door.datanode(route)?.write(&call(), WriteRequest { writes: vec![write] }).await?;
                    reply.parts.into_iter().try_for_each(|part| part.map(|_| ()))?;
                }
                Ok(())
            }
        };
        let fate = match self.through(door, work).await {
            Some(Ok(())) => Fate::Acked,
            Some(Err(_)) | None => Fate::Unknown,
        };
        self.world.note(format_args!("client {} deletes {} keys of {series}: {fate:?}", self.number, keys.len()));
        self.history.lock().put(&keys, None, fate);
    }

    async fn admin(&self, door: &Arc<Door>) {
        let name = if self.world.draw(2) == 0 { "m" } else { "a" };
        let action = if self.world.draw(3) == 0 { RegionAction::Compact } else { RegionAction::Flush };
        let metasrv = Arc::clone(&door.metasrv);
        let procedure = Procedure::EachRegion { table: table(name), action };
        let done = self.through(door, async move { metasrv.execute(&call(), procedure).await }).await;
        self.world.note(format_args!("{action:?} of {name}: {}", matches!(done, Some(Ok(_)))));
    }
}
