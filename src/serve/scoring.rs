//! Scores of given targets: teacher-forced decoder passes over sources that are already encoded.

use super::decoding::count;
use super::view::View;
use super::{Error, Result};
use crate::delta::Single;
use crate::t5::{Backbone, Encoded};
use burn::tensor::{Int, Tensor, TensorData, activation::log_softmax};
use std::sync::Arc;

/// Decoder positions of one pass, padding included, for whose logits over the whole vocabulary there must be room.
pub(super) const POSITIONS: usize = 512;

/// A target of one of the encoded rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    /// Row of the encoded batch.
    pub(super) row: usize,
    /// Its ids, with the end token if that is to count.
    pub(super) ids: &'a [u32],
}

/// The summed log-probability of each target; `adapters` are those of the encoded rows.
///
/// As many targets share a pass as fit.
pub(super) fn score(
    backbone: &Backbone,
    encoded: &Encoded,
    adapters: &[Option<Arc<Single>>],
    targets: &[Target],
) -> Result<Vec<f32>> {
    let mut scores = Vec::with_capacity(targets.len());
    let mut left = targets;
    while !left.is_empty() {
        let (pass, rest) = left.split_at(fitting(left));
        scores.extend(one_pass(backbone, encoded, adapters, pass)?);
        left = rest;
    }
    Ok(scores)
}

/// How many of the first targets one pass takes: at least one, and no more positions than there is room for.
fn fitting(targets: &[Target]) -> usize {
    let mut width = 0;
    let fits = |(index, target): &(usize, &Target)| {
        width = width.max(target.ids.len());
        *index == 0 || (index + 1) * width <= POSITIONS
    };
    targets.iter().enumerate().take_while(fits).count()
}

fn one_pass(
    backbone: &Backbone,
    encoded: &Encoded,
    adapters: &[Option<Arc<Single>>],
    targets: &[Target],
) -> Result<Vec<f32>> {
    let internal = |error: &dyn std::fmt::Display| Error::Internal(error.to_string());
    let model = &backbone.model;
    let rows: Vec<_> = targets.iter().map(|target| target.row).collect();
    let adapters: Vec<_> = rows.iter().map(|row| adapters[*row].clone()).collect();
    count(&adapters);
    let shifted = |target: &Target| {
        let before = &target.ids[..target.ids.len() - 1];
        std::iter::once(backbone.config.start).chain(before.iter().copied()).collect()
    };
    let inputs: Vec<Vec<u32>> = targets.iter().map(shifted).collect();
    let inputs = model.batch(&inputs).map_err(|error| internal(&error))?;
    let view = View::new(&adapters, backbone);
    let logits = model.decode(&encoded.select(&rows), &inputs, view.deltas()); // [rows, width, vocab]
    let (rows, width) = (inputs.rows(), inputs.width());
    let padded = |target: &Target| {
        let ids = target.ids.iter().map(|id| *id as i32);
        ids.chain(std::iter::repeat(0)).take(width).collect::<Vec<_>>()
    };
    let ids: Vec<i32> = targets.iter().flat_map(padded).collect();
    let ids = Tensor::<3, Int>::from_data(TensorData::new(ids, [rows, width, 1]), model.device());
    let found = log_softmax(logits, 2).gather(2, ids); // [rows, width, 1]
    let found = found.try_into_vec_as::<f32>().map_err(|error| internal(&error))?;
    let sum = |(found, target): (&[f32], &Target)| found[..target.ids.len()].iter().sum();
    Ok(found.chunks(width).zip(targets).map(sum).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_takes_what_fits_and_at_least_one() {
        let long = vec![0; POSITIONS + 1];
        let check = |lengths: &[usize], wanted: usize| {
            let targets: Vec<_> = lengths.iter().map(|len| Target { row: 0, ids: &long[..*len] }).collect();
            assert_eq!(fitting(&targets), wanted, "{lengths:?}");
        };
        check(&[POSITIONS + 1, 1], 1);
        check(&[POSITIONS / 2; 3], 2);
        check(&[1, 2, POSITIONS / 2], 2);
        check(&[2; 5], 5);
    }
}
