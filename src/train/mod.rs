//! Re-training of delta weights, and evaluation. This module knows nothing of jobs: it takes an [`Observer`].

mod below;
mod checkpoint;
mod data;
mod error;
mod evaluate;
mod fit;
mod optimiser;
mod pass;
mod side_by_side;

pub use checkpoint::Checkpoint;
pub(crate) use data::longer_part;
pub use data::{Batch, EncodedTask, Example, Order};
pub use error::{Error, Result};
pub use evaluate::{Evaluation, evaluate};
pub use fit::{Settings, Trained, retrain};
pub(crate) use optimiser::PART;
pub use optimiser::{AdamW, clip_global_norm, linear_decay};
pub(crate) use pass::sum_of_pieces;
pub use pass::{Pass, Point, pass, passes, target_loss};
pub(crate) use side_by_side::side_by_side;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// What a training run tells whoever watches it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// Steps done.
    pub step: usize,
    /// Steps in all.
    pub total_steps: usize,
    /// Loss of the latest batch, over the delta weights' half in a search.
    pub loss: f64,
    /// Loss over the structural parameters' half, in a search.
    pub structural_loss: Option<f64>,
    /// Expected number of parameters Σ p|δ|, in a search.
    pub expected_parameters: Option<f64>,
    /// Shift ζ of the global sigmoid, in a search.
    pub zeta: Option<f64>,
    /// Probabilities of the space's modules, in a search; given with each evaluation and now and then.
    pub probabilities: Option<Vec<f64>>,
    /// Best score on the dev split so far.
    pub dev_score: Option<f64>,
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    Continue,
    /// Stop after this step; the run ends with [`Error::Stopped`].
    Stop,
}

/// Watches a run, may stop it, and may keep a checkpoint from which it goes on. Passes that go side by side ask it too.
pub trait Observer: Sync {
    /// Called after every step; `snapshot` makes a checkpoint of the state after it.
    fn step(&mut self, report: &Report, snapshot: &dyn Fn() -> Vec<u8>) -> Flow;

    /// Asked where a run works for long between two steps: before its first one, and before each pass of an evaluation.
    fn flow(&self) -> Flow {
        Flow::Continue
    }
}

/// An observer that never stops a run.
#[derive(Debug, Clone, Copy)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn step(&mut self, _: &Report, _: &dyn Fn() -> Vec<u8>) -> Flow {
        Flow::Continue
    }
}

/// The generator for one purpose of one run at one step: no state to keep across a resume.
pub(crate) fn generator(seed: u64, purpose: &str, index: u64) -> ChaCha8Rng {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes()).update(&index.to_le_bytes()).update(purpose.as_bytes());
    ChaCha8Rng::from_seed(*hasher.finalize().as_bytes())
}

/// Whether one of `evaluations` evenly spread evaluations follows the step with this number (from 1) of `steps`; the last
/// one follows the last step.
pub(crate) fn evaluates_after(step: usize, steps: usize, evaluations: usize) -> bool {
    let count = evaluations.min(steps);
    step * count / steps > (step - 1) * count / steps
}
