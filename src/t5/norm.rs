//! T5's layer norm: RMS without mean and bias.

use super::Deltas;
use super::kernels::{normalised, rms_norm};
use crate::structure::PositionId;
use burn::tensor::Tensor;

/// `y = w ∘ x̂`, `x̂ = x / √(mean x² + ε)`.
#[derive(Debug, Clone)]
pub(super) struct Norm {
    pub(super) weight: Tensor<1>,
    pub(super) position: PositionId,
    pub(super) epsilon: f64,
}

/// A norm that deltas act on, with its input; each of its parts is computed when asked for.
#[derive(Debug)]
pub struct Normed<'a> {
    /// What is normalised, `[batch, len, d]`.
    pub x: &'a Tensor<3>,
    /// ε.
    pub epsilon: f64,
    weight: &'a Tensor<1>,
}

impl Normed<'_> {
    /// `x̂`, before the norm's own weight.
    pub fn x_hat(&self) -> Tensor<3> {
        normalised(self.x.clone(), self.epsilon)
    }

    /// `w ∘ x̂` from `x̂`; it has the bits of [`Normed::output`].
    pub fn weighted(&self, x_hat: Tensor<3>) -> Tensor<3> {
        x_hat * self.weight.clone().unsqueeze()
    }

    /// `w ∘ x̂`, the frozen output.
    pub fn output(&self) -> Tensor<3> {
        rms_norm(self.x.clone(), self.weight.clone(), self.epsilon)
    }
}

impl Norm {
    /// `x [batch, len, d] -> [batch, len, d]`.
    pub(super) fn forward(&self, x: Tensor<3>, deltas: &dyn Deltas) -> Tensor<3> {
        if !deltas.touches(self.position) {
            return rms_norm(x, self.weight.clone(), self.epsilon);
        }
        deltas.norm(self.position, &Normed { x: &x, epsilon: self.epsilon, weight: &self.weight })
    }
}
