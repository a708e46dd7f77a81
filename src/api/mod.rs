//! The HTTP API: one file per noun, handlers that decode, authorise, call and encode, and nothing else.
//!
//! [`router`] gives the whole application; the command line calls the same router in process, without a socket. The
//! OpenAPI document comes from the same routes. This module never touches a tensor.

mod adapters;
mod aliases;
mod assets;
mod auth;
mod choices;
mod completions;
mod decoding;
mod error;
mod events;
mod extract;
mod generation;
mod guard;
mod health;
mod jobs;
mod listen;
mod logprobs;
mod metrics;
mod model;
mod models;
mod observe;
mod page;
mod predictions;
mod pressure;
mod routes;
mod structures;
mod tasks;
mod transfers;
mod upload;

pub use adapters::AdapterUpload;
pub use aliases::AliasTarget;
pub use auth::{Scope, Token, Tokens};
pub use choices::{ChoiceRequest, FrontPoint};
pub use completions::{
    Choice, Completion, CompletionRequest, EarlyStop, Logprobs, Never, Prompt, PromptTokensDetails, Usage,
};
pub use error::{ErrorBody, ErrorObject};
pub use health::Health;
pub use jobs::Job;
pub use listen::{BindError, bind, serve};
pub use models::{Model, ModelList};
pub use page::List;
pub use predictions::{
    AdapterPredictions, LabelScore, Prediction, PredictionRequest, PredictionResponse, PredictionUsage,
};
pub use routes::{openapi, router};
pub use structures::StructureSummary;
pub use tasks::{Task, TaskUpload};

use crate::{config::Config, jobs::Jobs, registry::Registry, serve::Engine, structure::MeasuredCost};
use error::{ApiError, Result};
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::thread::available_parallelism;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Requests that are read at a time at most: each has one of the runtime's 512 threads that may block.
const MOST_READS: usize = 256;

/// As many as may wait in the queue, as far as there are threads.
fn most_reads(config: &Config) -> usize {
    config.queue.clamp(1, MOST_READS)
}

/// What the handlers work with; clones share it.
#[derive(Clone)]
pub struct AppState {
    registry: Registry,
    engine: Engine,
    jobs: Jobs,
    config: Arc<Config>,
    tokens: Arc<Tokens>,
    uploads: Arc<Semaphore>,
    /// Tells those that read texts that nobody waits for them: the server's, or one request's.
    over: CancellationToken,
    /// Requests that are read, as many as may wait.
    reads: Arc<Semaphore>,
    /// Texts that are tokenized, one a core.
    readers: Arc<Semaphore>,
    /// What structures take, by their ids; measured once.
    costs: Arc<Mutex<HashMap<String, MeasuredCost>>>,
    /// Held while modules are measured, so that no two measurements share the processor.
    measuring: Arc<Mutex<()>>,
    started: jiff::Timestamp,
}

impl AppState {
    /// The state of a server over these parts.
    pub fn new(registry: Registry, engine: Engine, jobs: Jobs, config: Config, tokens: Tokens) -> Self {
        let uploads = Arc::new(Semaphore::new(config.concurrent_uploads.max(1)));
        let reads = Arc::new(Semaphore::new(most_reads(&config)));
        let readers = Arc::new(Semaphore::new(available_parallelism().map_or(1, NonZeroUsize::get)));
        let (config, tokens) = (Arc::new(config), Arc::new(tokens));
        Self {
            registry,
            engine,
            jobs,
            config,
            tokens,
            uploads,
            over: CancellationToken::new(),
            reads,
            readers,
            costs: Arc::default(),
            measuring: Arc::default(),
            started: jiff::Timestamp::now(),
        }
    }

    /// Runs a call that blocks on the disk, away from the threads that answer requests.
    async fn blocking<T, E>(&self, call: impl FnOnce(&Self) -> Result<T, E> + Send + 'static) -> Result<T>
    where
        T: Send + 'static,
        E: Into<ApiError> + Send + 'static,
    {
        let state = self.clone();
        match tokio::task::spawn_blocking(move || call(&state)).await {
            Ok(outcome) => outcome.map_err(Into::into),
            Err(error) => Err(ApiError::internal(error)),
        }
    }
}
