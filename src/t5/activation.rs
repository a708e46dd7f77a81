//! The activation of the feed-forward layers, by transformers' names.

use super::kernels::{gated_gelu, gelu_new, relu};
use burn::tensor::{Tensor, activation};
use serde::{Deserialize, Serialize};

/// An activation function, by its name in transformers' `ACT2FN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActivationFunction {
    /// `max(x, 0)`: T5 v1.0.
    Relu,
    /// `x Φ(x)`, by the error function.
    Gelu,
    /// `½ x (1 + tanh(√(2/π) (x + 0.044715 x³)))`: T5 v1.1, Flan-T5, mT5, ByT5, UMT5. Also `gelu_pytorch_tanh`.
    GeluNew,
    /// `x / (1 + e⁻ˣ)`: UL2. Also `swish`.
    Silu,
}

impl ActivationFunction {
    /// By a name of `ACT2FN`; `None` for those that are not supported.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "relu" => Self::Relu,
            "gelu" => Self::Gelu,
            "gelu_new" | "gelu_pytorch_tanh" => Self::GeluNew,
            "silu" | "swish" => Self::Silu,
            _ => return None,
        })
    }

    /// Its name in `ACT2FN`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Relu => "relu",
            Self::Gelu => "gelu",
            Self::GeluNew => "gelu_new",
            Self::Silu => "silu",
        }
    }

    fn forward(self, x: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Relu => relu(x),
            Self::Gelu => activation::gelu(x),
            Self::GeluNew => gelu_new(x),
            Self::Silu => activation::silu(x),
        }
    }
}

/// What stands between the feed-forward layer's input and output maps: `f(wi x)`, or gated `f(wi_0 x) ∘ wi_1 x`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activation {
    /// The function `f` (`dense_act_fn`).
    pub function: ActivationFunction,
    /// Whether there are `wi_0` and `wi_1` in place of `wi` (`is_gated_act`).
    pub gated: bool,
}

impl Activation {
    /// That of T5 v1.0: `relu`.
    pub const RELU: Self = Self { function: ActivationFunction::Relu, gated: false };
    /// That of T5 v1.1 and what came after it: `gated-gelu`, whose function is `gelu_new`.
    pub const GATED_GELU: Self = Self { function: ActivationFunction::GeluNew, gated: true };

    /// The names of the input maps.
    pub(super) fn inputs(self) -> &'static [&'static str] {
        if self.gated { &["wi_0", "wi_1"] } else { &["wi"] }
    }

    /// Its name as `feed_forward_proj`. That of gated `gelu` is also the one of gated `gelu_new`: what writes it writes
    /// `dense_act_fn` too, which transformers prefers.
    pub(super) fn projection(self) -> String {
        match (self.function, self.gated) {
            (ActivationFunction::GeluNew, true) => "gated-gelu".into(),
            (function, true) => format!("gated-{}", function.name()),
            (function, false) => function.name().into(),
        }
    }

    /// `x [batch, len, d_ff]`, gated `[batch, len, 2 d_ff]` with `wi_0`'s half first, `-> [batch, len, d_ff]`.
    pub(super) fn forward(self, x: Tensor<3>) -> Tensor<3> {
        if self == Self::GATED_GELU {
            return gated_gelu(x);
        }
        if !self.gated {
            return self.function.forward(x);
        }
        let d_ff = x.dims()[2] / 2;
        self.function.forward(x.clone().narrow(2, 0, d_ff)) * x.narrow(2, d_ff, d_ff)
    }
}
