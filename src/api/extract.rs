//! Extractors whose rejections are the API's own errors.

use super::{ApiError, AppState};
use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Request},
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
        read(&bytes).map(Self)
    }
}

impl<T: Serialize> axum::response::IntoResponse for Json<T> {
    fn into_response(self) -> axum::response::Response {
        axum::Json(self.0).into_response()
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let malformed = |error: &dyn std::error::Error| {
        ApiError::malformed("json_malformed", format!("the body is not valid JSON: {error}"))
    };
    let text = std::str::from_utf8(bytes).map_err(|error| malformed(&error))?;
    if text.trim_ascii_start().starts_with('[') {
        // serde would take its values for the fields in their order
        serde_json::from_str::<IgnoredAny>(text).map_err(|error| malformed(&error))?;
        let message = "the request is not valid: it is a list, and must be an object with named fields";
        return Err(ApiError::unservable("request_invalid", message));
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let error = match serde_path_to_error::deserialize(&mut reader) {
        Ok(value) => return reader.end().map(|()| value).map_err(|error| malformed(&error)),
        Err(error) => error,
    };
    // a field that does not fit may stand before the place where the text breaks off
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| malformed(&error))?;
    let refused = ApiError::unservable("request_invalid", format!("the request is not valid: {error}"));
    Err(match place(&error) {
        Some(place) => refused.at(place),
        None => refused,
    })
}

/// Where in the body an error lies, such as `rows.dev[1].label`; none for the body as a whole.
fn place(error: &serde_path_to_error::Error<serde_json::Error>) -> Option<String> {
    let path = Some(error.path().to_string()).filter(|path| path != ".");
    // the path ends at the object that lacks the field
    let lacking = Some(error.inner().to_string()).filter(|message| message.starts_with("missing field"));
    match (path, lacking.as_deref().and_then(field)) {
        (Some(path), Some(field)) => Some(format!("{path}.{field}")),
        (path, field) => path.or(field),
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
