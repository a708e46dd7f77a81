//! Serving over the tiny backbones of `tests/reference`, by the public API: adapters of every kind in one batch, held to
//! each adapter alone.

use crate::reference::{backbone, tolerance};
use burn::tensor::{Tensor, activation::log_softmax};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use s3delta::delta::{Batched, DeltaWeights, Layout, Metadata, Single};
use s3delta::serve::{
    self, Adapter, Engine, Error, Event, FinishReason, GenerateRequest, ScoreRequest, Settings, Text,
};
use s3delta::structure::{DeltaModule, Kind, KindName, Origin, Positions, Provenance, Structure};
use s3delta::t5::{Backbone, DecodeSettings, Deltas, Frozen, generate};
use std::path::Path;
use std::sync::Arc;

/// One module of this kind at every `every`-th position that admits it, from the `first` on; ranks and bottlenecks vary.
fn modules(positions: &Positions, kind: KindName, first: usize, every: usize) -> Vec<DeltaModule> {
    let kind = |n: usize| match kind {
        KindName::Lora => Kind::Lora { rank: 1 + n % 4, alpha: 2.0 * (1 + n % 3) as f64 },
        KindName::Lnfit => Kind::Lnfit,
        KindName::Bitfit => Kind::Bitfit,
        KindName::LowRankAdapter => Kind::LowRankAdapter { bottleneck: 3 + n % 5, rank: 1 + n % 3 },
        KindName::Adapter => Kind::Adapter { bottleneck: 1 + n % 7 },
        KindName::ParallelAdapter => Kind::ParallelAdapter { bottleneck: 2 + n % 6 },
    };
    let admitted = positions.iter().filter(|(_, _, site)| kind(0).admitted_at(*site));
    let chosen = admitted.skip(first).step_by(every).enumerate();
    chosen.map(|(n, (_, path, _))| DeltaModule::new(path, kind(n + first))).collect()
}

/// How an adapter's values are drawn.
#[derive(Clone, Copy, PartialEq)]
enum Values {
    /// All at random.
    Trained,
    /// As training starts; the `outer` tensors of every kind zero.
    Neutral,
}

struct Delta {
    structure: Structure,
    values: Vec<f32>,
    single: Arc<Single>,
}

fn delta(backbone: &Backbone, modules: Vec<DeltaModule>, values: Values, seed: u64) -> Delta {
    let structure = Structure::new(backbone.shape(), modules, Provenance::new(Origin::Manual)).unwrap();
    let layout = Layout::new(&backbone.positions, &structure.modules).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let values: Vec<f32> = match values {
        Values::Trained => (0..layout.len()).map(|_| rng.random_range(-0.3..0.3)).collect(),
        Values::Neutral => layout.fold_gates(&layout.init(&mut rng), &vec![0.0; structure.modules.len()]),
    };
    let single = Arc::new(Single::new(&layout, values.clone(), backbone.positions.len(), backbone.model.device()));
    Delta { structure, values, single }
}

/// A delta of each kind, one of each again at other places, and one of all kinds together.
fn zoo(backbone: &Backbone, values: Values) -> Vec<Delta> {
    let of = |kind, first, every| modules(&backbone.positions, kind, first, every);
    let all = KindName::ALL.into_iter().enumerate();
    let mut lists: Vec<_> = all.clone().map(|(n, kind)| of(kind, n % 2, 3)).collect();
    lists.extend(all.clone().map(|(n, kind)| of(kind, 1 + n % 3, 2)));
    lists.push(all.flat_map(|(n, kind)| of(kind, n, 4)).collect());
    lists.into_iter().enumerate().map(|(seed, list)| delta(backbone, list, values, seed as u64)).collect()
}

fn ids(len: usize, seed: u64) -> Vec<u32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (1..len).map(|_| rng.random_range(2..90)).chain([1]).collect()
}

fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as::<f32>().unwrap()
}

/// Logits of teacher forcing and of every cached step, row by row: `[row][position · vocabulary]` twice.
fn logits(backbone: &Backbone, sources: &[Vec<u32>], targets: &[Vec<u32>], deltas: &dyn Deltas) -> [Vec<Vec<f32>>; 2] {
    let model = &backbone.model;
    let encoded = model.encode(&model.batch(sources).unwrap(), deltas);
    let inputs = model.batch(targets).unwrap();
    let forced = floats(model.decode(&encoded, &inputs, deltas));
    let row = forced.len() / sources.len();
    let vocab = row / inputs.width();
    let forced = forced.chunks(row).zip(targets).map(|(row, target)| row[..target.len() * vocab].to_vec()).collect();
    let mut cache = model.start(&encoded, inputs.width(), deltas);
    let mut stepped = vec![Vec::new(); sources.len()];
    for at in 0..inputs.width() {
        let latest: Vec<_> = targets.iter().map(|target| target.get(at).copied().unwrap_or(0)).collect();
        let step = floats(model.step(&latest, &mut cache, deltas));
        for ((row, logits), target) in stepped.iter_mut().zip(step.chunks(vocab)).zip(targets) {
            if at < target.len() {
                row.extend(logits);
            }
        }
    }
    [forced, stepped]
}

fn far(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn a_mixed_batch_has_the_logits_of_each_adapter_alone() {
    for name in ["tiny-v1.0", "tiny-v1.1"] {
        let backbone = backbone(name);
        let zoo = zoo(&backbone, Values::Trained);
        // adapters twice over, bare rows between them: an odd number of rows
        let mut rows: Vec<Option<Arc<Single>>> = vec![None];
        for delta in zoo.iter().chain(&zoo) {
            rows.push(Some(Arc::clone(&delta.single)));
            rows.extend((rows.len() % 5 == 3).then_some(None));
        }
        let sources: Vec<_> = (0..rows.len()).map(|row| ids(2 + 7 * row % 31, row as u64)).collect();
        let targets: Vec<_> = (0..rows.len()).map(|row| ids(1 + 3 * row % 8, 99 + row as u64)).collect();
        let mixed = Batched::new(&rows, &backbone.positions, backbone.model.device());
        let mixed = logits(&backbone, &sources, &targets, &mixed);
        let bare = logits(&backbone, &sources, &targets, &Frozen);
        for (row, adapter) in rows.iter().enumerate() {
            let deltas: &dyn Deltas = adapter.as_ref().map_or(&Frozen, |single| &**single);
            let alone = logits(&backbone, &sources[row..=row], &targets[row..=row], deltas);
            for way in 0..2 {
                let found = far(&mixed[way][row], &alone[way][0]);
                assert!(found < tolerance(), "{name}, row {row} of {}: {found} away", rows.len());
                let changed = far(&mixed[way][row], &bare[way][row]);
                match adapter {
                    Some(_) => assert!(changed > 0.01, "{name}, row {row}: the adapter changes {changed}"),
                    None => assert_eq!(mixed[way][row], bare[way][row], "{name}: a bare row is untouched"),
                }
            }
        }
    }
}

#[test]
fn neutral_deltas_change_nothing_in_one_batch_shape() {
    let backbone = backbone("tiny-v1.1");
    let (neutral, trained) = (zoo(&backbone, Values::Neutral), zoo(&backbone, Values::Trained));
    let mut rows = Vec::new();
    for (neutral, trained) in neutral.iter().zip(&trained) {
        rows.extend([Some(Arc::clone(&neutral.single)), Some(Arc::clone(&trained.single))]);
    }
    let sources: Vec<_> = (0..rows.len()).map(|row| ids(3 + 5 * row % 17, row as u64)).collect();
    let targets: Vec<_> = (0..rows.len()).map(|row| ids(1 + row % 5, 50 + row as u64)).collect();
    let bare = logits(&backbone, &sources, &targets, &Frozen);
    let mixed = Batched::new(&rows, &backbone.positions, backbone.model.device());
    let mixed = logits(&backbone, &sources, &targets, &mixed);
    for way in 0..2 {
        for row in (0..rows.len()).step_by(2) {
            assert!(mixed[way][row] == bare[way][row], "row {row}: a neutral delta changes nothing");
            assert!(mixed[way][row + 1] != bare[way][row + 1], "row {row}: its trained twin does");
        }
    }
    for delta in &neutral {
        assert!(logits(&backbone, &sources, &targets, &*delta.single) == bare, "alone as well");
    }
}

#[test]
fn beams_and_samples_of_a_mixed_batch_follow_their_adapters() {
    let backbone = backbone("tiny-v1.1");
    let zoo = zoo(&backbone, Values::Trained);
    let mut rows: Vec<_> = zoo.iter().map(|delta| Some(Arc::clone(&delta.single))).collect();
    rows.insert(3, None);
    let sources: Vec<_> = (0..rows.len()).map(|row| ids(2 + 7 * row % 31, row as u64)).collect();
    let mixed = Batched::new(&rows, &backbone.positions, backbone.model.device());
    let new = DecodeSettings::new(&backbone.config, 10);
    let beams = DecodeSettings { num_beams: 3, num_return_sequences: 2, ..new.clone() };
    let samples = DecodeSettings { do_sample: true, num_return_sequences: 3, seed: 4, ..new };
    let decode = |sources: &[Vec<u32>], settings: &DecodeSettings, deltas: &dyn Deltas| {
        let encoded = backbone.model.encode(&backbone.model.batch(sources).unwrap(), deltas);
        generate(&backbone.model, &encoded, sources, settings, deltas).unwrap()
    };
    for settings in [beams, samples] {
        let together = decode(&sources, &settings, &mixed);
        for (row, adapter) in rows.iter().enumerate() {
            let deltas: &dyn Deltas = adapter.as_ref().map_or(&Frozen, |single| &**single);
            let alone = decode(&sources[row..=row], &settings, deltas).remove(0);
            let ids = |made: &[s3delta::t5::Generated]| made.iter().map(|made| made.ids.clone()).collect::<Vec<_>>();
            assert_eq!(ids(&together[row]), ids(&alone), "row {row}");
        }
    }
}

fn start(backbone: &Arc<Backbone>, settings: Settings) -> Engine {
    serve::start(Arc::clone(backbone), Arc::new(Text::of(backbone)), settings).unwrap()
}

/// Adapters in files, as the registry would hold them.
fn files(backbone: &Backbone, zoo: &[Delta], dir: &Path) -> Vec<Arc<Adapter>> {
    let store = |(number, delta): (usize, &Delta)| {
        let weights = DeltaWeights { values: delta.values.clone(), metadata: Metadata::default() };
        let path = dir.join(format!("{number}.safetensors"));
        let bytes = weights.to_bytes(&backbone.positions, &delta.structure).unwrap();
        std::fs::write(&path, &bytes).unwrap();
        let (generation, checksum) = (format!("generation-{number}"), blake3::hash(&bytes).to_string());
        Arc::new(Adapter { generation, structure: Arc::new(delta.structure.clone()), weights: path, checksum })
    };
    zoo.iter().enumerate().map(store).collect()
}

#[tokio::test]
async fn the_engine_serves_adapters_of_every_kind_at_once() {
    for name in ["tiny-v1.0", "tiny-v1.1"] {
        let backbone = Arc::new(backbone(name));
        let (eos, vocab) = (backbone.config.eos, backbone.config.vocab_size);
        let dir = tempfile::tempdir().unwrap();
        let zoo = zoo(&backbone, Values::Trained);
        let adapters = files(&backbone, &zoo, dir.path());
        let settings = Settings { max_batch_rows: 8, ..Settings::default() };
        let engine = start(&backbone, settings);
        let (mut generations, mut scorings) = (Vec::new(), Vec::new());
        for at in 0..3 * (zoo.len() + 1) {
            let adapter = adapters.get(at % (zoo.len() + 1)).cloned();
            let (source, targets) = (ids(2 + 11 * at % 37, at as u64), vec![ids(1 + at % 4, 7), ids(3, 8)]);
            let request = ScoreRequest { adapter: adapter.clone(), ids: source.clone(), targets: targets.clone() };
            scorings.push((source.clone(), targets, engine.score(request).unwrap()));
            let settings = Arc::new(DecodeSettings::new(&backbone.config, 1 + at % 20));
            let request = GenerateRequest { adapter, ids: source, settings };
            generations.push((request.clone(), engine.generate(request).unwrap()));
        }
        let single = |at: usize| zoo.get(at % (zoo.len() + 1)).map(|delta| &*delta.single);
        let hook = |at: usize| single(at).map_or(&Frozen as &dyn Deltas, |single| single);
        let (mut steps, mut near_ties) = (0, 0);
        for (at, (request, mut events)) in generations.into_iter().enumerate() {
            let encoded = backbone.model.encode(&backbone.model.batch(&[&request.ids]).unwrap(), hook(at));
            let sources = std::slice::from_ref(&request.ids);
            let alone = generate(&backbone.model, &encoded, sources, &request.settings, hook(at)).unwrap().remove(0);
            let (mut found, mut reason) = (Vec::new(), None);
            while let Some(event) = events.recv().await {
                match event {
                    Event::Token { token, .. } => found.push(token.id),
                    Event::Finished { reason: end, .. } => reason = Some(end),
                    Event::Failed(error) => panic!("{error}"),
                }
            }
            let stopped = alone[0].ids.last() == Some(&eos);
            let wanted = &alone[0].ids[..alone[0].ids.len() - usize::from(stopped)];
            steps += wanted.len();
            if found == wanted {
                let end = if stopped { FinishReason::Stop } else { FinishReason::Length };
                assert_eq!(reason, Some(end), "{name}, request {at}");
                continue;
            }
            // they may part only where the two best lie close together
            let parting = found.iter().zip(wanted).take_while(|(a, b)| a == b).count();
            let before = [&[backbone.config.start], &wanted[..parting]].concat();
            let forced = logits(&backbone, &[request.ids], &[before], hook(at));
            let mut last = forced[0][0][parting * vocab..].to_vec();
            last.sort_by(|a, b| b.total_cmp(a));
            assert!(last[0] - last[1] < 2.0 * tolerance(), "{name}, request {at}: {found:?} instead of {wanted:?}");
            near_ties += 1;
        }
        eprintln!("{name}: {near_ties} near ties in {steps} steps");
        assert!(near_ties * 100 <= steps);
        for (at, (source, targets, reply)) in scorings.into_iter().enumerate() {
            let scores = reply.await.unwrap().unwrap();
            for (score, target) in scores.iter().zip(&targets) {
                let input = [&[backbone.config.start], &target[..target.len() - 1]].concat();
                let encoded = backbone.model.encode(&backbone.model.batch(&[&source]).unwrap(), hook(at));
                let input = backbone.model.batch(&[input]).unwrap();
                let all = floats(log_softmax(backbone.model.decode(&encoded, &input, hook(at)), 2));
                let wanted: f32 = all.chunks(vocab).zip(target).map(|(all, id)| all[*id as usize]).sum();
                let found = (score - wanted).abs();
                assert!(found < tolerance() * target.len() as f32, "{name}, request {at}: {score} instead of {wanted}");
            }
        }
        engine.shutdown().await;
        let settings = Arc::new(DecodeSettings::new(&backbone.config, 1));
        let request = GenerateRequest { adapter: None, ids: vec![1], settings };
        assert_eq!(engine.generate(request).unwrap_err(), Error::Stopped);
    }
}

#[tokio::test]
async fn a_broken_file_fails_its_request_alone() {
    let backbone = Arc::new(backbone("tiny-v1.1"));
    let dir = tempfile::tempdir().unwrap();
    let zoo = zoo(&backbone, Values::Trained);
    let adapters = files(&backbone, &zoo, dir.path());
    std::fs::remove_file(&adapters[0].weights).unwrap();
    std::fs::write(&adapters[1].weights, b"not safetensors").unwrap();
    std::fs::copy(&adapters[3].weights, &adapters[2].weights).unwrap();
    let engine = start(&backbone, Settings::default());
    let settings = Arc::new(DecodeSettings::new(&backbone.config, 3));
    let ask = |adapter: &Arc<Adapter>| {
        let (adapter, settings) = (Some(Arc::clone(adapter)), Arc::clone(&settings));
        engine.generate(GenerateRequest { adapter, ids: ids(5, 1), settings }).unwrap()
    };
    let receivers: Vec<_> = adapters.iter().map(ask).collect();
    for (at, mut events) in receivers.into_iter().enumerate() {
        let mut last = None;
        while let Some(event) = events.recv().await {
            last = Some(event);
        }
        match (at, last.unwrap()) {
            (0..3, Event::Failed(Error::Damaged(message))) => {
                assert!(message.contains(&adapters[at].generation), "{message}");
            }
            (3.., Event::Finished { .. }) => {}
            (_, other) => panic!("request {at}: {other:?}"),
        }
    }
}
