//! Activations below the lowest delta module: no training changes them, so that they are computed once and kept for all epochs.

use super::data::PIECE_ROWS;
use super::{Example, Result};
use crate::structure::{Reach, Structure};
use crate::t5::{Backbone, Deltas, Encoded, Frozen, Memory, Sources, T5, TokenBatch};
use std::sync::OnceLock;

/// What comes out of the blocks below the lowest module, for the rows that fit into the memory given: of the encoder's, or where
/// no module reads a source, and there is room for all, cross-attention's keys and values.
///
/// A row is always computed beside the same others, those of its group, so that its numbers do not depend on which step asks for
/// it first, nor on where a run was resumed.
#[derive(Debug)]
pub(super) struct Below {
    /// Blocks of the encoder below the lowest module.
    blocks: usize,
    /// Whether keys and values are kept.
    remembers: bool,
    groups: Vec<Group>,
    /// Group of each row and its place there; none if it is not kept.
    places: Vec<Option<(usize, usize)>>,
}

#[derive(Debug)]
struct Group {
    sources: TokenBatch,
    /// By row, once a step has asked.
    outputs: OnceLock<Vec<Seen>>,
}

/// What the decoder sees of sources, or what leads to it.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "one a row, beside the numbers that it stands for")]
pub(super) enum Seen {
    Encoded(Encoded),
    Memory(Memory),
}

impl Seen {
    /// Number of sources.
    pub(super) fn rows(&self) -> usize {
        match self {
            Self::Encoded(encoded) => encoded.rows(),
            Self::Memory(memory) => memory.rows(),
        }
    }

    /// For the decoder with these deltas.
    pub(super) fn sources<'a>(&'a self, deltas: &'a dyn Deltas) -> Sources<'a> {
        match self {
            Self::Encoded(encoded) => Sources::Encoded(encoded, deltas),
            Self::Memory(memory) => Sources::Memory(memory),
        }
    }
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
        let config = &backbone.config;
        let tokens: usize = rows.iter().map(|row| row.source.len()).sum();
        let keys_values = 2 * config.decoder_layers * config.inner() * size_of::<f32>();
        let Reach { spares_encoder, spares_keys_values } = structure.reach();
        let remembers = spares_encoder && spares_keys_values && tokens * keys_values <= limit;
        let each = if remembers { keys_values } else { config.d_model * size_of::<f32>() };
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by_key(|row| rows[*row].source.len()); // alike lengths together, so that little is padded
        let (mut groups, mut places, mut bytes) = (Vec::new(), vec![None; rows.len()], 0);
        for numbers in order.chunks(PIECE_ROWS) {
            let sources: Vec<_> = numbers.iter().map(|row| rows[*row].source.as_slice()).collect();
            bytes += sources.iter().map(|source| source.len()).sum::<usize>() * each;
            if bytes > limit {
                break;
            }
            numbers.iter().enumerate().for_each(|(at, row)| places[*row] = Some((groups.len(), at)));
            groups.push(Group { sources: backbone.model.batch(&sources)?, outputs: OnceLock::new() });
        }
        Ok((!groups.is_empty()).then_some(Self { blocks, remembers, groups, places }))
    }

    /// What the decoder sees of the rows of these numbers, where `batch` are their sources.
    pub(super) fn see(&self, model: &T5, batch: &TokenBatch, rows: &[usize], deltas: &dyn Deltas) -> Seen {
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
        let (mut encoded, mut memory) = (Vec::new(), Vec::new());
        (0..rows.len()).map(of).for_each(|seen| match seen {
            Seen::Encoded(row) => encoded.push(row),
            Seen::Memory(row) => memory.push(row),
        });
        if self.remembers {
            return Seen::Memory(Memory::join(&memory));
        }
        let mut encoding = model.resume(Encoded::join(&encoded), self.blocks);
        model.advance(&mut encoding, usize::MAX, deltas);
        Seen::Encoded(model.encoded(encoding, deltas))
    }

    fn group<'a>(&self, model: &T5, group: &'a Group) -> &'a [Seen] {
        if group.outputs.get().is_none() {
            // two threads may compute the same: one that waited for the other inside the pool could wait for itself
            let _ = group.outputs.set(self.output(model, &group.sources));
        }
        group.outputs.get().expect("it was set")
    }

    /// What comes out of the blocks below the lowest module, row by row.
    fn output(&self, model: &T5, sources: &TokenBatch) -> Vec<Seen> {
        if self.remembers {
            let memory = model.memory(&model.encode(sources, &Frozen), &Frozen);
            return (0..memory.rows()).map(|row| Seen::Memory(memory.select(&[row]))).collect();
        }
        let mut encoding = model.begin(sources);
        model.advance(&mut encoding, self.blocks, &Frozen);
        let found = encoding.halfway();
        (0..found.rows()).map(|row| Seen::Encoded(found.row(row))).collect()
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
    fn check(position: &str, limit: usize, blocks: usize, rows_kept: usize, remembers: bool) {
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
            let seen = below.see(&backbone.model, &batch, &numbers, &deltas);
            assert_eq!((seen.rows(), matches!(seen, Seen::Memory(_))), (numbers.len(), remembers), "{position}");
            let inputs = backbone.model.batch(&vec![[0, 7, 5]; numbers.len()]).unwrap();
            let found = floats(backbone.model.decode_from(seen.sources(&deltas), &inputs, &deltas));
            let wanted = floats(backbone.model.decode(&backbone.model.encode(&batch, &deltas), &inputs, &deltas));
            let far = found.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(far < 1e-4 && found.len() == wanted.len(), "{position}, {numbers:?}: {far}");
        }
    }

    #[test]
    fn what_is_kept_is_what_would_be_computed() {
        const ALL: usize = 1 << 20;
        check("decoder.block.0.layer.0.layer_norm", ALL, 2, 11, true);
        check("decoder.block.1.layer.1.EncDecAttention.v", ALL, 2, 11, false);
        check("encoder.final_layer_norm", ALL, 2, 11, false);
        check("encoder.block.1.layer.0.layer_norm", ALL, 1, 11, false);
        check("encoder.block.0.layer.1.layer_norm", ALL, 0, 0, false);
        check("decoder.block.0.layer.0.layer_norm", 8 * 8 * 20 * 4, 2, 8, false); // no room for keys and values
        check("encoder.block.1.layer.0.layer_norm", 0, 0, 0, false);
    }
}
