//! `s3delta bench generate`: the time from source ids to target ids, measured as `../shared/peers/generate.py` measures other
//! libraries: the same flags, the same source ids, the same fields.

use crate::cli::memory::{peak, reset_peak};
use crate::cli::{Compute, open_device, output, threads};
use crate::t5::{Backbone, DeviceChoice, Frozen, Generated, WeightFormat, device, generate};
use anyhow::{Result, bail};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Instant;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  s3delta bench generate --model ./t5-small --batch 16
  s3delta bench generate --model ./t5-small --batch 1 --runs 9 --threads 1 --json >> ours.jsonl
  s3delta bench generate --model ./t5-small --batch 1 --weights int8

Generates exactly --new-tokens tokens from --batch rows of --source-len ids, once untimed and --runs times timed; the end token
is suppressed. The clock covers source ids to target ids, the encoder included. Source ids are
3 + splitmix64(seed · 2^32 + row · length + column) mod 31997, for a vocabulary of less than 32000 mod (vocabulary − 3), which
standard error says. `tokens` is a digest of the ids made: the first 12 hex digits of sha256 over `[[1, 2], [3, 4]]`.
`run_rss_mb` is the most memory held while timing, `load` the machine's load average before it.")]
pub(crate) struct Args {
    /// Hugging Face directory, or builtin:NAME.
    #[arg(long, value_name = "DIR|builtin:NAME")]
    model: String,
    /// Rows.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=4096))]
    batch: u32,
    /// Ids of each row.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    source_len: u32,
    /// Tokens to make of each row.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=4096))]
    new_tokens: u32,
    /// Beams; 1 is greedy.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    beams: u32,
    /// Timed runs.
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    runs: u32,
    /// Threads to compute with.
    #[arg(long, value_name = "N", default_value = "2", value_parser = threads)]
    threads: NonZeroUsize,
    /// Seed of the source ids.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u32,
    /// auto, cpu, or cuda:N [default: auto].
    #[arg(long)]
    device: Option<DeviceChoice>,
    /// f32, or int8: weights rounded to 8 bits, on the CPU.
    #[arg(long, value_name = "FORMAT", default_value_t)]
    weights: WeightFormat,
    /// Print one JSON line.
    #[arg(long)]
    json: bool,
    /// Print the generated ids too, as one JSON line.
    #[arg(long)]
    print_ids: bool,
}

/// What is printed, in the order of the peers' fields.
#[derive(Debug, Serialize)]
struct Record {
    peer: &'static str,
    #[serde(flatten)]
    times: Times,
    tokens_per_s: f64,
    requests_per_s: f64,
    batch: u32,
    source_len: u32,
    new_tokens: u32,
    beams: u32,
    threads: usize,
    adapters: u32,
    tokens: String,
}

/// Times of the runs in ms, memory in MiB.
#[derive(Debug, Serialize)]
struct Times {
    median_ms: f64,
    min_ms: f64,
    max_ms: f64,
    peak_rss_mb: Option<f64>,
    run_rss_mb: Option<f64>,
    load: Option<f64>,
}

impl Args {
    pub(crate) fn run(&self, home: &Path) -> Result<()> {
        let compute = Compute { device: self.device, threads: Some(self.threads) };
        let (device, _) = open_device(&compute.config(home)?)?;
        let backbone = Backbone::resolve_as(&self.model, self.weights, &device)?;
        let rows = self.rows(backbone.model.vocab())?;
        let mut settings = backbone.decoding()?.clone();
        settings.max_new_tokens = self.new_tokens as usize;
        settings.min_new_tokens = self.new_tokens as usize;
        settings.num_beams = self.beams as usize;
        settings.num_return_sequences = 1;
        settings.do_sample = false;
        let call = || -> Result<Vec<Vec<u32>>> {
            let made = device::compute(&device, || {
                let encoded = backbone.model.encode(&backbone.model.batch(&rows)?, &Frozen);
                generate(&backbone.model, &encoded, &rows, &settings, &Frozen)
            })?;
            Ok(made.into_iter().flatten().map(|row: Generated| row.ids).collect())
        };
        let ids = call()?;
        if let Some(row) = ids.iter().find(|row| row.len() != self.new_tokens as usize) {
            bail!("a row has {} tokens, not {}: its generation_config.json ends it early", row.len(), self.new_tokens);
        }
        let times = Times::measure(|| call().map(drop), self.runs)?;
        let seconds = times.median_ms / 1e3;
        let record = Record {
            peer: match self.weights {
                WeightFormat::F32 => "s3delta",
                WeightFormat::Int8 => "s3delta-int8",
            },
            tokens_per_s: rounded(f64::from(self.batch * self.new_tokens) / seconds, 1),
            requests_per_s: rounded(f64::from(self.batch) / seconds, 2),
            times,
            batch: self.batch,
            source_len: self.source_len,
            new_tokens: self.new_tokens,
            beams: self.beams,
            threads: self.threads.get(),
            adapters: 0,
            tokens: digest(&ids),
        };
        output::line(if self.json { serde_json::to_string(&record)? } else { record.told(self.runs) });
        if self.print_ids {
            output::line(serde_json::json!({"ids": ids}));
        }
        Ok(())
    }

    /// The source ids, and a word on standard error where they are not the peers'.
    fn rows(&self, vocab: usize) -> Result<Vec<Vec<u32>>> {
        let Some(span) = span(vocab) else {
            bail!("`{}` has {vocab} ids, of which the first {FIRST} are special: give a larger model", self.model);
        };
        if span < SPAN {
            eprintln!(
                "`{}` has {vocab} ids, less than the {} that the peers draw from: these source ids are its own",
                self.model,
                FIRST + SPAN
            );
        }
        Ok(source_ids(self.batch, self.source_len, self.seed, span))
    }
}

/// The first ordinary id, behind pad, the end token and the unknown one.
const FIRST: u64 = 3;
/// Ordinary ids that the peers draw from.
const SPAN: u64 = 31_997;

/// How many ids are drawn from with this vocabulary.
fn span(vocab: usize) -> Option<u64> {
    (vocab as u64).checked_sub(FIRST).filter(|left| *left > 0).map(|left| left.min(SPAN))
}

/// `rows` lists of `len` ids, of the ids `FIRST..FIRST + span`.
fn source_ids(rows: u32, len: u32, seed: u32, span: u64) -> Vec<Vec<u32>> {
    let id = |at: u64| (FIRST + splitmix64((u64::from(seed) << 32) + at) % span) as u32;
    let row = |row: u64| (0..u64::from(len)).map(|column| id(row * u64::from(len) + column)).collect();
    (0..u64::from(rows)).map(row).collect()
}

/// One output of the generator splitmix64.
fn splitmix64(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// The first 12 hex digits of sha256 over the ids as Python writes a list of lists.
fn digest(ids: &[Vec<u32>]) -> String {
    let hash = Sha256::digest(format!("{ids:?}"));
    hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

impl Times {
    /// Times `call` so many times.
    fn measure(mut call: impl FnMut() -> Result<()>, runs: u32) -> Result<Self> {
        let (before, load) = (peak(), load());
        let fresh = reset_peak();
        let mut times = Vec::with_capacity(runs as usize);
        for _ in 0..runs {
            let start = Instant::now();
            call()?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        let (run, middle) = (peak(), times.len() / 2);
        let median = if times.len() % 2 == 1 { times[middle] } else { (times[middle - 1] + times[middle]) / 2.0 };
        let mib = |bytes: u64| rounded(bytes as f64 / f64::from(1 << 20), 1);
        Ok(Self {
            median_ms: rounded(median, 2),
            min_ms: rounded(times[0], 2),
            max_ms: rounded(times[times.len() - 1], 2),
            peak_rss_mb: before.max(run).map(mib),
            run_rss_mb: run.filter(|_| fresh).map(mib),
            load: load.map(|load| rounded(load, 1)),
        })
    }
}

/// Processes that ran on the machine over the last minute, where `/proc` tells.
fn load() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

impl Record {
    fn told(&self, runs: u32) -> String {
        let Times { median_ms, min_ms, max_ms, peak_rss_mb, load, .. } = &self.times;
        let known = |value: &Option<f64>| value.map_or_else(|| "unknown".into(), |value| value.to_string());
        format!(
            "batch {}, {} source ids, {} new tokens, {} beams, {} threads: {median_ms} ms ({min_ms} to {max_ms}, {runs} \
             runs), {} tokens/s, {} requests/s, peak memory {} MiB, load {}, ids {}",
            self.batch,
            self.source_len,
            self.new_tokens,
            self.beams,
            self.threads,
            self.tokens_per_s,
            self.requests_per_s,
            known(peak_rss_mb),
            known(load),
            self.tokens,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with `random_ids` of ../shared/peers/common.py and `hashlib.sha256(repr(ids).encode()).hexdigest()[:12]`.
    #[test]
    fn ids_and_digests_are_the_peers() {
        let ids = source_ids(2, 5, 0, SPAN);
        assert_eq!(ids, [[24715, 2847, 15687, 10722, 28800], [5781, 17303, 23924, 13468, 2441]]);
        assert_eq!(digest(&ids), "c3d90674ba66");
        let ids = source_ids(2, 3, 7, SPAN);
        assert_eq!(ids, [[4211, 11230, 8468], [4110, 7410, 20578]]);
        assert_eq!(digest(&ids), "812daf7b91d9");
        assert_eq!(digest(&source_ids(16, 64, 0, SPAN)), "1bdf44f92b45");
    }

    #[test]
    fn a_small_vocabulary_holds_its_ids() {
        assert_eq!([span(2), span(3), span(4), span(32_128)], [None, None, Some(1), Some(SPAN)]);
        let ids = source_ids(20, 100, 0, span(100).unwrap());
        assert!(ids.iter().flatten().all(|id| (3..100).contains(id)), "{ids:?}");
        assert!((3..100).all(|id| ids.iter().flatten().any(|other| *other == id)), "{ids:?}");
    }

    #[test]
    fn the_median_stands_in_the_middle() {
        let mut waits = [3u64, 30, 9].into_iter();
        let call = || {
            std::thread::sleep(std::time::Duration::from_millis(waits.next().unwrap()));
            Ok(())
        };
        let times = Times::measure(call, 3).unwrap();
        assert!((9.0..30.0).contains(&times.median_ms) && times.min_ms >= 3.0 && times.max_ms >= 30.0, "{times:?}");
    }
}
