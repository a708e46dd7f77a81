//! Which requests are served when, which fail, and what becomes of adapters, seen as in `scenarios`.

use super::scenarios::*;
use super::testing::*;
use super::{Adapter, Error, Event, Settings};
use crate::delta::{Layout, Single};
use crate::structure::{DeltaModule, Kind, Positions, Shape, Structure};
use crate::t5::DecodeSettings;
use burn::tensor::Device;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

fn forbidding() -> DecodeSettings {
    DecodeSettings { suppress_tokens: (0..96).collect(), ..DecodeSettings::new(&config(), 12) }
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
    assert!(!same(&events(&mut stays), &zoo.alone(8, &ids, 30), zoo.backbone.config.eos), "the other is untouched");
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
    assert_eq!((thread.running(), engine.queued()), (2, 1));
    taken.extend([ask().unwrap(), ask().unwrap()]);
    thread.turn();
    assert_eq!((thread.running(), engine.queued()), (2, 3), "two that were looked at wait as well");
    assert_eq!(ask().unwrap_err(), Error::QueueFull { capacity: 3 });
    thread.serve_all();
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
    let (structure_of, weights, checksum) = (structure.clone(), "x".into(), String::new());
    let missing = Arc::new(Adapter { generation: "missing".into(), structure: structure_of, weights, checksum });
    let corrupt = zoo.files.raw("corrupt", structure, vec![7; 100]);
    let mut cut = zoo.files.bytes("generation-0");
    cut.truncate(cut.len() - 1);
    let cut = zoo.files.raw("cut", structure, cut);
    let damaged = zoo.files.raw("damaged", structure, zoo.files.bytes("generation-0"));
    zoo.files.raw("damaged", structure, zoo.files.bytes("generation-1"));
    let foreign = zoo.files.raw("foreign", &foreign, Vec::new());
    let ids = source(4, 3);
    let refused = [
        (generate(Some(&missing), &ids, 3), "adapter generation missing: its file of delta weights cannot be read"),
        (generate(Some(&corrupt), &ids, 3), "not a valid safetensors file"),
        (generate(Some(&cut), &ids, 3), "adapter generation cut: the delta weights do not fit"),
        (generate(Some(&damaged), &ids, 3), "its file of delta weights is not what was stored"),
        (generate(Some(&foreign), &ids, 3), "d_ff=99"),
        (generate(None, &[], 3), "the input has no token"),
        (generate(None, &[2, 96, 1], 3), "id 96, which is not below the vocabulary's 96"),
        (generate(None, &vec![2; 513], 3), "513 tokens, the limit is 512"),
        (generate(None, &ids, 0), "`max_new_tokens` is 0: give at least 1"),
        (generate(None, &ids, usize::MAX), "the limit is 256: ask for fewer"),
        (decode(None, &ids, beams(33, 33)), "33 sequences or beams of one source (`n`, `num_beams`), the limit is 28"),
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
    let (gate, read) = (Mutex::new(gate), zoo.files.reader());
    let slow = zoo.rows[0].adapter.as_ref().unwrap().weights.clone();
    let gated = Box::new(move |path: &std::path::Path, into: &mut Vec<u8>| {
        if *path == *slow {
            gate.lock().unwrap().recv().map_err(|_| std::io::Error::from(std::io::ErrorKind::Other))?;
        }
        read(path, into)
    });
    let (engine, mut thread) = engine(&zoo.backbone, Settings::default(), gated);
    let ids = source(6, 1);
    let mut waits = engine.generate(generate(zoo.rows[0].adapter.as_ref(), &ids, 3)).unwrap();
    let mut same_one = engine.generate(generate(zoo.rows[0].adapter.as_ref(), &ids, 3)).unwrap();
    let mut goes_on = engine.generate(generate(None, &ids, 3)).unwrap();
    while thread.turn() {}
    assert!(matches!(events(&mut goes_on).last(), Some(Event::Finished { .. })));
    let mut other = engine.generate(generate(zoo.rows[1].adapter.as_ref(), &ids, 3)).unwrap();
    while !matches!(events(&mut other).last(), Some(Event::Finished { .. })) {
        thread.turn();
    }
    assert!(events(&mut waits).is_empty());
    open.send(()).unwrap();
    thread.serve_all();
    assert_eq!(events(&mut waits), events(&mut same_one));
    assert_eq!(zoo.files.read.lock().unwrap().len(), 2, "two that wait for one adapter read it once");
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
    for _ in 0..3 {
        thread.turn();
        thread.load_all();
    }
    assert_eq!((thread.running(), reads()), (1, 2), "the one in use was not read again");
    assert!(short.iter_mut().all(|events| events.try_recv().is_some()));
    thread.serve_all();
    let mut again = ask(0, 100);
    thread.serve_all();
    assert_eq!(reads(), 3, "no request used it, so it had left");
    let (alone, eos) = (zoo.alone(0, &source(5, 2), 100), zoo.backbone.config.eos);
    assert!(!same(&events(&mut long), &alone, eos) && !same(&events(&mut again), &alone, eos));
}

/// Requests that wait hold no more adapters in memory than the setting allows, and each gets its own in the end.
#[test]
fn adapters_of_those_who_wait_are_bounded() {
    let zoo = Zoo::new();
    let ids = source(5, 2);
    let of = |row: usize| zoo.rows[row].adapter.as_ref().unwrap();
    let bytes = |row: usize| of(row).structure.parameters() * size_of::<f32>();
    // the first two fit, and the third does not
    let settings = Settings { adapter_bytes: bytes(0) + bytes(1), max_batch_rows: 1, ..Settings::default() };
    let (engine, mut thread) = engine(&zoo.backbone, settings, zoo.files.reader());
    let reads = || zoo.files.read.lock().unwrap().len();
    let keeps_on = DecodeSettings { min_new_tokens: 40, ..DecodeSettings::new(&config(), 40) };
    let mut running = engine.generate(decode(None, &ids, keeps_on)).unwrap();
    thread.turn();
    let rows = [0, 1, 2, 0, 3, 2];
    let mut waiting: Vec<_> =
        rows.iter().map(|row| engine.generate(generate(Some(of(*row)), &ids, 3)).unwrap()).collect();
    for _ in 0..3 {
        thread.turn();
        thread.load_all();
    }
    assert_eq!((thread.running(), reads()), (1, 2), "they wait for the only row");
    thread.serve_all();
    assert!(matches!(events(&mut running).last(), Some(Event::Finished { .. })));
    for (row, waiting) in rows.iter().zip(&mut waiting) {
        assert!(!same(&events(waiting), &zoo.alone(*row, &ids, 3), zoo.backbone.config.eos), "row {row}");
    }
}

/// However often others ask, whose adapters are in memory, one that is not is read in its turn, though there is room for one only.
#[test]
fn an_adapter_that_is_not_in_memory_has_its_turn() {
    let zoo = Zoo::new();
    let settings = Settings { adapter_bytes: 1, max_batch_rows: 2, ..Settings::default() };
    let (engine, mut thread) = engine(&zoo.backbone, settings, zoo.files.reader());
    let ask = |row: usize| engine.generate(generate(zoo.rows[row].adapter.as_ref(), &source(5, 2), 3)).unwrap();
    let mut hot: Vec<_> = (0..4).map(|_| ask(0)).collect();
    thread.turn();
    thread.load_all();
    thread.turn();
    let mut cold = ask(1);
    let served = (0..40).any(|_| {
        hot.extend([ask(0), ask(0)]);
        thread.turn();
        thread.load_all();
        matches!(events(&mut cold).last(), Some(Event::Finished { .. }))
    });
    assert!(served, "none starves");
    thread.serve_all();
    assert!(hot.iter_mut().all(|one| matches!(events(one).last(), Some(Event::Finished { .. }))));
}

/// One adapter's texts never take all rows, so that another one need not wait for their ends.
#[test]
fn a_row_is_left_to_others() {
    let zoo = Zoo::new();
    let settings = Settings { max_batch_rows: 8, ..Settings::default() };
    let (engine, mut thread) = engine(&zoo.backbone, settings, zoo.files.reader());
    let of = |row: usize| zoo.rows[row].adapter.as_ref();
    let keeps_on = DecodeSettings { min_new_tokens: 100, ..DecodeSettings::new(&config(), 100) };
    let ids = source(5, 2);
    let mut long: Vec<_> = (0..9).map(|_| engine.generate(decode(None, &ids, keeps_on.clone())).unwrap()).collect();
    thread.turn();
    assert_eq!(thread.running(), 7);
    let mut other = engine.generate(generate(of(0), &ids, 1)).unwrap();
    thread.turn();
    thread.load_all();
    thread.turn();
    assert!(matches!(events(&mut other).last(), Some(Event::Finished { .. })));
    let wide = DecodeSettings { num_return_sequences: 7, do_sample: true, ..DecodeSettings::new(&config(), 3) };
    let mut wide = engine.generate(decode(of(1), &ids, wide)).unwrap();
    thread.serve_all();
    assert!(long.iter_mut().all(|one| matches!(events(one).last(), Some(Event::Finished { .. }))));
    assert_eq!(events(&mut wide).iter().filter(|event| matches!(event, Event::Finished { .. })).count(), 7);
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

/// Whose requests end after each other, one row at a time: letters are adapters (`x` is none), a request makes as many tokens
/// as its number says.
fn turns(zoo: &Zoo, requests: &str) -> String {
    let settings = Settings { max_batch_rows: 1, ..Settings::default() };
    let (engine, mut thread) = engine(&zoo.backbone, settings, zoo.files.reader());
    let flow = |letter: &str| "abcd".find(letter).map_or(8, |at| at);
    let ask = |word: &str| {
        let most: usize = word[1..].parse().unwrap();
        let adapter = zoo.rows[flow(&word[..1])].adapter.as_ref();
        let settings = DecodeSettings { min_new_tokens: most, ..DecodeSettings::new(&config(), most) };
        engine.generate(decode(adapter, &source(4, 1), settings)).unwrap()
    };
    let mut receivers: Vec<_> = requests.split(' ').map(|word| (word, ask(word))).collect();
    let mut ended = Vec::new();
    while !receivers.is_empty() {
        thread.turn();
        thread.load_all();
        receivers.retain_mut(|(word, receiver)| {
            let over = matches!(events(receiver).last(), Some(Event::Finished { .. }));
            ended.extend(over.then_some(*word));
            !over
        });
    }
    ended.join(" ")
}

#[test]
fn an_adapter_that_floods_the_queue_delays_itself() {
    let zoo = Zoo::new();
    // the first turn comes while the adapters are read: only what needs none is ready then
    assert_eq!(turns(&zoo, "x3 a3 a3 a3 a3 b3 c3"), "x3 a3 b3 c3 a3 a3 a3");
    assert_eq!(turns(&zoo, "x3 x3 x3 a2 x3"), "x3 a2 x3 x3 x3");
    assert_eq!(turns(&zoo, "x30 x30 a2 a2 a2"), "x30 a2 a2 a2 x30", "tokens count, not requests");
}

#[test]
fn whose_time_is_over_is_told_so_and_leaves_its_place() {
    let zoo = Zoo::new();
    let settings = Settings { queue: 3, max_batch_rows: 2, ..Settings::default() };
    let (engine, mut thread) = engine(&zoo.backbone, settings, zoo.files.reader());
    let (ids, start) = (source(9, 2), Instant::now());
    let by = |seconds| Some(start + Duration::from_secs(seconds));
    let long = || decode(None, &ids, DecodeSettings::new(&config(), 60));
    let mut runs_out = engine.generate_by(long(), by(100)).unwrap();
    let mut stays = engine.generate_by(long(), by(300)).unwrap();
    let mut waits = engine.generate_by(long(), by(200)).unwrap();
    thread.turn_at(start);
    let mut score = engine.score_by(scoring(zoo.rows[0].adapter.as_ref(), &ids, &[vec![3, 1]]), by(100)).unwrap();
    assert_eq!((thread.running(), engine.queued()), (2, 2));
    thread.turn_at(start + Duration::from_secs(150));
    assert_eq!(failure(&mut runs_out), Error::TimedOut, "under way");
    assert_eq!(score.try_recv().unwrap().unwrap_err(), Error::TimedOut, "while its adapter is read");
    assert_eq!((thread.running(), engine.queued()), (2, 0), "the one that waited has its row");
    thread.turn_at(start + Duration::from_secs(250));
    assert_eq!(failure(&mut waits), Error::TimedOut);
    while thread.turn_at(start) {}
    assert!(!same(&events(&mut stays), &zoo.alone(8, &ids, 60), zoo.backbone.config.eos), "the other is untouched");
    let mut late = engine.generate_by(long(), by(0)).unwrap();
    thread.turn_at(start);
    assert_eq!(failure(&mut late), Error::TimedOut, "before it began");
}

#[test]
fn the_thread_wakes_for_a_deadline() {
    let zoo = Zoo::new();
    let waits = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (open, gate) = std::sync::mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let gated = Box::new(move |_: &std::path::Path, _: &mut Vec<u8>| {
        let _ = gate.lock().unwrap().recv();
        Err(std::io::Error::from(std::io::ErrorKind::Other))
    });
    let (engine, thread) = engine(&zoo.backbone, Settings::default(), gated);
    // its adapter is not read before it has failed
    let deadline = Some(Instant::now() + Duration::from_millis(20));
    let request = generate(zoo.rows[0].adapter.as_ref(), &source(4, 1), 3);
    let mut generation = engine.generate_by(request, deadline).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || thread.run(&waits));
        assert_eq!(generation.blocking_recv(), Some(Event::Failed(Error::TimedOut)));
        open.send(()).unwrap();
        drop(engine);
    });
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
        let broken = Single::new(&layout, vec![1.0; 40], wide.len(), &Device::flex());
        thread.plant(position, Arc::new(broken));
        let structure = zoo.rows[0].adapter.as_ref().unwrap().structure.clone();
        let broken = Arc::new(Adapter {
            generation: position.into(),
            structure,
            weights: "none".into(),
            checksum: String::new(),
        });

        let mut earlier = engine.generate(generate(None, &ids, 9)).unwrap();
        thread.turn();
        let mut hit = engine.generate(generate(Some(&broken), &ids, 9)).unwrap();
        let mut score = engine.score(scoring(Some(&broken), &ids, &[vec![3, 1]])).unwrap();
        thread.serve_all();
        for error in [score.try_recv().unwrap().unwrap_err(), failure(&mut hit)] {
            assert!(error.to_string().contains("the engine panicked"), "{error}");
        }
        if position.starts_with("encoder") {
            let parted = same(&events(&mut earlier), &zoo.alone(8, &ids, 9), zoo.backbone.config.eos);
            assert!(!parted, "rows that only decode are untouched by an encoder pass that panics");
        }
        let mut after = engine.generate(generate(zoo.rows[1].adapter.as_ref(), &ids, 9)).unwrap();
        thread.serve_all();
        same(&events(&mut after), &zoo.alone(1, &ids, 9), zoo.backbone.config.eos);
    }
}

#[test]
fn the_thread_answers_what_is_queued_and_ends() {
    let zoo = Zoo::new();
    let runtime = |_| tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let [waits, runtime] = [0; 2].map(runtime);
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
            assert_eq!(ask(&zoo.rows[8]).unwrap_err(), Error::Stopped);
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
    let settings = Settings { max_batch_tokens: 20, encoder_cache_bytes: 0, ..Settings::default() };
    let (engine, mut thread) = engine(&zoo.backbone, settings, zoo.files.reader());
    // sources by length and whether their adapter is still to be read; which are answered after each turn
    let mut check = |lengths: &[(usize, bool)], wanted: &[&[usize]]| {
        let ask = |(at, (len, adapter)): (usize, &(usize, bool))| {
            let adapter = adapter.then(|| zoo.rows[0].adapter.as_ref()).flatten();
            engine.score(scoring(adapter, &source(*len, at as u64), &[vec![3, 1]])).unwrap()
        };
        let mut replies: Vec<_> = lengths.iter().enumerate().map(ask).map(Some).collect();
        for (turn, wanted) in wanted.iter().enumerate() {
            thread.turn();
            let answered =
                |reply: &mut Option<_>| reply.take_if(|reply: &mut super::Scoring| reply.try_recv().is_ok()).is_some();
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

/// While a request of many rows waits for its room, those pass it who are through before it has that, and so the room is used.
#[test]
fn who_is_through_in_time_passes_a_request_of_many_rows() {
    let zoo = Zoo::new();
    let settings = Settings { max_batch_rows: 8, encoder_cache_bytes: 0, ..Settings::default() };
    let (engine, mut thread) = engine(&zoo.backbone, settings, zoo.files.reader());
    let by = |row: usize| zoo.rows[row].adapter.as_ref();
    let makes = |n| DecodeSettings { min_new_tokens: n, ..DecodeSettings::new(&config(), n) };
    for (first, others) in [(8, 8), (0, 8), (0, 0), (0, 1)] {
        let ask =
            |of: usize, n: usize, settings| engine.generate(decode(by(of), &source(5, n as u64), settings)).unwrap();
        let mut running: Vec<_> = (0..3).map(|n| ask(first, n, makes(60))).collect();
        thread.turn();
        thread.load_all();
        thread.turn();
        assert_eq!(thread.running(), 3);
        let mut large = ask(first, 9, DecodeSettings { num_beams: 7, ..makes(20) });
        let mut late = ask(first, 10, makes(100));
        thread.turn();
        let is_over = |generation: &mut crate::serve::Generation| {
            matches!(std::iter::from_fn(|| generation.try_recv()).last(), Some(Event::Finished { .. }))
        };
        for turn in (2..50).step_by(5) {
            let mut short = ask(others, 20 + turn, makes(3));
            for _ in 0..5 {
                thread.turn();
                thread.load_all();
            }
            assert!(is_over(&mut short), "after {turn} turns");
        }
        assert!(!is_over(&mut late), "it would hold a row that the large one waits for");
        let mut turns = 52;
        while !is_over(&mut large) {
            thread.turn();
            turns += 1;
        }
        assert!(
            (70..82).contains(&turns),
            "the large request is through after {turns} turns, 20 after the first three"
        );
        assert!(running.iter_mut().all(is_over));
        thread.serve_all();
        assert!(is_over(&mut late));
    }
}
