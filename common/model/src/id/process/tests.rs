use super::*;

#[test]
fn a_process_names_its_frontend_and_fits_a_positive_signed_number() {
    for (frontend, connection, expected) in [(1, 0, 1 << 21), (1, 1 << 21, 1 << 21), (1023, u32::MAX, i32::MAX as u32)]
    {
        let process = ProcessId::new(FrontendId(frontend), connection);
        assert_eq!((process.0, process.frontend()), (expected, FrontendId(frontend)));
        assert!(i32::try_from(process.0).is_ok());
    }
}
