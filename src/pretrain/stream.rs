//! The streams of a run, and the rows that a step draws from them.

use super::corruption::random_start;
use super::{Corruption, Error, Example, Examples, Result, Tokens};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Something that rows are drawn from.
#[derive(Debug, Clone)]
pub struct Stream {
    /// For reports.
    pub name: String,
    /// Share of the rows, relative to the other streams'.
    pub share: f64,
    /// Steps before its first row; until then the others fill its place.
    pub from_step: usize,
    /// What it holds.
    pub content: Content,
}

/// What a stream holds.
#[derive(Debug, Clone)]
pub enum Content {
    /// Text: a row is a run of tokens from any place, corrupted.
    Text(Tokens),
    /// Sources and targets: a row is any of them, as it is.
    Examples(Examples),
}

/// All streams of a run.
#[derive(Debug)]
pub(super) struct Streams {
    corruption: Corruption,
    all: Vec<Stream>,
}

impl Streams {
    /// # Errors
    /// If a text is too short for one example, a mixture has no row, or no stream is there from the start.
    pub(super) fn new(corruption: Corruption, all: Vec<Stream>) -> Result<Self> {
        for stream in &all {
            let (train, held_out, least) = match &stream.content {
                Content::Text(tokens) => (tokens.train.len(), tokens.held_out.len(), corruption.raw_tokens()),
                Content::Examples(rows) => (rows.train.len(), rows.held_out.len(), 1),
            };
            if train.min(held_out) < least {
                let what = if least == 1 { "rows" } else { "tokens" };
                return Err(Error::Text(format!(
                    "`{}` has {train} {what} for training and {held_out} held out, one example needs {least}: give more text",
                    stream.name
                )));
            }
        }
        if all.iter().all(|stream| stream.from_step > 0) {
            return Err(Error::Text(
                "nothing is there for the first steps: give text, or set supervised.from_step to 0".into(),
            ));
        }
        Ok(Self { corruption, all })
    }

    /// Every stream.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Stream> {
        self.all.iter()
    }

    /// The rows of a step, from the streams that have begun, by their shares: a function of seed and step.
    ///
    /// They are sorted by length, so that a pass pads little. (Rows of text are equally long, and the sort keeps their order.)
    pub(super) fn batch(&self, rows: usize, seed: u64, step: usize) -> Vec<Example> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(step as u64 + 1); // stream 0 drew the parameters
        let begun: Vec<&Stream> = self.all.iter().filter(|stream| stream.from_step <= step).collect();
        let shares: f64 = begun.iter().map(|stream| stream.share).sum();
        let row = |_| {
            let mut left = rng.random::<f64>() * shares;
            let pick = begun.iter().find(|stream| {
                left -= stream.share;
                left < 0.0
            });
            match &pick.unwrap_or(&begun[begun.len() - 1]).content {
                Content::Text(tokens) => self.example(&tokens.train, &mut rng),
                Content::Examples(rows) => rows.train[rng.random_range(0..rows.train.len())].clone(),
            }
        };
        sorted((0..rows).map(row).collect())
    }

    /// So many rows that are not trained on, the same each time; of examples at most all there are.
    pub(super) fn held_out(&self, stream: &Stream, rows: usize, seed: u64) -> Vec<Example> {
        match &stream.content {
            Content::Text(tokens) => {
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                rng.set_stream(u64::MAX);
                (0..rows).map(|_| self.example(&tokens.held_out, &mut rng)).collect()
            }
            Content::Examples(examples) => {
                let distance = examples.held_out.len().div_ceil(rows);
                sorted(examples.held_out.iter().step_by(distance).cloned().collect())
            }
        }
    }

    /// A run of tokens from a random place, corrupted.
    fn example(&self, tokens: &[u32], rng: &mut ChaCha8Rng) -> Example {
        let start = random_start(tokens.len(), self.corruption.raw_tokens(), rng);
        self.corruption.corrupt(&tokens[start..start + self.corruption.raw_tokens()], rng)
    }
}

fn sorted(mut rows: Vec<Example>) -> Vec<Example> {
    rows.sort_by_key(|example| (example.source.len(), example.target.len()));
    rows
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::pretrain::{CorruptionConfig, VocabularyConfig};

    /// Rows of many lengths, each of whose targets repeats the end of its source; ids are below 64.
    pub(in crate::pretrain) fn examples() -> Examples {
        let one = |i: usize| {
            let source: Vec<u32> = (0..3 + i * 7 % 20).map(|j| 3 + ((i + j) % 60) as u32).chain([1]).collect();
            Example { target: source[source.len() - 2 - i % 2..].to_vec(), source }
        };
        Examples { train: (0..90).map(one).collect(), held_out: (90..100).map(one).collect() }
    }

    fn streams(held_out: usize, examples: Examples) -> Result<Streams> {
        let vocabulary = VocabularyConfig {
            size: 120,
            sentinels: 8,
            byte_fallback: false,
            characters: 0,
            coverage: 1.0,
            tokenizer: None,
        };
        let corruption = CorruptionConfig { source_tokens: 24, ..CorruptionConfig::default() };
        let tokens = Tokens { train: (0..400).map(|i| 3 + i % 20).collect(), held_out: vec![3; held_out] };
        let one = |name: &str, from_step, content| Stream { name: name.into(), share: 0.5, from_step, content };
        let all = vec![one("text", 0, Content::Text(tokens)), one("supervised", 3, Content::Examples(examples))];
        Streams::new(Corruption::new(&corruption, &vocabulary), all)
    }

    #[test]
    fn a_batch_has_the_shares_and_is_a_function_of_seed_and_step() {
        let (streams, all) = (streams(50, examples()).unwrap(), examples().train);
        let rows = streams.batch(400, 7, 3);
        assert_eq!(rows, streams.batch(400, 7, 3));
        assert!(rows != streams.batch(400, 7, 4) && rows != streams.batch(400, 8, 3));
        let of_mixture = rows.iter().filter(|row| all.contains(row)).count();
        assert!((160..240).contains(&of_mixture), "{of_mixture} of 400");
        assert!(rows.is_sorted_by_key(|row| row.source.len()));
        assert!(streams.batch(400, 7, 2).iter().all(|row| !all.contains(row)), "the mixture begins at step 3");
    }

    #[test]
    fn held_out_rows_are_the_same_each_time() {
        let streams = streams(50, examples()).unwrap();
        for (stream, wanted) in streams.iter().zip([[40, 4], [10, 4]]) {
            let rows = [40, 4].map(|rows| streams.held_out(stream, rows, 7));
            assert_eq!(rows.each_ref().map(Vec::len), wanted, "{}", stream.name);
            assert_eq!(rows[0], streams.held_out(stream, 40, 7));
        }
    }

    #[test]
    fn too_little_is_refused() {
        let few = Examples { held_out: Vec::new(), ..examples() };
        let cases = [(3, examples(), ["`text` has 400 tokens", "3 held out"]), (50, few, ["90 rows", "0 held out"])];
        for (held_out, examples, parts) in cases {
            let error = streams(held_out, examples).unwrap_err().to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }
    }
}
