//! `s3delta pretrain`: trains a small backbone from plain text, and supervised rows beside it.

use crate::pretrain::{Corpus, Event, PretrainConfig, Progress, Reading, Run, run as pretrain};
use anyhow::{Context, Result};
use burn::tensor::Device;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Pre-train a small T5 by span corruption, with supervised rows or without, and write it as a Hugging Face directory.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  s3delta pretrain --config models/pocket-t5/pretrain.toml --steps 200
  s3delta pretrain --config pretrain.toml --text AA.tar.xz AB.tar.xz --out pocket
  s3delta pretrain --config pretrain.toml --text AA.tar.xz AB.tar.xz --out pocket --resume
  s3delta pretrain --config pretrain.toml --text articles/ --tokenizer pocket/tokenizer.json

All settings stand in one TOML, whose paths are relative to its folder:

  [text]
  paths = [\"articles/\"]             # what --text names otherwise
  [vocabulary]
  tokenizer = \"tokenizer.json\"      # as --tokenizer; without it a vocabulary is trained
  [supervised]                      # without it there is text alone
  share = 0.3                       # of the rows of a step
  from_step = 20000                 # text alone before it; 0 without it
  paths = [\"mixture.jsonl.xz\"]      # lines {\"source\": \"…\", \"target\": \"…\", \"texts\": [\"…\"]}
  exclude = [\"sst2\", \"cola\"]        # no row that shares a text with these tasks is taken
  exclude_data = \"data\"             # the folder of their rows, as --data of s3delta search

A text is a file of plain text with one passage a line, a .jsonl file with a field `text` (or what
text.field names), a .tar of such files, any of these with .xz or .gz, or a folder of them. It is
read twice and never held whole. The tokens are kept in tokens.safetensors in --out.

`texts` of a row are those that its source was made of, and are compared with the excluded tasks'
whatever their case and punctuation; without them the whole source is. One row in 50 is held out.

Reports go to log.jsonl too, and the losses are drawn in curve.svg. Ctrl-C during training leaves a
checkpoint from which --resume goes on; steps, rates, text, [supervised] and shares may then differ.")]
pub struct PretrainArgs {
    /// Settings: model, vocabulary, corruption, training, text, supervised (TOML).
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Training text, instead of text.paths; may be given several times.
    #[arg(long, value_name = "FILE|DIR", num_args = 1..)]
    pub text: Vec<PathBuf>,
    /// Use this vocabulary (tokenizer.json) instead of vocabulary.tokenizer or a new one; it must have vocabulary.size pieces.
    #[arg(long, value_name = "FILE")]
    pub tokenizer: Option<PathBuf>,
    /// The directory that gets the model, its checkpoint, the tokens and the log.
    #[arg(long, value_name = "DIR", default_value = "pretrained")]
    pub out: PathBuf,
    /// Stop after so many steps; the schedule stays that of training.steps, so that they are its first.
    #[arg(long, value_name = "N")]
    pub steps: Option<usize>,
    /// Seed, instead of training.seed.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Go on from the checkpoint in --out.
    #[arg(long)]
    pub resume: bool,
    /// Begin anew over the run that --out holds; without it such a folder is left alone.
    #[arg(long, conflicts_with = "resume")]
    pub overwrite: bool,
    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
}

impl PretrainArgs {
    /// Runs the command; `stop` is asked at each step whether to leave a checkpoint and end.
    pub fn run(&self, device: &Device, stop: &dyn Fn() -> bool) -> Result<()> {
        let mut config = PretrainConfig::read(&self.config)?;
        config.training.seed = self.seed.unwrap_or(config.training.seed);
        let text = Corpus::choose(&self.text, &config.text)?;
        let sentences = if config.text.builtin_share > 0.0 {
            crate::task::builtin_corpus(config.training.seed, config.text.builtin_sentences)
        } else {
            Vec::new()
        };
        let tokenizer = self.tokenizer.clone().or_else(|| config.vocabulary.tokenizer.clone());
        let (tokenizer, out, resume) = (tokenizer.as_deref(), self.out.as_path(), self.resume);
        let mut shown = Instant::now();
        let stop_after = self.steps;
        let overwrite = self.overwrite;
        let run = Run { config, text, sentences, tokenizer, out, resume, overwrite, stop_after, device };
        let report = pretrain(run, &mut |event| {
            show(event, &mut shown);
            !stop()
        })
        .with_context(|| format!("pre-training into {}", self.out.display()))?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&report)?);
        } else {
            println!(
                "{} parameters, {} steps, {} tokens seen of a text of {}",
                report.parameters, report.steps, report.tokens, report.text_tokens
            );
            for (name, loss) in &report.held_out {
                println!("held-out loss on {name}: {loss:.4} nats a target token");
            }
        }
        Ok(())
    }
}

/// Seconds between two lines while the text is prepared.
const SHOW_EVERY: Duration = Duration::from_secs(5);

fn show(event: Event<'_>, shown: &mut Instant) {
    let due = shown.elapsed() >= SHOW_EVERY;
    match event {
        Event::Step(progress) => return show_step(progress),
        Event::Note(text) => eprintln!("{text}"),
        Event::Reading(reading) if due || reading.done => show_reading(&reading),
        Event::Vocabulary { characters, seconds } if due => {
            eprintln!("training the vocabulary on {:.1} M characters: {seconds:.0} s", characters as f64 / 1e6);
        }
        Event::Reading(_) | Event::Vocabulary { .. } | Event::Taken => return,
    }
    *shown = Instant::now();
}

fn show_reading(reading: &Reading) {
    eprintln!(
        "reading text for {}: {:.1} M characters  {:.1} MB/s  {:.0} %",
        reading.purpose,
        reading.characters as f64 / 1e6,
        reading.bytes as f64 / 1e6 / reading.seconds.max(1e-9),
        100.0 * reading.share
    );
}

fn show_step(progress: &Progress) {
    let left = progress.seconds_left as u64;
    eprint!(
        "step {}/{}  loss {:.4}  rate {:.1e}  gradient {:.2}  {:.0} tokens/s  {}:{:02} left",
        progress.step,
        progress.steps,
        progress.loss,
        progress.rate,
        progress.gradient_norm,
        progress.tokens_per_second,
        left / 60,
        left % 60
    );
    for (name, loss) in progress.held_out.iter().flatten() {
        eprint!("  held-out {name} {loss:.4}");
    }
    eprintln!();
}
