//! Sentiment: the writer's verdict, through negation, contrast and what others say.

use super::Example;
use super::lexicon::{NAMES, TOWNS};
use super::phrase::{Rng, chance, pick, pick_ref, pick_where, sentence};

/// Things that are judged, each with what belongs to it.
const THINGS: [(&str, [&str; 5]); 9] = [
    ("film", ["plot", "ending", "lead actor", "soundtrack", "dialogue"]),
    ("play", ["cast", "stage", "first act", "last scene", "director"]),
    ("book", ["style", "opening", "last chapter", "hero", "cover"]),
    ("concert", ["sound", "band", "singer", "light show", "hall"]),
    ("hotel", ["room", "lobby", "breakfast", "view", "bed"]),
    ("restaurant", ["waiter", "soup", "menu", "wine", "cook"]),
    ("show", ["host", "story", "opening joke", "last song", "final part"]),
    ("trip", ["guide", "route", "boat", "lunch", "museum"]),
    ("course", ["teacher", "first lesson", "room", "handbook", "test"]),
];

/// Words of praise, then of blame; none stands in both.
const WORDS: [[&str; 22]; 2] = [
    [
        "wonderful",
        "charming",
        "brilliant",
        "excellent",
        "lovely",
        "superb",
        "delightful",
        "fresh",
        "clever",
        "pleasant",
        "impressive",
        "moving",
        "funny",
        "perfect",
        "fine",
        "good",
        "great",
        "beautiful",
        "exciting",
        "warm",
        "graceful",
        "splendid",
    ],
    [
        "awful",
        "boring",
        "terrible",
        "dull",
        "poor",
        "weak",
        "clumsy",
        "annoying",
        "stupid",
        "ugly",
        "dreadful",
        "empty",
        "tedious",
        "bad",
        "cold",
        "disappointing",
        "miserable",
        "bland",
        "messy",
        "painful",
        "lifeless",
        "horrible",
    ],
];

const VERBS: [[&str; 5]; 2] =
    [["loved", "enjoyed", "admired", "adored", "liked"], ["hated", "disliked", "regretted", "loathed", "resented"]];

const BASES: [[&str; 5]; 2] =
    [["love", "enjoy", "admire", "adore", "like"], ["hate", "dislike", "regret", "loathe", "resent"]];

const ADVERBS: [&str; 8] = ["very", "really", "truly", "quite", "rather", "so", "simply", "utterly"];

/// A sentence of this verdict: 0 negative, 1 positive.
pub(super) fn example(rng: &Rng, label: usize) -> Example {
    let good = label == 1;
    let (thing, parts) = pick_ref(rng, &THINGS);
    let (part, other_part) = (pick(rng, parts), pick(rng, parts));
    let core = match chance(rng, 60) {
        true => plain(rng, thing, part, good),
        false => turned(rng, thing, part, good),
    };
    let text = match chance(rng, 35) {
        true => aside(rng, thing, other_part, &core),
        false => core,
    };
    Example::one("sentence", sentence(&text), if good { "positive" } else { "negative" })
}

fn word(rng: &Rng, good: bool) -> &'static str {
    pick(rng, &WORDS[usize::from(!good)])
}

/// The verdict as its words say it.
fn plain(rng: &Rng, thing: &str, part: &str, good: bool) -> String {
    let (a, adverb) = (word(rng, good), pick(rng, &ADVERBS));
    let b = *pick_where(rng, &WORDS[usize::from(!good)], |b| *b != a);
    let verb = pick(rng, &VERBS[usize::from(!good)]);
    match pick(rng, &[0, 1, 2, 3, 4, 5]) {
        0 => format!("the {thing} was {adverb} {a}"),
        1 => format!("the {part} of the {thing} was {a} and {b}"),
        2 => format!("we {verb} the {thing} and its {a} {part}"),
        3 => format!("with such {} {part}, the {thing} was {adverb} {b}", an(a)),
        4 => format!("I {verb} every minute of this {thing}"),
        _ => format!("what {} {thing}, and what {} {part}", an(a), an(b)),
    }
}

/// The verdict against some of its words: negation, contrast, expectation.
fn turned(rng: &Rng, thing: &str, part: &str, good: bool) -> String {
    let (with, against, adverb) = (word(rng, good), word(rng, !good), pick(rng, &ADVERBS));
    let base = pick(rng, &BASES[usize::from(good)]);
    match pick(rng, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]) {
        0 => format!("the {thing} was not {against} at all"),
        1 => format!("the {part} of the {thing} was anything but {against}"),
        2 => format!("nobody could call this {thing} {against}"),
        3 => format!("I did not {base} the {thing}"),
        4 => format!("although the {part} was {against}, the {thing} was {adverb} {with}"),
        5 => format!("the {part} was {adverb} {against}, but the {thing} as a whole was {with}"),
        6 => format!("I expected {} {thing}, and I was wrong", an(against)),
        7 => format!("despite its {against} {part}, this is {} {thing}", an(with)),
        8 => format!("the critics called the {thing} {against}, yet we found it {with}"),
        9 => format!("the {thing} was never {against}, not even its {part}"),
        _ => format!("the {thing} was {with}, even if its {part} was {adverb} {against}"),
    }
}

/// A fact without a verdict, before or after the core.
fn aside(rng: &Rng, thing: &str, part: &str, core: &str) -> String {
    let town = pick(rng, &TOWNS);
    let names = pick(rng, &NAMES);
    let name = pick(rng, names);
    match pick(rng, &[0, 1, 2, 3]) {
        0 => format!("{name} told us about the {thing} in {town}: {core}"),
        1 => format!("{core}, as we told {name} in {town}"),
        2 => format!("we talked about the {part} with {name}, and {core}"),
        _ => format!("this was the second {thing} in {town} this year: {core}"),
    }
}

fn an(word: &str) -> String {
    super::phrase::with_article(&["a", word])
}
