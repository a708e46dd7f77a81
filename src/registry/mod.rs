//! Structures, delta weights, adapters, tasks, jobs and transfers, durable in one folder.
//!
//! Records live in sled as JSON, large bytes in content-addressed files (*blobs*). Whatever a call here acknowledged is
//! on disk: blob written to a temporary name, synced, renamed, its directory synced; then one atomic batch of records;
//! then `flush`; then the return. Deletion goes the other way: the reference first, the blob after. What a crash leaves
//! between the two is an unreferenced blob or a temporary file, and both are swept at the next open.
//!
//! Every call blocks on the disk: an async caller goes through `spawn_blocking`. This module never opens a network
//! connection, never touches a tensor beyond checking uploaded bytes, and lets no sled type out.
//!
//! ```text
//! HOME/lock          held while a registry is open
//! HOME/server.json   process and address of the server that holds the lock
//! HOME/store/        sled
//! HOME/records/      records too large for it
//! HOME/blobs/ab/…    blobs by digest; HOME/blobs/tmp/ for those being written
//! ```

mod adapters;
mod blobs;
mod costs;
mod digest;
mod error;
mod files;
mod jobs;
mod lean;
mod lock;
mod store;
mod structures;
mod tasks;
mod transfers;
mod weights;

pub use adapters::{Adapter, DEFAULT_ALIAS, Expected, Generation, NewGeneration, ResolvedAdapter, Score, TaskRef};
pub use blobs::{Blob, BlobWriter};
pub use digest::{Digest, check_name};
pub use error::{Error, ErrorKind, Noun, Result};
pub use jobs::{Idempotency, JobError, JobFilter, JobKind, JobRecord, JobState};
pub use lock::ServerInfo;
pub use store::{Page, PageRequest};
pub use structures::StructureFilter;
pub use tasks::{NewTask, TaskRecord, TaskRows};
pub use transfers::TransferRecord;
pub use weights::{WeightsInfo, validate_weights};

use blobs::Blobs;
use lean::LeanStructures;
use lock::HomeLock;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::Store;

/// The registry of one home folder; clones share it, and the folder stays locked until the last clone, and the last
/// [`Blob`] taken from it, are gone.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    home: PathBuf,
    store: Store,
    blobs: Blobs,
    lean: LeanStructures,
    // last, so that the lock outlives sled's own files
    lock: HomeLock,
}

impl Registry {
    /// Opens the registry of a folder, creating both if need be, and sweeps what a crash left behind.
    ///
    /// # Errors
    /// [`Error::Locked`] when another process has it open, naming the server if that is one.
    pub fn open(home: &Path) -> Result<Self> {
        std::fs::create_dir_all(home).map_err(Error::io(format!("create the folder {}", home.display())))?;
        let lock = HomeLock::acquire(home)?;
        let store = Store::open(home)?;
        let blobs = Blobs::open(&home.join("blobs"))?;
        let lean = LeanStructures::default();
        let registry = Self { inner: Arc::new(Inner { home: home.to_owned(), store, blobs, lean, lock }) };
        let swept = registry.sweep_files(true)?;
        if swept > 0 {
            tracing::info!(swept, "removed {swept} unreferenced files from {}", home.join("blobs").display());
        }
        Ok(registry)
    }

    /// The folder.
    pub fn home(&self) -> &Path {
        &self.inner.home
    }

    /// Writes and syncs a probe record and a probe file; an error says why nothing can be stored.
    pub fn readiness(&self) -> Result<()> {
        self.store().probe()?;
        self.inner.blobs.probe()
    }

    /// Writes `server.json`, so that commands that find the folder locked work through this server.
    pub fn announce(&self, address: &str) -> Result<ServerInfo> {
        self.inner.lock.announce(address)
    }

    fn store(&self) -> &Store {
        &self.inner.store
    }
}
