//! Which rows of a mixture must not be trained on: those that share a text with an evaluation task.

use super::config::SupervisedConfig;
use super::{Error, Result};
use crate::task::{self, Split, Task, normalised_text};
use std::collections::HashSet;

/// Where a row has several texts, one of them alone must have so many words to count: two pairs may well share `Yes.`
const LEAST_WORDS: usize = 5;

/// The texts of tasks, and how many rows shared one.
#[derive(Debug, Default)]
pub(super) struct Exclusion {
    tasks: Vec<Known>,
}

#[derive(Debug)]
struct Known {
    name: String,
    texts: HashSet<String>,
    dropped: usize,
}

impl Exclusion {
    /// Reads the rows, of every split, of the tasks in `config.exclude`.
    ///
    /// # Errors
    /// If there is no such task or its data is not there.
    pub(super) fn open(config: &SupervisedConfig) -> Result<Self> {
        let mut all = Self::default();
        for name in &config.exclude {
            let task = task::open(name, config.exclude_data.as_deref());
            all.add(&task.map_err(|error| {
                Error::Config(format!("supervised.exclude: {error} (in the settings it is supervised.exclude_data)"))
            })?);
        }
        Ok(all)
    }

    fn add(&mut self, task: &Task) {
        let rows = Split::ALL.into_iter().flat_map(|split| task.split(split));
        let texts = rows.flat_map(|row| keys(&row.fields.values().map(String::as_str).collect::<Vec<_>>())).collect();
        self.tasks.push(Known { name: task.name().into(), texts, dropped: 0 });
    }

    /// Whether a row of these texts must go, which is counted for every task that has one of them.
    pub(super) fn drops(&mut self, texts: &[&str]) -> bool {
        let keys = keys(texts);
        let mut drops = false;
        for task in &mut self.tasks {
            if keys.iter().any(|key| task.texts.contains(key)) {
                task.dropped += 1;
                drops = true;
            }
        }
        drops
    }

    /// How many rows were dropped, by task; a row may count for several.
    pub(super) fn dropped(&self) -> Vec<(String, usize)> {
        self.tasks.iter().map(|task| (task.name.clone(), task.dropped)).collect()
    }
}

/// What a row of these texts is known by: all texts together, whatever their order, and each one of several that is long enough.
fn keys(texts: &[&str]) -> Vec<String> {
    let mut all: Vec<String> = texts.iter().map(|text| normalised_text(text)).collect();
    let words = texts.iter().map(|text| text.split_whitespace().count());
    let long = all.iter().zip(words).filter(|(_, words)| texts.len() > 1 && *words >= LEAST_WORDS);
    let mut keys: Vec<String> = long.map(|(text, _)| text.clone()).collect();
    all.sort();
    keys.push(all.join(" ").trim().to_string());
    keys.retain(|key| !key.is_empty());
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{Definition, Row, Rows};

    fn exclusion(name: &str, rows: [&str; 3]) -> Exclusion {
        let definition = format!(
            "name='{name}'\ntemplate='{{a}} {{b}}'\nmetric='accuracy'\n[target]\nkind='classification'
            labels=[{{value='0',word='no'}},{{value='1',word='yes'}}]"
        );
        let row = |texts: &str| {
            let fields = ["a", "b"].map(String::from).into_iter().zip(texts.split('|').map(String::from)).collect();
            vec![Row { fields, label: "no".into() }]
        };
        let [train, dev, test] = rows.map(row);
        let mut exclusion = Exclusion::default();
        let definition = Definition::from_toml(&definition).unwrap();
        exclusion.add(&Task::new(definition, Rows { train, dev, test }).unwrap());
        exclusion
    }

    #[test]
    fn rows_that_share_a_text_go() {
        let rows = ["A man is on a horse.|He rides.", "Yes.|No.", "It rains today|The sun shone all day long"];
        let mut exclusion = exclusion("pairs", rows);
        let cases: [(&[&str], bool); 9] = [
            (&["a man is on a HORSE", "Something else"], true),
            (&["a man is on a horse!"], true),
            (&["Yes.", "Something else"], false),
            (&["Yes."], false),
            (&["no", "yes"], true), // the pair itself, in another order
            (&["It rains today", "x"], false),
            (&["x", "The sun shone, all day long"], true),
            (&["The sun shone"], false),
            (&["!", "?"], false),
        ];
        for (texts, wanted) in cases {
            assert_eq!(exclusion.drops(texts), wanted, "{texts:?}");
        }
        assert_eq!(exclusion.dropped(), [("pairs".to_string(), 4)]);
    }

    #[test]
    fn an_absent_task_is_named() {
        let config = |exclude: &str, data: &str| SupervisedConfig {
            from_step: 0,
            share: 0.5,
            paths: Vec::new(),
            source_tokens: None,
            target_tokens: 8,
            exclude: vec![exclude.into()],
            exclude_data: Some(data.into()),
        };
        for (config, part) in [(config("sst3", "."), "`sst3`"), (config("sst2", "no-such-folder"), "no-such-folder")] {
            let error = Exclusion::open(&config).unwrap_err().to_string();
            assert!(error.contains("supervised.exclude") && error.contains(part), "{error}");
        }
        assert_eq!(Exclusion::open(&config("builtin-topic", ".")).unwrap().dropped(), [("builtin-topic".into(), 0)]);
    }
}
