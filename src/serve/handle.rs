//! The handle to the engine thread: requests go through one bounded queue, replies come back by channels.
//!
//! One thread owns the model. The queue is bounded by places, which requests hold until they join a batch. A full queue is an
//! error at once, a wait only within a [`List`](super::List); a request whose client left answers `true` to `is_abandoned`, so
//! that the engine skips it. This file never touches a tensor.

use super::generation::{Generate, GenerateRequest, Generation};
use super::pace::Pace;
use super::places::{Place, Places};
use super::settings::Settings;
use super::shared::{Shared, Told};
use crate::structure::{Shape, Structure};
use crate::t5::{DecodeSettings, TextPart, TextStream, WeightFormat};
use serde::Serialize;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};

/// The result of engine operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the engine did not answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// The queue is full: try again.
    #[error("the queue of {capacity} requests is full: try again in a moment")]
    QueueFull {
        /// Requests that may wait.
        capacity: usize,
    },
    /// The adapter has its share of the queue: try again.
    #[error(
        "{flows} adapters share the queue of {capacity} requests, and {share} of this one wait already: try again in a \
         moment"
    )]
    ShareFull {
        /// Requests of one adapter that may wait.
        share: usize,
        /// Adapters that share, the bare backbone counted as one.
        flows: usize,
        /// Requests that may wait in all.
        capacity: usize,
    },
    /// The request's time is over.
    #[error("the request was not done within its timeout: give it more time, or ask for less")]
    TimedOut,
    /// The engine thread has ended.
    #[error("the engine has stopped: restart the server")]
    Stopped,
    /// The adapter cannot be served over this backbone.
    #[error("{0}")]
    Adapter(String),
    /// The adapter's file is lost or damaged.
    #[error("{0}")]
    Damaged(String),
    /// The request cannot be served.
    #[error("{0}")]
    Request(String),
    /// The engine failed; the text is for the log.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// NaN or infinity where scores should be.
    pub(super) fn overflow() -> Self {
        Self::Adapter("the scores are not numbers: the adapter's weights overflow, train it anew".into())
    }
}

/// What is known of the served backbone without touching its tensors.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = Backbone)]
pub struct BackboneInfo {
    /// Name that requests may give as `model`.
    pub name: String,
    /// Its sizes.
    pub shape: Shape,
    /// Parameters, tied weights once.
    pub parameters: usize,
    /// Digest of its weights, to which delta weights bind.
    pub digest: String,
    /// Device that computes, such as `cpu` or `cuda:0`.
    pub device: String,
    /// `f32`, or `int8`: the numbers in which its linear maps are held to serve.
    #[schema(value_type = String)]
    pub weights: WeightFormat,
    /// Defaults of decoding, or why nothing can be decoded.
    #[serde(skip)]
    #[schema(ignore)]
    pub decoding: Result<DecodeSettings, String>,
}

impl BackboneInfo {
    /// Refuses the backbone's name for an adapter.
    ///
    /// # Errors
    /// The message, if it is that name.
    pub fn check_adapter_name(&self, name: &str) -> Result<(), String> {
        if name == self.name {
            return Err(format!("`{name}` is the name of the backbone, whom requests ask by it: give another one"));
        }
        Ok(())
    }
}

/// Text to token ids and back; implemented by the backbone's tokenizer.
pub trait Tokenize: Send + Sync {
    /// The ids of a text, the end token included.
    fn encode(&self, text: &str) -> Result<Vec<u32>>;
    /// Characters, white space aside, of the longest text worth encoding where so many ids are allowed.
    fn most_characters(&self, ids: usize) -> usize;
    /// The text of ids, special tokens left out.
    fn decode(&self, ids: &[u32]) -> Result<String>;
    /// The text that one more token adds to a row, as [`TextStream::push`].
    fn push(&self, text: &mut TextStream, id: u32) -> Result<TextPart>;
    /// What was kept back of a row's text, as [`TextStream::finish`].
    fn finish(&self, text: &mut TextStream) -> Result<TextPart>;
}

/// What to load beside the backbone for a request. The generation's digest is the cache's key, never a name.
#[derive(Debug, Clone)]
pub struct Adapter {
    /// Digest of the generation.
    pub generation: String,
    /// Its structure, which fits the backbone.
    pub structure: Arc<Structure>,
    /// Its safetensors file.
    pub weights: PathBuf,
    /// BLAKE3 of that file, as hexadecimal digits or the first of them.
    pub checksum: String,
}

impl Adapter {
    /// Among which requests one with this adapter takes its turn: those of the same generation, or of the bare backbone.
    pub(super) fn flow(adapter: Option<&Self>) -> Option<&str> {
        adapter.map(|adapter| adapter.generation.as_str())
    }
}

/// Scores of given targets for one source.
#[derive(Debug, Clone)]
pub struct ScoreRequest {
    /// Adapter; none for the bare backbone.
    pub adapter: Option<Arc<Adapter>>,
    /// Source token ids, the end token included.
    pub ids: Vec<u32>,
    /// Token ids of each target, the end token included.
    pub targets: Vec<Vec<u32>>,
}

/// What the engine thread receives.
#[derive(Debug)]
pub enum Command {
    /// Make text.
    Generate(Generate),
    /// Score targets.
    Score(Score),
}

/// A request with its place in the queue.
#[derive(Debug)]
pub struct Queued {
    /// The request.
    pub command: Command,
    /// Free for the next one when it is dropped.
    pub place: Place,
}

/// Queued targets to score with their way back.
#[derive(Debug)]
pub struct Score {
    /// What to score.
    pub request: ScoreRequest,
    /// When it was queued.
    pub queued: Instant,
    /// When it is given up.
    pub deadline: Option<Instant>,
    reply: oneshot::Sender<Result<Vec<f32>>>,
    told: Told,
}

/// The scores on their way: resolves to them, or to an error of the channel if the engine died.
#[derive(Debug)]
pub struct Scoring {
    reply: oneshot::Receiver<Result<Vec<f32>>>,
    told: Told,
}

impl Scoring {
    /// What it shares with other requests; nothing as long as its source is not encoded.
    pub fn shared(&self) -> Shared {
        self.told.get()
    }

    /// The scores if they are there.
    pub fn try_recv(&mut self) -> Result<Result<Vec<f32>>, oneshot::error::TryRecvError> {
        self.reply.try_recv()
    }
}

impl Future for Scoring {
    type Output = Result<Result<Vec<f32>>, oneshot::error::RecvError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.reply).poll(context)
    }
}

impl Score {
    /// Tells what is shared with other requests, once.
    pub fn share(&self, shared: Shared) {
        self.told.set(shared);
    }

    /// Whether the client left.
    pub fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    /// Answers with the summed log-probability of each target; where one is not a number, or none is above −∞, that is an error,
    /// never an answer.
    pub fn reply(self, scores: Result<Vec<f32>>) {
        let numbers = |scores: Vec<f32>| {
            let best = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            if scores.iter().any(|score| score.is_nan()) || (!scores.is_empty() && !best.is_finite()) {
                return Err(Error::overflow());
            }
            Ok(scores)
        };
        let _ = self.reply.send(scores.and_then(numbers));
    }
}

/// When the engine is to end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Stop {
    /// Not yet.
    #[default]
    Never,
    /// When all that was queued is answered.
    Answered,
    /// At once.
    Now,
}

/// The cloneable handle to the engine thread.
#[derive(Clone)]
pub struct Engine {
    commands: mpsc::UnboundedSender<Queued>,
    places: Arc<Places>,
    pace: Arc<Pace>,
    /// Its thread holds the only receiver.
    stop: watch::Sender<Stop>,
    backbone: Arc<BackboneInfo>,
    tokenizer: Arc<dyn Tokenize>,
    most_rows: usize,
}

impl Engine {
    /// A handle whose queue is as long as the settings say, and the end that the engine thread reads.
    pub fn new(
        backbone: BackboneInfo,
        tokenizer: Arc<dyn Tokenize>,
        settings: &Settings,
    ) -> (Self, mpsc::UnboundedReceiver<Queued>) {
        let (commands, receiver) = mpsc::unbounded_channel();
        let (places, pace, stop) = (Places::new(settings.queue), Arc::default(), watch::Sender::default());
        let (backbone, most_rows) = (Arc::new(backbone), settings.share());
        (Self { commands, places, pace, stop, backbone, tokenizer, most_rows }, receiver)
    }

    /// What the engine thread watches to know that it is to end.
    pub(super) fn stop_signal(&self) -> watch::Receiver<Stop> {
        self.stop.subscribe()
    }

    /// The places, which the engine thread tells how many adapters share them.
    pub(super) fn places(&self) -> Arc<Places> {
        Arc::clone(&self.places)
    }

    /// Refuses new requests, waits until those already queued are answered, and ends the engine thread. Without a call
    /// the thread ends so when the last handle is dropped.
    pub async fn shutdown(&self) {
        self.end(Stop::Answered).await;
    }

    /// The same, but what waits or is under way fails with [`Error::Stopped`] within a turn.
    pub async fn abort(&self) {
        self.end(Stop::Now).await;
    }

    async fn end(&self, stop: Stop) {
        self.stop.send_replace(stop);
        self.stop.closed().await;
    }

    /// The served backbone.
    pub fn backbone(&self) -> &BackboneInfo {
        &self.backbone
    }

    /// Its tokenizer.
    pub fn tokenizer(&self) -> &dyn Tokenize {
        &*self.tokenizer
    }

    /// Sequences or beams that one request may ask for.
    pub fn most_rows(&self) -> usize {
        self.most_rows
    }

    /// Queues a generation; its events end by closing.
    ///
    /// # Errors
    /// [`Error::QueueFull`], [`Error::ShareFull`], [`Error::Stopped`].
    pub fn generate(&self, request: GenerateRequest) -> Result<Generation> {
        self.generate_by(request, None)
    }

    /// The same, given up with [`Error::TimedOut`] if it is not done by then.
    ///
    /// # Errors
    /// [`Error::QueueFull`], [`Error::ShareFull`], [`Error::Stopped`].
    pub fn generate_by(&self, request: GenerateRequest, deadline: Option<Instant>) -> Result<Generation> {
        self.generate_at(self.take(request.adapter.as_deref())?, request, deadline)
    }

    /// The same at a place that a [`List`](super::List) gave.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub fn generate_at(&self, place: Place, request: GenerateRequest, deadline: Option<Instant>) -> Result<Generation> {
        let (generate, generation) = Generate::new(request, deadline);
        self.send(Command::Generate(generate), place)?;
        Ok(generation)
    }

    /// Queues targets to score.
    ///
    /// # Errors
    /// [`Error::QueueFull`], [`Error::ShareFull`], [`Error::Stopped`].
    pub fn score(&self, request: ScoreRequest) -> Result<Scoring> {
        self.score_by(request, None)
    }

    /// The same, given up with [`Error::TimedOut`] if it is not done by then.
    ///
    /// # Errors
    /// [`Error::QueueFull`], [`Error::ShareFull`], [`Error::Stopped`].
    pub fn score_by(&self, request: ScoreRequest, deadline: Option<Instant>) -> Result<Scoring> {
        self.score_at(self.take(request.adapter.as_deref())?, request, deadline)
    }

    /// The same at a place that a [`List`](super::List) gave.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub fn score_at(&self, place: Place, request: ScoreRequest, deadline: Option<Instant>) -> Result<Scoring> {
        let (reply, receiver) = oneshot::channel();
        let told = Told::default();
        let scoring = Scoring { reply: receiver, told: told.clone() };
        self.send(Command::Score(Score { request, queued: Instant::now(), deadline, reply, told }), place)?;
        Ok(scoring)
    }

    /// Requests waiting in the queue, those that the engine thread has looked at included.
    pub fn queued(&self) -> usize {
        self.places.taken()
    }

    /// Refuses at once what could not be queued now; a request that passes may still come too late.
    ///
    /// # Errors
    /// [`Error::QueueFull`], [`Error::Stopped`].
    pub fn check_room(&self) -> Result<()> {
        if self.commands.is_closed() { Err(Error::Stopped) } else { self.places.check() }
    }

    /// When a request that found the queue full should come again, in whole seconds: as long as those who wait now take,
    /// as fast as requests left the queue of late.
    pub fn retry_after(&self) -> Duration {
        self.pace.wait(Instant::now(), self.queued())
    }

    /// Whether the engine thread still reads its queue.
    pub fn is_running(&self) -> bool {
        !self.commands.is_closed()
    }

    fn take(&self, adapter: Option<&Adapter>) -> Result<Place> {
        if self.commands.is_closed() {
            return Err(Error::Stopped);
        }
        self.places.take(Adapter::flow(adapter))
    }

    fn send(&self, command: Command, place: Place) -> Result<()> {
        self.commands.send(Queued { command, place }).map_err(|_| Error::Stopped)?;
        self.pace.enter(Instant::now(), self.queued());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Event, FinishReason};
    use super::*;
    use crate::serve::Text;
    use crate::t5::{Token, Tokenizer};

    fn engine(capacity: usize) -> (Engine, mpsc::UnboundedReceiver<Queued>) {
        let shape = Shape { vocab_size: 100, ..Shape::tiny() };
        let (name, digest, device) = ("tiny".into(), "00".into(), "cpu".into());
        let (weights, decoding) = (WeightFormat::F32, Err("not asked for".into()));
        let info = BackboneInfo { name, shape, parameters: 1, digest, device, weights, decoding };
        Engine::new(
            info,
            Arc::new(Text::from(Tokenizer::bytes())),
            &Settings { queue: capacity, ..Settings::default() },
        )
    }

    fn ids() -> GenerateRequest {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/tiny-v1.1");
        let config = crate::t5::Backbone::read_config(&path).unwrap();
        GenerateRequest { adapter: None, ids: vec![1], settings: Arc::new(DecodeSettings::new(&config, 2)) }
    }

    fn token(id: u32, logprob: f32) -> Token {
        Token { id, logprob, top: Vec::new() }
    }

    #[test]
    fn full_and_stopped_are_errors_at_once() {
        let (engine, receiver) = engine(1);
        let _events = engine.generate(ids()).unwrap();
        assert_eq!(engine.queued(), 1);
        assert_eq!(engine.generate(ids()).unwrap_err(), Error::QueueFull { capacity: 1 });
        assert_eq!(engine.check_room(), Err(Error::QueueFull { capacity: 1 }));
        assert_eq!(engine.retry_after(), Duration::from_secs(1), "nothing is known of its pace");
        drop(receiver);
        assert!(!engine.is_running());
        assert_eq!(engine.generate(ids()).unwrap_err(), Error::Stopped);
    }

    #[test]
    fn the_engine_sees_that_a_client_left() {
        let (engine, mut receiver) = engine(2);
        let events = engine.generate(ids()).unwrap();
        let Some(Queued { command: Command::Generate(command), .. }) = receiver.blocking_recv() else {
            panic!("a generation was queued")
        };
        assert!(!command.is_abandoned());
        drop(events);
        assert!(command.is_abandoned());
        command.token(0, token(1, 0.0));
        command.finish(0, FinishReason::Length);
    }

    #[test]
    fn scores_that_say_nothing_are_errors() {
        let (engine, mut receiver) = engine(1);
        let mut check = |scores: &[f32], fine: bool| {
            let request = ScoreRequest { adapter: None, ids: vec![1], targets: vec![vec![1]; scores.len()] };
            let mut scoring = engine.score(request).unwrap();
            let Some(Queued { command: Command::Score(score), .. }) = receiver.blocking_recv() else {
                panic!("a scoring was queued")
            };
            score.reply(Ok(scores.to_vec()));
            assert_eq!(scoring.try_recv().unwrap().is_ok(), fine, "{scores:?}");
        };
        check(&[-1.0, f32::NEG_INFINITY], true);
        check(&[f32::NEG_INFINITY; 2], false);
        check(&[-1.0, f32::NAN], false);
        check(&[f32::INFINITY, -1.0], false);
    }

    #[test]
    fn events_never_block_the_engine() {
        let (engine, mut receiver) = engine(1);
        let mut events = engine.generate(ids()).unwrap();
        let Some(Queued { command: Command::Generate(command), .. }) = receiver.blocking_recv() else {
            panic!("a generation was queued")
        };
        assert!(!command.is_stopped(0));
        events.stop(0);
        assert!(command.is_stopped(0));
        command.token(0, token(7, -0.5));
        command.token(0, token(8, -0.25));
        command.finish(0, FinishReason::Stop);
        drop(command);
        let found: Vec<_> = std::iter::from_fn(|| events.blocking_recv()).collect();
        let made = |id, logprob| Event::Token { sequence: 0, token: token(id, logprob) };
        let end = Event::Finished { sequence: 0, reason: FinishReason::Stop };
        assert_eq!(found, [made(7, -0.5), made(8, -0.25), end]);
    }
}
