//! Requests between the queue and the batch: their sources are encoded, scorings are answered, generations get their cache.

use super::compute::Compute;
use super::decoding::{Running, first_capacity};
use super::scoring::{Scored, score};
use super::source_cache::{Fresh, Keys, SourceCache};
use super::sources::{Plan, Ready, Row, seen};
use super::{Command, Error, Result};
use crate::delta::Single;
use crate::t5::{Backbone, Cache};
use std::sync::Arc;
use std::time::Instant;

/// A request that has its place in the batch.
pub(super) struct Admitted {
    pub(super) command: Command,
    pub(super) keys: Keys,
    pub(super) adapter: Option<Arc<Single>>,
}

/// Requests whose sources are being encoded.
pub(super) struct Joining {
    admitted: Vec<Admitted>,
    plan: Plan,
}

/// Where requests that join are.
pub(super) enum Progress {
    /// There is more to encode.
    Encoding(Box<Joining>),
    /// All of them are answered, or can be decoded.
    Joined(Box<Joined>),
    /// Nobody waits for them any more.
    Over,
}

/// Generations that can be decoded.
pub(super) struct Joined {
    pub(super) running: Vec<Running>,
    /// A row each; none where there is no generation.
    pub(super) cache: Option<Cache>,
    pub(super) fresh: Fresh,
}

/// What the tensors of requests that join have come to: scores of each scoring, and the generations' cache.
type Computed = (Vec<Vec<f32>>, Option<Cache>, Fresh);

impl Admitted {
    fn row(&self) -> Row<'_> {
        Row { ids: self.command.ids(), keys: &self.keys, adapter: self.adapter.as_ref() }
    }
}

impl Joining {
    /// Looks their sources up, and tells each request what it shares.
    pub(super) fn new(admitted: Vec<Admitted>, sources: &mut SourceCache) -> Self {
        let rows: Vec<_> = admitted.iter().map(Admitted::row).collect();
        let plan = Plan::new(sources, &rows);
        admitted.iter().zip(plan.shared()).for_each(|(admitted, shared)| admitted.command.share(*shared));
        Self { admitted, plan }
    }

    /// Encodes about `budget` tokens, and once all is encoded answers the scorings.
    pub(super) fn advance(self, backbone: &Backbone, budget: usize, now: Instant, compute: Compute) -> Progress {
        let Self { admitted, mut plan } = self;
        if admitted.iter().all(|admitted| admitted.command.is_over(now)) {
            return fail(admitted, Error::TimedOut); // one whose client left hears nothing of it
        }
        let done = compute.run(|| plan.advance(backbone, budget));
        let computed = match done {
            Ok(false) => return Progress::Encoding(Box::new(Self { admitted, plan })),
            Ok(true) => compute.run(|| finish(backbone, &admitted, plan)),
            Err(error) => Err(error),
        };
        match computed {
            Ok((scores, cache, fresh)) => {
                Progress::Joined(Box::new(Joined { running: answer(admitted, scores), cache, fresh }))
            }
            Err(error) => fail(admitted, error),
        }
    }
}

fn fail(admitted: Vec<Admitted>, error: Error) -> Progress {
    admitted.into_iter().for_each(|admitted| admitted.command.fail(error.clone()));
    Progress::Over
}

fn finish(backbone: &Backbone, admitted: &[Admitted], plan: Plan) -> Result<Computed> {
    let Ready { memory, of, fresh } = plan.finish(backbone);
    let (mut scored, mut generating, mut capacity) = (Vec::new(), Vec::new(), 0);
    for (Admitted { command, adapter, .. }, source) in admitted.iter().zip(of) {
        match command {
            Command::Generate(generate) => {
                capacity = capacity.max(first_capacity(&generate.request.settings));
                generating.push(source);
            }
            Command::Score(score) => {
                scored.push(Scored { source, adapter: adapter.clone(), targets: &score.request.targets });
            }
        }
    }
    let scores = score(backbone, &memory, &scored)?;
    let cache = (!generating.is_empty()).then(|| {
        let (memory, of) = seen(memory, &generating);
        backbone.model.start_rows(memory, &of, capacity)
    });
    Ok((scores, cache, fresh))
}

/// Answers the scorings; the others go on.
fn answer(admitted: Vec<Admitted>, scores: Vec<Vec<f32>>) -> Vec<Running> {
    let (mut scores, mut running) = (scores.into_iter(), Vec::new());
    for Admitted { command, adapter, .. } in admitted {
        match command {
            Command::Generate(generate) => running.push(Running::new(generate, adapter)),
            Command::Score(score) => score.reply(Ok(scores.next().unwrap_or_default())),
        }
    }
    running
}
