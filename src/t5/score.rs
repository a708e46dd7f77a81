//! Scores of given targets: one teacher-forced pass of the decoder over sources that are encoded.

use super::kernels::target_log_probabilities;
use super::{Backbone, Deltas, Encoded, Error, Result};

/// A target of one of the encoded rows.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Row of the encoded batch.
    pub row: usize,
    /// Its ids, at least one, with the end token if that is to count.
    pub ids: &'a [u32],
}

/// The summed log-probability of each target. `source_deltas` are those of the encoded rows, `deltas` those of the
/// targets' rows, in the order of the targets.
pub fn score_targets(
    backbone: &Backbone,
    encoded: &Encoded,
    source_deltas: &dyn Deltas,
    targets: &[Target],
    deltas: &dyn Deltas,
) -> Result<Vec<f32>> {
    let model = &backbone.model;
    let shifted = |target: &Target| {
        let before = &target.ids[..target.ids.len() - 1];
        std::iter::once(backbone.config.start).chain(before.iter().copied()).collect()
    };
    let inputs: Vec<Vec<u32>> = targets.iter().map(shifted).collect();
    let inputs = model.batch(&inputs)?;
    let of: Vec<_> = targets.iter().map(|target| target.row).collect();
    let logits = model.decode_rows(encoded, source_deltas, &of, &inputs, deltas); // [rows, width, vocab]
    let (rows, width) = (inputs.rows(), inputs.width());
    let padded =
        |target: &Target| target.ids.iter().copied().chain(std::iter::repeat(0)).take(width).collect::<Vec<_>>();
    let ids = targets.iter().flat_map(padded).collect();
    let vocab = logits.dims()[2];
    let found = target_log_probabilities(logits.reshape([rows * width, vocab]), ids); // [rows · width]
    let found = found.try_into_vec_as::<f32>().map_err(|error| Error::Input(error.to_string()))?;
    let sum = |(found, target): (&[f32], &Target)| found[..target.ids.len()].iter().sum();
    Ok(found.chunks(width).zip(targets).map(sum).collect())
}
