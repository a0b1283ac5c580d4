//! Who may write.
//!
//! Every transaction compares the create revision of the leader key. A store
//! that one process holds alone is led by whoever opened it last; an election
//! among several processes replaces [`seize`] and nothing else.

use std::sync::Arc;

use varve_model::{Error, Result};

use crate::kv::key::{self, Key, LeaderKey, LeaderRecord};
use crate::kv::{Compare, KvStore, Op, Records, Txn};

/// Times that [`seize`] tries again when another one comes between.
const TRIES_MAX: usize = 16;

/// Makes this process the leader, deposing whoever was. Errors: `Unavailable`.
pub(crate) async fn seize(kv: Arc<dyn KvStore>, name: &str, now_ms: i64) -> Result<Records> {
    let text = LeaderKey.text();
    let value = key::encode(&LeaderKey, &LeaderRecord { name: name.to_owned(), since_ms: now_ms })?;
    for _ in 0..TRIES_MAX {
        if let Some(old) = kv.get(&text).await? {
            // Two steps, because a put on an existing key would keep its create revision.
            let compares = vec![Compare::Created(text.clone(), old.create_revision)];
            kv.txn(Txn { compares, ops: vec![Op::Delete(text.clone())] }).await?;
        }
        let txn =
            Txn { compares: vec![Compare::Created(text.clone(), 0)], ops: vec![Op::Put(text.clone(), value.clone())] };
        let reply = kv.txn(txn).await?;
        if reply.succeeded {
            return Ok(Records::new(kv, reply.revision));
        }
    }
    Err(Error::unavailable("another metasrv keeps taking the leadership of this store"))
}
