//! `s3delta bench sharing`: one text for several adapters, asked at once and one after the other.

use super::peer::{Model, id_span, load, median, milliseconds, random_ids, ratios, rounded, told, up_to};
use super::random::{decoder_side, values};
use crate::cli::output;
use crate::delta::{DeltaWeights, Layout, Metadata};
use crate::serve::{self, Adapter, Engine, Event, GenerateRequest, ScoreRequest, Settings, Text};
use crate::t5::{Backbone, DecodeSettings, WeightFormat};
use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Label words to score, of two ids each with the end.
const LABELS: [[u32; 2]; 2] = [[3, 1], [4, 1]];

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  s3delta bench sharing --model ./t5-small
  s3delta bench sharing --model ./t5-small --score --source-len 256 --runs 20 --json

Each run takes a new text and asks N random adapters that leave the encoder alone: one after the other with nothing shared
(encoder_cache_bytes = 0), all at once with sharing, all at once again, when the text is known, and all at once with a text of its
own for each, which is what a batch without sharing takes. The first two take turns in going first; the run before the first is not
timed. Ratios are those of the medians, and the spread is that of the runs.")]
pub(crate) struct Args {
    #[command(flatten)]
    model: Model,
    /// Adapters, each the decoder's part of 60 random modules of the space `mix`.
    #[arg(long, value_name = "N", default_value = "8", value_parser = up_to::<32>)]
    adapters: NonZeroUsize,
    /// Tokens of the text.
    #[arg(long, value_name = "N", default_value = "64", value_parser = up_to::<4096>)]
    source_len: NonZeroUsize,
    /// Tokens that each adapter makes; the end token does not come before.
    #[arg(long, value_name = "N", default_value = "8", value_parser = up_to::<4096>, conflicts_with = "score")]
    new_tokens: NonZeroUsize,
    /// Score two labels instead of making tokens.
    #[arg(long)]
    score: bool,
    /// Timed runs.
    #[arg(long, value_name = "N", default_value = "10", value_parser = up_to::<10000>)]
    runs: NonZeroUsize,
    /// Of the texts.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u32,
    /// Print one JSON line.
    #[arg(long)]
    json: bool,
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Report {
    bench: &'static str,
    adapters: usize,
    /// Mean modules of an adapter.
    modules: f64,
    source_len: usize,
    /// 0 where labels were scored.
    new_tokens: usize,
    runs: usize,
    threads: usize,
    /// One after the other, nothing shared.
    separate_ms: f64,
    /// At once.
    shared_ms: f64,
    /// At once, the text being known.
    cached_ms: f64,
    /// At once, a text of its own for each.
    unshared_ms: f64,
    separate_to_shared: Ratio,
    separate_to_cached: Ratio,
    unshared_to_shared: Ratio,
    load: Option<f64>,
}

/// The ratio of two medians, with the least and the greatest of a run.
#[derive(Debug, Serialize)]
struct Ratio {
    ratio: f64,
    min: f64,
    max: f64,
}

impl Args {
    pub(crate) fn run(&self) -> Result<()> {
        let backbone = Arc::new(self.model.open(WeightFormat::F32)?);
        let folder = tempfile::tempdir().context("cannot make a folder for the adapters")?;
        let adapter = |index| adapter(&backbone, index as u64, folder.path());
        let adapters = (0..self.adapters.get()).map(adapter).collect::<Result<Vec<_>>>()?;
        let modules: usize = adapters.iter().map(|adapter| adapter.structure.modules.len()).sum();
        let start = |encoder_cache_bytes| {
            let (source, made) = (self.source_len.get(), self.new_tokens.get());
            let limits = Settings { max_source_tokens: source, max_new_tokens: made.max(2), ..Settings::default() };
            let settings = Settings { encoder_cache_bytes, ..limits };
            serve::start(Arc::clone(&backbone), Arc::new(Text::of(&backbone)), settings)
        };
        let (alone, together) = (start(0)?, start(Settings::default().encoder_cache_bytes)?);
        let asks = Asks::new(self, &backbone)?;
        let waits = tokio::runtime::Builder::new_current_thread().build()?;
        let (runs, count) = (self.runs.get() + 1, adapters.len());
        let ids = random_ids(runs * (1 + count), self.source_len.get(), self.seed, id_span(&backbone)?);
        let (texts, others) = ids.split_at(runs);
        let at_once = |ids: &Vec<u32>| waits.block_on(asks.at_once(&together, adapters.iter().map(|one| (one, ids))));
        let one_by_one = |ids: &Vec<u32>| -> Result<Duration> {
            adapters.iter().map(|one| waits.block_on(asks.at_once(&alone, [(one, ids)]))).sum()
        };
        let each_its_own = |texts: &[Vec<u32>]| waits.block_on(asks.at_once(&alone, adapters.iter().zip(texts)));
        let before = load();
        let (mut separate, mut shared, mut cached, mut unshared) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (run, (ids, others)) in texts.iter().zip(others.chunks(count)).enumerate() {
            // who goes first changes, so that neither always follows the other
            let (one, all) = if run % 2 == 0 {
                let one = one_by_one(ids)?;
                (one, at_once(ids)?)
            } else {
                let all = at_once(ids)?;
                (one_by_one(ids)?, all)
            };
            let (again, own) = (at_once(ids)?, each_its_own(others)?);
            if run > 0 {
                separate.push(one);
                shared.push(all);
                cached.push(again);
                unshared.push(own);
            }
        }
        let middle = |times: &[Duration]| rounded(median(&milliseconds(times)), 2);
        let ratio = |of: &[Duration], to: &[Duration]| {
            let (ratio, min, max) = ratios(of, to);
            Ratio { ratio, min, max }
        };
        let report = Report {
            bench: "sharing",
            adapters: adapters.len(),
            modules: rounded(modules as f64 / adapters.len() as f64, 1),
            source_len: self.source_len.get(),
            new_tokens: if self.score { 0 } else { self.new_tokens.get() },
            runs: self.runs.get(),
            threads: self.model.threads.get(),
            separate_ms: middle(&separate),
            shared_ms: middle(&shared),
            cached_ms: middle(&cached),
            unshared_ms: middle(&unshared),
            separate_to_shared: ratio(&separate, &shared),
            separate_to_cached: ratio(&separate, &cached),
            unshared_to_shared: ratio(&unshared, &shared),
            load: before,
        };
        output::line(if self.json { serde_json::to_string(&report)? } else { report.told() });
        Ok(())
    }
}

/// A random adapter with its weights in this folder.
fn adapter(backbone: &Backbone, index: u64, folder: &Path) -> Result<Arc<Adapter>> {
    let structure = Arc::new(decoder_side(backbone.shape(), index)?);
    let layout = Layout::new(&backbone.positions, &structure.modules)?;
    let weights = DeltaWeights { values: values(&layout, index), metadata: Metadata::default() };
    let path = folder.join(format!("{index}.safetensors"));
    std::fs::write(&path, weights.to_bytes(&backbone.positions, &structure)?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    let checksum = blake3::hash(&std::fs::read(&path)?).to_string();
    Ok(Arc::new(Adapter { generation: structure.id.clone(), structure, weights: path, checksum }))
}

/// What every adapter is asked.
enum Asks {
    Score,
    Generate(Arc<DecodeSettings>),
}

impl Asks {
    fn new(args: &Args, backbone: &Backbone) -> Result<Self> {
        if args.score {
            return Ok(Self::Score);
        }
        let tokens = args.new_tokens.get();
        let greedy = DecodeSettings { do_sample: false, num_beams: 1, ..backbone.decoding()?.clone() };
        let settings = DecodeSettings { max_new_tokens: tokens, min_new_tokens: tokens, ..greedy };
        Ok(Self::Generate(Arc::new(DecodeSettings { num_return_sequences: 1, ..settings })))
    }

    /// The time from asking all of them to the last answer.
    async fn at_once(
        &self,
        engine: &Engine,
        asked: impl IntoIterator<Item = (&Arc<Adapter>, &Vec<u32>)>,
    ) -> Result<Duration> {
        let started = Instant::now();
        match self {
            Self::Score => {
                let targets = LABELS.map(Vec::from).to_vec();
                let ask = |(adapter, ids): (&Arc<Adapter>, &Vec<u32>)| {
                    let (ids, targets) = (ids.clone(), targets.clone());
                    engine.score(ScoreRequest { adapter: Some(Arc::clone(adapter)), ids, targets })
                };
                for scoring in asked.into_iter().map(ask).collect::<Vec<_>>() {
                    scoring?.await??;
                }
            }
            Self::Generate(settings) => {
                let ask = |(adapter, ids): (&Arc<Adapter>, &Vec<u32>)| {
                    let (ids, settings) = (ids.clone(), Arc::clone(settings));
                    engine.generate(GenerateRequest { adapter: Some(Arc::clone(adapter)), ids, settings })
                };
                for generation in asked.into_iter().map(ask).collect::<Vec<_>>() {
                    let (mut generation, mut tokens) = (generation?, 0);
                    while let Some(event) = generation.recv().await {
                        match event {
                            Event::Token { .. } => tokens += 1,
                            Event::Finished { .. } => {}
                            Event::Failed(error) => return Err(error.into()),
                        }
                    }
                    if tokens != settings.max_new_tokens {
                        bail!(
                            "{tokens} tokens were made instead of {}: their time says nothing",
                            settings.max_new_tokens
                        );
                    }
                }
            }
        }
        Ok(started.elapsed())
    }
}

impl Report {
    fn told(&self) -> String {
        let Self { adapters, modules, source_len, separate_ms, shared_ms, cached_ms, unshared_ms, .. } = self;
        let (shared, cached, own) = (&self.separate_to_shared, &self.separate_to_cached, &self.unshared_to_shared);
        format!(
            "one text of {source_len} tokens, {adapters} adapters of {modules} modules in the decoder: {separate_ms} ms one \
             after the other with nothing shared, {shared_ms} ms at once ({} ×, {} to {} over the runs), {cached_ms} ms once \
             the text is known ({} ×, {} to {}); {unshared_ms} ms at once with a text for each ({} × what a shared one takes, {} \
             to {}), load {}",
            shared.ratio,
            shared.min,
            shared.max,
            cached.ratio,
            cached.min,
            cached.max,
            own.ratio,
            own.min,
            own.max,
            told(self.load)
        )
    }
}
