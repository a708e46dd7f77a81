//! What joins while rows are under way: in parts, in turn, and no longer than somebody waits for it.

use super::scenarios::*;
use super::testing::*;
use super::{Error, Event, List, Settings};
use crate::t5::DecodeSettings;
use std::time::{Duration, Instant};

#[test]
fn rows_under_way_are_not_held_up_by_those_that_join() {
    let zoo = Zoo::new();
    let settings = Settings { encoded_between_steps: 20, encoder_cache_bytes: 0, ..Settings::default() };
    let (engine, mut thread) = engine(&zoo.backbone, settings, zoo.files.reader());
    let mut running = Vec::new();
    let mut ask = |count: u64, len: usize| {
        let settings = DecodeSettings { min_new_tokens: 50, ..DecodeSettings::new(&config(), 50) };
        let each = (0..count).map(|n| engine.generate(decode(None, &source(len, n), settings.clone())).unwrap());
        running.extend(each);
    };
    ask(6, 10);
    for _ in 0..3 {
        thread.turn();
    }
    assert_eq!(thread.running(), 6, "60 tokens, two blocks, then their keys and values");
    ask(6, 11);
    ask(1, 50);
    for wanted in [7, 8, 9, 10, 11, 12, 12, 12, 13] {
        thread.turn();
        assert_eq!(thread.running(), wanted, "one source of 11 tokens a step, and a long one block by block");
    }
    thread.serve_all();
    assert!(running.iter_mut().all(|one| matches!(events(one).last(), Some(Event::Finished { .. }))));
}

/// A pass of a scoring's targets a turn, in which rows under way make a token; and nobody is told what came too late.
#[test]
fn many_targets_hold_nobody_up() {
    let zoo = Zoo::new();
    let (engine, mut thread) = engine(&zoo.backbone, Settings::default(), zoo.files.reader());
    let settings = DecodeSettings { min_new_tokens: 40, ..DecodeSettings::new(&config(), 40) };
    let mut running = engine.generate(decode(None, &source(5, 1), settings)).unwrap();
    thread.turn();
    let targets: Vec<Vec<u32>> = (0..40).map(|n| source(60, n)).collect();
    let start = Instant::now();
    let by = |seconds| Some(start + Duration::from_secs(seconds));
    let score = |deadline| engine.score_by(scoring(None, &source(6, 2), &targets), deadline).unwrap();
    let mut turns = 0;
    for deadline in [None, by(100)] {
        let (before, mut scoring) = (turns, score(deadline));
        let found = loop {
            thread.turn_at(start);
            turns += 1;
            if let Ok(found) = scoring.try_recv() {
                break found;
            }
        };
        assert!(found.is_ok() && turns - before > 4, "{} turns for 40 targets of 60 tokens", turns - before);
    }
    let tokens = std::iter::from_fn(|| running.try_recv()).filter(|event| matches!(event, Event::Token { .. }));
    assert_eq!(tokens.count(), turns + 1, "a token a turn");
    let mut late = score(by(0));
    thread.turn_at(start);
    assert_eq!(late.try_recv().unwrap().unwrap_err(), Error::TimedOut);
}

/// Where nothing is under way, sources are encoded in parts as well, so that a request that is over ends soon.
#[test]
fn a_deadline_is_kept_while_sources_are_encoded() {
    let zoo = Zoo::new();
    let settings = Settings { encoded_between_steps: 20, ..Settings::default() };
    let (engine, mut thread) = engine(&zoo.backbone, settings, zoo.files.reader());
    let start = Instant::now();
    let deadline = Some(start + Duration::from_secs(100));
    let mut generation = engine.generate_by(generate(None, &source(60, 1), 3), deadline).unwrap();
    thread.turn_at(start);
    assert_eq!(thread.running(), 0, "60 tokens take longer than a turn");
    thread.turn_at(start + Duration::from_secs(101));
    assert_eq!(failure(&mut generation), Error::TimedOut);
}

/// A long prompt goes through each block some queries at a time, so that rows under way make their tokens.
#[test]
fn a_long_prompt_goes_through_a_block_in_parts() {
    let zoo = Zoo::new();
    let settings = Settings { encoded_between_steps: 32, encoder_cache_bytes: 0, ..Settings::default() };
    let (engine, mut thread) = engine(&zoo.backbone, settings, zoo.files.reader());
    for row in [8, 0, 4] {
        let keeps_on = DecodeSettings { min_new_tokens: 200, ..DecodeSettings::new(&config(), 200) };
        let mut running = engine.generate(decode(None, &source(5, 1), keeps_on)).unwrap();
        thread.turn();
        let ids = source(400, row as u64);
        let mut long = engine.generate(generate(zoo.rows[row].adapter.as_ref(), &ids, 20)).unwrap();
        thread.turn();
        thread.load_all();
        let before = std::iter::from_fn(|| running.try_recv()).count();
        let mut turns = 0;
        while thread.running() < 2 {
            thread.turn();
            turns += 1;
        }
        assert!(turns > 8 && before > 0, "{turns} turns for two blocks");
        assert_eq!(std::iter::from_fn(|| running.try_recv()).count(), turns, "a token a turn");
        thread.serve_all();
        same(&events(&mut long), &zoo.alone(row, &ids, 20), zoo.backbone.config.eos);
    }
}

/// Whoever asks for little does not wait for long prompts, nor for long lists of targets; and they go on beside it.
#[test]
fn short_requests_pass_long_ones() {
    let zoo = Zoo::new();
    let settings = Settings { encoded_between_steps: 32, encoder_cache_bytes: 0, ..Settings::default() };
    let (engine, mut thread) = engine(&zoo.backbone, settings, zoo.files.reader());
    let prompt = |n| engine.generate(generate(None, &source(400, n), 3)).unwrap();
    let mut long: Vec<_> = (0..4).map(prompt).collect();
    let targets: Vec<Vec<u32>> = (0..80).map(|n| source(60, n)).collect();
    let mut scored = engine.score(scoring(None, &source(6, 9), &targets)).unwrap();
    let mut turns = 0;
    let mut left: Vec<usize> = (0..4).collect();
    let mut is_scored = false;
    while !left.is_empty() || !is_scored {
        let mut short = engine.generate(generate(None, &source(5, turns), 2)).unwrap();
        for _ in 0..6 {
            thread.turn();
        }
        assert!(matches!(events(&mut short).last(), Some(Event::Finished { .. })), "after {turns} turns");
        left.retain(|at| !matches!(events(&mut long[*at]).last(), Some(Event::Finished { .. })));
        is_scored = is_scored || scored.try_recv().is_ok();
        turns += 6;
        assert!(turns < 2000, "{left:?} of the long ones are not done");
    }
    assert!(turns > 60, "{turns} turns for four prompts of 400 tokens and 80 targets of 60");
}

/// The keys and values of the texts under way are bounded, but one text goes in any case.
#[test]
fn long_sources_wait_for_one_another() {
    let zoo = Zoo::new();
    let settings = Settings { max_decoded_tokens: 100, encoder_cache_bytes: 0, ..Settings::default() };
    let (engine, mut thread) = engine(&zoo.backbone, settings, zoo.files.reader());
    let keeps_on = DecodeSettings { min_new_tokens: 9, ..DecodeSettings::new(&config(), 9) };
    let ask = |len: usize| engine.generate(decode(None, &source(len, len as u64), keeps_on.clone())).unwrap();
    let mut check = |lengths: &[usize], wanted: usize| {
        let mut asked: Vec<_> = lengths.iter().map(|len| ask(*len)).collect();
        for _ in 0..4 {
            thread.turn();
        }
        assert_eq!(thread.running(), wanted, "{lengths:?}");
        thread.serve_all();
        assert!(asked.iter_mut().all(|one| matches!(events(one).last(), Some(Event::Finished { .. }))));
    };
    check(&[50, 50, 50], 3); // the same source
    check(&[50, 49, 48], 2);
    check(&[200, 5], 1);
    check(&[5, 200], 1);
    check(&[60, 59, 5], 2); // the last has room beside either
    check(&[60, 59, 42], 1);
}

/// Whoever leaves a group that joins takes along what was still to be computed.
#[test]
fn a_group_that_joins_goes_on_without_those_who_left() {
    let zoo = Zoo::new();
    let limits = Settings { max_source_tokens: 800, encoded_between_steps: 720, ..Settings::default() };
    let settings = Settings { encoder_cache_bytes: 0, ..limits };
    let (engine, mut thread) = engine(&zoo.backbone, settings, zoo.files.reader());
    let ids = [source(700, 1), source(710, 2), source(690, 3)]; // none is long, and each has a pass of its own
    let turns = |leaves: bool, thread: &mut super::engine::EngineThread| {
        let start = Instant::now();
        let score = |ids: &[u32], deadline| {
            let deadline = Some(start + Duration::from_secs(deadline));
            engine.score_by(scoring(None, ids, &[vec![3, 1], vec![4, 1]]), deadline).unwrap()
        };
        let mut stays = score(&ids[2], 1000);
        let mut late = score(&ids[1], 100);
        let mut gone = Some(score(&ids[0], 1000));
        thread.turn_at(start);
        let now = if leaves {
            gone = None;
            start + Duration::from_secs(101)
        } else {
            start
        };
        let mut turns = 1;
        let scores = loop {
            thread.turn_at(now);
            turns += 1;
            if let Ok(scores) = stays.try_recv() {
                break scores.unwrap();
            }
        };
        assert_eq!(late.try_recv().unwrap().is_err(), leaves);
        assert_eq!(gone.is_none(), leaves);
        (turns, scores)
    };
    let (all, wanted) = turns(false, &mut thread);
    let (few, found) = turns(true, &mut thread);
    assert!(3 * few < 2 * all, "{few} turns, {all} with those who left");
    found.iter().zip(&wanted).for_each(|(found, wanted)| assert!((found - wanted).abs() < 1e-4, "{found} {wanted}"));
}

/// Of a list only the first request is refused; the others wait until there is room, in their order.
#[tokio::test]
async fn a_list_waits_for_places() {
    use futures_util::FutureExt;
    let zoo = Zoo::new();
    let settings = Settings { queue: 4, ..Settings::default() };
    let (engine, _thread) = engine(&zoo.backbone, settings, zoo.files.reader());
    let list = List::new(&engine);
    let mut held: Vec<_> = [list.enter(None, None).await.unwrap(), list.enter(None, None).await.unwrap()].into();
    let soon = Instant::now() + Duration::from_millis(20);
    assert_eq!(list.enter(None, Some(soon)).await.unwrap_err(), Error::TimedOut, "half of the places are taken");
    let others: Vec<_> = (0..2).map(|_| engine.generate(generate(None, &source(4, 1), 3)).unwrap()).collect();
    assert_eq!(List::new(&engine).enter(None, None).await.unwrap_err(), Error::QueueFull { capacity: 4 });
    let mut next = Box::pin(list.enter(None, None));
    let mut last = Box::pin(list.enter(None, None));
    assert!((&mut next).now_or_never().is_none() && (&mut last).now_or_never().is_none());
    held.remove(0);
    assert!((&mut last).now_or_never().is_none(), "not its turn");
    assert!((&mut next).now_or_never().is_none(), "others took more than the half");
    held.clear();
    held.push(next.await.unwrap());
    assert!((&mut last).now_or_never().is_none(), "the list has one under way, the others two");
    held.clear();
    assert!(last.await.is_ok(), "of whom nothing is under way, it takes any");
    drop(others);
}
