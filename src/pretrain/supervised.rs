//! The supervised mixture: rows of source and target, read from JSONL, as token ids.
//!
//! A line is `{"source": "…", "target": "…"}`, the texts as the model will see them. `"texts": ["…", …]` may say which texts
//! the source was made of; those, or else the whole source, are compared with the rows of the tasks that are excluded.

use super::archive::{Opened, visit_texts};
use super::config::{END, PretrainConfig, SupervisedConfig};
use super::corpus::{each_line, list};
use super::exclusion::Exclusion;
use super::{Error, Event, Example, Observer, Reading, Result};
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::time::Instant;
use tokenizers::Tokenizer;

/// One source in this many is held out of training.
const HELD_OUT: u32 = 50;

/// Rows that are tokenised together, in parallel.
const CHUNK: usize = 4096;

/// Rows of the mixture as token ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Examples {
    /// For training.
    pub train: Vec<Example>,
    /// For measuring the loss: of one source in 50, by a digest of its text, so that equal sources stand on one side.
    pub held_out: Vec<Example>,
}

/// What the mixture consists of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Mixture {
    /// Rows for training.
    pub rows: usize,
    /// Rows held out.
    pub held_out: usize,
    /// Rows whose source was cut.
    pub cut: usize,
    /// Rows left out because a task of `supervised.exclude` has their text, by task; a row may count for several.
    pub dropped: Vec<(String, usize)>,
}

/// A line of JSONL.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    source: String,
    target: String,
    #[serde(default)]
    texts: Vec<String>,
}

impl Row {
    /// What is compared with the tasks that are excluded.
    fn compared(&self) -> Vec<&str> {
        if self.texts.is_empty() { vec![&self.source] } else { self.texts.iter().map(String::as_str).collect() }
    }
}

/// Reads the mixture.
///
/// # Errors
/// If a file or a task's data is not there, a line is no such row, a target is too long, nothing is left for training or
/// held out, or `observe` says stop.
pub(super) fn read_supervised(
    config: &PretrainConfig,
    settings: &SupervisedConfig,
    tokenizer: &Tokenizer,
    observe: &mut Observer<'_>,
) -> Result<(Examples, Mixture)> {
    let (mut files, begin, read) = (Vec::new(), Instant::now(), Cell::new(0));
    settings.paths.iter().try_for_each(|path| list(path, &mut files))?;
    let total: u64 = files.iter().map(|file| file.bytes).sum();
    let mut exclusion = Exclusion::open(settings)?;
    let (mut characters, mut bytes) = (0, 0);
    let mut rows = Encoded::new(tokenizer, config.supervised_source_tokens(settings), settings.target_tokens);
    let mut report = |characters, bytes, done| {
        let share = if done { 1.0 } else { (read.get() as f64 / total.max(1) as f64).min(1.0) };
        let purpose = "the supervised mixture";
        let seconds = begin.elapsed().as_secs_f64();
        let reading = Reading { purpose, characters, bytes, share, seconds, done };
        if observe(Event::Reading(reading)) { Ok(()) } else { Err(Error::Stopped) }
    };
    for file in &files {
        visit_texts(&file.path, &read, &mut |Opened { place, json, reader }| {
            if !json {
                return Err(Error::Text(format!("{place} is not a .jsonl file, as supervised.paths must name")));
            }
            each_line(place, reader, &mut |number, line| {
                if line.trim().is_empty() {
                    return Ok(true);
                }
                let place = format!("{place} line {number}");
                let row = parse(line, &place)?;
                (characters, bytes) = (characters + row.source.chars().count(), bytes + row.source.len());
                if !exclusion.drops(&row.compared()) {
                    rows.push(row, place)?;
                    if rows.waiting.is_empty() {
                        report(characters, bytes, false)?;
                    }
                }
                Ok(true)
            })
        })?;
    }
    let (examples, cut) = rows.finish()?;
    report(characters, bytes, true)?;
    let (train, held_out) = (examples.train.len(), examples.held_out.len());
    let mixture = Mixture { rows: train, held_out, cut, dropped: exclusion.dropped() };
    if train == 0 || held_out == 0 {
        return Err(Error::Text(format!(
            "supervised.paths give {train} rows for training and {held_out} held out (one in {HELD_OUT}): give more rows"
        )));
    }
    Ok((examples, mixture))
}

fn parse(line: &str, place: &str) -> Result<Row> {
    let wrong = |what: String| {
        Error::Text(format!(
            "{place}: {what}; each line must be {{\"source\": \"…\", \"target\": \"…\"}}, with \"texts\" or not"
        ))
    };
    let row: Row = serde_json::from_str(line).map_err(|error| wrong(error.to_string()))?;
    for (name, text) in [("source", &row.source), ("target", &row.target)] {
        if text.trim().is_empty() {
            return Err(wrong(format!("`{name}` is empty")));
        }
    }
    Ok(row)
}

/// Rows being tokenised.
struct Encoded<'a> {
    tokenizer: &'a Tokenizer,
    source_tokens: usize,
    target_tokens: usize,
    /// Rows, each with its place.
    waiting: Vec<(Row, String)>,
    examples: Examples,
    cut: usize,
    /// Targets that are too long, and the longest with its place.
    long: (usize, usize, String),
}

impl<'a> Encoded<'a> {
    fn new(tokenizer: &'a Tokenizer, source_tokens: usize, target_tokens: usize) -> Self {
        let (waiting, examples) = (Vec::new(), Examples::default());
        Self { tokenizer, source_tokens, target_tokens, waiting, examples, cut: 0, long: (0, 0, String::new()) }
    }

    fn push(&mut self, row: Row, place: String) -> Result<()> {
        self.waiting.push((row, place));
        if self.waiting.len() >= CHUNK { self.encode() } else { Ok(()) }
    }

    fn encode(&mut self) -> Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        let texts: Vec<&str> = waiting.iter().flat_map(|(row, _)| [row.source.as_str(), row.target.as_str()]).collect();
        let encoded = self.tokenizer.encode_batch_fast(texts, false);
        let encoded = encoded.map_err(|error| Error::Vocabulary(error.to_string()))?;
        for ([source, target], (row, place)) in encoded.as_chunks::<2>().0.iter().zip(&waiting) {
            let (mut source, mut target) = (source.get_ids().to_vec(), target.get_ids().to_vec());
            if source.len() + 1 > self.source_tokens {
                source.truncate(self.source_tokens - 1);
                self.cut += 1;
            }
            source.push(END);
            target.push(END);
            if target.len() > self.target_tokens {
                self.long.0 += 1;
                if target.len() > self.long.1 {
                    (self.long.1, self.long.2) = (target.len(), place.clone());
                }
            }
            let held_out = is_held_out(&row.source);
            let rows = if held_out { &mut self.examples.held_out } else { &mut self.examples.train };
            rows.push(Example { source, target });
        }
        Ok(())
    }

    /// The rows, and how many sources were cut.
    fn finish(mut self) -> Result<(Examples, usize)> {
        self.encode()?;
        let (count, longest, place) = self.long;
        if count > 0 {
            return Err(Error::Text(format!(
                "supervised.target_tokens is {}, but {count} of the targets are longer, the longest, of {longest} tokens, at {place}: \
                 raise it to {longest}, or leave those rows out",
                self.target_tokens
            )));
        }
        Ok((self.examples, self.cut))
    }
}

/// By content, so that neither the order of the rows nor what is excluded moves a row from one side to the other.
fn is_held_out(source: &str) -> bool {
    let digest = *blake3::hash(source.as_bytes()).as_bytes();
    u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]]).is_multiple_of(HELD_OUT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task;
    use std::io::Write;
    use std::path::{Path, PathBuf};

    fn tokenizer() -> Tokenizer {
        Tokenizer::from_file(Path::new(env!("CARGO_MANIFEST_DIR")).join("models/pocket-t5/tokenizer.json")).unwrap()
    }

    fn read(paths: Vec<PathBuf>, exclude: &[&str]) -> Result<(Examples, Mixture)> {
        let mut config: PretrainConfig = toml::from_str(include_str!("../../models/pocket-t5/pretrain.toml")).unwrap();
        let settings = SupervisedConfig {
            from_step: 0,
            share: 0.5,
            paths,
            source_tokens: Some(12),
            target_tokens: 6,
            exclude: exclude.iter().map(ToString::to_string).collect(),
            exclude_data: None,
        };
        config.supervised = Some(settings.clone());
        read_supervised(&config, &settings, &tokenizer(), &mut |_| true)
    }

    fn row(source: &str, target: &str) -> String {
        serde_json::json!({"source": source, "target": target}).to_string() + "\n"
    }

    #[test]
    fn rows_become_examples() {
        let dir = tempfile::tempdir().unwrap();
        let rows: Vec<String> = (0..400).map(|i| row(&format!("number {i}"), "it is a number")).collect();
        let (plain, packed) = (dir.path().join("a.jsonl"), dir.path().join("b.jsonl.gz"));
        let long = row(&"a long source ".repeat(9), "yes");
        std::fs::write(&plain, rows[..300].concat() + "\n" + &long).unwrap();
        let mut writer =
            flate2::write::GzEncoder::new(std::fs::File::create(&packed).unwrap(), flate2::Compression::fast());
        writer.write_all(rows[300..].concat().as_bytes()).unwrap();
        writer.finish().unwrap();

        let (examples, mixture) = read(vec![dir.path().into()], &[]).unwrap();
        assert_eq!((mixture.rows + mixture.held_out, mixture.cut), (401, 1));
        assert_eq!((examples.train.len(), examples.held_out.len()), (mixture.rows, mixture.held_out));
        assert!((2..=20).contains(&mixture.held_out), "{} of 401", mixture.held_out);
        let tokenizer = tokenizer();
        let text = |ids: &[u32]| tokenizer.decode(ids, true).unwrap();
        assert_eq!(
            (text(&examples.train[0].source), text(&examples.train[0].target)),
            ("number 0".into(), "it is a number".into())
        );
        for example in examples.train.iter().chain(&examples.held_out) {
            assert!(
                example.source.len() <= 12 && example.source.last() == Some(&1) && example.target.last() == Some(&1)
            );
        }
        let (other, _) = read(vec![packed, plain], &[]).unwrap();
        let sorted = |mut examples: Vec<Example>| {
            examples.sort_by(|a, b| a.source.cmp(&b.source));
            examples
        };
        assert_eq!(sorted(other.held_out), sorted(examples.held_out), "whatever the order of the files");
    }

    #[test]
    fn rows_of_excluded_tasks_are_left_out() {
        let task = task::builtin("builtin-topic").unwrap();
        let texts: Vec<&String> = task.rows.test.iter().take(30).flat_map(|row| row.fields.values()).collect();
        let with_texts = |text: &&String| {
            let texts = [text.to_uppercase()];
            serde_json::json!({"source": "a template", "target": "yes", "texts": texts}).to_string() + "\n"
        };
        let mut lines: Vec<String> = (0..300).map(|i| row(&format!("number {i}"), "yes")).collect();
        lines.extend(texts.iter().map(with_texts));
        lines.push(row(texts[0], "no"));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        std::fs::write(&path, lines.concat()).unwrap();
        let (_, all) = read(vec![path.clone()], &[]).unwrap();
        let (_, rest) = read(vec![path], &["builtin-topic"]).unwrap();
        assert_eq!((all.rows + all.held_out, rest.rows + rest.held_out), (301 + texts.len(), 300));
        assert_eq!(rest.dropped, [("builtin-topic".to_string(), 1 + texts.len())]);
    }

    #[test]
    fn errors_name_file_line_and_setting() {
        let dir = tempfile::tempdir().unwrap();
        let good = row("a source", "yes");
        let cases: [(&str, String, &[&str]); 7] = [
            ("a.jsonl", good.clone() + "{\"source\": \"x\"}", &["a.jsonl` line 2", "missing field `target`"]),
            ("b.jsonl", row("x", " "), &["b.jsonl` line 1", "`target` is empty"]),
            ("c.jsonl", "{\"source\": \"x\", \"target\": \"y\", \"label\": 1}".into(), &["unknown field `label`"]),
            (
                "d.jsonl",
                good.clone() + &row("x", "a target of many words that goes on"),
                &["target_tokens is 6, but 1 of", "line 2"],
            ),
            ("e.txt", good.clone(), &["e.txt` is not a .jsonl file"]),
            ("f.jsonl", good, &["one in 50", "give more rows"]),
            ("g.jsonl", String::new(), &["0 rows for training"]),
        ];
        for (name, text, parts) in cases {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            let error = read(vec![path], &[]).unwrap_err().to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{name}: {error}");
        }
        let error = read(vec![dir.path().join("absent.jsonl")], &[]).unwrap_err().to_string();
        assert!(error.contains("absent.jsonl"), "{error}");
    }
}
