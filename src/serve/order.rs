//! Who goes next: fairness between adapters by the tokens that each asks for (weighted fair queueing).
//!
//! There is a clock of tokens, of which each adapter that has requests waiting gets an equal share. A request's turn is the
//! time at which its adapter's earlier requests would be through on such a share. So an adapter that floods the queue delays
//! itself and nobody else, long requests count for more than short ones, and none starves: the clock goes on with whatever is
//! taken, and who comes later has a later turn. It never runs ahead of the requests that are taken, so that one who asks
//! little need not wait behind those who lag.

use super::{Adapter, Command};
use std::collections::HashMap;
use std::sync::Arc;

/// Flows that are remembered before those are forgotten that are through.
const FLOWS: usize = 1024;

/// Requests over which the number of adapters that share is averaged.
const AVERAGED: f64 = 256.0;

/// When a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    at: usize,
    /// The time at which it came.
    came: usize,
}

/// The turns of what waits.
#[derive(Debug, Default)]
pub(super) struct Turns {
    now: usize,
    /// Means of the tokens taken, and of what the clock went on by, a request.
    tokens: f64,
    advance: f64,
    /// By generation, or the bare backbone.
    flows: HashMap<Option<String>, Flow>,
}

/// The requests of one adapter.
#[derive(Debug, Default)]
struct Flow {
    /// When they are through.
    through: usize,
    /// When one came last that found the others through.
    since: usize,
}

impl Turns {
    /// The turn of a request of so many tokens that has come: the lesser goes first, of equals the one that came first.
    pub(super) fn come(&mut self, flow: Option<&str>, tokens: usize) -> Turn {
        let now = self.now;
        if self.flows.len() > FLOWS {
            self.flows.retain(|_, flow| flow.through > now);
        }
        let flow = self.flows.entry(flow.map(String::from)).or_default();
        if now > flow.through {
            *flow = Flow { through: now, since: now };
        }
        let at = flow.through;
        flow.through += tokens;
        Turn { at, came: now }
    }

    /// A request has left that was not taken: its tokens are its adapter's again, whose requests in `waiting`, in the order in which they
    /// came, have their turns so much earlier if they came later, but none before it came. Nothing is given back of a turn since which
    /// they were through, as it put none of them off.
    pub(super) fn leave<'a>(
        &mut self,
        flow: Option<&str>,
        tokens: usize,
        turn: Turn,
        waiting: impl Iterator<Item = &'a mut Turn>,
    ) {
        let Some(flow) = self.flows.get_mut(&flow.map(String::from)).filter(|flow| turn.at >= flow.since) else {
            return;
        };
        let mut earlier = tokens;
        for later in waiting.filter(|later| later.at > turn.at) {
            earlier = earlier.min(later.at - later.came);
            later.at -= earlier;
        }
        flow.through = flow.through.saturating_sub(earlier);
    }

    /// A request of this turn and so many tokens has been taken, while those of so many flows waited.
    pub(super) fn taken(&mut self, turn: Turn, tokens: usize, flows: usize) {
        let before = self.now;
        self.now = before.max((before + tokens.div_ceil(flows.max(1))).min(turn.at + tokens));
        self.tokens += (tokens as f64 - self.tokens) / AVERAGED;
        self.advance += ((self.now - before) as f64 - self.advance) / AVERAGED;
    }

    /// How many flows shared the engine of late, those included that never wait for long: the tokens taken for one that each
    /// of them got. At least 1.
    pub(super) fn sharers(&self) -> usize {
        if self.advance > 0.0 { ((self.tokens / self.advance).round() as usize).max(1) } else { 1 }
    }

    /// Nothing waits: all begin anew.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

impl Command {
    /// Whose request it is.
    pub(super) fn flow(&self) -> Option<&str> {
        Adapter::flow(self.adapter().map(Arc::as_ref))
    }

    /// Tokens that it may take: those of its source, and those that it may make or wants scored.
    pub(super) fn tokens(&self) -> usize {
        let made = match self {
            Command::Generate(generate) => {
                let settings = &generate.request.settings;
                settings.rows() * settings.max_new_tokens
            }
            Command::Score(score) => score.request.targets.iter().map(Vec::len).sum(),
        };
        self.ids().len() + made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A queue from which one request is taken at a time; requests are letters with their tokens.
    #[derive(Default)]
    struct Queue {
        turns: Turns,
        waiting: Vec<(Turn, String)>,
    }

    impl Queue {
        fn come(&mut self, word: &str) {
            let turn = self.turns.come(Some(&word[..1]), word[1..].parse().unwrap());
            self.waiting.push((turn, word.into()));
        }

        /// The first such request leaves without having been taken.
        fn leave(&mut self, word: &str) {
            let at = self.waiting.iter().position(|(_, other)| other == word).unwrap();
            let (turn, _) = self.waiting.remove(at);
            let same = self.waiting.iter_mut().filter(|(_, other)| other[..1] == word[..1]).map(|(turn, _)| turn);
            self.turns.leave(Some(&word[..1]), word[1..].parse().unwrap(), turn, same);
        }

        fn take(&mut self) -> String {
            let at = (0..self.waiting.len()).min_by_key(|at| self.waiting[*at].0).unwrap();
            let turn = self.waiting[at].0;
            let mut flows: Vec<_> = self.waiting.iter().map(|(_, word)| &word[..1]).collect();
            flows.sort();
            flows.dedup();
            self.turns.taken(turn, self.waiting[at].1[1..].parse().unwrap(), flows.len());
            self.waiting.remove(at).1
        }
    }

    #[test]
    fn flows_share_alike_by_tokens() {
        let check = |requests: &str, wanted: &str| {
            let mut queue = Queue::default();
            requests.split(' ').for_each(|word| queue.come(word));
            let found: Vec<_> = requests.split(' ').map(|_| queue.take()).collect();
            assert_eq!(found.join(" "), wanted);
        };
        check("a9 a9 a9 a9 b9 c9", "a9 b9 c9 a9 a9 a9");
        check("a9 a9 b9 b9", "a9 b9 a9 b9");
        check("a1 a2 a3 a4", "a1 a2 a3 a4");
        check("a90 a90 b10 b10 b10 b10", "a90 b10 b10 b10 b10 a90");
    }

    /// While ever new flows come, with one request each, the second request of a flow has its turn; and a flow that was idle
    /// has saved nothing up.
    #[test]
    fn none_starves() {
        let mut queue = Queue::default();
        ["a40", "a40", "b10", "c10"].iter().for_each(|word| queue.come(word));
        let newcomers = ('d'..='z').map(|letter| format!("{letter}20"));
        let taken: Vec<_> = newcomers
            .map(|word| {
                queue.come(&word);
                queue.take()
            })
            .collect();
        let second = taken.iter().rposition(|word| word == "a40").unwrap();
        assert!(taken.iter().filter(|word| *word == "a40").count() == 2 && second < 16, "{taken:?}");

        let mut queue = Queue::default();
        (0..20).for_each(|_| queue.come("a10"));
        (0..10).for_each(|_| assert_eq!(queue.take(), "a10"));
        (0..10).for_each(|_| queue.come("b10"));
        let found: String = (0..10).map(|_| queue.take().remove(0)).collect();
        assert_eq!(found.matches('b').count(), 5, "{found}");
    }

    /// What is not done is not charged, neither to those that wait nor to those that come.
    #[test]
    fn who_leaves_owes_nothing() {
        let mut queue = Queue::default();
        ["a90", "a50", "a9", "b10", "b10", "b10"].iter().for_each(|word| queue.come(word));
        queue.leave("a50");
        queue.leave("a90");
        queue.come("a8");
        assert_eq!((0..5).map(|_| queue.take()).collect::<Vec<_>>().join(" "), "a9 b10 a8 b10 b10");
        let mut queue = Queue::default();
        ["b10", "b10"].iter().for_each(|word| queue.come(word));
        for _ in 0..100 {
            queue.come("a99");
            queue.leave("a99");
        }
        queue.come("a5");
        assert_eq!((0..3).map(|_| queue.take()).collect::<Vec<_>>().join(" "), "b10 a5 b10");
        // what put nobody off is not given back: a large one that waited while its adapter's others were through
        let mut queue = Queue::default();
        ["a90", "b99", "c99", "c9", "c9"].iter().for_each(|word| queue.come(word));
        (0..4).for_each(|_| queue.turns.now += 50);
        (0..3).for_each(|_| _ = queue.turns.come(Some("a"), 30)); // taken at once
        queue.leave("a90");
        assert_eq!(queue.turns.come(Some("a"), 1).at, 290);
        // those behind it stay one behind the other
        let mut queue = Queue::default();
        ["a90", "a10", "a10", "a10", "b10", "b10", "b10"].iter().for_each(|word| queue.come(word));
        queue.leave("a90");
        assert_eq!((0..6).map(|_| queue.take()).collect::<Vec<_>>().join(" "), "a10 b10 a10 b10 a10 b10");
    }

    #[test]
    fn flows_that_are_through_are_forgotten() {
        let mut turns = Turns::default();
        for n in 0..5000 {
            let turn = turns.come(Some(&n.to_string()), 1);
            turns.taken(turn, 1, 1);
        }
        assert!(turns.flows.len() <= FLOWS + 1);
        turns.reset();
        assert_eq!((turns.now, turns.flows.len()), (0, 0));
    }
}
