use datafusion::execution::memory_pool::MemoryConsumer;

use super::*;

#[test]
fn plans_charge_the_account_and_give_back() {
    let account = Account::root("queries", 100);
    let sessions = Sessions::new(&account, 1).unwrap();
    let pool = Arc::clone(&sessions.base().runtime_env().memory_pool);
    let reservation = MemoryConsumer::new("sort").register(&pool);
    reservation.try_grow(60).unwrap();
    assert_eq!(account.bytes(), 60);
    let refused = reservation.try_grow(50).unwrap_err();
    assert!(from_datafusion(refused).message().contains("'queries' is full"));
    reservation.grow(50);
    assert_eq!(account.bytes(), 60, "what cannot be refused is remembered outside the account");
    drop(reservation);
    assert_eq!(account.bytes(), 0);
}
