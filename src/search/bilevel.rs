//! Bi-level optimisation of delta weights δ and structural parameters α (method.md section 4).

use super::Gate;
use crate::delta::{Layout, Single};
use crate::structure::Space;
use crate::t5::Backbone;
use crate::task::Split;
use crate::train::{
    AdamW, Batch, Checkpoint, EncodedTask, Error, Example, Flow, Observer, Order as Rows, Report, Result,
    clip_global_norm, evaluate, evaluates_after, generator, linear_decay, pass,
};
use rand::RngExt;
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
        Some(bytes) => State::from_checkpoint(Checkpoint::from_bytes(bytes)?, run.layout.len(), space.len())?,
        None => State::new(run.layout.init(&mut generator(settings.seed, "init", 0)), space.len()),
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
        probabilities: run.gate.probabilities(&state.best_alpha).0,
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
    settings: &'a Settings,
    layout: Layout,
    gate: Gate,
    delta_half: Half,
    structural_half: Half,
}

/// One half of the training rows, and the order in which they come.
struct Half {
    examples: Vec<Example>,
    order: Rows,
}

/// The state between two steps.
struct State {
    step: usize,
    values: Vec<f32>,
    alpha: Vec<f32>,
    delta_optimiser: AdamW,
    structural_optimiser: AdamW,
    best_alpha: Vec<f32>,
    best_score: Option<(f64, f64)>,
    best_step: usize,
    losses: Vec<f64>,
}

/// Gradients of one gated pass.
struct Gated {
    loss: f64,
    /// With respect to δ.
    values: Vec<f32>,
    /// With respect to z.
    gates: Vec<f64>,
}

impl<'a> Run<'a> {
    fn new(
        backbone: &'a Backbone,
        space: &Space,
        budget: usize,
        data: &'a EncodedTask,
        settings: &'a Settings,
    ) -> Result<Self> {
        let positive = [
            ("learning_rate", settings.learning_rate),
            ("structural_learning_rate", settings.structural_learning_rate),
            ("clip", settings.clip),
            ("tau", settings.tau),
            ("beta", settings.beta),
            ("epsilon", settings.epsilon),
        ];
        if let Some((name, value)) = positive.iter().find(|(_, value)| !(value.is_finite() && *value > 0.0)) {
            return Err(Error::Setting(format!("{name} {value} must be positive")));
        }
        if settings.steps == 0 || settings.batch_size == 0 || settings.evaluations == 0 {
            return Err(Error::Setting("steps, batch_size and evaluations must be at least 1".into()));
        }
        let (delta_half, structural_half) = data.halves(settings.seed);
        if structural_half.is_empty() {
            let what = "a search needs two training rows or more, one for each half".into();
            return Err(Error::Task { task: data.task.name().into(), what });
        }
        let half = |examples: Vec<Example>, purpose| {
            let order = Rows::new(examples.len(), settings.batch_size, settings.seed, purpose);
            Half { examples, order }
        };
        let sizes = space.sizes().iter().map(|size| *size as f64).collect();
        Ok(Self {
            backbone,
            data,
            settings,
            layout: Layout::new(&backbone.positions, space.modules())?,
            gate: Gate { sizes, budget: budget as f64, tau: settings.tau, beta: settings.beta },
            delta_half: half(delta_half, "search delta"),
            structural_half: half(structural_half, "search structural"),
        })
    }

    /// One step: z from one draw of u, shared by all passes; α by Adam, then δ by AdamW (paper eq. 10–13).
    fn step(&mut self, state: &mut State) -> Result<Report> {
        let settings = self.settings;
        let rate = linear_decay(settings.learning_rate, state.step, settings.steps);
        let structural_rate = linear_decay(settings.structural_learning_rate, state.step, settings.steps);
        let mut draw = generator(settings.seed, "gates", state.step as u64);
        let u: Vec<f64> = state.alpha.iter().map(|_| draw.random()).collect();
        let (p, zeta) = self.gate.probabilities(&state.alpha);
        let z = self.gate.sample(&p, &u);
        let (backbone, candidates) = (self.backbone, &self.data.candidates);
        let delta_batch = self.delta_half.batch(backbone, candidates, state.step)?;
        let structural_batch = self.structural_half.batch(backbone, candidates, state.step)?;

        let own = self.pass(&state.values, &z, &delta_batch)?;
        let virtual_step = perturbed(&state.values, &own.values, -rate);
        let other = self.pass(&virtual_step, &z, &structural_batch)?;
        for loss in [own.loss, other.loss] {
            if !loss.is_finite() {
                return Err(Error::Diverged { loss, step: state.step, rate });
            }
        }
        let by_gate = match settings.order {
            Order::First => other.gates,
            Order::Second => {
                // ∇²_αδ L_δ · v by a central difference, in z: ∂z/∂α is the same for both sides
                let v = &other.values;
                let norm = v.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
                let epsilon = settings.epsilon / (norm + 1e-6);
                let plus = self.pass(&perturbed(&state.values, v, epsilon), &z, &delta_batch)?.gates;
                let minus = self.pass(&perturbed(&state.values, v, -epsilon), &z, &delta_batch)?.gates;
                let sides = plus.iter().zip(&minus).map(|(plus, minus)| (plus - minus) / (2.0 * epsilon));
                other.gates.iter().zip(sides).map(|(direct, second)| direct - rate * second).collect()
            }
        };
        let structural = self.gate.structural_gradient(&by_gate, &p, &z);
        let mut structural: Vec<f32> = structural.iter().map(|g| *g as f32).collect();
        clip_global_norm(&mut structural, settings.clip);
        state.structural_optimiser.step(&mut state.alpha, &structural, structural_rate as f32);

        let mut gradient = own.values;
        clip_global_norm(&mut gradient, settings.clip);
        state.delta_optimiser.step(&mut state.values, &gradient, rate as f32);
        state.losses.push(own.loss);
        state.step += 1;
        Ok(Report {
            step: state.step,
            total_steps: settings.steps,
            loss: own.loss,
            structural_loss: Some(other.loss),
            expected_parameters: Some(self.gate.expected_parameters(&p)),
            zeta: Some(zeta),
            // enough for a live picture, little enough for the wire
            probabilities: state.step.is_multiple_of(10).then_some(p),
            dev_score: None,
        })
    }

    /// Gradients with respect to δ and z at once: the gates are folded into the values on the host.
    fn pass(&self, values: &[f32], z: &[f64], batch: &[Batch]) -> Result<Gated> {
        let folded = self.layout.fold_gates(values, z);
        let mut found = pass(self.backbone, &self.layout, &folded, batch)?;
        let gates = self.layout.unfold_gradient(values, z, &mut found.gradient);
        Ok(Gated { loss: found.loss, values: found.gradient, gates })
    }

    /// Scores dev with soft gates z = p and keeps the best α; gives p.
    fn evaluate(&self, state: &mut State) -> Result<Vec<f64>> {
        let (p, _) = self.gate.probabilities(&state.alpha);
        let folded = self.layout.fold_gates(&state.values, &p);
        let device = self.backbone.model.device();
        let single = Single::new(&self.layout, folded, self.backbone.positions.len(), device);
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

/// `values + by · direction`.
fn perturbed(values: &[f32], direction: &[f32], by: f64) -> Vec<f32> {
    values.iter().zip(direction).map(|(value, d)| value + (by * f64::from(*d)) as f32).collect()
}

impl State {
    fn new(values: Vec<f32>, modules: usize) -> Self {
        Self {
            step: 0,
            delta_optimiser: AdamW::new(values.len()),
            structural_optimiser: AdamW::new(modules),
            values,
            alpha: vec![0.0; modules],
            best_alpha: vec![0.0; modules],
            best_score: None,
            best_step: 0,
            losses: Vec::new(),
        }
    }

    fn to_checkpoint(&self) -> Checkpoint {
        let state = serde_json::json!({
            "step": self.step, "best_score": self.best_score, "best_step": self.best_step, "losses": self.losses,
        });
        let mut checkpoint = Checkpoint { state, ..Checkpoint::default() };
        checkpoint.vectors.insert("values".into(), self.values.clone());
        checkpoint.vectors.insert("alpha".into(), self.alpha.clone());
        checkpoint.vectors.insert("best_alpha".into(), self.best_alpha.clone());
        checkpoint.put_optimiser("delta", &self.delta_optimiser);
        checkpoint.put_optimiser("structural", &self.structural_optimiser);
        checkpoint
    }

    fn from_checkpoint(mut checkpoint: Checkpoint, values: usize, modules: usize) -> Result<Self> {
        Ok(Self {
            step: checkpoint.field("step")?,
            best_score: checkpoint.field("best_score")?,
            best_step: checkpoint.field("best_step")?,
            losses: checkpoint.field("losses")?,
            values: checkpoint.vector("values", values)?,
            alpha: checkpoint.vector("alpha", modules)?,
            best_alpha: checkpoint.vector("best_alpha", modules)?,
            delta_optimiser: checkpoint.optimiser("delta", values)?,
            structural_optimiser: checkpoint.optimiser("structural", modules)?,
        })
    }
}
