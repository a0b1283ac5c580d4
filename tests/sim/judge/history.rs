//! What clients know, and the judge of what is read: invariants I1 to I4.
//!
//! Every client owns its keys and works one operation at a time, so that the
//! value of a key is the last acknowledged one, or one of those whose outcome
//! nobody knows since.

use std::collections::{BTreeMap, BTreeSet};

/// A key of the deduplicating table: series and timestamp.
pub(crate) type Key = (String, i64);

/// How an operation ended for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fate {
    Acked,
    Refused,
    Unknown,
}

/// Whether operations of unknown outcome may still take effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// Every process that could still carry one out has ended or had the time to.
    Yes,
    /// A log write or a request may be on its way.
    No,
}

/// Possible values of one key; `None` is "no row".
#[derive(Clone, Debug, Default)]
struct Possible {
    last: Option<i64>,
    maybe: Vec<Option<i64>>,
}

/// One request to the append table: whole parts per region, each row at most once.
#[derive(Clone, Debug)]
struct Appended {
    /// `None` while it is on its way.
    fate: Option<Fate>,
    /// Row id -> region.
    rows: BTreeMap<i64, u32>,
}

impl Appended {
    fn ids(&self, region: u32) -> impl Iterator<Item = i64> {
        self.rows.iter().filter(move |(_, of)| **of == region).map(|(id, _)| *id)
    }
}

/// What a read of one region that begins now must show.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    region: u32,
    rows: BTreeSet<i64>,
}

/// Whether a read must show what was acknowledged before it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    Strong,
    /// Some clock stands still: its machine believes in a lease that is over, and reads may be old.
    Any,
}

/// All that clients did.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    keys: BTreeMap<Key, Possible>,
    appends: BTreeMap<u64, Appended>,
    /// Row id -> region.
    seen_appends: BTreeMap<i64, u32>,
}

/// What a full read of the append table found: row id -> (region, times).
pub(crate) type Appends = BTreeMap<i64, (u32, u32)>;

impl History {
    /// A client put `value` at `keys`, or deleted them with `None`.
    pub(crate) fn put(&mut self, keys: &[Key], value: Option<i64>, fate: Fate) {
        for key in keys {
            let possible = self.keys.entry(key.clone()).or_default();
            match fate {
                Fate::Acked => *possible = Possible { last: value, maybe: Vec::new() },
                Fate::Unknown => possible.maybe.push(value),
                Fate::Refused => {}
            }
        }
    }

    /// The keys of one series that a client has ever put.
    pub(crate) fn keys_of(&self, series: &str, from: i64, to: i64) -> Vec<Key> {
        self.keys.keys().filter(|key| key.0 == series && (from..=to).contains(&key.1)).cloned().collect()
    }

    /// A client is about to append rows (id -> region).
    pub(crate) fn announce(&mut self, request: u64, rows: BTreeMap<i64, u32>) {
        self.appends.insert(request, Appended { fate: None, rows });
    }

    /// What became of a request.
    pub(crate) fn append(&mut self, request: u64, fate: Fate) {
        self.appends.entry(request).and_modify(|appended| appended.fate = Some(fate));
    }

    /// What a read of one region of the append table that begins now must show: what was acknowledged or read before.
    pub(crate) fn expected(&self, region: u32) -> Expected {
        let acked = self.appends.values().filter(|appended| appended.fate == Some(Fate::Acked));
        let seen = self.seen_appends.iter().filter(|(_, of)| **of == region).map(|(id, _)| *id);
        Expected { region, rows: acked.flat_map(|appended| appended.ids(region)).chain(seen).collect() }
    }

    /// Judges a read of one region of the append table (row id -> times) that was made while clients worked.
    pub(crate) fn judge_region(
        &mut self,
        expected: &Expected,
        read: &BTreeMap<i64, u32>,
        freshness: Freshness,
    ) -> Result<(), String> {
        let region = expected.region;
        if let Some((row, times)) = read.iter().find(|(_, times)| **times > 1) {
            return Err(format!("I1: a read of region {region} has appended row {row} {times} times"));
        }
        if freshness == Freshness::Strong
            && let Some(row) = expected.rows.iter().find(|row| !read.contains_key(row))
        {
            return Err(format!("I1, I2: a read of region {region} misses row {row}, acknowledged or read before it"));
        }
        self.judge_order(region, read)?;
        self.seen_appends.extend(read.keys().map(|row| (*row, region)));
        Ok(())
    }

    /// I3: parts are whole. I4: with a request all are visible that its client had acknowledged before it.
    fn judge_order(&self, region: u32, read: &BTreeMap<i64, u32>) -> Result<(), String> {
        let mut known = 0;
        // Per client, newest request first: whether a later one is visible.
        let mut newest: BTreeMap<u64, u64> = BTreeMap::new();
        for (request, appended) in self.appends.iter().rev() {
            let (rows, there) = appended
                .ids(region)
                .fold((0, 0), |(rows, there), id| (rows + 1, there + usize::from(read.contains_key(&id))));
            known += there;
            if there > 0 && (there < rows || appended.fate == Some(Fate::Refused)) {
                let fate = appended.fate;
                return Err(format!("I3: a read of region {region} has {there} of {rows} rows of {request}, {fate:?}"));
            }
            let client = request >> 32;
            if there == 0
                && rows > 0
                && appended.fate == Some(Fate::Acked)
                && let Some(later) = newest.get(&client)
            {
                return Err(format!(
                    "I4: a read of region {region} shows {later} and not {request}, acknowledged before"
                ));
            }
            if there > 0 {
                newest.entry(client).or_insert(*request);
            }
        }
        if known < read.len() {
            return Err(format!("I3: a read of region {region} has rows that were never written"));
        }
        Ok(())
    }

    /// Judges a full strong read of the deduplicating table, made while no operation runs.
    pub(crate) fn judge(&mut self, read: &BTreeMap<Key, Vec<i64>>, settled: Settled) -> Result<(), String> {
        for (key, values) in read {
            if values.len() > 1 {
                return Err(format!("I1: {key:?} is there {} times: {values:?}", values.len()));
            }
            if !self.keys.contains_key(key) {
                return Err(format!("I3: {key:?} was never written"));
            }
        }
        for (key, possible) in &mut self.keys {
            let found = read.get(key).map(|values| values[0]);
            if found != possible.last && !possible.maybe.contains(&found) {
                return Err(format!("I1: {key:?} reads {found:?}, possible are {possible:?}"));
            }
            // I2: what was read once stays, until something later takes effect.
            let later = match possible.maybe.iter().position(|maybe| found == *maybe) {
                _ if settled == Settled::Yes => Vec::new(),
                Some(at) if found != possible.last => possible.maybe.split_off(at + 1),
                _ => std::mem::take(&mut possible.maybe),
            };
            *possible = Possible { last: found, maybe: later };
        }
        Ok(())
    }

    /// Judges a full strong read of the append table, made while no operation runs.
    pub(crate) fn judge_appends(&mut self, read: &Appends) -> Result<(), String> {
        if let Some((row, (_, times))) = read.iter().find(|(_, (_, times))| *times > 1) {
            return Err(format!("I1: appended row {row} is there {times} times"));
        }
        for row in self.seen_appends.keys() {
            if !read.contains_key(row) {
                return Err(format!("I2: appended row {row} was read before and is gone"));
            }
        }
        let mut known = BTreeSet::new();
        for (request, appended) in &self.appends {
            known.extend(appended.rows.keys().copied());
            let mut by_region: BTreeMap<u32, (usize, usize)> = BTreeMap::new();
            for (row, region) in &appended.rows {
                let part = by_region.entry(*region).or_default();
                part.0 += 1;
                part.1 += usize::from(read.contains_key(row));
            }
            for (region, (rows, there)) in by_region {
                let fits = match appended.fate {
                    Some(Fate::Acked) => there == rows,
                    Some(Fate::Refused) => there == 0,
                    Some(Fate::Unknown) | None => there == rows || there == 0,
                };
                if !fits {
                    let fate = appended.fate;
                    return Err(format!(
                        "I1/I3: request {request} is {fate:?}, region {region} has {there} of {rows} rows"
                    ));
                }
            }
        }
        if let Some(row) = read.keys().find(|row| !known.contains(*row)) {
            return Err(format!("I3: appended row {row} was never written"));
        }
        self.seen_appends.extend(read.iter().map(|(row, (region, _))| (*row, *region)));
        Ok(())
    }

    /// Operations by outcome, for the report.
    pub(crate) fn appended(&self, fate: Fate) -> usize {
        self.appends.values().filter(|appended| appended.fate == Some(fate)).count()
    }
}
