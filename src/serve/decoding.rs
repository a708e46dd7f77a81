//! Continuous decoding: requests join between steps and leave as they end, each with as many rows as it has beams or
//! samples.

use super::compute::Compute;
use super::reservation::Holding;
use super::{Adapter, Error, FinishReason, Generate, Result};
use crate::delta::{Single, View};
use crate::t5::{
    Advance, Backbone, Cache, DecodeSettings, Ended, FIRST_CAPACITY, Finished, Made, Sequences, StepError,
};
use rayon::prelude::*;
use std::sync::Arc;
use std::time::Instant;

/// A request whose sequences are being made.
pub(super) struct Running {
    generate: Generate,
    adapter: Option<Arc<Single>>,
    sequences: Sequences,
    /// Tokens of its source.
    source: usize,
    /// Steps so far.
    steps: usize,
    /// When the last step was made, or when the request was queued.
    last: Instant,
    /// Whether it could not go on, which its client was told.
    failed: bool,
}

impl Running {
    pub(super) fn new(mut generate: Generate, adapter: Option<Arc<Single>>) -> Self {
        let source = std::mem::take(&mut generate.request.ids);
        let tokens = source.len();
        let sequences = Sequences::new(Arc::clone(&generate.request.settings), source);
        Self { last: generate.queued, generate, adapter, sequences, source: tokens, steps: 0, failed: false }
    }

    pub(super) fn fail(self, error: Error) {
        self.generate.fail(error);
    }

    /// Whose request it is.
    fn flow(&self) -> Option<&str> {
        Adapter::flow(self.generate.request.adapter.as_deref())
    }

    /// Whether nothing more is to be made: it failed, its client left, or its time is over, which its client is told.
    fn is_over(&mut self, now: Instant) -> bool {
        if !self.failed && self.generate.deadline.is_some_and(|deadline| deadline <= now) {
            self.failed = true;
            self.generate.fail(Error::TimedOut);
        }
        self.failed || self.generate.is_abandoned()
    }

    /// Tokens that it may make.
    fn most(&self) -> usize {
        self.sequences.settings().max_new_tokens
    }

    /// Whether there is a sequence that its client wants more of.
    fn goes_on(&mut self, now: Instant) -> bool {
        if self.is_over(now) {
            return false;
        }
        self.stop();
        !self.sequences.is_done()
    }

    /// Ends the sequences of which the client wants no more.
    fn stop(&mut self) {
        for sequence in self.sequences.open() {
            if self.generate.is_stopped(sequence) {
                self.sequences.stop(sequence);
            }
        }
    }

    /// Tells the client that a step could not choose.
    fn give_up(&mut self, error: StepError) {
        self.failed = true;
        self.generate.fail(match error {
            StepError::NotNumbers => Error::overflow(),
            StepError::NothingAllowed => Error::Request(error.to_string()),
        });
    }

    /// Reports what a step has made.
    fn report(&mut self, advance: Advance, now: Instant) {
        let name = match self.steps {
            0 => "s3delta_time_to_first_token_seconds",
            _ => "s3delta_time_per_output_token_seconds",
        };
        metrics::histogram!(name).record(now.duration_since(self.last).as_secs_f64());
        self.last = now;
        self.steps += 1;
        let ends = &self.sequences.settings().eos_token_id;
        let Advance { made, finished } = advance;
        let finish = |end: &Finished| {
            let reason = match end.reason {
                Ended::Stop => FinishReason::Stop,
                Ended::Length => FinishReason::Length,
            };
            self.generate.finish(end.sequence, reason);
        };
        // the tokens of several beams come at once: each one's end follows its last token
        let mut finished = finished.iter().peekable();
        for of_one in made.chunk_by(|a, b| a.sequence == b.sequence) {
            for Made { sequence, token } in of_one {
                if !ends.contains(&token.id) {
                    self.generate.token(*sequence, token.clone());
                }
            }
            finished.next_if(|end| end.sequence == of_one[0].sequence).into_iter().for_each(finish);
        }
        finished.for_each(finish);
    }
}

/// Room that a request's cache needs when it joins.
pub(super) fn first_capacity(settings: &DecodeSettings) -> usize {
    settings.max_new_tokens.min(FIRST_CAPACITY)
}

/// The tensors behind the rows, in their order.
pub(super) struct State {
    pub(super) cache: Cache,
    /// Made anew when the adapters of the rows changed.
    pub(super) view: Option<View>,
}

/// The running batch.
#[derive(Default)]
pub(super) struct Decoding {
    running: Vec<Running>,
    /// Rows of each running request in the cache.
    held: Vec<usize>,
    state: Option<State>,
}

impl Decoding {
    /// What the requests hold, by the adapters' generations; of rows also those that beams and samples will branch to.
    pub(super) fn holdings(&self) -> impl Iterator<Item = (Option<&str>, Holding)> {
        self.running.iter().map(|running| {
            let (turns, rows) = (running.most().saturating_sub(running.steps), running.sequences.rows_ahead());
            (running.flow(), Holding { turns, rows, source: running.source })
        })
    }

    /// Tokens of all sources, those that rows share once.
    pub(super) fn source_tokens(&self) -> usize {
        self.state.as_ref().map_or(0, |state| state.cache.source_tokens())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Takes out requests that ended, whose time is over or whose client left, and sequences of which no more is wanted, and lets
    /// the cache follow the rows that go on. The last requests take the places of those that leave, so that few rows move.
    pub(super) fn sweep(&mut self, now: Instant, compute: &Compute) {
        let mut first = 0;
        let place = |(running, rows): (Running, usize)| {
            first += rows;
            (running, first - rows, rows)
        };
        let all = std::mem::take(&mut self.running).into_iter().zip(std::mem::take(&mut self.held));
        let mut requests: Vec<_> = all.map(place).collect();
        let mut at = 0;
        while let Some((running, ..)) = requests.get_mut(at) {
            if running.goes_on(now) {
                at += 1;
            } else {
                requests.swap_remove(at);
            }
        }
        let (mut keep, mut held) = (Vec::new(), Vec::new());
        for (mut running, first, rows) in requests {
            let parents = running.sequences.take_parents();
            held.push((rows, parents.len()));
            keep.extend(parents.into_iter().map(|parent| first + parent));
            self.running.push(running);
        }
        let left = held.iter().map(|(before, _)| before).sum::<usize>() != first;
        let same_adapters = !left && held.iter().all(|(before, after)| before == after);
        self.held = held.into_iter().map(|(_, after)| after).collect();
        if same_adapters && keep.iter().copied().eq(0..first) {
            return;
        }
        let Some(mut state) = self.state.take().filter(|_| !keep.is_empty()) else { return };
        let select = || {
            state.cache.select(&keep);
            Ok(State { cache: state.cache, view: state.view.filter(|_| same_adapters) })
        };
        self.keep(compute.run(select));
    }

    /// Adds requests with the state that belongs to them, a row each.
    pub(super) fn join(&mut self, running: Vec<Running>, new: State, compute: &Compute) {
        self.held.extend(running.iter().map(|_| 1));
        self.running.extend(running);
        let Some(mut state) = self.state.take() else {
            self.state = Some(new);
            return;
        };
        let append = || {
            state.cache.append(new.cache);
            Ok(State { cache: state.cache, view: None })
        };
        self.keep(compute.run(append));
    }

    /// Makes one token of every row. One whose scores are not numbers fails its request alone.
    pub(super) fn step(&mut self, backbone: &Backbone, compute: &Compute) {
        let Some(mut state) = self.state.take() else { return };
        let most = self.running.iter().map(Running::most).max().unwrap_or(0);
        let running = &mut self.running;
        let step = || {
            let latest: Vec<_> = running.iter().flat_map(|running| running.sequences.latest()).collect();
            let repeat = |running: &Running| std::iter::repeat_n(running.adapter.clone(), running.sequences.rows());
            let adapters: Vec<_> = running.iter().flat_map(repeat).collect();
            count(&adapters);
            let view = state.view.take().unwrap_or_else(|| View::new(&adapters, backbone));
            if state.cache.lengths().iter().any(|length| *length == state.cache.capacity()) {
                state.cache.reserve((2 * state.cache.capacity()).min(most));
            }
            let logits = backbone.model.step(&latest, &mut state.cache, view.deltas());
            let vocab = logits.dims()[1];
            let logits = logits.try_into_vec_as::<f32>().map_err(|error| Error::Internal(error.to_string()))?;
            let mut left = logits.as_slice();
            let part = |running: &Running| {
                let (part, rest) = left.split_at(running.sequences.rows() * vocab);
                left = rest;
                part
            };
            let parts: Vec<_> = running.iter().map(part).collect();
            let advance = |(running, logits): (&mut Running, &[f32])| running.sequences.advance(logits);
            let steps: Vec<_> = running.par_iter_mut().zip(parts).map(advance).collect();
            Ok((State { cache: state.cache, view: Some(view) }, steps))
        };
        match compute.run(step) {
            Ok((state, steps)) => {
                self.state = Some(state);
                self.report(steps);
            }
            Err(error) => self.fail(error),
        }
    }

    /// Reports the steps; a request that failed leaves its rows to the next sweep.
    fn report(&mut self, steps: Vec<Result<Advance, StepError>>) {
        let now = Instant::now();
        for (running, step) in self.running.iter_mut().zip(steps) {
            match step {
                Ok(advance) => running.report(advance, now),
                Err(error) => running.give_up(error),
            }
        }
    }

    /// The state after a change, or the end of all rows.
    fn keep(&mut self, state: Result<State>) {
        match state {
            Ok(state) => self.state = Some(state),
            Err(error) => self.fail(error),
        }
    }

    /// Gives up every row: after a panic nothing is known of the tensors.
    pub(super) fn fail(&mut self, error: Error) {
        self.state = None;
        self.held.clear();
        self.running.drain(..).for_each(|running| running.fail(error.clone()));
    }
}

/// Counts one forward.
pub(super) fn count(adapters: &[Option<Arc<Single>>]) {
    metrics::histogram!("s3delta_batch_size").record(adapters.len() as f64);
    let mut distinct: Vec<_> = adapters.iter().flatten().map(Arc::as_ptr).collect();
    distinct.sort();
    distinct.dedup();
    metrics::histogram!("s3delta_batch_distinct_adapters").record(distinct.len() as f64);
}
