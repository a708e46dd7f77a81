//! A backbone's `generation_config.json`, whose values are the defaults of its settings as they are transformers'.

use super::super::{Config, Error, Result};
use super::{DecodeSettings, EarlyStopping};
use serde::Deserialize;
use serde_json::Value;
use std::path::Path;

/// Tokens at most where neither the caller nor the file says; transformers' is 20, start token included.
const MAX_NEW_TOKENS: usize = 64;

/// The fields that are honoured; any other one that changes what is made is refused by name.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Raw {
    max_new_tokens: Option<usize>,
    max_length: Option<usize>,
    min_new_tokens: Option<usize>,
    min_length: Option<usize>,
    do_sample: Option<bool>,
    temperature: Option<f64>,
    top_k: Option<usize>,
    top_p: Option<f64>,
    min_p: Option<f64>,
    typical_p: Option<f64>,
    epsilon_cutoff: Option<f64>,
    eta_cutoff: Option<f64>,
    num_beams: Option<usize>,
    num_return_sequences: Option<usize>,
    length_penalty: Option<f64>,
    early_stopping: Option<Value>,
    repetition_penalty: Option<f64>,
    encoder_repetition_penalty: Option<f64>,
    no_repeat_ngram_size: Option<usize>,
    encoder_no_repeat_ngram_size: Option<usize>,
    bad_words_ids: Option<Vec<Vec<u32>>>,
    forced_bos_token_id: Option<OneOrMore>,
    forced_eos_token_id: Option<OneOrMore>,
    suppress_tokens: Option<Vec<u32>>,
    begin_suppress_tokens: Option<Vec<u32>>,
    eos_token_id: Option<OneOrMore>,
    bos_token_id: Option<OneOrMore>,
    decoder_start_token_id: Option<OneOrMore>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(u32),
    More(Vec<u32>),
}

impl From<OneOrMore> for Vec<u32> {
    fn from(ids: OneOrMore) -> Self {
        match ids {
            OneOrMore::One(id) => vec![id],
            OneOrMore::More(ids) => ids,
        }
    }
}

impl OneOrMore {
    /// The id where there is but one.
    fn one(self, name: &str) -> Result<u32, String> {
        match Vec::from(self).as_slice() {
            [id] => Ok(*id),
            ids => Err(format!("{name} {ids:?} is not supported: give one id")),
        }
    }
}

/// Fields that change what is made and are not done, each with the value that means nothing.
const REFUSED: [(&str, &str); 16] = [
    ("sequence_bias", "null"),
    ("exponential_decay_length_penalty", "null"),
    ("forced_decoder_ids", "null"),
    ("guidance_scale", "1.0"),
    ("num_beam_groups", "1"),
    ("diversity_penalty", "0.0"),
    ("penalty_alpha", "null"),
    ("remove_invalid_values", "false"),
    ("renormalize_logits", "false"),
    ("top_h", "null"),
    ("watermarking_config", "null"),
    ("force_words_ids", "null"),
    ("constraints", "null"),
    ("stop_strings", "null"),
    ("max_time", "null"),
    ("dola_layers", "null"),
];

impl DecodeSettings {
    /// The defaults of the backbone in `dir`: those of [`DecodeSettings::new`], and over them what its
    /// `generation_config.json` says, or without that file its `config.json`, as in transformers. Where the file names no end
    /// or start token, it is `config.json`'s; transformers would never stop, or refuse.
    ///
    /// # Errors
    /// If the file cannot be read, or asks for what is not supported.
    pub fn open(dir: &Path, config: &Config) -> Result<Self> {
        let own = dir.join("generation_config.json");
        let path = if own.exists() { own } else { dir.join("config.json") };
        let text = std::fs::read_to_string(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
        Self::parse(&text, config).map_err(|what| Error::Config { path, what })
    }

    /// The defaults of a backbone that says nothing of decoding.
    pub fn defaults(config: &Config) -> Self {
        Self::new(config, MAX_NEW_TOKENS)
    }

    fn parse(text: &str, config: &Config) -> Result<Self, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
        if !value.is_object() {
            return Err("not a JSON object".into());
        }
        for (name, nothing) in REFUSED {
            let found = value[name].to_string();
            if found != "null" && found != nothing {
                return Err(format!("{name} {found} is not supported: take it out"));
            }
        }
        let raw: Raw =
            serde_json::from_value(value).map_err(|error| format!("not a generation configuration: {error}"))?;
        let mut found = Self::defaults(config);
        // lengths of transformers count the start token
        let without_start = |length: usize| length.saturating_sub(1);
        set(&mut found.max_new_tokens, raw.max_new_tokens.or(raw.max_length.map(without_start)));
        set(&mut found.min_new_tokens, raw.min_new_tokens.or(raw.min_length.map(without_start)));
        set(&mut found.do_sample, raw.do_sample);
        // 0 is often written where nothing is drawn
        set(&mut found.temperature, raw.temperature.filter(|value| found.do_sample || *value != 0.0));
        found.top_k = raw.top_k;
        set(&mut found.top_p, raw.top_p);
        set(&mut found.min_p, raw.min_p);
        set(&mut found.typical_p, raw.typical_p);
        set(&mut found.epsilon_cutoff, raw.epsilon_cutoff);
        set(&mut found.eta_cutoff, raw.eta_cutoff);
        set(&mut found.num_beams, raw.num_beams);
        set(&mut found.num_return_sequences, raw.num_return_sequences);
        set(&mut found.length_penalty, raw.length_penalty);
        set(&mut found.repetition_penalty, raw.repetition_penalty);
        set(&mut found.encoder_repetition_penalty, raw.encoder_repetition_penalty);
        set(&mut found.no_repeat_ngram_size, raw.no_repeat_ngram_size);
        set(&mut found.encoder_no_repeat_ngram_size, raw.encoder_no_repeat_ngram_size);
        set(&mut found.bad_words_ids, raw.bad_words_ids);
        found.forced_bos_token_id = raw.forced_bos_token_id.map(|id| id.one("forced_bos_token_id")).transpose()?;
        set(&mut found.forced_eos_token_id, raw.forced_eos_token_id.map(Vec::from));
        set(&mut found.suppress_tokens, raw.suppress_tokens);
        set(&mut found.begin_suppress_tokens, raw.begin_suppress_tokens);
        set(&mut found.eos_token_id, raw.eos_token_id.map(Vec::from));
        let start = raw.decoder_start_token_id.map(|id| id.one("decoder_start_token_id"));
        let start = start.or(raw.bos_token_id.map(|id| id.one("bos_token_id")));
        set(&mut found.decoder_start_token_id, start.transpose()?);
        if let Some(value) = raw.early_stopping {
            found.early_stopping = match value {
                Value::Null | Value::Bool(false) => EarlyStopping::Heuristic,
                Value::Bool(true) => EarlyStopping::Full,
                Value::String(text) if text == "never" => EarlyStopping::Never,
                other => return Err(format!("early_stopping {other} is not supported: give true, false or \"never\"")),
            };
        }
        found.check(config.vocab_size).map_err(|error| error.to_string())?;
        Ok(found)
    }
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One line a case: the file, and a part of the settings or of the error.
    #[track_caller]
    fn check(text: &str, wanted: &str) {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/tiny-v1.1");
        let config = std::fs::read_to_string(dir.join("config.json")).unwrap();
        let config = Config::parse(&config, &dir).unwrap();
        let found = match DecodeSettings::parse(text, &config) {
            Ok(settings) => format!("{settings:?}"),
            Err(error) => error,
        };
        assert!(found.contains(wanted), "{text}: {found}");
    }

    #[test]
    fn files_are_honoured_or_refused_by_name() {
        check("{}", "max_new_tokens: 64, min_new_tokens: 0, do_sample: false");
        check(r#"{"max_length": 21, "min_length": 4}"#, "max_new_tokens: 20, min_new_tokens: 3,");
        check(r#"{"max_length": 21, "max_new_tokens": 7}"#, "max_new_tokens: 7,");
        check(
            r#"{"eos_token_id": [1, 5], "decoder_start_token_id": 2}"#,
            "eos_token_id: [1, 5], decoder_start_token_id: 2",
        );
        check(r#"{"eos_token_id": 5}"#, "eos_token_id: [5]");
        check(r#"{"decoder_start_token_id": [7], "bos_token_id": 3}"#, "decoder_start_token_id: 7");
        check(r#"{"decoder_start_token_id": null, "bos_token_id": 3}"#, "decoder_start_token_id: 3");
        check(r#"{"decoder_start_token_id": [7, 8]}"#, "decoder_start_token_id [7, 8] is not supported");
        check(r#"{"forced_bos_token_id": [4]}"#, "forced_bos_token_id: Some(4)");
        check(r#"{"temperature": 0.0}"#, "temperature: 1.0");
        check(r#"{"temperature": 0.0, "do_sample": true}"#, "`temperature` is 0.0");
        check(
            r#"{"num_beams": 4, "early_stopping": "never"}"#,
            "num_beams: 4, num_return_sequences: 1, length_penalty: 1.0, early_stopping: Never",
        );
        check(r#"{"early_stopping": "soon"}"#, "early_stopping \"soon\" is not supported");
        check(r#"{"transformers_version": "5", "num_beam_groups": 1, "use_cache": true}"#, "num_beams: 1,");
        check(r#"{"num_beam_groups": 2}"#, "num_beam_groups 2 is not supported");
        check(r#"{"stop_strings": ["."], "guidance_scale": 1.0}"#, "stop_strings [\".\"] is not supported");
        check("[]", "not a JSON object");
        check(r#"{"top_p": 3.0}"#, "`top_p` is 3.0: give 0 to 1");
        check(r#"{"suppress_tokens": [96]}"#, "`suppress_tokens` holds id 96");
        check(r#"{"top_k": "many"}"#, "not a generation configuration");
    }

    #[test]
    fn without_its_own_file_config_json_says_how_to_decode() {
        let text = include_str!("../../../tests/reference/tiny-v1.1/config.json");
        let config = Config::parse(text, Path::new("config.json")).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut json: Value = serde_json::from_str(text).unwrap();
        json["num_beams"] = 4.into();
        std::fs::write(dir.path().join("config.json"), json.to_string()).unwrap();
        assert_eq!(DecodeSettings::open(dir.path(), &config).unwrap().num_beams, 4);
        std::fs::write(dir.path().join("generation_config.json"), "{}").unwrap();
        assert_eq!(DecodeSettings::open(dir.path(), &config).unwrap().num_beams, 1);
    }
}
