//! Multi-head attention without scaling, as T5 has it, over whole sequences or over cached keys and values.

use super::dropout::dropped;
use super::kernels::{attention, attention_by, sum};
use super::keys_values::{Attended, KeysValues};
use super::position_bias::Bias;
use super::sharing::Sharing;
use super::{Deltas, LinearGroup};
use crate::structure::PositionId;
use burn::tensor::Tensor;

/// What queries attend to.
pub(super) struct Context<'a> {
    pub(super) attended: Attended<'a>,
    /// Added to the scores.
    pub(super) bias: Option<Bias<'a>>,
    /// Where rows share sources, by which queries are laid out then.
    pub(super) sharing: Option<&'a Sharing>,
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
        let mut parts = self.input.forward_heads(x, self.heads, deltas).into_iter();
        let mut next = || parts.next().expect("q, k and v");
        (next(), KeysValues { keys: next(), values: next() })
    }

    /// Keys and values of the encoder's output `[batch, len, d]`.
    pub(super) fn project_context(&self, encoded: Tensor<3>, deltas: &dyn Deltas) -> KeysValues {
        let group = self.context.as_ref().expect("cross-attention has k and v of its own");
        let mut parts = group.forward_heads(encoded, self.heads, deltas).into_iter();
        let mut next = || parts.next().expect("k and v");
        KeysValues { keys: next(), values: next() }
    }

    /// Queries alone, for cross-attention; `[sources, heads, most, d_kv]` where rows share sources.
    pub(super) fn project_query(&self, x: Tensor<3>, sharing: Option<&Sharing>, deltas: &dyn Deltas) -> Tensor<4> {
        let query = self.input.forward_one(x, deltas);
        self.split(if let Some(sharing) = sharing { sharing.by_source(query) } else { query })
    }

    /// Attends, projects back and adds `residual`: `x` is the module's input, all `[batch, len, d]`.
    pub(super) fn attend(
        &self,
        residual: Tensor<3>,
        x: &Tensor<3>,
        query: Tensor<4>,
        Context { attended, bias, sharing }: Context,
        deltas: &dyn Deltas,
    ) -> Tensor<3> {
        let mixed = match deltas.dropout() {
            None => attention(query, attended, bias), // [batch, len, heads · d_kv]
            Some(_) => attention_by(query, attended, bias, |weights| dropped(weights, deltas)),
        };
        let mixed = if let Some(sharing) = sharing { sharing.by_row(mixed) } else { mixed };
        if !deltas.touches(self.position) {
            return self.output.forward_onto(residual, mixed, deltas);
        }
        let y = self.output.forward_one(mixed, deltas);
        sum(residual, dropped(deltas.output(self.position, x, y), deltas))
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
