//! Deletes objects that nobody needs, a few at a time, and says which are left.

use futures::{StreamExt, stream};
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt};
use varve_model::Error;
use varve_service::clock::SharedClock;

use super::create::ATTEMPT;

/// Deletes on their way at once.
const AT_ONCE: usize = 8;

/// Deletes objects, one attempt each; those that are gone already are fine. Returns those that may still be there.
pub async fn delete_paths(store: &dyn ObjectStore, clock: &SharedClock, paths: &[Path]) -> Vec<(Path, Error)> {
    let deletes = stream::iter(paths.iter().cloned()).map(|path| async move {
        let limit = clock.sleep(ATTEMPT);
        let deleted = tokio::select! {
            biased;
            deleted = store.delete(&path) => deleted.map_err(Some),
            () = limit => Err(None),
        };
        match deleted {
            Ok(()) | Err(Some(StoreError::NotFound { .. })) => None,
            Err(Some(error)) => {
                let text = format!("cannot delete {path}: {error}");
                Some((path, Error::unavailable(text).with_source(error)))
            }
            Err(None) => {
                let text = format!("cannot delete {path}: no answer");
                Some((path, Error::unavailable(text)))
            }
        }
    });
    deletes.buffered(AT_ONCE).filter_map(std::future::ready).collect().await
}
