//! The places of the queue, of which each adapter that waits has an equal share.
//!
//! Adapters share the engine alike (`order`), so the last of n requests of one adapter waits for about n requests of every
//! adapter that it shares the engine with. If one adapter could hold all places, its requests would wait many times as long
//! as the whole queue takes, while others are turned away. So none holds more than the queue's length over the adapters that
//! share: what it asks beyond is refused at once, others still find room, and requests that are alike wait hardly longer than
//! a full queue takes, whoever asks for them.

use super::{Error, Result};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// Counts the requests that wait.
#[derive(Debug)]
pub(super) struct Places {
    capacity: usize,
    held: Mutex<Held>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Held {
    all: usize,
    /// [`super::order::Turns::sharers`], which counts also those that wait too short a time to be seen here.
    sharers: usize,
    /// Those of each generation, or of the bare backbone, that has any.
    of: HashMap<Option<String>, usize>,
}

impl Held {
    fn set(&mut self, all: usize) {
        self.all = all;
        metrics::gauge!("s3delta_queue_size").set(all as f64);
    }
}

/// A place in the queue, free for the next request when it is dropped.
#[derive(Debug)]
pub struct Place {
    flow: Option<String>,
    places: Arc<Places>,
}

impl Places {
    /// So many free places, at least one.
    pub(super) fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self { capacity: capacity.max(1), held: Mutex::default(), freed: Notify::new() })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Places that are taken.
    pub(super) fn taken(&self) -> usize {
        self.held().all
    }

    /// So many adapters shared the engine of late.
    pub(super) fn shared_by(&self, sharers: usize) {
        self.held().sharers = sharers;
    }

    /// Resolves once a place was freed after this call.
    pub(super) fn freed(&self) -> Notified<'_> {
        self.freed.notified()
    }

    /// [`Error::QueueFull`] if no place is free.
    pub(super) fn check(&self) -> Result<()> {
        if self.taken() < self.capacity { Ok(()) } else { Err(Error::QueueFull { capacity: self.capacity }) }
    }

    /// Takes a place for a request of this flow.
    ///
    /// # Errors
    /// [`Error::QueueFull`], [`Error::ShareFull`].
    pub(super) fn take(self: &Arc<Self>, flow: Option<&str>) -> Result<Place> {
        self.take_of(self.capacity, flow)
    }

    /// The same of one half of the places, so that the other is left to those who do not wait.
    pub(super) fn take_of_half(self: &Arc<Self>, flow: Option<&str>) -> Result<Place> {
        self.take_of(self.capacity.div_ceil(2), flow)
    }

    fn take_of(self: &Arc<Self>, most: usize, flow: Option<&str>) -> Result<Place> {
        let (flow, mut held) = (flow.map(String::from), self.held());
        if held.all >= most {
            return Err(Error::QueueFull { capacity: self.capacity });
        }
        let own = held.of.get(&flow).copied().unwrap_or_default();
        let flows = held.sharers.max(held.of.len() + usize::from(own == 0));
        let share = (self.capacity / flows).max(1);
        if own >= share {
            return Err(Error::ShareFull { share, flows, capacity: self.capacity });
        }
        let all = held.all + 1;
        held.set(all);
        held.of.insert(flow.clone(), own + 1);
        Ok(Place { flow, places: Arc::clone(self) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.places.held();
        let all = held.all - 1;
        held.set(all);
        if let Some(own) = held.of.get_mut(&self.flow) {
            *own -= 1;
            if *own == 0 {
                held.of.remove(&self.flow);
            }
        }
        drop(held);
        self.places.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::super::order::Turns;
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Binomial, Distribution, Zipf};

    #[test]
    fn the_places_are_shared_by_those_who_wait() {
        let places = Places::new(8);
        let mut first: Vec<_> = (0..7).map(|_| places.take(Some("a")).unwrap()).collect();
        let one = places.take(None).unwrap();
        assert_eq!(places.take(Some("b")).unwrap_err(), Error::QueueFull { capacity: 8 });
        assert_eq!(places.check(), Err(Error::QueueFull { capacity: 8 }));
        first.truncate(4);
        assert_eq!((places.taken(), places.check()), (5, Ok(())));
        assert_eq!(places.take(Some("a")).unwrap_err(), Error::ShareFull { share: 4, flows: 2, capacity: 8 });
        let second = places.take(Some("b")).unwrap();
        first.truncate(2);
        assert!(places.take(Some("a")).is_err(), "a third of 8");
        drop(second);
        first.push(places.take(Some("a")).unwrap());
        places.shared_by(3);
        assert!(places.take(Some("a")).is_err(), "others come and go");
        places.shared_by(100);
        assert!(places.take(Some("b")).is_ok(), "everyone has a place if one is free");
        drop((first, one));
        assert_eq!((places.taken(), places.held().of.len()), (0, 0), "whoever waits no longer is forgotten");
    }

    /// What became of the requests of a simulated queue. Waits are in services.
    struct Found {
        p99: usize,
        /// Of the adapter that asks most, and of those that ask least.
        heavy: usize,
        light: usize,
        refused_light: usize,
    }

    const CAPACITY: usize = 256;

    /// Requests of 100 adapters by Zipf's law come `load` times as fast as they are served, which is `batch` at once.
    fn simulate(load: f64, batch: usize) -> Found {
        let (places, mut turns) = (Places::new(CAPACITY), Turns::default());
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let arrivals = Binomial::new(4 * batch as u64, load / 4.0).unwrap();
        let zipf = Zipf::new(100.0, 1.0).unwrap();
        let (mut waiting, mut waits, mut refused_light) = (Vec::new(), Vec::new(), 0);
        for time in (0..40_000).step_by(batch) {
            for _ in 0..arrivals.sample(&mut rng) {
                let adapter = zipf.sample(&mut rng) as usize;
                let name = adapter.to_string();
                match places.take(Some(&name)) {
                    Ok(place) => waiting.push((turns.come(Some(&name), 80), time, adapter, place)),
                    Err(_) => refused_light += usize::from(adapter > 50),
                }
            }
            waiting.sort_by_key(|(turn, ..)| *turn);
            let flows = places.held().of.len();
            for (turn, came, adapter, _) in waiting.drain(..batch.min(waiting.len())) {
                turns.taken(turn, 80, flows);
                waits.push((adapter, time - came));
            }
            if waiting.is_empty() {
                turns.reset();
            }
            places.shared_by(turns.sharers());
        }
        let quantile = |of: &dyn Fn(usize) -> bool, part: f64| {
            let mut waits: Vec<_> = waits.iter().filter(|(adapter, _)| of(*adapter)).map(|(_, wait)| *wait).collect();
            waits.sort();
            waits[(waits.len() as f64 * part) as usize]
        };
        let (heavy, light) = (quantile(&|adapter| adapter == 1, 0.5), quantile(&|adapter| adapter > 50, 0.5));
        Found { p99: quantile(&|_| true, 0.99), heavy, light, refused_light }
    }

    #[test]
    fn under_overload_waits_are_bounded_and_those_who_ask_little_wait_little() {
        for (load, batch) in [(2.0, 1), (2.0, 16), (1.2, 1), (1.2, 16)] {
            let Found { p99, heavy, light, refused_light } = simulate(load, batch);
            let told = format!("load {load} batch {batch}: p99 {p99}, heavy {heavy}, light {light}");
            assert!(p99 * 4 <= CAPACITY * 5, "{told}");
            assert!(light * 4 <= heavy, "{told}");
            assert!(refused_light < 10, "{told}: {refused_light} of some 10,000 were refused");
        }
    }
}
