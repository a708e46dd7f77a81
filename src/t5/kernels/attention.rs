//! Attention's scores, softmax and mix in one pass.

use super::super::batch::MASKED;
use super::lanes::dot;
use super::softmax::{Broadcast, normalise, softmax_with_bias};
use super::tiles::{Multiply, WIDTH, height, lay};
use super::{contiguous, fits, plain_input};
use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::{Shape, Tensor};
use pulp::Arch;
use rayon::prelude::*;

/// Queries for which keys are not laid out anew.
const FEW: usize = 4;
/// Queries that one task takes at most.
const BLOCK: usize = 96;
/// Multiplications that one task takes at least.
const WORK: usize = 1 << 16;

/// `softmax(q kᵀ + bias) v`, heads side by side: `query [batch, heads, len, d]`, `keys` and `values [batch, heads, keys, d]`,
/// `bias` as in [`softmax_with_bias`], `-> [batch, len, heads · d]`.
pub(in super::super) fn attention(
    query: Tensor<4>,
    keys: Tensor<4>,
    values: Tensor<4>,
    bias: Option<Tensor<4>>,
) -> Tensor<3> {
    let plain = |tensor: &Tensor<4>| fits(tensor) && !tensor.is_autodiff();
    if ![&query, &keys, &values].into_iter().chain(&bias).all(plain) {
        return attention_by(query, keys, values, bias, |weights| weights);
    }
    let [batch, heads, len, d] = query.dims();
    let scores = Shape::new([batch, heads, len, keys.dims()[2]]);
    let [query, keys, values] = [query, keys, values].map(|tensor| rows_whole(plain_input(tensor)));
    let bias = bias.map(|bias| contiguous(plain_input(bias)));
    let attention = Attention {
        arch: Arch::new(),
        query: Heads::new(&query),
        keys: Heads::new(&keys),
        values: Heads::new(&values),
        bias: bias.as_ref().map(|bias| (bias.storage::<f32>(), Broadcast::new(&scores, bias.layout().shape()))),
        sizes: [heads, len, scores[3], d],
    };
    let mut out = vec![0.0; batch * len * heads * d];
    if len <= FEW {
        attention.of_few(&mut out)
    } else {
        attention.of_many(&mut out)
    }
    Tensor::from_primitive::<Flex>(super::tensor(out, Shape::new([batch, len, heads * d])))
}

/// The same by plain operations, the softmax's weights `[batch, heads, len, keys]` as `change` makes them.
pub(in super::super) fn attention_by(
    query: Tensor<4>,
    keys: Tensor<4>,
    values: Tensor<4>,
    bias: Option<Tensor<4>>,
    change: impl FnOnce(Tensor<4>) -> Tensor<4>,
) -> Tensor<3> {
    let [batch, heads, len, d] = query.dims();
    let scores = query.matmul(keys.swap_dims(2, 3)); // [batch, heads, len, keys]
    let mixed = change(softmax_with_bias(scores, bias)).matmul(values); // [batch, heads, len, d]
    mixed.swap_dims(1, 2).reshape([batch, len, heads * d])
}

/// The tensor itself where the values of its last dimension lie side by side, else a copy.
fn rows_whole(tensor: FlexTensor) -> FlexTensor {
    let layout = tensor.layout();
    let whole = layout.strides().last() == Some(&1) && layout.has_positive_strides();
    if whole { tensor } else { tensor.to_contiguous() }
}

/// Rows of a view `[batch, heads, rows, d]`.
#[derive(Debug, Clone, Copy)]
struct Heads<'a> {
    values: &'a [f32],
    strides: [usize; 3],
    d: usize,
}

impl<'a> Heads<'a> {
    fn new(tensor: &'a FlexTensor) -> Self {
        let layout = tensor.layout();
        let strides = std::array::from_fn(|dim| layout.strides()[dim].unsigned_abs());
        Self { values: &tensor.storage::<f32>()[layout.start_offset()..], strides, d: layout.shape()[3] }
    }

    #[inline(always)]
    fn row(&self, batch: usize, head: usize, row: usize) -> &'a [f32] {
        let start = batch * self.strides[0] + head * self.strides[1] + row * self.strides[2];
        &self.values[start..start + self.d]
    }
}

struct Attention<'a> {
    arch: Arch,
    query: Heads<'a>,
    keys: Heads<'a>,
    values: Heads<'a>,
    bias: Option<(&'a [f32], Broadcast)>,
    /// Heads, queries, keys, values of a head.
    sizes: [usize; 4],
}

/// What a task holds beside its output.
#[derive(Default)]
struct Scratch {
    query: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    scores: Vec<f32>,
    laid: Vec<f32>,
}

impl Attention<'_> {
    /// Each query by itself.
    fn of_few(&self, out: &mut [f32]) {
        let [heads, len, keys, d] = self.sizes;
        let least = (WORK / (2 * keys * d)).max(1);
        let each = out.par_chunks_mut(d).enumerate().with_min_len(least);
        each.for_each_init(Vec::new, |scores, (at, out)| {
            let (batch, query, head) = (at / heads / len, at / heads % len, at % heads);
            let row = (batch * heads + head) * len + query;
            scores.resize(self.seen(row), 0.0);
            self.arch.dispatch(|| {
                let q = self.query.row(batch, head, query);
                for (key, score) in scores.iter_mut().enumerate() {
                    *score = dot(q, self.keys.row(batch, head, key));
                }
                self.probabilities(row, scores);
                for (key, p) in scores.iter().enumerate() {
                    for (out, v) in out.iter_mut().zip(self.values.row(batch, head, key)) {
                        *out += p * v;
                    }
                }
            });
        });
    }

    /// Blocks of queries, each with keys and values laid out for it.
    fn of_many(&self, out: &mut [f32]) {
        let [heads, len, _, d] = self.sizes;
        let (width, threads) = (heads * d, rayon::current_num_threads());
        let batch = out.len() / (len * width).max(1);
        let block = if batch >= threads { BLOCK } else { BLOCK.min(len.div_ceil(threads).next_multiple_of(4)) };
        let blocks = out.par_chunks_mut((len * width).max(1)).enumerate().flat_map(|(batch, out)| {
            let blocks = out.par_chunks_mut(block * width).enumerate();
            blocks.map(move |(index, out)| (batch, index * block, out))
        });
        blocks.for_each_init(Scratch::default, |scratch, (batch, first, out)| {
            for head in 0..heads {
                self.head(scratch, [batch, head, first], &mut out[head * d..], width);
            }
        });
    }

    /// One head of the queries from `first` on, as many as `out` has rows, which are `stride` apart.
    fn head(&self, scratch: &mut Scratch, [batch, head, first]: [usize; 3], out: &mut [f32], stride: usize) {
        let [heads, len, keys, d] = self.sizes;
        let (arch, height, rows) = (self.arch, height(self.arch), out.len().div_ceil(stride));
        lay(|row| self.query.row(batch, head, first + row), rows, d, height, &mut scratch.query);
        self.keys_as_panels(batch, head, &mut scratch.keys);
        self.values_as_panels(batch, head, &mut scratch.values);
        scratch.scores.resize(rows * keys, 0.0);
        arch.dispatch(Multiply {
            laid: &scratch.query,
            rows,
            depth: d,
            panels: &scratch.keys,
            columns: keys,
            out: &mut scratch.scores,
            stride: keys,
            add: false,
            relu: false,
        });
        let start = (batch * heads + head) * len + first;
        arch.dispatch(|| {
            for (row, scores) in scratch.scores.chunks_exact_mut(keys).enumerate() {
                self.probabilities(start + row, scores);
            }
        });
        let scores = &scratch.scores;
        lay(|row| &scores[row * keys..(row + 1) * keys], rows, keys, height, &mut scratch.laid);
        arch.dispatch(Multiply {
            laid: &scratch.laid,
            rows,
            depth: keys,
            panels: &scratch.values,
            columns: d,
            out,
            stride,
            add: false,
            relu: false,
        });
    }

    /// The bias of one query; `row` counts queries of all heads and rows of the batch.
    #[inline(always)]
    fn bias(&self, row: usize) -> Option<&[f32]> {
        let keys = self.sizes[2];
        self.bias.as_ref().map(|(bias, at)| &bias[at.row(row) * keys..][..keys])
    }

    /// The keys up to the last one that a query sees: behind it are padding, or places that its row has not come to.
    fn seen(&self, row: usize) -> usize {
        let last =
            |bias: &[f32]| bias.iter().rposition(|bias| *bias > MASKED / 2.0).map_or(bias.len(), |last| last + 1);
        self.bias(row).map_or(self.sizes[2], last)
    }

    /// The softmax of the scores of one query with their bias, of the first keys if there are fewer scores.
    #[inline(always)]
    fn probabilities(&self, row: usize, scores: &mut [f32]) {
        for (score, bias) in scores.iter_mut().zip(self.bias(row).unwrap_or_default()) {
            *score += bias;
        }
        normalise(scores);
    }

    /// `kᵀ` in panels: `[⌈keys / WIDTH⌉, d, WIDTH]`.
    fn keys_as_panels(&self, batch: usize, head: usize, panels: &mut Vec<f32>) {
        let [_, _, keys, d] = self.sizes;
        panels.resize(keys.div_ceil(WIDTH) * d * WIDTH, 0.0);
        for (index, panel) in panels.chunks_exact_mut(d * WIDTH).enumerate() {
            let first = index * WIDTH;
            let none: &[f32] = &[];
            let mut rows = [none; WIDTH];
            let here = WIDTH.min(keys - first);
            rows[..here].iter_mut().enumerate().for_each(|(key, row)| *row = self.keys.row(batch, head, first + key));
            // what stands behind the last key is not read: any of them may stand there
            let last = rows[here - 1];
            rows[here..].fill(last);
            let (panel, _) = panel.as_chunks_mut::<WIDTH>();
            for (at, values) in panel.iter_mut().enumerate() {
                for (value, row) in values.iter_mut().zip(&rows) {
                    *value = row[at];
                }
            }
        }
    }

    /// `v` in panels: `[⌈d / WIDTH⌉, keys, WIDTH]`.
    fn values_as_panels(&self, batch: usize, head: usize, panels: &mut Vec<f32>) {
        let [_, _, keys, d] = self.sizes;
        panels.resize(d.div_ceil(WIDTH) * keys * WIDTH, 0.0);
        for key in 0..keys {
            for (panel, part) in self.values.row(batch, head, key).chunks(WIDTH).enumerate() {
                panels[(panel * keys + key) * WIDTH..][..part.len()].copy_from_slice(part);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{close, leaf};
    use super::*;

    fn twin(query: Tensor<4>, keys: Tensor<4>, values: Tensor<4>, bias: Option<Tensor<4>>) -> Tensor<3> {
        attention_by(query, keys, values, bias, |weights| weights)
    }

    /// Views as the model makes them: heads of rows that hold q, k and v side by side.
    #[track_caller]
    fn check([batch, heads, len, keys, d]: [usize; 5], bias: Option<[usize; 4]>) {
        let split = |from: Tensor<3>, rows: usize, part: usize| {
            let part = from.narrow(2, part * heads * d, heads * d);
            part.reshape([batch, rows, heads, d]).swap_dims(1, 2)
        };
        let query = split(leaf([batch, len, heads * d], 1.0, 1).inner(), len, 0);
        let context = leaf([batch, keys, 2 * heads * d], 1.0, 2).inner();
        let (k, v) = (split(context.clone(), keys, 0), split(context, keys, 1));
        let bias = bias.map(|shape| leaf(shape, 2.0, 3).inner());
        let found = attention(query.clone(), k.clone(), v.clone(), bias.clone());
        close(found, twin(query.clone(), k.clone(), v.clone(), bias.clone()), 2e-6);
        // keys and values of a cache with room
        let cached = |part: Tensor<4>| {
            let room = Tensor::zeros([batch, heads, 3, d], &part.device());
            Tensor::cat(vec![part, room], 2).narrow(2, 0, keys)
        };
        let found = attention(query.clone(), cached(k.clone()), cached(v.clone()), bias.clone());
        close(found, twin(query, k, v, bias), 2e-6);
    }

    #[test]
    fn it_is_its_twin() {
        check([2, 3, 1, 1, 8], None);
        check([3, 2, 1, 37, 64], Some([3, 2, 1, 37]));
        check([2, 2, 4, 20, 10], Some([1, 2, 4, 20]));
        check([2, 2, 5, 33, 10], Some([2, 1, 1, 33]));
        check([1, 4, 130, 70, 64], Some([1, 4, 130, 70]));
        check([5, 2, 40, 64, 48], None);
    }

    #[test]
    fn what_is_no_number_stays_none() {
        for len in [1, 8] {
            let broken = Tensor::<4>::full([1, 1, len, 4], f32::NAN, &burn::tensor::Device::flex());
            let found = attention(broken.clone(), broken.clone(), broken, None);
            assert!(found.into_data().try_into_vec::<f32>().unwrap().iter().all(|value| value.is_nan()), "{len}");
        }
    }
}
