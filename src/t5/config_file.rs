//! Reading of a `config.json`: what changes the maths is honoured or refused by name, all else is left alone.

use super::{Activation, ActivationFunction, Config, Error, Family, Result};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::path::Path;

/// The fields that matter here, as transformers' `T5Config`, `MT5Config` and `UMT5Config` read them.
///
/// Left alone, since nothing in the forward pass reads them: `dropout_rate`, `initializer_factor`, `torch_dtype`, `dtype`,
/// `use_cache`, `is_decoder` (set for each stack), `add_cross_attention`, `n_positions`, `scalable_attention`,
/// `classifier_dropout`, `problem_type`, `task_specific_params` and the like.
#[derive(Deserialize)]
struct Raw {
    model_type: Option<String>,
    d_model: usize,
    d_kv: usize,
    num_heads: usize,
    num_layers: usize,
    num_decoder_layers: Option<usize>,
    d_ff: usize,
    vocab_size: usize,
    feed_forward_proj: Option<String>,
    dense_act_fn: Option<String>,
    is_gated_act: Option<bool>,
    relative_attention_num_buckets: Option<usize>,
    relative_attention_max_distance: Option<usize>,
    layer_norm_epsilon: Option<f64>,
    tie_word_embeddings: Option<bool>,
    scale_decoder_outputs: Option<bool>,
    pad_token_id: Option<u32>,
    eos_token_id: Option<Ends>,
    decoder_start_token_id: Option<u32>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Ends {
    One(u32),
    Several(Vec<u32>),
}

/// Other names of fields (transformers' `attribute_map`).
const ALIASES: [(&str, &str); 4] = [
    ("hidden_size", "d_model"),
    ("head_dim", "d_kv"),
    ("num_attention_heads", "num_heads"),
    ("num_hidden_layers", "num_layers"),
];

/// Classes of transformers whose weights and output are those of a T5 with an output layer.
const ARCHITECTURES: [&str; 4] =
    ["T5ForConditionalGeneration", "T5WithLMHeadModel", "MT5ForConditionalGeneration", "UMT5ForConditionalGeneration"];

impl Config {
    /// Reads config.json; `path` is for messages.
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let wrong = |what: String| Error::Config { path: path.to_path_buf(), what };
        let malformed = |error: serde_json::Error| wrong(format!("not a T5 configuration: {error}"));
        let mut fields: Map<String, Value> = serde_json::from_str(text).map_err(malformed)?;
        refuse(&fields).map_err(wrong)?;
        resolve_aliases(&mut fields).map_err(wrong)?;
        let raw: Raw = serde_json::from_value(Value::Object(fields)).map_err(malformed)?;
        let config = raw.config().map_err(wrong)?;
        config.check().map_err(wrong)?;
        Ok(config)
    }
}

/// What would be another model, or need what is not here.
fn refuse(fields: &Map<String, Value>) -> Result<(), String> {
    // a field that is absent, null, false or empty asks for nothing
    let asks = |name: &str| match fields.get(name) {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Array(values)) => !values.is_empty(),
        Some(Value::Object(values)) => !values.is_empty(),
        Some(_) => true,
    };
    if let Some(model_type) = fields.get("model_type").filter(|value| !value.is_null())
        && !["t5", "mt5", "umt5"].iter().any(|known| model_type == known)
    {
        return Err(format!(
            "model_type {model_type} is not supported: `t5` (v1.0, v1.1, LM-adapted, Flan, ByT5), `mt5` and `umt5` are"
        ));
    }
    let unknown = |name: &&Value| !ARCHITECTURES.iter().any(|known| *name == known);
    let architectures = fields.get("architectures").and_then(Value::as_array);
    if let Some(name) = architectures.and_then(|names| names.iter().find(unknown)) {
        return Err(format!(
            "architectures names {name}: only encoder and decoder with an output layer can be served ({})",
            ARCHITECTURES.join(", ")
        ));
    }
    if fields.get("is_encoder_decoder") == Some(&Value::Bool(false)) {
        return Err("is_encoder_decoder is false: an encoder alone cannot be served".into());
    }
    for (name, why) in [
        ("auto_map", "code that comes with a model is never run: give a model that transformers knows by itself"),
        ("quantization_config", "quantised weights are not read: give the model in float32, float16 or bfloat16"),
        ("pruned_heads", "models with pruned heads are not supported, by transformers 5 neither: give the whole model"),
        ("per_layer_config", "all layers of a stack must be alike"),
        (
            "tie_encoder_decoder",
            "stacks that share their weights are not supported, by transformers 5 neither: save the decoder's weights too",
        ),
    ] {
        if asks(name) {
            return Err(format!("{name} is set: {why}"));
        }
    }
    Ok(())
}

/// Renames fields that stand under another name; one that stands under both must say the same.
fn resolve_aliases(fields: &mut Map<String, Value>) -> Result<(), String> {
    for (alias, name) in ALIASES {
        let Some(value) = fields.shift_remove(alias) else { continue };
        match fields.get(name) {
            Some(own) if *own != value => {
                return Err(format!("{alias} is {value}, but {name}, which means the same, is {own}: remove one"));
            }
            _ => fields.insert(name.into(), value),
        };
    }
    Ok(())
}

impl Raw {
    fn config(self) -> Result<Config, String> {
        let family = match self.model_type.as_deref() {
            Some("mt5") => Family::Mt5,
            Some("umt5") => Family::Umt5,
            _ => Family::T5,
        };
        let activation = self.activation(family)?;
        let pad = self.pad_token_id.unwrap_or(0);
        let eos = match self.eos_token_id {
            None => 1,
            Some(Ends::One(id)) => id,
            Some(Ends::Several(ids)) => match ids[..] {
                [id] => id,
                _ => return Err(format!("eos_token_id names {} ids: name the one that ends an output", ids.len())),
            },
        };
        let scale_outputs = self.scale_decoder_outputs.unwrap_or(match family {
            Family::T5 => self.tie_word_embeddings.unwrap_or(true),
            Family::Mt5 => false,
            Family::Umt5 => true,
        });
        Ok(Config {
            family,
            d_model: self.d_model,
            d_kv: self.d_kv,
            num_heads: self.num_heads,
            encoder_layers: self.num_layers,
            decoder_layers: self.num_decoder_layers.unwrap_or(self.num_layers),
            d_ff: self.d_ff,
            activation,
            vocab_size: self.vocab_size,
            buckets: self.relative_attention_num_buckets.unwrap_or(32),
            max_distance: self.relative_attention_max_distance.unwrap_or(128),
            epsilon: self.layer_norm_epsilon.unwrap_or(1e-6),
            scale_outputs,
            pad,
            eos,
            start: self.decoder_start_token_id.unwrap_or(pad),
        })
    }

    /// `feed_forward_proj` is a function's name or `gated-` and one, where `gated-gelu` means `gelu_new`; `dense_act_fn` and
    /// `is_gated_act`, which transformers writes beside it, win.
    fn activation(&self, family: Family) -> Result<Activation, String> {
        let default = if family == Family::T5 { "relu" } else { "gated-gelu" };
        let projection = self.feed_forward_proj.as_deref().unwrap_or(default);
        let (gated, name) = match projection.split_once('-') {
            Some(("gated", name)) => (true, name),
            None => (false, projection),
            Some(_) => {
                return Err(format!("feed_forward_proj `{projection}` must be a function, or `gated-` and one"));
            }
        };
        let name = if projection == "gated-gelu" { "gelu_new" } else { name };
        let (field, name) = match self.dense_act_fn.as_deref() {
            Some(name) => (format!("dense_act_fn `{name}`"), name),
            None => (format!("feed_forward_proj `{projection}`"), name),
        };
        let function = ActivationFunction::named(name).ok_or_else(|| {
            format!("{field} is not supported: relu, gelu, gelu_new and silu are, each with or without `gated-`")
        })?;
        Ok(Activation { function, gated: self.is_gated_act.unwrap_or(gated) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A small config.json with these fields changed or added.
    fn parse(changes: Value) -> Result<Config, String> {
        let mut fields = json!({
            "model_type": "t5", "d_model": 8, "d_kv": 4, "num_heads": 2, "num_layers": 3, "d_ff": 16, "vocab_size": 40,
        });
        for (name, value) in changes.as_object().expect("an object") {
            fields[name] = value.clone();
        }
        Config::parse(&fields.to_string(), Path::new("config.json")).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn check_refused(changes: Value, wanted: &[&str]) {
        let message = parse(changes).expect_err("must be refused");
        assert!(wanted.iter().all(|part| message.contains(part)), "wanted {wanted:?} in: {message}");
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_by_name() {
        check_refused(json!({"model_type": "longt5"}), &["model_type \"longt5\"", "`umt5`"]);
        check_refused(json!({"architectures": ["T5EncoderModel"]}), &["architectures", "T5EncoderModel"]);
        check_refused(json!({"architectures": ["T5ForSequenceClassification"]}), &["T5ForSequenceClassification"]);
        check_refused(json!({"is_encoder_decoder": false}), &["is_encoder_decoder"]);
        check_refused(json!({"auto_map": {"AutoModel": "m.My"}}), &["auto_map", "never run"]);
        check_refused(json!({"quantization_config": {"bits": 4}}), &["quantization_config", "float32"]);
        check_refused(json!({"pruned_heads": {"0": [1]}}), &["pruned_heads"]);
        check_refused(json!({"per_layer_config": {"0": {"d_ff": 8}}}), &["per_layer_config"]);
        check_refused(json!({"tie_encoder_decoder": true}), &["tie_encoder_decoder"]);
        check_refused(json!({"hidden_size": 9}), &["hidden_size is 9", "d_model", "is 8"]);
        check_refused(json!({"feed_forward_proj": "gated-mish"}), &["feed_forward_proj `gated-mish`", "gelu_new"]);
        check_refused(json!({"feed_forward_proj": "open-gelu"}), &["feed_forward_proj `open-gelu`", "`gated-`"]);
        check_refused(json!({"feed_forward_proj": "gated-gelu-new"}), &["feed_forward_proj `gated-gelu-new`"]);
        check_refused(json!({"dense_act_fn": "relu6"}), &["dense_act_fn `relu6`"]);
        check_refused(json!({"eos_token_id": [1, 2]}), &["eos_token_id names 2 ids"]);
        check_refused(json!({"eos_token_id": 40}), &["eos_token_id 40", "vocab_size 40"]);
        check_refused(json!({"pad_token_id": -1}), &["not a T5 configuration"]);
        check_refused(json!({"num_heads": 0}), &["num_heads is 0"]);
        check_refused(json!({"num_decoder_layers": 0}), &["decoder_layers is 0"]);
        check_refused(json!({"d_ff": usize::MAX}), &["d_ff is 18446744073709551615"]);
        check_refused(json!({"d_model": null}), &["not a T5 configuration"]);
        check_refused(json!({"relative_attention_num_buckets": 2}), &["relative_attention_num_buckets 2"]);
        check_refused(json!({"relative_attention_num_buckets": 7}), &["relative_attention_num_buckets 7"]);
        check_refused(json!({"relative_attention_max_distance": 16}), &["relative_attention_max_distance 16"]);
        check_refused(json!({"layer_norm_epsilon": -1e-6}), &["layer_norm_epsilon"]);
    }

    #[test]
    fn fields_that_ask_for_nothing_and_other_names_are_taken() {
        let plain = parse(json!({})).unwrap();
        let same = [
            json!({"auto_map": null, "quantization_config": null, "pruned_heads": {}, "tie_encoder_decoder": false}),
            json!({"is_decoder": true, "add_cross_attention": true, "scalable_attention": true, "n_positions": 512}),
            json!({"hidden_size": 8, "head_dim": 4, "num_attention_heads": 2, "num_hidden_layers": 3}),
            json!({"model_type": null, "num_decoder_layers": null, "pad_token_id": null, "eos_token_id": [1]}),
            json!({"architectures": ["T5WithLMHeadModel"], "feed_forward_proj": "relu"}),
        ];
        for changes in same {
            assert_eq!(parse(changes.clone()), Ok(plain.clone()), "{changes}");
        }
        let text =
            r#"{"hidden_size": 8, "head_dim": 4, "num_heads": 2, "num_layers": 3, "d_ff": 16, "vocab_size": 40}"#;
        assert_eq!(Config::parse(text, Path::new("config.json")).unwrap(), plain);
        assert_eq!(parse(json!({"decoder_start_token_id": 3})).unwrap().start, 3);
        assert_eq!(parse(json!({"pad_token_id": 3})).unwrap().start, 3);
    }

    /// As `T5Config(…).scale_decoder_outputs` of transformers 5.23.0, MT5's and UMT5's forward passes.
    #[test]
    fn outputs_are_scaled_where_transformers_scales() {
        for (changes, scaled) in [
            (json!({}), true),
            (json!({"tie_word_embeddings": null}), true),
            (json!({"tie_word_embeddings": true}), true),
            (json!({"tie_word_embeddings": false}), false),
            (json!({"tie_word_embeddings": true, "scale_decoder_outputs": false}), false),
            (json!({"tie_word_embeddings": false, "scale_decoder_outputs": true}), true),
            (json!({"model_type": "mt5", "tie_word_embeddings": true}), false),
            (json!({"model_type": "mt5", "tie_word_embeddings": false}), false),
            (json!({"model_type": "umt5", "tie_word_embeddings": true}), true),
            (json!({"model_type": "umt5", "tie_word_embeddings": false}), true),
            (json!({"model_type": "umt5", "scale_decoder_outputs": false}), false),
        ] {
            assert_eq!(parse(changes.clone()).unwrap().scale_outputs, scaled, "{changes}");
        }
    }

    #[test]
    fn activations_are_those_that_transformers_takes() {
        use ActivationFunction::{Gelu, GeluNew, Relu, Silu};
        for (changes, function, gated) in [
            (json!({}), Relu, false),
            (json!({"model_type": "mt5"}), GeluNew, true),
            (json!({"model_type": "umt5"}), GeluNew, true),
            (json!({"feed_forward_proj": "gated-gelu"}), GeluNew, true),
            (json!({"feed_forward_proj": "gelu"}), Gelu, false),
            (json!({"feed_forward_proj": "gelu_new"}), GeluNew, false),
            (json!({"feed_forward_proj": "gated-silu", "dense_act_fn": "silu", "is_gated_act": true}), Silu, true),
            (json!({"feed_forward_proj": "gated-relu"}), Relu, true),
            (json!({"feed_forward_proj": "gated-gelu", "dense_act_fn": "gelu"}), Gelu, true),
            (json!({"feed_forward_proj": "relu", "dense_act_fn": "gelu_new", "is_gated_act": true}), GeluNew, true),
        ] {
            let found = parse(changes.clone()).unwrap();
            assert_eq!(found.activation, Activation { function, gated }, "{changes}");
            let again = parse(found.to_hugging_face(true)).unwrap();
            assert_eq!(again, found, "{changes} written and read");
        }
    }
}
