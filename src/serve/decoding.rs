//! Continuous decoding: rows join between steps and leave as they end.

use super::compute::Compute;
use super::view::{View, distinct};
use super::{Error, FinishReason, Generate, Result};
use crate::delta::Single;
use crate::t5::{Backbone, Cache, best};
use rayon::prelude::*;
use std::sync::Arc;
use std::time::Instant;

/// Tokens for which a row's cache has room at first; most answers are shorter.
const FIRST_CAPACITY: usize = 16;

/// A sequence being made.
pub(super) struct Row {
    generate: Generate,
    adapter: Option<Arc<Single>>,
    latest: u32,
    made: usize,
    /// When its last token was made, or when it was queued.
    last: Instant,
    ended: Option<FinishReason>,
}

impl Row {
    pub(super) fn new(generate: Generate, adapter: Option<Arc<Single>>, start: u32) -> Self {
        let last = generate.queued;
        Self { generate, adapter, latest: start, made: 0, last, ended: None }
    }

    /// Room that its cache needs when it joins.
    pub(super) fn first_capacity(&self) -> usize {
        self.generate.request.max_new_tokens.min(FIRST_CAPACITY)
    }

    pub(super) fn fail(self, error: Error) {
        self.generate.fail(error);
    }
}

/// The tensors behind the rows, in their order.
pub(super) struct State {
    pub(super) cache: Cache,
    /// Made anew when rows joined or left.
    pub(super) view: Option<View>,
}

/// The running batch.
#[derive(Default)]
pub(super) struct Decoding {
    rows: Vec<Row>,
    state: Option<State>,
}

impl Decoding {
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Takes out the rows that ended or whose client left.
    pub(super) fn sweep(&mut self, compute: Compute) {
        let leaves = |row: &Row| row.ended.is_some() || row.generate.is_abandoned();
        if !self.rows.iter().any(leaves) {
            return;
        }
        let mut keep = Vec::new();
        for (at, row) in std::mem::take(&mut self.rows).into_iter().enumerate() {
            match row.ended {
                Some(reason) => row.generate.finish(reason),
                None if row.generate.is_abandoned() => {}
                None => {
                    keep.push(at);
                    self.rows.push(row);
                }
            }
        }
        let Some(mut state) = self.state.take().filter(|_| !keep.is_empty()) else { return };
        let select = || {
            state.cache.select(&keep);
            Ok(State { cache: state.cache, view: None })
        };
        self.keep(compute.run(select));
    }

    /// Adds rows with the state that belongs to them.
    pub(super) fn join(&mut self, rows: Vec<Row>, new: State, compute: Compute) {
        self.rows.extend(rows);
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

    /// Makes one token of every row.
    pub(super) fn step(&mut self, backbone: &Backbone, compute: Compute) {
        let Some(mut state) = self.state.take() else { return };
        let latest: Vec<_> = self.rows.iter().map(|row| row.latest).collect();
        let adapters: Vec<_> = self.rows.iter().map(|row| row.adapter.clone()).collect();
        let most = self.rows.iter().map(|row| row.generate.request.max_new_tokens).max().unwrap_or(0);
        count(&adapters);
        let step = || {
            let view = state.view.take().unwrap_or_else(|| View::new(&adapters, backbone));
            if state.cache.lengths().iter().any(|length| *length == state.cache.capacity()) {
                state.cache.reserve((2 * state.cache.capacity()).min(most));
            }
            let logits = backbone.model.step(&latest, &mut state.cache, view.deltas());
            let vocab = logits.dims()[1];
            let logits = logits.try_into_vec_as::<f32>().map_err(|error| Error::Internal(error.to_string()))?;
            let tokens: Vec<_> = logits.par_chunks(vocab).map(|logits| best(logits, None)).collect();
            Ok((State { cache: state.cache, view: Some(view) }, tokens))
        };
        match compute.run(step) {
            Ok((state, tokens)) => {
                self.state = Some(state);
                let now = Instant::now();
                for (row, (id, logprob)) in self.rows.iter_mut().zip(tokens) {
                    row.take(id, logprob, backbone.config.eos, now);
                }
            }
            Err(error) => self.fail(error),
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
    fn fail(&mut self, error: Error) {
        self.state = None;
        self.rows.drain(..).for_each(|row| row.fail(error.clone()));
    }
}

impl Row {
    fn take(&mut self, id: u32, logprob: f32, eos: u32, now: Instant) {
        let seconds = now.duration_since(self.last).as_secs_f64();
        let name = match self.made {
            0 => "s3delta_time_to_first_token_seconds",
            _ => "s3delta_time_per_output_token_seconds",
        };
        metrics::histogram!(name).record(seconds);
        self.last = now;
        self.latest = id;
        self.made += 1;
        if id == eos {
            self.ended = Some(FinishReason::Stop);
            return;
        }
        self.generate.token(id, logprob);
        if self.made == self.generate.request.max_new_tokens {
            self.ended = Some(FinishReason::Length);
        }
    }
}

/// Counts one forward.
pub(super) fn count(adapters: &[Option<Arc<Single>>]) {
    metrics::histogram!("s3delta_batch_size").record(adapters.len() as f64);
    metrics::histogram!("s3delta_batch_distinct_adapters").record(distinct(adapters) as f64);
}
