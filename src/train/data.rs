//! A task's rows as token ids, and the batches that a step takes.

use super::below::{Below, Seen};
use super::{Error, Result, generator};
use crate::t5::{Backbone, Config, Deltas, T5, TokenBatch};
use crate::task::{Split, Task};
use burn::tensor::{Device, Tensor, TensorData};
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;

/// One row as token ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// Source ids, the end token included.
    pub source: Vec<u32>,
    /// The right answer's place among the candidates.
    pub answer: usize,
}

/// A task's rows as token ids.
#[derive(Debug, Clone)]
pub struct EncodedTask {
    /// The task.
    pub task: Task,
    /// Every possible target's ids, the end token included, in the order of the task's label words.
    pub candidates: Vec<Vec<u32>>,
    /// Training rows.
    pub train: Vec<Example>,
    /// Dev rows.
    pub dev: Vec<Example>,
    /// Test rows.
    pub test: Vec<Example>,
}

impl EncodedTask {
    /// Encodes every row, sources cut to `max_source_tokens`.
    pub fn new(task: Task, backbone: &Backbone, max_source_tokens: usize) -> Result<Self> {
        let tokenizer = backbone.tokenizer()?;
        let candidates = task.label_words().iter().map(|word| tokenizer.encode(word)).collect::<Result<Vec<_>, _>>()?;
        let wrong = |what: String| Error::Task { task: task.name().into(), what };
        if let Some(i) = (0..candidates.len()).find(|i| candidates[..*i].contains(&candidates[*i])) {
            let word = &task.label_words()[i];
            return Err(wrong(format!("label word `{word}` has the same tokens as another: choose another word")));
        }
        if max_source_tokens < 2 {
            return Err(wrong(format!(
                "max_source_tokens {max_source_tokens} leaves no token of the text: give 2 or more"
            )));
        }
        let split = |split: Split| -> Result<Vec<Example>> {
            let rows = task.split(split);
            let texts: Vec<_> = rows.iter().map(|row| task.source_text(row)).collect();
            let sources = tokenizer.encode_batch(&texts, max_source_tokens)?;
            let example = |(source, row)| Example { source, answer: task.definition.target_index(row) };
            Ok(sources.into_iter().zip(rows).map(example).collect())
        };
        let (train, dev, test) = (split(Split::Train)?, split(Split::Dev)?, split(Split::Test)?);
        Ok(Self { task, candidates, train, dev, test })
    }

    /// The examples of one split.
    pub fn split(&self, split: Split) -> &[Example] {
        match split {
            Split::Train => &self.train,
            Split::Dev => &self.dev,
            Split::Test => &self.test,
        }
    }

    /// Train in two parts by `seed`: D_δ for delta weights, this share of the rows, rounded up; D_α for structural parameters.
    /// Either has a row where there are two.
    pub fn parts(&self, seed: u64, delta_share: f64) -> (Vec<Example>, Vec<Example>) {
        let mut all = self.train.clone();
        all.shuffle(&mut generator(seed, "halves", 0));
        let second = all.split_off(delta_rows(all.len(), delta_share));
        (all, second)
    }
}

/// Rows of the longer of the two parts, so that a pass over so many sees all of either; see [`EncodedTask::parts`].
pub(crate) fn longer_part(rows: usize, delta_share: f64) -> usize {
    let delta = delta_rows(rows, delta_share);
    delta.max(rows - delta)
}

/// Rows of D_δ.
fn delta_rows(rows: usize, delta_share: f64) -> usize {
    let part = (rows as f64 * delta_share).ceil() as usize;
    part.min(rows.saturating_sub(1)).max(rows.min(1))
}

/// The order in which rows are seen: every epoch a shuffle of its own, so that a step's batch depends on seed and step
/// alone.
#[derive(Debug, Clone)]
pub struct Order {
    batch_size: usize,
    seed: u64,
    purpose: &'static str,
    /// Tokens of every row's source, where rows of like length share a batch.
    lengths: Option<Vec<usize>>,
    /// The epoch whose order `rows` has.
    epoch: Option<usize>,
    rows: Vec<usize>,
}

impl Order {
    /// An order over these examples; `purpose` keeps two orders of one seed apart. With `group_by_length`, rows of like length
    /// share a batch, as transformers' sampler of that name has it.
    pub fn over(
        examples: &[Example],
        batch_size: usize,
        seed: u64,
        purpose: &'static str,
        group_by_length: bool,
    ) -> Self {
        let lengths = || examples.iter().map(|example| example.source.len()).collect();
        Self { lengths: group_by_length.then(lengths), ..Self::new(examples.len(), batch_size, seed, purpose) }
    }

    fn new(rows: usize, batch_size: usize, seed: u64, purpose: &'static str) -> Self {
        let batch_size = batch_size.clamp(1, rows.max(1));
        Self { batch_size, seed, purpose, lengths: None, epoch: None, rows: (0..rows).collect() }
    }

    /// Steps of one pass over the rows.
    pub fn steps_per_epoch(&self) -> usize {
        self.rows.len().div_ceil(self.batch_size)
    }

    /// The rows of a step; the last batch of an epoch may be smaller. The first step of an epoch shuffles its rows.
    pub fn batch(&mut self, step: usize) -> &[usize] {
        let (epoch, within) = (step / self.steps_per_epoch(), step % self.steps_per_epoch());
        if self.epoch != Some(epoch) {
            self.epoch = Some(epoch);
            self.rows.sort_unstable();
            let mut generator = generator(self.seed, self.purpose, epoch as u64);
            self.rows.shuffle(&mut generator);
            if let Some(lengths) = &self.lengths {
                group(&mut self.rows, lengths, self.batch_size, &mut generator);
            }
        }
        let start = within * self.batch_size;
        &self.rows[start..(start + self.batch_size).min(self.rows.len())]
    }
}

/// Batches of shuffled rows among which those of like length are put together.
const GROUPED_BATCHES: usize = 50;

/// Sorts shuffled rows by length within groups of [`GROUPED_BATCHES`] batches, or a quarter of them all, and shuffles the whole
/// batches anew, so that the longest do not come together.
fn group(rows: &mut [usize], lengths: &[usize], batch_size: usize, generator: &mut ChaCha8Rng) {
    let batches = (rows.len() / (batch_size * 4)).clamp(1, GROUPED_BATCHES);
    rows.chunks_mut(batches * batch_size).for_each(|group| group.sort_by_key(|row| lengths[*row]));
    let whole = rows.len() / batch_size * batch_size;
    let mut shuffled: Vec<&[usize]> = rows[..whole].chunks(batch_size).collect();
    shuffled.shuffle(generator);
    let shuffled = shuffled.concat();
    rows[..whole].copy_from_slice(&shuffled);
}

/// What one training pass takes.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Sources.
    pub source: TokenBatch,
    /// Decoder inputs: the start token, then the target without its last.
    pub inputs: TokenBatch,
    /// Target id of every place, 0 on padding, `[rows · width]`.
    pub(super) targets: Vec<u32>,
    /// 1 on targets, 0 on padding.
    weights: Vec<f32>,
    /// Where sources are kept below the lowest module, and the rows' numbers there.
    below: Option<(Arc<Below>, Vec<usize>)>,
}

/// Rows of a piece on the CPU: the same for every number of threads, so that a run's numbers do not depend on it. Two pieces side by
/// side take four fifths of the time of one twice as large (T5-small, batch 8, two cores).
pub(super) const PIECE_ROWS: usize = 4;

impl Batch {
    /// Pads sources and targets given as ids.
    pub fn new(config: &Config, sources: &[&[u32]], targets: &[&[u32]]) -> Result<Self> {
        let start = config.start;
        let inputs: Vec<Vec<u32>> = targets
            .iter()
            .map(|target| std::iter::once(start).chain(target[..target.len() - 1].iter().copied()).collect())
            .collect();
        let (source, inputs) = (
            TokenBatch::new(sources, config.pad, config.vocab_size)?,
            TokenBatch::new(&inputs, config.pad, config.vocab_size)?,
        );
        let width = inputs.width();
        let mut ids = vec![0; targets.len() * width];
        let mut weights = vec![0.0; ids.len()];
        for (row, target) in targets.iter().enumerate() {
            for (column, id) in target.iter().enumerate() {
                ids[row * width + column] = *id;
                weights[row * width + column] = 1.0;
            }
        }
        Ok(Self { source, inputs, targets: ids, weights, below: None })
    }

    /// These examples with their right answers, in order of length; see [`Batch::cut`].
    pub fn pieces(backbone: &Backbone, examples: &[&Example], candidates: &[Vec<u32>]) -> Result<Vec<Self>> {
        let mut examples = examples.to_vec();
        examples.sort_by_key(|example| example.source.len());
        let sources: Vec<_> = examples.iter().map(|example| example.source.as_slice()).collect();
        let targets: Vec<_> = examples.iter().map(|example| candidates[example.answer].as_slice()).collect();
        Self::cut(backbone, &sources, &targets)
    }

    /// Sources and targets, cut into pieces that [`super::pass`] runs side by side; one piece on a GPU.
    pub fn cut(backbone: &Backbone, sources: &[&[u32]], targets: &[&[u32]]) -> Result<Vec<Self>> {
        let rows = if *backbone.model.device() == Device::flex() { PIECE_ROWS } else { sources.len().max(1) };
        let pieces = sources.chunks(rows).zip(targets.chunks(rows));
        pieces.map(|(sources, targets)| Self::new(&backbone.config, sources, targets)).collect()
    }

    /// Takes what lies below the lowest module from what is kept; `rows` are the numbers of the pieces' rows there.
    pub(super) fn keep(pieces: &mut [Self], rows: &[usize], below: &Arc<Below>) {
        let mut rest = rows;
        for piece in pieces {
            let (now, after) = rest.split_at(piece.source.rows());
            (piece.below, rest) = (Some((Arc::clone(below), now.to_vec())), after);
        }
    }

    /// What the decoder sees of the sources.
    pub(super) fn see(&self, model: &T5, deltas: &dyn Deltas) -> Seen {
        match &self.below {
            Some((below, rows)) => below.see(model, &self.source, rows, deltas),
            None => Seen::Encoded(model.encode(&self.source, deltas)),
        }
    }

    /// Weights of the targets, `[rows · width]`.
    pub(super) fn weights(&self, device: &Device) -> Tensor<1> {
        Tensor::from_data(TensorData::new(self.weights.clone(), [self.weights.len()]), device)
    }

    /// Target tokens in the batch.
    pub fn tokens(&self) -> f32 {
        self.weights.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_sees_every_row_once() {
        let mut order = Order::new(10, 4, 7, "test");
        assert_eq!(order.steps_per_epoch(), 3);
        let mut epoch =
            |first: usize| (first..first + 3).flat_map(|step| order.batch(step).to_vec()).collect::<Vec<_>>();
        let mut rows = epoch(0);
        assert_ne!(rows, epoch(3), "every epoch has an order of its own");
        rows.sort_unstable();
        assert_eq!(rows, (0..10).collect::<Vec<_>>());
        assert_eq!(order.batch(1), Order::new(10, 4, 7, "test").batch(1));
    }

    /// One line a case: what is kept between steps changes no batch, in whatever order the steps are asked for.
    #[test]
    fn a_batch_depends_on_seed_and_step_alone() {
        let check = |rows: usize, batch_size: usize, seed: u64, steps: &[usize]| {
            let mut kept = Order::new(rows, batch_size, seed, "test");
            let batch_size = batch_size.clamp(1, rows);
            let an_epoch = rows.div_ceil(batch_size);
            for step in steps {
                let mut anew: Vec<_> = (0..rows).collect();
                anew.shuffle(&mut generator(seed, "test", (step / an_epoch) as u64));
                let start = step % an_epoch * batch_size;
                let wanted = &anew[start..(start + batch_size).min(rows)];
                assert_eq!(kept.batch(*step), wanted, "step {step} of {rows} rows by {batch_size}, seed {seed}");
            }
        };
        check(10, 4, 7, &[0, 1, 2, 3, 4, 5, 6]);
        check(10, 4, 8, &[5, 0, 5, 4, 9000, 1]);
        check(1, 1, 0, &[0, 1, 2]);
        check(3, 64, 0, &[2, 0, 1]);
        check(1000, 8, u64::MAX, &[124, 125, 126, 250]);
    }

    /// What padding costs falls, each epoch still has every row once, and long batches lie among short ones.
    #[test]
    fn rows_of_like_length_share_a_batch() {
        let examples: Vec<_> = (0..1003).map(|row| Example { source: vec![0; 1 + row * 7 % 101], answer: 0 }).collect();
        let padded = |group_by_length| {
            let mut order = Order::over(&examples, 8, 3, "test", group_by_length);
            let steps = order.steps_per_epoch();
            let epoch: Vec<_> = (steps..2 * steps).map(|step| order.batch(step).to_vec()).collect();
            let mut seen = epoch.concat();
            seen.sort_unstable();
            assert_eq!(seen, (0..1003).collect::<Vec<_>>());
            let longest = |rows: &Vec<usize>| rows.iter().map(|row| examples[*row].source.len()).max().unwrap();
            let longest: Vec<_> = epoch.iter().map(longest).collect();
            let half: usize = longest[..steps / 2].iter().sum();
            let all: usize = longest.iter().sum();
            assert!((0.4..0.6).contains(&(half as f64 / all as f64)), "long batches come together: {longest:?}");
            epoch.iter().zip(longest).map(|(rows, longest)| rows.len() * longest).sum::<usize>()
        };
        let tokens: usize = examples.iter().map(|example| example.source.len()).sum();
        let (plain, grouped) = (padded(false) as f64 / tokens as f64, padded(true) as f64 / tokens as f64);
        assert!(plain > 1.5 && grouped < 1.15, "{plain} {grouped}");
    }

    #[test]
    fn parts_share_no_row_and_depend_on_the_seed() {
        let task = crate::task::builtin("builtin-topic").unwrap();
        let train = (0..91).map(|id| Example { source: vec![id], answer: 0 }).collect();
        let data = EncodedTask { task, candidates: Vec::new(), train, dev: Vec::new(), test: Vec::new() };
        let (delta, structural) = data.parts(5, 0.5);
        assert_eq!((delta.len(), structural.len()), (46, 45));
        assert!(delta.iter().all(|example| !structural.contains(example)));
        assert_eq!(data.parts(5, 0.5), (delta.clone(), structural));
        assert_ne!(data.parts(6, 0.5).0, delta);
        let rows = [(91, 0.8), (2, 0.99), (2, 0.01), (1, 0.5), (0, 0.5)].map(|(rows, share)| delta_rows(rows, share));
        assert_eq!(rows, [73, 1, 1, 1, 0]);
        let longer = [(91, 0.8), (91, 0.1), (91, 0.5), (0, 0.5)].map(|(rows, share)| longer_part(rows, share));
        assert_eq!(longer, [73, 81, 46, 0]);
    }
}
