//! Element-wise operations into the memory of a plain tensor that nobody else holds, on all threads; burn takes one.

use super::{contiguous, is_plain, lanes, plain_input, rows};
use burn::backend::Flex;
use burn::tensor::{Tensor, activation};

/// `x + y`.
pub(in super::super) fn sum(x: Tensor<3>, y: Tensor<3>) -> Tensor<3> {
    if !(is_plain(&x) && is_plain(&y)) {
        return x + y;
    }
    let (x, mut y) = (contiguous(plain_input(x)), contiguous(plain_input(y)));
    let (x, (_, width)) = (x.storage::<f32>(), rows(&y));
    lanes::for_rows(
        y.storage_mut::<f32>(),
        width,
        width,
        #[inline(always)]
        |row, y| y.iter_mut().zip(&x[row * width..][..width]).for_each(|(y, x)| *y += x),
    );
    Tensor::from_primitive::<Flex>(y)
}

/// `max(x, 0)`.
pub(in super::super) fn relu(x: Tensor<3>) -> Tensor<3> {
    if !is_plain(&x) {
        return activation::relu(x);
    }
    let mut x = contiguous(plain_input(x));
    let (_, width) = rows(&x);
    lanes::for_rows(
        x.storage_mut::<f32>(),
        width,
        width,
        #[inline(always)]
        |_, x| x.iter_mut().for_each(|x| *x = x.max(0.0)),
    );
    Tensor::from_primitive::<Flex>(x)
}

#[cfg(test)]
mod tests {
    use super::super::testing::leaf;
    use super::*;

    #[test]
    fn values_are_those_of_burn_and_nothing_else_changes() {
        for shape in [[2, 3, 5], [4, 70, 129], [1, 1, 1]] {
            let [x, y] = [1, 2].map(|seed| leaf(shape, 3.0, seed).inner());
            let held = (x.clone().into_data(), y.clone().into_data());
            assert_eq!(sum(x.clone(), y.clone()).into_data(), (x.clone() + y.clone()).into_data());
            assert_eq!(relu(x.clone()).into_data(), activation::relu(x.clone()).into_data());
            let turned = x.clone().swap_dims(0, 2);
            assert_eq!(relu(turned.clone()).into_data(), activation::relu(turned).into_data(), "a view");
            assert_eq!((x.into_data(), y.into_data()), held);
        }
    }
}
