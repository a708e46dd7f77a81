//! Opening backbone directories: what is accepted besides the plain layout, and how the rest is refused.

use crate::reference::folder;
use s3delta::t5::{Backbone, DeviceChoice, device};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use tempfile::TempDir;

/// Name -> dtype, shape, bytes.
type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

fn read(path: &Path) -> Tensors {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let owned =
        |(name, view): (String, TensorView)| (name, (view.dtype(), view.shape().to_vec(), view.data().to_vec()));
    file.tensors().into_iter().map(owned).collect()
}

fn write(path: &Path, tensors: &Tensors) {
    let views: Vec<_> = tensors
        .iter()
        .map(|(name, (dtype, shape, bytes))| (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()))
        .collect();
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// A copy of a tiny backbone that a test may damage.
struct Copy {
    dir: TempDir,
}

impl Copy {
    fn of(variant: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(folder(variant)).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            if entry.path().is_file() && !name.starts_with("expected") && !name.starts_with("deltas") {
                std::fs::copy(entry.path(), dir.path().join(name)).unwrap();
            }
        }
        Self { dir }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn open(&self) -> Result<Backbone, String> {
        let (device, _) = device::open(DeviceChoice::Cpu).unwrap();
        Backbone::open(self.dir.path(), &device).map_err(|error| error.to_string())
    }

    fn json(self, name: &str, change: impl FnOnce(&mut Value)) -> Self {
        let path = self.path(name);
        let mut content = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        change(&mut content);
        std::fs::write(path, content.to_string()).unwrap();
        self
    }

    fn config(self, name: &str, value: Value) -> Self {
        self.json("config.json", |config| config[name] = value)
    }

    fn tensors(self, change: impl FnOnce(&mut Tensors)) -> Self {
        let path = self.path("model.safetensors");
        let mut tensors = read(&path);
        change(&mut tensors);
        write(&path, &tensors);
        self
    }

    fn bytes(self, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        let path = self.path(name);
        let mut bytes = std::fs::read(&path).unwrap();
        change(&mut bytes);
        std::fs::write(path, bytes).unwrap();
        self
    }

    fn without(self, name: &str) -> Self {
        std::fs::remove_file(self.path(name)).unwrap();
        self
    }
}

#[track_caller]
fn check_refused(copy: Copy, wanted: &[&str]) {
    let message = copy.open().expect_err("must be refused");
    let dir = copy.dir.path().display().to_string();
    assert!(message.contains(&dir), "the message names the file: {message}");
    assert!(wanted.iter().all(|part| message.contains(part)), "wanted {wanted:?} in: {message}");
}

const NORM: &str = "encoder.block.1.layer.0.layer_norm.weight";
const HEAD: &str = "lm_head.weight";
const SHARD: &str = "model-00002-of-00002.safetensors";
const INDEX: &str = "model.safetensors.index.json";

#[test]
fn absent_and_damaged_files_are_named() {
    let v10 = || Copy::of("tiny-v1.0");
    let shards = || Copy::of("tiny-v1.1-sharded");
    check_refused(v10().without("config.json"), &["config.json", "Hugging Face directory"]);
    check_refused(v10().without("model.safetensors"), &["model.safetensors"]);
    check_refused(shards().without(SHARD), &[SHARD]);
    check_refused(shards().without(INDEX), &["shards without", INDEX]);
    check_refused(v10().bytes("config.json", |b| b.truncate(40)), &["config.json", "not a T5 configuration"]);
    check_refused(v10().bytes("model.safetensors", |b| b.truncate(5)), &["not a valid safetensors file"]);
    check_refused(v10().bytes("model.safetensors", |b| b.truncate(9000)), &["not a valid safetensors file"]);
    let lying = v10().bytes("model.safetensors", |b| b[..8].copy_from_slice(&u64::MAX.to_le_bytes()));
    check_refused(lying, &["not a valid safetensors file"]);
    check_refused(shards().bytes(INDEX, |b| b.truncate(40)), &[INDEX, "not a shard index"]);
    let outside = shards().json(INDEX, |index| index["weight_map"][HEAD] = json!("../lm_head.safetensors"));
    check_refused(outside, &[INDEX, "../lm_head.safetensors", "same directory"]);
    let parent = shards().json(INDEX, |index| index["weight_map"][HEAD] = json!(".."));
    check_refused(parent, &[INDEX, "`..`", "same directory"]);
}

/// One for the directory; `t5::config_file` tests the others.
#[test]
fn configurations_that_change_the_maths_are_refused_by_name() {
    let v10 = || Copy::of("tiny-v1.0");
    check_refused(v10().config("model_type", json!("longt5")), &["model_type \"longt5\"", "config.json"]);
    check_refused(v10().config("quantization_config", json!({"bits": 8})), &["quantization_config", "config.json"]);
}

#[test]
fn other_formats_are_refused_with_the_fix() {
    let with = |name: &str| {
        let copy = Copy::of("tiny-v1.0").without("model.safetensors");
        std::fs::write(copy.path(name), "").unwrap();
        copy
    };
    check_refused(with("pytorch_model.bin"), &["`pytorch_model.bin`", "pickle", "save_pretrained"]);
    check_refused(with("pytorch_model.bin.index.json"), &["`pytorch_model.bin.index.json`", "save_pretrained"]);
    check_refused(with("flax_model.msgpack"), &["`flax_model.msgpack` are not read", "save_pretrained"]);
    check_refused(with("tf_model.h5"), &["`tf_model.h5`", "save_pretrained"]);
    let adapter = Copy::of("tiny-v1.0/peft-lora");
    check_refused(adapter, &["adapter_config.json", "PEFT", "the backbone's directory"]);
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    let v10 = || Copy::of("tiny-v1.0");
    check_refused(v10().tensors(|t| drop(t.remove(NORM))), &[NORM, "missing"]);
    check_refused(v10().config("num_decoder_layers", json!(4)), &["decoder.block.3.layer.0.layer_norm", "missing"]);
    let unused = "decoder.block.2.layer.0.layer_norm.weight";
    check_refused(v10().config("num_decoder_layers", json!(2)), &["fit nothing", unused]);
    let extra = |t: &mut Tensors| drop(t.insert("adapter.weight".into(), (Dtype::F32, vec![1], vec![0; 4])));
    check_refused(v10().tensors(extra), &["`adapter.weight`", "fit nothing"]);
    check_refused(v10().config("d_ff", json!(41)), &["DenseReluDense.wi", "[40, 32]", "[41, 32]"]);
    check_refused(v10().config("vocab_size", json!(97)), &["shared.weight", "[96, 32]", "[97, 32]"]);
    let flat = |t: &mut Tensors| t.get_mut(NORM).unwrap().1 = vec![1, 32];
    check_refused(v10().tensors(flat), &[NORM, "[1, 32]", "[32]"]);
    let bytes = |t: &mut Tensors| *t.get_mut(NORM).unwrap() = (Dtype::U8, vec![32], vec![1; 32]);
    check_refused(v10().tensors(bytes), &[NORM, "U8", "F32, F16 and BF16"]);
    let gated = v10().config("feed_forward_proj", json!("gated-gelu"));
    check_refused(gated, &["DenseReluDense.wi_0.weight", "missing"]);
    let umt5 = |name: &str| Copy::of(name).config("model_type", json!("umt5"));
    let second = "encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight";
    check_refused(umt5("tiny-mt5"), &[second, "missing"]);
    check_refused(Copy::of("tiny-umt5").config("model_type", json!("mt5")), &["fit nothing", second]);
    let stack = "decoder.embed_tokens.weight";
    let own = |t: &mut Tensors| {
        let mut other = t["shared.weight"].clone();
        other.2[0] ^= 1;
        t.insert(stack.into(), other);
    };
    check_refused(v10().tensors(own), &[stack, "another matrix than `shared.weight`"]);
    let twice = Copy::of("tiny-v1.1-sharded");
    let mut second = read(&twice.path(SHARD));
    second.insert(NORM.into(), (Dtype::F16, vec![32], vec![0; 64]));
    let first = read(&twice.path("model-00001-of-00002.safetensors"));
    second.extend(first.into_iter().take(1));
    write(&twice.path(SHARD), &second);
    check_refused(twice, &["stands in two shards"]);
}

/// Published checkpoints carry copies of the embedding, and t5-small to t5-11b a position bias of cross-attention that
/// no implementation uses.
#[test]
fn copies_and_leftovers_of_published_checkpoints_change_nothing() {
    let plain = Copy::of("tiny-v1.0").open().unwrap();
    let published = Copy::of("tiny-v1.0").tensors(|tensors| {
        let embedding = tensors["shared.weight"].clone();
        for copy in ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight", HEAD] {
            tensors.insert(copy.into(), embedding.clone());
        }
        let bias = "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight";
        tensors.insert(bias.replace("0.SelfAttention", "1.EncDecAttention"), tensors[bias].clone());
    });
    let published = published.open().unwrap();
    assert!(published.tied);
    assert_eq!((published.digest, published.parameters), (plain.digest, plain.parameters));
}

/// transformers ties whatever of the names is there to the others.
#[test]
fn a_tied_embedding_may_bear_any_of_its_names() {
    let plain = Copy::of("tiny-v1.0").open().unwrap();
    for name in ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight", HEAD] {
        let renamed = Copy::of("tiny-v1.0").tensors(|tensors| {
            let embedding = tensors.remove("shared.weight").unwrap();
            tensors.insert(name.into(), embedding);
        });
        let renamed = renamed.open().unwrap();
        assert!(renamed.tied, "{name}");
        assert_eq!((renamed.digest, renamed.parameters), (plain.digest.clone(), plain.parameters), "{name}");
    }
    check_refused(Copy::of("tiny-v1.0").tensors(|t| drop(t.remove("shared.weight"))), &["`shared.weight` is missing"]);
}

/// The output layer is the embedding wherever the file has no other, and its own wherever it has, whatever config.json says.
#[test]
fn tied_is_what_the_file_says() {
    for (variant, tied, formats) in [
        ("tiny-v1.0", true, &["F32"][..]),
        ("tiny-v1.1", false, &["BF16"]),
        ("tiny-v1.1-sharded", false, &["F16"]),
        ("tiny-v1.1-tied", true, &["F16", "F32"]),
        ("tiny-umt5", false, &["BF16"]),
    ] {
        let backbone = Copy::of(variant).open().unwrap();
        assert_eq!(backbone.tied, tied, "{variant}");
        assert!(backbone.formats.keys().eq(formats), "{variant}: {:?}", backbone.formats);
        assert_eq!(backbone.formats.values().sum::<usize>(), backbone.parameters, "{variant}");
    }
}

#[test]
fn the_digest_is_that_of_names_and_values_whatever_the_sharding() {
    let plain = Copy::of("tiny-v1.1").open().unwrap();
    let sharded = Copy::of("tiny-v1.1");
    let tensors = read(&sharded.path("model.safetensors"));
    let mut shards = [Tensors::new(), Tensors::new(), Tensors::new()];
    let mut map = BTreeMap::new();
    for (number, (name, tensor)) in tensors.into_iter().enumerate() {
        map.insert(name.clone(), format!("part-{}.safetensors", number % 3));
        shards[number % 3].insert(name, tensor);
    }
    for (number, shard) in shards.iter().enumerate() {
        write(&sharded.path(&format!("part-{number}.safetensors")), shard);
    }
    std::fs::write(sharded.path(INDEX), json!({"metadata": {}, "weight_map": map}).to_string()).unwrap();
    let sharded = sharded.without("model.safetensors").open().unwrap();
    assert_eq!((&sharded.digest, sharded.parameters), (&plain.digest, plain.parameters));
    assert!(!sharded.tied);

    let other = Copy::of("tiny-v1.1").tensors(|tensors| tensors.get_mut(NORM).unwrap().2[0] ^= 1);
    assert_ne!(other.open().unwrap().digest, plain.digest, "one bit of one value");
    let half = Copy::of("tiny-v1.1-sharded").open().unwrap();
    assert_ne!(half.digest, plain.digest, "another dtype");
    assert_eq!((half.parameters, half.tied), (plain.parameters, false));
}
