//! A run's state on disk: one safetensors file, replaced atomically.

use super::{Corruption, Error, PretrainConfig, Result};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

/// Everything that a run needs to go on; batches follow from the step.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// The settings of the run.
    pub config: PretrainConfig,
    /// Steps taken.
    pub step: usize,
    /// Source and target tokens seen.
    pub tokens: usize,
    /// Summed losses and number of the steps since the last report.
    pub unreported: (f64, usize),
    /// Digest of the vocabulary's tokenizer.json; older checkpoints do not tell it.
    pub vocabulary: Option<String>,
    /// Parameters.
    pub values: Vec<f32>,
    /// The optimiser's first moments; none for Adafactor.
    pub first: Vec<f32>,
    /// The optimiser's second moments.
    pub second: Vec<f32>,
}

const TENSORS: [&str; 3] = ["values", "first", "second"];

impl Checkpoint {
    /// The file's content; its metadata hold step, settings and a BLAKE3 digest of the tensors.
    pub fn to_bytes(&self) -> Vec<u8> {
        let tensors = [&self.values, &self.first, &self.second].map(|values| to_le_bytes(values));
        let mut metadata = HashMap::from([
            ("step".to_string(), self.step.to_string()),
            ("tokens".to_string(), self.tokens.to_string()),
            ("config".to_string(), serde_json::to_string(&self.config).expect("settings are plain data")),
            ("unreported".to_string(), serde_json::to_string(&self.unreported).expect("two numbers")),
            ("digest".to_string(), digest(tensors.iter().map(Vec::as_slice))),
        ]);
        metadata.extend(self.vocabulary.clone().map(|digest| ("vocabulary".to_string(), digest)));
        let views = TENSORS.into_iter().zip(&tensors).map(|(name, bytes)| {
            (name, TensorView::new(Dtype::F32, vec![bytes.len() / 4], bytes).expect("the shape fits the bytes"))
        });
        safetensors::serialize(views, Some(metadata)).expect("three plain tensors")
    }

    /// Reads what [`Checkpoint::to_bytes`] wrote.
    ///
    /// # Errors
    /// A text that says what is wrong with the bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| format!("damaged ({error})"))?;
        let file = SafeTensors::deserialize(bytes).map_err(|error| format!("damaged ({error})"))?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let field =
            |name: &str| metadata.get(name).ok_or_else(|| format!("not a pre-training checkpoint: no `{name}`"));
        let views = TENSORS.map(|name| file.tensor(name).map_err(|error| format!("tensor `{name}`: {error}")));
        let [values, first, second] = views;
        let views = [values?, first?, second?];
        if digest(views.iter().map(TensorView::data)) != *field("digest")? {
            return Err("damaged: the digest does not fit the tensors".into());
        }
        let [values, first, second] = views.map(|view| from_le_bytes(view.data()));
        let number = |name: &str| field(name)?.parse().map_err(|error| format!("{name}: {error}"));
        let config: PretrainConfig =
            serde_json::from_str(field("config")?).map_err(|error| format!("settings: {error}"))?;
        let step: usize = number("step")?;
        // before the mixture all steps were alike, and checkpoints did not count
        let of_spans =
            || step * config.training.batch_size * Corruption::new(&config.corruption, &config.vocabulary).tokens();
        let tokens = if metadata.contains_key("tokens") { number("tokens")? } else { of_spans() };
        let unreported = metadata.get("unreported").map_or(Ok((0.0, 0)), |text| serde_json::from_str(text));
        let unreported = unreported.map_err(|error| format!("unreported: {error}"))?;
        let vocabulary = metadata.get("vocabulary").cloned();
        Ok(Self { config, step, tokens, unreported, vocabulary, values, first, second })
    }

    /// Writes the file.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_atomically(path, &self.to_bytes())
    }

    /// Reads the file.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(Error::read(path))?;
        Self::from_bytes(&bytes).map_err(|what| Error::Checkpoint { path: path.to_path_buf(), what })
    }
}

/// Writes under another name, syncs, then renames: a reader sees the old file or the new one.
pub(super) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || -> std::io::Result<()> {
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644)); // not private, as temporary files are
        let mut file = builder.tempfile_in(dir)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        std::fs::File::open(dir)?.sync_all()
    };
    write().map_err(Error::write(path))
}

/// BLAKE3 over the parts, 32 hex digits.
pub(super) fn digest<'a>(parts: impl Iterator<Item = &'a [u8]>) -> String {
    let mut hasher = blake3::Hasher::new();
    parts.for_each(|part| {
        hasher.update(part);
    });
    hasher.finalize().to_hex()[..32].to_string()
}

fn to_le_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn from_le_bytes(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        let text = include_str!("../../models/pocket-t5/pretrain.toml");
        let mut config: PretrainConfig = toml::from_str(text).unwrap();
        (config.training.batch_size, config.corruption.source_tokens) = (16, 96);
        let (first, second) = (vec![0.1, 0.0], vec![1e-9, 3.0]);
        Checkpoint {
            config,
            step: 12,
            tokens: 345,
            unreported: (1.0 / 3.0, 2),
            vocabulary: Some("0123".into()),
            values: vec![1.0, -2.5],
            first,
            second,
        }
    }

    #[test]
    fn it_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint.safetensors");
        checkpoint().write(&path).unwrap();
        assert_eq!(Checkpoint::read(&path).unwrap(), checkpoint());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn tokens_that_an_older_run_did_not_count_follow_from_its_steps() {
        let bytes = checkpoint().to_bytes();
        let at = bytes.windows(8).position(|part| part == b"\"tokens\"").unwrap();
        let mut older = bytes.clone();
        older[at + 1] = b'_';
        assert_eq!(Checkpoint::from_bytes(&bytes).unwrap().tokens, 345);
        assert_eq!(Checkpoint::from_bytes(&older).unwrap().tokens, 12 * 16 * 118);
    }

    #[test]
    fn damage_is_found() {
        let mut bytes = checkpoint().to_bytes();
        assert!(Checkpoint::from_bytes(&bytes[..bytes.len() - 1]).unwrap_err().contains("damaged"));
        *bytes.last_mut().unwrap() ^= 1;
        assert!(Checkpoint::from_bytes(&bytes).unwrap_err().contains("digest"));
    }
}
