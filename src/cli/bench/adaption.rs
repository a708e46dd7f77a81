//! Runs of `s3delta bench backbone`: what they depend on, what they gave, and means over seeds.

use super::results::{Line, Setup};
use crate::cli::spread::Spread;
use crate::task::Metric;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

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

/// All that a run depends on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Adaption {
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

impl Setup for Adaption {
    const BENCH: &'static str = "backbone";
    type Outcome = Outcome;

    fn label(&self) -> String {
        let Self { task, method, start, seed, metric, .. } = self;
        format!("{task} {method} {} seed {seed} ({})", start.as_str(), metric.as_str())
    }

    fn told(outcome: &Outcome) -> String {
        let Outcome { score, dev_score, best_step, .. } = outcome;
        format!("{score:.4} on test, {dev_score:.4} on dev after step {best_step}")
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
pub(super) fn summarise(lines: &[&Line<Adaption>]) -> Vec<Summary> {
    let key = |line: &Line<Adaption>| {
        let Adaption { task, method, structure, start, .. } = line.setup.clone();
        (task, method, structure, start)
    };
    let mut groups: Vec<Vec<&Line<Adaption>>> = Vec::new();
    for line in lines {
        match groups.iter_mut().find(|group| key(group[0]) == key(line)) {
            Some(group) => group.push(line),
            None => groups.push(vec![line]),
        }
    }
    let summary = |group: &Vec<&Line<Adaption>>| {
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
    use super::super::results::Results;
    use super::*;

    fn line(task: &str, seed: u64, score: f64, accuracy: Option<f64>) -> Line<Adaption> {
        let setup = Adaption {
            bench: Adaption::BENCH.into(),
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
        Results::open(Some(&path)).unwrap().push(second.clone()).unwrap();
        let results = Results::open(Some(&path)).unwrap();
        assert_eq!((results.get(&first.setup), results.get(&second.setup)), (Some(&first), Some(&second)));
        assert!(std::fs::read_to_string(&path).unwrap().starts_with(&whole));
        let mut other = first.setup.clone();
        other.rate = 2e-3;
        assert_eq!(results.get(&other), None, "another setting is another run");
        drop(results);
        std::fs::write(&path, "{\"bench\": \"backbone\"}\n").unwrap();
        let error = format!("{:#}", Results::<Adaption>::open(Some(&path)).err().unwrap());
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
