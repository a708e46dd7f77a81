//! Attention's scores, softmax and mix in one pass.

use super::super::batch::MASKED;
use super::super::keys_values::{Attended, KeysValues};
use super::super::position_bias::Bias;
use super::lanes::{dot, vectorised};
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

/// `softmax(q kᵀ + bias) v`, heads side by side: `query [batch, heads, len, d]`, keys and values `[batch, heads, keys, d]`,
/// `-> [batch, len, heads · d]`.
pub(in super::super) fn attention(query: Tensor<4>, attended: Attended<'_>, bias: Option<Bias<'_>>) -> Tensor<3> {
    let biased = match &bias {
        None => true,
        Some(Bias::Whole(bias)) => is_plain(bias),
        Some(Bias::ByDistance(bias, _)) => is_plain(&bias.table) && bias.mask.as_ref().is_none_or(is_plain),
    };
    let attends = match &attended {
        Attended::Together(all) => is_plain(&all.keys) && is_plain(&all.values),
        Attended::Apart(each) => each.iter().all(|row| is_plain(&row.keys) && is_plain(&row.values)) && bias.is_none(),
    };
    if !(biased && attends && is_plain(&query)) {
        return attention_by(query, attended, bias, |weights| weights);
    }
    let [batch, heads, len, d] = query.dims();
    let rows = |tensor: Tensor<4>| rows_whole(plain_input(tensor));
    let (keys, values): (Vec<_>, Vec<_>) = match attended {
        Attended::Together(all) => (vec![rows(all.keys)], vec![rows(all.values)]),
        Attended::Apart(each) => each.iter().map(|row| (rows(row.keys.clone()), rows(row.values.clone()))).unzip(),
    };
    let query = rows(query);
    let width = keys.iter().map(|keys| keys.layout().shape()[2]).max().unwrap_or(0);
    let mut seen_by: Vec<usize> = (0..batch).map(|row| keys[row.min(keys.len() - 1)].layout().shape()[2]).collect();
    let numbers; // of the bias
    let bias = match bias {
        None => Added::Nothing,
        Some(Bias::Whole(bias)) => {
            numbers = contiguous(plain_input(bias.clone()));
            let scores = Shape::new([batch, heads, len, width]);
            Added::Whole(numbers.storage(), Broadcast::new(&scores, numbers.layout().shape()))
        }
        Some(Bias::ByDistance(bias, queries)) => {
            numbers = contiguous(plain_input(bias.table.clone()));
            if let Some(mask) = bias.mask.clone().map(|mask| contiguous(plain_input(mask))) {
                seen_by = mask.storage::<f32>().chunks_exact(width).map(seen).collect();
            }
            Added::ByDistance(numbers.storage(), queries.start)
        }
    };
    let attention = Attention {
        arch: Arch::new(),
        query: Heads::new(&query),
        keys: keys.iter().map(Heads::new).collect(),
        values: values.iter().map(Heads::new).collect(),
        bias,
        seen: seen_by,
        sizes: [heads, len, width, d],
    };
    let mut out = vec![0.0; batch * len * heads * d];
    if len <= FEW {
        attention.of_few(&mut out)
    } else {
        attention.of_many(&mut out)
    }
    Tensor::from_primitive::<Flex>(super::tensor(out, Shape::new([batch, len, heads * d])))
}

fn is_plain<const D: usize>(tensor: &Tensor<D>) -> bool {
    fits(tensor) && !tensor.is_autodiff()
}

/// The same by plain operations, the softmax's weights `[batch, heads, len, keys]` as `change` makes them.
pub(in super::super) fn attention_by(
    query: Tensor<4>,
    attended: Attended<'_>,
    bias: Option<Bias<'_>>,
    change: impl FnOnce(Tensor<4>) -> Tensor<4>,
) -> Tensor<3> {
    let [batch, heads, len, d] = query.dims();
    let (KeysValues { keys, values }, mask) = attended.together();
    let bias = match (bias.map(|bias| bias.whole()), mask) {
        (Some(bias), Some(mask)) => Some(bias + mask),
        (bias, mask) => bias.or(mask),
    };
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
    /// Of the whole batch, or of each of its rows.
    keys: Vec<Heads<'a>>,
    values: Vec<Heads<'a>>,
    bias: Added<'a>,
    /// The keys of each row of the batch that are no padding.
    seen: Vec<usize>,
    /// Heads, queries, keys at most, values of a head.
    sizes: [usize; 4],
}

/// What is added to scores.
enum Added<'a> {
    Nothing,
    Whole(&'a [f32], Broadcast),
    /// From a table `[heads, 2 · keys − 1]`; where the first query stands among the keys.
    ByDistance(&'a [f32], usize),
}

/// A row of keys or values.
#[inline(always)]
fn row<'a>(of: &[Heads<'a>], batch: usize, head: usize, row: usize) -> &'a [f32] {
    match of {
        [all] => all.row(batch, head, row),
        each => each[batch].row(0, head, row),
    }
}

/// The keys up to the last one that a query sees: behind it are padding, or places that its row has not come to.
fn seen(bias: &[f32]) -> usize {
    bias.iter().rposition(|bias| *bias > MASKED / 2.0).map_or(bias.len(), |last| last + 1)
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
            let at = [batch, head, query];
            scores.resize(self.seen(at), 0.0);
            vectorised(
                self.arch,
                #[inline(always)]
                || {
                    let q = self.query.row(batch, head, query);
                    for (key, score) in scores.iter_mut().enumerate() {
                        *score = dot(q, row(&self.keys, batch, head, key));
                    }
                    self.probabilities(at, scores);
                    for (key, p) in scores.iter().enumerate() {
                        for (out, v) in out.iter_mut().zip(row(&self.values, batch, head, key)) {
                            *out += p * v;
                        }
                    }
                },
            );
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
        let (d, keys) = (self.sizes[3], self.seen[batch]);
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
        vectorised(
            arch,
            #[inline(always)]
            || {
                for (row, scores) in scratch.scores.chunks_exact_mut(keys).enumerate() {
                    self.probabilities([batch, head, first + row], scores);
                }
            },
        );
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

    /// What is added for one query of a row of the batch and a head; none for nothing.
    #[inline(always)]
    fn bias(&self, [batch, head, query]: [usize; 3]) -> Option<&[f32]> {
        let [heads, len, keys, _] = self.sizes;
        match &self.bias {
            Added::Nothing => None,
            Added::Whole(bias, at) => Some(&bias[at.row((batch * heads + head) * len + query) * keys..][..keys]),
            Added::ByDistance(table, first) => {
                Some(&table[head * (2 * keys - 1) + keys - 1 - (first + query)..][..keys])
            }
        }
    }

    /// The keys that a query has to look at.
    fn seen(&self, at: [usize; 3]) -> usize {
        match &self.bias {
            Added::Whole(..) => self.bias(at).map_or(self.sizes[2], seen),
            _ => self.seen[at[0]],
        }
    }

    /// The softmax of the scores of one query with their bias, of the first keys if there are fewer scores.
    #[inline(always)]
    fn probabilities(&self, row: [usize; 3], scores: &mut [f32]) {
        for (score, bias) in scores.iter_mut().zip(self.bias(row).unwrap_or_default()) {
            *score += bias;
        }
        normalise(scores);
    }

    /// `kᵀ` in panels: `[⌈keys / WIDTH⌉, d, WIDTH]`.
    fn keys_as_panels(&self, batch: usize, head: usize, panels: &mut Vec<f32>) {
        let (d, keys) = (self.sizes[3], self.seen[batch]);
        panels.resize(keys.div_ceil(WIDTH) * d * WIDTH, 0.0);
        for (index, panel) in panels.chunks_exact_mut(d * WIDTH).enumerate() {
            let first = index * WIDTH;
            let none: &[f32] = &[];
            let mut rows = [none; WIDTH];
            let here = WIDTH.min(keys - first);
            rows[..here]
                .iter_mut()
                .enumerate()
                .for_each(|(key, row)| *row = self::row(&self.keys, batch, head, first + key));
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
        let (d, keys) = (self.sizes[3], self.seen[batch]);
        panels.resize(d.div_ceil(WIDTH) * keys * WIDTH, 0.0);
        for key in 0..keys {
            for (panel, part) in row(&self.values, batch, head, key).chunks(WIDTH).enumerate() {
                panels[(panel * keys + key) * WIDTH..][..part.len()].copy_from_slice(part);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::batch::mask_of;
    use super::super::super::position_bias::PositionBias;
    use super::super::testing::{close, leaf};
    use super::*;

    fn together<'a>(keys: Tensor<4>, values: Tensor<4>) -> Attended<'a> {
        Attended::Together(KeysValues { keys, values })
    }

    fn twin(query: Tensor<4>, keys: Tensor<4>, values: Tensor<4>, bias: Option<Tensor<4>>) -> Tensor<3> {
        attention_by(query, together(keys, values), bias.as_ref().map(Bias::Whole), |weights| weights)
    }

    /// Rows that lie apart are those side by side, their padding hidden.
    #[test]
    fn rows_apart_are_rows_together() {
        let apart: Vec<_> = [5, 1, 33]
            .into_iter()
            .map(|keys| {
                let [keys, values] = [1, 2].map(|seed| leaf([1, 3, keys, 12], 1.0, seed + keys as u64).inner());
                KeysValues { keys, values }
            })
            .collect();
        for len in [1, 9] {
            let query = leaf([3, 3, len, 12], 1.0, 9).inner();
            let found = attention(query.clone(), Attended::Apart(apart.iter().collect()), None);
            let wanted = attention_by(query, Attended::Apart(apart.iter().collect()), None, |weights| weights);
            close(found, wanted, 2e-6);
        }
    }

    fn split(from: &Tensor<3>, heads: usize, part: usize) -> Tensor<4> {
        let [batch, rows, _] = from.dims();
        let d = from.dims()[2] / heads / 3;
        let part = from.clone().narrow(2, part * heads * d, heads * d);
        part.reshape([batch, rows, heads, d]).swap_dims(1, 2)
    }

    /// Whole sequences of these lengths, all at once and in ranges of queries.
    #[track_caller]
    fn check_by_distance(heads: usize, lengths: &[usize], d: usize) {
        let (batch, len) = (lengths.len(), lengths.iter().copied().max().unwrap());
        let device = burn::tensor::Device::flex();
        let bias =
            PositionBias { tables: vec![leaf([8, heads], 2.0, 4).inner()], max_distance: 20, bidirectional: true };
        let mut bias = bias.whole(len, mask_of(lengths, len, &device), &device);
        let bias = bias.of(0);
        let projected = leaf([batch, len, 3 * heads * d], 1.0, 1).inner();
        let [query, keys, values] = [0, 1, 2].map(|part| split(&projected, heads, part));
        let whole = Bias::ByDistance(bias, 0..len);
        let wanted = twin(query.clone(), keys.clone(), values.clone(), Some(whole.whole()));
        for step in [len, len.div_ceil(3), 1] {
            for first in (0..len).step_by(step) {
                let count = step.min(len - first);
                let query = query.clone().narrow(2, first, count);
                let bias = Bias::ByDistance(bias, first..first + count);
                let found = attention(query, together(keys.clone(), values.clone()), Some(bias));
                close(found, wanted.clone().narrow(1, first, count), 2e-6);
            }
        }
    }

    #[test]
    fn ranges_of_queries_are_the_whole() {
        check_by_distance(3, &[1], 8);
        check_by_distance(2, &[37], 10);
        check_by_distance(4, &[130, 5, 70, 1], 16);
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
        let found = attention(query.clone(), together(k.clone(), v.clone()), bias.as_ref().map(Bias::Whole));
        close(found, twin(query.clone(), k.clone(), v.clone(), bias.clone()), 2e-6);
        // keys and values of a cache with room
        let cached = |part: Tensor<4>| {
            let room = Tensor::zeros([batch, heads, 3, d], &part.device());
            Tensor::cat(vec![part, room], 2).narrow(2, 0, keys)
        };
        let found =
            attention(query.clone(), together(cached(k.clone()), cached(v.clone())), bias.as_ref().map(Bias::Whole));
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
            let found = attention(broken.clone(), together(broken.clone(), broken), None);
            assert!(found.into_data().try_into_vec::<f32>().unwrap().iter().all(|value| value.is_nan()), "{len}");
        }
    }
}
