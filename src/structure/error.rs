//! What can be wrong with plain data, each message naming the thing and the fix.

/// The result of operations on plain data.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An invalid position, module, space, budget or structure.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// The path names no place of this backbone.
    #[error("unknown position `{position}`: this backbone ({shape}) has no such place; {hint}")]
    UnknownPosition {
        /// The path as given.
        position: String,
        /// The backbone, in short.
        shape: String,
        /// What is near, or how paths look.
        hint: String,
    },
    /// The kind cannot stand at this position.
    #[error("{kind} cannot be placed at `{position}`, which is {site}; {kind} goes on {admits}")]
    NotAdmitted {
        /// The delta kind.
        kind: &'static str,
        /// The path.
        position: String,
        /// What the position is.
        site: &'static str,
        /// Where the kind may stand.
        admits: &'static str,
    },
    /// A hyper-parameter is out of range, missing or not of this kind.
    #[error("{what} at `{position}`")]
    HyperParameter {
        /// What is wrong, naming the hyper-parameter and the limit.
        what: String,
        /// The path.
        position: String,
    },
    /// Two modules of one kind at one position.
    #[error("{kind} stands twice at `{position}`: keep one of the two")]
    Duplicate {
        /// The delta kind.
        kind: &'static str,
        /// The path.
        position: String,
    },
    /// A budget that cannot be read or used.
    #[error("{0}")]
    Budget(String),
    /// A space that cannot be read or is empty.
    #[error("{0}")]
    Space(String),
    /// A structure document that contradicts itself.
    #[error("{0}")]
    Document(String),
    /// A structure made for another backbone shape.
    #[error("the structure is for a backbone of another shape: it needs {wanted}, this backbone is {found}")]
    ShapeMismatch {
        /// The structure's shape.
        wanted: String,
        /// The backbone's shape.
        found: String,
    },
}
