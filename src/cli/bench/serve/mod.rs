//! `s3delta bench serve`: a server under load over HTTP, with arrivals that do not wait for its answers.

mod client;
mod drive;
mod populate;
mod report;
mod scrape;
mod server;
mod tally;
mod workload;

use super::random::Drawn;
use crate::cli::{On, output};
use crate::t5::Backbone;
use anyhow::{Context, Result, bail};
use burn::tensor::Device;
use client::Client;
use drive::{Phase, closed_loop, open_loop};
use populate::Population;
use report::{Phases, Report, report};
use scrape::Scrape;
use server::{Server, Usage};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};
use workload::{Lengths, Mix, Workload};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  s3delta bench serve --backbone ./t5-small --load 0.8,2
  s3delta bench serve --rate 40 --duration 300 --source-len uniform:16-128 --output-len lognormal:16,0.5 --json
  s3delta bench serve --adapters 10000 --active 1000 --keep /tmp/many --load 0.8
  s3delta bench serve --url http://127.0.0.1:8080 --rate 20

Without --url it makes random adapters in a folder of its own and starts a server as a child process; S3DELTA_* variables
reach that server. Arrivals are Poisson and do not wait for answers; each time counts from when its request was due. With
--load the capacity is measured first, by clients that ask again as soon as they are answered; they begin one after the other
during the warm-up, so give it some seconds. All times are in milliseconds. The flags of `bench generate` are taken as well: --model
is --backbone, --batch is --clients, --new-tokens is --output-len. Its ids are asked row after row, each with the end token for its last.
The JSON has its fields, with the times and memory of each phase, but no digest of the ids made: answers are texts.")]
pub(crate) struct Args {
    /// Ask this server, with the adapters it has, instead of starting one; S3DELTA_TOKEN is its token.
    #[arg(long, value_name = "URL", value_parser = http_url, conflicts_with_all = ["keep", "kind", "rank", "backbone", "device", "threads"])]
    url: Option<String>,
    /// Random adapters to make, 0 for the bare backbone alone [default: 100; with --url all that the server has].
    #[arg(long, value_name = "N")]
    adapters: Option<usize>,
    /// Adapters that are asked for [default: all].
    #[arg(long, value_name = "N")]
    active: Option<usize>,
    #[command(flatten)]
    drawn: Drawn,
    /// Make the adapters in this folder and keep it for later runs.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Exponent of Zipf's law of the adapters' popularity; 0 makes all alike.
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    zipf: f64,
    /// Requests a second, one phase each.
    #[arg(long, value_name = "R", value_delimiter = ',', conflicts_with = "load")]
    rate: Vec<f64>,
    /// Parts of the capacity, one phase each [default: 0.8].
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    load: Vec<f64>,
    /// Tokens of a source: N, uniform:A-B, lognormal, or lognormal:MEDIAN,SIGMA.
    #[arg(long, value_name = "LENGTHS", default_value = "64")]
    source_len: Lengths,
    /// Tokens made for a source; the end token does not come before.
    #[arg(long, visible_alias = "new-tokens", value_name = "LENGTHS", default_value = "16")]
    output_len: Lengths,
    /// Beams of each request, which takes as many rows.
    #[arg(long, value_name = "N", default_value = "1")]
    beams: NonZeroUsize,
    /// Times that each phase is run, one after the other.
    #[arg(long, value_name = "N", default_value = "1")]
    runs: NonZeroUsize,
    /// Seconds of a phase that count.
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0, value_parser = some_seconds)]
    duration: f64,
    /// Seconds before them, in which the first adapters are loaded.
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, value_parser = seconds)]
    warmup: f64,
    /// Requests under way at most; later ones wait, and their time runs.
    #[arg(long, value_name = "N", default_value = "4096")]
    concurrency: NonZeroUsize,
    /// Clients that find the capacity.
    #[arg(long, visible_alias = "batch", value_name = "N", default_value = "64")]
    clients: NonZeroUsize,
    /// Seconds after which a request is given up.
    #[arg(long, value_name = "SECONDS", default_value_t = 120.0, value_parser = some_seconds)]
    timeout: f64,
    /// Ask for whole answers, which tell no time to the first token.
    #[arg(long)]
    whole: bool,
    /// Core to keep the generator on; the server may use all.
    #[arg(long, value_name = "CORE")]
    pin: Option<usize>,
    /// Of arrivals, adapters, lengths and ids.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    on: On,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    let good = text.parse().ok().filter(|seconds: &f64| (0.0..=86_400.0).contains(seconds));
    good.ok_or_else(|| format!("`{text}` is no number of seconds up to a day"))
}

fn some_seconds(text: &str) -> Result<f64, String> {
    match seconds(text)? {
        0.0 => Err("give more than 0 seconds".into()),
        some => Ok(some),
    }
}

fn http_url(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("http://").filter(|host| !host.is_empty());
    host.map(|_| text.into()).ok_or_else(|| "give a URL such as http://127.0.0.1:8080".into())
}

/// The server with what was made for it.
struct Target {
    server: Server,
    client: Arc<Client>,
    vocabulary: usize,
    /// That it computes with; none of a server that ran already.
    threads: Option<usize>,
    registration: Option<(usize, f64)>,
    // behind the server, which has it open
    _home: Option<tempfile::TempDir>,
}

/// Requests a second at most: more is a slip of the keyboard, and would take all memory.
const MOST_RATE: f64 = 100_000.0;

impl Args {
    pub(crate) fn run(&self, home: &Path) -> Result<()> {
        let wrong = |value: &&f64| !(**value > 0.0 && **value <= MOST_RATE);
        if let Some(value) = self.rate.iter().chain(&self.load).find(wrong) {
            bail!("{value} is no rate or load: give numbers above 0, at most {MOST_RATE}");
        }
        if !(0.0..=20.0).contains(&self.zipf) {
            bail!("--zipf {}: give a number from 0 to 20", self.zipf);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let target = self.target(home, &runtime)?;
        // the server has been started, so that it does not inherit this
        if let Some(core) = self.pin {
            server::pin(core)?;
        }
        let report = runtime.block_on(self.measure(&target))?;
        if self.json {
            return output::json(&report);
        }
        report.print();
        Ok(())
    }

    /// Starts a server over random adapters, or looks at the one that runs.
    fn target(&self, home: &Path, runtime: &tokio::runtime::Runtime) -> Result<Target> {
        let (server, threads, registration, home) = match &self.url {
            Some(url) => (Server::at(url), None, None, None),
            None => {
                let temporary = self.keep.is_none().then(tempfile::tempdir).transpose()?;
                let folder = self.keep.as_deref().or(temporary.as_ref().map(tempfile::TempDir::path));
                let folder = folder.context("there is a folder, kept or temporary")?;
                // the folder has no settings of its own
                let backbone = self.on.config(home)?.backbone;
                let registration = self.populate(&backbone, folder)?;
                let on = On { backbone: Some(backbone), compute: self.on.compute.clone() };
                let threads = on.config(folder)?.threads.or(available_parallelism().ok().map(NonZeroUsize::get));
                (Server::start(folder, &on)?, threads, Some(registration), temporary)
            }
        };
        let timeout = Duration::from_secs_f64(self.timeout);
        let mut client = Client::new(server.base.clone(), !self.whole, timeout)?;
        let backbone = runtime.block_on(client.json("/v1/backbone"))?;
        client.beams = self.beams.get();
        client.backbone = backbone["name"].as_str().unwrap_or_default().into();
        let vocabulary = backbone["shape"]["vocab_size"].as_u64().unwrap_or_default() as usize;
        client.adapters = match &self.url {
            Some(_) => runtime.block_on(served(&client, self.adapters.unwrap_or(usize::MAX)))?,
            None => (0..self.adapters.unwrap_or(DEFAULT_ADAPTERS)).map(Population::name).collect(),
        };
        let active = self.active.unwrap_or(client.adapters.len());
        if active > client.adapters.len() {
            bail!("--active {active} is more than the {} adapters there are", client.adapters.len());
        }
        client.adapters.truncate(active);
        Ok(Target { server, client: Arc::new(client), vocabulary, threads, registration, _home: home })
    }

    /// Makes the adapters; says how many it made and in how many seconds.
    fn populate(&self, backbone: &str, folder: &Path) -> Result<(usize, f64)> {
        let population = Population {
            count: self.adapters.unwrap_or(DEFAULT_ADAPTERS),
            kind: self.drawn.kind,
            rank: self.drawn.rank()?,
            shape: Backbone::resolve_config(backbone)?.shape(),
            backbone_digest: Backbone::resolve_weights(backbone, &Device::flex())?.digest(),
        };
        let started = Instant::now();
        let made = population.make(folder)?;
        Ok((made, started.elapsed().as_secs_f64()))
    }

    async fn measure(&self, target: &Target) -> Result<Report> {
        let Target { server, client, vocabulary, .. } = target;
        let mix = Mix {
            adapters: client.adapters.len(),
            zipf: self.zipf,
            source: self.source_len,
            output: self.output_len,
            vocabulary: *vocabulary,
            seed: self.seed,
        };
        let phase =
            Phase { warmup: Duration::from_secs_f64(self.warmup), duration: Duration::from_secs_f64(self.duration) };
        let mut phases = Phases::new(server, client, phase.warmup);
        let mut number = 0;
        let mut workload = || {
            let seed = mix.seed.wrapping_add(number);
            number += 1;
            Workload::new(Mix { seed, ..mix.clone() })
        };
        let mut rates: Vec<(String, f64)> = self.rate.iter().map(|rate| (format!("rate {rate}"), *rate)).collect();
        if rates.is_empty() {
            let capacity = phases.add("capacity", None, closed_loop(client, workload(), self.clients.get(), phase));
            let capacity = capacity.await;
            if capacity <= 0.0 {
                bail!("no request was answered: {}", phases.failures());
            }
            let loads = if self.load.is_empty() { &[0.8][..] } else { &self.load };
            rates = loads.iter().map(|load| (format!("load {load}"), load * capacity)).collect();
        }
        for (name, rate) in rates.iter().flat_map(|rate| vec![rate; self.runs.get()]) {
            let most = self.concurrency.get();
            if phases.add(name, Some(*rate), open_loop(client, workload(), *rate, most, phase)).await <= 0.0 {
                bail!("no request of {name} was answered: {}", phases.failures());
            }
        }
        Ok(report(self, target, &mix, phases))
    }
}

const DEFAULT_ADAPTERS: usize = 100;

/// The names of a server's adapters, at most so many.
async fn served(client: &Client, most: usize) -> Result<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    let mut cursor = String::new();
    while names.len() < most {
        let page = client.json(&format!("/v1/adapters?limit=100{cursor}")).await?;
        let of = page["data"].as_array().into_iter().flatten();
        names.extend(of.filter_map(|adapter| adapter["name"].as_str()).map(String::from));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    names.truncate(most);
    Ok(names)
}
