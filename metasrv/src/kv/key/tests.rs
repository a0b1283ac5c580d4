use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;
use varve_model::ErrorKind;
use varve_model::id::*;
use varve_model::partition::Partition;
use varve_model::region::{Route, RouteState};
use varve_model::schema::{ColumnDefault, LogicalType, NewColumn, Schema};
use varve_model::table::{DatabaseInfo, MergeMode, TableInfo, TableOptions, Ttl};
use varve_model::time::TimeUnit;
use varve_model::value::Value;

use super::*;

fn table() -> TableRecord {
    let mut flag = NewColumn::field("flag", LogicalType::Boolean);
    flag.default = Some(ColumnDefault::Value(Value::Bool(true)));
    flag.comment = Some("says \"yes\"".to_owned());
    let mut ratio = NewColumn::field("ratio", LogicalType::Float64);
    ratio.default = Some(ColumnDefault::Value(Value::F64(0.1)));
    let columns = vec![
        NewColumn::tag("host"),
        NewColumn::time("ts", TimeUnit::Millisecond),
        NewColumn::field("usage", LogicalType::Float32),
        flag,
        ratio,
    ];
    let info = TableInfo {
        id: TableId(7),
        database: DatabaseId(1),
        name: "cpu".to_owned(),
        incarnation: Incarnation(u128::MAX - 5),
        schema: Schema::create(columns, &["host".to_owned()]).expect("schema"),
        options: TableOptions {
            merge_mode: MergeMode::LastNonNull,
            ttl: Some(Ttl::For(Duration::new(7 * 86_400, 5))),
            comment: None,
        },
        partition: Partition::even(2).expect("two regions"),
        created_ms: 1_790_000_000_000,
        requires: Vec::new(),
    };
    let mut next = info.clone();
    next.schema = next.schema.add_columns(vec![NewColumn::tag("région")]).expect("widen");
    TableRecord { info, next: Some(next), dropping: false }
}

fn one<K: Key>(key: K, record: K::Record) -> (String, Vec<u8>) {
    let bytes = encode(&key, &record).expect("encode");
    (key.text(), bytes)
}

/// One key and value of every kind; the bytes are frozen in tests/compat.
fn frozen() -> Vec<(String, Vec<u8>)> {
    let id = DatabaseId(1);
    let info = DatabaseInfo { id, name: "public".to_owned(), ttl: Some(Ttl::Forever), regions: 4 };
    let region = RegionId::new(TableId(7), 0);
    let (owner, node) = (NodeEpoch(9), NodeId(1));
    let route = Route { region, epoch: RegionEpoch(3), owner, node, state: RouteState::Opening };
    let second = Route { region: RegionId::new(TableId(7), 1), state: RouteState::Corrupt, ..route };
    let session = SessionRecord {
        node,
        address: "127.0.0.1:4001".to_owned(),
        volume: Some(VolumeId(0xfeed)),
        state: SessionState::Live,
        opened_ms: 5,
        lease_ms: None,
    };
    let leased = SessionRecord { lease_ms: Some(10_000), ..session.clone() };
    let work = Work::AlterTable { table: TableId(7) };
    let procedure = ProcedureRecord { work, request_id: "r-1".to_owned(), started_ms: 6 };
    vec![
        one(ClusterKey, ClusterRecord { id: ClusterId(1 << 100), created_ms: 4 }),
        one(CounterKey::NodeEpoch, CounterRecord { next: 10 }),
        one(DatabaseKey(id), DatabaseRecord { info, dropping: false }),
        one(DatabaseNameKey("public".to_owned()), DatabaseNameRecord { id }),
        one(LeaderKey, LeaderRecord { name: "metasrv".to_owned(), address: String::new(), since_ms: 3 }),
        one(ProcedureKey(0xabc), procedure),
        one(RouteKey::new(TableId(7)), RouteRecord { routes: vec![route, second] }),
        one(SessionKey(owner), session),
        one(TableKey(TableId(7)), table()),
        one(TableNameKey(id, "a/b".to_owned()), TableNameRecord { id: TableId(7) }),
        one(LeaderKey, LeaderRecord { name: "m-1".to_owned(), address: "10.0.0.1:4021".to_owned(), since_ms: 3 }),
        one(SessionKey(owner), leased),
    ]
}

fn read_as<K: Key>(text: &str, bytes: &[u8]) -> Result<bool> {
    let Some(key) = parse::<K>(text)? else { return Ok(false) };
    assert_eq!(key.text(), text);
    decode(&key, bytes).map(|_| true)
}

fn read(text: &str, bytes: &[u8]) -> Result<()> {
    let known = read_as::<ClusterKey>(text, bytes)?
        || read_as::<CounterKey>(text, bytes)?
        || read_as::<DatabaseKey>(text, bytes)?
        || read_as::<DatabaseNameKey>(text, bytes)?
        || read_as::<LeaderKey>(text, bytes)?
        || read_as::<ProcedureKey>(text, bytes)?
        || read_as::<RouteKey>(text, bytes)?
        || read_as::<SessionKey>(text, bytes)?
        || read_as::<TableKey>(text, bytes)?
        || read_as::<TableNameKey>(text, bytes)?;
    assert!(known, "no kind reads {text}");
    Ok(())
}

#[test]
fn the_bytes_of_every_kind_are_frozen() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/compat/v1/metadata");
    let mut seen = std::collections::BTreeMap::<String, usize>::new();
    for (key, bytes) in frozen() {
        let kind = key.split('/').next().expect("kind");
        let count = seen.entry(kind.to_owned()).or_default();
        *count += 1;
        // A member that was added later is in a second fixture: the first stays readable.
        let name = if *count == 1 { kind.to_owned() } else { format!("{kind}_{count}") };
        let path = folder.join(format!("{name}.txt"));
        let text = format!("{key}\n{}\n", String::from_utf8(bytes).expect("JSON"));
        // A kind that is new writes its fixture; one that exists is never rewritten.
        if !path.exists() {
            std::fs::create_dir_all(&folder).expect("folder");
            std::fs::write(&path, &text).expect("write");
        }
        assert_eq!(std::fs::read_to_string(&path).expect("fixture"), text, "{kind}");
    }
}

#[test]
fn a_flipped_bit_anywhere_in_a_record_is_found() {
    for (key, bytes) in frozen() {
        read(&key, &bytes).expect("untouched");
        for at in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[at / 8] ^= 1 << (at % 8);
            let error = read(&key, &bytes).expect_err("flipped");
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{key} bit {at}: {error}");
        }
    }
}

#[test]
fn an_unknown_version_is_refused_by_name() {
    let (key, bytes) = frozen().swap_remove(1);
    let text = String::from_utf8(bytes).expect("JSON").replace("\"v\":1", "\"v\":2");
    let error = read(&key, text.as_bytes()).expect_err("version 2");
    assert!(error.to_string().contains("format version 2"), "{error}");
}

#[test]
fn a_value_under_another_key_is_found() {
    let value = encode(&CounterKey::Table, &CounterRecord { next: 1 }).expect("encode");
    let error = decode(&CounterKey::Database, &value).expect_err("another key");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[test]
fn malformed_keys_are_corrupt() {
    for text in ["table/7", "table/0000000G", "table/0000000A", "route/00000007", "session/1", "table_name/1/x"] {
        let bad = parse::<TableKey>(text).is_err()
            || parse::<RouteKey>(text).is_err()
            || parse::<SessionKey>(text).is_err()
            || parse::<TableNameKey>(text).is_err();
        assert!(bad, "{text}");
    }
}

proptest! {
    #[test]
    fn hostile_bytes_are_errors(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(decode(&TableKey(TableId(1)), &bytes).is_err());
    }

    #[test]
    fn any_default_that_is_a_number_comes_back_to_the_bit(bits in any::<u64>()) {
        let value = f64::from_bits(bits);
        prop_assume!(value.is_finite());
        let mut record = table();
        record.info.schema.columns[2].default = Some(ColumnDefault::Value(Value::F64(value)));
        let key = TableKey(TableId(7));
        let back = decode(&key, &encode(&key, &record).expect("encode")).expect("decode");
        let Some(ColumnDefault::Value(Value::F64(back))) = back.info.schema.columns[2].default else {
            panic!("a number")
        };
        prop_assert_eq!(back.to_bits(), bits);
    }
}

#[test]
fn the_page_of_names_has_every_kind() {
    let page = include_str!("../../../../docs/format/names.md");
    let section = page.split("\n## ").find(|section| section.starts_with("Metadata")).expect("section");
    let row = |line: &str| {
        let (kind, what) = line.strip_prefix("| `")?.split_once("` | ")?;
        Some((kind.to_owned(), what.starts_with("reserved")))
    };
    let mut page = section.lines().filter_map(row).collect::<Vec<_>>();
    let written = frozen().into_iter().map(|(key, _)| (key.split('/').next().expect("kind").to_owned(), false));
    let mut code = written.chain(RESERVED_KINDS.map(|kind| (kind.to_owned(), true))).collect::<Vec<_>>();
    page.sort();
    code.sort();
    code.dedup();
    assert_eq!(page, code);
}

#[test]
fn reserved_members_of_a_table_are_refused_when_they_are_set() {
    let key = TableKey(TableId(7));
    let bytes = encode(&key, &table()).expect("encode");
    let whole = serde_json::from_slice::<Envelope<'_>>(&bytes).expect("JSON").data.get();
    for (from, to) in [
        ("\"created_ms\":", "\"requires\":[\"rollup\"],\"created_ms\":"),
        ("\"nullable\":", "\"merge\":\"sum\",\"nullable\":"),
    ] {
        let data = whole.replacen(from, to, 1);
        assert_ne!(data, whole);
        let read = |data: &str| {
            let crc = checksum(&key.text(), data);
            decode(&key, format!("{{\"v\":1,\"kind\":\"table\",\"crc\":{crc},\"data\":{data}}}").as_bytes())
        };
        let error = read(&data).expect_err("a newer record");
        assert!(error.to_string().contains("a newer varve wrote this"), "{error}");
        read(&data.replace("[\"rollup\"]", "[]").replace("\"sum\"", "null")).expect("nothing is required");
    }
}
