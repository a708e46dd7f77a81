//! Why a job was not accepted.

use crate::{registry, structure};

/// The result of operations on jobs.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a job was not accepted, or could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A field's value cannot be used.
    #[error("{message}")]
    Invalid {
        /// The field.
        param: &'static str,
        /// What is wrong with it, and the fix.
        message: String,
    },
    /// A field names a space, budget or structure that does not fit.
    #[error("{source}")]
    Structure {
        /// The field.
        param: &'static str,
        /// What is wrong.
        source: structure::Error,
    },
    /// A field names something that the registry does not have.
    #[error("{source}")]
    Reference {
        /// The field.
        param: &'static str,
        /// What is wrong.
        source: registry::Error,
    },
    /// A field names something that there is not.
    #[error("{message}")]
    Missing {
        /// The field.
        param: &'static str,
        /// Stable code.
        code: &'static str,
        /// Names the thing and the fix.
        message: String,
    },
    /// The task's rows are not those that the request speaks of.
    #[error("task `{task}` has the digest {found}, not {wanted}: it was replaced; submit without `task_digest`")]
    TaskChanged {
        /// The task.
        task: String,
        /// Digest that the request gave.
        wanted: String,
        /// Digest of the stored task.
        found: String,
    },
    /// The backbone is not the one that the request speaks of.
    #[error("the job is for a backbone with the weights {wanted}, this one has {found}: open that backbone")]
    OtherBackbone {
        /// Digest that the request gave.
        wanted: String,
        /// Digest of the backbone that is open.
        found: String,
    },
    /// Too many jobs wait.
    #[error("{waiting} jobs wait already: try again when one has ended, or raise `waiting_jobs`")]
    TooMany {
        /// Jobs that wait.
        waiting: usize,
    },
    /// The server is stopping.
    #[error("the server is stopping: submit the job again when it is back")]
    Closed,
    /// The registry failed.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// The worker thread could not be started.
    #[error("the worker thread cannot be started: {0}")]
    Thread(#[from] std::io::Error),
}

impl Error {
    /// The request's field at fault, if it is one.
    pub fn param(&self) -> Option<&'static str> {
        match self {
            Self::Invalid { param, .. }
            | Self::Structure { param, .. }
            | Self::Reference { param, .. }
            | Self::Missing { param, .. } => Some(param),
            Self::TaskChanged { .. } => Some("task_digest"),
            Self::OtherBackbone { .. } => Some("backbone_digest"),
            _ => None,
        }
    }

    pub(super) fn invalid(param: &'static str, message: impl Into<String>) -> Self {
        Self::Invalid { param, message: message.into() }
    }
}
