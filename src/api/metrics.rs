//! Prometheus metrics: one recorder a process, rendered at `/metrics`.

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::sync::OnceLock;

/// From a cached reply to a long generation, in seconds.
const SECONDS: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];
/// Rows or adapters of a batch.
const COUNTS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// The process's recorder; installed on first use, as a process can have only one.
pub(crate) fn recorder() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let builder = PrometheusBuilder::new();
        let builder = builder.set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS);
        let builder = builder
            .and_then(|builder| builder.set_buckets_for_metric(Matcher::Prefix("s3delta_batch_".into()), &COUNTS));
        let recorder = builder.unwrap_or_default().build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another metrics recorder is installed: /metrics stays empty");
        }
        describe();
        handle
    })
}

fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_histogram!("s3delta_request_duration_seconds", "From a request's first byte to its response's head");
    describe_histogram!("s3delta_time_to_first_token_seconds", "From queueing a generation to its first token");
    describe_histogram!("s3delta_time_per_output_token_seconds", "Between two tokens of one generation");
    describe_gauge!("s3delta_queue_size", "Requests waiting for the engine");
    describe_gauge!("s3delta_list_waiting", "Requests of lists that wait for a place in the queue");
    describe_histogram!("s3delta_batch_size", "Rows of one forward");
    describe_histogram!("s3delta_batch_distinct_adapters", "Adapters in one forward");
    describe_counter!("s3delta_requests_total", "Requests by route and outcome; abandoned: the client left");
    describe_counter!("s3delta_streams_total", "Streams of completions that began, by route and outcome");
    describe_counter!("s3delta_adapter_load_failures_total", "Adapters that could not be read or do not fit");
    describe_gauge!("s3delta_adapter_resident", "Adapters in memory");
    describe_gauge!("s3delta_adapter_resident_bytes", "Bytes of the adapters in memory");
    describe_counter!("s3delta_adapter_evictions_total", "Adapters forgotten to make room for others");
    describe_histogram!("s3delta_adapter_resolve_seconds", "Finding what an adapter's name stands for");
    describe_counter!("s3delta_adapter_loads_total", "Adapters read into memory");
    describe_histogram!("s3delta_adapter_load_seconds", "From asking for an adapter to having it in memory");
    describe_counter!("s3delta_encoder_cache_hits_total", "Sources found in the cache, by part");
    describe_counter!("s3delta_encoder_cache_lookups_total", "Sources looked up in the cache, by part");
    describe_gauge!("s3delta_encoder_cache_bytes", "Bytes of encoded sources in memory");
    describe_gauge!("s3delta_jobs", "Jobs by state");
    describe_histogram!("s3delta_job_step_seconds", "One training step of a job");
    describe_histogram!("s3delta_store_flush_seconds", "One flush of the registry");
}
