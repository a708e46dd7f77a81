//! One process a folder: the lock, and the note that says which server holds it.

use super::{Error, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// The server that holds a folder, as `server.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerInfo {
    /// Process id.
    pub pid: u32,
    /// Where it answers, such as `http://127.0.0.1:8080`.
    pub address: String,
    /// When it announced itself, in UTC.
    pub started: Timestamp,
}

/// The held lock; the operating system lets go of it when the process ends, however it ends.
pub(super) struct HomeLock {
    note: PathBuf,
    announced: AtomicBool,
    _file: File,
}

impl HomeLock {
    /// Takes the lock and removes the note of a server that is gone.
    pub(super) fn acquire(home: &Path) -> Result<Self> {
        let path = home.join("lock");
        let note = home.join("server.json");
        let opened = File::options().create(true).truncate(false).write(true).open(&path);
        let file = opened.map_err(Error::io(format!("open {}", path.display())))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Locked { home: home.to_owned(), server: read_note(&note) });
            }
            Err(TryLockError::Error(source)) => {
                return Err(Error::Io { what: format!("lock {}", path.display()), source });
            }
        }
        match fs::remove_file(&note) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::Io { what: format!("remove {}", note.display()), source: error });
            }
            _ => {}
        }
        Ok(Self { note, announced: AtomicBool::new(false), _file: file })
    }

    /// Writes the note, whole or not at all.
    pub(super) fn announce(&self, address: &str) -> Result<ServerInfo> {
        let info = ServerInfo { pid: std::process::id(), address: address.into(), started: Timestamp::now() };
        let what = || Error::io(format!("write {}", self.note.display()));
        let temporary = self.note.with_extension("json.tmp");
        let text = serde_json::to_vec_pretty(&info).map_err(std::io::Error::other).map_err(what())?;
        fs::write(&temporary, text).map_err(what())?;
        fs::rename(&temporary, &self.note).map_err(what())?;
        self.announced.store(true, Ordering::Release);
        Ok(info)
    }
}

impl Drop for HomeLock {
    fn drop(&mut self) {
        if self.announced.load(Ordering::Acquire) {
            // a note left behind is removed by the next open
            let _ = fs::remove_file(&self.note);
        }
    }
}

fn read_note(path: &Path) -> Option<ServerInfo> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}
