//! One set of delta modules for the whole batch.

use super::Layout;
use super::formula::{delta, is_parallel};
use crate::structure::{Kind, PositionId, TensorSpec};
use crate::t5::{Deltas, Dropout, Normed};
use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use std::collections::HashSet;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// One set of modules, applied to every row alike.
#[derive(Debug, Clone)]
pub struct Single {
    /// All values, one module after the other; nothing where there are none.
    flat: Option<Tensor<1>>,
    /// By position index; empty where nothing stands.
    places: Arc<[Vec<Slices>]>,
    /// The same as tensors: the leaves where they are tracked, else views of `flat`, made when they are first asked for, as
    /// batches on the CPU read the values where they lie.
    tensors: OnceLock<Vec<Vec<Module>>>,
    /// `flat` for loops over slices, where it is frozen and on the CPU.
    host: Option<FlexTensor>,
    dropout: Option<Arc<Dropout>>,
}

/// Which gradients a pass is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tracked {
    /// Of all values.
    All,
    /// Of the outer factors, in which Δ is linear: they are all that a gate's gradient takes.
    Outer,
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
    tensors: Vec<(Range<usize>, Tensor<3>)>,
    /// Of the flat values, those that are not tracked included.
    len: usize,
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
    pub fn tracked(
        layout: &Layout,
        values: &[f32],
        positions: usize,
        device: &Device,
        tracked: Tracked,
    ) -> (Self, Leaves) {
        let mut single = Self::at(layout, values.to_vec(), positions, device);
        let specs = layout.modules().iter().flat_map(|module| &module.tensors);
        let wanted = specs.filter(|(spec, _)| spec.outer || tracked == Tracked::All);
        let wanted: HashSet<usize> = wanted.map(|(_, range)| range.start).collect();
        let mut tensors = Vec::new();
        let leaves = single.views(|range, tensor| {
            if !wanted.contains(&range.start) {
                return tensor;
            }
            let leaf = tensor.autodiff().require_grad();
            tensors.push((range.clone(), leaf.clone()));
            leaf
        });
        single.tensors = OnceLock::from(leaves);
        (single, Leaves { tensors, len: values.len() })
    }

    /// The same modules for one batch. Tensors made for it go with it: on the CPU they are no part of [`Single::bytes`].
    pub(super) fn of_batch(self: &Arc<Self>) -> Arc<Self> {
        match &self.host {
            None => Arc::clone(self),
            Some(_) => Arc::new(Self {
                flat: self.flat.clone(),
                places: Arc::clone(&self.places),
                tensors: OnceLock::new(),
                host: self.host.clone(),
                dropout: self.dropout.clone(),
            }),
        }
    }

    /// The same modules under the dropout of one pass.
    pub fn with_dropout(self, dropout: Dropout) -> Self {
        Self { dropout: Some(Arc::new(dropout)), ..self }
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
        Self { flat, places: places.into(), tensors: OnceLock::new(), host: None, dropout: None }
    }

    /// The modules as tensors over the flat values, each factor through `leaf`.
    fn views(&self, mut leaf: impl FnMut(&Range<usize>, Tensor<3>) -> Tensor<3>) -> Vec<Vec<Module>> {
        let mut view = |Slice { range, shape: [rows, columns] }: &Slice| {
            let flat = self.flat.clone().expect("a module has values");
            leaf(range, flat.slice([range.clone()]).reshape([1, *rows, *columns]))
        };
        let mut module =
            |slices: &Slices| Module { kind: slices.kind, factors: slices.factors.iter().map(&mut view).collect() };
        self.places.iter().map(|place| place.iter().map(&mut module).collect()).collect()
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
        &self.tensors.get_or_init(|| self.views(|_, tensor| tensor))[position.index()]
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

    fn dropout(&self) -> Option<&Dropout> {
        self.dropout.as_deref()
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
    /// The gradient with respect to the flat values, in one read-back; zero where a module did not take part or is not
    /// tracked.
    pub fn gradient(&self, gradients: &mut Gradients) -> Vec<f32> {
        let found = self.tensors.iter().filter_map(|(range, leaf)| Some((range, leaf.grad_remove(gradients)?)));
        let (ranges, parts): (Vec<_>, Vec<_>) = found.map(|(range, part)| (range, part.flatten::<1>(0, 2))).unzip();
        let mut whole = vec![0.0; self.len];
        if parts.is_empty() {
            return whole;
        }
        let read = Tensor::cat(parts, 0).try_into_vec_as::<f32>().expect("gradients are f32");
        let mut rest = read.as_slice();
        for range in ranges {
            let (part, after) = rest.split_at(range.len());
            whole[range.clone()].copy_from_slice(part);
            rest = after;
        }
        whole
    }
}
