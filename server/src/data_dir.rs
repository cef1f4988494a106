//! The data folder: its lock, which names the holder, and its format version. Never looks at what the stages keep inside.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use thiserror::Error;

/// The layout this version writes. A greater one in the folder is refused by name.
const FORMAT_VERSION: u32 = 1;

/// A data folder held by this process; let go when dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Keeps the advisory lock; the kernel releases it with the process, however that ends.
    _lock: File,
}

#[derive(Debug, Error)]
pub enum DataDirError {
    #[error("{} is in use by {holder}; stop that server or choose another --data", path.display())]
    Held { path: PathBuf, holder: String },
    #[error("{} was written by a newer Waypost (format {found}, this one knows up to {FORMAT_VERSION})", path.display())]
    Newer { path: PathBuf, found: u32 },
    #[error("{} holds `format` = {text:?}, which is no version", path.display())]
    NoVersion { path: PathBuf, text: String },
    #[error("the data folder {} cannot be used", path.display())]
    Io { path: PathBuf, source: std::io::Error },
}

impl DataDir {
    /// Makes the folder when absent, locks it and checks its version. `holder` is what a second server will be told.
    pub fn open(path: &Path, holder: &str) -> Result<Self, DataDirError> {
        let io = |source| DataDirError::Io { path: path.to_owned(), source };
        std::fs::create_dir_all(path).map_err(io)?;
        let mut lock = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path.join("lock")).map_err(io)?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut holder = String::new();
            lock.read_to_string(&mut holder).map_err(io)?;
            return Err(DataDirError::Held { path: path.to_owned(), holder: holder.trim().to_owned() });
        }
        lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| writeln!(lock, "{holder}")).map_err(io)?;
        check_version(path)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn check_version(path: &Path) -> Result<(), DataDirError> {
    let io = |source| DataDirError::Io { path: path.to_owned(), source };
    let file = path.join("format");
    match std::fs::read_to_string(&file) {
        Ok(text) => match text.trim().parse() {
            Ok(found) if found > FORMAT_VERSION => Err(DataDirError::Newer { path: path.to_owned(), found }),
            Ok(_) => Ok(()),
            Err(_) => Err(DataDirError::NoVersion { path: path.to_owned(), text }),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            // Written whole or not at all, so that a crash right here leaves no half version behind.
            let temporary = path.join("format.tmp");
            let mut new = File::create(&temporary).map_err(io)?;
            writeln!(new, "{FORMAT_VERSION}").and_then(|()| new.sync_all()).map_err(io)?;
            std::fs::rename(&temporary, &file).map_err(io)?;
            File::open(path).and_then(|folder| folder.sync_all()).map_err(io)
        }
        Err(error) => Err(io(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_told_who_the_first_is() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let first = DataDir::open(folder.path(), "process 1 on port 2").expect("opens");
        let error = DataDir::open(folder.path(), "other").expect_err("held").to_string();
        assert!(error.contains("process 1 on port 2"), "{error}");
        drop(first);
        assert!(DataDir::open(folder.path(), "other").is_ok());
    }

    #[test]
    fn a_newer_format_is_refused_by_name() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("format"), "2\n").expect("written");
        let error = DataDir::open(folder.path(), "x").expect_err("refused").to_string();
        assert!(error.contains("format 2"), "{error}");
    }
}
