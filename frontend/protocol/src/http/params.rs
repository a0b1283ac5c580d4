//! Parameters of a request: those in the URL win over those in the form body.

#[cfg(test)]
mod tests;

use axum::body::Body;
use axum::extract::{Form, FromRequest, Query};
use axum::http::Request;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, Uri};
use varve_model::budget::Charge;
use varve_model::{Error, Reason, Result};

use super::App;
use super::body::{self, Received};

/// Names and values; the first value of a name counts.
#[derive(Debug, Default)]
pub struct Params {
    pairs: Vec<Pair>,
    /// For those of a form; a URL is bounded.
    _charge: Option<Charge>,
}

type Pair = (String, String);

const FORM: &str = "application/x-www-form-urlencoded";
/// Parameters of a form: each takes more memory than its bytes.
const PAIRS_MAX: usize = 1000;
/// Bytes of U+FFFD, which stands for a byte that is no UTF-8.
const REPLACEMENT_BYTES: usize = 3;

impl Params {
    /// The parameters in the URL. Errors: `InvalidRequest/BadValue`.
    pub fn of_url(uri: &Uri) -> Result<Self> {
        let query = Query::<Vec<Pair>>::try_from_uri(uri)
            .map_err(|error| Error::invalid(format!("URL parameters: {error}")).with_reason(Reason::BadValue))?;
        Ok(Self { pairs: query.0, _charge: None })
    }

    /// The parameters in URL and form body, charged until they are dropped. Errors: those of [`body::read`],
    /// `InvalidRequest/BadValue`, and `InvalidRequest/TooLarge` for too many.
    pub async fn of(app: &App, request: Request<Body>) -> Result<(Self, HeaderMap)> {
        let (parts, request_body) = request.into_parts();
        let params = Self::of_url(&parts.uri)?;
        let is_form = parts
            .headers
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok())
            .is_some_and(|kind| kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(FORM)));
        if !is_form || parts.method == Method::GET {
            return Ok((params, parts.headers));
        }
        let Received { bytes, mut charge } = body::read(app, &parts.headers, request_body).await?;
        charge.admit(decoded_bytes_max(&bytes)? as u64)?;
        let mut pairs = params.pairs;
        pairs.extend(decode(bytes).await?);
        let held = pairs.iter().map(|pair| size_of_val(pair) + pair.0.capacity() + pair.1.capacity());
        charge.set(held.sum::<usize>() as u64);
        Ok((Self { pairs, _charge: Some(charge) }, parts.headers))
    }

    /// The value of a parameter; an empty one counts as absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }
}

/// Bytes that a form may take when it is decoded. Errors: it has too many parameters.
fn decoded_bytes_max(form: &[u8]) -> Result<usize> {
    let pairs = memchr::memchr_iter(b'&', form).count() + 1;
    if pairs > PAIRS_MAX {
        return Err(body::too_large(format!("the form has more than {PAIRS_MAX} parameters")));
    }
    let text = form.len() * if form.is_ascii() { 1 } else { REPLACEMENT_BYTES };
    Ok(pairs * size_of::<Pair>() + text)
}

async fn decode(form: Bytes) -> Result<Vec<Pair>> {
    let form = Request::builder().method(Method::POST).header(CONTENT_TYPE, FORM).body(Body::from(form));
    let form = form.map_err(|error| Error::internal("a form request is well formed").with_source(error))?;
    let form = Form::<Vec<Pair>>::from_request(form, &())
        .await
        .map_err(|error| Error::invalid(format!("form body: {error}")).with_reason(Reason::BadValue))?;
    Ok(form.0)
}
