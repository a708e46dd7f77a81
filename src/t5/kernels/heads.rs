//! The loops of attention over heads, by blocks of queries.

use super::super::batch::MASKED;
use super::lanes::{dot, vectorised};
use super::softmax::{Broadcast, normalise};
use super::tiles::{AHEAD, Multiply, WIDTH, fetch_ahead, height, lay};
use burn::backend::flex::FlexTensor;
use pulp::Arch;
use rayon::prelude::*;

/// Queries for which keys are not laid out anew.
const FEW: usize = 4;
/// Queries that one task takes at most.
const BLOCK: usize = 96;
/// Multiplications that one task takes at least.
const WORK: usize = 1 << 16;

/// Rows of a view `[batch, heads, rows, d]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heads<'a> {
    values: &'a [f32],
    strides: [usize; 3],
    d: usize,
}

impl<'a> Heads<'a> {
    /// `[batch, heads, rows, d]`, the values of a row side by side.
    pub(super) fn new(tensor: &'a FlexTensor) -> Self {
        let layout = tensor.layout();
        let strides = std::array::from_fn(|dim| layout.strides()[dim].unsigned_abs());
        Self { values: &tensor.storage::<f32>()[layout.start_offset()..], strides, d: layout.shape()[3] }
    }

    #[inline(always)]
    pub(super) fn row(&self, batch: usize, head: usize, row: usize) -> &'a [f32] {
        let start = batch * self.strides[0] + head * self.strides[1] + row * self.strides[2];
        &self.values[start..start + self.d]
    }
}

/// The tensor itself where the values of its last dimension lie side by side, else a copy.
pub(super) fn rows_whole(tensor: FlexTensor) -> FlexTensor {
    let layout = tensor.layout();
    let whole = layout.strides().last() == Some(&1) && layout.has_positive_strides();
    if whole { tensor } else { tensor.to_contiguous() }
}

/// What attends, and to what.
pub(super) struct Attention<'a> {
    pub(super) arch: Arch,
    pub(super) query: Heads<'a>,
    /// Of the whole batch, or of each of its rows.
    pub(super) keys: Vec<Heads<'a>>,
    pub(super) values: Vec<Heads<'a>>,
    pub(super) bias: Added<'a>,
    /// The keys of each row of the batch that are no padding.
    pub(super) seen: Vec<usize>,
    /// Heads, queries, keys at most, values of a head.
    pub(super) sizes: [usize; 4],
}

/// What is added to scores.
pub(super) enum Added<'a> {
    Nothing,
    /// As its sizes broadcast.
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
pub(super) fn seen(bias: &[f32]) -> usize {
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
    /// The values as queries mix them, `[batch, len, heads · d]`.
    pub(super) fn mixed(&self, batch: usize) -> Vec<f32> {
        let [heads, len, _, d] = self.sizes;
        let mut out = vec![0.0; batch * len * heads * d];
        if len <= FEW {
            self.of_few(&mut out)
        } else {
            self.of_many(&mut out)
        }
        out
    }

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
                        let k = row(&self.keys, batch, head, key);
                        fetch_ahead(k, AHEAD);
                        *score = dot(q, k);
                    }
                    self.probabilities(at, scores);
                    for (key, p) in scores.iter().enumerate() {
                        let v = row(&self.values, batch, head, key);
                        fetch_ahead(v, AHEAD);
                        out.iter_mut().zip(v).for_each(|(out, v)| *out += p * v);
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
