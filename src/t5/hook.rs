//! The one hook through which deltas act on the forward pass.

use super::{Dropout, LinearGroup, Normed};
use crate::structure::PositionId;
use burn::tensor::Tensor;

/// What a set of delta modules does to a forward pass. Rows of a batch are the first dimension throughout.
///
/// Every method has a default that leaves the frozen output as it is, and is called only where [`Deltas::touches`] says
/// so (the group's method: where it says so for any of its positions), so that an untouched position costs one lookup.
/// `linear` and `side_by_side`, of which a pass asks for one, may fuse the delta with the product; their defaults multiply,
/// then ask `output` position by position.
/// Prefix kinds would add a method on keys and values; it comes with the first of them.
pub trait Deltas: Sync {
    /// Whether anything stands at this position.
    fn touches(&self, position: PositionId) -> bool;

    /// The same for these rows of the batch, in this order; a row may be named more than once. `None` where every row is
    /// treated alike, so that nothing changes.
    fn select(&self, _rows: &[usize]) -> Option<Box<dyn Deltas>> {
        None
    }

    /// Dropout of the pass, of everything at once and not by position; none while serving.
    fn dropout(&self) -> Option<&Dropout> {
        None
    }

    /// The input of a linear map or module before it is used: `x [batch, len, d_in] -> same`.
    fn input(&self, _position: PositionId, x: Tensor<3>) -> Tensor<3> {
        x
    }

    /// The outputs of a group of linear maps that share their input: `x [batch, len, d_in] -> [batch, len, d_out]` each.
    fn linear(&self, group: &LinearGroup, x: &Tensor<3>) -> Vec<Tensor<3>> {
        let outputs = group.product(x.clone());
        let each = group.positions().zip(outputs);
        each.map(|(position, y)| if self.touches(position) { self.output(position, x, y) } else { y }).collect()
    }

    /// The same side by side, `[batch, len, Σ d_out]`.
    fn side_by_side(&self, group: &LinearGroup, x: &Tensor<3>) -> Tensor<3> {
        let mut parts = self.linear(group, x);
        if parts.len() == 1 { parts.remove(0) } else { Tensor::cat(parts, 2) }
    }

    /// The output of a layer norm, `[batch, len, d]`.
    fn norm(&self, _position: PositionId, normed: &Normed) -> Tensor<3> {
        normed.output()
    }

    /// The output of a linear map or module: `x [batch, len, d_in]`, `y [batch, len, d_out]` -> like `y`.
    fn output(&self, _position: PositionId, _x: &Tensor<3>, y: Tensor<3>) -> Tensor<3> {
        y
    }
}

/// No deltas: the bare backbone.
#[derive(Debug, Clone, Copy)]
pub struct Frozen;

impl Deltas for Frozen {
    fn touches(&self, _: PositionId) -> bool {
        false
    }
}
