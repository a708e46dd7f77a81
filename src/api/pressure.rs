//! What is told to clients that found the engine's queue full.

use super::{ApiError, AppState};
use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};

/// Lets an answer of a full queue say when to come again, as the queue and its pace are now.
pub(crate) async fn retry_after(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let extensions = response.extensions_mut();
    if let Some(error) = extensions.get::<ApiError>().filter(|error| error.code() == QUEUE_FULL) {
        let error = error.clone().retry_after(state.engine.retry_after());
        extensions.insert(error);
    }
    response
}

/// The code of such an answer.
pub(crate) const QUEUE_FULL: &str = "queue_full";
