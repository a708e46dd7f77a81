//! Rows of token ids, padded on the right.

use super::{Error, Result};
use burn::tensor::{Device, Int, Tensor, TensorData};

/// A padded batch of token ids with the length of each row.
#[derive(Debug, Clone)]
pub struct TokenBatch {
    ids: Vec<i32>,
    lengths: Vec<usize>,
    width: usize,
}

/// Added to the score of what may not be attended to; far below any score, yet finite.
pub(super) const MASKED: f32 = -1e9;

impl TokenBatch {
    /// Pads `rows` on the right with `pad`.
    ///
    /// # Errors
    /// If there is no row, a row is empty, or an id is not below `vocab`.
    pub fn new<R: AsRef<[u32]>>(rows: &[R], pad: u32, vocab: usize) -> Result<Self> {
        let width = rows.iter().map(|row| row.as_ref().len()).max().unwrap_or(0);
        let mut ids = Vec::with_capacity(rows.len() * width);
        for (number, row) in rows.iter().map(AsRef::as_ref).enumerate() {
            if row.is_empty() {
                return Err(Error::Input(format!("row {number} has no token: give at least one id")));
            }
            if let Some(id) = row.iter().find(|id| **id as usize >= vocab) {
                return Err(Error::Input(format!(
                    "row {number} holds id {id}, which is not below the vocabulary's {vocab}"
                )));
            }
            ids.extend(row.iter().map(|id| *id as i32));
            ids.extend(std::iter::repeat_n(pad as i32, width - row.len()));
        }
        if rows.is_empty() {
            return Err(Error::Input("the batch has no row".into()));
        }
        Ok(Self { ids, lengths: rows.iter().map(|row| row.as_ref().len()).collect(), width })
    }

    /// These rows, in this order, no wider than the longest of them.
    pub fn select(&self, rows: &[usize]) -> Self {
        let lengths: Vec<usize> = rows.iter().map(|row| self.lengths[*row]).collect();
        let width = lengths.iter().copied().max().unwrap_or(0);
        let ids = rows.iter().flat_map(|row| &self.ids[row * self.width..][..width]).copied().collect();
        Self { ids, lengths, width }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.lengths.len()
    }

    /// Length of the longest row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Length of each row.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// The ids flattened row by row: `[rows · width]`.
    pub(super) fn tensor(&self, device: &Device) -> Tensor<1, Int> {
        Tensor::from_data(TensorData::new(self.ids.clone(), [self.ids.len()]), device)
    }

    /// What to add to attention scores so that padding is not seen: `[rows, 1, 1, width]`, or `None` without padding.
    pub(super) fn mask(&self, device: &Device) -> Option<Tensor<4>> {
        mask_of(&self.lengths, self.width, device)
    }
}

/// The mask of rows of these lengths in a batch of this width, as [`TokenBatch::mask`].
pub(super) fn mask_of(lengths: &[usize], width: usize, device: &Device) -> Option<Tensor<4>> {
    if lengths.iter().all(|length| *length == width) {
        return None;
    }
    let row = |length: &usize| {
        let length = *length;
        (0..width).map(move |column| if column < length { 0.0 } else { MASKED })
    };
    let mask: Vec<f32> = lengths.iter().flat_map(row).collect();
    Some(Tensor::from_data(TensorData::new(mask, [lengths.len(), 1, 1, width]), device))
}
