//! Scores of given targets: one teacher-forced pass of the decoder over sources that are encoded, in which what a source's
//! targets begin with alike is computed once.

use super::attention::Attention;
use super::kernels::target_log_probabilities;
use super::keys_values::Attended;
use super::tree::Tree;
use super::{Backbone, Deltas, Encoded, Error, Memory, Result};
use burn::tensor::{Int, Tensor, TensorData};
use std::collections::BTreeMap;

/// What the decoder is to see.
#[derive(Clone, Copy)]
pub enum Sources<'a> {
    /// Encoded sources with their deltas: keys and values are computed layer by layer, and held no longer than a layer takes.
    Encoded(&'a Encoded, &'a dyn Deltas),
    /// Keys and values that are there already.
    Memory(&'a Memory),
}

impl<'a> Sources<'a> {
    /// Keys and values of a layer's cross-attention.
    pub(super) fn attended(self, layer: usize, attention: &Attention) -> Attended<'a> {
        match self {
            Self::Encoded(encoded, deltas) => {
                Attended::Together(attention.project_context(encoded.hidden.clone(), deltas))
            }
            Self::Memory(memory) => Attended::Apart(memory.layer(layer)),
        }
    }

    /// What hides the padding of sources side by side.
    pub(super) fn mask(self) -> Option<Tensor<4>> {
        match self {
            Self::Encoded(encoded, _) => encoded.mask(),
            Self::Memory(_) => None,
        }
    }
}

/// Targets of one source.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The source.
    pub source: usize,
    /// Ids of each target, at least one id and one target, with the end token if that is to count.
    pub targets: &'a [Vec<u32>],
}

/// The summed log-probability of each target of each question. Every source has a question; `deltas` are those of the
/// questions, a row each.
///
/// # Errors
/// If an id is outside of the vocabulary.
pub fn score_targets(
    backbone: &Backbone,
    sources: Sources<'_>,
    questions: &[Question],
    deltas: &dyn Deltas,
) -> Result<Vec<Vec<f32>>> {
    let trees: Vec<_> = questions.iter().map(|one| Tree::new(backbone.config.start, one.targets)).collect();
    let of: Vec<_> = questions.iter().map(|question| question.source).collect();
    let logits = backbone.model.decode_trees(sources, &of, &trees, deltas)?; // [rows, nodes, vocab]
    let [rows, width, vocab] = logits.dims();
    let logits = logits.reshape([rows * width, vocab]);
    let asked = |row: usize| {
        let paths = trees[row].paths.iter().zip(questions[row].targets);
        paths.flat_map(move |(path, ids)| path.iter().zip(ids).map(move |(node, id)| (row * width + node, *id)))
    };
    // a node's first id through the kernel; the others of the node by how far their logits lie from that one's
    let mut first = vec![0; rows * width];
    let mut seen = vec![false; rows * width];
    let mut others = BTreeMap::new();
    for (node, id) in (0..rows).flat_map(asked) {
        if !std::mem::replace(&mut seen[node], true) {
            first[node] = id;
        } else if first[node] != id {
            others.insert((node, id), 0.0);
        }
    }
    if !others.is_empty() {
        let at = |node: usize, id: u32| (node * vocab) as i32 + id as i32;
        let places: Vec<i32> = others.keys().flat_map(|(node, id)| [at(*node, *id), at(*node, first[*node])]).collect();
        let places = Tensor::<1, Int>::from_data(TensorData::from(places.as_slice()), &logits.device());
        let picked = floats(logits.clone().reshape([rows * width * vocab]).select(0, places))?;
        others.values_mut().zip(picked.chunks(2)).for_each(|(further, pair)| *further = pair[0] - pair[1]);
    }
    let firsts = floats(target_log_probabilities(logits, first))?; // [rows · nodes]
    let score = |row: usize| {
        let paths = trees[row].paths.iter().zip(questions[row].targets);
        let sum = |(path, ids): (&Vec<usize>, &Vec<u32>)| {
            let each = path.iter().zip(ids).map(|(node, id)| (row * width + node, *id));
            each.map(|place| firsts[place.0] + others.get(&place).copied().unwrap_or(0.0)).sum()
        };
        paths.map(sum).collect()
    };
    Ok((0..rows).map(score).collect())
}

fn floats(tensor: Tensor<1>) -> Result<Vec<f32>> {
    tensor.try_into_vec_as::<f32>().map_err(|error| Error::Input(error.to_string()))
}
