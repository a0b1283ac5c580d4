//! Metadata in one file of the data directory: the standalone's store.
//!
//! All entries are also held in memory and read from there; the file is what
//! a restart reads. Each transaction is one commit with one fsync, and only
//! then becomes readable. Layout: docs/format/metadata.md.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ::redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};
use async_trait::async_trait;
use parking_lot::Mutex;
use varve_model::{Error, Result};
use varve_service::task::TaskSet;

use super::space::{Plan, Space};
use super::{Entry, KvStore, LeaseId, Op, Range, Revision, Txn, TxnReply, WatchStream};

/// Key text -> row, see [`encode_row`].
const ENTRIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("entry");
/// `format` and `revision`.
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("number");
/// Version of this file's layout.
const FORMAT: u64 = 1;
/// create revision, mod revision, crc32c.
const ROW_HEADER_BYTES: usize = 20;

/// A store in one file, held by one process at a time.
#[derive(Debug)]
pub struct RedbKv {
    inner: Arc<Inner>,
    tasks: TaskSet,
}

#[derive(Debug)]
struct Inner {
    database: Database,
    path: PathBuf,
    space: Mutex<Space>,
    /// Held over plan, commit and apply. True once a commit failed: what the file holds is then
    /// unknown, so nothing more is written until a restart has read it.
    failed: tokio::sync::Mutex<bool>,
}

impl RedbKv {
    /// Opens or creates the file. Errors: `Unavailable` while another process holds it, `Corrupt`.
    pub async fn open(path: &Path, tasks: &TaskSet) -> Result<Self> {
        let path = path.to_owned();
        let inner = tasks.blocking("open metadata file", move || open(path)).await??;
        Ok(Self { inner: Arc::new(inner), tasks: tasks.clone() })
    }
}

fn open(path: PathBuf) -> Result<Inner> {
    let in_file = |error: Error| error.context(format!("open metadata file {}", path.display()));
    let database = Database::create(&path).map_err(|error| {
        in_file(match error {
            DatabaseError::DatabaseAlreadyOpen => Error::unavailable("it is in use by another process")
                .with_hint("is varve running on this directory already?"),
            error => damaged(error.into()),
        })
    })?;
    let (entries, revision) = load(&database).map_err(in_file)?;
    let space = Mutex::new(Space::restore(entries, revision));
    Ok(Inner { database, path, space, failed: tokio::sync::Mutex::new(false) })
}

/// Reads everything. A fresh file gets its format number first.
fn load(database: &Database) -> Result<(Vec<Entry>, Revision)> {
    let write = database.begin_write().map_err(|error| damaged(error.into()))?;
    let (revision, entries) = {
        let mut numbers = write.open_table(NUMBERS).map_err(|error| damaged(error.into()))?;
        let mut number = |name: &str, fresh: u64| -> Result<u64> {
            let found = numbers.get(name).map_err(|error| damaged(error.into()))?.map(|guard| guard.value());
            if found.is_none() {
                numbers.insert(name, fresh).map_err(|error| damaged(error.into()))?;
            }
            Ok(found.unwrap_or(fresh))
        };
        let format = number("format", FORMAT)?;
        if format != FORMAT {
            return Err(Error::corrupt(format!("metadata file has format {format}, this varve knows {FORMAT}")));
        }
        let revision = number("revision", 0)?;
        (revision, write.open_table(ENTRIES).map_err(|error| damaged(error.into())).map(drop))
    };
    entries?;
    write.commit().map_err(|error| damaged(error.into()))?;
    let read = database.begin_read().map_err(|error| damaged(error.into()))?;
    let table = read.open_table(ENTRIES).map_err(|error| damaged(error.into()))?;
    let mut entries = Vec::new();
    for row in table.iter().map_err(|error| damaged(error.into()))? {
        let (key, row) = row.map_err(|error| damaged(error.into()))?;
        entries.push(decode_row(key.value(), row.value(), revision)?);
    }
    Ok((entries, revision))
}

fn damaged(error: ::redb::Error) -> Error {
    Error::corrupt(format!("metadata file: {error}")).with_source(error)
}

/// `create_revision u64 | mod_revision u64 | crc32c u32 of key and all else | value`, little-endian.
fn encode_row(entry: &Entry) -> Vec<u8> {
    let mut row = Vec::with_capacity(ROW_HEADER_BYTES + entry.value.len());
    row.extend_from_slice(&entry.create_revision.to_le_bytes());
    row.extend_from_slice(&entry.mod_revision.to_le_bytes());
    let crc = row_crc(&entry.key, &row, &entry.value);
    row.extend_from_slice(&crc.to_le_bytes());
    row.extend_from_slice(&entry.value);
    row
}

fn decode_row(key: &str, row: &[u8], revision: Revision) -> Result<Entry> {
    let bad = || Error::corrupt(format!("metadata record '{key}' is damaged in the file"));
    let (header, value) = row.split_at_checked(ROW_HEADER_BYTES).ok_or_else(bad)?;
    let word = |at: usize| header[at..at + 8].try_into().map(u64::from_le_bytes).map_err(|_| bad());
    let (create_revision, mod_revision) = (word(0)?, word(8)?);
    let crc = header[16..].try_into().map(u32::from_le_bytes).map_err(|_| bad())?;
    if crc != row_crc(key, &header[..16], value) || create_revision > mod_revision || mod_revision > revision {
        return Err(bad());
    }
    Ok(Entry { key: key.to_owned(), value: value.to_vec(), create_revision, mod_revision })
}

fn row_crc(key: &str, revisions: &[u8], value: &[u8]) -> u32 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    digest.update(key.as_bytes());
    digest.update(revisions);
    digest.update(value);
    digest.finalize() as u32
}

impl Inner {
    fn commit(&self, plan: &Plan) -> Result<(), Box<::redb::Error>> {
        self.try_commit(plan).map_err(Box::new)
    }

    #[allow(clippy::result_large_err, reason = "redb's own error, boxed by the only caller")]
    fn try_commit(&self, plan: &Plan) -> Result<(), ::redb::Error> {
        let write = self.database.begin_write()?;
        {
            let mut table = write.open_table(ENTRIES)?;
            for entry in &plan.puts {
                table.insert(entry.key.as_str(), encode_row(entry).as_slice())?;
            }
            for key in &plan.deletes {
                table.remove(key.as_str())?;
            }
            write.open_table(NUMBERS)?.insert("revision", plan.revision)?;
        }
        Ok(write.commit()?)
    }

    async fn txn(self: Arc<Self>, txn: Txn, tasks: TaskSet) -> Result<TxnReply> {
        let mut failed = self.failed.lock().await;
        if *failed {
            return Err(Error::unavailable(format!(
                "an earlier write to {} failed, restart to read what it holds",
                self.path.display()
            )));
        }
        let planned = self.space.lock().plan(txn)?;
        let Some(plan) = planned else {
            return Ok(TxnReply { succeeded: false, revision: self.space.lock().revision() });
        };
        let inner = Arc::clone(&self);
        let (plan, outcome) = tasks
            .blocking("commit metadata", move || {
                let outcome = inner.commit(&plan);
                (plan, outcome)
            })
            .await?;
        if let Err(error) = outcome {
            *failed = true;
            return Err(Error::unavailable(format!("cannot write {}: {error}", self.path.display()))
                .with_source(error)
                .with_hint("restart varve once the disk works again"));
        }
        let mut space = self.space.lock();
        space.apply(plan);
        Ok(TxnReply { succeeded: true, revision: space.revision() })
    }
}

#[async_trait]
impl KvStore for RedbKv {
    async fn get(&self, key: &str) -> Result<Option<Entry>> {
        Ok(self.inner.space.lock().get(key))
    }

    async fn range(&self, prefix: &str) -> Result<Range> {
        Ok(self.inner.space.lock().range(prefix))
    }

    /// Runs as a task of its own: a caller that goes away must not part file and memory.
    async fn txn(&self, txn: Txn) -> Result<TxnReply> {
        if txn.ops.iter().any(|op| matches!(op, Op::PutLeased(..))) {
            return Err(no_leases());
        }
        let work = Arc::clone(&self.inner).txn(txn, self.tasks.clone());
        self.tasks
            .spawn("metadata transaction", work)
            .await
            .map_err(|error| Error::unavailable("the metadata transaction was interrupted").with_source(error))?
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<WatchStream> {
        self.inner.space.lock().watch(prefix, from)
    }

    async fn grant(&self, _: Duration) -> Result<LeaseId> {
        Err(no_leases())
    }

    async fn renew(&self, _: LeaseId) -> Result<bool> {
        Err(no_leases())
    }

    async fn revoke(&self, _: LeaseId) -> Result<()> {
        Err(no_leases())
    }
}

/// A file is held by one process: whoever opened it leads, and nobody waits for that to end.
fn no_leases() -> Error {
    Error::unsupported("a metadata file has no leases: one process holds it alone")
        .with_hint("several metasrvs need etcd: set metasrv.etcd_endpoints")
}
