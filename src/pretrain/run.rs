//! A whole run: vocabulary, tokens, training, export.

use super::checkpoint::{digest, write_atomically};
use super::log::Log;
use super::supervised::read_supervised;
use super::tokens::{read_tokens, write_tokens};
use super::{
    Checkpoint, Content, Corpus, Encoder, Error, Event, Losses, Mixture, Observer, PretrainConfig, Result, Sample,
    Stream, SupervisedConfig, Tokens, Trainer, curve, export, read_vocabulary, train_vocabulary,
};
use burn::tensor::Device;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use tokenizers::Tokenizer;

/// What a run needs beside its settings.
#[derive(Debug)]
pub struct Run<'a> {
    /// The settings.
    pub config: PretrainConfig,
    /// The text.
    pub text: Corpus,
    /// Sentences of the built-in suite's grammar, for `config.text.builtin_share` of the rows of text.
    pub sentences: Vec<String>,
    /// A tokenizer.json to use instead of training a vocabulary.
    pub tokenizer: Option<&'a Path>,
    /// The directory that gets the model, `tokenizer.json`, `checkpoint.safetensors`, the text as tokens in
    /// `tokens.safetensors`, every report in `log.jsonl`, and the losses as `curve.svg`.
    pub out: &'a Path,
    /// Whether to go on from the checkpoint in `out`, if there is one.
    pub resume: bool,
    /// Whether to begin anew over a run that `out` holds already.
    pub overwrite: bool,
    /// Steps after which to stop, all of `config.training.steps` without it; the schedule is that of all of them.
    pub stop_after: Option<usize>,
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
    /// Source and target tokens seen in all, padding not counted.
    pub tokens: usize,
    /// Tokens in the training text.
    pub text_tokens: usize,
    /// The supervised mixture, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mixture: Option<Mixture>,
    /// Loss on what each stream holds out.
    pub held_out: Losses,
}

/// Runs to the last step, or until `observe` answers false (then a checkpoint is left), and exports the model.
///
/// # Errors
/// If files cannot be read or written, the text is too little, `observe` answers false before training has begun, or the run
/// diverges.
pub fn run(run: Run<'_>, observe: &mut Observer<'_>) -> Result<Report> {
    run.config.check()?;
    std::fs::create_dir_all(run.out).map_err(Error::write(run.out))?;
    let path = run.out.join("checkpoint.safetensors");
    let steps = run.steps()?;
    let resume = run.resume && path.exists();
    if !run.resume && path.exists() {
        if !run.overwrite {
            return Err(Error::Config(format!(
                "`{}` holds a run already: go on with --resume, name another folder with --out, or begin anew over it with \
                 --overwrite",
                run.out.display()
            )));
        }
        // the checkpoint first: what is left then is no run
        for file in [&path, &run.out.join("log.jsonl")] {
            match std::fs::remove_file(file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Error::write(file)(error)),
                _ => {}
            }
        }
    }
    let tokenizer = run.vocabulary(resume, observe)?;
    let vocabulary = digest(std::iter::once(document(&tokenizer)?.as_bytes()));
    let (supervised, mixture) = run.supervised(steps, &tokenizer, observe)?.unzip();
    let mut streams = run.streams(&tokenizer, observe)?;
    let tokens = |stream: &Stream| if let Content::Text(tokens) = &stream.content { tokens.train.len() } else { 0 };
    let text_tokens = streams.iter().map(tokens).sum();
    streams.extend(supervised);
    let Run { config, out, device, .. } = run;
    let t5 = config.t5();
    let mut trainer = Trainer::new(config, streams, device)?;
    if resume {
        let wrong = |what| Error::Checkpoint { path: path.clone(), what };
        let checkpoint = Checkpoint::read(&path)?;
        if checkpoint.vocabulary.as_ref().is_some_and(|then| *then != vocabulary) {
            let what = "its run had another vocabulary than the tokenizer.json beside it: put that one back";
            return Err(wrong(what.into()));
        }
        trainer.restore(checkpoint).map_err(wrong)?;
    }
    // where a stop brought about a report, the next one tells of its steps again
    let told = trainer.step() - usize::from(trainer.has_unreported());
    let mut log = Log::open(&out.join("log.jsonl"), told)?;
    trainer.run(steps, &mut |trainer, progress| {
        if let Some(progress) = progress {
            log.push(progress)?;
        }
        let go_on = observe(progress.map_or(Event::Taken, Event::Step));
        if trainer.checkpoint_due() || trainer.step() == steps || !go_on {
            Checkpoint { vocabulary: Some(vocabulary.clone()), ..trainer.checkpoint() }.write(&path)?;
        }
        Ok(go_on)
    })?;
    export(out, &t5, &trainer.parameters)?;
    write_atomically(&out.join("curve.svg"), curve(log.reports()).as_bytes())?;
    Ok(Report {
        steps: trainer.step(),
        parameters: trainer.parameters.values.len(),
        tokens: trainer.tokens(),
        text_tokens,
        mixture,
        held_out: trainer.evaluate()?,
    })
}

impl Run<'_> {
    /// Steps to take in all.
    fn steps(&self) -> Result<usize> {
        let all = self.config.training.steps;
        match self.stop_after {
            Some(0) => Err(Error::Config("--steps 0 trains nothing: give 1 or more, or leave --steps out".into())),
            Some(steps) if steps > all => Err(Error::Config(format!(
                "--steps {steps} is more than the {all} of the schedule: raise training.steps, or leave --steps out"
            ))),
            steps => Ok(steps.unwrap_or(all)),
        }
    }

    /// The vocabulary of the run that is resumed, the one that was given, or a new one; `out` holds it afterwards.
    fn vocabulary(&self, resume: bool, observe: &mut Observer<'_>) -> Result<Tokenizer> {
        let path = self.out.join("tokenizer.json");
        // a run that was killed before its first checkpoint has its vocabulary already
        let resume = resume || self.resume && path.exists();
        let given = self.tokenizer.map(|path| read_vocabulary(path, &self.config.vocabulary)).transpose()?;
        if resume {
            let tokenizer = read_vocabulary(&path, &self.config.vocabulary)?;
            if let Some(given) = given
                && document(&given)? != document(&tokenizer)?
            {
                return Err(Error::Vocabulary(format!(
                    "the run that is resumed has another one, `{}`: leave out --tokenizer, or run without --resume",
                    path.display()
                )));
            }
            return Ok(tokenizer);
        }
        let tokenizer = match given {
            Some(tokenizer) => tokenizer,
            None => self.train_vocabulary(observe)?,
        };
        write_atomically(&path, document(&tokenizer)?.as_bytes())?;
        Ok(tokenizer)
    }

    /// Trains on text and sentences in the proportion in which the model will see them, on passages spread evenly over each.
    fn train_vocabulary(&self, observe: &mut Observer<'_>) -> Result<Tokenizer> {
        let share = self.config.text.builtin_share;
        let wanted = |share: f64| (self.config.vocabulary.characters as f64 * share) as usize;
        let (mut text, mut sentences) = (Sample::new(wanted(1.0 - share)), Sample::new(wanted(share)));
        if share < 1.0 {
            self.text.read("the vocabulary", observe, &mut |passage| {
                text.push(passage);
                Ok(())
            })?;
        }
        self.sentences.iter().for_each(|sentence| sentences.push(sentence));
        let passages = [text.finish(), sentences.finish()].concat();
        let characters = passages.iter().map(|passage| passage.chars().count()).sum();
        let (sender, receiver) = channel();
        let (begin, config) = (Instant::now(), self.config.vocabulary.clone());
        std::thread::spawn(move || {
            // nobody receives after a stop: the trainer cannot be interrupted, so it is left behind
            let _ = sender.send(train_vocabulary(&passages, &config));
        });
        loop {
            match receiver.recv_timeout(Duration::from_millis(100)) {
                Ok(tokenizer) => return tokenizer,
                Err(RecvTimeoutError::Disconnected) => return Err(Error::Vocabulary("the trainer failed".into())),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if !observe(Event::Vocabulary { characters, seconds: begin.elapsed().as_secs_f64() }) {
                return Err(Error::Stopped);
            }
        }
    }

    /// The streams of text, from `tokens.safetensors` if that was made from the same text by the same vocabulary.
    fn streams(&self, tokenizer: &Tokenizer, observe: &mut Observer<'_>) -> Result<Vec<Stream>> {
        let (share, text) = (self.config.text.builtin_share, 1.0 - self.config.supervised_share());
        let mut sources = vec![("text", text * (1.0 - share)), ("built-in sentences", text * share)];
        sources.retain(|(_, share)| *share > 0.0);
        if sources.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<&str> = sources.iter().map(|(name, _)| *name).collect();
        let (path, key) = (self.out.join("tokens.safetensors"), self.key(tokenizer)?);
        let kept = read_tokens(&path, &key, &names).unwrap_or_else(|why| {
            observe(Event::Note(&format!("`{}` {why}: made anew", path.display())));
            None
        });
        let tokens = match kept {
            Some(tokens) => tokens,
            None => {
                let tokens: Vec<Tokens> =
                    names.iter().map(|name| self.tokens(name, tokenizer, observe)).collect::<Result<_>>()?;
                let named: Vec<_> = names.iter().copied().zip(&tokens).collect();
                write_tokens(&path, &key, &named)?;
                tokens
            }
        };
        let stream = |((name, share), tokens): ((&str, f64), Tokens)| Stream {
            name: name.into(),
            share,
            from_step: 0,
            content: Content::Text(tokens),
        };
        Ok(sources.into_iter().zip(tokens).map(stream).collect())
    }

    /// The stream of the mixture, if these steps come to one, and what it consists of.
    fn supervised(
        &self,
        steps: usize,
        tokenizer: &Tokenizer,
        observe: &mut Observer<'_>,
    ) -> Result<Option<(Stream, Mixture)>> {
        let wanted = |settings: &&SupervisedConfig| settings.share > 0.0 && settings.from_step < steps;
        let Some(settings) = self.config.supervised.as_ref().filter(wanted) else {
            return Ok(None);
        };
        let (rows, mixture) = read_supervised(&self.config, settings, tokenizer, observe)?;
        let SupervisedConfig { share, from_step, .. } = *settings;
        let stream = Stream { name: "supervised".into(), share, from_step, content: Content::Examples(rows) };
        let dropped = mixture.dropped.iter().map(|(task, count)| format!("; {count} left out for {task}"));
        let note = format!(
            "the supervised mixture: {} rows and {} held out; {} sources cut{}",
            mixture.rows,
            mixture.held_out,
            mixture.cut,
            dropped.collect::<String>()
        );
        if observe(Event::Note(&note)) { Ok(Some((stream, mixture))) } else { Err(Error::Stopped) }
    }

    fn tokens(&self, name: &str, tokenizer: &Tokenizer, observe: &mut Observer<'_>) -> Result<Tokens> {
        let mut encoder = Encoder::new(tokenizer);
        if name == "text" {
            self.text.read("the tokens", observe, &mut |passage| encoder.push(passage))?;
        } else {
            self.sentences.iter().try_for_each(|sentence| encoder.push(sentence))?;
        }
        encoder.finish()
    }

    /// Digest of all that the tokens follow from.
    fn key(&self, tokenizer: &Tokenizer) -> Result<String> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(blake3::hash(document(tokenizer)?.as_bytes()).as_bytes());
        self.text.identify(&mut hasher);
        for sentence in &self.sentences {
            hasher.update(blake3::hash(sentence.as_bytes()).as_bytes());
        }
        Ok(hasher.finalize().to_hex()[..32].to_string())
    }
}

/// A vocabulary as tokenizer.json holds it.
fn document(tokenizer: &Tokenizer) -> Result<String> {
    tokenizer.to_string(false).map_err(|error| Error::Vocabulary(error.to_string()))
}
