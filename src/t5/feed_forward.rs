//! The feed-forward layer, plain (v1.0) or gated (v1.1).

use super::{Activation, Deltas, LinearGroup};
use crate::structure::PositionId;
use burn::tensor::Tensor;

/// `wo(f(wi x))` or `wo(f(wi_0 x) ∘ wi_1 x)`.
#[derive(Debug, Clone)]
pub(super) struct FeedForward {
    pub(super) input: LinearGroup,
    pub(super) output: LinearGroup,
    pub(super) position: PositionId,
    pub(super) activation: Activation,
}

impl FeedForward {
    /// `x [batch, len, d] -> [batch, len, d]`, before the residual.
    pub(super) fn forward(&self, x: Tensor<3>, deltas: &dyn Deltas) -> Tensor<3> {
        let touched = deltas.touches(self.position);
        let x = if touched { deltas.input(self.position, x) } else { x };
        let inputs = self.input.forward_side_by_side(x.clone(), deltas);
        let y = self.output.forward_one(self.activation.forward(inputs), deltas);
        if touched { deltas.output(self.position, &x, y) } else { y }
    }
}
