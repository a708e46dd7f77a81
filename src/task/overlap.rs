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

fn normalised(row: &Row) -> String {
    row.fields.values().map(|text| normalised_text(text)).collect()
}

/// A text in lower case, letters and digits only, as [`exclude_overlap`] compares texts.
///
/// Latin-1's letters go too: SST-2 has MR's `é` as the two characters that its UTF-8 bytes are in Latin-1.
pub fn normalised_text(text: &str) -> String {
    let letters = text.chars().flat_map(char::to_lowercase);
    letters.filter(|c| c.is_alphanumeric() && !('\u{80}'..='\u{ff}').contains(c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{Definition, Rows};

    fn task(texts: [&str; 3]) -> Task {
        let definition = "name='x'\ntemplate='{a}'\nmetric='accuracy'\n[target]\nkind='classification'
            labels=[{value='0',word='no'},{value='1',word='yes'}]";
        let rows = |text: &str| {
            let row = |text: &str| Row { fields: [("a".into(), text.into())].into(), label: "no".into() };
            text.split('|').map(row).collect()
        };
        let rows = Rows { train: rows(texts[0]), dev: rows(texts[1]), test: rows(texts[2]) };
        Task::new(Definition::from_toml(definition).unwrap(), rows).unwrap()
    }

    #[test]
    fn case_blanks_and_punctuation_do_not_hide_a_text() {
        let other = task(["It 's GOOD .", "cafÃ©", "!|日本"]);
        let mut mine = task(["it's good|bad", "Caf\u{e9}|x", "?|中国|日本。"]);
        assert_eq!(exclude_overlap(&mut mine, &other), Excluded { train: 1, dev: 1, test: 1 });
        assert_eq!((mine.rows.train.len(), mine.rows.dev.len(), mine.rows.test.len()), (1, 1, 2));
    }
}
