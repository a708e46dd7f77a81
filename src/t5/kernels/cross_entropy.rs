//! The loss's log-probabilities.

use super::lanes::{exp, for_rows, max, vectorised};
use super::{Kernel, fits, plain, plain_input, rows, tensor, tracked, tracked_input};
use burn::backend::flex::FlexTensor;
use burn::tensor::{Int, Shape, Tensor, TensorData, activation::log_softmax};
use pulp::Arch;

/// The log-probability of one target a row: `logits [rows, vocab]`, `targets [rows]`, `-> [rows]`.
pub(crate) fn target_log_probabilities(logits: Tensor<2>, targets: Vec<u32>) -> Tensor<1> {
    debug_assert_eq!(logits.dims()[0], targets.len());
    if !fits(&logits) {
        twin(logits, &targets)
    } else if logits.is_autodiff() {
        tracked(TargetLogProbability { targets }, [tracked_input(logits)])
    } else {
        plain(TargetLogProbability { targets }, [plain_input(logits)])
    }
}

fn twin(logits: Tensor<2>, targets: &[u32]) -> Tensor<1> {
    let ids: Vec<i32> = targets.iter().map(|id| *id as i32).collect();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [targets.len(), 1]), &logits.device());
    log_softmax(logits, 1).gather(1, ids).squeeze_dim(1)
}

/// `ln Σ exp(s)` of one row; not a finite number where a score is NaN or +∞, or all are −∞.
pub(in super::super) fn log_sum_exp(scores: &[f32]) -> f32 {
    vectorised(
        Arch::new(),
        #[inline(always)]
        || {
            // neither `max` nor `exp` keeps what is no number
            let broken = scores.iter().fold(false, |found, score| found | score.is_nan());
            if broken { f32::NAN } else { log_sum_exp_of(scores) }
        },
    )
}

/// The greatest of numbers; −∞ of none.
pub(in super::super) fn greatest(scores: &[f32]) -> f32 {
    vectorised(
        Arch::new(),
        #[inline(always)]
        || max(scores),
    )
}

#[derive(Debug)]
struct TargetLogProbability {
    targets: Vec<u32>,
}

/// `ln Σ eˣ` of numbers.
#[inline(always)]
fn log_sum_exp_of(x: &[f32]) -> f32 {
    const LANES: usize = 16;
    let most = max(x);
    let (heads, rest) = x.as_chunks::<LANES>();
    let mut lanes = [0.0f32; LANES];
    for x in heads {
        for i in 0..LANES {
            lanes[i] += exp(x[i] - most);
        }
    }
    let rest: f32 = rest.iter().map(|x| exp(x - most)).sum();
    most + (lanes.iter().sum::<f32>() + rest).ln()
}

impl Kernel<1> for TargetLogProbability {
    /// Logits and each row's log of the sum of exponentials.
    type Saved = (FlexTensor, FlexTensor);

    fn forward(&self, [logits]: [FlexTensor; 1]) -> (FlexTensor, Self::Saved) {
        let (count, width) = rows(&logits);
        let values = logits.storage::<f32>();
        let row = |row: usize| &values[row * width..(row + 1) * width];
        let mut sums = vec![0.0; count];
        for_rows(
            &mut sums,
            1,
            width,
            #[inline(always)]
            |at, out| out[0] = log_sum_exp_of(row(at)),
        );
        let found = self.targets.iter().enumerate().map(|(at, id)| row(at)[*id as usize] - sums[at]).collect();
        let shape = Shape::new([count]);
        (tensor(found, shape.clone()), (logits.clone(), tensor(sums, shape)))
    }

    /// `g (1[target] − p)`, over the logits themselves where nothing else holds them.
    fn backward(&self, saved: Self::Saved, gradient: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
        let (mut logits, sums) = saved;
        let (_, width) = rows(&logits);
        let (sums, gradient) = (sums.storage::<f32>(), gradient.storage::<f32>());
        for_rows(
            logits.storage_mut::<f32>(),
            width,
            width,
            #[inline(always)]
            |row, values| {
                let (g, log_sum) = (gradient[row], sums[row]);
                for value in values.iter_mut() {
                    *value = -g * exp(*value - log_sum);
                }
                values[self.targets[row] as usize] += g;
            },
        );
        [Some(logits)]
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{close, leaf};
    use super::*;

    #[test]
    fn it_is_its_twin() {
        for (shape, most) in [([3, 10], 2.0), ([70, 1001], 20.0)] {
            let (logits, weights) = (leaf(shape, most, 1), leaf([shape[0]], 1.0, 2).inner());
            let targets: Vec<u32> = (0..shape[0]).map(|row| (row * 7 % shape[1]) as u32).collect();
            let found = |logits: Tensor<2>| target_log_probabilities(logits, targets.clone());
            close(found(logits.clone().inner()), twin(logits.clone().inner(), &targets), 1e-6);
            let gradient = |y: Tensor<1>| logits.grad(&(y * weights.clone()).sum().backward()).unwrap();
            close(gradient(found(logits.clone())), gradient(twin(logits.clone(), &targets)), 2e-6);
        }
    }

    /// They take a hundred times as long on some processors, here and in the product that the gradient goes through next.
    #[test]
    fn no_gradient_is_subnormal() {
        let logits = leaf([8, 1000], 300.0, 1);
        let targets: Vec<u32> = (0..8).map(|row| row * 90).collect();
        let found = logits.grad(&target_log_probabilities(logits.clone(), targets).mean().backward()).unwrap();
        let found = found.into_data().try_into_vec::<f32>().unwrap();
        assert!(found.iter().all(|g| *g == 0.0 || g.is_normal()));
        assert!(found.iter().filter(|g| **g != 0.0).count() > 100);
    }
}
