//! Adapters in memory, by the digest of their generation: read on threads of their own, forgotten least recently used
//! first.

use super::compute::panicked;
use super::recent::Recent;
use super::{Adapter, Error, Result};
use crate::delta::{DeltaWeights, Layout, Single};
use crate::t5::Backbone;
use burn::tensor::Device;
use std::fs::File;
use std::io::Read as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Instant;

/// An adapter that was read, or why it was not.
pub(super) struct Loaded {
    pub(super) generation: String,
    pub(super) weights: Result<Weights>,
    /// From asking for it until now.
    pub(super) seconds: f64,
}

/// An adapter's weights in memory.
pub(super) enum Weights {
    /// Ready to be used, as the loader's threads can make it on the CPU.
    Ready(Arc<Single>),
    /// Values, of which the engine's thread makes tensors, as a GPU's stream belongs to a thread.
    Values(Layout, Vec<f32>),
}

impl Weights {
    /// The adapter, made on this thread if need be.
    pub(super) fn single(self, backbone: &Backbone) -> Arc<Single> {
        match self {
            Self::Ready(single) => single,
            Self::Values(layout, values) => {
                Arc::new(Single::new(&layout, values, backbone.positions.len(), backbone.model.device()))
            }
        }
    }
}

/// How the loader reads a file into an empty buffer; tests put a gate here.
pub(super) type Read = dyn Fn(&Path, &mut Vec<u8>) -> std::io::Result<()> + Send + Sync;

/// Reads a file.
pub(super) fn read_file(path: &Path, into: &mut Vec<u8>) -> std::io::Result<()> {
    File::open(path)?.read_to_end(into).map(|_| ())
}

/// Adapters that are read at the same time, so that one which the disk holds up does not hold up the next.
const READERS: usize = 4;

/// Bytes of a file's buffer that a reader keeps for the next one.
const KEPT: usize = 8 << 20;

/// The way to the loader's threads.
pub(super) struct Loader {
    wanted: mpsc::Sender<(Arc<Adapter>, Instant)>,
}

impl Loader {
    /// Starts the threads, which end when the loader is dropped. What they read goes through `loaded`.
    pub(super) fn start(
        backbone: Arc<Backbone>,
        read: Box<Read>,
        loaded: tokio::sync::mpsc::UnboundedSender<Loaded>,
    ) -> std::io::Result<Self> {
        let (wanted, receiver) = mpsc::channel::<(Arc<Adapter>, Instant)>();
        let (read, receiver) = (Arc::new(read), Arc::new(Mutex::new(receiver)));
        for reader in 0..READERS {
            let (backbone, read) = (Arc::clone(&backbone), Arc::clone(&read));
            let (receiver, loaded) = (Arc::clone(&receiver), loaded.clone());
            let run = move || {
                // whoever has the lock waits for the next adapter, the others for the lock
                let next = || receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
                // one buffer for all files of this thread
                let mut file = Vec::new();
                while let Ok((adapter, wanted)) = next() {
                    let load = || load(&adapter, &backbone, &**read, &mut file);
                    let weights = catch_unwind(AssertUnwindSafe(load)).unwrap_or_else(|panic| {
                        Err(Error::Internal(format!("the loader of adapters panicked: {}", panicked(&*panic))))
                    });
                    file.clear();
                    file.shrink_to(KEPT);
                    let seconds = wanted.elapsed().as_secs_f64();
                    let _ = loaded.send(Loaded { generation: adapter.generation.clone(), weights, seconds });
                }
            };
            std::thread::Builder::new().name(format!("adapter-{reader}")).spawn(run)?;
        }
        Ok(Self { wanted })
    }

    /// Asks for an adapter.
    pub(super) fn want(&self, adapter: Arc<Adapter>) {
        // the threads outlive the loader, since they catch what panics
        let _ = self.wanted.send((adapter, Instant::now()));
    }
}

fn load(adapter: &Adapter, backbone: &Backbone, read: &Read, file: &mut Vec<u8>) -> Result<Weights> {
    let Adapter { generation, structure, weights: path, checksum } = adapter;
    let wrong = |what: String| Error::Adapter(format!("adapter generation {generation}: {what}"));
    let damaged = |what: String| {
        let fix = "delete the generation and upload it again";
        Error::Damaged(format!("adapter generation {generation}: its file of delta weights {what}: {fix}"))
    };
    file.clear();
    read(path, file).map_err(|error| damaged(format!("cannot be read ({error})")))?;
    if !blake3::hash(file).to_hex().starts_with(checksum) {
        return Err(damaged("is not what was stored".into()));
    }
    let layout = Layout::new(&backbone.positions, &structure.modules).map_err(|error| wrong(error.to_string()))?;
    let values = DeltaWeights::values_from_bytes(file, &layout).map_err(|error| wrong(error.to_string()))?;
    let weights = Weights::Values(layout, values);
    Ok(if *backbone.model.device() == Device::flex() { Weights::Ready(weights.single(backbone)) } else { weights })
}

/// The adapters in memory.
pub(super) struct Resident(Recent<String, Arc<Single>>);

impl Resident {
    /// None yet, at most `limit` bytes of those that no request uses.
    pub(super) fn new(limit: usize) -> Self {
        Self(Recent::new(limit))
    }

    /// The adapter of a generation if it is in memory.
    pub(super) fn get(&mut self, generation: &String) -> Option<Arc<Single>> {
        self.0.get(generation).map(Arc::clone)
    }

    /// Keeps an adapter.
    pub(super) fn insert(&mut self, generation: String, single: Arc<Single>, bytes: usize) {
        self.0.insert(generation, single, bytes);
        self.trim();
    }

    /// Forgets what was used longest ago until the rest fits; what a request uses stays.
    pub(super) fn trim(&mut self) {
        // those in use are few, as the running batch is
        let forgotten = self.0.trim(|single| Arc::strong_count(single) == 1);
        metrics::counter!("s3delta_adapter_evictions_total").increment(forgotten as u64);
        metrics::gauge!("s3delta_adapter_resident").set(self.0.len() as f64);
        metrics::gauge!("s3delta_adapter_resident_bytes").set(self.0.bytes() as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structure::{DeltaModule, Kind, Positions, Shape};

    fn single() -> Arc<Single> {
        let shape = Shape::tiny();
        let positions = Positions::new(&shape);
        let modules = [DeltaModule::new("encoder.final_layer_norm", Kind::Bitfit)];
        let layout = Layout::new(&positions, &modules).unwrap();
        Arc::new(Single::new(&layout, vec![0.0; 8], positions.len(), &Device::flex()))
    }

    /// Each step is a generation to use (`a`), or to insert with its bytes (`a10`); a kept one is pinned (`+a10`).
    fn check(limit: usize, steps: &str, wanted: &str) {
        let mut resident = Resident::new(limit);
        let mut pins = Vec::new();
        for step in steps.split(' ') {
            let (pinned, step) = step.strip_prefix('+').map_or((false, step), |rest| (true, rest));
            let (name, bytes) = step.split_at(1);
            if bytes.is_empty() {
                assert!(resident.get(&name.into()).is_some(), "{name} is resident");
                continue;
            }
            let single = single();
            pins.extend(pinned.then(|| Arc::clone(&single)));
            resident.insert(name.into(), single, bytes.parse().unwrap());
        }
        let mut names: Vec<_> = resident.0.held().map(|(name, ..)| name.as_str()).collect();
        names.sort();
        assert_eq!(names.concat(), wanted, "{steps}");
        assert_eq!(resident.0.bytes(), resident.0.held().map(|(_, _, bytes)| bytes).sum::<usize>());
        drop(pins);
        resident.trim();
        assert!(resident.0.bytes() <= limit, "unpinned adapters leave: {steps}");
    }

    #[test]
    fn the_least_recently_used_leaves_first_and_pins_stay() {
        check(30, "a10 b10 c10", "abc");
        check(30, "a10 b10 c10 d10", "bcd");
        check(30, "a10 b10 c10 a d10", "acd");
        check(30, "+a10 b10 c10 d20", "ad");
        check(30, "+a20 +b20 c10", "ab");
        check(30, "a10 a20 b10", "ab");
        check(5, "a10", "");
    }
}
