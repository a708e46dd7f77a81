//! What can be wrong with a backbone directory, each message naming the file or tensor and the fix.

use std::path::PathBuf;

/// The result of opening or running a backbone.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A backbone that cannot be opened, or input that it cannot take.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file is missing or unreadable.
    #[error(
        "cannot read `{path}`: {source}; a backbone is a Hugging Face directory with config.json and model.safetensors, and tokenizer.json or spiece.model unless it is a ByT5"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// config.json asks for what is not supported, or cannot be parsed.
    #[error("`{path}`: {what}")]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The weights do not fit the configuration.
    #[error("`{path}`: {what}")]
    Weights {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong, naming each tensor.
        what: String,
    },
    /// The tokenizer cannot be loaded or is needed and absent.
    #[error("{0}")]
    Tokenizer(String),
    /// Input ids that the backbone cannot take.
    #[error("{0}")]
    Input(String),
}
