//! A checkpoint's tensors: `model.safetensors`, single or sharded, memory-mapped, or bytes built into the binary.

mod convert;
mod digest_cache;
mod mapping;

use super::source::{ParameterSource, ParameterSpec};
use super::{Error, Result, Weight, WeightFormat};
use burn::tensor::{Bytes as Memory, DType, Device, Tensor, TensorData};
use convert::Format;
use digest_cache::State;
use mapping::Bytes;
use safetensors::{Dtype, SafeTensors};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsStr;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The tensors of a checkpoint by name. Values stay on disk until they are taken.
#[derive(Debug)]
pub struct WeightsFile {
    path: PathBuf,
    shards: Vec<Bytes>,
    index: BTreeMap<String, Entry>,
    taken: BTreeSet<String>,
    device: Device,
    /// What [`WeightsFile::load`] has converted and nobody has taken.
    loaded: VecDeque<(ParameterSpec, Memory)>,
    /// In which form linear maps are given; `None` for plain matrices.
    linear: Option<WeightFormat>,
    /// The files as they were opened; absent for a checkpoint in the binary.
    state: Option<State>,
}

/// Where a tensor is.
#[derive(Debug)]
struct Entry {
    shard: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Range<usize>,
}

/// Bytes of a file that are converted at a time, and so the most of it that counts as this process's memory.
const PIECE: usize = 16 << 20;
/// Matrices in one allocation begin at multiples of so many values: at a cache line.
const LINE: usize = 16;

/// A position bias of cross-attention that t5-small to t5-11b carry and no implementation uses.
const LEFT_OVER: &str = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight";
const HEAD: &str = "lm_head.weight";
const EMBEDDING: &str = "shared.weight";
/// Names of the embedding besides `shared.weight`. A tied checkpoint may hold copies, or the embedding under one of them
/// alone, `lm_head.weight` the last.
const COPIES: [&str; 2] = ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"];

/// Checkpoints in formats that are not read.
const OTHER_FORMATS: [&str; 5] = [
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "tf_model.h5",
    "flax_model.msgpack",
    "flax_model.msgpack.index.json",
];

impl WeightsFile {
    /// Opens `DIR/model.safetensors`, or the shards that `DIR/model.safetensors.index.json` names.
    ///
    /// # Errors
    /// If there are none, other formats by name, or they are damaged or disagree.
    pub fn open(dir: &Path, device: &Device) -> Result<Self> {
        let single = dir.join("model.safetensors");
        let index = dir.join("model.safetensors.index.json");
        if !single.exists() && !index.exists() {
            refuse_other_formats(dir)?;
            refuse_shards_alone(dir)?;
        }
        let files = if single.exists() || !index.exists() { vec![single] } else { shard_files(dir, &index)? };
        let mapped = files.iter().map(|path| Bytes::map(path)).collect::<Result<Vec<_>>>()?;
        let (shards, metadata): (Vec<_>, Vec<_>) = mapped.into_iter().unzip();
        Self::from_shards(dir.to_path_buf(), shards, State::of(files, &metadata), device)
    }

    /// Opens a checkpoint that is built into the binary.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn from_static(name: &str, bytes: &'static [u8], device: &Device) -> Result<Self> {
        Self::from_shards(PathBuf::from(name), vec![Bytes::Static(bytes)], None, device)
    }

    fn from_shards(path: PathBuf, shards: Vec<Bytes>, state: Option<State>, device: &Device) -> Result<Self> {
        let mut index = BTreeMap::new();
        for (shard, bytes) in shards.iter().enumerate() {
            let (header, metadata) = SafeTensors::read_metadata(bytes.as_ref()).map_err(|error| Error::Weights {
                path: path.clone(),
                what: format!("shard {} is not a valid safetensors file ({error}): fetch it again", shard + 1),
            })?;
            // behind the header and its length
            let start = header + size_of::<u64>();
            for (name, info) in metadata.tensors() {
                let (from, to) = info.data_offsets;
                let bytes = start + from..start + to;
                let entry = Entry { shard, dtype: info.dtype, shape: info.shape.clone(), bytes };
                if index.insert(name.clone(), entry).is_some() {
                    let what = format!("tensor `{name}` stands in two shards");
                    return Err(Error::Weights { path, what });
                }
            }
        }
        index.remove(LEFT_OVER);
        let mut file = Self {
            path,
            shards,
            index,
            taken: BTreeSet::new(),
            device: device.clone(),
            loaded: VecDeque::new(),
            linear: None,
            state,
        };
        file.resolve_embedding()?;
        Ok(file)
    }

    /// Leaves one `shared.weight`, and `lm_head.weight` only where it differs, as transformers ties them.
    fn resolve_embedding(&mut self) -> Result<()> {
        if !self.index.contains_key(EMBEDDING)
            && let Some(name) = COPIES.into_iter().chain([HEAD]).find(|name| self.index.contains_key(*name))
            && let Some(entry) = self.index.remove(name)
        {
            self.index.insert(EMBEDDING.into(), entry);
        }
        let Some(embedding) = self.index.get(EMBEDDING) else { return Ok(()) };
        let same = |entry: &Entry| entry.dtype == embedding.dtype && self.bytes(entry) == self.bytes(embedding);
        let tied = self.index.get(HEAD).is_some_and(same);
        let differs = |name: &&str| self.index.get(*name).is_some_and(|entry| !same(entry));
        if let Some(name) = COPIES.into_iter().find(differs) {
            let what =
                format!("`{name}` is another matrix than `{EMBEDDING}`: stacks of their own embeddings are not read");
            return Err(Error::Weights { path: self.path.clone(), what });
        }
        for name in [EMBEDDING, HEAD].into_iter().chain(COPIES) {
            self.index.get(name).into_iter().for_each(|entry| self.release(entry));
        }
        COPIES.into_iter().for_each(|name| drop(self.index.remove(name)));
        if tied {
            self.index.remove(HEAD);
        }
        Ok(())
    }

    /// Whether the output layer is the embedding: there is no `lm_head.weight`, or it is a copy.
    pub fn tied(&self) -> bool {
        !self.index.contains_key(HEAD)
    }

    /// Number of parameters, tied copies once.
    pub fn parameters(&self) -> usize {
        self.index.values().map(|entry| entry.shape.iter().product::<usize>()).sum()
    }

    /// The number formats of the tensors, such as `BF16`, with the parameters in each, tied copies once.
    pub fn formats(&self) -> BTreeMap<String, usize> {
        let mut formats = BTreeMap::new();
        for entry in self.index.values() {
            *formats.entry(format!("{:?}", entry.dtype)).or_default() += entry.shape.iter().product::<usize>();
        }
        formats
    }

    /// Digest of the weights: BLAKE3 over name, dtype, shape and bytes in name order, tied copies once, whatever the
    /// sharding; 32 hex characters. That of a large checkpoint is kept in the user's cache, by path, size and times.
    pub fn digest(&self) -> String {
        let cache = self.state.as_ref().zip(digest_cache::folder());
        if let Some(digest) = cache.as_ref().and_then(|(state, folder)| state.read(folder)) {
            return digest;
        }
        let mut hasher = blake3::Hasher::new();
        for (name, entry) in &self.index {
            hasher.update(format!("{name} {:?} {:?}\n", entry.dtype, entry.shape).as_bytes());
            hasher.update_rayon(self.bytes(entry));
            self.release(entry);
        }
        let digest = hasher.finalize().to_hex()[..32].to_string();
        if let Some((state, folder)) = cache {
            state.write(&folder, &digest);
        }
        digest
    }

    /// Refuses a checkpoint with tensors that the model did not take.
    ///
    /// # Errors
    /// It names the first of them.
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

    fn bytes(&self, entry: &Entry) -> &[u8] {
        &self.shards[entry.shard].as_ref()[entry.bytes.clone()]
    }

    fn release(&self, entry: &Entry) {
        self.shards[entry.shard].release(entry.bytes.clone());
    }

    /// A tensor that must be there with this shape.
    fn entry(&self, name: &str, wanted: &[usize]) -> Result<(&Entry, Format), String> {
        let entry = self.index.get(name).ok_or_else(|| format!("tensor `{name}` is missing"))?;
        if entry.shape != wanted {
            return Err(format!("tensor `{name}` has shape {:?}, config.json wants {wanted:?}", entry.shape));
        }
        let format = Format::of(entry.dtype)
            .ok_or_else(|| format!("tensor `{name}` is {:?}: only F32, F16 and BF16 are read", entry.dtype))?;
        Ok((entry, format))
    }
}

impl WeightsFile {
    /// Converts these parameters ahead for a frozen model on the CPU, which [`ParameterSource::take`] then gives in this order
    /// and, for linear maps, [`ParameterSource::take_linear`] in the panels that products want. All are one allocation, since
    /// an allocator leaves gaps between large ones, together a tenth of a T5. Weights that are rounded are so one by one, as
    /// they are taken.
    ///
    /// # Errors
    /// If one is missing or has another shape.
    pub fn load(&mut self, mut specs: Vec<ParameterSpec>, linear: WeightFormat) -> Result<()> {
        self.linear = Some(linear);
        specs.retain(|spec| linear == WeightFormat::F32 || !spec.transposed);
        let places: Vec<_> = specs
            .iter()
            .scan(0, |end: &mut usize, spec| {
                let start = end.next_multiple_of(LINE);
                *end = start + if spec.transposed { Weight::panels_len(spec.rows, spec.width()) } else { spec.len() };
                Some(start..*end)
            })
            .collect();
        let mut values = convert::zeroed(places.last().map_or(0, |place| place.end));
        for (spec, place) in specs.iter().zip(&places) {
            self.read(spec, spec.transposed, &mut values[place.clone()])?;
        }
        let memory = Memory::from_elems(values).shared();
        for (spec, place) in specs.into_iter().zip(places) {
            let [start, end] = [place.start, place.end].map(|at| at * size_of::<f32>());
            let what = || format!("{} bytes cannot be shared out", memory.len());
            let part = memory.view(start, end).map_err(|_| Error::Weights { path: self.path.clone(), what: what() })?;
            self.loaded.push_back((spec, part));
        }
        Ok(())
    }

    /// Converts one parameter into `values [spec.rows, spec.width()]`, or into the panels of that matrix.
    fn read(&self, spec: &ParameterSpec, panels: bool, values: &mut [f32]) -> Result<()> {
        let wrong = |what| Error::Weights { path: self.path.clone(), what };
        let shape = [spec.rows, spec.width()];
        let mut start = 0;
        for (name, part) in &spec.parts {
            let (entry, format) = self.entry(name, &spec.checkpoint_shape(*part)).map_err(wrong)?;
            // rows of the file's tensor
            let (count, row) = if spec.transposed { (*part, spec.rows) } else { (spec.rows, *part) };
            let row = row * format.size();
            let step = (PIECE / row).max(1);
            for first in (0..count).step_by(step) {
                let lines = step.min(count - first);
                let piece = entry.bytes.start + first * row..entry.bytes.start + (first + lines) * row;
                let data = &self.shards[entry.shard].as_ref()[piece.clone()];
                if panels {
                    convert::fill_panels(format, data, spec.rows, values, start + first, lines);
                } else if spec.transposed {
                    convert::fill_transposed(format, data, shape, values, start + first, lines);
                } else {
                    convert::fill(format, data, &mut values[first * part..(first + lines) * part]);
                }
                self.shards[entry.shard].release(piece);
            }
            start += part;
        }
        Ok(())
    }
}

impl ParameterSource for WeightsFile {
    fn take(&mut self, spec: &ParameterSpec) -> Result<Tensor<2>> {
        let shape = [spec.rows, spec.width()];
        let data = match self.loaded.pop_front_if(|(loaded, _)| loaded == spec && !spec.transposed) {
            Some((_, memory)) => TensorData::from_bytes(memory, shape, DType::F32),
            None => {
                let mut values = convert::zeroed(spec.len());
                self.read(spec, false, &mut values)?;
                TensorData::new(values, shape)
            }
        };
        self.taken.extend(spec.parts.iter().map(|(name, _)| name.clone()));
        Ok(Tensor::from_data(data, &self.device))
    }

    fn take_linear(&mut self, spec: &ParameterSpec) -> Result<Weight> {
        let Some(format) = self.linear else { return self.take(spec).map(Weight::from) };
        let (rows, width) = (spec.rows, spec.width());
        let weight = match self.loaded.pop_front_if(|(loaded, _)| loaded == spec) {
            Some((_, panels)) => Weight::panels(panels, rows, width),
            None => {
                let mut values = convert::zeroed(Weight::panels_len(rows, width));
                self.read(spec, true, &mut values)?;
                match format {
                    WeightFormat::F32 => Weight::panels(Memory::from_elems(values), rows, width),
                    WeightFormat::Int8 => Weight::int8(&values, rows, width),
                }
            }
        };
        self.taken.extend(spec.parts.iter().map(|(name, _)| name.clone()));
        Ok(weight)
    }
}

fn refuse_other_formats(dir: &Path) -> Result<()> {
    let Some(name) = OTHER_FORMATS.iter().find(|name| dir.join(name).exists()) else { return Ok(()) };
    let why = if name.starts_with("pytorch") { " (a pickle, which can run code as it is read)" } else { "" };
    let what = format!(
        "weights in `{name}`{why} are not read: make model.safetensors of them with transformers: \
         `AutoModelForSeq2SeqLM.from_pretrained(\"{dir}\").save_pretrained(\"{dir}\")`",
        dir = dir.display()
    );
    Err(Error::Weights { path: dir.to_path_buf(), what })
}

/// Which tensors stand where is known from the index alone.
fn refuse_shards_alone(dir: &Path) -> Result<()> {
    let names = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let is_shard =
        |name: &OsStr| name.to_string_lossy().contains("-of-") && name.to_string_lossy().ends_with(".safetensors");
    if !names.into_iter().any(|name| is_shard(&name)) {
        return Ok(());
    }
    let what =
        "shards without model.safetensors.index.json, which says what they hold: fetch it from where they are from";
    Err(Error::Weights { path: dir.to_path_buf(), what: what.into() })
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

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::TensorView;

    /// A matrix of more than one [`PIECE`], as it is and transposed, loaded ahead and taken alone.
    #[test]
    fn a_large_matrix_arrives_piece_by_piece() {
        let (rows, width) = (5000, 1024);
        assert!(rows * width * 4 > PIECE);
        let wanted: Vec<f32> = (0..rows * width).map(|i| i as f32).collect();
        let bytes: Vec<u8> = wanted.iter().flat_map(|value| value.to_le_bytes()).collect();
        let dir = tempfile::tempdir().unwrap();
        let view = TensorView::new(Dtype::F32, vec![rows, width], &bytes).unwrap();
        let file = safetensors::serialize([(EMBEDDING, view)], None).unwrap();
        std::fs::write(dir.path().join("model.safetensors"), file).unwrap();

        let parts = |width| vec![(EMBEDDING.to_string(), width)];
        let plain = ParameterSpec { parts: parts(width), rows, transposed: false };
        let turned = ParameterSpec { parts: parts(rows), rows: width, transposed: true };
        for ahead in [false, true] {
            let mut weights = WeightsFile::open(dir.path(), &Device::flex()).unwrap();
            if ahead {
                weights.load(vec![turned.clone(), plain.clone()], WeightFormat::F32).unwrap();
            }
            // the product by one as a matrix gives the weight as it is
            let one = Tensor::eye(width, &Device::flex());
            let weight = if ahead { weights.take_linear(&turned) } else { weights.take(&turned).map(Weight::from) };
            let found = weight.unwrap().product(one).transpose().try_into_vec_as::<f32>().unwrap();
            assert!(found == wanted, "transposed, ahead: {ahead}");
            let found = weights.take(&plain).unwrap().try_into_vec_as::<f32>().unwrap();
            assert!(found == wanted, "as it is, ahead: {ahead}");
            assert!(weights.loaded.is_empty());
            weights.check_all_taken().unwrap();
        }
    }
}
