//! The few file operations the log needs, so that a test can put a failing disk underneath. Adds nothing to what the system does.

use std::fs::{File as StdFile, OpenOptions};
use std::io;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// A folder of files on some disk. Two users: the real disk, and the one that fails on purpose.
pub trait Storage: Send + Sync + 'static {
    type File: File;

    /// Names of the files in the folder, in no order.
    fn list(&self) -> io::Result<Vec<String>>;
    fn open(&self, name: &str) -> io::Result<Self::File>;
    /// A new empty file; one of that name goes.
    fn create(&self, name: &str) -> io::Result<Self::File>;
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations, renames and removals durable.
    fn sync_folder(&self) -> io::Result<()>;
    /// For error messages.
    fn describe(&self, name: &str) -> String;
}

#[expect(clippy::len_without_is_empty, reason = "a file is no collection; nobody asks whether one is empty")]
pub trait File: Send + 'static {
    fn len(&self) -> io::Result<u64>;
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    fn sync(&self) -> io::Result<()>;
    /// A hint that these bytes are on disk and that hardly anybody will read them soon: the memory that the system keeps them in may serve others.
    fn forget(&self, bytes: Range<u64>);
}

/// A folder of the real file system.
#[derive(Clone, Debug)]
pub struct Disk {
    folder: PathBuf,
}

impl Disk {
    pub fn new(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        Ok(Self { folder: folder.to_owned() })
    }
}

impl Storage for Disk {
    type File = StdFile;

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<StdFile> {
        OpenOptions::new().read(true).write(true).open(self.folder.join(name))
    }

    fn create(&self, name: &str) -> io::Result<StdFile> {
        OpenOptions::new().create(true).truncate(true).read(true).write(true).open(self.folder.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.folder.join(from), self.folder.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.folder.join(name))
    }

    fn sync_folder(&self) -> io::Result<()> {
        StdFile::open(&self.folder)?.sync_all()
    }

    fn describe(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

impl File for StdFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(into, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn forget(&self, bytes: Range<u64>) {
        let Some(length) = NonZeroU64::new(bytes.end.saturating_sub(bytes.start)) else { return };
        if let Err(error) = rustix::fs::fadvise(self, bytes.start, Some(length), rustix::fs::Advice::DontNeed) {
            tracing::debug!(%error, "the system takes no hint about the memory of the log");
        }
    }
}
