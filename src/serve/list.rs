//! The requests of one list, such as all prompts of one call: the list is refused as a whole or not at all.
//!
//! Only its first request is refused where there is no room. The others wait for a place, each behind the one before, so that a
//! list may be longer than the queue, or than its adapter's share of it. They take places as long as half of the queue is free, so
//! that however many lists wait, others are not turned away; a list of which nothing is under way takes any.

use super::places::{Place, Places};
use super::{Adapter, Engine, Error, Result};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout_at;

/// Requests of a list that are under way at a time, so that a long one leaves room for others.
const UNDER_WAY: usize = 64;

/// A list under way.
#[derive(Debug)]
pub struct List {
    under_way: Arc<Semaphore>,
    /// Whether its first request has a place. Held by the one that waits for the next.
    begun: Mutex<bool>,
    places: Arc<Places>,
}

/// What a request of a list holds until it is answered.
#[derive(Debug)]
pub struct Entry {
    _under_way: OwnedSemaphorePermit,
}

/// Counts a request that waits for a place.
struct Waits;

impl Waits {
    fn begin() -> Self {
        metrics::gauge!("s3delta_list_waiting").increment(1.0);
        Self
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        metrics::gauge!("s3delta_list_waiting").decrement(1.0);
    }
}

impl List {
    /// A list of requests to this engine.
    pub fn new(engine: &Engine) -> Self {
        let places = engine.places();
        Self { under_way: Arc::new(Semaphore::new(UNDER_WAY)), begun: Mutex::new(false), places }
    }

    /// A place in the queue for a request to this adapter, in the order of the calls, and the leave to be under way.
    ///
    /// # Errors
    /// [`Error::QueueFull`], [`Error::ShareFull`] for the first; for the others [`Error::TimedOut`] at the deadline.
    pub async fn enter(&self, adapter: Option<&Adapter>, deadline: Option<Instant>) -> Result<(Place, Entry)> {
        let enter = async {
            let _waits = Waits::begin();
            let mut begun = self.begun.lock().await; // before the leave, so that whoever waits behind has none
            let under_way = Arc::clone(&self.under_way);
            let permit = under_way.acquire_owned().await.map_err(|_| Error::Stopped)?; // nobody closes it
            let place = loop {
                let freed = self.places.freed(); // from now on, so that none is missed
                let flow = Adapter::flow(adapter);
                let is_alone = self.under_way.available_permits() + 1 == UNDER_WAY;
                match if is_alone { self.places.take(flow) } else { self.places.take_of_half(flow) } {
                    Err(Error::QueueFull { .. } | Error::ShareFull { .. }) if *begun => freed.await,
                    taken => break taken?,
                }
            };
            *begun = true;
            Ok((place, Entry { _under_way: permit }))
        };
        match deadline {
            Some(deadline) => timeout_at(deadline.into(), enter).await.unwrap_or(Err(Error::TimedOut)),
            None => enter.await,
        }
    }
}
