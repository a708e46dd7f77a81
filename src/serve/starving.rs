//! Requests that keep coming put off nobody for ever.

use super::scenarios::*;
use super::testing::*;
use super::{Error, Event, Generation, Settings};
use crate::t5::DecodeSettings;
use std::time::{Duration, Instant};

fn is_over(one: &mut Generation) -> bool {
    matches!(events(one).last(), Some(Event::Finished { .. }))
}

/// A prompt of many turns while a short request comes at every turn, or every few.
#[test]
fn short_requests_let_a_long_one_go_on() {
    let zoo = Zoo::new();
    for every in [1, 2, 3, 6] {
        let settings = Settings { encoded_between_steps: 32, encoder_cache_bytes: 0, ..Settings::default() };
        let (engine, mut thread) = engine(&zoo.backbone, settings, zoo.files.reader());
        let mut long = engine.generate(generate(None, &source(400, 1), 3)).unwrap();
        let (mut turns, mut short) = (0, Vec::new());
        while !is_over(&mut long) {
            if turns % every == 0 {
                short.push(engine.generate(generate(None, &source(5, turns + 10), 2)).unwrap());
            }
            thread.turn();
            turns += 1;
            assert!(turns < 80, "it is not done after {turns} turns with one in {every}");
        }
        let served = short.iter_mut().filter_map(|one| is_over(one).then_some(())).count();
        assert!(served + 4 >= short.len() / 2, "{served} of {} in {turns} turns", short.len());
    }
}

/// The same beside scorings; whoever waits no longer is told so while it joins.
#[test]
fn a_deadline_holds_while_others_join() {
    let zoo = Zoo::new();
    let settings = Settings { encoded_between_steps: 32, encoder_cache_bytes: 0, ..Settings::default() };
    let (engine, mut thread) = engine(&zoo.backbone, settings, zoo.files.reader());
    let deadline = Instant::now() + Duration::from_secs(600);
    let mut long = engine.generate_by(generate(None, &source(400, 1), 3), Some(deadline)).unwrap();
    for turn in 0..4 {
        let _short = engine.score(scoring(None, &source(5, turn + 10), &[vec![3, 1], vec![4, 1]])).unwrap();
        thread.turn_at(deadline - Duration::from_secs(1));
    }
    assert!(events(&mut long).is_empty());
    let _short = engine.score(scoring(None, &source(5, 9), &[vec![3, 1]])).unwrap();
    thread.turn_at(deadline);
    assert!(matches!(events(&mut long).as_slice(), [Event::Failed(Error::TimedOut)]));
}

/// A request of 7 of 8 rows while two long prompts of two rows each are under way, and one comes for each that is done.
#[test]
fn long_prompts_let_a_large_request_have_its_rows() {
    let zoo = Zoo::new();
    let limits = Settings { encoded_between_steps: 32, encoder_cache_bytes: 0, ..Settings::default() };
    let (engine, mut thread) = engine(&zoo.backbone, Settings { max_batch_rows: 8, ..limits }, zoo.files.reader());
    let two = |n: u64| {
        let settings = DecodeSettings { num_beams: 2, min_new_tokens: 3, ..DecodeSettings::new(&config(), 3) };
        engine.generate(decode(zoo.rows[4].adapter.as_ref(), &source(400, n), settings)).unwrap()
    };
    let mut long = vec![two(1)];
    for _ in 0..15 {
        thread.turn();
        thread.load_all();
    }
    long.push(two(2));
    for _ in 0..3 {
        thread.turn();
    }
    let large = DecodeSettings { num_beams: 7, min_new_tokens: 5, ..DecodeSettings::new(&config(), 5) };
    let mut large = engine.generate(decode(zoo.rows[8].adapter.as_ref(), &source(5, 9), large)).unwrap();
    let (mut turns, mut count) = (0, 2);
    while !is_over(&mut large) {
        while long.len() < 3 {
            count += 1;
            long.push(two(count));
        }
        thread.turn();
        thread.load_all();
        long.retain_mut(|one| !is_over(one));
        turns += 1;
        assert!(turns < 200, "it is not done after {turns} turns, {count} long ones came");
    }
}

/// A source that has no room beside a text whose keys and values are in the cache, while requests about that text keep coming.
#[test]
fn a_known_text_lets_another_source_have_room() {
    let zoo = Zoo::new();
    let settings = Settings { max_decoded_tokens: 100, ..Settings::default() };
    let (engine, mut thread) = engine(&zoo.backbone, settings, zoo.files.reader());
    let known = source(60, 1);
    let ask = |most: usize| {
        let settings = DecodeSettings { min_new_tokens: most, ..DecodeSettings::new(&config(), most) };
        engine.generate(decode(None, &known, settings)).unwrap()
    };
    let mut first = ask(3);
    thread.serve_all();
    assert!(is_over(&mut first));
    let mut hot = vec![ask(20), ask(10)];
    thread.turn();
    let mut other = engine.generate(generate(zoo.rows[0].adapter.as_ref(), &source(50, 7), 3)).unwrap();
    let mut turns = 0;
    while !is_over(&mut other) {
        if turns % 5 == 0 && hot.len() < 4 {
            hot.push(ask(20));
        }
        thread.turn();
        thread.load_all();
        hot.retain_mut(|one| !is_over(one));
        turns += 1;
        assert!(turns < 100, "it is not done after {turns} turns");
    }
}

/// A long source that needs 7 of 8 rows, while short requests fill whatever rows are free and others of long sources keep coming.
#[test]
fn long_sources_let_a_larger_one_go_before_them() {
    let zoo = Zoo::new();
    let limits = Settings { encoded_between_steps: 32, encoder_cache_bytes: 0, ..Settings::default() };
    let (engine, mut thread) = engine(&zoo.backbone, Settings { max_batch_rows: 8, ..limits }, zoo.files.reader());
    let ask = |row: usize, len: usize, seed: u64, beams: usize, most: usize| {
        let settings =
            DecodeSettings { num_beams: beams, min_new_tokens: most, ..DecodeSettings::new(&config(), most) };
        engine.generate(decode(zoo.rows[row].adapter.as_ref(), &source(len, seed), settings)).unwrap()
    };
    let (mut short, mut long, mut seed) = (Vec::new(), Vec::new(), 1);
    let mut large = None;
    for turn in 0..600 {
        while short.len() < 12 {
            seed += 1;
            short.push(ask(0, 4, seed, 1, 20 + seed as usize % 40));
        }
        while long.len() < 4 {
            seed += 1;
            long.push(ask(4, 90, seed, 1, 1));
        }
        if turn == 20 {
            large = Some(ask(8, 80, 0, 7, 2));
        }
        thread.turn();
        thread.load_all();
        short.retain_mut(|one| !is_over(one));
        long.retain_mut(|one| !is_over(one));
        if large.as_mut().is_some_and(is_over) {
            return;
        }
    }
    panic!("it is not done, {seed} others came");
}

/// An adapter whose requests were given up before they were taken, or whose file could not be read, waits no longer than another.
#[test]
fn what_is_given_up_is_not_charged() {
    let zoo = Zoo::new();
    let limits = Settings { encoder_cache_bytes: 0, queue: 400, ..Settings::default() };
    let (engine, mut thread) = engine(&zoo.backbone, Settings { max_batch_rows: 2, ..limits }, zoo.files.reader());
    let ask = |row: usize, most: usize, deadline: Option<Instant>| {
        let settings = DecodeSettings { min_new_tokens: most, ..DecodeSettings::new(&config(), most) };
        engine.generate_by(decode(zoo.rows[row].adapter.as_ref(), &source(5, row as u64), settings), deadline).unwrap()
    };
    let start = Instant::now();
    let mut others: Vec<_> = (0..6).map(|_| ask(0, 4, None)).collect();
    let mut behind = None;
    for round in 0..10 {
        let mut late: Vec<_> = (0..10).map(|_| ask(4, 200, Some(start))).collect();
        let gone: Vec<_> = (0..10).map(|_| ask(4, 200, None)).collect();
        drop(gone);
        behind = (round == 9).then(|| ask(4, 2, None));
        thread.turn_at(start);
        thread.load_all();
        assert!(late.iter_mut().all(|one| failure(one) == Error::TimedOut));
    }
    let mut one = behind.expect("one that stays where the last ones leave");
    for turn in 0.. {
        others.retain_mut(|other| !is_over(other));
        while others.len() < 6 {
            others.push(ask(0, 4, None));
        }
        thread.turn_at(start);
        thread.load_all();
        if is_over(&mut one) {
            return;
        }
        assert!(turn < 40, "it is not done after {turn} turns");
    }
}
