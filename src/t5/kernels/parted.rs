//! A product by all threads: of many rows each thread takes some by the whole matrix, of few each takes some of its columns.

use super::tiles::WIDTH;
use rayon::prelude::*;
use std::ops::Range;

/// Rows that one task takes at most where each multiplies by the whole matrix.
const ROWS: usize = 96;
/// Multiplications that one task takes at least; a row's worth more of them counts for reading the matrix.
const WORK: usize = 1 << 19;
const READING: usize = 16;
/// Values that one task copies at least.
const COPIED: usize = 1 << 16;

/// What becomes of a product `y`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Then {
    /// Whether it is added to what stands in the output.
    pub(super) add: bool,
    /// Whether `max(y, 0)` is taken at the end.
    pub(super) relu: bool,
}

/// A matrix `[depth, columns]` in panels of [`WIDTH`] columns.
pub(super) trait Matrix: Sync {
    /// Rows as the product wants them.
    type Laid: Default + Send + Sync;

    fn depth(&self) -> usize;

    fn columns(&self) -> usize;

    /// Lays `rows` rows of `depth` values out.
    fn lay(&self, x: &[f32], rows: usize, laid: &mut Self::Laid);

    /// Multiplies by these panels; `out` holds rows of `columns` values, `stride` apart. The last panel of the matrix may be
    /// asked for whole.
    fn multiply(
        &self,
        laid: &Self::Laid,
        rows: usize,
        panels: Range<usize>,
        out: &mut [f32],
        at: (usize, usize),
        then: Then,
    );
}

/// `x [rows, depth]` by the matrix into `out [rows, columns]`.
pub(super) fn product<M: Matrix>(matrix: &M, x: &[f32], out: &mut [f32], then: Then) {
    let rows = x.len() / matrix.depth();
    if rows == 0 {
        return;
    }
    if rows >= ROWS / 2 * rayon::current_num_threads() {
        by_rows(matrix, x, out, then);
    } else {
        by_panels(matrix, x, rows, out, then);
    }
}

fn by_rows<M: Matrix>(matrix: &M, x: &[f32], out: &mut [f32], then: Then) {
    let (depth, columns) = (matrix.depth(), matrix.columns());
    let rows = rows_a_task(x.len() / depth, rayon::current_num_threads());
    let parts = out.par_chunks_mut(rows * columns).zip(x.par_chunks(rows * depth));
    parts.for_each_init(M::Laid::default, |laid, (out, x)| {
        let rows = x.len() / depth;
        matrix.lay(x, rows, laid);
        matrix.multiply(laid, rows, 0..columns.div_ceil(WIDTH), out, (columns, columns), then);
    });
}

/// As many tasks for each thread as for any other, all of about as many rows: 100 rows for two threads are no 96 and 4.
fn rows_a_task(rows: usize, threads: usize) -> usize {
    rows.div_ceil(rows.div_ceil(ROWS).next_multiple_of(threads))
}

fn by_panels<M: Matrix>(matrix: &M, x: &[f32], rows: usize, out: &mut [f32], then: Then) {
    let columns = matrix.columns();
    let least = (WORK / ((rows + READING) * matrix.depth() * WIDTH)).max(1);
    let mut laid = M::Laid::default();
    matrix.lay(x, rows, &mut laid);
    if rows == 1 {
        let parts = out.par_chunks_mut(least * WIDTH).enumerate();
        return parts.for_each(|(part, out)| {
            let (first, columns) = (part * least, out.len());
            matrix.multiply(&laid, 1, first..first + columns.div_ceil(WIDTH), out, (columns, columns), then);
        });
    }
    let mut blocks = vec![0.0; columns.div_ceil(WIDTH) * rows * WIDTH];
    let before = &*out;
    let parts = blocks.par_chunks_mut(rows * WIDTH).enumerate().with_min_len(least);
    parts.for_each(|(panel, block)| {
        if then.add {
            for (block, row) in block.chunks_exact_mut(WIDTH).zip(before.chunks_exact(columns)) {
                let row = &row[panel * WIDTH..columns.min((panel + 1) * WIDTH)];
                block[..row.len()].copy_from_slice(row);
            }
        }
        matrix.multiply(&laid, rows, panel..panel + 1, block, (WIDTH, WIDTH), then);
    });
    lay_side_by_side(&blocks, rows, columns, out);
}

/// The outputs of several panels, `[panels, rows, WIDTH]`, as `[rows, columns]`.
pub(super) fn lay_side_by_side(blocks: &[f32], rows: usize, columns: usize, out: &mut [f32]) {
    let least = (COPIED / columns).max(1);
    out.par_chunks_exact_mut(columns).enumerate().with_min_len(least).for_each(|(row, out)| {
        for (panel, out) in out.chunks_mut(WIDTH).enumerate() {
            out.copy_from_slice(&blocks[(panel * rows + row) * WIDTH..][..out.len()]);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_take_as_many_rows() {
        let check =
            |rows, threads, wanted| assert_eq!(rows_a_task(rows, threads), wanted, "{rows} rows, {threads} threads");
        check(64, 2, 32);
        check(96, 2, 48);
        check(97, 2, 49);
        check(1024, 2, 86);
        check(1024, 1, 94);
        check(24, 1, 24);
        check(100, 4, 25);
    }
}
