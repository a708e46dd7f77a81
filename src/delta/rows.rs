//! A mixed batch on the CPU: each row's own modules, added in place to what the backbone gave. Nothing is gathered, and a
//! row costs what its modules cost alone, whatever stands in the other rows.

use super::formula::is_parallel;
use super::single::{Single, Slices};
use crate::structure::{Kind, PositionId};
use crate::t5::{gelu_new_sigmoid, vectorised};
use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;
use pulp::Arch;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;

/// Values that one task looks at, at least.
const BLOCK: usize = 1 << 15;

/// One adapter, or none, per row.
#[derive(Debug, Clone)]
pub(super) struct Rows {
    adapters: Vec<Option<Arc<Single>>>,
    /// By position index: the rows that have modules there, ascending.
    places: Vec<Vec<usize>>,
}

impl Rows {
    /// The rows' adapters, if all of them are on the host.
    pub(super) fn new(adapters: &[Option<Arc<Single>>], positions: usize) -> Option<Self> {
        if !adapters.iter().flatten().all(|single| single.host().is_some()) {
            return None;
        }
        let mut places = vec![Vec::new(); positions];
        for (row, single) in adapters.iter().enumerate() {
            let Some(single) = single else { continue };
            for (rows, modules) in places.iter_mut().zip(single.places()) {
                rows.extend((!modules.is_empty()).then_some(row));
            }
        }
        Some(Self { adapters: adapters.to_vec(), places })
    }

    pub(super) fn touches(&self, position: PositionId) -> bool {
        !self.places[position.index()].is_empty()
    }

    pub(super) fn select(&self, rows: &[usize]) -> Self {
        let adapters: Vec<_> = rows.iter().map(|row| self.adapters[*row].clone()).collect();
        Self::new(&adapters, self.places.len()).expect("they were on the host before")
    }

    /// Adds the Δ of what stands at a position to `columns` of `y [batch, len, width]`: `x [batch, len, d_in]` is the
    /// position's input. At a norm, `x` is what is normalised, and `epsilon` its.
    pub(super) fn add(
        &self,
        position: PositionId,
        x: &Tensor<3>,
        y: Tensor<3>,
        columns: Range<usize>,
        epsilon: Option<f64>,
    ) -> Tensor<3> {
        let [_, len, width] = y.dims();
        let d_in = x.dims()[2];
        let (x, mut y) = (host(x.clone()), host(y));
        let (x, touched) = (x.storage::<f32>(), &self.places[position.index()]);
        let epsilon = epsilon.map(|epsilon| epsilon as f32);
        let arch = Arch::new();
        let one = |scratch: &mut Scratch, row: usize, y: &mut [f32]| {
            let Some(single) = &self.adapters[row] else { return };
            let place = Place::new(single, position, epsilon);
            let x = &x[row * len * d_in..(row + 1) * len * d_in];
            vectorised(
                arch,
                #[inline(always)]
                || {
                    for (x, y) in x.chunks_exact(d_in).zip(y.chunks_exact_mut(width)) {
                        place.add(x, &mut y[columns.clone()], scratch);
                    }
                },
            );
        };
        let all = y.storage_mut::<f32>();
        if touched.len() == 1 || touched.len() * len * (d_in + columns.len()) < BLOCK {
            let mut scratch = Scratch::default();
            touched
                .iter()
                .for_each(|row| one(&mut scratch, *row, &mut all[row * len * width..(row + 1) * len * width]));
        } else {
            let mut next = touched.iter().peekable();
            let of = |(row, values)| next.next_if(|touched| **touched == row).map(|_| (row, values));
            let rows: Vec<(usize, &mut [f32])> = all.chunks_exact_mut(len * width).enumerate().filter_map(of).collect();
            rows.into_par_iter().for_each_init(Scratch::default, |scratch, (row, values)| one(scratch, row, values));
        }
        Tensor::from_primitive::<Flex>(y)
    }
}

/// The tensor on the host, contiguous from its storage's beginning.
fn host(tensor: Tensor<3>) -> FlexTensor {
    let tensor = tensor.try_into_primitive::<Flex>().expect("a plain tensor on the CPU");
    let len = tensor.layout().shape().num_elements();
    let whole = tensor.layout().contiguous_offsets() == Some((0, len)) && tensor.storage::<f32>().len() == len;
    if whole { tensor } else { tensor.to_contiguous() }
}

/// One adapter's modules at one position.
struct Place<'a> {
    modules: &'a [Slices],
    values: &'a [f32],
    epsilon: Option<f32>,
    /// Whether a module reads what is under its hand: a bottleneck behind the position.
    reads_output: bool,
}

/// Values between the products of a token, in memory that all tokens of a thread use.
#[derive(Default)]
struct Scratch {
    output: Vec<f32>,
    narrow: Vec<f32>,
    inner: Vec<f32>,
}

impl<'a> Place<'a> {
    fn new(single: &'a Single, position: PositionId, epsilon: Option<f32>) -> Self {
        let modules = single.places()[position.index()].as_slice();
        let sequential = |module: &Slices| !is_parallel(module.kind) && module.kind != Kind::Bitfit;
        let reads_output = modules.iter().any(sequential);
        let values = single.host().expect("rows are of adapters on the host");
        Self { modules, values, epsilon, reads_output }
    }

    /// The formulas of `formula::delta` for one token, in the order of `single::apply`.
    #[inline(always)]
    fn add(&self, x: &[f32], y: &mut [f32], scratch: &mut Scratch) {
        let Scratch { output, narrow, inner } = scratch;
        for module in self.modules.iter().filter(|module| is_parallel(module.kind)) {
            let factor = |at: usize| &self.values[module.factors[at].range.clone()];
            match module.kind {
                Kind::Lora { rank, alpha } => {
                    down(x, factor(0), rank, narrow);
                    let scale = (alpha / rank as f64) as f32;
                    narrow.iter_mut().for_each(|value| *value *= scale);
                    up(narrow, factor(1), y);
                }
                Kind::Lnfit => {
                    down(x, x, 1, narrow);
                    let scale = 1.0 / (narrow[0] / x.len() as f32 + self.epsilon.unwrap_or(0.0)).sqrt();
                    for ((y, x), s) in y.iter_mut().zip(x).zip(factor(0)) {
                        *y += x * scale * s;
                    }
                }
                Kind::ParallelAdapter { bottleneck } => {
                    down(x, factor(0), bottleneck, inner);
                    bend(inner, factor(1));
                    up(inner, factor(2), y);
                    plus(factor(3), y);
                }
                _ => unreachable!("the other kinds are sequential"),
            }
        }
        if self.reads_output {
            output.clear();
            output.extend_from_slice(y);
        }
        for module in self.modules.iter().filter(|module| !is_parallel(module.kind)) {
            let factor = |at: usize| &self.values[module.factors[at].range.clone()];
            match module.kind {
                Kind::Bitfit => plus(factor(0), y),
                Kind::LowRankAdapter { bottleneck, rank } => {
                    down(output, factor(0), rank, narrow);
                    down(narrow, factor(1), bottleneck, inner);
                    bend(inner, factor(2));
                    down(inner, factor(3), rank, narrow);
                    up(narrow, factor(4), y);
                    plus(factor(5), y);
                }
                Kind::Adapter { bottleneck } => {
                    down(output, factor(0), bottleneck, inner);
                    bend(inner, factor(1));
                    up(inner, factor(2), y);
                    plus(factor(3), y);
                }
                _ => unreachable!("the other kinds are parallel"),
            }
        }
    }
}

/// `out = x A` with `A [len of x, columns]`.
#[inline(always)]
fn down(x: &[f32], a: &[f32], columns: usize, out: &mut Vec<f32>) {
    out.clear();
    out.resize(columns, 0.0);
    match columns {
        1 => few::<1>(x, a, out),
        2 => few::<2>(x, a, out),
        4 => few::<4>(x, a, out),
        8 => few::<8>(x, a, out),
        16 => few::<16>(x, a, out),
        _ => rest(x, a, columns, out),
    }
}

/// The same for few columns: one register holds several rows of A.
#[inline(always)]
fn few<const COLUMNS: usize>(x: &[f32], a: &[f32], out: &mut [f32]) {
    const LANES: usize = 16;
    let at_once = LANES / COLUMNS;
    let mut lanes = [0.0f32; LANES];
    for (x, a) in x.chunks_exact(at_once).zip(a.chunks_exact(LANES)) {
        for i in 0..LANES {
            lanes[i] += x[i / COLUMNS] * a[i];
        }
    }
    for (i, lane) in lanes.iter().enumerate() {
        out[i % COLUMNS] += lane;
    }
    let done = x.len() / at_once * at_once;
    rest(&x[done..], &a[done * COLUMNS..], COLUMNS, out);
}

#[inline(always)]
fn rest(x: &[f32], a: &[f32], columns: usize, out: &mut [f32]) {
    for (x, a) in x.iter().zip(a.chunks_exact(columns)) {
        for (out, a) in out.iter_mut().zip(a) {
            *out += x * a;
        }
    }
}

/// `y += x B` with `B [len of x, len of y]`.
#[inline(always)]
fn up(x: &[f32], b: &[f32], y: &mut [f32]) {
    for (x, b) in x.iter().zip(b.chunks_exact(y.len())) {
        for (y, b) in y.iter_mut().zip(b) {
            *y += x * b;
        }
    }
}

#[inline(always)]
fn plus(bias: &[f32], y: &mut [f32]) {
    for (y, bias) in y.iter_mut().zip(bias) {
        *y += bias;
    }
}

/// `gelu_new(x + bias)`.
#[inline(always)]
fn bend(x: &mut [f32], bias: &[f32]) {
    for (x, bias) in x.iter_mut().zip(bias) {
        let a = *x + bias;
        *x = a * gelu_new_sigmoid(a);
    }
}

#[cfg(test)]
mod tests {
    use super::super::formula::delta;
    use super::super::{Batched, Layout};
    use super::*;
    use crate::structure::{DeltaModule, Positions, Shape};
    use crate::t5::Deltas;
    use burn::tensor::{Device, TensorData};
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    fn random<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.random_range(-1.0..1.0)).collect();
        Tensor::from_data(TensorData::new(values, shape), &Device::flex())
    }

    #[test]
    fn products_take_every_value() {
        for (d, columns) in [(48, 1), (37, 1), (9, 2), (50, 4), (33, 8), (5, 16), (40, 3), (20, 24)] {
            let (x, a) = (random([1, 1, d], 1), random([1, d, columns], 2));
            let wanted = x.clone().matmul(a.clone()).try_into_vec_as::<f32>().unwrap();
            let [x, a] = [x, a].map(|tensor| tensor.try_into_vec_as::<f32>().unwrap());
            let mut found = Vec::new();
            down(&x, &a, columns, &mut found);
            for (found, wanted) in found.iter().zip(&wanted) {
                assert!((found - wanted).abs() < 1e-5, "{d} to {columns}: {found}, not {wanted}");
            }
        }
    }

    /// Every kind, several ranks, alone and together, in one row of three: as the formulas of `formula` have it.
    #[test]
    fn rows_have_the_formulas_of_their_kinds() {
        let shape = Shape {
            family: "t5".into(),
            encoder_layers: 1,
            decoder_layers: 1,
            d_model: 20,
            d_kv: 6,
            num_heads: 3,
            d_ff: 28,
            gated: false,
            vocab_size: 30,
        };
        let positions = Positions::new(&shape);
        let lora = |rank| Kind::Lora { rank, alpha: 3.0 };
        let (low, adapter) = (Kind::LowRankAdapter { bottleneck: 5, rank: 2 }, Kind::Adapter { bottleneck: 4 });
        let parallel = Kind::ParallelAdapter { bottleneck: 3 };
        let (map, module) = ("encoder.block.0.layer.0.SelfAttention.o", "encoder.block.0.layer.0.SelfAttention");
        let cases: &[(&str, &[Kind])] = &[
            (map, &[lora(1)]),
            (map, &[lora(3), Kind::Bitfit]),
            (map, &[lora(8)]),
            (module, &[low]),
            (module, &[adapter, parallel]),
            (module, &[low, adapter, parallel]),
        ];
        for (number, (position, kinds)) in cases.iter().enumerate() {
            let modules: Vec<_> = kinds.iter().map(|kind| DeltaModule::new(*position, *kind)).collect();
            let layout = Layout::new(&positions, &modules).unwrap();
            let mut rng = ChaCha8Rng::seed_from_u64(number as u64);
            let values: Vec<f32> = (0..layout.len()).map(|_| rng.random_range(-0.5..0.5)).collect();
            let single = Arc::new(Single::new(&layout, values, positions.len(), &Device::flex()));
            let id = positions.id(position).unwrap();
            for len in [1, 700] {
                let d_in = if *position == map { 18 } else { 20 };
                let (x, y) = (random([3, len, d_in], 5), random([3, len, 20], 6));
                let batched = Batched::new(&[None, Some(Arc::clone(&single)), None], &positions, &Device::flex());
                assert!(batched.touches(id));
                let found = batched.output(id, &x, y.clone());
                let row = |tensor: &Tensor<3>, row: usize| tensor.clone().narrow(0, row, 1);
                let (x, before) = (row(&x, 1), row(&y, 1));
                let each = single.modules(id).iter();
                let (first, second): (Vec<_>, Vec<_>) = each.partition(|module| is_parallel(module.kind));
                let sum = |y: Tensor<3>, h: &Tensor<3>, modules: Vec<&super::super::single::Module>| {
                    modules.into_iter().fold(y, |y, module| y + delta(module.kind, h, &module.factors))
                };
                let between = sum(before, &x, first);
                let wanted = sum(between.clone(), &between, second);
                let far = (row(&found, 1) - wanted).abs().max().into_scalar::<f32>();
                assert!(far < 1e-5, "{kinds:?}: {far}");
                for other in [0, 2] {
                    assert_eq!(row(&found, other).into_data(), row(&y, other).into_data(), "{kinds:?}");
                }
            }
        }
    }
}
