//! Span corruption, T5's denoising objective (Raffel et al. 2020, §3.1.4), as in t5's `random_spans_noise_mask`.
//!
//! ```text
//! text     Thank you for inviting me to your party last week
//! source   Thank you <extra_id_0> me to your party <extra_id_1> week </s>
//! target   <extra_id_0> for inviting <extra_id_1> last </s>
//! ```

use super::config::{CorruptionConfig, END, VocabularyConfig};
use rand::{Rng, RngExt, seq::SliceRandom};

/// Turns runs of tokens of one length into sources and targets of one length each.
#[derive(Debug, Clone)]
pub struct Corruption {
    density: f64,
    mean_span: f64,
    raw: usize,
    /// `<extra_id_0>`; the others follow downwards.
    first_sentinel: u32,
    eos: u32,
}

/// One training example, both ending in the end token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// The text with each masked span replaced by a sentinel.
    pub source: Vec<u32>,
    /// Each sentinel followed by what it replaced.
    pub target: Vec<u32>,
}

impl Example {
    /// Tokens of source and target together.
    pub fn tokens(&self) -> usize {
        self.source.len() + self.target.len()
    }
}

impl Corruption {
    /// The objective for sources of a fixed length over a vocabulary whose highest ids are the sentinels.
    pub fn new(config: &CorruptionConfig, vocabulary: &VocabularyConfig) -> Self {
        let (density, mean_span) = (config.density, config.mean_span);
        // as t5's random_spans_helper: the longest run whose source still fits
        let mut raw = config.source_tokens - 1;
        let source = |raw: usize| {
            let (noise, spans) = noise_counts(raw, density, mean_span);
            raw - noise + spans + 1
        };
        while source(raw + 1) <= config.source_tokens {
            raw += 1;
        }
        Self { density, mean_span, raw, first_sentinel: vocabulary.size as u32 - 1, eos: END }
    }

    /// Tokens of text that one example takes.
    pub fn raw_tokens(&self) -> usize {
        self.raw
    }

    /// Spans, and so sentinels, of one example.
    pub fn spans(&self) -> usize {
        noise_counts(self.raw, self.density, self.mean_span).1
    }

    /// Tokens of source and target together.
    pub fn tokens(&self) -> usize {
        let (noise, spans) = noise_counts(self.raw, self.density, self.mean_span);
        self.raw - noise + spans + 1 + self.target_tokens()
    }

    /// Tokens of the target.
    pub fn target_tokens(&self) -> usize {
        let (noise, spans) = noise_counts(self.raw, self.density, self.mean_span);
        noise + spans + 1
    }

    /// Corrupts tokens of text.
    pub fn corrupt(&self, tokens: &[u32], rng: &mut impl Rng) -> Example {
        self.apply(tokens, &random_spans_noise_mask(tokens.len(), self.density, self.mean_span, rng))
    }

    /// Replaces the runs of `true`.
    fn apply(&self, tokens: &[u32], mask: &[bool]) -> Example {
        let (mut source, mut target) = (Vec::with_capacity(tokens.len()), Vec::new());
        let (mut sentinel, mut before) = (self.first_sentinel, false);
        for (token, masked) in tokens.iter().zip(mask) {
            if *masked && !before {
                source.push(sentinel);
                target.push(sentinel);
                sentinel -= 1;
            }
            if *masked {
                target.push(*token)
            } else {
                source.push(*token)
            }
            before = *masked;
        }
        source.push(self.eos);
        target.push(self.eos);
        Example { source, target }
    }
}

/// Masked tokens and spans of a run of `length`; at least one of each, and one token left.
fn noise_counts(length: usize, density: f64, mean_span: f64) -> (usize, usize) {
    let length = length.max(2);
    let noise = ((length as f64 * density).round_ties_even() as usize).clamp(1, length - 1);
    let spans = ((noise as f64 / mean_span).round_ties_even() as usize).max(1);
    (noise, spans.min(length - noise))
}

/// Which of `length` tokens are masked: `round(length · density)` of them in `round(masked / mean_span)` spans, lengths of
/// spans and of the runs between them drawn uniformly among all partitions. Begins unmasked and ends masked.
pub fn random_spans_noise_mask(length: usize, density: f64, mean_span: f64, rng: &mut impl Rng) -> Vec<bool> {
    let (noise, spans) = noise_counts(length, density, mean_span);
    let masked = partition(noise, spans, rng);
    let kept = partition(length.max(2) - noise, spans, rng);
    let runs = kept.into_iter().zip(masked);
    let mut mask: Vec<bool> =
        runs.flat_map(|(k, m)| std::iter::repeat_n(false, k).chain(std::iter::repeat_n(true, m))).collect();
    mask.truncate(length);
    mask
}

/// Splits `items` into `parts` lengths of at least one, every such split equally likely.
fn partition(items: usize, parts: usize, rng: &mut impl Rng) -> Vec<usize> {
    let mut starts: Vec<bool> = (1..items).map(|i| i < parts).collect();
    starts.shuffle(rng);
    let mut lengths = vec![1];
    for start in starts {
        if start { lengths.push(1) } else { *lengths.last_mut().expect("it begins with one") += 1 }
    }
    lengths
}

/// A uniform start of `len` items within `total`.
pub(super) fn random_start(total: usize, len: usize, rng: &mut impl Rng) -> usize {
    rng.random_range(0..=total - len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn corruption(source_tokens: usize) -> Corruption {
        let config = CorruptionConfig { source_tokens, ..CorruptionConfig::default() };
        let vocabulary = VocabularyConfig {
            size: 4096,
            sentinels: 32,
            byte_fallback: true,
            characters: 0,
            coverage: 1.0,
            tokenizer: None,
        };
        Corruption::new(&config, &vocabulary)
    }

    /// Puts what the target says back into the source.
    fn reconstruct(example: &Example) -> Vec<u32> {
        let sentinel = |id: &u32| *id >= 4096 - 32;
        let mut spans = example.target[..example.target.len() - 1].split(sentinel).skip(1);
        let mut text = Vec::new();
        for id in &example.source[..example.source.len() - 1] {
            if sentinel(id) { text.extend(spans.next().expect("a span")) } else { text.push(*id) }
        }
        assert!(spans.next().is_none(), "a span without a sentinel");
        text
    }

    #[test]
    fn a_known_mask() {
        let mask = [false, true, true, false, false, true];
        let example = corruption(96).apply(&[10, 11, 12, 13, 14, 15], &mask);
        assert_eq!(example.source, [10, 4095, 13, 14, 4094, 1]);
        assert_eq!(example.target, [4095, 11, 12, 4094, 15, 1]);
    }

    /// t5.data.preprocessors.random_spans_helper(inputs_length, 0.15, 3.0, 1, 1) = (tokens_length, targets_length), by its
    /// formula; 512 is the paper's own setting.
    #[test]
    fn lengths_are_t5s() {
        for (source, raw, target) in [(512, 568, 114), (96, 106, 22), (128, 141, 29)] {
            let corruption = corruption(source);
            assert_eq!((corruption.raw_tokens(), corruption.target_tokens()), (raw, target), "source of {source}");
        }
    }

    #[test]
    fn every_partition_is_as_likely() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut counts = std::collections::BTreeMap::new();
        for _ in 0..6000 {
            *counts.entry(partition(5, 3, &mut rng)).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 6, "the partitions of 5 into 3");
        assert!(counts.values().all(|count| (850..1150).contains(count)), "{counts:?}");
    }

    proptest! {
        #[test]
        fn the_text_comes_back(length in 2usize..200, density in 0.05f64..0.6, mean in 1.0f64..6.0, seed: u64) {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mask = random_spans_noise_mask(length, density, mean, &mut rng);
            prop_assert_eq!(mask.len(), length);
            prop_assert!(!mask[0] && mask[length - 1]);
            let (noise, spans) = noise_counts(length, density, mean);
            prop_assert_eq!(mask.iter().filter(|masked| **masked).count(), noise);
            let begins = mask.windows(2).filter(|pair| !pair[0] && pair[1]).count();
            prop_assert_eq!(begins, spans);
            if spans <= 32 {
                let tokens: Vec<u32> = (0..length as u32).map(|i| 3 + i * 7 % 4000).collect();
                let example = corruption(96).apply(&tokens, &mask);
                prop_assert_eq!(example.source.len(), length - noise + spans + 1);
                prop_assert_eq!(example.target.len(), noise + spans + 1);
                prop_assert_eq!(reconstruct(&example), tokens);
            }
        }

        #[test]
        fn lengths_are_fixed(source in 16usize..200, seed: u64) {
            let corruption = corruption(source);
            let tokens: Vec<u32> = (0..corruption.raw_tokens() as u32).map(|i| 300 + i).collect();
            let example = corruption.corrupt(&tokens, &mut ChaCha8Rng::seed_from_u64(seed));
            prop_assert!(example.source.len() <= source && example.source.len() + 2 > source);
            prop_assert_eq!(example.target.len(), corruption.target_tokens());
            prop_assert_eq!(example.tokens(), corruption.tokens());
        }
    }
}
