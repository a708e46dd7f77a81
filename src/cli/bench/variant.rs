//! Runs of `s3delta bench variants`: a search by one variant of the method, and the training of what it found.

use super::board::Runnable;
use super::results::Setup;
use crate::delta::{Layout, Single};
use crate::pretrain::{Parameters, fine_tune};
use crate::search::{self, Masks, Order, search};
use crate::structure::{Baseline, Budget, Origin, Provenance, Selection, Space, Structure, at_budget};
use crate::t5::{Backbone, Frozen};
use crate::task::{Metric, Split, Task};
use crate::train::{self, EncodedTask, Flow, Observer, Report, evaluate, longer_part, retrain};
use jiff::Timestamp;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// A variant of the search, or a baseline of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Variant {
    /// First order: two passes a step.
    First,
    /// Second order, as the paper: four passes.
    Second,
    /// As its authors' code: AdamW in the virtual step, fresh gates, dropout 0.1 with free masks, the greedy choice.
    Reference,
    /// The order of the authors' code alone: AdamW in the virtual step, fresh gates.
    ReferenceOrder,
    /// Second order under dropout 0.1 whose masks a step's passes share.
    SharedDropout,
    /// First order, dev scored by the hard set.
    Hard,
    /// First order, modules dropped whose p falls below a tenth of the budget's share.
    Pruned,
    /// First order from the modules' saliency over 8 batches.
    FromSaliency,
    /// The saliency alone, over 8 batches, without a search.
    Saliency,
    /// The L0 control with a penalty of 0.001 a gate, first order.
    L0,
    /// A random structure for each seed.
    Random,
    /// All parameters of the backbone trained, without a structure.
    FullFineTuning,
}

impl Variant {
    pub(super) fn settings(self, plain: search::Settings) -> search::Settings {
        match self {
            Self::First | Self::Random | Self::FullFineTuning => plain,
            Self::Second => search::Settings { order: Order::Second, ..plain },
            Self::Reference => search::Settings {
                order: Order::Reference,
                dropout: 0.1,
                masks: Masks::Free,
                selection: Selection::Greedy,
                ..plain
            },
            Self::ReferenceOrder => search::Settings { order: Order::Reference, ..plain },
            Self::SharedDropout => search::Settings { order: Order::Second, dropout: 0.1, ..plain },
            Self::Hard => search::Settings { dev_gates: search::DevGates::Hard, ..plain },
            Self::Pruned => search::Settings { prune_below: 0.1, ..plain },
            Self::FromSaliency => search::Settings { saliency: 8, ..plain },
            // one step that moves nothing
            Self::Saliency => {
                search::Settings { saliency: 8, steps: 1, evaluations: 1, structural_learning_rate: 1e-12, ..plain }
            }
            Self::L0 => search::Settings { l0: Some(1e-3), ..plain },
        }
    }
}

/// All that a run depends on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Trial {
    pub(super) bench: String,
    pub(super) backbone_digest: String,
    pub(super) task: String,
    pub(super) task_digest: String,
    pub(super) metric: Metric,
    pub(super) space: String,
    pub(super) variant: Variant,
    /// What the variant makes of a search's defaults, as Rust shows it: runs of a version that knows other settings are others.
    pub(super) settings: String,
    /// Shares of the space, as they were written; the search is under the first of them.
    pub(super) shares: Vec<String>,
    /// Whether there is a search for each share; else ζ is solved anew for the others.
    pub(super) search_each: bool,
    pub(super) seed: u64,
    pub(super) train_rows: usize,
    pub(super) dev_rows: usize,
    pub(super) test_rows: usize,
    pub(super) max_source_tokens: usize,
    pub(super) search_epochs: usize,
    pub(super) retrain_epochs: usize,
    pub(super) batch_size: usize,
    pub(super) evaluations: usize,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) group_by_length: bool,
    pub(super) rate: f64,
    pub(super) structural_rate: f64,
    pub(super) retrain_rate: f64,
}

/// What a run gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Found {
    /// Of s3delta.
    pub(super) version: String,
    pub(super) created: Timestamp,
    /// Of all searches; 0 without one.
    pub(super) search_seconds: f64,
    /// One a share.
    pub(super) points: Vec<Point>,
}

impl Found {
    fn new(search_seconds: f64, points: Vec<Point>) -> Self {
        Self { version: env!("CARGO_PKG_VERSION").into(), created: Timestamp::now(), search_seconds, points }
    }
}

/// In place of a share and of a structure where all parameters are trained.
const EVERYTHING: &str = "all parameters";

/// The structure of a share, trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Point {
    pub(super) share: String,
    pub(super) budget: usize,
    pub(super) structure: String,
    pub(super) modules: usize,
    pub(super) parameters: usize,
    /// The task's metric on test.
    pub(super) score: f64,
    pub(super) dev_score: f64,
    pub(super) retrain_seconds: f64,
}

impl Setup for Trial {
    const BENCH: &'static str = "variants";
    type Outcome = Found;

    /// Full fine-tuning knows no space, no search and no budget.
    fn settled(self) -> Self {
        if self.variant != Variant::FullFineTuning {
            return self;
        }
        Self {
            space: EVERYTHING.into(),
            settings: EVERYTHING.into(),
            shares: vec![EVERYTHING.into()],
            search_each: false,
            search_epochs: 0,
            rate: 0.0,
            structural_rate: 0.0,
            ..self
        }
    }

    fn label(&self) -> String {
        let variant = serde_json::to_value(self.variant).expect("a variant is a word");
        format!("{} {} seed {}", self.task, variant.as_str().unwrap_or_default(), self.seed)
    }

    fn told(outcome: &Found) -> String {
        let each = outcome.points.iter().map(|point| format!("{:.4} at {}", point.score, point.share));
        format!("{}; search {:.0} s", each.collect::<Vec<_>>().join(", "), outcome.search_seconds)
    }
}

/// A run that is to be made.
pub(super) struct Run<'a> {
    pub(super) setup: Trial,
    /// With all its rows.
    pub(super) task: &'a Task,
    pub(super) backbone: &'a Backbone,
    pub(super) space: &'a Space,
    /// The backbone's parameters, where all are trained.
    pub(super) parameters: Option<&'a Parameters>,
}

impl Runnable for Run<'_> {
    type Setup = Trial;

    fn setup(&self) -> &Trial {
        &self.setup
    }

    fn make(&self, observer: &mut dyn Observer) -> train::Result<Found> {
        let setup = &self.setup;
        let rows = self.task.take(setup.train_rows, setup.seed);
        let rows = rows.take_of(Split::Dev, setup.dev_rows, 0).take_of(Split::Test, setup.test_rows, 0);
        let data = EncodedTask::new(rows, self.backbone, setup.max_source_tokens)?;
        let steps = |epochs: usize, rows: usize| epochs * rows.div_ceil(setup.batch_size.clamp(1, rows.max(1)));
        let plain = search::Settings::default();
        let plain = search::Settings {
            steps: steps(setup.search_epochs, longer_part(data.train.len(), plain.delta_share)),
            batch_size: setup.batch_size,
            learning_rate: setup.rate,
            structural_learning_rate: setup.structural_rate,
            evaluations: setup.evaluations,
            seed: setup.seed,
            group_by_length: setup.group_by_length,
            ..plain
        };
        let settings = setup.variant.settings(plain);
        let training = train::Settings {
            steps: steps(setup.retrain_epochs, data.train.len()),
            batch_size: setup.batch_size,
            learning_rate: setup.retrain_rate,
            evaluations: setup.evaluations,
            seed: setup.seed,
            group_by_length: setup.group_by_length,
            ..train::Settings::default()
        };
        if setup.variant == Variant::FullFineTuning {
            let started = Instant::now();
            let parameters = self.parameters.expect("read where a run trains them").clone();
            let tuned = fine_tune(self.backbone, parameters, &data, &training, observer)?;
            let retrain_seconds = started.elapsed().as_secs_f64();
            let backbone = tuned.parameters.backbone(self.backbone)?;
            let parameters = tuned.parameters.values.len();
            let point = Point {
                share: EVERYTHING.into(),
                budget: parameters,
                modules: 0,
                parameters,
                score: evaluate(&backbone, &Frozen, &data, Split::Test, None, observer)?.score,
                dev_score: tuned.dev_score,
                retrain_seconds,
                structure: EVERYTHING.into(),
            };
            return Ok(Found::new(0.0, vec![point]));
        }
        let searches = match setup.variant {
            Variant::Random => 0,
            _ if setup.search_each => setup.shares.len(),
            _ => 1,
        };
        let total = searches * settings.steps + setup.shares.len() * training.steps;
        let mut part = Part { observer, done: 0, total };
        let (mut search_seconds, mut points, mut latest) = (0.0, Vec::new(), Vec::new());
        for (at, share) in setup.shares.iter().enumerate() {
            let budget = share.parse::<Budget>()?.resolve(self.space, self.backbone.parameters)?;
            let structure = if setup.variant == Variant::Random {
                Baseline::Random.structure(self.space, budget, &mut ChaCha8Rng::seed_from_u64(setup.seed))?
            } else {
                let anew = at == 0 || setup.search_each;
                if anew {
                    let found = search(self.backbone, self.space, budget, &data, &settings, &mut part, None)?;
                    part.done += settings.steps;
                    search_seconds += found.seconds;
                    latest = found.logits;
                }
                let logits = match settings.l0 {
                    None if !anew => at_budget(&latest, self.space.sizes(), budget),
                    _ => latest.clone(),
                };
                let provenance = Provenance::new(Origin::Search);
                Structure::discretise(self.space, &[logits], budget, settings.selection, provenance)?
            };
            let trained = retrain(self.backbone, &structure, &data, &training, &mut part, None)?;
            part.done += training.steps;
            let layout = Layout::new(&self.backbone.positions, &structure.modules)?;
            let device = self.backbone.model.device();
            let single = Single::new(&layout, trained.values, self.backbone.positions.len(), device);
            points.push(Point {
                share: share.clone(),
                budget,
                modules: structure.modules.len(),
                parameters: layout.len(),
                score: evaluate(self.backbone, &single, &data, Split::Test, None, &part)?.score,
                dev_score: trained.dev_score,
                retrain_seconds: trained.seconds,
                structure: structure.id,
            });
        }
        Ok(Found::new(search_seconds, points))
    }
}

/// Tells of one training as a part of the run.
struct Part<'a> {
    observer: &'a mut dyn Observer,
    done: usize,
    total: usize,
}

impl Observer for Part<'_> {
    fn step(&mut self, report: &Report, snapshot: &dyn Fn() -> Vec<u8>) -> Flow {
        let report = Report { step: self.done + report.step, total_steps: self.total, ..report.clone() };
        self.observer.step(&report, snapshot)
    }

    fn flow(&self) -> Flow {
        self.observer.flow()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::Unobserved;

    /// Wants the run to end.
    struct Ends;

    impl Observer for Ends {
        fn step(&mut self, _: &Report, _: &dyn Fn() -> Vec<u8>) -> Flow {
            Flow::Stop
        }

        fn flow(&self) -> Flow {
            Flow::Stop
        }
    }

    #[test]
    fn a_part_hears_a_stop_between_steps() {
        assert_eq!(Part { observer: &mut Ends, done: 0, total: 1 }.flow(), Flow::Stop);
        assert_eq!(Part { observer: &mut Unobserved, done: 0, total: 1 }.flow(), Flow::Continue);
    }
}
