use super::*;

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_time_and_bits() {
    let (a, b) = (ManualClock::new(7, 1_000), ManualClock::new(7, 1_000));
    assert_eq!((a.random(), a.random()), (b.random(), b.random()));
    a.sleep(Duration::from_hours(1)).await;
    assert_eq!(a.boot(), Duration::from_hours(1));
    assert_eq!(a.wall_nanos(), 3_600_000_001_000);
}

#[test]
fn system_randomness_does_not_repeat() {
    assert_ne!(SystemClock.random(), SystemClock.random());
}
