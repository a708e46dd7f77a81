//! What a running job may do to its surroundings: report, keep a checkpoint, and learn that it should stop.

use super::{JobEvent, ModulePlace, Progress};
use crate::registry::{self, Registry};
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU8, Ordering},
};
use std::time::{Duration, Instant};
use tokio::sync::broadcast;

/// Why a job should stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// A user cancelled it.
    Cancel,
    /// The server stops; the job goes on later from its checkpoint.
    Shutdown,
}

/// How a job ended without a result.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It stopped because [`Control::should_stop`] said so.
    #[error("the job was stopped")]
    Stopped,
    /// It cannot be done.
    #[error("{message}")]
    Failed {
        /// Stable code.
        code: String,
        /// Names the thing and the fix.
        message: String,
    },
}

impl Failure {
    /// A failure of this code.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Failed { code: code.into(), message: message.into() }
    }
}

impl From<registry::Error> for Failure {
    fn from(error: registry::Error) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

/// The wish that a job stop; set by others while it runs.
#[derive(Debug, Default)]
pub(super) struct StopFlag(AtomicU8);

impl StopFlag {
    const CANCEL: u8 = 1;
    const SHUTDOWN: u8 = 2;

    pub(super) fn set(&self, stop: Stop) {
        let value = match stop {
            Stop::Cancel => Self::CANCEL,
            Stop::Shutdown => Self::SHUTDOWN,
        };
        // a cancelled job stays cancelled when the server stops
        let _ = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |was| (was != Self::CANCEL).then_some(value));
    }

    pub(super) fn get(&self) -> Option<Stop> {
        match self.0.load(Ordering::SeqCst) {
            Self::CANCEL => Some(Stop::Cancel),
            Self::SHUTDOWN => Some(Stop::Shutdown),
            _ => None,
        }
    }
}

/// A running job's way to its surroundings.
pub struct Control {
    id: String,
    registry: Registry,
    events: broadcast::Sender<JobEvent>,
    stop: Arc<StopFlag>,
    every: Duration,
    latest: Mutex<Latest>,
}

#[derive(Default)]
struct Latest {
    progress: Option<Progress>,
    modules: Option<Vec<ModulePlace>>,
    stored: Option<Instant>,
}

impl Control {
    pub(super) fn new(
        id: &str,
        registry: Registry,
        events: broadcast::Sender<JobEvent>,
        stop: Arc<StopFlag>,
        every: Duration,
    ) -> Self {
        Self { id: id.into(), registry, events, stop, every, latest: Mutex::default() }
    }

    /// Whether, and why, the job should write a last checkpoint and return [`Failure::Stopped`]. Ask between steps.
    pub fn should_stop(&self) -> Option<Stop> {
        self.stop.get()
    }

    /// Tells those who watch, and stores what was told at most once a second.
    ///
    /// `progress.modules` need be given only once a job; the stored progress keeps them.
    pub fn progress(&self, progress: Progress) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if progress.modules.is_some() {
            latest.modules.clone_from(&progress.modules);
        }
        latest.progress = Some(progress.clone());
        let _ = self.events.send(JobEvent::Progress(Arc::new(progress)));
        if latest.stored.is_some_and(|stored| stored.elapsed() < self.every) {
            return;
        }
        latest.stored = Some(Instant::now());
        let value = latest.value();
        drop(latest);
        if let Err(error) = self.registry.update_job(&self.id, |job| job.progress = value.clone()) {
            tracing::warn!(job = %self.id, %error, "the progress of job {} is not stored: {error}", self.id);
        }
    }

    /// Keeps the bytes from which the job goes on after an interruption, durably, in place of the former ones.
    ///
    /// # Errors
    /// If the registry cannot store them.
    pub fn checkpoint(&self, bytes: &[u8]) -> Result<(), Failure> {
        self.registry.set_checkpoint(&self.id, bytes)?;
        Ok(())
    }

    /// The bytes of the last checkpoint, if there is one.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn resume_checkpoint(&self) -> Result<Option<Vec<u8>>, Failure> {
        let checkpoint = self.registry.job(&self.id)?.checkpoint;
        Ok(checkpoint.map(|digest| self.registry.blob(&digest)?.read()).transpose()?)
    }

    /// The last progress reported, for the job's record.
    pub(super) fn last_progress(&self) -> Option<serde_json::Value> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).value()
    }
}

impl Latest {
    fn value(&self) -> Option<serde_json::Value> {
        let progress = self.progress.clone()?;
        let modules = progress.modules.clone().or_else(|| self.modules.clone());
        serde_json::to_value(Progress { modules, ..progress }).ok()
    }
}
