//! Files that appear whole and durable, or not at all.

use super::{Digest, Error, Result};
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Syncs a temporary file of the same file system, gives it its name, and syncs the folder.
pub(super) fn persist(file: NamedTempFile, path: &Path) -> std::io::Result<()> {
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    path.parent().map_or(Ok(()), sync_folder)
}

/// Makes names created in a folder durable; only Unix can, and needs to.
pub(super) fn sync_folder(folder: &Path) -> std::io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// Removes a file, if there.
pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Error::Io { what: format!("remove {}", path.display()), source: error })
        }
        _ => Ok(()),
    }
}

/// Records too large for sled, each in a file of its own, named by the digest of its key and bytes.
///
/// sled moves a page above 128 KiB into a file that it never syncs, and a page holds some 16 records; so a record of
/// more than [`LargeRecords::LIMIT`] goes here, and sled gets the digest. A file belongs to one key and is written and
/// removed by the one writer.
pub(super) struct LargeRecords {
    folder: PathBuf,
}

impl LargeRecords {
    /// Most bytes of a record within sled.
    pub(super) const LIMIT: usize = 4096;
    /// First byte of a pointer; no JSON starts with it.
    const MARK: u8 = b'@';

    pub(super) fn open(folder: PathBuf) -> Result<Self> {
        fs::create_dir_all(&folder).map_err(Error::io(format!("create the folder {}", folder.display())))?;
        Ok(Self { folder })
    }

    /// The digest that a value of sled points to, if it is a pointer.
    pub(super) fn pointed(value: &[u8]) -> Option<Digest> {
        let (mark, digest) = value.split_first()?;
        if *mark == Self::MARK { std::str::from_utf8(digest).ok()?.parse().ok() } else { None }
    }

    /// The value that points to a digest.
    pub(super) fn pointer(digest: &Digest) -> Vec<u8> {
        [&[Self::MARK], digest.to_string().as_bytes()].concat()
    }

    /// Stores the bytes of a key and says whether that made a file.
    pub(super) fn put(&self, key: &[u8], bytes: &[u8]) -> Result<(Digest, bool)> {
        let digest = digest(key, bytes);
        let path = self.path(&digest);
        if path.is_file() {
            return Ok((digest, false));
        }
        let write = || {
            let mut file = NamedTempFile::new_in(&self.folder)?;
            file.write_all(bytes)?;
            persist(file, &path)
        };
        write().map_err(Error::io(format!("store the record {}", path.display())))?;
        Ok((digest, true))
    }

    /// The bytes of a key; none if the file is gone, because the record was replaced.
    pub(super) fn get(&self, key: &[u8], pointed: &Digest) -> Result<Option<Vec<u8>>> {
        let path = self.path(pointed);
        match fs::read(&path) {
            Ok(bytes) if digest(key, &bytes) == *pointed => Ok(Some(bytes)),
            Ok(_) => {
                let message = "its bytes are not what was stored".into();
                Err(Error::Corrupt { what: format!("the record {}", path.display()), message })
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Io { what: format!("read the record {}", path.display()), source }),
        }
    }

    pub(super) fn remove(&self, digest: &Digest) -> Result<()> {
        remove(&self.path(digest))
    }

    /// Removes what no record points to.
    pub(super) fn sweep(&self, pointed: &HashSet<Digest>) -> Result<()> {
        let what = || Error::io(format!("sweep {}", self.folder.display()));
        for file in fs::read_dir(&self.folder).map_err(what())? {
            let file = file.map_err(what())?;
            let digest = file.file_name().to_str().and_then(|name| name.parse().ok());
            if digest.is_none_or(|digest| !pointed.contains(&digest)) {
                remove(&file.path())?;
            }
        }
        Ok(())
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(digest.to_string())
    }
}

fn digest(key: &[u8], bytes: &[u8]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(key.len() as u64).to_le_bytes()).update(key).update(bytes);
    hasher.finalize().into()
}
