//! What a run prints: its settings, and of each phase what requests came to and what generator and server used for it.

use super::super::peer::{load, rounded};
use super::scrape::AdapterMetrics;
use super::tally::{Quantiles, Summary};
use super::{Args, Client, Lengths, Mix, Scrape, Server, Target, Usage};
use crate::cli::bench::random::AdapterKind;
use crate::cli::output;
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The whole run.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    backbone: String,
    adapters: usize,
    kind: Option<AdapterKind>,
    /// Adapters made for this run, and the seconds that took.
    registered: Option<usize>,
    registration_s: Option<f64>,
    zipf: f64,
    peer: &'static str,
    batch: usize,
    beams: usize,
    /// Of the server; none of one that ran already.
    threads: Option<usize>,
    source_len: Lengths,
    new_tokens: Lengths,
    stream: bool,
    pinned_to_core: Option<usize>,
    phases: Vec<PhaseReport>,
}

#[derive(Debug, Serialize)]
struct PhaseReport {
    phase: String,
    /// Requests due a second; none where clients ask as they are answered.
    offered: Option<f64>,
    /// Of the latencies, under the names that the peers' script has.
    median_ms: Option<f64>,
    min_ms: Option<f64>,
    max_ms: Option<f64>,
    #[serde(flatten)]
    summary: Summary,
    /// Cores that the generator and the server used on average from the warm-up's end on.
    generator_cores: Option<f64>,
    server_cores: Option<f64>,
    /// The server's memory: at the end, its peak so far, and its peak since the warm-up's end.
    rss_mb: Option<f64>,
    peak_rss_mb: Option<f64>,
    run_rss_mb: Option<f64>,
    /// Of the same time.
    metrics: Option<AdapterMetrics>,
    /// The machine's load average over the minute before the phase.
    load: Option<f64>,
}

/// The phases so far.
pub(super) struct Phases<'a> {
    server: &'a Server,
    client: Arc<Client>,
    warmup: Duration,
    /// Peak of the server's memory so far.
    peak_rss_mb: Option<f64>,
    done: Vec<PhaseReport>,
}

/// What is known at one moment.
struct Reading {
    at: Instant,
    generator: Option<Usage>,
    server: Option<Usage>,
    metrics: Option<Scrape>,
}

impl<'a> Phases<'a> {
    /// Phases of which so much at first does not count.
    pub(super) fn new(server: &'a Server, client: &Arc<Client>, warmup: Duration) -> Self {
        Self { server, client: Arc::clone(client), warmup, peak_rss_mb: None, done: Vec::new() }
    }

    /// Runs one phase and gives the requests answered a second.
    pub(super) async fn add(&mut self, name: &str, rate: Option<f64>, run: impl Future<Output = Summary>) -> f64 {
        eprintln!("{name}{}", rate.map(|rate| format!(": {rate:.1} requests/s")).unwrap_or_default());
        let load = load();
        let warm = async {
            tokio::time::sleep(self.warmup).await;
            (self.read().await, self.server.reset_peak())
        };
        let (summary, (before, fresh)) = tokio::join!(run, warm);
        let after = self.read().await;
        let peaks = [before.server, after.server].into_iter().flatten().map(|usage| usage.peak_rss_mb);
        self.peak_rss_mb = peaks.chain(self.peak_rss_mb).reduce(f64::max);
        let seconds = after.at.duration_since(before.at).as_secs_f64();
        let cores = |before: Option<Usage>, after: Option<Usage>| {
            Some(rounded((after?.cpu.saturating_sub(before?.cpu)).as_secs_f64() / seconds, 3))
        };
        let answered = summary.requests_per_s;
        self.done.push(PhaseReport {
            phase: name.into(),
            offered: rate.map(|rate| rounded(rate, 2)),
            median_ms: summary.latency_ms.map(|latency| latency.p50),
            min_ms: summary.latency_ms.map(|latency| latency.min),
            max_ms: summary.latency_ms.map(|latency| latency.max),
            summary,
            generator_cores: cores(before.generator, after.generator),
            server_cores: cores(before.server, after.server),
            rss_mb: after.server.map(|usage| rounded(usage.rss_mb, 1)),
            peak_rss_mb: self.peak_rss_mb.map(|peak| rounded(peak, 1)),
            run_rss_mb: after.server.filter(|_| fresh).map(|usage| rounded(usage.peak_rss_mb, 1)),
            metrics: before.metrics.zip(after.metrics).map(|(before, after)| after.adapters(&before)),
            load,
        });
        answered
    }

    async fn read(&self) -> Reading {
        // a server may not show them to everyone
        let metrics = self.client.get("/metrics").await.ok();
        let metrics = metrics.map(|text| Scrape::new(String::from_utf8_lossy(&text).into_owned()));
        Reading { at: Instant::now(), generator: Usage::of("self"), server: self.server.usage(), metrics }
    }

    /// Why requests were not answered.
    pub(super) fn failures(&self) -> String {
        let summaries = self.done.iter().map(|phase| &phase.summary);
        let each = summaries.map(|summary| format!("statuses {:?}, failures {:?}", summary.statuses, summary.failures));
        each.collect::<Vec<_>>().join("; ")
    }
}

pub(super) fn report(args: &Args, target: &Target, mix: &Mix, phases: Phases<'_>) -> Report {
    let Target { registration, threads, .. } = *target;
    Report {
        backbone: phases.client.backbone.clone(),
        adapters: mix.adapters,
        kind: args.url.is_none().then_some(args.drawn.kind),
        registered: registration.map(|(made, _)| made),
        registration_s: registration.map(|(_, seconds)| rounded(seconds, 2)),
        zipf: mix.zipf,
        peer: "s3delta",
        batch: args.clients.get(),
        beams: args.beams.get(),
        threads,
        source_len: mix.source,
        new_tokens: mix.output,
        stream: phases.client.stream,
        pinned_to_core: args.pin,
        phases: phases.done,
    }
}

impl Report {
    pub(super) fn print(&self) {
        let Self { backbone, adapters, zipf, source_len, new_tokens, .. } = self;
        output::line(format!(
            "{backbone}, {adapters} adapters (Zipf {zipf}), source {source_len}, output {new_tokens}"
        ));
        if let (Some(made), Some(seconds)) = (self.registered, self.registration_s) {
            output::line(format!("{made} adapters registered in {seconds} s"));
        }
        let number = |value: Option<f64>| value.map_or_else(|| "-".into(), |value| value.to_string());
        let row = |phase: &PhaseReport| {
            let summary = &phase.summary;
            let times = |quantiles: Option<Quantiles>| match quantiles {
                Some(Quantiles { p50, p90, p99, .. }) => format!("{p50:.1} {p90:.1} {p99:.1}"),
                None => "-".into(),
            };
            vec![
                phase.phase.clone(),
                number(phase.offered),
                summary.requests_per_s.to_string(),
                summary.tokens_per_s.to_string(),
                times(summary.latency_ms),
                times(summary.first_token_ms),
                times(summary.per_token_ms),
                times(summary.refused_ms),
                times(summary.late_ms),
                number(phase.generator_cores),
                number(phase.server_cores),
                number(phase.load),
            ]
        };
        let headers = [
            "phase",
            "offered/s",
            "done/s",
            "tokens/s",
            "latency p50 p90 p99",
            "first token",
            "per token",
            "429 after",
            "sent late",
            "generator cores",
            "server cores",
            "load",
        ];
        output::table(&headers, &self.phases.iter().map(row).collect::<Vec<_>>());
        for PhaseReport { phase, summary, metrics, rss_mb, peak_rss_mb, .. } in &self.phases {
            let statuses: Vec<_> =
                summary.statuses.iter().map(|(status, count)| format!("{count} × {status}")).collect();
            output::line(format!("{phase}: {} requests: {}", summary.requests, statuses.join(", ")));
            summary.failures.iter().for_each(|(why, count)| output::line(format!("  {count} failed: {why}")));
            if let Some((least, most)) = summary.retry_after_s {
                let without = summary.refused_without_retry_after;
                output::line(format!("  Retry-After {least} to {most} s, absent from {without} of the 429s"));
            }
            if let (Some(now), Some(peak)) = (rss_mb, peak_rss_mb) {
                output::line(format!("  server memory {now} MiB, at its peak {peak} MiB"));
            }
            if let Some(found) = metrics {
                let below = |bound: Option<f64>| bound.map_or_else(|| "-".into(), |bound| format!("{bound} ms"));
                output::line(format!(
                    "  adapters in memory {} ({} MiB), {} loads, {} forgotten; p99 of resolving within {}, of loading within {}",
                    found.resident,
                    found.resident_mb,
                    found.loads,
                    found.evictions,
                    below(found.resolve_p99_ms_below),
                    below(found.load_p99_ms_below),
                ));
            }
        }
    }
}
