//! Loss and gradient with respect to all parameters, pass by pass.

use super::config::Precision;
use super::corruption::Example;
use super::{Parameters, Result};
use crate::t5::{Config, Frozen};
use crate::train::{Batch, Pass, sum_of_pieces, target_loss};
use burn::tensor::Device;

/// Mean loss per target token of a batch, given in pieces, and its gradient.
pub(super) fn gradient(
    parameters: &Parameters,
    config: &Config,
    precision: Precision,
    device: &Device,
    batch: &[Batch],
) -> crate::train::Result<Pass> {
    let matrices = parameters.upload(device);
    sum_of_pieces(device, batch, |piece, tokens| {
        let (model, leaves) = parameters.tracked(config, &matrices, precision, device)?;
        let loss = target_loss(&model, &Frozen, piece).div_scalar(tokens);
        let gradient = leaves.gradient(&mut loss.backward());
        Ok(Pass { loss: loss.into_scalar::<f32>().into(), gradient })
    })
}

/// Pads rows, at most `rows` to a piece.
pub(super) fn pieces(config: &Config, batch: &[Example], rows: usize) -> Result<Vec<Batch>> {
    let piece = |rows: &[Example]| {
        let sources: Vec<&[u32]> = rows.iter().map(|row| row.source.as_slice()).collect();
        let targets: Vec<&[u32]> = rows.iter().map(|row| row.target.as_slice()).collect();
        Ok(Batch::new(config, &sources, &targets)?)
    };
    batch.chunks(rows).map(piece).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::t5::{Activation, Family};

    fn config() -> Config {
        Config {
            family: Family::T5,
            d_model: 16,
            d_kv: 4,
            num_heads: 2,
            encoder_layers: 1,
            decoder_layers: 1,
            d_ff: 24,
            activation: Activation::GATED_GELU,
            vocab_size: 50,
            buckets: 32,
            max_distance: 128,
            epsilon: 1e-6,
            scale_outputs: false,
            pad: 0,
            eos: 1,
            start: 0,
        }
    }

    fn batch() -> Vec<Example> {
        let ids = |first: u32, len: u32| (0..len).map(|i| 3 + (first * 7 + i * i) % 47).collect();
        (0..5).map(|row| Example { source: ids(row, 12), target: ids(row + 9, 6) }).collect()
    }

    fn gradient(precision: Precision, rows: usize) -> (f64, Vec<f32>) {
        gradient_of(&batch(), precision, rows)
    }

    fn gradient_of(batch: &[Example], precision: Precision, rows: usize) -> (f64, Vec<f32>) {
        let (config, parameters) = (config(), Parameters::init(&config(), 1));
        let pieces = pieces(&config, batch, rows).unwrap();
        let found = super::gradient(&parameters, &config, precision, &Device::flex(), &pieces).unwrap();
        (found.loss, found.gradient)
    }

    #[track_caller]
    fn close(found: &[f32], wanted: &[f32], tolerance: f64) {
        let norm = |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        let difference = norm(&mut found.iter().zip(wanted).map(|(a, b)| a - b));
        let size = norm(&mut wanted.iter().copied());
        assert!(size > 0.1 && difference < tolerance * size, "{difference} of {size}");
    }

    #[test]
    fn a_batch_in_pieces_gives_the_same_gradient() {
        let (loss, whole) = gradient(Precision::F32, 5);
        for rows in [1, 2, 4] {
            let (found_loss, found) = gradient(Precision::F32, rows);
            assert!((found_loss - loss).abs() < 1e-5, "{found_loss} {loss}");
            close(&found, &whole, 1e-5);
        }
    }

    #[test]
    fn padding_counts_for_nothing() {
        let ids = |first: u32, len: u32| (0..len).map(|i| 3 + (first * 7 + i * i) % 47).collect();
        let one = |(row, (source, target))| Example { source: ids(row, source), target: ids(row + 9, target) };
        let ragged: Vec<_> = (0..).zip([(9, 2), (2, 7), (5, 5), (1, 1)]).map(one).collect();
        let (loss, alone) = gradient_of(&ragged, Precision::F32, 1);
        for rows in [2, 4] {
            let (found_loss, found) = gradient_of(&ragged, Precision::F32, rows);
            assert!((found_loss - loss).abs() < 1e-5, "{found_loss} {loss}");
            close(&found, &alone, 1e-5);
        }
    }

    #[test]
    fn bf16_products_come_near() {
        let ((loss, whole), (found_loss, found)) = (gradient(Precision::F32, 5), gradient(Precision::Bf16, 5));
        assert!((found_loss - loss).abs() < 0.02 && found_loss != loss, "{found_loss} {loss}");
        close(&found, &whole, 0.05);
    }
}
