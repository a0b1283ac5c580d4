//! Wiring: the only place that knows all roles.

pub mod args;
pub mod config;
mod memory;
pub mod role;
pub mod standalone;
pub mod version;

use std::path::Path;

use args::{Args, Command, Overrides};
use config::Config;
use standalone::{Adapter, Standalone};
use varve_model::{Error, Result};
use varve_service::{shutdown, telemetry};

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

/// Runs a role with the settings in force, to its end.
fn serve<F: Future<Output = Result<()>>>(
    file: Option<&Path>,
    flags: &Overrides,
    role: impl FnOnce(Config) -> F,
) -> Result<()> {
    let config = Config::load(file, flags)?;
    telemetry::logs::install(&config.log.filter, config.log.format);
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Error::internal("cannot start the runtime").with_source(error))?;
    runtime.block_on(role(config))
}

async fn standalone(config: Config) -> Result<()> {
    let node = Standalone::start(config, Adapter::InProcess).await?;
    node.print_welcome();
    let signal =
        shutdown::requested().await.map_err(|error| Error::internal("cannot wait for signals").with_source(error))?;
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
