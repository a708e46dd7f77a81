//! Entailment: what follows from a sentence, what it rules out, and what it leaves open.

use super::Example;
use super::lexicon::{PLACES, Place, Sort, TIMES};
use super::phrase::{Adjective, Clause, Phrase, Rng, Style, chance, pick, pick_ref, pick_where, sentence};

/// A pair: 0 entailment, 1 neutral, 2 contradiction.
pub(super) fn example(rng: &Rng, label: usize) -> Example {
    let forms = [some, some, none, all, not, quality];
    let (premise, hypothesis) = loop {
        let (premise, hypothesis) = pick(rng, &forms)(rng, label);
        if premise != hypothesis {
            break (premise, hypothesis);
        }
    };
    Example::pair(premise, hypothesis, ["entailment", "neutral", "contradiction"][label])
}

/// A clause with a plain subject (`the` or `a` and one noun) and a place.
fn clause(rng: &Rng) -> Clause {
    let mut clause = Clause::random(rng);
    clause.subject.many = false;
    clause.subject.determiner = pick(rng, &["the", "a"]);
    clause.place = Some(pick_ref(rng, &PLACES));
    if let Some(object) = &mut clause.object {
        // `every` or `not` over `a` would be read in two ways
        object.determiner = "the";
    }
    clause
}

/// The same phrase under another determiner, in the number that it asks for.
fn under(phrase: &Phrase, determiner: &'static str) -> Phrase {
    let many = matches!(determiner, "some" | "two" | "three" | "all");
    Phrase { determiner, many, ..phrase.clone() }
}

fn kind_of(place: &Place) -> &'static Place {
    static KINDS: [Place; 2] = [Place { text: "inside", outside: false }, Place { text: "outside", outside: true }];
    &KINDS[usize::from(place.outside)]
}

fn say(rng: &Rng, clause: &Clause) -> String {
    let style = Style::random(rng);
    // `by no one` is stilted
    clause.sentence(Style { passive: style.passive && clause.subject.determiner != "no", ..style })
}

/// A narrower or a wider subject: with an adjective for without, a member for its class, and the other way round.
fn narrower(rng: &Rng, phrase: &Phrase) -> Phrase {
    if *phrase.noun == phrase.class.name && chance(rng, 60) {
        return Phrase { noun: pick_ref(rng, phrase.class.members), ..phrase.clone() };
    }
    let adjective = Adjective::random(rng, phrase.sort());
    Phrase { adjective: Some(adjective), ..phrase.clone() }
}

/// Something happened to someone: dropping detail follows, adding it is open, denial contradicts.
fn some(rng: &Rng, label: usize) -> (String, String) {
    let mut premise = clause(rng);
    let general = chance(rng, 40);
    if general {
        premise.subject = premise.subject.general();
    }
    let mut hypothesis = premise.clone();
    match label {
        0 => {
            let steps = pick(rng, &[1, 2, 3]);
            for _ in 0..steps {
                match pick(rng, &[0, 1, 2, 3, 4, 5]) {
                    0 => hypothesis.subject.adjective = None,
                    1 if !general => hypothesis.subject = under(&hypothesis.subject.general(), "a"),
                    2 => hypothesis.place = None,
                    3 => hypothesis.place = hypothesis.place.map(kind_of),
                    4 => hypothesis.time = None,
                    _ => hypothesis = hypothesis.same_verb(rng),
                }
            }
        }
        1 => {
            match pick(rng, &[0, 1, 2, 3, 4]) {
                0 => hypothesis.subject = narrower(rng, &Phrase { adjective: None, ..premise.subject.clone() }),
                1 => {
                    premise.time = None;
                    hypothesis.time = Some(pick(rng, &TIMES));
                }
                2 => match premise.swapped() {
                    Some(swapped) => hypothesis = swapped,
                    None => hypothesis.subject = under(&premise.subject.stranger(rng), "a"),
                },
                3 => hypothesis.subject = under(&premise.subject, "every"),
                _ => {
                    hypothesis.place = premise.place;
                    premise.place = None;
                }
            }
            if hypothesis == premise {
                hypothesis.subject = under(&premise.subject, "every");
            }
        }
        _ => {
            if chance(rng, 50) {
                hypothesis.subject.adjective = None;
                hypothesis.time = if chance(rng, 50) { None } else { premise.time };
                let determiner = if chance(rng, 30) && !general { "no" } else { "" };
                hypothesis.subject = match determiner {
                    "no" => under(&premise.subject.general(), "no"),
                    _ => under(&hypothesis.subject, "no"),
                };
                if chance(rng, 50) {
                    hypothesis.place = hypothesis.place.map(kind_of);
                }
            } else {
                // of someone in particular, so that the denial is of the same one
                premise.subject.determiner = "the";
                hypothesis.subject.determiner = "the";
                hypothesis.negated = true;
                hypothesis = hypothesis.same_verb(rng);
            }
        }
    }
    (say(rng, &premise), say(rng, &hypothesis))
}

/// Nobody of a class did it: then no member did, and no one anywhere narrower.
fn none(rng: &Rng, label: usize) -> (String, String) {
    let mut premise = clause(rng);
    premise.subject = under(&premise.subject.general(), "no");
    premise.subject.adjective = None;
    let mut hypothesis = premise.clone();
    match label {
        0 => match pick(rng, &[0, 1, 2, 3]) {
            0 => hypothesis.subject = narrower(rng, &premise.subject),
            1 => {
                premise.time = None;
                hypothesis.time = Some(pick(rng, &TIMES));
            }
            2 => {
                let member = narrower(rng, &premise.subject);
                hypothesis.subject = under(&member, "the");
                hypothesis.negated = true;
            }
            _ => {
                hypothesis.subject = narrower(rng, &premise.subject);
                hypothesis = hypothesis.same_verb(rng);
            }
        },
        1 => match pick(rng, &[0, 1, 2, 3]) {
            0 => hypothesis.place = None,
            1 => hypothesis.subject = premise.subject.stranger(rng).general(),
            2 => {
                let place = pick_where(rng, &PLACES, |place| Some(place) != premise.place);
                hypothesis.subject = under(&premise.subject, "a");
                hypothesis.place = Some(place);
            }
            _ => {
                let member = narrower(rng, &premise.subject);
                hypothesis.subject = under(&member, "the");
                hypothesis = hypothesis.other_verb(rng);
            }
        },
        _ => {
            let subject = narrower(rng, &premise.subject);
            hypothesis.subject = under(&subject, pick(rng, &["the", "a", "some", "every", "two"]));
            if chance(rng, 40) {
                hypothesis = hypothesis.same_verb(rng);
            }
        }
    }
    (say(rng, &premise), say(rng, &hypothesis))
}

/// Everyone of a class did it: so did each member, anywhere wider.
fn all(rng: &Rng, label: usize) -> (String, String) {
    let mut premise = clause(rng);
    premise.subject = under(&premise.subject.general(), "every");
    premise.subject.adjective = None;
    let mut hypothesis = premise.clone();
    match label {
        0 => {
            let member = narrower(rng, &premise.subject);
            match pick(rng, &[0, 1, 2]) {
                0 => hypothesis.subject = member,
                1 => hypothesis.subject = under(&member, pick(rng, &["the", "every"])),
                _ => hypothesis.time = None,
            }
            if chance(rng, 50) {
                hypothesis.place = if chance(rng, 50) { None } else { premise.place.map(kind_of) };
            }
        }
        1 => match pick(rng, &[0, 1, 2]) {
            0 => hypothesis.subject = premise.subject.stranger(rng).general(),
            1 => {
                premise.time = None;
                hypothesis.time = Some(pick(rng, &TIMES));
            }
            _ => {
                let subject = premise.subject.clone();
                premise.subject = narrower(rng, &subject);
            }
        },
        _ => {
            let member = narrower(rng, &premise.subject);
            match pick(rng, &[0, 1]) {
                0 => hypothesis.subject = under(&member, "no"),
                _ => {
                    hypothesis.subject = under(&member, pick(rng, &["the", "some", "two"]));
                    hypothesis.negated = true;
                }
            }
        }
    }
    (say(rng, &premise), say(rng, &hypothesis))
}

/// Someone did not: the same in other words follows, doing it contradicts, not doing it at all is open.
fn not(rng: &Rng, label: usize) -> (String, String) {
    let mut premise = clause(rng);
    premise.subject = under(&premise.subject, "the");
    premise.negated = true;
    let mut hypothesis = premise.clone();
    match label {
        0 => {
            if chance(rng, 50) {
                hypothesis.negated = false;
                return (
                    say(rng, &premise),
                    sentence(&format!("it is not true that {}", hypothesis.text(Style::default()))),
                );
            }
            hypothesis = hypothesis.same_verb(rng);
            hypothesis.subject.adjective = hypothesis.subject.adjective.map(|adjective| adjective.synonym(rng));
        }
        1 => match pick(rng, &[0, 1, 2]) {
            0 => hypothesis.place = None,
            1 => {
                hypothesis.negated = false;
                hypothesis.place = Some(pick_where(rng, &PLACES, |place| Some(place) != premise.place));
            }
            _ => {
                hypothesis.negated = false;
                hypothesis.subject = under(&premise.subject.general(), "no");
            }
        },
        _ => {
            hypothesis.negated = false;
            if chance(rng, 40) {
                return (
                    say(rng, &premise),
                    sentence(&format!("it is true that {}", hypothesis.text(Style::default()))),
                );
            }
            hypothesis = hypothesis.same_verb(rng);
        }
    }
    (say(rng, &premise), say(rng, &hypothesis))
}

/// What someone is like: the same quality follows, its opposite contradicts, another is open.
fn quality(rng: &Rng, label: usize) -> (String, String) {
    let mut premise = clause(rng);
    let sort = premise.subject.sort();
    let adjective = Adjective::random(rng, sort);
    premise.subject = Phrase { adjective: Some(adjective), ..under(&premise.subject, "the") };
    let said = match label {
        0 => adjective.synonym(rng),
        1 => adjective.unrelated(rng, sort),
        _ => adjective.opposite(rng),
    };
    let (said, not) = match label {
        0 if chance(rng, 40) => (adjective.opposite(rng), "not "),
        2 if chance(rng, 40) => (adjective.synonym(rng), "not "),
        1 if chance(rng, 30) => (said, "not "),
        _ => (said, ""),
    };
    let subject = Phrase { adjective: None, ..premise.subject.clone() };
    let deed = Clause { subject: subject.clone(), place: None, time: None, ..premise.clone() };
    let deed = deed.text(Style::default()).replacen(&subject.text(), "", 1);
    let who = if sort == Sort::Person { "who" } else { "that" };
    let hypothesis = match chance(rng, 50) {
        true => format!("{} was {not}{}", subject.text(), said.word),
        false => format!("{} {who}{deed} was {not}{}", subject.text(), said.word),
    };
    (say(rng, &premise), sentence(&hypothesis))
}
