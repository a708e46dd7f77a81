//! What a request did not have to have computed for itself.

use std::sync::{Arc, OnceLock};

/// What of a request's source was there already: made for an earlier request, or for another one of the same batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shared {
    /// The encoder's output, or all that is needed of it.
    pub encoder: bool,
    /// Cross-attention's keys and values.
    pub keys_values: bool,
}

/// The way of it from the engine's thread to the client.
#[derive(Debug, Clone, Default)]
pub(super) struct Told(Arc<OnceLock<Shared>>);

impl Told {
    pub(super) fn set(&self, shared: Shared) {
        let _ = self.0.set(shared);
    }

    pub(super) fn get(&self) -> Shared {
        self.0.get().copied().unwrap_or_default()
    }
}
