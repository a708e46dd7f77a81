//! Encoded sources, and what the decoder sees of them. Both can be taken apart source by source and put together again, so
//! that a source is encoded once for all who ask about it.

use super::attention::KeysValues;
use super::batch::mask_of;
use super::slots::{ids, widen};
use burn::tensor::{Device, Tensor};

/// The encoder's output for a batch.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// `[batch, len, d_model]`; rows of padding hold numbers of no meaning.
    pub hidden: Tensor<3>,
    /// Tokens of each source.
    pub(super) lengths: Vec<usize>,
}

/// What the decoder sees of encoded sources: cross-attention's keys and values of every layer.
#[derive(Debug, Clone)]
pub struct Memory {
    /// `[sources, heads, len, d_kv]` a layer.
    pub(super) layers: Vec<KeysValues>,
    /// Tokens of each source.
    pub(super) lengths: Vec<usize>,
}

/// What the decoder is to see of encoded sources, as far as it is computed.
#[derive(Debug)]
pub struct Remembering {
    pub(super) encoded: Encoded,
    pub(super) layers: Vec<KeysValues>,
}

impl Remembering {
    /// Nothing yet of these sources.
    pub fn new(encoded: Encoded) -> Self {
        Self { encoded, layers: Vec::new() }
    }

    /// What the decoder sees, once no layer is missing.
    pub fn memory(self) -> Memory {
        Memory { layers: self.layers, lengths: self.encoded.lengths }
    }
}

impl Encoded {
    /// Number of sources.
    pub fn rows(&self) -> usize {
        self.lengths.len()
    }

    /// These rows, in this order; a row may be named more than once.
    pub fn select(&self, rows: &[usize]) -> Self {
        let hidden = self.hidden.clone().select(0, ids(rows, &self.hidden.device()));
        Self { hidden, lengths: pick(&self.lengths, rows) }
    }

    /// One source without padding, in memory of its own.
    pub fn row(&self, row: usize) -> Self {
        let len = self.lengths[row];
        let hidden = self.hidden.clone().narrow(1, 0, len).select(0, ids(&[row], &self.hidden.device()));
        Self { hidden, lengths: vec![len] }
    }

    /// The sources of all parts, in their order, as one batch.
    pub fn join(parts: &[Self]) -> Self {
        let lengths: Vec<usize> = parts.iter().flat_map(|part| part.lengths.iter().copied()).collect();
        let width = lengths.iter().copied().max().unwrap_or(0);
        let fitted = |part: &Self| widen(narrowed(part.hidden.clone(), 1, width), 1, width);
        Self { hidden: Tensor::cat(parts.iter().map(fitted).collect(), 0), lengths }
    }

    /// Bytes of the numbers.
    pub fn bytes(&self) -> usize {
        self.hidden.shape().num_elements() * self.hidden.dtype().size()
    }

    /// Added to cross-attention scores, `[batch, 1, 1, len]`; `None` without padding.
    pub(super) fn mask(&self) -> Option<Tensor<4>> {
        mask_of(&self.lengths, self.hidden.dims()[1], &self.hidden.device())
    }
}

impl Memory {
    /// Number of sources.
    pub fn rows(&self) -> usize {
        self.lengths.len()
    }

    /// These sources, in this order.
    pub fn select(&self, rows: &[usize]) -> Self {
        let ids = ids(rows, &self.device());
        let layers = self.layers.iter().map(|layer| layer.select(&ids)).collect();
        Self { layers, lengths: pick(&self.lengths, rows) }
    }

    /// One source without padding, in memory of its own.
    pub fn row(&self, row: usize) -> Self {
        let (len, ids) = (self.lengths[row], ids(&[row], &self.device()));
        let part = |tensor: &Tensor<4>| tensor.clone().narrow(2, 0, len).select(0, ids.clone());
        let layer = |layer: &KeysValues| KeysValues { keys: part(&layer.keys), values: part(&layer.values) };
        Self { layers: self.layers.iter().map(layer).collect(), lengths: vec![len] }
    }

    /// The sources of all parts, in their order.
    pub fn join(parts: &[Self]) -> Self {
        let lengths: Vec<usize> = parts.iter().flat_map(|part| part.lengths.iter().copied()).collect();
        let width = lengths.iter().copied().max().unwrap_or(0);
        let fitted = |tensor: &Tensor<4>| widen(narrowed(tensor.clone(), 2, width), 2, width);
        let join = |layer: usize, of: fn(&KeysValues) -> &Tensor<4>| {
            Tensor::cat(parts.iter().map(|part| fitted(of(&part.layers[layer]))).collect(), 0)
        };
        let layer = |at| KeysValues { keys: join(at, |layer| &layer.keys), values: join(at, |layer| &layer.values) };
        Self { layers: (0..parts[0].layers.len()).map(layer).collect(), lengths }
    }

    /// Bytes of the numbers.
    pub fn bytes(&self) -> usize {
        let of = |tensor: &Tensor<4>| tensor.shape().num_elements() * tensor.dtype().size();
        self.layers.iter().map(|layer| of(&layer.keys) + of(&layer.values)).sum()
    }

    /// Added to cross-attention scores, `[sources, 1, 1, len]`; `None` without padding.
    pub(super) fn mask(&self) -> Option<Tensor<4>> {
        mask_of(&self.lengths, self.layers[0].keys.dims()[2], &self.device())
    }

    pub(super) fn device(&self) -> Device {
        self.layers[0].keys.device()
    }

    /// The furthest that a number lies from that of another memory of the same sizes.
    #[cfg(test)]
    pub(crate) fn furthest(&self, other: &Self) -> f32 {
        let far = |a: &Tensor<4>, b: &Tensor<4>| (a.clone() - b.clone()).abs().max().into_scalar::<f32>();
        let layers = self.layers.iter().zip(&other.layers);
        layers.map(|(a, b)| far(&a.keys, &b.keys).max(far(&a.values, &b.values))).fold(0.0, f32::max)
    }
}

fn pick(lengths: &[usize], rows: &[usize]) -> Vec<usize> {
    rows.iter().map(|row| lengths[*row]).collect()
}

/// Without the padding beyond `width`.
fn narrowed<const D: usize>(tensor: Tensor<D>, dim: usize, width: usize) -> Tensor<D> {
    if tensor.dims()[dim] > width { tensor.narrow(dim, 0, width) } else { tensor }
}

#[cfg(test)]
mod tests {
    use super::super::{Backbone, Frozen};
    use burn::tensor::{Device, Tensor};

    fn floats<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
        tensor.clone().try_into_vec_as::<f32>().unwrap()
    }

    /// Sources that were taken apart and put together in another order are those of a batch in that order, but for padding.
    #[test]
    fn sources_come_apart_and_together() {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/tiny-v1.1");
        let backbone = Backbone::open(&dir, &Device::flex()).unwrap();
        let model = &backbone.model;
        let rows: Vec<Vec<u32>> = [5, 2, 9, 3].map(|len| (2..len + 1).chain([1]).collect()).to_vec();
        let encoded = model.encode(&model.batch(&rows).unwrap(), &Frozen);
        let memory = model.memory(&encoded, &Frozen);
        let order = [3, 0, 1];
        let parts: Vec<_> = order.iter().map(|row| encoded.row(*row)).collect();
        let joined = super::Encoded::join(&parts);
        let parts: Vec<_> = order.iter().map(|row| memory.row(*row)).collect();
        let seen = super::Memory::join(&parts);
        assert_eq!((joined.rows(), joined.hidden.dims()[1], seen.rows()), (3, 5, 3));
        assert_eq!(encoded.row(1).bytes(), 2 * encoded.hidden.dims()[2] * 4);
        assert_eq!(floats(&joined.mask().unwrap()), floats(&seen.mask().unwrap()));
        for (at, row) in order.into_iter().enumerate() {
            let len = rows[row].len();
            let of = |hidden: &Tensor<3>, row| floats(&hidden.clone().narrow(0, row, 1).narrow(1, 0, len));
            assert_eq!(of(&joined.hidden, at), of(&encoded.hidden, row));
            for (found, wanted) in seen.layers.iter().zip(&memory.layers) {
                let of = |keys: &Tensor<4>, row| floats(&keys.clone().narrow(0, row, 1).narrow(2, 0, len));
                assert_eq!(of(&found.keys, at), of(&wanted.keys, row));
                assert_eq!(of(&found.values, at), of(&wanted.values, row));
            }
        }
        let two = super::Encoded::join(&[encoded.select(&[1, 3]), encoded.row(1)]);
        assert_eq!((two.hidden.dims()[1], two.lengths.clone()), (3, vec![2, 3, 2]), "no wider than its longest source");
    }
}
