//! A whole pre-training run on a little text.

use burn::tensor::Device;
use s3delta::pretrain::{Passages, PretrainConfig, Run, run};
use s3delta::t5::Backbone;
use s3delta::task::builtin_corpus;
use std::path::Path;

const SETTINGS: &str = r#"
    [model]
    d_model = 16
    d_kv = 4
    num_heads = 2
    encoder_layers = 1
    decoder_layers = 1
    d_ff = 24

    [vocabulary]
    size = 120
    sentinels = 8
    byte_fallback = false
    characters = 100_000
    coverage = 1.0

    [corruption]
    source_tokens = 32

    [training]
    seed = 3
    steps = 6
    batch_size = 4
    rate = 1e-2
    warm_up = 2
    cool_down = 0.5
    clip = 1.0
    weight_decay = 0.0
    report_every = 1
    evaluate_every = 3
    checkpoint_every = 2
    held_out_batches = 1
"#;

fn text() -> Passages {
    let mut passages = Passages::default();
    builtin_corpus(1, 4000).into_iter().for_each(|sentence| passages.push(sentence));
    passages
}

/// Runs until `stop_at` steps; gives the losses.
fn train(out: &Path, resume: bool, stop_at: usize) -> Vec<f64> {
    let config: PretrainConfig = toml::from_str(SETTINGS).unwrap();
    let device = Device::flex();
    let settings = Run { config, text: text(), sentences: Passages::default(), out, resume, device: &device };
    let mut losses = Vec::new();
    run(settings, &mut |progress| {
        losses.push(progress.loss);
        progress.step < stop_at
    })
    .unwrap();
    losses
}

#[test]
fn a_run_that_was_interrupted_ends_in_the_same_file() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, parts) = (dir.path().join("whole"), dir.path().join("parts"));
    let first = train(&whole, false, 1);
    // from here on both have one vocabulary, whose training may differ in the last bits
    std::fs::create_dir(&parts).unwrap();
    for name in ["tokenizer.json", "checkpoint.safetensors"] {
        std::fs::copy(whole.join(name), parts.join(name)).unwrap();
    }
    let at_once = train(&whole, true, usize::MAX);
    let mut halves = train(&parts, true, 3);
    halves.extend(train(&parts, true, usize::MAX));
    assert_eq!((first.len(), at_once.len()), (1, 5));
    assert_eq!(at_once, halves);
    let weights = |dir: &Path| std::fs::read(dir.join("model.safetensors")).unwrap();
    assert!(weights(&whole) == weights(&parts));

    let backbone = Backbone::open(&parts, &Device::flex()).unwrap();
    assert_eq!(backbone.config.vocab_size, 120);
    let tokenizer = backbone.tokenizer().unwrap();
    let ids = tokenizer.encode("The mayor sold the plum").unwrap();
    assert_eq!(tokenizer.decode(&ids, true).unwrap(), "The mayor sold the plum");
}
