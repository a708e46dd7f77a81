//! `s3delta search`: a job of the API, followed to its end.

use super::session::Session;
use super::tasks::{self, Data};
use super::training::{Seeds, Training, given, print};
use super::{On, follow, space};
use crate::jobs::Preset;
use crate::search::{DevGates, Masks, Order};
use crate::structure::{Budget, Selection};
use anyhow::Result;
use serde_json::json;
use std::path::Path;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  s3delta search --task builtin-sentiment --budget 5.447%
  s3delta search --task sst2 --data ./glue-sst2 --train-rows 2000 --budget 5.447% --seeds 4 --json
  s3delta search --task my-task.toml --backbone ./t5-base --budget 1.389e-4 --preset s3delta-paper
  s3delta search --task builtin-topic --budget 5.447% --more-budgets 11%,1.365% --no-retrain
  s3delta search --task mrpc --data ./data --budget 5.447% --warm-start sst2 --steps 100

Ctrl-C leaves a checkpoint: `s3delta jobs resume ID` goes on.")]
pub(crate) struct SearchArgs {
    /// A registered, built-in or ready-made task, or a TOML file.
    #[arg(long, value_name = "NAME|FILE.toml")]
    task: String,
    #[command(flatten)]
    data: Data,
    /// mix, lora, full, or a TOML file.
    #[arg(long, default_value = "mix", value_name = "NAME|FILE")]
    space: String,
    /// Parameters: a count, a ratio of the backbone (1.389e-4), or a share of the space (5.447%).
    #[arg(long)]
    budget: Budget,
    /// Budgets for each of which a structure is chosen too, from the same search.
    #[arg(long, value_name = "BUDGET", value_delimiter = ',')]
    more_budgets: Vec<Budget>,
    /// How modules are chosen from their probabilities [default: exact].
    #[arg(long, value_enum)]
    selection: Option<Selection>,
    /// Stop after the search: do not train the structure found.
    #[arg(long)]
    no_retrain: bool,
    #[command(flatten)]
    variant: Variant,
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

/// Variants of the method; what is not given is the preset's, or the API's default.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Variants of the method")]
struct Variant {
    /// Order, batch size, selection and dropout under one name: the paper's equations, or its authors' code.
    #[arg(long, value_enum)]
    preset: Option<Preset>,
    /// The structural gradient: first order takes two passes a step, second (the paper's) four [default: first].
    #[arg(long, value_enum)]
    order: Option<Order>,
    /// Learning rate of the structural parameters [default: 0.1].
    #[arg(long, value_name = "RATE", value_parser = super::finite)]
    structural_learning_rate: Option<f64>,
    /// Temperature τ of the shifted sigmoid [default: 1].
    #[arg(long, value_name = "T", value_parser = super::finite)]
    tau: Option<f64>,
    /// Temperature β of the gates [default: 1].
    #[arg(long, value_name = "T", value_parser = super::finite)]
    beta: Option<f64>,
    /// Size of the central difference's perturbation, over the norm of its direction [default: 0.01].
    #[arg(long, value_name = "E", value_parser = super::finite)]
    epsilon: Option<f64>,
    /// Share of the training rows for the delta weights; the structural parameters have the others, and a pass of --epochs goes over
    /// the longer part [default: 0.5].
    #[arg(long, value_name = "PART", value_parser = super::finite)]
    delta_share: Option<f64>,
    /// Dropout rate while searching [default: 0].
    #[arg(long, value_name = "RATE", value_parser = super::finite)]
    dropout: Option<f64>,
    /// Whether the passes of a step share dropout's masks [default: shared].
    #[arg(long, value_enum)]
    dropout_masks: Option<Masks>,
    /// Gates of the dev score that keeps the best structural parameters [default: soft].
    #[arg(long, value_enum)]
    dev_gates: Option<DevGates>,
    /// The L0 control with this penalty, in place of the budget while searching.
    #[arg(long, value_name = "LAMBDA", value_parser = super::finite)]
    l0: Option<f64>,
    /// Search modules no further whose probability falls below this part of the budget's share [default: 0, none].
    #[arg(long, value_name = "PART", value_parser = super::finite)]
    prune_below: Option<f64>,
    /// Start from the probabilities of a task's newest search, or of a structure, as far as 1e-7 from 0 and 1.
    #[arg(long, value_name = "TASK|STRUCTURE")]
    warm_start: Option<String>,
    /// Start from each module's saliency over so many batches, which no step is taken for [default: 0, none].
    #[arg(long, value_name = "N", conflicts_with = "warm_start")]
    saliency: Option<usize>,
}

impl SearchArgs {
    pub(crate) fn run(&self, home: &Path) -> Result<()> {
        let session = Session::open(home, &self.on)?;
        let mut request = self.training.fields();
        request.insert("task".into(), tasks::register(&session, &self.task, &self.data)?.into());
        request.insert("space".into(), space::field(&self.space)?);
        request.insert("budget".into(), self.budget.to_string().into());
        request.insert("seeds".into(), self.seeds.list().into());
        request.insert("retrain".into(), (!self.no_retrain).into());
        if !self.more_budgets.is_empty() {
            let more: Vec<_> = self.more_budgets.iter().map(ToString::to_string).collect();
            request.insert("more_budgets".into(), more.into());
        }
        let variant = &self.variant;
        request.extend(given(json!({
            "selection": self.selection,
            "preset": variant.preset,
            "order": variant.order,
            "structural_learning_rate": variant.structural_learning_rate,
            "tau": variant.tau,
            "beta": variant.beta,
            "epsilon": variant.epsilon,
            "delta_share": variant.delta_share,
            "dropout": variant.dropout,
            "dropout_masks": variant.dropout_masks,
            "dev_gates": variant.dev_gates,
            "l0": variant.l0,
            "prune_below": variant.prune_below,
            "warm_start": variant.warm_start,
            "saliency": variant.saliency,
        })));
        print(&follow::submit(&session, "/v1/searches", &request)?, self.json)
    }
}
