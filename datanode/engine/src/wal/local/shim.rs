//! A disk in memory that forgets what was not synced, as a power cut does.
//!
//! Each file has the bytes the process sees and the bytes the platter has.
//! A power cut keeps, drops or tears every 4 KiB page written since the last
//! sync, by sectors of 512 bytes; names come back as the last folder sync left them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

const SECTOR: usize = 512;
const PAGE: usize = 4096;

/// A folder in memory. Cheap to clone; clones are the same folder.
#[derive(Clone, Debug, Default)]
pub struct SimDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<u64, Inode>,
    names: BTreeMap<String, u64>,
    names_durable: BTreeMap<String, u64>,
    next: u64,
    /// Counts processes; a lock of an earlier one is void.
    boot: u64,
    locked: bool,
    sync_failures: u32,
    bytes_max: Option<u64>,
    syncs: u64,
}

#[derive(Debug, Default)]
struct Inode {
    cached: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
}

/// An open file of a [`SimDisk`].
#[derive(Debug)]
pub struct SimFile {
    disk: SimDisk,
    inode: u64,
}

/// The lock of a [`SimDisk`].
#[derive(Debug)]
pub struct SimLock {
    disk: SimDisk,
    boot: u64,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.disk.0.lock();
        if state.boot == self.boot {
            state.locked = false;
        }
    }
}

impl SimDisk {
    /// An empty folder.
    pub fn new() -> Self {
        Self::default()
    }

    /// The process dies: what it wrote stays visible to the next one.
    pub fn kill(&self) {
        let mut state = self.0.lock();
        state.boot += 1;
        state.locked = false;
    }

    /// The machine loses power: what was not synced may be gone, page by page as the seed decides.
    pub fn power_loss(&self, seed: u64) {
        self.kill();
        let mut state = self.0.lock();
        state.names = state.names_durable.clone();
        let live = state.names.values().copied().collect::<BTreeSet<_>>();
        state.files.retain(|inode, _| live.contains(inode));
        let mut random = Random(seed);
        for inode in state.files.values_mut() {
            inode.lose(&mut random);
        }
    }

    /// The next `count` syncs fail, and lose what they should have written, as Linux may.
    pub fn fail_syncs(&self, count: u32) {
        self.0.lock().sync_failures = count;
    }

    /// Limits the bytes of all files; `None` lifts the limit.
    pub fn set_bytes_max(&self, bytes: Option<u64>) {
        self.0.lock().bytes_max = bytes;
    }

    /// File syncs so far.
    pub fn syncs(&self) -> u64 {
        self.0.lock().syncs
    }

    /// Flips one bit of what is stored.
    pub fn flip(&self, name: &str, bit: u64) {
        let mut state = self.0.lock();
        let inode = state.names[name];
        let inode = state.files.get_mut(&inode).expect("every name has a file");
        for bytes in [&mut inode.cached, &mut inode.durable] {
            if let Some(byte) = bytes.get_mut((bit / 8) as usize) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }

    /// Writes as a process that dies before its sync.
    pub fn write_unsynced(&self, name: &str, offset: u64, bytes: &[u8]) {
        let inode = self.0.lock().names[name];
        let file = SimFile { disk: self.clone(), inode };
        let _ = file.write_at(offset, bytes);
    }

    pub(super) fn lock(&self) -> Option<SimLock> {
        let mut state = self.0.lock();
        if state.locked {
            return None;
        }
        state.locked = true;
        Some(SimLock { disk: self.clone(), boot: state.boot })
    }

    pub(super) fn list(&self) -> Vec<(String, u64)> {
        let state = self.0.lock();
        state.names.iter().map(|(name, inode)| (name.clone(), state.files[inode].cached.len() as u64)).collect()
    }

    pub(super) fn read(&self, name: &str, offset: u64, len: u64) -> io::Result<Vec<u8>> {
        let state = self.0.lock();
        let inode = state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        let bytes = &state.files[inode].cached;
        let start = bytes.len().min(offset as usize);
        let end = bytes.len().min(start.saturating_add(len as usize));
        Ok(bytes[start..end].to_vec())
    }

    pub(super) fn create(&self, name: &str, bytes: u64) -> io::Result<SimFile> {
        let mut state = self.0.lock();
        let used = state.files.values().map(|file| file.cached.len() as u64).sum::<u64>();
        if state.bytes_max.is_some_and(|max| used + bytes > max) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let inode = state.next;
        state.next += 1;
        let room = vec![0; bytes as usize];
        state.files.insert(inode, Inode { cached: room.clone(), durable: room, dirty: BTreeSet::new() });
        state.names.insert(name.to_owned(), inode);
        Ok(SimFile { disk: self.clone(), inode })
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        let inode = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), inode);
        Ok(())
    }

    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        self.0.lock().names.remove(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(())
    }

    pub(super) fn sync_folder(&self) {
        let mut state = self.0.lock();
        state.names_durable = state.names.clone();
        let live = state.names.values().copied().collect::<BTreeSet<_>>();
        state.files.retain(|inode, _| live.contains(inode));
    }
}

impl SimFile {
    pub(super) fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        let used = state.files.values().map(|file| file.cached.len()).sum::<usize>();
        let bytes_max = state.bytes_max;
        let Some(inode) = state.files.get_mut(&self.inode) else { return Ok(()) };
        let (start, end) = (offset as usize, offset as usize + bytes.len());
        let more = end.saturating_sub(inode.cached.len());
        if more > 0 && bytes_max.is_some_and(|max| (used + more) as u64 > max) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if inode.cached.len() < end {
            inode.cached.resize(end, 0);
        }
        inode.cached[start..end].copy_from_slice(bytes);
        inode.dirty.extend(start / SECTOR..end.div_ceil(SECTOR));
        Ok(())
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        state.syncs += 1;
        let fails = state.sync_failures > 0;
        state.sync_failures = state.sync_failures.saturating_sub(1);
        let Some(inode) = state.files.get_mut(&self.inode) else { return Ok(()) };
        inode.dirty.clear();
        if fails {
            return Err(io::Error::other("simulated sync failure"));
        }
        inode.durable.clone_from(&inode.cached);
        Ok(())
    }

    pub(super) fn set_len(&self, len: u64) {
        let mut state = self.disk.0.lock();
        if let Some(inode) = state.files.get_mut(&self.inode) {
            inode.cached.resize(len as usize, 0);
        }
    }
}

impl Inode {
    fn lose(&mut self, random: &mut Random) {
        let dirty = std::mem::take(&mut self.dirty);
        // The size is metadata: a journal has it, or not.
        let len = if random.below(2) == 0 { self.cached.len() } else { self.durable.len() };
        let mut platter = std::mem::take(&mut self.durable);
        platter.resize(platter.len().max(self.cached.len()), 0);
        let mut pages = BTreeMap::<usize, Vec<usize>>::new();
        for sector in dirty {
            pages.entry(sector * SECTOR / PAGE).or_default().push(sector);
        }
        for sectors in pages.into_values() {
            let fate = random.below(3);
            for sector in sectors {
                let kept = fate == 0 || (fate == 1 && random.below(2) == 0);
                if kept {
                    let (start, end) = (sector * SECTOR, ((sector + 1) * SECTOR).min(self.cached.len()));
                    if start < end {
                        platter[start..end].copy_from_slice(&self.cached[start..end]);
                    }
                }
            }
        }
        platter.truncate(len);
        self.durable.clone_from(&platter);
        self.cached = platter;
    }
}

/// splitmix64, so that a seed decides a power cut wherever it is called from.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}
