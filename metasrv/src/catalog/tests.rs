use varve_model::id::{DatabaseId, NodeEpoch, NodeId};
use varve_model::table::DatabaseInfo;
use varve_proto::metasrv::Change;

use super::image::Image;
use crate::kv::Changes;
use crate::kv::key::{self, DatabaseKey, DatabaseRecord, Key, SessionKey, SessionRecord, SessionState};

fn put<K: Key>(key: &K, record: &K::Record) -> (String, Option<Vec<u8>>) {
    (key.text(), Some(key::encode(key, record).expect("encode")))
}

fn database(id: u32, dropping: bool) -> (String, Option<Vec<u8>>) {
    let info = DatabaseInfo { id: DatabaseId(id), name: format!("d{id}"), ttl: None, regions: 1 };
    put(&DatabaseKey(DatabaseId(id)), &DatabaseRecord { info, dropping })
}

fn session(epoch: u64, state: SessionState) -> (String, Option<Vec<u8>>) {
    let (node, address) = (NodeId(1), format!("a{epoch}"));
    let record = SessionRecord { node, address, volume: None, state, opened_ms: 0, lease_ms: None };
    put(&SessionKey(NodeEpoch(epoch)), &record)
}

#[test]
fn only_the_last_news_of_a_transaction_carries_its_revision() {
    let mut image = Image::default();
    let changes = Changes { revision: 9, events: vec![database(1, false), database(2, false), database(3, false)] };
    let revisions = image.apply(&changes).expect("apply").iter().map(|news| news.revision).collect::<Vec<_>>();
    assert_eq!(revisions, [8, 8, 9]);
    assert_eq!(image.revision(), 9);
}

#[test]
fn records_that_frontends_do_not_see_are_no_news_and_move_no_revision() {
    let mut image = Image::default();
    let other = Changes { revision: 5, events: vec![("counter/table".to_owned(), None), ("lease/x".to_owned(), None)] };
    assert_eq!(image.apply(&other).expect("apply"), []);
    assert_eq!((image.revision(), image.applied()), (0, 5));
}

#[test]
fn a_database_is_gone_once_when_it_is_dropped_and_when_its_record_goes() {
    let mut image = Image::default();
    let mut news = Vec::new();
    let gone = (DatabaseKey(DatabaseId(1)).text(), None);
    for (revision, event) in [(1, database(1, false)), (2, database(1, true)), (3, gone)] {
        let applied = image.apply(&Changes { revision, events: vec![event] }).expect("apply");
        news.extend(applied.into_iter().map(|news| news.change));
    }
    assert!(matches!(news.as_slice(), [Change::Database(_), Change::DatabaseDropped(DatabaseId(1))]), "{news:?}");
}

#[test]
fn a_node_is_where_its_newest_live_session_is() {
    let mut image = Image::default();
    let events = [
        session(1, SessionState::Live),
        session(3, SessionState::Live),
        session(2, SessionState::Live),
        session(3, SessionState::Sealed),
    ];
    for (revision, event) in (1..).zip(events) {
        image.apply(&Changes { revision, events: vec![event] }).expect("apply");
    }
    assert_eq!(image.catalog().nodes, [(NodeId(1), "a3".to_owned())]);
}

#[test]
fn a_damaged_record_is_an_error_and_not_a_hole() {
    let (key, value) = database(1, false);
    let value = value.map(|mut value| {
        value[20] ^= 1;
        value
    });
    Image::default().apply(&Changes { revision: 1, events: vec![(key, value)] }).expect_err("damaged");
}
