//! Loss and gradient of a batch, pass by pass.

use super::config::Precision;
use super::corruption::Example;
use super::{Parameters, Result};
use crate::t5::{Config, Frozen, T5, TokenBatch, target_log_probabilities};
use burn::tensor::{Device, Tensor, TensorData};
use rayon::{ThreadPool, ThreadPoolBuilder};

/// Runs the passes of a step: on the CPU side by side, one thread each, elsewhere one after the other.
///
/// A pass on one thread does its element-wise operations beside those of the other passes, where a single pass over all threads
/// would leave them idle; and since the gradients are added up in the order of the passes, the sum does not depend on the
/// number of threads.
#[derive(Debug)]
pub(super) struct Passes {
    /// One pool of one thread for each pass at a time; none: the calling thread.
    pools: Vec<ThreadPool>,
    precision: Precision,
    device: Device,
}

impl Passes {
    pub(super) fn new(precision: Precision, device: &Device) -> Self {
        let threads = if *device == Device::flex() { rayon::current_num_threads() } else { 0 };
        let pool = |index| {
            let named = ThreadPoolBuilder::new().num_threads(1).thread_name(move |_| format!("pass-{index}"));
            named.build().expect("a thread can be started")
        };
        Self { pools: (0..threads).map(pool).collect(), precision, device: device.clone() }
    }

    /// Mean loss per target token of the batch, and its gradient; `rows` at most to a pass.
    pub(super) fn gradient(
        &self,
        parameters: &Parameters,
        t5: &Config,
        batch: &[Example],
        rows: usize,
    ) -> Result<(f64, Vec<f32>)> {
        let tokens: usize = batch.iter().map(|example| example.target.len()).sum();
        let matrices = parameters.upload(&self.device);
        let one = |rows: &[Example]| -> Result<(f64, Vec<f32>)> {
            let (model, leaves) = parameters.tracked(t5, &matrices, self.precision, &self.device)?;
            let loss = loss(&model, rows, t5.start)?.div_scalar(tokens as f64);
            let gradient = leaves.gradient(&mut loss.backward());
            Ok((f64::from(loss.into_scalar::<f32>()), gradient))
        };
        let mut sum = (0.0, Vec::new());
        let mut add = |(loss, gradient): (f64, Vec<f32>)| {
            sum.0 += loss;
            if sum.1.is_empty() {
                sum.1 = gradient;
            } else {
                sum.1.iter_mut().zip(&gradient).for_each(|(sum, g)| *sum += g);
            }
        };
        let passes: Vec<_> = batch.chunks(rows).collect();
        for together in passes.chunks(self.pools.len().max(1)) {
            if self.pools.is_empty() {
                add(one(together[0])?);
                continue;
            }
            let results: Vec<Result<_>> = std::thread::scope(|scope| {
                let one = &one;
                let each = self.pools.iter().zip(together.iter().copied());
                let threads: Vec<_> =
                    each.map(|(pool, rows)| scope.spawn(move || pool.install(|| one(rows)))).collect();
                threads.into_iter().map(|thread| thread.join().expect("a pass does not panic")).collect()
            });
            for result in results {
                add(result?);
            }
        }
        Ok(sum)
    }
}

/// Sum of the cross-entropy over all target tokens under teacher forcing, `[1]`; rows may differ in their lengths.
pub(super) fn loss(model: &T5, batch: &[Example], start: u32) -> Result<Tensor<1>> {
    let sources: Vec<&[u32]> = batch.iter().map(|example| example.source.as_slice()).collect();
    let inputs: Vec<Vec<u32>> = batch
        .iter()
        .map(|example| {
            std::iter::once(start).chain(example.target[..example.target.len() - 1].iter().copied()).collect()
        })
        .collect();
    let encoded = model.encode(&model.batch(&sources)?, &Frozen);
    let inputs: TokenBatch = model.batch(&inputs)?;
    let logits = model.decode(&encoded, &inputs, &Frozen); // [rows, len, vocab]
    let [rows, len, vocab] = logits.dims();
    let (mut targets, mut weights) = (vec![0; rows * len], vec![0.0f32; rows * len]);
    for (row, example) in batch.iter().enumerate() {
        targets[row * len..][..example.target.len()].copy_from_slice(&example.target);
        weights[row * len..][..example.target.len()].fill(1.0);
    }
    let found = target_log_probabilities(logits.reshape([rows * len, vocab]), targets);
    if batch.iter().all(|example| example.target.len() == len) {
        return Ok(found.sum().neg());
    }
    let weights = Tensor::from_data(TensorData::new(weights, [rows * len]), &found.device());
    Ok((found * weights).sum().neg())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::t5::Activation;

    fn config() -> Config {
        Config {
            d_model: 16,
            d_kv: 4,
            num_heads: 2,
            encoder_layers: 1,
            decoder_layers: 1,
            d_ff: 24,
            activation: Activation::GatedGelu,
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
        let (config, passes) = (config(), Passes::new(precision, &Device::flex()));
        passes.gradient(&Parameters::init(&config, 1), &config, batch, rows).unwrap()
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
