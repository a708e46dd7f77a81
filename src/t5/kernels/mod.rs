//! Fused operations for the CPU, each with a gradient of its own.
//!
//! burn's CPU backend runs element-wise operations one by one, on one thread and with scalar `exp` and `tanh`; a norm, a softmax
//! or a gate costs it as much as the product beside it. Here each is one loop that the compiler vectorises. Every operation
//! has a twin of plain burn operations beside it: the path of all other devices and number formats, and the tests' oracle.

mod apart;
mod attention;
mod cross_entropy;
mod gated_gelu;
mod heads;
mod in_place;
mod int8;
mod lanes;
mod parted;
mod product;
mod rms_norm;
mod softmax;
mod tiles;
mod transposed;

pub(super) use apart::apart;
pub(super) use attention::{attention, attention_by};
pub(crate) use cross_entropy::target_log_probabilities;
pub(super) use cross_entropy::{greatest, log_sum_exp};
pub(super) use gated_gelu::gated_gelu;
pub(crate) use gated_gelu::{gelu_new, gelu_new_sigmoid};
pub(super) use in_place::{relu, sum};
pub(super) use int8::Int8;
pub(crate) use lanes::vectorised;
pub(super) use product::Panels;
pub(super) use rms_norm::{normalised, rms_norm};

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::NoCheckpointing};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::{FlexTensor, Layout};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex};
use burn::tensor::{Bytes, DType, Device, Shape, Tensor};

/// A function of `N` tensors on the CPU with a hand-written gradient. Inputs and gradients are contiguous f32.
trait Kernel<const N: usize>: std::fmt::Debug + Send + 'static {
    /// What the gradient needs of the forward pass.
    type Saved: Clone + std::fmt::Debug + Send + 'static;

    /// The output and what to save.
    fn forward(&self, inputs: [FlexTensor; N]) -> (FlexTensor, Self::Saved);

    /// The gradient of each wanted input from the output's.
    fn backward(&self, saved: Self::Saved, gradient: FlexTensor, wanted: [bool; N]) -> [Option<FlexTensor>; N];
}

/// A kernel as a node of burn's graph.
#[derive(Debug)]
struct Node<K>(K);

impl<const N: usize, K: Kernel<N>> Backward<Flex, N> for Node<K> {
    type State = K::Saved;

    fn backward(self, ops: Ops<K::Saved, N>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = contiguous(gradients.consume::<Flex>(&ops.node));
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let results = self.0.backward(ops.state, gradient, wanted);
        for (parent, result) in ops.parents.into_iter().zip(results) {
            if let (Some(parent), Some(result)) = (parent, result) {
                gradients.register::<Flex>(parent.id, result);
            }
        }
    }
}

/// Whether kernels take this tensor: f32 on the CPU, tracked or not.
fn fits<const D: usize>(tensor: &Tensor<D>) -> bool {
    tensor.dtype() == DType::F32 && tensor.device().inner() == Device::flex()
}

/// Whether kernels take this tensor and it is no part of a graph.
pub(super) fn is_plain<const D: usize>(tensor: &Tensor<D>) -> bool {
    fits(tensor) && !tensor.is_autodiff()
}

/// Applies a kernel to plain tensors.
fn plain<const N: usize, const D: usize>(kernel: impl Kernel<N>, inputs: [FlexTensor; N]) -> Tensor<D> {
    Tensor::from_primitive::<Flex>(kernel.forward(inputs.map(contiguous)).0)
}

/// Applies a kernel as a node of the graph.
fn tracked<const N: usize, const D: usize, K: Kernel<N>>(
    kernel: K,
    inputs: [FloatTensor<Autodiff<Flex>>; N],
) -> Tensor<D> {
    let nodes = inputs.each_ref().map(|input| input.node());
    let (output, saved) = kernel.forward(inputs.map(|input| contiguous(input.into_primitive())));
    let output = match Node(kernel).prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(node) => node.finish(saved, output),
        OpsKind::UnTracked(node) => node.finish(output),
    };
    Tensor::from_primitive::<Autodiff<Flex>>(output)
}

/// The plain tensor of an input that [`fits`].
fn plain_input<const D: usize>(tensor: Tensor<D>) -> FlexTensor {
    tensor.try_into_primitive::<Flex>().expect("a plain tensor on the CPU")
}

/// The tracked tensor of an input that [`fits`]; a plain one counts as a constant.
fn tracked_input<const D: usize>(tensor: Tensor<D>) -> FloatTensor<Autodiff<Flex>> {
    tensor.autodiff().try_into_primitive::<Autodiff<Flex>>().expect("a tracked tensor on the CPU")
}

/// The tensor itself, or a copy where it is a view.
fn contiguous(tensor: FlexTensor) -> FlexTensor {
    let len = tensor.layout().shape().num_elements();
    if tensor.layout().contiguous_offsets() == Some((0, len)) && tensor.storage::<f32>().len() == len {
        tensor
    } else {
        tensor.to_contiguous()
    }
}

/// A tensor of these values.
fn tensor(values: Vec<f32>, shape: Shape) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(shape), DType::F32)
}

/// A tensor of the shape of `like`, whose rows are made by `work` as [`lanes::for_rows`] calls it.
pub(super) fn made_by_rows(like: &FlexTensor, work: impl Fn(usize, &mut [f32]) + Sync) -> FlexTensor {
    let (_, width) = rows(like);
    let mut out = vec![0.0; like.storage::<f32>().len()];
    lanes::for_rows(&mut out, width, width, work);
    tensor(out, like.layout().shape().clone())
}

/// The last dimension's size and the number of rows of that size.
fn rows(tensor: &FlexTensor) -> (usize, usize) {
    let shape = tensor.layout().shape();
    let width = shape[shape.num_dims() - 1];
    (shape.num_elements() / width.max(1), width)
}

#[cfg(test)]
mod testing {
    use burn::tensor::{Device, Tensor, TensorData};
    use pulp::{NullaryFnOnce, Simd, WithSimd};
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// Does `work` with vectors of this width.
    pub(super) fn of_width<S: Simd, W: WithSimd>(simd: S, work: W) -> W::Output {
        struct Vectorised<S, W>(S, W);

        impl<S: Simd, W: WithSimd> NullaryFnOnce for Vectorised<S, W> {
            type Output = W::Output;

            #[inline(always)]
            fn call(self) -> W::Output {
                self.1.with_simd(self.0)
            }
        }

        simd.vectorize(Vectorised(simd, work))
    }

    /// Uniform values within ±`most`.
    pub(super) fn values(count: usize, most: f32, seed: u64) -> Vec<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        (0..count).map(|_| rng.random_range(-most..most)).collect()
    }

    pub(super) fn leaf<const D: usize>(shape: [usize; D], most: f32, seed: u64) -> Tensor<D> {
        let values = values(shape.iter().product(), most, seed);
        Tensor::from_data(TensorData::new(values, shape), &Device::flex().autodiff()).require_grad()
    }

    #[track_caller]
    pub(super) fn close<const D: usize>(found: Tensor<D>, wanted: Tensor<D>, tolerance: f32) {
        assert_eq!(found.dims(), wanted.dims());
        let [found, wanted] = [found, wanted].map(|tensor| tensor.inner().into_data().try_into_vec::<f32>().unwrap());
        let scale = wanted.iter().fold(1.0f32, |most, value| most.max(value.abs()));
        for (i, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
            assert!((found - wanted).abs() <= tolerance * scale, "value {i}: {found}, not {wanted}");
        }
    }
}
