//! What frontends ask each other. Metasrv passes it on, on the watches that they opened; nothing of it is kept.

use std::sync::Arc;
use std::time::Duration;

use varve_model::id::FrontendId;
use varve_model::id::process::{Cancel, Process};

/// The longest pause before a frontend opens a watch again that has ended.
pub const WATCH_PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long a frontend that lives may be without a watch: until it notices that its metasrv has vanished,
/// pauses, and finds the one that leads.
pub const ABSENCE_MAX: Duration = Duration::from_secs(30);

/// A frontend that watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watcher {
    /// 128 random bits that name the process: one that opens its watch again keeps its number.
    pub life: u128,
    /// The number it would like: the one it has drawn, or was given before. It gets another when
    /// this one is a living frontend's.
    pub wish: FrontendId,
}

/// Something for all other frontends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inquiry {
    /// End a statement or a connection.
    Cancel(Cancel),
    /// What runs?
    Processes,
}

/// An inquiry on its way to a frontend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Named by the answer.
    pub id: u64,
    /// What.
    pub inquiry: Arc<Inquiry>,
}

/// What a frontend says to an inquiry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Whether there was such a connection, and the secret was right if one is needed.
    Cancelled(bool),
    /// What runs here.
    Processes(Vec<Process>),
}

/// What all other frontends said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// In the order of their arrival. After a cancel that found its connection nobody is waited for.
    pub answers: Vec<Answer>,
    /// Frontends that are there and have not answered in time. After a cancel also the one that gave the
    /// process its number, when it has no watch and may live all the same (for [`ABSENCE_MAX`] after its
    /// watch has ended, or a leader's term has begun).
    pub silent: Vec<FrontendId>,
}
