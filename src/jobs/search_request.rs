//! What a search is asked to do: the method's variants are fields, and a preset gives several of them one name.

use super::bounds::{at_most, check_seeds, rate};
use super::request::{self, SpaceChoice, evaluations, learning_rate, max_source_tokens, one_seed, yes};
use super::{Error, Result};
use crate::{
    search::{DevGates, Masks, Order, Settings},
    structure::{Budget, Selection},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Settings under one name; a field that a request gives itself goes before them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema, clap::ValueEnum)]
pub enum Preset {
    /// The paper's equations: `order` second, `batch_size` 32.
    #[serde(rename = "s3delta-paper")]
    #[value(name = "s3delta-paper")]
    Paper,
    /// As its authors' code does it: `order` reference, `selection` greedy, `dropout` 0.1 with `dropout_masks` free,
    /// `batch_size` 32.
    #[serde(rename = "s3delta-reference")]
    #[value(name = "s3delta-reference")]
    Reference,
}

/// A search for a structure (method.md sections 3 to 5).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchRequest {
    /// Task to search on.
    pub task: String,
    /// Digest of the task's rows and template; filled in when the job is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_digest: Option<String>,
    /// Digest of the backbone's weights; filled in when the job is accepted, so that it never goes on over another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backbone_digest: Option<String>,
    /// `mix`, `lora`, `full`, or a space of one's own.
    #[serde(default)]
    pub space: SpaceChoice,
    /// Parameters that the structure may have.
    pub budget: Budget,
    /// Further budgets, for each of which a structure is chosen from the same structural parameters, ζ solved anew; it is not
    /// trained.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more_budgets: Vec<Budget>,
    /// Gives `order`, `batch_size`, `selection`, `dropout` and `dropout_masks` where they are absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<Preset>,
    /// How the structural gradient is taken; `first` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
    /// How modules are chosen from their p; `exact` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selection: Option<Selection>,
    /// Rows of a step; 16 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<usize>,
    /// Dropout rate while searching, in 0..1; 0 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropout: Option<f64>,
    /// Whether the passes of a step share dropout's masks; `shared` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropout_masks: Option<Masks>,
    /// Gates of the dev score by which the best structural parameters are kept.
    #[serde(default)]
    pub dev_gates: DevGates,
    /// Temperature τ of the shifted sigmoid.
    #[serde(default = "tau")]
    pub tau: f64,
    /// Temperature β of the gates.
    #[serde(default = "beta")]
    pub beta: f64,
    /// Size of the perturbation of the central difference: ε = this / (‖v‖ + 1e-6).
    #[serde(default = "epsilon")]
    pub epsilon: f64,
    /// Share of the training rows that the delta weights are searched on; the structural parameters have the others. A pass of
    /// `epochs` goes over the longer part.
    #[serde(default = "delta_share")]
    pub delta_share: f64,
    /// Penalty λ₀ of the L0 control, which replaces ζ and the competition between modules; the method itself if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l0: Option<f64>,
    /// Modules whose p falls below this part of the budget's share of the space at a dev evaluation are searched no further; 0
    /// keeps all.
    #[serde(default)]
    pub prune_below: f64,
    /// A task that a structure was searched on, or a structure's id, whose p the structural parameters start from, as far as 1e-7
    /// from 0 and 1, so that no module is out of reach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_start: Option<String>,
    /// When the search was accepted whose p are taken, as another one may have found the same structure; filled in when the job is
    /// accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub warm_start_search: Option<Timestamp>,
    /// Batches by which each module's saliency is measured before the first step, for the structural parameters to start from; they
    /// start at 0 if it is 0. Excludes `warm_start`.
    #[serde(default)]
    pub saliency: usize,
    /// One search per seed, which also draws `train_rows`; the structure comes from their mean p and is re-trained by the first.
    #[serde(default = "one_seed")]
    pub seeds: Vec<u64>,
    /// Steps; excludes `epochs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// Passes over the training rows, of a search over the longer of their two parts; 5 if `steps` is absent too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<usize>,
    /// Learning rate of the delta weights.
    #[serde(default = "learning_rate")]
    pub learning_rate: f64,
    /// Learning rate of the structural parameters.
    #[serde(default = "structural_learning_rate")]
    pub structural_learning_rate: f64,
    /// Training rows to use; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_rows: Option<usize>,
    /// Tokens of a source text; longer ones are cut.
    #[serde(default = "max_source_tokens")]
    pub max_source_tokens: usize,
    /// Whether rows of like length share a batch: less is padded, and batches are less alike.
    #[serde(default)]
    pub group_by_length: bool,
    /// Dev evaluations during each search and re-training.
    #[serde(default = "evaluations")]
    pub evaluations: usize,
    /// Whether to re-train the structure found and register it as an adapter.
    #[serde(default = "yes")]
    pub retrain: bool,
    /// Adapter that gets the new generation; the task's name if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<String>,
}

fn tau() -> f64 {
    Settings::default().tau
}
fn beta() -> f64 {
    Settings::default().beta
}
fn epsilon() -> f64 {
    Settings::default().epsilon
}
fn delta_share() -> f64 {
    Settings::default().delta_share
}
fn structural_learning_rate() -> f64 {
    Settings::default().structural_learning_rate
}

impl SearchRequest {
    /// Fills in what the preset or the defaults say, so that the stored request tells all.
    pub(super) fn settle(&mut self) {
        let plain = Settings::default();
        let (order, selection, batch_size, dropout, masks) = match self.preset {
            None => (plain.order, plain.selection, request::batch_size(), plain.dropout, plain.masks),
            Some(Preset::Paper) => (Order::Second, Selection::Exact, 32, 0.0, Masks::Shared),
            Some(Preset::Reference) => (Order::Reference, Selection::Greedy, 32, 0.1, Masks::Free),
        };
        self.order.get_or_insert(order);
        self.selection.get_or_insert(selection);
        self.batch_size.get_or_insert(batch_size);
        self.dropout.get_or_insert(dropout);
        self.dropout_masks.get_or_insert(masks);
        self.adapter = Some(self.adapter_name());
    }

    /// Rows of a step.
    pub(super) fn rows_a_step(&self) -> usize {
        self.batch_size.unwrap_or_else(request::batch_size)
    }

    /// The settings of a search of so many steps; `warm_start` is p of an earlier search by module, or empty.
    pub(super) fn settings(&self, steps: usize, seed: u64, warm_start: Vec<Option<f64>>) -> Settings {
        Settings {
            steps,
            batch_size: self.rows_a_step(),
            learning_rate: self.learning_rate,
            structural_learning_rate: self.structural_learning_rate,
            order: self.order.unwrap_or_default(),
            tau: self.tau,
            beta: self.beta,
            epsilon: self.epsilon,
            dropout: self.dropout.unwrap_or_default(),
            masks: self.dropout_masks.unwrap_or_default(),
            dev_gates: self.dev_gates,
            selection: self.selection.unwrap_or_default(),
            delta_share: self.delta_share,
            l0: self.l0,
            prune_below: self.prune_below,
            warm_start,
            saliency: self.saliency,
            evaluations: self.evaluations,
            seed,
            group_by_length: self.group_by_length,
            clip: Settings::default().clip,
        }
    }

    /// The adapter that gets the new generation.
    pub fn adapter_name(&self) -> String {
        self.adapter.clone().unwrap_or_else(|| self.task.clone())
    }

    /// What can be told from the request alone, but for how to train.
    pub(super) fn check(&self) -> Result<()> {
        check_seeds(&self.seeds)?;
        at_most("more_budgets", Some(self.more_budgets.len()), MOST_BUDGETS)?;
        if self.train_rows == Some(1) {
            return Err(Error::invalid("train_rows", "a search needs at least 2 rows: one for each part"));
        }
        rate("structural_learning_rate", self.structural_learning_rate)?;
        within("tau", self.tau, 0.01, 100.0)?;
        within("beta", self.beta, 0.01, 100.0)?;
        within("epsilon", self.epsilon, 1e-6, 10.0)?;
        part("dropout", self.dropout.unwrap_or_default())?;
        part("prune_below", self.prune_below)?;
        if !(self.delta_share > 0.0 && self.delta_share < 1.0) {
            let message = format!("`delta_share` is {}: give a number between 0 and 1", self.delta_share);
            return Err(Error::invalid("delta_share", message));
        }
        if self.saliency > 0 && self.warm_start.is_some() {
            let message = "`saliency` and `warm_start` both say where the structural parameters start: give one";
            return Err(Error::invalid("saliency", message));
        }
        at_most("saliency", Some(self.saliency), MOST_SALIENCY)?;
        if self.warm_start_search.is_some() && self.warm_start.is_none() {
            let message = "`warm_start_search` says which search of `warm_start` is meant: give that too";
            return Err(Error::invalid("warm_start_search", message));
        }
        within("l0", self.l0.unwrap_or_default(), 0.0, 1e3)
    }
}

/// Batches of a saliency.
const MOST_SALIENCY: usize = 64;
/// Structures of one search.
const MOST_BUDGETS: usize = 64;

fn within(param: &'static str, value: f64, least: f64, most: f64) -> Result<()> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::invalid(param, format!("`{param}` is {value}: give a number from {least} to {most}")))
}

fn part(param: &'static str, value: f64) -> Result<()> {
    if (0.0..1.0).contains(&value) {
        return Ok(());
    }
    Err(Error::invalid(param, format!("`{param}` is {value}: give a number from 0, below 1")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_given_goes_before_the_preset() {
        let read = |mut request: serde_json::Value| {
            request["task"] = "a".into();
            request["budget"] = "5%".into();
            let mut request: SearchRequest = serde_json::from_value(request).unwrap();
            request.settle();
            let settings = request.settings(7, 3, Vec::new());
            (settings.order, settings.selection, settings.batch_size, settings.dropout, settings.masks)
        };
        assert_eq!(read(json!({})), (Order::First, Selection::Exact, 16, 0.0, Masks::Shared));
        let paper = (Order::Second, Selection::Exact, 32, 0.0, Masks::Shared);
        assert_eq!(read(json!({"preset": "s3delta-paper"})), paper);
        let reference = (Order::Reference, Selection::Greedy, 8, 0.1, Masks::Free);
        assert_eq!(read(json!({"preset": "s3delta-reference", "batch_size": 8})), reference);
        assert_eq!(read(json!({"preset": "s3delta-reference", "dropout": 0, "order": "first"})).0, Order::First);
    }
}
