//! Reading a task's files: TSV, CSV, JSONL and lines, each error with its file, line and column.

use super::layout::{Column, DataFile, Encoding, Format, Layout};
use super::split::complete;
use super::{Definition, Error, Result, Row, Rows, Task};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

impl Task {
    /// Reads the rows of `definition` below the folder `data`: the first layout whose files are all there (in the
    /// layout's own folder or in `data` itself) with the columns it names.
    ///
    /// # Errors
    /// If no layout fits, saying what each one lacks; or on the first row that cannot be used.
    pub fn read(definition: Definition, data: &Path) -> Result<Self> {
        definition.validate()?;
        if definition.data.is_empty() {
            let what = "it has no `[[data]]`: say which files hold its rows".into();
            return Err(Error::Definition { task: definition.name, what });
        }
        let mut lacks: Vec<String> = Vec::new();
        for layout in &definition.data {
            let inner = layout.folder.as_ref().map(|folder| data.join(folder));
            let folders = inner.into_iter().chain([data.to_path_buf()]);
            for folder in folders {
                let missing = |file: &&DataFile| !folder.join(file.path()).is_file();
                if let Some(file) = layout.files.all().find(missing) {
                    lacks.push(format!("no file `{}`", folder.join(file.path()).display()));
                    continue;
                }
                match read(&definition, layout, &folder) {
                    Err(error @ Error::Column { .. }) => lacks.push(error.to_string()),
                    Err(error) => return Err(error),
                    Ok(rows) => return Task::new(definition.clone(), complete(rows, &layout.splits)),
                }
            }
        }
        let task = definition.name;
        let what =
            format!("no rows found below `{}`: {}; give their folder as --data", data.display(), lacks.join("; "));
        Err(Error::Data { task, what })
    }
}

fn read(definition: &Definition, layout: &Layout, folder: &Path) -> Result<Rows> {
    let all = |files: &[DataFile]| -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        for file in files {
            let reader = Reader { definition, layout, file, path: folder.join(file.path()) };
            rows.append(&mut reader.rows()?);
        }
        Ok(rows)
    };
    Ok(Rows { train: all(&layout.files.train)?, dev: all(&layout.files.dev)?, test: all(&layout.files.test)? })
}

/// One file being read.
struct Reader<'a> {
    definition: &'a Definition,
    layout: &'a Layout,
    file: &'a DataFile,
    path: PathBuf,
}

/// What is wrong with a row: the column and why.
type Wrong = (String, String);

impl Reader<'_> {
    fn rows(&self) -> Result<Vec<Row>> {
        let text = self.text()?;
        let rows = match self.layout.format {
            Format::Tsv | Format::Csv => self.table(&text)?,
            Format::Jsonl => self.lines(&text).map(|(line, text)| (line, self.object(text))).collect(),
            Format::Lines => self.lines(&text).map(|(line, text)| (line, self.line(text, None))).collect(),
            Format::LabelledLines => {
                let parse = |text: &str| {
                    let (label, text) = text.split_once(' ').unwrap_or((text, ""));
                    self.line(text, Some(label))
                };
                self.lines(&text).map(|(line, text)| (line, parse(text))).collect()
            }
        };
        self.sound(rows)
    }

    /// The rows, or the first wrong one and how many more there are.
    fn sound(&self, rows: Vec<(u64, Result<Row, Wrong>)>) -> Result<Vec<Row>> {
        let wrong = rows.iter().filter(|(_, row)| row.is_err()).count();
        let sound = |(line, row): (u64, Result<Row, Wrong>)| {
            row.map_err(|(column, what)| self.wrong(line, column, what, wrong - 1))
        };
        rows.into_iter().map(sound).collect()
    }

    fn wrong(&self, line: u64, column: impl Into<String>, what: impl Into<String>, others: usize) -> Error {
        Error::Line { path: self.path.clone(), line, column: column.into(), what: what.into(), others }
    }

    fn text(&self) -> Result<String> {
        let bytes = std::fs::read(&self.path).map_err(|source| Error::File { path: self.path.clone(), source })?;
        let text = match self.layout.encoding {
            Encoding::Latin1 => bytes.iter().map(|byte| char::from(*byte)).collect(),
            Encoding::Utf8 => String::from_utf8(bytes).map_err(|error| {
                let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
                let line = valid.iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
                let column = valid.len() - valid.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                let what = "not UTF-8: set `encoding = \"latin-1\"` if that is what it is";
                self.wrong(line, format!("byte {}", column + 1), what, 0)
            })?,
        };
        Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
    }

    /// Lines with their numbers; blank ones are skipped.
    fn lines<'t>(&self, text: &'t str) -> impl Iterator<Item = (u64, &'t str)> {
        let lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
        (1..).zip(lines).filter(|(_, line)| !line.trim().is_empty())
    }

    fn table(&self, text: &str) -> Result<Vec<(u64, Result<Row, Wrong>)>> {
        let mut records = if self.layout.quoting() { self.quoted(text)? } else { self.plain(text) };
        let header = if self.layout.header && !records.is_empty() { Some(records.remove(0).1) } else { None };
        let place = |column: &Column| match (column, &header) {
            (Column::Index(index), _) => Ok(*index),
            (Column::Name(name), Some(header)) => {
                let found = header.iter().position(|known| known.trim() == name);
                found.ok_or_else(|| self.no_column(column, header))
            }
            (Column::Name(_), None) => Err(self.no_column(column, &[])),
        };
        let mut fields = Vec::new();
        for field in self.definition.fields()? {
            let column = self.layout.column(field);
            fields.push((field, place(&column)?, column));
        }
        let label = match (self.file.label(), &self.layout.label) {
            (None, Some(column)) => Some((place(column)?, column)),
            _ => None,
        };
        let last = fields.iter().map(|(_, i, _)| *i).chain(label.iter().map(|(i, _)| *i)).max().unwrap_or(0);
        if let Some((_, first)) = records.first().filter(|(_, first)| header.is_none() && first.len() <= last) {
            return Err(self.no_column(&Column::Index(last), first));
        }
        let row = |cells: Vec<String>| {
            let cell = |index: usize, column: &Column| {
                let missing = || (format!("column {column}"), format!("the row has {} columns only", cells.len()));
                cells.get(index).map(|cell| cell.trim()).ok_or_else(missing)
            };
            let mut texts = BTreeMap::new();
            for (field, index, column) in &fields {
                texts.insert((*field).to_owned(), (cell(*index, column)?.to_owned(), format!("column {column}")));
            }
            match label {
                Some((index, column)) => self.row(texts, cell(index, column)?, &format!("column {column}")),
                None => self.row(texts, self.file.label().unwrap_or_default(), "its file's label"),
            }
        };
        Ok(records.into_iter().map(|(line, cells)| (line, row(cells))).collect())
    }

    fn no_column(&self, column: &Column, found: &[String]) -> Error {
        let names: Vec<_> = found.iter().map(|name| format!("`{}`", name.trim())).collect();
        let found = match column {
            Column::Name(_) => names.join(", "),
            Column::Index(_) => format!("{} columns", found.len()),
        };
        Error::Column { path: self.path.clone(), column: column.to_string(), found }
    }

    fn plain(&self, text: &str) -> Vec<(u64, Vec<String>)> {
        let delimiter = self.layout.delimiter();
        self.lines(text).map(|(n, line)| (n, line.split(delimiter).map(str::to_owned).collect())).collect()
    }

    fn quoted(&self, text: &str) -> Result<Vec<(u64, Vec<String>)>> {
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(self.layout.delimiter() as u8)
            .has_headers(false)
            .flexible(true)
            .from_reader(text.as_bytes());
        let mut records = Vec::new();
        for record in reader.records() {
            let record = record.map_err(|error| {
                let line = error.position().map_or(0, csv::Position::line);
                self.wrong(line, "the record", error.to_string(), 0)
            })?;
            let line = record.position().map_or(0, csv::Position::line);
            records.push((line, record.iter().map(str::to_owned).collect()));
        }
        Ok(records)
    }

    fn object(&self, text: &str) -> Result<Row, Wrong> {
        let wrong = |error: serde_json::Error| ("the line".to_owned(), format!("not a JSON object: {error}"));
        let object: BTreeMap<String, serde_json::Value> = serde_json::from_str(text).map_err(wrong)?;
        let value = |column: &Column| -> Result<String, Wrong> {
            let text = format!("column {column}");
            let Column::Name(key) = column else {
                return Err((text, "jsonl columns are keys".into()));
            };
            match object.get(key) {
                Some(serde_json::Value::String(text)) => Ok(text.trim().to_owned()),
                Some(value @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_))) => Ok(value.to_string()),
                Some(_) => Err((text, "neither a text, a number nor true or false".into())),
                None => {
                    let keys: Vec<_> = object.keys().map(|key| format!("`{key}`")).collect();
                    Err((text, format!("the key is missing; the object has {}", keys.join(", "))))
                }
            }
        };
        let mut texts = BTreeMap::new();
        for field in self.definition.fields().unwrap_or_default() {
            let column = self.layout.column(field);
            texts.insert(field.to_owned(), (value(&column)?, format!("column {column}")));
        }
        match (self.file.label(), &self.layout.label) {
            (None, Some(column)) => self.row(texts, &value(column)?, &format!("column {column}")),
            (label, _) => self.row(texts, label.unwrap_or_default(), "its file's label"),
        }
    }

    fn line(&self, text: &str, label: Option<&str>) -> Result<Row, Wrong> {
        let field = self.definition.fields().ok().and_then(|fields| fields.first().map(|field| (*field).to_owned()));
        let texts = field.map(|field| (field, (text.trim().to_owned(), "the text".to_owned())));
        match label {
            Some(label) => self.row(texts.into_iter().collect(), label, "the label"),
            None => self.row(texts.into_iter().collect(), self.file.label().unwrap_or_default(), "its file's label"),
        }
    }

    /// A row of these texts (each with the name of its column) and this label.
    fn row(&self, texts: BTreeMap<String, (String, String)>, label: &str, label_column: &str) -> Result<Row, Wrong> {
        let label = match self.layout.label_until {
            Some(end) => label.split(end).next().unwrap_or(label),
            None => label,
        };
        let label = self.definition.word(label.trim()).map_err(|what| (label_column.to_owned(), what))?;
        let mut fields = BTreeMap::new();
        for (field, (text, column)) in texts {
            if text.is_empty() {
                return Err((column, "the text is empty: mend or remove the row".into()));
            }
            fields.insert(field, text);
        }
        Ok(Row { fields, label })
    }
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
