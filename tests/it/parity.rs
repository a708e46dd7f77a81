//! The backbone against transformers, on tensors made by `tests/reference/make.py`, and against itself: padded and solo
//! rows, cached and uncached decoding, rows that join and leave a running batch.

use crate::reference::{
    Reference, assert_close, backbone, backbone_at, decoder_inputs, folder, is_backbone, lengths, parity_folder,
    tolerance, values, without_padding,
};
use s3delta::t5::{Backbone, DecodeSettings, Frozen, Generated};
use serde_json::Value;
use std::collections::BTreeMap;
use std::slice::from_ref;

const VARIANTS: [&str; 6] = ["tiny-v1.0", "tiny-v1.1", "tiny-v1.1-tied", "tiny-mt5", "tiny-umt5", "tiny-byt5"];
/// Tokens of `greedy_ids`.
const NEW_TOKENS: usize = 24;

/// The tiny backbones, the shards of one with what is expected of the single file, and a directory of the caller's in
/// S3DELTA_PARITY, such as a published T5, with an `expected.safetensors` of the same tensors (24 new tokens).
fn against_transformers() -> Vec<(String, Backbone, Reference)> {
    let tiny = VARIANTS.map(|name| (name, name)).into_iter().chain([("tiny-v1.1-sharded", "tiny-v1.1")]);
    let mut all: Vec<_> = tiny
        .map(|(dir, expected)| (dir.to_string(), backbone(dir), Reference::open(expected, "expected.safetensors")))
        .collect();
    if let Some(dir) = parity_folder().filter(|dir| is_backbone(dir)) {
        let expected = Reference::at(&dir.join("expected.safetensors"));
        all.push((dir.display().to_string(), backbone_at(&dir), expected));
    }
    all
}

/// Logits under teacher forcing, without those of padding: `[Σ lengths, vocab]`.
fn forced(backbone: &Backbone, sources: &[Vec<u32>], inputs: &[Vec<u32>]) -> Vec<f32> {
    let model = &backbone.model;
    let encoded = model.encode(&model.batch(sources).unwrap(), &Frozen);
    let logits = values(model.decode(&encoded, &model.batch(inputs).unwrap(), &Frozen));
    without_padding(&logits, &lengths(inputs), backbone.config.vocab_size)
}

/// Greedy decoding of at least and at most so many tokens.
fn generate(backbone: &Backbone, sources: &[Vec<u32>], least: usize, most: usize) -> Vec<Generated> {
    let encoded = backbone.model.encode(&backbone.model.batch(sources).unwrap(), &Frozen);
    let settings = DecodeSettings { min_new_tokens: least, ..DecodeSettings::new(&backbone.config, most) };
    s3delta::t5::generate(&backbone.model, &encoded, sources, &settings, &Frozen).unwrap().concat()
}

fn greedy(backbone: &Backbone, sources: &[Vec<u32>]) -> Vec<Vec<u32>> {
    generate(backbone, sources, 0, NEW_TOKENS).into_iter().map(|row| row.ids).collect()
}

/// Mean negative log-probability of the targets, in f64.
fn loss(logits: &[f32], targets: &[Vec<u32>], vocab: usize) -> f64 {
    let ids: Vec<_> = targets.iter().flatten().collect();
    let each = logits.chunks(vocab).zip(&ids).map(|(logits, id)| {
        let sum: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
        sum.ln() - f64::from(logits[**id as usize])
    });
    each.sum::<f64>() / ids.len() as f64
}

#[test]
fn encoder_logits_and_loss_are_transformers() {
    for (folder, backbone, expected) in against_transformers() {
        let (sources, targets) = (expected.sources(), expected.targets());
        let (d, vocab) = (backbone.config.d_model, backbone.config.vocab_size);

        let encoded = backbone.model.encode(&backbone.model.batch(&sources).unwrap(), &Frozen);
        let found = without_padding(&values(encoded.hidden), &lengths(&sources), d);
        let wanted = without_padding(&expected.floats("encoder_last_hidden_state"), &lengths(&sources), d);
        assert_close(&format!("{folder}: encoder"), &found, &wanted, tolerance());

        let found = forced(&backbone, &sources, &decoder_inputs(&targets));
        let wanted = without_padding(&expected.floats("logits"), &lengths(&targets), vocab);
        assert_close(&format!("{folder}: logits"), &found, &wanted, tolerance());
        let found = loss(&found, &targets, vocab) as f32;
        assert_close(&format!("{folder}: loss"), &[found], &expected.floats("loss"), tolerance() / 10.0);
    }
}

/// No two best scores of the fixture are closer than 0.01, so that the ids must be the same.
#[test]
fn greedy_ids_are_transformers() {
    for (folder, backbone, expected) in against_transformers() {
        let wanted = expected.generated("greedy_ids");
        assert_eq!(greedy(&backbone, &expected.sources()), wanted, "{folder}");
    }
}

/// Feed-forward layers with functions that no published T5 but UL2 has, by what config.json says.
#[test]
fn every_activation_is_transformers() {
    let expected = Reference::open("tiny-activations", "expected.safetensors");
    let cases: BTreeMap<String, (String, Value)> = serde_json::from_value(expected.made("cases").clone()).unwrap();
    assert_eq!(cases.len(), 6);
    for (case, (weights, changes)) in cases {
        let from = folder("tiny-activations").join(weights);
        let dir = tempfile::tempdir().unwrap();
        std::fs::copy(from.join("model.safetensors"), dir.path().join("model.safetensors")).unwrap();
        let mut config: Value = serde_json::from_slice(&std::fs::read(from.join("config.json")).unwrap()).unwrap();
        for (name, value) in changes.as_object().unwrap() {
            config[name] = value.clone();
        }
        std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        let backbone = backbone_at(dir.path());
        let targets = expected.targets();
        let found = forced(&backbone, &expected.sources(), &decoder_inputs(&targets));
        let wanted = expected.floats(&format!("{case}/logits"));
        let wanted = without_padding(&wanted, &lengths(&targets), backbone.config.vocab_size);
        assert_close(&case, &found, &wanted, tolerance());
    }
}

#[test]
fn a_score_is_the_log_probability_of_its_ids() {
    for folder in VARIANTS {
        let (backbone, expected) = (backbone(folder), Reference::open(folder, "expected.safetensors"));
        let sources = expected.sources();
        for min_new_tokens in [0, 20] {
            for (source, row) in sources.iter().zip(generate(&backbone, &sources, min_new_tokens, 22)) {
                let end = row.ids.iter().position(|id| *id == backbone.config.eos).map_or(22, |at| at + 1);
                assert!(end > min_new_tokens && end == row.ids.len(), "{folder}: {:?}", row.ids);
                let targets = [row.ids];
                let logits = forced(&backbone, from_ref(source), &decoder_inputs(&targets));
                let mean = loss(&logits, &targets, backbone.config.vocab_size);
                assert_close(folder, &[row.score], &[-(mean * end as f64) as f32], tolerance());
            }
        }
    }
}

#[test]
fn a_padded_row_equals_its_solo_run() {
    for folder in VARIANTS {
        let (backbone, expected) = (backbone(folder), Reference::open(folder, "expected.safetensors"));
        let (sources, inputs) = (expected.sources(), decoder_inputs(&expected.targets()));
        let alone: Vec<f32> =
            sources.iter().zip(&inputs).flat_map(|(s, i)| forced(&backbone, from_ref(s), from_ref(i))).collect();
        assert_close(folder, &forced(&backbone, &sources, &inputs), &alone, tolerance());
        let alone: Vec<_> = sources.iter().flat_map(|source| greedy(&backbone, from_ref(source))).collect();
        assert_eq!(greedy(&backbone, &sources), alone, "{folder}");
    }
}

/// Decodes `tokens` step by step over the cache, all rows from the first step on: `[steps][rows · vocab]`.
#[test]
fn cached_decoding_equals_uncached() {
    for folder in VARIANTS {
        let (backbone, expected) = (backbone(folder), Reference::open(folder, "expected.safetensors"));
        let (sources, model) = (expected.sources(), &backbone.model);
        // four rows of the longest target's length
        let longest = expected.targets().into_iter().max_by_key(Vec::len).unwrap();
        let inputs: Vec<Vec<u32>> = (0..4).map(|row| longest.iter().map(|id| (id + row) % 60).collect()).collect();
        let encoded = model.encode(&model.batch(&sources).unwrap(), &Frozen);
        let whole = values(model.decode(&encoded, &model.batch(&inputs).unwrap(), &Frozen));
        let vocab = backbone.config.vocab_size;
        let mut cache = model.start(&encoded, longest.len(), &Frozen);
        for step in 0..longest.len() {
            let tokens: Vec<u32> = inputs.iter().map(|row| row[step]).collect();
            let found = values(model.step(&tokens, &mut cache, &Frozen));
            let at = |row: usize| (row * longest.len() + step) * vocab;
            let wanted: Vec<f32> = (0..4).flat_map(|row| whole[at(row)..at(row) + vocab].iter().copied()).collect();
            assert_close(&format!("{folder}: step {step}"), &found, &wanted, tolerance());
        }
    }
}

/// Rows 0 and 1 start, row 2 joins after 3 steps, row 0 leaves after 6, row 3 joins at 8, row 2 is doubled at 10: each
/// row's logits stay those of its own run over the whole target.
#[test]
fn rows_join_and_leave_a_running_batch() {
    for folder in VARIANTS {
        let (backbone, expected) = (backbone(folder), Reference::open(folder, "expected.safetensors"));
        let (sources, model, vocab) = (expected.sources(), &backbone.model, backbone.config.vocab_size);
        let inputs: Vec<Vec<u32>> = (0..4).map(|row| (0..16).map(|i| (7 * i + 31 * row) % 60).collect()).collect();
        let whole: Vec<Vec<f32>> =
            (0..4).map(|row| forced(&backbone, &sources[row..=row], &inputs[row..=row])).collect();
        let start = |rows: &[usize], capacity| {
            let rows: Vec<_> = rows.iter().map(|row| sources[*row].clone()).collect();
            model.start(&model.encode(&model.batch(&rows).unwrap(), &Frozen), capacity, &Frozen)
        };
        let mut cache = start(&[0, 1], 9);
        let mut rows = vec![0, 1]; // which row stands in each slot
        for step in 0..12 {
            match step {
                3 => (cache.append(start(&[2], 12)), rows.push(2)).1,
                6 => (cache.select(&[1, 2]), rows = vec![1, 2]).1,
                8 => (cache.append(start(&[3], 4)), rows.push(3)).1,
                10 => (cache.select(&[1, 0, 1, 2]), rows = vec![2, 1, 2, 3]).1,
                _ => {}
            }
            let at = cache.lengths().to_vec();
            let tokens: Vec<u32> = rows.iter().zip(&at).map(|(row, at)| inputs[*row][*at]).collect();
            let found = values(model.step(&tokens, &mut cache, &Frozen));
            let part = |(row, at): (&usize, &usize)| whole[*row][at * vocab..(at + 1) * vocab].to_vec();
            let wanted: Vec<f32> = rows.iter().zip(&at).flat_map(part).collect();
            assert_close(&format!("{folder}: step {step}, rows {rows:?}"), &found, &wanted, tolerance());
        }
        assert_eq!(cache.lengths(), [9, 12, 9, 4]);
    }
}
