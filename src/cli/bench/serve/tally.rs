//! What requests came to: counts, and histograms of times. Times run from when a request was due, not from when it could be
//! sent, so that a server that stalls cannot hide behind the requests it kept from being made (coordinated omission).

use super::super::peer::rounded;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Longest time that is told apart, in microseconds.
const LONGEST: u64 = 3_600_000_000;

/// How a request ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Ended {
    /// Answered: when its first text came, if it was streamed, and how many tokens were made.
    Done { first: Option<Instant>, tokens: u64 },
    /// Answered with an error.
    Refused { status: u16, retry_after: Option<u64> },
    /// Not answered, or not to the end.
    Failed(String),
}

/// One request that is over.
#[derive(Debug, Clone)]
pub(super) struct Finished {
    pub(super) due: Instant,
    pub(super) sent: Instant,
    pub(super) at: Instant,
    pub(super) ended: Ended,
}

/// Times in microseconds.
struct Times(Histogram<u64>);

/// Quantiles in milliseconds, within a thousandth of themselves.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Quantiles {
    pub(super) count: u64,
    pub(super) mean: f64,
    pub(super) min: f64,
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

impl Times {
    fn new() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST, 3).expect("the bounds are in order"))
    }

    fn record(&mut self, time: Duration) {
        self.0.saturating_record((time.as_micros() as u64).max(1));
    }

    /// None of no time.
    fn quantiles(&self) -> Option<Quantiles> {
        let Self(times) = self;
        let milliseconds = |micros: f64| rounded(micros / 1e3, 3);
        let at = |quantile: f64| milliseconds(times.value_at_quantile(quantile) as f64);
        (!times.is_empty()).then(|| Quantiles {
            count: times.len(),
            mean: milliseconds(times.mean()),
            min: milliseconds(times.min() as f64),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            max: at(1.0),
        })
    }
}

/// The count of one phase. What was due in its window is counted, but throughput counts what was done in it.
pub(super) struct Tally {
    from: Instant,
    to: Instant,
    due: u64,
    done: u64,
    tokens: u64,
    latency: Times,
    first: Times,
    per_token: Times,
    refused: Times,
    late: Times,
    statuses: BTreeMap<u16, u64>,
    failures: BTreeMap<String, u64>,
    retry_after: Option<(u64, u64)>,
    without_retry_after: u64,
}

/// What a phase came to.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Summary {
    /// Requests that were due in the window.
    pub(super) requests: u64,
    /// Requests answered a second of the window.
    pub(super) requests_per_s: f64,
    pub(super) tokens_per_s: f64,
    /// From due to answered, of the answered ones, as all times in milliseconds.
    pub(super) latency_ms: Option<Quantiles>,
    /// From due to the first text.
    pub(super) first_token_ms: Option<Quantiles>,
    /// Between the first text and the end, a token.
    pub(super) per_token_ms: Option<Quantiles>,
    /// From due to the refusal, of those answered 429.
    pub(super) refused_ms: Option<Quantiles>,
    /// From due to sent: how far the generator lagged behind.
    pub(super) late_ms: Option<Quantiles>,
    pub(super) statuses: BTreeMap<u16, u64>,
    /// Requests without an answer, by reason.
    pub(super) failures: BTreeMap<String, u64>,
    /// Least and greatest Retry-After of the 429s, in seconds.
    pub(super) retry_after_s: Option<(u64, u64)>,
    pub(super) refused_without_retry_after: u64,
}

impl Tally {
    /// Counts what is due from `from` on and before `to`.
    pub(super) fn new(from: Instant, to: Instant) -> Self {
        let [latency, first, per_token, refused, late] = [(); 5].map(|()| Times::new());
        let (statuses, failures) = Default::default();
        Self {
            from,
            to,
            due: 0,
            done: 0,
            tokens: 0,
            latency,
            first,
            per_token,
            refused,
            late,
            statuses,
            failures,
            retry_after: None,
            without_retry_after: 0,
        }
    }

    pub(super) fn record(&mut self, finished: Finished) {
        let Finished { due, sent, at, ended } = finished;
        let within = |instant: Instant| self.from <= instant && instant < self.to;
        if let Ended::Done { tokens, .. } = &ended
            && within(at)
        {
            self.done += 1;
            self.tokens += tokens;
        }
        if !within(due) {
            return;
        }
        self.due += 1;
        self.late.record(sent.duration_since(due));
        let time = at.duration_since(due);
        match ended {
            Ended::Done { first, tokens } => {
                *self.statuses.entry(200).or_default() += 1;
                self.latency.record(time);
                if let Some(first) = first {
                    self.first.record(first.duration_since(due));
                    if let Ok(more @ 1..) = u32::try_from(tokens.saturating_sub(1)) {
                        self.per_token.record(at.duration_since(first) / more);
                    }
                }
            }
            Ended::Refused { status, retry_after } => {
                *self.statuses.entry(status).or_default() += 1;
                if status == 429 {
                    self.refused.record(time);
                    match (retry_after, self.retry_after) {
                        (None, _) => self.without_retry_after += 1,
                        (Some(wait), None) => self.retry_after = Some((wait, wait)),
                        (Some(wait), Some((least, most))) => {
                            self.retry_after = Some((least.min(wait), most.max(wait)));
                        }
                    }
                }
            }
            Ended::Failed(why) => *self.failures.entry(why).or_default() += 1,
        }
    }

    pub(super) fn summary(&self) -> Summary {
        let seconds = self.to.duration_since(self.from).as_secs_f64();
        Summary {
            requests: self.due,
            requests_per_s: rounded(self.done as f64 / seconds, 2),
            tokens_per_s: rounded(self.tokens as f64 / seconds, 1),
            latency_ms: self.latency.quantiles(),
            first_token_ms: self.first.quantiles(),
            per_token_ms: self.per_token.quantiles(),
            refused_ms: self.refused.quantiles(),
            late_ms: self.late.quantiles(),
            statuses: self.statuses.clone(),
            failures: self.failures.clone(),
            retry_after_s: self.retry_after,
            refused_without_retry_after: self.without_retry_after,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn quantiles_are_those_of_the_times() {
        let mut times = Times::new();
        assert_eq!(times.quantiles(), None);
        (1..=1000).rev().for_each(|time| times.record(ms(time)));
        let found = times.quantiles().unwrap();
        assert_eq!(found.count, 1000);
        let near = |found: f64, wanted: f64| assert!((found / wanted - 1.0).abs() < 2e-3, "{found} for {wanted}");
        near(found.mean, 500.5);
        near(found.min, 1.0);
        near(found.p50, 500.0);
        near(found.p90, 900.0);
        near(found.p99, 990.0);
        near(found.max, 1000.0);
    }

    #[test]
    fn times_run_from_when_a_request_was_due() {
        let start = Instant::now();
        let mut tally = Tally::new(start, start + ms(10_000));
        // a stall of a second: sent late, answered at once
        let ended = Ended::Done { first: Some(start + ms(1020)), tokens: 5 };
        tally.record(Finished { due: start, sent: start + ms(1000), at: start + ms(1060), ended });
        let found = tally.summary();
        let near = |found: Option<Quantiles>, wanted: f64| {
            let found = found.unwrap().p50;
            assert!((found / wanted - 1.0).abs() < 2e-3, "{found} for {wanted}");
        };
        near(found.latency_ms, 1060.0);
        near(found.first_token_ms, 1020.0);
        near(found.late_ms, 1000.0);
        near(found.per_token_ms, 10.0); // 40 ms for the four tokens behind the first
        assert_eq!((found.requests_per_s, found.tokens_per_s), (0.1, 0.5));
    }

    #[test]
    fn windows_and_refusals() {
        let start = Instant::now();
        let mut tally = Tally::new(start + ms(1000), start + ms(3000));
        let mut end = |due: u64, at: u64, ended: Ended| {
            tally.record(Finished { due: start + ms(due), sent: start + ms(due), at: start + ms(at), ended });
        };
        let done = || Ended::Done { first: None, tokens: 1 };
        end(500, 900, done()); // before
        end(900, 1100, done()); // done within, due before
        end(2900, 3500, done()); // due within, done behind
        end(2000, 2010, Ended::Refused { status: 429, retry_after: Some(3) });
        end(2000, 2040, Ended::Refused { status: 429, retry_after: Some(1) });
        end(2000, 2020, Ended::Refused { status: 429, retry_after: None });
        end(2000, 2500, Ended::Refused { status: 500, retry_after: None });
        end(2000, 2500, Ended::Failed("timeout".into()));
        let found = tally.summary();
        assert_eq!((found.requests, found.requests_per_s), (6, 0.5));
        assert_eq!(found.latency_ms.unwrap().count, 1);
        assert_eq!((found.refused_ms.unwrap().count, found.refused_ms.unwrap().max.round()), (3, 40.0));
        assert_eq!((found.retry_after_s, found.refused_without_retry_after), (Some((1, 3)), 1));
        assert_eq!(found.statuses, BTreeMap::from([(200, 1), (429, 3), (500, 1)]));
        assert_eq!(found.failures, BTreeMap::from([("timeout".into(), 1)]));
    }
}
