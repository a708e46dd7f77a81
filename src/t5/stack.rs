//! Encoder and decoder: blocks of norm, attention, norm, feed-forward with residuals.

use super::attention::{Attention, Context};
use super::cache::Cache;
use super::dropout::dropped;
use super::encoded::Remembering;
use super::feed_forward::FeedForward;
use super::keys_values::{Attended, KeysValues};
use super::norm::Norm;
use super::position_bias::{Bias, PositionBias, SelfBias};
use super::sharing::Sharing;
use super::source::{ParameterSource, ParameterSpec};
use super::tree::Tree;
use super::{Config, Deltas, LinearGroup, Result, Weight};
use crate::structure::{PositionId, Positions};
use burn::tensor::{Tensor, TensorData};
use std::ops::Range;

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
    work: Work,
}

/// Multiplications of a token in a block, in its parts.
#[derive(Debug, Clone, Copy)]
struct Work {
    /// Projecting self-attention's queries, keys and values.
    projecting: usize,
    /// Attending to one key.
    attending: usize,
    /// The rest of an encoder's block.
    rest: usize,
    /// Projecting cross-attention's keys and values.
    context: usize,
}

impl Work {
    fn new(config: &Config) -> Self {
        let (d, inner) = (config.d_model, config.inner());
        let feeds = if config.activation.gated { 3 } else { 2 };
        let rest = d * inner + feeds * d * config.d_ff;
        Self { projecting: 3 * d * inner, attending: 2 * inner, rest, context: 2 * d * inner }
    }
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
    bias: SelfBias,
    /// Blocks that it is through.
    done: usize,
    /// The block that it is within.
    within: Option<Within>,
}

/// A block of which some tokens are through.
#[derive(Debug)]
struct Within {
    projected: Projected,
    /// What came out, `[batch, tokens, d]` each.
    out: Vec<Tensor<3>>,
    tokens: usize,
}

/// Self-attention's input, and what it projects it to.
#[derive(Debug, Clone)]
struct Projected {
    h: Tensor<3>,
    query: Tensor<4>,
    keys_values: KeysValues,
}

/// Tokens that go through a block at a time at least, so that the products stay efficient.
const LEAST_TOKENS: usize = 64;

impl Projected {
    /// Of these queries, against all keys.
    fn of(&self, tokens: Range<usize>) -> Self {
        let (first, count) = (tokens.start, tokens.len());
        let (h, query) = (self.h.clone().narrow(1, first, count), self.query.clone().narrow(2, first, count));
        Self { h, query, keys_values: self.keys_values.clone() }
    }
}

impl Block {
    fn project(&self, x: Tensor<3>, deltas: &dyn Deltas) -> Projected {
        let h = self.own.prepare(self.own_norm.forward(x, deltas), deltas);
        let (query, keys_values) = self.own.project(h.clone(), deltas);
        Projected { h, query, keys_values }
    }

    /// The block after its projections, whose keys and values may be of more tokens; `cross` is the encoder's side.
    fn forward(
        &self,
        x: Tensor<3>,
        Projected { h, query, keys_values }: Projected,
        bias: Bias<'_>,
        cross: Option<Context>,
        deltas: &dyn Deltas,
    ) -> Tensor<3> {
        let own = Context { attended: Attended::Together(keys_values), bias: Some(bias), sharing: None };
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
        Ok(Self { bias, blocks, last_norm: norm(&mut take)?, work: Work::new(config) })
    }

    /// The encoder over whole sequences: `x [batch, len, d]`, `mask [batch, 1, 1, len]` -> `[batch, len, d]`.
    pub(super) fn encode(&self, x: Tensor<3>, mask: Option<Tensor<4>>, deltas: &dyn Deltas) -> Tensor<3> {
        let mut pass = self.begin(x, mask);
        self.advance(&mut pass, self.blocks.len(), usize::MAX, deltas);
        self.end(pass, deltas)
    }

    /// The beginning of [`Stack::encode`], to be taken through the blocks by [`Stack::advance`] and to its end by
    /// [`Stack::end`], all with the same deltas.
    pub(super) fn begin(&self, x: Tensor<3>, mask: Option<Tensor<4>>) -> Pass {
        self.resume(x, mask, 0)
    }

    /// The same from what comes out of the first `done` blocks.
    pub(super) fn resume(&self, x: Tensor<3>, mask: Option<Tensor<4>>, done: usize) -> Pass {
        let bias = self.bias.whole(x.dims()[1], mask, &x.device());
        Pass { x, bias, done, within: None }
    }

    /// Multiplications of a token of a short sequence in all blocks.
    pub(super) fn work(&self) -> usize {
        self.blocks.len() * (self.work.projecting + self.work.rest)
    }

    /// Takes a pass on until it is through `end` blocks, or for about so many multiplications; gives how many are left if the
    /// pass is through.
    pub(super) fn advance(&self, pass: &mut Pass, end: usize, work: usize, deltas: &dyn Deltas) -> Option<usize> {
        let [batch, len, _] = pass.x.dims();
        let each = batch * (self.work.rest + len * self.work.attending); // a token of each row
        let (end, mut left) = (end.min(self.blocks.len()), work);
        while pass.done < end {
            if left == 0 {
                return None;
            }
            let block = &self.blocks[pass.done];
            let mut within = pass.within.take().unwrap_or_else(|| {
                left = left.saturating_sub(batch * len * self.work.projecting);
                Within { projected: block.project(pass.x.clone(), deltas), out: Vec::new(), tokens: 0 }
            });
            let first = within.tokens;
            let tokens = (left / each).max(LEAST_TOKENS).min(len - first);
            let bias = Bias::ByDistance(pass.bias.of(pass.done), first..first + tokens);
            let (x, projected) = if tokens == len {
                (pass.x.clone(), within.projected.clone())
            } else {
                (pass.x.clone().narrow(1, first, tokens), within.projected.of(first..first + tokens))
            };
            within.out.push(block.forward(x, projected, bias, None, deltas));
            within.tokens += tokens;
            left = left.saturating_sub(tokens * each);
            if within.tokens < len {
                pass.within = Some(within);
            } else {
                let single = within.out.len() == 1;
                pass.x = if single { within.out.remove(0) } else { Tensor::cat(within.out, 1) };
                pass.done += 1;
            }
        }
        Some(left)
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
    pub(super) fn decode<'a>(
        &self,
        mut x: Tensor<3>,
        context: impl Fn(usize, &Attention) -> Attended<'a>,
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
            let cross = Context { attended: context(index, attention), bias: mask.map(Bias::Whole), sharing: None };
            let projected = block.project(x.clone(), deltas);
            x = block.forward(x, projected, Bias::Whole(bias.of(index)), Some(cross), deltas);
        }
        dropped(self.last_norm.forward(x, deltas), deltas)
    }

    /// The decoder over trees of tokens: `x [rows, nodes, d]`, padded on the right, `-> [rows, nodes, d]`. `context` gives a
    /// layer's keys and values by source, as in [`Stack::decode`]; `sharing` says whose rows are whose.
    pub(super) fn decode_trees<'a>(
        &self,
        mut x: Tensor<3>,
        trees: &[Tree],
        context: impl Fn(usize, &Attention) -> Attended<'a>,
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
            let cross = Context { attended: context(index, attention), bias: mask.map(Bias::Whole), sharing };
            let projected = block.project(x.clone(), deltas);
            x = block.forward(x, projected, Bias::Whole(bias.of(index)), Some(cross), deltas);
        }
        self.last_norm.forward(x, deltas)
    }

    /// Adds cross-attention's keys and values of the layers that are missing, for about so many multiplications; gives how many are
    /// left if none is missing.
    pub(super) fn remember(&self, on: &mut Remembering, work: usize, deltas: &dyn Deltas) -> Option<usize> {
        let [batch, len, _] = on.encoded.hidden.dims();
        let mut left = work;
        for block in &self.blocks[on.layers()..] {
            if left == 0 {
                return None;
            }
            let (_, attention) = block.cross.as_ref().expect("a decoder block has cross-attention");
            on.push(&attention.project_context(on.encoded.hidden.clone(), deltas));
            left = left.saturating_sub(batch * len * self.work.context);
        }
        Some(left)
    }

    /// One decoding step: `x [rows, 1, d]` holds each row's latest token; `-> [rows, 1, d]`.
    pub(super) fn step(&self, mut x: Tensor<3>, cache: &mut Cache, deltas: &dyn Deltas) -> Tensor<3> {
        let device = x.device();
        let positions = cache.lengths().to_vec();
        let keys = positions.iter().max().expect("a batch has rows") + 1;
        let level = positions.iter().all(|position| position + 1 == keys);
        let queries: Vec<_> = if level { vec![vec![keys - 1]] } else { positions.iter().map(|p| vec![*p]).collect() };
        let mut bias = self.bias.start(&queries, keys, cache.step_mask(keys, &device), &device);
        let sharing = cache.sharing.clone();
        for (index, (block, layer)) in self.blocks.iter().zip(&mut cache.layers).enumerate() {
            let (attended, mask) = cache.cross.context(index);
            let cross = Context { attended, bias: mask, sharing: sharing.as_ref() };
            let mut projected = block.project(x.clone(), deltas);
            projected.keys_values = layer.push(projected.keys_values, &positions, keys);
            x = block.forward(x, projected, Bias::Whole(bias.of(index)), Some(cross), deltas);
        }
        cache.advance();
        self.last_norm.forward(x, deltas)
    }
}
