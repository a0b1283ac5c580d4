use proptest::prelude::*;
use varve_model::matcher::{MatchOp, MissingTag};
use varve_model::series::encode_key;

use super::*;

fn key(tags: &[(&str, &str)]) -> Vec<u8> {
    let mut tags = tags.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect::<Vec<_>>();
    let mut bytes = Vec::new();
    encode_key(&mut tags, &mut bytes);
    bytes
}

fn keys(list: &[&[(&str, &str)]]) -> SeriesKeys {
    let mut keys = SeriesKeys::default();
    for tags in list {
        keys.push(&key(tags));
    }
    keys
}

fn matcher(tag: &str, op: MatchOp, missing: MissingTag) -> Matcher {
    Matcher { tag: tag.into(), op, missing }
}

fn ids(index: &SeriesIndex, matchers: &[Matcher]) -> Vec<u32> {
    index.select(matchers).expect("select").iter().collect()
}

fn strings(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

#[test]
fn a_key_has_one_id_and_comes_back() {
    let index = SeriesIndex::default();
    let a = index.insert(&key(&[("host", "a")]));
    let b = index.insert(&key(&[("host", "b")]));
    assert_eq!((a, b), (SeriesId(0), SeriesId(1)));
    assert_eq!(index.insert(&key(&[("host", "a")])), a);
    assert_eq!(index.get(&key(&[("host", "b")])), Some(b));
    assert_eq!(index.get(&key(&[("host", "c")])), None);
    assert_eq!(index.key(b), key(&[("host", "b")]));
    assert_eq!(index.next_id(), SeriesId(2));
}

#[test]
fn restoring_twice_changes_nothing_and_contradictions_are_corrupt() {
    let index = SeriesIndex::default();
    let both = keys(&[&[("h", "a")], &[("h", "b")]]);
    index.restore(SeriesId(0), &both).expect("first");
    index.restore(SeriesId(0), &both).expect("again");
    index.restore(SeriesId(1), &keys(&[&[("h", "b")], &[("h", "c")]])).expect("overlapping");
    assert_eq!(index.len(), 3);
    let corrupt = varve_model::ErrorKind::Corrupt;
    let gap = index.restore(SeriesId(9), &keys(&[&[("h", "z")]])).expect_err("gap");
    let other = index.restore(SeriesId(0), &keys(&[&[("h", "z")]])).expect_err("other key");
    let twice = index.restore(SeriesId(3), &keys(&[&[("h", "a")]])).expect_err("same key, new id");
    assert_eq!([gap.kind(), other.kind(), twice.kind()], [corrupt; 3]);
}

#[test]
fn a_missing_tag_is_empty_for_prometheus_and_unknown_for_sql() {
    let index = SeriesIndex::default();
    index.insert(&key(&[("h", "a")]));
    index.insert(&key(&[("h", "")]));
    index.insert(&key(&[("x", "1")]));
    let (empty, unknown) = (MissingTag::Empty, MissingTag::Unknown);
    let one = |op, missing| ids(&index, &[matcher("h", op, missing)]);
    assert_eq!(one(MatchOp::In(strings(&[""])), empty), [1, 2]);
    assert_eq!(one(MatchOp::In(strings(&[""])), unknown), [1]);
    assert_eq!(one(MatchOp::NotIn(strings(&["a"])), empty), [1, 2]);
    assert_eq!(one(MatchOp::NotIn(strings(&["a"])), unknown), [1]);
    assert_eq!(one(MatchOp::Regex(".*".into()), empty), [0, 1, 2]);
    assert_eq!(one(MatchOp::Regex("a|".into()), unknown), [0, 1]);
    assert_eq!(one(MatchOp::NotRegex("a".into()), empty), [1, 2]);
    assert_eq!(one(MatchOp::Between { low: None, high: Some(("a".into(), false)) }, empty), [1, 2]);
    assert_eq!(one(MatchOp::Between { low: Some((String::new(), false)), high: None }, unknown), [0]);
    for missing in [empty, unknown] {
        assert_eq!(one(MatchOp::IsNull, missing), [2]);
        assert_eq!(one(MatchOp::IsNotNull, missing), [0, 1]);
    }
    assert_eq!(ids(&index, &[matcher("nosuch", MatchOp::In(strings(&[""])), empty)]), [0, 1, 2]);
    assert_eq!(ids(&index, &[matcher("nosuch", MatchOp::In(strings(&[""])), unknown)]), [0u32; 0]);
    index.select(&[matcher("h", MatchOp::Regex("(".into()), empty)]).expect_err("bad regex");
    index.select(&[matcher("h", MatchOp::Regex("a)|(b".into()), empty)]).expect_err("stray parentheses");
}

#[test]
fn tag_values_and_series_keys_are_sorted_and_filtered() {
    let index = SeriesIndex::default();
    for (host, dc) in [("b", "1"), ("a", "1"), ("c", "2")] {
        index.insert(&key(&[("host", host), ("dc", dc)]));
    }
    assert_eq!(index.tag_values("host", &[]).expect("all"), ["a", "b", "c"]);
    let first = [matcher("dc", MatchOp::In(strings(&["1"])), MissingTag::Unknown)];
    assert_eq!(index.tag_values("host", &first).expect("some"), ["a", "b"]);
    assert_eq!(index.tag_values("nosuch", &first).expect("none"), [""; 0]);
    let keys = index.series_keys(&first).expect("keys");
    assert_eq!(
        keys.iter().collect::<Vec<_>>(),
        [key(&[("dc", "1"), ("host", "a")]), key(&[("dc", "1"), ("host", "b")])]
    );
}

#[test]
fn the_order_follows_the_key_columns_with_null_first_and_grows_with_the_index() {
    let index = SeriesIndex::default();
    index.insert(&key(&[("a", "2"), ("b", "1")]));
    index.insert(&key(&[("a", "1"), ("b", "9")]));
    index.insert(&key(&[("b", "5")]));
    let columns = strings(&["a", "b"]);
    assert_eq!(index.order(&columns).ids, [2, 1, 0]);
    index.insert(&key(&[("a", ""), ("b", "5")]));
    assert_eq!(index.order(&columns).ids, [2, 3, 1, 0]);
    assert_eq!(index.order(&strings(&["b", "a"])).ids, [0, 2, 3, 1]);
    assert_eq!(index.sorted(&[0, 3].into_iter().collect(), &columns), [3, 0]);
}

#[test]
fn ten_tags_cost_at_most_350_bytes_a_series() {
    let index = SeriesIndex::default();
    for host in 0..20_000 {
        let host_name = format!("host_{host}");
        let rack = (host % 97).to_string();
        index.insert(&key(&[
            ("hostname", &host_name),
            ("region", "eu-central-1"),
            ("datacenter", "eu-central-1a"),
            ("rack", &rack),
            ("os", "Ubuntu15.10"),
            ("arch", "x86"),
            ("team", "SF"),
            ("service", "19"),
            ("service_version", "1"),
            ("service_environment", "test"),
        ]));
    }
    assert!(index.bytes_len() / 20_000 <= 350, "{} bytes per series", index.bytes_len() / 20_000);
}

#[test]
fn a_segment_round_trips_and_every_flipped_bit_is_seen() {
    let some = keys(&[&[("h", "a")], &[], &[("h", "b"), ("x", "")]]);
    let bytes = segment::encode(SeriesId(7), &some).expect("encode");
    assert_eq!(segment::decode(&bytes).expect("decode"), (SeriesId(7), some));
    crate::format::fixture::check("index-segment", "three-series", &bytes);
    for bit in 0..bytes.len() * 8 {
        let mut bad = bytes.to_vec();
        bad[bit / 8] ^= 1 << (bit % 8);
        segment::decode(&bad).expect_err("a flipped bit");
    }
    for end in 0..bytes.len() {
        segment::decode(&bytes[..end]).expect_err("cut short");
    }
}

#[test]
fn a_segment_of_another_version_is_refused_though_its_checksum_holds() {
    let mut bytes = segment::encode(SeriesId(0), &SeriesKeys::default()).expect("encode").to_vec();
    bytes[8] = 2;
    let body = bytes.len() - 4;
    let crc = crc_of(&bytes[..body]);
    bytes[body..].copy_from_slice(&crc.to_le_bytes());
    let error = segment::decode(&bytes).expect_err("version 2");
    assert!(error.to_string().contains("unknown format version"), "{error}");
}

proptest! {
    #[test]
    fn hostile_segments_are_errors(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut framed = b"VARVEIDX\x01\0\0\0".to_vec();
        framed.extend(&bytes);
        let crc = crc_of(&framed);
        framed.extend(crc.to_le_bytes());
        drop(segment::decode(&framed));
        drop(segment::decode(&bytes));
    }

    #[test]
    fn select_equals_a_test_of_every_series(
        series in proptest::collection::vec(proptest::collection::btree_map("[ab]", "[xyz]{0,2}", 0..3), 1..30),
        values in proptest::collection::vec("[xyz]{0,2}", 0..3),
        pick in 0usize..6,
        empty in any::<bool>(),
    ) {
        let index = SeriesIndex::default();
        let mut distinct = Vec::new();
        for tags in series {
            let list = tags.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>();
            let bytes = key(&list);
            if index.get(&bytes).is_none() {
                index.insert(&bytes);
                distinct.push(tags);
            }
        }
        let low = values.first().map(|value| (value.clone(), true));
        let op = [
            MatchOp::In(values.clone()),
            MatchOp::NotIn(values.clone()),
            MatchOp::Regex(values.join("|")),
            MatchOp::NotRegex(values.join("|")),
            MatchOp::Between { low, high: None },
            MatchOp::IsNull,
        ][pick].clone();
        let missing = if empty { MissingTag::Empty } else { MissingTag::Unknown };
        let expected = distinct.iter().enumerate().filter(|(_, tags)| {
            let value = tags.get("a");
            let seen = value.map(String::as_str).or(empty.then_some(""));
            let test = |holds: &dyn Fn(&str) -> bool| seen.is_some_and(holds);
            let whole = regex::Regex::new(&format!("^(?:{})$", values.join("|"))).expect("regex");
            match pick {
                0 => test(&|seen| values.iter().any(|value| value == seen)),
                1 => test(&|seen| values.iter().all(|value| value != seen)),
                2 => test(&|seen| whole.is_match(seen)),
                3 => test(&|seen| !whole.is_match(seen)),
                4 => test(&|seen| values.first().is_none_or(|low| seen >= low.as_str())),
                _ => value.is_none(),
            }
        }).map(|(id, _)| id as u32).collect::<Vec<_>>();
        prop_assert_eq!(ids(&index, &[matcher("a", op, missing)]), expected);
    }
}

fn crc_of(bytes: &[u8]) -> u32 {
    crate::format::checksum::crc32c(bytes)
}
