//! The feed-forward layer, plain (v1.0) or gated (v1.1).

use super::dropout::dropped;
use super::kernels::sum;
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
    /// `residual` plus the layer's output for `x`, all `[batch, len, d]`.
    pub(super) fn forward(&self, residual: Tensor<3>, x: Tensor<3>, deltas: &dyn Deltas) -> Tensor<3> {
        if !deltas.touches(self.position) {
            return self.output.forward_onto(residual, self.hidden(x, deltas), deltas);
        }
        let x = deltas.input(self.position, x);
        let y = self.output.forward_one(self.hidden(x.clone(), deltas), deltas);
        sum(residual, dropped(deltas.output(self.position, &x, y), deltas))
    }

    /// `[batch, len, d] -> [batch, len, d_ff]`.
    fn hidden(&self, x: Tensor<3>, deltas: &dyn Deltas) -> Tensor<3> {
        let hidden = match self.activation {
            Activation::RELU => self.input.forward_relu(x.clone(), deltas),
            _ => None,
        };
        let plain = || self.activation.forward(self.input.forward_side_by_side(x, deltas));
        dropped(hidden.unwrap_or_else(plain), deltas)
    }
}
