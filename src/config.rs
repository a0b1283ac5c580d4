//! All settings of a process: one file, one section per role.

use std::path::Path;

use serde::{Deserialize, Serialize};
use varve_model::{Error, Reason, Result};
use varve_service::config;
use varve_service::telemetry::logs::{self, LogFormat};

use crate::args::Overrides;

#[cfg(test)]
mod tests;

/// The settings in force. docs/config.md lists the keys.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What is logged, and how.
    pub log: Log,
    /// Who this process is.
    pub node: Node,
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

/// Who a process is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Node {
    /// What `/status` calls this process, and its peers do in their logs. Whoever runs several gives each its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Bytes of a node's name: what Kubernetes allows for the name of a pod.
const NODE_NAME_BYTES_MAX: usize = 253;

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogFormat::Text }
    }
}

impl Config {
    /// Defaults < file < environment < flags. Errors: `InvalidRequest` naming the key.
    pub fn load(file: Option<&Path>, flags: &Overrides) -> Result<Self> {
        let config = config::load::<Self>(file, flags)?;
        logs::filter(&config.log.filter)?;
        if let Some(name) = &config.node.name
            && (name.is_empty() || name.len() > NODE_NAME_BYTES_MAX || name.contains(|l: char| !l.is_ascii_graphic()))
        {
            let text = format!("node.name {name:?} must be 1 to {NODE_NAME_BYTES_MAX} visible ASCII characters");
            return Err(Error::invalid(text).with_reason(Reason::BadValue));
        }
        Ok(config)
    }

    /// The node's name, or what it is called without one.
    pub(crate) fn name_or(&self, unnamed: impl FnOnce() -> String) -> String {
        self.node.name.clone().unwrap_or_else(unnamed)
    }
}
