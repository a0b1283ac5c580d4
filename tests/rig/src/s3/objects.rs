//! Objects by key, in memory or as files of one folder.
//!
//! A file is staged and synced first and then renamed under the lock that
//! decides conditions, so a create is atomic and survives a kill or power cut.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_128;

/// What a listing knows of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Its length.
    pub bytes: u64,
    /// Hash of the content.
    pub etag: String,
    /// When it was put.
    pub modified: SystemTime,
}

/// When a put may happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Always.
    None,
    /// The key must be free.
    Absent,
    /// The key must hold this content.
    Matches(String),
}

/// Thread-safe.
#[derive(Debug)]
pub struct Objects {
    folder: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    metas: BTreeMap<String, Meta>,
    bodies: BTreeMap<String, Bytes>,
    staged: u64,
}

/// Bytes that are part of a file name as they are; others are written as `%XX`.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)
}

fn file_name(key: &str) -> String {
    key.bytes().map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02x}") }).collect()
}

fn key_of(file_name: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = file_name.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let hex = std::str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(hex, 16).ok()?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok()
}

fn etag(body: &[u8]) -> String {
    format!("{:032x}", xxh3_128(body))
}

impl Objects {
    /// An empty store that ends with the process.
    pub fn in_memory() -> Self {
        Self { folder: None, state: Mutex::default() }
    }

    /// The store that this folder holds. Errors: the folder cannot be used.
    pub fn in_folder(folder: &Path) -> io::Result<Self> {
        let objects = folder.join("objects");
        std::fs::create_dir_all(&objects)?;
        let _ = std::fs::remove_dir_all(folder.join("staged"));
        std::fs::create_dir_all(folder.join("staged"))?;
        let mut state = State::default();
        for entry in std::fs::read_dir(&objects)? {
            let entry = entry?;
            let Some(key) = entry.file_name().to_str().and_then(key_of) else { continue };
            let (body, modified) = (std::fs::read(entry.path())?, entry.metadata()?.modified()?);
            state.metas.insert(key, Meta { bytes: body.len() as u64, etag: etag(&body), modified });
        }
        Ok(Self { folder: Some(folder.to_owned()), state: Mutex::new(state) })
    }

    /// Puts an object. `Ok(None)`: the condition does not hold. Errors: the disk.
    pub fn put(&self, key: &str, body: Bytes, condition: &Condition) -> io::Result<Option<Meta>> {
        let staged = self.stage(&body)?;
        let meta = Meta { bytes: body.len() as u64, etag: etag(&body), modified: now() };
        let mut state = self.state.lock();
        let holds = match condition {
            Condition::None => true,
            Condition::Absent => !state.metas.contains_key(key),
            Condition::Matches(etag) => state.metas.get(key).is_some_and(|meta| meta.etag == *etag),
        };
        match (&staged, &self.folder) {
            (Some(staged), _) if !holds => std::fs::remove_file(staged)?,
            (Some(staged), Some(folder)) => {
                let objects = folder.join("objects");
                std::fs::rename(staged, objects.join(file_name(key)))?;
                std::fs::File::open(objects)?.sync_all()?;
            }
            _ if holds => drop(state.bodies.insert(key.to_owned(), body)),
            _ => {}
        }
        if holds {
            state.metas.insert(key.to_owned(), meta.clone());
        }
        Ok(holds.then_some(meta))
    }

    fn stage(&self, body: &[u8]) -> io::Result<Option<PathBuf>> {
        let Some(folder) = &self.folder else { return Ok(None) };
        let number = {
            let mut state = self.state.lock();
            state.staged += 1;
            state.staged
        };
        let path = folder.join("staged").join(number.to_string());
        let mut file = std::fs::File::create(&path)?;
        file.write_all(body)?;
        file.sync_all()?;
        Ok(Some(path))
    }

    /// An object and what is known of it. Errors: the disk.
    pub fn get(&self, key: &str) -> io::Result<Option<(Bytes, Meta)>> {
        let state = self.state.lock();
        let Some(meta) = state.metas.get(key).cloned() else { return Ok(None) };
        let body = match &self.folder {
            None => state.bodies.get(key).cloned().unwrap_or_default(),
            Some(folder) => std::fs::read(folder.join("objects").join(file_name(key)))?.into(),
        };
        Ok(Some((body, meta)))
    }

    /// What is known of an object.
    pub fn head(&self, key: &str) -> Option<Meta> {
        self.state.lock().metas.get(key).cloned()
    }

    /// Deletes an object, if it is there. Errors: the disk.
    pub fn delete(&self, key: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.metas.remove(key).is_some()
            && let Some(folder) = &self.folder
        {
            std::fs::remove_file(folder.join("objects").join(file_name(key)))?;
        }
        state.bodies.remove(key);
        Ok(())
    }

    /// Keys with this prefix that come after `after`, sorted.
    pub fn list(&self, prefix: &str, after: Option<&str>) -> Vec<(String, Meta)> {
        let state = self.state.lock();
        let from = after.unwrap_or_default().max(prefix);
        state
            .metas
            .range(from.to_owned()..)
            .take_while(|(key, _)| key.starts_with(prefix) || key.as_str() < prefix)
            .filter(|(key, _)| key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after))
            .map(|(key, meta)| (key.clone(), meta.clone()))
            .collect()
    }
}

#[allow(clippy::disallowed_methods, reason = "a real server outside varve's seams")]
fn now() -> SystemTime {
    SystemTime::now()
}
