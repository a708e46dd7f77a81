//! Reading of the tensors that `tests/reference/make.py` made with transformers and torch.

use burn::tensor::Tensor;
use s3delta::t5::{Backbone, DeviceChoice, device};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A folder of `tests/reference`, or of the one that S3DELTA_PARITY names, where `just parity` has made the same anew.
pub(crate) fn folder(name: &str) -> PathBuf {
    let checked_in = || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference");
    let made_anew = parity_folder().filter(|dir| !is_backbone(dir));
    made_anew.unwrap_or_else(checked_in).join(name)
}

/// What S3DELTA_PARITY names: one more backbone with an `expected.safetensors`, such as a published T5, or a folder that
/// `tests/reference/make.py --out` has written.
pub(crate) fn parity_folder() -> Option<PathBuf> {
    std::env::var_os("S3DELTA_PARITY").map(PathBuf::from)
}

/// Whether the folder is a backbone itself.
pub(crate) fn is_backbone(dir: &Path) -> bool {
    dir.join("config.json").exists()
}

/// Where the tests of the model, of decoding and of serving compute: the CPU, or what S3DELTA_TEST_DEVICE names.
fn choice() -> DeviceChoice {
    std::env::var("S3DELTA_TEST_DEVICE").map_or(DeviceChoice::Cpu, |name| name.parse().unwrap())
}

/// Opens a tiny backbone.
pub(crate) fn backbone(name: &str) -> Backbone {
    backbone_at(&folder(name))
}

pub(crate) fn backbone_at(dir: &Path) -> Backbone {
    let (device, _) = device::open(choice()).unwrap();
    Backbone::open(dir, &device).unwrap()
}

/// One file of expected tensors.
pub(crate) struct Reference {
    bytes: Vec<u8>,
    made: Value,
}

impl Reference {
    pub(crate) fn open(variant: &str, file: &str) -> Self {
        Self::at(&folder(variant).join(file))
    }

    pub(crate) fn at(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let metadata = SafeTensors::read_metadata(&bytes).unwrap().1.metadata().clone().unwrap_or_default();
        let made = metadata.get("made").map_or(Value::Null, |text| serde_json::from_str(text).unwrap());
        Self { bytes, made }
    }

    /// What the maker noted: versions, and the cases of deltas.
    pub(crate) fn made(&self, name: &str) -> &Value {
        &self.made[name]
    }

    fn tensor<T>(&self, name: &str, dtype: Dtype, size: usize, read: fn(&[u8]) -> T) -> Vec<T> {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let view = file.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(view.dtype(), dtype, "{name}");
        view.data().chunks_exact(size).map(read).collect()
    }

    pub(crate) fn floats(&self, name: &str) -> Vec<f32> {
        self.tensor(name, Dtype::F32, 4, |bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
    }

    /// The rows of a matrix of ids.
    fn rows(&self, name: &str) -> Vec<Vec<i64>> {
        let width = SafeTensors::deserialize(&self.bytes).unwrap().tensor(name).unwrap().shape()[1];
        let ids = self.tensor(name, Dtype::I64, 8, |bytes| i64::from_le_bytes(bytes.try_into().unwrap()));
        ids.chunks(width).map(<[i64]>::to_vec).collect()
    }

    /// Source rows without their padding.
    pub(crate) fn sources(&self) -> Vec<Vec<u32>> {
        let masks = self.rows("attention_mask");
        let kept = |(row, mask): (Vec<i64>, &Vec<i64>)| {
            row.iter().zip(mask).filter(|(_, seen)| **seen == 1).map(|(id, _)| *id as u32).collect()
        };
        self.rows("input_ids").into_iter().zip(&masks).map(kept).collect()
    }

    /// Target rows without their padding.
    pub(crate) fn targets(&self) -> Vec<Vec<u32>> {
        let kept = |row: Vec<i64>| row.into_iter().filter(|id| *id != -100).map(|id| id as u32).collect();
        self.rows("labels").into_iter().map(kept).collect()
    }

    /// Rows of generated ids, each up to its `</s>`.
    pub(crate) fn generated(&self, name: &str) -> Vec<Vec<u32>> {
        let ended = |row: Vec<i64>| {
            let end = row.iter().position(|id| *id == 1).map_or(row.len(), |at| at + 1);
            row[..end].iter().map(|id| *id as u32).collect()
        };
        self.rows(name).into_iter().map(ended).collect()
    }
}

/// What the decoder reads under teacher forcing: the start id, then the target without its last.
pub(crate) fn decoder_inputs(targets: &[Vec<u32>]) -> Vec<Vec<u32>> {
    targets.iter().map(|row| std::iter::once(0).chain(row[..row.len() - 1].iter().copied()).collect()).collect()
}

/// The values of a tensor.
pub(crate) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as::<f32>().unwrap()
}

/// Of `padded`, laid out as `[rows, longest, width]`, what is no padding.
pub(crate) fn without_padding(padded: &[f32], lengths: &[usize], width: usize) -> Vec<f32> {
    let longest = *lengths.iter().max().unwrap();
    assert_eq!(padded.len(), lengths.len() * longest * width);
    let rows = padded.chunks(longest * width).zip(lengths);
    rows.flat_map(|(row, length)| row[..length * width].iter().copied()).collect()
}

pub(crate) fn lengths(rows: &[Vec<u32>]) -> Vec<usize> {
    rows.iter().map(Vec::len).collect()
}

/// Kernels sum in orders that differ with the library and the batch's shape: 1e-4 is some 10 times what that came to on
/// values up to 15 (transformers in float32 against float64: 2e-5). Products on a GPU round their operands to TF32, 10 bits,
/// which came to 0.031.
pub(crate) fn tolerance() -> f32 {
    if choice() == DeviceChoice::Cpu { 1e-4 } else { 5e-2 }
}

#[track_caller]
pub(crate) fn assert_close(what: &str, found: &[f32], wanted: &[f32], tolerance: f32) {
    assert_eq!(found.len(), wanted.len(), "{what}: number of values");
    let far = |i: &usize| (found[*i] - wanted[*i]).abs() > tolerance || found[*i].is_nan();
    let wrong: Vec<_> = (0..found.len()).filter(far).collect();
    if let Some(first) = wrong.first() {
        let most = wrong.iter().map(|i| (found[*i] - wanted[*i]).abs()).fold(0.0, f32::max);
        panic!(
            "{what}: {} of {} values differ by more than {tolerance} (up to {most}); first at {first}: {} and not {}",
            wrong.len(),
            found.len(),
            found[*first],
            wanted[*first]
        );
    }
}
