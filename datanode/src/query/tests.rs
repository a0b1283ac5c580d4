use std::sync::Arc;

use arrow_array::{Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use futures::{StreamExt, stream};
use varve_model::{Error, ErrorKind, Result};
use varve_proto::datanode::BatchStream;
use varve_service::task::{Blocking, TaskSet};

use super::*;

fn batch() -> RecordBatch {
    let schema = Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, false)]));
    RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(vec![1, 2]))]).unwrap()
}

fn finite(batches: usize) -> BatchStream {
    Box::pin(stream::iter((0..batches).map(|_| Ok(batch()))))
}

fn reader(tasks: &TaskSet) -> Reader {
    Reader { regions: Arc::new(|_| Err(Error::not_found("no region"))), tasks: tasks.clone(), span: Span::none() }
}

#[tokio::test]
async fn streams_read_side_by_side_give_all_their_batches() {
    let tasks = TaskSet::new(Blocking::Inline);
    let merged = reader(&tasks).merge(vec![finite(3), finite(0), finite(5)]);
    let batches = merged.collect::<Vec<Result<RecordBatch>>>().await;
    assert_eq!(batches.len(), 8);
    assert!(batches.iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_read_that_is_cut_off_ends_with_an_error_and_not_as_if_it_were_complete() {
    let tasks = TaskSet::new(Blocking::Inline);
    let endless = || Box::pin(finite(1).chain(stream::pending())) as BatchStream;
    let mut merged = reader(&tasks).merge(vec![endless(), endless()]);
    merged.next().await.unwrap().unwrap();
    merged.next().await.unwrap().unwrap();
    tasks.kill();
    assert_eq!(merged.next().await.unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(merged.next().await.is_none());
}

#[tokio::test]
async fn a_task_of_a_stage_is_lost_with_the_session_that_holds_it() {
    let tasks = TaskSet::new(Blocking::Inline);
    let mut held = Box::pin(unless_stopped(stream::pending(), tasks.token().clone()));
    assert!(futures::poll!(held.next()).is_pending());
    tasks.kill();
    assert_eq!(held.next().await.unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(held.next().await.is_none());
}
