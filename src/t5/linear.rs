//! Linear maps that share their input, multiplied as one.

use super::Deltas;
use super::dropout::dropped;
use super::kernels::{Int8, Panels, is_plain, sum};
use crate::structure::PositionId;
use burn::tensor::{Bytes, DType, Tensor};
use std::ops::Range;

/// The weight of a linear map `[d_in, d_out]`, which is the transpose of PyTorch's layout.
#[derive(Debug, Clone)]
pub struct Weight(Form);

#[derive(Debug, Clone)]
enum Form {
    /// On any device, in any number format, tracked or not. Where its format is another than the input's, the product is
    /// computed in it.
    Plain(Tensor<2>),
    /// Frozen, f32, on the CPU.
    Panels(Panels),
    /// Frozen, rounded, on the CPU.
    Int8(Int8),
}

impl From<Tensor<2>> for Weight {
    fn from(matrix: Tensor<2>) -> Self {
        Self(Form::Plain(matrix))
    }
}

impl Weight {
    /// Columns of a panel.
    pub(super) const PANEL: usize = Panels::WIDTH;

    /// Values that [`Weight::panels`] takes for a matrix.
    pub(super) fn panels_len(d_in: usize, d_out: usize) -> usize {
        Panels::len(d_in, d_out)
    }

    /// A frozen matrix for the CPU of f32 values in the order of [`Panels`].
    pub(super) fn panels(values: Bytes, d_in: usize, d_out: usize) -> Self {
        Self(Form::Panels(Panels::new(values, d_in, d_out)))
    }

    /// A matrix that stays as it is, in the form that its device multiplies by best.
    pub fn frozen(matrix: Tensor<2>) -> Self {
        Self(if is_plain(&matrix) { Form::Panels(Panels::of(matrix)) } else { Form::Plain(matrix) })
    }

    /// Values of such panels rounded to 8 bits.
    pub(super) fn int8(panels: &[f32], d_in: usize, d_out: usize) -> Self {
        Self(Form::Int8(Int8::round(panels, d_in, d_out)))
    }

    fn d_out(&self) -> usize {
        match &self.0 {
            Form::Plain(matrix) => matrix.dims()[1],
            Form::Panels(panels) => panels.columns(),
            Form::Int8(int8) => int8.columns(),
        }
    }

    /// `x [rows, d_in] -> [rows, d_out]`.
    pub(super) fn product(&self, x: Tensor<2>) -> Tensor<2> {
        let outer = x.dtype();
        match &self.0 {
            Form::Plain(matrix) if outer == matrix.dtype() => x.matmul(matrix.clone()),
            Form::Plain(matrix) => x.cast(matrix.dtype()).matmul(matrix.clone()).cast(outer),
            _ if outer != DType::F32 => self.product(x.cast(DType::F32)).cast(outer),
            Form::Panels(panels) => panels.product(x),
            Form::Int8(int8) => {
                assert!(!x.is_autodiff(), "nothing is trained through weights of 8 bits: open the backbone with f32");
                int8.product(x)
            }
        }
    }

    /// `max(x w, 0)` in one pass, where it can be had: of what is no part of a graph.
    fn product_relu(&self, x: Tensor<2>) -> Option<Tensor<2>> {
        match &self.0 {
            _ if !is_plain(&x) => None,
            Form::Plain(_) => None,
            Form::Panels(panels) => Some(panels.product_relu(x)),
            Form::Int8(int8) => Some(int8.product_relu(x)),
        }
    }

    /// `y + x w`, in one pass where it can be had.
    fn product_onto(&self, y: Tensor<2>, x: Tensor<2>) -> Tensor<2> {
        match &self.0 {
            Form::Panels(panels) if is_plain(&y) && is_plain(&x) => panels.product_onto(y, x),
            Form::Int8(int8) if is_plain(&y) && is_plain(&x) => int8.product_onto(y, x),
            _ => y + self.product(x),
        }
    }
}

/// One or several linear maps with a common input (q, k, v; cross k, v; wi_0, wi_1), their weights side by side.
#[derive(Debug, Clone)]
pub struct LinearGroup {
    weight: Weight,
    parts: Vec<(PositionId, usize)>,
}

impl LinearGroup {
    /// A group from its weight `[d_in, Σ d_out]` and the position and width of each part.
    pub fn new(weight: Weight, parts: Vec<(PositionId, usize)>) -> Self {
        debug_assert_eq!(weight.d_out(), parts.iter().map(|(_, width)| width).sum::<usize>());
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
        let [batch, len, _] = x.dims();
        self.weight.product(flat(x)).reshape([batch, len, self.weight.d_out()])
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
        if !self.touched(deltas) {
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
        if !self.touched(deltas) {
            return self.whole(x);
        }
        deltas.side_by_side(self, &self.prepared(x, deltas))
    }

    /// The outputs with deltas, parted in heads: `[batch, heads, len, d_kv]` each.
    pub(super) fn forward_heads(&self, x: Tensor<3>, heads: usize, deltas: &dyn Deltas) -> Vec<Tensor<4>> {
        let split = |y: Tensor<3>, heads: usize| {
            let [batch, len, inner] = y.dims();
            y.reshape([batch, len, heads, inner / heads]).swap_dims(1, 2)
        };
        if x.is_autodiff() && self.touched(deltas) {
            return self.forward(x, deltas).into_iter().map(|part| split(part, heads)).collect();
        }
        // parted as heads of all maps first: a reshape of one map's part would copy it
        let y = split(self.forward_side_by_side(x, deltas), self.parts.len() * heads);
        (0..self.parts.len()).map(|part| y.clone().narrow(1, part * heads, heads)).collect()
    }

    /// The output of a group of one.
    pub fn forward_one(&self, x: Tensor<3>, deltas: &dyn Deltas) -> Tensor<3> {
        self.forward(x, deltas).pop().expect("a group has at least one part")
    }

    /// `residual` plus the output of a group of one under dropout, in one pass where nothing stands between.
    pub(super) fn forward_onto(&self, residual: Tensor<3>, x: Tensor<3>, deltas: &dyn Deltas) -> Tensor<3> {
        if self.touched(deltas) || deltas.dropout().is_some() {
            return sum(residual, dropped(self.forward_one(x, deltas), deltas));
        }
        let shape = residual.dims();
        self.weight.product_onto(flat(residual), flat(x)).reshape(shape)
    }

    /// `max(y, 0)` of the outputs side by side where it can be had in one pass.
    pub(super) fn forward_relu(&self, x: Tensor<3>, deltas: &dyn Deltas) -> Option<Tensor<3>> {
        let [batch, len, _] = x.dims();
        let y = if self.touched(deltas) { None } else { self.weight.product_relu(flat(x)) };
        y.map(|y| y.reshape([batch, len, self.weight.d_out()]))
    }

    fn touched(&self, deltas: &dyn Deltas) -> bool {
        self.positions().any(|position| deltas.touches(position))
    }
}

/// `[batch, len, d] -> [batch · len, d]`: a batched product would repeat the weight per row.
fn flat(x: Tensor<3>) -> Tensor<2> {
    let [batch, len, d] = x.dims();
    x.reshape([batch * len, d])
}
