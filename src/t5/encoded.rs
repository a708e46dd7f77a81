//! Encoded sources, and what the decoder sees of them. Both can be taken apart source by source and put together again, so
//! that a source is encoded once for all who ask about it.

use super::batch::mask_of;
use super::keys_values::KeysValues;
use super::slots::{ids, widen};
use burn::tensor::{Device, Tensor};
use std::sync::Arc;

/// The encoder's output for a batch.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// `[batch, len, d_model]`; rows of padding hold numbers of no meaning.
    pub hidden: Tensor<3>,
    /// Tokens of each source.
    pub(super) lengths: Vec<usize>,
}

/// What the decoder sees of encoded sources: cross-attention's keys and values of every layer, each source's in memory of its own,
/// where they stay whoever asks about it.
#[derive(Debug, Clone)]
pub struct Memory {
    /// By source: `[1, heads, len, d_kv]` a layer.
    sources: Vec<Arc<[KeysValues]>>,
}

/// What the decoder is to see of encoded sources, as far as it is computed.
#[derive(Debug)]
pub struct Remembering {
    pub(super) encoded: Encoded,
    /// By source, as many as are encoded.
    sources: Vec<Vec<KeysValues>>,
}

impl Remembering {
    /// Nothing yet of these sources.
    pub fn new(encoded: Encoded) -> Self {
        Self { sources: vec![Vec::new(); encoded.rows()], encoded }
    }

    /// Layers that are there.
    pub(super) fn layers(&self) -> usize {
        self.sources.first().map_or(0, Vec::len)
    }

    /// Adds a layer, `[sources, heads, len, d_kv]`.
    pub(super) fn push(&mut self, layer: &KeysValues) {
        self.sources.iter_mut().zip(layer.apart(&self.encoded.lengths)).for_each(|(source, row)| source.push(row));
    }

    /// What the decoder sees, once no layer is missing.
    pub fn memory(self) -> Memory {
        Memory { sources: self.sources.into_iter().map(Into::into).collect() }
    }
}

impl Encoded {
    /// Number of sources.
    pub fn rows(&self) -> usize {
        self.lengths.len()
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
        self.sources.len()
    }

    /// These sources, in this order; a source may be named more than once. Nothing is copied.
    pub fn select(&self, rows: &[usize]) -> Self {
        Self { sources: rows.iter().map(|row| Arc::clone(&self.sources[*row])).collect() }
    }

    /// The sources of all parts, in their order. Nothing is copied.
    pub fn join(parts: &[Self]) -> Self {
        Self { sources: parts.iter().flat_map(|part| part.sources.iter().cloned()).collect() }
    }

    /// Number of layers.
    pub(super) fn layers(&self) -> usize {
        self.sources[0].len()
    }

    /// Keys and values of a layer, source by source.
    pub(super) fn layer(&self, layer: usize) -> Vec<&KeysValues> {
        self.sources.iter().map(|source| &source[layer]).collect()
    }

    /// Tokens of each source.
    pub(super) fn lengths(&self) -> Vec<usize> {
        self.sources.iter().map(|source| source[0].width()).collect()
    }

    /// Tokens of all sources, one that stands twice once.
    pub(super) fn distinct_tokens(&self) -> usize {
        let place = |source: &&Arc<[KeysValues]>| source.as_ptr();
        let mut sources: Vec<_> = self.sources.iter().collect();
        sources.sort_by_key(place);
        sources.dedup_by_key(|source| place(source));
        sources.into_iter().map(|source| source[0].width()).sum()
    }

    /// Bytes of the numbers.
    pub fn bytes(&self) -> usize {
        self.sources.iter().flat_map(|source| source.iter()).map(KeysValues::bytes).sum()
    }

    pub(super) fn device(&self) -> Device {
        self.sources[0][0].keys.device()
    }

    /// The furthest that a number lies from that of another memory of the same sizes.
    #[cfg(test)]
    pub(crate) fn furthest(&self, other: &Self) -> f32 {
        let far = |a: &Tensor<4>, b: &Tensor<4>| (a.clone() - b.clone()).abs().max().into_scalar::<f32>();
        let all = |memory: &Self| memory.sources.iter().flat_map(|source| source.to_vec()).collect::<Vec<_>>();
        let each = all(self).into_iter().zip(all(other));
        each.map(|(a, b)| far(&a.keys, &b.keys).max(far(&a.values, &b.values))).fold(0.0, f32::max)
    }
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
        let parts: Vec<_> = order.iter().map(|row| memory.select(&[*row])).collect();
        let seen = super::Memory::join(&parts);
        assert_eq!((joined.rows(), joined.hidden.dims()[1], seen.lengths()), (3, 5, vec![3, 5, 2]));
        assert_eq!(encoded.row(1).bytes(), 2 * encoded.hidden.dims()[2] * 4);
        for (at, row) in order.into_iter().enumerate() {
            let len = rows[row].len();
            let of = |hidden: &Tensor<3>, row| floats(&hidden.clone().narrow(0, row, 1).narrow(1, 0, len));
            assert_eq!(of(&joined.hidden, at), of(&encoded.hidden, row));
            assert_eq!(seen.select(&[at]).furthest(&memory.select(&[row])), 0.0);
        }
        let two = super::Encoded::join(&[1, 3, 1].map(|row| encoded.row(row)));
        assert_eq!((two.hidden.dims()[1], two.lengths.clone()), (3, vec![2, 3, 2]), "no wider than its longest source");
    }
}
