//! What frontends ask each other.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use varve_model::Result;
use varve_model::id::process::{Cancel, CancelScope, Process};
use varve_model::id::{FrontendId, ProcessId};

use super::{from_u128, missing, to_u128};
use crate::metasrv::{Answer, Answers, Inquiry, Question, Watcher};
use crate::wire;

pub(crate) fn watcher_to_wire(from: Option<Watcher>) -> wire::WatchRequest {
    from.map_or_else(wire::WatchRequest::default, |from| wire::WatchRequest {
        life: from_u128(from.life),
        wish: from.wish.0,
    })
}

/// Errors: `InvalidRequest`.
pub(crate) fn watcher_from_wire(from: &wire::WatchRequest) -> Result<Option<Watcher>> {
    let life = to_u128("a frontend's life", &from.life)?;
    Ok(life.map(|life| Watcher { life, wish: FrontendId(from.wish) }))
}

pub(crate) fn inquiry_to_wire(from: &Inquiry) -> wire::Inquiry {
    use wire::inquiry::Inquiry as To;
    let inquiry = match from {
        Inquiry::Cancel(cancel) => To::Cancel(wire::Cancel {
            process: cancel.process.0,
            connection: cancel.scope == CancelScope::Connection,
            secret: cancel.secret.clone().map(Bytes::from),
        }),
        Inquiry::Processes => To::Processes(wire::ListProcesses {}),
    };
    wire::Inquiry { inquiry: Some(inquiry) }
}

/// Errors: `InvalidRequest`.
pub(crate) fn inquiry_from_wire(from: Option<wire::Inquiry>) -> Result<Inquiry> {
    use wire::inquiry::Inquiry as From;
    Ok(match from.and_then(|from| from.inquiry).ok_or_else(|| missing("an inquiry"))? {
        From::Cancel(cancel) => Inquiry::Cancel(Cancel {
            process: ProcessId(cancel.process),
            scope: if cancel.connection { CancelScope::Connection } else { CancelScope::Statement },
            secret: cancel.secret.map(Vec::from),
        }),
        From::Processes(_) => Inquiry::Processes,
    })
}

pub(crate) fn question_to_wire(from: &Question) -> wire::Question {
    wire::Question { id: from.id, inquiry: Some(inquiry_to_wire(&from.inquiry)) }
}

/// Errors: `InvalidRequest`.
pub(crate) fn question_from_wire(from: wire::Question) -> Result<Question> {
    Ok(Question { id: from.id, inquiry: Arc::new(inquiry_from_wire(from.inquiry)?) })
}

pub(crate) fn answer_to_wire(from: Answer) -> wire::Answer {
    use wire::answer::Answer as To;
    let answer = match from {
        Answer::Cancelled(found) => To::Cancelled(found),
        Answer::Processes(processes) => {
            To::Processes(wire::Processes { processes: processes.into_iter().map(process_to_wire).collect() })
        }
    };
    wire::Answer { answer: Some(answer) }
}

/// Errors: `InvalidRequest`.
pub(crate) fn answer_from_wire(from: Option<wire::Answer>) -> Result<Answer> {
    use wire::answer::Answer as From;
    Ok(match from.and_then(|from| from.answer).ok_or_else(|| missing("an answer"))? {
        From::Cancelled(found) => Answer::Cancelled(found),
        From::Processes(list) => Answer::Processes(list.processes.into_iter().map(process_from_wire).collect()),
    })
}

pub(crate) fn answers_to_wire(from: Answers) -> wire::AskReply {
    wire::AskReply {
        answers: from.answers.into_iter().map(answer_to_wire).collect(),
        silent: from.silent.iter().map(|frontend| frontend.0).collect(),
    }
}

/// Errors: `InvalidRequest`.
pub(crate) fn answers_from_wire(from: wire::AskReply) -> Result<Answers> {
    let answers = from.answers.into_iter().map(|answer| answer_from_wire(Some(answer)));
    Ok(Answers { answers: answers.collect::<Result<_>>()?, silent: from.silent.into_iter().map(FrontendId).collect() })
}

fn process_to_wire(from: Process) -> wire::Process {
    wire::Process {
        id: from.id.0,
        frontend: from.frontend,
        client: from.client,
        user: from.user,
        database: from.database,
        query: from.query,
        started_ms: from.started_ms,
        elapsed_nanos: u64::try_from(from.elapsed.as_nanos()).unwrap_or(u64::MAX),
    }
}

fn process_from_wire(from: wire::Process) -> Process {
    Process {
        id: ProcessId(from.id),
        frontend: from.frontend,
        client: from.client,
        user: from.user,
        database: from.database,
        query: from.query,
        started_ms: from.started_ms,
        elapsed: Duration::from_nanos(from.elapsed_nanos),
    }
}
