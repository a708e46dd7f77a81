//! Layouts: which files hold a task's rows and how they are written.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Files of rows, and how to read them. Paths are relative to the data folder, or to `folder` inside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// Folder inside the data folder where the files may also stand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// How a file is written.
    pub format: Format,
    /// Between columns: by default a tab for `tsv`, a comma for `csv`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<char>,
    /// Whether `"` quotes a cell: by default in `csv` only, for GLUE's TSV files have lone quotes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quoting: Option<bool>,
    /// Whether the first line names the columns (`tsv` and `csv`).
    #[serde(default = "yes")]
    pub header: bool,
    /// How the text is encoded.
    #[serde(default)]
    pub encoding: Encoding,
    /// The column of each field; a field left out stands in the column of its own name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<String, Column>,
    /// The column of the label, unless each file has one label or the format says where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<Column>,
    /// Only the part of the label before this character counts (`:` makes `DESC:manner` `DESC`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_until: Option<char>,
    /// The files of each split.
    pub files: Files,
    /// How splits that have no file are made.
    #[serde(default)]
    pub splits: SplitRule,
}

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Columns parted by tabs, no quoting.
    Tsv,
    /// Columns parted by commas, cells quoted where needed.
    Csv,
    /// One JSON object a line.
    Jsonl,
    /// One text a line.
    Lines,
    /// One text a line after its label and a blank.
    LabelledLines,
}

/// How text is encoded; a byte order mark is skipped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub enum Encoding {
    /// UTF-8.
    #[default]
    #[serde(rename = "utf-8")]
    Utf8,
    /// ISO 8859-1: every byte is the character of its number.
    #[serde(rename = "latin-1")]
    Latin1,
}

/// A column by name, or by place counted from 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum Column {
    /// Counted from 0.
    Index(usize),
    /// As the header or the JSON key names it.
    Name(String),
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Column::Index(index) => write!(f, "{index} (counted from 0)"),
            Column::Name(name) => write!(f, "`{name}`"),
        }
    }
}

/// The files of each split; what is left out is made from the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// Train: at least one file.
    pub train: Vec<DataFile>,
    /// Dev, the official validation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dev: Vec<DataFile>,
    /// Labelled test.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<DataFile>,
}

/// A file, or a file whose rows all have one label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum DataFile {
    /// A path.
    Path(String),
    /// A path and the label of all its rows.
    Labelled(LabelledFile),
}

/// A file whose rows all have one label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LabelledFile {
    /// The file.
    pub path: String,
    /// The label's value.
    pub label: String,
}

/// How splits that have no file are made, by seed and with labels in proportion: without test and with dev, dev is
/// halved (unless `test` is given); otherwise rows are drawn from train, by default a tenth and at most 2000.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SplitRule {
    /// Seed of the draws.
    #[serde(default)]
    pub seed: u64,
    /// Rows of train drawn for dev.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dev: Option<usize>,
    /// Rows of train drawn for test.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<usize>,
}

impl DataFile {
    /// The path as written.
    pub fn path(&self) -> &str {
        match self {
            DataFile::Path(path) | DataFile::Labelled(LabelledFile { path, .. }) => path,
        }
    }

    pub(super) fn label(&self) -> Option<&str> {
        match self {
            DataFile::Path(_) => None,
            DataFile::Labelled(file) => Some(&file.label),
        }
    }
}

impl Files {
    pub(super) fn all(&self) -> impl Iterator<Item = &DataFile> {
        self.train.iter().chain(&self.dev).chain(&self.test)
    }
}

impl Layout {
    pub(super) fn delimiter(&self) -> char {
        self.delimiter.unwrap_or(if self.format == Format::Csv { ',' } else { '\t' })
    }

    pub(super) fn quoting(&self) -> bool {
        self.quoting.unwrap_or(self.format == Format::Csv)
    }

    /// The column of a field.
    pub(super) fn column(&self, field: &str) -> Column {
        self.columns.get(field).cloned().unwrap_or_else(|| Column::Name(field.into()))
    }

    pub(super) fn validate(&self, fields: &[&str]) -> Result<(), String> {
        if self.files.train.is_empty() {
            return Err("`files.train` names no file: rows to train on are needed".into());
        }
        if let Some(field) = self.columns.keys().find(|field| !fields.contains(&field.as_str())) {
            return Err(format!("`columns` names `{field}`, which is no field of the template"));
        }
        let table = matches!(self.format, Format::Tsv | Format::Csv);
        if !table && (self.delimiter.is_some() || self.quoting.is_some()) {
            return Err("`delimiter` and `quoting` go with tsv and csv only".into());
        }
        if !self.delimiter().is_ascii() {
            return Err(format!("`{}` cannot part columns: use an ASCII character", self.delimiter()));
        }
        let columns: Vec<_> = fields.iter().map(|field| self.column(field)).chain(self.label.clone()).collect();
        let one_label_a_file = self.files.all().all(|file| file.label().is_some());
        match self.format {
            Format::Tsv | Format::Csv if !self.header => {
                if let Some(column) = columns.iter().find(|column| matches!(column, Column::Name(_))) {
                    return Err(format!("without a header, column {column} must be a place counted from 0"));
                }
            }
            Format::Jsonl if columns.iter().any(|column| matches!(column, Column::Index(_))) => {
                return Err("jsonl columns are keys, not places".into());
            }
            Format::Lines | Format::LabelledLines => {
                let [_] = fields else {
                    return Err(format!("a line holds one field, but the template has {}", fields.len()));
                };
                if !self.columns.is_empty() || self.label.is_some() {
                    return Err("lines have no columns: leave `columns` and `label` out".into());
                }
                if self.format == Format::LabelledLines {
                    return Ok(());
                }
            }
            _ => {}
        }
        if self.label.is_none() && !one_label_a_file {
            return Err("give `label`, the label's column, or write every file as { path = …, label = … }".into());
        }
        Ok(())
    }
}

fn yes() -> bool {
    true
}
