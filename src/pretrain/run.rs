//! A whole run: vocabulary, tokens, training, export.

use super::checkpoint::write_atomically;
use super::{
    Checkpoint, Error, Passages, PretrainConfig, Progress, Result, Stream, Trainer, encode_passages, export,
    train_vocabulary,
};
use burn::tensor::Device;
use std::path::Path;
use tokenizers::Tokenizer;

/// What a run needs beside its settings.
#[derive(Debug)]
pub struct Run<'a> {
    /// The settings.
    pub config: PretrainConfig,
    /// The text.
    pub text: Passages,
    /// Sentences of the built-in suite's grammar, for `config.text.builtin_share` of the rows.
    pub sentences: Passages,
    /// The directory that gets the model, `tokenizer.json` and `checkpoint.safetensors`.
    pub out: &'a Path,
    /// Whether to go on from the checkpoint in `out`, if there is one.
    pub resume: bool,
    /// Where to compute.
    pub device: &'a Device,
}

/// What a run gave.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Report {
    /// Steps taken in all.
    pub steps: usize,
    /// Parameters of the model.
    pub parameters: usize,
    /// Source and target tokens seen in all.
    pub tokens: usize,
    /// Tokens in the training text.
    pub text_tokens: usize,
    /// Loss on held-out text by stream.
    pub held_out: Vec<(String, f64)>,
}

/// Runs to the last step, or until `observe` answers false (then a checkpoint is left), and exports the model.
///
/// # Errors
/// If files cannot be read or written, the text is too little, or the run diverges.
pub fn run(run: Run<'_>, observe: &mut dyn FnMut(&Progress) -> bool) -> Result<Report> {
    let Run { config, text, sentences, out, resume, device } = run;
    std::fs::create_dir_all(out).map_err(Error::write(out))?;
    let path = out.join("checkpoint.safetensors");
    let resume = resume && path.exists();
    let tokenizer = if resume {
        let path = out.join("tokenizer.json");
        Tokenizer::from_file(&path).map_err(|error| Error::Vocabulary(format!("`{}`: {error}", path.display())))?
    } else {
        let tokenizer = vocabulary(&config, &text, &sentences)?;
        let document = tokenizer.to_string(false).map_err(|error| Error::Vocabulary(error.to_string()))?;
        write_atomically(&out.join("tokenizer.json"), document.as_bytes())?;
        tokenizer
    };
    let share = config.text.builtin_share;
    let mut streams = Vec::new();
    for (name, share, passages) in [("text", 1.0 - share, &text), ("built-in sentences", share, &sentences)] {
        if share > 0.0 {
            let train = encode_passages(&tokenizer, &passages.train)?;
            let held_out = encode_passages(&tokenizer, &passages.held_out)?;
            streams.push(Stream { name: name.into(), share, train, held_out });
        }
    }
    let text_tokens = streams.iter().map(|stream| stream.train.len()).sum();
    let t5 = config.t5();
    let mut trainer = Trainer::new(config, streams, device)?;
    if resume {
        let wrong = |what| Error::Checkpoint { path: path.clone(), what };
        trainer.restore(Checkpoint::read(&path)?).map_err(wrong)?;
    }
    trainer.run(&mut |trainer, progress| {
        let go_on = progress.is_none_or(&mut *observe);
        if trainer.checkpoint_due() || !go_on {
            trainer.checkpoint().write(&path)?;
        }
        Ok(go_on)
    })?;
    export(out, &t5, &trainer.parameters)?;
    Ok(Report {
        steps: trainer.step(),
        parameters: trainer.parameters.values.len(),
        tokens: trainer.step() * trainer.tokens_per_step(),
        text_tokens,
        held_out: trainer.evaluate()?,
    })
}

/// Trains on text and sentences in the proportion in which the model will see them, on passages spread evenly over each.
fn vocabulary(config: &PretrainConfig, text: &Passages, sentences: &Passages) -> Result<Tokenizer> {
    let share = config.text.builtin_share;
    let mut passages = Vec::new();
    for (source, share) in [(text, 1.0 - share), (sentences, share)] {
        let wanted = config.vocabulary.characters as f64 * share;
        let stride = (source.characters as f64 / wanted).ceil().max(1.0);
        if wanted > 0.0 {
            passages.extend(source.train.iter().step_by(stride as usize));
        }
    }
    train_vocabulary(passages, &config.vocabulary)
}
