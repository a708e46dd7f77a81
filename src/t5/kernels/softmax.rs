//! Attention's softmax.

use super::lanes::{dot, exp, for_rows, max, sum, sum_rows};
use super::{Kernel, fits, made_by_rows, plain, plain_input, rows, tensor, tracked, tracked_input};
use burn::backend::flex::FlexTensor;
use burn::tensor::{Shape, Tensor, activation::softmax};

/// Softmax over keys of `scores + bias`: `scores [batch, heads, len, keys]`; `bias` has those sizes, or 1 in place of batch,
/// heads or len, where it is the same for all.
pub(in super::super) fn softmax_with_bias(scores: Tensor<4>, bias: Option<Tensor<4>>) -> Tensor<4> {
    if !fits(&scores) || !bias.as_ref().is_none_or(fits) {
        return twin(scores, bias);
    }
    let tracks = scores.is_autodiff() || bias.as_ref().is_some_and(Tensor::is_autodiff);
    match (bias, tracks) {
        (Some(bias), true) => tracked(Softmax, [tracked_input(scores), tracked_input(bias)]),
        (Some(bias), false) => plain(Softmax, [plain_input(scores), plain_input(bias)]),
        (None, true) => tracked(Softmax, [tracked_input(scores)]),
        (None, false) => plain(Softmax, [plain_input(scores)]),
    }
}

fn twin(scores: Tensor<4>, bias: Option<Tensor<4>>) -> Tensor<4> {
    softmax(if let Some(bias) = bias { scores + bias } else { scores }, 3)
}

#[derive(Debug)]
struct Softmax;

/// Where the row of a bias that belongs to a row of scores begins.
#[derive(Debug, Clone)]
pub(super) struct Broadcast {
    scores: [usize; 3],
    bias: [usize; 3],
}

impl Broadcast {
    pub(super) fn new(scores: &Shape, bias: &Shape) -> Self {
        let leading = |shape: &Shape| [shape[0], shape[1], shape[2]];
        Self { scores: leading(scores), bias: leading(bias) }
    }

    /// The bias's row of a row of scores.
    #[inline(always)]
    pub(super) fn row(&self, row: usize) -> usize {
        let [_, heads, len] = self.scores;
        let at = [row / (heads * len), row / len % heads, row % len];
        let [b, h, l] = std::array::from_fn(|i| if self.bias[i] == 1 { 0 } else { at[i] });
        (b * self.bias[1] + h) * self.bias[2] + l
    }
}

#[inline(always)]
pub(super) fn normalise(row: &mut [f32]) {
    let most = max(row);
    // neither `max` nor `exp` keeps what is no number, which must not pass for an answer
    if !most.is_finite() || row.iter().fold(false, |found, value| found | value.is_nan()) {
        return row.fill(f32::NAN);
    }
    for value in row.iter_mut() {
        *value = exp(*value - most);
    }
    let scale = 1.0 / sum(row);
    for value in row.iter_mut() {
        *value *= scale;
    }
}

/// `p ∘ (g − ⟨g, p⟩)`.
fn gradient_of_scores(p: &FlexTensor, gradient: &FlexTensor) -> FlexTensor {
    let (_, width) = rows(p);
    let (p_values, g) = (p.storage::<f32>(), gradient.storage::<f32>());
    made_by_rows(
        p,
        #[inline(always)]
        |row, out| {
            let (p, g) = (&p_values[row * width..(row + 1) * width], &g[row * width..(row + 1) * width]);
            let mean = dot(p, g);
            for ((out, p), g) in out.iter_mut().zip(p).zip(g) {
                *out = p * (g - mean);
            }
        },
    )
}

impl Kernel<1> for Softmax {
    type Saved = FlexTensor;

    fn forward(&self, [mut scores]: [FlexTensor; 1]) -> (FlexTensor, FlexTensor) {
        let (_, width) = rows(&scores);
        for_rows(
            scores.storage_mut::<f32>(),
            width,
            width,
            #[inline(always)]
            |_, row| normalise(row),
        );
        (scores.clone(), scores)
    }

    fn backward(&self, p: FlexTensor, gradient: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
        [Some(gradient_of_scores(&p, &gradient))]
    }
}

impl Kernel<2> for Softmax {
    type Saved = (FlexTensor, Shape);

    fn forward(&self, [mut scores, bias]: [FlexTensor; 2]) -> (FlexTensor, Self::Saved) {
        let (_, width) = rows(&scores);
        let shape = bias.layout().shape().clone();
        let (at, bias) = (Broadcast::new(scores.layout().shape(), &shape), bias.storage::<f32>());
        for_rows(
            scores.storage_mut::<f32>(),
            width,
            width,
            #[inline(always)]
            |row, values| {
                let start = at.row(row) * width;
                for (value, bias) in values.iter_mut().zip(&bias[start..start + width]) {
                    *value += bias;
                }
                normalise(values);
            },
        );
        (scores.clone(), (scores, shape))
    }

    fn backward(&self, saved: Self::Saved, gradient: FlexTensor, wanted: [bool; 2]) -> [Option<FlexTensor>; 2] {
        let (p, shape) = saved;
        let scores = gradient_of_scores(&p, &gradient);
        let bias = wanted[1].then(|| {
            let at = Broadcast::new(p.layout().shape(), &shape);
            let ((count, width), values) = (rows(&scores), scores.storage::<f32>());
            let each = count / at.scores[0];
            let len = shape.num_elements();
            // one task a row of the batch, each with a sum of its own
            let sum = sum_rows(
                at.scores[0],
                len,
                #[inline(always)]
                |batch, sum| {
                    for row in batch * each..(batch + 1) * each {
                        let start = at.row(row) * width;
                        let add = &values[row * width..(row + 1) * width];
                        sum[start..start + width].iter_mut().zip(add).for_each(|(sum, add)| *sum += add);
                    }
                },
            );
            tensor(sum, shape.clone())
        });
        [wanted[0].then_some(scores), bias]
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{close, leaf};
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn it_is_its_twin() {
        let shape = [3, 2, 5, 37];
        for bias_shape in [None, Some([1, 2, 5, 37]), Some([3, 1, 1, 37]), Some([3, 2, 5, 37]), Some([1, 1, 5, 37])] {
            let (scores, weights) = (leaf(shape, 5.0, 1), leaf(shape, 1.0, 2).inner());
            let bias = bias_shape.map(|shape| leaf(shape, 3.0, 3));
            let plain = bias.clone().map(Tensor::inner);
            close(
                softmax_with_bias(scores.clone().inner(), plain.clone()),
                twin(scores.clone().inner(), plain.clone()),
                1e-6,
            );
            let gradients = |y: Tensor<4>| {
                let gradients = (y * weights.clone()).sum().backward();
                (scores.grad(&gradients).unwrap(), bias.as_ref().and_then(|bias| bias.grad(&gradients)))
            };
            let (scores_found, bias_found) = gradients(softmax_with_bias(scores.clone(), bias.clone()));
            let (scores_wanted, bias_wanted) = gradients(twin(scores.clone(), bias.clone()));
            close(scores_found, scores_wanted, 2e-6);
            assert_eq!(bias_found.is_some(), bias_wanted.is_some());
            if let (Some(found), Some(wanted)) = (bias_found, bias_wanted) {
                close(found, wanted, 1e-5);
            }
            // a frozen bias beside tracked scores
            assert!(gradients(softmax_with_bias(scores.clone(), plain)).1.is_none());
        }
    }

    #[test]
    fn what_is_no_number_stays_none() {
        for broken in [f32::NAN, f32::INFINITY] {
            let scores = Tensor::<4>::from_data([[[[0.0, broken, 1.0], [0.0, 1.0, 2.0]]]], &Device::flex());
            let found = softmax_with_bias(scores, None).into_data().try_into_vec::<f32>().unwrap();
            assert!(found[..3].iter().all(|value| value.is_nan()), "{found:?}");
            assert!((found[3..].iter().sum::<f32>() - 1.0).abs() < 1e-6, "{found:?}");
        }
    }

    #[test]
    fn masked_keys_get_nothing_and_what_was_given_stays() {
        let scores = leaf([1, 1, 2, 3], 1.0, 1).inner();
        let before = scores.clone().into_data();
        let mask = Tensor::<4>::from_data([[[[0.0, f32::MIN, 0.0]]]], &scores.device());
        let found = softmax_with_bias(scores.clone(), Some(mask)).into_data().try_into_vec::<f32>().unwrap();
        assert!(found[1] < 1e-30 && found[4] < 1e-30 && (found[0] + found[2] - 1.0).abs() < 1e-6, "{found:?}");
        assert_eq!(scores.into_data(), before);
    }
}
