//! What runs gave: a file with one line a run, and means over seeds.

use crate::cli::spread::Spread;
use crate::task::Metric;
use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Where the parameters of a run start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Start {
    /// The backbone's own.
    Pretrained,
    /// T5's initialisation by the run's seed.
    Random,
}

impl Start {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Pretrained => "pretrained",
            Self::Random => "random",
        }
    }
}

/// All that a run depends on; one that the results hold with the same is not made again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Setup {
    pub(super) bench: String,
    pub(super) backbone_digest: String,
    pub(super) task: String,
    /// Of all its rows, before any were left out.
    pub(super) task_digest: String,
    pub(super) metric: Metric,
    pub(super) method: String,
    /// The structure's id; `None` where all parameters are trained.
    pub(super) structure: Option<String>,
    pub(super) start: Start,
    pub(super) seed: u64,
    pub(super) train_rows: usize,
    pub(super) dev_rows: usize,
    pub(super) test_rows: usize,
    pub(super) max_source_tokens: usize,
    pub(super) steps: usize,
    pub(super) batch_size: usize,
    pub(super) evaluations: usize,
    pub(super) rate: f64,
    pub(super) clip: f64,
}

/// What a run gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Outcome {
    /// As it was named.
    pub(super) backbone: String,
    /// Of s3delta.
    pub(super) version: String,
    pub(super) created: Timestamp,
    /// Trained ones.
    pub(super) parameters: usize,
    /// The task's metric on test.
    pub(super) score: f64,
    /// Share of right answers on test; `None` where answers are numbers.
    pub(super) accuracy: Option<f64>,
    /// The accuracy of giving test's most frequent answer to all; `None` where answers are numbers.
    pub(super) majority: Option<f64>,
    /// Mean negative log-probability of the right answers among the candidates, on test.
    pub(super) test_loss: f64,
    pub(super) dev_score: f64,
    /// The step after which the scored checkpoint was taken.
    pub(super) best_step: usize,
    /// Mean over the first ten batches, and over the last ten.
    pub(super) first_loss: f64,
    pub(super) last_loss: f64,
    pub(super) seconds: f64,
}

/// One line of a results file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Line {
    #[serde(flatten)]
    pub(super) setup: Setup,
    #[serde(flatten)]
    pub(super) outcome: Outcome,
}

/// The value of [`Setup::bench`].
pub(super) const BENCH: &str = "backbone";

/// The runs that are known, and the file that keeps them.
#[derive(Debug)]
pub(super) struct Results {
    lines: Vec<Line>,
    file: Option<(PathBuf, File)>,
}

impl Results {
    /// Reads a file, or begins it; without one, lines are only remembered. Lines of other benches are left alone.
    pub(super) fn open(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else { return Ok(Self { lines: Vec::new(), file: None }) };
        let open = || -> Result<(String, File)> {
            let mut options = File::options();
            let file = options.append(true).create(true).open(path)?;
            let text = std::fs::read_to_string(path)?;
            // what a killed run left of a line
            let whole = text.rfind('\n').map_or(0, |at| at + 1);
            if whole < text.len() {
                file.set_len(whole as u64)?;
            }
            Ok((text[..whole].to_string(), file))
        };
        let (text, file) = open().with_context(|| format!("cannot read or write the results `{}`", path.display()))?;
        let mut lines = Vec::new();
        for (number, text) in text.lines().enumerate() {
            let read = || -> Result<Option<Line>> {
                let value: Value = serde_json::from_str(text)?;
                Ok(if value["bench"] == BENCH { Some(serde_json::from_value(value)?) } else { None })
            };
            let wrong = || {
                format!(
                    "`{}`, line {} is no result of a bench: mend it or name another file",
                    path.display(),
                    number + 1
                )
            };
            lines.extend(read().with_context(wrong)?);
        }
        Ok(Self { lines, file: Some((path.into(), file)) })
    }

    /// The run of this setup.
    pub(super) fn get(&self, setup: &Setup) -> Option<&Line> {
        self.lines.iter().find(|line| line.setup == *setup)
    }

    /// Keeps a run, on disk before this returns.
    pub(super) fn push(&mut self, line: Line) -> Result<()> {
        if let Some((path, file)) = &mut self.file {
            let text = serde_json::to_string(&line)? + "\n";
            let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_data());
            written.with_context(|| format!("cannot write `{}`", path.display()))?;
        }
        self.lines.push(line);
        Ok(())
    }
}

/// The runs of one task, method and start.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Summary {
    task: String,
    method: String,
    start: Start,
    parameters: usize,
    seeds: usize,
    metric: Metric,
    score: Spread,
    accuracy: Option<Spread>,
    majority: Option<f64>,
    /// Points (hundredths) of accuracy above the majority class; for numbers, of the score above 0.
    above: f64,
    seconds: f64,
}

/// Means over seeds, in the order in which tasks, methods and starts first appear.
pub(super) fn summarise(lines: &[&Line]) -> Vec<Summary> {
    let key = |line: &Line| {
        let Setup { task, method, structure, start, .. } = line.setup.clone();
        (task, method, structure, start)
    };
    let mut groups: Vec<Vec<&Line>> = Vec::new();
    for line in lines {
        match groups.iter_mut().find(|group| key(group[0]) == key(line)) {
            Some(group) => group.push(line),
            None => groups.push(vec![line]),
        }
    }
    let summary = |group: &Vec<&Line>| {
        let Line { setup, outcome } = group[0];
        let spread = |value: &dyn Fn(&Outcome) -> Option<f64>| {
            let values: Option<Vec<f64>> = group.iter().map(|line| value(&line.outcome)).collect();
            values.map(|values| Spread::of(&values))
        };
        let score = spread(&|outcome| Some(outcome.score)).expect("every run has a score");
        let accuracy = spread(&|outcome| outcome.accuracy);
        let seconds = spread(&|outcome| Some(outcome.seconds)).map_or(0.0, |seconds| seconds.mean);
        Summary {
            task: setup.task.clone(),
            method: setup.method.clone(),
            start: setup.start,
            parameters: outcome.parameters,
            seeds: group.len(),
            metric: setup.metric,
            score,
            accuracy,
            majority: outcome.majority,
            above: 100.0 * (accuracy.unwrap_or(score).mean - outcome.majority.unwrap_or(0.0)),
            seconds,
        }
    };
    groups.iter().map(summary).collect()
}

impl Summary {
    pub(super) const HEADERS: [&'static str; 11] = [
        "task",
        "method",
        "start",
        "parameters",
        "seeds",
        "metric",
        "score",
        "accuracy",
        "majority",
        "above",
        "seconds",
    ];

    /// The cells of its row in the table.
    pub(super) fn cells(&self) -> Vec<String> {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        vec![
            self.task.clone(),
            self.method.clone(),
            self.start.as_str().into(),
            self.parameters.to_string(),
            self.seeds.to_string(),
            self.metric.as_str().into(),
            self.score.to_string(),
            or_dash(self.accuracy.map(|accuracy| accuracy.to_string())),
            or_dash(self.majority.map(|majority| format!("{majority:.4}"))),
            format!("{:+.1}", self.above),
            format!("{:.0}", self.seconds),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(task: &str, seed: u64, score: f64, accuracy: Option<f64>) -> Line {
        let setup = Setup {
            bench: BENCH.into(),
            backbone_digest: "b".into(),
            task: task.into(),
            task_digest: "t".into(),
            metric: if accuracy.is_some() { Metric::Matthews } else { Metric::Pearson },
            method: "full".into(),
            structure: None,
            start: Start::Pretrained,
            seed,
            train_rows: 20,
            dev_rows: 5,
            test_rows: 10,
            max_source_tokens: 128,
            steps: 6,
            batch_size: 2,
            evaluations: 2,
            rate: 1e-3,
            clip: 2.0,
        };
        let outcome = Outcome {
            backbone: "builtin:pocket-t5".into(),
            version: "0".into(),
            created: Timestamp::UNIX_EPOCH,
            parameters: 7,
            score,
            accuracy,
            majority: accuracy.map(|_| 0.6),
            test_loss: 0.5,
            dev_score: 0.25,
            best_step: 3,
            first_loss: 2.0,
            last_loss: 1.0,
            seconds: 4.0,
        };
        Line { setup, outcome }
    }

    #[test]
    fn a_file_gives_back_what_it_got_and_drops_half_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results.jsonl");
        let (first, second) = (line("cola", 0, 1.0 / 3.0, Some(0.7)), line("cola", 1, 0.1, Some(0.8)));
        std::fs::write(&path, "{\"bench\": \"search\", \"other\": 1}\n").unwrap();
        Results::open(Some(&path)).unwrap().push(first.clone()).unwrap();
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{whole}{{\"bench\": \"back")).unwrap();
        let mut results = Results::open(Some(&path)).unwrap();
        results.push(second.clone()).unwrap();
        let results = Results::open(Some(&path)).unwrap();
        assert_eq!((results.get(&first.setup), results.get(&second.setup)), (Some(&first), Some(&second)));
        assert!(std::fs::read_to_string(&path).unwrap().starts_with(&whole));
        let mut other = first.setup.clone();
        other.rate = 2e-3;
        assert_eq!(results.get(&other), None, "another setting is another run");
        std::fs::write(&path, "{\"bench\": \"backbone\"}\n").unwrap();
        let error = format!("{:#}", Results::open(Some(&path)).unwrap_err());
        assert!(error.contains("line 1") && error.contains("missing field"), "{error}");
    }

    #[test]
    fn seeds_are_summed_up() {
        let lines = [line("cola", 0, 0.1, Some(0.7)), line("stsb", 0, 0.5, None), line("cola", 1, 0.3, Some(0.8))];
        let found = summarise(&lines.iter().collect::<Vec<_>>());
        let cells: Vec<_> = found.iter().map(|summary| summary.cells()[4..10].join(" ")).collect();
        assert_eq!(cells[0], "2 matthews 0.2000 ± 0.1414 0.7500 ± 0.0707 0.6000 +15.0");
        assert_eq!(cells[1], "1 pearson 0.5000 - - +50.0");
        assert_eq!(found[0].cells().len(), Summary::HEADERS.len());
    }
}
