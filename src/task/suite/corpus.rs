//! Plain sentences of the suite's grammar, for pre-training.

use super::phrase::{Clause, Rng, Style, chance, pick_ref};
use super::{Example, SUITE, acceptability, builtin};
use std::collections::HashSet;

/// `count` unlabelled, grammatical sentences by `seed`; none stands in a dev or test row of a built-in task.
pub fn builtin_corpus(seed: u64, count: usize) -> Vec<String> {
    let held_out: HashSet<String> = SUITE
        .iter()
        .filter_map(|task| builtin(task.name))
        .flat_map(|task| [task.rows.dev, task.rows.test])
        .flatten()
        .flat_map(|row| row.fields.into_values())
        .collect();
    let rng = Rng::named(&format!("corpus {seed}"));
    let mut sentences = Vec::with_capacity(count);
    while sentences.len() < count {
        for sentence in some(&rng) {
            if sentences.len() < count && !held_out.contains(&sentence) {
                sentences.push(sentence);
            }
        }
    }
    sentences
}

/// A sentence or two that belong together.
fn some(rng: &Rng) -> Vec<String> {
    if chance(rng, 25) {
        let mut clause = Clause::random(rng);
        clause.negated = chance(rng, 15);
        return vec![clause.sentence(Style::random(rng))];
    }
    let task = pick_ref(rng, &SUITE);
    let label = rng.below(task.kinds);
    let label = if task.name == "builtin-acceptability" { acceptability::ACCEPTABLE } else { label };
    let Example { fields, .. } = (task.example)(rng, label);
    fields.into_iter().map(|(_, text)| text).collect()
}
