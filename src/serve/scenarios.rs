//! The engine as its clients see it, its turns taken by the test: nothing sleeps and nothing depends on timing.

use super::testing::*;
use super::{Adapter, Error, Event, FinishReason, Generation, Settings};
use crate::delta::{Layout, Single};
use crate::structure::{DeltaModule, Kind, Positions, Shape, Structure};
use crate::t5::{Backbone, DecodeSettings, EarlyStopping, Ended, Generated, generate as decode_alone};
use burn::tensor::Device;
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
}

pub(super) fn beams(num_beams: usize, num_return_sequences: usize) -> DecodeSettings {
    DecodeSettings { num_beams, num_return_sequences, ..DecodeSettings::new(&config(), 12) }
}

fn forbidding() -> DecodeSettings {
    DecodeSettings { suppress_tokens: (0..96).collect(), ..DecodeSettings::new(&config(), 12) }
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
    let alone = wanted(&zoo, 6, &ids, &settings);
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
            let wanted = forced(&zoo.backbone, deltas(&zoo.rows[row].single), &ids, target);
            assert!((score - wanted).abs() < 1e-4 * target.len() as f32, "{score} instead of {wanted}");
        }
        same(&events(&mut found), &zoo.alone(row, &ids, 2), zoo.backbone.config.eos);
    }
}

#[test]
fn a_client_that_left_leaves_the_batch_within_a_step() {
    let zoo = Zoo::new();
    let (engine, mut thread) = engine(&zoo.backbone, Settings::default(), zoo.files.reader());
    let ids = source(5, 1);
    let gone = engine.generate(generate(None, &source(9, 2), 200)).unwrap();
    let mut stays = engine.generate(generate(None, &ids, 30)).unwrap();
    thread.turn();
    assert_eq!(thread.running(), 2, "both make more than one token");
    drop(gone);
    thread.turn();
    assert_eq!(thread.running(), 1);
    let waiting = engine.generate(generate(zoo.rows[0].adapter.as_ref(), &ids, 30)).unwrap();
    drop(waiting);
    thread.serve_all();
    assert!(!same(&events(&mut stays), &zoo.alone(6, &ids, 30), zoo.backbone.config.eos), "the other is untouched");
}

#[test]
fn a_full_queue_refuses_and_forgets_nothing() {
    let zoo = Zoo::new();
    let settings = Settings { queue: 3, max_batch_rows: 2, ..Settings::default() };
    let (engine, mut thread) = engine(&zoo.backbone, settings, zoo.files.reader());
    let ask = || engine.generate(generate(None, &source(4, 3), 3));
    let mut taken: Vec<_> = (0..3).map(|_| ask().unwrap()).collect();
    assert_eq!(ask().unwrap_err(), Error::QueueFull { capacity: 3 });
    thread.turn();
    taken.push(ask().unwrap());
    thread.serve_all();
    for mut receiver in taken {
        assert!(matches!(events(&mut receiver).last(), Some(Event::Finished { .. })));
    }
}

#[test]
fn what_cannot_be_served_fails_alone() {
    let zoo = Zoo::new();
    let (engine, mut thread) = engine(&zoo.backbone, Settings::default(), zoo.files.reader());
    let structure = &zoo.rows[0].adapter.as_ref().unwrap().structure;
    let other_shape = Shape { d_ff: 99, ..zoo.backbone.shape().clone() };
    let modules = structure.modules.clone();
    let provenance = structure.provenance[0].clone();
    let foreign = Arc::new(Structure::new(&other_shape, modules, provenance).unwrap());
    let missing = Arc::new(Adapter { generation: "missing".into(), structure: structure.clone(), weights: "x".into() });
    let corrupt = zoo.files.raw("corrupt", structure, vec![7; 100]);
    let mut cut = zoo.files.bytes("generation-0");
    cut.truncate(cut.len() - 1);
    let cut = zoo.files.raw("cut", structure, cut);
    let foreign = zoo.files.raw("foreign", &foreign, Vec::new());
    let ids = source(4, 3);
    let refused = [
        (generate(Some(&missing), &ids, 3), "adapter generation missing: cannot read its delta weights"),
        (generate(Some(&corrupt), &ids, 3), "not a valid safetensors file"),
        (generate(Some(&cut), &ids, 3), "adapter generation cut: the delta weights do not fit"),
        (generate(Some(&foreign), &ids, 3), "d_ff=99"),
        (generate(None, &[], 3), "the input has no token"),
        (generate(None, &[2, 96, 1], 3), "id 96, which is not below the vocabulary's 96"),
        (generate(None, &vec![2; 513], 3), "513 tokens, the limit is 512"),
        (generate(None, &ids, 0), "`max_new_tokens` is 0: give at least 1"),
        (generate(None, &ids, usize::MAX), "the limit is 256: ask for fewer"),
        (decode(None, &ids, beams(33, 33)), "33 sequences or beams of one source, the limit is 32"),
        (decode(None, &ids, beams(2, 3)), "`num_return_sequences` is 3, more than `num_beams` 2"),
        (decode(None, &ids, forbidding()), "forbid every token"),
    ];
    let mut served: Vec<_> =
        zoo.rows.iter().map(|row| engine.generate(generate(row.adapter.as_ref(), &ids, 3))).collect();
    let refused = refused.map(|(request, wanted)| (engine.generate(request).unwrap(), wanted));
    let score = |targets: &[Vec<u32>]| engine.score(scoring(None, &ids, targets)).unwrap();
    let scores = [
        (score(&[]), "0 targets"),
        (score(&[vec![3], vec![]]), "target 1 has no token"),
        (score(&[vec![96]]), "target 0 holds id 96"),
    ];
    thread.serve_all();
    for (mut receiver, wanted) in refused {
        let found = events(&mut receiver);
        let [Event::Failed(error)] = &found[..] else { panic!("{found:?}, not {wanted}") };
        assert!(error.to_string().contains(wanted), "{error}");
    }
    for (mut reply, wanted) in scores {
        let error = reply.try_recv().unwrap().unwrap_err();
        assert!(error.to_string().contains(wanted), "{error}");
    }
    for receiver in &mut served {
        let found = events(receiver.as_mut().unwrap());
        assert!(matches!(found.last(), Some(Event::Finished { .. })), "{found:?}");
    }
}

#[test]
fn an_adapter_that_could_not_be_read_is_read_again_when_asked_again() {
    let zoo = Zoo::new();
    let (engine, mut thread) = engine(&zoo.backbone, Settings::default(), zoo.files.reader());
    let adapter = zoo.rows[1].adapter.as_ref().unwrap();
    let bytes = zoo.files.bytes("generation-1");
    zoo.files.raw("generation-1", &adapter.structure, Vec::new());
    for wanted in [false, true] {
        let mut receiver = engine.generate(generate(Some(adapter), &source(4, 3), 3)).unwrap();
        thread.serve_all();
        assert_eq!(matches!(events(&mut receiver).last(), Some(Event::Finished { .. })), wanted);
        zoo.files.raw("generation-1", &adapter.structure, bytes.clone());
    }
}

#[test]
fn an_adapter_that_is_being_read_holds_up_nobody() {
    let zoo = Zoo::new();
    let (open, gate) = std::sync::mpsc::channel::<()>();
    let read = zoo.files.reader();
    let gated = Box::new(move |path: &std::path::Path| {
        gate.recv().map_err(|_| std::io::Error::from(std::io::ErrorKind::Other))?;
        read(path)
    });
    let (engine, mut thread) = engine(&zoo.backbone, Settings::default(), gated);
    let ids = source(6, 1);
    let mut waits = engine.generate(generate(zoo.rows[0].adapter.as_ref(), &ids, 3)).unwrap();
    let mut same_one = engine.generate(generate(zoo.rows[0].adapter.as_ref(), &ids, 3)).unwrap();
    let mut goes_on = engine.generate(generate(None, &ids, 3)).unwrap();
    while thread.turn() {}
    assert!(matches!(events(&mut goes_on).last(), Some(Event::Finished { .. })));
    assert!(events(&mut waits).is_empty());
    open.send(()).unwrap();
    thread.serve_all();
    assert_eq!(events(&mut waits), events(&mut same_one));
    assert_eq!(zoo.files.read.lock().unwrap().len(), 1, "two that wait for one adapter read it once");
}

#[test]
fn adapters_in_use_stay_and_others_leave_for_room() {
    let zoo = Zoo::new();
    let settings = Settings { adapter_bytes: 1, ..Settings::default() };
    let (engine, mut thread) = engine(&zoo.backbone, settings, zoo.files.reader());
    let ask =
        |row: usize, most| engine.generate(generate(zoo.rows[row].adapter.as_ref(), &source(5, 2), most)).unwrap();
    let reads = || zoo.files.read.lock().unwrap().len();
    let mut long = ask(0, 100);
    thread.turn();
    thread.load_all();
    thread.turn();
    assert_eq!((thread.running(), reads()), (1, 1));
    let mut short = [ask(0, 1), ask(1, 1)];
    thread.turn();
    thread.load_all();
    thread.turn();
    assert_eq!((thread.running(), reads()), (1, 2), "the one in use was not read again");
    assert!(short.iter_mut().all(|events| events.try_recv().is_some()));
    thread.serve_all();
    let mut again = ask(0, 100);
    thread.serve_all();
    assert_eq!(reads(), 3, "no request used it, so it had left");
    assert_eq!(events(&mut long), events(&mut again));
}

#[test]
fn requests_are_served_in_the_order_they_came() {
    let zoo = Zoo::new();
    let settings = Settings { max_batch_rows: 1, ..Settings::default() };
    let (engine, mut thread) = engine(&zoo.backbone, settings, zoo.files.reader());
    let mut receivers: Vec<_> =
        (0..6).map(|n| engine.generate(generate(None, &source(3, n), 1 + n as usize)).unwrap()).collect();
    let mut ended = Vec::new();
    while thread.turn() {
        for (n, receiver) in receivers.iter_mut().enumerate() {
            if matches!(events(receiver).last(), Some(Event::Finished { .. })) {
                ended.push(n);
            }
        }
    }
    assert_eq!(ended, [0, 1, 2, 3, 4, 5]);
}

#[test]
fn a_panic_fails_its_batch_and_the_engine_goes_on() {
    let zoo = Zoo::new();
    let (engine, mut thread) = engine(&zoo.backbone, Settings::default(), zoo.files.reader());
    let ids = source(6, 1);
    for position in ["encoder.block.0.layer.0.SelfAttention.q", "decoder.block.0.layer.0.SelfAttention.q"] {
        // a bias of another width, as no checked file can hold it
        let wide = Shape { num_heads: 5, ..zoo.backbone.shape().clone() };
        let wide = Positions::new(&wide);
        let modules = [DeltaModule::new(position, Kind::Bitfit)];
        let layout = Layout::new(&wide, &modules).unwrap();
        let broken = Single::new(&layout, &[1.0; 40], wide.len(), &Device::flex());
        thread.plant(position, Arc::new(broken));
        let structure = zoo.rows[0].adapter.as_ref().unwrap().structure.clone();
        let broken = Arc::new(Adapter { generation: position.into(), structure, weights: "none".into() });

        let mut earlier = engine.generate(generate(None, &ids, 9)).unwrap();
        thread.turn();
        let mut hit = engine.generate(generate(Some(&broken), &ids, 9)).unwrap();
        let mut score = engine.score(scoring(Some(&broken), &ids, &[vec![3, 1]])).unwrap();
        thread.serve_all();
        for error in [score.try_recv().unwrap().unwrap_err(), failure(&mut hit)] {
            assert!(error.to_string().contains("the engine panicked"), "{error}");
        }
        if position.starts_with("encoder") {
            let parted = same(&events(&mut earlier), &zoo.alone(6, &ids, 9), zoo.backbone.config.eos);
            assert!(!parted, "rows that only decode are untouched by an encoder pass that panics");
        }
        let mut after = engine.generate(generate(zoo.rows[1].adapter.as_ref(), &ids, 9)).unwrap();
        thread.serve_all();
        same(&events(&mut after), &zoo.alone(1, &ids, 9), zoo.backbone.config.eos);
    }
}

fn failure(receiver: &mut Generation) -> Error {
    match events(receiver).pop() {
        Some(Event::Failed(error)) => error,
        other => panic!("{other:?} instead of a failure"),
    }
}

#[test]
fn the_thread_answers_what_is_queued_and_ends() {
    let zoo = Zoo::new();
    let [waits, runtime] = [0; 2].map(|_| tokio::runtime::Builder::new_current_thread().build().unwrap());
    for by_shutdown in [true, false] {
        let (engine, thread) = engine(&zoo.backbone, Settings::default(), zoo.files.reader());
        let ask = |row: &Animal| engine.generate(generate(row.adapter.as_ref(), &source(5, 1), 4));
        let mut receivers: Vec<_> = zoo.rows.iter().map(|row| ask(row).unwrap()).collect();
        if by_shutdown {
            std::thread::scope(|scope| {
                let shutdown = scope.spawn(|| runtime.block_on(engine.shutdown()));
                thread.run(&waits);
                shutdown.join().unwrap();
            });
            assert_eq!(ask(&zoo.rows[6]).unwrap_err(), Error::Stopped);
        } else {
            drop(engine);
            thread.run(&waits);
        }
        for receiver in &mut receivers {
            assert!(matches!(events(receiver).last(), Some(Event::Finished { .. })));
        }
    }
}

#[test]
fn who_does_not_fit_goes_next_and_who_waits_for_an_adapter_is_passed() {
    let zoo = Zoo::new();
    let settings = Settings { max_batch_tokens: 20, ..Settings::default() };
    let (engine, mut thread) = engine(&zoo.backbone, settings, zoo.files.reader());
    // sources by length and whether their adapter is still to be read; which are answered after each turn
    let mut check = |lengths: &[(usize, bool)], wanted: &[&[usize]]| {
        let ask = |(len, adapter): &(usize, bool)| {
            let adapter = adapter.then(|| zoo.rows[0].adapter.as_ref()).flatten();
            engine.score(scoring(adapter, &source(*len, 1), &[vec![3, 1]])).unwrap()
        };
        let mut replies: Vec<_> = lengths.iter().map(ask).map(Some).collect();
        for (turn, wanted) in wanted.iter().enumerate() {
            thread.turn();
            let answered = |reply: &mut Option<_>| {
                reply.take_if(|reply: &mut tokio::sync::oneshot::Receiver<_>| reply.try_recv().is_ok()).is_some()
            };
            let found: Vec<_> = (0..replies.len()).filter(|at| answered(&mut replies[*at])).collect();
            assert_eq!(&found, wanted, "{lengths:?}, turn {turn}");
        }
        thread.serve_all();
    };
    check(&[(4, false), (12, false), (4, false)], &[&[0], &[1], &[2]]);
    check(&[(5, false), (5, false), (5, false), (5, false), (5, false)], &[&[0, 1, 2, 3], &[4]]);
    check(&[(30, false), (2, false)], &[&[0], &[1]]);
    check(&[(4, false), (12, true), (4, false)], &[&[0, 2]]);
}
