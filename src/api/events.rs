//! `/v1/jobs/{id}/events`: what happens to a job, as server-sent events.

use super::{
    AppState, ErrorBody, Job, Result,
    auth::{May, Read},
    extract::Path,
};
use crate::{jobs::JobEvent, registry::JobRecord};
use axum::{
    extract::State,
    response::sse::{Event, KeepAlive, Sse},
};
use futures_util::stream::{self, Stream};
use serde::Serialize;
use std::convert::Infallible;
use tokio::sync::broadcast::{Receiver, error::RecvError};

/// Watches a job: `state` events carry a Job (the first says how it stands, the last how it ended), `progress` events a
/// Progress.
#[utoipa::path(get, path = "/v1/jobs/{id}/events", tag = "jobs",
    params(("id" = String, Path, description = "Its id")), security(("bearer" = ["read"])),
    responses((status = 200, body = String, content_type = "text/event-stream"), (status = "default", body = ErrorBody)))]
pub(crate) async fn job_events(
    _: May<Read>,
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>> {
    let (job, events) = state.blocking(move |state| state.jobs.subscribe(&id)).await?;
    Ok(Sse::new(watch(job, events)).keep_alive(KeepAlive::default()))
}

/// What to send next.
enum Next {
    First(Box<JobRecord>, Option<Receiver<JobEvent>>),
    Then(Receiver<JobEvent>),
    End,
}

fn watch(job: JobRecord, events: Option<Receiver<JobEvent>>) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold(Next::First(Box::new(job), events), |next| async move {
        let mut events = match next {
            Next::First(job, events) => {
                let next = events.map_or(Next::End, Next::Then);
                return Some((Ok(event("state", &Job::from(*job))), next));
            }
            Next::Then(events) => events,
            Next::End => return None,
        };
        loop {
            match events.recv().await {
                Ok(JobEvent::Progress(progress)) => {
                    return Some((Ok(event("progress", &*progress)), Next::Then(events)));
                }
                Ok(JobEvent::State(job)) => {
                    let ended = job.state.is_terminal();
                    let next = if ended { Next::End } else { Next::Then(events) };
                    return Some((Ok(event("state", &Job::from((*job).clone()))), next));
                }
                // a slow watcher loses old progress, never the end
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    })
}

fn event(name: &'static str, data: &impl Serialize) -> Event {
    let data = serde_json::to_string(data).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"));
    Event::default().event(name).data(data)
}
