//! Settings: defaults < file < environment < flags.

use std::path::Path;

use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::Serialize;
use serde::de::DeserializeOwned;
use varve_model::{Error, Reason, Result};

#[cfg(test)]
mod tests;

/// Prefix of environment variables; `VARVE_DATANODE__LINGER_MS` sets `datanode.linger_ms`.
pub const ENV_PREFIX: &str = "VARVE_";

/// Loads settings. Errors: `InvalidRequest` naming file and key.
pub fn load<T>(file: Option<&Path>, flags: &impl Serialize) -> Result<T>
where
    T: Default + Serialize + DeserializeOwned,
{
    let mut figment = Figment::from(Serialized::defaults(T::default()));
    if let Some(path) = file {
        if !path.is_file() {
            return Err(Error::not_found(format!("configuration file {} not found", path.display())));
        }
        figment = figment.merge(Toml::file_exact(path));
    }
    figment
        // Every setting is in a section; `VARVE_SEED` and the like belong to tests and tools.
        .merge(Env::prefixed(ENV_PREFIX).filter(|key| key.as_str().contains("__")).split("__"))
        .merge(Serialized::defaults(flags))
        .extract()
        .map_err(|error| Error::invalid(format!("configuration: {error}")).with_reason(Reason::BadValue))
}
