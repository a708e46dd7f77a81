//! What the server's own metrics say of a phase: the difference of two readings of `/metrics`.

use super::super::peer::rounded;
use serde::Serialize;

/// One reading in Prometheus' text format.
#[derive(Debug, Clone, Default)]
pub(super) struct Scrape(String);

/// What happened to adapters between two readings.
#[derive(Debug, Clone, Serialize)]
pub(super) struct AdapterMetrics {
    /// In memory at the end.
    pub(super) resident: f64,
    pub(super) resident_mb: f64,
    /// Read into memory, and forgotten.
    pub(super) loads: f64,
    pub(super) evictions: f64,
    /// Bounds of the buckets that hold the 99th percentiles, in milliseconds.
    pub(super) resolve_p99_ms_below: Option<f64>,
    pub(super) load_p99_ms_below: Option<f64>,
}

impl Scrape {
    pub(super) fn new(text: String) -> Self {
        Self(text)
    }

    /// The values of a metric with its labels, as `labels value`.
    fn lines<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        self.0.lines().filter_map(move |line| {
            let (labels, value) = line.strip_prefix(name)?.rsplit_once(' ')?;
            (labels.is_empty() || labels.starts_with('{')).then_some((labels, value.parse().ok()?))
        })
    }

    /// The sum over all labels; 0 of what is not there.
    pub(super) fn sum(&self, name: &str) -> f64 {
        self.lines(name).map(|(_, value)| value).sum()
    }

    /// The cumulative buckets of a histogram without other labels: upper bound and count.
    fn buckets(&self, name: &str) -> Vec<(f64, f64)> {
        let name = format!("{name}_bucket");
        let bound = |labels: &str| {
            let (_, rest) = labels.split_once("le=\"")?;
            rest.split_once('"')?.0.parse().ok()
        };
        self.lines(&name).filter_map(|(labels, count)| Some((bound(labels)?, count))).collect()
    }

    /// The bound of the bucket in which a quantile of what came since `before` lies; none if nothing came.
    fn quantile_below(&self, before: &Self, name: &str, quantile: f64) -> Option<f64> {
        let earlier = before.buckets(name);
        let since = self.buckets(name).into_iter().map(|(bound, count)| {
            let known = earlier.iter().find(|(other, _)| *other == bound).map_or(0.0, |(_, count)| *count);
            (bound, count - known)
        });
        let since: Vec<_> = since.collect();
        let all = since.iter().map(|(_, count)| *count).fold(0.0, f64::max);
        since.into_iter().find(|(_, count)| all > 0.0 && *count >= quantile * all).map(|(bound, _)| bound)
    }

    pub(super) fn adapters(&self, before: &Self) -> AdapterMetrics {
        let since = |name: &str| self.sum(name) - before.sum(name);
        let p99 = |name: &str| self.quantile_below(before, name, 0.99).map(|seconds| rounded(seconds * 1e3, 3));
        AdapterMetrics {
            resident: self.sum("s3delta_adapter_resident"),
            resident_mb: rounded(self.sum("s3delta_adapter_resident_bytes") / f64::from(1 << 20), 1),
            loads: since("s3delta_adapter_loads_total"),
            evictions: since("s3delta_adapter_evictions_total"),
            resolve_p99_ms_below: p99("s3delta_adapter_resolve_seconds"),
            load_p99_ms_below: p99("s3delta_adapter_load_seconds"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrape(loads: u32, [within_1, within_5, all]: [u32; 3]) -> Scrape {
        let name = "s3delta_adapter_load_seconds";
        Scrape::new(format!(
            "# TYPE s3delta_adapter_loads_total counter\ns3delta_adapter_loads_total {loads}\n\
             s3delta_adapter_resident 3\ns3delta_adapter_resident_bytes 1572864\n\
             s3delta_requests_total{{route=\"/a\",outcome=\"success\"}} 2\ns3delta_requests_total{{route=\"/b\"}} 5\n\
             {name}_bucket{{le=\"0.001\"}} {within_1}\n{name}_bucket{{le=\"0.005\"}} {within_5}\n\
             {name}_bucket{{le=\"+Inf\"}} {all}\n{name}_sum 9.5\n{name}_count {all}\n"
        ))
    }

    #[test]
    fn readings_are_subtracted() {
        let before = scrape(4, [4, 4, 4]);
        assert_eq!(before.sum("s3delta_requests_total"), 7.0);
        let found = scrape(104, [94, 104, 104]).adapters(&before);
        assert_eq!((found.resident, found.resident_mb, found.loads), (3.0, 1.5, 100.0));
        assert_eq!(found.load_p99_ms_below, Some(5.0));
        assert_eq!(found.resolve_p99_ms_below, None);
        assert_eq!(scrape(104, [104, 104, 104]).adapters(&before).load_p99_ms_below, Some(1.0));
        assert_eq!(scrape(104, [4, 4, 104]).adapters(&before).load_p99_ms_below, Some(f64::INFINITY));
        assert_eq!(before.adapters(&before).load_p99_ms_below, None);
    }
}
