//! What the built-in suite promises: the same rows everywhere, balance, no text twice, and no short cut by single words.

use super::*;
use crate::task::Split;
use std::collections::{BTreeMap, BTreeSet, HashMap};

fn task(name: &str) -> Task {
    builtin(name).unwrap()
}

/// One line a task. The digest pins grammar, generator and canonical form: whoever changes one of them changes the
/// scores that users compare, so do it knowingly.
#[track_caller]
fn check_digest(name: &str, wanted: &str) {
    assert_eq!(task(name).digest(), wanted, "{name}");
}

#[test]
fn rows_are_the_same_everywhere() {
    check_digest("builtin-sentiment", "c9f7d3a7f51c01323fefce5fbfe2c357");
    check_digest("builtin-topic", "6a2534c1c95a85e54e05e7361ac15eaa");
    check_digest("builtin-acceptability", "8e2707c23907109c82f7c0a7fefc35d0");
    check_digest("builtin-paraphrase", "158a0a746e3e8e83458efa08b05ec6bc");
    check_digest("builtin-entailment", "a0b776174b4b3891a02de39afc494603");
    check_digest("builtin-similarity", "58e3cddc1c2294f134dd696d627dd92d");
}

#[test]
fn unknown_names_are_none() {
    assert!(builtin("builtin-nothing").is_none() && builtin("sst2").is_none());
}

#[test]
fn labels_stand_in_equal_numbers() {
    for name in builtin_names() {
        let task = task(name);
        for (split, size) in Split::ALL.into_iter().zip(SIZES) {
            assert_eq!(task.split(split).len(), size, "{name}");
            let mut counts: BTreeMap<_, usize> = BTreeMap::new();
            for row in task.split(split) {
                *counts.entry(task.target_text(row)).or_default() += 1;
            }
            assert_eq!(counts.len(), task.label_words().len(), "{name}");
            let (least, most) = (counts.values().min().unwrap(), counts.values().max().unwrap());
            assert!(most - least <= 1, "{name} {counts:?}");
        }
    }
}

#[test]
fn no_text_stands_twice() {
    for name in builtin_names() {
        let task = task(name);
        let rows = || Split::ALL.into_iter().flat_map(|split| task.split(split));
        let texts: BTreeSet<_> = rows().map(|row| task.source_text(row)).collect();
        assert_eq!(texts.len(), rows().count(), "{name}");
    }
}

#[test]
fn the_corpus_holds_out_dev_and_test() {
    let corpus: BTreeSet<_> = builtin_corpus(7, 20_000).into_iter().collect();
    // short sentences come again, as in any text
    assert!(corpus.len() > 15_000, "{}", corpus.len());
    for name in builtin_names() {
        let task = task(name);
        let held_out = [Split::Dev, Split::Test].into_iter().flat_map(|split| task.split(split));
        assert!(held_out.flat_map(|row| row.fields.values()).all(|text| !corpus.contains(text)), "{name}");
    }
    assert_eq!(builtin_corpus(7, 50), builtin_corpus(7, 50));
    assert_ne!(builtin_corpus(7, 50), builtin_corpus(8, 50));
    assert_eq!(builtin_corpus(7, 51)[..50], builtin_corpus(7, 50));
}

/// One line a task: single words must score below `most` on test.
#[track_caller]
fn check_words(name: &str, most: f64) {
    let score = bag_of_words(&task(name));
    assert!(score < most, "{name}: single words score {score:.3}, not below {most}");
}

#[test]
fn single_words_do_not_give_the_label_away() {
    check_words("builtin-sentiment", 0.85);
    check_words("builtin-topic", 0.9);
    check_words("builtin-acceptability", 0.4);
    check_words("builtin-paraphrase", 0.7);
    check_words("builtin-entailment", 0.7);
    check_words("builtin-similarity", 0.3);
}

/// The test score of logistic regression over single words, each marked with its field.
fn bag_of_words(task: &Task) -> f64 {
    let words = task.label_words();
    let mut index = HashMap::new();
    let mut features = |row: &Row| -> Vec<usize> {
        let cut = |c: char| !c.is_alphanumeric();
        let words = row.fields.iter().flat_map(|(field, text)| text.split(cut).map(move |word| (field, word)));
        let keys = words.map(|(field, word)| (field.clone(), word.to_lowercase()));
        keys.map(|key| {
            let size = index.len();
            *index.entry(key).or_insert(size)
        })
        .collect()
    };
    let [train, _, test] = Split::ALL.map(|split| task.split(split).iter().map(&mut features).collect::<Vec<_>>());
    let targets: Vec<_> = task.split(Split::Train).iter().map(|row| task.definition.target_index(row)).collect();
    let mut weights = vec![vec![0f64; words.len()]; index.len()];
    let scores = |weights: &[Vec<f64>], features: &[usize]| -> Vec<f64> {
        (0..words.len()).map(|label| features.iter().map(|feature| weights[*feature][label]).sum()).collect()
    };
    for epoch in 0..30 {
        let rate = 0.1 / (1.0 + f64::from(epoch) / 5.0);
        for (features, target) in train.iter().zip(&targets) {
            let scores = scores(&weights, features);
            let most = scores.iter().copied().fold(f64::MIN, f64::max);
            let total: f64 = scores.iter().map(|score| (score - most).exp()).sum();
            for (label, score) in scores.iter().enumerate() {
                let gradient = f64::from(u8::from(label == *target)) - (score - most).exp() / total;
                for feature in features {
                    weights[*feature][label] += rate * gradient;
                }
            }
        }
    }
    let best = |features: &Vec<usize>| {
        let scores = scores(&weights, features);
        (0..scores.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap_or(0)
    };
    let answers: Vec<_> = test.iter().map(best).collect();
    task.definition.score(&answers, task.split(Split::Test)).unwrap()
}
