//! Attention's scores, softmax and mix in one pass.

use super::super::keys_values::{Attended, KeysValues};
use super::super::position_bias::Bias;
use super::heads::{Added, Attention, Heads, rows_whole, seen};
use super::softmax::{Broadcast, softmax_with_bias};
use super::{contiguous, is_plain, plain_input};
use burn::backend::Flex;
use burn::tensor::{Shape, Tensor};
use pulp::Arch;

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
    let out = Attention {
        arch: Arch::new(),
        query: Heads::new(&query),
        keys: keys.iter().map(Heads::new).collect(),
        values: values.iter().map(Heads::new).collect(),
        bias,
        seen: seen_by,
        sizes: [heads, len, width, d],
    }
    .mixed(batch);
    Tensor::from_primitive::<Flex>(super::tensor(out, Shape::new([batch, len, heads * d])))
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
