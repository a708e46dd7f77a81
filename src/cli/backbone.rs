//! `s3delta backbone inspect`.

use super::{Compute, memory, open_device, output};
use crate::t5;
use anyhow::Result;
use std::path::Path;
use std::time::Instant;

/// Ways to decode that every backbone has.
const DECODING: [&str; 4] = ["greedy", "sampling", "beams", "beam sampling"];

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Backbone {
    /// Sizes, parameters, digest, what is supported, time to open and memory.
    #[command(after_help = "\
Example:
  s3delta backbone inspect ./t5-large --json

formats: parameters in each number format of the file. memory_bytes: the weights in memory, as f32.
peak_memory_bytes: most memory that this process has held (VmHWM), where the system tells.")]
    Inspect {
        /// Hugging Face directory, or builtin:pocket-t5.
        backbone: String,
        #[command(flatten)]
        compute: Compute,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

impl Backbone {
    pub(crate) fn run(&self, home: &Path) -> Result<()> {
        let Self::Inspect { backbone, compute, json } = self;
        let (device, named) = open_device(&compute.config(home)?)?;
        let started = Instant::now();
        let opened = t5::Backbone::resolve(backbone, &device)?;
        let seconds = started.elapsed().as_secs_f64();
        let (config, tokenizer) = (&opened.config, opened.tokenizer());
        let value = serde_json::json!({
            "name": opened.name,
            "family": config.family,
            "shape": opened.shape(),
            "parameters": opened.parameters,
            "digest": opened.digest,
            "formats": opened.formats,
            "tied": opened.tied,
            "outputs_scaled": config.scale_outputs,
            "activation": config.activation,
            "position_bias": if config.has_position_bias(1) { "in every block" } else { "shared by a stack's blocks" },
            "tokenizer": tokenizer.as_ref().ok().map(|tokenizer| {
                serde_json::json!({"kind": tokenizer.kind(), "vocab_size": tokenizer.vocab_size()})
            }),
            "tokenizer_error": tokenizer.as_ref().err().map(ToString::to_string),
            "decoding": DECODING,
            "decoding_error": opened.decoding().err().map(|error| error.to_string()),
            "memory_bytes": opened.memory_bytes(),
            "device": named.to_string(),
            "open_seconds": seconds,
            "peak_memory_bytes": memory::peak(),
        });
        if *json {
            return output::json(&value);
        }
        let rows: Vec<_> =
            value.as_object().into_iter().flatten().map(|(k, v)| vec![k.clone(), v.to_string()]).collect();
        output::table(&["field", "value"], &rows);
        Ok(())
    }
}
