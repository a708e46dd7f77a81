//! The product by a frozen weight, which lies in panels.

use super::tiles::{Multiply, WIDTH, height, lay};
use super::{Kernel, contiguous, fits, plain_input, rows, tensor, tracked, tracked_input};
use burn::backend::Flex;
use burn::backend::flex::{FlexTensor, Layout};
use burn::tensor::{Bytes, DType, Shape, Tensor};
use pulp::Arch;
use rayon::prelude::*;

/// Rows that one task takes where each multiplies by the whole matrix.
const ROWS: usize = 48;
/// Multiplications that one task takes at least; a row's worth more of them counts for reading the matrix.
const WORK: usize = 1 << 19;
const READING: usize = 16;

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
    #[cfg(test)]
    pub(in super::super) fn of(matrix: Tensor<2>) -> Self {
        let [depth, columns] = matrix.dims();
        let matrix = matrix.try_into_vec_as::<f32>().unwrap();
        let mut values = vec![0.0f32; Self::len(depth, columns)];
        for (place, value) in matrix.into_iter().enumerate() {
            let (row, column) = (place / columns, place % columns);
            values[(column / WIDTH * depth + row) * WIDTH + column % WIDTH] = value;
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
        let add = onto.is_some();
        let mut out = onto.unwrap_or_else(|| tensor(vec![0.0; count * columns], Shape::new([count, columns])));
        let (x, panels) = (x.storage::<f32>(), self.values.storage::<f32>());
        let task = Task { arch: Arch::new(), x, depth, panels, columns, add, relu };
        task.run(out.storage_mut::<f32>());
        out
    }

    /// `g wᵀ`: `[rows, d_out] -> [rows, d_in]`.
    fn multiply_transposed(&self, g: &FlexTensor) -> FlexTensor {
        let ((count, columns), depth) = (rows(g), self.depth);
        let (g, values) = (g.storage::<f32>(), self.values.storage::<f32>());
        let arch = Arch::new();
        let mut laid = Vec::new();
        lay(|row| &g[row * columns..(row + 1) * columns], count, columns, height(arch), &mut laid);
        // a panel of the transpose for each block of inputs, made where it is used
        let mut out = vec![0.0; Self::len(count, depth)];
        let blocks = out.par_chunks_mut((count * WIDTH).max(1)).enumerate();
        blocks.for_each_init(Vec::new, |panel, (block, out)| {
            self.transposed_panel(values, block * WIDTH, panel);
            let (laid, stride) = (laid.as_slice(), WIDTH);
            let multiply = Multiply {
                laid,
                rows: count,
                depth: columns,
                panels: panel,
                columns: WIDTH,
                out,
                stride,
                add: false,
                relu: false,
            };
            arch.dispatch(multiply);
        });
        tensor(side_by_side(&out, count, depth), Shape::new([count, depth]))
    }

    /// The inputs `first..first + WIDTH` as columns: `[d_out, WIDTH]`.
    fn transposed_panel(&self, values: &[f32], first: usize, panel: &mut Vec<f32>) {
        let inputs = WIDTH.min(self.depth - first);
        panel.resize(self.columns * WIDTH, 0.0);
        let panels = values.chunks_exact(self.depth * WIDTH).zip(panel.chunks_mut(WIDTH * WIDTH));
        for (from, to) in panels {
            let (lines, _) = from[first * WIDTH..(first + inputs) * WIDTH].as_chunks::<WIDTH>();
            let (to, _) = to.as_chunks_mut::<WIDTH>();
            for (column, to) in to.iter_mut().enumerate() {
                for (line, to) in lines.iter().zip(to.iter_mut()) {
                    *to = line[column];
                }
                to[inputs..].fill(0.0);
            }
        }
    }
}

/// The outputs of several panels `[panels, rows, WIDTH] -> [rows, columns]`.
fn side_by_side(blocks: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut out = vec![0.0; rows * columns];
    lay_side_by_side(blocks, rows, columns, &mut out);
    out
}

fn lay_side_by_side(blocks: &[f32], rows: usize, columns: usize, out: &mut [f32]) {
    for (row, out) in out.chunks_exact_mut(columns).enumerate() {
        for (panel, out) in out.chunks_mut(WIDTH).enumerate() {
            out.copy_from_slice(&blocks[(panel * rows + row) * WIDTH..][..out.len()]);
        }
    }
}

/// One product by all threads.
struct Task<'a> {
    arch: Arch,
    x: &'a [f32],
    depth: usize,
    panels: &'a [f32],
    columns: usize,
    add: bool,
    relu: bool,
}

impl Task<'_> {
    /// Many rows are parted among the threads, of few the panels are.
    fn run(&self, out: &mut [f32]) {
        let rows = self.x.len() / self.depth;
        if rows == 0 {
            return;
        }
        if rows >= ROWS / 2 * rayon::current_num_threads() {
            self.by_rows(out);
        } else {
            self.by_panels(rows, out);
        }
    }

    fn by_rows(&self, out: &mut [f32]) {
        let parts = out.par_chunks_mut(ROWS * self.columns).zip(self.x.par_chunks(ROWS * self.depth));
        parts.for_each_init(Vec::new, |laid, (out, x)| {
            let rows = x.len() / self.depth;
            self.lay(x, rows, laid);
            self.part(laid, rows, self.panels, self.columns, out, self.columns);
        });
    }

    fn by_panels(&self, rows: usize, out: &mut [f32]) {
        let size = self.depth * WIDTH; // of a panel
        let least = (WORK / ((rows + READING) * size)).max(1);
        if rows == 1 {
            let parts = out.par_chunks_mut(least * WIDTH).zip(self.panels.par_chunks(least * size));
            return parts.for_each(|(out, panels)| self.part(self.x, 1, panels, out.len(), out, 0));
        }
        let mut laid = Vec::new();
        self.lay(self.x, rows, &mut laid);
        let mut blocks = vec![0.0; self.columns.div_ceil(WIDTH) * rows * WIDTH];
        let parts = blocks.par_chunks_mut(rows * WIDTH).zip(self.panels.par_chunks(size)).enumerate();
        let out_of = &*out;
        parts.with_min_len(least).for_each(|(at, (block, panel))| {
            if self.add {
                for (block, row) in block.chunks_exact_mut(WIDTH).zip(out_of.chunks_exact(self.columns)) {
                    let row = &row[at * WIDTH..self.columns.min((at + 1) * WIDTH)];
                    block[..row.len()].copy_from_slice(row);
                }
            }
            self.part(&laid, rows, panel, WIDTH, block, WIDTH);
        });
        lay_side_by_side(&blocks, rows, self.columns, out);
    }

    fn lay(&self, x: &[f32], rows: usize, laid: &mut Vec<f32>) {
        let depth = self.depth;
        lay(|row| &x[row * depth..(row + 1) * depth], rows, depth, height(self.arch), laid);
    }

    fn part(&self, laid: &[f32], rows: usize, panels: &[f32], columns: usize, out: &mut [f32], stride: usize) {
        let Self { arch, depth, add, relu, .. } = *self;
        arch.dispatch(Multiply { laid, rows, depth, panels, columns, out, stride, add, relu });
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
        for [count, depth, columns] in
            [[1, 5, 7], [1, 512, 96], [3, 40, 33], [16, 600, 64], [47, 64, 100], [200, 33, 65]]
        {
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
