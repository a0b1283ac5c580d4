//! Sees which requests the bucket refused.
//!
//! The library asks for a credential before each request and tells nobody
//! what became of it, so the answer is looked at where it arrives.

use async_trait::async_trait;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};

use super::Credentials;

/// HTTP whose refusals have the credentials fetched again.
#[derive(Debug)]
pub(in crate::store) struct Connector(pub(in crate::store) Credentials);

#[derive(Debug)]
struct Service {
    client: HttpClient,
    credentials: Credentials,
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Service { client, credentials: self.0.clone() }))
    }
}

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let response = self.client.execute(request).await?;
        // AWS answers 400 when a session's token has expired.
        if matches!(response.status().as_u16(), 400 | 401 | 403) {
            self.credentials.refused();
        }
        Ok(response)
    }
}
