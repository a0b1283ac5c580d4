use super::*;

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
