use std::collections::BTreeMap;

use super::*;

const PAGE: &str = include_str!("../../../../../docs/format/names.md");

/// The rows of the page's tables below a heading, as cells without backticks.
fn table(heading: &str) -> Vec<Vec<String>> {
    let section = PAGE.split("\n## ").find(|section| section.starts_with(heading)).expect("the heading is there");
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect()).collect()
}

#[test]
fn the_page_of_names_and_the_code_agree() {
    let (region, node, epoch) = (RegionId(0x0000_0007_0000_0003), NodeEpoch(0x1f), RegionEpoch(0x2e));
    let (lane, number) = (0x3d, 0x4c);
    let name = FileName::new(epoch, 0x5b);
    let referrer = Referrer::try_from("clone-1".to_owned()).unwrap();
    let paths = RegionPaths::new(region);
    let hash2 = format!("{:02x}", xxh3_64(&region.0.to_be_bytes()) as u8);
    let values = BTreeMap::from([
        ("{hash2}", hash2),
        ("{region_id:016x}", format!("{:016x}", region.0)),
        ("{version:016x}", format!("{number:016x}")),
        ("{region_epoch:016x}", format!("{:016x}", epoch.0)),
        ("{uuid}", name.uuid.to_string()),
        ("{node_epoch:016x}", format!("{:016x}", node.0)),
        ("{lane:02x}", format!("{lane:02x}")),
        ("{seq:016x}", format!("{number:016x}")),
        ("{referrer}", "clone-1".to_owned()),
        ("{random:032x}", format!("{:032x}", 0x6a)),
        ("{name}", "a".to_owned()),
    ]);
    let mut code = vec![
        session(node),
        wal_object(node, lane, number),
        paths.manifest(number),
        paths.checkpoint(number),
        paths.boundary(number),
        paths.data(name),
        paths.sidecar(name),
        paths.index(name),
        paths.reference(&referrer),
        probe(0x6a).join("a"),
    ];
    let written = table("Bucket").into_iter().filter(|row| !row[1].starts_with("reserved"));
    let mut page = written
        .map(|row| Path::from(values.iter().fold(row[0].clone(), |key, (part, value)| key.replace(part, value))))
        .collect::<Vec<_>>();
    code.sort_unstable();
    page.sort_unstable();
    assert_eq!(page, code);
    let folders = [
        paths.manifests(),
        paths.checkpoints(),
        paths.boundaries(),
        paths.files(),
        paths.indexes(),
        paths.references(),
        wal_lane(node, lane),
    ];
    assert!(folders.iter().all(|folder| code.iter().any(|path| path.prefix_matches(folder))));
}

#[test]
fn every_name_has_one_spelling() {
    let name = FileName::new(RegionEpoch(0x2e), 0x5b);
    assert_eq!(name.to_string().parse::<FileName>().unwrap(), name);
    for text in ["", "2e-", &name.to_string()[1..], &name.to_string().to_uppercase(), &format!("{name}x")] {
        assert!(text.parse::<FileName>().is_err(), "{text}");
    }
    let paths = RegionPaths::new(RegionId(1));
    assert_eq!(file_of(&paths.sidecar(name)), Some(name));
    assert_eq!(file_of(&paths.manifest(3)), None);
    for text in ["", "A", "a/b", "a.b", "ä", &"a".repeat(129)] {
        assert!(Referrer::try_from(text.to_owned()).is_err(), "{text}");
    }
}
