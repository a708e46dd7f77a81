//! Search and re-training on a tiny backbone, against oracles.

use s3delta::delta::{Layout, Single};
use s3delta::structure::{Budget, Kind, Origin, Provenance, Selection, Space, Structure, logit};
use s3delta::t5::{Backbone, Frozen};
use s3delta::task::{Split, Task};
use s3delta::train::{self, Batch, EncodedTask, Flow, Observer, Report, Unobserved, evaluate, pass, retrain};
use s3delta::{search, search::search};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

fn backbone() -> Backbone {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/tiny-v1.1");
    Backbone::open(&dir, &burn::tensor::Device::flex()).unwrap()
}

/// Thirty-two rows whose label depends on one letter.
fn task(backbone: &Backbone) -> EncodedTask {
    let row = |i: usize| {
        let letters = ["a", "e", "i", "o", "s", "t", "n", "r"];
        let text = (0..5 + i % 4).map(|j| letters[(i * 7 + j * 3 + i / 8) % 8]).collect::<Vec<_>>().join(" ");
        let label = if text.starts_with(['a', 'e', 'i', 'o']) { "yes" } else { "no" };
        serde_json::json!({"fields": {"text": text}, "label": label})
    };
    let rows = |range: std::ops::Range<usize>| range.map(row).collect::<Vec<_>>();
    let value = serde_json::json!({
        "definition": {
            "name": "vowels", "template": "{text}", "metric": "accuracy",
            "target": {"kind": "classification", "labels": [{"value": "yes", "word": "a"}, {"value": "no", "word": "s"}]},
        },
        "rows": {"train": rows(0..32), "dev": rows(32..48), "test": rows(48..64)},
    });
    EncodedTask::new(Task::from_json(value.to_string().as_bytes()).unwrap(), backbone, 32).unwrap()
}

fn batch(backbone: &Backbone, data: &EncodedTask) -> Vec<Batch> {
    Batch::pieces(backbone, &data.train.iter().take(6).collect::<Vec<_>>(), &data.candidates).unwrap()
}

/// Values away from the start, so that nothing is zero by accident.
fn values(layout: &Layout) -> Vec<f32> {
    (0..layout.len()).map(|i| 0.05 * ((i * 2_654_435_761 % 1000) as f32 / 500.0 - 1.0)).collect()
}

/// A constant added to all keys cancels in the softmax.
#[test]
fn bitfit_on_k_has_no_gradient() {
    let backbone = backbone();
    let data = task(&backbone);
    let space = Space::built_in("mix", backbone.shape()).unwrap();
    let layout = Layout::new(&backbone.positions, space.modules()).unwrap();
    let found = pass(&backbone, &layout, &values(&layout), &batch(&backbone, &data)).unwrap();
    let mut start = 0;
    let mut dead = 0;
    let largest = found.gradient.iter().fold(0.0f32, |a, g| a.max(g.abs()));
    for (module, size) in space.modules().iter().zip(space.sizes()) {
        let most = found.gradient[start..start + size].iter().fold(0.0f32, |a, g| a.max(g.abs()));
        if module.kind == Kind::Bitfit && module.position.ends_with("SelfAttention.k") {
            assert!(most < 1e-6 * largest, "{}: {most} of {largest}", module.position);
            dead += 1;
        } else {
            assert!(most > 1e-6 * largest, "{} has no gradient: {most}", module.position);
        }
        start += size;
    }
    assert_eq!(dead, backbone.config.encoder_layers + backbone.config.decoder_layers);
}

/// The gate's gradient by the homogeneity identity and the values' gradient, both against central differences.
#[test]
fn gradients_agree_with_differences() {
    let backbone = backbone();
    let data = task(&backbone);
    let batch = batch(&backbone, &data);
    let space = Space::built_in("full", backbone.shape()).unwrap();
    let layout = Layout::new(&backbone.positions, space.modules()).unwrap();
    let values = values(&layout);
    let z: Vec<f64> = (0..space.len()).map(|i| 0.1 + 0.8 * (i % 7) as f64 / 7.0).collect();
    let loss =
        |values: &[f32], z: &[f64]| pass(&backbone, &layout, &layout.fold_gates(values, z), &batch).unwrap().loss;
    let mut found = pass(&backbone, &layout, &layout.fold_gates(&values, &z), &batch).unwrap();
    let gates = layout.unfold_gradient(&values, &z, &mut found.gradient);
    let norm = |g: &[f64]| g.iter().map(|g| g * g).sum::<f64>().sqrt();
    // along the gradient itself, so that the difference stands above f32's noise
    let along = |h: f64| {
        let step = h / norm(&gates);
        loss(&values, &z.iter().zip(&gates).map(|(z, g)| z + step * g).collect::<Vec<_>>())
    };
    let numeric = (along(0.05) - along(-0.05)) / 0.1;
    assert!((numeric / norm(&gates) - 1.0).abs() < 0.02, "{numeric} {}", norm(&gates));
    let gradient: Vec<f64> = found.gradient.iter().map(|g| f64::from(*g)).collect();
    let along = |h: f64| {
        let step = h / norm(&gradient);
        let moved: Vec<_> = values.iter().zip(&gradient).map(|(v, g)| v + (step * g) as f32).collect();
        loss(&moved, &z)
    };
    let numeric = (along(0.02) - along(-0.02)) / 0.04;
    assert!((numeric / norm(&gradient) - 1.0).abs() < 0.02, "{numeric} {}", norm(&gradient));
}

#[test]
fn a_batch_in_pieces_gives_the_same_gradient() {
    let backbone = backbone();
    let data = task(&backbone);
    let space = Space::built_in("mix", backbone.shape()).unwrap();
    let layout = Layout::new(&backbone.positions, space.modules()).unwrap();
    let rows: Vec<_> = data.train.iter().take(20).collect();
    let pieces = Batch::pieces(&backbone, &rows, &data.candidates).unwrap();
    assert!(pieces.len() > 1);
    let sources: Vec<_> = rows.iter().map(|row| row.source.as_slice()).collect();
    let targets: Vec<_> = rows.iter().map(|row| data.candidates[row.answer].as_slice()).collect();
    let whole = Batch::new(&backbone.config, &sources, &targets).unwrap();
    let found = pass(&backbone, &layout, &values(&layout), &pieces).unwrap();
    let wanted = pass(&backbone, &layout, &values(&layout), &[whole]).unwrap();
    assert!((found.loss - wanted.loss).abs() < 1e-5, "{} {}", found.loss, wanted.loss);
    let size = wanted.gradient.iter().fold(0.0f32, |most, g| most.max(g.abs()));
    for (found, wanted) in found.gradient.iter().zip(&wanted.gradient) {
        assert!((found - wanted).abs() < 1e-4 * size, "{found} {wanted}");
    }
}

/// A fresh delta changes nothing, except the bottlenecks, whose reference start is not neutral.
#[test]
fn neutral_deltas_leave_the_output_equal() {
    let backbone = backbone();
    let data = task(&backbone);
    let batch = batch(&backbone, &data).remove(0);
    let space = Space::built_in("full", backbone.shape()).unwrap();
    let layout = Layout::new(&backbone.positions, space.modules()).unwrap();
    // outer tensors zero: neutral for every kind
    let neutral = layout.fold_gates(&values(&layout), &vec![0.0; space.len()]);
    let single = Single::new(&layout, neutral, backbone.positions.len(), backbone.model.device());
    let logits = |deltas: &dyn s3delta::t5::Deltas| {
        let encoded = backbone.model.encode(&batch.source, deltas);
        backbone.model.decode(&encoded, &batch.inputs, deltas).try_into_vec_as::<f32>().unwrap()
    };
    assert_eq!(logits(&Frozen), logits(&single));
}

fn settings(order: search::Order) -> search::Settings {
    search::Settings {
        steps: 6,
        batch_size: 4,
        learning_rate: 3e-3,
        evaluations: 3,
        order,
        seed: 3,
        ..search::Settings::default()
    }
}

/// Keeps a snapshot after one step and then stops the run.
struct StopAt(usize, Vec<u8>);

impl Observer for StopAt {
    fn step(&mut self, report: &Report, snapshot: &dyn Fn() -> Vec<u8>) -> Flow {
        if report.step == self.0 {
            self.1 = snapshot();
            return Flow::Stop;
        }
        Flow::Continue
    }
}

#[test]
fn a_search_repeats_and_resumes_exactly() {
    let backbone = backbone();
    let data = task(&backbone);
    let space = Space::built_in("mix", backbone.shape()).unwrap();
    let budget = Budget::Share(0.1).resolve(&space, backbone.parameters).unwrap();
    for settings in variants() {
        let run = |observer: &mut dyn Observer, resume: Option<&[u8]>| {
            search(&backbone, &space, budget, &data, &settings, observer, resume)
        };
        let whole = run(&mut Unobserved, None).unwrap();
        let mut stop = StopAt(4, Vec::new());
        assert!(matches!(run(&mut stop, None), Err(train::Error::Stopped(4))));
        let resumed = run(&mut Unobserved, Some(&stop.1)).unwrap();
        assert_eq!(whole.probabilities, resumed.probabilities, "{settings:?}");
        assert_eq!(whole.losses, resumed.losses);
        let again = search(&backbone, &space, budget, &data, &settings, &mut Unobserved, None).unwrap();
        assert_eq!(whole.probabilities, again.probabilities);
        let expected: f64 = whole.probabilities.iter().zip(space.sizes()).map(|(p, size)| p * *size as f64).sum();
        assert!(expected <= budget as f64 * 1.001 || settings.l0.is_some(), "{expected} over {budget}");
        assert!(whole.probabilities.iter().any(|p| (p - whole.probabilities[0]).abs() > 1e-3), "nothing was learnt");
    }
}

/// The orders, and each other setting of a variant with a search of its own.
fn variants() -> Vec<search::Settings> {
    let [first, second, reference] =
        [search::Order::First, search::Order::Second, search::Order::Reference].map(settings);
    let mut all = vec![
        search::Settings { dropout: 0.1, ..second.clone() },
        search::Settings { dropout: 0.1, masks: search::Masks::Free, ..second.clone() },
        search::Settings { dev_gates: search::DevGates::Hard, ..first.clone() },
        search::Settings { l0: Some(0.01), ..first.clone() },
        search::Settings { delta_share: 0.8, ..first.clone() },
        search::Settings { prune_below: 0.95, ..first.clone() },
        search::Settings { saliency: 2, ..first.clone() },
        search::Settings { tau: 0.7, ..first.clone() },
        search::Settings { beta: 0.7, ..first.clone() },
        search::Settings { epsilon: 0.5, ..second.clone() },
    ];
    all.extend([first, second, reference]);
    all
}

/// No two variants find the same p: none of the settings is without effect.
#[test]
fn every_setting_of_a_variant_counts() {
    let backbone = backbone();
    let data = task(&backbone);
    let space = Space::built_in("mix", backbone.shape()).unwrap();
    let budget = Budget::Share(0.1).resolve(&space, backbone.parameters).unwrap();
    let run = |settings: &search::Settings| {
        search(&backbone, &space, budget, &data, settings, &mut Unobserved, None).unwrap().probabilities
    };
    // which gates score dev changes what is kept, not what is learnt: it may keep the same
    let learnt = |settings: &search::Settings| settings.dev_gates == search::DevGates::Soft;
    let variants: Vec<_> = variants().into_iter().filter(learnt).collect();
    let found: Vec<_> = variants.iter().map(run).collect();
    for (at, p) in found.iter().enumerate() {
        let twin = found[..at].iter().position(|other| other == p);
        assert_eq!(twin, None, "{:?} finds what another variant finds", variants[at]);
    }
}

/// Keeps the p of the latest report that tells them.
struct Latest(Vec<f64>);

impl Observer for Latest {
    fn step(&mut self, report: &Report, _: &dyn Fn() -> Vec<u8>) -> Flow {
        if let Some(p) = &report.probabilities {
            self.0.clone_from(p);
        }
        Flow::Continue
    }
}

/// Modules whose p collapsed at a dev evaluation have none from then on; the others share the budget.
#[test]
fn pruned_modules_are_searched_no_further() {
    let backbone = backbone();
    let data = task(&backbone);
    let space = Space::built_in("mix", backbone.shape()).unwrap();
    let budget = Budget::Share(0.1).resolve(&space, backbone.parameters).unwrap();
    let settings = search::Settings { prune_below: 0.95, ..settings(search::Order::First) };
    let mut latest = Latest(Vec::new());
    search(&backbone, &space, budget, &data, &settings, &mut latest, None).unwrap();
    let pruned = latest.0.iter().filter(|p| **p == 0.0).count();
    assert!(pruned > 0 && pruned < space.len(), "{pruned} of {} pruned", space.len());
    let expected: f64 = latest.0.iter().zip(space.sizes()).map(|(p, size)| p * *size as f64).sum();
    assert!((expected / budget as f64 - 1.0).abs() < 1e-3, "{expected} of {budget}");
}

/// A warm start begins with the p that it is given, and with the budget's share where it is given none.
#[test]
fn a_warm_start_begins_where_another_search_ended() {
    let backbone = backbone();
    let data = task(&backbone);
    let space = Space::built_in("mix", backbone.shape()).unwrap();
    let budget = Budget::Share(0.1).resolve(&space, backbone.parameters).unwrap();
    let run = |settings: &search::Settings| search(&backbone, &space, budget, &data, settings, &mut Unobserved, None);
    let source = run(&settings(search::Order::First)).unwrap().probabilities;
    let still = search::Settings { steps: 1, structural_learning_rate: 1e-9, ..settings(search::Order::First) };
    let p: Vec<_> = source.iter().map(|p| Some(*p)).collect();
    let begun = run(&search::Settings { warm_start: p.clone(), ..still.clone() }).unwrap().probabilities;
    assert!(begun.iter().zip(&source).all(|(begun, source)| (begun - source).abs() < 1e-5));
    let begun = run(&search::Settings { warm_start: vec![None; space.len()], ..still.clone() }).unwrap();
    assert_eq!(begun.probabilities, run(&still).unwrap().probabilities);
    let short = search::Settings { warm_start: p[1..].to_vec(), ..still };
    assert!(run(&short).unwrap_err().to_string().contains("warm_start has"));
}

#[test]
fn retraining_learns_and_resumes_exactly() {
    let backbone = backbone();
    let data = task(&backbone);
    let space = Space::built_in("mix", backbone.shape()).unwrap();
    let logits: Vec<_> = (0..space.len()).map(|i| logit((i * 37 % 101) as f64 / 101.0)).collect();
    let structure = Structure::discretise(
        &space,
        &[logits],
        space.parameters() / 2,
        Selection::Exact,
        Provenance::new(Origin::Search),
    );
    let structure = structure.unwrap();
    let settings = train::Settings { steps: 30, batch_size: 8, learning_rate: 1e-2, ..train::Settings::default() };
    let whole = retrain(&backbone, &structure, &data, &settings, &mut Unobserved, None).unwrap();
    let (first, last) = (whole.losses[0], whole.losses[29]);
    assert!(last < 0.5 * first, "the loss went from {first} to {last}");
    let mut stop = StopAt(13, Vec::new());
    assert!(retrain(&backbone, &structure, &data, &settings, &mut stop, None).is_err());
    let resumed = retrain(&backbone, &structure, &data, &settings, &mut Unobserved, Some(&stop.1)).unwrap();
    assert_eq!(whole.values, resumed.values);
    let layout = Layout::new(&backbone.positions, &structure.modules).unwrap();
    let single = Single::new(&layout, whole.values.clone(), backbone.positions.len(), backbone.model.device());
    let score =
        |deltas: &dyn s3delta::t5::Deltas| evaluate(&backbone, deltas, &data, Split::Dev, None, &Unobserved).unwrap();
    assert_eq!(score(&single).score, whole.dev_score);
    assert!(score(&single).loss < score(&Frozen).loss);
}

/// A run hears within a pass of an evaluation that it shall stop: of dev between two steps, and of an evaluation by itself.
#[test]
fn an_evaluation_hears_a_stop() {
    struct Ends(AtomicUsize);
    impl Observer for Ends {
        fn step(&mut self, _: &Report, _: &dyn Fn() -> Vec<u8>) -> Flow {
            Flow::Continue
        }

        fn flow(&self) -> Flow {
            self.0.fetch_add(1, Ordering::Relaxed);
            Flow::Stop
        }
    }
    let backbone = backbone();
    let data = task(&backbone);
    let space = Space::built_in("mix", backbone.shape()).unwrap();
    let modules = space.modules()[..3].to_vec();
    let structure = Structure::new(backbone.shape(), modules, Provenance::new(Origin::Manual)).unwrap();
    let training = train::Settings { steps: 2, batch_size: 8, ..train::Settings::default() };
    let mut ends = Ends(AtomicUsize::new(0));
    let ended = [
        evaluate(&backbone, &Frozen, &data, Split::Test, None, &ends).err(),
        retrain(&backbone, &structure, &data, &training, &mut ends, None).err(),
        search(&backbone, &space, 500, &data, &settings(search::Order::First), &mut ends, None).err(),
    ];
    assert!(ended.iter().all(|error| matches!(error, Some(train::Error::Stopped(_)))), "{ended:?}");
    assert_eq!(ends.0.into_inner(), 3, "each asks once and goes no further");
}

/// Modules above the encoder's first block: what lies below is kept across epochs, to the same weights, exactly resumed too.
#[test]
fn retraining_from_kept_activations_is_the_same() {
    let backbone = backbone();
    let data = task(&backbone);
    let space = Space::built_in("mix", backbone.shape()).unwrap();
    for lowest in ["decoder.", "encoder.block.1."] {
        let above = |position: &str| position.starts_with("decoder.") || position.starts_with(lowest);
        let modules = space.modules().iter().filter(|module| above(&module.position)).cloned().collect();
        let structure = Structure::new(backbone.shape(), modules, Provenance::new(Origin::Manual)).unwrap();
        let train = |kept_activation_bytes, observer: &mut dyn Observer, resume: Option<&[u8]>| {
            let settings =
                train::Settings { steps: 20, batch_size: 5, learning_rate: 3e-3, ..train::Settings::default() };
            let settings = train::Settings { kept_activation_bytes, ..settings };
            retrain(&backbone, &structure, &data, &settings, observer, resume)
        };
        let computed = train(0, &mut Unobserved, None).unwrap();
        for bytes in [4000, usize::MAX] {
            let kept = train(bytes, &mut Unobserved, None).unwrap();
            assert_eq!(kept.values, computed.values, "{lowest} {bytes}");
            assert_eq!((kept.dev_score, kept.best_step), (computed.dev_score, computed.best_step));
            let mut stop = StopAt(9, Vec::new());
            assert!(train(bytes, &mut stop, None).is_err());
            assert_eq!(train(bytes, &mut Unobserved, Some(&stop.1)).unwrap().values, kept.values, "{lowest} {bytes}");
        }
    }
}
