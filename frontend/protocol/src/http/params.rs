//! Parameters of a request: those in the URL win over those in the form body.

use axum::body::Body;
use axum::extract::{Form, FromRequest, Query};
use axum::http::Request;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, Uri};
use varve_model::{Error, Reason, Result};

use super::{App, body};

/// Names and values; the first value of a name counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params(Vec<(String, String)>);

const FORM: &str = "application/x-www-form-urlencoded";

impl Params {
    /// The parameters in the URL. Errors: `InvalidRequest/BadValue`.
    pub fn of_url(uri: &Uri) -> Result<Self> {
        let query = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|error| Error::invalid(format!("URL parameters: {error}")).with_reason(Reason::BadValue))?;
        Ok(Self(query.0))
    }

    /// The parameters in URL and form body. Errors: those of [`body::read`], and `InvalidRequest/BadValue`.
    pub async fn of(app: &App, request: Request<Body>) -> Result<(Self, HeaderMap)> {
        let (parts, request_body) = request.into_parts();
        let mut params = Self::of_url(&parts.uri)?;
        let is_form = parts
            .headers
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok())
            .is_some_and(|kind| kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(FORM)));
        if is_form && parts.method != Method::GET {
            let received = body::read(app, &parts.headers, request_body).await?;
            let form =
                Request::builder().method(Method::POST).header(CONTENT_TYPE, FORM).body(Body::from(received.bytes));
            let form = form.map_err(|error| Error::internal("a form request is well formed").with_source(error))?;
            let form = Form::<Vec<(String, String)>>::from_request(form, &())
                .await
                .map_err(|error| Error::invalid(format!("form body: {error}")).with_reason(Reason::BadValue))?;
            params.0.extend(form.0);
        }
        Ok((params, parts.headers))
    }

    /// The value of a parameter; an empty one counts as absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }
}
