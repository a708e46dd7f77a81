//! A backbone: an opened T5 with its configuration, positions and identity.

use super::source::ParameterSpec;
use super::{Config, DecodeSettings, Error, Result, T5, Tokenizer, WeightFormat, WeightsFile};
use crate::structure::{Positions, Shape};
use burn::tensor::Device;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// A frozen T5, shared by serving, search and training; never copied.
#[derive(Debug)]
pub struct Backbone {
    /// How it was named when it was opened: a directory, or `builtin:…`.
    pub name: String,
    /// Its configuration.
    pub config: Config,
    /// Its positions.
    pub positions: Positions,
    /// The model.
    pub model: T5,
    /// Digest of the weights (see [`WeightsFile::digest`]), to which delta weights bind.
    pub digest: String,
    /// In which numbers the weights of its linear maps are held.
    pub weights: WeightFormat,
    /// Parameters, tied copies once.
    pub parameters: usize,
    /// Whether the output layer is the embedding.
    pub tied: bool,
    /// The number formats of the file, such as `BF16`, with the parameters in each.
    pub formats: BTreeMap<String, usize>,
    /// Absent where ids alone are enough; the message says why.
    tokenizer: Result<Arc<Tokenizer>, String>,
    /// Defaults of decoding; the message says what cannot be honoured.
    decoding: Result<DecodeSettings, String>,
}

impl Backbone {
    /// Opens a Hugging Face directory.
    pub fn open(dir: &Path, device: &Device) -> Result<Self> {
        Self::open_as(dir, WeightFormat::F32, device)
    }

    pub(super) fn open_as(dir: &Path, format: WeightFormat, device: &Device) -> Result<Self> {
        let config = Self::read_config(dir)?;
        let weights = WeightsFile::open(dir, device)?;
        let decoding = DecodeSettings::open(dir, &config).map_err(|error| error.to_string());
        let backbone = Self::build(dir.display().to_string(), config, weights, format, Tokenizer::open(dir), device)?;
        Ok(Self { decoding, ..backbone })
    }

    /// Reads the configuration alone, without weights.
    pub fn read_config(dir: &Path) -> Result<Config> {
        let path = dir.join("config.json");
        if !path.exists() && dir.join("adapter_config.json").exists() {
            let what =
                "there is an adapter_config.json instead: this is an adapter of PEFT, give the backbone's directory";
            return Err(Error::Config { path, what: what.into() });
        }
        let text = std::fs::read_to_string(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
        Config::parse(&text, &path)
    }

    /// Builds a backbone from its parts. A tokenizer that is missing or broken is refused only when it is needed; one
    /// that belongs to another model is refused at once.
    pub fn build(
        name: String,
        config: Config,
        mut weights: WeightsFile,
        format: WeightFormat,
        tokenizer: Result<Tokenizer>,
        device: &Device,
    ) -> Result<Self> {
        if let Ok(tokenizer) = &tokenizer {
            tokenizer.check(&config)?;
        }
        let positions = Positions::new(&config.shape());
        let (tied, parameters, digest) = (weights.tied(), weights.parameters(), weights.digest());
        let formats = weights.formats();
        if *device == Device::flex() {
            weights.load(T5::parameters(&config, tied), format)?;
        } else if format != WeightFormat::F32 {
            let what = format!("weights of {format} are computed with on the CPU alone: give --device cpu, or f32");
            return Err(Error::Input(what));
        }
        let model = T5::build(&config, &positions, tied, &mut weights, device)?;
        weights.check_all_taken()?;
        Ok(Self {
            name,
            decoding: Ok(DecodeSettings::defaults(&config)),
            config,
            positions,
            model,
            digest,
            weights: format,
            parameters,
            tied,
            formats,
            tokenizer: tokenizer.map(Arc::new).map_err(|error| error.to_string()),
        })
    }

    /// The same backbone with other weights of its shape, which are known by `digest`.
    pub fn with_model(&self, model: T5, digest: String) -> Self {
        Self {
            name: self.name.clone(),
            config: self.config.clone(),
            positions: self.positions.clone(),
            model,
            digest,
            weights: WeightFormat::F32,
            parameters: self.parameters,
            tied: self.tied,
            formats: self.formats.clone(),
            tokenizer: self.tokenizer.clone(),
            decoding: self.decoding.clone(),
        }
    }

    /// Bytes of the weights in memory, with a second copy of the embedding where it is the output layer.
    pub fn memory_bytes(&self) -> usize {
        let specs = T5::parameters(&self.config, self.tied);
        let values =
            |linear: bool| specs.iter().filter(|spec| spec.transposed == linear).map(ParameterSpec::len).sum::<usize>();
        let each = if self.weights == WeightFormat::Int8 { size_of::<i8>() } else { size_of::<f32>() };
        values(false) * size_of::<f32>() + values(true) * each
    }

    /// The tokenizer, or why there is none.
    pub fn tokenizer(&self) -> Result<&Tokenizer> {
        self.tokenizer.as_deref().map_err(|why| Error::Tokenizer(why.clone()))
    }

    /// The defaults of decoding, which `generation_config.json` may set.
    ///
    /// # Errors
    /// If that file asks for what is not supported: it is refused only where something is decoded.
    pub fn decoding(&self) -> Result<&DecodeSettings> {
        self.decoding.as_ref().map_err(|why| Error::Input(why.clone()))
    }

    /// What structures bind to.
    pub fn shape(&self) -> &Shape {
        self.positions.shape()
    }
}
