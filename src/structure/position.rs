//! Positions: every place of a T5 where a delta module can stand, by its Hugging Face path and by a dense index.

use super::{Error, Result, Shape};
use std::collections::HashMap;

/// Dense index of a position in its [`Positions`]; the hot path uses this, never the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PositionId(u32);

impl PositionId {
    /// The index, `0..positions.len()`.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What stands at a position, with its widths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Site {
    /// A linear map, `[.., d_in] -> [.., d_out]`.
    Linear {
        /// Input width.
        d_in: usize,
        /// Output width.
        d_out: usize,
    },
    /// A layer norm over `d` features.
    Norm {
        /// Features.
        d: usize,
    },
    /// An attention or feed-forward module, `[.., d] -> [.., d]`.
    Module {
        /// Features.
        d: usize,
    },
}

impl Site {
    /// Width of the output.
    pub fn d_out(self) -> usize {
        match self {
            Site::Linear { d_out, .. } => d_out,
            Site::Norm { d } | Site::Module { d } => d,
        }
    }

    /// The word for messages.
    pub fn name(self) -> &'static str {
        match self {
            Site::Linear { .. } => "a linear map",
            Site::Norm { .. } => "a layer norm",
            Site::Module { .. } => "an attention or feed-forward module",
        }
    }
}

/// All positions of a backbone, in the canonical order (method.md section 2; modules in a block follow their linears).
#[derive(Debug, Clone)]
pub struct Positions {
    shape: Shape,
    entries: Vec<(String, Site)>,
    by_path: HashMap<String, PositionId>,
}

impl Positions {
    /// Enumerates the positions of a backbone of this shape.
    pub fn new(shape: &Shape) -> Self {
        let mut entries = Vec::new();
        let (d, inner) = (shape.d_model, shape.inner());
        let attention = |entries: &mut Vec<(String, Site)>, at: String| {
            for name in ["q", "k", "v"] {
                entries.push((format!("{at}.{name}"), Site::Linear { d_in: d, d_out: inner }));
            }
            entries.push((format!("{at}.o"), Site::Linear { d_in: inner, d_out: d }));
            entries.push((at, Site::Module { d }));
        };
        for (stack, layers) in [("encoder", shape.encoder_layers), ("decoder", shape.decoder_layers)] {
            for block in 0..layers {
                let at = format!("{stack}.block.{block}.layer");
                attention(&mut entries, format!("{at}.0.SelfAttention"));
                entries.push((format!("{at}.0.layer_norm"), Site::Norm { d }));
                if stack == "decoder" {
                    attention(&mut entries, format!("{at}.1.EncDecAttention"));
                    entries.push((format!("{at}.1.layer_norm"), Site::Norm { d }));
                }
                let last = if stack == "decoder" { 2 } else { 1 };
                let feed_forward = format!("{at}.{last}.DenseReluDense");
                let inputs: &[&str] = if shape.gated { &["wi_0", "wi_1"] } else { &["wi"] };
                for name in inputs {
                    entries.push((format!("{feed_forward}.{name}"), Site::Linear { d_in: d, d_out: shape.d_ff }));
                }
                entries.push((format!("{feed_forward}.wo"), Site::Linear { d_in: shape.d_ff, d_out: d }));
                entries.push((feed_forward, Site::Module { d }));
                entries.push((format!("{at}.{last}.layer_norm"), Site::Norm { d }));
            }
            entries.push((format!("{stack}.final_layer_norm"), Site::Norm { d }));
        }
        entries.push(("lm_head".into(), Site::Linear { d_in: d, d_out: shape.vocab_size }));
        let by_path = entries.iter().enumerate().map(|(i, (path, _))| (path.clone(), PositionId(i as u32))).collect();
        Self { shape: shape.clone(), entries, by_path }
    }

    /// The shape that these positions belong to.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// How many positions there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Never true: every backbone has at least `lm_head`.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The index of a path, or an error that names it and what is near.
    pub fn id(&self, path: &str) -> Result<PositionId> {
        self.by_path.get(path).copied().ok_or_else(|| Error::UnknownPosition {
            position: path.into(),
            shape: self.shape.to_string(),
            hint: self.hint(path),
        })
    }

    /// The path of an index.
    pub fn path(&self, id: PositionId) -> &str {
        &self.entries[id.index()].0
    }

    /// What stands at an index.
    pub fn site(&self, id: PositionId) -> Site {
        self.entries[id.index()].1
    }

    /// All positions in order.
    pub fn iter(&self) -> impl Iterator<Item = (PositionId, &str, Site)> {
        self.entries.iter().enumerate().map(|(i, (path, site))| (PositionId(i as u32), path.as_str(), *site))
    }

    fn hint(&self, path: &str) -> String {
        let suffix = path.rsplit('.').next().unwrap_or(path);
        let near = self.entries.iter().map(|(known, _)| known.as_str()).find(|known| {
            known.rsplit('.').next() == Some(suffix) && known.split('.').next() == path.split('.').next()
        });
        match near {
            Some(near) => format!("a position of that sort is `{near}`"),
            None => "positions are Hugging Face paths such as `encoder.block.0.layer.0.SelfAttention.q`".into(),
        }
    }
}
