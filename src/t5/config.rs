//! What a T5 is made of; `config_file` reads it from a `config.json`.

use super::Activation;
use crate::structure::Shape;
use serde::Serialize;

/// The model family (`model_type`), which decides what config.json leaves open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// T5 v1.0, v1.1, LM-adapted, Flan-T5, ByT5.
    T5,
    /// mT5: v1.1 whose outputs are never scaled.
    Mt5,
    /// UMT5: v1.1 with a position bias in every block.
    Umt5,
}

impl Family {
    /// The `model_type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::T5 => "t5",
            Self::Mt5 => "mt5",
            Self::Umt5 => "umt5",
        }
    }

    /// The name of transformers' class.
    pub(super) fn architecture(self) -> &'static str {
        match self {
            Self::T5 => "T5ForConditionalGeneration",
            Self::Mt5 => "MT5ForConditionalGeneration",
            Self::Umt5 => "UMT5ForConditionalGeneration",
        }
    }
}

/// What a T5 is made of. Defaults are those of transformers' `T5Config`, `MT5Config` and `UMT5Config`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Config {
    /// `model_type`, default `t5`.
    pub family: Family,
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
    /// `dense_act_fn` and `is_gated_act`, or else what `feed_forward_proj` says; default `relu` for `t5`, `gated-gelu`
    /// for the others.
    pub activation: Activation,
    /// Rows of the embedding (`vocab_size`).
    pub vocab_size: usize,
    /// `relative_attention_num_buckets`, default 32.
    pub buckets: usize,
    /// `relative_attention_max_distance`, default 128.
    pub max_distance: usize,
    /// ε of the RMS norms (`layer_norm_epsilon`), default 1e-6.
    pub epsilon: f64,
    /// Whether the last hidden state is scaled by d_model^-½ before the output layer.
    ///
    /// `scale_decoder_outputs` where it is present. Else for `t5` it is `tie_word_embeddings`, default true; `mt5` does
    /// not scale and `umt5` does, as in transformers 5, which reads `tie_word_embeddings` for neither. (transformers 4
    /// did, so that there the published UMT5 is not scaled, which its training was not either: greedy ids are the same,
    /// log-probabilities are not. `"scale_decoder_outputs": false` in its config.json gives those numbers here.)
    pub scale_outputs: bool,
    /// `pad_token_id`, default 0.
    pub pad: u32,
    /// `eos_token_id`, default 1.
    pub eos: u32,
    /// `decoder_start_token_id`, default the pad id.
    pub start: u32,
}

impl Config {
    pub(super) fn check(&self) -> Result<(), String> {
        self.shape().check().map_err(|error| error.to_string())?;
        // a causal stack splits the buckets once more, and a bucket must be left for the logarithmic part
        if self.buckets < 4 || !self.buckets.is_multiple_of(2) || self.max_distance <= self.buckets / 2 {
            return Err(format!(
                "relative_attention_num_buckets {} must be even and at least 4, and relative_attention_max_distance {} \
                 more than half of it",
                self.buckets, self.max_distance
            ));
        }
        if self.epsilon < 0.0 {
            return Err(format!("layer_norm_epsilon {} must not be negative", self.epsilon));
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

    /// Whether `block` of a stack holds a table of position biases: the first, which the others share, or every one.
    pub fn has_position_bias(&self, block: usize) -> bool {
        block == 0 || self.family == Family::Umt5
    }

    /// What a structure binds to. Its family is `t5` for mT5 and UMT5 too: they have the same positions, so that a
    /// structure may move between them; delta weights bind to the weights' digest.
    pub fn shape(&self) -> Shape {
        Shape {
            family: "t5".into(),
            encoder_layers: self.encoder_layers,
            decoder_layers: self.decoder_layers,
            d_model: self.d_model,
            d_kv: self.d_kv,
            num_heads: self.num_heads,
            d_ff: self.d_ff,
            gated: self.activation.gated,
            vocab_size: self.vocab_size,
        }
    }

    /// The same as a Hugging Face config.json.
    pub fn to_hugging_face(&self, tied: bool) -> serde_json::Value {
        serde_json::json!({
            "architectures": [self.family.architecture()],
            "model_type": self.family.name(),
            "is_encoder_decoder": true,
            "d_model": self.d_model,
            "d_kv": self.d_kv,
            "num_heads": self.num_heads,
            "num_layers": self.encoder_layers,
            "num_decoder_layers": self.decoder_layers,
            "d_ff": self.d_ff,
            "feed_forward_proj": self.activation.projection(),
            "dense_act_fn": self.activation.function.name(),
            "is_gated_act": self.activation.gated,
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
