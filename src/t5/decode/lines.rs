//! Sequences that grow each by itself: a greedy one, or samples.

use super::chain::Place;
use super::sequences::{StepError, Token};
use super::{DecodeSettings, processors, scores};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// One sequence under way.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// Its number among those of its source.
    pub(super) sequence: usize,
    /// What the decoder has read and will read next: the start token, then the tokens made.
    pub(super) history: Vec<u32>,
    /// Sum of the tokens' log-probabilities.
    pub(super) score: f32,
    random: ChaCha8Rng,
}

impl Line {
    pub(super) fn new(sequence: usize, settings: &DecodeSettings) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(settings.seed);
        random.set_stream(sequence as u64);
        Self { sequence, history: vec![settings.decoder_start_token_id], score: 0.0, random }
    }

    /// Tokens made.
    pub(super) fn made(&self) -> usize {
        self.history.len() - 1
    }

    /// Makes the next token from the logits `[vocab]` of this step.
    pub(super) fn step(
        &mut self,
        logits: &[f32],
        settings: &DecodeSettings,
        source: &[u32],
    ) -> Result<Token, StepError> {
        let total = processors::log_sum_exp(logits);
        if !total.is_finite() {
            return Err(StepError::NotNumbers);
        }
        let chosen = if settings.leaves_alone(self.made()) {
            scores::greatest(logits)
        } else {
            let mut processed = logits.to_vec();
            settings.process(&mut processed, Place { source, history: &self.history });
            if settings.do_sample { scores::draw(&processed, &mut self.random) } else { scores::greatest(&processed) }
        };
        let id = chosen.ok_or(StepError::NothingAllowed)?;
        let token = Token {
            id: id as u32,
            logprob: logits[id] - total,
            top: top_logprobs(logits, total, settings.top_logprobs),
        };
        self.history.push(token.id);
        self.score += token.logprob;
        Ok(token)
    }
}

/// The likeliest tokens with their log-probabilities; `total` is `ln Σ exp(logits)`.
pub(super) fn top_logprobs(logits: &[f32], total: f32, n: usize) -> Vec<(u32, f32)> {
    if n == 0 {
        return Vec::new();
    }
    let best = scores::top(logits.len(), n, |id| logits[id]);
    best.into_iter().map(|(id, logit)| (id as u32, logit - total)).collect()
}
