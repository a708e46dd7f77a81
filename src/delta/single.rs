//! One set of delta modules for the whole batch.

use super::Layout;
use super::formula::{delta, is_parallel};
use crate::structure::{Kind, PositionId};
use crate::t5::Deltas;
use burn::tensor::{Device, Gradients, Tensor, TensorData};

/// One set of modules, applied to every row alike.
#[derive(Debug, Clone)]
pub struct Single {
    /// By position index; empty where nothing stands.
    places: Vec<Vec<Module>>,
}

/// A module with its factors `[1, rows, columns]`, biases `[1, 1, d]`.
#[derive(Debug, Clone)]
pub(super) struct Module {
    pub(super) kind: Kind,
    pub(super) factors: Vec<Tensor<3>>,
}

/// What a tensor holds on the heap beside its values: shape, strides and counters.
const AROUND_A_TENSOR: usize = 128;

/// The tracked tensors behind a [`Single`], from which gradients are read.
#[derive(Debug)]
pub struct Leaves {
    tensors: Vec<Tensor<3>>,
}

impl Single {
    /// Frozen modules from flat values; `positions` is the number of positions of the backbone.
    pub fn new(layout: &Layout, values: &[f32], positions: usize, device: &Device) -> Self {
        Self::build(layout, values, positions, device, |tensor| tensor)
    }

    /// Trainable modules from flat values, with the leaves to read gradients from.
    pub fn tracked(layout: &Layout, values: &[f32], positions: usize, device: &Device) -> (Self, Leaves) {
        let mut tensors = Vec::new();
        let single = Self::build(layout, values, positions, device, |tensor| {
            let leaf = tensor.autodiff().require_grad();
            tensors.push(leaf.clone());
            leaf
        });
        (single, Leaves { tensors })
    }

    fn build(
        layout: &Layout,
        values: &[f32],
        positions: usize,
        device: &Device,
        mut leaf: impl FnMut(Tensor<3>) -> Tensor<3>,
    ) -> Self {
        assert_eq!(values.len(), layout.len(), "values of another layout");
        let mut places = vec![Vec::new(); positions];
        if layout.is_empty() {
            return Self { places };
        }
        let flat = Tensor::<1>::from_data(TensorData::new(values.to_vec(), [values.len()]), device); // one upload
        for module in layout.modules() {
            let factor = |(spec, range): &(crate::structure::TensorSpec, std::ops::Range<usize>)| {
                let shape = match spec.shape[..] {
                    [columns] => [1, 1, columns],
                    [rows, columns] => [1, rows, columns],
                    _ => unreachable!("delta tensors are vectors or matrices"),
                };
                leaf(flat.clone().slice([range.clone()]).reshape(shape))
            };
            let factors = module.tensors.iter().map(factor).collect();
            places[module.position.index()].push(Module { kind: module.module.kind, factors });
        }
        Self { places }
    }

    /// Bytes that it holds, those around its values included: small factors cost more by their bookkeeping than by their
    /// values.
    pub fn bytes(&self) -> usize {
        let modules = || self.places.iter().flatten();
        let factors = modules().flat_map(|module| &module.factors);
        let values: usize = factors.clone().map(|factor| factor.shape().num_elements() * size_of::<f32>()).sum();
        let around =
            factors.count() * (size_of::<Tensor<3>>() + AROUND_A_TENSOR) + modules().count() * size_of::<Module>();
        values + around + self.places.len() * size_of::<Vec<Module>>()
    }

    pub(super) fn places(&self) -> &[Vec<Module>] {
        &self.places
    }
}

/// `y` plus the parallel modules' Δ of `x`, then plus the sequential ones' Δ of that, all of the same.
///
/// # Shapes
/// `x [groups, n, d_in]`, `y [groups, n, d_out] -> [groups, n, d_out]`
pub(super) fn apply(modules: &[Module], x: &Tensor<3>, y: Tensor<3>) -> Tensor<3> {
    let each = modules.iter();
    let (parallel, sequential): (Vec<_>, Vec<_>) = each.partition(|module| is_parallel(module.kind));
    let y = parallel.into_iter().fold(y, |y, module| y + delta(module.kind, x, &module.factors));
    let from = y.clone();
    sequential.into_iter().fold(y, |y, module| y + delta(module.kind, &from, &module.factors))
}

impl Deltas for Single {
    fn touches(&self, position: PositionId) -> bool {
        !self.places[position.index()].is_empty()
    }

    fn norm(&self, position: PositionId, x_hat: &Tensor<3>, y: Tensor<3>) -> Tensor<3> {
        self.output(position, x_hat, y)
    }

    fn output(&self, position: PositionId, x: &Tensor<3>, y: Tensor<3>) -> Tensor<3> {
        let [batch, len, d_out] = y.dims();
        let d_in = x.dims()[2];
        // all rows in one group: a product per row would repeat the factors
        let x = x.clone().reshape([1, batch * len, d_in]);
        let y = y.reshape([1, batch * len, d_out]);
        apply(&self.places[position.index()], &x, y).reshape([batch, len, d_out])
    }
}

impl Leaves {
    /// The gradient with respect to the flat values, in one read-back; zero where a module did not take part.
    pub fn gradient(&self, gradients: &mut Gradients) -> Vec<f32> {
        let flat = |leaf: &Tensor<3>| match leaf.grad_remove(gradients) {
            Some(gradient) => gradient.flatten::<1>(0, 2),
            None => Tensor::zeros([leaf.shape().num_elements()], &leaf.device().inner()),
        };
        let parts: Vec<_> = self.tensors.iter().map(flat).collect();
        if parts.is_empty() {
            return Vec::new();
        }
        Tensor::cat(parts, 0).try_into_vec_as::<f32>().expect("gradients are f32")
    }
}
