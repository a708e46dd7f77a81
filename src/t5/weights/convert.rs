//! A tensor's bytes as an f32 matrix, by all threads.
//!
//! What this costs is memory traffic: the kernel clears each new page, so pages are large where it gives such; and the
//! transpose goes by tiles, each gathered in the cache, so that whole cache lines are written.

use super::super::Weight;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use rayon::prelude::*;
use safetensors::Dtype;

/// Columns of the file's tensor (rows of the matrix) in a tile, which lie side by side in the file.
const ROWS: usize = 128;
/// Columns of the matrix in a tile, which lie side by side in it.
const COLUMNS: usize = 32;
/// Values that a thread converts at a time where nothing is transposed.
const RUN: usize = 1 << 16;

/// A number format that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    F32,
    F16,
    Bf16,
}

impl Format {
    /// `None` for a format that is not read.
    pub(super) fn of(dtype: Dtype) -> Option<Self> {
        Some(match dtype {
            Dtype::F32 => Self::F32,
            Dtype::F16 => Self::F16,
            Dtype::BF16 => Self::Bf16,
            _ => return None,
        })
    }

    /// Bytes of a value.
    pub(super) fn size(self) -> usize {
        if self == Self::F32 { 4 } else { 2 }
    }

    /// Converts a run of little-endian values.
    fn read(self, bytes: &[u8], values: &mut [f32]) {
        match self {
            Self::F32 => {
                let each = bytes.as_chunks::<4>().0.iter().zip(values);
                each.for_each(|(bytes, value)| *value = f32::from_le_bytes(*bytes));
            }
            Self::Bf16 => {
                let each = bytes.as_chunks::<2>().0.iter().zip(values);
                each.for_each(|(bytes, value)| *value = bf16::from_le_bytes(*bytes).to_f32());
            }
            Self::F16 => {
                // the processor converts slices, which the file's bytes may not be aligned for
                let mut halves = [f16::ZERO; ROWS];
                for (bytes, values) in bytes.chunks(2 * ROWS).zip(values.chunks_mut(ROWS)) {
                    let halves = &mut halves[..values.len()];
                    let each = halves.iter_mut().zip(bytes.as_chunks::<2>().0);
                    each.for_each(|(half, bytes)| *half = f16::from_le_bytes(*bytes));
                    halves.convert_to_f32_slice(values);
                }
            }
        }
    }
}

/// `len` zeros in pages as large as the kernel gives.
pub(super) fn zeroed(len: usize) -> Vec<f32> {
    let values = vec![0.0; len];
    #[cfg(target_os = "linux")]
    ask_for_large_pages(&values);
    values
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the advice is about whole pages within the vector and changes no content")]
fn ask_for_large_pages(values: &[f32]) {
    const PAGE: usize = 4096;
    let range = values.as_ptr_range();
    let (start, end) = ((range.start as usize).next_multiple_of(PAGE), range.end as usize / PAGE * PAGE);
    if start < end {
        // where the kernel refuses, pages are small
        unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_HUGEPAGE) };
    }
}

/// Fills `values` from `data` in the same order.
pub(super) fn fill(format: Format, data: &[u8], values: &mut [f32]) {
    let runs = values.par_chunks_mut(RUN).zip(data.par_chunks(RUN * format.size()));
    runs.for_each(|(values, bytes)| format.read(bytes, values));
}

/// Fills columns `start..start + part` of `values [rows, width]` from `data [part, rows]`.
pub(super) fn fill_transposed(
    format: Format,
    data: &[u8],
    [rows, width]: [usize; 2],
    values: &mut [f32],
    start: usize,
    part: usize,
) {
    let size = format.size();
    values.par_chunks_mut(ROWS * width).enumerate().for_each(|(block, lines)| {
        let (first, height) = (block * ROWS, lines.len() / width);
        let (mut run, mut tile) = ([0.0; ROWS], [[0.0; COLUMNS]; ROWS]);
        for column in (0..part).step_by(COLUMNS) {
            let columns = COLUMNS.min(part - column);
            for c in 0..columns {
                let at = ((column + c) * rows + first) * size;
                format.read(&data[at..at + height * size], &mut run[..height]);
                tile.iter_mut().zip(&run[..height]).for_each(|(line, value)| line[c] = *value);
            }
            let at = start + column;
            let each = lines.chunks_exact_mut(width).zip(&tile);
            each.for_each(|(line, tile)| line[at..at + columns].copy_from_slice(&tile[..columns]));
        }
    });
}

/// Fills columns `start..start + part` of a matrix in panels `[panels, rows, PANEL]` from `data [part, rows]`.
pub(super) fn fill_panels(format: Format, data: &[u8], rows: usize, panels: &mut [f32], start: usize, part: usize) {
    const PANEL: usize = Weight::PANEL;
    let (size, end) = (format.size(), start + part);
    let touched = start / PANEL..end.div_ceil(PANEL);
    let each = panels.par_chunks_mut(rows * PANEL).enumerate().skip(touched.start).take(touched.len());
    each.for_each(|(panel, lines)| {
        let first = panel * PANEL;
        let mut run = [0.0; ROWS];
        for (block, lines) in lines.as_chunks_mut::<PANEL>().0.chunks_mut(ROWS).enumerate() {
            let run = &mut run[..lines.len()];
            for column in start.max(first)..end.min(first + PANEL) {
                let at = ((column - start) * rows + block * ROWS) * size;
                format.read(&data[at..at + run.len() * size], run);
                lines.iter_mut().zip(&*run).for_each(|(line, value)| line[column - first] = *value);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values that all three formats hold, among them zeros, subnormals of f16, and the largest.
    fn value(i: usize) -> f32 {
        let few = [0.0, -0.0, 5.9604645e-8, -6.0e-5, 65504.0, -1.0, f32::INFINITY];
        f16::from_f32(if i.is_multiple_of(11) { few[i / 11 % few.len()] } else { (i as f32 * 0.37).sin() }).to_f32()
    }

    fn bytes(format: Format, values: &[f32]) -> Vec<u8> {
        let each = values.iter().flat_map(|value| match format {
            Format::F32 => value.to_le_bytes().to_vec(),
            Format::F16 => f16::from_f32(*value).to_le_bytes().to_vec(),
            Format::Bf16 => bf16::from_f32(*value).to_le_bytes().to_vec(),
        });
        each.collect()
    }

    /// What the format makes of a value.
    fn rounded(format: Format, value: f32) -> f32 {
        if format == Format::Bf16 { bf16::from_f32(value).to_f32() } else { value }
    }

    #[test]
    fn every_value_arrives_in_order() {
        for format in [Format::F32, Format::F16, Format::Bf16] {
            for len in [1, 127, 129, RUN + 5] {
                let wanted: Vec<f32> = (0..len).map(value).collect();
                let mut found = zeroed(len);
                fill(format, &bytes(format, &wanted), &mut found);
                let wanted: Vec<f32> = wanted.into_iter().map(|value| rounded(format, value)).collect();
                assert_eq!(found, wanted, "{format:?} {len}");
            }
        }
    }

    /// Two parts side by side, of sizes that fill tiles and that do not.
    #[test]
    fn parts_are_transposed_side_by_side() {
        for format in [Format::F32, Format::F16, Format::Bf16] {
            for (rows, parts) in [(1, [1, 2]), (32, [24, 33]), (129, [32, 1]), (257, [65, 64])] {
                let width = parts[0] + parts[1];
                let mut found = zeroed(rows * width);
                let at = |part: usize, r: usize, c: usize| value(7 * part + r + 1009 * c);
                let mut start = 0;
                for (number, part) in parts.into_iter().enumerate() {
                    let data: Vec<f32> = (0..part).flat_map(|c| (0..rows).map(move |r| at(number, r, c))).collect();
                    fill_transposed(format, &bytes(format, &data), [rows, width], &mut found, start, part);
                    start += part;
                }
                let mut panels = zeroed(Weight::panels_len(rows, width));
                let mut start = 0;
                for (number, part) in parts.into_iter().enumerate() {
                    let data: Vec<f32> = (0..part).flat_map(|c| (0..rows).map(move |r| at(number, r, c))).collect();
                    fill_panels(format, &bytes(format, &data), rows, &mut panels, start, part);
                    start += part;
                }
                let in_panels =
                    |r: usize, c: usize| panels[(c / Weight::PANEL * rows + r) * Weight::PANEL + c % Weight::PANEL];
                for r in 0..rows {
                    for c in 0..width {
                        assert_eq!(in_panels(r, c), found[r * width + c], "{format:?} {rows} {parts:?} at {r}, {c}");
                        let (part, c) = if c < parts[0] { (0, c) } else { (1, c - parts[0]) };
                        let column = if part == 0 { c } else { parts[0] + c };
                        let wanted = rounded(format, at(part, r, c));
                        assert_eq!(found[r * width + column], wanted, "{format:?} {rows} {parts:?} at {r}, {column}");
                    }
                }
            }
        }
    }
}
