//! Encoder and decoder: blocks of norm, attention, norm, feed-forward with residuals.

use super::attention::{Attention, Context, KeysValues};
use super::cache::Cache;
use super::dropout::dropped;
use super::encoded::{Encoded, Memory};
use super::feed_forward::FeedForward;
use super::norm::Norm;
use super::position_bias::{PassBias, PositionBias};
use super::sharing::Sharing;
use super::source::{ParameterSource, ParameterSpec};
use super::tree::Tree;
use super::{Config, Deltas, LinearGroup, Result, Weight};
use crate::structure::{PositionId, Positions};
use burn::tensor::{Tensor, TensorData};

/// One block; the decoder's has cross-attention.
#[derive(Debug, Clone)]
struct Block {
    own_norm: Norm,
    own: Attention,
    cross: Option<(Norm, Attention)>,
    feed_norm: Norm,
    feed: FeedForward,
}

/// An encoder or a decoder.
#[derive(Debug, Clone)]
pub(super) struct Stack {
    bias: PositionBias,
    blocks: Vec<Block>,
    last_norm: Norm,
}

/// Takes parameters in the order of the table.
struct Take<'a> {
    specs: &'a mut dyn Iterator<Item = ParameterSpec>,
    source: &'a mut dyn ParameterSource,
}

impl Take<'_> {
    fn matrix(&mut self) -> Result<(ParameterSpec, Tensor<2>)> {
        let spec = self.specs.next().expect("the table holds every parameter");
        self.source.take(&spec).map(|matrix| (spec, matrix))
    }

    fn linear(&mut self) -> Result<(ParameterSpec, Weight)> {
        let spec = self.specs.next().expect("the table holds every parameter");
        self.source.take_linear(&spec).map(|weight| (spec, weight))
    }
}

/// A pass through the encoder on its way.
#[derive(Debug)]
pub(super) struct Pass {
    pub(super) x: Tensor<3>,
    bias: PassBias,
    /// Blocks that it is through.
    done: usize,
}

impl Block {
    /// `attend` gives self-attention's keys and values from the projected ones; `cross` is the encoder's side.
    fn forward(
        &self,
        x: Tensor<3>,
        bias: &Tensor<4>,
        cross: Option<Context>,
        remember: impl FnOnce(KeysValues) -> KeysValues,
        deltas: &dyn Deltas,
    ) -> Tensor<3> {
        let h = self.own.prepare(self.own_norm.forward(x.clone(), deltas), deltas);
        let (query, new) = self.own.project(h.clone(), deltas);
        let own = Context { keys_values: remember(new), bias: Some(bias), sharing: None };
        let x = self.own.attend(x, &h, query, own, deltas);
        let x = match (&self.cross, cross) {
            (Some((norm, attention)), Some(cross)) => {
                let h = attention.prepare(norm.forward(x.clone(), deltas), deltas);
                let query = attention.project_query(h.clone(), cross.sharing, deltas);
                attention.attend(x, &h, query, cross, deltas)
            }
            _ => x,
        };
        let h = self.feed_norm.forward(x.clone(), deltas);
        self.feed.forward(x, h, deltas)
    }
}

impl Stack {
    /// Takes the stack's parameters in the order of `parameter_specs`.
    pub(super) fn build(
        stack: &str,
        config: &Config,
        positions: &Positions,
        next: &mut dyn Iterator<Item = ParameterSpec>,
        source: &mut dyn ParameterSource,
    ) -> Result<Self> {
        let decoder = stack == "decoder";
        let mut take = Take { specs: next, source };
        let id = |path: &str| -> PositionId { positions.id(path).expect("the table's names are positions") };
        let mut tables = Vec::new();
        let layers = if decoder { config.decoder_layers } else { config.encoder_layers };
        let norm = |take: &mut Take| -> Result<Norm> {
            let (spec, weight) = take.matrix()?;
            let path = spec.parts[0].0.trim_end_matches(".weight");
            Ok(Norm { weight: weight.reshape([config.d_model]), position: id(path), epsilon: config.epsilon })
        };
        let group = |take: &mut Take| -> Result<LinearGroup> {
            let (spec, weight) = take.linear()?;
            let parts = spec.parts.iter().map(|(name, width)| (id(name.trim_end_matches(".weight")), *width)).collect();
            Ok(LinearGroup::new(weight, parts))
        };
        let mut blocks = Vec::with_capacity(layers);
        for block in 0..layers {
            let at = format!("{stack}.block.{block}.layer");
            let heads = config.num_heads;
            if config.has_position_bias(block) {
                tables.push(take.matrix()?.1);
            }
            let own_norm = norm(&mut take)?;
            let (input, output) = (group(&mut take)?, group(&mut take)?);
            let position = id(&format!("{at}.0.SelfAttention"));
            let own = Attention { input, context: None, output, position, heads };
            let cross = if decoder {
                let cross_norm = norm(&mut take)?;
                let (input, context, output) = (group(&mut take)?, Some(group(&mut take)?), group(&mut take)?);
                let position = id(&format!("{at}.1.EncDecAttention"));
                Some((cross_norm, Attention { input, context, output, position, heads }))
            } else {
                None
            };
            let feed_norm = norm(&mut take)?;
            let (input, output) = (group(&mut take)?, group(&mut take)?);
            let last = if decoder { 2 } else { 1 };
            let position = id(&format!("{at}.{last}.DenseReluDense"));
            let feed = FeedForward { input, output, position, activation: config.activation };
            blocks.push(Block { own_norm, own, cross, feed_norm, feed });
        }
        let bias = PositionBias { tables, max_distance: config.max_distance, bidirectional: !decoder };
        Ok(Self { bias, blocks, last_norm: norm(&mut take)? })
    }

    /// The encoder over whole sequences: `x [batch, len, d]`, `mask [batch, 1, 1, len]` -> `[batch, len, d]`.
    pub(super) fn encode(&self, x: Tensor<3>, mask: Option<Tensor<4>>, deltas: &dyn Deltas) -> Tensor<3> {
        let mut pass = self.begin(x, mask);
        self.advance(&mut pass, self.blocks.len(), deltas);
        self.end(pass, deltas)
    }

    /// The beginning of [`Stack::encode`], to be taken through the blocks by [`Stack::advance`] and to its end by
    /// [`Stack::end`], all with the same deltas.
    pub(super) fn begin(&self, x: Tensor<3>, mask: Option<Tensor<4>>) -> Pass {
        self.resume(x, mask, 0)
    }

    /// The same from what comes out of the first `done` blocks.
    pub(super) fn resume(&self, x: Tensor<3>, mask: Option<Tensor<4>>, done: usize) -> Pass {
        let len = x.dims()[1];
        let bias = self.bias.start(&[(0..len).collect()], len, mask, &x.device());
        Pass { x, bias, done }
    }

    /// Takes a pass through at most so many blocks; gives whether it is through all of them.
    pub(super) fn advance(&self, pass: &mut Pass, blocks: usize, deltas: &dyn Deltas) -> bool {
        let end = self.blocks.len().min(pass.done.saturating_add(blocks));
        for (index, block) in self.blocks.iter().enumerate().take(end).skip(pass.done) {
            pass.x = block.forward(pass.x.clone(), pass.bias.of(index), None, |own| own, deltas);
        }
        pass.done = end;
        end == self.blocks.len()
    }

    /// The end of a pass that is through all blocks.
    pub(super) fn end(&self, pass: Pass, deltas: &dyn Deltas) -> Tensor<3> {
        dropped(self.last_norm.forward(pass.x, deltas), deltas)
    }

    /// Number of blocks.
    pub(super) fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// The decoder over whole sequences under a causal mask: `x [batch, len, d]` -> `[batch, len, d]`. `context` gives
    /// the keys and values of a layer's cross-attention, which are held no longer than the layer takes.
    pub(super) fn decode(
        &self,
        mut x: Tensor<3>,
        context: impl Fn(&Attention) -> KeysValues,
        mask: Option<&Tensor<4>>,
        deltas: &dyn Deltas,
    ) -> Tensor<3> {
        let (len, device) = (x.dims()[1], x.device());
        let ahead =
            (0..len).flat_map(|query| (0..len).map(move |key| if key <= query { 0.0 } else { super::batch::MASKED }));
        let causal = TensorData::new(ahead.collect::<Vec<f32>>(), [1, 1, len, len]);
        let causal = Tensor::from_data(causal, &device);
        let mut bias = self.bias.start(&[(0..len).collect()], len, Some(causal), &device);
        for (index, block) in self.blocks.iter().enumerate() {
            let (_, attention) = block.cross.as_ref().expect("a decoder block has cross-attention");
            let cross = Context { keys_values: context(attention), bias: mask, sharing: None };
            x = block.forward(x, bias.of(index), Some(cross), |own| own, deltas);
        }
        dropped(self.last_norm.forward(x, deltas), deltas)
    }

    /// The decoder over trees of tokens: `x [rows, nodes, d]`, padded on the right, `-> [rows, nodes, d]`. `context` gives a
    /// layer's keys and values by source, as in [`Stack::decode`]; `sharing` says whose rows are whose.
    pub(super) fn decode_trees(
        &self,
        mut x: Tensor<3>,
        trees: &[Tree],
        context: impl Fn(usize, &Attention) -> KeysValues,
        mask: Option<&Tensor<4>>,
        sharing: Option<&Sharing>,
        deltas: &dyn Deltas,
    ) -> Tensor<3> {
        let (width, device) = (x.dims()[1], x.device());
        let forms = Tree::forms(trees);
        let padded = |tree: &Tree| {
            let depths = tree.depths.iter().copied();
            depths.chain(std::iter::repeat(0)).take(width).collect::<Vec<_>>()
        };
        let depths: Vec<_> = forms.iter().map(padded).collect();
        let seen = Tree::mask(forms, width, &device);
        let mut bias = self.bias.between(depths.iter().map(|d| (d.as_slice(), d.as_slice())), Some(seen), &device);
        for (index, block) in self.blocks.iter().enumerate() {
            let (_, attention) = block.cross.as_ref().expect("a decoder block has cross-attention");
            let cross = Context { keys_values: context(index, attention), bias: mask, sharing };
            x = block.forward(x, bias.of(index), Some(cross), |own| own, deltas);
        }
        self.last_norm.forward(x, deltas)
    }

    /// Cross-attention's keys and values of every layer.
    pub(super) fn cross(&self, encoded: &Encoded, deltas: &dyn Deltas) -> Memory {
        let each = self.blocks.iter().filter_map(|block| block.cross.as_ref());
        let layers =
            each.map(|(_, attention)| attention.project_context(encoded.hidden.clone(), deltas).gathered()).collect();
        Memory { layers, lengths: encoded.lengths.clone() }
    }

    /// One decoding step: `x [rows, 1, d]` holds each row's latest token; `-> [rows, 1, d]`.
    pub(super) fn step(&self, mut x: Tensor<3>, cache: &mut Cache, deltas: &dyn Deltas) -> Tensor<3> {
        let device = x.device();
        let positions = cache.lengths().to_vec();
        let keys = positions.iter().max().expect("a batch has rows") + 1;
        let level = positions.iter().all(|position| position + 1 == keys);
        let queries: Vec<_> = if level { vec![vec![keys - 1]] } else { positions.iter().map(|p| vec![*p]).collect() };
        let mut bias = self.bias.start(&queries, keys, cache.step_mask(keys, &device), &device);
        let (mask, sharing, sources) = (cache.cross_mask.clone(), cache.sharing.clone(), cache.sources());
        for (index, (block, layer)) in self.blocks.iter().zip(&mut cache.layers).enumerate() {
            let keys_values = layer.cross(sources);
            let cross = Context { keys_values, bias: mask.as_ref(), sharing: sharing.as_ref() };
            let remember = |new| layer.push(new, &positions, keys);
            x = block.forward(x, bias.of(index), Some(cross), remember, deltas);
        }
        cache.advance();
        self.last_norm.forward(x, deltas)
    }
}
