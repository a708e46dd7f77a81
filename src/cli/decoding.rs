//! The flags of decoding, in transformers' words.

use crate::t5::{Backbone, DecodeSettings, EarlyStopping};
use anyhow::Result;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Decoding")]
pub(super) struct Decoding {
    /// Tokens to make at most; what the backbone's generation_config.json says, or 64.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    max_new_tokens: Option<u16>,
    /// Tokens to make at least.
    #[arg(long, value_name = "N")]
    min_new_tokens: Option<usize>,
    /// Beams; 1 is no beam search.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    num_beams: Option<u16>,
    /// Sequences for each source: of the best beams, or drawn.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    num_return_sequences: Option<u16>,
    /// Exponent of the length by which a finished beam's score is divided.
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = super::finite)]
    length_penalty: Option<f64>,
    /// When beam search ends: `true` with as many finished sequences as beams, `false` by a heuristic, `never` once no beam
    /// can become better.
    #[arg(long, value_name = "HOW", value_parser = ["true", "false", "never"])]
    early_stopping: Option<String>,
    /// Draw tokens instead of taking the likeliest.
    #[arg(long)]
    do_sample: bool,
    /// Divides the scores before a draw.
    #[arg(long, value_name = "T", value_parser = super::finite)]
    temperature: Option<f64>,
    /// Draw among the K likeliest tokens, 0 for all; transformers' default is 50.
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
    /// Draw among the likeliest tokens that together have this probability.
    #[arg(long, value_name = "P", value_parser = super::finite)]
    top_p: Option<f64>,
    /// Draw among tokens with at least this part of the likeliest one's probability.
    #[arg(long, value_name = "P", value_parser = super::finite)]
    min_p: Option<f64>,
    /// Draw among the most typical tokens that together have this probability.
    #[arg(long, value_name = "P", value_parser = super::finite)]
    typical_p: Option<f64>,
    /// Seed of the draws; each source's are the same whatever the others.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// More than 1 makes tokens less likely that were made.
    #[arg(long, value_name = "X", value_parser = super::finite)]
    repetition_penalty: Option<f64>,
    /// No run of N tokens comes twice; 0 for no limit.
    #[arg(long, value_name = "N")]
    no_repeat_ngram_size: Option<usize>,
    /// Tokens that are never made, as ids separated by commas.
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    suppress_tokens: Option<Vec<u32>>,
    /// The first token.
    #[arg(long, value_name = "ID")]
    forced_bos_token_id: Option<u32>,
    /// The last token where --max-new-tokens is reached.
    #[arg(long, value_name = "ID")]
    forced_eos_token_id: Option<u32>,
}

impl Decoding {
    /// The backbone's settings with those of the flags. What does not go together is a usage error.
    pub(super) fn settings(&self, backbone: &Backbone) -> Result<DecodeSettings> {
        let mut settings = backbone.decoding()?.clone();
        set(&mut settings.max_new_tokens, self.max_new_tokens.map(usize::from));
        set(&mut settings.min_new_tokens, self.min_new_tokens);
        set(&mut settings.num_beams, self.num_beams.map(usize::from));
        set(&mut settings.num_return_sequences, self.num_return_sequences.map(usize::from));
        set(&mut settings.length_penalty, self.length_penalty);
        set(&mut settings.early_stopping, self.early_stopping.as_deref().map(early_stopping));
        settings.do_sample |= self.do_sample;
        set(&mut settings.temperature, self.temperature);
        settings.top_k = self.top_k.or(settings.top_k);
        set(&mut settings.top_p, self.top_p);
        set(&mut settings.min_p, self.min_p);
        set(&mut settings.typical_p, self.typical_p);
        set(&mut settings.seed, self.seed);
        set(&mut settings.repetition_penalty, self.repetition_penalty);
        set(&mut settings.no_repeat_ngram_size, self.no_repeat_ngram_size);
        set(&mut settings.suppress_tokens, self.suppress_tokens.clone());
        settings.forced_bos_token_id = self.forced_bos_token_id.or(settings.forced_bos_token_id);
        set(&mut settings.forced_eos_token_id, self.forced_eos_token_id.map(|id| vec![id]));
        self.check(&settings).unwrap_or_else(|what| usage(&what));
        settings
            .check(backbone.config.vocab_size)
            .unwrap_or_else(|error| usage(&format!("--{} {}", error.field.replace('_', "-"), error.what)));
        Ok(settings)
    }

    /// Refuses flags that would have no effect.
    fn check(&self, settings: &DecodeSettings) -> Result<(), String> {
        let of_draws = [
            ("--temperature", self.temperature.is_some()),
            ("--top-k", self.top_k.is_some()),
            ("--top-p", self.top_p.is_some()),
            ("--min-p", self.min_p.is_some()),
            ("--typical-p", self.typical_p.is_some()),
            ("--seed", self.seed.is_some()),
        ];
        if let Some((flag, _)) = of_draws.iter().find(|(_, given)| *given && !settings.do_sample) {
            return Err(format!("{flag} has no effect without --do-sample: add it, or leave {flag} out"));
        }
        let of_beams =
            [("--length-penalty", self.length_penalty.is_some()), ("--early-stopping", self.early_stopping.is_some())];
        match of_beams.iter().find(|(_, given)| *given && settings.num_beams == 1) {
            Some((flag, _)) => {
                Err(format!("{flag} has no effect without beams: give --num-beams 2 or more, or leave {flag} out"))
            }
            None => Ok(()),
        }
    }
}

/// Ends the command as clap does for a flag that it cannot read.
fn usage(what: &str) -> ! {
    clap::Error::raw(clap::error::ErrorKind::ValueValidation, format!("{what}\n")).exit()
}

fn early_stopping(text: &str) -> EarlyStopping {
    match text {
        "true" => EarlyStopping::Full,
        "never" => EarlyStopping::Never,
        _ => EarlyStopping::Heuristic,
    }
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}
