//! An S3-compatible bucket.
//!
//! The library's own retries are off: a create that is retried below us can
//! meet its own success and report it as somebody else's object.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::prefix::PrefixStore;
use object_store::{ClientOptions, ObjectStore, RetryConfig};
use serde::{Deserialize, Serialize};
use varve_model::{Error, Reason, Result};

use super::credential::{Connector, Credentials};

#[cfg(test)]
mod tests;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long one request may take; creates have a shorter limit of their own.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Where a bucket is. Credentials come from the environment or the machine, never from here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct S3Config {
    /// URL of the service. Whoever does not use AWS sets it; `http://` is allowed.
    pub endpoint: String,
    /// The bucket. Everybody sets it.
    pub bucket: String,
    /// Region of the bucket.
    pub region: String,
    /// Names below which everything of this cluster is. Whoever shares a bucket sets it.
    pub prefix: String,
    /// Whether the bucket's name is part of the host's. Some services want it.
    pub virtual_hosted: bool,
}

/// Opens a bucket; nothing is sent yet. `credentials`: `None` for keys of the environment.
/// `bulk_delete`: whether the service deletes many objects with one request.
/// Errors: `InvalidRequest` for settings that cannot be used.
pub fn open_s3(
    config: &S3Config,
    credentials: Option<&Credentials>,
    bulk_delete: bool,
) -> Result<Arc<dyn ObjectStore>> {
    let bad = |text: String| Error::invalid(text).with_reason(Reason::BadValue);
    if config.bucket.is_empty() {
        return Err(bad("datanode.s3.bucket is empty".to_owned()));
    }
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(&config.bucket)
        .with_virtual_hosted_style_request(config.virtual_hosted)
        .with_disable_bulk_delete(!bulk_delete)
        .with_client_options(
            ClientOptions::new()
                .with_connect_timeout(CONNECT_TIMEOUT)
                .with_timeout(REQUEST_TIMEOUT)
                .with_allow_http(config.endpoint.starts_with("http://")),
        )
        .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() });
    if let Some(credentials) = credentials {
        let connector = Connector(credentials.clone());
        builder = builder.with_credentials(Arc::new(credentials.clone())).with_http_connector(connector);
    }
    if !config.endpoint.is_empty() {
        builder = builder.with_endpoint(&config.endpoint);
    }
    if !config.region.is_empty() {
        builder = builder.with_region(&config.region);
    }
    let store =
        builder.build().map_err(|error| bad(format!("the bucket cannot be used: {error}")).with_source(error))?;
    if config.prefix.is_empty() {
        return Ok(Arc::new(store));
    }
    Ok(Arc::new(PrefixStore::new(store, config.prefix.as_str())))
}
