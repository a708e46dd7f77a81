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

impl Norm {
    /// `x [batch, len, d] -> [batch, len, d]`.
    pub(super) fn forward(&self, x: Tensor<3>, deltas: &dyn Deltas) -> Tensor<3> {
        if !deltas.touches(self.position) {
            return rms_norm(x, self.weight.clone(), self.epsilon);
        }
        let x_hat = normalised(x, self.epsilon);
        let y = x_hat.clone() * self.weight.clone().unsqueeze();
        deltas.norm(self.position, &x_hat, y)
    }
}
