//! `s3delta bench search`: the time of one step of search or re-training, measured as `../shared/peers/train_step.py` measures torch:
//! the same flags, the same ids, the same fields.

use super::peer::{Before, Measured, Model, id_span, random_ids, rounded, told, up_to};
use crate::cli::output;
use crate::delta::Layout;
use crate::search::{Bilevel, Order, Settings};
use crate::structure::{DeltaModule, Kind, Shape, Space};
use crate::t5::{Backbone, WeightFormat};
use crate::train::{AdamW, Batch, clip_global_norm, generator, pass};
use anyhow::{Result, bail};
use serde::Serialize;
use std::num::NonZeroUsize;
use std::time::Instant;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  s3delta bench search --model ./t5-small --mode search-second
  s3delta bench search --model ./t5-small --mode mix-fixed --batch 8 --source-len 128 --steps 9 --json >> ours.jsonl

  lora-qv        LoRA r = 1 on every self-attention q and v: forward, backward, clip, AdamW
  mix-fixed      the same step for a structure of --modules modules of `mix`, always the same one
  search-first   one bi-level step over the whole space `mix`, first order: two passes
  search-second  the same, second order: four passes

A pass is a forward and a backward over --batch rows of --source-len ids and --target-len target ids; a search step uses two
batches. One step is not timed, then --steps are. Ids are 3 + splitmix64(s · 2^32 + row · length + column) mod 31997 with
s = --seed for the first sources and --seed + 1 for the second, 1000 more for their targets. The initial values are our own, so
losses are near those of other programs, not equal. `run_rss_mb` is the most memory held while timing.")]
pub(crate) struct Args {
    #[command(flatten)]
    model: Model,
    /// What a step is.
    #[arg(long, value_enum)]
    mode: Mode,
    /// Rows of a batch.
    #[arg(long, value_name = "N", default_value = "8", value_parser = up_to::<4096>)]
    batch: NonZeroUsize,
    /// Tokens of each source.
    #[arg(long, value_name = "N", default_value = "64", value_parser = up_to::<4096>)]
    source_len: NonZeroUsize,
    /// Tokens of each target.
    #[arg(long, value_name = "N", default_value = "8", value_parser = up_to::<4096>)]
    target_len: NonZeroUsize,
    /// Timed steps, after one that is not.
    #[arg(long, value_name = "N", default_value = "5", value_parser = up_to::<10000>)]
    steps: NonZeroUsize,
    /// Modules of the structure of mix-fixed.
    #[arg(long, value_name = "N", default_value = "60", value_parser = up_to::<100_000>)]
    modules: NonZeroUsize,
    /// Parameters of a search, per ten thousand of the backbone's.
    #[arg(long, value_name = "X", default_value_t = 1.389, value_parser = super::method::positive)]
    budget: f64,
    /// Of the ids and the initial values.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u32,
    /// Print one JSON line, with the fields that the peer's script prints.
    #[arg(long)]
    json: bool,
}

/// The modes of train_step.py.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    LoraQv,
    MixFixed,
    SearchFirst,
    SearchSecond,
}

/// What is printed, in the order of the peer's fields.
#[derive(Debug, Serialize)]
struct Record {
    mode: Mode,
    modules: usize,
    trainable: usize,
    #[serde(flatten)]
    measured: Measured,
    batch: usize,
    source_len: usize,
    target_len: usize,
    threads: usize,
    #[serde(flatten)]
    gate: Option<Budgeted>,
    loss_first: f64,
    loss_last: f64,
}

/// What only a search has.
#[derive(Debug, Serialize)]
struct Budgeted {
    budget: usize,
    zeta: f64,
}

/// Learning rate of δ and greatest norm of a gradient, the method's.
const RATE: f64 = 3e-4;
const CLIP: f64 = 2.0;
/// The schedule's length: so long that the rates stay as they are.
const SCHEDULE: usize = 1 << 40;

impl Args {
    pub(crate) fn run(&self) -> Result<()> {
        let backbone = self.model.open(WeightFormat::F32)?;
        let batches = [self.batches(&backbone, self.seed)?, self.batches(&backbone, self.seed.wrapping_add(1))?];
        let shape = backbone.shape();
        let (space, gate, losses, measured) = match self.mode {
            Mode::LoraQv | Mode::MixFixed => {
                let space = match self.mode {
                    Mode::LoraQv => lora_qv(shape)?,
                    _ => fixed(shape, self.modules.get())?,
                };
                let (losses, measured) = self.fixed(&backbone, &space, &batches[0])?;
                (space, None, losses, measured)
            }
            Mode::SearchFirst | Mode::SearchSecond => {
                let space = Space::built_in("mix", shape)?;
                let budget = (self.budget * 1e-4 * backbone.parameters as f64) as usize;
                let (zeta, losses, measured) = self.search(&backbone, &space, budget, &batches)?;
                (space, Some(Budgeted { budget, zeta: rounded(zeta, 4) }), losses, measured)
            }
        };
        let record = Record {
            mode: self.mode,
            modules: space.len(),
            trainable: space.parameters(),
            measured,
            batch: self.batch.get(),
            source_len: self.source_len.get(),
            target_len: self.target_len.get(),
            threads: self.model.threads.get(),
            gate,
            loss_first: rounded(losses[0], 4),
            loss_last: rounded(losses[losses.len() - 1], 4),
        };
        output::line(if self.json { serde_json::to_string(&record)? } else { line(&record) });
        Ok(())
    }

    /// Rows of one batch, in the pieces of a pass.
    fn batches(&self, backbone: &Backbone, seed: u32) -> Result<Vec<Batch>> {
        let span = id_span(backbone)?;
        let sources = random_ids(self.batch.get(), self.source_len.get(), seed, span);
        let targets = random_ids(self.batch.get(), self.target_len.get(), seed.wrapping_add(1000), span);
        let [sources, targets] = [&sources, &targets].map(|rows| rows.iter().map(Vec::as_slice).collect::<Vec<_>>());
        Ok(Batch::cut(backbone, &sources, &targets)?)
    }

    /// Losses, the first of which is of the step that is not timed, and the times of the others.
    fn time(&self, mut step: impl FnMut() -> Result<f64>) -> Result<(Vec<f64>, Measured)> {
        let mut losses = vec![step()?];
        let (before, mut times) = (Before::note(), Vec::new());
        for _ in 0..self.steps.get() {
            let started = Instant::now();
            losses.push(step()?);
            times.push(started.elapsed());
        }
        Ok((losses, before.measured(&times)))
    }

    fn fixed(&self, backbone: &Backbone, space: &Space, batch: &[Batch]) -> Result<(Vec<f64>, Measured)> {
        let layout = Layout::new(&backbone.positions, space.modules())?;
        let mut values = layout.init(&mut generator(self.seed.into(), "init", 0));
        let mut optimiser = AdamW::new(values.len());
        self.time(|| {
            let mut found = pass(backbone, &layout, &values, batch)?;
            clip_global_norm(&mut found.gradient, CLIP);
            optimiser.step(&mut values, &found.gradient, RATE as f32);
            Ok(found.loss)
        })
    }

    fn search(
        &self,
        backbone: &Backbone,
        space: &Space,
        budget: usize,
        [delta, structural]: &[Vec<Batch>; 2],
    ) -> Result<(f64, Vec<f64>, Measured)> {
        let order = if self.mode == Mode::SearchFirst { Order::First } else { Order::Second };
        let settings = Settings {
            steps: SCHEDULE,
            learning_rate: RATE,
            clip: CLIP,
            order,
            seed: self.seed.into(),
            ..Settings::default()
        };
        let mut search = Bilevel::new(backbone, space, budget, &settings)?;
        let (mut state, mut zeta) = (search.start(), 0.0);
        let (losses, measured) = self.time(|| {
            let report = search.step(&mut state, delta, structural)?;
            zeta = report.zeta.expect("a search has a ζ");
            Ok(report.loss)
        })?;
        Ok((zeta, losses, measured))
    }
}

/// LoRA r = 1 on every self-attention q and v.
fn lora_qv(shape: &Shape) -> Result<Space> {
    let of = |module: &DeltaModule| {
        [".SelfAttention.q", ".SelfAttention.v"].iter().any(|end| module.position.ends_with(end))
    };
    chosen("lora", shape, of)
}

/// So many modules of `mix` in the taste of the published structures, by the rule of `fixed_structure` in the peers' spaces.py:
/// final norms, then from the last decoder block down BitFit on the norms before both attentions, LoRA on q and, in the last
/// third, the low-rank adapter of the feed-forward layer; the encoder likewise, then anything.
fn fixed(shape: &Shape, count: usize) -> Result<Space> {
    let space = Space::built_in("mix", shape)?;
    if count > space.len() {
        bail!("--modules {count} is more than the {} of the space `mix`", space.len());
    }
    let mut ranked: Vec<_> = space.modules().iter().collect();
    ranked.sort_by_key(|module| rank(module, shape));
    let first = &ranked[..count];
    chosen("mix", shape, |module| first.contains(&module))
}

/// Group and, within it, later blocks first.
fn rank(module: &DeltaModule, shape: &Shape) -> (usize, isize) {
    let (stack, rest) = module.position.split_once('.').expect("positions begin with their stack");
    if rest == "final_layer_norm" {
        return (0, 0);
    }
    let block: usize = rest.split('.').nth(1).and_then(|number| number.parse().ok()).expect("a block's number");
    let (decoder, layers) =
        if stack == "decoder" { (true, shape.decoder_layers) } else { (false, shape.encoder_layers) };
    let wanted = match module.kind {
        Kind::Bitfit => rest.ends_with("layer.0.layer_norm") || decoder && rest.ends_with("layer.1.layer_norm"),
        Kind::Lora { .. } => rest.ends_with("SelfAttention.q"),
        Kind::LowRankAdapter { .. } => rest.ends_with("DenseReluDense") && block * 3 >= layers * 2,
        _ => false,
    };
    let group = match (wanted, decoder) {
        (true, true) => 1,
        (true, false) => 2,
        (false, _) => 3,
    };
    (group, -(block as isize))
}

/// The modules of a built-in space that a rule takes.
fn chosen(name: &str, shape: &Shape, takes: impl Fn(&DeltaModule) -> bool) -> Result<Space> {
    let modules = Space::built_in(name, shape)?.modules().iter().filter(|module| takes(module)).cloned().collect();
    Ok(Space::from_modules(name, crate::structure::Positions::new(shape), modules)?)
}

fn line(record: &Record) -> String {
    let Measured { median_ms, min_ms, max_ms, peak_rss_mb, run_rss_mb, load } = record.measured;
    let mode = serde_json::to_value(record.mode).expect("a mode is a word");
    format!(
        "{}: {} modules, {} parameters, batch {}, {} source and {} target ids, {} threads: {median_ms} ms a step ({min_ms} to \
         {max_ms}), peak memory {} MiB, while timing {} MiB, load {}, loss {} to {}",
        mode.as_str().expect("a mode is a word"),
        record.modules,
        record.trainable,
        record.batch,
        record.source_len,
        record.target_len,
        record.threads,
        told(peak_rss_mb),
        told(run_rss_mb),
        told(load),
        record.loss_first,
        record.loss_last,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The counts of spaces.py on T5-large.
    #[test]
    fn structures_are_the_peers() {
        let shape = Shape::large();
        let (fixed, lora) = (fixed(&shape, 60).unwrap(), lora_qv(&shape).unwrap());
        assert_eq!((fixed.len(), fixed.parameters()), (60, 94_976));
        assert_eq!((lora.len(), lora.parameters()), (96, 196_608));
    }
}
