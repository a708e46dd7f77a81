//! How requests are made: as soon as the one before is answered (closed loop, which finds the capacity), or when they are
//! due, whatever the server does (open loop).

use super::client::Client;
use super::tally::{Finished, Summary, Tally};
use super::workload::{Planned, Workload};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// How long a phase is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Phase {
    /// What is not counted at first.
    pub(super) warmup: Duration,
    /// What is counted.
    pub(super) duration: Duration,
}

impl Phase {
    fn tally(self, start: Instant) -> Arc<Mutex<Tally>> {
        let from = start + self.warmup;
        Arc::new(Mutex::new(Tally::new(from, from + self.duration)))
    }
}

/// So many clients, each of which asks again as soon as it is answered. They begin one after the other: requests of one length
/// that begin together also end together, and would share every pass as those of an open loop never do.
pub(super) async fn closed_loop(client: &Arc<Client>, workload: Workload, clients: usize, phase: Phase) -> Summary {
    let start = Instant::now();
    let end = start + phase.warmup + phase.duration;
    let tally = phase.tally(start);
    let workload = Arc::new(Mutex::new(workload));
    let mut all = JoinSet::new();
    for number in 0..clients {
        let begin = start + phase.warmup.mul_f64(0.5 * number as f64 / clients as f64);
        let (client, workload, tally) = (client.clone(), workload.clone(), tally.clone());
        all.spawn(async move {
            tokio::time::sleep_until(begin.into()).await;
            while Instant::now() < end {
                let planned = workload.lock().unwrap_or_else(PoisonError::into_inner).next();
                ask(&client, planned, Instant::now(), &tally).await;
            }
        });
    }
    all.join_all().await;
    summary(&tally)
}

/// Poisson arrivals at `rate` a second, of which at most `most` are under way; those that wait for that keep their time.
/// Returns when the last is answered.
pub(super) async fn open_loop(
    client: &Arc<Client>,
    mut workload: Workload,
    rate: f64,
    most: usize,
    phase: Phase,
) -> Summary {
    let start = Instant::now();
    let end = start + phase.warmup + phase.duration;
    let tally = phase.tally(start);
    let places = Arc::new(Semaphore::new(most));
    let mut under_way = JoinSet::new();
    let mut due = start;
    loop {
        due += workload.gap(rate);
        if due >= end {
            break;
        }
        tokio::time::sleep_until(due.into()).await;
        // nobody closes it
        let Ok(place) = places.clone().acquire_owned().await else { break };
        let (client, planned, tally) = (client.clone(), workload.next(), tally.clone());
        under_way.spawn(async move {
            ask(&client, planned, due, &tally).await;
            drop(place);
        });
        while under_way.try_join_next().is_some() {}
    }
    under_way.join_all().await;
    summary(&tally)
}

async fn ask(client: &Client, planned: Planned, due: Instant, tally: &Mutex<Tally>) {
    let sent = Instant::now();
    let ended = client.ask(&planned).await;
    let finished = Finished { due, sent, at: Instant::now(), ended };
    tally.lock().unwrap_or_else(PoisonError::into_inner).record(finished);
}

fn summary(tally: &Mutex<Tally>) -> Summary {
    tally.lock().unwrap_or_else(PoisonError::into_inner).summary()
}
