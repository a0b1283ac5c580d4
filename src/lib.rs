//! Wiring: the only place that knows all roles.

pub mod args;
pub mod config;
mod memory;
pub mod role;
pub mod standalone;
pub mod version;

use std::path::Path;
use std::time::Duration;

use args::{Args, Command, Overrides};
use config::Config;
use standalone::{Adapter, Standalone};
use varve_model::{Error, Result};
use varve_service::shutdown::Signals;
use varve_service::task::{Blocking, TaskSet};
use varve_service::telemetry::logs;

/// Runs a command to its end.
pub fn run(args: Args) -> Result<()> {
    match args.command {
        Command::Config(flags) => print_config(&Config::load(flags.config.as_deref(), &flags.overrides())?),
        Command::Standalone(flags) => serve(flags.config.as_deref(), &flags.overrides(), standalone),
        Command::Metasrv(flags) => serve(flags.config.as_deref(), &flags.overrides(), role::metasrv::run),
        Command::Datanode(flags) => serve(flags.config.as_deref(), &flags.overrides(), role::datanode::run),
        Command::Frontend(flags) => serve(flags.config.as_deref(), &flags.overrides(), role::frontend::run),
    }
}

/// Stack of a thread: the deepest statement that is taken needs 8 MiB in a debug build. Pages are used when they are
/// touched.
const STACK_BYTES: usize = 16 << 20;

/// How long the process stays for work on threads of their own that a role left behind: reading a log, say.
const LEFTOVERS_MAX: Duration = Duration::from_secs(3);

/// Runs a role with the settings in force, to its end.
fn serve<F: Future<Output = Result<()>>>(
    file: Option<&Path>,
    flags: &Overrides,
    role: impl FnOnce(Config, Signals) -> F,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(STACK_BYTES)
        .build()
        .map_err(|error| Error::internal("cannot start the runtime").with_source(error))?;
    let signals = {
        let _inside = runtime.enter();
        Signals::take()?
    };
    let config = Config::load(file, flags)?;
    logs::install(logs::filter(&config.log.filter)?, config.log.format);
    let ended = runtime.block_on(role(config, signals));
    runtime.shutdown_timeout(LEFTOVERS_MAX);
    ended
}

async fn standalone(config: Config, mut signals: Signals) -> Result<()> {
    let tasks = TaskSet::new(Blocking::Threads);
    let starting = Standalone::start(config, Adapter::InProcess);
    let Some(node) = role::unless_stopped(&tasks, &mut signals, starting).await? else { return Ok(()) };
    node.print_welcome();
    let signal = signals.stop().await;
    tracing::info!(signal, "stopping");
    node.stop().await;
    Ok(())
}

#[allow(clippy::print_stdout, reason = "the command's answer")]
fn print_config(config: &Config) -> Result<()> {
    let text = toml::to_string_pretty(config)
        .map_err(|error| Error::internal("settings cannot be shown").with_source(error))?;
    println!("{text}");
    Ok(())
}
