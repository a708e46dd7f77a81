//! What can be wrong with a task, each message naming the thing and the fix.

use std::{io, path::PathBuf};

/// The result of operations on tasks.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An unknown task, or a wrong definition, data file or row.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No task has this name.
    #[error("unknown task `{name}`: {hint}")]
    Unknown {
        /// The name as given.
        name: String,
        /// What there is.
        hint: String,
    },
    /// A definition that cannot be read or contradicts itself.
    #[error("the definition of task `{task}` is not valid: {what}")]
    Definition {
        /// Name of the task, or the path of its file.
        task: String,
        /// What is wrong and what to do.
        what: String,
    },
    /// A file that cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file without a column that the definition names.
    #[error("`{}` has no column {column}: it has {found}; name another one in `columns` or `label`", path.display())]
    Column {
        /// The file.
        path: PathBuf,
        /// The column wanted.
        column: String,
        /// The columns that the file has.
        found: String,
    },
    /// A row of a file that cannot be used.
    #[error("`{}`, line {line}, {column}: {what}{}", path.display(), more(*others))]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// The column.
        column: String,
        /// What is wrong and what to do.
        what: String,
        /// How many further rows of this file are wrong.
        others: usize,
    },
    /// Rows that do not fit their definition.
    #[error("row {row} of `{split}`: {what}")]
    Row {
        /// The split.
        split: &'static str,
        /// The row, counted from 0.
        row: usize,
        /// What is wrong and what to do.
        what: String,
    },
    /// Data of the wrong form or size.
    #[error("task `{task}`: {what}")]
    Data {
        /// The task.
        task: String,
        /// What is wrong and what to do.
        what: String,
    },
}

impl Error {
    /// A stable code for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Error::Unknown { .. } => "task_not_found",
            Error::Definition { .. } => "task_definition_invalid",
            Error::File { .. } => "task_file_unreadable",
            Error::Column { .. } | Error::Line { .. } | Error::Row { .. } | Error::Data { .. } => "task_data_invalid",
        }
    }
}

fn more(others: usize) -> String {
    match others {
        0 => String::new(),
        1 => " (and 1 more row of this file)".into(),
        many => format!(" (and {many} more rows of this file)"),
    }
}
