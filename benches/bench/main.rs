//! `make bench`: loads a TSBS-shaped data set into a server of its own and reports what it cost.
//!
//! Server and loader share the machine, as in the published comparisons; the
//! loader's own CPU time is reported apart. Every figure names its durability class.

mod cluster;
mod generate;
mod load;
mod report;
mod size;

use std::process::ExitCode;

/// What to run; flags are `--name value`.
#[derive(Debug, Clone)]
struct Options {
    hosts: u64,
    hours: u64,
    seed: u64,
    batch: usize,
    workers: usize,
    /// How long an idle cluster is watched.
    idle_s: u64,
}

impl Options {
    fn parse(args: &[String]) -> Result<Self, String> {
        let mut options = Self { hosts: 100, hours: 24, seed: 123, batch: 10_000, workers: 2, idle_s: 300 };
        let mut args = args.iter();
        while let Some(flag) = args.next() {
            if flag == "--bench" {
                continue; // cargo adds it
            }
            let value = args.next().ok_or_else(|| format!("{flag} needs a value"))?;
            let number = value.parse::<u64>().map_err(|error| format!("{flag} {value}: {error}"))?;
            match flag.as_str() {
                "--hosts" => options.hosts = number,
                "--hours" => options.hours = number,
                "--seed" => options.seed = number,
                "--batch" => options.batch = number as usize,
                "--workers" => options.workers = number as usize,
                "--idle-s" => options.idle_s = number,
                _ => return Err(format!("unknown flag {flag}")),
            }
        }
        Ok(options)
    }
}

#[allow(clippy::print_stdout, reason = "a program for people")]
fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let (command, rest) = args.split_first().map_or(("load", &[][..]), |(first, rest)| (first.as_str(), rest));
    let run = || -> Result<String, String> {
        let options = Options::parse(rest)?;
        match command {
            "load" => load::run(&options),
            "size" => size::run(&options),
            "cluster" => cluster::run(&options),
            _ => Err(format!("unknown benchmark '{command}'; load, size and cluster exist")),
        }
    };
    match run() {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}
