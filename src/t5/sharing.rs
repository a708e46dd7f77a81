//! Rows that share a source: cross-attention holds its keys and values once and takes the rows as so many queries.

use burn::tensor::{Device, Int, Tensor, TensorData};

/// How the rows of a batch are laid out by source.
#[derive(Debug, Clone)]
pub(super) struct Sharing {
    sources: usize,
    /// Rows of the source that has most of them.
    most: usize,
    /// Where the rows do not stand in blocks of `most`: the row of each place `[sources · most]`, 0 in empty ones, and the
    /// place of each row.
    order: Option<(Tensor<1, Int>, Tensor<1, Int>)>,
}

impl Sharing {
    /// For rows of these sources, each source having at least one; `None` where row i has source i.
    pub(super) fn new(of: &[usize], device: &Device) -> Option<Self> {
        let sources = of.iter().max()? + 1;
        if of.iter().copied().eq(0..of.len()) {
            return None;
        }
        let mut rows = vec![Vec::new(); sources];
        of.iter().enumerate().for_each(|(row, source)| rows[*source].push(row));
        let most = rows.iter().map(Vec::len).max()?;
        let in_blocks = of.iter().enumerate().all(|(row, source)| row / most == *source) && of.len() == sources * most;
        let order = (!in_blocks).then(|| {
            let mut row_of = vec![0; sources * most];
            let mut place_of = vec![0; of.len()];
            for (source, rows) in rows.iter().enumerate() {
                for (number, row) in rows.iter().enumerate() {
                    row_of[source * most + number] = *row as i32;
                    place_of[*row] = (source * most + number) as i32;
                }
            }
            let tensor = |ids: Vec<i32>| Tensor::from_data(TensorData::from(ids.as_slice()), device);
            (tensor(row_of), tensor(place_of))
        });
        Some(Self { sources, most, order })
    }

    /// `[rows, len, d] -> [sources, most · len, d]`.
    pub(super) fn by_source(&self, x: Tensor<3>) -> Tensor<3> {
        let [_, len, d] = x.dims();
        let x = if let Some((row_of, _)) = &self.order { x.select(0, row_of.clone()) } else { x };
        x.reshape([self.sources, self.most * len, d])
    }

    /// `[sources, most · len, d] -> [rows, len, d]`.
    pub(super) fn by_row(&self, x: Tensor<3>) -> Tensor<3> {
        let [sources, queries, d] = x.dims();
        let x = x.reshape([sources * self.most, queries / self.most, d]);
        if let Some((_, place_of)) = &self.order { x.select(0, place_of.clone()) } else { x }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of these sources come back from the layout by source as they went, and stand there at their source.
    #[track_caller]
    fn check(of: &[usize], wanted: &[&[usize]]) {
        let device = Device::flex();
        let rows = of.len();
        let numbers: Vec<f32> = (0..rows).flat_map(|row| [row as f32; 2]).collect();
        let x = Tensor::<3>::from_data(TensorData::new(numbers, [rows, 2, 1]), &device);
        let Some(sharing) = Sharing::new(of, &device) else {
            assert!(wanted.is_empty(), "{of:?}");
            return;
        };
        let laid = sharing.by_source(x.clone());
        let most = laid.dims()[1] / 2;
        let values = laid.clone().try_into_vec_as::<f32>().unwrap();
        assert!(values.chunks(2).all(|pair| pair[0] == pair[1]), "a row's queries stand together");
        let values: Vec<usize> = values.iter().step_by(2).map(|row| *row as usize).collect();
        for (places, wanted) in values.chunks(most).zip(wanted) {
            assert_eq!(&places[..wanted.len()], *wanted, "{of:?}");
        }
        assert_eq!(values.len(), wanted.len() * most);
        let back = sharing.by_row(laid).try_into_vec_as::<f32>().unwrap();
        assert_eq!(back, x.try_into_vec_as::<f32>().unwrap(), "{of:?}");
    }

    #[test]
    fn rows_stand_at_their_source_and_come_back() {
        check(&[0, 1, 2], &[]);
        check(&[0, 0, 0], &[&[0, 1, 2]]);
        check(&[0, 0, 1, 1], &[&[0, 1], &[2, 3]]);
        check(&[0, 1, 1, 1, 2], &[&[0], &[1, 2, 3], &[4]]);
        check(&[1, 0, 1, 2], &[&[1], &[0, 2], &[3]]);
    }
}
