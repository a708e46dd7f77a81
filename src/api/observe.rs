//! Around every request: its id, its span, its metrics, and the body of its error.

use super::{ApiError, error::ErrorBody, extract::header, pressure::QUEUE_FULL};
use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderValue, StatusCode},
    middleware::Next,
    response::{IntoResponse, Response},
};
use std::{
    any::Any,
    hash::{BuildHasher, Hasher, RandomState},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};
use tracing::Instrument;

/// Header of the request's id, in both directions.
pub(crate) const REQUEST_ID: &str = "x-request-id";

/// The request's id, kept in its extensions.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(pub(crate) String);

/// The outermost middleware.
pub(crate) async fn observe(mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = header(request.headers(), REQUEST_ID).filter(|id| acceptable(id)).map_or_else(fresh_id, String::from);
    request.extensions_mut().insert(RequestId(id.clone()));
    let method = request.method().clone();
    let path = request.uri().path().to_string();
    // the route's pattern, as every id in a label would be a series of its own
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_string();
    let span = tracing::info_span!("request", id, %method, path);
    let mut end = End::of("s3delta_requests_total", route.clone());
    let response = next.run(request).instrument(span.clone()).await;
    let code = response.extensions().get::<ApiError>().map_or("", ApiError::code).to_string();
    let mut response = with_error_body(response, &path, &id);
    let status = response.status();
    let seconds = started.elapsed().as_secs_f64();
    end.is(status, &code);
    metrics::histogram!("s3delta_request_duration_seconds", "route" => route).record(seconds);
    let number = status.as_u16();
    span.in_scope(|| tracing::info!(status = number, code, seconds, "{method} {path} {number} {code}"));
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// Gives errors their body; those of the frameworks (a wrong method, a refused body) become ours under `/v1`.
fn with_error_body(mut response: Response, path: &str, id: &str) -> Response {
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        return error.respond(id);
    }
    let status = response.status();
    let is_json = header(response.headers(), "content-type").is_some_and(|kind| kind.contains("json"));
    if !path.starts_with("/v1") || is_json || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let error = match status {
        // axum adds the header behind this
        StatusCode::METHOD_NOT_ALLOWED => {
            let message =
                format!("{path} cannot be called with this method: the header `allow` lists those that it has");
            ApiError::new(status, "method_not_allowed", message)
        }
        _ => {
            let reason = status.canonical_reason().unwrap_or("the request failed").to_lowercase();
            ApiError::new(status, "request_refused", format!("{path} was refused: {reason}"))
        }
    };
    error.respond(id)
}

/// The error body for a place without a response of its own, such as a stream under way.
pub(crate) fn error_body(error: &ApiError, id: &RequestId) -> ErrorBody {
    error.body(&id.0)
}

/// What a handler's panic becomes.
pub(crate) fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    ApiError::internal(format!("a handler panicked: {}", text.unwrap_or("(no text)"))).into_response()
}

/// Counts how a request or a stream ended, also where nobody goes on with it because its client left.
pub(crate) struct End {
    counter: &'static str,
    route: String,
    outcome: &'static str,
}

impl End {
    /// Abandoned, until it is known better.
    pub(crate) fn of(counter: &'static str, route: String) -> Self {
        Self { counter, route, outcome: "abandoned" }
    }

    /// It ended with this status, and this code if with an error.
    pub(crate) fn is(&mut self, status: StatusCode, code: &str) {
        self.outcome = match status {
            _ if code == QUEUE_FULL => "queue_full",
            StatusCode::GATEWAY_TIMEOUT => "timed_out",
            status if status.is_server_error() => "server_error",
            status if status.is_client_error() => "client_error",
            _ => "success",
        };
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let route = std::mem::take(&mut self.route);
        metrics::counter!(self.counter, "route" => route, "outcome" => self.outcome).increment(1);
    }
}

fn acceptable(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

fn fresh_id() -> String {
    static PROCESS: OnceLock<u64> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let process = PROCESS.get_or_init(|| RandomState::new().build_hasher().finish());
    format!("{:016x}", process.wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed)))
}
