//! `s3delta bench adapters`: what many adapters in one batch cost beside the bare backbone.

use super::peer::{self, Before, Measured, Record, Work, median, milliseconds, ratios, rounded, told};
use super::random::{AdapterKind, Drawn, values};
use crate::cli::output;
use crate::delta::{Layout, Single, View};
use crate::t5::{Backbone, device, generate};
use anyhow::{Result, bail};
use serde::Serialize;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  s3delta bench adapters --model ./t5-small
  s3delta bench adapters --model ./t5-small --kind lora-qv --rank 1 --json
  s3delta bench adapters --model builtin:pocket-t5 --adapters 1 --batch 4 --runs 20

Row i is served with random adapter i mod N. Each run times the same rows once with the adapters, the gathering of their
factors included, and once on the bare backbone, in turns; `ratio` is that of the two medians, and the spread is that of the
runs' own ratios. With --adapters 0 both are the bare backbone, which shows what the machine's noise does to the ratio.")]
pub(crate) struct Args {
    #[command(flatten)]
    work: Work,
    /// Different adapters in the batch [default: one for each row].
    #[arg(long, value_name = "N")]
    adapters: Option<usize>,
    #[command(flatten)]
    drawn: Drawn,
}

/// What is printed: the peers' fields for the batch with adapters, then how it compares.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    record: Record,
    kind: AdapterKind,
    /// Mean modules of an adapter, and its trained parameters.
    modules: f64,
    parameters: f64,
    bare_median_ms: f64,
    bare_tokens: String,
    /// Time with adapters to time without.
    ratio: f64,
    ratio_min: f64,
    ratio_max: f64,
}

impl Args {
    pub(crate) fn run(&self) -> Result<()> {
        let work = &self.work;
        let count = self.adapters.unwrap_or(work.batch.get());
        if count > work.batch.get() {
            bail!("--adapters {count} is more than the {} rows of the batch: raise --batch", work.batch);
        }
        let backbone = work.open()?;
        let adapters = (0..count as u64).map(|index| self.adapter(&backbone, index)).collect::<Result<Vec<_>>>()?;
        let mean = |of: &dyn Fn(&Adapter) -> usize| match count {
            0 => 0.0,
            _ => rounded(adapters.iter().map(of).sum::<usize>() as f64 / count as f64, 1),
        };
        let (modules, parameters) = (mean(&|adapter| adapter.modules), mean(&|adapter| adapter.parameters));
        let rows: Vec<Option<Arc<Single>>> =
            (0..work.batch.get()).map(|row| Some(Arc::clone(&adapters.get(row % count.max(1))?.single))).collect();
        let ids = work.ids(&backbone)?;
        let with = || self.generate(&backbone, &ids, &rows);
        let none = vec![None; rows.len()];
        let bare = || self.generate(&backbone, &ids, &none);
        let (_, made) = with()?; // not timed
        let (_, made_bare) = bare()?;
        let before = Before::note();
        let (mut times, mut bare_times): (Vec<Duration>, Vec<Duration>) = Default::default();
        for run in 0..work.runs.get() {
            // who goes first changes, so that neither always follows the other
            if run % 2 == 0 {
                times.push(with()?.0);
                bare_times.push(bare()?.0);
            } else {
                bare_times.push(bare()?.0);
                times.push(with()?.0);
            }
        }
        let measured = before.measured(&times);
        let (ratio, ratio_min, ratio_max) = ratios(&times, &bare_times);
        let report = Report {
            record: work.record(measured, count, &made),
            kind: self.drawn.kind,
            modules,
            parameters,
            bare_median_ms: rounded(median(&milliseconds(&bare_times)), 2),
            bare_tokens: peer::digest(&made_bare),
            ratio,
            ratio_min,
            ratio_max,
        };
        if work.json {
            output::line(serde_json::to_string(&report)?);
        } else {
            report.print();
        }
        if work.print_ids {
            output::line(json!({"ids": made}));
        }
        Ok(())
    }

    fn adapter(&self, backbone: &Backbone, index: u64) -> Result<Adapter> {
        let structure = self.drawn.kind.structure(backbone.shape(), self.drawn.rank()?, index)?;
        let layout = Layout::new(&backbone.positions, &structure.modules)?;
        let device = backbone.model.device();
        let single = Single::new(&layout, values(&layout, index), backbone.positions.len(), device);
        Ok(Adapter { single: Arc::new(single), modules: structure.modules.len(), parameters: layout.len() })
    }

    /// Time and ids of one batch, from source ids to target ids.
    fn generate(
        &self,
        backbone: &Backbone,
        ids: &[Vec<u32>],
        rows: &[Option<Arc<Single>>],
    ) -> Result<(Duration, Vec<Vec<u32>>)> {
        let settings = self.work.settings(backbone)?;
        let work = || -> Result<_> {
            let started = Instant::now();
            let view = View::new(rows, backbone);
            let deltas = view.deltas();
            let encoded = backbone.model.encode(&backbone.model.batch(ids)?, deltas);
            let made = generate(&backbone.model, &encoded, ids, &settings, deltas)?;
            Ok((started.elapsed(), made))
        };
        let (time, made) = device::compute(backbone.model.device(), work)?;
        let made: Vec<Vec<u32>> = made.into_iter().map(|mut of_row| of_row.swap_remove(0).ids).collect();
        self.work.check(&made)?;
        Ok((time, made))
    }
}

struct Adapter {
    single: Arc<Single>,
    modules: usize,
    parameters: usize,
}

impl Report {
    fn print(&self) {
        let Record { batch, tokens_per_s, adapters, .. } = &self.record;
        let Measured { median_ms, min_ms, max_ms, peak_rss_mb, load, .. } = self.record.measured;
        output::line(format!(
            "{adapters} adapters of {} modules ({} parameters) in a batch of {batch}: {median_ms} ms ({min_ms} to {max_ms}), \
             {tokens_per_s} tokens/s",
            self.modules, self.parameters
        ));
        output::line(format!("bare backbone: {} ms", self.bare_median_ms));
        output::line(format!("ratio: {} ({} to {} over the runs)", self.ratio, self.ratio_min, self.ratio_max));
        output::line(format!("peak memory {} MiB, load {}", told(peak_rss_mb), told(load)));
    }
}
