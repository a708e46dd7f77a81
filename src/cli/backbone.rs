//! `s3delta backbone inspect`.

use super::{Compute, open_device, output};
use crate::t5;
use anyhow::Result;
use std::path::Path;
use std::time::Instant;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Backbone {
    /// Sizes, parameters, digest and time to open.
    #[command(after_help = "Example:\n  s3delta backbone inspect ./t5-large --json")]
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
        let value = serde_json::json!({
            "name": opened.name,
            "shape": opened.shape(),
            "parameters": opened.parameters,
            "digest": opened.digest,
            "tied": opened.tied,
            "activation": opened.config.activation,
            "tokenizer": opened.tokenizer().map(|tokenizer| tokenizer.vocab_size()).map_err(|error| error.to_string()).ok(),
            "memory_bytes": opened.parameters * 4,
            "device": named.to_string(),
            "open_seconds": seconds,
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
