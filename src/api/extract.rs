//! Extractors whose rejections are the API's own errors.

use super::{ApiError, AppState};
use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Request, rejection::JsonRejection},
    http::{HeaderMap, StatusCode, request::Parts},
};
use serde::{
    Serialize,
    de::{DeserializeOwned, IgnoredAny},
};

/// A JSON body: 400 if it is no JSON, 422 if it does not fit the type, 413 if too large, 415 if not declared as JSON.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<AppState> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        let kind =
            header(request.headers(), "content-type").and_then(|kind| kind.split(';').next()).unwrap_or_default();
        if !kind.trim().eq_ignore_ascii_case("application/json") {
            return Err(ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "content_type_unsupported",
                "the body must be JSON: send the header `content-type: application/json`",
            ));
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                "the body is larger than the server allows: send less, or raise `body_bytes` (`upload_bytes` for tasks)",
            ),
            _ => ApiError::malformed("body_unreadable", format!("the body cannot be read: {}", rejection.body_text())),
        })?;
        match axum::Json::from_bytes(&bytes) {
            Ok(axum::Json(value)) => Ok(Self(value)),
            Err(rejection) => Err(json_error(&rejection, &bytes)),
        }
    }
}

impl<T: Serialize> axum::response::IntoResponse for Json<T> {
    fn into_response(self) -> axum::response::Response {
        axum::Json(self.0).into_response()
    }
}

fn json_error(rejection: &JsonRejection, bytes: &[u8]) -> ApiError {
    // a field that does not fit may stand before the place where the text breaks off
    if let Err(error) = serde_json::from_slice::<IgnoredAny>(bytes) {
        return ApiError::malformed("json_malformed", format!("the body is not valid JSON: {error}"));
    }
    // axum's preamble says only that the JSON does not fit; what follows names the place
    let text = rejection.body_text();
    let cause = text.split_once(": ").map_or(text.as_str(), |(_, cause)| cause);
    let error = ApiError::unservable("request_invalid", format!("the request is not valid: {cause}"));
    match field(cause) {
        Some(field) => error.at(field),
        None => error,
    }
}

/// The innermost cause's text, which names field and place without the frameworks' own preambles.
fn cause(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

/// The field that serde's message names.
fn field(message: &str) -> Option<String> {
    let (_, after) = message.split_once("field `")?;
    after.split_once('`').map(|(field, _)| field.to_string())
}

/// Query parameters: 400 if they do not fit the type.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<AppState> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        match axum::extract::Query::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(rejection) => {
                let cause = cause(&rejection);
                let error = ApiError::malformed("query_invalid", format!("the query is not valid: {cause}"));
                Err(match field(&cause) {
                    Some(field) => error.at(field),
                    None => error,
                })
            }
        }
    }
}

/// Path parameters: 400 if they are no UTF-8.
#[derive(Debug)]
pub(crate) struct Path<T>(pub(crate) T);

impl<T: DeserializeOwned + Send> FromRequestParts<AppState> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(rejection) => {
                Err(ApiError::malformed("path_invalid", format!("the path is not valid: {}", cause(&rejection))))
            }
        }
    }
}

/// A multipart body, read part by part.
pub(crate) struct Multipart(pub(crate) axum::extract::Multipart);

impl FromRequest<AppState> for Multipart {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        axum::extract::Multipart::from_request(request, state).await.map(Self).map_err(|_| {
            let message = "the body must be multipart: send `content-type: multipart/form-data` with its boundary";
            ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type_unsupported", message)
        })
    }
}

/// A header's text, if it is there and readable.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
