//! What runs gave: a file with one line a run.

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

/// All that a run depends on; one that the results hold with the same is not made again.
pub(super) trait Setup: Clone + PartialEq + Serialize + DeserializeOwned {
    /// The value of the field `bench` of its lines.
    const BENCH: &'static str;
    /// What a run gives.
    type Outcome: Clone + Serialize + DeserializeOwned + Send;

    /// With all that such a run does not depend on in one form, so that it is not made again for that.
    fn settled(self) -> Self {
        self
    }

    /// The run in a few words.
    fn label(&self) -> String;

    /// What it gave in a few words.
    fn told(outcome: &Self::Outcome) -> String;
}

/// One line of a results file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
pub(super) struct Line<S: Setup> {
    #[serde(flatten)]
    pub(super) setup: S,
    #[serde(flatten)]
    pub(super) outcome: S::Outcome,
}

/// The runs that are known, and the file that keeps them.
pub(super) struct Results<S: Setup> {
    lines: Vec<Line<S>>,
    file: Option<(PathBuf, File)>,
}

/// Whether a text is what a killed run left of a line.
fn is_begun(text: &str) -> bool {
    const BEGIN: &str = r#"{"bench":"#;
    !text.is_empty() && (text.starts_with(BEGIN) || BEGIN.starts_with(text))
}

impl<S: Setup> Results<S> {
    /// Reads a file, or begins it; without one, lines are only remembered. Lines of other benches are left alone. No other process
    /// opens the file until this is dropped.
    pub(super) fn open(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else { return Ok(Self { lines: Vec::new(), file: None }) };
        let failed = || format!("cannot read or write the results `{}`", path.display());
        if path.metadata().is_ok_and(|found| !found.is_file()) {
            bail!("{}: it is no plain file", failed());
        }
        let mut file = File::options().append(true).create(true).open(path).with_context(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!("another bench keeps its runs in `{}`: wait for it, or name another file", path.display())
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(failed),
        }
        let mut text = std::fs::read_to_string(path).with_context(failed)?;
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        let last = &text[whole..];
        let unended = !last.is_empty();
        let killed = is_begun(last) && serde_json::from_str::<Value>(last).is_err();
        if killed {
            text.truncate(whole);
        }
        let mut lines = Vec::new();
        for (number, text) in text.lines().enumerate() {
            let read = || -> Result<Option<Line<S>>> {
                let value: Value = serde_json::from_str(text)?;
                value["bench"].as_str().context("it names no bench")?;
                Ok(if value["bench"] == S::BENCH { Some(serde_json::from_value(value)?) } else { None })
            };
            let wrong = || {
                format!(
                    "`{}`, line {} is no result of a bench: mend it or name another file",
                    path.display(),
                    number + 1
                )
            };
            let read = read().with_context(wrong)?;
            lines.extend(read.map(|line| Line { setup: line.setup.settled(), ..line }));
        }
        if killed {
            file.set_len(whole as u64).with_context(failed)?;
        } else if unended {
            file.write_all(b"\n").with_context(failed)?;
        }
        Ok(Self { lines, file: Some((path.into(), file)) })
    }

    /// The run of this setup.
    pub(super) fn get(&self, setup: &S) -> Option<&Line<S>> {
        self.lines.iter().find(|line| line.setup == *setup)
    }

    /// Keeps a run, on disk before this returns.
    pub(super) fn push(&mut self, line: Line<S>) -> Result<()> {
        if let Some((path, file)) = &mut self.file {
            let text = serde_json::to_string(&line)? + "\n";
            let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_data());
            written.with_context(|| format!("cannot write `{}`", path.display()))?;
        }
        self.lines.push(line);
        Ok(())
    }
}
