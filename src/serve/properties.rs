//! Random batches of random requests: each gives what it gives alone.

use super::Settings;
use super::scenarios::{Zoo, beams, sequences, wanted};
use super::testing::*;
use crate::t5::{DecodeSettings, EarlyStopping};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::cell::Cell;

/// A request and its fate.
#[derive(Debug, Clone)]
struct Plan {
    /// Which of the zoo's adapters; the last is none.
    adapter: usize,
    length: usize,
    seed: u64,
    settings: DecodeSettings,
    /// The turn in which it comes.
    joins: usize,
    /// Turns after which its client leaves, if it does.
    leaves: Option<usize>,
}

fn settings() -> impl Strategy<Value = DecodeSettings> {
    let new = || (1..24usize).prop_map(|most| DecodeSettings::new(&config(), most));
    let stopping = prop_oneof![Just(EarlyStopping::Heuristic), Just(EarlyStopping::Full), Just(EarlyStopping::Never)];
    prop_oneof![
        3 => new(),
        1 => (new(), 1.0..2.0f64, 0..4usize).prop_map(|(settings, repetition_penalty, no_repeat_ngram_size)| {
            DecodeSettings { repetition_penalty, no_repeat_ngram_size, ..settings }
        }),
        2 => (new(), 1..5usize, 0.3..2.0f64, 0.5..1.0f64, any::<u64>()).prop_map(|(settings, n, temperature, top_p, seed)| {
            DecodeSettings { do_sample: true, num_return_sequences: n, temperature, top_p, seed, ..settings }
        }),
        2 => (1..16usize, 2..5usize, 0.0..2.0f64, stopping).prop_map(|(most, num_beams, length_penalty, early_stopping)| {
            let settings = beams(num_beams, num_beams - 1);
            DecodeSettings { max_new_tokens: most, length_penalty, early_stopping, ..settings }
        }),
        1 => (1..10usize, any::<u64>()).prop_map(|(most, seed)| {
            DecodeSettings { max_new_tokens: most, do_sample: true, seed, ..beams(3, 2) }
        }),
    ]
}

fn plan() -> impl Strategy<Value = Plan> {
    let leaves = prop_oneof![4 => Just(None), 1 => (1..6usize).prop_map(Some)];
    (0..7usize, 1..24usize, any::<u64>(), settings(), 0..12usize, leaves).prop_map(
        |(adapter, length, seed, settings, joins, leaves)| Plan { adapter, length, seed, settings, joins, leaves },
    )
}

/// Rounding differs with the batch's shape: a request may part from its solo run where two choices lie close together; 1 % of
/// them are too many.
#[test]
fn random_batches_equal_solo_runs() {
    let zoo = Zoo::new();
    let (count, parted) = (Cell::new(0), Cell::new(0));
    let config = Config { cases: 48, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let batch = (proptest::collection::vec(plan(), 1..=17), 4..20usize);
    let run = runner.run(&batch, |(plans, max_batch_rows)| {
        let settings = Settings { max_batch_rows, ..Settings::default() };
        let (engine, mut thread) = engine(&zoo.backbone, settings, zoo.files.reader());
        let mut under_way: Vec<_> = plans.iter().map(|_| None).collect();
        for turn in 0..20 {
            for (plan, generation) in plans.iter().zip(&mut under_way) {
                if plan.joins == turn {
                    let ids = source(plan.length, plan.seed);
                    let request = decode(zoo.rows[plan.adapter].adapter.as_ref(), &ids, plan.settings.clone());
                    *generation = Some(engine.generate(request).unwrap());
                }
                if plan.leaves.is_some_and(|leaves| plan.joins + leaves == turn) {
                    *generation = None;
                }
            }
            thread.turn();
            thread.load_all();
            prop_assert!(thread.running() <= max_batch_rows);
        }
        thread.serve_all();
        prop_assert_eq!(thread.running(), 0);
        for (plan, generation) in plans.iter().zip(&mut under_way) {
            let Some(generation) = generation else { continue };
            let found = sequences(generation, plan.settings.num_return_sequences);
            count.set(count.get() + 1);
            if found != wanted(&zoo, plan.adapter, &source(plan.length, plan.seed), &plan.settings) {
                parted.set(parted.get() + 1);
            }
        }
        prop_assert!(parted.get() <= 3 + count.get() / 100, "{} of {} requests differ", parted.get(), count.get());
        Ok(())
    });
    run.unwrap();
    eprintln!("near ties: {} of {}", parted.get(), count.get());
    assert!(count.get() > 300 && parted.get() * 100 <= count.get(), "{} of {}", parted.get(), count.get());
}
