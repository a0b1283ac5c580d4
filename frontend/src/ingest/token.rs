//! The key of a request's idempotency tokens.

use varve_model::batch::{Bytes, Values, Vector};
use varve_model::rows::Rows;
use varve_protocol::session::Session;
use xxhash_rust::xxh3::Xxh3;

/// A key for the request, when the client gave one: hash of its key with user, database and rows.
///
/// Another body under the same client key gets another token, so that it is never taken for a repeat.
pub(super) fn request_key(session: &Session, rows: &Rows) -> Option<u128> {
    let client = session.idempotency_key.as_deref()?;
    let mut hash = Xxh3::with_seed(0);
    for text in [client, &session.user, &session.database] {
        put(&mut hash, text.as_bytes());
    }
    for table in &rows.tables {
        put(&mut hash, table.table.as_bytes());
        for (&slot, &ts) in table.series.iter().zip(&table.ts) {
            put(&mut hash, table.keys.get(slot));
            hash.update(&ts.to_le_bytes());
        }
        for field in &table.fields {
            put(&mut hash, field.name.as_bytes());
            put_vector(&mut hash, &field.vector);
        }
    }
    Some(hash.digest128())
}

/// Length first, so that neighbours cannot trade bytes.
fn put(hash: &mut Xxh3, bytes: &[u8]) {
    hash.update(&(bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

fn put_vector(hash: &mut Xxh3, vector: &Vector) {
    let bytes = |hash: &mut Xxh3, values: &Bytes| {
        put(hash, &values.data);
        values.ends.iter().for_each(|end| hash.update(&end.to_le_bytes()));
    };
    match &vector.values {
        Values::F64(values) => values.iter().for_each(|value| hash.update(&value.to_bits().to_le_bytes())),
        Values::I64(values) => values.iter().for_each(|value| hash.update(&value.to_le_bytes())),
        Values::U64(values) => values.iter().for_each(|value| hash.update(&value.to_le_bytes())),
        Values::Bool(values) => values.iter().for_each(|value| hash.update(&[u8::from(*value)])),
        Values::String(values) | Values::Json(values) | Values::Binary(values) => bytes(hash, values),
    }
    for word in vector.validity.iter().flat_map(|validity| validity.words()) {
        hash.update(&word.to_le_bytes());
    }
}
