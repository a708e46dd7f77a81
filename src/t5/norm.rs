//! T5's layer norm: RMS without mean and bias.

use super::Deltas;
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
        let mean_square = x.clone().square().mean_dim(2);
        let x_hat = x / mean_square.add_scalar(self.epsilon).sqrt();
        let y = x_hat.clone() * self.weight.clone().unsqueeze();
        if deltas.touches(self.position) { deltas.norm(self.position, &x_hat, y) } else { y }
    }
}
