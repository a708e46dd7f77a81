//! A checkpoint's tensors: `model.safetensors`, single or sharded, memory-mapped, or bytes built into the binary.

use super::source::{ParameterSource, ParameterSpec};
use super::{Error, Result};
use burn::tensor::{Device, Tensor, TensorData};
use memmap2::Mmap;
use rayon::prelude::*;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};

/// The tensors of a checkpoint by name. Values stay on disk until they are taken.
#[derive(Debug)]
pub struct WeightsFile {
    path: PathBuf,
    shards: Vec<Bytes>,
    /// Name -> shard.
    index: BTreeMap<String, usize>,
    taken: BTreeSet<String>,
    device: Device,
}

#[derive(Debug)]
enum Bytes {
    Mapped(Mmap),
    Static(&'static [u8]),
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Static(bytes) => bytes,
        }
    }
}

/// What published checkpoints carry besides the model's tensors: copies of the embedding, and a position bias of
/// cross-attention that T5 does not use.
const LEFT_OVER: [&str; 3] = [
    "encoder.embed_tokens.weight",
    "decoder.embed_tokens.weight",
    "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",
];
const HEAD: &str = "lm_head.weight";
const EMBEDDING: &str = "shared.weight";

impl WeightsFile {
    /// Opens `DIR/model.safetensors`, or the shards that `DIR/model.safetensors.index.json` names.
    pub fn open(dir: &Path, device: &Device) -> Result<Self> {
        let single = dir.join("model.safetensors");
        let index = dir.join("model.safetensors.index.json");
        let files = if single.exists() || !index.exists() { vec![single] } else { shard_files(dir, &index)? };
        let shards = files.iter().map(|path| map(path)).collect::<Result<Vec<_>>>()?;
        Self::from_shards(dir.to_path_buf(), shards, device)
    }

    /// Opens a checkpoint that is built into the binary.
    pub fn from_static(name: &str, bytes: &'static [u8], device: &Device) -> Result<Self> {
        Self::from_shards(PathBuf::from(name), vec![Bytes::Static(bytes)], device)
    }

    fn from_shards(path: PathBuf, shards: Vec<Bytes>, device: &Device) -> Result<Self> {
        let mut index = BTreeMap::new();
        for (number, shard) in shards.iter().enumerate() {
            let tensors = SafeTensors::deserialize(shard.as_ref()).map_err(|error| Error::Weights {
                path: path.clone(),
                what: format!("shard {} is not a valid safetensors file ({error}): fetch it again", number + 1),
            })?;
            for name in tensors.names() {
                if index.insert(name.to_string(), number).is_some() {
                    let what = format!("tensor `{name}` stands in two shards");
                    return Err(Error::Weights { path, what });
                }
            }
        }
        for name in LEFT_OVER {
            index.remove(name);
        }
        let mut file = Self { path, shards, index, taken: BTreeSet::new(), device: device.clone() };
        if file.index.contains_key(HEAD) && file.index.contains_key(EMBEDDING) {
            let (head, embedding) = (file.view(HEAD)?, file.view(EMBEDDING)?);
            if head.dtype() == embedding.dtype() && head.data() == embedding.data() {
                file.index.remove(HEAD);
            }
        }
        Ok(file)
    }

    /// Whether the output layer is the embedding: there is no `lm_head.weight`, or it is a copy.
    pub fn tied(&self) -> bool {
        !self.index.contains_key(HEAD)
    }

    /// Number of parameters, tied copies once.
    pub fn parameters(&self) -> Result<usize> {
        self.index.keys().map(|name| Ok(self.view(name)?.shape().iter().product::<usize>())).sum()
    }

    /// Digest of the weights: BLAKE3 over name, dtype, shape and bytes in name order, tied copies once, whatever the
    /// sharding; 32 hex characters.
    pub fn digest(&self) -> Result<String> {
        let mut hasher = blake3::Hasher::new();
        for name in self.index.keys() {
            let view = self.view(name)?;
            hasher.update(format!("{name} {:?} {:?}\n", view.dtype(), view.shape()).as_bytes());
            hasher.update_rayon(view.data());
        }
        Ok(hasher.finalize().to_hex()[..32].to_string())
    }

    /// Refuses a checkpoint with tensors that the model did not take.
    pub fn check_all_taken(&self) -> Result<()> {
        let left: Vec<_> = self.index.keys().filter(|name| !self.taken.contains(*name)).cloned().collect();
        if left.is_empty() {
            return Ok(());
        }
        let what = format!(
            "{} tensors fit nothing that config.json describes: {}",
            left.len(),
            left.iter().take(5).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        );
        Err(Error::Weights { path: self.path.clone(), what })
    }

    fn view(&self, name: &str) -> Result<TensorView<'_>> {
        let wrong = |what: String| Error::Weights { path: self.path.clone(), what };
        let shard = self.index.get(name).ok_or_else(|| wrong(format!("tensor `{name}` is missing")))?;
        let tensors = SafeTensors::deserialize(self.shards[*shard].as_ref());
        tensors.and_then(|tensors| tensors.tensor(name)).map_err(|error| wrong(format!("tensor `{name}`: {error}")))
    }
}

impl ParameterSource for WeightsFile {
    fn take(&mut self, spec: &ParameterSpec) -> Result<Tensor<2>> {
        let width = spec.width();
        let mut values = vec![0.0f32; spec.len()];
        let mut start = 0;
        for (name, part) in &spec.parts {
            let view = self.view(name)?;
            let wanted = spec.checkpoint_shape(*part);
            if view.shape() != wanted {
                let what = format!("tensor `{name}` has shape {:?}, config.json wants {wanted:?}", view.shape());
                return Err(Error::Weights { path: self.path.clone(), what });
            }
            let read = reader(view.dtype()).ok_or_else(|| Error::Weights {
                path: self.path.clone(),
                what: format!("tensor `{name}` is {:?}: only F32, F16 and BF16 are read", view.dtype()),
            })?;
            if spec.transposed {
                read_transposed(view.data(), read, spec.rows, &mut values, width, start, *part);
            } else {
                let bytes = view.data();
                let size = bytes.len() / values.len();
                values.iter_mut().zip(bytes.chunks_exact(size)).for_each(|(value, bytes)| *value = read(bytes));
            }
            start += part;
            self.taken.insert(name.clone());
        }
        Ok(Tensor::from_data(TensorData::new(values, [spec.rows, width]), &self.device))
    }
}

/// Fills columns `start..start + part` of `values [rows, width]` from `data [part, rows]`, in tiles that fit the cache.
fn read_transposed(
    data: &[u8],
    read: fn(&[u8]) -> f32,
    rows: usize,
    values: &mut [f32],
    width: usize,
    start: usize,
    part: usize,
) {
    const TILE: usize = 64;
    let size = data.len() / (rows * part);
    values.par_chunks_mut(TILE * width).enumerate().for_each(|(tile, values)| {
        let first = tile * TILE;
        for column in (0..part).step_by(TILE) {
            for c in column..(column + TILE).min(part) {
                for (r, line) in values.chunks_exact_mut(width).enumerate() {
                    let at = (c * rows + first + r) * size;
                    line[start + c] = read(&data[at..at + size]);
                }
            }
        }
    });
}

fn reader(dtype: Dtype) -> Option<fn(&[u8]) -> f32> {
    Some(match dtype {
        Dtype::F32 => |bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
        Dtype::F16 => |bytes| half::f16::from_le_bytes([bytes[0], bytes[1]]).to_f32(),
        Dtype::BF16 => |bytes| half::bf16::from_le_bytes([bytes[0], bytes[1]]).to_f32(),
        _ => return None,
    })
}

fn shard_files(dir: &Path, index: &Path) -> Result<Vec<PathBuf>> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let text = std::fs::read_to_string(index).map_err(|source| Error::Read { path: index.to_path_buf(), source })?;
    let wrong = |what: String| Error::Weights { path: index.to_path_buf(), what };
    let parsed: Index = serde_json::from_str(&text).map_err(|error| wrong(format!("not a shard index: {error}")))?;
    let names: BTreeSet<_> = parsed.weight_map.into_values().collect();
    let plain = |name: &String| Path::new(name).file_name() == Some(OsStr::new(name));
    if let Some(name) = names.iter().find(|name| !plain(name)) {
        return Err(wrong(format!("shard `{name}` must be a file name in the same directory")));
    }
    Ok(names.iter().map(|name| dir.join(name)).collect())
}

#[expect(
    unsafe_code,
    reason = "mapping a file is unsafe because another process could truncate it; checkpoints are not"
)]
fn map(path: &Path) -> Result<Bytes> {
    let read = |source| Error::Read { path: path.to_path_buf(), source };
    let file = File::open(path).map_err(read)?;
    let map = unsafe { Mmap::map(&file) }.map_err(read)?;
    // all of it is read at once: one call in place of a page fault for every few pages, where the kernel can
    #[cfg(target_os = "linux")]
    let _ = map.advise(memmap2::Advice::PopulateRead);
    Ok(Bytes::Mapped(map))
}
