//! Errors as clients see them. Domain errors become statuses here and nowhere else.

use super::pressure::QUEUE_FULL;
use crate::{jobs, registry, serve, structure, task};
use axum::{
    Json,
    extract::multipart::MultipartError,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use std::borrow::Cow;
use std::time::Duration;

/// Of a message, which may quote what was sent.
const MOST_CHARACTERS: usize = 2000;

/// What a handler answers.
pub(crate) type Result<T, E = ApiError> = std::result::Result<T, E>;

/// The body of every error: `{"error": {…}}`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorObject,
}

/// What went wrong, for programs (`code`, `param`) and for people (`message`).
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ErrorObject {
    /// Stable code, such as `structure_not_found`.
    #[schema(value_type = String)]
    pub code: Cow<'static, str>,
    /// Names the thing and the fix.
    pub message: String,
    /// Class of the error, as OpenAI's API names them.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The field, query parameter or part at fault, if it is one.
    pub param: Option<String>,
    /// The same as the `x-request-id` header.
    pub request_id: String,
}

/// An error on its way to a client. `observe` writes it with the request's id.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: Cow<'static, str>,
    message: String,
    param: Option<String>,
    /// Seconds after which to try again, where something is known of them.
    retry_after: Option<u64>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if let Some((end, _)) = message.char_indices().nth(MOST_CHARACTERS) {
            message.truncate(end);
            message.push('…');
        }
        Self { status, code: code.into(), message, param: None, retry_after: None }
    }

    /// Names the field, query parameter or part at fault.
    pub(crate) fn at(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// What the engine refuses: the model's fault, or that of what it was given, which stand in these fields.
    pub(crate) fn refused(error: serve::Error, model: &str, input: &str) -> Self {
        let field = match error {
            serve::Error::Adapter(_) | serve::Error::Damaged(_) => model,
            serve::Error::Request(_) => input,
            _ => return error.into(),
        };
        Self::from(error).at(field)
    }

    /// Says when to try again.
    pub(crate) fn retry_after(mut self, time: Duration) -> Self {
        self.retry_after = Some(time.as_secs());
        self
    }

    /// 400: cannot be read.
    pub(crate) fn malformed(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 404.
    pub(crate) fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    /// 409.
    pub(crate) fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    /// 413.
    pub(crate) fn too_large(what: &str, limit: usize, setting: &str) -> Self {
        let message = format!("{what} is larger than the limit of {limit} bytes: send less, or raise `{setting}`");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
    }

    /// 422: read, but cannot be served.
    pub(crate) fn unservable(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, message)
    }

    /// 500; the cause goes to the log only.
    pub(crate) fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::error!(%cause, "internal error: {cause}");
        let message = "the server failed; its log tells more under this request id";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", message)
    }

    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// The body, for a request of this id.
    pub(crate) fn body(&self, request_id: &str) -> ErrorBody {
        ErrorBody {
            error: ErrorObject {
                code: self.code.clone(),
                message: self.message.clone(),
                kind: self.kind(),
                param: self.param.clone(),
                request_id: request_id.into(),
            },
        }
    }

    /// The whole response, for a request of this id.
    pub(crate) fn respond(&self, request_id: &str) -> Response {
        let mut response = (self.status, Json(self.body(request_id))).into_response();
        let headers = response.headers_mut();
        if matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            headers.insert(header::RETRY_AFTER, self.retry_after.unwrap_or(1).into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }

    fn kind(&self) -> &'static str {
        match self.status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::NOT_FOUND => "not_found_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        }
    }
}

/// Leaves the error in the response's extensions; `observe`, which knows the request's id, writes the body.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<structure::Error> for ApiError {
    fn from(error: structure::Error) -> Self {
        use structure::Error as E;
        let code = match &error {
            E::UnknownPosition { .. } => "unknown_position",
            E::NotAdmitted { .. } => "kind_not_admitted",
            E::HyperParameter { .. } => "invalid_hyper_parameter",
            E::Duplicate { .. } => "duplicate_module",
            E::Budget(_) => "invalid_budget",
            E::Space(_) => "invalid_space",
            E::Document(_) => "invalid_structure",
            E::ShapeMismatch { .. } => "shape_mismatch",
        };
        Self::unservable(code, error.to_string())
    }
}

impl From<serve::Error> for ApiError {
    fn from(error: serve::Error) -> Self {
        use serve::Error as E;
        let message = error.to_string();
        match error {
            E::QueueFull { .. } | E::ShareFull { .. } => Self::new(StatusCode::TOO_MANY_REQUESTS, QUEUE_FULL, message),
            E::TimedOut => Self::new(StatusCode::GATEWAY_TIMEOUT, "timed_out", message),
            E::Stopped => Self::new(StatusCode::SERVICE_UNAVAILABLE, "engine_stopped", message),
            E::Adapter(_) => Self::conflict("adapter_not_servable", message),
            E::Request(_) => Self::unservable("request_not_servable", message),
            E::Damaged(_) => {
                tracing::error!("{message}");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "adapter_damaged", message)
            }
            E::Internal(_) => Self::internal(message),
        }
    }
}

impl From<registry::Error> for ApiError {
    fn from(error: registry::Error) -> Self {
        use registry::ErrorKind as Kind;
        let code = error.code();
        let status = match (error.kind(), error) {
            (_, registry::Error::Structure(error)) => return error.into(),
            (Kind::Internal | Kind::Unavailable, error) => {
                // the paths of the server's disk are for its log
                tracing::error!(%error, code, "the registry failed: {error}");
                let unavailable = error.kind() == Kind::Unavailable;
                let message = "the registry cannot serve this now; the server's log tells more under this request id";
                let status =
                    if unavailable { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::INTERNAL_SERVER_ERROR };
                return Self::new(status, code, message);
            }
            (Kind::NotFound, error) => (StatusCode::NOT_FOUND, error),
            (Kind::Conflict, error) => (StatusCode::CONFLICT, error),
            (Kind::Malformed, error) => (StatusCode::BAD_REQUEST, error),
            (Kind::Unusable, error) => (StatusCode::UNPROCESSABLE_ENTITY, error),
            (Kind::TooLarge, error) => (StatusCode::PAYLOAD_TOO_LARGE, error),
        };
        Self::new(status.0, code, status.1.to_string())
    }
}

impl From<task::Error> for ApiError {
    fn from(error: task::Error) -> Self {
        let status = match error {
            task::Error::Unknown { .. } => StatusCode::NOT_FOUND,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self::new(status, error.code(), error.to_string())
    }
}

impl From<jobs::Error> for ApiError {
    fn from(error: jobs::Error) -> Self {
        use jobs::Error as E;
        let param = error.param();
        let message = error.to_string();
        let mapped: Self = match error {
            E::Invalid { .. } => Self::unservable("request_invalid", message),
            E::Structure { source, .. } => source.into(),
            E::Reference { source, .. } | E::Registry(source) => source.into(),
            E::Missing { code, .. } => Self::not_found(code, message),
            E::TaskChanged { .. } => Self::conflict("task_changed", message),
            E::OtherBackbone { .. } => Self::conflict("backbone_mismatch", message),
            E::TooMany { .. } => Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_jobs", message),
            E::Closed => Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_stopping", message),
            E::Thread(_) => Self::internal(message),
        };
        match param {
            Some(param) => mapped.at(param),
            None => mapped,
        }
    }
}

impl From<MultipartError> for ApiError {
    fn from(error: MultipartError) -> Self {
        match error.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                "the upload is larger than the server allows: send less, or raise `upload_bytes`",
            ),
            _ => {
                Self::malformed("multipart_invalid", format!("the multipart body is not valid: {}", error.body_text()))
            }
        }
    }
}
