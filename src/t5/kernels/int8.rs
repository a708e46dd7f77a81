//! The product by a weight of 8 bits a value, for serving alone: each column has a scale, and so has each row of the input, which
//! is rounded to 8 bits as it comes. Sums are exact, in 32 bits.

use super::lanes::vectorised;
use super::parted::{Matrix, Then, product};
use super::tiles::WIDTH;
use super::{contiguous, plain_input, rows, tensor};
use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::{Shape, Tensor};
use pulp::Arch;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;

/// Inputs that are multiplied and added in one instruction.
const GROUP: usize = 4;
/// Rows of a tile.
const HEIGHT: usize = 12;
/// Groups that are rounded at a time.
const RUN: usize = 16;
/// The greatest rounded value.
const MOST: f32 = 127.0;
/// What is added to an input, since the instruction takes it without a sign.
const SHIFT: i32 = 128;

/// The weights of one group of inputs and one panel of columns: column after column, the inputs of each side by side.
type Line = [i8; WIDTH * GROUP];

/// A frozen matrix `[d_in, d_out]` on the CPU, rounded.
#[derive(Debug, Clone)]
pub(in super::super) struct Int8(Arc<Rounded>);

#[derive(Debug)]
struct Rounded {
    instructions: Instructions,
    /// `[panels, ⌈d_in / GROUP⌉]`, filled up with zeros.
    lines: Vec<Line>,
    /// What a unit of each column is worth.
    scales: Vec<f32>,
    /// What [`SHIFT`] has added to each column's sum.
    shifts: Vec<i32>,
    depth: usize,
    columns: usize,
}

/// How a tile is multiplied.
#[derive(Debug, Clone, Copy)]
enum Instructions {
    #[cfg(target_arch = "x86_64")]
    Vnni,
    #[cfg(target_arch = "x86_64")]
    Avx2(pulp::x86::V3),
    Plain(Arch),
}

impl Instructions {
    /// The best that this processor has.
    fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("avx512f") && std::arch::is_x86_feature_detected!("avx512vnni") {
                return Self::Vnni;
            }
            if let Some(simd) = pulp::x86::V3::try_new() {
                return Self::Avx2(simd);
            }
        }
        Self::Plain(Arch::new())
    }
}

impl Int8 {
    /// Rounds a matrix `[depth, columns]` that lies in panels as [`super::Panels`] has them.
    pub(in super::super) fn round(panels: &[f32], depth: usize, columns: usize) -> Self {
        Self::round_for(Instructions::best(), panels, depth, columns)
    }

    fn round_for(instructions: Instructions, panels: &[f32], depth: usize, columns: usize) -> Self {
        let (count, groups) = (columns.div_ceil(WIDTH), depth.div_ceil(GROUP));
        let mut lines = vec![[0; WIDTH * GROUP]; count * groups];
        let (mut scales, mut shifts) = (vec![0.0f32; count * WIDTH], vec![0; count * WIDTH]);
        let panels = panels.par_chunks_exact((depth * WIDTH).max(1)).zip(lines.par_chunks_mut(groups.max(1)));
        let of_columns = scales.par_chunks_mut(WIDTH).zip(shifts.par_chunks_mut(WIDTH));
        panels.zip(of_columns).for_each(|((panel, lines), (scales, shifts))| {
            let (rows, _) = panel.as_chunks::<WIDTH>();
            for row in rows {
                scales.iter_mut().zip(row).for_each(|(most, value)| *most = most.max(value.abs() / MOST));
            }
            // what is no number must not pass for one
            for row in rows {
                let broken = scales.iter_mut().zip(row).filter(|(_, value)| !value.is_finite());
                broken.for_each(|(scale, _)| *scale = f32::NAN);
            }
            for (rows, line) in rows.chunks(GROUP).zip(lines) {
                for (at, row) in rows.iter().enumerate() {
                    for column in 0..WIDTH {
                        let rounded = rounded(row[column], scales[column]);
                        line[column * GROUP + at] = rounded as i8;
                        shifts[column] += SHIFT * rounded;
                    }
                }
            }
        });
        Self(Arc::new(Rounded { instructions, lines, scales, shifts, depth, columns }))
    }

    /// Columns of the matrix.
    pub(in super::super) fn columns(&self) -> usize {
        self.0.columns
    }

    /// `x w` of a plain tensor `[rows, d_in] -> [rows, d_out]`.
    pub(in super::super) fn product(&self, x: Tensor<2>) -> Tensor<2> {
        self.apply(x, None, false)
    }

    /// `max(x w, 0)`.
    pub(in super::super) fn product_relu(&self, x: Tensor<2>) -> Tensor<2> {
        self.apply(x, None, true)
    }

    /// `y + x w`.
    pub(in super::super) fn product_onto(&self, y: Tensor<2>, x: Tensor<2>) -> Tensor<2> {
        self.apply(x, Some(y), false)
    }

    fn apply(&self, x: Tensor<2>, onto: Option<Tensor<2>>, relu: bool) -> Tensor<2> {
        let (x, columns) = (contiguous(plain_input(x)), self.0.columns);
        let (count, _) = rows(&x);
        let then = Then { add: onto.is_some(), relu };
        let zeros = || tensor(vec![0.0; count * columns], Shape::new([count, columns]));
        let mut out: FlexTensor = onto.map_or_else(zeros, |y| contiguous(plain_input(y)));
        product(&*self.0, x.storage::<f32>(), out.storage_mut::<f32>(), then);
        Tensor::from_primitive::<Flex>(out)
    }
}

/// The nearest whole number of units, within ±[`MOST`].
#[inline(always)]
fn rounded(value: f32, unit: f32) -> i32 {
    if unit > 0.0 { (value / unit).round_ties_even() as i32 } else { 0 }
}

/// Rows of inputs, rounded.
#[derive(Debug, Default)]
struct Laid {
    /// Tile after tile: for each group of inputs that of every row, four bytes in one.
    groups: Vec<i32>,
    /// What a unit of each row is worth.
    scales: Vec<f32>,
}

impl Matrix for Rounded {
    type Laid = Laid;

    fn depth(&self) -> usize {
        self.depth
    }

    fn columns(&self) -> usize {
        self.columns
    }

    fn lay(&self, x: &[f32], rows: usize, laid: &mut Laid) {
        let groups = self.depth.div_ceil(GROUP);
        laid.groups.resize(rows * groups, 0);
        laid.scales.resize(rows, 0.0);
        let arch = Arch::new();
        for (row, x) in x.chunks_exact(self.depth).enumerate() {
            let first = row / HEIGHT * HEIGHT;
            let height = HEIGHT.min(rows - first);
            let tile = &mut laid.groups[first * groups..(first + height) * groups];
            laid.scales[row] = vectorised(
                arch,
                #[inline(always)]
                || round_row(x, tile, row - first, height),
            );
        }
    }

    fn multiply(
        &self,
        laid: &Laid,
        rows: usize,
        panels: Range<usize>,
        out: &mut [f32],
        (columns, stride): (usize, usize),
        then: Then,
    ) {
        let (arch, groups) = (Arch::new(), self.depth.div_ceil(GROUP));
        for (at, panel) in panels.enumerate() {
            let lines = &self.lines[panel * groups..(panel + 1) * groups];
            let width = WIDTH.min(columns - at * WIDTH);
            let of_panel = panel * WIDTH..panel * WIDTH + width;
            let (scales, shifts) = (&self.scales[of_panel.clone()], &self.shifts[of_panel]);
            for first in (0..rows).step_by(HEIGHT) {
                let height = HEIGHT.min(rows - first);
                let inputs = &laid.groups[first * groups..(first + height) * groups];
                let mut sums = [[0; WIDTH]; HEIGHT];
                self.instructions.tile(inputs, lines, &mut sums[..height]);
                vectorised(
                    arch,
                    #[inline(always)]
                    || {
                        for (row, sums) in sums[..height].iter().enumerate() {
                            let scale = laid.scales[first + row];
                            let out = &mut out[(first + row) * stride + at * WIDTH..][..width];
                            for (((out, sum), unit), shift) in out.iter_mut().zip(sums).zip(scales).zip(shifts) {
                                let y = (sum - shift) as f32 * (scale * unit) + if then.add { *out } else { 0.0 };
                                *out = if then.relu && y < 0.0 { 0.0 } else { y };
                            }
                        }
                    },
                );
            }
        }
    }
}

/// Rounds one row into its places of a tile of `height` rows and gives its unit, which is no number where a value is none.
#[inline(always)]
fn round_row(x: &[f32], tile: &mut [i32], row: usize, height: usize) -> f32 {
    let most = x.iter().fold(0.0f32, |most, value| if value.abs() > most { value.abs() } else { most });
    let broken = x.iter().fold(false, |found, value| found | !value.is_finite());
    let unit = most / MOST;
    let per_unit = if unit > 0.0 { 1.0 / unit } else { 0.0 };
    // adding and taking away 1.5 · 2²³ rounds to the nearest whole number
    let shifted = |value: f32| ((value * per_unit + 12_582_912.0) - 12_582_912.0) as i32 + SHIFT;
    for (x, tile) in x.chunks(RUN * GROUP).zip(tile.chunks_mut(RUN * height)) {
        // what stands behind the last input meets weights of 0
        let mut bytes = [[0; GROUP]; RUN];
        bytes.as_flattened_mut().iter_mut().zip(x).for_each(|(byte, value)| *byte = shifted(*value) as u8);
        for (places, group) in tile.chunks_exact_mut(height).zip(bytes) {
            places[row] = i32::from_le_bytes(group);
        }
    }
    if broken { f32::NAN } else { unit }
}

impl Instructions {
    /// `sums [height, WIDTH]` of `inputs [groups, height]` by `lines [groups]`.
    fn tile(self, inputs: &[i32], lines: &[Line], sums: &mut [[i32; WIDTH]]) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Vnni => x86::tile_vnni(inputs, lines, sums),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(simd) => x86::tile_avx2(simd, inputs, lines, sums),
            Self::Plain(arch) => vectorised(
                arch,
                #[inline(always)]
                || tile_plainly(inputs, lines, sums),
            ),
        }
    }
}

#[inline(always)]
fn tile_plainly(inputs: &[i32], lines: &[Line], sums: &mut [[i32; WIDTH]]) {
    for (inputs, line) in inputs.chunks_exact(sums.len()).zip(lines) {
        let (columns, _) = line.as_chunks::<GROUP>();
        for (input, sums) in inputs.iter().zip(sums.iter_mut()) {
            let input = input.to_le_bytes().map(i32::from);
            for (sum, weights) in sums.iter_mut().zip(columns) {
                for at in 0..GROUP {
                    *sum += input[at] * i32::from(weights[at]);
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Line, WIDTH};
    use pulp::bytemuck::cast;
    use pulp::x86::V3;
    use std::arch::x86_64::*;

    #[expect(
        unsafe_code,
        reason = "called where the processor was found to have the instructions, which is all they ask"
    )]
    pub(super) fn tile_vnni(inputs: &[i32], lines: &[Line], sums: &mut [[i32; WIDTH]]) {
        macro_rules! tiles {
            ($($rows:literal)*) => {
                match sums.len() {
                    $($rows => unsafe { tile_of_vnni::<$rows>(inputs, lines, sums) },)*
                    _ => unreachable!("a tile has 1 to 12 rows"),
                }
            };
        }
        tiles!(1 2 3 4 5 6 7 8 9 10 11 12)
    }

    #[target_feature(enable = "avx512f,avx512vnni")]
    fn tile_of_vnni<const R: usize>(inputs: &[i32], lines: &[Line], sums: &mut [[i32; WIDTH]]) {
        let (inputs, _) = inputs.as_chunks::<R>();
        let mut held = [[_mm512_setzero_si512(); 2]; R];
        for (inputs, line) in inputs.iter().zip(lines) {
            let weights: [__m512i; 2] = cast(*line);
            for r in 0..R {
                let input = _mm512_set1_epi32(inputs[r]);
                held[r][0] = _mm512_dpbusd_epi32(held[r][0], input, weights[0]);
                held[r][1] = _mm512_dpbusd_epi32(held[r][1], input, weights[1]);
            }
        }
        for (sums, held) in sums.iter_mut().zip(held) {
            *sums = cast(held);
        }
    }

    /// Row by row: products of 16 bits, of which pairs are added, so each column has two sums until the end.
    pub(super) fn tile_avx2(simd: V3, inputs: &[i32], lines: &[Line], sums: &mut [[i32; WIDTH]]) {
        struct Row<'a> {
            simd: V3,
            inputs: &'a [i32],
            row: usize,
            height: usize,
            lines: &'a [Line],
        }
        impl pulp::NullaryFnOnce for Row<'_> {
            type Output = [i32; WIDTH];

            #[inline(always)]
            fn call(self) -> [i32; WIDTH] {
                let Row { simd, inputs, row, height, lines } = self;
                let (avx, avx2) = (simd.avx, simd.avx2);
                let mut held = [avx._mm256_setzero_si256(); 8];
                for (inputs, line) in inputs.chunks_exact(height).zip(lines) {
                    let input = avx2._mm256_cvtepu8_epi16(cast([inputs[row]; 4]));
                    let weights: [__m128i; 8] = cast(*line);
                    for (held, weights) in held.iter_mut().zip(weights) {
                        let products = avx2._mm256_madd_epi16(input, avx2._mm256_cvtepi8_epi16(weights));
                        *held = avx2._mm256_add_epi32(*held, products);
                    }
                }
                let halves: [[i32; 2]; WIDTH] = cast(held);
                halves.map(|[even, odd]| even + odd)
            }
        }
        let height = sums.len();
        for (row, sums) in sums.iter_mut().enumerate() {
            *sums = simd.vectorize(Row { simd, inputs, row, height, lines });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Panels;
    use super::super::testing::{close, leaf, values};
    use super::*;
    use burn::tensor::{Device, TensorData};

    fn panels(w: &[f32], depth: usize, columns: usize) -> Vec<f32> {
        let mut panels = vec![0.0; Panels::len(depth, columns)];
        for (place, value) in w.iter().enumerate() {
            let (row, column) = (place / columns, place % columns);
            panels[(column / WIDTH * depth + row) * WIDTH + column % WIDTH] = *value;
        }
        panels
    }

    /// The plain twin: rounded values as f32, multiplied by burn.
    fn twin(x: &[f32], w: &[f32], [count, depth, columns]: [usize; 3]) -> Tensor<2> {
        let device = Device::flex();
        let round = |values: &mut dyn Iterator<Item = &mut f32>| {
            let mut values: Vec<&mut f32> = values.collect();
            let unit = values.iter().fold(0.0f32, |most, value| most.max(value.abs())) / MOST;
            values.iter_mut().for_each(|value| **value = (**value / unit).round_ties_even() * unit);
        };
        let (mut x, mut w) = (x.to_vec(), w.to_vec());
        x.chunks_mut(depth).for_each(|row| round(&mut row.iter_mut()));
        (0..columns).for_each(|column| round(&mut w.iter_mut().skip(column).step_by(columns)));
        let matrix = |values, shape: [usize; 2]| Tensor::<2>::from_data(TensorData::new(values, shape), &device);
        matrix(x, [count, depth]).matmul(matrix(w, [depth, columns]))
    }

    fn all() -> Vec<Instructions> {
        let mut all = vec![Instructions::best(), Instructions::Plain(Arch::new()), Instructions::Plain(Arch::Scalar)];
        #[cfg(target_arch = "x86_64")]
        all.extend(pulp::x86::V3::try_new().map(Instructions::Avx2));
        all
    }

    #[test]
    fn it_is_its_twin() {
        let shapes = [[1, 5, 7], [1, 512, 96], [3, 41, 33], [16, 600, 64], [47, 66, 100], [200, 33, 65]];
        for shape @ [count, depth, columns] in shapes {
            let (x, w) = (values(count * depth, 2.0, 1), values(depth * columns, 0.5, 2));
            let plain = Tensor::<2>::from_data(TensorData::new(x.clone(), [count, depth]), &Device::flex());
            let y = leaf([count, columns], 1.0, 3).inner();
            let wanted = twin(&x, &w, shape);
            for instructions in all() {
                let int8 = Int8::round_for(instructions, &panels(&w, depth, columns), depth, columns);
                // a value just between two units may fall to either: one unit of x times one weight
                let tolerance = 5e-3;
                close(int8.product(plain.clone()), wanted.clone(), tolerance);
                close(int8.product_relu(plain.clone()), wanted.clone().clamp_min(0.0), tolerance);
                close(int8.product_onto(y.clone(), plain.clone()), y.clone() + wanted.clone(), tolerance);
            }
        }
    }

    #[test]
    fn every_processor_gives_the_same_bits() {
        let [count, depth, columns] = [29, 259, 70];
        let (x, w) = (leaf([count, depth], 1.0, 1).inner(), values(depth * columns, 1.0, 2));
        let found = |instructions| {
            let int8 = Int8::round_for(instructions, &panels(&w, depth, columns), depth, columns);
            int8.product(x.clone()).into_data()
        };
        let wanted = found(Instructions::Plain(Arch::Scalar));
        all().into_iter().for_each(|instructions| assert_eq!(found(instructions), wanted, "{instructions:?}"));
    }

    #[test]
    fn zeros_stay_and_what_is_no_number_stays_none() {
        let broken = Int8::round(&panels(&[1.0, f32::NAN], 1, 2), 1, 2).product(Tensor::ones([1, 1], &Device::flex()));
        let found = broken.into_data().try_into_vec::<f32>().unwrap();
        assert!((found[0] - 1.0).abs() < 1e-6 && found[1].is_nan(), "{found:?}");
        let int8 = Int8::round(&panels(&[1.0, 0.0, -2.0, 0.0], 2, 2), 2, 2);
        let x =
            Tensor::<2>::from_data([[0.0, 0.0], [1.0, f32::NAN], [f32::INFINITY, 1.0], [3.0, 1.0]], &Device::flex());
        let found = int8.product(x).into_data().try_into_vec::<f32>().unwrap();
        assert_eq!(found[..2], [0.0, 0.0]);
        assert!(found[2..6].iter().all(|value| value.is_nan()), "{found:?}");
        assert!((found[6] - 1.0).abs() < 0.05 && found[7] == 0.0, "{found:?}");
    }
}
