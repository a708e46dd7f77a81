//! How to decode, in the words of transformers' `GenerationConfig`.

use super::super::{Config, Error};

/// When beam search ends (transformers' `early_stopping`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EarlyStopping {
    /// `false`: once no running beam, at its present length, is better than the worst finished sequence.
    #[default]
    Heuristic,
    /// `true`: once there are `num_beams` finished sequences.
    Full,
    /// `"never"`: once no running beam can become better than the worst finished sequence.
    Never,
}

/// How to decode one source. Names and meanings are those of transformers' `GenerationConfig`, and so are the values of
/// [`DecodeSettings::new`], but for the number of tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct DecodeSettings {
    /// Tokens at most, the end token included.
    pub max_new_tokens: usize,
    /// Tokens at least: until then no end token is chosen.
    pub min_new_tokens: usize,
    /// Whether tokens are drawn rather than chosen.
    pub do_sample: bool,
    /// Divides the scores before a draw.
    pub temperature: f64,
    /// Draw among so many of the likeliest tokens, 0 for all of them; transformers' default of 50 where absent.
    pub top_k: Option<usize>,
    /// Draw among the likeliest tokens that together have this probability; 1 for all.
    pub top_p: f64,
    /// Draw among tokens that have this part of the likeliest one's probability; 0 for all.
    pub min_p: f64,
    /// Draw among the tokens nearest to the expected information that together have this probability; 1 for all.
    pub typical_p: f64,
    /// Draw among tokens of at least this probability; 0 for all.
    pub epsilon_cutoff: f64,
    /// Draw among tokens of at least min(η, √η exp(−entropy)); 0 for all.
    pub eta_cutoff: f64,
    /// Beams; 1 is no beam search.
    pub num_beams: usize,
    /// Sequences to give: of the best beams, or drawn independently of each other.
    pub num_return_sequences: usize,
    /// Exponent of the length by which a finished beam's score is divided.
    pub length_penalty: f64,
    /// When beam search ends.
    pub early_stopping: EarlyStopping,
    /// Divides the positive scores of tokens that were made, multiplies the negative ones; 1 is none.
    pub repetition_penalty: f64,
    /// The inverse of it on the source's tokens: more than 1 prefers them; 1 is none.
    pub encoder_repetition_penalty: f64,
    /// No run of so many tokens comes twice; 0 is none.
    pub no_repeat_ngram_size: usize,
    /// No run of so many of the source's tokens is made; 0 is none.
    pub encoder_no_repeat_ngram_size: usize,
    /// Runs of tokens that are not made.
    pub bad_words_ids: Vec<Vec<u32>>,
    /// Runs of tokens with what is added to the score of their last one.
    pub sequence_bias: Vec<(Vec<u32>, f32)>,
    /// Subtracted from the score of every token that was made (OpenAI's; transformers has none); 0 is none.
    pub presence_penalty: f64,
    /// Subtracted from a token's score as often as it was made (OpenAI's; transformers has none); 0 is none.
    pub frequency_penalty: f64,
    /// The first token.
    pub forced_bos_token_id: Option<u32>,
    /// The last token where `max_new_tokens` is reached; several are equally likely. Empty is none.
    pub forced_eos_token_id: Vec<u32>,
    /// Tokens that are never made.
    pub suppress_tokens: Vec<u32>,
    /// Tokens that are not the first, or not the second where the first is forced.
    pub begin_suppress_tokens: Vec<u32>,
    /// Tokens that end a sequence.
    pub eos_token_id: Vec<u32>,
    /// What the decoder reads first.
    pub decoder_start_token_id: u32,
    /// Of the draws. Sequence n of a source draws from stream n of this seed, whatever else is in the batch.
    pub seed: u64,
    /// Likeliest tokens whose log-probability each step tells, beside that of the token made.
    pub top_logprobs: usize,
}

/// By less scores are not divided: they would overflow, and all be alike.
const SMALLEST: f64 = 1e-6;
/// By more they are not divided: all would be alike, and beyond f32 not numbers.
const LARGEST: f64 = 1e6;

/// A setting that cannot be used: its name and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {what}")]
pub struct InvalidSetting {
    /// The field of [`DecodeSettings`].
    pub field: &'static str,
    /// What is wrong with it, and the fix.
    pub what: String,
}

impl From<InvalidSetting> for Error {
    fn from(invalid: InvalidSetting) -> Self {
        Error::Input(invalid.to_string())
    }
}

impl DecodeSettings {
    /// Greedy decoding of at most `max_new_tokens` tokens for a model of this configuration.
    pub fn new(config: &Config, max_new_tokens: usize) -> Self {
        Self {
            max_new_tokens,
            min_new_tokens: 0,
            do_sample: false,
            temperature: 1.0,
            top_k: None,
            top_p: 1.0,
            min_p: 0.0,
            typical_p: 1.0,
            epsilon_cutoff: 0.0,
            eta_cutoff: 0.0,
            num_beams: 1,
            num_return_sequences: 1,
            length_penalty: 1.0,
            early_stopping: EarlyStopping::Heuristic,
            repetition_penalty: 1.0,
            encoder_repetition_penalty: 1.0,
            no_repeat_ngram_size: 0,
            encoder_no_repeat_ngram_size: 0,
            bad_words_ids: Vec::new(),
            sequence_bias: Vec::new(),
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            forced_bos_token_id: None,
            forced_eos_token_id: Vec::new(),
            suppress_tokens: Vec::new(),
            begin_suppress_tokens: Vec::new(),
            eos_token_id: vec![config.eos],
            decoder_start_token_id: config.start,
            seed: 0,
            top_logprobs: 0,
        }
    }

    /// Rows of a batch that a source takes at most.
    pub fn rows(&self) -> usize {
        if self.num_beams > 1 { self.num_beams } else { self.num_return_sequences }
    }

    /// Whether the tokens of a sequence are known as they are made; those of beams are known at the end.
    pub fn streams(&self) -> bool {
        self.num_beams == 1
    }

    /// Refuses what cannot be decoded over a vocabulary of `vocab` tokens.
    ///
    /// # Errors
    /// Names the first setting at fault.
    pub fn check(&self, vocab: usize) -> Result<(), InvalidSetting> {
        let Self { max_new_tokens, min_new_tokens, num_beams, num_return_sequences, .. } = *self;
        let fine = |field, fine: bool, what: String| if fine { Ok(()) } else { Err(InvalidSetting { field, what }) };
        fine("max_new_tokens", max_new_tokens > 0, "is 0: give at least 1".into())?;
        fine(
            "min_new_tokens",
            min_new_tokens <= max_new_tokens,
            format!("is {min_new_tokens}, more than `max_new_tokens` {max_new_tokens}: give no more than that"),
        )?;
        fine("num_beams", num_beams > 0, "is 0: give at least 1".into())?;
        fine("num_return_sequences", num_return_sequences > 0, "is 0: give at least 1".into())?;
        fine(
            "num_return_sequences",
            num_beams == 1 || num_return_sequences <= num_beams,
            format!("is {num_return_sequences}, more than `num_beams` {num_beams}: give as many beams"),
        )?;
        fine(
            "num_return_sequences",
            num_return_sequences == 1 || num_beams > 1 || self.do_sample,
            format!("is {num_return_sequences}, but greedy decoding gives one: draw (`do_sample`) or search by beams"),
        )?;
        let kept = self.eos_token_id.len().max(1) + 1;
        let many = format!("{num_beams} with {} end tokens: a vocabulary of {vocab} is too small", kept - 1);
        fine("num_beams", num_beams == 1 || kept <= vocab, many)?;
        let numbers = [
            ("temperature", self.temperature, (SMALLEST..=LARGEST).contains(&self.temperature), "1e-6 to 1e6"),
            ("top_p", self.top_p, (0.0..=1.0).contains(&self.top_p), "0 to 1"),
            ("min_p", self.min_p, (0.0..=1.0).contains(&self.min_p), "0 to 1"),
            ("typical_p", self.typical_p, self.typical_p > 0.0 && self.typical_p <= 1.0, "more than 0, at most 1"),
            ("epsilon_cutoff", self.epsilon_cutoff, (0.0..1.0).contains(&self.epsilon_cutoff), "0 to less than 1"),
            ("eta_cutoff", self.eta_cutoff, (0.0..1.0).contains(&self.eta_cutoff), "0 to less than 1"),
            ("length_penalty", self.length_penalty, true, "a finite number"),
            ("repetition_penalty", self.repetition_penalty, self.repetition_penalty as f32 > 0.0, "more than 0"),
            (
                "encoder_repetition_penalty",
                self.encoder_repetition_penalty,
                self.encoder_repetition_penalty as f32 > 0.0,
                "more than 0",
            ),
            ("presence_penalty", self.presence_penalty, true, "a finite number"),
            ("frequency_penalty", self.frequency_penalty, true, "a finite number"),
        ];
        for (field, value, inside, range) in numbers {
            fine(field, inside && value.is_finite(), format!("is {value:?}: give {range}"))?;
        }
        let lists = [
            ("bad_words_ids", self.bad_words_ids.iter().map(Vec::as_slice).collect::<Vec<_>>()),
            ("sequence_bias", self.sequence_bias.iter().map(|(ids, _)| ids.as_slice()).collect()),
        ];
        for (field, runs) in lists {
            fine(field, runs.iter().all(|run| !run.is_empty()), "holds an empty run of tokens: leave it out".into())?;
            runs.into_iter().try_for_each(|run| inside(field, run, vocab))?;
        }
        let bias = self.sequence_bias.iter().all(|(_, bias)| !bias.is_nan() && *bias != f32::INFINITY);
        fine("sequence_bias", bias, "holds what is no number, or +infinity: give finite numbers".into())?;
        inside("forced_bos_token_id", self.forced_bos_token_id.as_slice(), vocab)?;
        inside("forced_eos_token_id", &self.forced_eos_token_id, vocab)?;
        inside("suppress_tokens", &self.suppress_tokens, vocab)?;
        inside("begin_suppress_tokens", &self.begin_suppress_tokens, vocab)?;
        inside("eos_token_id", &self.eos_token_id, vocab)?;
        inside("decoder_start_token_id", &[self.decoder_start_token_id], vocab)
    }
}

fn inside(field: &'static str, ids: &[u32], vocab: usize) -> Result<(), InvalidSetting> {
    match ids.iter().find(|id| **id as usize >= vocab) {
        Some(id) => {
            Err(InvalidSetting { field, what: format!("holds id {id}: give ids below the vocabulary's {vocab}") })
        }
        None => Ok(()),
    }
}
