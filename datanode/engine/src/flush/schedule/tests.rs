use super::*;

const MINUTE: Duration = Duration::from_mins(1);

fn load(region: u64, bytes: u64, age: Option<Duration>) -> RegionLoad {
    RegionLoad { region: RegionId(region), bytes, age }
}

fn node(wal_bytes: u64, memory_bytes: u64) -> NodeLoad {
    NodeLoad { wal_bytes, memory_bytes, memory_bytes_max: 1000 }
}

#[test]
fn a_quiet_node_flushes_nothing() {
    let regions = [load(1, 10, Some(MINUTE)), load(2, 0, None)];
    assert_eq!(pick(&FlushPolicy::default(), node(1, 10), &regions, &[RegionId(1)]), vec![]);
}

#[test]
fn old_rows_a_long_log_and_full_memory_each_name_their_region() {
    let regions = [load(1, 10, Some(11 * MINUTE)), load(2, 900, Some(MINUTE)), load(3, 20, Some(MINUTE))];
    let policy = FlushPolicy::default();
    assert_eq!(pick(&policy, node(1, 10), &regions, &[]), vec![RegionId(1)]);
    assert_eq!(pick(&policy, node(1, 750), &regions, &[]), vec![RegionId(1), RegionId(2)]);
    let oldest = [RegionId(9), RegionId(3), RegionId(1)];
    assert_eq!(pick(&policy, node(512 << 20, 0), &regions[1..], &oldest), vec![RegionId(3)]);
}
