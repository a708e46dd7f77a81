//! `/healthz`, `/readyz`, `/metrics`, `/v1/backbone`.

use super::{
    ApiError, AppState, ErrorBody, Result,
    auth::{May, Read},
    extract::Json,
    metrics,
};
use crate::serve::BackboneInfo;
use axum::{
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
};
use serde::Serialize;

/// That all is well.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Health {
    /// `ok` or `ready`.
    pub status: &'static str,
}

/// Says that the process lives.
#[utoipa::path(get, path = "/healthz", tag = "server", responses((status = 200, body = Health)))]
pub(crate) async fn healthz() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Says whether requests can be served: the backbone is loaded and the store writable.
#[utoipa::path(get, path = "/readyz", tag = "server",
    responses((status = 200, body = Health), (status = "default", body = ErrorBody)))]
pub(crate) async fn readyz(State(state): State<AppState>) -> Result<Json<Health>> {
    if !state.engine.is_running() {
        let message = "the engine has stopped: restart the server";
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "engine_stopped", message));
    }
    state.blocking(|state| state.registry.readiness()).await?;
    Ok(Json(Health { status: "ready" }))
}

/// Gives metrics in the text format of Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "server", security(("bearer" = ["read"])),
    responses((status = 200, body = String, content_type = "text/plain"), (status = "default", body = ErrorBody)))]
pub(crate) async fn get_metrics(_: May<Read>, State(state): State<AppState>) -> impl IntoResponse {
    let recorder = metrics::recorder();
    let (waiting, running) = state.jobs.counts();
    ::metrics::gauge!("s3delta_jobs", "state" => "queued").set(waiting as f64);
    ::metrics::gauge!("s3delta_jobs", "state" => "running").set(running as f64);
    recorder.run_upkeep();
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], recorder.render())
}

/// Says what is served.
#[utoipa::path(get, path = "/v1/backbone", tag = "server", security(("bearer" = ["read"])),
    responses((status = 200, body = BackboneInfo), (status = "default", body = ErrorBody)))]
pub(crate) async fn get_backbone(_: May<Read>, State(state): State<AppState>) -> Json<BackboneInfo> {
    Json(state.engine.backbone().clone())
}
