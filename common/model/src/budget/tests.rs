use super::*;
use crate::error::ErrorKind;

#[test]
fn a_full_parent_refuses_and_nothing_leaks() {
    let root = Account::root("root", 100);
    let (a, b) = (root.child("a", 80), root.child("b", 80));
    let held = a.charge(70).expect("fits");
    assert!(b.charge(40).is_err());
    assert_eq!((root.bytes(), b.bytes()), (70, 0));
    drop(held);
    b.charge(80).expect("fits now");
    assert!(b.charge(81).is_err());
    assert_eq!(root.bytes(), 0);
}

#[test]
fn a_charge_that_follows_may_pass_the_limit_and_fills_the_account() {
    let root = Account::root("root", 100);
    let (a, b) = (root.child("a", 200), root.child("b", 200));
    let mut held = a.empty();
    held.set(10);
    assert!(!a.is_full());
    held.set(130);
    assert_eq!((a.bytes(), root.bytes()), (130, 130));
    assert!(a.is_full() && b.is_full() && b.charge(1).is_err());
    held.set(20);
    assert_eq!((a.bytes(), root.bytes()), (20, 20));
    drop(held);
    assert_eq!((a.bytes(), root.bytes()), (0, 0));
}

#[test]
fn a_request_that_never_fits_is_too_large_and_not_busy() {
    let root = Account::root("root", 100);
    let (a, b) = (root.child("a", 200), root.child("b", 50));
    let kind = |refused: Result<()>| refused.map_err(|error| (error.kind(), error.reason())).expect_err("refused");
    let never = (ErrorKind::InvalidRequest, Reason::TooLarge);
    assert_eq!(kind(a.admit(101).map(drop)), never);
    assert_eq!(kind(b.admit(51).map(drop)), never);
    let mut held = b.admit(30).expect("fits");
    assert_eq!(kind(held.admit(21)), never);
    assert_eq!(kind(held.admit(u64::MAX)), never);
    let later = (ErrorKind::Busy, Reason::Overload);
    assert_eq!(kind(b.admit(21).map(drop)), later);
    assert_eq!(kind(a.admit(71).map(drop)), later);
    held.admit(20).expect("fits");
    assert_eq!((held.bytes(), b.bytes(), root.bytes()), (50, 50, 50));
    drop(held);
    assert_eq!((b.bytes(), root.bytes()), (0, 0));
}
