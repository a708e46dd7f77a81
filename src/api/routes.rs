//! The routes, and the OpenAPI document that follows from them.

use super::{
    ApiError, AppState, adapters, aliases, assets, choices, completions, events,
    guard::{BodyLimit, declared_length, same_site},
    health, jobs, metrics, models, observe, predictions, pressure, structures, tasks, transfers,
};
use crate::config::Config;
use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    http::header::CONTENT_TYPE,
    middleware::{from_fn, from_fn_with_state},
    response::IntoResponse,
    routing::get,
};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::{
    OpenApi,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};
use utoipa_axum::{router::OpenApiRouter, routes};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "s3delta",
        description = "Finds, keeps, moves and serves sparse delta structures for T5.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    tags(
        (name = "models", description = "Ask the backbone and its adapters"),
        (name = "structures", description = "Sparse structures with the p of their searches"),
        (name = "adapters", description = "Structures with delta weights, their generations and aliases"),
        (name = "tasks", description = "Templates, labels and rows"),
        (name = "jobs", description = "Searches, re-trainings, transfers and evaluations"),
        (name = "transfers", description = "What a source task's structure scored on a target task"),
        (name = "server", description = "The server itself")
    ),
    components(schemas(crate::jobs::Progress, crate::jobs::SearchResult, crate::jobs::RetrainResult,
        crate::jobs::TransferResult, crate::jobs::EvaluationResult))
)]
struct Document;

/// The whole application: the API, `/openapi.json`, and the web page for the rest.
pub fn router(state: AppState) -> Router {
    metrics::recorder();
    let (router, document) = parts(&state.config);
    let document = document.to_json().unwrap_or_default();
    let served = move || async move { ([(CONTENT_TYPE, "application/json")], document) };
    router
        .route("/openapi.json", get(served))
        .merge(assets::routes())
        .fallback(unknown_route)
        .layer(from_fn_with_state(state.clone(), pressure::retry_after))
        .layer(from_fn_with_state(state.clone(), same_site))
        .layer(CatchPanicLayer::custom(observe::panicked))
        .layer(from_fn(observe::observe))
        .with_state(state)
}

/// The OpenAPI document of these routes.
pub fn openapi() -> utoipa::openapi::OpenApi {
    parts(&Config::default()).1
}

fn parts(config: &Config) -> (Router<AppState>, utoipa::openapi::OpenApi) {
    let small = BodyLimit { bytes: config.body_bytes, setting: "body_bytes" };
    let large = BodyLimit { bytes: config.upload_bytes, setting: "upload_bytes" };
    let documents = OpenApiRouter::new()
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::get_metrics))
        .routes(routes!(health::get_backbone))
        .routes(routes!(models::list_models))
        .routes(routes!(completions::create_completion))
        .routes(routes!(predictions::create_prediction))
        .routes(routes!(structures::list_structures, structures::create_structure))
        .routes(routes!(structures::get_structure, structures::delete_structure))
        .routes(routes!(choices::create_choice))
        .routes(routes!(choices::get_front))
        .routes(routes!(adapters::get_adapter, adapters::delete_adapter))
        .routes(routes!(adapters::delete_generation))
        .routes(routes!(adapters::get_weights))
        .routes(routes!(aliases::put_alias, aliases::delete_alias))
        .routes(routes!(tasks::list_tasks))
        .routes(routes!(jobs::create_search))
        .routes(routes!(jobs::create_retrain))
        .routes(routes!(jobs::create_transfer, transfers::list_transfers))
        .routes(routes!(jobs::create_evaluation))
        .routes(routes!(jobs::list_jobs))
        .routes(routes!(jobs::get_job, jobs::delete_job))
        .routes(routes!(jobs::cancel_job))
        .routes(routes!(jobs::resume_job))
        .routes(routes!(events::job_events));
    let uploads = OpenApiRouter::new()
        .routes(routes!(adapters::list_adapters, adapters::create_adapter))
        .routes(routes!(tasks::get_task, tasks::put_task, tasks::delete_task));
    let limited = |router: OpenApiRouter<AppState>, limit: BodyLimit| {
        router.layer(DefaultBodyLimit::max(limit.bytes)).layer(from_fn_with_state(limit, declared_length))
    };
    let (router, mut document) = OpenApiRouter::with_openapi(Document::openapi())
        .merge(limited(documents, small))
        .merge(limited(uploads, large))
        .split_for_parts();
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("A token with the scope that the operation names; none where the server has no tokens"));
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer.build()));
    (router, document)
}

async fn unknown_route(request: Request) -> impl IntoResponse {
    let path = request.uri().path();
    ApiError::not_found("route_not_found", format!("there is nothing at {path}: /openapi.json lists what there is"))
}
