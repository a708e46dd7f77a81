//! The gate of T5 v1.1's feed-forward layer.

use super::lanes::{exp, for_rows};
use super::{Kernel, fits, made_by_rows, plain, plain_input, rows, tensor, tracked, tracked_input};
use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;

const SQRT_2_OVER_PI: f32 = 0.797_884_6;
const CUBIC: f32 = 0.044_715;

/// `gelu_new(a) ∘ b` of `x = [a, b]` along the last dimension: `[batch, len, 2 d_ff] -> [batch, len, d_ff]`.
pub(in super::super) fn gated_gelu(x: Tensor<3>) -> Tensor<3> {
    if !fits(&x) {
        twin(x)
    } else if x.is_autodiff() {
        tracked(GatedGelu, [tracked_input(x)])
    } else {
        plain(GatedGelu, [plain_input(x)])
    }
}

fn twin(x: Tensor<3>) -> Tensor<3> {
    let half = x.dims()[2] / 2;
    gelu_new(x.clone().narrow(2, 0, half)) * x.narrow(2, half, half)
}

/// The tanh approximation of GELU: `½ x (1 + tanh(√(2/π) (x + 0.044715 x³)))`, as transformers' `gelu_new`.
pub(crate) fn gelu_new<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let c = f64::from(SQRT_2_OVER_PI);
    // x (c + 0.044715 c x²): cheaper than burn's powf
    let inner = x.clone() * x.clone().square().mul_scalar(f64::from(CUBIC) * c).add_scalar(c);
    x * inner.tanh().add_scalar(1.0).mul_scalar(0.5)
}

#[derive(Debug)]
struct GatedGelu;

/// The derivable part: `gelu_new(a) = a s`, `s = 1 / (1 + e^−2y)`, `y = √(2/π) (a + 0.044715 a³)`.
#[inline(always)]
pub(crate) fn gelu_new_sigmoid(a: f32) -> f32 {
    1.0 / (1.0 + exp(-2.0 * SQRT_2_OVER_PI * (a + CUBIC * a * a * a)))
}

impl Kernel<1> for GatedGelu {
    type Saved = FlexTensor;

    fn forward(&self, [x]: [FlexTensor; 1]) -> (FlexTensor, FlexTensor) {
        let (count, width) = rows(&x);
        let (half, values) = (width / 2, x.storage::<f32>());
        let mut out = vec![0.0; count * half];
        for_rows(
            &mut out,
            half,
            width,
            #[inline(always)]
            |row, out| {
                let (a, b) = values[row * width..(row + 1) * width].split_at(half);
                for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
                    *out = a * gelu_new_sigmoid(*a) * b;
                }
            },
        );
        let mut shape = x.layout().shape().clone();
        let last = shape.num_dims() - 1;
        shape[last] = half;
        (tensor(out, shape), x)
    }

    fn backward(&self, x: FlexTensor, gradient: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
        let (_, width) = rows(&x);
        let (half, values, gradient) = (width / 2, x.storage::<f32>(), gradient.storage::<f32>());
        let dx = made_by_rows(
            &x,
            #[inline(always)]
            |row, out| {
                let (a, b) = values[row * width..(row + 1) * width].split_at(half);
                let (da, db) = out.split_at_mut(half);
                let g = &gradient[row * half..(row + 1) * half];
                for i in 0..half {
                    let s = gelu_new_sigmoid(a[i]);
                    let slope = 2.0 * SQRT_2_OVER_PI * (1.0 + 3.0 * CUBIC * a[i] * a[i]);
                    da[i] = g[i] * b[i] * (s + a[i] * s * (1.0 - s) * slope);
                    db[i] = g[i] * a[i] * s;
                }
            },
        );
        [Some(dx)]
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{close, leaf};
    use super::*;

    #[test]
    fn it_is_its_twin() {
        for (shape, most) in [([2, 3, 10], 3.0), ([4, 50, 512], 12.0)] {
            let (x, weights) = (leaf(shape, most, 1), leaf([shape[0], shape[1], shape[2] / 2], 1.0, 2).inner());
            close(gated_gelu(x.clone().inner()), twin(x.clone().inner()), 1e-6);
            let gradient = |y: Tensor<3>| x.grad(&(y * weights.clone()).sum().backward()).unwrap();
            close(gradient(gated_gelu(x.clone())), gradient(twin(x.clone())), 2e-6);
        }
    }
}
