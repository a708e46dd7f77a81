//! The runs themselves, some of them side by side.

use super::method::Method;
use super::results::{Line, Outcome, Results, Setup, Start};
use crate::delta::{Layout, Single};
use crate::pretrain::{Parameters, fine_tune};
use crate::t5::{Backbone, Frozen};
use crate::task::{Split, Target, Task};
use crate::train::{self, EncodedTask, Evaluation, Flow, Observer, Report, Settings, evaluate, retrain};
use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use rayon::ThreadPoolBuilder;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// Seconds between two lines of one run.
const SHOW_EVERY: Duration = Duration::from_secs(10);

/// A run that is to be made.
#[derive(Debug)]
pub(super) struct Run<'a> {
    pub(super) setup: Setup,
    /// With all its rows.
    pub(super) task: &'a Task,
    pub(super) method: &'a Method,
}

/// What runs start from.
#[derive(Debug)]
pub(super) struct Origin<'a> {
    pub(super) backbone: &'a Backbone,
    /// The backbone's parameters, where a run trains them all.
    pub(super) parameters: Option<Parameters>,
}

/// What training gave, whatever was trained.
struct Trained {
    parameters: usize,
    dev_score: f64,
    best_step: usize,
    losses: Vec<f64>,
    test: Evaluation,
}

impl Run<'_> {
    /// The task with the rows that the run takes: those of train by its seed, those of dev and test always the same.
    fn rows(&self) -> Task {
        let setup = &self.setup;
        let task = self.task.take(setup.train_rows, setup.seed);
        task.take_of(Split::Dev, setup.dev_rows, 0).take_of(Split::Test, setup.test_rows, 0)
    }

    fn make(&self, origin: &Origin, observer: &mut dyn Observer) -> train::Result<Outcome> {
        let started = Instant::now();
        let setup = &self.setup;
        let data = EncodedTask::new(self.rows(), origin.backbone, setup.max_source_tokens)?;
        let settings = Settings {
            steps: setup.steps,
            batch_size: setup.batch_size,
            learning_rate: setup.rate,
            clip: setup.clip,
            evaluations: setup.evaluations,
            seed: setup.seed,
            ..Settings::default()
        };
        let random = (setup.start == Start::Random).then(|| Parameters::init(&origin.backbone.config, setup.seed));
        let trained = match &self.method.structure {
            None => {
                let parameters = random.or_else(|| origin.parameters.clone()).expect("read where a run trains them");
                let tuned = fine_tune(origin.backbone, parameters, &data, &settings, observer)?;
                let test = evaluate(&tuned.parameters.backbone(origin.backbone)?, &Frozen, &data, Split::Test, None)?;
                let (dev_score, best_step) = (tuned.dev_score, tuned.best_step);
                Trained { parameters: tuned.parameters.values.len(), dev_score, best_step, losses: tuned.losses, test }
            }
            Some(structure) => {
                let random = random.map(|parameters| parameters.backbone(origin.backbone)).transpose()?;
                let backbone = random.as_ref().unwrap_or(origin.backbone);
                let tuned = retrain(backbone, structure, &data, &settings, observer, None)?;
                let layout = Layout::new(&backbone.positions, &structure.modules)?;
                let device = backbone.model.device();
                let single = Single::new(&layout, tuned.values.clone(), backbone.positions.len(), device);
                let test = evaluate(backbone, &single, &data, Split::Test, None)?;
                let (dev_score, best_step) = (tuned.dev_score, tuned.best_step);
                Trained { parameters: layout.len(), dev_score, best_step, losses: tuned.losses, test }
            }
        };
        let right: Vec<usize> = data.test.iter().map(|example| example.answer).collect();
        let words = matches!(data.task.definition.target, Target::Classification { .. });
        let (first, last) = (trained.losses.len().min(10), trained.losses.len().saturating_sub(10));
        Ok(Outcome {
            backbone: origin.backbone.name.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            created: Timestamp::now(),
            parameters: trained.parameters,
            score: trained.test.score,
            accuracy: words.then(|| crate::task::accuracy(&trained.test.answers, &right)),
            majority: words.then(|| majority(&right, data.candidates.len())),
            test_loss: trained.test.loss,
            dev_score: trained.dev_score,
            best_step: trained.best_step,
            first_loss: mean(&trained.losses[..first]),
            last_loss: mean(&trained.losses[last..]),
            seconds: started.elapsed().as_secs_f64(),
        })
    }

    fn label(&self) -> String {
        let Setup { task, method, start, seed, .. } = &self.setup;
        format!("{task} {method} {} seed {seed}", start.as_str())
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The share of the most frequent of `labels` labels.
fn majority(right: &[usize], labels: usize) -> f64 {
    let count = |label| right.iter().filter(|answer| **answer == label).count();
    (0..labels).map(count).max().unwrap_or(0) as f64 / right.len() as f64
}

/// Makes the runs, `parallel` at a time, and keeps each one's line as soon as it ends.
///
/// Side by side, each run has its share of the threads for itself, whether the others are there or not: a run that is made
/// again later is computed alike.
///
/// # Errors
/// If a run fails, or `stop` says so; what has ended is kept.
pub(super) fn make_all(
    runs: &[Run],
    origin: &Origin,
    parallel: usize,
    results: &mut Results,
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<()> {
    let board = Board {
        runs,
        origin,
        stop,
        next: AtomicUsize::new(0),
        failed: AtomicBool::new(false),
        shares: Mutex::new(vec![0.0; runs.len()]),
        begin: Instant::now(),
    };
    let (mut made, mut stopped) = (0, false);
    let mut keep = |run: &Run, outcome: train::Result<Outcome>| -> Result<()> {
        match outcome {
            Ok(outcome) => {
                made += 1;
                let metric = run.setup.metric.as_str();
                eprintln!(
                    "{}: {metric} {:.4} on test, {:.4} on dev after step {}, {:.0} s  ({made}/{} runs, {} left)",
                    run.label(),
                    outcome.score,
                    outcome.dev_score,
                    outcome.best_step,
                    outcome.seconds,
                    runs.len(),
                    board.left()
                );
                results.push(Line { setup: run.setup.clone(), outcome })
            }
            Err(train::Error::Stopped(_)) => {
                stopped = true;
                Ok(())
            }
            Err(error) => Err(error).with_context(|| run.label()),
        }
    };
    let mut result = Ok(());
    let mut note = |(run, outcome): (usize, train::Result<Outcome>)| {
        let kept = keep(&runs[run], outcome);
        if kept.is_err() {
            board.failed.store(true, Ordering::Relaxed);
        }
        if result.is_ok() {
            result = kept;
        }
    };
    if parallel == 1 {
        // on this thread: a GPU's stream belongs to the thread that opened it
        while let Some(ended) = board.one() {
            note(ended);
        }
    } else {
        let threads = (rayon::current_num_threads() / parallel).max(1);
        let pools = (0..parallel.min(runs.len())).map(|_| ThreadPoolBuilder::new().num_threads(threads).build());
        let pools = pools.collect::<Result<Vec<_>, _>>().context("cannot start threads")?;
        std::thread::scope(|scope| {
            let (sender, ended) = channel();
            for pool in &pools {
                let (sender, board) = (sender.clone(), &board);
                scope.spawn(move || {
                    while let Some(ended) = pool.install(|| board.one()) {
                        // the receiver outlives all senders
                        let _ = sender.send(ended);
                    }
                });
            }
            drop(sender);
            ended.iter().for_each(note);
        });
    }
    result?;
    if stopped || made < runs.len() {
        bail!("stopped after {made} of {} runs; with --results FILE, the same command goes on from there", runs.len());
    }
    Ok(())
}

/// What workers share.
struct Board<'a> {
    runs: &'a [Run<'a>],
    origin: &'a Origin<'a>,
    stop: &'a (dyn Fn() -> bool + Sync),
    next: AtomicUsize,
    failed: AtomicBool,
    /// Of each run, how much is done.
    shares: Mutex<Vec<f64>>,
    begin: Instant,
}

impl Board<'_> {
    fn ends(&self) -> bool {
        self.failed.load(Ordering::Relaxed) || (self.stop)()
    }

    /// Makes the next run; `None` if there is none, or no more are wanted.
    fn one(&self) -> Option<(usize, train::Result<Outcome>)> {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        let run = self.runs.get(index).filter(|_| !self.ends())?;
        let mut watch = Watch { board: self, index, label: run.label(), shown: Instant::now() };
        eprintln!("{}: begins", watch.label);
        let outcome = run.make(self.origin, &mut watch);
        self.note(index, 1.0);
        Some((index, outcome))
    }

    fn note(&self, index: usize, share: f64) {
        self.shares.lock().expect("no holder panics")[index] = share;
    }

    /// Time left for all runs, as if they took alike.
    fn left(&self) -> String {
        let done: f64 = self.shares.lock().expect("no holder panics").iter().sum();
        let left = self.begin.elapsed().as_secs_f64() * (self.runs.len() as f64 - done) / done.max(1e-3);
        let minutes = (left / 60.0).ceil() as u64;
        format!("{}:{:02} h", minutes / 60, minutes % 60)
    }
}

/// Tells of one run.
struct Watch<'a> {
    board: &'a Board<'a>,
    index: usize,
    label: String,
    shown: Instant,
}

impl Observer for Watch<'_> {
    fn step(&mut self, report: &Report, _: &dyn Fn() -> Vec<u8>) -> Flow {
        self.board.note(self.index, report.step as f64 / report.total_steps as f64);
        if self.shown.elapsed() >= SHOW_EVERY {
            self.shown = Instant::now();
            let dev = report.dev_score.map_or_else(String::new, |score| format!("  dev {score:.4}"));
            eprintln!(
                "{}: step {}/{}  loss {:.4}{dev}  {} left",
                self.label,
                report.step,
                report.total_steps,
                report.loss,
                self.board.left()
            );
        }
        if self.board.ends() { Flow::Stop } else { Flow::Continue }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_majority_is_the_most_frequent_label() {
        for (right, wanted) in [(&[0, 1, 1, 2][..], 0.5), (&[2, 2], 1.0), (&[0, 1, 2], 1.0 / 3.0)] {
            assert_eq!(majority(right, 3), wanted, "{right:?}");
        }
    }
}
