//! What a request's `model` or `adapter` stands for, pinned from admission to reply.

use super::{ApiError, AppState, Result};
use crate::{
    registry::{Blob, TaskRef},
    serve,
};
use std::sync::Arc;
use std::time::Instant;

/// A model to ask. While it lives its weights stay readable, whatever is deleted or moved.
#[derive(Debug, Clone)]
pub(crate) struct Served {
    /// The adapter as the engine takes it; none for the bare backbone.
    pub(crate) adapter: Option<Arc<serve::Adapter>>,
    /// Digest of the generation.
    pub(crate) generation: Option<String>,
    /// The task that the generation was trained on.
    pub(crate) task: Option<TaskRef>,
    _weights: Option<Blob>,
}

impl AppState {
    /// The model of a reference: the backbone's name, or an adapter's with alias or digest. Blocks.
    pub(crate) fn served(&self, reference: &str) -> Result<Served> {
        let backbone = self.engine.backbone();
        if reference == backbone.name {
            return Ok(Served { adapter: None, generation: None, task: None, _weights: None });
        }
        let started = Instant::now();
        let found = self.registry.resolve(reference)?;
        metrics::histogram!("s3delta_adapter_resolve_seconds").record(started.elapsed().as_secs_f64());
        found.structure.check_fits(&backbone.shape).map_err(|error| {
            let message = format!("adapter {reference} cannot be served here: {error}");
            ApiError::conflict("shape_mismatch", message)
        })?;
        found.generation.check_backbone(&found.name, &backbone.digest)?;
        let digest = found.generation.digest.to_string();
        Ok(Served {
            generation: Some(digest.clone()),
            task: found.generation.task,
            adapter: Some(Arc::new(serve::Adapter {
                generation: digest,
                structure: found.structure,
                weights: found.weights.path(),
            })),
            _weights: Some(found.weights),
        })
    }

    /// The ids of a text, refused where there are too many.
    pub(crate) fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let ids = self.engine.tokenizer().encode(text)?;
        self.check_length(ids.len())?;
        Ok(ids)
    }

    /// Refuses inputs that are too long.
    pub(crate) fn check_length(&self, tokens: usize) -> Result<()> {
        let most = self.config.input_tokens;
        if tokens <= most {
            return Ok(());
        }
        let message =
            format!("the input has {tokens} tokens, the limit is {most}: shorten it, or raise `input_tokens`");
        Err(ApiError::unservable("input_too_long", message))
    }
}
