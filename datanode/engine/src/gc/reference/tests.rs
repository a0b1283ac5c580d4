use std::sync::Arc;

use object_store::memory::InMemory;
use proptest::prelude::*;
use varve_model::budget::Account;
use varve_model::id::RegionEpoch;
use varve_service::clock::ManualClock;
use varve_service::task::{Blocking, TaskSet};

use super::*;
use crate::format::fixture;
use crate::store::path::RegionPaths;

const REGION: RegionId = RegionId(3 << 32 | 1);

fn name(number: u128) -> FileName {
    FileName::new(RegionEpoch(2), number)
}

fn reference(files: Referred) -> Reference {
    let referrer = Referrer::try_from("clone-0000000700000001".to_owned()).unwrap();
    Reference { region: REGION, referrer, nonce: Nonce(0x99), version: 12, files }
}

fn context() -> FileContext {
    FileContext {
        store: Arc::new(InMemory::new()),
        region: REGION,
        paths: Arc::new(RegionPaths::new(REGION)),
        clock: Arc::new(ManualClock::new(1, 0)),
        tasks: TaskSet::new(Blocking::Inline),
        account: Account::root("test", 1 << 20),
        region_epoch: RegionEpoch(5),
    }
}

async fn put(ctx: &FileContext, path: &Path, body: Vec<u8>) {
    ctx.store.put(path, body.into()).await.unwrap();
}

#[test]
fn references_survive_and_match_their_fixtures() {
    let names = Referred::Names(BTreeSet::from([name(1), name(2)]));
    for (fixture, files) in [("names", names), ("all", Referred::All)] {
        let reference = reference(files);
        assert_eq!(Reference::decode(&reference.encode()).unwrap(), reference);
        fixture::check("reference", fixture, &reference.encode());
    }
}

#[tokio::test(start_paused = true)]
async fn what_any_reference_names_is_kept_until_it_goes() {
    let ctx = context();
    assert_eq!(kept(&ctx).await.unwrap(), Kept::default());
    let one = reference(Referred::Names(BTreeSet::from([name(1)])));
    let two = Reference {
        referrer: Referrer::try_from("backup-1".to_owned()).unwrap(),
        ..reference(Referred::Names(BTreeSet::from([name(2)])))
    };
    for reference in [&one, &two] {
        put(&ctx, &ctx.paths.reference(&reference.referrer), reference.encode()).await;
    }
    let both = kept(&ctx).await.unwrap();
    assert!(both.has(name(1)) && both.has(name(2)) && !both.has(name(3)));
    assert!(both.has_object(&ctx.paths.sidecar(name(1))) && both.has_object(&ctx.paths.index(name(2))));
    ctx.store.delete(&ctx.paths.reference(&one.referrer)).await.unwrap();
    let left = kept(&ctx).await.unwrap();
    assert!(!left.has(name(1)) && left.has(name(2)));
}

#[tokio::test(start_paused = true)]
async fn a_reference_that_cannot_be_understood_keeps_everything() {
    let whole = reference(Referred::Names(BTreeSet::new()));
    let (newer_format, newer_field) = (
        {
            let mut bytes = whole.encode();
            bytes[4] = 2;
            bytes
        },
        framed::encode(REFERENCE, &serde_json::json!({ "region": REGION, "shards": [1] })),
    );
    let foreign = Reference { region: RegionId(9), ..whole.clone() }.encode();
    let own = context().paths.reference(&whole.referrer);
    let below = own.clone().join("later");
    for (path, body) in
        [(&own, newer_format), (&own, newer_field), (&own, foreign), (&own, Vec::new()), (&below, whole.encode())]
    {
        let ctx = context();
        put(&ctx, path, body).await;
        assert!(kept(&ctx).await.unwrap().has(name(7)), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_memory_to_read_a_reference_nothing_is_known() {
    let ctx = FileContext { account: Account::root("test", 10), ..context() };
    let whole = reference(Referred::All);
    put(&ctx, &ctx.paths.reference(&whole.referrer), whole.encode()).await;
    assert_eq!(kept(&ctx).await.unwrap_err().kind(), ErrorKind::Busy);
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic(at in 0usize..400, noise in prop::collection::vec(any::<u8>(), 1..60)) {
        let mut bytes = reference(Referred::Names(BTreeSet::from([name(1)]))).encode();
        let at = at % bytes.len();
        let end = bytes.len().min(at + noise.len());
        bytes[at..end].copy_from_slice(&noise[..end - at]);
        let _ = Reference::decode(&bytes);
        let _ = Reference::decode(&noise);
    }
}
