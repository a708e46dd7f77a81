//! What is trained, and how fast.

use crate::config::Config;
use crate::pretrain::Parameters;
use crate::structure::{Baseline, DeltaModule, Kind, Origin, Provenance, Shape, Space, Structure};
use crate::t5::Backbone;
use anyhow::{Context, Result, bail};
use burn::tensor::Device;
use rand::SeedableRng;
use std::path::Path;

/// Learning rate of delta weights; times each one's initial scale, of all parameters. TREC from 2,000 rows in 300 steps, all
/// of an early pocket-t5 trained, wants about that much.
pub(super) const RATE: f64 = 5e-3;

/// A way to adapt the backbone, under the name that tables show.
#[derive(Debug, Clone)]
pub(super) struct Method {
    pub(super) name: String,
    /// The trained modules; `None` trains all parameters.
    pub(super) structure: Option<Structure>,
    pub(super) rate: f64,
}

/// The methods that these words name, with their rates, for a backbone of this shape.
pub(super) fn methods(words: &[String], rates: &[Rate], shape: &Shape) -> Result<Vec<Method>> {
    let mut methods: Vec<Method> = words.iter().map(|word| method(word, shape)).collect::<Result<_>>()?;
    for (at, method) in methods.iter().enumerate() {
        if methods[..at].iter().any(|other| other.name == method.name) {
            bail!("--methods names `{}` twice: leave one out, or rename its file", method.name);
        }
    }
    for Rate { method: name, rate } in rates {
        let Some(method) = methods.iter_mut().find(|method| method.name == *name) else {
            let names: Vec<_> = methods.iter().map(|method| method.name.as_str()).collect();
            bail!("--rates names `{name}`, which is none of the methods {}", names.join(", "));
        };
        method.rate = *rate;
    }
    Ok(methods)
}

fn method(word: &str, shape: &Shape) -> Result<Method> {
    let delta = |structure: Structure| Method { name: word.into(), structure: Some(structure), rate: RATE };
    if word == "full" {
        return Ok(Method { name: word.into(), structure: None, rate: RATE });
    }
    if word == "lora" {
        return Ok(delta(lora(shape)?));
    }
    if let Some(baseline) = Baseline::named(word).filter(|baseline| *baseline != Baseline::Random) {
        return Ok(delta(hand_made(baseline, shape)?));
    }
    let path = Path::new(word);
    if path.extension().is_none_or(|extension| extension != "json") {
        let known: Vec<_> =
            Baseline::ALL.into_iter().filter(|b| *b != Baseline::Random).map(Baseline::as_str).collect();
        bail!("unknown method `{word}`: use full, lora, {}, or a structure document FILE.json", known.join(", "));
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read the structure `{word}`"))?;
    let read = || -> Result<Structure> {
        let structure = serde_json::from_str::<Structure>(&text)?.validate()?;
        structure.check_fits(shape)?;
        Ok(structure)
    };
    let structure = read().with_context(|| format!("`{word}`"))?;
    let name = path.file_stem().map_or_else(|| word.into(), |stem| stem.to_string_lossy().into_owned());
    Ok(Method { name, ..delta(structure) })
}

/// All parameters of a backbone that has an output layer of its own, for full fine-tuning.
pub(super) fn all_parameters(config: &Config, backbone: &Backbone) -> Result<Parameters> {
    check_untied(backbone)?;
    let mut weights = Backbone::resolve_weights(&config.backbone, &Device::flex())?;
    Ok(Parameters::read(&backbone.config, &mut weights)?)
}

/// Refuses a backbone all of whose parameters cannot be trained.
pub(super) fn check_untied(backbone: &Backbone) -> Result<()> {
    if backbone.tied {
        bail!(
            "`{}` shares its output layer with its embedding (T5 v1.0): full and --random take backbones with one of \
             its own (v1.1); leave them out",
            backbone.name
        );
    }
    Ok(())
}

fn hand_made(baseline: Baseline, shape: &Shape) -> Result<Structure> {
    // neither the space nor the generator matters: only the random draw takes them
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(0);
    Ok(baseline.structure(&Space::built_in("mix", shape)?, 0, &mut rng)?)
}

/// LoRA r = 8, alpha = 16, on every self-attention q and v.
fn lora(shape: &Shape) -> Result<Structure> {
    let places = hand_made(Baseline::LoraQv, shape)?.modules;
    let module = |module: DeltaModule| DeltaModule::new(module.position, Kind::Lora { rank: 8, alpha: 16.0 });
    Ok(Structure::new(shape, places.into_iter().map(module).collect(), Provenance::new(Origin::Manual))?)
}

/// A number above 0.
pub(super) fn positive(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0).ok_or("give a number above 0".into())
}

/// A learning rate for a method: `full=1e-3`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rate {
    method: String,
    rate: f64,
}

impl std::str::FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not METHOD=RATE with a positive rate, such as full=1e-3");
        let (method, rate) = text.split_once('=').ok_or_else(wrong)?;
        let rate = positive(rate).map_err(|_| wrong())?;
        Ok(Self { method: method.into(), rate })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(words: &[&str], rates: &[&str]) -> Result<Vec<Method>> {
        let shape = Backbone::resolve_config("builtin:pocket-t5")?.shape();
        let words: Vec<_> = words.iter().map(ToString::to_string).collect();
        let rates = rates.iter().map(|rate| rate.parse().map_err(anyhow::Error::msg)).collect::<Result<Vec<_>>>()?;
        methods(&words, &rates, &shape)
    }

    #[test]
    fn methods_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("found.json");
        let found = named(&["full", "bitfit", "lora"], &["lora=1e-3"]).unwrap();
        std::fs::write(&file, serde_json::to_vec(&found[2].structure).unwrap()).unwrap();
        let rates: Vec<_> = found.iter().map(|method| method.rate).collect();
        assert_eq!(rates, [RATE, RATE, 1e-3]);
        let lora = found[2].structure.clone().unwrap();
        let (shape, layers) = (&lora.shape, lora.shape.encoder_layers + lora.shape.decoder_layers);
        assert_eq!(lora.modules.len(), 2 * layers);
        assert_eq!(lora.parameters(), 2 * layers * 8 * (shape.d_model + shape.inner()));
        let from_file = named(&[file.to_str().unwrap()], &["found=0.5"]).unwrap().remove(0);
        assert_eq!((from_file.name.as_str(), from_file.rate), ("found", 0.5));
        assert_eq!(from_file.structure.unwrap().id, lora.id);
    }

    #[test]
    fn what_is_none_is_named() {
        #[track_caller]
        fn check(words: &[&str], rates: &[&str], wanted: &str) {
            let error = format!("{:#}", named(words, rates).unwrap_err());
            assert!(error.contains(wanted), "{error}");
        }
        check(&["bitfi"], &[], "unknown method `bitfi`: use full, lora, bitfit");
        check(&["random"], &[], "unknown method `random`");
        check(&["nowhere.json"], &[], "cannot read the structure `nowhere.json`");
        check(&["full", "full"], &[], "`full` twice");
        check(&["full"], &["lora=1e-3"], "`lora`, which is none of the methods full");
        check(&["full"], &["full=0"], "full=1e-3");
        check(&["full"], &["full"], "METHOD=RATE");
    }
}
