//! Topic: what the main clause is about, while others speak of something else.

use super::Example;
use super::lexicon::{NAMES, PLACES, TIMES};
use super::phrase::{Rng, chance, pick, pick_ref, pick_where, sentence};

/// A deed: base, past and -ing form, and what it may be done to.
type Deed = (&'static str, &'static str, &'static str, [&'static str; 4]);

/// The topics; verbs and nouns such as `play`, `score`, `note`, `change` and `record` stand in several.
const TOPICS: [(&str, [Deed; 6]); 5] = [
    (
        "sport",
        [
            ("win", "won", "winning", ["the final", "the race", "a medal", "the cup"]),
            ("play", "played", "playing", ["a game of tennis", "in goal", "for the home team", "two matches"]),
            ("train", "trained", "training", ["for the race", "with the team", "at the stadium", "with a coach"]),
            ("miss", "missed", "missing", ["the goal", "a penalty", "the ball", "the first match"]),
            (
                "break",
                "broke",
                "breaking",
                ["the world record", "the rules of the game", "a racket", "the club record"],
            ),
            ("score", "scored", "scoring", ["a late goal", "ten points", "from a corner", "in the second half"]),
        ],
    ),
    (
        "food",
        [
            ("bake", "baked", "baking", ["fresh bread", "an apple cake", "a pie", "biscuits for tea"]),
            ("cook", "cooked", "cooking", ["rice with beans", "a pot of soup", "the fish in butter", "dinner for six"]),
            ("taste", "tasted", "tasting", ["the sauce", "a ripe cheese", "the salad", "the hot stew"]),
            ("mix", "mixed", "mixing", ["flour and eggs", "the dough", "sugar with cream", "oil and salt"]),
            (
                "change",
                "changed",
                "changing",
                ["the recipe", "the menu", "the filling of the pie", "the spice in the soup"],
            ),
            ("serve", "served", "serving", ["roast lamb", "a plate of pasta", "cold milk", "the pudding"]),
        ],
    ),
    (
        "music",
        [
            ("play", "played", "playing", ["the violin", "an old tune", "in a band", "two songs"]),
            ("record", "recorded", "recording", ["a new album", "the choir", "a love song", "the second concert"]),
            ("write", "wrote", "writing", ["a melody", "the score of an opera", "a song in a minor key", "the chorus"]),
            ("tune", "tuned", "tuning", ["the piano", "the guitar", "every string", "the old organ"]),
            ("miss", "missed", "missing", ["a note", "the beat", "the start of the chorus", "the rehearsal"]),
            ("sing", "sang", "singing", ["in the choir", "the final verse", "a quiet ballad", "in tune"]),
        ],
    ),
    (
        "travel",
        [
            (
                "catch",
                "caught",
                "catching",
                ["the night train", "a flight to Rome", "the last ferry", "a bus to the coast"],
            ),
            ("pack", "packed", "packing", ["a suitcase", "the passport", "for the journey", "a bag for the trip"]),
            ("book", "booked", "booking", ["a hotel room", "two seats by the window", "a cabin on the ship", "a tour"]),
            ("miss", "missed", "missing", ["the plane", "the train", "the last bus", "a turn on the motorway"]),
            (
                "change",
                "changed",
                "changing",
                ["trains at the border", "planes in Vienna", "the route", "hotels twice"],
            ),
            ("cross", "crossed", "crossing", ["the border", "the sea by ferry", "the desert by jeep", "the Alps"]),
        ],
    ),
    (
        "money",
        [
            ("pay", "paid", "paying", ["the rent", "the tax", "a bill at the bank", "the loan"]),
            (
                "save",
                "saved",
                "saving",
                ["part of the salary", "ten dollars a week", "for a pension", "a small fortune"],
            ),
            ("change", "changed", "changing", ["the dollars", "banks", "a bank note", "the budget"]),
            ("invest", "invested", "investing", ["in shares", "the savings", "in a company", "at a good rate"]),
            ("lower", "lowered", "lowering", ["the price", "the interest rate", "the costs of the firm", "the fee"]),
            (
                "open",
                "opened",
                "opening",
                ["an account", "the market report", "a line of credit", "a shop with a loan"],
            ),
        ],
    ),
];

/// The label words.
pub(super) fn labels() -> Vec<&'static str> {
    TOPICS.iter().map(|(name, _)| *name).collect()
}

/// A sentence whose main clause is about the topic of this number.
pub(super) fn example(rng: &Rng, label: usize) -> Example {
    let (name, deeds) = &TOPICS[label];
    let (other, other_deeds) = pick_where(rng, &TOPICS, |(other, _)| other != name);
    debug_assert_ne!(name, other);
    let (_, past, ing, things) = pick(rng, deeds);
    let thing = pick(rng, &things);
    let (other_base, other_past, other_ing, other_things) = pick(rng, other_deeds);
    let other_thing = pick(rng, &other_things);
    let names = pick(rng, &NAMES);
    let who = pick(rng, names);
    let friend = *pick_where(rng, names, |name| *name != who);
    let text = match pick(rng, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]) {
        0 | 1 => format!("{who} {past} {thing}"),
        2 => {
            format!("{who} {past} {thing} and talked about {ing} {}", pick_where(rng, &things, |other| *other != thing))
        }
        3 => format!("while {friend} {other_past} {other_thing}, {who} {past} {thing}"),
        4 => format!("instead of {other_ing} {other_thing}, {who} {past} {thing}"),
        5 => format!("{who} did not {other_base} {other_thing} but {past} {thing}"),
        6 => format!("{who}, who had never thought of {other_ing} {other_thing}, {past} {thing}"),
        7 => format!("{ing} {thing} was all that {who} did"),
        8 => format!("{who} {past} {thing} after {friend} {other_past} {other_thing}"),
        _ => format!("{ing} {thing} made {who} forget about {other_ing} {other_thing}"),
    };
    let text = match pick(rng, &[0, 1, 2, 3]) {
        0 => format!("{text} {}", pick_ref(rng, &PLACES).text),
        1 => format!("{text} {}", pick(rng, &TIMES)),
        _ => text,
    };
    let text = if chance(rng, 15) { format!("I heard that {text}") } else { text };
    Example::one("sentence", sentence(&text), name)
}
