//! Scores of given targets: teacher-forced decoder passes over sources that are already encoded.

use super::decoding::count;
use super::view::View;
use super::{Error, Result};
use crate::delta::Single;
use crate::t5::{Backbone, Encoded, Target, score_targets};
use std::sync::Arc;

/// Decoder positions of one pass, padding included, for whose logits over the whole vocabulary there must be room.
pub(super) const POSITIONS: usize = 512;

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
    let of = |rows: &[usize]| rows.iter().map(|row| adapters[*row].clone()).collect::<Vec<_>>();
    let rows: Vec<_> = targets.iter().map(|target| target.row).collect();
    // other rows' sources have no part in this pass
    let mut sources = rows.clone();
    sources.sort_unstable();
    sources.dedup();
    let place = |row: usize| sources.binary_search(&row).expect("every target's row is among the sources");
    let placed: Vec<_> = targets.iter().map(|target| Target { row: place(target.row), ..*target }).collect();
    let (adapters, source_adapters) = (of(&rows), of(&sources));
    count(&adapters);
    let (view, source_view) = (View::new(&adapters, backbone), View::new(&source_adapters, backbone));
    score_targets(backbone, &encoded.select(&sources), source_view.deltas(), &placed, view.deltas())
        .map_err(|error| Error::Internal(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{backbone, single, source, structures, values};
    use super::*;
    use burn::tensor::activation::log_softmax;

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

    /// The keys and values of a source are computed once for all of its targets; before, they were for each of them.
    #[test]
    fn scores_are_those_of_sources_repeated_target_by_target() {
        let backbone = backbone();
        let model = &backbone.model;
        let lists = structures(&backbone);
        let adapter = |at: usize| Some(single(&backbone, &lists[at], &values(&backbone, &lists[at], at as u64)));
        let check = |adapters: &[Option<Arc<Single>>], lengths: &[usize], of: &[(usize, usize)]| {
            let sources: Vec<_> = lengths.iter().map(|len| source(*len, *len as u64)).collect();
            let ids: Vec<_> = of.iter().map(|(_, len)| source(*len, 50 + *len as u64)).collect();
            let targets: Vec<_> = of.iter().zip(&ids).map(|((row, _), ids)| Target { row: *row, ids }).collect();
            let encoded = model.encode(&model.batch(&sources).unwrap(), View::new(adapters, &backbone).deltas());
            let found = score(&backbone, &encoded, adapters, &targets).unwrap();

            let rows: Vec<_> = of.iter().map(|(row, _)| *row).collect();
            let repeated: Vec<_> = rows.iter().map(|row| adapters[*row].clone()).collect();
            let inputs: Vec<_> =
                ids.iter().map(|ids| [&[backbone.config.start], &ids[..ids.len() - 1]].concat()).collect();
            let inputs = model.batch(&inputs).unwrap();
            let view = View::new(&repeated, &backbone);
            let logits = log_softmax(model.decode(&encoded.select(&rows), &inputs, view.deltas()), 2);
            let (vocab, logits) = (backbone.config.vocab_size, logits.try_into_vec_as::<f32>().unwrap());
            for ((found, logits), ids) in found.iter().zip(logits.chunks(inputs.width() * vocab)).zip(&ids) {
                let wanted: f32 = logits.chunks(vocab).zip(ids).map(|(logits, id)| logits[*id as usize]).sum();
                assert!((found - wanted).abs() < 1e-5 * ids.len() as f32, "{of:?}: {found} instead of {wanted}");
            }
        };
        check(&[None, None], &[5, 9], &[(0, 1), (0, 3), (1, 2), (1, 1)]);
        check(&[adapter(0), adapter(0)], &[4, 4], &[(0, 2), (0, 2), (0, 2), (1, 2)]);
        check(&[adapter(0), None, adapter(1), adapter(4)], &[7, 3, 12, 5], &[(0, 2), (0, 1), (2, 4), (3, 1), (3, 3)]);
        check(&[adapter(1), adapter(2), adapter(1)], &[6, 6, 2], &[(2, 1), (0, 2), (2, 3), (1, 2), (0, 1)]);
    }
}
