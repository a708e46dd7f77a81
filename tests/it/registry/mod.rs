//! The registry through its public interface, over a temporary folder.

mod adapters;
mod blobs;
mod crash;
mod jobs;
mod model;
mod records;
mod weights;

use s3delta::registry::{Blob, Digest, NewGeneration, Registry, Result};
use s3delta::structure::{DeltaModule, Kind, Origin, Provenance, Shape, Structure};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn shape() -> Shape {
    Shape {
        family: "t5".into(),
        encoder_layers: 2,
        decoder_layers: 2,
        d_model: 8,
        d_kv: 4,
        num_heads: 2,
        d_ff: 16,
        gated: true,
        vocab_size: 100,
    }
}

/// A structure of one LoRA of this rank and a bias: `[8, rank]`, `[rank, 8]` and `[8]`.
fn structure(rank: usize) -> Structure {
    let modules = vec![
        DeltaModule::new("encoder.block.0.layer.0.SelfAttention.q", Kind::Lora { rank, alpha: 16.0 }),
        DeltaModule::new("decoder.final_layer_norm", Kind::Bitfit),
    ];
    Structure::new(&shape(), modules, Provenance::new(Origin::Upload)).unwrap()
}

/// A safetensors file of this header and data; the header's names may repeat.
fn file(header: &[(String, serde_json::Value)], data: &[u8]) -> Vec<u8> {
    let entries: Vec<_> = header.iter().map(|(name, value)| format!("{}:{value}", serde_json::json!(name))).collect();
    let text = format!("{{{}}}", entries.join(","));
    [&(text.len() as u64).to_le_bytes(), text.as_bytes(), data].concat()
}

/// Header and data of valid weights for [`structure`], every value being `value`.
fn parts(rank: usize, value: f32) -> (Vec<(String, serde_json::Value)>, Vec<u8>) {
    let q = "encoder.block.0.layer.0.SelfAttention.q.lora";
    let tensors = [(format!("{q}.a"), vec![8, rank]), (format!("{q}.b"), vec![rank, 8]), (BIAS.to_string(), vec![8])];
    let mut data = Vec::new();
    let mut header = Vec::new();
    for (name, shape) in tensors {
        let start = data.len();
        data.extend((0..shape.iter().product()).flat_map(|_| value.to_le_bytes()));
        let info = serde_json::json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, data.len()] });
        header.push((name, info));
    }
    (header, data)
}

const BIAS: &str = "decoder.final_layer_norm.bitfit.bias";

fn weights(rank: usize, value: f32) -> Vec<u8> {
    let (header, data) = parts(rank, value);
    file(&header, &data)
}

fn generation(structure: &Structure, weights: Blob) -> NewGeneration {
    NewGeneration {
        structure: structure.id.clone(),
        weights,
        backbone_digest: "b".repeat(32),
        task: None,
        score: None,
        job: None,
        allow_backbone_mismatch: false,
    }
}

/// Stores structure, weights and generation, and gives the generation's digest.
fn put(registry: &Registry, name: &str, rank: usize, value: f32, aliases: &[&str]) -> Result<Digest> {
    let structure = registry.put_structure(&structure(rank))?.0;
    let blob = registry.put_blob_bytes(&weights(rank, value))?;
    Ok(registry.put_generation(name, generation(&structure, blob), aliases)?.1.digest)
}

/// Every file below the blob folder, by name.
fn blob_files(home: &Path) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    for folder in fs::read_dir(home.join("blobs")).unwrap() {
        for file in fs::read_dir(folder.unwrap().path()).unwrap() {
            files.insert(file.unwrap().file_name().into_string().unwrap());
        }
    }
    files
}

/// What a kill at this instant would leave: the folder's files as they are on disk, while the registry is open.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target: PathBuf = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The stable code of an outcome; `ok` if it was none.
fn code<T>(outcome: &Result<T>) -> &'static str {
    outcome.as_ref().map_or_else(|error| error.code(), |_| "ok")
}

/// Adapters as generations in order, and aliases.
fn adapters(registry: &Registry) -> BTreeMap<String, (Vec<Digest>, BTreeMap<String, Digest>)> {
    let all = registry.adapters(&s3delta::registry::PageRequest::all()).unwrap().data;
    let short = |adapter: s3delta::registry::Adapter| {
        let generations = adapter.generations.iter().map(|generation| generation.digest).collect();
        (adapter.name, (generations, adapter.aliases))
    };
    all.into_iter().map(short).collect()
}
