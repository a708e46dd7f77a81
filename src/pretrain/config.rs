//! The settings of a pre-training run: one TOML file.

use super::{Error, Result};
use crate::t5::{Activation, Config, Family};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// All settings of a run. Paths in the file are relative to its folder.
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
    /// Rows of source and target beside the text; none without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supervised: Option<SupervisedConfig>,
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
    /// Whether the output layer stays the embedding times d_model^-½ through training; the file holds both all the same.
    #[serde(default)]
    pub tied: bool,
    /// Standard deviation of the embedding's start, 1 without it (T5's). Of a short run little outweighs a start of 1; the
    /// learning rate does not depend on it.
    #[serde(default = "embedding_start")]
    pub embedding_start: f64,
}

fn embedding_start() -> f64 {
    1.0
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
    /// A tokenizer.json to use instead of training a vocabulary; it must have `size` pieces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<PathBuf>,
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
    /// Files and folders that are read unless others are given, see [`super::Corpus::open`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PathBuf>,
    /// Characters read at most.
    pub characters: usize,
    /// Shorter lines are left out.
    pub min_characters: usize,
    /// The field of the objects in `.jsonl` files that holds the text.
    pub field: String,
    /// Share of the rows of text that are sentences of the built-in suite's grammar.
    pub builtin_share: f64,
    /// How many such sentences are written.
    pub builtin_sentences: usize,
}

impl Default for TextConfig {
    fn default() -> Self {
        Self {
            paths: Vec::new(),
            characters: 100_000_000,
            min_characters: 60,
            field: "text".into(),
            builtin_share: 0.0,
            builtin_sentences: 0,
        }
    }
}

/// A mixture of rows with source and target, as JSONL of `{"source": "…", "target": "…"}`; see [`super::Examples`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SupervisedConfig {
    /// Share of the rows of a step.
    pub share: f64,
    /// Steps of text alone before it.
    #[serde(default)]
    pub from_step: usize,
    /// Files of JSONL, plain or with .xz or .gz, and folders of them.
    pub paths: Vec<PathBuf>,
    /// Tokens of a source with its end; longer ones are cut. As `corruption.source_tokens` without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_tokens: Option<usize>,
    /// Tokens of a target with its end, 128 without it. Longer ones are refused: a cut source is still a question, a cut target
    /// is a wrong answer.
    #[serde(default = "target_tokens")]
    pub target_tokens: usize,
    /// Tasks (ready-made or built-in, or paths of TOML files) none of whose rows, of any split, may be among these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// The folder that holds the rows of those tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclude_data: Option<PathBuf>,
}

fn target_tokens() -> usize {
    128
}

/// The id of `</s>`.
pub(super) const END: u32 = 1;

/// `<pad>`, `</s>`, `<unk>`.
pub(super) const SPECIAL: usize = 3;

impl PretrainConfig {
    /// Reads and checks a TOML file; its paths become those as seen from here.
    ///
    /// # Errors
    /// If it cannot be read or parsed, or a setting is out of range.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::read(path))?;
        let mut config: Self =
            toml::from_str(&text).map_err(|error| Error::Config(format!("`{}`: {error}", path.display())))?;
        config.resolve(path.parent().unwrap_or(Path::new("")));
        config.check()?;
        Ok(config)
    }

    /// Puts `folder` before the paths.
    fn resolve(&mut self, folder: &Path) {
        let (text, tokenizer) = (self.text.paths.iter_mut(), self.vocabulary.tokenizer.iter_mut());
        text.chain(tokenizer).for_each(|path| *path = folder.join(&*path));
        let Some(supervised) = &mut self.supervised else { return };
        let paths = supervised.paths.iter_mut().chain(&mut supervised.exclude_data);
        paths.for_each(|path| *path = folder.join(&*path));
        for task in supervised.exclude.iter_mut().filter(|task| task.ends_with(".toml")) {
            *task = folder.join(&*task).to_string_lossy().into_owned();
        }
    }

    /// Share of the rows that come from the supervised mixture.
    pub(super) fn supervised_share(&self) -> f64 {
        self.supervised.as_ref().map_or(0.0, |supervised| supervised.share)
    }

    /// Tokens of a source of the mixture.
    pub(super) fn supervised_source_tokens(&self, supervised: &SupervisedConfig) -> usize {
        supervised.source_tokens.unwrap_or(self.corruption.source_tokens)
    }

    /// The model's configuration.
    pub fn t5(&self) -> Config {
        let model = &self.model;
        Config {
            family: Family::T5,
            d_model: model.d_model,
            d_kv: model.d_kv,
            num_heads: model.num_heads,
            encoder_layers: model.encoder_layers,
            decoder_layers: model.decoder_layers,
            d_ff: model.d_ff,
            activation: Activation::GATED_GELU,
            vocab_size: self.vocabulary.size,
            buckets: 32,
            max_distance: 128,
            epsilon: 1e-6,
            scale_outputs: false,
            pad: 0,
            eos: END,
            start: 0,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const POCKET: &str = include_str!("../../models/pocket-t5/pretrain.toml");

    pub(in crate::pretrain) fn document(add: &str) -> toml::Table {
        let mut document: toml::Table = toml::from_str(POCKET).unwrap();
        document.remove("supervised");
        for (section, keys) in toml::from_str::<toml::Table>(add).unwrap() {
            let section = document.entry(section).or_insert_with(|| toml::Table::new().into());
            section.as_table_mut().unwrap().extend(keys.as_table().unwrap().clone());
        }
        document
    }

    #[test]
    fn paths_are_relative_to_the_folder_of_the_file() {
        let add = r#"
            [text]
            paths = ["../a.tar.xz", "/b"]
            [vocabulary]
            tokenizer = "tokenizer.json"
            [supervised]
            share = 0.3
            paths = ["c.jsonl"]
            exclude = ["sst2", "tasks/own.toml"]
            exclude_data = "data"
        "#;
        let dir = tempfile::tempdir().unwrap();
        let (path, at) = (dir.path().join("pretrain.toml"), |name: &str| dir.path().join(name));
        std::fs::write(&path, document(add).to_string()).unwrap();
        let config = PretrainConfig::read(&path).unwrap();
        assert_eq!(config.text.paths, [at("../a.tar.xz"), "/b".into()]);
        assert_eq!(config.vocabulary.tokenizer, Some(at("tokenizer.json")));
        let supervised = config.supervised.as_ref().unwrap();
        assert_eq!((&supervised.paths, &supervised.exclude_data), (&vec![at("c.jsonl")], &Some(at("data"))));
        assert_eq!(supervised.exclude, ["sst2".into(), at("tasks/own.toml").to_string_lossy()]);
        assert_eq!(
            (config.supervised_source_tokens(supervised), supervised.target_tokens),
            (config.corruption.source_tokens, 128)
        );
    }
}
