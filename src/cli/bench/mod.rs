//! `s3delta bench`: measurements that anyone can repeat.

mod adapters;
mod adaption;
mod backbone;
mod board;
mod generate;
mod method;
mod peer;
mod random;
mod results;
mod run;
mod search;
mod serve;
mod sharing;
mod variant;
mod variants;

use anyhow::Result;
use std::path::Path;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Bench {
    /// Measure how well a backbone adapts to tasks: full fine-tuning, BitFit, LoRA or structures, by seed.
    Backbone(backbone::Args),
    /// Time a batch of many adapters beside the bare backbone.
    Adapters(adapters::Args),
    /// Time one text for several adapters, asked at once and one after the other.
    Sharing(sharing::Args),
    /// Put a server under load over HTTP and measure its latencies and throughput.
    Serve(serve::Args),
    /// Measure generation, with the flags, ids and fields of the scripts that measure other libraries.
    Generate(generate::Args),
    /// Measure a step of search or re-training, with the flags, ids and fields of the script that measures torch.
    Search(search::Args),
    /// Compare variants of the search by what their structures score: by task, budget and seed.
    Variants(variants::Args),
}

impl Bench {
    pub(crate) fn run(&self, home: &Path) -> Result<()> {
        match self {
            Self::Backbone(args) => args.run(home),
            Self::Adapters(args) => args.run(),
            Self::Sharing(args) => args.run(),
            Self::Serve(args) => args.run(home),
            Self::Generate(args) => args.run(),
            Self::Search(args) => args.run(),
            Self::Variants(args) => args.run(home),
        }
    }
}
