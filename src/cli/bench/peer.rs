//! What `bench` shares with the scripts that time other people's libraries on the same work: the flags, the input ids, the
//! clock and memory of a measurement, and the digest of the ids made. Fields and rules are those of their README.

use crate::cli::memory::{peak, reset_peak};
use crate::cli::{open_device, threads};
use crate::config::Config;
use crate::t5::{Backbone, DecodeSettings, DeviceChoice, WeightFormat};
use anyhow::{Result, bail};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::num::NonZeroUsize;
use std::time::Duration;

/// Ordinary pieces only: no pad, end, unknown, no sentinel.
const FIRST_ID: u32 = 3;
/// So many ids behind the first are drawn from.
const ID_SPAN: u32 = 31997;

/// What computes.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Model {
    /// Hugging Face directory, or builtin:NAME.
    #[arg(long, value_name = "DIR|builtin:NAME")]
    model: String,
    /// Threads to compute with.
    #[arg(long, value_name = "N", default_value = "2", value_parser = threads)]
    pub(super) threads: NonZeroUsize,
    /// auto, cpu, or cuda:N.
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
}

/// What is generated: exactly `new_tokens` tokens for each of `batch` rows.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Work {
    #[command(flatten)]
    model: Model,
    /// Rows of the batch.
    #[arg(long, value_name = "N", default_value = "16", value_parser = up_to::<4096>)]
    pub(super) batch: NonZeroUsize,
    /// Tokens of each source.
    #[arg(long, value_name = "N", default_value = "64", value_parser = up_to::<4096>)]
    pub(super) source_len: NonZeroUsize,
    /// Tokens made for each source; the end token does not come before.
    #[arg(long, value_name = "N", default_value = "16", value_parser = up_to::<4096>)]
    pub(super) new_tokens: NonZeroUsize,
    /// Beams; 1 is greedy.
    #[arg(long, value_name = "N", default_value = "1", value_parser = up_to::<256>)]
    pub(super) beams: NonZeroUsize,
    /// Timed calls, after one that is not timed.
    #[arg(long, value_name = "N", default_value = "7", value_parser = up_to::<10000>)]
    pub(super) runs: NonZeroUsize,
    /// f32, or int8: weights rounded to 8 bits, on the CPU.
    #[arg(long, value_name = "FORMAT", default_value_t)]
    pub(super) weights: WeightFormat,
    /// Of the source ids.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) seed: u32,
    /// Also print the ids made, one JSON line.
    #[arg(long)]
    pub(super) print_ids: bool,
    /// Print one JSON line, with the fields that the peers' scripts print.
    #[arg(long)]
    pub(super) json: bool,
}

impl Model {
    /// Opens the backbone with the threads and on the device asked for.
    pub(super) fn open(&self, weights: WeightFormat) -> Result<Backbone> {
        let (device, threads) = (self.device.to_string(), Some(self.threads.get()));
        let (device, _) = open_device(&Config { device, threads, ..Config::default() })?;
        Ok(Backbone::resolve_as(&self.model, weights, &device)?)
    }
}

/// A whole number from 1 to `MOST`.
pub(super) fn up_to<const MOST: usize>(text: &str) -> Result<NonZeroUsize, String> {
    let number = text.parse().ok().filter(|number: &NonZeroUsize| number.get() <= MOST);
    number.ok_or_else(|| format!("give a whole number from 1 to {MOST}"))
}

impl Work {
    /// Opens the backbone with the threads and on the device asked for.
    pub(super) fn open(&self) -> Result<Backbone> {
        self.model.open(self.weights)
    }

    /// Greedy or beam decoding of exactly `new_tokens` tokens.
    pub(super) fn settings(&self, backbone: &Backbone) -> Result<DecodeSettings> {
        let tokens = self.new_tokens.get();
        Ok(DecodeSettings {
            max_new_tokens: tokens,
            min_new_tokens: tokens,
            num_beams: self.beams.get(),
            num_return_sequences: 1,
            do_sample: false,
            ..backbone.decoding()?.clone()
        })
    }

    /// The source ids `[batch, source_len]`.
    pub(super) fn ids(&self, backbone: &Backbone) -> Result<Vec<Vec<u32>>> {
        Ok(random_ids(self.batch.get(), self.source_len.get(), self.seed, id_span(backbone)?))
    }

    /// Refuses rows that are not all of `new_tokens` tokens.
    pub(super) fn check(&self, made: &[Vec<u32>]) -> Result<()> {
        match made.iter().find(|row| row.len() != self.new_tokens.get()) {
            Some(row) => bail!("a row has {} tokens instead of {}: its time says nothing", row.len(), self.new_tokens),
            None => Ok(()),
        }
    }

    /// What is printed of a measurement that made these rows with so many adapters.
    pub(super) fn record(&self, measured: Measured, adapters: usize, made: &[Vec<u32>]) -> Record {
        let requests = self.batch.get() as f64 / (measured.median_ms / 1e3);
        Record {
            peer: match self.weights {
                WeightFormat::F32 => "s3delta",
                WeightFormat::Int8 => "s3delta-int8",
            },
            measured,
            tokens_per_s: rounded(requests * self.new_tokens.get() as f64, 1),
            requests_per_s: rounded(requests, 2),
            batch: self.batch.get(),
            source_len: self.source_len.get(),
            new_tokens: self.new_tokens.get(),
            beams: self.beams.get(),
            threads: self.model.threads.get(),
            adapters,
            tokens: digest(made),
        }
    }
}

/// What is printed, in the order of the peers' fields.
#[derive(Debug, Serialize)]
pub(super) struct Record {
    /// Who is measured, in the peers' words.
    pub(super) peer: &'static str,
    #[serde(flatten)]
    pub(super) measured: Measured,
    pub(super) tokens_per_s: f64,
    pub(super) requests_per_s: f64,
    pub(super) batch: usize,
    pub(super) source_len: usize,
    pub(super) new_tokens: usize,
    pub(super) beams: usize,
    pub(super) threads: usize,
    pub(super) adapters: usize,
    /// Digest of the ids made.
    pub(super) tokens: String,
}

/// A number that the system may not tell.
pub(super) fn told(value: Option<f64>) -> String {
    value.map_or_else(|| "unknown".into(), |value| value.to_string())
}

/// How many ids are drawn from with this backbone, and a word on standard error where they are not as many as the peers'.
pub(super) fn id_span(backbone: &Backbone) -> Result<u32> {
    let (name, vocab) = (&backbone.name, backbone.config.vocab_size);
    let Some(span) = span(vocab) else {
        bail!("`{name}` has {vocab} ids, of which the first {FIRST_ID} are special: give a larger model");
    };
    if span < ID_SPAN {
        eprintln!(
            "`{name}` has {vocab} ids, less than the {} that the peers draw from: these ids are its own",
            FIRST_ID + ID_SPAN
        );
    }
    Ok(span)
}

/// How many ids are drawn from with this vocabulary.
pub(super) fn span(vocab: usize) -> Option<u32> {
    (vocab as u32).checked_sub(FIRST_ID).filter(|left| *left > 0).map(|left| left.min(ID_SPAN))
}

/// `id(row, column) = 3 + splitmix64(seed · 2³² + row · length + column) % span`.
pub(super) fn random_ids(rows: usize, length: usize, seed: u32, span: u32) -> Vec<Vec<u32>> {
    let draw = |at: usize| random_id(seed.into(), at as u64, span);
    (0..rows).map(|row| (row * length..(row + 1) * length).map(draw).collect()).collect()
}

/// Number `at` of them.
pub(super) fn random_id(seed: u64, at: u64, span: u32) -> u32 {
    FIRST_ID + (splitmix64((seed << 32).wrapping_add(at)) % u64::from(span)) as u32
}

/// One output of the splitmix64 generator.
fn splitmix64(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// The first 12 hex digits of sha256 over the ids written as `[[1, 2], [3, 4]]`.
pub(super) fn digest(ids: &[Vec<u32>]) -> String {
    let hash = Sha256::digest(format!("{ids:?}"));
    hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// Times and memory of the timed calls, in the peers' fields.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Measured {
    pub(super) median_ms: f64,
    pub(super) min_ms: f64,
    pub(super) max_ms: f64,
    /// Of the whole process; absent where the system does not tell.
    pub(super) peak_rss_mb: Option<f64>,
    /// The peak while timing.
    pub(super) run_rss_mb: Option<f64>,
    /// The machine's load over the minute before the timing.
    pub(super) load: Option<f64>,
}

/// What is noted before the timed calls.
pub(super) struct Before {
    peak: Option<u64>,
    fresh: bool,
    load: Option<f64>,
}

impl Before {
    /// Now; lets the peak of memory be counted anew where the system can.
    pub(super) fn note() -> Self {
        let (peak, load) = (peak(), load());
        Self { peak, load, fresh: reset_peak() }
    }

    /// With the times of the calls since; there must be one.
    pub(super) fn measured(&self, times: &[Duration]) -> Measured {
        let run = peak();
        let each = milliseconds(times);
        let mib = |bytes: u64| rounded(bytes as f64 / f64::from(1 << 20), 1);
        Measured {
            median_ms: rounded(median(&each), 2),
            min_ms: rounded(each.iter().copied().fold(f64::INFINITY, f64::min), 2),
            max_ms: rounded(each.iter().copied().fold(0.0, f64::max), 2),
            peak_rss_mb: self.peak.max(run).map(mib),
            run_rss_mb: run.filter(|_| self.fresh).map(mib),
            load: self.load,
        }
    }
}

/// The machine's load average over a minute, where `/proc` tells.
pub(super) fn load() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

pub(super) fn milliseconds(times: &[Duration]) -> Vec<f64> {
    times.iter().map(|time| time.as_secs_f64() * 1e3).collect()
}

/// The middle value, or the mean of the two; NaN of none.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted[..] {
        [] => f64::NAN,
        _ if sorted.len() % 2 == 1 => sorted[middle],
        _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
}

/// Ratio of the medians, and the least and greatest ratio of a pair.
pub(super) fn ratios(times: &[Duration], bare: &[Duration]) -> (f64, f64, f64) {
    let (times, bare) = (milliseconds(times), milliseconds(bare));
    let pairs: Vec<f64> = times.iter().zip(&bare).map(|(with, without)| with / without).collect();
    let least = pairs.iter().copied().fold(f64::INFINITY, f64::min);
    let most = pairs.iter().copied().fold(0.0, f64::max);
    (rounded(median(&times) / median(&bare), 3), rounded(least, 3), rounded(most, 3))
}

pub(super) fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_digest_are_those_of_the_peers() {
        // made by: from common import random_ids; hashlib.sha256(repr(random_ids(2, 3, 0)).encode()).hexdigest()[:12]
        let ids = random_ids(2, 3, 0, ID_SPAN);
        assert_eq!(ids, [[24715, 2847, 15687], [10722, 28800, 5781]]);
        assert_eq!(digest(&ids), "ceffdb3e5fb6");
        assert_eq!(digest(&random_ids(2, 3, 7, ID_SPAN)), "812daf7b91d9");
        assert_eq!(digest(&random_ids(16, 64, 0, ID_SPAN)), "1bdf44f92b45");
        assert_eq!(digest(&[vec![1, 2], vec![3, 4]]), "1e258794ed04");
    }

    #[test]
    fn a_small_vocabulary_holds_its_ids() {
        assert_eq!([span(2), span(3), span(4), span(32_128)], [None, None, Some(1), Some(ID_SPAN)]);
        let ids = random_ids(20, 100, 0, span(100).unwrap());
        assert!(ids.iter().flatten().all(|id| (3..100).contains(id)), "{ids:?}");
        assert!((3..100).all(|id| ids.iter().flatten().any(|other| *other == id)), "{ids:?}");
    }

    #[test]
    fn the_middle_of_times() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
        let measured = Before::note().measured(&[2, 9, 1].map(Duration::from_millis));
        assert_eq!((measured.median_ms, measured.min_ms, measured.max_ms), (2.0, 1.0, 9.0));
        if cfg!(target_os = "linux") {
            assert!(measured.peak_rss_mb > Some(1.0) && measured.load.is_some(), "{measured:?}");
        }
    }

    #[test]
    fn a_ratio_has_the_spread_of_its_pairs() {
        let times = |all: &[u64]| all.iter().copied().map(Duration::from_millis).collect::<Vec<_>>();
        assert_eq!(ratios(&times(&[10, 30, 20]), &times(&[10, 10, 20])), (2.0, 1.0, 3.0));
    }
}
