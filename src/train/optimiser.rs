//! AdamW on flat host vectors, global-norm clipping, and learning-rate schedules.
//!
//! Trained values live on the host as one vector: an optimiser step, a clip or a perturbation is one loop, and a
//! checkpoint is plain bytes, whatever the device.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Values that one thread takes at a time.
pub(crate) const PART: usize = 1 << 16;

/// Adam with decoupled weight decay (Loshchilov & Hutter 2019), defaults of the reference: β = (0.9, 0.999), ε = 1e-8,
/// no decay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdamW {
    /// First and second moment's decay.
    pub betas: (f32, f32),
    /// Added to the denominator.
    pub epsilon: f32,
    /// Decoupled weight decay, times the learning rate.
    pub weight_decay: f32,
    step: i32,
    first: Vec<f32>,
    second: Vec<f32>,
}

impl AdamW {
    /// State for `len` values.
    pub fn new(len: usize) -> Self {
        Self {
            betas: (0.9, 0.999),
            epsilon: 1e-8,
            weight_decay: 0.0,
            step: 0,
            first: vec![0.0; len],
            second: vec![0.0; len],
        }
    }

    /// Steps taken.
    pub fn steps(&self) -> i32 {
        self.step
    }

    /// The two moments, for checkpoints.
    pub fn moments(&self) -> (&[f32], &[f32]) {
        (&self.first, &self.second)
    }

    /// Puts back what [`AdamW::moments`] and [`AdamW::steps`] gave.
    pub fn restore(&mut self, step: i32, first: Vec<f32>, second: Vec<f32>) {
        assert!(first.len() == self.first.len() && second.len() == self.second.len(), "moments of another model");
        (self.step, self.first, self.second) = (step, first, second);
    }

    /// One step: `values ← values − rate (m̂ / (√v̂ + ε) + decay · values)`.
    pub fn step(&mut self, values: &mut [f32], gradient: &[f32], rate: f32) {
        self.step += 1;
        let (b1, b2) = self.betas;
        let (c1, c2) = (1.0 - b1.powi(self.step), 1.0 - b2.powi(self.step));
        let (epsilon, decay) = (self.epsilon, self.weight_decay);
        let moments = self.first.par_chunks_mut(PART).zip(self.second.par_chunks_mut(PART));
        let parts = values.par_chunks_mut(PART).zip(gradient.par_chunks(PART)).zip(moments);
        parts.for_each(|((values, gradient), (first, second))| {
            for ((value, g), (m, v)) in values.iter_mut().zip(gradient).zip(first.iter_mut().zip(second)) {
                *m = b1 * *m + (1.0 - b1) * g;
                *v = b2 * *v + (1.0 - b2) * g * g;
                // a value may be infinite: 0 times it would be no number
                let decayed = if decay == 0.0 { 0.0 } else { decay * *value };
                *value -= rate * ((*m / c1) / ((*v / c2).sqrt() + epsilon) + decayed);
            }
        });
    }
}

/// Scales `gradient` down to a global L2 norm of at most `most`; gives the norm before.
pub fn clip_global_norm(gradient: &mut [f32], most: f64) -> f64 {
    let norm = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
    if norm > most {
        let scale = (most / (norm + 1e-6)) as f32; // as torch.nn.utils.clip_grad_norm_
        gradient.iter_mut().for_each(|g| *g *= scale);
    }
    norm
}

/// The reference's schedule: from `rate` at step 0 linearly to 0 at `total`, no warm-up.
pub fn linear_decay(rate: f64, step: usize, total: usize) -> f64 {
    rate * (1.0 - step as f64 / total.max(1) as f64).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with torch 2.9.1: `AdamW([p], lr=0.1, weight_decay=0.01)`, p = [1, -2], three steps of gradient [0.5, -0.1·k].
    #[test]
    fn adamw_is_torchs() {
        let mut values = vec![1.0f32, -2.0];
        let mut optimiser = AdamW::new(2);
        optimiser.weight_decay = 0.01;
        for k in 1..=3 {
            optimiser.step(&mut values, &[0.5, -0.1 * k as f32], 0.1);
        }
        let wanted = [0.697_302_9, -1.701_984_2];
        assert!(values.iter().zip(wanted).all(|(a, b): (&f32, f32)| (a - b).abs() < 2e-6), "{values:?}");
    }

    #[test]
    fn clipping_keeps_direction() {
        let mut gradient = vec![3.0, 4.0];
        assert_eq!(clip_global_norm(&mut gradient, 2.0), 5.0);
        assert!((gradient[0] - 1.2).abs() < 1e-5 && (gradient[1] - 1.6).abs() < 1e-5);
        assert!((clip_global_norm(&mut gradient, 10.0) - 2.0).abs() < 1e-5);
    }
}
