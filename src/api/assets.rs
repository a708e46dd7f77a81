//! The web page: files that `build.rs` made from `web/`, kept in the binary.
//!
//! Every view of the page is a link, so each of [`VIEWS`] answers with the page itself, whose script then reads the
//! address. Nothing here reads the disk.

use axum::Router;
use axum::extract::Request;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// First segments of the page's links; keep in step with `web/src/routes.tsx`.
const VIEWS: [&str; 7] = ["structures", "jobs", "searches", "adapters", "try", "tasks", "transfers"];

/// The page loads nothing from elsewhere and is framed by nobody; `blob:` and `data:` are its exports and its icon.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// One file of the page.
struct Asset {
    path: &'static str,
    content_type: &'static str,
    etag: &'static str,
    bytes: &'static [u8],
}

static ASSETS: &[Asset] = &include!(concat!(env!("OUT_DIR"), "/web/assets.rs"));

/// Routes of the page: `/`, `/assets/…` and every view.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let mut router = Router::new().route("/", get(page)).route("/assets/{*path}", get(asset));
    for view in VIEWS {
        router = router.route(&format!("/{view}"), get(page)).route(&format!("/{view}/{{*rest}}"), get(page));
    }
    router
}

async fn page(headers: HeaderMap) -> Response {
    find("/index.html").map_or_else(|| not_found("/index.html"), |asset| reply(asset, &headers))
}

async fn asset(request: Request) -> Response {
    let path = request.uri().path();
    find(path).map_or_else(|| not_found(path), |asset| reply(asset, request.headers()))
}

fn find(path: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.path == path)
}

fn not_found(path: &str) -> Response {
    (StatusCode::NOT_FOUND, format!("the web page has no file {path}: reload the page\n")).into_response()
}

fn reply(asset: &'static Asset, headers: &HeaderMap) -> Response {
    // Vite puts a digest into the names below /assets/, so that such a file never changes.
    let immutable = asset.path.starts_with("/assets/");
    let caching = if immutable { "public, max-age=31536000, immutable" } else { "no-cache" };
    let common = [
        (ETAG, asset.etag),
        (CACHE_CONTROL, caching),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
    ];
    if holds(headers, asset.etag) {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    (common, [(CONTENT_TYPE, asset.content_type)], asset.bytes).into_response()
}

/// Whether the client says that it holds this version.
fn holds(headers: &HeaderMap, etag: &str) -> bool {
    let listed = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    listed.flat_map(|value| value.split(',')).any(|one| {
        let one = one.trim();
        one == "*" || one.trim_start_matches("W/") == etag
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    async fn get(path: &str, etag: Option<&str>) -> (StatusCode, HeaderMap, Vec<u8>) {
        let mut request = Request::get(path);
        if let Some(etag) = etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        let response = routes::<()>().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        (parts.status, parts.headers, body.collect().await.unwrap().to_bytes().to_vec())
    }

    #[tokio::test]
    async fn every_view_is_the_page() {
        let (_, _, index) = get("/", None).await;
        assert!(String::from_utf8(index.clone()).unwrap().contains("<title>s3delta</title>"));
        let links = VIEWS.iter().flat_map(|view| [format!("/{view}"), format!("/{view}/some/thing")]);
        for link in links {
            let (status, headers, body) = get(&link, None).await;
            assert_eq!(
                (status, &headers[CONTENT_TYPE] == "text/html; charset=utf-8"),
                (StatusCode::OK, true),
                "{link}"
            );
            assert_eq!(body, index, "{link}");
            assert!(headers[CONTENT_SECURITY_POLICY].to_str().unwrap().contains("default-src 'none'"));
        }
    }

    #[tokio::test]
    async fn assets_are_cached_by_their_digest() {
        for asset in ASSETS {
            let (status, headers, body) = get(if asset.path == "/index.html" { "/" } else { asset.path }, None).await;
            assert_eq!((status, body.as_slice()), (StatusCode::OK, asset.bytes), "{}", asset.path);
            let immutable = headers[CACHE_CONTROL].to_str().unwrap().contains("immutable");
            assert_eq!(immutable, asset.path.starts_with("/assets/"), "{}", asset.path);
        }
        let (_, headers, _) = get("/", None).await;
        let etag = headers[ETAG].to_str().unwrap();
        for held in [etag.to_string(), format!("W/{etag}"), format!("\"other\", {etag}"), "*".into()] {
            let (status, _, body) = get("/", Some(&held)).await;
            assert_eq!((status, body.len()), (StatusCode::NOT_MODIFIED, 0), "{held}");
        }
        assert_eq!(get("/", Some("\"other\"")).await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn unknown_files_are_not_found() {
        for path in ["/assets/none.js", "/assets/../index.html", "/nothing"] {
            assert_eq!(get(path, None).await.0, StatusCode::NOT_FOUND, "{path}");
        }
    }
}
