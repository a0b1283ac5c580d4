//! Content codings of request bodies, with hard limits against bombs. What a body inflates to is charged as it grows.

use std::io::Read;

use flate2::bufread::MultiGzDecoder;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use varve_model::budget::Charge;
use varve_model::limits::{BODY_INFLATE_RATIO_MAX, BODY_INFLATED_BYTES_MAX};
use varve_model::{Error, Reason, Result};

use super::body::{self, Received};

/// How a body is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// As it is.
    Identity,
    /// gzip, of one or more members.
    Gzip,
}

/// Bytes that a body is inflated by at first.
const STEP_BYTES_MIN: usize = 4 << 10;
/// Bytes up to which the ratio is not judged: small texts compress well.
const RATIO_FREE_BYTES: usize = 1 << 20;

impl Coding {
    /// The coding the headers name. Errors: `InvalidRequest/Unsupported`.
    pub fn of(headers: &HeaderMap) -> Result<Self> {
        let Some(value) = headers.get(CONTENT_ENCODING) else { return Ok(Self::Identity) };
        let name = String::from_utf8_lossy(value.as_bytes()).trim().to_ascii_lowercase();
        match name.as_str() {
            "" | "identity" => Ok(Self::Identity),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            _ => Err(Error::unsupported(format!("content encoding '{name}' is not supported"))
                .with_hint("send the body as it is, or as gzip")),
        }
    }

    /// Decodes a body; its charge grows by what it inflates to.
    /// Errors: `InvalidRequest/TooLarge` beyond the limits, `InvalidRequest/BadValue` for a damaged one; `Busy`.
    pub fn decode(self, mut received: Received) -> Result<Received> {
        if self == Self::Gzip && !received.bytes.is_empty() {
            received.bytes = gunzip(&received.bytes, &mut received.charge)?.into();
        }
        Ok(received)
    }
}

fn gunzip(body: &[u8], charge: &mut Charge) -> Result<Vec<u8>> {
    let bytes_max =
        BODY_INFLATED_BYTES_MAX.min((body.len().saturating_mul(BODY_INFLATE_RATIO_MAX)).max(RATIO_FREE_BYTES));
    let mut inflated = Vec::new();
    let mut reader = MultiGzDecoder::new(body);
    // Texts inflate to about four times their size.
    let mut step = (body.len() * 4).clamp(STEP_BYTES_MIN, bytes_max + 1);
    loop {
        charge.admit(step as u64)?;
        inflated.reserve_exact(step);
        let read = reader.by_ref().take(step as u64).read_to_end(&mut inflated).map_err(|error| {
            let text = match error.kind() {
                std::io::ErrorKind::UnexpectedEof => "unexpected EOF".to_owned(),
                _ => format!("gzip: {error}"),
            };
            Error::invalid(text).with_reason(Reason::BadValue)
        })?;
        if inflated.len() > bytes_max {
            return Err(body::too_large(format!(
                "the body inflates to more than {bytes_max} bytes ({} bytes as sent)",
                body.len()
            )));
        }
        if read < step {
            return Ok(inflated);
        }
        // One byte more than allowed tells that there is more.
        step = inflated.len().min(bytes_max + 1 - inflated.len());
    }
}
