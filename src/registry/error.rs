//! What can go wrong in the registry, each with a stable code and a message that names the thing and the fix.

use super::{Digest, JobState, ServerInfo};
use crate::structure;
use std::path::PathBuf;

/// The result of registry operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What an error speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noun {
    /// A structure.
    Structure,
    /// An adapter.
    Adapter,
    /// A generation of an adapter.
    Generation,
    /// An alias of an adapter.
    Alias,
    /// A task.
    Task,
    /// A job.
    Job,
    /// A blob.
    Blob,
}

impl Noun {
    /// The word for messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Noun::Structure => "structure",
            Noun::Adapter => "adapter",
            Noun::Generation => "generation",
            Noun::Alias => "alias",
            Noun::Task => "task",
            Noun::Job => "job",
            Noun::Blob => "blob",
        }
    }

    fn list_hint(self) -> &'static str {
        match self {
            Noun::Structure => "`s3delta structures list` shows what there is",
            Noun::Adapter | Noun::Generation | Noun::Alias => "`s3delta adapters list` shows what there is",
            Noun::Task => {
                "`s3delta tasks list` shows what there is, `s3delta tasks import` adds one, built-in ones too"
            }
            Noun::Job => "`s3delta jobs list` shows what there is",
            Noun::Blob => "it was deleted, or its file is lost: upload it again",
        }
    }
}

/// How an error is to be answered, for the one place that maps errors to statuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The thing does not exist (404).
    NotFound,
    /// The state of the registry forbids it (409).
    Conflict,
    /// The request names something malformed (400).
    Malformed,
    /// Well-formed, but not usable (422).
    Unusable,
    /// Larger than allowed (413).
    TooLarge,
    /// The store cannot serve now (503).
    Unavailable,
    /// A fault of the store itself (500).
    Internal,
}

/// An error of the registry.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process has the folder open.
    #[error("the registry {} is in use by {}", home.display(), locked_by(server.as_ref()))]
    Locked {
        /// The folder.
        home: PathBuf,
        /// The server that holds it, if it is one.
        server: Option<ServerInfo>,
    },
    /// The folder was written by a version that this one cannot read.
    #[error("the store {} has {found}, this s3delta reads schema {supported}: use the version that wrote it, or another --home", path.display())]
    Schema {
        /// The sled folder.
        path: PathBuf,
        /// What it says of itself.
        found: String,
        /// What this version reads.
        supported: u32,
    },
    /// Reading or writing a file failed.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried, naming the file.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// sled failed.
    #[error("the store failed to {what}: {message}; check the disk, then restart")]
    Store {
        /// What was tried.
        what: &'static str,
        /// sled's message.
        message: String,
    },
    /// Stored bytes are not what was stored.
    #[error("{what} is damaged: {message}")]
    Corrupt {
        /// The record or file.
        what: String,
        /// What is wrong with it.
        message: String,
    },
    /// A record that could not be read back, such as one that holds NaN.
    #[error("{what} cannot be stored: {message}")]
    Record {
        /// The record.
        what: String,
        /// What is wrong with it.
        message: String,
    },
    /// No such thing.
    #[error("there is no {} `{name}`: {}", noun.as_str(), noun.list_hint())]
    NotFound {
        /// What was looked for.
        noun: Noun,
        /// Its name or id.
        name: String,
    },
    /// An alias that an adapter does not have; a bare name stands for `latest`.
    #[error(
        "there is no alias `{adapter}@{alias}`: name a generation, such as `{adapter}@{newest}`, or set it: \
         `s3delta adapters alias {adapter} {alias} {newest}`"
    )]
    NoAlias {
        /// The adapter.
        adapter: String,
        /// The alias.
        alias: String,
        /// Its newest generation.
        newest: Digest,
    },
    /// A prefix that fits several.
    #[error("`{prefix}` fits several: {}; give more characters", matches.join(", "))]
    Ambiguous {
        /// What was looked for.
        noun: Noun,
        /// The prefix as given.
        prefix: String,
        /// Some that it fits.
        matches: Vec<String>,
    },
    /// A name with characters that names do not have.
    #[error(
        "`{name}` is not a valid name of {what}: use 1 to 128 of letters, digits, `.`, `_` and `-`, first a letter or digit{hint}"
    )]
    Name {
        /// What it should name.
        what: &'static str,
        /// The name as given.
        name: String,
        /// More on what is wrong, or empty.
        hint: &'static str,
    },
    /// Not a digest.
    #[error("`{0}` is not a digest: that is 32 lower-case hexadecimal characters")]
    Digest(String),
    /// A structure that contradicts itself.
    #[error(transparent)]
    Structure(#[from] structure::Error),
    /// A structure that adapters use cannot go.
    #[error("structure {id} is used by {}: delete these first", users.join(", "))]
    StructureInUse {
        /// The structure.
        id: String,
        /// The generations, as `name@digest`.
        users: Vec<String>,
    },
    /// A generation that aliases point to cannot go.
    #[error("generation {generation} of adapter {adapter} is what {} stands for: move or delete that first", aliases.join(", "))]
    GenerationInUse {
        /// The adapter.
        adapter: String,
        /// The generation.
        generation: Digest,
        /// The aliases.
        aliases: Vec<String>,
    },
    /// Delta weights that do not fit their structure, or are no safetensors file.
    #[error("the delta weights are not valid: {}", listed(offenders))]
    Weights {
        /// Everything that is wrong, one line each.
        offenders: Vec<String>,
    },
    /// Delta weights of another backbone.
    #[error(
        "{adapter} was trained on backbone {wanted}, this one is {found}: serve that backbone, re-train, or allow the mismatch (allow_backbone_mismatch)"
    )]
    BackboneMismatch {
        /// The adapter's generation.
        adapter: String,
        /// Digest of the backbone that it was trained on.
        wanted: String,
        /// Digest of the backbone at hand.
        found: String,
    },
    /// An alias that moved since the caller looked.
    #[error("alias `{alias}` of adapter {adapter} stands for {}, not {expected}: read it again, then retry", or_nothing(*found))]
    Stale {
        /// The adapter.
        adapter: String,
        /// The alias.
        alias: String,
        /// What the caller took it for.
        expected: String,
        /// What it is.
        found: Option<Digest>,
    },
    /// An upload above the limit.
    #[error("the upload is larger than the limit of {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// An idempotency key that is empty or too long.
    #[error("the idempotency key has {length} bytes: use 1 to 255")]
    IdempotencyKey {
        /// Its length in bytes.
        length: usize,
    },
    /// An idempotency key used again for another request.
    #[error("the idempotency key `{key}` was used for job {job} with another request: use a new key")]
    IdempotencyKeyReused {
        /// The key.
        key: String,
        /// The job that it made.
        job: String,
    },
    /// A job cannot go from one state to the other.
    #[error("job {id} is {} and cannot become {}", from.as_str(), to.as_str())]
    JobState {
        /// The job.
        id: String,
        /// Its state.
        from: JobState,
        /// The state asked for.
        to: JobState,
    },
    /// A job that still has work to do cannot go.
    #[error("job {id} is {}: cancel it first", state.as_str())]
    JobActive {
        /// The job.
        id: String,
        /// Its state.
        state: JobState,
    },
    /// A built-in task cannot be replaced or deleted.
    #[error("task `{0}` is built in and cannot be changed: upload yours under another name")]
    TaskBuiltin(String),
}

impl Error {
    /// The stable code for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Error::Locked { .. } => "store_locked",
            Error::Schema { .. } => "store_schema_unknown",
            Error::Io { .. } => "store_io",
            Error::Store { .. } => "store_failed",
            Error::Corrupt { .. } => "store_corrupt",
            Error::Record { .. } => "record_invalid",
            Error::NotFound { noun, .. } => match noun {
                Noun::Structure => "structure_not_found",
                Noun::Adapter => "adapter_not_found",
                Noun::Generation => "generation_not_found",
                Noun::Alias => "alias_not_found",
                Noun::Task => "task_not_found",
                Noun::Job => "job_not_found",
                Noun::Blob => "blob_not_found",
            },
            Error::NoAlias { .. } => "alias_not_found",
            Error::Ambiguous { .. } => "reference_ambiguous",
            Error::Name { .. } => "name_invalid",
            Error::Digest(_) => "digest_invalid",
            Error::Structure(_) => "structure_invalid",
            Error::StructureInUse { .. } => "structure_in_use",
            Error::GenerationInUse { .. } => "generation_in_use",
            Error::Weights { .. } => "weights_invalid",
            Error::BackboneMismatch { .. } => "backbone_mismatch",
            Error::Stale { .. } => "alias_stale",
            Error::TooLarge { .. } => "upload_too_large",
            Error::IdempotencyKey { .. } => "idempotency_key_invalid",
            Error::IdempotencyKeyReused { .. } => "idempotency_key_reused",
            Error::JobState { .. } => "job_state_conflict",
            Error::JobActive { .. } => "job_active",
            Error::TaskBuiltin(_) => "task_builtin",
        }
    }

    /// How to answer it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::NotFound { .. } | Error::NoAlias { .. } => ErrorKind::NotFound,
            Error::StructureInUse { .. }
            | Error::GenerationInUse { .. }
            | Error::BackboneMismatch { .. }
            | Error::Stale { .. }
            | Error::IdempotencyKeyReused { .. }
            | Error::JobState { .. }
            | Error::JobActive { .. }
            | Error::TaskBuiltin(_) => ErrorKind::Conflict,
            Error::Ambiguous { .. } | Error::Name { .. } | Error::Digest(_) | Error::IdempotencyKey { .. } => {
                ErrorKind::Malformed
            }
            Error::Structure(_) | Error::Weights { .. } | Error::Record { .. } => ErrorKind::Unusable,
            Error::TooLarge { .. } => ErrorKind::TooLarge,
            Error::Locked { .. } | Error::Io { .. } | Error::Store { .. } => ErrorKind::Unavailable,
            Error::Schema { .. } | Error::Corrupt { .. } => ErrorKind::Internal,
        }
    }

    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
        let what = what.into();
        move |source| Error::Io { what, source }
    }

    pub(super) fn not_found(noun: Noun, name: impl Into<String>) -> Error {
        Error::NotFound { noun, name: name.into() }
    }
}

fn locked_by(server: Option<&ServerInfo>) -> String {
    match server {
        Some(server) => {
            format!("the server at {} (process {}): work through it, or stop it", server.address, server.pid)
        }
        None => "another process: wait for it, stop it, or use another --home".into(),
    }
}

fn or_nothing(digest: Option<Digest>) -> String {
    digest.map_or_else(|| "nothing".into(), |digest| digest.to_string())
}

/// The first offenders; the whole list is in the error.
fn listed(offenders: &[String]) -> String {
    const SHOWN: usize = 20;
    let shown = offenders.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join("; ");
    match offenders.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown}; and {more} more"),
    }
}
