//! The feed-forward layer, plain (v1.0) or gated (v1.1).

use super::{Activation, Deltas, LinearGroup};
use crate::structure::PositionId;
use burn::tensor::{Tensor, activation::relu};

/// `wo(relu(wi x))` or `wo(gelu_new(wi_0 x) ∘ wi_1 x)`.
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
        let mut inputs = self.input.forward(x.clone(), deltas).into_iter();
        let first = inputs.next().expect("wi or wi_0");
        let hidden = match self.activation {
            Activation::Relu => relu(first),
            Activation::GatedGelu => gelu_new(first) * inputs.next().expect("wi_1"),
        };
        let y = self.output.forward_one(hidden, deltas);
        if touched { deltas.output(self.position, &x, y) } else { y }
    }
}

/// The tanh approximation of GELU: `½ x (1 + tanh(√(2/π) (x + 0.044715 x³)))`, as transformers' `gelu_new`.
pub(crate) fn gelu_new<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    const SQRT_2_OVER_PI: f64 = std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2;
    // x (c + 0.044715 c x²): cheaper than burn's powf
    let inner = x.clone() * x.clone().square().mul_scalar(0.044715 * SQRT_2_OVER_PI).add_scalar(SQRT_2_OVER_PI);
    x * inner.tanh().add_scalar(1.0).mul_scalar(0.5)
}
