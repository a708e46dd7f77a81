//! `s3delta pretrain`: trains a small backbone from plain text.

use crate::pretrain::{Passages, PretrainConfig, Progress, Run, read_text, run};
use anyhow::{Context, Result};
use burn::tensor::Device;
use std::path::PathBuf;

/// Pre-train a small T5 by span corruption and write it as a Hugging Face directory.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  s3delta pretrain --config models/pocket-t5/pretrain.toml --text wiki/ --out pocket
  s3delta pretrain --config models/pocket-t5/pretrain.toml --text wiki/ --out pocket --resume
  tar -xOf articles.tar.xz | s3delta pretrain --config pretrain.toml --text - --out model

A text is a file of plain text with one passage a line, a .jsonl file with a field `text`, a folder of such files, or `-` for
standard input. Ctrl-C leaves a checkpoint from which --resume goes on.")]
pub struct PretrainArgs {
    /// Settings: model, vocabulary, corruption, training, text (TOML).
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Training text; may be given several times.
    #[arg(long, value_name = "FILE|DIR|-", required = true, num_args = 1..)]
    pub text: Vec<PathBuf>,
    /// The directory that gets the model and its checkpoint.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Steps in all, instead of training.steps.
    #[arg(long, value_name = "N")]
    pub steps: Option<usize>,
    /// Seed, instead of training.seed.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Go on from the checkpoint in --out.
    #[arg(long)]
    pub resume: bool,
    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
}

impl PretrainArgs {
    /// Runs the command; `stop` is asked at each report whether to leave a checkpoint and end.
    pub fn run(&self, device: &Device, stop: &dyn Fn() -> bool) -> Result<()> {
        let mut config = PretrainConfig::read(&self.config)?;
        config.training.steps = self.steps.unwrap_or(config.training.steps);
        config.training.seed = self.seed.unwrap_or(config.training.seed);
        eprintln!("reading text");
        let text = read_text(&self.text, &config.text)?;
        let mut sentences = Passages::default();
        if config.text.builtin_share > 0.0 {
            let corpus = crate::task::builtin_corpus(config.training.seed, config.text.builtin_sentences);
            corpus.into_iter().for_each(|sentence| sentences.push(sentence));
        }
        eprintln!(
            "{} characters of text, {} of built-in sentences; preparing vocabulary and tokens",
            text.characters, sentences.characters
        );
        let run_one = Run { config, text, sentences, out: &self.out, resume: self.resume, device };
        let report = run(run_one, &mut |progress| {
            show(progress);
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

fn show(progress: &Progress) {
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
