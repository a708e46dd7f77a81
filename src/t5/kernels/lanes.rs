//! Loops over slices that the compiler vectorises for whatever the processor has.
//!
//! Multiplications and additions are kept apart (no fused multiply-add), so that all processors give the same bits.

use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

/// Values that are summed side by side: one register of AVX-512.
const LANES: usize = 16;

/// Values that one task takes at least.
const BLOCK: usize = 1 << 14;

/// Work whose calls are all inlined.
struct Inlined<F>(F);

impl<R, F: FnMut() -> R> NullaryFnOnce for Inlined<F> {
    type Output = R;

    #[inline(always)]
    fn call(mut self) -> R {
        (self.0)()
    }
}

/// Does `work` compiled for what the processor has. It must be a closure that is always inlined (`#[inline(always)]` before it), and so
/// must its calls be: what stays a call is compiled for the least of processors. That is why it does not go to `dispatch` as it is,
/// which calls a closure through `FnOnce`, which stays one.
#[inline(always)]
pub(crate) fn vectorised<R>(arch: Arch, work: impl FnMut() -> R) -> R {
    arch.dispatch(Inlined(work))
}

/// Calls `work(row, values)` for every row of `width` values, in parallel where there are many; `cost` is how many values it
/// looks at for a row.
///
/// `work` is as for [`vectorised`].
pub(super) fn for_rows(out: &mut [f32], width: usize, cost: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    let arch = Arch::new();
    let block = (BLOCK / cost.max(1)).max(1);
    let one = |(index, rows): (usize, &mut [f32])| {
        vectorised(
            arch,
            #[inline(always)]
            || {
                for (i, row) in rows.chunks_exact_mut(width).enumerate() {
                    work(index * block + i, row);
                }
            },
        );
    };
    if out.len() <= block * width {
        out.chunks_mut(block * width).enumerate().for_each(one);
    } else {
        out.par_chunks_mut(block * width).enumerate().for_each(one);
    }
}

/// `Σ f(i)` over rows `0..count` as a vector of `width` values; the same whatever the number of threads.
pub(super) fn sum_rows(count: usize, width: usize, add: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
    let arch = Arch::new();
    let block = (BLOCK / width.max(1)).max(1);
    let one = |start: usize| {
        let mut sum = vec![0.0; width];
        vectorised(
            arch,
            #[inline(always)]
            || (start..count.min(start + block)).for_each(|row| add(row, &mut sum)),
        );
        sum
    };
    let starts: Vec<usize> = (0..count).step_by(block).collect();
    let parts: Vec<Vec<f32>> = starts.into_par_iter().map(one).collect();
    let mut sum = vec![0.0; width];
    for part in parts {
        sum.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
    }
    sum
}

/// `Σ a_i b_i`; as in [`sum`], zeros behind the last values change no bit.
#[inline(always)]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a_heads, a_rest) = a.as_chunks::<LANES>();
    let (b_heads, b_rest) = b.as_chunks::<LANES>();
    let mut lanes = [0.0f32; LANES];
    for (a, b) in a_heads.iter().zip(b_heads) {
        for i in 0..LANES {
            lanes[i] += a[i] * b[i];
        }
    }
    for (lane, (a, b)) in lanes.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *lane += a * b;
    }
    lanes.iter().sum()
}

/// `Σ x_i`. Values behind the last whole register go into its lanes too, so that zeros there, such as the probabilities of padding,
/// change no bit: a row has the same numbers however wide its batch is.
#[inline(always)]
pub(super) fn sum(x: &[f32]) -> f32 {
    let (heads, rest) = x.as_chunks::<LANES>();
    let mut lanes = [0.0f32; LANES];
    for x in heads {
        for i in 0..LANES {
            lanes[i] += x[i];
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane += x;
    }
    lanes.iter().sum()
}

/// The greatest value; −∞ of none.
#[inline(always)]
pub(super) fn max(x: &[f32]) -> f32 {
    let greater = |a: f32, b: f32| if a > b { a } else { b };
    let (heads, rest) = x.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for x in heads {
        for i in 0..LANES {
            lanes[i] = greater(lanes[i], x[i]);
        }
    }
    lanes.into_iter().chain(rest.iter().copied()).fold(f32::NEG_INFINITY, greater)
}

/// Beyond this `eˣ` is not told apart from 0 or ∞: a sum that holds a 1 sees neither, and what is made of it (probabilities times
/// gradients times weights) stays away from subnormal numbers, which take some processors a hundred times as long.
const FURTHEST: f32 = 60.0;

/// `eˣ` to 2 units in the last place between −60 and 60; 0 below, e⁶⁰ above.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // eˣ = 2ⁿ eʳ with n the nearest whole number to x / ln 2, found by adding and taking away 1.5 · 2²³
    const SHIFT: f32 = 12_582_912.0;
    let within = if x > -FURTHEST { x } else { -FURTHEST };
    let within = if within < FURTHEST { within } else { FURTHEST };
    let n = (within * std::f32::consts::LOG2_E + SHIFT) - SHIFT;
    let r = (within - n * 0.693_359_4) - n * -2.121_944_4e-4; // ln 2 in two parts (Cephes)
    let mut p = 1.987_569_2e-4;
    for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p * r + c;
    }
    let e = p * (r * r) + r + 1.0;
    let e = e * f32::from_bits(((n as i32 + 127) << 23) as u32);
    if x > -FURTHEST { e } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_behind_the_end_change_no_bit() {
        let x: Vec<f32> = (0..50).map(|i| (i as f32 * 0.7).sin()).collect();
        for len in 1..50 {
            let mut wide = x[..len].to_vec();
            wide.resize(len + 23, 0.0);
            assert_eq!(sum(&wide).to_bits(), sum(&x[..len]).to_bits(), "{len}");
            assert_eq!(dot(&wide, &wide).to_bits(), dot(&x[..len], &x[..len]).to_bits(), "{len}");
        }
    }

    #[test]
    fn exp_is_close() {
        let mut worst: f64 = 0.0;
        for i in -59_990..59_990 {
            let x = i as f32 * 1e-3;
            let wanted = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) - wanted).abs() / wanted);
        }
        assert!(worst < 2.0 * f64::from(f32::EPSILON), "{worst:e}");
        assert_eq!([-60.1, -1e9, f32::NEG_INFINITY, f32::NAN].map(exp), [0.0; 4]);
        assert_eq!([exp(0.0), exp(1e9)], [1.0, exp(60.0)]);
    }

    #[test]
    fn reductions_take_every_value() {
        for len in [1, 15, 16, 17, 33, 100] {
            let x: Vec<f32> = (0..len).map(|i| (i % 7) as f32 - if i + 1 == len { 20.0 } else { 0.0 }).collect();
            assert_eq!(sum(&x), x.iter().sum::<f32>(), "{len}");
            assert_eq!(dot(&x, &x), x.iter().map(|x| x * x).sum::<f32>(), "{len}");
            assert_eq!(max(&x), x.iter().copied().fold(f32::MIN, f32::max), "{len}");
            let negated: Vec<f32> = x.iter().map(|x| -x).collect();
            assert_eq!(max(&negated), if len == 1 { 20.0 } else { negated[len - 1] }, "{len}");
        }
    }

    #[test]
    fn rows_are_each_visited_once() {
        for (rows, width) in [(1, 3), (5000, 11), (3, 40_000)] {
            let mut out = vec![0.0; rows * width];
            for_rows(&mut out, width, width, |row, values| {
                values.iter_mut().for_each(|value| *value += row as f32 + 1.0)
            });
            assert!((0..rows).all(|row| out[row * width..][..width].iter().all(|v| *v == row as f32 + 1.0)));
            let summed = sum_rows(rows, width, |row, sum| sum[0] += if row % 2 == 0 { 1.0 } else { 0.0 });
            assert_eq!((summed[0], summed.len()), (rows.div_ceil(2) as f32, width));
        }
    }
}
