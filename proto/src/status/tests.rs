use proptest::prelude::*;

use super::*;

fn same(a: &Error, b: &Error) -> bool {
    a.kind() == b.kind()
        && a.reason() == b.reason()
        && a.message() == b.message()
        && a.hint() == b.hint()
        && a.contexts().eq(b.contexts())
}

proptest! {
    #[test]
    fn an_error_comes_back_as_it_was(
        kind in 0..KINDS.len(),
        reason in 0..REASONS.len(),
        message in ".{0,80}",
        hint in proptest::option::of(".{0,40}"),
        context in proptest::collection::vec(".{0,40}", 0..4),
    ) {
        let mut error = Error::new(KINDS[kind].0, message).with_reason(REASONS[reason]);
        if let Some(hint) = hint {
            error = error.with_hint(hint);
        }
        let error = context.into_iter().fold(error, Error::context);
        let status = to_status(&error);
        prop_assert_eq!(status.code(), KINDS[kind].1);
        prop_assert!(same(&from_status(&status), &error));
    }

    #[test]
    fn hostile_details_are_an_error_of_some_kind(details in proptest::collection::vec(any::<u8>(), 0..100)) {
        let status = Status::with_details(Code::Internal, "x", details.into());
        let _ = from_status(&status);
    }
}

#[test]
fn long_texts_are_cut_to_what_a_header_takes() {
    let error = Error::internal("ä".repeat(100_000)).context("b".repeat(100_000)).with_hint("c");
    let status = to_status(&error);
    assert!(status.details().len() < 9 << 10);
    assert!(from_status(&status).message().starts_with("ää"));
}

#[test]
fn what_the_transport_says_is_a_kind_that_tells_what_to_do() {
    for (code, kind) in [
        (Code::DeadlineExceeded, ErrorKind::Timeout),
        (Code::OutOfRange, ErrorKind::InvalidRequest),
        (Code::Unknown, ErrorKind::Unavailable),
        (Code::Cancelled, ErrorKind::Unavailable),
        (Code::Unimplemented, ErrorKind::InvalidRequest),
    ] {
        assert_eq!(from_status(&Status::new(code, "x")).kind(), kind, "{code:?}");
    }
}
