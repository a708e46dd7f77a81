//! Bi-level optimisation of delta weights δ and structural parameters α (method.md section 4).

use super::state::State;
use super::step::Bilevel;
use crate::structure::Space;
use crate::t5::Backbone;
use crate::task::Split;
use crate::train::{
    Batch, Checkpoint, EncodedTask, Error, Example, Flow, Observer, Order as Rows, Report, Result, evaluate,
    evaluates_after,
};
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// Whether the structural gradient sees through one step of the delta weights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// It does not: two passes a step.
    #[default]
    First,
    /// It does, by a central difference, as the paper: four passes a step.
    Second,
}

/// How a search runs. Defaults are the reference's, but for the order and the batch size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Steps; each takes one batch of either half of train.
    pub steps: usize,
    /// Rows a batch.
    pub batch_size: usize,
    /// Learning rate of δ at the start; it falls linearly to 0. It is also the virtual step's ξ.
    pub learning_rate: f64,
    /// Learning rate of α at the start; it falls linearly to 0.
    pub structural_learning_rate: f64,
    /// First or second order.
    pub order: Order,
    /// Greatest global L2 norm of either gradient.
    pub clip: f64,
    /// Temperature τ of the shifted sigmoid.
    pub tau: f64,
    /// Temperature β of the gates.
    pub beta: f64,
    /// The perturbation's size: ε = this / (‖v‖ + 1e-6).
    pub epsilon: f64,
    /// Dev evaluations with soft gates z = p, evenly spread, the last after the last step.
    pub evaluations: usize,
    /// Seed of the split in halves, the initial values, the order of rows and the gates' draws.
    pub seed: u64,
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
            evaluations: 10,
            seed: 0,
        }
    }
}

/// What a search found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// p of every module of the space, from the α with the best dev score.
    pub probabilities: Vec<f64>,
    /// That score, measured with soft gates z = p.
    pub dev_score: f64,
    /// The step after which it was taken.
    pub best_step: usize,
    /// Loss of every step over D_δ.
    pub losses: Vec<f64>,
    /// Seconds, those before a resume left out.
    pub seconds: f64,
}

/// Searches `space` for a structure of at most `budget` parameters; `resume` is a snapshot that the observer kept.
pub fn search(
    backbone: &Backbone,
    space: &Space,
    budget: usize,
    data: &EncodedTask,
    settings: &Settings,
    observer: &mut dyn Observer,
    resume: Option<&[u8]>,
) -> Result<Found> {
    let mut run = Run::new(backbone, space, budget, data, settings)?;
    let mut state = match resume {
        Some(bytes) => State::from_checkpoint(Checkpoint::from_bytes(bytes)?, run.bilevel.layout.len(), space.len())?,
        None => run.bilevel.start(),
    };
    let started = Instant::now();
    while state.step < settings.steps {
        let mut report = run.step(&mut state)?;
        if evaluates_after(state.step, settings.steps, settings.evaluations) {
            let p = run.evaluate(&mut state)?;
            report.probabilities = Some(p);
        }
        report.dev_score = state.best_score.map(|(score, _)| score);
        if observer.step(&report, &|| state.to_checkpoint().to_bytes()) == Flow::Stop && state.step < settings.steps {
            return Err(Error::Stopped(state.step));
        }
    }
    let (dev_score, _) = state.best_score.expect("the last step is evaluated");
    Ok(Found {
        probabilities: run.bilevel.gate.probabilities(&state.best_alpha).0,
        dev_score,
        best_step: state.best_step,
        losses: state.losses,
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// What a search works with.
struct Run<'a> {
    backbone: &'a Backbone,
    data: &'a EncodedTask,
    bilevel: Bilevel<'a>,
    delta_half: Half,
    structural_half: Half,
}

/// One half of the training rows, and the order in which they come.
struct Half {
    examples: Vec<Example>,
    order: Rows,
}

impl<'a> Run<'a> {
    fn new(
        backbone: &'a Backbone,
        space: &Space,
        budget: usize,
        data: &'a EncodedTask,
        settings: &'a Settings,
    ) -> Result<Self> {
        let bilevel = Bilevel::new(backbone, space, budget, settings)?;
        let (delta_half, structural_half) = data.halves(settings.seed);
        if structural_half.is_empty() {
            let what = "a search needs two training rows or more, one for each half".into();
            return Err(Error::Task { task: data.task.name().into(), what });
        }
        let half = |examples: Vec<Example>, purpose| {
            let order = Rows::new(examples.len(), settings.batch_size, settings.seed, purpose);
            Half { examples, order }
        };
        Ok(Self {
            backbone,
            data,
            bilevel,
            delta_half: half(delta_half, "search delta"),
            structural_half: half(structural_half, "search structural"),
        })
    }

    /// One step on the next batch of either half.
    fn step(&mut self, state: &mut State) -> Result<Report> {
        let (backbone, candidates) = (self.backbone, &self.data.candidates);
        let delta = self.delta_half.batch(backbone, candidates, state.step)?;
        let structural = self.structural_half.batch(backbone, candidates, state.step)?;
        self.bilevel.step(state, &delta, &structural)
    }

    /// Scores dev with soft gates z = p and keeps the best α; gives p.
    fn evaluate(&self, state: &mut State) -> Result<Vec<f64>> {
        let (p, _) = self.bilevel.gate.probabilities(&state.alpha);
        let single = self.bilevel.gated(&state.values, &p);
        let dev = evaluate(self.backbone, &single, self.data, Split::Dev, None)?;
        let found = (dev.score, -dev.loss);
        if state.best_score.is_none_or(|best| found > best) {
            (state.best_alpha, state.best_score, state.best_step) = (state.alpha.clone(), Some(found), state.step);
        }
        Ok(p)
    }
}

impl Half {
    fn batch(&mut self, backbone: &Backbone, candidates: &[Vec<u32>], step: usize) -> Result<Vec<Batch>> {
        let rows: Vec<_> = self.order.batch(step).iter().map(|row| &self.examples[*row]).collect();
        Batch::pieces(backbone, &rows, candidates)
    }
}
