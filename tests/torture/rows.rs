//! The rows of the workload and the judge of what is read back.

use std::collections::BTreeMap;

/// What a client knows of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Acknowledged: must be there, once.
    Acked,
    /// Refused for good: must not be there.
    Refused,
    /// No answer: may be there, whole parts per region.
    Unknown,
}

/// Into how many regions a batch may be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Regions {
    One,
    /// Then each series is in one of them.
    Several,
}

/// Series of a writer: rows take turns.
const SERIES: u64 = 7;

/// Rows of a batch.
pub(crate) const BATCH_ROWS: u64 = 50;

/// The value that belongs to a row, so that a torn row shows.
fn value(writer: u64, at: u64) -> i64 {
    let mut z = writer.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ at.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z ^= z >> 29;
    (z & 0x7fff_ffff) as i64
}

/// The body of a writer's batch; row `at` counts over all batches of the writer.
pub(crate) fn body(table: &str, writer: u64, batch: u64) -> String {
    let mut text = String::new();
    for at in batch * BATCH_ROWS..(batch + 1) * BATCH_ROWS {
        // Three hours apart now and then, so that several time buckets fill.
        let ts = at * 1_000_000_000 + (at % 4) * 3 * 3600 * 1_000_000_000;
        text.push_str(&format!("{table},writer=w{writer},k=k{} at={at}i,v={}i {ts}\n", at % SERIES, value(writer, at)));
    }
    text
}

/// Compares the CSV of `SELECT writer, at, v` with what the clients know.
pub(crate) fn judge(csv: &str, fates: &BTreeMap<(u64, u64), Fate>, regions: Regions) -> Result<u64, String> {
    let mut seen: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    for line in csv.lines().filter(|line| !line.is_empty()) {
        let mut cells = line.split(',');
        let mut cell = || cells.next().ok_or_else(|| format!("short line '{line}'"));
        let writer: u64 = cell()?.trim_matches('"').trim_start_matches('w').parse().map_err(|_| format!("'{line}'"))?;
        let at: u64 = cell()?.parse().map_err(|_| format!("'{line}'"))?;
        let found: i64 = cell()?.parse().map_err(|_| format!("'{line}'"))?;
        if found != value(writer, at) {
            return Err(format!("row {at} of writer {writer} reads {found}, written {}", value(writer, at)));
        }
        *seen.entry((writer, at)).or_default() += 1;
    }
    if let Some((row, times)) = seen.iter().find(|(_, times)| **times > 1) {
        return Err(format!("row {row:?} is there {times} times"));
    }
    let parts = if regions == Regions::One { 1 } else { SERIES };
    for (&(writer, batch), &fate) in fates {
        for part in 0..parts {
            let rows = (batch * BATCH_ROWS..(batch + 1) * BATCH_ROWS).filter(|at| at % parts == part);
            let (all, there) =
                rows.fold((0, 0), |(all, there), at| (all + 1, there + u64::from(seen.contains_key(&(writer, at)))));
            let fits = match fate {
                Fate::Acked => there == all,
                Fate::Refused => there == 0,
                Fate::Unknown => there == all || there == 0,
            };
            if !fits {
                return Err(format!(
                    "batch {batch} of writer {writer} is {fate:?} and {there} of {all} rows are there"
                ));
            }
        }
    }
    Ok(seen.len() as u64)
}
