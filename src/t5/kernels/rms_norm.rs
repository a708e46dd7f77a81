//! T5's layer norm.

use super::lanes::{dot, sum_rows};
use super::{Kernel, fits, made_by_rows, plain, plain_input, rows, tensor, tracked, tracked_input};
use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;

/// `w ∘ x / √(mean x² + ε)`: `x [batch, len, d]`, `w [d]`, `-> [batch, len, d]`.
pub(in super::super) fn rms_norm(x: Tensor<3>, weight: Tensor<1>, epsilon: f64) -> Tensor<3> {
    let kernel = RmsNorm { epsilon: epsilon as f32 };
    if !fits(&x) || !fits(&weight) {
        twin(x, weight, epsilon)
    } else if x.is_autodiff() || weight.is_autodiff() {
        tracked(kernel, [tracked_input(x), tracked_input(weight)])
    } else {
        plain(kernel, [plain_input(x), plain_input(weight)])
    }
}

/// `x / √(mean x² + ε)`; times the weight it has the bits of [`rms_norm`].
pub(in super::super) fn normalised(x: Tensor<3>, epsilon: f64) -> Tensor<3> {
    let ones = Tensor::ones([x.dims()[2]], &x.device().inner());
    rms_norm(x, ones, epsilon)
}

fn twin(x: Tensor<3>, weight: Tensor<1>, epsilon: f64) -> Tensor<3> {
    let mean_square = x.clone().square().mean_dim(2);
    x / mean_square.add_scalar(epsilon).sqrt() * weight.unsqueeze()
}

#[derive(Debug)]
struct RmsNorm {
    epsilon: f32,
}

impl RmsNorm {
    #[inline(always)]
    fn scale(&self, x: &[f32]) -> f32 {
        1.0 / (dot(x, x) / x.len() as f32 + self.epsilon).sqrt()
    }
}

impl Kernel<2> for RmsNorm {
    type Saved = [FlexTensor; 2];

    fn forward(&self, [x, weight]: [FlexTensor; 2]) -> (FlexTensor, Self::Saved) {
        let (_, width) = rows(&x);
        let (values, w) = (x.storage::<f32>(), weight.storage::<f32>());
        let y = made_by_rows(
            &x,
            #[inline(always)]
            |row, out| {
                let x = &values[row * width..(row + 1) * width];
                let scale = self.scale(x);
                for ((out, x), w) in out.iter_mut().zip(x).zip(w) {
                    *out = x * scale * w;
                }
            },
        );
        (y, [x, weight])
    }

    /// With `r = 1 / √(mean x² + ε)`: `dx = r (g w − x r² mean(g w x))`, `dw = Σ g x r`.
    fn backward(&self, saved: Self::Saved, gradient: FlexTensor, wanted: [bool; 2]) -> [Option<FlexTensor>; 2] {
        let [x, weight] = saved;
        let (count, width) = rows(&x);
        let (values, w, gradient) = (x.storage::<f32>(), weight.storage::<f32>(), gradient.storage::<f32>());
        let dx = wanted[0].then(|| {
            made_by_rows(
                &x,
                #[inline(always)]
                |row, out| {
                    let (x, g) = (&values[row * width..(row + 1) * width], &gradient[row * width..(row + 1) * width]);
                    let scale = self.scale(x);
                    for ((out, g), w) in out.iter_mut().zip(g).zip(w) {
                        *out = g * w;
                    }
                    let pull = dot(out, x) * scale * scale / width as f32;
                    for (out, x) in out.iter_mut().zip(x) {
                        *out = scale * (*out - x * pull);
                    }
                },
            )
        });
        let dw = wanted[1].then(|| {
            let sum = sum_rows(
                count,
                width,
                #[inline(always)]
                |row, sum| {
                    let (x, g) = (&values[row * width..(row + 1) * width], &gradient[row * width..(row + 1) * width]);
                    let scale = self.scale(x);
                    for ((sum, x), g) in sum.iter_mut().zip(x).zip(g) {
                        *sum += g * x * scale;
                    }
                },
            );
            tensor(sum, weight.layout().shape().clone())
        });
        [dx, dw]
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{close, leaf};
    use super::*;

    #[test]
    fn a_norm_in_two_steps_has_the_same_bits() {
        let (x, w) = (leaf([2, 3, 50], 2.0, 1).inner(), leaf([50], 1.5, 2).inner());
        let steps = normalised(x.clone(), 1e-6) * w.clone().unsqueeze();
        assert_eq!(rms_norm(x, w, 1e-6).into_data(), steps.into_data());
    }

    #[test]
    fn it_is_its_twin() {
        for shape in [[2, 3, 10], [4, 90, 192]] {
            let (x, w, weights) = (leaf(shape, 2.0, 1), leaf([shape[2]], 1.5, 2), leaf(shape, 1.0, 3).inner());
            close(
                rms_norm(x.clone().inner(), w.clone().inner(), 1e-6),
                twin(x.clone().inner(), w.clone().inner(), 1e-6),
                1e-6,
            );
            let gradients = |y: Tensor<3>| {
                let gradients = (y * weights.clone()).sum().backward();
                (x.grad(&gradients).unwrap(), w.grad(&gradients))
            };
            let (dx, dw) = gradients(rms_norm(x.clone(), w.clone(), 1e-6));
            let (wanted_dx, wanted_dw) = gradients(twin(x.clone(), w.clone(), 1e-6));
            close(dx, wanted_dx.clone(), 2e-6);
            close(dw.unwrap(), wanted_dw.unwrap(), 1e-5);
            // a frozen weight beside a tracked input
            let (dx, dw) = gradients(rms_norm(x.clone(), w.clone().inner(), 1e-6));
            close(dx, wanted_dx, 2e-6);
            assert!(dw.is_none());
        }
    }
}
