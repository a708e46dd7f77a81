//! Scores of given targets: teacher-forced decoder passes over sources that are already encoded.

use super::decoding::count;
use super::sources::{retain, seen};
use super::{Error, Result};
use crate::delta::{Single, View};
use crate::t5::{Backbone, Memory, Question, Sources, decoder_positions, score_targets};
use std::ops::Range;
use std::sync::Arc;

/// Decoder positions of one pass, padding included, for whose logits over the whole vocabulary there must be room.
pub(super) const POSITIONS: usize = 512;

/// Targets to score.
pub(super) struct Scored<'a> {
    /// The source in memory.
    pub(super) source: usize,
    pub(super) adapter: Option<Arc<Single>>,
    pub(super) targets: &'a [Vec<u32>],
}

/// A part of a request's targets.
struct Piece {
    request: usize,
    targets: Range<usize>,
    positions: usize,
}

/// The summed log-probability of each target of each request, as far as they are known. Targets of one request share what they
/// begin with alike, and as many requests share a pass as fit.
pub(super) struct Scores {
    pub(super) of: Vec<Vec<f32>>,
    left: Vec<Piece>,
}

impl Scores {
    /// Of these requests, none yet.
    pub(super) fn new(requests: &[Scored]) -> Self {
        let pieces = requests.iter().enumerate().flat_map(|(at, request)| pieces(at, request.targets));
        Self { of: requests.iter().map(|_| Vec::new()).collect(), left: pieces.collect() }
    }

    /// Forgets the requests that are not kept.
    pub(super) fn retain(&mut self, kept: &[bool]) {
        retain(&mut self.of, kept);
        self.left.retain(|piece| kept[piece.request]);
        let before = |request: usize| kept[..request].iter().filter(|kept| **kept).count();
        self.left.iter_mut().for_each(|piece| piece.request = before(piece.request));
    }

    /// Makes one pass of those that are left; gives whether all is known.
    pub(super) fn advance(&mut self, backbone: &Backbone, memory: &Memory, requests: &[Scored]) -> Result<bool> {
        let rest = self.left.split_off(fitting(&self.left));
        let pass = std::mem::replace(&mut self.left, rest);
        if !pass.is_empty() {
            for (piece, found) in pass.iter().zip(one_pass(backbone, memory, requests, &pass)?) {
                self.of[piece.request].extend(found);
            }
        }
        Ok(self.left.is_empty())
    }
}

/// Cuts targets so that each piece has room in a pass, or is a single target.
fn pieces(request: usize, targets: &[Vec<u32>]) -> Vec<Piece> {
    let (mut pieces, mut begin) = (Vec::new(), 0);
    while begin < targets.len() {
        let mut end = targets.len();
        while end - begin > 1 && decoder_positions(&targets[begin..end]) > POSITIONS {
            end = begin + (end - begin).div_ceil(2);
        }
        pieces.push(Piece { request, targets: begin..end, positions: decoder_positions(&targets[begin..end]) });
        begin = end;
    }
    pieces
}

/// How many of the first pieces one pass takes: at least one, and no more positions than there is room for.
fn fitting(pieces: &[Piece]) -> usize {
    let mut width = 0;
    let fits = |(index, piece): &(usize, &Piece)| {
        width = width.max(piece.positions);
        *index == 0 || (index + 1) * width <= POSITIONS
    };
    pieces.iter().enumerate().take_while(fits).count()
}

fn one_pass(backbone: &Backbone, memory: &Memory, requests: &[Scored], pass: &[Piece]) -> Result<Vec<Vec<f32>>> {
    let adapters: Vec<_> = pass.iter().map(|piece| requests[piece.request].adapter.clone()).collect();
    count(&adapters);
    let of: Vec<_> = pass.iter().map(|piece| requests[piece.request].source).collect();
    // other requests' sources have no part in this pass
    let (memory, of) = seen(memory.clone(), &of);
    let question = |(piece, source): (&Piece, usize)| Question {
        source,
        targets: &requests[piece.request].targets[piece.targets.clone()],
    };
    let questions: Vec<_> = pass.iter().zip(of).map(question).collect();
    score_targets(backbone, Sources::Memory(&memory), &questions, View::new(&adapters, backbone).deltas())
        .map_err(|error| Error::Internal(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{backbone, single, source, structures, values};
    use super::*;
    use crate::t5::Frozen;
    use burn::tensor::activation::log_softmax;

    fn score(backbone: &Backbone, memory: &Memory, requests: &[Scored]) -> Result<Vec<Vec<f32>>> {
        let mut scores = Scores::new(requests);
        while !scores.advance(backbone, memory, requests)? {}
        Ok(scores.of)
    }

    #[test]
    fn a_pass_takes_what_fits_and_at_least_one() {
        let check = |positions: &[usize], wanted: usize| {
            let pieces: Vec<_> =
                positions.iter().map(|positions| Piece { request: 0, targets: 0..0, positions: *positions }).collect();
            assert_eq!(fitting(&pieces), wanted, "{positions:?}");
        };
        check(&[POSITIONS + 1, 1], 1);
        check(&[POSITIONS / 2; 3], 2);
        check(&[1, 2, POSITIONS / 2], 2);
        check(&[2; 5], 5);
    }

    #[test]
    fn many_targets_are_cut_and_none_is_lost() {
        let targets: Vec<Vec<u32>> = (0..700).map(|n| vec![n, 0, 1]).collect(); // two nodes each
        let found = pieces(3, &targets);
        assert!(found.len() > 2 && found.iter().all(|piece| piece.request == 3 && piece.positions <= POSITIONS));
        assert!(found.iter().flat_map(|piece| piece.targets.clone()).eq(0..targets.len()));
        let long = [vec![0; POSITIONS + 9], vec![5, 1]];
        assert_eq!(pieces(0, &long).iter().map(|piece| piece.targets.len()).collect::<Vec<_>>(), [1, 1]);
    }

    /// Prefixes and sources are computed once; before, each target was a row with a source of its own.
    #[test]
    fn scores_are_those_of_sources_repeated_target_by_target() {
        let backbone = backbone();
        let model = &backbone.model;
        let lists = structures(&backbone);
        let adapter = |at: usize| Some(single(&backbone, &lists[at], &values(&backbone, &lists[at], at as u64)));
        let alike = |a: &[u32], b: &[u32]| [a, b].concat();
        let check = |adapters: &[Option<Arc<Single>>], lengths: &[usize], targets: &[Vec<Vec<u32>>]| {
            let sources: Vec<_> = lengths.iter().map(|len| source(*len, *len as u64)).collect();
            let encoded = model.encode(&model.batch(&sources).unwrap(), View::new(adapters, &backbone).deltas());
            let memory = model.memory(&encoded, View::new(adapters, &backbone).deltas());
            let scored = |(at, targets)| Scored { source: at, adapter: adapters[at].clone(), targets };
            let requests: Vec<_> = targets.iter().map(Vec::as_slice).enumerate().map(scored).collect();
            let found = score(&backbone, &memory, &requests).unwrap();
            for (at, (found, targets)) in found.iter().zip(targets).enumerate() {
                assert_eq!(found.len(), targets.len());
                for (found, ids) in found.iter().zip(targets) {
                    let row = &[adapters[at].clone()];
                    let view = View::new(row, &backbone);
                    let encoded = model.encode(&model.batch(&sources[at..=at]).unwrap(), view.deltas());
                    let inputs = model.batch(&[alike(&[backbone.config.start], &ids[..ids.len() - 1])]).unwrap();
                    let logits = log_softmax(model.decode(&encoded, &inputs, view.deltas()), 2);
                    let logits = logits.try_into_vec_as::<f32>().unwrap();
                    let each = logits.chunks(backbone.config.vocab_size).zip(ids);
                    let wanted: f32 = each.map(|(logits, id)| logits[*id as usize]).sum();
                    assert!((found - wanted).abs() < 1e-5 * ids.len() as f32, "{ids:?}: {found}, not {wanted}");
                }
            }
        };
        let begin = source(3, 77)[..2].to_vec();
        let shared = vec![alike(&begin, &[5, 1]), alike(&begin, &[6, 7, 1]), begin.clone(), vec![9, 1], vec![9, 1]];
        let words = |n: u64| vec![source(1, n), source(2, n + 1), source(4, n + 2)];
        check(&[None, None], &[5, 9], &[words(1), shared.clone()]);
        check(&[adapter(0), adapter(0)], &[4, 4], &[shared.clone(), shared.clone()]);
        let mixed = [adapter(0), None, adapter(1), adapter(4)];
        check(&mixed, &[7, 3, 12, 5], &[words(4), words(8), shared, words(12)]);
    }

    /// Rows of several adapters over one source are scored as each alone.
    #[test]
    fn a_source_that_rows_share_is_seen_by_all_of_them() {
        let backbone = backbone();
        let (model, lists) = (&backbone.model, structures(&backbone));
        let single = |at: usize| single(&backbone, &lists[at], &values(&backbone, &lists[at], at as u64));
        let adapters = [None, Some(single(6)), Some(single(6))]; // leaves encoder, keys and values alone
        let sources = [source(7, 3), source(4, 4)];
        let encoded = model.encode(&model.batch(&sources).unwrap(), &Frozen);
        let memory = model.memory(&encoded, &Frozen);
        let targets = [vec![vec![5, 1], vec![5, 6, 1], vec![7, 1]], vec![vec![8, 9, 1]]];
        let request = |(source, adapter, of): (usize, usize, usize)| Scored {
            source,
            adapter: adapters[adapter].clone(),
            targets: &targets[of],
        };
        let rows = [(1, 0, 0), (0, 1, 1), (1, 2, 0), (1, 1, 1), (0, 0, 0)];
        let together = score(&backbone, &memory, &rows.map(request)).unwrap();
        for (row, together) in rows.into_iter().zip(together) {
            let alone = score(&backbone, &memory, &[request(row)]).unwrap().remove(0);
            for (a, b) in together.iter().zip(&alone) {
                assert!((a - b).abs() < 1e-4, "{row:?}: {together:?} instead of {alone:?}");
            }
        }
    }
}
