//! Linear maps that share their input, multiplied as one.

use super::Deltas;
use crate::structure::PositionId;
use burn::tensor::Tensor;
use std::ops::Range;

/// One or several linear maps with a common input (q, k, v; cross k, v; wi_0, wi_1), their weights side by side.
#[derive(Debug, Clone)]
pub struct LinearGroup {
    /// `[d_in, Σ d_out]`: the transpose of PyTorch's layout. Where its number format is another than the input's, the product
    /// is computed in it.
    weight: Tensor<2>,
    parts: Vec<(PositionId, usize)>,
}

impl LinearGroup {
    /// A group from its weight `[d_in, Σ d_out]` and the position and width of each part.
    pub fn new(weight: Tensor<2>, parts: Vec<(PositionId, usize)>) -> Self {
        debug_assert_eq!(weight.dims()[1], parts.iter().map(|(_, width)| width).sum::<usize>());
        Self { weight, parts }
    }

    /// The positions in the group, each with its columns of the outputs side by side.
    pub fn columns(&self) -> impl Iterator<Item = (PositionId, Range<usize>)> {
        self.parts.iter().scan(0, |start, (position, width)| {
            *start += width;
            Some((*position, *start - width..*start))
        })
    }

    /// The positions in the group.
    pub fn positions(&self) -> impl Iterator<Item = PositionId> {
        self.parts.iter().map(|(position, _)| *position)
    }

    /// The frozen products side by side: `x [batch, len, d_in] -> [batch, len, Σ d_out]`.
    pub fn whole(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, len, d_in] = x.dims();
        // one flat matrix product: a batched one repeats the weight per row
        let x = x.reshape([batch * len, d_in]);
        let (outer, inner) = (x.dtype(), self.weight.dtype());
        let y = if outer == inner {
            x.matmul(self.weight.clone())
        } else {
            x.cast(inner).matmul(self.weight.clone()).cast(outer)
        };
        y.reshape([batch, len, self.weight.dims()[1]])
    }

    /// The frozen products: `x [batch, len, d_in] -> [batch, len, d_out]` each.
    pub fn product(&self, x: Tensor<3>) -> Vec<Tensor<3>> {
        self.split(self.whole(x))
    }

    /// Outputs that stand side by side, `[batch, len, Σ d_out] -> [batch, len, d_out]` each.
    pub fn split(&self, y: Tensor<3>) -> Vec<Tensor<3>> {
        if self.parts.len() == 1 {
            return vec![y];
        }
        let mut start = 0;
        let part = |(_, width): &(PositionId, usize)| {
            let slice = y.clone().narrow(2, start, *width);
            start += width;
            slice
        };
        self.parts.iter().map(part).collect()
    }

    /// The outputs with deltas.
    pub fn forward(&self, x: Tensor<3>, deltas: &dyn Deltas) -> Vec<Tensor<3>> {
        if !self.positions().any(|position| deltas.touches(position)) {
            return self.product(x);
        }
        deltas.linear(self, &self.prepared(x, deltas))
    }

    /// The input with what deltas make of it.
    fn prepared(&self, x: Tensor<3>, deltas: &dyn Deltas) -> Tensor<3> {
        self.positions().filter(|p| deltas.touches(*p)).fold(x, |x, p| deltas.input(p, x))
    }

    /// The outputs with deltas side by side, `[batch, len, Σ d_out]`.
    pub fn forward_side_by_side(&self, x: Tensor<3>, deltas: &dyn Deltas) -> Tensor<3> {
        if !self.positions().any(|position| deltas.touches(position)) {
            return self.whole(x);
        }
        deltas.side_by_side(self, &self.prepared(x, deltas))
    }

    /// The output of a group of one.
    pub fn forward_one(&self, x: Tensor<3>, deltas: &dyn Deltas) -> Tensor<3> {
        self.forward(x, deltas).pop().expect("a group has at least one part")
    }
}
