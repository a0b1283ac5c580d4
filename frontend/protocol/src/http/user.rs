//! The user's name in a request's headers, and never the secret beside it.
//!
//! Nobody is authenticated: whoever names a user is taken at his word, as on
//! the other wires, and a header that cannot be read names nobody.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde::Deserialize;

#[cfg(test)]
mod tests;

/// The name in `x-greptime-auth`, else in `Authorization`: `Basic` and the schemes of InfluxDB's tokens.
pub(super) fn of_headers(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("x-greptime-auth").or_else(|| headers.get(AUTHORIZATION))?.to_str().ok()?;
    let (scheme, credentials) = value.trim().split_once(' ')?;
    let credentials = credentials.trim();
    let name = match scheme.to_ascii_lowercase().as_str() {
        "basic" => before_colon(&String::from_utf8_lossy(&base64(credentials)?)),
        // A token without a colon is a secret as a whole.
        "token" => before_colon(credentials),
        "bearer" => before_colon(credentials).or_else(|| of_claims(credentials)),
        _ => None,
    };
    name.filter(|name| !name.is_empty())
}

fn before_colon(text: &str) -> Option<String> {
    text.split_once(':').map(|(name, _)| name.to_owned())
}

/// Claims that name the user of a JSON web token.
#[derive(Deserialize)]
struct Claims {
    /// InfluxDB 1's.
    username: Option<String>,
    /// The standard's.
    sub: Option<String>,
}

/// The name in the middle part of a JSON web token; its signature is not looked at.
fn of_claims(token: &str) -> Option<String> {
    let mut parts = token.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    let claims = serde_json::from_slice::<Claims>(&base64(claims)?).ok()?;
    claims.username.or(claims.sub)
}

/// The bytes of a text in either alphabet, padded or not.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let (mut bits, mut count) = (0_u32, 0);
    for letter in text.trim_end_matches('=').bytes() {
        let six = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(six);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Some(bytes)
}
