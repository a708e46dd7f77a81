//! `s3delta bench backbone`: how well a backbone adapts, by task, method and seed.

use super::adaption::{Adaption, Start, Summary, summarise};
use super::board::{make_all, open_tasks, runs_side_by_side};
use super::method::{Method, Rate, all_parameters, check_untied, methods};
use super::results::{Line, Results, Setup};
use super::run::{Origin, Run};
use crate::cli::{On, interrupt, open_device, output};
use crate::t5::Backbone;
use crate::task::{Split, Task};
use crate::train::Settings;
use anyhow::Result;
use serde_json::json;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  s3delta bench backbone --tasks builtin-topic --methods full,bitfit --seeds 1 --steps 100
  s3delta bench backbone --data ./data --random --results pocket.jsonl
  s3delta bench backbone --backbone ./t5-v1_1-small --data ./data --tasks sst2,trec --methods found.json,lora \\
      --rates found=1e-3,lora=1e-3 --results small.jsonl --json

Each run trains on rows of train drawn by its seed, takes the checkpoint that scores best on dev, and scores that on test. A
run that the results hold already (same backbone, rows and settings) is not made again, so after Ctrl-C the same command goes
on where it was. `majority` is the accuracy of test's most frequent answer, and `above` the points of accuracy beyond it; a
task of numbers counts from 0.")]
pub(crate) struct Args {
    /// Tasks by name or TOML file; built-in ones need no --data.
    #[arg(
        long,
        value_name = "NAME|FILE.toml",
        value_delimiter = ',',
        default_value = "sst2,cola,mrpc,rte,stsb,trec,subj,ag_news"
    )]
    tasks: Vec<String>,
    /// Folder of the tasks' rows.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// full (all parameters), lora (r = 8 on self-attention q and v), bitfit, lnfit, lora_qv (r = 1), low_rank_adapter,
    /// adapter, or structure documents.
    #[arg(long, value_name = "NAME|FILE.json", value_delimiter = ',', default_value = "full,bitfit,lora")]
    methods: Vec<String>,
    /// Run each from random weights of the same shape too (T5's initialisation by the run's seed).
    #[arg(long)]
    random: bool,
    /// Runs with the seeds 0 to N-1.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=64))]
    seeds: u64,
    /// Training rows, labels in proportion, drawn by each run's seed.
    #[arg(long, value_name = "N", default_value = "2000")]
    train_rows: NonZeroUsize,
    /// Dev rows, the same in all runs.
    #[arg(long, value_name = "N", default_value = "500")]
    dev_rows: NonZeroUsize,
    /// Test rows, the same in all runs [default: all].
    #[arg(long, value_name = "N")]
    test_rows: Option<NonZeroUsize>,
    /// Optimiser steps.
    #[arg(long, value_name = "N", default_value = "600")]
    steps: NonZeroUsize,
    /// Rows a step.
    #[arg(long, value_name = "N", default_value = "16")]
    batch_size: NonZeroUsize,
    /// Dev evaluations during a run.
    #[arg(long, value_name = "N", default_value = "6")]
    evaluations: NonZeroUsize,
    /// Tokens of a source text; longer ones are cut.
    #[arg(long, value_name = "N", default_value_t = 128)]
    max_source_tokens: usize,
    /// Learning rates by method, a file's by its name without .json; full's is times each parameter's initial scale
    /// [default: 5e-3].
    #[arg(long, value_name = "METHOD=RATE", value_delimiter = ',')]
    rates: Vec<Rate>,
    /// File that keeps the runs, one JSON document a line.
    #[arg(long, value_name = "FILE.jsonl")]
    results: Option<PathBuf>,
    /// Runs side by side [default: on the CPU one a thread if the backbone has less than 50 million parameters, else 1].
    #[arg(long, value_name = "N")]
    parallel: Option<NonZeroUsize>,
    #[command(flatten)]
    on: On,
    /// Print summary and runs as JSON.
    #[arg(long)]
    json: bool,
}

/// Parameters above which runs do not go side by side unless asked to: each holds its own several times over.
const SMALL: usize = 50_000_000;

impl Args {
    pub(crate) fn run(&self, home: &Path) -> Result<()> {
        let config = self.on.config(home)?;
        let tasks = open_tasks(&self.tasks, self.data.as_deref())?;
        let mut results = Results::open(self.results.as_deref())?;
        let (device, _) = open_device(&config)?;
        let backbone = Backbone::resolve(&config.backbone, &device)?;
        let parallel = runs_side_by_side(self.parallel, &device, backbone.parameters < SMALL)?;
        let methods = methods(&self.methods, &self.rates, backbone.shape())?;
        let full = methods.iter().any(|method| method.structure.is_none());
        if self.random {
            check_untied(&backbone)?;
        }
        let parameters = full.then(|| all_parameters(&config, &backbone)).transpose()?;
        let origin = Origin { backbone: &backbone, parameters };
        let plan = self.plan(&origin, &tasks, &methods);
        let all: Vec<Adaption> = plan.iter().map(|run| run.setup.clone()).collect();
        let missing: Vec<Run> = plan.into_iter().filter(|run| results.get(&run.setup).is_none()).collect();
        eprintln!("{} runs, {} of them in the results already", all.len(), all.len() - missing.len());
        let stop = interrupt::noted();
        let ended = make_all(&missing, parallel, &mut results, &stop);
        let lines: Vec<&Line<Adaption>> = all.iter().filter_map(|setup| results.get(setup)).collect();
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

    /// Every run, seed after seed, so that what is stopped early has all tasks and methods first.
    fn plan<'a>(&self, origin: &'a Origin<'a>, tasks: &'a [Task], methods: &'a [Method]) -> Vec<Run<'a>> {
        let starts: &[Start] = if self.random { &[Start::Pretrained, Start::Random] } else { &[Start::Pretrained] };
        let digests: Vec<String> = tasks.iter().map(Task::digest).collect();
        let mut runs = Vec::new();
        for seed in 0..self.seeds {
            for (task, digest) in tasks.iter().zip(&digests) {
                let rows = |split: Split, most: usize| most.min(task.split(split).len());
                for method in methods {
                    let setup = |start: &Start| Adaption {
                        bench: Adaption::BENCH.into(),
                        backbone_digest: origin.backbone.digest.clone(),
                        task: task.name().into(),
                        task_digest: digest.clone(),
                        metric: task.definition.metric,
                        method: method.name.clone(),
                        structure: method.structure.as_ref().map(|structure| structure.id.clone()),
                        start: *start,
                        seed,
                        train_rows: rows(Split::Train, self.train_rows.get()),
                        dev_rows: rows(Split::Dev, self.dev_rows.get()),
                        test_rows: rows(Split::Test, self.test_rows.map_or(usize::MAX, NonZeroUsize::get)),
                        max_source_tokens: self.max_source_tokens,
                        steps: self.steps.get(),
                        batch_size: self.batch_size.get(),
                        evaluations: self.evaluations.get(),
                        rate: method.rate,
                        clip: Settings::default().clip,
                    };
                    runs.extend(starts.iter().map(|start| Run { setup: setup(start), task, method, origin }));
                }
            }
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(words: &[&str]) -> Args {
        Line::try_parse_from(["bench"].iter().chain(words)).unwrap().args
    }

    #[test]
    fn lists_are_parted_by_commas_by_default_too() {
        let found = args(&["--rates", "full=2e-3,lora=1e-3"]);
        assert_eq!((found.tasks.len(), found.methods.len(), found.rates.len()), (8, 3, 2));
        let ready = |name: &String| crate::task::ready(name).is_ok();
        assert!(found.tasks.iter().all(ready), "{:?}", found.tasks);
    }

    #[test]
    fn the_plan_has_every_run_once_and_its_settings() {
        let found = args(&["--tasks", "builtin-topic,builtin-similarity", "--random", "--test-rows", "9000"]);
        let backbone = Backbone::resolve("builtin:pocket-t5", &Device::flex()).unwrap();
        let methods = methods(&found.methods, &found.rates, backbone.shape()).unwrap();
        let tasks = open_tasks(&found.tasks, None).unwrap();
        let origin = Origin { backbone: &backbone, parameters: None };
        let plan = found.plan(&origin, &tasks, &methods);
        assert_eq!(plan.len(), 3 * 2 * 3 * 2);
        assert!(plan.iter().enumerate().all(|(at, run)| plan[..at].iter().all(|other| other.setup != run.setup)));
        assert_eq!((plan[11].setup.seed, plan[12].setup.seed), (0, 1), "seed after seed");
        let Adaption { start, train_rows, dev_rows, test_rows, rate, .. } = plan[1].setup;
        assert_eq!((start, train_rows, dev_rows, test_rows, rate), (Start::Random, 2000, 400, 800, 5e-3));
    }

    #[test]
    fn a_task_is_named_once() {
        let found = args(&["--tasks", "builtin-topic,builtin-topic"]);
        let error = open_tasks(&found.tasks, None).unwrap_err().to_string();
        assert!(error.contains("`builtin-topic` twice"), "{error}");
    }
}
