//! Keys and values: of a layer's rows side by side, or of each source where it lies.

use super::batch::mask_of;
use super::kernels::apart;
use super::slots::{self, widen};
use burn::tensor::Tensor;

/// Keys and values of one layer, each `[batch, heads, keys, d_kv]`.
#[derive(Debug, Clone)]
pub(super) struct KeysValues {
    pub(super) keys: Tensor<4>,
    pub(super) values: Tensor<4>,
}

/// The keys and values that a batch of queries attends to.
#[expect(clippy::large_enum_variant, reason = "one a call, on the stack")]
pub(super) enum Attended<'a> {
    /// Of all rows, as wide as the widest; a bias hides what pads the others.
    Together(KeysValues),
    /// Of each row of the batch by itself, `[1, heads, keys, d_kv]`, each as wide as it is.
    Apart(Vec<&'a KeysValues>),
}

impl KeysValues {
    /// Both changed alike.
    pub(super) fn map(self, change: impl Fn(Tensor<4>) -> Tensor<4>) -> Self {
        Self { keys: change(self.keys), values: change(self.values) }
    }

    /// The first rows.
    pub(super) fn first(self, rows: usize) -> Self {
        self.map(|tensor| tensor.narrow(0, 0, rows))
    }

    /// With the rows of `new` behind the first `rows`, `width` places wide, as [`slots::join`].
    pub(super) fn join(self, rows: usize, new: Self, width: usize) -> Self {
        Self {
            keys: slots::join(self.keys, rows, new.keys, width),
            values: slots::join(self.values, rows, new.values, width),
        }
    }

    /// The first places of each row, as many as its length, in memory of its own, each head's places side by side, as they are
    /// read at every step.
    pub(super) fn apart(&self, lengths: &[usize]) -> impl Iterator<Item = Self> {
        let [keys, values] = [&self.keys, &self.values].map(|tensor| apart(tensor, lengths));
        keys.into_iter().zip(values).map(|(keys, values)| Self { keys, values })
    }

    /// Places of each row.
    pub(super) fn width(&self) -> usize {
        self.keys.dims()[2]
    }

    /// Bytes of the numbers.
    pub(super) fn bytes(&self) -> usize {
        let of = |tensor: &Tensor<4>| tensor.shape().num_elements() * tensor.dtype().size();
        of(&self.keys) + of(&self.values)
    }
}

impl Attended<'_> {
    /// Side by side, with what hides the padding of those that stood apart, `[batch, 1, 1, keys]`.
    pub(super) fn together(self) -> (KeysValues, Option<Tensor<4>>) {
        match self {
            Self::Together(keys_values) => (keys_values, None),
            Self::Apart(each) => side_by_side(&each),
        }
    }
}

/// Rows `[1, heads, keys, d_kv]` as one batch, as wide as the widest, with what hides the padding, `[batch, 1, 1, keys]`.
pub(super) fn side_by_side(each: &[&KeysValues]) -> (KeysValues, Option<Tensor<4>>) {
    let lengths: Vec<usize> = each.iter().map(|row| row.width()).collect();
    let width = lengths.iter().copied().max().unwrap_or(0);
    let join = |of: fn(&KeysValues) -> &Tensor<4>| {
        Tensor::cat(each.iter().map(|row| widen(of(row).clone(), 2, width)).collect(), 0)
    };
    let all = KeysValues { keys: join(|row| &row.keys), values: join(|row| &row.values) };
    let mask = mask_of(&lengths, width, &all.keys.device());
    (all, mask)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::backend::Flex;
    use burn::tensor::Device;

    /// The cache of sources counts what a row has, which must be all that it holds of its batch.
    #[test]
    fn a_row_apart_holds_its_own_places_only() {
        let numbers = Tensor::<1, burn::tensor::Int>::arange(0..336, &Device::flex()).float();
        let projected = numbers.reshape([3, 7, 2, 8]).swap_dims(1, 2); // [batch, heads, keys, 2 d]
        let part = |first| projected.clone().narrow(3, first, 4);
        let all = KeysValues { keys: part(0), values: part(4) };
        let lengths = [1, 3, 7];
        for (at, (row, len)) in all.apart(&lengths).zip(lengths).enumerate() {
            let wanted = all.clone().map(|tensor| tensor.narrow(0, at, 1).narrow(2, 0, len));
            assert_eq!(row.keys.to_data(), wanted.keys.to_data());
            assert_eq!(row.values.to_data(), wanted.values.to_data());
            assert_eq!((row.width(), row.bytes()), (len, 2 * 2 * len * 4 * 4));
            for tensor in [row.keys, row.values] {
                let held = tensor.try_into_primitive::<Flex>().unwrap().storage::<f32>().len();
                assert_eq!(held, 2 * len * 4);
            }
        }
    }
}
