//! Writes a model as a Hugging Face directory with weights in f16.

use super::checkpoint::write_atomically;
use super::{Error, Parameters, Result};
use crate::t5::Config;
use half::f16;
use safetensors::{Dtype, tensor::TensorView};
use serde_json::json;
use std::collections::HashMap;
use std::path::Path;

/// Writes `config.json`, `generation_config.json` and `model.safetensors` (f16) into an existing directory; the
/// tokenizer.json that the run trained stands there already.
///
/// # Errors
/// If a file cannot be written, or a value does not fit f16.
pub fn export(dir: &Path, config: &Config, parameters: &Parameters) -> Result<()> {
    let mut document = config.to_hugging_face(false);
    document["torch_dtype"] = "float16".into();
    let generation = json!({
        "decoder_start_token_id": config.start, "eos_token_id": config.eos, "pad_token_id": config.pad,
    });
    for (name, document) in [("config.json", document), ("generation_config.json", generation)] {
        write_atomically(&dir.join(name), format!("{document:#}\n").as_bytes())?;
    }
    write_atomically(&dir.join("model.safetensors"), &weights(parameters)?)
}

/// The checkpoint's tensors by name, each in its own shape.
fn weights(parameters: &Parameters) -> Result<Vec<u8>> {
    let (mut tensors, mut start) = (Vec::new(), 0);
    for spec in &parameters.specs {
        let matrix = &parameters.values[start..start + spec.len()];
        let (width, mut column) = (spec.width(), 0);
        start += spec.len();
        for (name, part) in &spec.parts {
            let at = |row: usize, c: usize| matrix[row * width + column + c];
            let values: Vec<f32> = if spec.transposed {
                (0..*part).flat_map(|c| (0..spec.rows).map(move |row| at(row, c))).collect()
            } else {
                matrix.to_vec()
            };
            column += part;
            if let Some(value) = values.iter().find(|value| !f16::from_f32(**value).is_finite()) {
                return Err(Error::Config(format!("`{name}` holds {value}, which f16 cannot: the run has diverged")));
            }
            let bytes: Vec<u8> = values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect();
            tensors.push((name.as_str(), spec.checkpoint_shape(*part), bytes));
        }
    }
    let views = tensors.iter().map(|(name, shape, bytes)| {
        (*name, TensorView::new(Dtype::F16, shape.clone(), bytes).expect("the shape fits the bytes"))
    });
    let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
    Ok(safetensors::serialize(views, Some(metadata)).expect("plain tensors"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::t5::{Backbone, Frozen, T5};
    use burn::tensor::Device;

    fn logits(model: &T5) -> Vec<f32> {
        let source = model.batch(&[[4u32, 9, 11, 1]]).unwrap();
        let inputs = model.batch(&[[0u32, 7, 5]]).unwrap();
        let logits = model.decode(&model.encode(&source, &Frozen), &inputs, &Frozen);
        logits.into_data().iter::<f32>().collect()
    }

    #[test]
    fn the_directory_holds_the_same_model() {
        let device = Device::flex();
        let text = include_str!("../../models/pocket-t5/pretrain.toml");
        let config: crate::pretrain::PretrainConfig = toml::from_str(text).unwrap();
        let mut config = config.t5();
        (config.vocab_size, config.d_model, config.decoder_layers) = (40, 24, 2);
        let mut parameters = Parameters::init(&config, 5);
        parameters.values.iter_mut().for_each(|value| *value = f16::from_f32(*value).to_f32());
        let dir = tempfile::tempdir().unwrap();
        export(dir.path(), &config, &parameters).unwrap();
        let backbone = Backbone::open(dir.path(), &device).unwrap();
        assert_eq!(backbone.config, config);
        assert_eq!((backbone.parameters, backbone.tied), (parameters.values.len(), false));
        assert_eq!(logits(&backbone.model), logits(&parameters.frozen(&config, &device).unwrap()));
    }

    #[test]
    fn what_f16_cannot_hold_is_refused() {
        let text = include_str!("../../models/pocket-t5/pretrain.toml");
        let config = toml::from_str::<crate::pretrain::PretrainConfig>(text).unwrap().t5();
        let mut parameters = Parameters::init(&config, 5);
        parameters.values[0] = 1e6;
        let error = export(tempfile::tempdir().unwrap().path(), &config, &parameters).unwrap_err().to_string();
        assert!(error.contains("`shared.weight`") && error.contains("1000000"), "{error}");
    }
}
