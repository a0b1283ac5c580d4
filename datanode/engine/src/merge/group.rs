//! What is merged with what: sources whose times overlap, series in groups of bounded size. Pure.

use varve_model::time::TimeRange;

/// A series and the rows that sources have of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The series.
    pub id: u32,
    /// Rows before merging.
    pub rows: u64,
}

/// Rows of one series from which it is read in steps, as a multiple of a group's rows.
const LONG: u64 = 4;

/// Whether a group is one series too long to be read at once.
pub fn is_long(group: &[Counted], rows_max: u64) -> bool {
    group.len() == 1 && group[0].rows > rows_max.saturating_mul(LONG)
}

/// Splits sources into sets whose time ranges do not overlap, in time order. Items are indexes.
pub fn components(times: &[TimeRange]) -> Vec<Vec<usize>> {
    let mut by_start = (0..times.len()).filter(|&at| !times[at].is_empty()).collect::<Vec<_>>();
    by_start.sort_by_key(|&at| (times[at].start, at));
    let mut sets: Vec<(i64, Vec<usize>)> = Vec::new();
    for at in by_start {
        match sets.last_mut() {
            Some((end, set)) if times[at].start <= *end => {
                *end = (*end).max(times[at].end);
                set.push(at);
            }
            _ => sets.push((times[at].end, vec![at])),
        }
    }
    sets.into_iter()
        .map(|(_, mut set)| {
            // In the order given, which is the order of sequences.
            set.sort_unstable();
            set
        })
        .collect()
}

/// Cuts series into groups of at most `rows_max` rows, at least one series each.
pub fn groups(series: &[Counted], rows_max: u64) -> Vec<&[Counted]> {
    let mut groups = Vec::new();
    let (mut start, mut rows) = (0, 0);
    for (at, counted) in series.iter().enumerate() {
        if at > start && rows + counted.rows > rows_max {
            groups.push(&series[start..at]);
            (start, rows) = (at, 0);
        }
        rows += counted.rows;
    }
    if start < series.len() {
        groups.push(&series[start..]);
    }
    groups
}
