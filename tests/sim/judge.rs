//! One full strong read, compared with what clients know and with what the bucket holds.

pub(crate) mod audit;
pub(crate) mod history;
mod log;
pub(crate) mod read;
mod reference;

use parking_lot::Mutex;
use varve_model::ErrorKind;

use crate::door::Door;
use crate::world::World;
use history::{History, Settled};

/// Why a judgement gave none.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// An invariant does not hold.
    Violated(String),
    /// The read did not come to its end.
    Unread(String),
}

/// Reads all while no client works, and compares.
pub(crate) async fn judge(
    world: &World,
    door: &Door,
    history: &Mutex<History>,
    settled: Settled,
) -> Result<(), Verdict> {
    // What cannot be read now can be audited all the same.
    let regions = read::regions(door).await.map_err(|error| Verdict::Unread(error.to_string()))?;
    world.auditor.check(&regions).await.map_err(Verdict::Violated)?;
    let read = async {
        let keys = read::keys(door).await?;
        let appends = read::appends(door).await?;
        Ok::<_, varve_model::Error>((keys, appends))
    };
    let (keys, appends) = match read.await {
        Ok(read) => read,
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            return Err(Verdict::Violated(format!("I9: {error}")));
        }
        Err(error) => return Err(Verdict::Unread(error.to_string())),
    };
    world.note(format_args!("read {} keys and {} appended rows", keys.len(), appends.len()));
    let mut history = history.lock();
    history.judge(&keys, settled).and_then(|()| history.judge_appends(&appends)).map_err(Verdict::Violated)
}
