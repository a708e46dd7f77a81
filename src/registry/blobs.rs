//! Blobs: content-addressed files, pinned while in use, gone when nothing refers to them.
//!
//! A [`Blob`] in hand is a pin: its file stays. When the last pin goes and no record refers to the blob, the file goes
//! too; so an upload that is refused leaves nothing, and a download outlives the deletion of what it reads.

use super::files;
use super::store::{Order, Table};
use super::{Digest, Error, Inner, Noun, Registry, Result};
use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{ErrorKind, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tempfile::NamedTempFile;

/// Which records refer to which blobs, as `digest/owner`; written in the batch of the record itself.
pub(super) const BLOB_USERS: Table<()> = Table::new("blob_user/");

/// The key of a reference to a blob.
pub(super) fn user_key(blob: &Digest, owner: &str) -> String {
    format!("{blob}/{owner}")
}

/// The blob folder, and who holds which blob.
pub(super) struct Blobs {
    folder: PathBuf,
    temporary: PathBuf,
    /// The upload lock: pins by digest. A blob's file appears and disappears only under it.
    pins: Mutex<HashMap<Digest, usize>>,
}

impl Blobs {
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let temporary = folder.join("tmp");
        fs::create_dir_all(&temporary).map_err(Error::io(format!("create the folder {}", temporary.display())))?;
        Ok(Self { folder: folder.to_owned(), temporary, pins: Mutex::default() })
    }

    /// Writes and syncs a file that means nothing.
    pub(super) fn probe(&self) -> Result<()> {
        let mut file = self.temporary_file()?;
        file.write_all(b"probe").and_then(|()| file.as_file().sync_all()).map_err(self.io("write to"))
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        self.folder.join(&name[..2]).join(name)
    }

    fn temporary_file(&self) -> Result<NamedTempFile> {
        NamedTempFile::new_in(&self.temporary).map_err(self.io("create a file in"))
    }

    fn io(&self, what: &str) -> impl FnOnce(std::io::Error) -> Error + use<> {
        Error::io(format!("{what} {}", self.temporary.display()))
    }

    fn pins(&self) -> MutexGuard<'_, HashMap<Digest, usize>> {
        self.pins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stored blob that stays while this is held; clones share the pin.
#[derive(Clone)]
pub struct Blob {
    size: u64,
    pin: Arc<Pin>,
}

struct Pin {
    inner: Arc<Inner>,
    digest: Digest,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pins = self.inner.blobs.pins();
        let held = pins.get_mut(&self.digest).map(|count| {
            *count -= 1;
            *count
        });
        if held == Some(0) {
            pins.remove(&self.digest);
            self.inner.remove_unless_used(&self.digest, &pins);
        }
    }
}

impl Blob {
    /// Its digest.
    pub fn digest(&self) -> Digest {
        self.pin.digest
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Its file, which nobody may write to; valid while this blob is held.
    pub fn path(&self) -> PathBuf {
        self.pin.inner.blobs.path(&self.pin.digest)
    }

    /// Its bytes, checked against the digest.
    pub fn read(&self) -> Result<Vec<u8>> {
        let path = self.path();
        let bytes = fs::read(&path).map_err(Error::io(format!("read {}", path.display())))?;
        if Digest::of(&bytes) != self.pin.digest {
            let message = "its bytes are not what was stored; delete what refers to it, then upload it again".into();
            return Err(Error::Corrupt { what: format!("the blob {}", path.display()), message });
        }
        Ok(bytes)
    }
}

impl std::fmt::Debug for Blob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Blob({}, {} bytes)", self.pin.digest, self.size)
    }
}

/// A blob being written piece by piece; dropped without [`BlobWriter::finish`] it leaves nothing.
pub struct BlobWriter {
    inner: Arc<Inner>,
    file: NamedTempFile,
    hasher: blake3::Hasher,
    size: u64,
    limit: u64,
    failed: bool,
}

impl BlobWriter {
    /// Appends a piece.
    ///
    /// # Errors
    /// [`Error::TooLarge`] as soon as the limit is passed.
    pub fn write(&mut self, piece: &[u8]) -> Result<()> {
        self.size = self.size.saturating_add(piece.len() as u64);
        if self.size > self.limit {
            return Err(Error::TooLarge { limit: self.limit });
        }
        self.hasher.update(piece);
        let written = self.file.write_all(piece);
        self.failed |= written.is_err();
        written.map_err(self.inner.blobs.io("write to"))
    }

    /// Syncs the bytes and gives them their name; the same bytes again are the same blob.
    ///
    /// # Errors
    /// Also if a piece could not be written before.
    pub fn finish(self) -> Result<Blob> {
        if self.size > self.limit {
            return Err(Error::TooLarge { limit: self.limit });
        }
        if self.failed {
            return Err(self.inner.blobs.io("write to")(std::io::Error::other("an earlier piece was lost")));
        }
        let digest = Digest::from(self.hasher.finalize());
        let path = self.inner.blobs.path(&digest);
        let what = || Error::io(format!("store the blob {}", path.display()));
        // before the lock, which nobody should hold for long
        self.file.as_file().sync_all().map_err(what())?;
        let mut pins = self.inner.blobs.pins();
        // a file of another length is what a broken disk left: replace it
        if !fs::metadata(&path).is_ok_and(|known| known.is_file() && known.len() == self.size) {
            let folder = path.parent().unwrap_or(&self.inner.blobs.folder);
            if !folder.is_dir() {
                fs::create_dir_all(folder)
                    .and_then(|()| files::sync_folder(&self.inner.blobs.folder))
                    .map_err(what())?;
            }
            files::persist(self.file, &path).map_err(what())?;
        }
        *pins.entry(digest).or_default() += 1;
        drop(pins);
        Ok(Blob { size: self.size, pin: Arc::new(Pin { inner: self.inner, digest }) })
    }
}

impl Registry {
    /// Starts a blob of at most `limit` bytes.
    pub fn blob_writer(&self, limit: u64) -> Result<BlobWriter> {
        let file = self.inner.blobs.temporary_file()?;
        Ok(BlobWriter { inner: self.inner.clone(), file, hasher: blake3::Hasher::new(), size: 0, limit, failed: false })
    }

    /// Stores all that `reader` gives, at most `limit` bytes.
    pub fn put_blob(&self, mut reader: impl Read, limit: u64) -> Result<Blob> {
        let mut writer = self.blob_writer(limit)?;
        let mut buffer = vec![0; 64 << 10];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return writer.finish(),
                Ok(count) => writer.write(&buffer[..count])?,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => return Err(Error::Io { what: "read the upload".into(), source }),
            }
        }
    }

    /// Stores these bytes.
    pub fn put_blob_bytes(&self, bytes: &[u8]) -> Result<Blob> {
        let mut writer = self.blob_writer(u64::MAX)?;
        writer.write(bytes)?;
        writer.finish()
    }

    /// A stored blob, pinned.
    pub fn blob(&self, digest: &Digest) -> Result<Blob> {
        let mut pins = self.inner.blobs.pins();
        let known = fs::metadata(self.inner.blobs.path(digest));
        let size = known.map_err(|_| Error::not_found(Noun::Blob, digest.to_string()))?.len();
        *pins.entry(*digest).or_default() += 1;
        drop(pins);
        Ok(Blob { size, pin: Arc::new(Pin { inner: self.inner.clone(), digest: *digest }) })
    }

    /// Removes a blob that no record and nobody in this process needs any more.
    pub(super) fn collect(&self, digest: &Digest) {
        let pins = self.inner.blobs.pins();
        if !pins.contains_key(digest) {
            self.inner.remove_unless_used(digest, &pins);
        }
    }

    /// Removes every file of the blob folder that no record refers to and nobody holds; says how many went.
    ///
    /// [`Registry::open`] does this; later, files being written are spared.
    pub fn sweep(&self) -> Result<usize> {
        self.sweep_files(false)
    }

    /// The same; `opening` says that no file can be in the making.
    pub(super) fn sweep_files(&self, opening: bool) -> Result<usize> {
        let blobs = &self.inner.blobs;
        let pins = blobs.pins();
        let mut used = HashSet::new();
        for entry in self.store().scan(&BLOB_USERS, "", None, Order::Rising) {
            let (key, ()) = entry?;
            used.insert(key.split('/').next().unwrap_or_default().parse::<Digest>()?);
        }
        for digest in used.iter().filter(|digest| !blobs.path(digest).is_file()) {
            tracing::error!(blob = %digest, "blob {digest} is missing though records refer to it: {}", blobs.path(digest).display());
        }
        let what = || Error::io(format!("sweep {}", blobs.folder.display()));
        let mut removed = 0;
        for folder in fs::read_dir(&blobs.folder).map_err(what())? {
            let folder = folder.map_err(what())?.path();
            if !folder.is_dir() || (folder == blobs.temporary && !opening) {
                continue;
            }
            for file in fs::read_dir(&folder).map_err(what())? {
                let file = file.map_err(what())?;
                let digest = file.file_name().to_str().and_then(|name| name.parse::<Digest>().ok());
                if digest.is_none_or(|digest| !used.contains(&digest) && !pins.contains_key(&digest)) {
                    files::remove(&file.path())?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }
}

impl Inner {
    /// Removes the file unless a record refers to it. The caller holds the upload lock and has seen that nobody pins it.
    fn remove_unless_used(&self, digest: &Digest, _upload_lock: &HashMap<Digest, usize>) {
        let user = self.store.scan(&BLOB_USERS, &user_key(digest, ""), None, Order::Rising).next();
        let removed = match user.transpose() {
            Ok(Some(_)) => Ok(()),
            Ok(None) => files::remove(&self.blobs.path(digest)),
            Err(error) => Err(error),
        };
        // not the caller's trouble: the next start sweeps it
        if let Err(error) = removed {
            tracing::warn!(blob = %digest, %error, "unreferenced blob {digest} stays until the next start: {error}");
        }
    }
}
