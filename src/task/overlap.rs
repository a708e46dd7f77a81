//! Rows that two tasks share.

use super::{Row, Split, Task};
use serde::Serialize;
use std::collections::HashSet;

/// How many rows were left out of each split.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Excluded {
    /// Of train.
    pub train: usize,
    /// Of dev.
    pub dev: usize,
    /// Of test.
    pub test: usize,
}

/// Drops from `task` every row whose text stands in any split of `other`, whatever its case, blanks and punctuation.
///
/// A split may be left empty; see the counts.
pub fn exclude_overlap(task: &mut Task, other: &Task) -> Excluded {
    let known: HashSet<String> = Split::ALL.iter().flat_map(|split| other.split(*split)).map(normalised).collect();
    let mut drop = |split: Split| {
        let rows = task.rows.split_mut(split);
        let before = rows.len();
        rows.retain(|row| {
            let text = normalised(row);
            text.is_empty() || !known.contains(&text)
        });
        before - rows.len()
    };
    Excluded { train: drop(Split::Train), dev: drop(Split::Dev), test: drop(Split::Test) }
}

/// A row's texts in lower case, letters and digits only.
fn normalised(row: &Row) -> String {
    let letters = row.fields.values().flat_map(|text| text.chars()).filter(|c| c.is_alphanumeric());
    letters.flat_map(char::to_lowercase).collect()
}
