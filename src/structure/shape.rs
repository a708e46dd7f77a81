//! The shape of a backbone: what a structure binds to.

use super::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The sizes of a T5, which decide where delta modules can stand and how large they are.
///
/// A structure fits every backbone of the same shape; the vocabulary counts only if `lm_head` is touched.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// Model family: `t5`, which T5 v1.0 and v1.1, Flan-T5, ByT5, mT5 and UMT5 share: their positions are the same.
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

/// Most blocks of a stack, and largest width or vocabulary, that a document may claim: the largest T5 has 24 blocks and
/// widths of 65,536.
const MOST_LAYERS: usize = 1024;
const MOST_WIDTH: usize = 1 << 24;

impl Shape {
    /// Refuses sizes that no backbone has, before anything is counted from them.
    pub fn check(&self) -> Result<()> {
        let sizes = [
            ("encoder_layers", self.encoder_layers, MOST_LAYERS),
            ("decoder_layers", self.decoder_layers, MOST_LAYERS),
            ("d_model", self.d_model, MOST_WIDTH),
            ("d_kv", self.d_kv, MOST_WIDTH),
            ("num_heads", self.num_heads, MOST_WIDTH),
            ("d_ff", self.d_ff, MOST_WIDTH),
            ("vocab_size", self.vocab_size, MOST_WIDTH),
            ("num_heads · d_kv", self.num_heads.saturating_mul(self.d_kv), MOST_WIDTH),
        ];
        match sizes.into_iter().find(|(_, size, most)| *size == 0 || size > most) {
            Some((name, size, most)) => {
                Err(Error::Document(format!("{name} is {size}: it must lie between 1 and {most}")))
            }
            None => Ok(()),
        }
    }

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

/// Shapes for tests.
#[cfg(test)]
impl Shape {
    /// A block each, narrow.
    pub(crate) fn tiny() -> Self {
        Self::plain([1, 1, 8, 4, 2, 16], false, 20)
    }

    /// Two blocks each, gated.
    pub(crate) fn small() -> Self {
        Self::plain([2, 2, 64, 16, 4, 128], true, 100)
    }

    /// T5-large's.
    pub(crate) fn large() -> Self {
        Self::plain([24, 24, 1024, 64, 16, 4096], false, 32100)
    }

    fn plain(sizes: [usize; 6], gated: bool, vocab_size: usize) -> Self {
        let [encoder_layers, decoder_layers, d_model, d_kv, num_heads, d_ff] = sizes;
        let family = "t5".into();
        Self { family, encoder_layers, decoder_layers, d_model, d_kv, num_heads, d_ff, gated, vocab_size }
    }
}
