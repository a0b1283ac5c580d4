//! Log lines on standard error: one error, one line.

use tracing_subscriber::EnvFilter;
use varve_model::{Error, Reason, Result};

#[cfg(test)]
mod tests;

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines.
    Json,
}

/// Reads a filter: levels, for all or per target. Errors: `InvalidRequest/BadValue`.
pub fn filter(text: &str) -> Result<EnvFilter> {
    EnvFilter::try_new(text).map_err(|error| {
        Error::invalid(format!("log.filter '{text}' cannot be read: {error}"))
            .with_reason(Reason::BadValue)
            .with_hint("a level (error, warn, info, debug, trace), or target=level, joined by commas")
    })
}

/// Installs the process's subscriber. A second call changes nothing (tests share a process).
pub fn install(filter: EnvFilter, format: LogFormat) {
    // Whoever reads the lines may be gone: a line that cannot be written is lost, and does not end the process.
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let builder = builder.log_internal_errors(false);
    let installed = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    drop(installed);
}
