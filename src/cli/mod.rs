//! The command line: one file per subcommand. Commands that touch the registry are clients of the HTTP API, whether a
//! server runs or not (see `Session`).

mod app;
mod backbone;
mod bench;
mod choices;
mod decoding;
mod follow;
mod generate;
mod interrupt;
mod memory;
mod objects;
mod output;
mod quickstart;
mod search;
mod serve;
mod session;
mod space;
mod spread;
mod tasks;
mod tokens;
mod training;

pub mod pretrain;

use crate::config::Config;
use crate::t5::{DeviceChoice, device};
use anyhow::{Result, bail};
use burn::tensor::Device;
use clap::{Args, Parser, Subcommand};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// Find, keep, move and serve sparse delta structures for T5.
#[derive(Debug, Parser)]
#[command(
    name = "s3delta",
    version,
    about,
    propagate_version = true,
    after_help = "\
Examples:
  s3delta quickstart                                        the whole way, on what is built in
  s3delta serve --backbone ./t5-large                       HTTP on 127.0.0.1:8080
  s3delta search --task sst2 --data ./data --budget 5.447%  search and re-train a structure
  s3delta transfer --from sst2 --to cola --data ./data      train it on another task
  s3delta structures list --json                            what was found

Results go to standard output, progress to standard error. Exit codes: 0 done, 1 failed, 2 usage."
)]
pub struct Cli {
    /// Folder of the registry.
    #[arg(long, global = true, env = "S3DELTA_HOME", default_value = "s3delta-home", value_name = "DIR")]
    home: PathBuf,
    #[command(subcommand)]
    command: Command,
}

/// A number that a request's JSON can hold, which has neither NaN nor infinity.
fn finite(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|number: &f64| number.is_finite()).ok_or("give a finite number".into())
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Search, re-train, transfer and serve on the built-in backbone and tasks, in a few minutes.
    Quickstart(quickstart::Args),
    /// Serve the API and the web page.
    Serve(serve::Args),
    /// Count the modules and parameters of a search space.
    Space(space::Args),
    /// Search a sparse structure for a task, and re-train it.
    Search(search::SearchArgs),
    /// Train a structure, or a baseline, on a task.
    Retrain(training::RetrainArgs),
    /// Train one task's structure on another task.
    Transfer(training::TransferArgs),
    /// Score an adapter, or the bare backbone, on a task.
    Evaluate(training::EvaluateArgs),
    /// Generate text or ids.
    Generate(generate::Args),
    /// List, show, import, export and remove structures.
    #[command(subcommand)]
    Structures(objects::Structures),
    /// List, show, import, export and remove adapters.
    #[command(subcommand)]
    Adapters(objects::Adapters),
    /// List, show, import and remove tasks.
    #[command(subcommand)]
    Tasks(tasks::Tasks),
    /// List, show, cancel, resume and remove jobs.
    #[command(subcommand)]
    Jobs(objects::Jobs),
    /// Say who may call a server.
    #[command(subcommand)]
    Tokens(tokens::Tokens),
    /// Look at a backbone.
    #[command(subcommand)]
    Backbone(backbone::Backbone),
    /// Pre-train a small backbone from plain text.
    Pretrain(Pretrain),
    /// Measure what can be repeated elsewhere.
    #[command(subcommand)]
    Bench(bench::Bench),
}

#[derive(Debug, Args)]
struct Pretrain {
    #[command(flatten)]
    args: pretrain::PretrainArgs,
    #[command(flatten)]
    compute: Compute,
}

/// Where a command computes; what is not given comes from S3DELTA_DEVICE and S3DELTA_THREADS, then HOME/s3delta.toml.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Compute {
    /// auto, cpu, or cuda:N [default: auto].
    #[arg(long)]
    device: Option<DeviceChoice>,
    /// Threads to compute with [default: all cores].
    #[arg(long, value_name = "N", value_parser = threads)]
    threads: Option<NonZeroUsize>,
}

/// The value of `--threads`.
fn threads(text: &str) -> Result<NonZeroUsize, String> {
    let number = text.parse().ok().and_then(NonZeroUsize::new).filter(|number| number.get() <= 1024);
    number.ok_or_else(|| "give a number from 1 to 1024".into())
}

/// Which backbone, and where it computes.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct On {
    /// Hugging Face directory, or builtin:NAME [default: S3DELTA_BACKBONE, or builtin:pocket-t5].
    #[arg(long, alias = "model", value_name = "DIR|builtin:NAME")]
    backbone: Option<String>,
    #[command(flatten)]
    compute: Compute,
}

impl Compute {
    /// The settings of `home` under these flags.
    fn config(&self, home: &Path) -> Result<Config> {
        let mut config = Config::load(home)?;
        if let Some(device) = self.device {
            config.device = device.to_string();
        }
        config.threads = self.threads.map(NonZeroUsize::get).or(config.threads);
        Ok(config)
    }
}

impl On {
    /// The settings of `home` under these flags.
    fn config(&self, home: &Path) -> Result<Config> {
        let mut config = self.compute.config(home)?;
        if let Some(backbone) = &self.backbone {
            config.backbone.clone_from(backbone);
        }
        Ok(config)
    }
}

/// Sets the threads and opens the device that the settings name; gives its name too, such as `cuda:0`.
fn open_device(config: &Config) -> Result<(Device, DeviceChoice)> {
    if let Some(threads) = config.threads.and_then(NonZeroUsize::new) {
        device::set_threads(threads)?;
    }
    Ok(device::open(config.device.parse()?)?)
}

impl Cli {
    /// What is logged unless S3DELTA_LOG says otherwise: a server tells what it does, a command shows its own progress.
    pub fn log_level(&self) -> &'static str {
        match self.command {
            Command::Serve(_) | Command::Quickstart(quickstart::Args { exit: false, .. }) => "warn,s3delta=info",
            _ => "warn",
        }
    }

    /// Runs the command.
    pub fn run(self) -> Result<()> {
        let home = self.home;
        if home.is_file() {
            bail!("`{}` is a file: give a folder as --home (or S3DELTA_HOME), it is made if need be", home.display());
        }
        match self.command {
            Command::Quickstart(args) => args.run(&home),
            Command::Serve(args) => args.run(&home),
            Command::Space(args) => args.run(&home),
            Command::Search(args) => args.run(&home),
            Command::Retrain(args) => args.run(&home),
            Command::Transfer(args) => args.run(&home),
            Command::Evaluate(args) => args.run(&home),
            Command::Generate(args) => args.run(&home),
            Command::Structures(command) => command.run(&home),
            Command::Adapters(command) => command.run(&home),
            Command::Tasks(command) => command.run(&home),
            Command::Jobs(command) => command.run(&home),
            Command::Tokens(command) => command.run(&home),
            Command::Backbone(command) => command.run(&home),
            Command::Bench(command) => command.run(&home),
            Command::Pretrain(command) => {
                let (device, _) = open_device(&command.compute.config(&home)?)?;
                command.args.run(&device, &interrupt::noted())
            }
        }
    }
}
