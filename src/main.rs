//! `varve`: parse, load the settings, start, wait for the signal, stop in order.

use std::process::ExitCode;

use clap::Parser;
use varve::args::Args;

fn main() -> ExitCode {
    match varve::run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("varve: {error}");
            if let Some(hint) = error.hint() {
                eprintln!("hint: {hint}");
            }
            ExitCode::FAILURE
        }
    }
}
