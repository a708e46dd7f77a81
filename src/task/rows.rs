//! Tasks: a definition and its rows, plain and content-addressed.

use super::split::draw;
use super::{Definition, Error, Result};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, str::FromStr};

/// A row: named texts and a label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The template's fields.
    pub fields: BTreeMap<String, String>,
    /// The label word, or the number as it stood in the data.
    pub label: String,
}

/// A task's rows by split.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rows {
    /// For training.
    #[serde(default)]
    pub train: Vec<Row>,
    /// For choosing checkpoints and structures.
    #[serde(default)]
    pub dev: Vec<Row>,
    /// For the final score only.
    #[serde(default)]
    pub test: Vec<Row>,
}

/// A part of a task's rows.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema, clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// For training.
    Train,
    /// For choosing checkpoints and structures.
    Dev,
    /// For the final score only.
    Test,
}

impl Split {
    /// All three.
    pub const ALL: [Split; 3] = [Split::Train, Split::Dev, Split::Test];

    /// The name as written in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Dev => "dev",
            Split::Test => "test",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Split {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Split::ALL.into_iter().find(|split| split.as_str() == text);
        known.ok_or_else(|| format!("`{text}` is not a split: use train, dev or test"))
    }
}

impl Rows {
    /// The rows of one split.
    pub fn split(&self, split: Split) -> &[Row] {
        match split {
            Split::Train => &self.train,
            Split::Dev => &self.dev,
            Split::Test => &self.test,
        }
    }

    pub(super) fn split_mut(&mut self, split: Split) -> &mut Vec<Row> {
        match split {
            Split::Train => &mut self.train,
            Split::Dev => &mut self.dev,
            Split::Test => &mut self.test,
        }
    }
}

/// A definition with its rows: the body of `PUT /v1/tasks/{name}`, and the blob that the registry keeps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// What the task asks, without `data`.
    pub definition: Definition,
    /// Its rows, every label a label word (or a number).
    pub rows: Rows,
}

impl Task {
    /// A task of these rows. Checks definition and every row, puts words in the place of labels' values, and forgets
    /// where the data stood, so that equal data has one digest wherever it is read.
    ///
    /// # Errors
    /// Names the split, the row and what is wrong; every split needs a row.
    pub fn new(mut definition: Definition, mut rows: Rows) -> Result<Self> {
        definition.data.clear();
        definition.validate()?;
        let template = definition.parsed()?;
        for split in Split::ALL {
            for (i, row) in rows.split_mut(split).iter_mut().enumerate() {
                let wrong = |what| Error::Row { split: split.as_str(), row: i, what };
                template.check(&row.fields).map_err(wrong)?;
                row.label = definition.word(row.label.trim()).map_err(wrong)?;
            }
            if rows.split(split).is_empty() {
                let what = format!("the split `{split}` has no row: train, dev and test each need some");
                return Err(Error::Data { task: definition.name.clone(), what });
            }
        }
        Ok(Self { definition, rows })
    }

    /// Reads and checks the JSON form.
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        let task: Self = serde_json::from_slice(bytes)
            .map_err(|error| Error::Definition { task: "?".into(), what: error.to_string() })?;
        Self::new(task.definition, task.rows)
    }

    /// The canonical bytes: compact JSON, keys in a fixed order.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers are always JSON")
    }

    /// BLAKE3 of the canonical bytes, 32 hex characters.
    pub fn digest(&self) -> String {
        blake3::hash(&self.to_bytes()).to_hex()[..32].to_string()
    }

    /// The task's name.
    pub fn name(&self) -> &str {
        &self.definition.name
    }

    /// The rows of one split.
    pub fn split(&self, split: Split) -> &[Row] {
        self.rows.split(split)
    }

    /// The source text of a row; empty if the row is not of this task.
    pub fn source_text(&self, row: &Row) -> String {
        self.definition.render(&row.fields).unwrap_or_default()
    }

    /// The target text of a row.
    pub fn target_text(&self, row: &Row) -> String {
        self.definition.target_text(row)
    }

    /// Every possible target text.
    pub fn label_words(&self) -> Vec<String> {
        self.definition.label_words()
    }

    /// The same task with at most `train_rows` rows of train: drawn by `seed`, labels in proportion, order kept.
    pub fn take(&self, train_rows: usize, seed: u64) -> Self {
        self.take_of(Split::Train, train_rows, seed)
    }

    /// The same task with at most `rows` rows of one split, drawn as [`Task::take`] does.
    pub fn take_of(&self, split: Split, rows: usize, seed: u64) -> Self {
        let mut task = self.clone();
        let kept = task.rows.split_mut(split);
        if rows < kept.len() {
            *kept = draw(std::mem::take(kept), rows, seed).0;
        }
        task
    }
}
