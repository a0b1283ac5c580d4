use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use varve_service::task::Blocking;

use super::*;

#[tokio::test]
async fn a_folder_creates_once_and_lists_behind_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_folder(folder.path().join("deep/data"), TaskSet::new(Blocking::Inline), abort).unwrap();
    assert_eq!(store.list(Some(&Path::from("r"))).try_collect::<Vec<_>>().await.unwrap(), vec![]);
    let create = || PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    for name in ["r/1/m/0", "r/1/m/1", "r/1/m/2"] {
        store.put_opts(&Path::from(name), PutPayload::from_static(b"first"), create()).await.unwrap();
    }
    let again = store.put_opts(&Path::from("r/1/m/1"), PutPayload::from_static(b"second"), create()).await;
    assert!(matches!(again, Err(StoreError::AlreadyExists { .. })));
    assert_eq!(store.get(&Path::from("r/1/m/1")).await.unwrap().bytes().await.unwrap(), "first");
    let behind = store.list_with_offset(Some(&Path::from("r/1/m")), &Path::from("r/1/m/0"));
    let mut names = behind.map_ok(|meta| meta.location.to_string()).try_collect::<Vec<_>>().await.unwrap();
    names.sort();
    assert_eq!(names, ["r/1/m/1", "r/1/m/2"]);
    // Staged files are gone.
    assert_eq!(std::fs::read_dir(folder.path().join("deep/data/r/1/m")).unwrap().count(), 3);
}
