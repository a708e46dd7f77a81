//! What a server refuses before any handler runs: foreign hosts and origins, and bodies declared too large.

use super::{ApiError, AppState, extract::header};
use axum::{
    extract::{Request, State},
    http::{Method, StatusCode, Uri},
    middleware::Next,
    response::{IntoResponse, Response},
};
use std::net::IpAddr;

/// Refuses names that a rebound DNS entry could carry, where no token protects the server, and writes from other
/// origins, which a browser would send for any page.
pub(crate) async fn same_site(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let host = header(request.headers(), "host");
    let refused = |code, message: String| ApiError::new(StatusCode::FORBIDDEN, code, message).into_response();
    if let Some(host) = host.filter(|_| state.tokens.is_empty() && !state.config.insecure)
        && !is_local(host, &state.config.allowed_hosts)
    {
        let message = format!(
            "the host `{host}` is not this machine: call the server as localhost, add the name to `allowed_hosts`, or \
             create tokens"
        );
        return refused("host_refused", message);
    }
    let writes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let foreign = |origin: &str| {
        origin
            .parse::<Uri>()
            .ok()
            .and_then(|uri| uri.authority().cloned())
            .is_none_or(|authority| host.is_none_or(|host| !authority.as_str().eq_ignore_ascii_case(host)))
    };
    match header(request.headers(), "origin") {
        Some(origin) if writes && foreign(origin) => {
            refused("origin_refused", format!("pages of `{origin}` may not write to this server"))
        }
        _ => next.run(request).await,
    }
}

fn is_local(host: &str, allowed: &[String]) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.is_ok_and(|address| address.is_loopback())
        || name.eq_ignore_ascii_case("localhost")
        || allowed.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// How large the bodies of some routes may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimit {
    /// Bytes.
    pub(crate) bytes: usize,
    /// The setting to raise.
    pub(crate) setting: &'static str,
}

/// Refuses a body by its declared length; an undeclared one is counted while it is read.
pub(crate) async fn declared_length(State(limit): State<BodyLimit>, request: Request, next: Next) -> Response {
    let declared = header(request.headers(), "content-length").and_then(|length| length.parse::<u64>().ok());
    match declared {
        Some(length) if length > limit.bytes as u64 => {
            ApiError::too_large(&format!("the body of {length} bytes"), limit.bytes, limit.setting).into_response()
        }
        _ => next.run(request).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(host: &str, wanted: bool) {
        assert_eq!(is_local(host, &["box.lan".into()]), wanted, "{host}");
    }

    #[test]
    fn hosts() {
        check("localhost", true);
        check("LOCALHOST:8080", true);
        check("127.0.0.1:8080", true);
        check("127.1.2.3", true);
        check("[::1]:8080", true);
        check("[::1]", true);
        check("box.lan:80", true);
        check("evil.example:8080", false);
        check("localhost.evil.example", false);
        check("10.0.0.1:8080", false);
    }
}
