//! What the tests of this module share: a tiny random backbone, adapters of every kind, and each request run alone.

use super::adapters::Read;
use super::engine::EngineThread;
use super::{Adapter, Engine, Event, GenerateRequest, ScoreRequest, Settings, Text};
use crate::delta::{DeltaWeights, Layout, Metadata, Single};
use crate::structure::{DeltaModule, Kind, Origin, Provenance, Structure};
use crate::t5::{Backbone, DecodeSettings, Deltas, Frozen};
use burn::tensor::{Device, activation::log_softmax};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

pub(super) fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// A v1.1 T5 of two layers a stack, whose greedy answers end at different steps.
pub(super) fn backbone() -> Arc<Backbone> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/tiny-v1.1");
    Arc::new(Backbone::open(&dir, &Device::flex()).unwrap())
}

/// Module lists of all six kinds, of several ranks, at places of every sort; two overlap at most places. The seventh leaves
/// encoder, keys and values alone, the eighth the encoder.
pub(super) fn structures(backbone: &Backbone) -> Vec<Arc<Structure>> {
    let lora = |rank, alpha| Kind::Lora { rank, alpha };
    let lists: [&[(&str, Kind)]; 8] = [
        &[
            ("encoder.block.0.layer.0.SelfAttention.q", lora(1, 16.0)),
            ("decoder.block.1.layer.1.EncDecAttention.v", lora(3, 4.0)),
            ("decoder.block.0.layer.2.DenseReluDense.wo", lora(2, 2.0)),
            ("lm_head", lora(2, 8.0)),
        ],
        &[
            ("encoder.block.0.layer.0.SelfAttention.q", Kind::Bitfit),
            ("encoder.block.1.layer.0.layer_norm", Kind::Bitfit),
            ("decoder.block.1.layer.1.EncDecAttention.v", lora(1, 16.0)),
            ("decoder.final_layer_norm", Kind::Lnfit),
        ],
        &[
            ("encoder.block.0.layer.0.SelfAttention", Kind::LowRankAdapter { bottleneck: 4, rank: 2 }),
            ("decoder.block.0.layer.2.DenseReluDense", Kind::LowRankAdapter { bottleneck: 2, rank: 1 }),
            ("decoder.final_layer_norm", Kind::Bitfit),
        ],
        &[
            ("encoder.block.1.layer.1.DenseReluDense", Kind::Adapter { bottleneck: 5 }),
            ("decoder.block.0.layer.2.DenseReluDense", Kind::LowRankAdapter { bottleneck: 6, rank: 3 }),
            ("decoder.block.1.layer.0.SelfAttention.k", lora(2, 4.0)),
        ],
        &[
            ("encoder.block.1.layer.1.DenseReluDense", Kind::ParallelAdapter { bottleneck: 3 }),
            ("decoder.block.1.layer.1.EncDecAttention", Kind::Adapter { bottleneck: 2 }),
            ("decoder.block.1.layer.0.SelfAttention", Kind::ParallelAdapter { bottleneck: 4 }),
            ("decoder.block.1.layer.0.layer_norm", Kind::Lnfit),
            ("decoder.block.1.layer.0.layer_norm", Kind::Bitfit),
        ],
        &[
            ("encoder.block.1.layer.1.DenseReluDense", Kind::Adapter { bottleneck: 2 }),
            ("encoder.block.1.layer.1.DenseReluDense", Kind::ParallelAdapter { bottleneck: 5 }),
            ("encoder.block.0.layer.0.SelfAttention.q", lora(4, 1.0)),
            ("encoder.block.0.layer.0.SelfAttention.q", Kind::Bitfit),
        ],
        &[
            ("decoder.block.0.layer.0.SelfAttention.v", lora(2, 6.0)),
            ("decoder.block.1.layer.1.EncDecAttention", Kind::Adapter { bottleneck: 3 }),
            ("decoder.block.1.layer.2.layer_norm", Kind::Lnfit),
        ],
        &[
            ("decoder.block.0.layer.1.EncDecAttention.v", lora(1, 8.0)),
            ("decoder.block.1.layer.0.SelfAttention.o", Kind::Bitfit),
        ],
    ];
    let structure = |list: &[(&str, Kind)]| {
        let modules = list.iter().map(|(position, kind)| DeltaModule::new(*position, *kind)).collect();
        Arc::new(Structure::new(backbone.shape(), modules, Provenance::new(Origin::Manual)).unwrap())
    };
    lists.into_iter().map(structure).collect()
}

/// Random values, wide enough that every module changes the output.
pub(super) fn values(backbone: &Backbone, structure: &Structure, seed: u64) -> Vec<f32> {
    let mut rng = rng(seed);
    let layout = Layout::new(&backbone.positions, &structure.modules).unwrap();
    (0..layout.len()).map(|_| rng.random_range(-0.5..0.5)).collect()
}

/// The adapter alone.
pub(super) fn single(backbone: &Backbone, structure: &Structure, values: &[f32]) -> Arc<Single> {
    let layout = Layout::new(&backbone.positions, &structure.modules).unwrap();
    Arc::new(Single::new(&layout, values.to_vec(), backbone.positions.len(), &Device::flex()))
}

/// Source ids of a length.
pub(super) fn source(len: usize, seed: u64) -> Vec<u32> {
    let mut rng = rng(seed);
    (1..len).map(|_| rng.random_range(2..96)).chain([1]).collect()
}

/// One token of a request run alone: id, log-probability, and how far it lies before the second.
pub(super) struct Token {
    pub(super) id: u32,
    pub(super) logprob: f32,
    margin: f32,
}

/// Greedy decoding of one source, one row a batch.
pub(super) fn alone(backbone: &Backbone, deltas: &dyn Deltas, ids: &[u32], most: usize) -> Vec<Token> {
    let model = &backbone.model;
    let encoded = model.encode(&model.batch(&[ids]).unwrap(), deltas);
    let mut cache = model.start(&encoded, most, deltas);
    let mut latest = backbone.config.start;
    let mut tokens: Vec<Token> = Vec::new();
    while tokens.len() < most && latest != backbone.config.eos {
        let logits = log_softmax(model.step(&[latest], &mut cache, deltas), 1).try_into_vec_as::<f32>().unwrap();
        let mut order: Vec<_> = (0..logits.len()).collect();
        order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
        latest = order[0] as u32;
        tokens.push(Token { id: latest, logprob: logits[order[0]], margin: logits[order[0]] - logits[order[1]] });
    }
    tokens
}

/// Holds the events of a request to what it gives alone: equal up to the first step whose two best lie within 2e-4.
/// Gives whether such a step parted them.
pub(super) fn same(events: &[Event], alone: &[Token], eos: u32) -> bool {
    let (last, tokens) = events.split_last().expect("an event at least");
    assert!(matches!(last, Event::Finished { .. }), "{last:?}");
    let wanted: Vec<_> = alone.iter().filter(|token| token.id != eos).collect();
    for (event, token) in tokens.iter().zip(&wanted) {
        let Event::Token { token: found, .. } = event else { panic!("{event:?} before the end") };
        let (id, logprob) = (found.id, found.logprob);
        if id != token.id {
            assert!(token.margin < 2e-4, "{id} instead of {}, which is {} ahead", token.id, token.margin);
            return true;
        }
        assert!((logprob - token.logprob).abs() < 2e-4, "{logprob} instead of {}", token.logprob);
    }
    if tokens.len() != wanted.len() {
        let at = tokens.len().min(wanted.len());
        assert!(alone[at].margin < 2e-4, "{} tokens instead of {}", tokens.len(), wanted.len());
        return true;
    }
    false
}

/// Delta weights in memory under made-up paths, with what the loader asked for in order.
#[derive(Clone, Default)]
pub(super) struct Files {
    files: Arc<Mutex<HashMap<PathBuf, Vec<u8>>>>,
    pub(super) read: Arc<Mutex<Vec<PathBuf>>>,
}

impl Files {
    /// Stores an adapter under its generation's name.
    pub(super) fn adapter(
        &self,
        generation: &str,
        backbone: &Backbone,
        structure: &Arc<Structure>,
        values: Vec<f32>,
    ) -> Arc<Adapter> {
        let weights = DeltaWeights { values, metadata: Metadata::default() };
        let bytes = weights.to_bytes(&backbone.positions, structure).unwrap();
        self.raw(generation, structure, bytes)
    }

    /// Stores any bytes as an adapter's weights.
    pub(super) fn raw(&self, generation: &str, structure: &Arc<Structure>, bytes: Vec<u8>) -> Arc<Adapter> {
        let weights = PathBuf::from(generation);
        let checksum = blake3::hash(&bytes).to_string();
        self.files.lock().unwrap().insert(weights.clone(), bytes);
        Arc::new(Adapter { generation: generation.into(), structure: Arc::clone(structure), weights, checksum })
    }

    /// The stored bytes of a generation.
    pub(super) fn bytes(&self, generation: &str) -> Vec<u8> {
        self.files.lock().unwrap()[Path::new(generation)].clone()
    }

    /// How the engine reads them.
    pub(super) fn reader(&self) -> Box<Read> {
        let Files { files, read } = self.clone();
        Box::new(move |path: &Path, into: &mut Vec<u8>| {
            read.lock().unwrap().push(path.into());
            let files = files.lock().unwrap();
            into.extend(files.get(path).ok_or(std::io::ErrorKind::NotFound)?);
            Ok(())
        })
    }
}

/// An engine whose turns the test takes itself.
pub(super) fn engine(backbone: &Arc<Backbone>, settings: Settings, read: Box<Read>) -> (Engine, EngineThread) {
    EngineThread::new(Arc::clone(backbone), Arc::new(Text::of(backbone)), settings, read).unwrap()
}

/// Greedy decoding of at most `most` tokens.
pub(super) fn generate(adapter: Option<&Arc<Adapter>>, ids: &[u32], most: usize) -> GenerateRequest {
    decode(adapter, ids, DecodeSettings::new(&config(), most))
}

pub(super) fn decode(adapter: Option<&Arc<Adapter>>, ids: &[u32], settings: DecodeSettings) -> GenerateRequest {
    GenerateRequest { adapter: adapter.cloned(), ids: ids.to_vec(), settings: Arc::new(settings) }
}

/// Of [`backbone`].
pub(super) fn config() -> crate::t5::Config {
    Backbone::read_config(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/tiny-v1.1")).unwrap()
}

pub(super) fn scoring(adapter: Option<&Arc<Adapter>>, ids: &[u32], targets: &[Vec<u32>]) -> ScoreRequest {
    ScoreRequest { adapter: adapter.cloned(), ids: ids.to_vec(), targets: targets.to_vec() }
}

/// Log-probability of a target by a teacher-forced pass of its own.
pub(super) fn forced(backbone: &Backbone, deltas: &dyn Deltas, ids: &[u32], target: &[u32]) -> f32 {
    let model = &backbone.model;
    let encoded = model.encode(&model.batch(&[ids]).unwrap(), deltas);
    let inputs = [&[backbone.config.start], &target[..target.len() - 1]].concat();
    let logits = model.decode(&encoded, &model.batch(&[inputs]).unwrap(), deltas);
    let logprobs = log_softmax(logits, 2).try_into_vec_as::<f32>().unwrap();
    let each = logprobs.chunks(backbone.config.vocab_size).zip(target);
    each.map(|(logprobs, id)| logprobs[*id as usize]).sum()
}

/// The hook for an adapter, or for none.
pub(super) fn deltas(single: &Option<Arc<Single>>) -> &dyn Deltas {
    match single {
        Some(single) => &**single,
        None => &Frozen,
    }
}
