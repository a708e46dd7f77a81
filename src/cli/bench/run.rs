//! One run of `s3delta bench backbone`.

use super::adaption::{Adaption, Outcome, Start};
use super::board::Runnable;
use super::method::Method;
use crate::delta::{Layout, Single};
use crate::pretrain::{Parameters, fine_tune};
use crate::t5::{Backbone, Frozen};
use crate::task::{Split, Target, Task};
use crate::train::{self, EncodedTask, Evaluation, Observer, Settings, evaluate, retrain};
use jiff::Timestamp;
use std::time::Instant;

/// A run that is to be made.
#[derive(Debug)]
pub(super) struct Run<'a> {
    pub(super) setup: Adaption,
    /// With all its rows.
    pub(super) task: &'a Task,
    pub(super) method: &'a Method,
    pub(super) origin: &'a Origin<'a>,
}

/// What runs start from.
#[derive(Debug)]
pub(super) struct Origin<'a> {
    pub(super) backbone: &'a Backbone,
    /// The backbone's parameters, where a run trains them all.
    pub(super) parameters: Option<Parameters>,
}

/// What training gave, whatever was trained.
struct Trained {
    parameters: usize,
    dev_score: f64,
    best_step: usize,
    losses: Vec<f64>,
    test: Evaluation,
}

impl Run<'_> {
    /// The task with the rows that the run takes: those of train by its seed, those of dev and test always the same.
    fn rows(&self) -> Task {
        let setup = &self.setup;
        let task = self.task.take(setup.train_rows, setup.seed);
        task.take_of(Split::Dev, setup.dev_rows, 0).take_of(Split::Test, setup.test_rows, 0)
    }
}

impl Runnable for Run<'_> {
    type Setup = Adaption;

    fn setup(&self) -> &Adaption {
        &self.setup
    }

    fn make(&self, observer: &mut dyn Observer) -> train::Result<Outcome> {
        let started = Instant::now();
        let (setup, origin) = (&self.setup, self.origin);
        let data = EncodedTask::new(self.rows(), origin.backbone, setup.max_source_tokens)?;
        let settings = Settings {
            steps: setup.steps,
            batch_size: setup.batch_size,
            learning_rate: setup.rate,
            clip: setup.clip,
            evaluations: setup.evaluations,
            seed: setup.seed,
            ..Settings::default()
        };
        let random = (setup.start == Start::Random).then(|| Parameters::init(&origin.backbone.config, setup.seed));
        let trained = match &self.method.structure {
            None => {
                let parameters = random.or_else(|| origin.parameters.clone()).expect("read where a run trains them");
                let tuned = fine_tune(origin.backbone, parameters, &data, &settings, observer)?;
                let test = evaluate(
                    &tuned.parameters.backbone(origin.backbone)?,
                    &Frozen,
                    &data,
                    Split::Test,
                    None,
                    observer,
                )?;
                let (dev_score, best_step) = (tuned.dev_score, tuned.best_step);
                Trained { parameters: tuned.parameters.values.len(), dev_score, best_step, losses: tuned.losses, test }
            }
            Some(structure) => {
                let random = random.map(|parameters| parameters.backbone(origin.backbone)).transpose()?;
                let backbone = random.as_ref().unwrap_or(origin.backbone);
                let tuned = retrain(backbone, structure, &data, &settings, observer, None)?;
                let layout = Layout::new(&backbone.positions, &structure.modules)?;
                let device = backbone.model.device();
                let single = Single::new(&layout, tuned.values.clone(), backbone.positions.len(), device);
                let test = evaluate(backbone, &single, &data, Split::Test, None, observer)?;
                let (dev_score, best_step) = (tuned.dev_score, tuned.best_step);
                Trained { parameters: layout.len(), dev_score, best_step, losses: tuned.losses, test }
            }
        };
        let right: Vec<usize> = data.test.iter().map(|example| example.answer).collect();
        let words = matches!(data.task.definition.target, Target::Classification { .. });
        let (first, last) = (trained.losses.len().min(10), trained.losses.len().saturating_sub(10));
        Ok(Outcome {
            backbone: origin.backbone.name.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            created: Timestamp::now(),
            parameters: trained.parameters,
            score: trained.test.score,
            accuracy: words.then(|| crate::task::accuracy(&trained.test.answers, &right)),
            majority: words.then(|| majority(&right, data.candidates.len())),
            test_loss: trained.test.loss,
            dev_score: trained.dev_score,
            best_step: trained.best_step,
            first_loss: mean(&trained.losses[..first]),
            last_loss: mean(&trained.losses[last..]),
            seconds: started.elapsed().as_secs_f64(),
        })
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The share of the most frequent of `labels` labels.
fn majority(right: &[usize], labels: usize) -> f64 {
    let count = |label| right.iter().filter(|answer| **answer == label).count();
    (0..labels).map(count).max().unwrap_or(0) as f64 / right.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_majority_is_the_most_frequent_label() {
        for (right, wanted) in [(&[0, 1, 1, 2][..], 0.5), (&[2, 2], 1.0), (&[0, 1, 2], 1.0 / 3.0)] {
            assert_eq!(majority(right, 3), wanted, "{right:?}");
        }
    }
}
