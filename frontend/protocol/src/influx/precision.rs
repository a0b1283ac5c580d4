//! Units of timestamps, by the names each version takes.

/// The version of the write API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// `/write`.
    V1,
    /// `/api/v2/write`.
    V2,
}

const MICRO: i64 = 1_000;
const MILLI: i64 = 1_000_000;
const SECOND: i64 = 1_000_000_000;

/// Nanoseconds per unit. Errors: the text for the client.
pub fn scale_nanos(api: Api, precision: Option<&str>) -> Result<i64, String> {
    let Some(text) = precision else { return Ok(1) };
    let scale = match (api, text) {
        (_, "ns") | (Api::V1, "n") => Some(1),
        (_, "us") | (Api::V1, "u" | "\u{b5}" | "\u{3bc}") => Some(MICRO),
        (_, "ms") => Some(MILLI),
        (_, "s") => Some(SECOND),
        (Api::V1, "m") => Some(60 * SECOND),
        (Api::V1, "h") => Some(3600 * SECOND),
        _ => None,
    };
    scale.ok_or_else(|| match api {
        Api::V1 => format!("invalid precision \"{text}\" (use n, u, ms, s, m or h)"),
        Api::V2 => format!("invalid precision \"{text}\"; valid precision units are ns, us, ms, and s"),
    })
}
