//! Relative position bias: bucketed distance between key and query, one learned number per bucket and head.

use burn::tensor::{Device, Int, Tensor, TensorData};

/// The bias of one stack (held by its first block, used by all).
#[derive(Debug, Clone)]
pub(super) struct PositionBias {
    /// `[buckets, heads]`.
    pub(super) table: Tensor<2>,
    pub(super) max_distance: usize,
    pub(super) bidirectional: bool,
}

impl PositionBias {
    /// Bias of queries against keys `0..keys`: `queries [rows][len]` are positions; `-> [rows, heads, len, keys]`.
    ///
    /// Rows of one batch may stand at different positions; where all agree, pass one row and let it broadcast.
    pub(super) fn forward(&self, queries: &[Vec<usize>], keys: usize, device: &Device) -> Tensor<4> {
        let [buckets, heads] = self.table.dims();
        let (rows, len) = (queries.len(), queries[0].len());
        let index = |query: usize, key: usize| {
            bucket(key as i64 - query as i64, self.bidirectional, buckets, self.max_distance) as i32
        };
        let ids: Vec<i32> =
            queries.iter().flatten().flat_map(|query| (0..keys).map(move |key| index(*query, key))).collect();
        let count = ids.len();
        let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [count]), device);
        self.table.clone().select(0, ids).reshape([rows, len, keys, heads]).permute([0, 3, 1, 2])
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
}
