use super::*;

fn key(tags: &[(&str, &str)]) -> Vec<u8> {
    let mut tags = tags.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect::<Vec<_>>();
    let mut bytes = Vec::new();
    encode_key(&mut tags, &mut bytes);
    bytes
}

#[test]
fn tag_order_does_not_matter() {
    assert_eq!(key(&[("b", "2"), ("a", "1")]), key(&[("a", "1"), ("b", "2")]));
    assert_eq!(tags_of(&key(&[("b", "2"), ("a", "1")])).collect::<Vec<_>>(), [("a", "1"), ("b", "2")]);
}

#[test]
fn an_empty_tag_does_not_move_a_series() {
    assert_ne!(key(&[("a", "1"), ("z", "")]), key(&[("a", "1")]));
    assert_eq!(partition_hash(&key(&[("a", "1"), ("z", "")])), partition_hash(&key(&[("a", "1")])));
}

#[test]
fn the_partition_hash_is_frozen() {
    assert_eq!(key(&[("host", "a")]), b"\x04host\x01a");
    assert_eq!(partition_hash(&key(&[("host", "a")])), xxh3_64(b"\x04host\x01a"));
    assert_eq!(partition_hash(&key(&[])), 0x2d06_8005_38d3_94c2);
}

#[test]
fn malformed_keys_are_seen() {
    assert!(is_valid_key(&key(&[("a", &"x".repeat(300)), ("b", "")])));
    assert!(!is_valid_key(b"\x01"));
    assert!(!is_valid_key(b"\x01a\x05b"));
    assert!(!is_valid_key(b"\x81\x00a\x01b"));
    assert!(!is_valid_key(b"\x01b\x01x\x01a\x01x"));
    assert!(!is_valid_key(b"\x01a\x01\xff"));
}
