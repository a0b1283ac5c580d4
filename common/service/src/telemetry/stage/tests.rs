use std::sync::Arc;

use arrow_array::Int64Array;
use arrow_schema::{DataType, Field, Schema};

use super::*;

#[test]
fn a_counted_stream_counts_what_is_read_and_changes_nothing() {
    let schema = Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, false)]));
    let array = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let batch = RecordBatch::try_new(schema, vec![array]).expect("a batch");
    // A stage that no other test of this package counts.
    let before = totals(Stage::Shuffle);
    let items = [Ok(batch.clone()), Err("torn"), Ok(batch.clone()), Ok(batch.clone())];
    let read = counted(futures::stream::iter(items), Stage::Shuffle).take(3).collect::<Vec<_>>();
    assert_eq!(futures::executor::block_on(read), [Ok(batch.clone()), Err("torn"), Ok(batch.clone())]);
    let after = totals(Stage::Shuffle);
    assert_eq!(after.rows - before.rows, 6);
    assert_eq!(after.bytes - before.bytes, 2 * batch.get_array_memory_size() as u64);
}
