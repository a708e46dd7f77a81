//! The settings of a pre-training run: one TOML file.

use super::{Error, Result};
use crate::t5::{Activation, Config};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// All settings of a run. The text itself is named on the command line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainConfig {
    /// The shape of the model.
    pub model: ModelConfig,
    /// The vocabulary.
    pub vocabulary: VocabularyConfig,
    /// Span corruption.
    #[serde(default)]
    pub corruption: CorruptionConfig,
    /// The loop.
    pub training: TrainingConfig,
    /// What is read of the text.
    #[serde(default)]
    pub text: TextConfig,
}

/// The shape of a T5 v1.1: gated GELU, an output layer of its own, unscaled outputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Width of the residual stream.
    pub d_model: usize,
    /// Width of one head.
    pub d_kv: usize,
    /// Heads.
    pub num_heads: usize,
    /// Encoder blocks.
    pub encoder_layers: usize,
    /// Decoder blocks.
    pub decoder_layers: usize,
    /// Inner width of the feed-forward layers.
    pub d_ff: usize,
}

/// A Unigram vocabulary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VocabularyConfig {
    /// Pieces in all: padding, end, unknown, bytes, trained pieces, sentinels; at most 65,536.
    pub size: usize,
    /// Sentinels `<extra_id_0>` …, the highest ids, 0 the last.
    pub sentinels: usize,
    /// Whether a character without a piece becomes its UTF-8 bytes (256 pieces) instead of `<unk>`.
    pub byte_fallback: bool,
    /// Characters of the training text that the vocabulary is trained on, spread evenly over it.
    pub characters: usize,
    /// Share of the characters, the most frequent first, that get a piece of their own (0.9995 in SentencePiece).
    pub coverage: f64,
}

/// Span corruption as in the T5 paper.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CorruptionConfig {
    /// Share of tokens that are masked, 0.15.
    pub density: f64,
    /// Mean length of a masked span in tokens, 3.
    pub mean_span: f64,
    /// Tokens of each source with sentinels and end; the target's length follows.
    pub source_tokens: usize,
}

impl Default for CorruptionConfig {
    fn default() -> Self {
        Self { density: 0.15, mean_span: 3.0, source_tokens: 96 }
    }
}

/// The optimiser.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Optimizer {
    /// Adam with decoupled weight decay, β 0.9 and 0.999.
    #[default]
    Adamw,
    /// Adafactor: no momentum, second moments factored into rows and columns.
    Adafactor,
}

/// The number format of matrix products.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// bfloat16, for GPUs; a CPU is slower with it.
    Bf16,
}

/// The learning rate after the warm-up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Always the same.
    #[default]
    Constant,
    /// Linearly to 0 at the last step.
    Linear,
    /// `√(warm_up / step)`, T5's.
    InverseSquareRoot,
}

/// The training loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingConfig {
    /// Seed of initialisation, batches and spans.
    pub seed: u64,
    /// Steps in all.
    pub steps: usize,
    /// Rows a step.
    pub batch_size: usize,
    /// Rows a pass, 16 without it. A step adds up the gradients of its passes; on the CPU each thread works at one pass.
    #[serde(default = "micro_batch_size")]
    pub micro_batch_size: usize,
    /// AdamW, or Adafactor as T5 was trained with.
    #[serde(default)]
    pub optimizer: Optimizer,
    /// Number format of the matrix products; all else, and the parameters themselves, are f32.
    #[serde(default)]
    pub precision: Precision,
    /// Highest learning rate, relative: times the scale of each parameter's initialisation (AdamW, see [`super::Trainer`]) or
    /// its root mean square (Adafactor).
    pub rate: f64,
    /// How the rate goes on after the warm-up.
    #[serde(default)]
    pub schedule: Schedule,
    /// Steps over which the rate rises from 0.
    pub warm_up: usize,
    /// Share of the steps, at the end, over which the rate falls to 0, whatever the schedule; with a schedule that does not
    /// depend on `steps`, a run may be lengthened or cut short by resuming it with others.
    #[serde(default)]
    pub cool_down: f64,
    /// Most global gradient norm.
    pub clip: f64,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// Steps between reports.
    pub report_every: usize,
    /// Steps between evaluations on held-out text.
    pub evaluate_every: usize,
    /// Steps between checkpoints.
    pub checkpoint_every: usize,
    /// Batches of an evaluation; always the same ones.
    pub held_out_batches: usize,
}

fn micro_batch_size() -> usize {
    16
}

/// What is read of the text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TextConfig {
    /// Characters read at most.
    pub characters: usize,
    /// Shorter lines are left out.
    pub min_characters: usize,
    /// The field of the objects in `.jsonl` files that holds the text.
    pub field: String,
    /// Share of the rows that are sentences of the built-in suite's grammar.
    pub builtin_share: f64,
    /// How many such sentences are written.
    pub builtin_sentences: usize,
}

impl Default for TextConfig {
    fn default() -> Self {
        Self {
            characters: 100_000_000,
            min_characters: 60,
            field: "text".into(),
            builtin_share: 0.0,
            builtin_sentences: 0,
        }
    }
}

/// `<pad>`, `</s>`, `<unk>`.
pub(super) const SPECIAL: usize = 3;

impl PretrainConfig {
    /// Reads and checks a TOML file.
    ///
    /// # Errors
    /// If it cannot be read or parsed, or a setting is out of range.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::read(path))?;
        let config: Self =
            toml::from_str(&text).map_err(|error| Error::Config(format!("`{}`: {error}", path.display())))?;
        config.check()?;
        Ok(config)
    }

    /// Refuses settings out of range.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: String| Err(Error::Config(what));
        let (v, c, t) = (&self.vocabulary, &self.corruption, &self.training);
        let bytes = if v.byte_fallback { 256 } else { 0 };
        let least = SPECIAL + bytes + v.sentinels + 64;
        if v.size < least {
            return wrong(format!("vocabulary.size {} is less than {least}: raise it", v.size));
        }
        if v.size > 1 << 16 {
            return wrong(format!("vocabulary.size {} is more than 65536: lower it", v.size));
        }
        let shares = [
            ("vocabulary.coverage", v.coverage),
            ("training.cool_down", t.cool_down),
            ("text.builtin_share", self.text.builtin_share),
        ];
        if let Some((name, share)) = shares.iter().find(|(_, share)| !(0.0..=1.0).contains(share)) {
            return wrong(format!("{name} {share} must lie between 0 and 1"));
        }
        if !(c.density > 0.0 && c.density < 1.0 && c.mean_span >= 1.0) {
            return wrong(format!(
                "corruption.density {} must lie between 0 and 1, and corruption.mean_span {} be at least 1",
                c.density, c.mean_span
            ));
        }
        if c.source_tokens < 8 {
            return wrong(format!("corruption.source_tokens {} must be at least 8", c.source_tokens));
        }
        let counts = [
            ("training.batch_size", t.batch_size),
            ("training.micro_batch_size", t.micro_batch_size),
            ("training.report_every", t.report_every),
            ("training.evaluate_every", t.evaluate_every),
            ("training.checkpoint_every", t.checkpoint_every),
            ("training.held_out_batches", t.held_out_batches),
        ];
        if let Some((name, _)) = counts.iter().find(|(_, count)| *count == 0) {
            return wrong(format!("{name} must be at least 1"));
        }
        let corruption = super::Corruption::new(c, v);
        if corruption.spans() > v.sentinels {
            return wrong(format!(
                "a source of {} tokens has {} spans, more than the {} sentinels: raise vocabulary.sentinels",
                c.source_tokens,
                corruption.spans(),
                v.sentinels
            ));
        }
        Ok(())
    }

    /// The model's configuration.
    pub fn t5(&self) -> Config {
        let model = &self.model;
        Config {
            d_model: model.d_model,
            d_kv: model.d_kv,
            num_heads: model.num_heads,
            encoder_layers: model.encoder_layers,
            decoder_layers: model.decoder_layers,
            d_ff: model.d_ff,
            activation: Activation::GatedGelu,
            vocab_size: self.vocabulary.size,
            buckets: 32,
            max_distance: 128,
            epsilon: 1e-6,
            scale_outputs: false,
            pad: 0,
            eos: 1,
            start: 0,
        }
    }
}
