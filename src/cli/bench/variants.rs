//! `s3delta bench variants`: which variant of the search finds the better structures, by task, budget and seed.

use super::board::{make_all, open_tasks, runs_side_by_side};
use super::method::{RATE, all_parameters, positive};
use super::results::{Line, Results, Setup};
use super::variant::{Point, Run, Trial, Variant};
use crate::cli::spread::Spread;
use crate::cli::{On, interrupt, open_device, output};
use crate::pretrain::Parameters;
use crate::search::Settings;
use crate::structure::{Budget, Space};
use crate::t5::Backbone;
use crate::task::{Split, Task};
use anyhow::{Result, bail};
use serde::Serialize;
use serde_json::json;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  s3delta bench variants --tasks builtin-topic --variants first,random --seeds 2 --results variants.jsonl
  s3delta bench variants --data ./data --tasks sst2,trec,subj,builtin-topic --results variants.jsonl --json
  s3delta bench variants --tasks builtin-topic --variants first,hard,full-fine-tuning --results variants.jsonl

Each run searches by one variant on train rows drawn by its seed, under the first of --shares; for the others ζ is solved anew, unless
--search-each. What is found is trained anew on the same rows, and its best dev checkpoint scored on test. `above` is by how much it
beats the random structures of the same task, share and seed: the mean and its standard error. `full-fine-tuning` trains all parameters
on the same rows; what a manual method gives on them, `s3delta bench backbone` tells with the same --train-rows, --dev-rows and
--test-rows. A run that the results hold already is
not made again, so after Ctrl-C the same command goes on where it was.")]
pub(crate) struct Args {
    /// Tasks by name or TOML file; built-in ones need no --data.
    #[arg(long, value_name = "NAME|FILE.toml", value_delimiter = ',', required = true)]
    tasks: Vec<String>,
    /// Folder of the tasks' rows.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// What to compare.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "first,second,reference,random")]
    variants: Vec<Variant>,
    /// mix, lora or full.
    #[arg(long, default_value = "mix")]
    space: String,
    /// Shares of the space that a structure may have; the search is under the first.
    #[arg(long, value_name = "SHARE", value_delimiter = ',', default_value = "5.447%,11%,1.365%")]
    shares: Vec<Budget>,
    /// Search for each share.
    #[arg(long)]
    search_each: bool,
    /// Runs with the seeds 0 to N-1.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=64))]
    seeds: u64,
    /// Training rows, labels in proportion, drawn by each run's seed.
    #[arg(long, value_name = "N", default_value = "1000")]
    train_rows: NonZeroUsize,
    /// Dev rows, the same in all runs.
    #[arg(long, value_name = "N", default_value = "500")]
    dev_rows: NonZeroUsize,
    /// Test rows, the same in all runs.
    #[arg(long, value_name = "N", default_value = "1000")]
    test_rows: NonZeroUsize,
    /// Passes of a search over its half of the rows.
    #[arg(long, value_name = "N", default_value = "5")]
    search_epochs: NonZeroUsize,
    /// Passes of a training over the rows.
    #[arg(long, value_name = "N", default_value = "5")]
    retrain_epochs: NonZeroUsize,
    /// Rows a step.
    #[arg(long, value_name = "N", default_value = "16")]
    batch_size: NonZeroUsize,
    /// Dev evaluations during each search and training.
    #[arg(long, value_name = "N", default_value = "5")]
    evaluations: NonZeroUsize,
    /// Tokens of a source text; longer ones are cut.
    #[arg(long, value_name = "N", default_value = "128")]
    max_source_tokens: NonZeroUsize,
    /// Put rows of like length into a batch, in searches and trainings.
    #[arg(long)]
    group_by_length: bool,
    /// Learning rate of the delta weights while searching.
    #[arg(long, value_name = "RATE", default_value_t = 3e-3, value_parser = positive)]
    rate: f64,
    /// Learning rate of the structural parameters.
    #[arg(long, value_name = "RATE", default_value_t = 0.1, value_parser = positive)]
    structural_rate: f64,
    /// Learning rate of the training of what was found.
    #[arg(long, value_name = "RATE", default_value_t = 3e-3, value_parser = positive)]
    retrain_rate: f64,
    /// Learning rate of full fine-tuning, times each parameter's initial scale.
    #[arg(long, value_name = "RATE", default_value_t = RATE, value_parser = positive)]
    full_rate: f64,
    /// File that keeps the runs, one JSON document a line.
    #[arg(long, value_name = "FILE.jsonl")]
    results: Option<PathBuf>,
    /// Runs side by side [default: on the CPU one a thread].
    #[arg(long, value_name = "N")]
    parallel: Option<NonZeroUsize>,
    #[command(flatten)]
    on: On,
    /// Print summary and runs as JSON.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn run(&self, home: &Path) -> Result<()> {
        twice("--variants", &self.variants)?;
        twice("--shares", &self.shares)?;
        let config = self.on.config(home)?;
        let tasks = open_tasks(&self.tasks, self.data.as_deref())?;
        let mut results = Results::open(self.results.as_deref())?;
        let (device, _) = open_device(&config)?;
        let backbone = Backbone::resolve(&config.backbone, &device)?;
        let space = Space::built_in(&self.space, backbone.shape())?;
        for share in &self.shares {
            let budget = share.resolve(&space, backbone.parameters)?;
            for variant in &self.variants {
                variant.settings(Settings::default()).selection.check(space.sizes(), budget)?;
            }
        }
        let parallel = runs_side_by_side(self.parallel, &device, true)?;
        let full = self.variants.contains(&Variant::FullFineTuning);
        let parameters = full.then(|| all_parameters(&config, &backbone)).transpose()?;
        let plan = self.plan(&backbone, &space, &tasks, parameters.as_ref());
        let all: Vec<Trial> = plan.iter().map(|run| run.setup.clone()).collect();
        let missing: Vec<Run> = plan.into_iter().filter(|run| results.get(&run.setup).is_none()).collect();
        eprintln!("{} runs, {} of them in the results already", all.len(), all.len() - missing.len());
        let stop = interrupt::noted();
        let ended = make_all(&missing, parallel, &mut results, &stop);
        let lines: Vec<&Line<Trial>> = all.iter().filter_map(|setup| results.get(setup)).collect();
        if lines.is_empty() {
            return ended;
        }
        let summary = summarise(&lines);
        if self.json {
            let name = &backbone.name;
            output::json(
                &json!({"backbone": name, "backbone_digest": backbone.digest, "summary": summary, "runs": lines}),
            )?;
        } else {
            output::table(&Summary::HEADERS, &summary.iter().map(Summary::cells).collect::<Vec<_>>());
        }
        ended
    }

    /// Every run, seed after seed, so that what is stopped early has all tasks and variants first.
    fn plan<'a>(
        &self,
        backbone: &'a Backbone,
        space: &'a Space,
        tasks: &'a [Task],
        parameters: Option<&'a Parameters>,
    ) -> Vec<Run<'a>> {
        let digests: Vec<String> = tasks.iter().map(Task::digest).collect();
        let shares: Vec<_> = self.shares.iter().map(ToString::to_string).collect();
        let mut runs = Vec::new();
        for seed in 0..self.seeds {
            for (task, digest) in tasks.iter().zip(&digests) {
                let rows = |split: Split, most: NonZeroUsize| most.get().min(task.split(split).len());
                let setup = |variant: &Variant| Trial {
                    bench: Trial::BENCH.into(),
                    backbone_digest: backbone.digest.clone(),
                    task: task.name().into(),
                    task_digest: digest.clone(),
                    metric: task.definition.metric,
                    space: space.name().into(),
                    variant: *variant,
                    settings: format!("{:?}", variant.settings(Settings::default())),
                    shares: shares.clone(),
                    search_each: self.search_each,
                    seed,
                    train_rows: rows(Split::Train, self.train_rows),
                    dev_rows: rows(Split::Dev, self.dev_rows),
                    test_rows: rows(Split::Test, self.test_rows),
                    max_source_tokens: self.max_source_tokens.get(),
                    search_epochs: self.search_epochs.get(),
                    retrain_epochs: self.retrain_epochs.get(),
                    batch_size: self.batch_size.get(),
                    evaluations: self.evaluations.get(),
                    group_by_length: self.group_by_length,
                    rate: self.rate,
                    structural_rate: self.structural_rate,
                    retrain_rate: if *variant == Variant::FullFineTuning { self.full_rate } else { self.retrain_rate },
                };
                let run = |variant| Run { setup: setup(variant).settled(), task, backbone, space, parameters };
                runs.extend(self.variants.iter().map(run));
            }
        }
        runs
    }
}

/// Refuses a list that has an entry twice.
fn twice<T: PartialEq>(flag: &str, values: &[T]) -> Result<()> {
    if (1..values.len()).any(|at| values[..at].contains(&values[at])) {
        bail!("{flag} has an entry twice: leave one out");
    }
    Ok(())
}

/// The runs of one task, share and variant; without a task, of all tasks.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Summary {
    task: Option<String>,
    share: String,
    variant: Variant,
    runs: usize,
    score: Spread,
    /// By how much the score is above that of the random structure of the same task, share and seed.
    above: Option<Spread>,
    modules: f64,
    parameters: f64,
    search_seconds: f64,
    retrain_seconds: f64,
}

/// Means over seeds by task, then over tasks and seeds, in the order in which tasks, shares and variants first appear.
fn summarise(lines: &[&Line<Trial>]) -> Vec<Summary> {
    let mut summaries = Vec::new();
    let tasks = distinct(lines.iter().map(|line| line.setup.task.clone()));
    let variants = distinct(lines.iter().map(|line| line.setup.variant));
    let points = lines.iter().flat_map(|line| &line.outcome.points);
    let shares = distinct(points.map(|point| point.share.clone()));
    for task in tasks.into_iter().map(Some).chain([None]) {
        for share in &shares {
            for variant in &variants {
                let of_task = lines.iter().filter(|line| task.as_ref().is_none_or(|task| *task == line.setup.task));
                let found: Vec<_> = of_task
                    .filter(|line| line.setup.variant == *variant)
                    .filter_map(|line| Some((*line, point(line, share)?)))
                    .collect();
                if found.is_empty() {
                    continue;
                }
                let mean = |value: fn(&Line<Trial>, &Point) -> f64| {
                    found.iter().map(|(line, point)| value(line, point)).sum::<f64>() / found.len() as f64
                };
                let random = |line: &Line<Trial>| {
                    let twin = |other: &&&Line<Trial>| {
                        let settings = other.setup.settings.clone();
                        let wanted = Trial { variant: Variant::Random, settings, ..line.setup.clone() };
                        other.setup == wanted
                    };
                    point(lines.iter().find(twin)?, share).map(|point| point.score)
                };
                let above: Option<Vec<f64>> =
                    found.iter().map(|(line, point)| Some(point.score - random(line)?)).collect();
                let scores: Vec<_> = found.iter().map(|(_, point)| point.score).collect();
                summaries.push(Summary {
                    task: task.clone(),
                    share: share.clone(),
                    variant: *variant,
                    runs: found.len(),
                    score: Spread::of(&scores),
                    above: above.filter(|_| *variant != Variant::Random).map(|above| Spread::of(&above)),
                    modules: mean(|_, point| point.modules as f64),
                    parameters: mean(|_, point| point.parameters as f64),
                    search_seconds: mean(|line, _| line.outcome.search_seconds),
                    retrain_seconds: mean(|_, point| point.retrain_seconds),
                });
            }
        }
    }
    summaries
}

fn point<'a>(line: &'a Line<Trial>, share: &str) -> Option<&'a Point> {
    line.outcome.points.iter().find(|point| point.share == share)
}

fn distinct<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut found = Vec::new();
    values.for_each(|value| {
        if !found.contains(&value) {
            found.push(value);
        }
    });
    found
}

impl Summary {
    const HEADERS: [&'static str; 9] =
        ["task", "share", "variant", "runs", "score", "above random", "modules", "search s", "retrain s"];

    fn cells(&self) -> Vec<String> {
        let variant = serde_json::to_value(self.variant).expect("a variant is a word");
        let error = |spread: Spread| {
            let error = spread.deviation.map(|deviation| deviation / (self.runs as f64).sqrt());
            error.map_or_else(|| format!("{:+.4}", spread.mean), |error| format!("{:+.4} ± {error:.4}", spread.mean))
        };
        vec![
            self.task.clone().unwrap_or_else(|| "all".into()),
            self.share.clone(),
            variant.as_str().unwrap_or_default().into(),
            self.runs.to_string(),
            self.score.to_string(),
            self.above.map_or_else(|| "-".into(), error),
            format!("{:.0}", self.modules),
            format!("{:.0}", self.search_seconds),
            format!("{:.0}", self.retrain_seconds),
        ]
    }
}
