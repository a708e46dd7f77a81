//! One set of delta modules for the whole batch.

use super::Layout;
use super::formula::{delta, is_parallel};
use crate::structure::{Kind, PositionId};
use crate::t5::{Deltas, Normed};
use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use std::ops::Range;

/// One set of modules, applied to every row alike.
#[derive(Debug, Clone)]
pub struct Single {
    /// By position index; empty where nothing stands.
    places: Vec<Vec<Module>>,
    /// The same values for loops over slices, where they are frozen and on the CPU.
    host: Option<Host>,
}

/// Modules as slices of the flat values.
#[derive(Debug, Clone)]
pub(super) struct Host {
    flat: FlexTensor,
    /// By position index, as in [`Single`].
    pub(super) places: Vec<Vec<HostModule>>,
}

/// A module with the places of its factors.
#[derive(Debug, Clone)]
pub(super) struct HostModule {
    pub(super) kind: Kind,
    pub(super) factors: Vec<Range<usize>>,
}

impl Host {
    /// The flat values.
    pub(super) fn values(&self) -> &[f32] {
        self.flat.storage()
    }
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
        let mut single = Self::build(layout, values, positions, device, |tensor| {
            let leaf = tensor.autodiff().require_grad();
            tensors.push(leaf.clone());
            leaf
        });
        single.host = None; // what is computed on slices has no gradient
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
            return Self { places, host: None };
        }
        let flat = Tensor::<1>::from_data(TensorData::new(values.to_vec(), [values.len()]), device); // one upload
        for module in layout.modules() {
            let factor = |(spec, range): &(crate::structure::TensorSpec, Range<usize>)| {
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
        let host = (*device == Device::flex()).then(|| {
            let mut places = vec![Vec::new(); positions];
            for module in layout.modules() {
                let factors = module.tensors.iter().map(|(_, range)| range.clone()).collect();
                places[module.position.index()].push(HostModule { kind: module.module.kind, factors });
            }
            // the tensors above are views of the same storage
            Host { flat: flat.try_into_primitive::<Flex>().expect("a plain tensor on the CPU"), places }
        });
        Self { places, host }
    }

    pub(super) fn host(&self) -> Option<&Host> {
        self.host.as_ref()
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

/// The output of a norm with its modules, by `output`; x̂ is made where a module reads it.
pub(super) fn norm(
    modules: &[Module],
    normed: &Normed,
    output: impl FnOnce(&Tensor<3>, Tensor<3>) -> Tensor<3>,
) -> Tensor<3> {
    if modules.iter().any(|module| is_parallel(module.kind)) {
        let x_hat = normed.x_hat();
        let y = normed.weighted(x_hat.clone());
        return output(&x_hat, y);
    }
    output(normed.x, normed.output())
}

impl Deltas for Single {
    fn touches(&self, position: PositionId) -> bool {
        !self.places[position.index()].is_empty()
    }

    fn norm(&self, position: PositionId, normed: &Normed) -> Tensor<3> {
        norm(&self.places[position.index()], normed, |x, y| self.output(position, x, y))
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
