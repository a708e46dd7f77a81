//! Bi-level optimisation of delta weights δ and structural parameters α (method.md section 4).

use super::Settings;
use super::state::State;
use super::step::Bilevel;
use crate::structure::{Space, sigmoid};
use crate::t5::Backbone;
use crate::task::Split;
use crate::train::{
    Batch, Checkpoint, EncodedTask, Error, Example, Flow, Observer, Order as Rows, Report, Result, evaluate,
    evaluates_after,
};
use std::time::Instant;

/// What a search found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// p of every module of the space, from the α with the best dev score; 0 where a module was pruned.
    pub probabilities: Vec<f64>,
    /// Their logits, from which p under another budget follows; −∞ where a module was pruned.
    pub logits: Vec<f64>,
    /// That score.
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
        None => run.start(observer)?,
    };
    let started = Instant::now();
    while state.step < settings.steps {
        let mut report = run.step(&mut state)?;
        if evaluates_after(state.step, settings.steps, settings.evaluations) {
            report.probabilities = Some(run.evaluate(&mut state, observer)?);
        }
        report.dev_score = state.best_score.map(|(score, _)| score);
        if observer.step(&report, &|| state.to_checkpoint().to_bytes()) == Flow::Stop && state.step < settings.steps {
            return Err(Error::Stopped(state.step));
        }
    }
    let (dev_score, _) = state.best_score.expect("the last step is evaluated");
    let logits = run.bilevel.logits(&state.best_alpha)?;
    Ok(Found {
        probabilities: logits.iter().copied().map(sigmoid).collect(),
        logits,
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
    saliency: usize,
    delta_part: Part,
    structural_part: Part,
}

/// One part of the training rows, and the order in which they come.
struct Part {
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
        let (delta, structural) = data.parts(settings.seed, settings.delta_share);
        if structural.is_empty() {
            let what = "a search needs two training rows or more, one for each part".into();
            return Err(Error::Task { task: data.task.name().into(), what });
        }
        let part = |examples: Vec<Example>, purpose| {
            let order = Rows::over(&examples, settings.batch_size, settings.seed, purpose, settings.group_by_length);
            Part { examples, order }
        };
        Ok(Self {
            backbone,
            data,
            bilevel,
            saliency: settings.saliency,
            delta_part: part(delta, "search delta"),
            structural_part: part(structural, "search structural"),
        })
    }

    /// The state before the first step.
    fn start(&mut self, observer: &dyn Observer) -> Result<State> {
        let mut state = self.bilevel.start();
        if self.saliency > 0 {
            let (part, backbone, candidates) = (&mut self.delta_part, self.backbone, &self.data.candidates);
            let batches = (0..self.saliency).map(|step| match observer.flow() {
                Flow::Stop => Err(Error::Stopped(0)),
                Flow::Continue => part.batch(backbone, candidates, step),
            });
            state.alpha = self.bilevel.salient(&state.values, batches)?;
        }
        Ok(state)
    }

    /// One step on the next batch of either part.
    fn step(&mut self, state: &mut State) -> Result<Report> {
        let (backbone, candidates) = (self.backbone, &self.data.candidates);
        let delta = self.delta_part.batch(backbone, candidates, state.step)?;
        let structural = self.structural_part.batch(backbone, candidates, state.step)?;
        self.bilevel.step(state, &delta, &structural)
    }

    /// Scores dev, keeps the best α and drops modules whose p has collapsed; gives p.
    fn evaluate(&self, state: &mut State, observer: &dyn Observer) -> Result<Vec<f64>> {
        let p: Vec<f64> = self.bilevel.logits(&state.alpha)?.into_iter().map(sigmoid).collect();
        let single = self.bilevel.evaluated(&state.values, &p)?;
        let dev = evaluate(self.backbone, &single, self.data, Split::Dev, None, observer)?;
        let found = (dev.score, -dev.loss);
        if state.best_score.is_none_or(|best| found > best) {
            (state.best_alpha, state.best_score, state.best_step) = (state.alpha.clone(), Some(found), state.step);
        }
        self.bilevel.prune(state, &p);
        Ok(p)
    }
}

impl Part {
    fn batch(&mut self, backbone: &Backbone, candidates: &[Vec<u32>], step: usize) -> Result<Vec<Batch>> {
        let rows: Vec<_> = self.order.batch(step).iter().map(|row| &self.examples[*row]).collect();
        Batch::pieces(backbone, &rows, candidates)
    }
}
