//! What a request's `model` or `adapter` stands for, pinned from admission to reply.

use super::{ApiError, AppState, Result, most_reads};
use crate::{
    registry::{Blob, DEFAULT_ALIAS, TaskRef},
    serve,
};
use std::sync::Arc;
use std::time::Instant;
use tokio::runtime::Handle;
use tokio::time::timeout_at;

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

/// Characters that normalization (NFKC) makes of one, white space aside; of those that become many, as ligatures of whole words do.
fn normalized(character: char) -> usize {
    match character {
        '\u{fdfa}' => 18,
        '\u{fdfb}' => 8,
        '\u{3300}'..='\u{33ff}' => 6,
        character => usize::from(!character.is_whitespace()),
    }
}

impl AppState {
    /// The model of a reference: the backbone's name, or an adapter's with alias or digest. Blocks.
    pub(crate) fn served(&self, reference: &str) -> Result<Served> {
        let backbone = self.engine.backbone();
        if reference == backbone.name {
            if self.registry.adapter(reference).is_ok() {
                let message = format!(
                    "`{reference}` is the name of the backbone and of an adapter: ask for the adapter by alias or digest, such as \
                     `{reference}@{DEFAULT_ALIAS}`, or start the server with its backbone under another name"
                );
                return Err(ApiError::conflict("model_ambiguous", message));
            }
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
                checksum: found.weights.digest().to_string(),
            })),
            _weights: Some(found.weights),
        })
    }

    /// The ids of a text, refused where there are too many; blocks. A text far too long is refused before it is tokenized, which takes
    /// seconds and a gigabyte for a megabyte.
    pub(crate) fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let tokenizer = self.engine.tokenizer();
        let most = tokenizer.most_characters(self.config.input_tokens);
        let characters: usize = text.chars().map(normalized).sum();
        if characters > most {
            return Err(self.too_long(&format!("{characters} characters")));
        }
        // text by text, so that one of a request of many does not wait for all of another's
        let permit = Handle::current().block_on(self.readers.acquire()).map_err(ApiError::internal)?;
        if self.over.is_cancelled() {
            return Err(serve::Error::Stopped.into());
        }
        let ids = tokenizer.encode(text)?;
        drop(permit);
        self.check_length(ids.len())?;
        Ok(ids)
    }

    /// Refuses inputs that are too long.
    pub(crate) fn check_length(&self, tokens: usize) -> Result<()> {
        if tokens > self.config.input_tokens { Err(self.too_long(&format!("{tokens} tokens"))) } else { Ok(()) }
    }

    fn too_long(&self, found: &str) -> ApiError {
        let most = self.config.input_tokens;
        let message = format!("the input has {found}, the limit is {most} tokens: shorten it, or raise `input_tokens`");
        ApiError::unservable("input_too_long", message)
    }

    /// Reads a request's model and texts beside the threads that answer, and no longer than somebody waits for them: until the deadline,
    /// and while the future is there. Where as many are read as may wait in the queue, it is full.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        deadline: Option<Instant>,
        read: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let full = |_| serve::Error::QueueFull { capacity: most_reads(&self.config) };
        let permit = self.reads.clone().try_acquire_owned().map_err(full)?;
        let over = self.over.child_token();
        let _told = over.clone().drop_guard();
        let state = Self { over, ..self.clone() };
        let reading = state.blocking(move |state| {
            let _permit = permit; // until the text at hand is read, also where nobody waits any more
            read(state)
        });
        match deadline {
            Some(deadline) => timeout_at(deadline.into(), reading).await.unwrap_or(Err(serve::Error::TimedOut.into())),
            None => reading.await,
        }
    }
}
