//! How fast requests leave the queue, from which a client that is turned away learns when to come again.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How far back the pace looks.
const WINDOW: Duration = Duration::from_secs(10);
/// How often it takes a mark.
const STEP: Duration = Duration::from_secs(1);
/// A shorter look back says little.
const SHORTEST: Duration = Duration::from_millis(200);
/// What is told at least and at most.
const LEAST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(60);

/// Counts what entered the queue; what left it is that less what still waits.
#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    entered: u64,
    /// When how many had left, oldest first.
    marks: VecDeque<(Instant, u64)>,
}

impl Pace {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one that entered, after which so many wait.
    pub(super) fn enter(&self, now: Instant, waiting: usize) {
        let mut counts = self.counts();
        counts.entered += 1;
        counts.mark(now, waiting);
    }

    /// When the place behind those who wait becomes free, in whole seconds from 1 to 60.
    pub(super) fn wait(&self, now: Instant, waiting: usize) -> Duration {
        let mut counts = self.counts();
        counts.mark(now, waiting);
        let Some((since, before)) = counts.marks.front().copied() else { return LEAST };
        let time = now.duration_since(since);
        if time < SHORTEST {
            return LEAST;
        }
        let left = counts.left(waiting) - before;
        if left == 0 {
            return MOST;
        }
        let seconds = (time.as_secs_f64() * waiting as f64 / left as f64).ceil();
        Duration::from_secs_f64(seconds.min(MOST.as_secs_f64())).max(LEAST)
    }
}

impl Counts {
    /// How many have left; never less than before, as those who count look at the queue one after the other.
    fn left(&self, waiting: usize) -> u64 {
        let known = self.marks.back().map_or(0, |(_, left)| *left);
        self.entered.saturating_sub(waiting as u64).max(known)
    }

    fn mark(&mut self, now: Instant, waiting: usize) {
        if self.marks.back().is_none_or(|(last, _)| now.duration_since(*last) >= STEP) {
            let left = self.left(waiting);
            self.marks.push_back((now, left));
        }
        // after an idle time the last mark alone is left
        while self.marks.len() > 1 && now.duration_since(self.marks[0].0) > WINDOW {
            self.marks.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn the_wait_is_the_queue_over_its_pace() {
        let (pace, start) = (Pace::default(), Instant::now());
        assert_eq!(pace.wait(start, 0), seconds(1.0), "nothing is known yet");
        // 50 a second enter and leave, 200 wait
        (0..200).for_each(|_| pace.enter(start, 200));
        for at in 1..=500u32 {
            pace.enter(start + seconds(0.02) * at, 200);
        }
        assert_eq!(pace.wait(start + seconds(10.0), 200), seconds(4.0));
        assert_eq!(pace.wait(start + seconds(10.0), 3), seconds(1.0), "never less than a second");
    }

    #[test]
    fn a_queue_that_stands_is_not_worth_asking_soon() {
        let (pace, start) = (Pace::default(), Instant::now());
        (1..=256).for_each(|waiting| pace.enter(start, waiting));
        assert_eq!(pace.wait(start + seconds(0.1), 256), seconds(1.0), "too early to tell");
        assert_eq!(pace.wait(start + seconds(5.0), 256), seconds(60.0));
    }

    #[test]
    fn an_old_pace_is_forgotten() {
        let (pace, start) = (Pace::default(), Instant::now());
        for at in 0..1000u32 {
            pace.enter(start + seconds(0.001) * at, 0);
        }
        // an hour later 100 wait, of whom 20 leave in two seconds
        let later = start + seconds(3600.0);
        (1..=100).for_each(|waiting| pace.enter(later, waiting));
        (1..=20u32).for_each(|at| pace.enter(later + seconds(0.1) * at, 100));
        let wait = pace.wait(later + seconds(2.0), 100);
        assert_eq!(wait, seconds(10.0));
    }
}
