//! Multi-head attention without scaling, as T5 has it, over whole sequences or over cached keys and values.

use super::kernels::softmax_with_bias;
use super::sharing::Sharing;
use super::{Deltas, LinearGroup};
use crate::structure::PositionId;
use burn::tensor::{Int, Tensor};

/// Keys and values of one layer, each `[batch, heads, keys, d_kv]`.
#[derive(Debug, Clone)]
pub(super) struct KeysValues {
    pub(super) keys: Tensor<4>,
    pub(super) values: Tensor<4>,
}

impl KeysValues {
    /// These rows, in this order; a row may be named more than once.
    pub(super) fn select(&self, rows: &Tensor<1, Int>) -> Self {
        let pick = |tensor: &Tensor<4>| tensor.clone().select(0, rows.clone());
        Self { keys: pick(&self.keys), values: pick(&self.values) }
    }
}

/// Self-attention (`input` holds q, k, v) or cross-attention (`input` holds q, `context` k and v).
#[derive(Debug, Clone)]
pub(super) struct Attention {
    pub(super) input: LinearGroup,
    pub(super) context: Option<LinearGroup>,
    pub(super) output: LinearGroup,
    pub(super) position: PositionId,
    pub(super) heads: usize,
}

impl Attention {
    /// Queries, keys and values of `x [batch, len, d]`: `[batch, heads, len, d_kv]` each.
    pub(super) fn project(&self, x: Tensor<3>, deltas: &dyn Deltas) -> (Tensor<4>, KeysValues) {
        let mut parts = self.input.forward(x, deltas).into_iter().map(|part| self.split(part));
        let mut next = || parts.next().expect("q, k and v");
        (next(), KeysValues { keys: next(), values: next() })
    }

    /// Keys and values of the encoder's output `[batch, len, d]`, computed once a sequence.
    pub(super) fn project_context(&self, encoded: Tensor<3>, deltas: &dyn Deltas) -> KeysValues {
        let group = self.context.as_ref().expect("cross-attention has k and v of its own");
        let mut parts = group.forward(encoded, deltas).into_iter().map(|part| self.split(part));
        let mut next = || parts.next().expect("k and v");
        KeysValues { keys: next(), values: next() }
    }

    /// Queries alone, for cross-attention; `[sources, heads, most, d_kv]` where rows share sources.
    pub(super) fn project_query(&self, x: Tensor<3>, sharing: Option<&Sharing>, deltas: &dyn Deltas) -> Tensor<4> {
        let query = self.input.forward_one(x, deltas);
        self.split(if let Some(sharing) = sharing { sharing.by_source(query) } else { query })
    }

    /// Attends and projects back: `x` is the module's input `[batch, len, d]`, `bias` broadcasts to
    /// `[batch, heads, len, keys]`; `-> [batch, len, d]`, before the residual. Queries are laid out by `sharing`.
    pub(super) fn attend(
        &self,
        x: &Tensor<3>,
        query: Tensor<4>,
        cached: KeysValues,
        bias: Option<&Tensor<4>>,
        sharing: Option<&Sharing>,
        deltas: &dyn Deltas,
    ) -> Tensor<3> {
        let [batch, heads, len, d_kv] = query.dims();
        let scores = query.matmul(cached.keys.swap_dims(2, 3)); // [batch, heads, len, keys]
        let mixed = softmax_with_bias(scores, bias.cloned()).matmul(cached.values); // [batch, heads, len, d_kv]
        let mixed = mixed.swap_dims(1, 2).reshape([batch, len, heads * d_kv]);
        let mixed = if let Some(sharing) = sharing { sharing.by_row(mixed) } else { mixed };
        let y = self.output.forward_one(mixed, deltas);
        if deltas.touches(self.position) { deltas.output(self.position, x, y) } else { y }
    }

    /// The module's input with what deltas make of it.
    pub(super) fn prepare(&self, x: Tensor<3>, deltas: &dyn Deltas) -> Tensor<3> {
        if deltas.touches(self.position) { deltas.input(self.position, x) } else { x }
    }

    /// `[batch, len, inner] -> [batch, heads, len, d_kv]`.
    fn split(&self, x: Tensor<3>) -> Tensor<4> {
        let [batch, len, inner] = x.dims();
        x.reshape([batch, len, self.heads, inner / self.heads]).swap_dims(1, 2)
    }
}
