//! What a structure leaves as it is: below the first position that it touches, a text's activations are the bare backbone's,
//! so that all structures that leave them alone can share them.

use super::{DeltaModule, Structure};
use serde::{Deserialize, Serialize};

/// How far up the forward pass a structure reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// Whether it leaves the encoder alone, whose output is then the bare backbone's.
    pub spares_encoder: bool,
    /// Whether it leaves cross-attention's keys and values alone; with the encoder's output they are the bare backbone's.
    pub spares_keys_values: bool,
}

/// What serving a structure takes and shares. It follows from the modules and the machine, and is no part of the document: in
/// an upload it is ignored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Serving {
    /// The first position that it touches, in the order of a forward pass: up to there a text's activations are the bare
    /// backbone's.
    pub first_position: Option<String>,
    /// Whether it shares the encoder's output of a text with the bare backbone and other such adapters.
    pub shares_encoder: bool,
    /// Whether it shares cross-attention's keys and values with them as well.
    pub shares_keys_values: bool,
    /// Trained parameters.
    pub parameters: usize,
    /// Bytes of its delta weights in memory, in f32.
    pub bytes: usize,
    /// What its modules take, measured by this server; absent where it does not compute on the CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<MeasuredCost>,
}

/// What a structure's modules add to a request on one thread of the server's machine: the shortest of a few runs when it was
/// first asked, other work of the machine included. The backbone's own time is not in it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct MeasuredCost {
    /// Tokens of the request's source.
    pub source_tokens: usize,
    /// Tokens made.
    pub new_tokens: usize,
    /// Microseconds of the request.
    pub request_microseconds: f64,
    /// Of these, microseconds for the source: none where its encoding is shared or cached.
    pub source_microseconds: f64,
    /// Microseconds for each token made.
    pub token_microseconds: f64,
}

/// Whether a position is computed once a source, before decoding begins: it stands in the encoder, or makes cross-attention's
/// keys and values.
pub fn reads_source(position: &str) -> bool {
    matches!(stage(position), Stage::Encoder | Stage::KeysValues)
}

impl Structure {
    /// What serving it takes and shares, without what must be measured.
    pub fn cost(&self) -> Serving {
        let (Reach { spares_encoder, spares_keys_values }, parameters) = (self.reach(), self.parameters());
        Serving {
            first_position: self.first_position().map(String::from),
            shares_encoder: spares_encoder,
            shares_keys_values: spares_encoder && spares_keys_values,
            parameters,
            bytes: parameters * size_of::<f32>(),
            measured: None,
        }
    }

    /// What it leaves alone.
    pub fn reach(&self) -> Reach {
        let positions = || self.modules.iter().map(|module| module.position.as_str());
        Reach {
            spares_encoder: !positions().any(|position| stage(position) == Stage::Encoder),
            spares_keys_values: !positions().any(|position| stage(position) == Stage::KeysValues),
        }
    }

    /// The first position that it touches, in the order in which a forward pass comes to them.
    pub fn first_position(&self) -> Option<&str> {
        let positions = self.modules.iter().map(|module: &DeltaModule| module.position.as_str());
        positions.min_by_key(|position| order(position))
    }
}

/// Parts of the forward pass, in their order. Cross-attention's keys and values follow the encoder at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Encoder,
    KeysValues,
    Decoder,
    Head,
}

fn stage(position: &str) -> Stage {
    if position.starts_with("encoder.") {
        Stage::Encoder
    } else if position.ends_with(".EncDecAttention.k") || position.ends_with(".EncDecAttention.v") {
        Stage::KeysValues
    } else if position.starts_with("decoder.") {
        Stage::Decoder
    } else {
        Stage::Head
    }
}

/// Stage, block, layer of the block, and place within that layer: norm, then linear maps, then the whole module.
fn order(position: &str) -> (Stage, usize, usize, usize) {
    let parts: Vec<&str> = position.split('.').collect();
    let number = |at: usize| parts.get(at).and_then(|part| part.parse().ok()).unwrap_or(usize::MAX);
    let last = parts.last().copied().unwrap_or_default();
    let place = match last {
        "layer_norm" => 0,
        "q" | "k" | "v" | "wi" | "wi_0" | "wi_1" => 1,
        "o" | "wo" => 2,
        _ => 3,
    };
    // `encoder.final_layer_norm` has no block and comes behind all of them
    (stage(position), number(2), number(4), place)
}

#[cfg(test)]
mod tests {
    use crate::structure::{DeltaModule, Kind, Origin, Provenance, Shape, Structure};

    /// Positions with a bias each: the first one touched, and whether encoder, and keys and values, are left alone.
    #[track_caller]
    fn check(positions: &[&str], first: &str, spares: (bool, bool)) {
        let shape = Shape { gated: false, ..Shape::small() };
        let kind = |position: &str| {
            if position.ends_with("Attention") { Kind::Adapter { bottleneck: 2 } } else { Kind::Bitfit }
        };
        let modules = positions.iter().map(|position| DeltaModule::new(*position, kind(position))).collect();
        let structure = Structure::new(&shape, modules, Provenance::new(Origin::Manual)).unwrap();
        let reach = structure.reach();
        assert_eq!(structure.first_position(), Some(first), "{positions:?}");
        assert_eq!((reach.spares_encoder, reach.spares_keys_values), spares, "{positions:?}");
        let cost = structure.cost();
        assert_eq!((cost.shares_encoder, cost.shares_keys_values), (spares.0, spares == (true, true)));
        assert_eq!(cost.bytes, 4 * structure.parameters());
    }

    #[test]
    fn the_first_position_is_the_forward_passes() {
        let k = "decoder.block.1.layer.1.EncDecAttention.k";
        check(
            &["encoder.final_layer_norm", "encoder.block.1.layer.0.SelfAttention.o", k],
            "encoder.block.1.layer.0.SelfAttention.o",
            (false, false),
        );
        let norm = "encoder.block.0.layer.0.layer_norm";
        check(&["encoder.block.0.layer.0.SelfAttention.q", norm], norm, (false, true));
        check(&["encoder.final_layer_norm", "lm_head"], "encoder.final_layer_norm", (false, true));
        check(&["decoder.block.0.layer.0.SelfAttention.q", k], k, (true, false));
        let (q, all) = ("decoder.block.0.layer.1.EncDecAttention.q", "decoder.block.0.layer.1.EncDecAttention");
        check(&[all, q], q, (true, true));
        check(&["lm_head", "decoder.final_layer_norm"], "decoder.final_layer_norm", (true, true));
        check(&["lm_head"], "lm_head", (true, true));
    }
}
