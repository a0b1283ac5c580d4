//! Orders of metasrv on their way: in which order they are carried out, and whether metasrv knows the outcome.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use varve_proto::metasrv::{Order, Report, Subject};

/// Orders and what became of them. It outlives a broken stream, so that no order is carried out twice:
/// a second truncate would remove rows that were acknowledged after the first.
#[derive(Debug, Default)]
pub(super) struct Orders {
    /// One at a time per subject, in order.
    waiting: BTreeMap<Subject, VecDeque<Order>>,
    /// Ids in `waiting`.
    ids: BTreeSet<u64>,
    /// Outcomes that metasrv has not confirmed, with the beat of this stream that carried them.
    reports: BTreeMap<u64, (Report, Option<u64>)>,
    /// Whether metasrv has answered a beat: the orders that came before it are known.
    answered: bool,
}

impl Orders {
    /// Outcomes to send with a beat. They are kept until that beat is answered.
    pub(super) fn report_with(&mut self, beat: u64) -> Vec<Report> {
        let unsent = self.reports.values_mut().filter(|(_, carried)| carried.is_none());
        unsent
            .map(|(report, carried)| {
                *carried = Some(beat);
                report.clone()
            })
            .collect()
    }

    /// Metasrv has seen everything up to this beat.
    pub(super) fn confirmed(&mut self, beat: u64) {
        self.answered = true;
        self.reports.retain(|_, (_, carried)| carried.is_none_or(|carried| carried > beat));
    }

    /// What a broken stream carried may not have arrived.
    pub(super) fn stream_broke(&mut self) {
        for (_, carried) in self.reports.values_mut() {
            *carried = None;
        }
    }

    /// Takes orders that came with an answer: those to start now. An order is repeated until its report has arrived.
    pub(super) fn take(&mut self, came: Vec<Order>) -> Vec<Order> {
        let mut first = Vec::new();
        for order in came {
            if self.reports.contains_key(&order.id) || !self.ids.insert(order.id) {
                continue;
            }
            let queue = self.waiting.entry(order.kind.subject()).or_default();
            if queue.is_empty() {
                first.push(order.clone());
            }
            queue.push_back(order);
        }
        first
    }

    /// An order is done; the next one of its subject.
    pub(super) fn finish(&mut self, subject: Subject, report: Report) -> Option<Order> {
        self.ids.remove(&report.order);
        self.reports.insert(report.order, (report, None));
        let queue = self.waiting.get_mut(&subject)?;
        queue.pop_front();
        let next = queue.front().cloned();
        if next.is_none() {
            self.waiting.remove(&subject);
        }
        next
    }

    /// Whether all orders are done that metasrv had when it first answered.
    pub(super) fn are_done(&self) -> bool {
        self.answered && self.ids.is_empty()
    }
}
