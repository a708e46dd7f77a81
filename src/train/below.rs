//! Activations below the lowest delta module: no training changes them, so that they are computed once and kept for all epochs.

use super::data::PIECE_ROWS;
use super::{Example, Result};
use crate::structure::Structure;
use crate::t5::{Backbone, Deltas, Encoded, Frozen, T5, TokenBatch};
use std::sync::OnceLock;

/// What comes out of the encoder's blocks below the lowest module, for the rows that fit into the memory given.
///
/// A row is always computed beside the same others, those of its group, so that its numbers do not depend on which step asks for
/// it first, nor on where a run was resumed.
#[derive(Debug)]
pub(super) struct Below {
    /// Blocks below the lowest module.
    blocks: usize,
    groups: Vec<Group>,
    /// Group of each row and its place there; none if it is not kept.
    places: Vec<Option<(usize, usize)>>,
}

#[derive(Debug)]
struct Group {
    sources: TokenBatch,
    /// By row, once a step has asked.
    outputs: OnceLock<Vec<Encoded>>,
}

impl Below {
    /// For these rows, as many as fit into `limit` bytes; `None` if there is none, or the first block has a module already.
    ///
    /// # Errors
    /// If a row holds an id that the backbone does not have.
    pub(super) fn new(
        structure: &Structure,
        backbone: &Backbone,
        rows: &[Example],
        limit: usize,
    ) -> Result<Option<Self>> {
        let block = |path: &str| path.strip_prefix("encoder.block.")?.split('.').next()?.parse().ok();
        let blocks = structure.first_position().and_then(block).unwrap_or(backbone.model.encoder_blocks());
        let limit = if blocks == 0 { 0 } else { limit };
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by_key(|row| rows[*row].source.len()); // alike lengths together, so that little is padded
        let (mut groups, mut places, mut bytes) = (Vec::new(), vec![None; rows.len()], 0);
        for numbers in order.chunks(PIECE_ROWS) {
            let sources: Vec<_> = numbers.iter().map(|row| rows[*row].source.as_slice()).collect();
            bytes +=
                sources.iter().map(|source| source.len()).sum::<usize>() * backbone.config.d_model * size_of::<f32>();
            if bytes > limit {
                break;
            }
            numbers.iter().enumerate().for_each(|(at, row)| places[*row] = Some((groups.len(), at)));
            groups.push(Group { sources: backbone.model.batch(&sources)?, outputs: OnceLock::new() });
        }
        Ok((!groups.is_empty()).then_some(Self { blocks, groups, places }))
    }

    /// What `T5::encode` gives for the rows of these numbers, where `batch` are their sources.
    pub(super) fn encode(&self, model: &T5, batch: &TokenBatch, rows: &[usize], deltas: &dyn Deltas) -> Encoded {
        let kept = |at: usize| self.places[rows[at]];
        let others: Vec<_> = (0..rows.len()).filter(|at| kept(*at).is_none()).collect();
        let mut computed = match others.is_empty() {
            true => Vec::new(),
            false => self.output(model, &batch.select(&others)),
        }
        .into_iter();
        let of = |at| match kept(at) {
            Some((group, place)) => self.group(model, &self.groups[group])[place].clone(),
            None => computed.next().expect("a row that is not kept was computed"),
        };
        let mut encoding = model.resume(Encoded::join(&(0..rows.len()).map(of).collect::<Vec<_>>()), self.blocks);
        model.advance(&mut encoding, usize::MAX, deltas);
        model.encoded(encoding, deltas)
    }

    fn group<'a>(&self, model: &T5, group: &'a Group) -> &'a [Encoded] {
        if group.outputs.get().is_none() {
            // two threads may compute the same: one that waited for the other inside the pool could wait for itself
            let _ = group.outputs.set(self.output(model, &group.sources));
        }
        group.outputs.get().expect("it was set")
    }

    /// What comes out of the blocks below the lowest module, row by row.
    fn output(&self, model: &T5, sources: &TokenBatch) -> Vec<Encoded> {
        let mut encoding = model.begin(sources);
        model.advance(&mut encoding, self.blocks, &Frozen);
        let found = encoding.halfway();
        (0..found.rows()).map(|row| found.row(row)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::{Layout, Single};
    use crate::structure::{DeltaModule, Kind, Origin, Provenance};
    use burn::tensor::{Device, Tensor};
    use std::path::Path;

    fn floats(tensor: Tensor<3>) -> Vec<f32> {
        tensor.try_into_vec_as::<f32>().unwrap()
    }

    /// A module at this position and one in the decoder, on a backbone of two blocks, with memory for so many of 11 rows.
    #[track_caller]
    fn check(position: &str, limit: usize, blocks: usize, rows_kept: usize) {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/tiny-v1.1");
        let backbone = Backbone::open(&dir, &Device::flex()).unwrap();
        let modules = [position, "decoder.block.1.layer.0.layer_norm"].map(|at| DeltaModule::new(at, Kind::Bitfit));
        let structure = Structure::new(backbone.shape(), modules.to_vec(), Provenance::new(Origin::Manual)).unwrap();
        let source = |row: u32| (0..2 + row * 3 % 7).map(|at| 3 + (row * 5 + at) % 40).collect();
        let rows: Vec<_> = (0..11).map(|row| Example { source: source(row), answer: 0 }).collect();
        let found = Below::new(&structure, &backbone, &rows, limit).unwrap();
        let Some(below) = found else {
            assert_eq!(blocks, 0, "{position}");
            return;
        };
        assert_eq!(below.places.iter().flatten().count(), rows_kept, "{position}");
        assert_eq!(below.blocks, blocks, "{position}");
        let layout = Layout::new(&backbone.positions, &structure.modules).unwrap();
        let values = (0..layout.len()).map(|at| (at % 5) as f32 * 0.1).collect();
        let deltas = Single::new(&layout, values, backbone.positions.len(), &Device::flex());
        for numbers in [vec![4, 1, 9], vec![0, 10, 4, 4], vec![7], (0..11).collect()] {
            let sources: Vec<_> = numbers.iter().map(|row| rows[*row].source.as_slice()).collect();
            let batch = backbone.model.batch(&sources).unwrap();
            let found = below.encode(&backbone.model, &batch, &numbers, &deltas);
            let wanted = backbone.model.encode(&batch, &deltas);
            for (at, source) in sources.iter().enumerate() {
                let row = |encoded: &Encoded| floats(encoded.row(at).hidden);
                let (found, wanted) = (row(&found), row(&wanted));
                assert_eq!(found.len(), source.len() * backbone.config.d_model);
                let far = found.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(far < 1e-5, "{position}, row {} of {numbers:?}: {far}", numbers[at]);
            }
        }
    }

    #[test]
    fn what_is_kept_is_what_would_be_computed() {
        check("decoder.block.0.layer.0.layer_norm", usize::MAX, 2, 11);
        check("encoder.final_layer_norm", usize::MAX, 2, 11);
        check("encoder.block.1.layer.0.layer_norm", usize::MAX, 1, 11);
        check("encoder.block.0.layer.1.layer_norm", usize::MAX, 0, 0);
        check("decoder.block.0.layer.0.layer_norm", 8 * 8 * 20 * 4, 2, 8);
        check("encoder.block.1.layer.0.layer_norm", 0, 0, 0);
    }
}
