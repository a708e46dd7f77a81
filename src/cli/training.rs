//! `s3delta retrain`, `transfer` and `evaluate`: jobs of the API, followed to their end.

use super::session::Session;
use super::tasks::{self, Data};
use super::{On, follow, output, space};
use crate::structure::Budget;
use anyhow::Result;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// How to train; what is not given is the API's default.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Training {
    /// Optimiser steps.
    #[arg(long, value_name = "N", conflicts_with = "epochs")]
    steps: Option<usize>,
    /// Passes over the training rows [default: 5].
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Rows a step [default: 16].
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// Learning rate of the delta weights [default: 3e-4].
    #[arg(long, value_name = "RATE", value_parser = super::finite)]
    learning_rate: Option<f64>,
    /// Training rows to use, labels in proportion [default: all].
    #[arg(long, value_name = "N")]
    train_rows: Option<usize>,
    /// Tokens of a source text; longer ones are cut [default: 128].
    #[arg(long, value_name = "N")]
    max_source_tokens: Option<usize>,
    /// Put rows of like length into a batch: less is padded.
    #[arg(long)]
    group_by_length: bool,
    /// Dev evaluations during a run [default: 10].
    #[arg(long, value_name = "N")]
    evaluations: Option<usize>,
    /// Adapter that gets the trained weights [default: after the task].
    #[arg(long, value_name = "NAME")]
    adapter: Option<String>,
}

/// Seeds of a run.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Seeds {
    /// One run with this seed.
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "seeds")]
    seed: u64,
    /// Runs with the seeds 0 to N-1.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=64))]
    seeds: Option<u64>,
}

impl Seeds {
    pub(super) fn list(&self) -> Vec<u64> {
        self.seeds.map_or(vec![self.seed], |count| (0..count).collect())
    }
}

impl Training {
    /// The request's fields that are given.
    pub(super) fn fields(&self) -> Map<String, Value> {
        let all = json!({
            "steps": self.steps,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "train_rows": self.train_rows,
            "max_source_tokens": self.max_source_tokens,
            "group_by_length": self.group_by_length.then_some(true),
            "evaluations": self.evaluations,
            "adapter": self.adapter,
        });
        given(all)
    }
}

/// The fields of an object that are not null.
pub(super) fn given(object: Value) -> Map<String, Value> {
    let Value::Object(fields) = object else { unreachable!("an object was written") };
    fields.into_iter().filter(|(_, value)| !value.is_null()).collect()
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  s3delta retrain --structure 3f2a91 --task builtin-topic
  s3delta retrain --structure bitfit --task sst2 --data ./glue-sst2
  s3delta retrain --structure random --budget 5.447% --task builtin-topic --seed 3")]
pub(crate) struct RetrainArgs {
    /// A structure's id or a prefix of it, or a baseline: random, bitfit, lnfit, lora_qv, low_rank_adapter, adapter.
    #[arg(long, value_name = "ID|BASELINE")]
    structure: String,
    /// A registered, built-in or ready-made task, or a TOML file.
    #[arg(long, value_name = "NAME|FILE.toml")]
    task: String,
    #[command(flatten)]
    data: Data,
    /// Space that a random structure is drawn from.
    #[arg(long, default_value = "mix", value_name = "NAME|FILE")]
    space: String,
    /// Parameters of a random structure.
    #[arg(long)]
    budget: Option<Budget>,
    /// Seed of the initial values, the order of rows and a random structure.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    training: Training,
    #[command(flatten)]
    on: On,
    /// Print the finished job as JSON.
    #[arg(long)]
    json: bool,
}

impl RetrainArgs {
    pub(crate) fn run(&self, home: &Path) -> Result<()> {
        let session = Session::open(home, &self.on)?;
        let mut request = self.training.fields();
        request.insert("structure".into(), self.structure.as_str().into());
        request.insert("task".into(), tasks::register(&session, &self.task, &self.data)?.into());
        request.insert("space".into(), space::field(&self.space)?);
        if let Some(budget) = self.budget {
            request.insert("budget".into(), budget.to_string().into());
        }
        request.insert("seed".into(), self.seed.into());
        print(&follow::submit(&session, "/v1/retrains", &request)?, self.json)
    }
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  s3delta transfer --from builtin-sentiment --to builtin-topic
  s3delta transfer --from sst2 --to cola --data ./data --train-rows 2000 --seeds 4 --json")]
pub(crate) struct TransferArgs {
    /// A task that a structure was searched on (the newest is taken), or a structure's id.
    #[arg(long, value_name = "TASK|STRUCTURE")]
    from: String,
    /// The task to train on: registered, built-in, ready-made, or a TOML file.
    #[arg(long, value_name = "NAME|FILE.toml")]
    to: String,
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    seeds: Seeds,
    #[command(flatten)]
    training: Training,
    #[command(flatten)]
    on: On,
    /// Print the finished job as JSON.
    #[arg(long)]
    json: bool,
}

impl TransferArgs {
    pub(crate) fn run(&self, home: &Path) -> Result<()> {
        let session = Session::open(home, &self.on)?;
        let mut request = self.training.fields();
        request.insert("source".into(), self.from.as_str().into());
        request.insert("target".into(), tasks::register(&session, &self.to, &self.data)?.into());
        request.insert("seeds".into(), self.seeds.list().into());
        print(&follow::submit(&session, "/v1/transfers", &request)?, self.json)
    }
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  s3delta evaluate --adapter sst2 --task sst2
  s3delta evaluate --task builtin-topic          the bare backbone")]
pub(crate) struct EvaluateArgs {
    /// Adapter: name, name@alias or name@generation; the bare backbone if not given.
    #[arg(long, value_name = "NAME")]
    adapter: Option<String>,
    /// A registered, built-in or ready-made task, or a TOML file.
    #[arg(long, value_name = "NAME|FILE.toml")]
    task: String,
    /// Folder of the rows; needed once for a ready-made task.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Which rows.
    #[arg(long, default_value = "test")]
    split: crate::task::Split,
    /// How many of them [default: all].
    #[arg(long, value_name = "N")]
    rows: Option<usize>,
    #[command(flatten)]
    on: On,
    /// Print the finished job as JSON.
    #[arg(long)]
    json: bool,
}

impl EvaluateArgs {
    pub(crate) fn run(&self, home: &Path) -> Result<()> {
        let session = Session::open(home, &self.on)?;
        let task = tasks::register(&session, &self.task, &Data::plain(self.data.clone()))?;
        let request = json!({"adapter": self.adapter, "task": task, "split": self.split, "rows": self.rows});
        print(&follow::submit(&session, "/v1/evaluations", &request)?, self.json)
    }
}

/// The finished job as one document, or its result as lines for people.
pub(super) fn print(job: &Value, json: bool) -> Result<()> {
    if json {
        return output::json(job);
    }
    let fields = job["result"].as_object().cloned().unwrap_or_default();
    let rows: Vec<_> = fields
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| vec![name.clone(), value.to_string().trim_matches('"').to_string()])
        .collect();
    output::table(&["result", ""], &rows);
    Ok(())
}
