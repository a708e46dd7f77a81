//! A backbone's `config.json`. What changes the maths is honoured or refused by name.

use super::{Error, Result};
use crate::structure::Shape;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The activation of the feed-forward layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activation {
    /// `max(x, 0)`: T5 v1.0.
    #[serde(rename = "relu")]
    Relu,
    /// `gelu_new(wi_0 x) ∘ wi_1 x`: T5 v1.1 and Flan-T5.
    #[serde(rename = "gated-gelu")]
    GatedGelu,
}

/// What a T5 is made of. Defaults are those of transformers' `T5Config`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Config {
    /// Width of the residual stream (`d_model`).
    pub d_model: usize,
    /// Width of one attention head (`d_kv`).
    pub d_kv: usize,
    /// Attention heads (`num_heads`).
    pub num_heads: usize,
    /// Encoder blocks (`num_layers`).
    pub encoder_layers: usize,
    /// Decoder blocks (`num_decoder_layers`, default `num_layers`).
    pub decoder_layers: usize,
    /// Inner width of the feed-forward layers (`d_ff`).
    pub d_ff: usize,
    /// `feed_forward_proj`.
    pub activation: Activation,
    /// Rows of the embedding (`vocab_size`).
    pub vocab_size: usize,
    /// `relative_attention_num_buckets`, default 32.
    pub buckets: usize,
    /// `relative_attention_max_distance`, default 128.
    pub max_distance: usize,
    /// ε of the RMS norms (`layer_norm_epsilon`), default 1e-6.
    pub epsilon: f64,
    /// Whether the last hidden state is scaled by d_model^-½ before the output layer (`scale_decoder_outputs`, or
    /// `tie_word_embeddings` where that is absent).
    pub scale_outputs: bool,
    /// `pad_token_id`, default 0.
    pub pad: u32,
    /// `eos_token_id`, default 1.
    pub eos: u32,
    /// `decoder_start_token_id`, default the pad id.
    pub start: u32,
}

/// The fields of config.json that matter here.
#[derive(Deserialize)]
struct Raw {
    model_type: Option<String>,
    d_model: usize,
    d_kv: usize,
    num_heads: usize,
    num_layers: usize,
    num_decoder_layers: Option<usize>,
    d_ff: usize,
    vocab_size: usize,
    #[serde(default = "relu")]
    feed_forward_proj: String,
    #[serde(default = "buckets")]
    relative_attention_num_buckets: usize,
    #[serde(default = "max_distance")]
    relative_attention_max_distance: usize,
    #[serde(default = "epsilon")]
    layer_norm_epsilon: f64,
    tie_word_embeddings: Option<bool>,
    scale_decoder_outputs: Option<bool>,
    #[serde(default)]
    pad_token_id: u32,
    #[serde(default = "eos")]
    eos_token_id: u32,
    decoder_start_token_id: Option<u32>,
    is_encoder_decoder: Option<bool>,
}

fn relu() -> String {
    "relu".into()
}
fn buckets() -> usize {
    32
}
fn max_distance() -> usize {
    128
}
fn epsilon() -> f64 {
    1e-6
}
fn eos() -> u32 {
    1
}

impl Config {
    /// Reads config.json; `path` is for messages.
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let wrong = |what: String| Error::Config { path: path.to_path_buf(), what };
        let raw: Raw = serde_json::from_str(text).map_err(|error| wrong(format!("not a T5 configuration: {error}")))?;
        match raw.model_type.as_deref() {
            None | Some("t5") => {}
            Some(other) => {
                return Err(wrong(format!("model_type `{other}` is not supported: only `t5` (v1.0, v1.1, Flan) is")));
            }
        }
        if raw.is_encoder_decoder == Some(false) {
            return Err(wrong("is_encoder_decoder is false: an encoder alone cannot be served".into()));
        }
        let activation = match raw.feed_forward_proj.as_str() {
            "relu" => Activation::Relu,
            "gated-gelu" => Activation::GatedGelu,
            other => {
                return Err(wrong(format!("feed_forward_proj `{other}` is not supported: use `relu` or `gated-gelu`")));
            }
        };
        let config = Config {
            d_model: raw.d_model,
            d_kv: raw.d_kv,
            num_heads: raw.num_heads,
            encoder_layers: raw.num_layers,
            decoder_layers: raw.num_decoder_layers.unwrap_or(raw.num_layers),
            d_ff: raw.d_ff,
            activation,
            vocab_size: raw.vocab_size,
            buckets: raw.relative_attention_num_buckets,
            max_distance: raw.relative_attention_max_distance,
            epsilon: raw.layer_norm_epsilon,
            scale_outputs: raw.scale_decoder_outputs.or(raw.tie_word_embeddings).unwrap_or(true),
            pad: raw.pad_token_id,
            eos: raw.eos_token_id,
            start: raw.decoder_start_token_id.unwrap_or(raw.pad_token_id),
        };
        config.check().map_err(wrong)?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        self.shape().check().map_err(|error| error.to_string())?;
        // a causal stack splits the buckets once more, and a bucket must be left for the logarithmic part
        if self.buckets < 4 || !self.buckets.is_multiple_of(2) || self.max_distance <= self.buckets / 2 {
            return Err(format!(
                "relative_attention_num_buckets {} must be even and at least 4, and relative_attention_max_distance {} \
                 more than half of it",
                self.buckets, self.max_distance
            ));
        }
        for (name, id) in
            [("pad_token_id", self.pad), ("eos_token_id", self.eos), ("decoder_start_token_id", self.start)]
        {
            if id as usize >= self.vocab_size {
                return Err(format!("{name} {id} is not below vocab_size {}", self.vocab_size));
            }
        }
        Ok(())
    }

    /// Width of the concatenated heads.
    pub fn inner(&self) -> usize {
        self.num_heads * self.d_kv
    }

    /// What a structure binds to.
    pub fn shape(&self) -> Shape {
        Shape {
            family: "t5".into(),
            encoder_layers: self.encoder_layers,
            decoder_layers: self.decoder_layers,
            d_model: self.d_model,
            d_kv: self.d_kv,
            num_heads: self.num_heads,
            d_ff: self.d_ff,
            gated: self.activation == Activation::GatedGelu,
            vocab_size: self.vocab_size,
        }
    }

    /// The same as a Hugging Face config.json.
    pub fn to_hugging_face(&self, tied: bool) -> serde_json::Value {
        serde_json::json!({
            "architectures": ["T5ForConditionalGeneration"],
            "model_type": "t5",
            "is_encoder_decoder": true,
            "d_model": self.d_model,
            "d_kv": self.d_kv,
            "num_heads": self.num_heads,
            "num_layers": self.encoder_layers,
            "num_decoder_layers": self.decoder_layers,
            "d_ff": self.d_ff,
            "feed_forward_proj": self.activation,
            "tie_word_embeddings": tied,
            "scale_decoder_outputs": self.scale_outputs,
            "vocab_size": self.vocab_size,
            "relative_attention_num_buckets": self.buckets,
            "relative_attention_max_distance": self.max_distance,
            "layer_norm_epsilon": self.epsilon,
            "pad_token_id": self.pad,
            "eos_token_id": self.eos,
            "decoder_start_token_id": self.start,
            "dropout_rate": 0.0,
            "use_cache": true,
        })
    }
}
