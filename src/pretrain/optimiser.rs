//! The optimisers of pre-training over flat host vectors.

use super::Parameters;
use super::adafactor::Adafactor;
use super::config::Optimizer;
use crate::t5::Config;
use crate::train::{AdamW, PART};
use rayon::prelude::*;

/// AdamW or Adafactor, both with rates relative to a parameter's size.
///
/// T5's parameters lie far apart in scale (embeddings 1, queries (d_model · d_kv)^-½): with one rate for all, queries jump while
/// embeddings stand still. Adafactor takes each matrix's own root mean square; for AdamW the rate is multiplied by the deviation
/// of the initialisation.
#[derive(Debug, Clone)]
pub(super) enum Optimiser {
    AdamW { adam: AdamW, scales: Vec<f32> },
    Adafactor(Adafactor),
}

impl Optimiser {
    pub(super) fn new(which: Optimizer, parameters: &Parameters, config: &Config) -> Self {
        match which {
            Optimizer::Adamw => {
                Self::AdamW { adam: AdamW::new(parameters.values.len()), scales: parameters.scales(config) }
            }
            Optimizer::Adafactor => Self::Adafactor(Adafactor::new(&parameters.specs)),
        }
    }

    /// One step; `decay` is the decoupled weight decay.
    pub(super) fn step(&mut self, values: &mut [f32], gradient: &[f32], rate: f64, decay: f32) {
        match self {
            Self::AdamW { adam, scales } => {
                let mut change = vec![0.0; gradient.len()];
                adam.step(&mut change, gradient, rate as f32);
                let decay = rate as f32 * decay;
                let parts = values.par_chunks_mut(PART).zip(change.par_chunks(PART)).zip(scales.par_chunks(PART));
                parts.for_each(|((values, change), scales)| {
                    for ((value, change), scale) in values.iter_mut().zip(change).zip(scales) {
                        *value += *scale * (change - decay * *value);
                    }
                });
            }
            Self::Adafactor(adafactor) => adafactor.step(values, gradient, rate, decay),
        }
    }

    /// The moments, for checkpoints; Adafactor has only the second.
    pub(super) fn moments(&self) -> [&[f32]; 2] {
        match self {
            Self::AdamW { adam, .. } => adam.moments().into(),
            Self::Adafactor(adafactor) => [&[], adafactor.moments()],
        }
    }

    /// Puts back what [`Optimiser::moments`] gave after `step` steps.
    pub(super) fn restore(&mut self, step: usize, first: Vec<f32>, second: Vec<f32>) {
        match self {
            Self::AdamW { adam, .. } => adam.restore(step as i32, first, second),
            Self::Adafactor(adafactor) => adafactor.restore(step, second),
        }
    }
}
