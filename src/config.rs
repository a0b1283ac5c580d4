//! All settings of a process: one file, one section per role.

use std::path::Path;

use serde::{Deserialize, Serialize};
use varve_model::Result;
use varve_service::config;
use varve_service::telemetry::logs::LogFormat;

use crate::args::Overrides;

#[cfg(test)]
mod tests;

/// The settings in force. docs/config.md lists the keys.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What is logged, and how.
    pub log: Log,
    /// Clients' side.
    pub frontend: varve_frontend::FrontendConfig,
    /// Storage side.
    pub datanode: varve_datanode::DatanodeConfig,
    /// Catalog side.
    pub metasrv: varve_metasrv::Config,
}

/// What is logged, and how.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Levels in the syntax of `tracing_subscriber::EnvFilter`. Whoever looks for a fault raises it.
    pub filter: String,
    /// For people or for machines. Whoever collects logs sets `json`.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogFormat::Text }
    }
}

impl Config {
    /// Defaults < file < environment < flags. Errors: `InvalidRequest` naming the key.
    pub fn load(file: Option<&Path>, flags: &Overrides) -> Result<Self> {
        config::load(file, flags)
    }
}
