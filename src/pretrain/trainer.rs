//! The training loop: batches by step number, loss, gradient, optimiser, evaluation on held-out text.
//!
//! The learning rate is relative: see [`super::config::TrainingConfig`] and the optimisers.

use super::config::{Schedule, TrainingConfig};
use super::optimiser::Optimiser;
use super::pass::{gradient, pieces};
use super::stream::{Stream, Streams};
use super::tie::Tie;
use super::{Checkpoint, Corruption, Error, Example, Parameters, PretrainConfig, Result, VocabularyConfig};
use crate::t5::{Config, Frozen};
use crate::train::{Batch, Pass, clip_global_norm, side_by_side, target_loss};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Instant;

/// Mean loss per target token in nats, by stream.
pub type Losses = BTreeMap<String, f64>;

/// Where a run stands, after every `report_every` steps; a line of its log.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps taken.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// Mean loss per target token since the last report.
    pub loss: f64,
    /// Loss on what is held out, where it was measured at this step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out: Option<Losses>,
    /// Learning rate.
    pub rate: f64,
    /// Gradient norm before clipping, latest step.
    pub gradient_norm: f64,
    /// Source and target tokens seen, padding not counted.
    pub tokens: usize,
    /// The same a second since the start or resumption.
    pub tokens_per_second: f64,
    /// Seconds since the start or resumption.
    pub seconds: f64,
    /// Seconds left at this speed; not in the log.
    #[serde(skip)]
    pub seconds_left: f64,
}

/// A run's state.
#[derive(Debug)]
pub struct Trainer {
    config: PretrainConfig,
    t5: Config,
    device: Device,
    streams: Streams,
    /// Parameters so far.
    pub parameters: Parameters,
    optimiser: Optimiser,
    tie: Option<Tie>,
    step: usize,
    tokens: usize,
    /// Summed losses and number of the steps since the last report.
    unreported: (f64, usize),
}

/// The learning rate of the step after `step`: up linearly, then by the schedule, and down linearly to 0 over the last
/// `cool_down`.
pub fn rate_at(config: &TrainingConfig, step: usize) -> f64 {
    let (warm_up, steps) = (config.warm_up.max(1) as f64, config.steps as f64);
    let (now, left) = ((step + 1) as f64, config.steps.saturating_sub(step) as f64);
    let middle = match config.schedule {
        Schedule::Constant => 1.0,
        Schedule::Linear => (left / (steps - warm_up).max(1.0)).min(1.0),
        Schedule::InverseSquareRoot => (warm_up / now).sqrt().min(1.0),
    };
    config.rate * (now / warm_up).min(1.0) * middle * (left / (steps * config.cool_down).max(1.0)).min(1.0)
}

impl Trainer {
    /// A run at its start.
    ///
    /// # Errors
    /// If a text is too short for one example.
    pub fn new(config: PretrainConfig, streams: Vec<Stream>, device: &Device) -> Result<Self> {
        config.check()?;
        let streams = Streams::new(Corruption::new(&config.corruption, &config.vocabulary), streams)?;
        let t5 = config.t5();
        let mut parameters = Parameters::init(&t5, config.training.seed);
        let embedding = parameters.specs[0].len();
        parameters.values[..embedding].iter_mut().for_each(|value| *value *= config.model.embedding_start as f32);
        let tie = config.model.tied.then(|| Tie::new(&parameters, &t5));
        if let Some(tie) = tie {
            tie.copy(&mut parameters.values);
        }
        let optimiser = Optimiser::new(config.training.optimizer, &parameters, &t5);
        let device = device.clone();
        Ok(Self { t5, device, streams, parameters, optimiser, tie, step: 0, tokens: 0, unreported: (0.0, 0), config })
    }

    /// Steps taken.
    pub fn step(&self) -> usize {
        self.step
    }

    /// Source and target tokens seen, padding not counted.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Whether steps were taken since the last report.
    pub fn has_unreported(&self) -> bool {
        self.unreported.1 > 0
    }

    /// What to keep on disk.
    pub fn checkpoint(&self) -> Checkpoint {
        let [first, second] = self.optimiser.moments();
        Checkpoint {
            config: self.config.clone(),
            step: self.step,
            tokens: self.tokens,
            unreported: self.unreported,
            vocabulary: None,
            values: self.parameters.values.clone(),
            first: first.to_vec(),
            second: second.to_vec(),
        }
    }

    /// Goes on from a checkpoint of the same model, vocabulary, seed and optimiser; steps, rates, text, mixture and shares may
    /// differ.
    ///
    /// # Errors
    /// If they are not the same; the text says what differs.
    pub fn restore(&mut self, checkpoint: Checkpoint) -> Result<(), String> {
        let (now, then) = (&self.config, &checkpoint.config);
        let vocabulary = |config: &PretrainConfig| VocabularyConfig { tokenizer: None, ..config.vocabulary.clone() };
        let same = [
            ("[model]", now.model == then.model),
            ("[vocabulary]", vocabulary(now) == vocabulary(then)),
            ("training.seed", now.training.seed == then.training.seed),
            ("training.optimizer", now.training.optimizer == then.training.optimizer),
            ("the number of values", self.parameters.values.len() == checkpoint.values.len()),
        ];
        if let Some((what, _)) = same.iter().find(|(_, same)| !same) {
            return Err(format!("{what} differs from this run's"));
        }
        (self.step, self.tokens, self.unreported) = (checkpoint.step, checkpoint.tokens, checkpoint.unreported);
        self.parameters.values = checkpoint.values;
        self.optimiser.restore(checkpoint.step, checkpoint.first, checkpoint.second);
        Ok(())
    }

    /// Runs until so many steps are taken, those of the schedule at most, or until `observe` answers false; it is called after
    /// each step, and gets a report where one is due.
    ///
    /// # Errors
    /// If the loss is no longer a number, or what `observe` returns.
    pub fn run(
        &mut self,
        steps: usize,
        observe: &mut dyn FnMut(&Self, Option<&Progress>) -> Result<bool>,
    ) -> Result<()> {
        let training = self.config.training.clone();
        let steps = steps.min(training.steps);
        let (begin, first, tokens) = (Instant::now(), self.step, self.tokens);
        while self.step < steps {
            let rate = rate_at(&training, self.step);
            let (loss, gradient_norm) = self.advance(rate)?;
            self.unreported = (self.unreported.0 + loss, self.unreported.1 + 1);
            let (sum, count) = self.unreported;
            let (last, due) = (self.step == steps, |every: usize| self.step.is_multiple_of(every));
            let regular = due(training.report_every) || due(training.evaluate_every);
            if regular {
                self.unreported = (0.0, 0); // a report that only a stop brings about takes nothing from the next one
            }
            let progress = if regular || last {
                let held_out = if last || due(training.evaluate_every) { Some(self.evaluate()?) } else { None };
                let seconds = begin.elapsed().as_secs_f64();
                let done = (self.step - first) as f64;
                let loss = sum / count as f64;
                Some(Progress {
                    step: self.step,
                    steps,
                    loss,
                    held_out,
                    rate,
                    gradient_norm,
                    tokens: self.tokens,
                    tokens_per_second: (self.tokens - tokens) as f64 / seconds,
                    seconds,
                    seconds_left: (steps - self.step) as f64 * seconds / done,
                })
            } else {
                None
            };
            if !observe(self, progress.as_ref())? {
                break;
            }
        }
        Ok(())
    }

    /// Whether `checkpoint_every` wants a checkpoint after this step.
    pub fn checkpoint_due(&self) -> bool {
        self.step.is_multiple_of(self.config.training.checkpoint_every)
    }

    /// One step; gives loss and gradient norm.
    fn advance(&mut self, rate: f64) -> Result<(f64, f64)> {
        let training = &self.config.training;
        let batch = self.streams.batch(training.batch_size, training.seed, self.step);
        let pieces = pieces(&self.t5, &batch, training.micro_batch_size)?;
        let Pass { loss, mut gradient } =
            gradient(&self.parameters, &self.t5, training.precision, &self.device, &pieces)?;
        if !loss.is_finite() {
            return Err(Error::Diverged { step: self.step, loss });
        }
        self.tokens += batch.iter().map(Example::tokens).sum::<usize>();
        if let Some(tie) = self.tie {
            tie.gather(&mut gradient);
        }
        let norm = clip_global_norm(&mut gradient, training.clip);
        self.optimiser.step(&mut self.parameters.values, &gradient, rate, training.weight_decay);
        if let Some(tie) = self.tie {
            tie.copy(&mut self.parameters.values);
        }
        self.step += 1;
        Ok((loss, norm))
    }

    /// Loss per target token on what each stream holds out; the same rows each time.
    pub fn evaluate(&self) -> Result<Losses> {
        let model = self.parameters.frozen(&self.t5, &self.device)?;
        let training = &self.config.training;
        let one = |stream: &Stream| {
            let rows = self.streams.held_out(stream, training.held_out_batches * training.batch_size, training.seed);
            let pieces = pieces(&self.t5, &rows, training.micro_batch_size)?;
            let of = |piece: &Batch| f64::from(target_loss(&model, &Frozen, piece).into_scalar::<f32>());
            let sum: f64 = side_by_side(&self.device, &pieces, of).iter().sum();
            let tokens: usize = rows.iter().map(|example| example.target.len()).sum();
            Ok((stream.name.clone(), sum / tokens as f64))
        };
        self.streams.iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pretrain::stream::tests::examples;
    use crate::pretrain::{Content, CorruptionConfig, ModelConfig, Optimizer, Precision, TextConfig, Tokens};

    fn config(steps: usize) -> PretrainConfig {
        PretrainConfig {
            model: ModelConfig {
                d_model: 16,
                d_kv: 4,
                num_heads: 2,
                encoder_layers: 1,
                decoder_layers: 1,
                d_ff: 24,
                tied: false,
                embedding_start: 1.0,
            },
            vocabulary: VocabularyConfig {
                size: 120,
                sentinels: 8,
                byte_fallback: false,
                characters: 1000,
                coverage: 1.0,
                tokenizer: None,
            },
            corruption: CorruptionConfig { source_tokens: 24, ..CorruptionConfig::default() },
            training: TrainingConfig {
                seed: 7,
                steps,
                batch_size: 4,
                micro_batch_size: 2,
                optimizer: Optimizer::Adamw,
                precision: Precision::F32,
                rate: 1e-2,
                schedule: Schedule::Constant,
                warm_up: 4,
                cool_down: 0.25,
                clip: 1.0,
                weight_decay: 0.0,
                report_every: 1,
                evaluate_every: 40,
                checkpoint_every: 5,
                held_out_batches: 2,
            },
            text: TextConfig::default(),
            supervised: None,
        }
    }

    /// Two streams in which each token tells the next.
    fn streams() -> Vec<Stream> {
        let tokens = |add: u32| (0..400u32).map(|i| 3 + (i + add) % 20).collect::<Vec<_>>();
        let one = |name: &str, share, add| Stream {
            name: name.into(),
            share,
            from_step: 0,
            content: Content::Text(Tokens { train: tokens(add), held_out: tokens(add) }),
        };
        vec![one("first", 0.75, 0), one("second", 0.25, 40)]
    }

    /// The first stream with a mixture beside it.
    fn mixed() -> Vec<Stream> {
        let mut streams = streams();
        (streams[0].share, streams[1].share) = (0.5, 0.5);
        (streams[1].name, streams[1].content) = ("supervised".into(), Content::Examples(examples()));
        streams
    }

    fn losses(trainer: &mut Trainer, stop_at: usize) -> Vec<f64> {
        let mut losses = Vec::new();
        let mut observe = |trainer: &Trainer, progress: Option<&Progress>| {
            losses.extend(progress.map(|progress| progress.loss));
            Ok(trainer.step() < stop_at)
        };
        trainer.run(usize::MAX, &mut observe).unwrap();
        losses
    }

    #[test]
    fn a_resumed_run_is_the_uninterrupted_one() {
        let device = Device::flex();
        let mut whole = Trainer::new(config(12), streams(), &device).unwrap();
        let all = losses(&mut whole, usize::MAX);
        let mut before = Trainer::new(config(12), streams(), &device).unwrap();
        let mut parts = losses(&mut before, 5);
        let bytes = before.checkpoint().to_bytes();
        let mut after = Trainer::new(config(12), streams(), &device).unwrap();
        after.restore(Checkpoint::from_bytes(&bytes).unwrap()).unwrap();
        parts.extend(losses(&mut after, usize::MAX));
        assert_eq!((all.len(), &all), (12, &parts));
        assert_eq!(whole.parameters.values, after.parameters.values);
    }

    /// Stopped between two reports, and by its number of steps: the next report is that of the uninterrupted run.
    #[test]
    fn a_report_after_a_resumption_tells_of_all_its_steps() {
        let mut config = config(12);
        (config.training.report_every, config.training.evaluate_every) = (5, 100);
        let device = Device::flex();
        let new = || Trainer::new(config.clone(), streams(), &device).unwrap();
        let mut whole = new();
        let all = losses(&mut whole, usize::MAX);
        assert_eq!(all.len(), 3, "after 5, 10 and 12 steps");
        for stop in [7, 10] {
            let mut before = new();
            let mut reports = Vec::new();
            let mut observe = |_: &Trainer, progress: Option<&Progress>| {
                reports.extend(progress.map(|progress| (progress.step, progress.loss)));
                Ok(true)
            };
            before.run(stop, &mut observe).unwrap();
            assert_eq!(before.has_unreported(), stop == 7);
            let mut after = new();
            after.restore(Checkpoint::from_bytes(&before.checkpoint().to_bytes()).unwrap()).unwrap();
            let rest = losses(&mut after, usize::MAX);
            assert_eq!(rest[..], all[3 - rest.len()..], "stopped after {stop}");
            assert_eq!(reports[0], (5, all[0]));
        }
    }

    #[test]
    fn the_loss_falls_on_text_that_can_be_foretold() {
        let mut trainer = Trainer::new(config(120), streams(), &Device::flex()).unwrap();
        let before = trainer.evaluate().unwrap();
        losses(&mut trainer, usize::MAX);
        let after = trainer.evaluate().unwrap();
        for ((name, before), (_, after)) in before.iter().zip(&after) {
            assert!(after < &(0.6 * before), "{name}: {before} -> {after}");
        }
    }

    #[test]
    fn a_tied_output_layer_stays_the_embedding() {
        let mut tied = config(120);
        (tied.model.tied, tied.model.embedding_start) = (true, 0.2);
        let mut trainer = Trainer::new(tied, streams(), &Device::flex()).unwrap();
        let before = trainer.evaluate().unwrap();
        losses(&mut trainer, usize::MAX);
        let after = trainer.evaluate().unwrap();
        assert!(before.iter().all(|(name, before)| after[name] < 0.6 * before), "{before:?} -> {after:?}");
        let (vocab, values) = (trainer.t5.vocab_size, &trainer.parameters.values);
        let head = &values[values.len() - 16 * vocab..];
        let at = |token: usize, j: usize| (head[j * vocab + token], 0.25 * values[token * 16 + j]);
        assert!((0..vocab).all(|token| (0..16).all(|j| at(token, j).0 == at(token, j).1)));
    }

    #[test]
    fn another_run_is_refused() {
        let trainer = Trainer::new(config(3), streams(), &Device::flex()).unwrap();
        let checkpoint = trainer.checkpoint();
        let mut other = config(3);
        other.training.seed = 8;
        let error = Trainer::new(other, streams(), &Device::flex()).unwrap().restore(checkpoint).unwrap_err();
        assert!(error.contains("training.seed"), "{error}");
    }

    #[test]
    fn a_mixture_may_follow_text() {
        let device = Device::flex();
        let mut text = Trainer::new(config(4), streams(), &device).unwrap();
        losses(&mut text, usize::MAX);
        assert_eq!(text.tokens(), 4 * 4 * (24 + 6));
        let before = text.checkpoint();

        let mut with = config(200);
        (with.training.report_every, with.vocabulary.tokenizer) = (10, Some("elsewhere.json".into()));
        let mut mixture = Trainer::new(with.clone(), mixed(), &device).unwrap();
        mixture.restore(before.clone()).unwrap();
        let (first, all) = (mixture.evaluate().unwrap(), losses(&mut mixture, usize::MAX));
        let last = mixture.evaluate().unwrap();
        assert_eq!(first.keys().collect::<Vec<_>>(), ["first", "supervised"]);
        assert!(last["supervised"] < 0.8 * first["supervised"], "{first:?} -> {last:?}");

        let mut again = Trainer::new(with.clone(), mixed(), &device).unwrap();
        again.restore(before).unwrap();
        let mut parts = losses(&mut again, 100);
        let mut after = Trainer::new(with, mixed(), &device).unwrap();
        after.restore(Checkpoint::from_bytes(&again.checkpoint().to_bytes()).unwrap()).unwrap();
        parts.extend(losses(&mut after, usize::MAX));
        assert_eq!(all, parts);
        assert_eq!(after.tokens(), mixture.tokens());
    }

    #[test]
    fn the_rate_rises_stays_and_falls() {
        let training = TrainingConfig { warm_up: 10, steps: 100, cool_down: 0.2, rate: 1.0, ..config(0).training };
        for (step, rate) in [(0, 0.1), (9, 1.0), (50, 1.0), (80, 1.0), (90, 0.5), (99, 0.05)] {
            assert!((rate_at(&training, step) - rate).abs() < 1e-9, "step {step}: {}", rate_at(&training, step));
        }
    }
}
