//! Delta weights: checks an uploaded safetensors file strictly against its structure.
//!
//! Uploads are hostile until checked, so the header is read here and not by the safetensors crate, which stops at the
//! first fault and lets a repeated name overwrite the former.

use super::{Error, Result};
use crate::structure::{Positions, Structure};
use half::{bf16, f16};
use serde::{Deserialize, Deserializer, de::MapAccess, de::Visitor};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::fmt;

/// Longest header that is read: a thousand bytes for each tensor of the largest space over T5-11B, and more.
const LONGEST_HEADER: usize = 16 << 20;
/// Most offenders that are listed; a header of nonsense may have millions.
const MOST_OFFENDERS: usize = 10_000;
const METADATA: &str = "__metadata__";
/// The `format` that our files say; those of other makers say `pt`, or nothing.
const WEIGHTS_FORMAT: &str = "s3delta.weights/1";

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

impl WeightsInfo {
    /// Digest of the backbone that the weights were trained on, if the file says so.
    pub fn backbone_digest(&self) -> Option<&str> {
        self.metadata.get("backbone_digest").map(String::as_str).filter(|digest| !digest.is_empty())
    }
}

/// Checks delta weights strictly against their structure: every tensor is declared and every declared one is there,
/// once, as F32, F16 or BF16 of the declared shape, finite; the file holds nothing else, and its metadata names no other
/// structure.
///
/// # Errors
/// [`Error::Weights`] with every offender.
pub fn validate_weights(bytes: &[u8], structure: &Structure) -> Result<WeightsInfo> {
    let declared = declared(structure)?;
    let by_name: HashMap<_, _> = declared.iter().map(|(name, shape)| (name.as_str(), shape)).collect();
    let mut offenders = Offenders::default();
    let file = File::parse(bytes, &mut offenders)?;
    file.check_metadata(structure, &mut offenders);
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for tensor in &file.tensors {
        *seen.entry(&tensor.name).or_default() += 1;
        match by_name.get(tensor.name.as_str()) {
            None => offenders.add(|| format!("`{}` is not a tensor of structure {}", tensor.name, structure.id)),
            Some(shape) => tensor.check(shape, file.data, &mut offenders),
        }
    }
    for (name, shape) in &declared {
        match seen.get(name.as_str()) {
            Some(1) => {}
            Some(count) => offenders.add(|| format!("`{name}` is there {count} times: keep one")),
            None => offenders.add(|| format!("`{name}` of shape {shape:?} is missing")),
        }
    }
    file.check_places(&mut offenders);
    offenders.none_or_error()?;
    let parameters = declared.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
    Ok(WeightsInfo { tensors: declared.len(), parameters, bytes: bytes.len(), metadata: file.metadata })
}

/// The stored names of a structure's tensors with their shapes, in canonical order.
fn declared(structure: &Structure) -> Result<Vec<(String, Vec<usize>)>> {
    let positions = Positions::new(&structure.shape);
    let mut declared = Vec::new();
    for module in &structure.modules {
        let site = positions.site(module.check(&positions)?);
        let tensors = module.kind.tensors(site).into_iter();
        declared.extend(tensors.map(|tensor| (module.tensor_name(&tensor), tensor.shape)));
    }
    Ok(declared)
}

#[derive(Default)]
struct Offenders {
    listed: Vec<String>,
    more: usize,
}

impl Offenders {
    fn add(&mut self, what: impl FnOnce() -> String) {
        if self.listed.len() < MOST_OFFENDERS { self.listed.push(what()) } else { self.more += 1 }
    }

    fn none_or_error(mut self) -> Result<()> {
        if self.more > 0 {
            self.listed.push(format!("{} more that are not listed", self.more));
        }
        if self.listed.is_empty() { Ok(()) } else { Err(Error::Weights { offenders: self.listed }) }
    }
}

/// A safetensors file taken apart; a fault of one entry is an offender, not the end.
struct File<'a> {
    tensors: Vec<Entry>,
    metadata: BTreeMap<String, String>,
    data: &'a [u8],
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
    fn parse(bytes: &'a [u8], offenders: &mut Offenders) -> Result<Self> {
        let wrong = |what: String| Err(Error::Weights { offenders: vec![what] });
        let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
            let found = bytes.len();
            return wrong(format!("{found} bytes are no safetensors file, which starts with 8 bytes of header length"));
        };
        let length = u64::from_le_bytes(*length);
        if length > rest.len() as u64 {
            return wrong(format!(
                "the header claims {length} bytes, but {} follow: the file is truncated, or no safetensors file",
                rest.len()
            ));
        }
        if length > LONGEST_HEADER as u64 {
            return wrong(format!("the header has {length} bytes, more than the {LONGEST_HEADER} that are read"));
        }
        let (header, data) = rest.split_at(length as usize);
        let Header(entries) = match serde_json::from_slice(header) {
            Ok(header) => header,
            Err(error) => return wrong(format!("the header is not a JSON object: {error}")),
        };
        let mut file = Self { tensors: Vec::new(), metadata: BTreeMap::new(), data };
        let mut metadata = 0;
        for (name, value) in entries {
            if name == METADATA {
                metadata += 1;
                match serde_json::from_value(value) {
                    Ok(found) => file.metadata = found,
                    Err(error) => offenders.add(|| format!("`{METADATA}` is not a map of texts: {error}")),
                }
                continue;
            }
            match serde_json::from_value(value) {
                Ok(info) => file.tensors.push(Entry { name, info }),
                Err(error) => offenders.add(|| format!("the header's entry of `{name}` is not valid: {error}")),
            }
        }
        if metadata > 1 {
            offenders.add(|| format!("`{METADATA}` is there {metadata} times: keep one"));
        }
        Ok(file)
    }

    fn check_metadata(&self, structure: &Structure, offenders: &mut Offenders) {
        let other_format = |found: &str| found.starts_with("s3delta.") && found != WEIGHTS_FORMAT;
        if let Some(found) = self.metadata.get("format").filter(|found| other_format(found)) {
            offenders.add(|| format!("the metadata says format `{found}`, this s3delta reads `{WEIGHTS_FORMAT}`"));
        }
        if let Some(found) = self.metadata.get("structure_digest").filter(|found| **found != structure.id) {
            offenders.add(|| format!("the metadata says structure_digest `{found}`, not `{}`", structure.id));
        }
    }

    /// The tensors must cover the data without overlap, gap or rest: hidden bytes are refused.
    fn check_places(&self, offenders: &mut Offenders) {
        let length = self.data.len() as u64;
        let mut places: Vec<_> = self.tensors.iter().map(|tensor| (tensor.info.data_offsets, &tensor.name)).collect();
        places.sort();
        let before = places.len();
        places.retain(|((start, end), name)| {
            let good = start <= end && *end <= length;
            if !good {
                offenders
                    .add(|| format!("`{name}` at bytes {start}..{end} does not lie within the {length} there are"));
            }
            good
        });
        if places.len() < before {
            return; // truncated or lying: gaps say nothing more
        }
        let mut covered = 0;
        for ((start, end), name) in places {
            if start != covered {
                let what = if start < covered { "overlaps" } else { "leaves a gap to" };
                offenders.add(|| format!("`{name}` at bytes {start}..{end} {what} what is before it, up to {covered}"));
            }
            covered = covered.max(end);
        }
        if covered < length {
            offenders.add(|| format!("the last {} bytes belong to no tensor", length - covered));
        }
    }
}

impl Entry {
    /// Checks type, shape, size and values; whether the place is there is the file's matter.
    fn check(&self, declared: &[usize], data: &[u8], offenders: &mut Offenders) {
        let Info { dtype, shape, data_offsets: (start, end) } = &self.info;
        let name = &self.name;
        if !shape.iter().copied().eq(declared.iter().map(|size| *size as u64)) {
            offenders.add(|| format!("`{name}` has shape {shape:?}, its module needs {declared:?}"));
        }
        let Some(dtype) = Dtype::parse(dtype) else {
            let dtype: String = dtype.chars().take(32).collect();
            return offenders.add(|| format!("`{name}` is {dtype}: convert it to F32, F16 or BF16"));
        };
        let size = shape.iter().try_fold(dtype.width(), |size, more| size.checked_mul(*more));
        if size.is_none() || size != end.checked_sub(*start) {
            let size = size.map_or_else(|| "more bytes than there can be".into(), |size| format!("{size} bytes"));
            return offenders
                .add(|| format!("`{name}` is at bytes {start}..{end}, but {dtype:?} {shape:?} takes {size}"));
        }
        let bytes = usize::try_from(*start).ok().zip(usize::try_from(*end).ok());
        let bytes = bytes.and_then(|(start, end)| data.get(start..end)).unwrap_or_default();
        if let Some(index) = dtype.first_not_finite(bytes) {
            offenders.add(|| format!("`{name}` is NaN or infinite at index {index}: every value must be finite"));
        }
    }
}

/// The types that delta weights may have.
#[derive(Debug, Clone, Copy)]
enum Dtype {
    F32,
    F16,
    BF16,
}

impl Dtype {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "F32" => Some(Self::F32),
            "F16" => Some(Self::F16),
            "BF16" => Some(Self::BF16),
            _ => None,
        }
    }

    fn width(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }

    fn first_not_finite(self, bytes: &[u8]) -> Option<usize> {
        match self {
            Self::F32 => bytes.as_chunks().0.iter().position(|value| !f32::from_le_bytes(*value).is_finite()),
            Self::F16 => bytes.as_chunks().0.iter().position(|value| !f16::from_le_bytes(*value).is_finite()),
            Self::BF16 => bytes.as_chunks().0.iter().position(|value| !bf16::from_le_bytes(*value).is_finite()),
        }
    }
}

/// The header's entries in order, repeated names and all.
struct Header(Vec<(String, Value)>);

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
