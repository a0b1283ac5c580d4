use std::sync::Arc;

use arrow_array::{Float64Array, Int64Array, RecordBatch, StringViewArray, TimestampMillisecondArray};
use arrow_schema::{DataType, Field, Schema as ArrowSchema, TimeUnit as ArrowUnit};
use async_trait::async_trait;
use datafusion::physical_plan::limit::LocalLimitExec;
use futures::TryStreamExt;
use proptest::prelude::*;
use varve_model::budget::Account;
use varve_model::id::{RegionEpoch, RegionId};
use varve_model::matcher::{MatchOp, Matcher, MissingTag};
use varve_model::scan::ScanSpec;
use varve_model::schema::{LogicalType, NewColumn, Schema};
use varve_model::time::{TimeRange, TimeUnit};

use super::*;
use crate::column::ScanTable;
use crate::operator::ScanRegion;

/// Two rows per region, whatever is asked; remembers what was.
#[derive(Debug, Default)]
struct Fixed(std::sync::Mutex<Vec<ScanSpec>>);

#[async_trait]
impl RegionReader for Fixed {
    async fn read(&self, spec: ScanSpec) -> Result<BatchStream> {
        let all: [(&str, DataType, arrow_array::ArrayRef); 4] = [
            ("host", DataType::Utf8View, Arc::new(StringViewArray::from(vec![Some("a"), None]))),
            (
                "ts",
                DataType::Timestamp(ArrowUnit::Millisecond, None),
                Arc::new(TimestampMillisecondArray::from(vec![1, 2])),
            ),
            ("v", DataType::Float64, Arc::new(Float64Array::from(vec![1.5, 2.5]))),
            ("n", DataType::Int64, Arc::new(Int64Array::from(vec![7, 3_000_000_000]))),
        ];
        let picked = spec.columns.iter().map(|id| &all[id.0 as usize - 1]).collect::<Vec<_>>();
        let fields = picked.iter().map(|(name, kind, _)| Field::new(*name, kind.clone(), true)).collect::<Vec<_>>();
        let columns = picked.iter().map(|(_, _, array)| Arc::clone(array)).collect();
        let batch = RecordBatch::try_new(Arc::new(ArrowSchema::new(fields)), columns).unwrap();
        self.0.lock().unwrap().push(spec);
        Ok(futures::stream::iter([Ok(batch)]).boxed())
    }
}

fn source(projection: Vec<usize>) -> ScanSource {
    let columns = vec![
        NewColumn::tag("host"),
        NewColumn::time("ts", TimeUnit::Millisecond),
        NewColumn::field("v", LogicalType::Float64),
        NewColumn::field("n", LogicalType::Int32),
    ];
    ScanSource {
        table: Arc::new(ScanTable::new("t", &Schema::create(columns, &[]).unwrap())),
        regions: [0, 1].map(|number| ScanRegion { region: RegionId(number), epoch: RegionEpoch(3) }).to_vec(),
        time: TimeRange { start: -5, end: i64::MAX },
        matchers: vec![Matcher { tag: "host".into(), op: MatchOp::In(vec!["a".into()]), missing: MissingTag::Unknown }],
        projection,
        fetch: None,
        padding: 0,
    }
}

fn sessions() -> Sessions {
    Sessions::new(&Account::root("test", 1 << 24), 2).unwrap()
}

#[tokio::test]
async fn a_fragment_comes_back_with_its_leaf_and_runs() {
    let leaf = Arc::new(RegionScanExec::new(source(vec![2, 0])));
    let plan = Arc::new(LocalLimitExec::new(leaf, 10));
    let bytes = encode(plan, "Europe/Berlin").unwrap();
    let reader = Arc::new(Fixed::default());
    let fragment = decode(&bytes, &sessions(), Arc::clone(&reader) as _).unwrap();
    let options = fragment.context.session_config().options();
    assert_eq!(options.execution.time_zone.as_deref(), Some("Europe/Berlin"));
    let (schema, stream) = fragment.execute().unwrap();
    assert_eq!(schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(), ["v", "host"]);
    let batches = stream.try_collect::<Vec<_>>().await.unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 4, "both regions answer");
    let asked = reader.0.lock().unwrap();
    assert_eq!((asked.len(), asked[0].epoch, asked[0].time.start), (2, RegionEpoch(3), -5));
    assert_eq!(asked[0].matchers, source(vec![]).matchers);
}

#[tokio::test]
async fn values_that_do_not_fit_their_declared_type_read_as_null_and_a_count_needs_no_column() {
    let run = async |projection| {
        let bytes = encode(Arc::new(RegionScanExec::new(source(projection))), "UTC").unwrap();
        let (_, stream) = decode(&bytes, &sessions(), Arc::new(Fixed::default())).unwrap().execute().unwrap();
        stream.try_collect::<Vec<_>>().await.unwrap()
    };
    let batches = run(vec![3]).await;
    assert_eq!(batches[0].column(0).data_type(), &DataType::Int32);
    assert_eq!(batches[0].column(0).null_count(), 1);
    let batches = run(vec![]).await;
    assert_eq!((batches[0].num_columns(), batches[0].num_rows()), (0, 2));
}

#[tokio::test]
async fn a_leaf_ends_after_its_fetch() {
    let leaf = RegionScanExec::new(ScanSource { fetch: Some(1), ..source(vec![2]) });
    let (_, stream) = Fragment { plan: Arc::new(leaf), context: sessions().task("UTC", Arc::new(Fixed::default())) }
        .execute()
        .unwrap();
    let batches = stream.try_collect::<Vec<_>>().await.unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 2, "one row per region");
}

#[test]
fn other_versions_and_foreign_bytes_are_refused() {
    let good = encode(Arc::new(RegionScanExec::new(source(vec![0]))), "UTC").unwrap().to_vec();
    let decode = |bytes: &[u8]| super::decode(bytes, &sessions(), Arc::new(Fixed::default()));
    assert!(decode(&good).is_ok());
    let mut other = good.clone();
    other[4] += 1;
    assert!(decode(&other).unwrap_err().message().contains("version 2"));
    assert!(decode(b"nope").is_err());
    assert!(decode(&good[..good.len() - 3]).is_err());
    let outside = String::from_utf8_lossy(&good).replace("\"projection\":[0]", "\"projection\":[9]");
    assert!(decode(outside.as_bytes()).is_err());
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0usize..200, flip in any::<u8>()) {
        let sessions = sessions();
        let _ = super::decode(&bytes, &sessions, Arc::new(Fixed::default()));
        let mut good = encode(Arc::new(RegionScanExec::new(source(vec![0, 2]))), "UTC").unwrap().to_vec();
        let at = at % good.len();
        good[at] ^= flip;
        let _ = super::decode(&good, &sessions, Arc::new(Fixed::default()));
    }
}
