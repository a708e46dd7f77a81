//! The engine as its clients see it, its turns taken by the test: nothing sleeps and nothing depends on timing.

use super::testing::*;
use super::{Adapter, Error, Event, FinishReason, Generation, Settings};
use crate::delta::Single;
use crate::t5::{Backbone, DecodeSettings, EarlyStopping, Ended, Generated, generate as decode_alone};
use std::sync::Arc;

/// The adapters of [`structures`], and for each how it runs alone; the last is the bare backbone.
pub(super) struct Zoo {
    pub(super) backbone: Arc<Backbone>,
    pub(super) files: Files,
    pub(super) rows: Vec<Animal>,
}

pub(super) struct Animal {
    pub(super) adapter: Option<Arc<Adapter>>,
    single: Option<Arc<Single>>,
}

impl Zoo {
    pub(super) fn new() -> Self {
        let backbone = backbone();
        let files = Files::default();
        let mut rows = Vec::new();
        for (seed, structure) in structures(&backbone).iter().enumerate() {
            let values = values(&backbone, structure, seed as u64);
            let single = single(&backbone, structure, &values);
            let adapter = files.adapter(&format!("generation-{seed}"), &backbone, structure, values);
            rows.push(Animal { adapter: Some(adapter), single: Some(single) });
        }
        rows.push(Animal { adapter: None, single: None });
        Self { backbone, files, rows }
    }

    pub(super) fn alone(&self, row: usize, ids: &[u32], most: usize) -> Vec<Token> {
        alone(&self.backbone, deltas(&self.rows[row].single), ids, most)
    }

    pub(super) fn forced(&self, row: usize, ids: &[u32], target: &[u32]) -> f32 {
        forced(&self.backbone, deltas(&self.rows[row].single), ids, target)
    }
}

pub(super) fn beams(num_beams: usize, num_return_sequences: usize) -> DecodeSettings {
    DecodeSettings { num_beams, num_return_sequences, ..DecodeSettings::new(&config(), 12) }
}

pub(super) fn failure(receiver: &mut Generation) -> Error {
    match events(receiver).pop() {
        Some(Event::Failed(error)) => error,
        other => panic!("{other:?} instead of a failure"),
    }
}

pub(super) fn events(receiver: &mut Generation) -> Vec<Event> {
    std::iter::from_fn(|| receiver.try_recv()).collect()
}

#[test]
fn every_row_of_a_mixed_batch_equals_its_solo_run() {
    let zoo = Zoo::new();
    let (engine, mut thread) = engine(&zoo.backbone, Settings::default(), zoo.files.reader());
    let (mut requests, mut parted) = (Vec::new(), 0);
    for round in 0..4 {
        for row in 0..zoo.rows.len() {
            let (ids, most) = (source(3 + (5 * row + 7 * round) % 19, (row * 10 + round) as u64), 4 + 5 * round);
            let events = engine.generate(generate(zoo.rows[row].adapter.as_ref(), &ids, most)).unwrap();
            requests.push((row, ids, most, events));
        }
    }
    thread.serve_all();
    let count = requests.len();
    for (row, ids, most, mut found) in requests {
        parted += usize::from(same(&events(&mut found), &zoo.alone(row, &ids, most), zoo.backbone.config.eos));
    }
    eprintln!("near ties: {parted} of {count}");
    assert!(parted * 100 <= count);
    assert_eq!(zoo.files.read.lock().unwrap().len(), zoo.rows.len() - 1, "each adapter is read once");
}

#[test]
fn rows_join_late_and_leave_early() {
    let zoo = Zoo::new();
    let settings = Settings { max_batch_rows: 5, ..Settings::default() };
    let (engine, mut thread) = engine(&zoo.backbone, settings, zoo.files.reader());
    let mut requests = Vec::new();
    let (mut batches, mut parted) = (std::collections::BTreeSet::new(), 0);
    for turn in 0..60 {
        if turn < 24 {
            let row = turn % zoo.rows.len();
            // some outgrow the first room of their cache, some end at once
            let (ids, most) = (source(2 + 11 * turn % 23, turn as u64), [1, 40, 3, 18][turn % 4]);
            let events = engine.generate(generate(zoo.rows[row].adapter.as_ref(), &ids, most)).unwrap();
            requests.push((row, ids, most, events));
        }
        thread.turn();
        thread.load_all();
        batches.insert(thread.running());
    }
    thread.serve_all();
    assert!(batches.contains(&5) && batches.len() > 2, "batches of several sizes: {batches:?}");
    let count = requests.len();
    for (row, ids, most, mut found) in requests {
        parted += usize::from(same(&events(&mut found), &zoo.alone(row, &ids, most), zoo.backbone.config.eos));
    }
    assert!(parted * 100 <= count, "near ties: {parted} of {count}");
}

/// What a request reported, sequence by sequence.
pub(super) fn sequences(receiver: &mut Generation, count: usize) -> Vec<(Vec<u32>, FinishReason)> {
    let mut found = vec![(Vec::new(), None); count];
    for event in events(receiver) {
        match event {
            Event::Token { sequence, token } => {
                assert!(found[sequence].1.is_none(), "a token behind the end");
                found[sequence].0.push(token.id);
            }
            Event::Finished { sequence, reason } => found[sequence].1 = Some(reason),
            Event::Failed(error) => panic!("{error}"),
        }
    }
    found.into_iter().map(|(ids, reason)| (ids, reason.expect("every sequence ends"))).collect()
}

/// The same of a request run alone.
pub(super) fn wanted(zoo: &Zoo, row: usize, ids: &[u32], settings: &DecodeSettings) -> Vec<(Vec<u32>, FinishReason)> {
    let (model, deltas) = (&zoo.backbone.model, deltas(&zoo.rows[row].single));
    let encoded = model.encode(&model.batch(&[ids]).unwrap(), deltas);
    let made = decode_alone(model, &encoded, &[ids.to_vec()], settings, deltas).unwrap().remove(0);
    let of = |mut made: Generated| match made.ended {
        Ended::Stop => {
            made.ids.pop();
            (made.ids, FinishReason::Stop)
        }
        Ended::Length => (made.ids, FinishReason::Length),
    };
    made.into_iter().map(of).collect()
}

#[test]
fn beams_samples_and_greedy_rows_of_all_adapters_share_a_batch() {
    let zoo = Zoo::new();
    let settings = Settings { max_batch_rows: 17, ..Settings::default() };
    let (engine, mut thread) = engine(&zoo.backbone, settings, zoo.files.reader());
    let new = |most| DecodeSettings::new(&config(), most);
    let kinds = [
        new(20),
        beams(4, 3),
        DecodeSettings { do_sample: true, num_return_sequences: 3, seed: 5, ..new(25) },
        DecodeSettings { early_stopping: EarlyStopping::Never, length_penalty: 2.0, ..beams(3, 3) },
        DecodeSettings { repetition_penalty: 1.5, no_repeat_ngram_size: 2, ..new(18) },
        DecodeSettings { do_sample: true, temperature: 2.0, seed: 8, ..beams(2, 2) },
    ];
    let (mut requests, mut most) = (Vec::new(), 0);
    for turn in 0..2 * kinds.len() * zoo.rows.len() {
        let (row, kind) = (turn % zoo.rows.len(), turn % kinds.len());
        let ids = source(2 + 5 * turn % 19, turn as u64);
        let request = decode(zoo.rows[row].adapter.as_ref(), &ids, kinds[kind].clone());
        requests.push((row, kind, ids, engine.generate(request).unwrap()));
        if turn % 3 == 0 {
            thread.turn();
            thread.load_all();
            most = most.max(thread.running());
        }
    }
    thread.serve_all();
    assert!((14..=17).contains(&most), "{most} rows at most");
    let (count, mut parted) = (requests.len(), 0);
    for (row, kind, ids, mut generation) in requests {
        let settings = &kinds[kind];
        let found = sequences(&mut generation, settings.num_return_sequences);
        if found != wanted(&zoo, row, &ids, settings) {
            eprintln!("kind {kind}, adapter {row}: {found:?} instead of {:?}", wanted(&zoo, row, &ids, settings));
            parted += 1;
        }
    }
    assert!(parted * 100 <= count, "{parted} of {count} requests differ");
}

#[test]
fn a_sequence_that_is_not_wanted_leaves_and_the_others_go_on() {
    let zoo = Zoo::new();
    let (engine, mut thread) = engine(&zoo.backbone, Settings::default(), zoo.files.reader());
    let (ids, most) = (source(9, 2), 30);
    let settings = DecodeSettings { do_sample: true, num_return_sequences: 3, ..DecodeSettings::new(&config(), most) };
    let settings = DecodeSettings { min_new_tokens: most, seed: 3, ..settings };
    let mut generation = engine.generate(decode(None, &ids, settings.clone())).unwrap();
    thread.turn();
    assert_eq!(thread.running(), 3);
    generation.stop(1);
    thread.turn();
    assert_eq!(thread.running(), 2);
    thread.serve_all();
    let alone = wanted(&zoo, 8, &ids, &settings);
    let mut found = vec![Vec::new(); 3];
    for event in events(&mut generation) {
        if let Event::Token { sequence, token } = event {
            found[sequence].push(token.id);
        }
    }
    assert_eq!((found[1].len(), &found[0], &found[2]), (1, &alone[0].0, &alone[2].0));
}

#[test]
fn weights_that_overflow_fail_their_request_alone() {
    let zoo = Zoo::new();
    let (engine, mut thread) = engine(&zoo.backbone, Settings::default(), zoo.files.reader());
    let structure = structures(&zoo.backbone)[0].clone();
    let huge = values(&zoo.backbone, &structure, 1).iter().map(|value| value * 1e38).collect();
    let huge = zoo.files.adapter("huge", &zoo.backbone, &structure, huge);
    let ids = source(6, 1);
    for settings in [DecodeSettings::new(&config(), 9), beams(3, 2)] {
        let mut fine = engine.generate(decode(zoo.rows[2].adapter.as_ref(), &ids, settings.clone())).unwrap();
        let mut broken = engine.generate(decode(Some(&huge), &ids, settings.clone())).unwrap();
        let mut score = engine.score(scoring(Some(&huge), &ids, &[vec![3, 1]])).unwrap();
        thread.serve_all();
        let error = failure(&mut broken);
        assert_eq!(error, score.try_recv().unwrap().unwrap_err(), "predictions and completions say the same");
        assert!(error.to_string().contains("the adapter's weights overflow"), "{error}");
        let found = sequences(&mut fine, settings.num_return_sequences);
        assert_eq!(found, wanted(&zoo, 2, &ids, &settings), "the others are untouched");
    }
}

#[test]
fn scores_are_teacher_forced_log_probabilities() {
    let zoo = Zoo::new();
    let settings = Settings { max_batch_tokens: 40, ..Settings::default() };
    let (engine, mut thread) = engine(&zoo.backbone, settings, zoo.files.reader());
    let mut requests = Vec::new();
    for at in 0..2 * zoo.rows.len() {
        let (row, ids) = (at % zoo.rows.len(), source(2 + 7 * at % 17, at as u64));
        let targets: Vec<_> = (0..1 + at % 4).map(|n| source(1 + (n + at) % 4, (10 * at + n) as u64)).collect();
        let reply = engine.score(scoring(zoo.rows[row].adapter.as_ref(), &ids, &targets)).unwrap();
        // generations share the encoder pass
        let events = engine.generate(generate(zoo.rows[row].adapter.as_ref(), &ids, 2)).unwrap();
        requests.push((row, ids, targets, reply, events));
    }
    thread.serve_all();
    for (row, ids, targets, mut reply, mut found) in requests {
        let scores = reply.try_recv().unwrap().unwrap();
        assert_eq!(scores.len(), targets.len());
        for (score, target) in scores.iter().zip(&targets) {
            let wanted = zoo.forced(row, &ids, target);
            assert!((score - wanted).abs() < 1e-4 * target.len() as f32, "{score} instead of {wanted}");
        }
        same(&events(&mut found), &zoo.alone(row, &ids, 2), zoo.backbone.config.eos);
    }
}
