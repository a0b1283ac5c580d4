use super::*;

#[test]
fn ttl_takes_sums_and_words() {
    assert_eq!(Ttl::parse("1h 12min").expect("sum"), Ttl::For(Duration::from_mins(72)));
    assert_eq!(Ttl::parse("7d").expect("days"), Ttl::For(Duration::from_hours(168)));
    assert_eq!(Ttl::parse("2M").expect("months"), Ttl::For(Duration::from_secs(5_260_032)));
    for forever in ["forever", "", "0s", "NULL"] {
        assert_eq!(Ttl::parse(forever).expect(forever), Ttl::Forever);
    }
    for bad in ["1", "x", "1.5h", "1h banana", "99999999999999999999y"] {
        assert!(Ttl::parse(bad).is_err(), "{bad}");
    }
}
