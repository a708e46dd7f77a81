//! One set of delta modules for the whole batch.

use super::Layout;
use super::formula::{delta, is_parallel};
use crate::structure::{Kind, PositionId, TensorSpec};
use crate::t5::{Deltas, Normed};
use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use std::ops::Range;
use std::sync::OnceLock;

/// One set of modules, applied to every row alike.
#[derive(Debug, Clone)]
pub struct Single {
    /// All values, one module after the other; nothing where there are none.
    flat: Option<Tensor<1>>,
    /// By position index; empty where nothing stands.
    places: Vec<Vec<Slices>>,
    /// The same as tensors: the leaves where they are tracked, else views of `flat`, made when they are first asked for, as
    /// batches on the CPU read the values where they lie.
    tensors: OnceLock<Vec<Vec<Module>>>,
    /// `flat` for loops over slices, where it is frozen and on the CPU.
    host: Option<FlexTensor>,
}

/// A module's factors as places in the flat values.
#[derive(Debug, Clone)]
pub(super) struct Slices {
    pub(super) kind: Kind,
    pub(super) factors: Vec<Slice>,
}

/// A factor `[rows, columns]`, a bias `[1, d]`.
#[derive(Debug, Clone)]
pub(super) struct Slice {
    pub(super) range: Range<usize>,
    shape: [usize; 2],
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
    pub fn new(layout: &Layout, values: Vec<f32>, positions: usize, device: &Device) -> Self {
        let mut single = Self::at(layout, values, positions, device);
        if *device == Device::flex() {
            let host = |flat: Tensor<1>| flat.try_into_primitive::<Flex>().expect("a plain tensor on the CPU");
            single.host = single.flat.clone().map(host);
        }
        single
    }

    /// Trainable modules from flat values, with the leaves to read gradients from.
    pub fn tracked(layout: &Layout, values: &[f32], positions: usize, device: &Device) -> (Self, Leaves) {
        let mut single = Self::at(layout, values.to_vec(), positions, device);
        let leaves = single.views(|tensor| tensor.autodiff().require_grad());
        let slices = single.places.iter().flatten().flat_map(|slices| &slices.factors);
        let tensors = leaves.iter().flatten().flat_map(|module| &module.factors);
        let mut tensors: Vec<_> =
            slices.zip(tensors).map(|(slice, tensor)| (slice.range.start, tensor.clone())).collect();
        tensors.sort_by_key(|(start, _)| *start); // as the values lie, not as the positions come
        let tensors = tensors.into_iter().map(|(_, tensor)| tensor).collect();
        single.tensors = OnceLock::from(leaves);
        (single, Leaves { tensors })
    }

    fn at(layout: &Layout, values: Vec<f32>, positions: usize, device: &Device) -> Self {
        assert_eq!(values.len(), layout.len(), "values of another layout");
        let len = values.len();
        let flat = (len > 0).then(|| Tensor::from_data(TensorData::new(values, [len]), device)); // one upload
        let mut places = vec![Vec::new(); positions];
        for module in layout.modules() {
            let factor = |(spec, range): &(TensorSpec, Range<usize>)| {
                let shape = match spec.shape[..] {
                    [columns] => [1, columns],
                    [rows, columns] => [rows, columns],
                    _ => unreachable!("delta tensors are vectors or matrices"),
                };
                Slice { range: range.clone(), shape }
            };
            let factors = module.tensors.iter().map(factor).collect();
            places[module.position.index()].push(Slices { kind: module.module.kind, factors });
        }
        Self { flat, places, tensors: OnceLock::new(), host: None }
    }

    /// The modules as tensors over the flat values, each factor through `leaf`.
    fn views(&self, leaf: impl Fn(Tensor<3>) -> Tensor<3>) -> Vec<Vec<Module>> {
        let view = |Slice { range, shape: [rows, columns] }: &Slice| {
            let flat = self.flat.clone().expect("a module has values");
            leaf(flat.slice([range.clone()]).reshape([1, *rows, *columns]))
        };
        let module = |slices: &Slices| Module { kind: slices.kind, factors: slices.factors.iter().map(view).collect() };
        self.places.iter().map(|place| place.iter().map(module).collect()).collect()
    }

    /// The flat values, if they are frozen and on the CPU, or there are none.
    pub(super) fn host(&self) -> Option<&[f32]> {
        match (&self.flat, &self.host) {
            (None, _) => Some(&[]),
            (Some(_), host) => host.as_ref().map(FlexTensor::storage),
        }
    }

    /// By position index: the modules as places in the flat values.
    pub(super) fn places(&self) -> &[Vec<Slices>] {
        &self.places
    }

    /// Bytes that it holds, those around its values included: small factors cost more by their bookkeeping than by their
    /// values.
    pub fn bytes(&self) -> usize {
        let modules = || self.places.iter().flatten();
        let factors = || modules().flat_map(|module| &module.factors);
        let values: usize = factors().map(|factor| factor.range.len() * size_of::<f32>()).sum();
        let tensors = if self.host.is_some() { 0 } else { size_of::<Tensor<3>>() + AROUND_A_TENSOR };
        let around = factors().count() * (size_of::<Slice>() + tensors) + modules().count() * size_of::<Slices>();
        values + around + self.places.len() * size_of::<Vec<Slices>>()
    }

    /// The modules at a position, as tensors.
    pub(super) fn modules(&self, position: PositionId) -> &[Module] {
        &self.tensors.get_or_init(|| self.views(|tensor| tensor))[position.index()]
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
        norm(self.modules(position), normed, |x, y| self.output(position, x, y))
    }

    fn output(&self, position: PositionId, x: &Tensor<3>, y: Tensor<3>) -> Tensor<3> {
        let [batch, len, d_out] = y.dims();
        let d_in = x.dims()[2];
        // all rows in one group: a product per row would repeat the factors
        let x = x.clone().reshape([1, batch * len, d_in]);
        let y = y.reshape([1, batch * len, d_out]);
        apply(self.modules(position), &x, y).reshape([batch, len, d_out])
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
