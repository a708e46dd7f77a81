//! The re-training of a structure: δ re-initialised, AdamW, linear decay, the best dev checkpoint kept.

use super::below::Below;
use super::evaluate::evaluate_from;
use super::{
    AdamW, Batch, Checkpoint, EncodedTask, Error, Flow, Observer, Order, Report, Result, clip_global_norm,
    evaluates_after, generator, linear_decay, pass,
};
use crate::delta::{Layout, Single};
use crate::structure::Structure;
use crate::t5::Backbone;
use crate::task::Split;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Instant;

/// How a structure is trained. Defaults are the reference's, but for the batch size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Optimiser steps.
    pub steps: usize,
    /// Rows a step.
    pub batch_size: usize,
    /// Learning rate at the start; it falls linearly to 0.
    pub learning_rate: f64,
    /// Greatest global L2 norm of a gradient.
    pub clip: f64,
    /// Dev evaluations, evenly spread, the last after the last step.
    pub evaluations: usize,
    /// Seed of the initial values and of the order of rows.
    pub seed: u64,
    /// Whether rows of like length share a batch, so that less is padded.
    pub group_by_length: bool,
    /// Most bytes of activations below the lowest module that are kept across epochs, of training and of dev rows each; 0 keeps
    /// none. What is learnt does not depend on it but for rounding.
    #[serde(skip, default = "kept_activation_bytes")]
    pub kept_activation_bytes: usize,
}

/// A GiB: T5-large's encoder over 2,000 rows of 128 tokens.
const fn kept_activation_bytes() -> usize {
    1 << 30
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            steps: 1000,
            batch_size: 16,
            learning_rate: 3e-4,
            clip: 2.0,
            evaluations: 10,
            seed: 0,
            group_by_length: false,
            kept_activation_bytes: kept_activation_bytes(),
        }
    }
}

impl Settings {
    /// Refuses what cannot work.
    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |what: String| Err(Error::Setting(what));
        if self.steps == 0 || self.batch_size == 0 || self.evaluations == 0 {
            return wrong("steps, batch_size and evaluations must be at least 1".into());
        }
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0 && self.clip > 0.0) {
            return wrong(format!("learning rate {} and clip {} must be positive", self.learning_rate, self.clip));
        }
        Ok(())
    }
}

/// A trained structure.
#[derive(Debug, Clone, PartialEq)]
pub struct Trained {
    /// Values of the best dev checkpoint, flat in the structure's layout.
    pub values: Vec<f32>,
    /// Its dev score.
    pub dev_score: f64,
    /// The step after which it was taken.
    pub best_step: usize,
    /// Loss of every step's batch.
    pub losses: Vec<f64>,
    /// Seconds, those before a resume left out.
    pub seconds: f64,
}

/// The state between two steps.
struct State {
    step: usize,
    values: Vec<f32>,
    optimiser: AdamW,
    best: Vec<f32>,
    best_score: Option<(f64, f64)>,
    best_step: usize,
    losses: Vec<f64>,
}

/// Trains a structure's delta weights on a task; `resume` is a snapshot that the observer kept.
pub fn retrain(
    backbone: &Backbone,
    structure: &Structure,
    data: &EncodedTask,
    settings: &Settings,
    observer: &mut dyn Observer,
    resume: Option<&[u8]>,
) -> Result<Trained> {
    settings.check()?;
    structure.check_fits(backbone.shape())?;
    let layout = Layout::new(&backbone.positions, &structure.modules)?;
    let mut state = match resume {
        Some(bytes) => State::from_checkpoint(Checkpoint::from_bytes(bytes)?, layout.len())?,
        None => State::new(layout.init(&mut generator(settings.seed, "init", 0))),
    };
    let mut order = Order::over(&data.train, settings.batch_size, settings.seed, "retrain", settings.group_by_length);
    let below = |rows: &[_]| Below::new(structure, backbone, rows, settings.kept_activation_bytes);
    let (below, below_dev) = (below(&data.train)?.map(Arc::new), below(&data.dev)?);
    let started = Instant::now();
    while state.step < settings.steps {
        let rate = linear_decay(settings.learning_rate, state.step, settings.steps);
        let mut rows = order.batch(state.step).to_vec();
        rows.sort_by_key(|row| data.train[*row].source.len()); // as the pieces have them
        let examples: Vec<_> = rows.iter().map(|row| &data.train[*row]).collect();
        let mut batch = Batch::pieces(backbone, &examples, &data.candidates)?;
        if let Some(below) = &below {
            Batch::keep(&mut batch, &rows, below);
        }
        let mut step = pass(backbone, &layout, &state.values, &batch)?;
        if !step.loss.is_finite() {
            return Err(Error::Diverged { loss: step.loss, step: state.step, rate });
        }
        clip_global_norm(&mut step.gradient, settings.clip);
        state.optimiser.step(&mut state.values, &step.gradient, rate as f32);
        state.losses.push(step.loss);
        state.step += 1;
        if evaluates_after(state.step, settings.steps, settings.evaluations) {
            let single = Single::new(&layout, state.values.clone(), backbone.positions.len(), backbone.model.device());
            let dev = evaluate_from(backbone, &single, data, Split::Dev, None, below_dev.as_ref(), observer)?;
            let found = (dev.score, -dev.loss);
            if state.best_score.is_none_or(|best| found > best) {
                (state.best, state.best_score, state.best_step) = (state.values.clone(), Some(found), state.step);
            }
        }
        let report = Report {
            step: state.step,
            total_steps: settings.steps,
            loss: step.loss,
            dev_score: state.best_score.map(|(score, _)| score),
            ..Report::default()
        };
        if observer.step(&report, &|| state.to_checkpoint().to_bytes()) == Flow::Stop && state.step < settings.steps {
            return Err(Error::Stopped(state.step));
        }
    }
    let (dev_score, _) = state.best_score.expect("the last step is evaluated");
    Ok(Trained {
        values: state.best,
        dev_score,
        best_step: state.best_step,
        losses: state.losses,
        seconds: started.elapsed().as_secs_f64(),
    })
}

impl State {
    fn new(values: Vec<f32>) -> Self {
        let optimiser = AdamW::new(values.len());
        Self { step: 0, best: values.clone(), values, optimiser, best_score: None, best_step: 0, losses: Vec::new() }
    }

    fn to_checkpoint(&self) -> Checkpoint {
        let state = serde_json::json!({
            "step": self.step, "best_score": self.best_score, "best_step": self.best_step, "losses": self.losses,
        });
        let mut checkpoint = Checkpoint { state, ..Checkpoint::default() };
        checkpoint.vectors.insert("values".into(), self.values.clone());
        checkpoint.vectors.insert("best".into(), self.best.clone());
        checkpoint.put_optimiser("adam", &self.optimiser);
        checkpoint
    }

    fn from_checkpoint(mut checkpoint: Checkpoint, len: usize) -> Result<Self> {
        Ok(Self {
            step: checkpoint.field("step")?,
            best_score: checkpoint.field("best_score")?,
            best_step: checkpoint.field("best_step")?,
            losses: checkpoint.field("losses")?,
            values: checkpoint.vector("values", len)?,
            best: checkpoint.vector("best", len)?,
            optimiser: checkpoint.optimiser("adam", len)?,
        })
    }
}
