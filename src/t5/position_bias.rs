//! Relative position bias: bucketed distance between key and query, one learned number per bucket and head.

use burn::tensor::{Device, Int, Tensor, TensorData};
use std::cell::OnceCell;
use std::ops::Range;

/// The bias of one stack.
#[derive(Debug, Clone)]
pub(super) struct PositionBias {
    /// `[buckets, heads]`: the first block's, which all blocks use, or one a block (UMT5).
    pub(super) tables: Vec<Tensor<2>>,
    pub(super) max_distance: usize,
    pub(super) bidirectional: bool,
}

/// What attention adds to its scores.
pub(super) enum Bias<'a> {
    /// Broadcasts to `[batch, heads, len, keys]`.
    Whole(&'a Tensor<4>),
    /// That of these queries of a sequence against all of it.
    ByDistance(&'a DistanceBias, Range<usize>),
}

impl Bias<'_> {
    /// As a tensor that broadcasts to `[batch, heads, len, keys]`.
    pub(super) fn whole(&self) -> Tensor<4> {
        match self {
            Self::Whole(bias) => (*bias).clone(),
            Self::ByDistance(bias, queries) if queries.len() == bias.len() => bias.whole().clone(),
            Self::ByDistance(bias, queries) => bias.whole().clone().narrow(2, queries.start, queries.len()),
        }
    }
}

/// The bias of whole sequences against themselves, where all see all: a number a head and distance, from which a long sequence
/// needs no `[heads, len, len]`.
#[derive(Debug)]
pub(super) struct DistanceBias {
    /// That of key − query from −(len − 1) on, `[heads, 2 · len − 1]`.
    pub(super) table: Tensor<2>,
    /// Hides padding, `[rows, 1, 1, len]`.
    pub(super) mask: Option<Tensor<4>>,
    whole: OnceCell<Tensor<4>>,
}

impl DistanceBias {
    fn new(table: &Tensor<2>, buckets: &Tensor<1, Int>, mask: Option<Tensor<4>>) -> Self {
        Self { table: table.clone().select(0, buckets.clone()).transpose(), mask, whole: OnceCell::new() }
    }

    /// Length of the sequences.
    pub(super) fn len(&self) -> usize {
        self.table.dims()[1].div_ceil(2)
    }

    /// `[rows or 1, heads, len, len]`, made once, where no kernel reads the table.
    fn whole(&self) -> &Tensor<4> {
        self.whole.get_or_init(|| {
            let (heads, len) = (self.table.dims()[0], self.len());
            let ids = (0..len).flat_map(|query| (0..len).map(move |key| (key + len - 1 - query) as i32));
            let ids = TensorData::new(ids.collect::<Vec<_>>(), [len * len]);
            let ids = Tensor::<1, Int>::from_data(ids, &self.table.device());
            let bias = self.table.clone().select(1, ids).reshape([1, heads, len, len]);
            match &self.mask {
                Some(mask) => bias + mask.clone(),
                None => bias,
            }
        })
    }
}

/// The bias of whole sequences in one pass through the encoder.
#[derive(Debug)]
pub(super) struct SelfBias {
    tables: Vec<Tensor<2>>,
    /// The bucket of each distance, `[2 · len − 1]`.
    buckets: Tensor<1, Int>,
    /// That of the block asked for last.
    latest: DistanceBias,
    block: usize,
}

impl SelfBias {
    /// The bias of a block, made once where it is asked for several times in a row.
    pub(super) fn of(&mut self, block: usize) -> &DistanceBias {
        if block != self.block && self.tables.len() > 1 {
            self.block = block;
            self.latest = DistanceBias::new(&self.tables[block], &self.buckets, self.latest.mask.clone());
        }
        &self.latest
    }
}

/// The bias in one pass through the decoder, where queries and keys stand at the same positions in every block.
#[derive(Debug)]
pub(super) struct PassBias {
    tables: Vec<Tensor<2>>,
    /// The bucket of each query and key, `[rows · len · keys]`.
    buckets: Tensor<1, Int>,
    /// `[rows, len, keys]`.
    shape: [usize; 3],
    mask: Option<Tensor<4>>,
    /// That of the block asked for last, `[rows, heads, len, keys]`.
    latest: Tensor<4>,
}

impl PositionBias {
    /// Bias of whole sequences of `len` tokens; `mask [rows, 1, 1, len]` hides padding.
    pub(super) fn whole(&self, len: usize, mask: Option<Tensor<4>>, device: &Device) -> SelfBias {
        let (count, last) = (self.tables[0].dims()[0], len as i64 - 1);
        let bucket = |distance| bucket(distance, self.bidirectional, count, self.max_distance) as i32;
        let buckets: Vec<_> = (-last..=last).map(bucket).collect();
        let places = buckets.len();
        let buckets = Tensor::<1, Int>::from_data(TensorData::new(buckets, [places]), device);
        let latest = DistanceBias::new(&self.tables[0], &buckets, mask);
        SelfBias { tables: self.tables.clone(), buckets, latest, block: 0 }
    }

    /// Bias of queries against keys `0..keys`, `mask` (which broadcasts to `[rows, heads, len, keys]`) added: `queries
    /// [rows][len]` are positions.
    ///
    /// Rows of one batch may stand at different positions; where all agree, pass one row and let it broadcast.
    pub(super) fn start(
        &self,
        queries: &[Vec<usize>],
        keys: usize,
        mask: Option<Tensor<4>>,
        device: &Device,
    ) -> PassBias {
        let keys: Vec<usize> = (0..keys).collect();
        self.between(queries.iter().map(|queries| (queries.as_slice(), keys.as_slice())), mask, device)
    }

    /// Bias of each row's queries against its keys, both given as positions; all rows have as many of both.
    pub(super) fn between<'r>(
        &self,
        rows: impl Iterator<Item = (&'r [usize], &'r [usize])>,
        mask: Option<Tensor<4>>,
        device: &Device,
    ) -> PassBias {
        let count = self.tables[0].dims()[0];
        let (mut ids, mut shape) = (Vec::new(), [0; 3]);
        for (queries, keys) in rows {
            shape = [shape[0] + 1, queries.len(), keys.len()];
            let of = |query: &usize, key: &usize| {
                bucket(*key as i64 - *query as i64, self.bidirectional, count, self.max_distance) as i32
            };
            ids.extend(queries.iter().flat_map(|query| keys.iter().map(move |key| of(query, key))));
        }
        let [rows, len, keys] = shape;
        let buckets = Tensor::<1, Int>::from_data(TensorData::new(ids, [rows * len * keys]), device);
        let latest = look_up(&self.tables[0], &buckets, shape, mask.as_ref());
        PassBias { tables: self.tables.clone(), buckets, shape, mask, latest }
    }
}

impl PassBias {
    /// The bias of a block, `[rows, heads, len, keys]`. Blocks are asked for in their order.
    pub(super) fn of(&mut self, block: usize) -> &Tensor<4> {
        if block > 0 && self.tables.len() > 1 {
            self.latest = look_up(&self.tables[block], &self.buckets, self.shape, self.mask.as_ref());
        }
        &self.latest
    }
}

/// `table [buckets, heads]` at `buckets [rows · len · keys]` `-> [rows, heads, len, keys]`, with the mask.
fn look_up(
    table: &Tensor<2>,
    buckets: &Tensor<1, Int>,
    [rows, len, keys]: [usize; 3],
    mask: Option<&Tensor<4>>,
) -> Tensor<4> {
    let heads = table.dims()[1];
    let bias = table.clone().select(0, buckets.clone()).reshape([rows, len, keys, heads]).permute([0, 3, 1, 2]);
    match mask {
        Some(mask) => bias + mask.clone(),
        None => bias,
    }
}

/// The bucket of a relative position (key − query), as in T5's `_relative_position_bucket`.
fn bucket(relative: i64, bidirectional: bool, buckets: usize, max_distance: usize) -> usize {
    let (buckets, offset, distance) = if bidirectional {
        let half = buckets / 2;
        (half, if relative > 0 { half } else { 0 }, relative.unsigned_abs() as usize)
    } else {
        (buckets, 0, (-relative).max(0) as usize)
    };
    let exact = buckets / 2;
    if distance < exact {
        return offset + distance;
    }
    // f32 as in the original: an f64 logarithm falls on the other side of a bucket's edge at some distances
    let scale = (distance as f32 / exact as f32).ln() / (max_distance as f32 / exact as f32).ln();
    offset + (exact + (scale * (buckets - exact) as f32) as usize).min(buckets - 1)
}

#[cfg(test)]
mod tests {
    use super::bucket;

    /// Made with transformers 5.23.0: `T5Attention._relative_position_bucket(torch.tensor(distances), both, 32, 128)`.
    #[test]
    fn buckets_are_transformers() {
        let distances = [-300, -128, -127, -91, -64, -20, -16, -8, -7, -1, 0, 1, 7, 8, 15, 16, 20, 64, 127, 128, 300];
        let both = [15, 15, 15, 15, 14, 10, 10, 8, 7, 1, 0, 17, 23, 24, 25, 26, 26, 30, 31, 31, 31];
        let causal = [31, 31, 31, 29, 26, 17, 16, 8, 7, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        for (i, distance) in distances.into_iter().enumerate() {
            assert_eq!(bucket(distance, true, 32, 128), both[i], "bidirectional {distance}");
            assert_eq!(bucket(distance, false, 32, 128), causal[i], "causal {distance}");
        }
    }

    /// The distances behind the query at which the next bucket begins, as transformers 5.23.0 has them up to 3,000, for
    /// `(buckets, max_distance)`. Where one falls on a power of 2, as 16 and 64 do,
    /// the logarithm's rounding decides.
    #[test]
    fn buckets_begin_where_transformers_begins_them() {
        let check = |bidirectional, buckets, max_distance, logarithmic: &[usize]| {
            let at = |distance: usize| bucket(-(distance as i64), bidirectional, buckets, max_distance);
            let found: Vec<_> = (1..=3000).filter(|distance| at(*distance) != at(*distance - 1)).collect();
            let exact = if bidirectional { buckets / 4 } else { buckets / 2 };
            let wanted: Vec<_> = (1..=exact).chain(logarithmic.iter().copied()).collect();
            assert_eq!(found, wanted, "{bidirectional} {buckets} {max_distance}");
            assert_eq!(at(3000), wanted.len(), "{bidirectional} {buckets} {max_distance}");
        };
        check(true, 32, 128, &[12, 16, 23, 32, 46, 64, 91]);
        check(false, 32, 128, &[19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113]);
        check(true, 16, 24, &[7, 10, 16]);
        check(false, 16, 24, &[10, 11, 13, 14, 16, 19, 21]);
        check(true, 32, 256, &[13, 20, 30, 46, 70, 108, 166]);
        check(false, 32, 256, &[20, 23, 27, 32, 39, 46, 54, 64, 77, 91, 108, 128, 153, 182, 216]);
        check(true, 48, 1000, &[18, 26, 37, 53, 76, 110, 159, 229, 331, 479, 692]);
    }
}
