//! How a search runs: the variants of method.md section 4.

use crate::structure::Selection;
use crate::train::{Error, Result};
use serde::{Deserialize, Serialize};

/// How the structural gradient is taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// It does not see through the step of the delta weights: two passes a step.
    #[default]
    First,
    /// It sees through one step of gradient descent, by a central difference, as the paper: four passes a step.
    Second,
    /// It sees through one step of AdamW, and the delta weights are updated by gates drawn anew, as the reference
    /// implementation: five passes a step.
    Reference,
}

/// Where dropout's masks differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Masks {
    /// Between steps: the passes of one step share them, so that differences between passes are not those of masks.
    #[default]
    Shared,
    /// Between passes, as in the reference implementation.
    Free,
}

/// By which gates the dev score that chooses the best α is measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum DevGates {
    /// z = p, as the reference implementation.
    #[default]
    Soft,
    /// z = 1 for the modules that would be chosen under the budget, 0 for the others: what is deployed.
    Hard,
}

/// How a search runs. Defaults are the reference's, but for the order, dropout, selection and the batch size.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Steps; each takes one batch of either part of train.
    pub steps: usize,
    /// Rows a batch.
    pub batch_size: usize,
    /// Learning rate of δ at the start; it falls linearly to 0. It is also the virtual step's ξ.
    pub learning_rate: f64,
    /// Learning rate of α at the start; it falls linearly to 0.
    pub structural_learning_rate: f64,
    /// How the structural gradient is taken.
    pub order: Order,
    /// Greatest global L2 norm of either gradient.
    pub clip: f64,
    /// Temperature τ of the shifted sigmoid.
    pub tau: f64,
    /// Temperature β of the gates.
    pub beta: f64,
    /// The perturbation's size: ε = this / (‖v‖ + 1e-6).
    pub epsilon: f64,
    /// Dropout rate of the passes, 0 for none.
    pub dropout: f64,
    /// Where its masks differ.
    pub masks: Masks,
    /// Gates of the dev score.
    pub dev_gates: DevGates,
    /// How modules are chosen from p, where `dev_gates` asks for it.
    pub selection: Selection,
    /// Share of the training rows that δ is trained on; α has the others.
    pub delta_share: f64,
    /// λ₀ of the L0 control, which has a penalty in place of the budget; `None` is the method itself.
    pub l0: Option<f64>,
    /// Modules whose p falls below this part of the budget's share of the space, at a dev evaluation, are searched no
    /// further; 0 keeps all.
    pub prune_below: f64,
    /// p of an earlier search by module, from which α starts; α starts at 0 where it says nothing.
    pub warm_start: Vec<Option<f64>>,
    /// Batches of D_δ by which modules' saliency is measured before the first step, for α to start from; 0 measures none.
    pub saliency: usize,
    /// Dev evaluations, evenly spread, the last after the last step.
    pub evaluations: usize,
    /// Seed of the split in two, the initial values, the order of rows, the gates' draws and dropout's masks.
    pub seed: u64,
    /// Whether rows of like length share a batch, so that less is padded.
    pub group_by_length: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            steps: 1000,
            batch_size: 16,
            learning_rate: 3e-4,
            structural_learning_rate: 0.1,
            order: Order::First,
            clip: 2.0,
            tau: 1.0,
            beta: 1.0,
            epsilon: 0.01,
            dropout: 0.0,
            masks: Masks::Shared,
            dev_gates: DevGates::Soft,
            selection: Selection::Exact,
            delta_share: 0.5,
            l0: None,
            prune_below: 0.0,
            warm_start: Vec::new(),
            saliency: 0,
            evaluations: 10,
            seed: 0,
            group_by_length: false,
        }
    }
}

impl Settings {
    /// Refuses what cannot work.
    pub(super) fn check(&self) -> Result<()> {
        let wrong = |what: String| Err(Error::Setting(what));
        let positive = [
            ("learning_rate", self.learning_rate),
            ("structural_learning_rate", self.structural_learning_rate),
            ("clip", self.clip),
            ("tau", self.tau),
            ("beta", self.beta),
            ("epsilon", self.epsilon),
        ];
        if let Some((name, value)) = positive.iter().find(|(_, value)| !(value.is_finite() && *value > 0.0)) {
            return wrong(format!("{name} {value} must be positive"));
        }
        if self.steps == 0 || self.batch_size == 0 || self.evaluations == 0 {
            return wrong("steps, batch_size and evaluations must be at least 1".into());
        }
        for (name, value) in [("dropout", self.dropout), ("prune_below", self.prune_below)] {
            if !(0.0..1.0).contains(&value) {
                return wrong(format!("{name} {value} must lie in 0..1"));
            }
        }
        if !(self.delta_share > 0.0 && self.delta_share < 1.0) {
            return wrong(format!("delta_share {} must lie between 0 and 1", self.delta_share));
        }
        if self.saliency > 0 && !self.warm_start.is_empty() {
            return wrong("saliency and warm_start both say where α starts: give one".into());
        }
        match self.l0 {
            Some(l0) if !(l0.is_finite() && l0 >= 0.0) => wrong(format!("l0 {l0} must be 0 or more")),
            _ => Ok(()),
        }
    }
}
