//! A generation on its way: the request, what the engine thread reports of it, and what its client holds.

use super::{Adapter, Error, Shared, shared::Told};
use crate::t5::{DecodeSettings, Token};
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tokio::sync::mpsc;

/// Text generation for one source.
#[derive(Debug, Clone)]
pub struct GenerateRequest {
    /// Adapter; none for the bare backbone.
    pub adapter: Option<Arc<Adapter>>,
    /// Source token ids, the end token included.
    pub ids: Vec<u32>,
    /// How, and how many sequences.
    pub settings: Arc<DecodeSettings>,
}

/// What a generation reports while it runs. Every sequence ends with `Finished`, or all of them with `Failed`. Tokens of
/// beams come at their end, those of the best beam first.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// One more token; an end token is not reported.
    Token {
        /// Number of the sequence, from 0.
        sequence: usize,
        /// The token with its log-probability, and of its step's likeliest ones as many as were asked for.
        token: Token,
    },
    /// A sequence ended.
    Finished {
        /// Number of the sequence.
        sequence: usize,
        /// Why.
        reason: FinishReason,
    },
    /// The engine gave up.
    Failed(Error),
}

/// Why a sequence ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model said so, or a stop text came.
    Stop,
    /// `max_new_tokens` were made.
    Length,
}

/// A queued generation with its way back.
#[derive(Debug)]
pub struct Generate {
    /// What to make.
    pub request: GenerateRequest,
    /// When it was queued.
    pub queued: Instant,
    /// When it is given up.
    pub deadline: Option<Instant>,
    events: mpsc::Sender<Event>,
    stops: Arc<[AtomicBool]>,
    told: Told,
}

impl Generate {
    /// A request of now, and its client's side.
    pub(super) fn new(request: GenerateRequest, deadline: Option<Instant>) -> (Self, Generation) {
        let (events, receiver) = mpsc::channel(events(&request.settings).min(MOST_EVENTS));
        // more sequences than events are refused before any of them can be stopped
        let sequences = request.settings.num_return_sequences.min(MOST_EVENTS);
        let stops: Arc<[AtomicBool]> = (0..sequences).map(|_| AtomicBool::new(false)).collect();
        let told = Told::default();
        let generation = Generation { events: receiver, stops: Arc::clone(&stops), told: told.clone() };
        (Self { request, queued: Instant::now(), deadline, events, stops, told }, generation)
    }

    /// Whether the client left, so that no further work is worth doing.
    pub fn is_abandoned(&self) -> bool {
        self.events.is_closed()
    }

    /// Whether the client wants no more of a sequence.
    pub fn is_stopped(&self, sequence: usize) -> bool {
        self.stops[sequence].load(Ordering::Relaxed)
    }

    /// Tells what is shared with other requests, once.
    pub fn share(&self, shared: Shared) {
        self.told.set(shared);
    }

    /// Reports a token; never blocks, as the channel holds all that the request may make.
    pub fn token(&self, sequence: usize, token: Token) {
        let _ = self.events.try_send(Event::Token { sequence, token });
    }

    /// Ends a sequence.
    pub fn finish(&self, sequence: usize, reason: FinishReason) {
        let _ = self.events.try_send(Event::Finished { sequence, reason });
    }

    /// Gives up.
    pub fn fail(&self, error: Error) {
        let _ = self.events.try_send(Event::Failed(error));
    }
}

/// A generation under way, as its client sees it. Dropped, it gives up its rows within a step.
#[derive(Debug)]
pub struct Generation {
    events: mpsc::Receiver<Event>,
    stops: Arc<[AtomicBool]>,
    told: Told,
}

impl Generation {
    /// What it shares with other requests; nothing as long as its source is not encoded.
    pub fn shared(&self) -> Shared {
        self.told.get()
    }

    /// The next event; none after the last, or if the engine died.
    pub async fn recv(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// The same on a thread that may wait.
    pub fn blocking_recv(&mut self) -> Option<Event> {
        self.events.blocking_recv()
    }

    /// The next event if it is there.
    pub fn try_recv(&mut self) -> Option<Event> {
        self.events.try_recv().ok()
    }

    /// Wants no more of one sequence, such as after a stop text: its row leaves within a step, without an event. Of beams
    /// the search goes on, as their texts are known at its end.
    pub fn stop(&self, sequence: usize) {
        self.stops[sequence].store(true, Ordering::Relaxed);
    }

    /// Wants no more at all.
    pub fn close(&mut self) {
        self.events.close();
    }
}

/// Events that a generation's channel holds at most; the engine refuses requests that may make more.
pub(super) const MOST_EVENTS: usize = 1 << 20;

/// Events that a generation may make: the tokens and the end of each sequence, and a failure.
pub(super) fn events(settings: &DecodeSettings) -> usize {
    settings.max_new_tokens.saturating_add(1).saturating_mul(settings.num_return_sequences).saturating_add(1)
}
