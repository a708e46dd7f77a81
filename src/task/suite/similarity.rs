//! Similarity: how much of agent, deed, object, place and time two sentences share.

use super::Example;
use super::lexicon::{PLACES, Sort, TIMES};
use super::phrase::{Clause, Phrase, Rng, Style, pick, pick_ref, pick_where};

/// Scores 0, 0.5, … 5 made in turn.
pub(super) const KINDS: usize = 11;

/// How near a slot of the second sentence is to the first's.
#[derive(Clone, Copy, PartialEq)]
enum Near {
    /// The same, or of the same meaning.
    Same,
    /// Of the same class.
    Akin,
    /// Another.
    Other,
}

use Near::{Akin, Other, Same};

/// A pair of score `label / 2`: agent 2 (akin 1), deed 1, object 1 (akin 0.5), place and time 0.5 each.
pub(super) fn example(rng: &Rng, label: usize) -> Example {
    // in halves: agent, deed, object, place, time
    let mut ways = Vec::new();
    for (agent, a) in [(Same, 4), (Akin, 2), (Other, 0)] {
        for (object, o) in [(Same, 2), (Akin, 1), (Other, 0)] {
            for bits in 0..8 {
                let bit = |i: usize| bits >> i & 1;
                if a + o + 2 * bit(0) + bit(1) + bit(2) == label {
                    ways.push((agent, object, [bit(0) == 1, bit(1) == 1, bit(2) == 1]));
                }
            }
        }
    }
    let (agent, object, [deed, place, time]) = pick(rng, &ways);
    let sort = pick(rng, &[Sort::Person, Sort::Food, Sort::Thing]);
    let mut first = Clause::with_object(rng, sort);
    first.place = Some(pick_ref(rng, &PLACES));
    first.time = Some(pick(rng, &TIMES));
    let mut second = if deed { first.same_verb(rng) } else { first.other_verb(rng) };
    loop {
        second.subject = near(rng, &first.subject, agent);
        second.object = first.object.as_ref().map(|phrase| near(rng, phrase, object));
        if second.object.as_ref().is_none_or(|object| object.noun != second.subject.noun) {
            break;
        }
    }
    if !place {
        second.place = Some(pick_where(rng, &PLACES, |place| Some(place) != first.place));
    }
    if !time {
        second.time = Some(*pick_where(rng, &TIMES, |time| Some(*time) != first.time));
    }
    let (a, b) = (first.sentence(Style::random(rng)), second.sentence(Style::random(rng)));
    Example::pair(a, b, format!("{:.1}", label as f64 / 2.0))
}

fn near(rng: &Rng, phrase: &Phrase, near: Near) -> Phrase {
    let mut other = match near {
        Same => phrase.clone(),
        Akin => phrase.sibling(rng),
        Other => phrase.stranger(rng),
    };
    other.adjective = phrase.adjective.map(|adjective| adjective.synonym(rng));
    other
}
