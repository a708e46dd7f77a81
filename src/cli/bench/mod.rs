//! `s3delta bench`: measurements that anyone can repeat.

mod backbone;
mod generate;
mod method;
mod results;
mod run;

use anyhow::Result;
use std::path::Path;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Bench {
    /// Measure how well a backbone adapts to tasks: full fine-tuning, BitFit, LoRA or structures, by seed.
    Backbone(backbone::Args),
    /// Measure generation, with the flags, ids and fields of the scripts that measure other libraries.
    Generate(generate::Args),
}

impl Bench {
    pub(crate) fn run(&self, home: &Path) -> Result<()> {
        match self {
            Self::Backbone(args) => args.run(home),
            Self::Generate(args) => args.run(home),
        }
    }
}
