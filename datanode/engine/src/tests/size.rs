use varve_model::batch::{FieldColumn, Values, Vector};
use varve_model::id::ColumnId;
use varve_model::schema::{LogicalType, NewColumn, Schema};
use varve_model::series::encode_key;
use varve_model::table::{MergeMode, Ttl};
use varve_model::time::TimeUnit;

use super::kit::{Lab, WALL_NANOS, hours, table_of};
use crate::compaction::Force;

/// Hosts of the data set: few, for speed; 100 take 0.412 bytes flushed and 0.369 merged.
const HOSTS: usize = 5;

const TAGS: [&str; 10] = [
    "hostname",
    "region",
    "datacenter",
    "rack",
    "os",
    "arch",
    "team",
    "service",
    "service_version",
    "service_environment",
];

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// About normal, by the sum of twelve uniform values.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| (self.next() >> 11) as f64 / (1u64 << 53) as f64).sum::<f64>() - 6.0
    }
}

/// TSBS cpu-only: ten tags, ten integers that walk between 0 and 100, a row per host every 10 s.
fn tsbs() -> Lab {
    let mut columns = TAGS.iter().map(|tag| NewColumn::tag(*tag)).collect::<Vec<_>>();
    columns.push(NewColumn::time("time", TimeUnit::Nanosecond));
    columns.extend((0..10).map(|field| NewColumn::field(format!("usage_{field}"), LogicalType::Int64)));
    let schema = Schema::create(columns, &TAGS.map(str::to_owned)).expect("schema");
    let mut lab = Lab::new(table_of(schema, MergeMode::LastRow), Ttl::Forever);
    let mut random = Random(123);
    let hosts = HOSTS;
    let keys = (0..hosts)
        .map(|host| {
            let values = TAGS.map(|tag| match tag {
                "hostname" => format!("host_{host}"),
                "rack" => (random.next() % 100).to_string(),
                "service" => (random.next() % 20).to_string(),
                _ => format!("{tag}_{}", random.next() % 4),
            });
            let mut tags = TAGS.iter().zip(&values).map(|(tag, value)| (tag.as_bytes(), value.as_bytes()));
            let mut key = Vec::new();
            encode_key(&mut tags.by_ref().collect::<Vec<_>>(), &mut key);
            key
        })
        .collect::<Vec<_>>();
    let mut state = (0..hosts * 10).map(|_| (random.next() % 101) as f64).collect::<Vec<_>>();
    for steps in (0..8640i64).collect::<Vec<_>>().chunks(80) {
        let rows = steps.len() * hosts;
        let mut values = vec![Vec::new(); 10];
        let (mut row_keys, mut ts) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        for step in steps {
            for host in 0..hosts {
                for (field, column) in values.iter_mut().enumerate() {
                    let walk = &mut state[host * 10 + field];
                    *walk = (*walk + random.normal()).clamp(0.0, 100.0);
                    column.push(*walk as i64);
                }
                row_keys.push(keys[host].clone());
                ts.push(hours(-48) + step * 10_000_000_000);
            }
        }
        let fields = values.into_iter().enumerate().map(|(field, values)| FieldColumn {
            column: ColumnId(12 + field as u32),
            vector: Vector { values: Values::I64(values), validity: None },
        });
        lab.write_columns(&row_keys, ts, fields.collect());
    }
    lab
}

fn bytes_per_point(lab: &Lab) -> f64 {
    let bytes = lab.files.iter().map(|file| file.bytes + file.sidecar_bytes).sum::<u64>();
    let rows = lab.files.iter().map(|file| file.rows).sum::<u64>();
    bytes as f64 / (rows * 10) as f64
}

#[tokio::test]
async fn integers_take_little_space_after_flush_and_less_in_their_final_order() {
    let mut lab = tsbs();
    lab.flush().await;
    let flushed = bytes_per_point(&lab);
    assert_eq!(lab.files.len(), 6);
    lab.compact(Force::Final, WALL_NANOS).await;
    let merged = bytes_per_point(&lab);
    assert_eq!(lab.files.len(), 1);
    assert!(flushed <= 0.55 && merged <= 0.40, "bytes a point: {flushed:.3} flushed, {merged:.3} merged");
}
