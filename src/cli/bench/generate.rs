//! `s3delta bench generate`: the time from source ids to target ids, measured as `../shared/peers/generate.py` measures other
//! libraries: the same flags, the same source ids, the same fields.

use super::peer::{Before, Measured, Record, Work, told};
use crate::cli::output;
use crate::t5::{Frozen, Generated, device, generate};
use anyhow::Result;
use serde_json::json;
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
    #[command(flatten)]
    work: Work,
}

impl Args {
    pub(crate) fn run(&self) -> Result<()> {
        let work = &self.work;
        let backbone = work.open()?;
        let (rows, settings) = (work.ids(&backbone)?, work.settings(&backbone)?);
        let call = || -> Result<Vec<Vec<u32>>> {
            let made = device::compute(backbone.model.device(), || {
                let encoded = backbone.model.encode(&backbone.model.batch(&rows)?, &Frozen);
                generate(&backbone.model, &encoded, &rows, &settings, &Frozen)
            })?;
            Ok(made.into_iter().flatten().map(|row: Generated| row.ids).collect())
        };
        let ids = call()?; // not timed
        work.check(&ids)?;
        let before = Before::note();
        let mut times = Vec::with_capacity(work.runs.get());
        for _ in 0..work.runs.get() {
            let started = Instant::now();
            call()?;
            times.push(started.elapsed());
        }
        let record = work.record(before.measured(&times), 0, &ids);
        output::line(if work.json { serde_json::to_string(&record)? } else { line(&record, times.len()) });
        if work.print_ids {
            output::line(json!({"ids": ids}));
        }
        Ok(())
    }
}

fn line(record: &Record, runs: usize) -> String {
    let Measured { median_ms, min_ms, max_ms, peak_rss_mb, load, .. } = record.measured;
    format!(
        "{}: batch {}, {} source ids, {} new tokens, {} beams, {} threads: {median_ms} ms ({min_ms} to {max_ms}, {runs} \
         runs), {} tokens/s, {} requests/s, peak memory {} MiB, load {}, ids {}",
        record.peer,
        record.batch,
        record.source_len,
        record.new_tokens,
        record.beams,
        record.threads,
        record.tokens_per_s,
        record.requests_per_s,
        told(peak_rss_mb),
        told(load),
        record.tokens,
    )
}
