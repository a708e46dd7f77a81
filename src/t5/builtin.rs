//! The backbone that is part of the binary; models/pocket-t5/README.md says how it was made.

use super::{Backbone, Config, Error, Result, Tokenizer, WeightFormat, WeightsFile};
use burn::tensor::Device;
use std::path::Path;

/// What marks the name of a built-in backbone.
const PREFIX: &str = "builtin:";

/// The only one so far.
const POCKET: &str = "pocket-t5";

macro_rules! file {
    ($name:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/models/pocket-t5/", $name))
    };
}
static CONFIG: &[u8] = file!("config.json");
static WEIGHTS: &[u8] = file!("model.safetensors");
static TOKENIZER: &[u8] = file!("tokenizer.json");

impl Backbone {
    /// Opens a built-in backbone by its name without `builtin:`.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn builtin(name: &str, device: &Device) -> Result<Self> {
        Self::builtin_as(name, WeightFormat::F32, device)
    }

    fn builtin_as(name: &str, format: WeightFormat, device: &Device) -> Result<Self> {
        let config = Self::builtin_config(name)?;
        let full = format!("{PREFIX}{name}");
        let weights = Self::builtin_weights(name, device)?;
        let tokenizer = Tokenizer::from_bytes(&format!("{full}/tokenizer.json"), TOKENIZER);
        Self::build(full, config, weights, format, tokenizer, device)
    }

    /// Opens `builtin:NAME`, or else a directory.
    ///
    /// # Errors
    /// If there is no such built-in backbone, or the directory cannot be opened.
    pub fn resolve(name: &str, device: &Device) -> Result<Self> {
        Self::resolve_as(name, WeightFormat::F32, device)
    }

    /// The same with the weights of linear maps in this form.
    ///
    /// # Errors
    /// As [`Backbone::resolve`], and if the device does not compute with them.
    pub fn resolve_as(name: &str, format: WeightFormat, device: &Device) -> Result<Self> {
        match name.strip_prefix(PREFIX) {
            Some(name) => Self::builtin_as(name, format, device),
            None => Self::open_as(Path::new(name), format, device),
        }
    }

    /// The configuration of `builtin:NAME` or of a directory, without its weights.
    ///
    /// # Errors
    /// As [`Backbone::resolve`].
    pub fn resolve_config(name: &str) -> Result<Config> {
        match name.strip_prefix(PREFIX) {
            Some(name) => Self::builtin_config(name),
            None => Self::read_config(Path::new(name)),
        }
    }

    /// The weights of `builtin:NAME` or of a directory, to be taken one by one.
    ///
    /// # Errors
    /// As [`Backbone::resolve`].
    pub fn resolve_weights(name: &str, device: &Device) -> Result<WeightsFile> {
        match name.strip_prefix(PREFIX) {
            Some(name) => Self::builtin_config(name).and_then(|_| Self::builtin_weights(name, device)),
            None => WeightsFile::open(Path::new(name), device),
        }
    }

    fn builtin_weights(name: &str, device: &Device) -> Result<WeightsFile> {
        WeightsFile::from_static(&format!("{PREFIX}{name}"), WEIGHTS, device)
    }

    fn builtin_config(name: &str) -> Result<Config> {
        if name != POCKET {
            return Err(Error::Input(format!(
                "there is no built-in backbone `{name}`: give {PREFIX}{POCKET}, or a Hugging Face directory"
            )));
        }
        Config::parse(&String::from_utf8_lossy(CONFIG), Path::new("builtin:pocket-t5/config.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::t5::{DecodeSettings, Frozen, generate};
    use burn::tensor::activation::softmax;

    #[test]
    fn it_opens_with_its_tokenizer_and_generates() {
        let backbone = Backbone::resolve("builtin:pocket-t5", &Device::flex()).unwrap();
        assert!(backbone.parameters <= 8_000_000 && !backbone.tied && !backbone.config.scale_outputs);
        let tokenizer = backbone.tokenizer().unwrap();
        assert_eq!(tokenizer.vocab_size(), backbone.config.vocab_size);
        assert_eq!(tokenizer.sentinel(0), Some(backbone.config.vocab_size as u32 - 1));
        let ids = tokenizer.encode("The village lies in the <extra_id_0> of the country.").unwrap();
        let model = &backbone.model;
        let encoded = model.encode(&model.batch(&[&ids]).unwrap(), &Frozen);
        let settings = DecodeSettings { min_new_tokens: 1, ..DecodeSettings::new(&backbone.config, 4) };
        let generated = generate(model, &encoded, &[ids], &settings, &Frozen).unwrap();
        assert!(!generated[0][0].ids.is_empty());
    }

    /// Rounded weights move the probabilities of a next token by little, and a row not at all that is alone or in a batch.
    #[test]
    fn rounded_weights_come_close() {
        let open = |format| Backbone::resolve_as("builtin:pocket-t5", format, &Device::flex()).unwrap();
        let [exact, rounded] = [WeightFormat::F32, WeightFormat::Int8].map(open);
        assert!(rounded.memory_bytes() < exact.memory_bytes() / 2 && rounded.digest == exact.digest);
        let texts = ["the film was a joy to watch .", "a village in the north of the country"];
        let rows: Vec<Vec<u32>> = texts.iter().map(|text| exact.tokenizer().unwrap().encode(text).unwrap()).collect();
        let next = |backbone: &Backbone, rows: &[Vec<u32>]| {
            let encoded = backbone.model.encode(&backbone.model.batch(rows).unwrap(), &Frozen);
            let start = vec![vec![backbone.config.pad]; rows.len()];
            let logits = backbone.model.decode(&encoded, &backbone.model.batch(&start).unwrap(), &Frozen);
            softmax(logits, 2).try_into_vec_as::<f32>().unwrap()
        };
        let (wanted, found) = (next(&exact, &rows), next(&rounded, &rows));
        let moved: f32 = wanted.iter().zip(&found).map(|(a, b)| (a - b).abs()).sum::<f32>() / 2.0 / rows.len() as f32;
        assert!(moved > 0.0 && moved < 0.05, "{moved} of the probability moved");
        let alone = next(&rounded, &rows[..1]);
        let apart = alone.iter().zip(&found).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart < 1e-3, "{apart}");
    }

    #[test]
    fn an_unknown_name_says_which_there_are() {
        let error = Backbone::resolve("builtin:large", &Device::flex()).unwrap_err().to_string();
        assert!(error.contains("`large`") && error.contains("builtin:pocket-t5"), "{error}");
    }
}
