//! The shape of a backbone: what a structure binds to.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The sizes of a T5, which decide where delta modules can stand and how large they are.
///
/// A structure fits every backbone of the same shape; the vocabulary counts only if `lm_head` is touched.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// Model family; `t5` for T5 v1.0, v1.1, Flan-T5 and LM-adapted T5.
    pub family: String,
    /// Encoder blocks.
    pub encoder_layers: usize,
    /// Decoder blocks.
    pub decoder_layers: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Width of one attention head.
    pub d_kv: usize,
    /// Attention heads.
    pub num_heads: usize,
    /// Inner width of the feed-forward layers.
    pub d_ff: usize,
    /// Whether the feed-forward layer is gated (`wi_0`, `wi_1`) as in v1.1.
    pub gated: bool,
    /// Rows of the embedding, which are the outputs of `lm_head`.
    pub vocab_size: usize,
}

impl Shape {
    /// Width of the concatenated heads, `num_heads · d_kv`.
    pub fn inner(&self) -> usize {
        self.num_heads * self.d_kv
    }

    /// Whether a structure made for `self` fits a backbone of shape `other`.
    pub fn fits(&self, other: &Shape, touches_lm_head: bool) -> bool {
        let any_vocabulary = Shape { vocab_size: other.vocab_size, ..self.clone() };
        any_vocabulary == *other && (!touches_lm_head || self.vocab_size == other.vocab_size)
    }

    /// The text that a structure's digest covers; it names the vocabulary only if `lm_head` is touched.
    pub fn signature(&self, touches_lm_head: bool) -> String {
        let vocabulary = if touches_lm_head { self.vocab_size.to_string() } else { "-".into() };
        format!(
            "{} layers={}+{} d_model={} d_kv={} heads={} d_ff={} gated={} vocab={vocabulary}",
            self.family,
            self.encoder_layers,
            self.decoder_layers,
            self.d_model,
            self.d_kv,
            self.num_heads,
            self.d_ff,
            self.gated
        )
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.signature(false))
    }
}
