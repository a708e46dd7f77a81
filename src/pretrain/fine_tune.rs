//! Full fine-tuning: every parameter of a model is trained on a task, as the yardstick for delta weights.

use super::Parameters;
use super::config::{Optimizer, Precision};
use super::optimiser::Optimiser;
use super::pass::gradient;
use crate::t5::{Backbone, Frozen};
use crate::task::Split;
use crate::train::{
    Batch, EncodedTask, Error, Flow, Observer, Order, Pass, Report, Result, Settings, clip_global_norm, evaluate,
    evaluates_after, linear_decay,
};
use std::time::Instant;

/// A fine-tuned model.
#[derive(Debug, Clone)]
pub struct FineTuned {
    /// Those of the best dev checkpoint.
    pub parameters: Parameters,
    /// Its dev score.
    pub dev_score: f64,
    /// The step after which it was taken.
    pub best_step: usize,
    /// Loss of every step's batch.
    pub losses: Vec<f64>,
    /// Seconds.
    pub seconds: f64,
}

/// Trains all of `parameters`, which have the shape of `backbone`, as [`crate::train::retrain`] trains delta weights: the
/// same order of rows, AdamW with linear decay, the best dev checkpoint kept.
///
/// `settings.learning_rate` is relative: times the deviation of each parameter's initialisation. No checkpoint is offered to
/// the observer: what it would keep is as large as the model three times over.
///
/// # Errors
/// If the settings cannot work, the loss diverges, or the observer stops the run.
pub fn fine_tune(
    backbone: &Backbone,
    mut parameters: Parameters,
    data: &EncodedTask,
    settings: &Settings,
    observer: &mut dyn Observer,
) -> Result<FineTuned> {
    settings.check()?;
    let started = Instant::now();
    let mut optimiser = Optimiser::new(Optimizer::Adamw, &parameters, &backbone.config);
    let mut order = Order::over(&data.train, settings.batch_size, settings.seed, "retrain", settings.group_by_length);
    let mut losses = Vec::with_capacity(settings.steps);
    let (mut best, mut best_score, mut best_step) = (Vec::new(), None, 0);
    for step in 1..=settings.steps {
        let rate = linear_decay(settings.learning_rate, step - 1, settings.steps);
        let rows: Vec<_> = order.batch(step - 1).iter().map(|row| &data.train[*row]).collect();
        let pieces = Batch::pieces(backbone, &rows, &data.candidates)?;
        let Pass { loss, mut gradient } =
            gradient(&parameters, &backbone.config, Precision::F32, backbone.model.device(), &pieces)?;
        if !loss.is_finite() {
            return Err(Error::Diverged { loss, step: step - 1, rate });
        }
        clip_global_norm(&mut gradient, settings.clip);
        optimiser.step(&mut parameters.values, &gradient, rate, 0.0);
        losses.push(loss);
        if evaluates_after(step, settings.steps, settings.evaluations) {
            let dev = evaluate(&parameters.backbone(backbone)?, &Frozen, data, Split::Dev, None, observer)?;
            let found = (dev.score, -dev.loss);
            if best_score.is_none_or(|best| found > best) {
                (best, best_score, best_step) = (parameters.values.clone(), Some(found), step);
            }
        }
        let dev_score = best_score.map(|(score, _)| score);
        let report = Report { step, total_steps: settings.steps, loss, dev_score, ..Report::default() };
        if observer.step(&report, &Vec::new) == Flow::Stop && step < settings.steps {
            return Err(Error::Stopped(step));
        }
    }
    let (dev_score, _) = best_score.expect("the last step is evaluated");
    parameters.values = best;
    Ok(FineTuned { parameters, dev_score, best_step, losses, seconds: started.elapsed().as_secs_f64() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::{Unobserved, target_loss};
    use burn::tensor::Device;

    /// A reference model as it stands in the repository, and its parameters.
    fn tiny() -> (Backbone, Parameters) {
        let name = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reference/tiny-v1.1");
        let device = Device::flex();
        let backbone = Backbone::resolve(name, &device).unwrap();
        let mut weights = Backbone::resolve_weights(name, &device).unwrap();
        let parameters = Parameters::read(&backbone.config, &mut weights).unwrap();
        (backbone, parameters)
    }

    fn topics(backbone: &Backbone) -> EncodedTask {
        let task = crate::task::builtin("builtin-topic").unwrap();
        let task = Split::ALL.into_iter().fold(task, |task, split| task.take_of(split, 60, 0));
        EncodedTask::new(task, backbone, 32).unwrap()
    }

    #[test]
    fn parameters_that_were_read_are_the_model() {
        let (backbone, parameters) = tiny();
        assert_eq!(parameters.values.len(), backbone.parameters);
        let again = parameters.backbone(&backbone).unwrap();
        let batch = Batch::new(&backbone.config, &[&[4, 9, 11, 1]], &[&[7, 5, 1]]).unwrap();
        let loss = |backbone: &Backbone| target_loss(&backbone.model, &Frozen, &batch).into_scalar::<f32>();
        assert_eq!(loss(&backbone), loss(&again));
        assert_ne!(backbone.digest, again.digest, "one is the file's, the other that of the values");
    }

    /// The three largest gradients of each matrix against central differences; f32 leaves about three digits of them.
    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        let (backbone, parameters) = tiny();
        let sources: [&[u32]; 3] = [&[4, 9, 11, 30, 1], &[12, 1], &[40, 41, 42, 1]];
        let targets: [&[u32]; 3] = [&[7, 1], &[5, 20, 21, 1], &[9, 9, 1]]; // ragged: padding must not count
        let batch = Batch::new(&backbone.config, &sources, &targets).unwrap();
        let Pass { loss, gradient: found } =
            gradient(&parameters, &backbone.config, Precision::F32, &Device::flex(), std::slice::from_ref(&batch))
                .unwrap();
        let loss_of = |parameters: &Parameters| {
            let model = parameters.frozen(&backbone.config, &Device::flex()).unwrap();
            f64::from(target_loss(&model, &Frozen, &batch).into_scalar::<f32>() / batch.tokens())
        };
        assert!((loss - loss_of(&parameters)).abs() < 1e-5);
        let mut start = 0;
        for spec in &parameters.specs {
            let mut places: Vec<_> = (start..start + spec.len()).collect();
            places.sort_by(|a, b| found[*b].abs().total_cmp(&found[*a].abs()));
            start += spec.len();
            for place in &places[..3] {
                let at = |step: f32| {
                    let mut moved = parameters.clone();
                    moved.values[*place] += step;
                    loss_of(&moved)
                };
                let (wanted, found) = ((at(5e-3) - at(-5e-3)) / 1e-2, f64::from(found[*place]));
                let near = (wanted - found).abs() < 2e-2 * found.abs() + 2e-4;
                assert!(near, "{}: {found}, by differences {wanted}", spec.parts[0].0);
            }
        }
    }

    #[test]
    fn the_loss_falls_and_the_best_checkpoint_is_given() {
        let (backbone, parameters) = tiny();
        let data = topics(&backbone);
        let settings =
            Settings { steps: 60, batch_size: 8, learning_rate: 1e-2, evaluations: 4, ..Settings::default() };
        let tuned = fine_tune(&backbone, parameters.clone(), &data, &settings, &mut Unobserved).unwrap();
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
        let (first, last) = (mean(&tuned.losses[..5]), mean(&tuned.losses[55..]));
        assert!(last < 0.7 * first, "{first} -> {last}");
        let dev = |parameters: &Parameters| {
            evaluate(&parameters.backbone(&backbone).unwrap(), &Frozen, &data, Split::Dev, None, &Unobserved).unwrap()
        };
        assert_eq!((tuned.dev_score, tuned.best_step % 15), (dev(&tuned.parameters).score, 0));
        assert!(dev(&tuned.parameters).loss < dev(&parameters).loss);
    }

    #[test]
    fn an_observer_stops_it() {
        struct Third;
        impl Observer for Third {
            fn step(&mut self, report: &Report, _: &dyn Fn() -> Vec<u8>) -> Flow {
                if report.step == 3 { Flow::Stop } else { Flow::Continue }
            }
        }
        let (backbone, parameters) = tiny();
        let settings = Settings { steps: 5, batch_size: 2, ..Settings::default() };
        let error = fine_tune(&backbone, parameters, &topics(&backbone), &settings, &mut Third).unwrap_err();
        assert!(matches!(error, Error::Stopped(3)), "{error}");
    }
}
