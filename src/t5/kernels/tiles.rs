//! Products of few rows by panels of columns, a tile of outputs at a time in the processor's registers.
//!
//! Every output is one sum in the order of the inputs, whatever stands beside it. So a row's product has the same bits alone
//! and in any batch.

use pulp::{Arch, Simd, WithSimd};

/// Columns of a panel.
pub(super) const WIDTH: usize = 32;
/// Rows of the largest tile: with two vectors of AVX-512 a row, the sums take 24 of 32 registers.
const HEIGHT: usize = 12;
/// Inputs that are taken at a time: a panel's part of so many stays in the second-level cache.
const DEPTH: usize = 512;
/// Values by which memory that is read in its order is fetched ahead.
pub(super) const AHEAD: usize = 512;

/// Calls a function of a constant number of rows.
macro_rules! by_rows {
    ($rows:expr, $call:ident, $($argument:expr),*) => {
        match $rows {
            1 => $call::<1>($($argument),*),
            2 => $call::<2>($($argument),*),
            3 => $call::<3>($($argument),*),
            4 => $call::<4>($($argument),*),
            5 => $call::<5>($($argument),*),
            6 => $call::<6>($($argument),*),
            7 => $call::<7>($($argument),*),
            8 => $call::<8>($($argument),*),
            9 => $call::<9>($($argument),*),
            10 => $call::<10>($($argument),*),
            11 => $call::<11>($($argument),*),
            12 => $call::<HEIGHT>($($argument),*),
            _ => unreachable!("a tile has 1 to {HEIGHT} rows"),
        }
    };
}

/// Rows of the largest tile on this processor.
pub(super) fn height(arch: Arch) -> usize {
    struct Height;
    impl WithSimd for Height {
        type Output = usize;

        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            height_of::<S>()
        }
    }
    arch.dispatch(Height)
}

#[inline(always)]
fn height_of<S: Simd>() -> usize {
    if S::F32_LANES == 16 { HEIGHT } else { HEIGHT / 2 }
}

/// Lays `rows` rows of `depth` values out by tiles of `height`: within a tile the values of one input lie side by side.
pub(super) fn lay<'a>(row: impl Fn(usize) -> &'a [f32], rows: usize, depth: usize, height: usize, laid: &mut Vec<f32>) {
    laid.resize(rows * depth, 0.0);
    for (tile, laid) in laid.chunks_mut(height * depth).enumerate() {
        let first = tile * height;
        by_rows!(laid.len() / depth, lay_tile, |at| row(first + at), laid);
    }
}

fn lay_tile<'a, const R: usize>(row: impl Fn(usize) -> &'a [f32], laid: &mut [f32]) {
    let (laid, _) = laid.as_chunks_mut::<R>();
    let rows: [&[f32]; R] = std::array::from_fn(|r| &row(r)[..laid.len()]);
    for (at, values) in laid.iter_mut().enumerate() {
        for r in 0..R {
            values[r] = rows[r][at];
        }
    }
}

/// `out = f(x w + out₀)` for rows laid out by [`lay`] and a matrix in panels `[panels, depth, WIDTH]`.
#[derive(Debug)]
pub(super) struct Multiply<'a> {
    /// The rows.
    pub(super) laid: &'a [f32],
    /// How many they are.
    pub(super) rows: usize,
    /// Inputs of each.
    pub(super) depth: usize,
    /// The matrix.
    pub(super) panels: &'a [f32],
    /// Columns of the matrix; the last panel may hold more.
    pub(super) columns: usize,
    /// Row after row, `stride` apart.
    pub(super) out: &'a mut [f32],
    pub(super) stride: usize,
    /// Whether `out₀` is what stands in `out`; else it is 0.
    pub(super) add: bool,
    /// Whether `f` is `max(x, 0)`.
    pub(super) relu: bool,
}

impl WithSimd for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Multiply { laid, rows, depth, panels, columns, out, stride, add, relu } = self;
        // the sums of a panel's rows, which stay between parts of its depth; a tile's are enough where there is but one
        let (mut of_tile, mut of_panel) = ([[0.0; WIDTH]; HEIGHT], Vec::new());
        let sums = if depth > DEPTH {
            of_panel.resize(rows, [0.0; WIDTH]);
            &mut of_panel[..]
        } else {
            &mut of_tile[..]
        };
        for (at, panel) in panels.chunks_exact(depth * WIDTH).enumerate() {
            let width = WIDTH.min(columns - at * WIDTH);
            let (panel, _) = panel.as_chunks::<WIDTH>();
            for first in (0..depth).step_by(DEPTH) {
                let end = depth.min(first + DEPTH);
                let (begins, ends) = (first == 0, end == depth);
                for row in (0..rows).step_by(height_of::<S>()) {
                    let height = height_of::<S>().min(rows - row);
                    let part = &laid[row * depth + first * height..row * depth + end * height];
                    let place = Place { stride, width, add, relu, begins, ends };
                    let out = &mut out[row * stride + at * WIDTH..];
                    let held = if depth > DEPTH { row } else { 0 };
                    tile(simd, part, &panel[first..end], &mut sums[held..held + height], out, place);
                }
            }
        }
    }
}

/// Where a tile's outputs stand and what becomes of them.
#[derive(Debug, Clone, Copy)]
struct Place {
    stride: usize,
    width: usize,
    add: bool,
    relu: bool,
    /// Whether the sums begin here.
    begins: bool,
    /// Whether they are complete then.
    ends: bool,
}

#[inline(always)]
fn tile<S: Simd>(
    simd: S,
    laid: &[f32],
    panel: &[[f32; WIDTH]],
    sums: &mut [[f32; WIDTH]],
    out: &mut [f32],
    place: Place,
) {
    macro_rules! tiles {
        ($($rows:literal)*) => {
            match sums.len() {
                $($rows => tile_of::<S, $rows>(simd, laid, panel, sums, out, place),)*
                _ => unreachable!("a tile has 1 to {HEIGHT} rows"),
            }
        };
    }
    if S::F32_LANES == 16 { tiles!(1 2 3 4 5 6 7 8 9 10 11 12) } else { tiles!(1 2 3 4 5 6) }
}

#[inline(always)]
fn tile_of<S: Simd, const R: usize>(
    simd: S,
    laid: &[f32],
    panel: &[[f32; WIDTH]],
    sums: &mut [[f32; WIDTH]],
    out: &mut [f32],
    Place { stride, width, add, relu, begins, ends }: Place,
) {
    let (laid, _) = laid.as_chunks::<R>();
    let sums: &mut [[f32; WIDTH]; R] = sums.try_into().expect("the sums of a tile's rows");
    match S::F32_LANES {
        16 => accumulate::<S, R, 2>(simd, laid, panel, 0, sums, begins),
        8 if R <= 3 => accumulate::<S, R, 4>(simd, laid, panel, 0, sums, begins),
        8 => {
            accumulate::<S, R, 2>(simd, laid, panel, 0, sums, begins);
            accumulate::<S, R, 2>(simd, laid, panel, WIDTH / 2, sums, begins);
        }
        4 => {
            accumulate::<S, R, 4>(simd, laid, panel, 0, sums, begins);
            accumulate::<S, R, 4>(simd, laid, panel, WIDTH / 2, sums, begins);
        }
        _ => accumulate_plainly(laid, panel, sums, begins),
    }
    if !ends {
        return;
    }
    for (r, sums) in sums.iter_mut().enumerate() {
        if add {
            let before = &out[r * stride..r * stride + width];
            sums.iter_mut().zip(before).for_each(|(sum, before)| *sum += before);
        }
        if relu {
            sums.iter_mut().for_each(|sum| *sum = if *sum < 0.0 { 0.0 } else { *sum });
        }
        copy(&mut out[r * stride..r * stride + width], &sums[..width]);
    }
}

/// Copies a panel's width or less; a call of a function is longer than the former takes.
#[inline(always)]
fn copy(to: &mut [f32], from: &[f32]) {
    match (<&mut [f32; WIDTH]>::try_from(&mut *to), <&[f32; WIDTH]>::try_from(from)) {
        (Ok(to), Ok(from)) => *to = *from,
        _ => to.copy_from_slice(from),
    }
}

/// Adds `R` rows times `V` vectors of columns from `column` on to the sums, or to 0 where they begin. They stay in registers meanwhile.
#[inline(always)]
fn accumulate<S: Simd, const R: usize, const V: usize>(
    simd: S,
    laid: &[[f32; R]],
    panel: &[[f32; WIDTH]],
    column: usize,
    sums: &mut [[f32; WIDTH]; R],
    begins: bool,
) {
    let mut held = [[simd.splat_f32s(0.0); V]; R];
    if !begins {
        for r in 0..R {
            let (sums, _) = S::as_simd_f32s(&sums[r][column..]);
            held[r].copy_from_slice(&sums[..V]);
        }
    }
    for (x, w) in laid.iter().zip(panel) {
        fetch_ahead(w, AHEAD);
        let (w, _) = S::as_simd_f32s(&w[column..]);
        let mut columns = [simd.splat_f32s(0.0); V];
        columns.copy_from_slice(&w[..V]);
        for r in 0..R {
            let (x, sums) = (simd.splat_f32s(x[r]), &mut held[r]);
            for v in 0..V {
                sums[v] = simd.mul_add_e_f32s(x, columns[v], sums[v]);
            }
        }
    }
    for r in 0..R {
        let (sums, _) = S::as_mut_simd_f32s(&mut sums[r][column..]);
        sums[..V].copy_from_slice(&held[r]);
    }
}

/// Asks for what stands so far behind values that are being read: the processor's own prefetching ends at each page of 4 KiB.
#[inline(always)]
pub(super) fn fetch_ahead(values: &[f32], by: usize) {
    #[cfg(target_arch = "x86_64")]
    #[expect(unsafe_code, reason = "a prefetch of any address is sound, as it reads nothing")]
    for line in (0..values.len()).step_by(64 / size_of::<f32>()) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let ahead = values.as_ptr().wrapping_add(by + line);
        // SAFETY: a prefetch faults at no address and changes no memory
        unsafe { _mm_prefetch::<_MM_HINT_T0>(ahead.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (values, by);
}

/// The same without vector instructions of our choice.
#[inline(always)]
fn accumulate_plainly<const R: usize>(
    laid: &[[f32; R]],
    panel: &[[f32; WIDTH]],
    sums: &mut [[f32; WIDTH]; R],
    begins: bool,
) {
    if begins {
        *sums = [[0.0; WIDTH]; R];
    }
    for (x, w) in laid.iter().zip(panel) {
        for (x, sums) in x.iter().zip(sums.iter_mut()) {
            for (sum, w) in sums.iter_mut().zip(w) {
                *sum += x * w;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{of_width, values};
    use super::*;

    /// `rows × depth` times `depth × columns`, in this order of the sums.
    fn plainly(x: &[f32], w: &[f32], [rows, depth, columns]: [usize; 3], start: &[f32]) -> Vec<f32> {
        let at = |r: usize, c: usize| {
            (0..depth).fold(0.0, |sum, i| x[r * depth + i].mul_add(w[i * columns + c], sum)) + start[r * columns + c]
        };
        (0..rows * columns).map(|place| at(place / columns, place % columns)).collect()
    }

    /// The matrix in panels.
    fn panels(w: &[f32], depth: usize, columns: usize) -> Vec<f32> {
        let mut panels = vec![0.0; columns.div_ceil(WIDTH) * depth * WIDTH];
        for (place, value) in w.iter().enumerate() {
            let (row, column) = (place / columns, place % columns);
            panels[(column / WIDTH * depth + row) * WIDTH + column % WIDTH] = *value;
        }
        panels
    }

    /// What this vector width makes of it, with the largest tile it takes.
    fn multiply<S: Simd>(simd: S, x: &[f32], w: &[f32], [rows, depth, columns]: [usize; 3], start: &[f32]) -> Vec<f32> {
        let (mut laid, mut out) = (Vec::new(), start.to_vec());
        lay(|row| &x[row * depth..(row + 1) * depth], rows, depth, height_of::<S>(), &mut laid);
        let panels = panels(w, depth, columns);
        let (laid, panels) = (laid.as_slice(), panels.as_slice());
        let multiply =
            Multiply { laid, rows, depth, panels, columns, out: &mut out, stride: columns, add: true, relu: false };
        of_width(simd, multiply);
        out
    }

    #[track_caller]
    fn check(shape: [usize; 3]) {
        let [rows, depth, columns] = shape;
        let (x, w) = (values(rows * depth, 1.0, 1), values(depth * columns, 1.0, 2));
        let start = values(rows * columns, 1.0, 3);
        let wanted = plainly(&x, &w, shape, &start);
        // multiplies and adds in two steps, the others in one
        let found = multiply(pulp::Scalar, &x, &w, shape, &start);
        for (place, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
            assert!((found - wanted).abs() <= 1e-6 * depth as f32, "one lane {shape:?} {place}: {found}, not {wanted}");
        }
        assert_eq!(multiply(pulp::Scalar128b, &x, &w, shape, &start), wanted, "four lanes {shape:?}");
        #[cfg(target_arch = "x86_64")]
        {
            if let Some(simd) = pulp::x86::V3::try_new() {
                assert_eq!(multiply(simd, &x, &w, shape, &start), wanted, "AVX2 {shape:?}");
            }
            if let Some(simd) = pulp::x86::V4::try_new() {
                assert_eq!(multiply(simd, &x, &w, shape, &start), wanted, "AVX-512 {shape:?}");
            }
        }
    }

    #[test]
    fn every_vector_width_multiplies() {
        for rows in 1..=13 {
            check([rows, 5, 33]);
        }
        for shape in [[1, 1, 1], [3, 600, 64], [25, 1100, 70], [12, 31, 5]] {
            check(shape);
        }
    }
}
