//! Every setting of a server in one struct: flags over `S3DELTA_*` variables over `s3delta.toml` over the defaults.

use serde::{Deserialize, Serialize};
use std::{net::IpAddr, net::Ipv4Addr, path::Path};

/// Settings of a server; each is a key of `s3delta.toml` and, as `S3DELTA_<KEY>`, an environment variable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address to listen on.
    pub host: IpAddr,
    /// Port to listen on; 0 picks a free one.
    pub port: u16,
    /// Listen beyond this machine without any token.
    pub insecure: bool,
    /// Names under which a server without tokens may be called, beside loopback's own.
    pub allowed_hosts: Vec<String>,
    /// Backbone directory, or `builtin:pocket-t5`.
    pub backbone: String,
    /// `auto`, `cpu` or `cuda:N`.
    pub device: String,
    /// `f32` or `int8`: in which numbers requests are computed with.
    pub weights: String,
    /// Threads for computing; all cores if absent.
    pub threads: Option<usize>,
    /// Largest JSON body in bytes.
    pub body_bytes: usize,
    /// Largest upload (delta weights, data sets) in bytes.
    pub upload_bytes: usize,
    /// Uploads taken at once; more are answered 429.
    pub concurrent_uploads: usize,
    /// Most tokens of one input.
    pub input_tokens: usize,
    /// Most tokens that one request may generate.
    pub output_tokens: usize,
    /// Most inputs of one request, counting each once per adapter.
    pub inputs: usize,
    /// Bytes of adapters kept in memory; those in use stay, even beyond it.
    pub adapter_bytes: usize,
    /// Requests that may wait for the engine; more are answered 429, but for those of a list that has begun. Where several adapters share
    /// the engine, one adapter's requests have an equal share of these places and are answered 429 beyond it.
    pub queue: usize,
    /// Tokens of inputs that are encoded between two tokens of the texts under way: fewer for steadier streams, more for throughput.
    /// If absent, 1,024, and on a CPU so many fewer as the backbone's encoder is larger than T5-small's.
    pub encoded_between_steps: Option<usize>,
    /// Bytes of encoded texts kept for requests that ask about them again; 0 keeps none.
    pub encoder_cache_bytes: usize,
    /// Bytes of activations below the lowest module that a re-training keeps across epochs, of training and of dev rows each; 0
    /// keeps none.
    pub kept_activation_bytes: usize,
    /// Jobs that may wait; more are answered 429.
    pub waiting_jobs: usize,
    /// Seconds that requests get to end when the server stops.
    pub shutdown_seconds: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            host: Ipv4Addr::LOCALHOST.into(),
            port: 8080,
            insecure: false,
            allowed_hosts: Vec::new(),
            backbone: "builtin:pocket-t5".into(),
            device: "auto".into(),
            weights: "f32".into(),
            threads: None,
            body_bytes: 2 << 20,
            upload_bytes: 256 << 20,
            concurrent_uploads: 2,
            input_tokens: 4096,
            output_tokens: 1024,
            inputs: 1024,
            adapter_bytes: 1 << 30,
            queue: 256,
            encoded_between_steps: None,
            encoder_cache_bytes: 256 << 20,
            kept_activation_bytes: 1 << 30,
            waiting_jobs: 100,
            shutdown_seconds: 10,
        }
    }
}

/// A setting that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the settings in {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A key or value is wrong.
    #[error("the settings are not valid: {0}")]
    Invalid(#[from] toml::de::Error),
    /// A number that nothing could be done with.
    #[error("the setting `{key}` is {value}: give {}", if *most == usize::MAX { "at least 1".into() } else { format!("1 to {most}") })]
    Number {
        /// The setting.
        key: &'static str,
        /// What it is.
        value: usize,
        /// The most.
        most: usize,
    },
}

impl Config {
    /// Reads `HOME/s3delta.toml` if it exists, then the environment.
    pub fn load(home: &Path) -> Result<Self, Error> {
        let path = home.join("s3delta.toml");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(Error::Read { path: path.display().to_string(), source }),
        };
        Self::from_parts(&text, std::env::vars())
    }

    /// The settings of a TOML text, overridden by those variables that name a setting.
    fn from_parts(text: &str, variables: impl Iterator<Item = (String, String)>) -> Result<Self, Error> {
        let mut table: toml::Table = toml::from_str(text)?;
        let mut keys = toml::Table::try_from(Self::default()).unwrap_or_default();
        // those that are absent by default
        keys.extend(["threads", "encoded_between_steps"].map(|key| (key.to_string(), 0.into())));
        for (name, value) in variables {
            let Some(key) = name.strip_prefix("S3DELTA_").map(str::to_lowercase) else { continue };
            if keys.contains_key(&key) {
                table.insert(key, parsed(value));
            }
        }
        table.try_into::<Self>()?.checked()
    }

    /// Refuses numbers that nothing could be done with.
    fn checked(self) -> Result<Self, Error> {
        let numbers = [
            ("threads", self.threads.unwrap_or(1), 1024),
            ("body_bytes", self.body_bytes, usize::MAX),
            ("upload_bytes", self.upload_bytes, usize::MAX),
            ("concurrent_uploads", self.concurrent_uploads, usize::MAX),
            ("input_tokens", self.input_tokens, usize::MAX),
            ("output_tokens", self.output_tokens, usize::MAX),
            ("inputs", self.inputs, usize::MAX),
            ("queue", self.queue, usize::MAX),
            ("encoded_between_steps", self.encoded_between_steps.unwrap_or(1), usize::MAX),
            ("waiting_jobs", self.waiting_jobs, usize::MAX),
        ];
        match numbers.into_iter().find(|(_, value, most)| !(1..=*most).contains(value)) {
            Some((key, value, most)) => Err(Error::Number { key, value, most }),
            None => Ok(self),
        }
    }
}

/// A variable's value as TOML if it is a number, boolean or list; otherwise as text.
fn parsed(value: String) -> toml::Value {
    let line = format!("v = {value}");
    let found = toml::from_str::<toml::Table>(&line).ok().and_then(|mut table| table.remove("v"));
    match found {
        Some(value @ (toml::Value::Integer(_) | toml::Value::Boolean(_) | toml::Value::Array(_))) => value,
        _ => toml::Value::String(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One line a case: the file, a variable, and a part of the settings or of the error.
    #[track_caller]
    fn check(text: &str, variable: (&str, &str), wanted: &str) {
        let variables = [(variable.0.to_string(), variable.1.to_string())].into_iter();
        let found = match Config::from_parts(text, variables) {
            Ok(config) => format!("{config:?}"),
            Err(error) => error.to_string(),
        };
        assert!(found.contains(wanted), "{text} {variable:?} gave {found}");
    }

    #[test]
    fn environment_over_file_over_defaults() {
        check("", ("PATH", "/bin"), "host: 127.0.0.1, port: 8080");
        check("port = 9", ("PATH", "/bin"), "port: 9");
        check("port = 9", ("S3DELTA_PORT", "10"), "port: 10");
        check("", ("S3DELTA_HOST", "0.0.0.0"), "host: 0.0.0.0");
        check("", ("S3DELTA_ADAPTER_BYTES", "9000"), "adapter_bytes: 9000");
        check("", ("S3DELTA_ENCODER_CACHE_BYTES", "0"), "encoder_cache_bytes: 0");
        check("", ("S3DELTA_KEPT_ACTIVATION_BYTES", "5"), "kept_activation_bytes: 5");
        check("", ("S3DELTA_THREADS", "3"), "threads: Some(3)");
        check("", ("S3DELTA_INSECURE", "true"), "insecure: true");
        check("", ("S3DELTA_ALLOWED_HOSTS", "['box.lan']"), "[\"box.lan\"]");
        check("", ("S3DELTA_WEB", "off"), "port: 8080");
        check("prot = 9", ("PATH", "/bin"), "unknown field `prot`");
        check("", ("S3DELTA_THREADS", "0"), "the setting `threads` is 0: give 1 to 1024");
        check("queue = 0", ("S3DELTA_THREADS", "100000"), "`threads` is 100000");
        check("queue = 0", ("PATH", "/bin"), "the setting `queue` is 0: give at least 1");
        check("", ("S3DELTA_PORT", "many"), "invalid type: string \"many\"");
    }
}
