//! What can go wrong in pre-training, each message naming the file or setting and the fix.

use std::path::{Path, PathBuf};

/// The result of pre-training.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A pre-training run that cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or written.
    #[error("cannot {what} `{path}`: {source}")]
    File {
        /// `read` or `write`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A setting is wrong.
    #[error("{0}")]
    Config(String),
    /// The text does not do.
    #[error("{0}")]
    Text(String),
    /// The vocabulary cannot be trained, or tokenizer.json cannot be read.
    #[error("vocabulary: {0}")]
    Vocabulary(String),
    /// The observer said stop before the training loop, which leaves a checkpoint, had begun.
    #[error("stopped while the text was prepared; nothing was trained")]
    Stopped,
    /// A checkpoint is damaged or belongs to another run.
    #[error("checkpoint `{path}`: {what}; remove it to start anew, or run without --resume")]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A pass failed.
    #[error(transparent)]
    Train(#[from] crate::train::Error),
    /// The model refused.
    #[error(transparent)]
    Model(#[from] crate::t5::Error),
    /// The loss is no longer a number.
    #[error("the loss is {loss} at step {step}: lower training.rate or raise training.warm_up, and start anew")]
    Diverged {
        /// The step.
        step: usize,
        /// The loss.
        loss: f64,
    },
}

impl Error {
    pub(super) fn read(path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::File { what: "read", path, source }
    }

    pub(super) fn write(path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::File { what: "write", path, source }
    }
}
