//! The engine thread: takes requests from the queue, first come first served, and computes them in mixed batches.

use super::adapters::{Loaded, Loader, Read, Resident, Weights};
use super::compute::Compute;
use super::decoding::{Decoding, Running, State, count};
use super::scoring::{self, score};
use super::view::View;
use super::{BackboneInfo, Command, Engine, Error, Result, Settings, Tokenize};
use crate::delta::Single;
use crate::t5::{Backbone, Target};
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, watch};

/// Starts the engine over a backbone. Its thread ends by [`Engine::shutdown`], or after the last handle is dropped.
///
/// # Errors
/// [`Error::Internal`] if the system gives no thread.
pub fn start(backbone: Arc<Backbone>, tokenizer: Arc<dyn Tokenize>, settings: Settings) -> Result<Engine> {
    let (engine, thread) = EngineThread::new(backbone, tokenizer, settings, Box::new(|path| std::fs::read(path)))?;
    let waits = tokio::runtime::Builder::new_current_thread().build().map_err(no_thread)?;
    let run = move || thread.run(&waits);
    std::thread::Builder::new().name("engine".into()).spawn(run).map_err(no_thread)?;
    Ok(engine)
}

fn no_thread(error: std::io::Error) -> Error {
    Error::Internal(format!("the engine cannot start: {error}"))
}

/// A request that was taken from the queue and is in no batch yet.
struct Waiting {
    command: Command,
    adapter: Slot,
}

/// Where a waiting request's adapter is.
enum Slot {
    /// In memory; none for the bare backbone.
    Ready(Option<Arc<Single>>),
    /// Asked of the loader.
    Loading,
}

/// What the engine thread owns.
pub(super) struct EngineThread {
    backbone: Arc<Backbone>,
    settings: Settings,
    compute: Compute,
    commands: mpsc::Receiver<Command>,
    /// Whether nothing more can come from the queue.
    drained: bool,
    stop: watch::Receiver<bool>,
    stopping: bool,
    /// How many wait here, for those who ask whether there is room.
    ahead: Arc<AtomicUsize>,
    loader: Loader,
    loaded: mpsc::UnboundedReceiver<Loaded>,
    loading: HashSet<String>,
    resident: Resident,
    waiting: VecDeque<Waiting>,
    decoding: Decoding,
}

impl EngineThread {
    /// The engine and its handle; `read` reads delta weights on the loader's thread.
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
            decoding: backbone.decoding().cloned().map_err(|error| error.to_string()),
        };
        let (engine, commands) = Engine::new(info, tokenizer, settings.queue);
        let (sender, loaded) = mpsc::unbounded_channel();
        let thread = Self {
            compute: Compute::new(backbone.model.device()),
            commands,
            drained: false,
            stop: engine.stop_signal(),
            stopping: false,
            ahead: engine.ahead(),
            loader: Loader::start(Arc::clone(&backbone), read, sender).map_err(no_thread)?,
            loaded,
            loading: HashSet::new(),
            resident: Resident::new(settings.adapter_bytes),
            waiting: VecDeque::new(),
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
        self.drained && self.waiting.is_empty() && self.decoding.is_empty()
    }

    /// Takes what has come, lets rows leave and join, scores, and makes one token of every row. False if there was
    /// nothing to compute.
    pub(super) fn turn(&mut self) -> bool {
        self.take();
        self.waiting.retain(|waiting| !waiting.command.is_abandoned());
        self.decoding.sweep(self.compute);
        let admitted = self.admit();
        self.ahead.store(self.waiting.len(), Ordering::Relaxed);
        let idle = admitted.is_empty() && self.decoding.is_empty();
        self.start_rows(admitted);
        self.decoding.step(&self.backbone, self.compute);
        self.decoding.sweep(self.compute);
        self.resident.trim();
        metrics::gauge!("s3delta_queue_size").set((self.commands.len() + self.waiting.len()) as f64);
        !idle
    }

    /// Whether more requests may be looked at in advance.
    fn has_room(&self) -> bool {
        !self.drained && self.waiting.len() < self.settings.max_batch_rows
    }

    /// Takes what the queue and the loader hold, without waiting.
    fn take(&mut self) {
        if !self.stopping && *self.stop.borrow_and_update() {
            self.close();
        }
        while let Ok(loaded) = self.loaded.try_recv() {
            self.arrived(loaded);
        }
        while self.has_room() {
            match self.commands.try_recv() {
                Ok(command) => self.receive(command),
                Err(TryRecvError::Disconnected) => self.drained = true,
                Err(TryRecvError::Empty) => break,
            }
        }
    }

    /// Waits until something comes.
    async fn wait(&mut self) {
        let has_room = self.has_room();
        tokio::select! {
            command = self.commands.recv(), if has_room => match command {
                Some(command) => self.receive(command),
                None => self.drained = true,
            },
            Some(loaded) = self.loaded.recv() => self.arrived(loaded),
            // an error is the drop of the last handle, after which the queue drains as well
            _ = self.stop.changed(), if !self.stopping => self.close(),
        }
    }

    /// Lets no new request into the queue.
    fn close(&mut self) {
        self.stopping = true;
        self.commands.close();
    }

    fn receive(&mut self, command: Command) {
        if let Err(error) = command.check(self.backbone.shape(), &self.settings) {
            return command.fail(error);
        }
        let adapter = match command.adapter() {
            None => Slot::Ready(None),
            Some(adapter) => match self.resident.get(&adapter.generation) {
                Some(single) => Slot::Ready(Some(single)),
                None => {
                    if self.loading.insert(adapter.generation.clone()) {
                        self.loader.want(Arc::clone(adapter));
                    }
                    Slot::Loading
                }
            },
        };
        self.waiting.push_back(Waiting { command, adapter });
    }

    /// Gives an adapter, or the error of reading it, to the requests that wait for it.
    fn arrived(&mut self, loaded: Loaded) {
        let Loaded { generation, weights, seconds } = loaded;
        self.loading.remove(&generation);
        let (backbone, compute) = (&*self.backbone, self.compute);
        let single = weights.and_then(|weights| match weights {
            Weights::Ready(single) => Ok(single),
            values => compute.run(|| Ok(values.single(backbone))),
        });
        match &single {
            Ok(_) => {
                metrics::counter!("s3delta_adapter_loads_total").increment(1);
                metrics::histogram!("s3delta_adapter_load_seconds").record(seconds);
            }
            Err(error) => tracing::warn!(generation, "adapter generation {generation} cannot be served: {error}"),
        }
        let waits = |waiting: &Waiting| {
            matches!(waiting.adapter, Slot::Loading)
                && waiting.command.adapter().is_some_and(|adapter| adapter.generation == generation)
        };
        for mut waiting in std::mem::take(&mut self.waiting) {
            match &single {
                Ok(single) if waits(&waiting) => waiting.adapter = Slot::Ready(Some(Arc::clone(single))),
                Err(error) if waits(&waiting) => {
                    waiting.command.fail(error.clone());
                    continue;
                }
                _ => {}
            }
            self.waiting.push_back(waiting);
        }
        if let Ok(single) = single {
            let bytes = single.bytes();
            self.resident.insert(generation, single, bytes);
        }
    }

    /// The waiting requests that the next encoder pass takes, oldest first. One whose adapter is still being read is
    /// passed over and keeps its place; so is a generation while too few rows are free, behind which no other one goes
    /// first. Where the pass has no room for the next one, none behind it goes first.
    fn admit(&mut self) -> Vec<(Command, Option<Arc<Single>>)> {
        let Settings { max_batch_rows, max_batch_tokens, .. } = self.settings;
        let mut free = max_batch_rows - self.decoding.rows();
        let (mut width, mut positions, mut full) = (0, 0, false);
        let (mut admitted, mut left) = (Vec::new(), VecDeque::new());
        for waiting in std::mem::take(&mut self.waiting) {
            let Waiting { command, adapter } = waiting;
            let needed = command.rows();
            match adapter {
                Slot::Ready(adapter) if !full && needed <= free => {
                    let rows = admitted.len() + 1;
                    let wider = width.max(command.ids().len());
                    // the decoder's part is limited as well, so that rows under way are not held up for long
                    let scored = positions + command.positions();
                    full = rows > 1
                        && (rows > max_batch_rows || rows * wider > max_batch_tokens || scored > scoring::POSITIONS);
                    if full {
                        left.push_back(Waiting { command, adapter: Slot::Ready(adapter) });
                        continue;
                    }
                    (width, positions, free) = (wider, scored, free - needed);
                    admitted.push((command, adapter));
                }
                Slot::Ready(adapter) => {
                    // small requests must not keep a large one waiting for ever
                    free = if needed > 0 { 0 } else { free };
                    left.push_back(Waiting { command, adapter: Slot::Ready(adapter) });
                }
                adapter => left.push_back(Waiting { command, adapter }),
            }
        }
        self.waiting = left;
        admitted
    }

    /// Encodes the admitted requests in one pass, answers the scorings and lets the generations join.
    fn start_rows(&mut self, admitted: Vec<(Command, Option<Arc<Single>>)>) {
        if admitted.is_empty() {
            return;
        }
        let backbone = &*self.backbone;
        let (mut rows, mut generating, mut scorings) = (Vec::new(), Vec::new(), Vec::new());
        let mut adapters = Vec::new();
        let mut sources = Vec::new();
        for (at, (mut command, adapter)) in admitted.into_iter().enumerate() {
            sources.push(command.take_ids());
            adapters.push(adapter.clone());
            match command {
                Command::Generate(generate) => {
                    generating.push(at);
                    rows.push(Running::new(generate, adapter, sources[at].clone()));
                }
                Command::Score(score) => scorings.push((at, score)),
            }
        }
        let capacity = rows.iter().map(Running::first_capacity).max().unwrap_or(0);
        let pairs =
            scorings.iter().flat_map(|(row, score)| score.request.targets.iter().map(|ids| Target { row: *row, ids }));
        let targets: Vec<_> = pairs.collect();
        count(&adapters);
        let work = || {
            let view = View::new(&adapters, backbone);
            let batch = backbone.model.batch(&sources).map_err(|error| Error::Internal(error.to_string()))?;
            let encoded = backbone.model.encode(&batch, view.deltas());
            let scores = score(backbone, &encoded, &adapters, &targets)?;
            if generating.is_empty() {
                return Ok((scores, None));
            }
            let (encoded, view) = if targets.is_empty() {
                (encoded, view)
            } else {
                let of_rows: Vec<_> = generating.iter().map(|at| adapters[*at].clone()).collect();
                (encoded.select(&generating), View::new(&of_rows, backbone))
            };
            let cache = backbone.model.start(&encoded, capacity, view.deltas());
            Ok((scores, Some(State { cache, view: Some(view) })))
        };
        match self.compute.run(work) {
            Ok((scores, state)) => {
                let mut scores = scores.into_iter();
                for (_, scoring) in scorings {
                    let count = scoring.request.targets.len();
                    scoring.reply(Ok(scores.by_ref().take(count).collect()));
                }
                if let Some(state) = state {
                    self.decoding.join(rows, state, self.compute);
                }
            }
            Err(error) => {
                rows.into_iter().for_each(|row| row.fail(error.clone()));
                scorings.into_iter().for_each(|(_, scoring)| scoring.reply(Err(error.clone())));
            }
        }
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
    pub(super) fn plant(&mut self, generation: &str, single: Arc<Single>) {
        self.resident.insert(generation.into(), single, 0);
    }

    /// Rows being decoded.
    pub(super) fn running(&self) -> usize {
        self.decoding.rows()
    }
}
