//! Checkpoints on disk: all partitions at one position of the lane, made whole by a manifest renamed last. Never decides what a snapshot holds.

use std::fs::{self, File};
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::log::block::BlockNumber;
use crate::model::id::PartitionId;
use crate::track::roster::Limits;
use crate::track::snapshot::{self, SnapshotError};
use crate::track::state::PartitionState;

/// The newest, and one more in case the newest turns out bad.
pub const KEPT: usize = 2;
const MANIFEST: &str = "manifest.json";
const MANIFEST_BAD: &str = "manifest.bad";
const MANIFEST_TEMPORARY: &str = "manifest.tmp";
const FORMAT_VERSION: u16 = 1;

#[derive(Debug, Error)]
pub enum CheckpointError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} has format version {found}; this program knows up to {FORMAT_VERSION}")]
    Newer { path: PathBuf, found: u16 },
    #[error("{path} was written for {found} partitions, and there are {wanted}")]
    Partitions { path: PathBuf, found: u16, wanted: u16 },
    #[error("{path} is bad: {what}")]
    Bad { path: PathBuf, what: String },
}

/// The folder of checkpoints, `<block>/partition-NNN.bin` and `<block>/manifest.json`.
#[derive(Clone, Debug)]
pub struct CheckpointStore {
    folder: PathBuf,
    partitions: u16,
}

/// What a start goes on from.
#[derive(Debug)]
pub struct Recovered {
    /// One a partition, in their order.
    pub states: Vec<PartitionState>,
    /// Read the log after this block; from its start when absent.
    pub after: Option<BlockNumber>,
}

/// Says that a checkpoint is whole, and what it consists of. Unknown members are ignored.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    format_version: u16,
    block: u64,
    partitions: u16,
    /// Of each partition's file, in their order.
    files: Vec<ManifestFile>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ManifestFile {
    bytes: u64,
    crc32c: u32,
}

/// A checkpoint while it is written. Nothing reads it before `finish`.
#[derive(Debug)]
pub struct OpenCheckpoint {
    store: CheckpointStore,
    block: BlockNumber,
    files: Vec<Option<ManifestFile>>,
}

impl CheckpointStore {
    /// Uses `folder`, which is made when it is missing.
    pub fn open(folder: PathBuf, partitions: u16) -> Result<Self, CheckpointError> {
        fs::create_dir_all(&folder).map_err(in_file(&folder))?;
        Ok(Self { folder, partitions })
    }

    /// Loads the newest checkpoint that verifies. A bad one is passed over with a warning; without any the states are empty.
    /// A newer format, or another number of partitions, is refused.
    pub fn load(&self, limits: Limits) -> Result<Recovered, CheckpointError> {
        for block in self.whole()? {
            match self.load_one(block, limits) {
                Ok(states) => return Ok(Recovered { states, after: Some(block) }),
                Err(error @ (CheckpointError::Newer { .. } | CheckpointError::Partitions { .. })) => return Err(error),
                Err(error) => {
                    tracing::warn!(block = block.0, %error, "passing over a bad checkpoint");
                    if matches!(error, CheckpointError::Bad { .. }) {
                        self.set_aside(block);
                    }
                }
            }
        }
        let states = (0..self.partitions).map(|index| PartitionState::new(PartitionId(index), limits)).collect();
        Ok(Recovered { states, after: None })
    }

    fn load_one(&self, block: BlockNumber, limits: Limits) -> Result<Vec<PartitionState>, CheckpointError> {
        let manifest = self.manifest(block)?;
        let files: Vec<(PartitionId, ManifestFile)> = (0..self.partitions).map(PartitionId).zip(manifest.files).collect();
        let load = |some: &[(PartitionId, ManifestFile)]| -> Result<Vec<PartitionState>, CheckpointError> {
            some.iter().map(|(partition, file)| self.load_partition(block, *partition, *file, limits)).collect()
        };
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        std::thread::scope(|scope| {
            let loading: Vec<_> = files.chunks(files.len().div_ceil(cores).max(1)).map(|some| scope.spawn(|| load(some))).collect();
            let mut states = Vec::with_capacity(files.len());
            for part in loading {
                states.extend(part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
            }
            Ok(states)
        })
    }

    fn manifest(&self, block: BlockNumber) -> Result<Manifest, CheckpointError> {
        let path = self.at(block).join(MANIFEST);
        let text = fs::read(&path).map_err(in_file(&path))?;
        let manifest: Manifest =
            serde_json::from_slice(&text).map_err(|error| CheckpointError::Bad { path: path.clone(), what: error.to_string() })?;
        if manifest.format_version > FORMAT_VERSION {
            return Err(CheckpointError::Newer { path, found: manifest.format_version });
        }
        if manifest.partitions != self.partitions {
            return Err(CheckpointError::Partitions { path, found: manifest.partitions, wanted: self.partitions });
        }
        if manifest.block != block.0 || manifest.files.len() != usize::from(self.partitions) {
            return Err(CheckpointError::Bad { path, what: "it does not fit its folder".into() });
        }
        Ok(manifest)
    }

    fn load_partition(
        &self,
        block: BlockNumber,
        partition: PartitionId,
        listed: ManifestFile,
        limits: Limits,
    ) -> Result<PartitionState, CheckpointError> {
        let path = partition_file(&self.at(block), partition);
        let bytes = fs::read(&path).map_err(in_file(&path))?;
        if ManifestFile::of(&bytes) != listed {
            return Err(CheckpointError::Bad { path, what: "it is not the file that the manifest lists".into() });
        }
        match snapshot::decode(&bytes, limits) {
            Ok(state) if state.partition() == partition => Ok(state),
            Ok(_) => Err(CheckpointError::Bad { path, what: "it is another partition's".into() }),
            Err(SnapshotError::Newer(found)) => Err(CheckpointError::Newer { path, found }),
            Err(error) => Err(CheckpointError::Bad { path, what: error.to_string() }),
        }
    }

    /// Checkpoints that have a manifest, the newest first.
    fn whole(&self) -> Result<Vec<BlockNumber>, CheckpointError> {
        let mut blocks = self.folders()?;
        blocks.retain(|block| self.at(*block).join(MANIFEST).exists());
        Ok(blocks)
    }

    fn folders(&self) -> Result<Vec<BlockNumber>, CheckpointError> {
        let mut blocks = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(in_file(&self.folder))? {
            let name = entry.map_err(in_file(&self.folder))?.file_name();
            blocks.extend(name.to_str().and_then(|name| name.parse().ok()).map(BlockNumber));
        }
        blocks.sort_unstable_by(|a, b| b.cmp(a));
        Ok(blocks)
    }

    fn at(&self, block: BlockNumber) -> PathBuf {
        self.folder.join(format!("{:020}", block.0))
    }

    /// Starts a checkpoint at `block`. What stands there was cut short or found bad, for the caller went on from an earlier one: it is removed.
    pub fn begin(&self, block: BlockNumber) -> Result<OpenCheckpoint, CheckpointError> {
        let folder = self.at(block);
        if folder.exists() {
            remove(&folder)?;
        }
        fs::create_dir(&folder).map_err(in_file(&folder))?;
        Ok(OpenCheckpoint { store: self.clone(), block, files: vec![None; usize::from(self.partitions)] })
    }

    /// Takes a bad checkpoint out of the count of those kept, but leaves its files for whoever wants to know.
    fn set_aside(&self, block: BlockNumber) {
        let folder = self.at(block);
        if let Err(error) = fs::rename(folder.join(MANIFEST), folder.join(MANIFEST_BAD)) {
            tracing::warn!(block = block.0, %error, "a bad checkpoint could not be set aside");
        }
    }

    /// Removes all but the newest `KEPT` whole checkpoints and every attempt older than they are; returns the oldest kept.
    fn prune(&self) -> Result<Option<BlockNumber>, CheckpointError> {
        let kept: Vec<BlockNumber> = self.whole()?.into_iter().take(KEPT).collect();
        let newest = kept.first().copied();
        for block in self.folders()?.into_iter().filter(|block| !kept.contains(block) && Some(*block) < newest) {
            remove(&self.at(block))?;
        }
        Ok(kept.last().copied())
    }
}

impl OpenCheckpoint {
    /// Writes and syncs one partition's snapshot.
    pub fn write(&mut self, partition: PartitionId, bytes: &[u8]) -> Result<(), CheckpointError> {
        write_synced(&partition_file(&self.store.at(self.block), partition), bytes)?;
        self.files[partition.index()] = Some(ManifestFile::of(bytes));
        Ok(())
    }

    /// Makes it whole when every partition was written; then it is durable. Returns the block up to which no checkpoint kept needs the log.
    pub fn finish(self) -> Result<BlockNumber, CheckpointError> {
        let folder = self.store.at(self.block);
        let files: Option<Vec<ManifestFile>> = self.files.iter().copied().collect();
        let files = files.ok_or_else(|| CheckpointError::Bad { path: folder.clone(), what: "a partition gave no snapshot".into() })?;
        let manifest = Manifest { format_version: FORMAT_VERSION, block: self.block.0, partitions: self.store.partitions, files };
        let text = serde_json::to_vec_pretty(&manifest).map_err(|error| CheckpointError::Bad { path: folder.clone(), what: error.to_string() })?;
        let temporary = folder.join(MANIFEST_TEMPORARY);
        write_synced(&temporary, &text)?;
        // The names of the partitions' files must be durable before the name that vouches for them.
        sync_folder(&folder)?;
        sync_folder(&self.store.folder)?;
        let path = folder.join(MANIFEST);
        fs::rename(&temporary, &path).map_err(in_file(&path))?;
        sync_folder(&folder)?;
        Ok(self.store.prune()?.unwrap_or(self.block))
    }
}

impl ManifestFile {
    fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.len() as u64, crc32c: crc32c::crc32c(bytes) }
    }
}

fn partition_file(folder: &Path, partition: PartitionId) -> PathBuf {
    folder.join(format!("partition-{:03}.bin", partition.0))
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(in_file(path))
}

fn sync_folder(folder: &Path) -> Result<(), CheckpointError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(in_file(folder))
}

/// The manifest goes first, so that a removal cut short leaves no checkpoint that looks whole.
fn remove(folder: &Path) -> Result<(), CheckpointError> {
    let manifest = folder.join(MANIFEST);
    if manifest.exists() {
        fs::remove_file(&manifest).map_err(in_file(&manifest))?;
        sync_folder(folder)?;
    }
    fs::remove_dir_all(folder).map_err(in_file(folder))
}

fn in_file(path: &Path) -> impl FnOnce(io::Error) -> CheckpointError + '_ {
    move |source| CheckpointError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::Offset;
    use crate::model::time::UnixMs;
    use crate::track::sample::{LIMITS, event, location};

    /// Two partitions that have each seen `pings` pings.
    fn states(pings: u32) -> Vec<PartitionState> {
        let state = |partition| {
            let mut state = PartitionState::new(PartitionId(partition), LIMITS);
            for ping in 0..pings {
                let event = event(&format!("e{ping}"), 1, Some(&format!("driver {partition} {ping}")), None, location(1.0));
                state.apply(Offset(u64::from(ping)), UnixMs(1), &event, &mut |_| {});
            }
            state
        };
        [0, 1].map(state).into()
    }

    fn write(store: &CheckpointStore, block: u64, pings: u32) -> BlockNumber {
        let mut checkpoint = store.begin(BlockNumber(block)).unwrap();
        for state in states(pings) {
            checkpoint.write(state.partition(), &snapshot::encode(&state)).unwrap();
        }
        checkpoint.finish().unwrap()
    }

    fn loaded(store: &CheckpointStore) -> (Option<u64>, Vec<u64>) {
        let recovered = store.load(LIMITS).unwrap();
        (recovered.after.map(|block| block.0), recovered.states.iter().map(PartitionState::state_hash).collect())
    }

    fn hashes(pings: u32) -> Vec<u64> {
        states(pings).iter().map(PartitionState::state_hash).collect()
    }

    #[test]
    fn the_newest_two_are_kept_and_the_newest_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let store = CheckpointStore::open(folder.path().join("checkpoints"), 2).unwrap();
        assert_eq!(loaded(&store), (None, hashes(0)));
        assert_eq!([write(&store, 5, 1), write(&store, 9, 2), write(&store, 12, 3)].map(|block| block.0), [5, 5, 9]);
        assert_eq!(store.folders().unwrap(), [BlockNumber(12), BlockNumber(9)]);
        assert_eq!(loaded(&store), (Some(12), hashes(3)));
    }

    #[test]
    fn each_flipped_byte_makes_a_checkpoint_bad_and_the_one_before_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let store = CheckpointStore::open(folder.path().to_owned(), 2).unwrap();
        write(&store, 5, 1);
        write(&store, 9, 2);
        let path = partition_file(&store.at(BlockNumber(9)), PartitionId(1));
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            fs::write(&path, &bad).unwrap();
            assert!(snapshot::decode(&bad, LIMITS).is_err(), "byte {at}");
            assert_eq!(loaded(&store), (Some(5), hashes(1)), "byte {at}");
            fs::rename(store.at(BlockNumber(9)).join(MANIFEST_BAD), store.at(BlockNumber(9)).join(MANIFEST)).unwrap();
        }
        fs::write(&path, &good[..good.len() - 1]).unwrap();
        assert_eq!(loaded(&store), (Some(5), hashes(1)));
        // The bad one is set aside: it does not count as one of the two kept, and its block can be written again.
        assert_eq!(write(&store, 9, 3).0, 5);
        assert_eq!(loaded(&store), (Some(9), hashes(3)));
    }

    #[test]
    fn an_attempt_cut_short_is_no_checkpoint_and_a_missing_partition_never_makes_one() {
        let folder = tempfile::tempdir().unwrap();
        let store = CheckpointStore::open(folder.path().to_owned(), 2).unwrap();
        write(&store, 5, 1);
        let mut short = store.begin(BlockNumber(9)).unwrap();
        short.write(PartitionId(0), &snapshot::encode(&states(2)[0])).unwrap();
        assert!(matches!(short.finish(), Err(CheckpointError::Bad { .. })));
        assert_eq!(loaded(&store), (Some(5), hashes(1)));
        write(&store, 12, 3);
        assert_eq!(store.folders().unwrap(), [BlockNumber(12), BlockNumber(5)], "remains are removed");
    }

    #[test]
    fn another_number_of_partitions_and_a_newer_format_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let store = CheckpointStore::open(folder.path().to_owned(), 2).unwrap();
        write(&store, 5, 1);
        let other = CheckpointStore::open(folder.path().to_owned(), 4).unwrap();
        assert!(matches!(other.load(LIMITS), Err(CheckpointError::Partitions { found: 2, wanted: 4, .. })));
        let path = store.at(BlockNumber(5)).join(MANIFEST);
        let text = fs::read_to_string(&path).unwrap().replace("\"format_version\": 1", "\"format_version\": 9");
        fs::write(&path, text).unwrap();
        assert!(matches!(store.load(LIMITS), Err(CheckpointError::Newer { found: 9, .. })));
    }
}
