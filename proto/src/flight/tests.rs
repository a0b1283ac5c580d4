use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{DictionaryArray, Float64Array, StringArray};
use arrow_schema::{DataType, Field, Schema};
use futures::TryStreamExt;
use proptest::prelude::*;
use varve_model::ErrorKind;

use super::*;

fn batch(rows: usize) -> RecordBatch {
    let tags: DictionaryArray<Int32Type> =
        (0..rows).map(|row| if row % 3 == 0 { None } else { Some(["a", "b"][row % 2]) }).collect();
    let text = StringArray::from_iter_values((0..rows).map(|row| "x".repeat(row % 100)));
    let values = Float64Array::from_iter_values((0..rows).map(|row| row as f64));
    let schema = Schema::new(vec![
        Field::new("tag", DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)), true),
        Field::new("text", DataType::Utf8, false),
        Field::new("value", DataType::Float64, false),
    ]);
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(tags), Arc::new(text), Arc::new(values)]).expect("batch")
}

fn reply(batches: Vec<Result<RecordBatch>>) -> ScanReply {
    ScanReply { schema: batch(0).schema(), stream: Box::pin(futures::stream::iter(batches)) }
}

fn concat(batches: &[RecordBatch]) -> String {
    batches
        .iter()
        .flat_map(|batch| (0..batch.num_rows()).map(|row| format!("{:?}\n", batch.slice(row, 1).columns())))
        .collect()
}

#[tokio::test]
async fn batches_come_back_in_order_and_large_ones_in_pieces() {
    let sent = [batch(10), batch(0), batch(50_000)];
    let pieces = encode(reply(sent.iter().cloned().map(Ok).collect())).expect("encode");
    let pieces = pieces.collect::<Vec<_>>().await;
    assert!(pieces.len() > 4, "schema, 10 rows, none, and the large one cut: {}", pieces.len());
    assert!(pieces.iter().all(|piece| piece.as_ref().is_ok_and(|piece| piece.ipc.len() < 2 * PIECE_BYTES)));
    let back = decode(futures::stream::iter(pieces)).await.expect("schema");
    assert_eq!(back.schema, batch(0).schema());
    let back = back.stream.try_collect::<Vec<_>>().await.expect("batches");
    assert_eq!(back.iter().map(RecordBatch::num_rows).sum::<usize>(), 50_010);
    assert_eq!(concat(&back[..1]), concat(&sent[..1]));
    assert_eq!(concat(&back).len(), concat(&sent).len());
}

#[tokio::test]
async fn rows_without_columns_are_counted_to_the_last() {
    let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(7));
    let counted = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).expect("batch");
    let stream = Box::pin(futures::stream::iter([Ok(counted.clone()), Ok(counted.clone())]));
    let pieces = encode(ScanReply { schema: counted.schema(), stream }).expect("encode").collect::<Vec<_>>().await;
    let back = decode(futures::stream::iter(pieces)).await.expect("schema");
    assert_eq!(back.stream.try_collect::<Vec<_>>().await.expect("batches"), [counted.clone(), counted]);
}

#[tokio::test]
async fn an_error_in_mid_stream_arrives_typed_after_the_rows_before_it() {
    let error = Error::new(ErrorKind::StaleRoute, "moved").context("scan region 1.0");
    let pieces = encode(reply(vec![Ok(batch(3)), Err(error)])).expect("encode").collect::<Vec<_>>().await;
    let mut back = decode(futures::stream::iter(pieces)).await.expect("schema").stream;
    assert_eq!(back.next().await.expect("rows").expect("ok").num_rows(), 3);
    let error = back.next().await.expect("error").expect_err("error");
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::StaleRoute, "scan region 1.0: moved"));
    assert!(back.next().await.is_none());
}

#[tokio::test]
async fn a_stream_without_schema_is_an_error() {
    let none = futures::stream::iter(Vec::<Result<ScanChunk, Status>>::new());
    assert_eq!(decode(none).await.expect_err("empty").kind(), ErrorKind::Unavailable);
    let refused = futures::stream::iter([Err(to_status(&Error::busy("full")))]);
    assert_eq!(decode(refused).await.expect_err("busy").kind(), ErrorKind::Busy);
}

proptest! {
    #[test]
    fn hostile_pieces_never_panic(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 0..4)) {
        let pieces = pieces.into_iter().map(|ipc| Ok(ScanChunk { ipc: ipc.into() })).collect::<Vec<_>>();
        futures::executor::block_on(async {
            if let Ok(reply) = decode(futures::stream::iter(pieces)).await {
                let _ = reply.stream.try_collect::<Vec<_>>().await;
            }
        });
    }
}
