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

#[test]
fn what_a_newer_varve_wrote_is_told_from_damage() {
    #[derive(Debug, serde::Serialize, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Known {
        number: u32,
    }
    let whole = encode(MANIFEST, &Known { number: 7 });
    assert_eq!(decode::<Known>(MANIFEST, &whole).unwrap().number, 7);
    let bodies = [
        serde_json::json!({ "number": 7, "words": [] }),
        serde_json::json!({ "number": "seven" }),
        serde_json::json!({}),
    ];
    let newer_bodies = bodies.map(|body| encode(MANIFEST, &body));
    let newer_heads = [4, 6].map(|at| {
        let mut bytes = whole.clone();
        bytes[at] += 1;
        let crc = sum(&bytes[..12], &bytes[HEAD..]);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes
    });
    for bytes in newer_bodies.into_iter().chain(newer_heads) {
        let error = decode::<Known>(MANIFEST, &bytes).unwrap_err();
        assert_eq!(error.kind(), varve_model::ErrorKind::InvalidRequest, "{error}");
        assert!(error.to_string().contains("a newer varve wrote it"), "{error}");
        let mut damaged = bytes;
        *damaged.last_mut().unwrap() ^= 1;
        assert_eq!(decode::<Known>(MANIFEST, &damaged).unwrap_err().kind(), varve_model::ErrorKind::Corrupt);
    }
}
