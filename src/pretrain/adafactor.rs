//! Adafactor (Shazeer & Stern 2018), T5's optimiser: second moments kept as one number a row and one a column.

use crate::t5::ParameterSpec;

/// Where a matrix lies in the flat vector: value (r, c) at `start + r · stride + c`.
#[derive(Debug, Clone, Copy)]
struct Matrix {
    start: usize,
    stride: usize,
    rows: usize,
    columns: usize,
}

impl Matrix {
    /// Vectors keep a number a value; matrices one a row, then one a column.
    fn moments(self) -> usize {
        if self.rows == 1 { self.columns } else { self.rows + self.columns }
    }

    fn row(self, values: &[f32], row: usize) -> &[f32] {
        &values[self.start + row * self.stride..][..self.columns]
    }

    fn mean_square(self, values: &[f32]) -> f64 {
        let square = |value: &f32| f64::from(*value).powi(2);
        let sum: f64 = (0..self.rows).flat_map(|row| self.row(values, row)).map(square).sum();
        sum / (self.rows * self.columns) as f64
    }
}

/// As `transformers.Adafactor(scale_parameter=True, relative_step=False)` with its defaults: no momentum, updates clipped to a
/// root mean square of 1, steps relative to each matrix's root mean square (at least 1e-3), and decay `1 − t^−0.8`.
#[derive(Debug, Clone)]
pub(super) struct Adafactor {
    matrices: Vec<Matrix>,
    step: usize,
    moments: Vec<f32>,
}

/// Added to squared gradients.
const EPSILON: f32 = 1e-30;

impl Adafactor {
    /// State for parameters laid out one after the other; each part of a group is a matrix of its own.
    pub(super) fn new(specs: &[ParameterSpec]) -> Self {
        let (mut matrices, mut start) = (Vec::new(), 0);
        for spec in specs {
            let mut column = 0;
            for (_, width) in &spec.parts {
                matrices.push(Matrix { start: start + column, stride: spec.width(), rows: spec.rows, columns: *width });
                column += width;
            }
            start += spec.len();
        }
        let moments = vec![0.0; matrices.iter().map(|matrix| matrix.moments()).sum()];
        Self { matrices, step: 0, moments }
    }

    /// The moments, for checkpoints.
    pub(super) fn moments(&self) -> &[f32] {
        &self.moments
    }

    /// Puts back what [`Adafactor::moments`] gave.
    pub(super) fn restore(&mut self, step: usize, moments: Vec<f32>) {
        assert_eq!(moments.len(), self.moments.len(), "moments of another model");
        (self.step, self.moments) = (step, moments);
    }

    /// One step; `decay` is the decoupled weight decay.
    pub(super) fn step(&mut self, values: &mut [f32], gradient: &[f32], rate: f64, decay: f32) {
        self.step += 1;
        let kept = (1.0 - (self.step as f64).powf(-0.8)) as f32;
        let mut rest = self.moments.as_mut_slice();
        let mut update = Vec::new();
        for matrix in &self.matrices {
            let (moments, after) = rest.split_at_mut(matrix.moments());
            rest = after;
            let rate = (rate * matrix.mean_square(values).sqrt().max(1e-3)) as f32;
            update.clear();
            if matrix.rows == 1 {
                for (moment, g) in moments.iter_mut().zip(matrix.row(gradient, 0)) {
                    *moment = kept * *moment + (1.0 - kept) * (g * g + EPSILON);
                    update.push(g / moment.sqrt());
                }
            } else {
                matrix.factored(moments, gradient, kept, &mut update);
            }
            let mean_square = update.iter().map(|u| f64::from(*u).powi(2)).sum::<f64>() / update.len() as f64;
            let scale = rate / (mean_square.sqrt() as f32).max(1.0);
            for (row, update) in update.chunks_exact(matrix.columns).enumerate() {
                let values = &mut values[matrix.start + row * matrix.stride..][..matrix.columns];
                for (value, u) in values.iter_mut().zip(update) {
                    *value -= rate * decay * *value + scale * u;
                }
            }
        }
    }
}

impl Matrix {
    /// `g / √(row ⊗ column / mean(row))`, row by row.
    fn factored(self, moments: &mut [f32], gradient: &[f32], kept: f32, update: &mut Vec<f32>) {
        let (rows, columns) = moments.split_at_mut(self.rows);
        let mut sums = vec![0.0f64; self.columns];
        for (row, moment) in rows.iter_mut().enumerate() {
            let mut sum = 0.0;
            for (column, g) in sums.iter_mut().zip(self.row(gradient, row)) {
                let square = f64::from(g * g + EPSILON);
                *column += square;
                sum += square;
            }
            *moment = kept * *moment + (1.0 - kept) * (sum / self.columns as f64) as f32;
        }
        for (moment, sum) in columns.iter_mut().zip(sums) {
            *moment = kept * *moment + (1.0 - kept) * (sum / self.rows as f64) as f32;
        }
        let mean = rows.iter().map(|row| f64::from(*row)).sum::<f64>() / self.rows as f64;
        for (row, moment) in rows.iter().enumerate() {
            let r = (f64::from(*moment) / mean).sqrt().recip() as f32;
            update.extend(self.row(gradient, row).iter().zip(columns.iter()).map(|(g, c)| g * r / c.sqrt()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with transformers 5.23.0: `Adafactor([a, b, v], lr=0.1, relative_step=False, scale_parameter=True, weight_decay=0.01)`,
    /// three steps; `a` and `b` are [2, 2] and stand side by side, `v` is [3].
    #[test]
    fn it_is_transformers() {
        let spec = |parts: &[usize], rows| ParameterSpec {
            parts: parts.iter().map(|width| (String::new(), *width)).collect(),
            rows,
            transposed: false,
        };
        let mut optimiser = Adafactor::new(&[spec(&[2, 2], 2), spec(&[3], 1)]);
        let mut values: Vec<f32> = (1..12).map(|i| (i as f32).sin()).collect();
        for step in 1..=3 {
            let gradient: Vec<f32> = (0..11).map(|i| ((i * step) as f32 + 0.5).cos() * 0.1).collect();
            optimiser.step(&mut values, &gradient, 0.1, 0.01);
        }
        let wanted: [f32; 11] = [
            0.598_478_6,
            1.053_443,
            0.150_932_7,
            -0.684_393_8,
            -0.932_196_4,
            -0.246_740_2,
            0.419_634_3,
            1.048_954,
            0.482_045_9,
            -0.486_353_7,
            -0.993_942_4,
        ];
        assert!(values.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 2e-6), "{values:?}");
    }
}
