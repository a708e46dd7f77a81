//! The whole model: embedding, encoder, decoder, output layer.

use super::attention::Attention;
use super::dropout::dropped;
use super::score::Sources;
use super::sharing::Sharing;
use super::source::{ParameterSource, ParameterSpec, parameter_specs};
use super::stack::{Pass, Stack};
use super::tree::Tree;
use super::{Cache, Config, Deltas, Encoded, Error, LinearGroup, Memory, Remembering, Result, TokenBatch};
use crate::structure::Positions;
use burn::tensor::{Device, Tensor, TensorData};

/// A T5 of any version. Plain tensors make it a frozen backbone; tracked ones make it trainable.
#[derive(Debug, Clone)]
pub struct T5 {
    shared: Tensor<2>,
    encoder: Stack,
    decoder: Stack,
    head: LinearGroup,
    /// d_model^-½ where the outputs are scaled (v1.0), else 1.
    output_scale: f64,
    pad: u32,
    vocab: usize,
    device: Device,
}

/// A batch on its way through the encoder, whose deltas stay the same.
#[derive(Debug)]
pub struct Encoding {
    pass: Pass,
    lengths: Vec<usize>,
}

impl Encoding {
    /// The sources as they are after the blocks done so far, which come apart and together as encoded ones do.
    pub fn halfway(self) -> Encoded {
        Encoded { hidden: self.pass.x, lengths: self.lengths }
    }
}

impl T5 {
    /// What [`T5::build`] takes, in its order: every parameter, and for a tied model the embedding once more, transposed.
    pub(super) fn parameters(config: &Config, tied: bool) -> Vec<ParameterSpec> {
        let mut specs = parameter_specs(config, tied);
        specs.extend(tied.then(|| ParameterSpec::tied_head(config)));
        specs
    }

    /// Builds the model from its parameters. `tied`: the output layer is the embedding's transpose.
    pub fn build(
        config: &Config,
        positions: &Positions,
        tied: bool,
        source: &mut dyn ParameterSource,
        device: &Device,
    ) -> Result<Self> {
        let mut specs = Self::parameters(config, tied).into_iter();
        let shared = source.take(&specs.next().expect("the embedding comes first"))?;
        let encoder = Stack::build("encoder", config, positions, &mut specs, source)?;
        let decoder = Stack::build("decoder", config, positions, &mut specs, source)?;
        let head = source.take_linear(&specs.next().expect("the output layer comes last"))?;
        let id = positions.id("lm_head").map_err(|error| Error::Input(error.to_string()))?;
        Ok(Self {
            shared,
            encoder,
            decoder,
            head: LinearGroup::new(head, vec![(id, config.vocab_size)]),
            output_scale: if config.scale_outputs { (config.d_model as f64).powf(-0.5) } else { 1.0 },
            pad: config.pad,
            vocab: config.vocab_size,
            device: device.clone(),
        })
    }

    /// The device that the model's tensors are on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Rows of the embedding, which are ids that the model takes and gives.
    pub fn vocab(&self) -> usize {
        self.vocab
    }

    /// Pads rows of ids to a batch that the model takes.
    pub fn batch<R: AsRef<[u32]>>(&self, rows: &[R]) -> Result<TokenBatch> {
        TokenBatch::new(rows, self.pad, self.vocab)
    }

    /// Encodes a batch.
    pub fn encode(&self, batch: &TokenBatch, deltas: &dyn Deltas) -> Encoded {
        let embedded = dropped(self.embed(batch), deltas);
        let hidden = self.encoder.encode(embedded, batch.mask(&self.device), deltas);
        Encoded { hidden, lengths: batch.lengths().to_vec() }
    }

    /// Begins to encode a batch, block by block: what [`T5::encode`] does at once.
    pub fn begin(&self, batch: &TokenBatch) -> Encoding {
        let pass = self.encoder.begin(self.embed(batch), batch.mask(&self.device));
        Encoding { pass, lengths: batch.lengths().to_vec() }
    }

    /// Goes on until so many blocks are done, or all of them.
    pub fn advance(&self, encoding: &mut Encoding, blocks: usize, deltas: &dyn Deltas) {
        self.encoder.advance(&mut encoding.pass, blocks, usize::MAX, deltas);
    }

    /// Goes on for about so many multiplications ([`T5::encoding_work`]); gives how many are left if all blocks are done. However
    /// few they are, some tokens go on.
    pub fn advance_by(&self, encoding: &mut Encoding, work: usize, deltas: &dyn Deltas) -> Option<usize> {
        self.encoder.advance(&mut encoding.pass, usize::MAX, work.max(1), deltas)
    }

    /// Multiplications to encode so many tokens of short sources.
    pub fn encoding_work(&self, tokens: usize) -> usize {
        tokens.saturating_mul(self.encoder.work())
    }

    /// Goes on with sources that are through so many blocks; see [`Encoding::halfway`].
    pub fn resume(&self, halfway: Encoded, blocks: usize) -> Encoding {
        let mask = halfway.mask();
        Encoding { pass: self.encoder.resume(halfway.hidden, mask, blocks), lengths: halfway.lengths }
    }

    /// The encoder's output once all blocks are done.
    pub fn encoded(&self, encoding: Encoding, deltas: &dyn Deltas) -> Encoded {
        Encoded { hidden: self.encoder.end(encoding.pass, deltas), lengths: encoding.lengths }
    }

    /// Blocks of the encoder.
    pub fn encoder_blocks(&self) -> usize {
        self.encoder.blocks()
    }

    /// Logits under teacher forcing: `inputs` are the decoder's input ids (the start id first) -> `[batch, len, vocab]`.
    pub fn decode(&self, encoded: &Encoded, inputs: &TokenBatch, deltas: &dyn Deltas) -> Tensor<3> {
        self.decode_from(Sources::Encoded(encoded, deltas), inputs, deltas)
    }

    /// The same from what the decoder is to see of each row's source.
    pub fn decode_from(&self, sources: Sources<'_>, inputs: &TokenBatch, deltas: &dyn Deltas) -> Tensor<3> {
        let context = |layer: usize, attention: &Attention| sources.attended(layer, attention);
        let embedded = dropped(self.embed(inputs), deltas);
        let x = self.decoder.decode(embedded, context, sources.mask().as_ref(), deltas);
        self.logits(x, deltas)
    }

    /// Logits of trees of tokens, one tree a row: `-> [rows, nodes, vocab]`, padded on the right. `of` names the source of
    /// each row, every source at least once.
    pub(super) fn decode_trees(
        &self,
        sources: Sources<'_>,
        of: &[usize],
        trees: &[Tree],
        deltas: &dyn Deltas,
    ) -> Result<Tensor<3>> {
        let inputs: Vec<&[u32]> = trees.iter().map(|tree| tree.ids.as_slice()).collect();
        let x = self.embed(&self.batch(&inputs)?);
        let context = |layer: usize, attention: &Attention| sources.attended(layer, attention);
        let sharing = Sharing::new(of, &self.device);
        let x = self.decoder.decode_trees(x, trees, context, sources.mask().as_ref(), sharing.as_ref(), deltas);
        Ok(self.logits(x, deltas))
    }

    /// Cross-attention's keys and values of encoded sources.
    pub fn memory(&self, encoded: &Encoded, deltas: &dyn Deltas) -> Memory {
        let mut on = Remembering::new(encoded.clone());
        self.decoder.remember(&mut on, usize::MAX, deltas);
        on.memory()
    }

    /// Goes on computing them for about so many multiplications, at least a layer; gives how many are left if all are done.
    pub fn remember_by(&self, on: &mut Remembering, work: usize, deltas: &dyn Deltas) -> Option<usize> {
        self.decoder.remember(on, work.max(1), deltas)
    }

    /// Prepares decoding: cross-attention's keys and values are computed once, here. Rows hold at most `capacity` tokens.
    pub fn start(&self, encoded: &Encoded, capacity: usize, deltas: &dyn Deltas) -> Cache {
        let rows: Vec<usize> = (0..encoded.rows()).collect();
        self.start_rows(self.memory(encoded, deltas), &rows, capacity)
    }

    /// The same from what was computed before: `of` names the source of each row, every source at least once.
    pub fn start_rows(&self, memory: Memory, of: &[usize], capacity: usize) -> Cache {
        Cache::new(memory, of, capacity)
    }

    /// One decoding step from each row's latest token: `-> [rows, vocab]`.
    pub fn step(&self, tokens: &[u32], cache: &mut Cache, deltas: &dyn Deltas) -> Tensor<2> {
        let rows = tokens.len();
        let ids: Vec<i32> = tokens.iter().map(|id| *id as i32).collect();
        let ids = Tensor::from_data(TensorData::new(ids, [rows]), &self.device);
        let x = self.shared.clone().select(0, ids).unsqueeze_dim(1);
        let x = self.decoder.step(x, cache, deltas);
        self.logits(x, deltas).squeeze_dim(1)
    }

    fn embed(&self, batch: &TokenBatch) -> Tensor<3> {
        let d = self.shared.dims()[1];
        self.shared.clone().select(0, batch.tensor(&self.device)).reshape([batch.rows(), batch.width(), d])
    }

    fn logits(&self, x: Tensor<3>, deltas: &dyn Deltas) -> Tensor<3> {
        let x = if self.output_scale == 1.0 { x } else { x.mul_scalar(self.output_scale) };
        self.head.forward_one(x, deltas)
    }
}
