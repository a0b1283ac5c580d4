//! Content codings of request bodies, with hard limits against bombs. What a body inflates to is charged as it grows.

use std::io::Read;

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use varve_model::budget::{Account, Charge};
use varve_model::limits::{BODY_INFLATE_RATIO_MAX, BODY_INFLATED_BYTES_MAX};
use varve_model::{Error, Reason, Result};

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

    /// Decodes a body, whose own charge is the caller's: the one returned is for what it inflates to.
    /// Errors: `InvalidRequest/TooLarge` beyond the limits, `InvalidRequest/BadValue` for a damaged one; `Busy`.
    pub fn decode(self, body: Bytes, memory: &Account) -> Result<(Bytes, Option<Charge>)> {
        match self {
            Self::Identity => Ok((body, None)),
            Self::Gzip if body.is_empty() => Ok((body, None)),
            Self::Gzip => gunzip(&body, memory).map(|(text, charge)| (Bytes::from(text), Some(charge))),
        }
    }
}

fn gunzip(body: &[u8], memory: &Account) -> Result<(Vec<u8>, Charge)> {
    let bytes_max =
        BODY_INFLATED_BYTES_MAX.min((body.len().saturating_mul(BODY_INFLATE_RATIO_MAX)).max(RATIO_FREE_BYTES));
    let mut charge = memory.empty();
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
            return Err(super::body::too_large(format!(
                "the body inflates to more than {bytes_max} bytes ({} bytes as sent)",
                body.len()
            )));
        }
        if read < step {
            return Ok((inflated, charge));
        }
        // One byte more than allowed tells that there is more.
        step = inflated.len().min(bytes_max + 1 - inflated.len());
    }
}
