use super::*;

#[test]
fn frames_survive_and_damage_is_found() {
    let body = vec![1u32, 2, 3];
    let bytes = encode(MANIFEST, &body);
    assert_eq!(decode::<Vec<u32>>(MANIFEST, &bytes).unwrap(), body);
    assert!(decode::<Vec<u32>>(CHECKPOINT, &bytes).is_err());
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(decode::<Vec<u32>>(MANIFEST, &damaged).is_err(), "bit {bit}");
    }
    for len in 0..bytes.len() {
        assert!(decode::<Vec<u32>>(MANIFEST, &bytes[..len]).is_err());
    }
}
