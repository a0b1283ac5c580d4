//! Idempotency tokens: what they are made of, so that a repeated request has those of its first try.
//!
//! Only what the client sent counts. Rows are more than that: those without a
//! timestamp get the time of their arrival, and INSERT computes values; so
//! bodies and texts are hashed and rows are not. Nothing of routes or of the
//! schema counts either, as both may change between two tries.

use varve_model::id::Token;
use varve_model::value::Value;
use varve_model::{Error, Result};
use varve_protocol::gateway::{Refused, RefusedCause};
use varve_protocol::session::Session;
use xxhash_rust::xxh3::Xxh3;

/// The key of a write's tokens, when the client gave one.
///
/// Another body under the same client key gets another token, so that it is never taken for a repeat.
pub(super) fn write_key(session: &Session) -> Result<Option<u128>> {
    match (&session.idempotency_key, session.body) {
        (None, _) => Ok(None),
        (Some(client), Some(body)) => Ok(Some(key(client, session, &[b"write", &body.to_le_bytes()]))),
        (Some(_), None) => Err(Error::internal("a request with an Idempotency-Key has no hash of its body")),
    }
}

/// The key of the tokens of a text's statement, which is the `number`th of it, when the client gave one.
pub(crate) fn statement_key(session: &Session, text: &str, params: &[Value], number: usize) -> Option<u128> {
    let client = session.idempotency_key.as_deref()?;
    let (params, number) = (format!("{params:?}"), (number as u64).to_le_bytes());
    let zone = session.time_zone.as_bytes();
    Some(key(client, session, &[b"sql", text.as_bytes(), params.as_bytes(), zone, &number]))
}

fn key(client: &str, session: &Session, parts: &[&[u8]]) -> u128 {
    let mut hash = Xxh3::with_seed(0);
    let names = [client, &session.user, &session.database].map(str::as_bytes);
    for part in names.iter().chain(parts) {
        // Length first, so that neighbours cannot trade bytes.
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.digest128()
}

/// The token of a chunk of which some rows were refused.
///
/// A later try may find more of its rows fit: a column was dropped, the clock went on. Then it is no repeat,
/// or those rows would be acknowledged and not stored. Rows only grow too old, so they count as sent.
pub(super) fn of_kept(token: Token, refused: &[Refused]) -> Token {
    let mut misfits = refused.iter().filter(|row| row.cause != RefusedCause::Expired).peekable();
    if misfits.peek().is_none() {
        return token;
    }
    let mut origins = misfits.map(|row| row.origin).collect::<Vec<_>>();
    origins.sort_unstable();
    let mut hash = Xxh3::with_seed(0);
    hash.update(&token.0);
    for origin in origins {
        hash.update(&origin.to_le_bytes());
    }
    Token(hash.digest128().to_le_bytes())
}
