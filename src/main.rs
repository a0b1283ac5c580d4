//! `varve`: parse, start, wait, stop.
fn main() {}
