//! Tasks: readers, templates, metrics, splits and the built-in suite.
//!
//! A [`Definition`] says how rows become source and target texts and how answers are scored; a [`Task`] is a definition
//! with its rows, plain and content-addressed. Texts and labels only: this module knows no tokens and no tensors.

mod definition;
mod error;
mod layout;
mod metric;
mod overlap;
mod read;
mod ready;
mod rows;
mod split;
mod suite;
mod template;

pub use definition::{Definition, Label, Target};
pub use error::{Error, Result};
pub use layout::{Column, DataFile, Encoding, Files, Format, LabelledFile, Layout, SplitRule};
pub use metric::{Metric, accuracy, f1, macro_f1, matthews, pearson};
pub use overlap::{Excluded, exclude_overlap, normalised_text};
pub use ready::{ready, ready_made};
pub use rows::{Row, Rows, Split, Task};
pub use suite::{builtin, builtin_corpus, builtin_names};

use std::path::Path;

/// A task as the command line names it: a built-in one, a ready-made one with its data below `data`, or the path of a
/// TOML file, whose data stands below `data` or beside it.
///
/// # Errors
/// If there is no such task, or its definition or data is wrong.
pub fn open(name: &str, data: Option<&Path>) -> Result<Task> {
    if let Some(task) = builtin(name) {
        return Ok(task);
    }
    let file = Path::new(name);
    if file.extension().is_some_and(|extension| extension == "toml") {
        let text = std::fs::read_to_string(file).map_err(|source| Error::File { path: file.into(), source })?;
        let definition = Definition::from_toml(&text).map_err(|error| match error {
            Error::Definition { what, .. } => Error::Definition { task: name.into(), what },
            other => other,
        })?;
        return Task::read(definition, data.or(file.parent()).unwrap_or(Path::new(".")));
    }
    let definition = ready(name)?;
    let Some(data) = data else {
        let what = "its rows are not part of s3delta: give the folder that holds them as --data DIR".into();
        return Err(Error::Data { task: name.into(), what });
    };
    Task::read(definition, data)
}
