//! Digests of large checkpoints, kept between runs beside the user's other caches.
//!
//! One small file for each state of a checkpoint: its name is a hash of path, device, inode, size and times of change of all
//! the files, so that what has changed is simply not found. Nothing is kept of files that changed moments ago, because a
//! further change might bear the same time; and nothing if a file changed while it was read.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Files of fewer bytes in all are hashed each time, within some 20 ms.
const LEAST: u64 = 64 << 20;
/// Times of change are this coarse on the coarsest of file systems.
const GRANULE: Duration = Duration::from_secs(3);

/// A checkpoint's files as they were when they were opened.
#[derive(Debug)]
pub(super) struct State {
    files: Vec<PathBuf>,
    key: String,
    bytes: u64,
    latest: SystemTime,
}

impl State {
    /// From what each opened file says of itself. `None` where the system does not tell enough; then digests are not kept.
    pub(super) fn of(files: Vec<PathBuf>, metadata: &[Metadata]) -> Option<Self> {
        let (mut hasher, mut bytes, mut latest) = (blake3::Hasher::new(), 0, SystemTime::UNIX_EPOCH);
        for (file, metadata) in files.iter().zip(metadata) {
            let (identity, changed) = identity(metadata)?;
            hasher.update(format!("{}\0{identity}\n", file.canonicalize().ok()?.display()).as_bytes());
            bytes += metadata.len();
            latest = latest.max(changed);
        }
        Some(Self { files, key: hasher.finalize().to_hex()[..32].to_string(), bytes, latest })
    }

    /// The files as they are now.
    fn again(files: &[PathBuf]) -> Option<Self> {
        let metadata = files.iter().map(|file| file.metadata().ok()).collect::<Option<Vec<_>>>()?;
        Self::of(files.to_vec(), &metadata)
    }

    /// The digest that was kept of this state.
    pub(super) fn read(&self, folder: &Path) -> Option<String> {
        let digest = std::fs::read_to_string(folder.join(&self.key)).ok()?;
        let whole = digest.len() == 32 && digest.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c));
        (whole && self.bytes >= LEAST).then_some(digest)
    }

    /// Keeps the digest, if it is worth it and sure to be that of this state. Failure only costs the time of hashing.
    pub(super) fn write(&self, folder: &Path, digest: &str) {
        let settled = SystemTime::now().duration_since(self.latest).is_ok_and(|age| age > GRANULE);
        let same = || Self::again(&self.files).is_some_and(|now| now.key == self.key);
        if self.bytes >= LEAST && settled && same() {
            let _ = self.store(folder, digest);
        }
    }

    /// Under a temporary name first, so that another process never reads half of it.
    fn store(&self, folder: &Path, digest: &str) -> std::io::Result<()> {
        std::fs::create_dir_all(folder)?;
        let temporary = tempfile::NamedTempFile::new_in(folder)?;
        std::fs::write(temporary.path(), digest)?;
        temporary.persist(folder.join(&self.key))?;
        Ok(())
    }
}

/// `$XDG_CACHE_HOME/s3delta/digests`, by default `~/.cache/s3delta/digests`.
pub(super) fn folder() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
    Some(cache.join("s3delta/digests"))
}

/// What tells one state of a file from another, and when it last changed. The time of the last change of the inode cannot
/// be set back, as that of the content can.
#[cfg(unix)]
fn identity(metadata: &Metadata) -> Option<(String, SystemTime)> {
    use std::os::unix::fs::MetadataExt;
    let (dev, ino, size) = (metadata.dev(), metadata.ino(), metadata.size());
    let (modified, modified_ns) = (metadata.mtime(), metadata.mtime_nsec());
    let (changed, changed_ns) = (metadata.ctime(), metadata.ctime_nsec());
    let since = Duration::new(u64::try_from(changed).ok()?, u32::try_from(changed_ns).ok()?);
    let latest = metadata.modified().ok()?.max(SystemTime::UNIX_EPOCH + since);
    Some((format!("{dev} {ino} {size} {modified}.{modified_ns:09} {changed}.{changed_ns:09}"), latest))
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> Option<(String, SystemTime)> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::fs::{File, FileTimes};
    use std::slice::from_ref;

    const DIGEST: &str = "00112233445566778899aabbccddeeff";

    /// A sparse file of `size` bytes whose times lie an hour back as far as they can be set; the inode's cannot.
    fn state(path: &Path, size: u64) -> State {
        let file = File::create(path).unwrap();
        file.set_len(size).unwrap();
        file.set_times(FileTimes::new().set_modified(SystemTime::now() - Duration::from_secs(3600))).unwrap();
        State::again(&[path.to_path_buf()]).unwrap()
    }

    /// The same as if its last change were long ago.
    fn settled(state: State) -> State {
        State { latest: state.latest - Duration::from_secs(60), ..state }
    }

    #[test]
    fn a_digest_is_kept_for_this_state_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (file, cache) = (dir.path().join("model.safetensors"), dir.path().join("digests"));
        let kept = settled(state(&file, LEAST));
        assert_eq!(kept.read(&cache), None);
        kept.write(&cache, DIGEST);
        assert_eq!(State::again(from_ref(&file)).unwrap().read(&cache).as_deref(), Some(DIGEST));
        let of = |files: &[PathBuf]| State::again(files).unwrap().read(&cache);
        assert_eq!(of(&[file.clone(), file.clone()]), None, "other files");

        // another content of the same size whose time of modification is set back to what it was
        let modified = file.metadata().unwrap().modified().unwrap();
        let other = File::create(&file).unwrap();
        other.set_len(LEAST).unwrap();
        other.set_times(FileTimes::new().set_modified(modified)).unwrap();
        assert_eq!(file.metadata().unwrap().modified().unwrap(), modified);
        assert_eq!(of(from_ref(&file)), None, "changed, with the old time of modification");
    }

    #[test]
    fn nothing_is_kept_that_may_be_another_states() {
        let dir = tempfile::tempdir().unwrap();
        let (file, cache) = (dir.path().join("model.safetensors"), dir.path().join("digests"));
        state(&file, LEAST).write(&cache, DIGEST);
        assert!(!cache.exists(), "changed moments ago");
        settled(state(&file, LEAST - 1)).write(&cache, DIGEST);
        assert!(!cache.exists(), "not worth it");
        let before = settled(state(&file, LEAST));
        File::create(&file).unwrap().set_len(LEAST + 1).unwrap();
        before.write(&cache, DIGEST);
        assert!(!cache.exists(), "changed while it was read");
    }

    #[test]
    fn what_is_no_digest_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let (file, cache) = (dir.path().join("model.safetensors"), dir.path().join("digests"));
        let kept = settled(state(&file, LEAST));
        kept.write(&cache, DIGEST);
        for wrong in ["", "00112233", "00112233445566778899aabbccddeefg"] {
            std::fs::write(cache.join(&kept.key), wrong).unwrap();
            assert_eq!(kept.read(&cache), None, "{wrong:?}");
        }
    }
}
