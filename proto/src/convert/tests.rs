//! Every family comes back as it was; hostile messages are errors.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use prost::Message;
use varve_model::ErrorKind;
use varve_model::id::process::{Cancel, CancelScope, Process};
use varve_model::id::*;
use varve_model::matcher::{MatchOp, Matcher, MissingTag};
use varve_model::partition::Partition;
use varve_model::region::{Route, RouteState};
use varve_model::scan::{DescribeSpec, RegionStatistics};
use varve_model::schema::{LogicalType, NewColumn, Schema};
use varve_model::table::{DatabaseInfo, TableInfo, TableOptions, Ttl};
use varve_model::time::{TimeRange, TimeUnit};

use super::*;
use crate::call::{Call, Principal};
use crate::datanode::*;
use crate::metasrv::*;
use crate::wire;

fn table(number: u32) -> TableInfo {
    let columns = vec![
        NewColumn::tag("höst"),
        NewColumn::time("ts", TimeUnit::Second),
        NewColumn::field("v", LogicalType::Timestamp(TimeUnit::Microsecond)),
    ];
    TableInfo {
        id: TableId(number),
        database: DatabaseId(1),
        name: format!("t{number}"),
        incarnation: Incarnation(u128::MAX - u128::from(number)),
        schema: Schema::create(columns, &[]).expect("schema"),
        options: TableOptions { comment: Some("\"\\\n".to_owned()), ..TableOptions::default() },
        partition: Partition::even(number % 5 + 1).expect("regions"),
        created_ms: -1,
        requires: Vec::new(),
    }
}

fn routes(number: u32) -> Arc<[Route]> {
    let states = [RouteState::Opening, RouteState::Open, RouteState::Corrupt];
    table(number)
        .regions()
        .zip(states.into_iter().cycle())
        .map(|(region, state)| Route {
            region,
            epoch: RegionEpoch(u64::MAX),
            owner: NodeEpoch(4),
            node: NodeId(5),
            state,
        })
        .collect()
}

fn name() -> TableName {
    TableName { database: "public".to_owned(), table: "a b".to_owned() }
}

fn news(number: u32) -> Vec<Change> {
    let database = Arc::new(DatabaseInfo {
        id: DatabaseId(number),
        name: "d".to_owned(),
        ttl: Some(Ttl::For(Duration::from_nanos(7))),
        regions: 3,
    });
    let catalog = Catalog {
        databases: vec![Arc::clone(&database)],
        tables: vec![(Arc::new(table(number)), routes(number)), (Arc::new(table(2)), routes(2))],
        nodes: vec![(NodeId(1), "127.0.0.1:1".to_owned())],
    };
    vec![
        Change::Snapshot(catalog),
        Change::Database(database),
        Change::DatabaseDropped(DatabaseId(number)),
        Change::Table(Arc::new(table(number)), routes(number)),
        Change::TableDropped(TableId(number)),
        Change::Node(NodeId(9), String::new()),
        Change::Seated(FrontendId(number)),
        Change::Asked(Question { id: u64::from(number), inquiry: Arc::new(Inquiry::Processes) }),
    ]
}

fn inquiries(number: u32) -> [Inquiry; 3] {
    let process = ProcessId(number);
    let cancel = |scope, secret| Inquiry::Cancel(Cancel { process, scope, secret });
    [
        Inquiry::Processes,
        cancel(CancelScope::Connection, None),
        cancel(CancelScope::Statement, Some(number.to_be_bytes().to_vec())),
    ]
}

fn procedures(number: u32) -> Vec<Procedure> {
    let columns = vec![NewColumn::tag("t"), NewColumn::field("f", LogicalType::UInt8)];
    let ttl = [None, Some(Ttl::Forever)][number as usize % 2];
    let change = |change| Procedure::AlterTable { table: name(), change };
    vec![
        Procedure::CreateDatabase { name: "d".to_owned(), ttl, regions: number, if_not_exists: true },
        Procedure::AlterDatabase { name: "d".to_owned(), ttl },
        Procedure::DropDatabase { name: String::new(), if_exists: false },
        Procedure::CreateTable(CreateTable {
            table: name(),
            columns: columns.clone(),
            primary_key: vec!["t".to_owned()],
            options: TableOptions { ttl, ..TableOptions::default() },
            regions: number.is_multiple_of(2).then_some(number),
            if_not_exists: number.is_multiple_of(3),
        }),
        change(TableChange::AddColumns(columns.clone())),
        change(TableChange::Widen(columns)),
        change(TableChange::DropColumn("x".to_owned())),
        change(TableChange::Rename("y".to_owned())),
        change(TableChange::SetOptions(TableOptions::default())),
        Procedure::DropTable { table: name(), if_exists: true },
        Procedure::EachRegion { table: name(), action: RegionAction::Truncate },
        Procedure::EachRegion { table: name(), action: RegionAction::Flush },
        Procedure::EachRegion { table: name(), action: RegionAction::Compact },
    ]
}

/// Over the bytes, as the wire would.
fn over<M: Message + Default>(message: &M) -> M {
    M::decode(message.encode_to_vec().as_slice()).expect("decode")
}

proptest! {
    #[test]
    fn news_come_back(number in 0..1000u32, revision in any::<u64>()) {
        for change in news(number) {
            let news = News { revision, change };
            let back = catalog::news_from_wire(over(&catalog::news_to_wire(&news).expect("encode")));
            prop_assert_eq!(back.expect("decode"), news);
        }
    }

    #[test]
    fn procedures_come_back(number in any::<u32>()) {
        for one in procedures(number) {
            let back = procedure::from_wire(over(&procedure::to_wire(one.clone()).expect("encode")));
            prop_assert_eq!(back.expect("decode"), one);
        }
    }

    #[test]
    fn beats_come_back(number in any::<u64>(), series in any::<u64>(), message in ".{0,20}") {
        let statistics = RegionStatistics { series, manifest_version: number, ..RegionStatistics::default() };
        let beat = Beat {
            number,
            life: [Life::Serving, Life::Draining, Life::Sealed][number as usize % 3],
            reports: vec![
                Report { order: 1, outcome: Ok(()), found: None },
                Report {
                    order: 2,
                    outcome: Err(Arc::new(varve_model::Error::unavailable("not sealed"))),
                    found: Some(Found::Owner(NodeEpoch(number))),
                },
                Report {
                    order: u64::MAX,
                    outcome: Err(Arc::new(varve_model::Error::corrupt(message))),
                    found: Some(Found::Epoch(RegionEpoch(series))),
                },
            ],
            regions: vec![(RegionId(series), statistics)],
        };
        let back = heartbeat::beat_from_wire(over(&heartbeat::beat_to_wire(beat.clone())));
        // Errors have no equality; their text in debug form has all of them.
        prop_assert_eq!(format!("{back:?}"), format!("{beat:?}"));
    }

    #[test]
    fn orders_come_back(id in any::<u64>(), beat in proptest::option::of(any::<u64>()), number in 0..99u32) {
        let region = RegionId(id);
        let grant = Grant { region, epoch: RegionEpoch(id), table: Arc::new(table(number)), ttl: Ttl::Forever };
        let kinds = [
            OrderKind::Open(grant.clone()),
            OrderKind::Alter(grant),
            OrderKind::Drop(region),
            OrderKind::Truncate(region),
            OrderKind::Flush(region),
            OrderKind::Compact(region),
            OrderKind::Seal(NodeEpoch(id)),
            OrderKind::Forget(NodeEpoch(id)),
        ];
        let orders = kinds.into_iter().map(|kind| Order { id, kind }).collect::<Vec<_>>();
        let sent = BeatReply { beat, orders: orders.clone() };
        let back = heartbeat::reply_from_wire(over(&heartbeat::reply_to_wire(sent).expect("encode"))).expect("decode");
        prop_assert_eq!((back.beat, back.orders), (beat, orders));
    }

    #[test]
    fn region_reports_come_back(region in any::<u64>(), nanos in any::<u64>()) {
        let statistics = RegionStatistics { series: nanos, ..RegionStatistics::default() };
        let (region, session) = (RegionId(region), NodeEpoch(nanos));
        let reports = vec![RegionReport { region, session, age: Duration::from_nanos(nanos), statistics }; 2];
        let back = heartbeat::region_reports_from_wire(&over(&heartbeat::region_reports_to_wire(&reports)));
        prop_assert_eq!(back, reports);
    }

    #[test]
    fn inquiries_and_their_answers_come_back(number in any::<u32>(), life in any::<u128>(), text in ".{0,20}") {
        for watcher in [None, Some(Watcher { life, wish: FrontendId(number) })] {
            let back = relay::watcher_from_wire(&over(&relay::watcher_to_wire(watcher)));
            prop_assert_eq!(back.expect("decode"), watcher);
        }
        for inquiry in inquiries(number) {
            let back = relay::inquiry_from_wire(Some(over(&relay::inquiry_to_wire(&inquiry))));
            prop_assert_eq!(back.expect("decode"), inquiry);
        }
        let process = Process {
            id: ProcessId(number),
            frontend: text.clone(),
            client: "mysql[[::1]:9]".to_owned(),
            user: String::new(),
            database: "public".to_owned(),
            query: text,
            started_ms: i64::from(number),
            elapsed: Duration::from_nanos(u64::from(number)),
        };
        let answers = Answers {
            answers: vec![Answer::Cancelled(true), Answer::Cancelled(false), Answer::Processes(vec![process; 2])],
            silent: vec![FrontendId(number)],
        };
        let back = relay::answers_from_wire(over(&relay::answers_to_wire(answers.clone())));
        prop_assert_eq!(back.expect("decode"), answers);
    }

    #[test]
    fn registrations_and_sessions_come_back(bits in any::<u128>(), some in any::<bool>(), nanos in any::<u64>()) {
        let registration = Registration {
            node: NodeId(nanos),
            cluster: some.then_some(ClusterId(bits)),
            address: "[::1]:4".to_owned(),
            volume: (!some).then_some(VolumeId(bits)),
            seen_epoch: NodeEpoch(nanos),
        };
        let back = heartbeat::registration_from_wire(over(&heartbeat::registration_to_wire(registration.clone())));
        prop_assert_eq!(back.expect("decode"), registration);
        let lease = Duration::from_nanos(nanos);
        let session = Session { cluster: ClusterId(bits), epoch: NodeEpoch(nanos), lease, interval: lease / 3 };
        let back = heartbeat::session_from_wire(&over(&heartbeat::session_to_wire(&session)));
        prop_assert_eq!(back.expect("decode"), session);
    }

    #[test]
    fn writes_and_questions_come_back(start in any::<i64>(), end in any::<i64>(), value in ".{0,9}", rows in any::<u64>()) {
        let matchers = vec![
            Matcher { tag: value.clone(), op: MatchOp::In(vec![value.clone()]), missing: MissingTag::Empty },
            Matcher { tag: String::new(), op: MatchOp::Between { low: Some((value, true)), high: None }, missing: MissingTag::Unknown },
        ];
        let delete = RegionDelete {
            region: RegionId(rows),
            epoch: RegionEpoch(2),
            schema_version: SchemaVersion(3),
            matchers: matchers.clone(),
            time: TimeRange { start, end },
        };
        let request = WriteRequest { writes: vec![RegionWrite::Delete(delete)] };
        let back = write::request_from_wire(over(&write::request_to_wire(&request).expect("encode")));
        prop_assert_eq!(back.expect("decode"), request);
        let reply = WriteReply { parts: vec![
            Ok(WriteAck { sequence: Sequence(rows), rows }),
            Err(varve_model::Error::new(ErrorKind::StaleRoute, "moved").with_hint("refresh")),
        ] };
        let back = write::reply_from_wire(over(&write::reply_to_wire(&reply)), 2).expect("decode");
        prop_assert_eq!(format!("{back:?}"), format!("{reply:?}"));
        for spec in [
            DescribeSpec::TagValues { tag: "t".to_owned(), matchers: matchers.clone() },
            DescribeSpec::Series { matchers },
            DescribeSpec::Statistics,
        ] {
            let request = DescribeRequest { region: RegionId(rows), epoch: RegionEpoch(1), spec };
            let back = describe::request_from_wire(&over(&describe::request_to_wire(&request).expect("encode")));
            prop_assert_eq!(back.expect("decode"), request);
        }
        for answer in [
            Description::TagValues(vec!["a".to_owned(), String::new()]),
            Description::Series(vec![vec![1, 2], vec![]]),
            Description::Statistics(RegionStatistics { series: rows, ..RegionStatistics::default() }),
        ] {
            let back = describe::description_from_wire(over(&describe::description_to_wire(answer.clone())));
            prop_assert_eq!(back.expect("decode"), answer);
        }
    }

    #[test]
    fn a_call_comes_back(request_id in ".{0,40}", user in proptest::option::of(".{0,20}"), millis in 0..86_400_000u64) {
        let sent = Call {
            principal: user.map_or(Principal::System, Principal::User),
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
            ..Call::system(request_id, Duration::from_millis(millis))
        };
        let back = call::call(call::request(&sent, ()).metadata()).expect("decode");
        prop_assert_eq!(format!("{back:?}"), format!("{sent:?}"));
    }

    #[test]
    fn hostile_messages_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        fn read<M: Message + Default>(bytes: &[u8]) -> Option<M> {
            M::decode(bytes).ok()
        }
        let _ = read::<wire::News>(&bytes).map(catalog::news_from_wire);
        let _ = read::<wire::Procedure>(&bytes).map(procedure::from_wire);
        let _ = read::<wire::AskRequest>(&bytes).map(|ask| relay::inquiry_from_wire(ask.inquiry));
        let _ = read::<wire::AskReply>(&bytes).map(relay::answers_from_wire);
        let _ = read::<wire::AnswerRequest>(&bytes).map(|request| relay::answer_from_wire(request.answer));
        let _ = read::<wire::WatchRequest>(&bytes).map(|request| relay::watcher_from_wire(&request));
        let _ = read::<wire::BeatReply>(&bytes).map(heartbeat::reply_from_wire);
        let _ = read::<wire::Beat>(&bytes).map(heartbeat::beat_from_wire);
        let _ = read::<wire::RegionReports>(&bytes).map(|reports| heartbeat::region_reports_from_wire(&reports));
        let _ = read::<wire::Registration>(&bytes).map(heartbeat::registration_from_wire);
        let _ = read::<wire::WriteRequest>(&bytes).map(write::request_from_wire);
        let _ = read::<wire::Description>(&bytes).map(describe::description_from_wire);
    }
}

#[test]
fn a_reply_with_other_parts_than_asked_is_an_unknown_outcome() {
    let reply = wire::WriteReply { parts: vec![] };
    assert_eq!(write::reply_from_wire(reply, 1).expect_err("malformed").kind(), ErrorKind::Unavailable);
}

#[test]
fn a_follower_names_the_leader_and_the_name_is_read_back_over_the_wire() {
    let named = crate::status::from_status(&crate::status::to_status(&not_leader(Some("[::1]:4010"))));
    assert_eq!((named.kind(), leader_of(&named)), (ErrorKind::Unavailable, Some("[::1]:4010")));
    assert_eq!(leader_of(&not_leader(None)), None);
    let other = varve_model::Error::unavailable("x").with_hint("the leader is at nowhere:1");
    assert_eq!(leader_of(&other), None, "only that error names a leader");
}

#[test]
fn another_protocol_version_is_refused_by_name() {
    let sent = Call { protocol_version: 7, ..Call::system("r", Duration::from_secs(1)) };
    let error = call::call(call::request(&sent, ()).metadata()).expect_err("version 7");
    assert!(error.message().contains("version 7"), "{error}");
    let error = call::call(&tonic::metadata::MetadataMap::new()).expect_err("a stranger");
    assert_eq!(error.kind(), ErrorKind::InvalidRequest);
}
