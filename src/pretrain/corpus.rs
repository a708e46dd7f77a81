//! Reads training text: one passage a line.

use super::config::TextConfig;
use super::{Error, Result};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// Passages of text, some held out of training.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Passages {
    /// For training.
    pub train: Vec<String>,
    /// For measuring the loss: one passage in 200.
    pub held_out: Vec<String>,
    /// Characters in all.
    pub characters: usize,
}

/// One passage in this many is held out.
const HELD_OUT: usize = 200;

impl Passages {
    /// Takes a passage.
    pub fn push(&mut self, text: String) {
        self.characters += text.chars().count();
        let held_out = (self.train.len() + self.held_out.len()) % HELD_OUT == HELD_OUT - 1;
        if held_out { self.held_out.push(text) } else { self.train.push(text) }
    }
}

/// Reads files, folders (every file in them, in order of path) or standard input (`-`), until `config.characters`.
///
/// A file that ends in `.jsonl` holds objects whose field `text` is read, paragraph by paragraph; all others are plain text
/// with one passage a line. Lines shorter than `config.min_characters`, and the `<doc …>` lines that WikiExtractor writes, are
/// left out.
///
/// # Errors
/// If a file cannot be read, is not UTF-8, or a line of JSON has no string `text`.
pub fn read_text(paths: &[PathBuf], config: &TextConfig) -> Result<Passages> {
    let mut passages = Passages::default();
    for path in paths {
        if path.as_os_str() == "-" {
            read_lines(path, std::io::stdin().lock(), config, &mut passages)?;
            continue;
        }
        for file in files(path)? {
            let reader = BufReader::new(File::open(&file).map_err(Error::read(&file))?);
            read_lines(&file, reader, config, &mut passages)?;
        }
    }
    Ok(passages)
}

/// The file itself, or every file under the folder.
fn files(path: &Path) -> Result<BTreeSet<PathBuf>> {
    if !path.is_dir() {
        return Ok([path.to_path_buf()].into());
    }
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(path).map_err(Error::read(path))? {
        found.extend(files(&entry.map_err(Error::read(path))?.path())?);
    }
    Ok(found)
}

fn read_lines(path: &Path, reader: impl BufRead, config: &TextConfig, passages: &mut Passages) -> Result<()> {
    let json = path.extension().is_some_and(|extension| extension == "jsonl");
    for (number, line) in reader.lines().enumerate() {
        let line = line.map_err(Error::read(path))?;
        if json {
            for paragraph in text_of(&line, path, number + 1)?.lines() {
                take(paragraph, config, passages);
            }
        } else {
            take(&line, config, passages);
        }
        if passages.characters >= config.characters {
            break;
        }
    }
    Ok(())
}

fn text_of(line: &str, path: &Path, number: usize) -> Result<String> {
    #[derive(serde::Deserialize)]
    struct Row {
        text: String,
    }
    serde_json::from_str::<Row>(line).map(|row| row.text).map_err(|error| {
        Error::Text(format!("`{}` line {number}: {error}; each line must be {{\"text\": \"…\"}}", path.display()))
    })
}

fn take(line: &str, config: &TextConfig, passages: &mut Passages) {
    let line = line.trim();
    let markup = line.starts_with("<doc ") || line.starts_with("</doc>");
    if !markup && line.chars().count() >= config.min_characters && passages.characters < config.characters {
        passages.push(line.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_every_form() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("a.txt", "<doc id=\"1\">\nTitle\n\nA passage that is long.\n</doc>\n");
        write("b.jsonl", "{\"text\": \"First paragraph.\\nSecond paragraph.\", \"id\": 3}\n");
        let config = TextConfig { min_characters: 10, ..TextConfig::default() };
        let passages = read_text(&[dir.path().to_path_buf()], &config).unwrap();
        assert_eq!(passages.train, ["A passage that is long.", "First paragraph.", "Second paragraph."]);

        let short = TextConfig { characters: 30, ..config.clone() };
        assert_eq!(read_text(&[dir.path().to_path_buf()], &short).unwrap().train.len(), 2);

        write("c.jsonl", "{\"body\": 1}\n");
        let error = read_text(&[dir.path().join("c.jsonl")], &config).unwrap_err().to_string();
        assert!(error.contains("c.jsonl") && error.contains("line 1"), "{error}");
    }

    #[test]
    fn one_passage_in_200_is_held_out() {
        let mut passages = Passages::default();
        (0..1000).for_each(|i| passages.push(format!("passage {i}")));
        assert_eq!((passages.train.len(), passages.held_out.len()), (995, 5));
    }
}
