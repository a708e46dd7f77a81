//! The product by the transpose of a matrix in panels, which takes gradients back through it.

use super::parted::lay_side_by_side;
use super::tiles::{Multiply, WIDTH, fetch_ahead, height, lay};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Rows up to which the matrix is taken as it lies: to turn it takes longer than to multiply so few by it. A tenth of a
/// step is won by it at 12 rows, and lost at 32.
const FEW: usize = 16;

/// Rows that go side by side.
const TOGETHER: usize = 4;

/// Lines that one task takes.
const BLOCK: usize = 32;

/// Terms that are added up side by side, on every processor.
const LANES: usize = 16;

/// Panels that lines are fetched ahead by where there are more; else the next lines of each panel are.
const PANELS_AHEAD: usize = 16;

/// A matrix `[depth, columns]` in panels `[panels, depth, WIDTH]`, of which the last is filled up with zeros.
#[derive(Debug, Clone, Copy)]
pub(super) struct Transposed<'a> {
    pub(super) values: &'a [f32],
    pub(super) depth: usize,
    pub(super) columns: usize,
}

impl Transposed<'_> {
    /// `g wᵀ`: `[rows, columns] -> [rows, depth]`.
    pub(super) fn multiply(self, g: &[f32], rows: usize) -> Vec<f32> {
        if rows <= FEW { self.by_lines(g, rows) } else { self.by_panels(g, rows) }
    }

    /// Each output is the product of a row and a line of the matrix, whose terms are added up in lanes.
    fn by_lines(self, g: &[f32], rows: usize) -> Vec<f32> {
        let Self { depth, columns, .. } = self;
        // rows of zeros make them as many as go side by side, and zeros behind a row the width of the panels
        let (width, height) = (columns.div_ceil(WIDTH) * WIDTH, rows.max(1).next_multiple_of(TOGETHER));
        let mut filled = vec![0.0; height * width];
        for (from, to) in g.chunks_exact(columns).zip(filled.chunks_exact_mut(width)) {
            to[..columns].copy_from_slice(from);
        }
        let filled: Vec<_> = filled.chunks_exact(width).map(|row| row.as_chunks::<WIDTH>().0).collect();
        let (filled, _) = filled.as_chunks::<TOGETHER>();
        let arch = Arch::new();
        let mut by_line = vec![0.0; depth * height];
        let blocks = by_line.par_chunks_mut(BLOCK * height).enumerate();
        blocks.for_each(|(block, out)| arch.dispatch(Lines { matrix: self, first: block * BLOCK, rows: filled, out }));
        let mut out = vec![0.0; rows * depth];
        for (line, values) in by_line.chunks_exact(height).enumerate() {
            values[..rows].iter().enumerate().for_each(|(row, value)| out[row * depth + line] = *value);
        }
        out
    }

    /// A panel of the transpose for each block of lines, made where it is used.
    fn by_panels(self, g: &[f32], rows: usize) -> Vec<f32> {
        let Self { depth, columns, .. } = self;
        let arch = Arch::new();
        let mut laid = Vec::new();
        lay(|row| &g[row * columns..(row + 1) * columns], rows, columns, height(arch), &mut laid);
        let mut out = vec![0.0; depth.div_ceil(WIDTH) * WIDTH * rows];
        let blocks = out.par_chunks_mut((rows * WIDTH).max(1)).enumerate();
        blocks.for_each_init(Vec::new, |panel, (block, out)| {
            self.panel(block * WIDTH, panel);
            let (laid, stride) = (laid.as_slice(), WIDTH);
            let multiply = Multiply {
                laid,
                rows,
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
        let mut whole = vec![0.0; rows * depth];
        lay_side_by_side(&out, rows, depth, &mut whole);
        whole
    }

    /// The lines `first..first + WIDTH` as columns: `[columns, WIDTH]`.
    fn panel(self, first: usize, panel: &mut Vec<f32>) {
        let lines = WIDTH.min(self.depth - first);
        panel.resize(self.columns * WIDTH, 0.0);
        let panels = self.values.chunks_exact(self.depth * WIDTH).zip(panel.chunks_mut(WIDTH * WIDTH));
        for (from, to) in panels {
            let (from, _) = from[first * WIDTH..(first + lines) * WIDTH].as_chunks::<WIDTH>();
            let (to, _) = to.as_chunks_mut::<WIDTH>();
            for (column, to) in to.iter_mut().enumerate() {
                for (line, to) in from.iter().zip(to.iter_mut()) {
                    *to = line[column];
                }
                to[lines..].fill(0.0);
            }
        }
    }
}

/// The products of rows, filled up with zeros, and lines of a matrix from `first` on: `out` is `[lines, rows]`.
struct Lines<'a> {
    matrix: Transposed<'a>,
    first: usize,
    rows: &'a [[&'a [[f32; WIDTH]]; TOGETHER]],
    out: &'a mut [f32],
}

impl WithSimd for Lines<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // as many lines as leave no sum without a register
        match S::F32_LANES {
            16 => self.blocks::<S, 4, 1>(simd),
            8 => self.blocks::<S, 1, 2>(simd),
            4 => self.blocks::<S, 1, 4>(simd),
            _ => self.blocks::<S, 1, LANES>(simd),
        }
    }
}

impl Lines<'_> {
    /// By blocks of `L` lines, with `V` vectors of lanes.
    #[inline(always)]
    fn blocks<S: Simd, const L: usize, const V: usize>(self, simd: S) {
        let height = self.rows.len() * TOGETHER;
        for (at, out) in self.out.chunks_mut(L * height).enumerate() {
            let (first, lines) = (self.first + at * L, out.len() / height);
            for (group, rows) in self.rows.iter().enumerate() {
                if lines == L {
                    let found = dots::<S, L, V>(simd, self.matrix, first, rows);
                    for (line, found) in found.iter().enumerate() {
                        out[line * height + group * TOGETHER..][..TOGETHER].copy_from_slice(found);
                    }
                } else {
                    for line in 0..lines {
                        let [found] = dots::<S, 1, V>(simd, self.matrix, first + line, rows);
                        out[line * height + group * TOGETHER..][..TOGETHER].copy_from_slice(&found);
                    }
                }
            }
        }
    }
}

/// Products of `L` lines from `first` on and of these rows.
#[inline(always)]
fn dots<S: Simd, const L: usize, const V: usize>(
    simd: S,
    Transposed { values, depth, .. }: Transposed,
    first: usize,
    rows: &[&[[f32; WIDTH]]; TOGETHER],
) -> [[f32; TOGETHER]; L] {
    let mut held = [[[simd.splat_f32s(0.0); V]; TOGETHER]; L];
    // each panel has its lines in another page, which the processor does not fetch from by itself
    let ahead = if rows[0].len() > 2 * PANELS_AHEAD { PANELS_AHEAD * depth * WIDTH } else { L * WIDTH };
    for (at, panel) in values.chunks_exact(depth * WIDTH).enumerate() {
        let lines = &panel[first * WIDTH..(first + L) * WIDTH];
        fetch_ahead(lines, ahead);
        let rows = [&rows[0][at], &rows[1][at], &rows[2][at], &rows[3][at]];
        for part in (0..WIDTH).step_by(LANES) {
            for l in 0..L {
                let (line, _) = S::as_simd_f32s(&lines[l * WIDTH + part..][..LANES]);
                let mut terms = [simd.splat_f32s(0.0); V];
                terms.copy_from_slice(&line[..V]);
                for r in 0..TOGETHER {
                    let (row, _) = S::as_simd_f32s(&rows[r][part..][..LANES]);
                    for v in 0..V {
                        held[l][r][v] = simd.mul_add_e_f32s(terms[v], row[v], held[l][r][v]);
                    }
                }
            }
        }
    }
    let mut found = [[0.0; TOGETHER]; L];
    for l in 0..L {
        for r in 0..TOGETHER {
            let mut lanes = [0.0; LANES];
            S::as_mut_simd_f32s(&mut lanes).0.copy_from_slice(&held[l][r]);
            for lane in lanes {
                found[l][r] += lane;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::testing::{of_width, values};
    use super::*;

    /// What this vector width makes of whole groups of rows.
    fn by_lines<S: Simd>(simd: S, matrix: Transposed, g: &[f32], rows: usize) -> Vec<f32> {
        let each: Vec<_> = g.chunks_exact(g.len() / rows).map(|row| row.as_chunks::<WIDTH>().0).collect();
        let mut out = vec![0.0; matrix.depth * rows];
        of_width(simd, Lines { matrix, first: 0, rows: each.as_chunks().0, out: &mut out });
        out
    }

    #[test]
    fn every_vector_width_multiplies() {
        for [rows, depth, columns] in [[4, 1, 32], [8, 7, 64], [12, 66, 96], [4, 9, 40 * WIDTH]] {
            let (g, values) = (values(rows * columns, 1.0, 1), values(depth * columns, 1.0, 2));
            let matrix = Transposed { values: &values, depth, columns };
            // multiplies and adds in two steps, the others in one
            let plainly = by_lines(pulp::Scalar, matrix, &g, rows);
            let wanted = by_lines(pulp::Scalar128b, matrix, &g, rows);
            for line in 0..depth {
                for row in 0..rows {
                    let weight = |column: usize| values[(column / WIDTH * depth + line) * WIDTH + column % WIDTH];
                    let sum: f32 = (0..columns).map(|column| g[row * columns + column] * weight(column)).sum();
                    for found in [&plainly, &wanted] {
                        assert!((found[line * rows + row] - sum).abs() <= 1e-6 * columns as f32, "{line} {row}");
                    }
                }
            }
            #[cfg(target_arch = "x86_64")]
            {
                if let Some(simd) = pulp::x86::V3::try_new() {
                    assert_eq!(by_lines(simd, matrix, &g, rows), wanted, "AVX2, {rows} rows, {depth} lines");
                }
                if let Some(simd) = pulp::x86::V4::try_new() {
                    assert_eq!(by_lines(simd, matrix, &g, rows), wanted, "AVX-512, {rows} rows, {depth} lines");
                }
            }
        }
    }
}
