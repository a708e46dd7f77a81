//! Adapters in memory, by the digest of their generation: read on a thread of their own, forgotten least recently used
//! first.

use super::compute::panicked;
use super::{Adapter, Error, Result};
use crate::delta::{DeltaWeights, Layout, Single};
use crate::t5::Backbone;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Instant;

/// An adapter that was read, or why it was not. Host values only: the engine thread makes the tensors, as a GPU's stream
/// belongs to a thread.
pub(super) struct Loaded {
    pub(super) generation: String,
    pub(super) weights: Result<(Layout, Vec<f32>)>,
    pub(super) seconds: f64,
}

/// How the loader reads a file; tests put a gate here.
pub(super) type Read = dyn Fn(&Path) -> std::io::Result<Vec<u8>> + Send;

/// The way to the loader thread.
pub(super) struct Loader {
    wanted: mpsc::Sender<Arc<Adapter>>,
}

impl Loader {
    /// Starts the thread, which ends when the loader is dropped. What it read goes through `loaded`.
    pub(super) fn start(
        backbone: Arc<Backbone>,
        read: Box<Read>,
        loaded: tokio::sync::mpsc::UnboundedSender<Loaded>,
    ) -> std::io::Result<Self> {
        let (wanted, receiver) = mpsc::channel::<Arc<Adapter>>();
        let run = move || {
            for adapter in receiver {
                let started = Instant::now();
                let load = || load(&adapter, &backbone, &*read);
                let weights = catch_unwind(AssertUnwindSafe(load)).unwrap_or_else(|panic| {
                    Err(Error::Internal(format!("the loader of adapters panicked: {}", panicked(&*panic))))
                });
                let seconds = started.elapsed().as_secs_f64();
                let _ = loaded.send(Loaded { generation: adapter.generation.clone(), weights, seconds });
            }
        };
        std::thread::Builder::new().name("adapter-loader".into()).spawn(run)?;
        Ok(Self { wanted })
    }

    /// Asks for an adapter.
    pub(super) fn want(&self, adapter: Arc<Adapter>) {
        // the thread outlives the loader, since it catches what panics
        let _ = self.wanted.send(adapter);
    }
}

fn load(adapter: &Adapter, backbone: &Backbone, read: &Read) -> Result<(Layout, Vec<f32>)> {
    let Adapter { generation, structure, weights: path } = adapter;
    let wrong = |what: String| Error::Adapter(format!("adapter generation {generation}: {what}"));
    let bytes = read(path).map_err(|error| wrong(format!("cannot read its delta weights: {error}")))?;
    let weights = DeltaWeights::from_bytes(&bytes, &backbone.positions, structure);
    let weights = weights.map_err(|error| wrong(error.to_string()))?;
    let layout = Layout::new(&backbone.positions, &structure.modules).map_err(|error| wrong(error.to_string()))?;
    Ok((layout, weights.values))
}

/// The adapters in memory.
pub(super) struct Resident {
    entries: HashMap<String, Entry>,
    bytes: usize,
    limit: usize,
    clock: u64,
}

struct Entry {
    single: Arc<Single>,
    bytes: usize,
    used: u64,
}

impl Resident {
    /// None yet, at most `limit` bytes of those that no request uses.
    pub(super) fn new(limit: usize) -> Self {
        Self { entries: HashMap::new(), bytes: 0, limit, clock: 0 }
    }

    /// The adapter of a generation if it is in memory.
    pub(super) fn get(&mut self, generation: &str) -> Option<Arc<Single>> {
        self.clock += 1;
        let entry = self.entries.get_mut(generation)?;
        entry.used = self.clock;
        Some(Arc::clone(&entry.single))
    }

    /// Keeps an adapter.
    pub(super) fn insert(&mut self, generation: String, single: Arc<Single>, bytes: usize) {
        self.clock += 1;
        self.bytes += bytes;
        if let Some(old) = self.entries.insert(generation, Entry { single, bytes, used: self.clock }) {
            self.bytes -= old.bytes;
        }
        self.trim();
    }

    /// Forgets what was used longest ago until the rest fits; what a request uses stays.
    pub(super) fn trim(&mut self) {
        while self.bytes > self.limit {
            let idle = self.entries.iter().filter(|(_, entry)| Arc::strong_count(&entry.single) == 1);
            let Some(oldest) = idle.min_by_key(|(_, entry)| entry.used).map(|(generation, _)| generation.clone())
            else {
                break;
            };
            if let Some(entry) = self.entries.remove(&oldest) {
                self.bytes -= entry.bytes;
            }
        }
        metrics::gauge!("s3delta_adapter_resident").set(self.entries.len() as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structure::{DeltaModule, Kind, Positions, Shape};
    use burn::tensor::Device;

    fn single() -> Arc<Single> {
        let shape = Shape {
            family: "t5".into(),
            encoder_layers: 1,
            decoder_layers: 1,
            d_model: 8,
            d_kv: 4,
            num_heads: 2,
            d_ff: 16,
            gated: false,
            vocab_size: 20,
        };
        let positions = Positions::new(&shape);
        let modules = [DeltaModule::new("encoder.final_layer_norm", Kind::Bitfit)];
        let layout = Layout::new(&positions, &modules).unwrap();
        Arc::new(Single::new(&layout, &[0.0; 8], positions.len(), &Device::flex()))
    }

    /// Each step is a generation to use (`a`), or to insert with its bytes (`a10`); a kept one is pinned (`+a10`).
    fn check(limit: usize, steps: &str, wanted: &str) {
        let mut resident = Resident::new(limit);
        let mut pins = Vec::new();
        for step in steps.split(' ') {
            let (pinned, step) = step.strip_prefix('+').map_or((false, step), |rest| (true, rest));
            let (name, bytes) = step.split_at(1);
            if bytes.is_empty() {
                assert!(resident.get(name).is_some(), "{name} is resident");
                continue;
            }
            let single = single();
            pins.extend(pinned.then(|| Arc::clone(&single)));
            resident.insert(name.into(), single, bytes.parse().unwrap());
        }
        let mut names: Vec<_> = resident.entries.keys().map(String::as_str).collect();
        names.sort();
        assert_eq!(names.concat(), wanted, "{steps}");
        assert_eq!(resident.bytes, resident.entries.values().map(|entry| entry.bytes).sum::<usize>());
        drop(pins);
        resident.trim();
        assert!(resident.bytes <= limit, "unpinned adapters leave: {steps}");
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
