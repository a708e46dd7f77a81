//! A batch taken apart, each row's part in memory of its own.

use super::heads::{Heads, rows_whole};
use super::{is_plain, plain_input, tensor};
use burn::backend::Flex;
use burn::tensor::{Int, Shape, Tensor};
use rayon::prelude::*;

/// The first `lengths[row]` places of each row of `[batch, heads, places, d]`, `[1, heads, length, d]`: a copy in any case, each
/// head's places side by side. burn copies twice, into zeros, and on one thread.
pub(in super::super) fn apart(batch: &Tensor<4>, lengths: &[usize]) -> Vec<Tensor<4>> {
    let [_, heads, _, d] = batch.dims();
    if !is_plain(batch) {
        // a selection copies in any case; a reshape would not where one place is all, and so hold the whole batch
        let first = Tensor::<1, Int>::zeros([1], &batch.device());
        let of = |row, len| batch.clone().narrow(0, row, 1).narrow(2, 0, len).select(0, first.clone());
        return lengths.iter().enumerate().map(|(row, len)| of(row, *len)).collect();
    }
    let batch = rows_whole(plain_input(batch.clone()));
    let view = Heads::new(&batch);
    let of = |(row, len): (usize, &usize)| {
        let mut own = Vec::with_capacity(heads * len * d);
        for head in 0..heads {
            (0..*len).for_each(|place| own.extend_from_slice(view.row(row, head, place)));
        }
        Tensor::from_primitive::<Flex>(tensor(own, Shape::new([1, heads, *len, d])))
    };
    lengths.par_iter().enumerate().map(of).collect()
}
