//! The application: registry, engine, jobs and router over one backbone, for `serve` and for commands.

use super::open_device;
use crate::api::{AppState, Tokens, router};
use crate::config::Config;
use crate::jobs::{Jobs, runner};
use crate::registry::Registry;
use crate::serve::{self, Engine};
use crate::t5::{Backbone, DeviceChoice, WeightFormat};
use anyhow::Result;
use axum::Router;
use std::sync::Arc;

/// What the application is started for.
pub(super) enum Mode {
    /// A server: these tokens count, and jobs that wait are taken up.
    Server(Tokens),
    /// One command, whose user owns the folder: no tokens, and no job but the command's own.
    Command,
}

/// The running application.
pub(super) struct App {
    /// What the routes work with.
    pub(super) state: AppState,
    jobs: Jobs,
    engine: Engine,
}

impl App {
    /// Opens the backbone and starts the engine and the jobs' worker.
    pub(super) fn start(registry: Registry, config: Config, mode: Mode) -> Result<Self> {
        let (device, named) = open_device(&config)?;
        let weights: WeightFormat = config.weights.parse()?;
        let backbone = Arc::new(Backbone::resolve(&config.backbone, &device)?);
        // jobs train through their backbone, which takes f32
        let served = match weights {
            WeightFormat::F32 => backbone.clone(),
            WeightFormat::Int8 => Arc::new(Backbone::resolve_as(&config.backbone, weights, &device)?),
        };
        let encoded = match named {
            DeviceChoice::Cpu => serve::Settings::encoded_on_cpu(served.shape()),
            _ => serve::Settings::default().encoded_between_steps,
        };
        let settings = serve::Settings {
            adapter_bytes: config.adapter_bytes,
            queue: config.queue,
            max_source_tokens: config.input_tokens,
            max_new_tokens: config.output_tokens,
            encoded_between_steps: config.encoded_between_steps.unwrap_or(encoded),
            encoder_cache_bytes: config.encoder_cache_bytes,
            device: named.to_string(),
            ..serve::Settings::default()
        };
        let text = Arc::new(serve::Text::of(&served));
        let engine = serve::start(served, text.clone(), settings)?;
        let work = runner(backbone, registry.clone(), config.kept_activation_bytes);
        let jobs = Jobs::new(registry.clone(), engine.backbone().clone(), text, config.waiting_jobs, work);
        let (tokens, take_up) = match mode {
            Mode::Server(tokens) => (tokens, true),
            Mode::Command => (Tokens::default(), false),
        };
        jobs.start(take_up)?;
        let state = AppState::new(registry, engine.clone(), jobs.clone(), config, tokens);
        Ok(Self { state, jobs, engine })
    }

    /// The name of the served backbone.
    pub(super) fn backbone(&self) -> &str {
        &self.engine.backbone().name
    }

    /// Every route.
    pub(super) fn router(&self) -> Router {
        router(self.state.clone())
    }

    /// Lets the running job keep a checkpoint, and ends worker and engine.
    pub(super) async fn shutdown(&self) {
        let jobs = self.jobs.clone();
        let _ = tokio::task::spawn_blocking(move || jobs.shutdown()).await;
        self.engine.shutdown().await;
    }
}
