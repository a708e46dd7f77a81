//! Delta weights as a safetensors file whose metadata says what they are for.

use super::Layout;
use crate::structure::{Positions, Structure};
use safetensors::tensor::{TensorInfo, TensorView};
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Trained values of one structure, flat in its [`Layout`].
#[derive(Debug, Clone, PartialEq)]
pub struct DeltaWeights {
    /// The values.
    pub values: Vec<f32>,
    /// What they are for.
    pub metadata: Metadata,
}

/// What a delta-weights file says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Digest of the structure.
    pub structure: String,
    /// Digest of the backbone's weights.
    pub backbone: String,
    /// Task that they were trained on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Digest of that task's definition and rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_digest: Option<String>,
    /// Score, as text, such as `accuracy 0.91 on test`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<String>,
}

/// A delta-weights file that does not hold what its structure needs; every offender is listed.
#[derive(Debug, thiserror::Error)]
#[error("the delta weights do not fit the structure: {0}")]
pub struct Error(String);

impl DeltaWeights {
    /// The bytes of a safetensors file, tensors in F32 under `<position>.<kind>.<tensor>`.
    pub fn to_bytes(&self, positions: &Positions, structure: &Structure) -> Result<Vec<u8>, Error> {
        let layout = Layout::new(positions, &structure.modules).map_err(|error| Error(error.to_string()))?;
        let wrong = |error: safetensors::SafeTensorError| Error(error.to_string());
        let bytes: Vec<u8> = self.values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let views = layout
            .tensors()
            .map(|(name, shape, range)| {
                let view = TensorView::new(Dtype::F32, shape.to_vec(), &bytes[range.start * 4..range.end * 4]);
                view.map(|view| (name, view)).map_err(wrong)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let mut metadata = BTreeMap::from([
            ("format", "s3delta.weights/1"),
            ("structure_digest", &self.metadata.structure),
            ("backbone_digest", &self.metadata.backbone),
        ]);
        metadata.extend(self.metadata.task.as_deref().map(|task| ("task", task)));
        metadata.extend(self.metadata.task_digest.as_deref().map(|digest| ("task_digest", digest)));
        metadata.extend(self.metadata.score.as_deref().map(|score| ("score", score)));
        Ok(with_metadata(&safetensors::serialize(views, None).map_err(wrong)?, &metadata))
    }

    /// Reads a file strictly: every tensor of the structure, of its shape, finite, and nothing else.
    pub fn from_bytes(bytes: &[u8], positions: &Positions, structure: &Structure) -> Result<Self, Error> {
        let layout = Layout::new(positions, &structure.modules).map_err(|error| Error(error.to_string()))?;
        let (values, header) = read(bytes, &layout)?;
        let field = |name: &str| header.metadata().as_ref().and_then(|given| given.get(name).cloned());
        let metadata = Metadata {
            structure: structure.id.clone(),
            backbone: field("backbone_digest").unwrap_or_default(),
            task: field("task"),
            task_digest: field("task_digest"),
            score: field("score"),
        };
        Ok(Self { values, metadata })
    }

    /// The values of a file alone, read as strictly.
    pub fn values_from_bytes(bytes: &[u8], layout: &Layout) -> Result<Vec<f32>, Error> {
        read(bytes, layout).map(|(values, _)| values)
    }
}

/// Values in their layout, and the file's header.
fn read(bytes: &[u8], layout: &Layout) -> Result<(Vec<f32>, safetensors::tensor::Metadata), Error> {
    let wrong = |error: safetensors::SafeTensorError| Error(format!("not a valid safetensors file: {error}"));
    let (length, header) = SafeTensors::read_metadata(bytes).map_err(wrong)?; // checks that all offsets lie in the file
    let data = &bytes[8 + length..];
    let mut values = vec![0.0; layout.len()];
    let (mut offenders, mut found) = (Vec::new(), 0);
    for (name, shape, range) in layout.tensors() {
        let Some(TensorInfo { dtype, shape: given, data_offsets: (start, end) }) = header.info(&name) else {
            offenders.push(format!("`{name}` is missing"));
            continue;
        };
        found += 1;
        if given != shape {
            offenders.push(format!("`{name}` has shape {given:?}, not {shape:?}"));
        } else if let Err(what) = copy(*dtype, &data[*start..*end], &mut values[range]) {
            offenders.push(format!("`{name}` {what}"));
        }
    }
    let names = header.offset_keys();
    if names.len() > found {
        let wanted: BTreeSet<String> = layout.tensors().map(|(name, ..)| name).collect();
        let extra = names.iter().filter(|name| !wanted.contains(*name));
        offenders.extend(extra.map(|name| format!("`{name}` belongs to no module")));
    }
    if offenders.is_empty() { Ok((values, header)) } else { Err(Error(offenders.join("; "))) }
}

/// The same file with this metadata. The safetensors crate writes metadata in a random order, and equal weights must be
/// equal bytes.
fn with_metadata(file: &[u8], metadata: &BTreeMap<&str, &str>) -> Vec<u8> {
    let (length, rest) = file.split_first_chunk::<8>().expect("a safetensors file begins with its header's length");
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let mut fields: serde_json::Map<_, _> = serde_json::from_slice(header).expect("the header is JSON");
    fields.insert("__metadata__".into(), serde_json::json!(metadata));
    let mut header = serde_json::to_vec(&fields).expect("the header is JSON");
    header.resize(header.len().next_multiple_of(8), b' ');
    [&(header.len() as u64).to_le_bytes(), header.as_slice(), data].concat()
}

fn copy(dtype: Dtype, data: &[u8], into: &mut [f32]) -> Result<(), String> {
    let pairs = || data.chunks_exact(2).map(|b| [b[0], b[1]]);
    match dtype {
        Dtype::F32 => into
            .iter_mut()
            .zip(data.chunks_exact(4))
            .for_each(|(value, b)| *value = f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
        Dtype::F16 => into.iter_mut().zip(pairs()).for_each(|(v, b)| *v = half::f16::from_le_bytes(b).to_f32()),
        Dtype::BF16 => into.iter_mut().zip(pairs()).for_each(|(v, b)| *v = half::bf16::from_le_bytes(b).to_f32()),
        other => return Err(format!("is {other:?}: store F32, F16 or BF16")),
    }
    // all of them, as a loop that may end early takes one at a time
    let finite = into.iter().fold(true, |finite, value| finite & value.is_finite());
    if finite { Ok(()) } else { Err("holds a value that is not finite".into()) }
}
