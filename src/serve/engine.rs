//! The engine thread: takes requests from the queue, adapters alike by tokens, and computes them in mixed batches.

use super::adapters::{Loaded, Loader, Read, Resident, Weights, read_file};
use super::compute::Compute;
use super::decoding::{Decoding, State};
use super::handle::Stop;
use super::joining::{Admitted, Joined, Joining, LONG_GROUPS, Progress};
use super::places::Places;
use super::reservation::Space;
use super::source_cache::SourceCache;
use super::waiting::{Line, Room};
use super::{BackboneInfo, Engine, Error, Queued, Result, Settings, Tokenize};
use crate::t5::Backbone;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep_until;

/// Starts the engine over a backbone. Its thread ends by [`Engine::shutdown`], or after the last handle is dropped.
///
/// # Errors
/// [`Error::Internal`] if the system gives no thread.
pub fn start(backbone: Arc<Backbone>, tokenizer: Arc<dyn Tokenize>, settings: Settings) -> Result<Engine> {
    let (engine, thread) = EngineThread::new(backbone, tokenizer, settings, Box::new(read_file))?;
    let waits = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(no_thread)?;
    let run = move || thread.run(&waits);
    std::thread::Builder::new().name("engine".into()).spawn(run).map_err(no_thread)?;
    Ok(engine)
}

/// How long those who left may keep their places while nothing happens but that adapters are read.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

fn no_thread(error: std::io::Error) -> Error {
    Error::Internal(format!("the engine cannot start: {error}"))
}

/// What the engine thread owns.
pub(super) struct EngineThread {
    backbone: Arc<Backbone>,
    settings: Settings,
    compute: Compute,
    commands: mpsc::UnboundedReceiver<Queued>,
    /// Whether nothing more can come from the queue.
    drained: bool,
    stop: watch::Receiver<Stop>,
    loader: Loader,
    loaded: mpsc::UnboundedReceiver<Loaded>,
    loading: HashSet<String>,
    resident: Resident,
    sources: SourceCache,
    waiting: Line,
    places: Arc<Places>,
    /// Groups of requests, of which the first goes on next.
    joining: VecDeque<Joining>,
    /// Whether the last group that went on was a short one, and others waited.
    passed: bool,
    decoding: Decoding,
}

impl EngineThread {
    /// The engine and its handle; `read` reads delta weights on the loader's threads.
    pub(super) fn new(
        backbone: Arc<Backbone>,
        tokenizer: Arc<dyn Tokenize>,
        settings: Settings,
        read: Box<Read>,
    ) -> Result<(Engine, Self)> {
        let settings = settings.sane();
        let info = BackboneInfo {
            name: backbone.name.clone(),
            shape: backbone.shape().clone(),
            parameters: backbone.parameters,
            digest: backbone.digest.clone(),
            device: settings.device.clone(),
            weights: backbone.weights,
            decoding: backbone.decoding().cloned().map_err(|error| error.to_string()),
        };
        let (engine, commands) = Engine::new(info, tokenizer, &settings);
        let (sender, loaded) = mpsc::unbounded_channel();
        let thread = Self {
            compute: Compute::new(backbone.model.device()),
            commands,
            drained: false,
            stop: engine.stop_signal(),
            loader: Loader::start(Arc::clone(&backbone), read, sender).map_err(no_thread)?,
            loaded,
            loading: HashSet::new(),
            resident: Resident::new(settings.adapter_bytes),
            sources: SourceCache::new(settings.encoder_cache_bytes),
            waiting: Line::default(),
            places: engine.places(),
            joining: VecDeque::new(),
            passed: false,
            decoding: Decoding::default(),
            backbone,
            settings,
        };
        Ok((engine, thread))
    }

    /// Serves until told to stop and nothing is left to answer.
    pub(super) fn run(mut self, waits: &tokio::runtime::Runtime) {
        while !self.is_done() {
            if !self.turn() && !self.is_done() {
                waits.block_on(self.wait());
            }
        }
    }

    fn is_done(&self) -> bool {
        self.drained && self.waiting.is_empty() && self.joining.is_empty() && self.decoding.is_empty()
    }

    /// Takes what has come, lets rows leave and join, scores, and makes one token of every row. False if there was
    /// nothing to compute.
    pub(super) fn turn(&mut self) -> bool {
        self.turn_at(Instant::now())
    }

    /// The same at this time.
    pub(super) fn turn_at(&mut self, now: Instant) -> bool {
        self.take();
        self.waiting.give_up(now);
        self.load();
        self.decoding.sweep(now, &self.compute);
        self.joining.retain_mut(|group| group.sweep(now));
        self.passed &= !self.joining.is_empty();
        let admitted = self.admit();
        if !admitted.is_empty() {
            let group = Joining::new(admitted, &mut self.sources, self.settings.encoded_between_steps);
            self.line_up(group);
        }
        let idle = self.joining.is_empty() && self.decoding.is_empty();
        self.join();
        self.decoding.step(&self.backbone, &self.compute);
        self.decoding.sweep(now, &self.compute);
        self.resident.trim();
        !idle
    }

    /// A short group goes before the long ones, unless the last one has just done so: then one of them is first.
    fn line_up(&mut self, group: Joining) {
        let place = if group.is_long() { self.joining.len() } else { usize::from(self.passed) };
        self.joining.insert(place, group);
    }

    /// Goes on encoding the sources of one of the groups that are to join, each in its turn, for no longer than rows under way can
    /// wait, and never so long that nobody looks whether somebody still waits for them.
    fn join(&mut self) {
        let Some(joining) = self.joining.pop_front() else { return };
        self.passed = !joining.is_long() && !self.joining.is_empty();
        match joining.advance(&self.backbone, self.settings.encoded_between_steps, &self.compute) {
            Progress::UnderWay(joining) => self.joining.push_back(*joining),
            Progress::Joined(joined) => {
                let Joined { running, cache, fresh } = *joined;
                self.sources.keep(fresh);
                if let Some(cache) = cache {
                    self.decoding.join(running, State { cache, view: None }, &self.compute);
                }
            }
            Progress::Over => {}
        }
    }

    /// Takes what the queue and the loader hold, without waiting.
    fn take(&mut self) {
        let stop = *self.stop.borrow_and_update();
        if stop != Stop::Never {
            self.close();
        }
        while let Ok(loaded) = self.loaded.try_recv() {
            self.arrived(loaded);
        }
        while !self.drained {
            match self.commands.try_recv() {
                Ok(queued) => self.receive(queued),
                Err(TryRecvError::Disconnected) => self.drained = true,
                Err(TryRecvError::Empty) => break,
            }
        }
        if stop == Stop::Now {
            self.waiting.fail(&Error::Stopped);
            self.joining.drain(..).for_each(|group| group.fail(&Error::Stopped));
            self.decoding.fail(Error::Stopped);
        }
    }

    /// Waits until something comes, or it is time to see who still waits.
    async fn wait(&mut self) {
        let deadline = self.waiting.deadline();
        let look = (!self.waiting.is_empty()).then(|| Instant::now() + LOOK_AGAIN);
        let deadline = deadline.into_iter().chain(look).min();
        let over = async {
            match deadline {
                Some(deadline) => sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            queued = self.commands.recv(), if !self.drained => match queued {
                Some(queued) => self.receive(queued),
                None => self.drained = true,
            },
            // the next turn answers whose time is over, and forgets those who left
            () = over => {}
            Some(loaded) = self.loaded.recv() => self.arrived(loaded),
            // an error is the drop of the last handle, after which the queue drains as well
            Ok(()) = self.stop.changed() => self.close(),
        }
    }

    /// Lets no new request into the queue.
    fn close(&mut self) {
        self.commands.close();
    }

    fn receive(&mut self, queued: Queued) {
        if let Err(error) = queued.command.check(self.backbone.shape(), &self.settings) {
            return queued.command.fail(error);
        }
        let resident = queued.command.adapter().and_then(|adapter| self.resident.get(&adapter.generation));
        self.waiting.come(queued, resident);
    }

    /// Asks for the adapters that those who wait need next.
    fn load(&mut self) {
        let Self { waiting, resident, loading, settings, .. } = self;
        let wanted = waiting.wanted(settings.adapter_bytes, |generation| resident.get(generation), loading);
        wanted.into_iter().for_each(|adapter| self.loader.want(adapter));
    }

    /// Gives an adapter, or the error of reading it, to the requests that wait for it.
    fn arrived(&mut self, loaded: Loaded) {
        let Loaded { generation, weights, seconds } = loaded;
        self.loading.remove(&generation);
        let (backbone, compute) = (&*self.backbone, &self.compute);
        let single = weights.and_then(|weights| match weights {
            Weights::Ready(single) => Ok(single),
            values => compute.run(|| Ok(values.single(backbone))),
        });
        match &single {
            Ok(_) => {
                metrics::counter!("s3delta_adapter_loads_total").increment(1);
                metrics::histogram!("s3delta_adapter_load_seconds").record(seconds);
            }
            Err(error) => {
                metrics::counter!("s3delta_adapter_load_failures_total").increment(1);
                tracing::warn!(generation, "adapter generation {generation} cannot be served: {error}");
            }
        }
        self.waiting.arrived(&generation, &single);
        if let Ok(single) = single {
            let bytes = single.bytes();
            self.resident.insert(generation, single, bytes);
        }
    }

    /// The waiting requests that join now, as one group. There is one short group at a time, as those who come meanwhile are better
    /// off together, and beside it a few long ones, which nobody else waits for.
    fn admit(&mut self) -> Vec<Admitted> {
        let long = self.joining.iter().filter(|group| group.is_long()).count();
        if long < self.joining.len() {
            return Vec::new();
        }
        let Settings { max_batch_rows, max_batch_tokens, encoded_between_steps, max_decoded_tokens, .. } =
            self.settings;
        let joins = self.joining.iter().flat_map(|group| group.holdings(encoded_between_steps));
        let under_way: Vec<_> = self.decoding.holdings().chain(joins).collect();
        let rows = max_batch_rows - under_way.iter().map(|(_, holding)| holding.rows).sum::<usize>();
        let idle = self.decoding.is_empty() && self.joining.is_empty();
        let joining: usize = self.joining.iter().map(Joining::source_tokens).sum();
        let room = Room {
            requests: max_batch_rows,
            space: Space { rows, held: self.decoding.source_tokens() + joining, most: max_decoded_tokens },
            under_way,
            share: self.settings.share(),
            encoded: if idle { max_batch_tokens } else { max_batch_tokens.min(encoded_between_steps) },
            short: encoded_between_steps,
            long: LONG_GROUPS.saturating_sub(long),
        };
        let admitted = self.waiting.admit(room, |keys| self.sources.knows(keys));
        self.places.shared_by(self.waiting.sharers());
        admitted
    }
}

#[cfg(test)]
impl EngineThread {
    /// Waits for the loader, and for nothing else.
    pub(super) fn load_all(&mut self) {
        while !self.loading.is_empty() {
            let loaded = self.loaded.blocking_recv().expect("the loader outlives the engine");
            self.arrived(loaded);
        }
    }

    /// Takes turns until all that has come is answered.
    pub(super) fn serve_all(&mut self) {
        while self.turn() || !self.waiting.is_empty() {
            self.load_all();
        }
    }

    /// Puts an adapter into memory that no file could hold.
    pub(super) fn plant(&mut self, generation: &str, single: Arc<crate::delta::Single>) {
        self.resident.insert(generation.into(), single, 0);
    }

    /// Rows being decoded.
    pub(super) fn running(&self) -> usize {
        self.decoding.holdings().map(|(_, holding)| holding.rows).sum()
    }
}
