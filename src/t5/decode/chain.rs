//! Which processors a step applies, in transformers' order (`_get_logits_processor`).

use super::{DecodeSettings, processors};

/// transformers' default of `top_k`.
const TOP_K: usize = 50;

/// What the processors of one row look at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// The source's ids.
    pub(super) source: &'a [u32],
    /// What the decoder has read, the start token first.
    pub(super) history: &'a [u32],
}

impl Place<'_> {
    /// Tokens made so far.
    fn step(&self) -> usize {
        self.history.len() - 1
    }
}

impl DecodeSettings {
    /// Whether [`DecodeSettings::process`] changes nothing at this step.
    pub(super) fn leaves_alone(&self, step: usize) -> bool {
        !self.do_sample
            && self.sequence_bias.is_empty()
            && self.encoder_repetition_penalty == 1.0
            && self.repetition_penalty == 1.0
            && self.presence_penalty == 0.0
            && self.frequency_penalty == 0.0
            && self.no_repeat_ngram_size == 0
            && self.encoder_no_repeat_ngram_size == 0
            && self.bad_words_ids.is_empty()
            && step >= self.min_new_tokens
            && (step > 0 || self.forced_bos_token_id.is_none())
            && (step + 1 != self.max_new_tokens || self.forced_eos_token_id.is_empty())
            && self.suppress_tokens.is_empty()
            && (self.begin_suppress_tokens.is_empty() || step > 1)
    }

    /// Applies all processors, then the warpers if tokens are drawn, to the scores of one row: logits, or
    /// log-probabilities of beams.
    pub(super) fn process(&self, scores: &mut [f32], place: Place) {
        let (step, Place { source, history }) = (place.step(), place);
        processors::sequence_bias(scores, history, &self.sequence_bias);
        if self.presence_penalty != 0.0 || self.frequency_penalty != 0.0 {
            let (presence, frequency) = (self.presence_penalty as f32, self.frequency_penalty as f32);
            processors::presence_and_frequency(scores, &history[1..], presence, frequency);
        }
        if self.encoder_repetition_penalty != 1.0 {
            processors::encoder_repetition_penalty(scores, source, self.encoder_repetition_penalty);
        }
        if self.repetition_penalty != 1.0 {
            processors::repetition_penalty(scores, history, self.repetition_penalty as f32);
        }
        if self.no_repeat_ngram_size > 0 {
            processors::no_repeat_ngram(scores, history, self.no_repeat_ngram_size);
        }
        if self.encoder_no_repeat_ngram_size > 0 {
            processors::encoder_no_repeat_ngram(scores, history, source, self.encoder_no_repeat_ngram_size);
        }
        processors::bad_words(scores, history, &self.bad_words_ids, &self.eos_token_id);
        if step < self.min_new_tokens {
            processors::suppress(scores, &self.eos_token_id);
        }
        if step == 0 {
            self.forced_bos_token_id.iter().for_each(|id| processors::force(scores, &[*id]));
        }
        if step + 1 == self.max_new_tokens && !self.forced_eos_token_id.is_empty() {
            processors::force(scores, &self.forced_eos_token_id);
        }
        processors::suppress(scores, &self.suppress_tokens);
        if step == usize::from(self.forced_bos_token_id.is_some()) {
            processors::suppress(scores, &self.begin_suppress_tokens);
        }
        if self.do_sample {
            self.warp(scores);
        }
    }

    /// The warpers. A beam keeps a token that is no end token, so that it can go on.
    fn warp(&self, scores: &mut [f32]) {
        let keep = if self.num_beams > 1 { self.eos_token_id.len().max(1) + 1 } else { 1 };
        if self.temperature != 1.0 {
            processors::temperature(scores, self.temperature as f32);
        }
        let top_k = self.top_k.unwrap_or(TOP_K);
        if top_k > 0 {
            processors::top_k(scores, top_k.max(keep));
        }
        if self.top_p < 1.0 {
            processors::top_p(scores, self.top_p, keep);
        }
        if self.min_p > 0.0 {
            processors::min_p(scores, self.min_p, keep);
        }
        if self.typical_p < 1.0 {
            processors::typical(scores, self.typical_p, keep);
        }
        if self.epsilon_cutoff > 0.0 {
            processors::epsilon_cutoff(scores, self.epsilon_cutoff, keep);
        }
        if self.eta_cutoff > 0.0 {
            processors::eta_cutoff(scores, self.eta_cutoff, keep);
        }
    }
}
