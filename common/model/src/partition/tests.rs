use super::*;

#[test]
fn every_key_has_a_range_and_all_ranges_are_used() {
    let partition = Partition::even(3).expect("three");
    let mut seen = [0; 3];
    for n in 0..3000u32 {
        let mut key = Vec::new();
        crate::series::encode_key(&mut [(b"host".as_slice(), n.to_string().as_bytes())], &mut key);
        seen[partition.range_of(&key)] += 1;
    }
    assert!(seen.iter().all(|&n| n > 800), "{seen:?}");
    assert!(Partition::even(0).is_err());
    assert!(Partition::even(1001).is_err());
}
