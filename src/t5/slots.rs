//! Tensors `[slots, …]` of which the first rows are in use: rows leave and join without a copy of those that stay.

use burn::tensor::{Device, Int, Tensor, TensorData};

/// Slots are made by so many at once, so that the next rows to join find some.
const ROOM: usize = 8;

/// The tensor with these of its rows first, in this order; a row may be named more than once. Only rows that move are copied, and
/// of dimension 2 only the first `held` places: behind them stands what stood there.
pub(super) fn keep(tensor: Tensor<4>, rows: &[usize], held: usize) -> Tensor<4> {
    let [slots, heads, _, d] = tensor.dims();
    let device = tensor.device();
    if rows.len() > slots {
        return tensor.select(0, ids(rows, &device));
    }
    let moved: Vec<usize> = (0..rows.len()).filter(|row| rows[*row] != *row).collect();
    if moved.is_empty() {
        return tensor;
    }
    let parents: Vec<usize> = moved.iter().map(|row| rows[*row]).collect();
    let new = tensor.clone().narrow(2, 0, held).select(0, ids(&parents, &device)); // [moved, heads, held, d]
    let (mut tensor, mut first) = (tensor, 0);
    for run in moved.chunk_by(|a, b| a + 1 == *b) {
        let value = new.clone().narrow(0, first, run.len());
        tensor = tensor.slice_assign([run[0]..run[0] + run.len(), 0..heads, 0..held, 0..d], value);
        first += run.len();
    }
    tensor
}

/// The tensor with `new` behind its first `rows` rows, both `width` wide in dimension 2 and filled up with zeros.
pub(super) fn join(tensor: Tensor<4>, rows: usize, new: Tensor<4>, width: usize) -> Tensor<4> {
    let [slots, heads, before, d] = tensor.dims();
    let new = widen(new, 2, width);
    let all = rows + new.dims()[0];
    if all <= slots && before == width {
        return tensor.slice_assign([rows..all, 0..heads, 0..width, 0..d], new);
    }
    let spare = [all.next_multiple_of(ROOM) - all, heads, width, d];
    let mut parts = vec![widen(tensor.narrow(0, 0, rows), 2, width), new];
    if spare[0] > 0 {
        parts.push(Tensor::zeros(spare, &parts[0].device()));
    }
    Tensor::cat(parts, 0)
}

/// Places as a tensor.
pub(super) fn ids(places: &[usize], device: &Device) -> Tensor<1, Int> {
    let ids: Vec<i32> = places.iter().map(|place| *place as i32).collect();
    Tensor::from_data(TensorData::new(ids, [places.len()]), device)
}

/// Pads dimension `dim` to `len` with zeros.
pub(super) fn widen<const D: usize>(tensor: Tensor<D>, dim: usize, len: usize) -> Tensor<D> {
    let mut shape = tensor.dims();
    if shape[dim] == len {
        return tensor;
    }
    shape[dim] = len - shape[dim];
    let device = tensor.device();
    Tensor::cat(vec![tensor, Tensor::zeros(shape, &device)], dim)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of two places, each place holding the row's number.
    fn rows(numbers: &[f32]) -> Tensor<4> {
        let values = numbers.iter().flat_map(|number| [*number; 2]).collect();
        Tensor::from_data(TensorData::new(values, [numbers.len(), 1, 2, 1]), &Device::flex())
    }

    fn values(tensor: &Tensor<4>, rows: usize) -> Vec<f32> {
        tensor.clone().narrow(0, 0, rows).try_into_vec_as().unwrap()
    }

    #[test]
    fn rows_leave_and_branch() {
        let check = |named: &[usize], wanted: &[f32]| {
            let kept = keep(rows(&[0.0, 1.0, 2.0]), named, 2);
            assert_eq!(values(&kept, named.len()), rows(wanted).try_into_vec_as::<f32>().unwrap(), "{named:?}");
        };
        check(&[0, 1, 2], &[0.0, 1.0, 2.0]);
        check(&[0, 2], &[0.0, 2.0]);
        check(&[2, 1], &[2.0, 1.0]);
        check(&[1, 2, 0], &[1.0, 2.0, 0.0]);
        check(&[1, 1, 1], &[1.0, 1.0, 1.0]);
        check(&[2, 2, 0, 1], &[2.0, 2.0, 0.0, 1.0]);
        let first = keep(rows(&[0.0, 1.0, 2.0]), &[2, 1], 1);
        assert_eq!(values(&first, 2), [2.0, 0.0, 1.0, 1.0], "one place of the row that moves");
    }

    #[test]
    fn rows_join_where_others_left() {
        let held = join(rows(&[0.0]), 1, rows(&[1.0]), 2);
        assert_eq!(held.dims(), [ROOM, 1, 2, 1]);
        assert_eq!(values(&held, 3), [0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
        let held = join(held, 1, rows(&[5.0, 6.0]), 2);
        assert_eq!((held.dims()[0], values(&held, 3)), (ROOM, vec![0.0, 0.0, 5.0, 5.0, 6.0, 6.0]));
        let wide = join(held, 2, rows(&[7.0]), 3);
        assert_eq!(values(&wide, 3), [0.0, 0.0, 0.0, 5.0, 5.0, 0.0, 7.0, 7.0, 0.0]);
        let more = join(wide, 3, rows(&[1.0; 6]), 3);
        assert_eq!((more.dims()[0], values(&more, 4)[9..].to_vec()), (2 * ROOM, vec![1.0, 1.0, 0.0]));
    }
}
