//! Requests between the queue and the batch: their sources are encoded, scorings are answered, generations get their cache.

use super::compute::Compute;
use super::decoding::{Running, first_capacity};
use super::reservation::Holding;
use super::scoring::{POSITIONS, Scored, Scores};
use super::source_cache::{Fresh, Keys, SourceCache};
use super::sources::{Plan, Ready, Row, retain, seen};
use super::{Command, Error, Result};
use crate::delta::Single;
use crate::t5::{Backbone, Cache};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

/// Groups that take many turns, such as one long prompt, that are under way at a time.
pub(super) const LONG_GROUPS: usize = 2;

/// A request that has its place in the batch.
pub(super) struct Admitted {
    pub(super) command: Command,
    pub(super) keys: Keys,
    pub(super) adapter: Option<Arc<Single>>,
    /// Decoder positions that its scoring takes.
    pub(super) positions: usize,
}

/// A group of requests whose sources are being encoded, and then their targets scored.
pub(super) struct Joining {
    admitted: Vec<Admitted>,
    stage: Stage,
    is_long: bool,
    /// Turns of the engine that it has seen.
    age: usize,
}

/// How far they are.
enum Stage {
    Encoding(Box<Plan>),
    Scoring(Ready, Scores),
}

/// Scores of each scoring, the generations' cache, and what is to be kept for later requests.
type Computed = (Vec<Vec<f32>>, Option<Cache>, Fresh);

/// What a stage has come to.
enum Step {
    More(Stage),
    Done(Box<Computed>),
}

/// Where requests that join are.
pub(super) enum Progress {
    /// There is more to encode, or to score.
    UnderWay(Box<Joining>),
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

impl Admitted {
    fn row(&self) -> Row<'_> {
        Row { ids: self.command.ids(), keys: &self.keys, adapter: self.adapter.as_ref() }
    }
}

impl Joining {
    /// Looks their sources up. The group is long if there are more than `short` tokens to encode, or more than a pass to score.
    pub(super) fn new(admitted: Vec<Admitted>, sources: &mut SourceCache, short: usize) -> Self {
        let rows: Vec<_> = admitted.iter().map(Admitted::row).collect();
        let plan = Plan::new(sources, &rows);
        let scored: usize = admitted.iter().map(|admitted| admitted.positions).sum();
        let is_long = plan.tokens() > short || scored > POSITIONS;
        Self { admitted, stage: Stage::Encoding(Box::new(plan)), is_long, age: 0 }
    }

    /// Whether it takes many turns.
    pub(super) fn is_long(&self) -> bool {
        self.is_long
    }

    /// Answers all of them with an error.
    pub(super) fn fail(self, error: &Error) {
        self.admitted.into_iter().for_each(|admitted| admitted.command.fail(error.clone()));
    }

    /// What its requests hold, by the adapters' generations, where so many tokens are encoded in a turn.
    pub(super) fn holdings(&self, encoded: usize) -> impl Iterator<Item = (Option<&str>, Holding)> {
        self.admitted.iter().map(move |Admitted { command, positions, .. }| {
            let turns = command.turns(encoded, *positions).saturating_sub(self.age).max(command.steps());
            (command.flow(), Holding { turns, rows: command.rows(), source: command.ids().len() })
        })
    }

    /// Tokens of its sources, those that requests share once.
    pub(super) fn source_tokens(&self) -> usize {
        let mut seen = HashSet::new();
        let new = self.admitted.iter().filter(|admitted| seen.insert(&admitted.keys.memory));
        new.map(|admitted| admitted.command.ids().len()).sum()
    }

    /// Sees a turn begin: lets those go who wait no longer. False if nobody is left.
    pub(super) fn sweep(&mut self, now: Instant) -> bool {
        self.age += 1;
        let waits: Vec<_> = self.admitted.iter().map(|admitted| !admitted.command.is_over(now)).collect();
        if waits.contains(&false) {
            self.stage.retain(&self.admitted, &waits);
            let all = std::mem::take(&mut self.admitted).into_iter().zip(waits);
            let (still, over): (Vec<_>, Vec<_>) = all.partition(|(_, waits)| *waits);
            // one whose client left hears nothing of it
            over.into_iter().for_each(|(over, _)| over.command.fail(Error::TimedOut));
            self.admitted = still.into_iter().map(|(admitted, _)| admitted).collect();
        }
        !self.admitted.is_empty()
    }

    /// Encodes about `budget` tokens; once all is encoded, makes one pass of the scorings, and answers them after the last.
    pub(super) fn advance(self, backbone: &Backbone, budget: usize, compute: &Compute) -> Progress {
        let Self { admitted, stage, is_long, age } = self;
        match compute.run(|| stage.advance(backbone, &admitted, budget)) {
            Ok(Step::More(stage)) => Progress::UnderWay(Box::new(Self { admitted, stage, is_long, age })),
            Ok(Step::Done(computed)) => {
                let (scores, cache, fresh) = *computed;
                let running = answer(admitted, scores, Instant::now()); // computing took its time
                Progress::Joined(Box::new(Joined { running, cache, fresh }))
            }
            Err(error) => fail(admitted, error),
        }
    }
}

impl Stage {
    /// Forgets the requests that are not kept.
    fn retain(&mut self, admitted: &[Admitted], kept: &[bool]) {
        match self {
            Self::Encoding(plan) => plan.retain(kept),
            Self::Scoring(ready, scores) => {
                retain(&mut ready.of, kept);
                let is_scored = |(admitted, _): &(&Admitted, &bool)| matches!(admitted.command, Command::Score(_));
                let of_scores: Vec<_> = admitted.iter().zip(kept).filter(is_scored).map(|(_, kept)| *kept).collect();
                scores.retain(&of_scores);
            }
        }
    }

    fn advance(self, backbone: &Backbone, admitted: &[Admitted], budget: usize) -> Result<Step> {
        let (ready, mut scores) = match self {
            Self::Encoding(mut plan) => {
                if !plan.advance(backbone, budget)? {
                    return Ok(Step::More(Self::Encoding(plan)));
                }
                // not before, as those with whom it would have been shared may have left
                admitted.iter().zip(plan.shared()).for_each(|(admitted, shared)| admitted.command.share(shared));
                let ready = plan.finish();
                let scores = Scores::new(&scored(admitted, &ready.of));
                (ready, scores)
            }
            Self::Scoring(ready, scores) => (ready, scores),
        };
        if !scores.advance(backbone, &ready.memory, &scored(admitted, &ready.of))? {
            return Ok(Step::More(Self::Scoring(ready, scores)));
        }
        let (cache, fresh) = begin(backbone, admitted, ready);
        Ok(Step::Done(Box::new((scores.of, cache, fresh))))
    }
}

fn fail(admitted: Vec<Admitted>, error: Error) -> Progress {
    admitted.into_iter().for_each(|admitted| admitted.command.fail(error.clone()));
    Progress::Over
}

/// The scorings among them, over these sources.
fn scored<'a>(admitted: &'a [Admitted], of: &[usize]) -> Vec<Scored<'a>> {
    let scored = |(Admitted { command, adapter, .. }, source): (&'a Admitted, &usize)| match command {
        Command::Generate(_) => None,
        Command::Score(score) => {
            Some(Scored { source: *source, adapter: adapter.clone(), targets: &score.request.targets })
        }
    };
    admitted.iter().zip(of).filter_map(scored).collect()
}

/// The cache of the generations among them.
fn begin(backbone: &Backbone, admitted: &[Admitted], ready: Ready) -> (Option<Cache>, Fresh) {
    let Ready { memory, of, fresh } = ready;
    let (mut generating, mut capacity) = (Vec::new(), 0);
    for (admitted, source) in admitted.iter().zip(of) {
        if let Command::Generate(generate) = &admitted.command {
            capacity = capacity.max(first_capacity(&generate.request.settings));
            generating.push(source);
        }
    }
    let cache = (!generating.is_empty()).then(|| {
        let (memory, of) = seen(memory, &generating);
        backbone.model.start_rows(memory, &of, capacity)
    });
    (cache, fresh)
}

/// Answers the scorings that are not over; the others go on.
fn answer(admitted: Vec<Admitted>, scores: Vec<Vec<f32>>, now: Instant) -> Vec<Running> {
    let (mut scores, mut running) = (scores.into_iter(), Vec::new());
    for Admitted { command, adapter, .. } in admitted {
        let over = command.is_over(now);
        match command {
            Command::Generate(generate) => running.push(Running::new(generate, adapter)),
            Command::Score(score) => {
                let scores = scores.next().unwrap_or_default();
                score.reply(if over { Err(Error::TimedOut) } else { Ok(scores) });
            }
        }
    }
    running
}
