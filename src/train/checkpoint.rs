//! Checkpoints: vectors and a few scalars as the bytes of a safetensors file.

use super::{AdamW, Error, Result};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use std::collections::{BTreeMap, HashMap};

/// The state of a run between two steps.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Checkpoint {
    /// Vectors by name.
    pub vectors: BTreeMap<String, Vec<f32>>,
    /// All else.
    pub state: serde_json::Value,
}

impl Checkpoint {
    /// The bytes of a safetensors file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        let all: Vec<_> = self.vectors.iter().map(|(name, values)| (name, values.len(), bytes(values))).collect();
        let views = all.iter().map(|(name, len, bytes)| {
            (name, TensorView::new(Dtype::F32, vec![*len], bytes).expect("length and bytes agree"))
        });
        let metadata = HashMap::from([("state".to_string(), self.state.to_string())]);
        safetensors::serialize(views, Some(metadata)).expect("plain vectors serialise")
    }

    /// Reads what [`Checkpoint::to_bytes`] gave.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let wrong = |what: &dyn std::fmt::Display| Error::Checkpoint(what.to_string());
        let file = SafeTensors::deserialize(bytes).map_err(|error| wrong(&error))?;
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| wrong(&error))?;
        let state = header.metadata().as_ref().and_then(|metadata| metadata.get("state"));
        let state = state.ok_or_else(|| wrong(&"it has no state"))?;
        let mut checkpoint = Self { state: serde_json::from_str(state).map_err(|e| wrong(&e))?, ..Self::default() };
        for (name, view) in file.tensors() {
            let data = view.data();
            let values = data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            checkpoint.vectors.insert(name, values.collect());
        }
        Ok(checkpoint)
    }

    /// The vector of this name and length.
    pub fn vector(&mut self, name: &str, len: usize) -> Result<Vec<f32>> {
        let found = self.vectors.remove(name).filter(|values| values.len() == len);
        found.ok_or_else(|| Error::Checkpoint(format!("`{name}` is missing or not of length {len}")))
    }

    /// A field of the state.
    pub fn field<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<T> {
        let value = self.state.get(name).cloned().unwrap_or_default();
        serde_json::from_value(value).map_err(|error| Error::Checkpoint(format!("`{name}`: {error}")))
    }

    /// Keeps an optimiser under this name.
    pub fn put_optimiser(&mut self, name: &str, optimiser: &AdamW) {
        let (first, second) = optimiser.moments();
        self.vectors.insert(format!("{name}.first"), first.to_vec());
        self.vectors.insert(format!("{name}.second"), second.to_vec());
        self.state[format!("{name}.steps")] = optimiser.steps().into();
    }

    /// Puts an optimiser of `len` values back.
    pub fn optimiser(&mut self, name: &str, len: usize) -> Result<AdamW> {
        let mut optimiser = AdamW::new(len);
        let first = self.vector(&format!("{name}.first"), len)?;
        let second = self.vector(&format!("{name}.second"), len)?;
        optimiser.restore(self.field(&format!("{name}.steps"))?, first, second);
        Ok(optimiser)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let mut optimiser = AdamW::new(2);
        optimiser.step(&mut [1.0, 2.0], &[0.5, -0.5], 0.1);
        let mut checkpoint = Checkpoint { state: serde_json::json!({"step": 7}), ..Checkpoint::default() };
        checkpoint.vectors.insert("values".into(), vec![1.5, -2.0]);
        checkpoint.put_optimiser("adam", &optimiser);
        let mut read = Checkpoint::from_bytes(&checkpoint.to_bytes()).unwrap();
        assert_eq!(read, checkpoint);
        assert_eq!(read.field::<usize>("step").unwrap(), 7);
        assert_eq!(read.optimiser("adam", 2).unwrap(), optimiser);
        assert!(read.vector("values", 3).unwrap_err().to_string().contains("length 3"));
        assert!(Checkpoint::from_bytes(b"no").is_err());
    }
}
