use super::*;

#[test]
fn what_was_used_longest_ago_goes_first() {
    let cache = Cache::new(10);
    cache.insert("a", 1, 4);
    cache.insert("b", 2, 4);
    assert_eq!(cache.get(&"a"), Some(1));
    cache.insert("c", 3, 4);
    assert_eq!((cache.get(&"a"), cache.get(&"b"), cache.get(&"c")), (Some(1), None, Some(3)));
    cache.insert("huge", 4, 11);
    assert_eq!(cache.get(&"huge"), None);
    assert_eq!(cache.bytes(), 8);
    cache.insert("a", 5, 1);
    assert_eq!((cache.get(&"a"), cache.bytes()), (Some(5), 5));
}
