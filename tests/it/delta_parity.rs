//! Every delta kind against torch (`tests/reference/make.py` has the formulas), alone and mixed in one batch.

use crate::reference::{
    Reference, assert_close, backbone, decoder_inputs, lengths, tolerance, values, without_padding,
};
use rand::SeedableRng;
use s3delta::delta::{Batched, Layout, Single};
use s3delta::structure::{DeltaModule, KindName};
use s3delta::t5::{Backbone, DecodeSettings, Deltas, Frozen, generate};
use s3delta::train::{Batch, pass};
use std::collections::BTreeMap;
use std::sync::Arc;

const VARIANTS: [&str; 2] = ["tiny-v1.0", "tiny-v1.1"];

/// The cases of a variant's `deltas.safetensors`: modules by name, with their random values.
struct Cases {
    backbone: Backbone,
    reference: Reference,
    modules: BTreeMap<String, Vec<DeltaModule>>,
}

impl Cases {
    fn open(variant: &str) -> Self {
        let reference = Reference::open(variant, "deltas.safetensors");
        let modules = serde_json::from_value(reference.made("cases").clone()).unwrap();
        Self { backbone: backbone(variant), reference, modules }
    }

    fn layout(&self, case: &str) -> (Layout, Vec<f32>) {
        let layout = Layout::new(&self.backbone.positions, &self.modules[case]).unwrap();
        let values = layout.tensors().flat_map(|(name, ..)| self.reference.floats(&name)).collect();
        (layout, values)
    }

    fn single(&self, case: &str) -> Single {
        let (layout, values) = self.layout(case);
        single(&self.backbone, &layout, &values)
    }

    fn logits(&self, case: &str) -> Vec<f32> {
        let targets = lengths(&self.reference.targets());
        without_padding(&self.reference.floats(&format!("{case}/logits")), &targets, self.backbone.config.vocab_size)
    }
}

fn single(backbone: &Backbone, layout: &Layout, values: &[f32]) -> Single {
    Single::new(layout, values.to_vec(), backbone.positions.len(), backbone.model.device())
}

/// Logits under teacher forcing, without those of padding.
fn forced(backbone: &Backbone, sources: &[Vec<u32>], targets: &[Vec<u32>], deltas: &dyn Deltas) -> Vec<f32> {
    let model = &backbone.model;
    let encoded = model.encode(&model.batch(sources).unwrap(), deltas);
    let logits = values(model.decode(&encoded, &model.batch(&decoder_inputs(targets)).unwrap(), deltas));
    without_padding(&logits, &lengths(targets), backbone.config.vocab_size)
}

fn greedy(backbone: &Backbone, sources: &[Vec<u32>], deltas: &dyn Deltas) -> Vec<Vec<u32>> {
    let settings = DecodeSettings::new(&backbone.config, 24);
    let encoded = backbone.model.encode(&backbone.model.batch(sources).unwrap(), deltas);
    let rows = generate(&backbone.model, &encoded, sources, &settings, deltas).unwrap();
    rows.concat().into_iter().map(|row| row.ids).collect()
}

#[test]
fn every_kind_is_torchs() {
    for variant in VARIANTS {
        let cases = Cases::open(variant);
        let (sources, targets) = (cases.reference.sources(), cases.reference.targets());
        let kinds: std::collections::BTreeSet<_> =
            cases.modules["mixed"].iter().map(|module| module.kind.name()).collect();
        assert!(kinds.iter().eq(&KindName::ALL), "the fixture has every kind: {kinds:?}");
        for case in cases.modules.keys() {
            let found = forced(&cases.backbone, &sources, &targets, &cases.single(case));
            assert_close(&format!("{variant}: {case}"), &found, &cases.logits(case), tolerance());
        }
    }
}

/// One forward over each case and the bare backbone, a pair of rows each, in an order that separates the pairs.
#[test]
fn rows_of_all_cases_share_a_batch() {
    for variant in VARIANTS {
        let cases = Cases::open(variant);
        let backbone = &cases.backbone;
        let (sources, targets) = (cases.reference.sources(), cases.reference.targets());
        let adapters: Vec<Option<Arc<Single>>> =
            cases.modules.keys().map(|case| Some(Arc::new(cases.single(case)))).chain([None]).collect();
        let repeat = |rows: &[Vec<u32>]| -> Vec<Vec<u32>> {
            rows.iter().flat_map(|row| std::iter::repeat_n(row.clone(), adapters.len())).collect()
        };
        let rows: Vec<_> = sources.iter().flat_map(|_| adapters.iter().cloned()).collect();
        let batched = Batched::new(&rows, &backbone.positions, backbone.model.device());
        let found = forced(backbone, &repeat(&sources), &repeat(&targets), &batched);
        let vocab = backbone.config.vocab_size;
        let mut wanted: Vec<Vec<f32>> = cases.modules.keys().map(|case| cases.logits(case)).collect();
        wanted.push(forced(backbone, &sources, &targets, &Frozen));
        let (first, second) = (targets[0].len() * vocab, targets[1].len() * vocab);
        let wanted: Vec<f32> = wanted
            .iter()
            .flat_map(|logits| &logits[..first])
            .chain(wanted.iter().flat_map(|logits| &logits[first..first + second]))
            .copied()
            .collect();
        assert_close(variant, &found, &wanted, tolerance());

        let ids = greedy(backbone, &repeat(&sources), &batched);
        let mixed = cases.modules.keys().position(|case| case == "mixed").unwrap();
        let of = |adapter: usize| vec![ids[adapter].clone(), ids[adapters.len() + adapter].clone()];
        assert_eq!(of(mixed), cases.reference.generated("mixed/greedy_ids"), "{variant}");
        assert_eq!(of(adapters.len() - 1), greedy(backbone, &sources, &Frozen), "{variant}");
        assert_eq!(greedy(backbone, &sources, &cases.single("mixed")), of(mixed), "{variant}");
    }
}

#[test]
fn loss_and_gradient_are_torchs() {
    for variant in VARIANTS {
        let cases = Cases::open(variant);
        let (sources, targets) = (cases.reference.sources(), cases.reference.targets());
        let sources: Vec<_> = sources.iter().map(Vec::as_slice).collect();
        let targets: Vec<_> = targets.iter().map(Vec::as_slice).collect();
        let batch = Batch::new(&cases.backbone.config, &sources, &targets).unwrap();
        let (layout, values) = cases.layout("mixed");
        let found = pass(&cases.backbone, &layout, &values, std::slice::from_ref(&batch)).unwrap();
        assert_close("loss", &[found.loss as f32], &cases.reference.floats("mixed/loss"), tolerance() / 10.0);
        for (name, _, range) in layout.tensors() {
            let wanted = cases.reference.floats(&format!("mixed/gradient/{name}"));
            let largest = wanted.iter().fold(1.0f32, |most, g| most.max(g.abs()));
            assert_close(&format!("{variant}: {name}"), &found.gradient[range], &wanted, tolerance() * largest);
        }
    }
}

/// Every kind at every position that admits it: the output is the same to the last bit where the outer tensors are 0,
/// and LoRA, BitFit and LNFit start so. (The bottleneck adapters do not: method.md section 1.)
#[test]
fn a_neutral_delta_changes_nothing() {
    for variant in VARIANTS {
        let cases = Cases::open(variant);
        let backbone = &cases.backbone;
        let (sources, targets) = (cases.reference.sources(), cases.reference.targets());
        let bare = forced(backbone, &sources, &targets, &Frozen);
        let mut all = Vec::new();
        for name in KindName::ALL {
            let kind = name.with_defaults(backbone.config.d_model);
            let admitted = backbone.positions.iter().filter(|(_, _, site)| kind.admitted_at(*site));
            let modules: Vec<_> = admitted.map(|(_, path, _)| DeltaModule::new(path, kind)).collect();
            let fresh = forced(backbone, &sources, &targets, &fresh(backbone, &modules, 1.0));
            assert_eq!(fresh == bare, !name.is_bottleneck(), "{variant}: fresh {name:?}");
            all.extend(modules);
        }
        let closed = fresh(backbone, &all, 0.0);
        assert!(forced(backbone, &sources, &targets, &closed) == bare, "{variant}: all kinds at once");
        let rows = [Some(Arc::new(closed)), None];
        let batched = Batched::new(&rows, &backbone.positions, backbone.model.device());
        assert!(forced(backbone, &sources, &targets, &batched) == bare, "{variant}: in a batch with a bare row");
    }
}

/// Modules as they start, times `gate`.
fn fresh(backbone: &Backbone, modules: &[DeltaModule], gate: f64) -> Single {
    let layout = Layout::new(&backbone.positions, modules).unwrap();
    let values = layout.init(&mut rand_chacha::ChaCha8Rng::seed_from_u64(5));
    single(backbone, &layout, &layout.fold_gates(&values, &vec![gate; modules.len()]))
}
