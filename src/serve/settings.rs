//! What the engine may use.

use super::generation::MOST_EVENTS;
use crate::structure::Shape;

/// Weights of T5-small's encoder blocks.
const T5_SMALL: usize = 6 * 512 * (4 * 512 + 2 * 2048);

/// Limits of the engine. Zeros are read as ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Rows of one forward: sequences decoded together, sources encoded together.
    pub max_batch_rows: usize,
    /// Source tokens of one encoder pass, padding included; a longer source is encoded alone.
    pub max_batch_tokens: usize,
    /// Source tokens that are encoded between two steps of the decoder, so that rows under way are not held up for long; a
    /// longer source is encoded alone, and in parts.
    pub encoded_between_steps: usize,
    /// Source tokens of which the decoder's keys and values are held for what is under way, those that requests share once; requests
    /// beyond them wait, but for one that is alone.
    pub max_decoded_tokens: usize,
    /// Requests that may wait; more are answered [`super::Error::QueueFull`].
    pub queue: usize,
    /// Tokens of one source.
    pub max_source_tokens: usize,
    /// Tokens that one request may generate, and tokens of one target to score.
    pub max_new_tokens: usize,
    /// Bytes of adapters kept in memory, those included that requests in the queue wait with; those of the running batch stay,
    /// even beyond it.
    pub adapter_bytes: usize,
    /// Bytes of encoded sources kept for requests that ask about them again: one half for the encoder's output, one for
    /// cross-attention's keys and values. 0 keeps none; requests of one batch share theirs all the same.
    pub encoder_cache_bytes: usize,
    /// What [`super::BackboneInfo`] says of the device, such as `cuda:0`.
    pub device: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_batch_rows: 32,
            max_batch_tokens: 8192,
            encoded_between_steps: 1024,
            max_decoded_tokens: 32 << 10,
            queue: 256,
            max_source_tokens: 512,
            max_new_tokens: 256,
            adapter_bytes: 1 << 30,
            encoder_cache_bytes: 256 << 20,
            device: "cpu".into(),
        }
    }
}

impl Settings {
    /// Tokens that a CPU encodes between two steps of a backbone's decoder in about the time of 1,024 of T5-small's, beyond which those
    /// who read a stream see it stand still.
    pub fn encoded_on_cpu(shape: &Shape) -> usize {
        let Shape { encoder_layers, d_model, d_kv, num_heads, d_ff, gated, .. } = *shape;
        let weights = encoder_layers * d_model * (4 * num_heads * d_kv + (2 + usize::from(gated)) * d_ff);
        let most = Self::default().encoded_between_steps;
        (most * T5_SMALL / weights.max(1)).clamp(most / 16, most)
    }

    /// Rows that requests of one adapter may have together, so that the others find some at once: seven eighths.
    pub fn share(&self) -> usize {
        self.max_batch_rows - self.max_batch_rows / 8
    }

    /// The same with every limit usable.
    pub(super) fn sane(self) -> Self {
        Self {
            max_batch_rows: self.max_batch_rows.max(1),
            max_batch_tokens: self.max_batch_tokens.max(1),
            encoded_between_steps: self.encoded_between_steps.max(1),
            max_decoded_tokens: self.max_decoded_tokens.max(1),
            queue: self.queue.max(1),
            max_source_tokens: self.max_source_tokens.max(1),
            max_new_tokens: self.max_new_tokens.clamp(1, MOST_EVENTS - 1),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_larger_encoder_takes_fewer_tokens_at_a_time() {
        let of = |encoder_layers, d_model, num_heads, d_ff| Shape {
            encoder_layers,
            d_model,
            d_kv: 64,
            num_heads,
            d_ff,
            gated: false,
            ..Shape::tiny()
        };
        let (small, base, large) = (of(6, 512, 8, 2048), of(12, 768, 12, 3072), of(24, 1024, 16, 4096));
        let found = [Shape::tiny(), small, base, large].map(|shape| Settings::encoded_on_cpu(&shape));
        assert_eq!(found, [1024, 1024, 227, 64]);
    }
}
