//! Delta weights: one safetensors file for one structure, read strictly and written canonically.
//!
//! Needs nothing of the registry. The header is read here and not by the safetensors crate, since that one stops at the first fault,
//! lets a repeated name overwrite the former, and writes metadata in random order, which would give equal weights
//! different digests.

use super::{Error, Result};
use crate::structure::{Positions, Structure};
use half::{bf16, f16};
use serde::{Deserialize, Deserializer, de::MapAccess, de::Visitor};
use std::collections::{BTreeMap, HashMap};
use std::{fmt, ops::Range};

/// Longest header that is read; safetensors' own limit.
const LONGEST_HEADER: usize = 100_000_000;
const METADATA: &str = "__metadata__";

/// What valid delta weights hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightsInfo {
    /// Number of tensors.
    pub tensors: usize,
    /// Number of values.
    pub parameters: usize,
    /// Size of the file in bytes.
    pub bytes: usize,
    /// The header's metadata.
    pub metadata: BTreeMap<String, String>,
}

/// One tensor of a structure's delta weights: its stored name, its shape, and its place in the flat vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorLayout {
    /// `<position>.<kind>.<tensor>`.
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// Values `range` of the flat vector.
    pub range: Range<usize>,
}

/// The tensors that a structure's delta weights must hold, in canonical order, and the length of the flat vector.
pub fn tensor_layout(structure: &Structure) -> Result<(Vec<TensorLayout>, usize)> {
    let positions = Positions::new(&structure.shape);
    let mut layout = Vec::new();
    let mut end = 0;
    for module in &structure.modules {
        let site = positions.site(module.check(&positions)?);
        for tensor in module.kind.tensors(site) {
            let range = end..end + tensor.len();
            end = range.end;
            layout.push(TensorLayout { name: module.tensor_name(&tensor), shape: tensor.shape, range });
        }
    }
    Ok((layout, end))
}

/// Checks delta weights strictly against their structure: every tensor is declared and every declared one is there, once,
/// as F32, F16 or BF16 of the declared shape, finite, and the file holds nothing else.
///
/// # Errors
/// [`Error::Weights`] with every offender.
pub fn validate_weights(bytes: &[u8], structure: &Structure) -> Result<WeightsInfo> {
    let (layout, parameters) = tensor_layout(structure)?;
    let file = File::parse(bytes)?;
    let mut offenders = file.offenders.clone();
    let declared: HashMap<_, _> = layout.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for tensor in &file.tensors {
        *seen.entry(&tensor.name).or_default() += 1;
        match declared.get(tensor.name.as_str()) {
            None => offenders.push(format!("`{}` is not a tensor of structure {}", tensor.name, structure.id)),
            Some(declared) => tensor.check(declared, file.data, &mut offenders),
        }
    }
    let repeated = seen.iter().filter(|(_, count)| **count > 1);
    let mut repeated: Vec<_> = repeated.map(|(name, count)| format!("`{name}` is there {count} times")).collect();
    repeated.sort();
    offenders.extend(repeated);
    let missing = layout.iter().filter(|tensor| !seen.contains_key(tensor.name.as_str()));
    offenders.extend(missing.map(|tensor| format!("`{}` of shape {:?} is missing", tensor.name, tensor.shape)));
    file.check_coverage(&mut offenders);
    if !offenders.is_empty() {
        return Err(Error::Weights { offenders });
    }
    Ok(WeightsInfo { tensors: layout.len(), parameters, bytes: bytes.len(), metadata: file.metadata })
}

/// The values of valid delta weights as one flat vector, in the order of [`tensor_layout`].
pub fn decode_weights(bytes: &[u8], structure: &Structure) -> Result<Vec<f32>> {
    validate_weights(bytes, structure)?;
    let (layout, parameters) = tensor_layout(structure)?;
    let file = File::parse(bytes)?;
    let by_name: HashMap<_, _> = file.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let mut values = Vec::with_capacity(parameters);
    for tensor in &layout {
        let found = by_name.get(tensor.name.as_str()).and_then(|found| Some((found, found.bytes(file.data)?)));
        let (found, bytes) = found.expect("validated above");
        values.extend(found.values(bytes).expect("validated above"));
    }
    Ok(values)
}

/// Writes a flat vector in the order of [`tensor_layout`] as a safetensors file; equal values and metadata give equal
/// bytes.
///
/// # Errors
/// [`Error::Weights`] if the vector has another length than the structure has parameters, or a value is not finite.
pub fn encode_weights(structure: &Structure, values: &[f32], metadata: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    let (layout, parameters) = tensor_layout(structure)?;
    let mut offenders = Vec::new();
    if values.len() != parameters {
        offenders.push(format!("{} values for a structure of {parameters} parameters", values.len()));
        return Err(Error::Weights { offenders });
    }
    let mut header = serde_json::Map::new();
    if !metadata.is_empty() {
        header.insert(METADATA.into(), serde_json::json!(metadata));
    }
    for TensorLayout { name, shape, range } in &layout {
        if let Some(value) = values[range.clone()].iter().find(|value| !value.is_finite()) {
            offenders.push(format!("`{name}` holds {value}"));
        }
        let offsets = [range.start * 4, range.end * 4];
        let tensor = serde_json::json!({ "dtype": "F32", "shape": shape, "data_offsets": offsets });
        header.insert(name.clone(), tensor);
    }
    if !offenders.is_empty() {
        return Err(Error::Weights { offenders });
    }
    let mut text = serde_json::Value::Object(header).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut bytes = Vec::with_capacity(8 + text.len() + 4 * values.len());
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text);
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    Ok(bytes)
}

/// A safetensors file taken apart; faults of single entries are offenders, not errors.
struct File<'a> {
    tensors: Vec<Entry>,
    metadata: BTreeMap<String, String>,
    data: &'a [u8],
    offenders: Vec<String>,
}

struct Entry {
    name: String,
    info: Info,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Info {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

impl<'a> File<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self> {
        let wrong = |what: String| Err(Error::Weights { offenders: vec![what] });
        let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
            return wrong(format!(
                "{} bytes are no safetensors file: it starts with 8 bytes of header length",
                bytes.len()
            ));
        };
        let length = u64::from_le_bytes(*length);
        let Some(length) = usize::try_from(length).ok().filter(|length| *length <= LONGEST_HEADER.min(rest.len()))
        else {
            return wrong(format!(
                "the header claims {length} bytes, the file has {} after the length: it is truncated or no safetensors file",
                rest.len()
            ));
        };
        let (header, data) = rest.split_at(length);
        let Header(entries) = match serde_json::from_slice(header) {
            Ok(header) => header,
            Err(error) => return wrong(format!("the header is not a JSON object: {error}")),
        };
        let mut file = Self { tensors: Vec::new(), metadata: BTreeMap::new(), data, offenders: Vec::new() };
        for (name, value) in entries {
            if name == METADATA {
                match serde_json::from_value(value) {
                    Ok(metadata) => file.metadata = metadata,
                    Err(error) => file.offenders.push(format!("`{METADATA}` is not text by name: {error}")),
                }
                continue;
            }
            match serde_json::from_value(value) {
                Ok(info) => file.tensors.push(Entry { name, info }),
                Err(error) => file.offenders.push(format!("`{name}` has no valid header entry: {error}")),
            }
        }
        Ok(file)
    }

    /// The tensors must cover the data without overlap, gap or rest: hidden bytes are refused.
    fn check_coverage(&self, offenders: &mut Vec<String>) {
        let mut places: Vec<_> = self.tensors.iter().map(|tensor| (tensor.info.data_offsets, &tensor.name)).collect();
        places.sort();
        let mut covered = 0;
        for ((start, end), name) in places {
            if start != covered {
                let what = if start < covered { "overlaps the tensor before it" } else { "leaves a gap before it" };
                offenders.push(format!("`{name}` at bytes {start}..{end} {what}, which ends at {covered}"));
            }
            covered = covered.max(end);
        }
        let length = self.data.len() as u64;
        if covered < length {
            offenders.push(format!("{} bytes after the last tensor belong to none", length - covered));
        }
    }
}

impl Entry {
    /// Its bytes, if its offsets lie within the data.
    fn bytes<'a>(&self, data: &'a [u8]) -> Option<&'a [u8]> {
        let (start, end) = self.info.data_offsets;
        data.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
    }

    /// Bytes a value, if the type is one that delta weights may have.
    fn width(&self) -> Option<u64> {
        match self.info.dtype.as_str() {
            "F32" => Some(4),
            "F16" | "BF16" => Some(2),
            _ => None,
        }
    }

    fn check(&self, declared: &TensorLayout, data: &[u8], offenders: &mut Vec<String>) {
        let Info { dtype, shape, data_offsets: (start, end) } = &self.info;
        let name = &self.name;
        if !shape.iter().copied().eq(declared.shape.iter().map(|size| *size as u64)) {
            offenders.push(format!("`{name}` has shape {shape:?}, its module needs {:?}", declared.shape));
        }
        let Some(width) = self.width() else {
            let dtype: String = dtype.chars().take(32).collect();
            offenders.push(format!("`{name}` is {dtype}: convert it to F32, F16 or BF16"));
            return;
        };
        let size = shape.iter().try_fold(width, |size, more| size.checked_mul(*more));
        if start > end || size != Some(end - start) {
            let size = size.map_or_else(|| "more bytes than can be counted".into(), |size| format!("{size} bytes"));
            offenders.push(format!("`{name}` is at bytes {start}..{end}, but {dtype} {shape:?} takes {size}"));
            return;
        }
        let Some(bytes) = self.bytes(data) else {
            let length = data.len();
            offenders.push(format!("`{name}` is at bytes {start}..{end} of {length}: the file is truncated or lies"));
            return;
        };
        let wrong = self.values(bytes).into_iter().flatten().enumerate().find(|(_, value)| !value.is_finite());
        if let Some((index, value)) = wrong {
            offenders.push(format!("`{name}` holds {value} at index {index}: every value must be finite"));
        }
    }

    fn values<'a>(&self, bytes: &'a [u8]) -> Option<Box<dyn Iterator<Item = f32> + 'a>> {
        Some(match self.info.dtype.as_str() {
            "F32" => Box::new(bytes.as_chunks().0.iter().map(|chunk| f32::from_le_bytes(*chunk))),
            "F16" => Box::new(bytes.as_chunks().0.iter().map(|chunk| f16::from_le_bytes(*chunk).to_f32())),
            "BF16" => Box::new(bytes.as_chunks().0.iter().map(|chunk| bf16::from_le_bytes(*chunk).to_f32())),
            _ => return None,
        })
    }
}

/// The header's entries in order, repeated names and all.
struct Header(Vec<(String, serde_json::Value)>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors by name")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Header, M::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Header(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}
