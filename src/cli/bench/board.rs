//! Runs of a bench, some of them side by side.

use super::results::{Line, Results, Setup};
use crate::task::{self, Task};
use crate::train::{self, Flow, Observer, Report};
use anyhow::{Context, Result, bail};
use burn::tensor::Device;
use rayon::ThreadPoolBuilder;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// Seconds between two lines of one run.
const SHOW_EVERY: Duration = Duration::from_secs(10);

/// The tasks of these names with all their rows, each once.
pub(super) fn open_tasks(names: &[String], data: Option<&Path>) -> Result<Vec<Task>> {
    let mut tasks: Vec<Task> = Vec::new();
    for name in names {
        let task = task::open(name, data)?;
        if tasks.iter().any(|other| other.name() == task.name()) {
            bail!("--tasks names `{}` twice: leave one out, or rename its file's task", task.name());
        }
        tasks.push(task);
    }
    Ok(tasks)
}

/// How many runs go side by side: as many as are asked for, else on the CPU one a thread where they are `small`, else one.
pub(super) fn runs_side_by_side(asked: Option<NonZeroUsize>, device: &Device, small: bool) -> Result<usize> {
    let cpu = *device == Device::flex();
    match asked.map(NonZeroUsize::get) {
        Some(runs) if runs > 1 && !cpu => bail!("--parallel {runs} is for the CPU: a GPU makes one run at a time"),
        Some(runs) => Ok(runs),
        None if cpu && small => Ok(rayon::current_num_threads()),
        None => Ok(1),
    }
}

/// A run that is to be made.
pub(super) trait Runnable: Sync {
    /// What it depends on.
    type Setup: Setup + Sync;

    fn setup(&self) -> &Self::Setup;

    /// Makes it; the observer is told how far it is, and may stop it.
    fn make(&self, observer: &mut dyn Observer) -> train::Result<Outcome<Self>>;
}

/// What a run gives.
pub(super) type Outcome<R> = <<R as Runnable>::Setup as Setup>::Outcome;

/// Makes the runs, `parallel` at a time, and keeps each one's line as soon as it ends.
///
/// Side by side, each run has its share of the threads for itself, whether the others are there or not: a run that is made
/// again later is computed alike.
///
/// # Errors
/// If runs fail, after all others; if a line cannot be kept, or `stop` says so, at once. What has ended is kept.
pub(super) fn make_all<R: Runnable>(
    runs: &[R],
    parallel: usize,
    results: &mut Results<R::Setup>,
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<()> {
    let board = Board {
        runs,
        stop,
        next: AtomicUsize::new(0),
        lost: AtomicBool::new(false),
        shares: Mutex::new(vec![0.0; runs.len()]),
        begin: Instant::now(),
    };
    let (mut made, mut failed) = (0, Vec::new());
    let mut keep = |run: &R, outcome: train::Result<Outcome<R>>| -> Result<()> {
        match outcome {
            Ok(outcome) => {
                made += 1;
                eprintln!(
                    "{}: {}  ({made}/{} runs, {} left)",
                    run.setup().label(),
                    R::Setup::told(&outcome),
                    runs.len(),
                    board.left()
                );
                results.push(Line { setup: run.setup().clone(), outcome })
            }
            Err(train::Error::Stopped(_)) => Ok(()),
            Err(error) => {
                let told = format!("{}: {error}", run.setup().label());
                eprintln!("{told}");
                failed.push(told);
                Ok(())
            }
        }
    };
    let mut result = Ok(());
    let mut note = |(run, outcome): (usize, train::Result<Outcome<R>>)| {
        let kept = keep(&runs[run], outcome);
        if kept.is_err() {
            board.lost.store(true, Ordering::Relaxed);
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
    if let Some(first) = failed.first() {
        bail!("{} of {} runs failed, {made} made; {first}", failed.len(), runs.len());
    }
    if made < runs.len() {
        bail!("stopped after {made} of {} runs; with --results FILE, the same command goes on from there", runs.len());
    }
    Ok(())
}

/// What workers share.
struct Board<'a, R> {
    runs: &'a [R],
    stop: &'a (dyn Fn() -> bool + Sync),
    next: AtomicUsize,
    /// Whether a line could not be kept.
    lost: AtomicBool,
    /// Of each run, how much is done.
    shares: Mutex<Vec<f64>>,
    begin: Instant,
}

impl<R: Runnable> Board<'_, R> {
    fn ends(&self) -> bool {
        self.lost.load(Ordering::Relaxed) || (self.stop)()
    }

    /// Makes the next run; `None` if there is none, or no more are wanted.
    fn one(&self) -> Option<(usize, train::Result<Outcome<R>>)> {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        let run = self.runs.get(index).filter(|_| !self.ends())?;
        let mut watch = Watch { board: self, index, label: run.setup().label(), shown: Instant::now() };
        eprintln!("{}: begins", watch.label);
        let outcome = run.make(&mut watch);
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
struct Watch<'a, R> {
    board: &'a Board<'a, R>,
    index: usize,
    label: String,
    shown: Instant,
}

impl<R: Runnable> Observer for Watch<'_, R> {
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
        self.flow()
    }

    fn flow(&self) -> Flow {
        if self.board.ends() { Flow::Stop } else { Flow::Continue }
    }
}
