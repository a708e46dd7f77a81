//! Acceptability: pairs of a good and a bad sentence over the same words, of which the label takes one.

use super::Example;
use super::lexicon::*;
use super::phrase::{Phrase, Rng, chance, pick, pick_ref, pick_where, sentence, with_article};

/// A good sentence and a bad one.
type Pair = (String, String);

/// What can go wrong.
const PHENOMENA: [fn(&Rng) -> Pair; 13] = [
    agreement,
    be_agreement,
    demonstrative,
    quantifier,
    reflexive,
    auxiliary,
    word_order,
    question,
    arguments,
    gap,
    polarity_item,
    comparison,
    complement,
];

/// The number of the label of good sentences.
pub(super) const ACCEPTABLE: usize = 1;

/// A sentence of this label: 0 unacceptable, 1 acceptable.
pub(super) fn example(rng: &Rng, label: usize) -> Example {
    let (good, bad) = pick(rng, &PHENOMENA)(rng);
    let text = if label == ACCEPTABLE { good } else { bad };
    let text = match pick(rng, &[0, 1, 2, 3]) {
        0 if !text.ends_with('?') => format!("{} said that {text}", name(rng)),
        1 if !text.ends_with('?') => format!("{text}, and {} smiled", name(rng)),
        _ => text,
    };
    Example::one("sentence", sentence(&text), if label == ACCEPTABLE { "acceptable" } else { "unacceptable" })
}

fn name(rng: &Rng) -> &'static str {
    let names = pick(rng, &NAMES);
    pick(rng, names)
}

/// `the` and a noun for people in this number.
fn people(rng: &Rng, many: bool) -> String {
    Phrase { many, ..Phrase::the(rng, Sort::Person) }.text()
}

fn noun(rng: &Rng, sort: Sort) -> &'static Noun {
    let class = pick_where(rng, &CLASSES, |class| class.sort == sort);
    pick_ref(rng, class.members)
}

fn number(many: bool, noun: &Noun) -> &'static str {
    if many { noun.many } else { noun.one }
}

/// The first if `many`, else the second.
fn by<'a>(many: bool, plural: &'a str, singular: &'a str) -> &'a str {
    if many { plural } else { singular }
}

/// A verb and its object, as a verb and the words after it.
fn deed(rng: &Rng) -> (&'static Verb, String) {
    let (senses, sort): (&[Sense], _) = match pick(rng, &[0, 1, 2]) {
        0 => (&THING_VERBS, Sort::Thing),
        1 => (&FOOD_VERBS, Sort::Food),
        _ => (&PERSON_VERBS, Sort::Person),
    };
    let sense = pick(rng, senses);
    (pick_ref(rng, sense), Phrase { many: chance(rng, 30), ..Phrase::the(rng, sort) }.text())
}

fn lone(rng: &Rng) -> &'static Verb {
    let sense = pick(rng, &LONE_VERBS);
    pick_ref(rng, sense)
}

/// The verb agrees with the head of its subject, not with the noun beside it.
fn agreement(rng: &Rng) -> Pair {
    let many = chance(rng, 50);
    let head = people(rng, many);
    let near_many = chance(rng, 60) != many;
    let near = people(rng, near_many);
    let link = pick(rng, &["near", "behind", "beside", "with", "next to"]);
    let (verb, object) = deed(rng);
    let say = |form: &str| format!("{head} {link} {near} {form} {object}");
    (say(by(many, verb.base, verb.third)), say(by(many, verb.third, verb.base)))
}

/// So does a form of `be`, also over a relative clause.
fn be_agreement(rng: &Rng) -> Pair {
    let many = chance(rng, 50);
    let head = people(rng, many);
    let other_many = chance(rng, 50);
    let other = people(rng, other_many);
    let sense = pick(rng, &PERSON_VERBS);
    let verb = pick_ref(rng, sense).past;
    let quality = pick_ref(rng, &PERSON_QUALITIES);
    let word = pick(rng, quality[usize::from(chance(rng, 50))]);
    let past = chance(rng, 50);
    let relative = if chance(rng, 50) { format!("who {verb} {other}") } else { format!("whom {other} {verb}") };
    let say = |many: bool| {
        let be = if past { by(many, "were", "was") } else { by(many, "are", "is") };
        format!("{head} {relative} {be} {word}")
    };
    (say(many), say(!many))
}

/// `this` and `these` agree with their noun.
fn demonstrative(rng: &Rng) -> Pair {
    let many = chance(rng, 50);
    let noun = noun(rng, pick(rng, &[Sort::Person, Sort::Animal]));
    let far = chance(rng, 50);
    let (verb, object) = deed(rng);
    let say = |many_noun: bool| {
        let word = if far { by(many, "those", "that") } else { by(many, "these", "this") };
        format!("{word} {} {} {object}", number(many_noun, noun), verb.past)
    };
    (say(many), say(!many))
}

/// `every` and `one` take one, `several` and `both` more.
fn quantifier(rng: &Rng) -> Pair {
    let many = chance(rng, 50);
    let words: &[&str] = if many { &["several", "both", "many", "three"] } else { &["every", "each", "one", "a"] };
    let word = pick(rng, words);
    let sort = pick(rng, &[Sort::Thing, Sort::Food]);
    let noun = noun(rng, sort);
    let who = people(rng, chance(rng, 50));
    let sense = pick(rng, if sort == Sort::Thing { &THING_VERBS[..] } else { &FOOD_VERBS[..] });
    let verb = pick_ref(rng, sense).past;
    let say = |many: bool| format!("{who} {verb} {}", with_article(&[word, number(many, noun)]));
    (say(many), say(!many))
}

/// A reflexive agrees with its own clause's subject, not with a nearer or farther name.
fn reflexive(rng: &Rng) -> Pair {
    let man = chance(rng, 50);
    let subject = pick(rng, NAMES[usize::from(man)]);
    let other = pick(rng, NAMES[usize::from(!man)]);
    let verb = pick(rng, &["hurt", "blamed", "praised", "admired", "saw", "described", "trusted"]);
    let say = |man: bool, form: u32| {
        let own = by(man, "himself", "herself");
        match form {
            0 => format!("{subject} {verb} {own} after {other} left"),
            1 => format!("{other} knew that {subject} {verb} {own}"),
            2 => format!("the friend of {other} was {subject}, who {verb} {own}"),
            _ => format!("when {other} arrived, {subject} {verb} {own}"),
        }
    };
    let form = pick(rng, &[0, 1, 2, 3]);
    (say(man, form), say(!man, form))
}

/// An auxiliary asks for its form of the verb.
fn auxiliary(rng: &Rng) -> Pair {
    let many = chance(rng, 50);
    let who = people(rng, many);
    let (verb, object) = deed(rng);
    let (form, others) = match pick(rng, &[0, 1, 2, 3]) {
        0 => ((by(many, "have", "has"), verb.participle), [verb.base, verb.ing]),
        1 => (("did not", verb.base), [verb.past, verb.ing]),
        2 => ((by(many, "are", "is"), verb.ing), [verb.base, verb.third]),
        _ => (("will", verb.base), [verb.third, verb.ing]),
    };
    let say = |form: &str, verb: &str| format!("{who} {form} {verb} {object}");
    (say(form.0, form.1), say(form.0, pick(rng, &others)))
}

/// Determiner, adjective, noun, verb, object: in this order.
fn word_order(rng: &Rng) -> Pair {
    let subject = Phrase::the(rng, pick(rng, &[Sort::Person, Sort::Animal]));
    let object = Phrase::the(rng, subject.sort());
    let sense = pick(rng, &PERSON_VERBS);
    let verb = pick_ref(rng, sense).past;
    let quality = pick(rng, if subject.sort() == Sort::Person { &PERSON_QUALITIES[..] } else { &ANIMAL_QUALITIES[..] });
    let word = pick(rng, quality[0]);
    let adverb = pick(rng, &["often", "never", "quickly", "always"]);
    let (a, b) = (subject.noun.one, object.noun.one);
    let good = format!("the {word} {a} {adverb} {verb} the {b}");
    let bad = match pick(rng, &[0, 1, 2, 3, 4]) {
        0 => format!("the {a} {word} {adverb} {verb} the {b}"),
        1 => format!("the {word} {a} {adverb} {verb} {b} the"),
        2 => format!("the {word} {a} {adverb} the {b} {verb}"),
        3 => format!("{word} the {a} {adverb} {verb} the {b}"),
        _ => format!("the {word} {a} {verb} {adverb} the {b}"),
    };
    (good, bad)
}

/// A question turns subject and auxiliary round; a question inside a sentence does not.
fn question(rng: &Rng) -> Pair {
    let who = people(rng, chance(rng, 40));
    let (verb, object) = deed(rng);
    let asker = name(rng);
    let word = pick(rng, &["when", "where", "why", "how"]);
    let base = verb.base;
    match pick(rng, &[0, 1, 2]) {
        0 => (format!("{word} did {who} {base} {object}?"), format!("{word} {who} did {base} {object}?")),
        1 => (
            format!("{asker} asked {word} {who} would {base} {object}"),
            format!("{asker} asked {word} would {who} {base} {object}"),
        ),
        _ => (format!("did {who} {base} {object}?"), format!("{who} did {object} {base}?")),
    }
}

/// Some verbs need an object and some bear none.
fn arguments(rng: &Rng) -> Pair {
    let who = people(rng, chance(rng, 40));
    let place = pick_ref(rng, &PLACES).text;
    if chance(rng, 50) {
        let verb =
            pick(rng, &["bought", "repaired", "greeted", "destroyed", "discovered", "praised", "chose", "frightened"]);
        let person = matches!(verb, "greeted" | "praised" | "frightened");
        let object = Phrase::the(rng, if person { Sort::Person } else { Sort::Thing }).text();
        (format!("{who} {verb} {object} {place}"), format!("{who} {verb} {place} with {object}"))
    } else {
        let verb = pick(rng, &["slept", "laughed", "arrived", "smiled", "waited", "wept"]);
        let object = Phrase::the(rng, Sort::Person).text();
        (format!("{who} {verb} with {object} {place}"), format!("{who} {verb} {object} {place}"))
    }
}

/// What is asked for or told of by a relative clause is missing from it.
fn gap(rng: &Rng) -> Pair {
    let who = people(rng, chance(rng, 40));
    let thing = Phrase::the(rng, Sort::Thing);
    let sense = pick(rng, &THING_VERBS);
    let verb = pick_ref(rng, sense);
    let other = Phrase::the(rng, Sort::Thing).stranger(rng).text();
    let quality = pick_ref(rng, &THING_QUALITIES);
    let word = pick(rng, quality[usize::from(chance(rng, 50))]);
    match pick(rng, &[0, 1]) {
        0 => (
            format!("{} that {who} {} was {word} like {other}", thing.text(), verb.past),
            format!("{} that {who} {} {other} was {word}", thing.text(), verb.past),
        ),
        _ => (format!("what did {who} {} with {other}?", verb.base), format!("what did {who} {} {other}?", verb.base)),
    }
}

/// `any` and `ever` stand below a negation or in a question.
fn polarity_item(rng: &Rng) -> Pair {
    let who = noun(rng, Sort::Person);
    let food = noun(rng, Sort::Food);
    let sense = pick(rng, &FOOD_VERBS);
    let verb = pick_ref(rng, sense);
    let other = people(rng, false);
    match pick(rng, &[0, 1, 2]) {
        0 => {
            let say = |word: &str| format!("{word} {} {} any {}", who.one, verb.past, food.many);
            (say("no"), say(pick(rng, &["every", "the", "one"])))
        }
        1 => (
            format!("{other} did not see that the {} {} some {}", who.one, verb.past, food.many),
            format!("{other} did see that the {} {} any {}", who.one, verb.past, food.many),
        ),
        _ => {
            let verb = lone(rng).participle;
            let say = |word: &str| format!("{word} {} has ever {verb} like {other}", who.one);
            (say("no"), say(pick(rng, &["every", "the", "this"])))
        }
    }
}

/// Comparison: `-er than`, without `more`.
fn comparison(rng: &Rng) -> Pair {
    const WORDS: [(&str, &str); 8] = [
        ("old", "older"),
        ("young", "younger"),
        ("tall", "taller"),
        ("short", "shorter"),
        ("rich", "richer"),
        ("poor", "poorer"),
        ("strong", "stronger"),
        ("weak", "weaker"),
    ];
    let (plain, more) = pick(rng, &WORDS);
    let many = chance(rng, 40);
    let (a, b) = (people(rng, many), people(rng, chance(rng, 40)));
    let be = by(many, "are", "is");
    if chance(rng, 50) {
        let bad = match pick(rng, &[0, 1, 2]) {
            0 => format!("{a} {be} {plain} than {b}"),
            1 => format!("{a} {be} as {more} as {b}"),
            _ => format!("{a} {be} {more} as {b}"),
        };
        (format!("{a} {be} {more} than {b}"), bad)
    } else {
        let bad = match pick(rng, &[0, 1]) {
            0 => format!("{a} {be} as {plain} than {b}"),
            _ => format!("{a} {be} as {more} as {b}"),
        };
        (format!("{a} {be} as {plain} as {b}"), bad)
    }
}

/// A verb asks for `to`, for `-ing`, or for the bare form.
fn complement(rng: &Rng) -> Pair {
    let who = people(rng, chance(rng, 40));
    let (verb, object) = deed(rng);
    let to = format!("to {} {object}", verb.base);
    let ing = format!("{} {object}", verb.ing);
    let bare = format!("{} {object}", verb.base);
    let child = name(rng);
    let (governor, good, bad) = match pick(rng, &[0, 1, 2]) {
        0 => {
            let governor = pick(rng, &["wanted", "decided", "hoped", "refused", "promised"]);
            (governor.to_owned(), &to, if chance(rng, 50) { &ing } else { &bare })
        }
        1 => {
            let governor = pick(rng, &["enjoyed", "finished", "avoided", "suggested", "denied"]);
            (governor.to_owned(), &ing, if chance(rng, 50) { &to } else { &bare })
        }
        _ => (format!("{} {child}", pick(rng, &["made", "let"])), &bare, if chance(rng, 50) { &to } else { &ing }),
    };
    (format!("{who} {governor} {good}"), format!("{who} {governor} {bad}"))
}
