//! The product by a frozen weight, which lies in panels.

use super::parted::{Matrix, Then, product};
use super::tiles::{Multiply, WIDTH, height, lay};
use super::transposed::Transposed;
use super::{Kernel, contiguous, fits, plain_input, rows, tensor, tracked, tracked_input};
use burn::backend::Flex;
use burn::backend::flex::{FlexTensor, Layout};
use burn::tensor::{Bytes, DType, Shape, Tensor};
use pulp::Arch;
use std::ops::Range;

/// A matrix `[d_in, d_out]` on the CPU, `[panels, d_in, WIDTH]`: the columns of a panel lie side by side, so that a product of
/// few rows reads memory in its order. The last panel is filled up with zeros.
#[derive(Debug, Clone)]
pub(in super::super) struct Panels {
    values: FlexTensor,
    depth: usize,
    columns: usize,
}

impl Panels {
    /// Values that a matrix takes.
    pub(in super::super) fn len(depth: usize, columns: usize) -> usize {
        columns.div_ceil(WIDTH) * WIDTH * depth
    }

    /// Columns of a panel.
    pub(in super::super) const WIDTH: usize = WIDTH;

    /// A matrix `[depth, columns]` whose panels are these values of f32.
    pub(in super::super) fn new(values: Bytes, depth: usize, columns: usize) -> Self {
        let shape = Shape::new([columns.div_ceil(WIDTH), depth, WIDTH]);
        debug_assert_eq!(values.len(), shape.num_elements() * size_of::<f32>());
        Self { values: FlexTensor::new(values, Layout::contiguous(shape), DType::F32), depth, columns }
    }

    /// The panels of a plain matrix.
    pub(in super::super) fn of(matrix: Tensor<2>) -> Self {
        let [depth, columns] = matrix.dims();
        let matrix = contiguous(plain_input(matrix));
        let mut values = vec![0.0; Self::len(depth, columns)];
        for (row, line) in matrix.storage::<f32>().chunks_exact(columns).enumerate() {
            for (panel, part) in line.chunks(WIDTH).enumerate() {
                values[(panel * depth + row) * WIDTH..][..part.len()].copy_from_slice(part);
            }
        }
        Self::new(Bytes::from_elems(values), depth, columns)
    }

    /// Columns of the matrix.
    pub(in super::super) fn columns(&self) -> usize {
        self.columns
    }

    /// `x w`: `x [rows, d_in] -> [rows, d_out]`, tracked or not.
    pub(in super::super) fn product(&self, x: Tensor<2>) -> Tensor<2> {
        debug_assert!(fits(&x));
        if x.is_autodiff() {
            return tracked(Product(self.clone()), [tracked_input(x)]);
        }
        self.apply(x, None, false)
    }

    /// `max(x w, 0)` of a plain tensor.
    pub(in super::super) fn product_relu(&self, x: Tensor<2>) -> Tensor<2> {
        self.apply(x, None, true)
    }

    /// `y + x w` of plain tensors.
    pub(in super::super) fn product_onto(&self, y: Tensor<2>, x: Tensor<2>) -> Tensor<2> {
        self.apply(x, Some(y), false)
    }

    fn apply(&self, x: Tensor<2>, onto: Option<Tensor<2>>, relu: bool) -> Tensor<2> {
        let onto = onto.map(|y| contiguous(plain_input(y)));
        Tensor::from_primitive::<Flex>(self.multiply(&contiguous(plain_input(x)), onto, relu))
    }

    fn multiply(&self, x: &FlexTensor, onto: Option<FlexTensor>, relu: bool) -> FlexTensor {
        let ((count, depth), columns) = (rows(x), self.columns);
        debug_assert_eq!(depth, self.depth);
        let then = Then { add: onto.is_some(), relu };
        let mut out = onto.unwrap_or_else(|| tensor(vec![0.0; count * columns], Shape::new([count, columns])));
        let matrix = Values { arch: Arch::new(), values: self.values.storage::<f32>(), depth, columns };
        product(&matrix, x.storage::<f32>(), out.storage_mut::<f32>(), then);
        out
    }

    /// `g wᵀ`: `[rows, d_out] -> [rows, d_in]`.
    fn multiply_transposed(&self, g: &FlexTensor) -> FlexTensor {
        let Self { values, depth, columns } = self;
        let (count, matrix) = (rows(g).0, Transposed { values: values.storage(), depth: *depth, columns: *columns });
        tensor(matrix.multiply(g.storage(), count), Shape::new([count, *depth]))
    }
}

/// The panels while they are multiplied by.
struct Values<'a> {
    arch: Arch,
    values: &'a [f32],
    depth: usize,
    columns: usize,
}

impl Matrix for Values<'_> {
    type Laid = Vec<f32>;

    fn depth(&self) -> usize {
        self.depth
    }

    fn columns(&self) -> usize {
        self.columns
    }

    fn lay(&self, x: &[f32], rows: usize, laid: &mut Vec<f32>) {
        let depth = self.depth;
        lay(|row| &x[row * depth..(row + 1) * depth], rows, depth, height(self.arch), laid);
    }

    fn multiply(
        &self,
        laid: &Vec<f32>,
        rows: usize,
        panels: Range<usize>,
        out: &mut [f32],
        (columns, stride): (usize, usize),
        Then { add, relu }: Then,
    ) {
        let (depth, size) = (self.depth, self.depth * WIDTH);
        let panels = &self.values[panels.start * size..panels.end * size];
        self.arch.dispatch(Multiply { laid, rows, depth, panels, columns, out, stride, add, relu });
    }
}

/// The product as a node of the graph, in which the weight is a constant.
#[derive(Debug)]
struct Product(Panels);

impl Kernel<1> for Product {
    type Saved = ();

    fn forward(&self, [x]: [FlexTensor; 1]) -> (FlexTensor, ()) {
        (self.0.multiply(&x, None, false), ())
    }

    fn backward(&self, (): (), gradient: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
        [Some(self.0.multiply_transposed(&gradient))]
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{close, leaf};
    use super::*;

    /// Against burn's product, in both ways of parting the work and with what is fused.
    #[test]
    fn it_is_its_twin() {
        for [count, depth, columns] in [
            [1, 5, 7],
            [1, 512, 96],
            [3, 40, 33],
            [16, 600, 64],
            [47, 66, 100],
            [64, 50, 70],
            [65, 70, 40],
            [200, 33, 65],
        ] {
            let (x, y) = (leaf([count, depth], 1.0, 1), leaf([count, columns], 1.0, 2).inner());
            let w = leaf([depth, columns], 1.0, 3).inner();
            let panels = Panels::of(w.clone());
            let plain = x.clone().inner();
            let wanted = plain.clone().matmul(w.clone());
            close(panels.product(plain.clone()), wanted.clone(), 1e-6);
            close(panels.product_relu(plain.clone()), wanted.clone().clamp_min(0.0), 1e-6);
            close(panels.product_onto(y.clone(), plain), y.clone() + wanted.clone(), 1e-6);
            let gradient = |z: Tensor<2>| x.grad(&(z * y.clone()).sum().backward()).unwrap();
            let tracked = panels.product(x.clone());
            close(tracked.clone().inner(), wanted, 1e-6);
            close(gradient(tracked), gradient(x.clone().matmul(w)), 2e-6);
        }
    }

    /// So a delta that changes nothing, for which the product is not fused, changes no bit.
    #[test]
    fn fused_products_have_the_bits_of_their_steps() {
        for [count, depth, columns] in [[1, 40, 33], [5, 1100, 64], [90, 600, 70]] {
            let (x, y) = (leaf([count, depth], 1.0, 1).inner(), leaf([count, columns], 1.0, 2).inner());
            let panels = Panels::of(leaf([depth, columns], 1.0, 3).inner());
            let product = panels.product(x.clone());
            let added = panels.product_onto(y.clone(), x.clone());
            assert_eq!(added.into_data(), (y + product.clone()).into_data());
            assert_eq!(panels.product_relu(x).into_data(), product.clamp_min(0.0).into_data());
        }
    }

    #[test]
    fn a_row_has_the_same_bits_in_every_batch() {
        let (depth, columns) = (700, 75);
        let x = leaf([200, depth], 1.0, 1).inner();
        let panels = Panels::of(leaf([depth, columns], 1.0, 2).inner());
        let all = panels.product(x.clone()).into_data().try_into_vec::<f32>().unwrap();
        for (first, count) in [(0, 1), (7, 2), (100, 13), (150, 31)] {
            let some = panels.product(x.clone().narrow(0, first, count)).into_data().try_into_vec::<f32>().unwrap();
            assert_eq!(some, all[first * columns..(first + count) * columns], "{first} {count}");
        }
    }
}
