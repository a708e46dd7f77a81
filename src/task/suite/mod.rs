//! The built-in suite: text tasks from our own seeded grammar, so that nothing need be downloaded.
//!
//! Every example is made for its label from a meaning (who does what to whom, where and when) and a few hundred common
//! words, so labels follow from structure: which clause is the main one, what is negated, who is agent, which noun a
//! verb agrees with. The numbers come from ChaCha, the same on every platform; a test pins the digests.

mod acceptability;
mod corpus;
mod entailment;
mod lexicon;
mod paraphrase;
mod phrase;
mod sentiment;
mod similarity;
#[cfg(test)]
mod tests;
mod topic;

pub use corpus::builtin_corpus;

use super::{Definition, Label, Metric, Row, Rows, Target, Task};
use phrase::Rng;
use std::collections::HashSet;

/// Rows of train, dev and test of every built-in task.
const SIZES: [usize; 3] = [2000, 400, 800];

/// A text or two with a label.
struct Example {
    fields: Vec<(&'static str, String)>,
    label: String,
}

impl Example {
    fn one(field: &'static str, text: String, label: &str) -> Self {
        Self { fields: vec![(field, text)], label: label.into() }
    }

    fn pair(first: String, second: String, label: impl Into<String>) -> Self {
        Self { fields: vec![("sentence1", first), ("sentence2", second)], label: label.into() }
    }
}

/// One built-in task: what it asks, and an example of the label of each number.
struct Builtin {
    name: &'static str,
    description: &'static str,
    template: &'static str,
    metric: Metric,
    positive: Option<&'static str>,
    labels: fn() -> Vec<&'static str>,
    example: fn(&Rng, usize) -> Example,
    /// Number of labels to make examples of in turn.
    kinds: usize,
}

const SUITE: [Builtin; 6] = [
    Builtin {
        name: "builtin-sentiment",
        description: "The writer's verdict on a film, book, hotel …, through negation and contrast.",
        template: "sentiment sentence: {sentence}",
        metric: Metric::Accuracy,
        positive: None,
        labels: || vec!["negative", "positive"],
        example: sentiment::example,
        kinds: 2,
    },
    Builtin {
        name: "builtin-topic",
        description: "What the main clause is about, one of five topics.",
        template: "topic sentence: {sentence}",
        metric: Metric::Accuracy,
        positive: None,
        labels: topic::labels,
        example: topic::example,
        kinds: 5,
    },
    Builtin {
        name: "builtin-acceptability",
        description: "Whether a sentence is grammatical English: agreement, word order, verb forms, arguments.",
        template: "acceptability sentence: {sentence}",
        metric: Metric::Matthews,
        positive: None,
        labels: || vec!["unacceptable", "acceptable"],
        example: acceptability::example,
        kinds: 2,
    },
    Builtin {
        name: "builtin-paraphrase",
        description: "Whether two sentences say the same: synonyms, passives, who did it to whom.",
        template: "paraphrase sentence1: {sentence1} sentence2: {sentence2}",
        metric: Metric::F1,
        positive: Some("equivalent"),
        labels: || vec!["different", "equivalent"],
        example: paraphrase::example,
        kinds: 2,
    },
    Builtin {
        name: "builtin-entailment",
        description: "Whether the second sentence follows from the first, contradicts it, or neither.",
        template: "entailment sentence1: {sentence1} sentence2: {sentence2}",
        metric: Metric::Accuracy,
        positive: None,
        labels: || vec!["entailment", "neutral", "contradiction"],
        example: entailment::example,
        kinds: 3,
    },
    Builtin {
        name: "builtin-similarity",
        description: "How much two sentences share of agent, deed, object, place and time, from 0 to 5.",
        template: "similarity sentence1: {sentence1} sentence2: {sentence2}",
        metric: Metric::Pearson,
        positive: None,
        labels: Vec::new,
        example: similarity::example,
        kinds: similarity::KINDS,
    },
];

/// Names of the built-in tasks.
pub fn builtin_names() -> [&'static str; 6] {
    SUITE.each_ref().map(|builtin| builtin.name)
}

/// A built-in task by name: 2000 rows of train, 400 of dev, 800 of test, labels in equal numbers, no text twice.
pub fn builtin(name: &str) -> Option<Task> {
    SUITE.iter().find(|builtin| builtin.name == name).map(Builtin::task)
}

impl Builtin {
    fn task(&self) -> Task {
        let rng = Rng::named(self.name);
        let mut seen = HashSet::new();
        let mut rows = |count: usize| {
            let mut rows: Vec<Row> = Vec::with_capacity(count);
            while rows.len() < count {
                let example = (self.example)(&rng, rows.len() % self.kinds);
                let fields: Vec<_> = example.fields.into_iter().map(|(field, text)| (field.to_owned(), text)).collect();
                if seen.insert(fields.clone()) {
                    rows.push(Row { fields: fields.into_iter().collect(), label: example.label });
                }
            }
            rng.shuffle(&mut rows);
            rows
        };
        let rows = Rows { train: rows(SIZES[0]), dev: rows(SIZES[1]), test: rows(SIZES[2]) };
        Task::new(self.definition(), rows).expect("the grammar makes rows of its own definition")
    }

    fn definition(&self) -> Definition {
        let labels = (self.labels)().into_iter().map(|word| Label { value: word.into(), word: word.into() });
        let target = match self.metric {
            Metric::Pearson => Target::Regression { minimum: 0.0, maximum: 5.0, step: 0.5 },
            _ => Target::Classification { labels: labels.collect() },
        };
        Definition {
            name: self.name.into(),
            description: self.description.into(),
            template: self.template.into(),
            metric: self.metric,
            positive: self.positive.map(str::to_owned),
            target,
            data: Vec::new(),
        }
    }
}
