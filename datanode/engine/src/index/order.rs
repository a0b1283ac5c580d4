//! The order of series in files: by the table's key columns, NULL first, then by id.

use std::cmp::Ordering;

use super::tag::TagIndex;

/// All series of an index version in key order.
#[derive(Debug)]
pub struct SeriesOrder {
    /// Per id: its place.
    pub rank: Vec<u32>,
    /// Per place: the id.
    pub ids: Vec<u32>,
}

/// Compares series by key columns; a column that no series has is left out.
pub(super) struct KeyOrder<'a> {
    pub(super) tags: Vec<&'a TagIndex>,
}

impl KeyOrder<'_> {
    fn compare(&self, a: u32, b: u32) -> Ordering {
        for tag in &self.tags {
            let order = match (tag.code_of(a), tag.code_of(b)) {
                (a, b) if a == b => continue,
                (Some(a), Some(b)) => tag.value(a).cmp(tag.value(b)),
                (a, b) => a.is_some().cmp(&b.is_some()),
            };
            if order != Ordering::Equal {
                return order;
            }
        }
        a.cmp(&b)
    }

    /// Sorts ids.
    pub(super) fn sort(&self, ids: &mut [u32]) {
        ids.sort_unstable_by(|&a, &b| self.compare(a, b));
    }

    /// The order of all series below `series`, made from the one of an earlier version:
    /// ids only grow, so only the new ones are sorted.
    pub(super) fn extend(&self, old: Option<&SeriesOrder>, series: u32) -> SeriesOrder {
        let known = old.map_or(&[][..], |old| &old.ids);
        let mut fresh = (known.len() as u32..series).collect::<Vec<_>>();
        self.sort(&mut fresh);
        let mut ids = Vec::with_capacity(series as usize);
        let (mut a, mut b) = (known.iter().copied().peekable(), fresh.into_iter().peekable());
        while let (Some(&left), Some(&right)) = (a.peek(), b.peek()) {
            ids.push(if self.compare(left, right) == Ordering::Less { a.next() } else { b.next() }.unwrap_or_default());
        }
        ids.extend(a);
        ids.extend(b);
        let mut rank = vec![0; ids.len()];
        for (place, &id) in ids.iter().enumerate() {
            rank[id as usize] = place as u32;
        }
        SeriesOrder { rank, ids }
    }
}
