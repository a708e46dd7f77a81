//! The parts of a request, each alone: `cargo bench`, or `cargo bench -- decoder` for some. What a change to a kernel or to the
//! registry costs shows here; what a request costs is for `s3delta bench`.

use burn::tensor::{Device, Distribution, Tensor};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use s3delta::delta::{DeltaWeights, Layout, Metadata, Single, View};
use s3delta::registry::{DEFAULT_ALIAS, NewGeneration, Registry};
use s3delta::structure::{Origin, Provenance, Space, Structure, random};
use s3delta::t5::{Backbone, Deltas, Frozen, LinearGroup, Weight, WeightFormat, device};
use std::sync::Arc;

/// What a searched structure of the built-in backbone holds, in parts of all delta parameters of the space `mix`.
const SHARE: usize = 10;

fn backbone(format: WeightFormat) -> Backbone {
    Backbone::resolve_as("builtin:pocket-t5", format, &Device::flex()).expect("it is part of the library")
}

/// A structure as a search could leave it, of another seed each.
fn structure(backbone: &Backbone, seed: u64) -> Structure {
    let space = Space::built_in("mix", backbone.shape()).expect("a built-in space");
    let budget = space.sizes().iter().sum::<usize>() / SHARE;
    let chosen = random(space.sizes(), budget, &mut ChaCha8Rng::seed_from_u64(seed));
    let modules = space.modules().iter().zip(chosen).filter(|(_, chosen)| *chosen).map(|(module, _)| module.clone());
    Structure::new(backbone.shape(), modules.collect(), Provenance::new(Origin::Random)).expect("modules of its space")
}

fn adapter(backbone: &Backbone, seed: u64) -> Arc<Single> {
    let layout = Layout::new(&backbone.positions, &structure(backbone, seed).modules).expect("its own positions");
    let values = vec![0.01; layout.len()];
    Arc::new(Single::new(&layout, values, backbone.positions.len(), &Device::flex()))
}

/// T5-small's three products of a block: q, k and v in one, the first and the second of the feed-forward layer.
fn linear(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("linear");
    let cpu = Device::flex();
    let backbone = backbone(WeightFormat::F32);
    let position = backbone.positions.iter().next().expect("it has positions").0;
    let normal = |rows, columns| Tensor::<2>::random([rows, columns], Distribution::Normal(0.0, 0.05), &cpu);
    for (d_in, d_out) in [(512, 1536), (512, 2048), (2048, 512)] {
        let matrix = normal(d_in, d_out);
        let frozen = LinearGroup::new(Weight::frozen(matrix.clone()), vec![(position, d_out)]);
        let plain = LinearGroup::new(matrix.into(), vec![(position, d_out)]);
        for rows in [1, 16, 1024] {
            let x = normal(rows, d_in).unsqueeze::<3>();
            group.throughput(Throughput::Elements((2 * rows * d_in * d_out) as u64)); // floating-point operations
            for (form, linear) in [("panels", &frozen), ("plain", &plain)] {
                let id = BenchmarkId::new(form, format!("{rows}x{d_in}x{d_out}"));
                group.bench_function(id, |bencher| {
                    device::compute(&cpu, || bencher.iter(|| linear.product(x.clone())));
                });
            }
        }
    }
}

/// The encoder over 64 tokens, and one step of the decoder behind 16, with nothing, one adapter, and another one a row.
fn forward(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("forward");
    let cpu = Device::flex();
    for format in [WeightFormat::F32, WeightFormat::Int8] {
        let backbone = backbone(format);
        for rows in [1, 16] {
            let ids: Vec<Vec<u32>> = (0..rows).map(|row| (0..64).map(|at| 300 + 64 * row + at).collect()).collect();
            let batch = backbone.model.batch(&ids).expect("ids of the vocabulary");
            let one = adapter(&backbone, 0);
            let same = View::new(&vec![Some(one); ids.len()], &backbone);
            let all: Vec<_> = (0..u64::from(rows)).map(|row| Some(adapter(&backbone, row))).collect();
            let mixed = View::new(&all, &backbone);
            let views: [(&str, &dyn Deltas); 3] =
                [("bare", &Frozen), ("one adapter", same.deltas()), ("an adapter a row", mixed.deltas())];
            for (name, deltas) in views.into_iter().take(if rows == 1 { 2 } else { 3 }) {
                let id = |part| BenchmarkId::new(format!("{part}, {format}, {name}"), rows);
                group.bench_function(id("encoder"), |bencher| {
                    device::compute(&cpu, || bencher.iter(|| backbone.model.encode(&batch, deltas)));
                });
                group.bench_function(id("decoder"), |bencher| {
                    device::compute(&cpu, || {
                        let encoded = backbone.model.encode(&batch, deltas);
                        let mut cache = backbone.model.start(&encoded, 32, deltas);
                        let token = vec![300; ids.len()];
                        (0..16).for_each(|_| drop(backbone.model.step(&token, &mut cache, deltas)));
                        let step = |mut cache| backbone.model.step(&token, &mut cache, deltas);
                        bencher.iter_batched(|| cache.clone(), step, criterion::BatchSize::SmallInput);
                    });
                });
            }
        }
    }
}

/// From an adapter's name to what the engine takes, and from its file to memory.
fn registry(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("registry");
    let backbone = backbone(WeightFormat::F32);
    let (positions, structure) = (&backbone.positions, structure(&backbone, 0));
    let layout = Layout::new(positions, &structure.modules).expect("its own positions");
    let metadata =
        Metadata { structure: structure.id.clone(), backbone: backbone.digest.clone(), ..Metadata::default() };
    let weights = DeltaWeights { values: vec![0.01; layout.len()], metadata };
    let bytes = weights.to_bytes(positions, &structure).expect("values of its layout");

    let home = tempfile::tempdir().expect("a temporary folder");
    let registry = Registry::open(home.path()).expect("an empty folder");
    registry.put_structure(&structure).expect("a valid structure");
    let generation = NewGeneration {
        structure: structure.id.clone(),
        weights: registry.put_blob_bytes(&bytes).expect("a place on the disk"),
        backbone_digest: backbone.digest.clone(),
        task: None,
        score: None,
        job: None,
        allow_backbone_mismatch: false,
    };
    registry.put_generation("a", generation, &[DEFAULT_ALIAS]).expect("weights of their structure");
    group.bench_function("resolve", |bencher| bencher.iter(|| registry.resolve("a")));
    group.bench_function("delta weights from bytes", |bencher| {
        bencher.iter(|| DeltaWeights::from_bytes(&bytes, positions, &structure));
    });
    group.finish();
}

criterion_group!(parts, linear, forward, registry);
criterion_main!(parts);
