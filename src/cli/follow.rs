//! Submits a job and shows its progress until it ends.

use super::interrupt;
use super::session::Session;
use anyhow::{Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::Value;
use std::io::IsTerminal;
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// How often a line tells of the progress where there is no terminal to draw a bar on.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Submits a job to `path` and follows it; the answer is the finished job.
pub(super) fn submit(session: &Session, path: &str, request: &impl Serialize) -> Result<Value> {
    // before there is a job, so that no signal can leave it behind
    let interrupt = interrupt::listen();
    let job = session.post(path, request)?;
    let id = job["id"].as_str().unwrap_or_default();
    eprintln!("job {id}");
    follow(session, id, interrupt)
}

/// Puts a job back into the queue, if it does not run already, and follows it.
pub(super) fn resume(session: &Session, id: &str) -> Result<Value> {
    submit(session, &format!("/v1/jobs/{id}/resume"), &serde_json::json!({}))
}

/// Follows a job on standard error. Ctrl-C and SIGTERM cancel it, which leaves a checkpoint to resume from.
fn follow(session: &Session, id: &str, mut interrupt: watch::Receiver<bool>) -> Result<Value> {
    let bar = ProgressBar::new(0);
    bar.set_style(ProgressStyle::with_template("{prefix:>9} {bar:28} {pos}/{len} {msg}").expect("a fixed template"));
    let terminal = std::io::stderr().is_terminal();
    let mut told = Instant::now();
    let mut last = Value::Null;
    let on_event = |event: &str, data: Value| {
        match event {
            "progress" if terminal => show(&bar, &data),
            "progress" if told.elapsed() >= TELL_EVERY => {
                told = Instant::now();
                show(&bar, &data);
                eprintln!("    {} {}/{} {}", bar.prefix(), bar.position(), bar.length().unwrap_or(0), bar.message());
            }
            "state" => last = data,
            _ => {}
        }
        Ok(true)
    };
    let (ends, ended) = oneshot::channel::<()>();
    // on a thread of its own: events are rare while a job waits for its turn or is evaluated
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let interrupted = async {
                tokio::select! { came = interrupt.wait_for(|came| *came) => came.is_ok(), _ = ended => false }
            };
            if session.wait(interrupted)
                && let Err(error) = session.post(&format!("/v1/jobs/{id}/cancel"), &serde_json::json!({}))
            {
                eprintln!("job {id} is not stopped: {error:#}");
            }
        });
        let _ends = ends;
        session.events(&format!("/v1/jobs/{id}/events"), on_event)
    })?;
    bar.finish_and_clear();
    if !matches!(last["state"].as_str(), Some("succeeded" | "failed" | "cancelled")) {
        last = session.get(&format!("/v1/jobs/{id}"))?;
    }
    match last["state"].as_str() {
        Some("succeeded") => Ok(last),
        Some("cancelled") => bail!("job {id} was stopped; go on with `s3delta jobs resume {id}`"),
        Some("failed") => bail!("{}", last["error"]["message"].as_str().unwrap_or("the job failed")),
        _ => bail!("job {id} waits for the server to start again; it goes on from its checkpoint"),
    }
}

fn show(bar: &ProgressBar, progress: &Value) {
    let number = |name: &str| progress[name].as_f64();
    bar.set_length(progress["total_steps"].as_u64().unwrap_or(0));
    bar.set_position(progress["step"].as_u64().unwrap_or(0));
    let seed = progress["seed"].as_u64().unwrap_or(0);
    bar.set_prefix(format!("{} {seed}", progress["phase"].as_str().unwrap_or_default()));
    let mut parts = Vec::new();
    let mut add = |text: Option<String>| parts.extend(text);
    add(number("loss_delta").map(|loss| format!("loss {loss:.4}")));
    add(number("loss_alpha").map(|loss| format!("α-loss {loss:.4}")));
    add(number("expected_parameters").map(|n| format!("E[N] {n:.0}")));
    add(number("zeta").map(|zeta| format!("ζ {zeta:.3}")));
    let metric = progress["metric"].as_str().unwrap_or("score");
    add(number("dev_score").map(|score| format!("dev {metric} {score:.4}")));
    add(number("eta_seconds").map(|eta| format!("{eta:.0} s left")));
    bar.set_message(parts.join("  "));
}
