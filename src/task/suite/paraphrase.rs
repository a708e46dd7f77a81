//! Paraphrase: the same event in other words, or one that only looks like it.

use super::Example;
use super::lexicon::{GIVE_VERBS, PLACES, Sort, TIMES};
use super::phrase::{Clause, Phrase, Rng, Style, chance, pick, pick_ref, pick_where, sentence};

/// A pair: 0 different, 1 equivalent.
pub(super) fn example(rng: &Rng, label: usize) -> Example {
    let equivalent = label == 1;
    let (first, second) = if chance(rng, 20) { giving(rng, equivalent) } else { event(rng, equivalent) };
    let (first, second) = if chance(rng, 50) { (first, second) } else { (second, first) };
    Example::pair(first, second, if equivalent { "equivalent" } else { "different" })
}

fn event(rng: &Rng, equivalent: bool) -> (String, String) {
    let sort = pick(rng, &[Sort::Person, Sort::Person, Sort::Food, Sort::Thing]);
    let mut clause = Clause::with_object(rng, sort);
    if chance(rng, 40) {
        definite(&mut clause);
        clause.negated = chance(rng, 50);
    }
    let meant = if equivalent { clause.clone() } else { changed(rng, &clause) };
    let style = Style::random(rng);
    // an equivalent pair must not be told by its likeness: both kinds are reworded alike
    let reworded = reworded(rng, &meant);
    let other = Style { passive: style.passive != chance(rng, 60), time_first: style.time_first != chance(rng, 60) };
    let (first, second) = (clause.sentence(style), reworded.sentence(other));
    if first == second {
        (first, meant.same_verb(rng).sentence(Style { passive: !style.passive, ..other }))
    } else {
        (first, second)
    }
}

/// `the` before every noun: `not … a` would be read in two ways.
fn definite(clause: &mut Clause) {
    for phrase in [Some(&mut clause.subject), clause.object.as_mut()].into_iter().flatten() {
        phrase.determiner = "the";
    }
}

/// The same meaning, some words changed for others of their meaning.
fn reworded(rng: &Rng, clause: &Clause) -> Clause {
    let mut clause = clause.clone();
    if chance(rng, 60) {
        clause = clause.same_verb(rng);
    }
    let phrases = [Some(&mut clause.subject), clause.object.as_mut()];
    for phrase in phrases.into_iter().flatten() {
        if chance(rng, 60) {
            phrase.adjective = phrase.adjective.map(|adjective| adjective.synonym(rng));
        }
    }
    clause
}

/// Another meaning in much the same words.
fn changed(rng: &Rng, clause: &Clause) -> Clause {
    loop {
        let mut other = clause.clone();
        match pick(rng, &[0, 0, 0, 1, 2, 3, 4, 5, 6, 7]) {
            0 => match clause.swapped() {
                Some(swapped) => other = swapped,
                None => continue,
            },
            1 => other = clause.other_verb(rng),
            2 => {
                other.subject = if chance(rng, 50) { clause.subject.sibling(rng) } else { clause.subject.stranger(rng) }
            }
            3 => other.object = clause.object.as_ref().map(|object| object.sibling(rng)),
            4 => {
                // what one is like, the other is said to be
                let Some(object) = other.object.as_mut().filter(|object| object.sort() == other.subject.sort()) else {
                    continue;
                };
                std::mem::swap(&mut object.adjective, &mut other.subject.adjective);
            }
            5 => other.subject.adjective = clause.subject.adjective.map(|adjective| adjective.opposite(rng)),
            6 => match (clause.place, clause.time) {
                (Some(place), _) => other.place = Some(pick_where(rng, &PLACES, |other| other != place)),
                (None, Some(time)) => other.time = Some(*pick_where(rng, &TIMES, |other| *other != time)),
                (None, None) => continue,
            },
            _ => {
                definite(&mut other);
                if other != *clause {
                    continue;
                }
                other.negated = !clause.negated;
            }
        }
        if other != *clause && other.object.as_ref().is_none_or(|object| object.noun != other.subject.noun) {
            return other;
        }
    }
}

/// Giving, with the receiver first or last.
fn giving(rng: &Rng, equivalent: bool) -> (String, String) {
    let giver = Phrase::random(rng, Sort::Person);
    let receiver = loop {
        let receiver = Phrase::random(rng, Sort::Person);
        if receiver.noun != giver.noun {
            break receiver;
        }
    };
    let thing = Phrase::random(rng, Sort::Thing);
    let sense = pick(rng, &GIVE_VERBS);
    let (verb, mut other_verb) = (pick_ref(rng, sense), pick_ref(rng, sense));
    let say = |giver: &Phrase, verb: &str, receiver: &Phrase, thing: &Phrase, first: bool| {
        let (giver, receiver, thing) = (giver.text(), receiver.text(), thing.text());
        let text = if first {
            format!("{giver} {verb} {receiver} {thing}")
        } else {
            format!("{giver} {verb} {thing} to {receiver}")
        };
        sentence(&text)
    };
    let first = chance(rng, 50);
    let one = say(&giver, verb.past, &receiver, &thing, first);
    if equivalent {
        return (one, say(&giver, other_verb.past, &receiver, &thing, !first));
    }
    let (mut a, mut b, mut c) = (giver.clone(), receiver.clone(), thing.clone());
    match pick(rng, &[0, 0, 1, 2, 3]) {
        0 => std::mem::swap(&mut a, &mut b),
        1 => c = thing.sibling(rng),
        2 => b = receiver.stranger(rng),
        _ => {
            let sense = *pick_where(rng, &GIVE_VERBS, |other| *other != sense);
            other_verb = pick_ref(rng, sense);
        }
    }
    let first = chance(rng, 20) == first;
    (one, say(&a, other_verb.past, &b, &c, first))
}
