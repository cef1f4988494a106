//! A disk for tests, in memory: it fails when told to, and a crash loses any subset of unsynced 4 KiB pages and any tail of unsynced folder changes.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::storage::{File, Storage};

const PAGE: usize = 4096;

/// Clones share the disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct FaultyDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    files: Vec<Content>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// Folder states since the last sync, oldest first.
    pending_names: Vec<BTreeMap<String, usize>>,
    /// Writes and syncs until the next one fails, and how.
    fault: Option<(u64, Fault)>,
    calls: u64,
    /// After a power cut no call does anything any more.
    dead: bool,
    /// No file can grow.
    full: bool,
}

#[derive(Debug, Default)]
struct Content {
    cached: Vec<u8>,
    synced: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Eio,
    ShortWrite,
    NoSpace,
    /// The power goes at this call; see `after_crash`.
    PowerCut,
}

impl FaultyDisk {
    /// The call (counted over all but `len`) that fails.
    pub(crate) fn fail_at(&self, call: u64, fault: Fault) {
        self.0.lock().fault = Some((call, fault));
    }

    pub(crate) fn set_full(&self, full: bool) {
        self.0.lock().full = full;
    }

    pub(crate) fn calls(&self) -> u64 {
        self.0.lock().calls
    }

    /// What a machine finds after the power came back: each unsynced page is there or not, as the seed says.
    pub(crate) fn after_crash(&self, seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let state = self.0.lock();
        let survived = random.random_range(0..=state.pending_names.len());
        let names = survived.checked_sub(1).map_or(&state.durable_names, |last| &state.pending_names[last]).clone();
        let files = state.files.iter().map(|content| content.after_crash(&mut random)).collect();
        Self(Arc::new(Mutex::new(State { files, durable_names: names.clone(), names, ..State::default() })))
    }

    /// Changes bytes behind everyone's back.
    pub(crate) fn edit(&self, name: &str, edit: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.0.lock();
        let index = state.names[name];
        let content = &mut state.files[index];
        edit(&mut content.cached);
        content.synced.clone_from(&content.cached);
    }

    pub(crate) fn copy(&self) -> Self {
        let state = self.0.lock();
        let files = state.files.iter().map(|content| Content { cached: content.cached.clone(), synced: content.cached.clone() }).collect();
        Self(Arc::new(Mutex::new(State { files, names: state.names.clone(), durable_names: state.names.clone(), ..State::default() })))
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.0.lock().names.keys().cloned().collect()
    }

    /// Every call waits until the guard is dropped.
    pub(crate) fn stall(&self) -> impl Drop + '_ {
        self.0.lock()
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        let state = self.0.lock();
        state.files[state.names[name]].cached.clone()
    }
}

impl Content {
    fn after_crash(&self, random: &mut StdRng) -> Self {
        let mut bytes = self.synced.clone();
        bytes.resize(self.cached.len().max(bytes.len()), 0);
        for start in (0..self.cached.len()).step_by(PAGE) {
            let end = (start + PAGE).min(self.cached.len());
            if bytes[start..end] != self.cached[start..end] && random.random_bool(0.5) {
                bytes[start..end].copy_from_slice(&self.cached[start..end]);
            }
        }
        Self { cached: bytes.clone(), synced: bytes }
    }
}

impl State {
    /// Counts a call and says whether it fails.
    fn call(&mut self) -> Result<Option<Fault>, io::Error> {
        if self.dead {
            return Err(io::Error::other("no power"));
        }
        self.calls += 1;
        match self.fault {
            Some((at, Fault::PowerCut)) if at == self.calls => Ok(Some(Fault::PowerCut)),
            Some((at, fault)) if at == self.calls => {
                if fault == Fault::ShortWrite {
                    Ok(Some(fault))
                } else {
                    Err(fault.error())
                }
            }
            _ => Ok(None),
        }
    }

    /// A call that changes no bytes: it is done whole or not at all.
    fn passive_call(&mut self) -> io::Result<()> {
        match self.call()? {
            Some(fault) => {
                self.dead |= fault == Fault::PowerCut;
                Err(Fault::Eio.error())
            }
            None => Ok(()),
        }
    }

    fn folder_changed(&mut self) {
        self.pending_names.push(self.names.clone());
    }
}

impl Fault {
    fn error(self) -> io::Error {
        match self {
            Self::NoSpace => io::ErrorKind::StorageFull.into(),
            _ => io::Error::other("injected"),
        }
    }
}

impl Storage for FaultyDisk {
    type File = FaultyFile;

    fn list(&self) -> io::Result<Vec<String>> {
        self.0.lock().passive_call()?;
        Ok(self.0.lock().names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<FaultyFile> {
        self.0.lock().passive_call()?;
        let index = self.0.lock().names.get(name).copied().ok_or(io::ErrorKind::NotFound)?;
        Ok(FaultyFile { disk: self.clone(), index })
    }

    fn create(&self, name: &str) -> io::Result<FaultyFile> {
        let mut state = self.0.lock();
        if state.call()?.is_some() {
            state.dead = true;
            return Err(Fault::Eio.error());
        }
        let index = state.files.len();
        state.files.push(Content::default());
        state.names.insert(name.to_owned(), index);
        state.folder_changed();
        Ok(FaultyFile { disk: self.clone(), index })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        if state.call()?.is_some() {
            state.dead = true;
            return Err(Fault::Eio.error());
        }
        let index = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), index);
        state.folder_changed();
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        state.passive_call()?;
        state.names.remove(name);
        state.folder_changed();
        Ok(())
    }

    fn sync_folder(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        if state.call()?.is_some() {
            state.dead = true;
            return Err(Fault::Eio.error());
        }
        state.durable_names = state.names.clone();
        state.pending_names.clear();
        Ok(())
    }

    fn describe(&self, name: &str) -> String {
        name.to_owned()
    }
}

#[derive(Debug)]
pub(crate) struct FaultyFile {
    disk: FaultyDisk,
    index: usize,
}

impl File for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.0.lock().files[self.index].cached.len() as u64)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        state.passive_call()?;
        let start = usize::try_from(offset).expect("small");
        let bytes = state.files[self.index].cached.get(start..start + into.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        into.copy_from_slice(bytes);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        let fault = state.call()?;
        let start = usize::try_from(offset).expect("small");
        if state.full && start + bytes.len() > state.files[self.index].cached.len() {
            return Err(Fault::NoSpace.error());
        }
        let count = if fault.is_some() { bytes.len() / 2 } else { bytes.len() };
        let content = &mut state.files[self.index].cached;
        content.resize(content.len().max(start + count), 0);
        content[start..start + count].copy_from_slice(&bytes[..count]);
        state.dead |= fault == Some(Fault::PowerCut);
        if fault.is_some() { Err(Fault::Eio.error()) } else { Ok(()) }
    }

    fn forget(&self, _bytes: std::ops::Range<u64>) {}

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        let fault = state.call()?;
        if fault.is_some() {
            state.dead |= fault == Some(Fault::PowerCut);
            return Err(Fault::Eio.error());
        }
        let content = &mut state.files[self.index];
        content.synced.clone_from(&content.cached);
        Ok(())
    }
}
