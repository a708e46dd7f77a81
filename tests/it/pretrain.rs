//! A whole pre-training run on a little text.

use burn::tensor::Device;
use s3delta::pretrain::{Corpus, Error, Event, PretrainConfig, Report, Result, Run, Sample, run};
use s3delta::t5::Backbone;
use s3delta::task::builtin_corpus;
use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};
use tokenizers::normalizers::NFKC;
use tokenizers::{NormalizedString, Normalizer, Tokenizer};

const SETTINGS: &str = r#"
    [model]
    d_model = 16
    d_kv = 4
    num_heads = 2
    encoder_layers = 1
    decoder_layers = 1
    d_ff = 24

    [vocabulary]
    size = 120
    sentinels = 8
    byte_fallback = false
    characters = 100_000
    coverage = 1.0

    [corruption]
    source_tokens = 32

    [training]
    seed = 3
    steps = 6
    batch_size = 4
    rate = 1e-2
    warm_up = 2
    cool_down = 0.5
    clip = 1.0
    weight_decay = 0.0
    report_every = 1
    evaluate_every = 3
    checkpoint_every = 2
    held_out_batches = 1
"#;

/// Writes a text into the folder, as an archive of two files.
fn write_text(dir: &Path) -> PathBuf {
    let sentences = builtin_corpus(1, 4000);
    let xz = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
    let mut archive = tar::Builder::new(xz);
    for (name, part) in ["a/wiki_00", "a/wiki_01"].into_iter().zip(sentences.chunks(2000)) {
        let text = part.join("\n") + "\n";
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        archive.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    let path = dir.join("text.tar.xz");
    std::fs::write(&path, archive.into_inner().unwrap().finish().unwrap()).unwrap();
    path
}

/// A run on the text, its observer being asked at each event.
fn pretrain(
    text: &Path,
    out: &Path,
    tokenizer: Option<&Path>,
    resume: bool,
    observe: &mut dyn FnMut(Event<'_>) -> bool,
) -> Result<Report> {
    let mut config: PretrainConfig = toml::from_str(SETTINGS).unwrap();
    config.text.min_characters = 10;
    let text = Corpus::open(&[text.to_path_buf()], &config.text)?;
    let device = Device::flex();
    let (sentences, stop_after) = (Vec::new(), None);
    let overwrite = false;
    run(Run { config, text, sentences, tokenizer, out, resume, overwrite, stop_after, device: &device }, observe)
}

/// Runs until `stop_at` steps; gives the losses.
fn train(text: &Path, out: &Path, resume: bool, stop_at: usize) -> Vec<f64> {
    let mut losses = Vec::new();
    let mut observe = |event: Event<'_>| {
        let Event::Step(progress) = event else { return true };
        losses.push(progress.loss);
        progress.step < stop_at
    };
    pretrain(text, out, None, resume, &mut observe).unwrap();
    losses
}

#[test]
fn a_run_that_was_interrupted_ends_in_the_same_file() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, parts) = (dir.path().join("whole"), dir.path().join("parts"));
    let text = write_text(dir.path());
    let first = train(&text, &whole, false, 1);
    // from here on both have one vocabulary, whose training may differ in the last bits
    std::fs::create_dir(&parts).unwrap();
    for name in ["tokenizer.json", "checkpoint.safetensors"] {
        std::fs::copy(whole.join(name), parts.join(name)).unwrap();
    }
    let at_once = train(&text, &whole, true, usize::MAX);
    let mut halves = train(&text, &parts, true, 3);
    halves.extend(train(&text, &parts, true, usize::MAX));
    assert_eq!((first.len(), at_once.len()), (1, 5));
    assert_eq!(at_once, halves);
    let weights = |dir: &Path| std::fs::read(dir.join("model.safetensors")).unwrap();
    assert!(weights(&whole) == weights(&parts));

    let backbone = Backbone::open(&parts, &Device::flex()).unwrap();
    assert_eq!(backbone.config.vocab_size, 120);
    let tokenizer = backbone.tokenizer().unwrap();
    let ids = tokenizer.encode("The mayor sold the plum").unwrap();
    assert_eq!(tokenizer.decode(&ids, true).unwrap(), "The mayor sold the plum");
}

/// What is in the folder is neither overwritten nor mixed with what another vocabulary made.
#[test]
fn a_run_is_not_lost_to_another() {
    let dir = tempfile::tempdir().unwrap();
    let (text, out) = (write_text(dir.path()), dir.path().join("out"));
    train(&text, &out, false, 3);
    let names = ["tokenizer.json", "model.safetensors", "checkpoint.safetensors", "log.jsonl"];
    let kept = || names.map(|name| std::fs::read(out.join(name)).unwrap());
    let before = kept();
    let settings = write_settings(dir.path(), "");
    let command = |more: &[&str]| {
        let [settings, out] = [&settings, &out].map(|path| path.to_str().unwrap());
        let words = ["pretrain", "--config", settings, "--out", out, "--device", "cpu"];
        crate::cli::run(dir.path(), &[&words[..], more].concat())
    };
    let refused = |more: &[&str], wanted: &str| {
        let output = command(more);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && told.contains(wanted), "{told}");
        assert!(kept() == before, "{more:?} changed what was there");
    };
    refused(&[], "holds a run already");
    refused(&["--steps", "1"], "--overwrite");
    refused(&["--overwrite", "--steps", "99999"], "more than the 6 of the schedule");
    refused(&["--resume", "--steps", "0"], "--steps 0 trains nothing");
    std::fs::write(out.join("tokenizer.json"), other_vocabulary(&before[0])).unwrap();
    let output = command(&["--resume"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && told.contains("another vocabulary"), "{told}");
    std::fs::write(out.join("tokenizer.json"), &before[0]).unwrap();
    let output = command(&["--overwrite", "--steps", "2"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let log = std::fs::read_to_string(out.join("log.jsonl")).unwrap();
    assert!(log.lines().count() == 2 && log.starts_with("{\"step\":1,"), "{log}");

    // killed before its first checkpoint: the vocabulary stays what it was
    let tokenizer = std::fs::read(out.join("tokenizer.json")).unwrap();
    std::fs::remove_file(out.join("checkpoint.safetensors")).unwrap();
    assert!(command(&["--resume", "--steps", "1"]).status.success());
    assert!(std::fs::read(out.join("tokenizer.json")).unwrap() == tokenizer);
}

/// The same vocabulary with two pieces that have changed places.
fn other_vocabulary(document: &[u8]) -> String {
    let mut document: serde_json::Value = serde_json::from_slice(document).unwrap();
    let pieces = document["model"]["vocab"].as_array_mut().unwrap();
    let length = pieces.len();
    pieces.swap(length / 2, length / 2 + 1);
    document.to_string()
}

/// Runs to the end; gives what the text was read for, and the notes.
fn events(text: &Path, out: &Path, tokenizer: Option<&Path>, resume: bool) -> Result<Vec<String>> {
    let mut events = Vec::new();
    let mut observe = |event: Event<'_>| {
        match event {
            Event::Reading(reading) if reading.done => events.push(reading.purpose.to_string()),
            Event::Note(text) => events.push(text.to_string()),
            _ => {}
        }
        true
    };
    pretrain(text, out, tokenizer, resume, &mut observe)?;
    Ok(events)
}

#[test]
fn text_is_read_only_when_it_must_be() {
    let dir = tempfile::tempdir().unwrap();
    let (text, out) = (write_text(dir.path()), dir.path().join("out"));
    let tokens = out.join("tokens.safetensors");
    let again = || events(&text, &out, None, true).unwrap();
    assert_eq!(events(&text, &out, None, false).unwrap(), ["the vocabulary", "the tokens"]);
    assert!(again().is_empty(), "the tokens were kept");

    std::fs::write(&tokens, b"no tokens").unwrap();
    let damaged = again();
    assert!(damaged[0].contains("tokens.safetensors") && damaged[0].contains("damaged"), "{damaged:?}");
    assert_eq!(damaged[1..], ["the tokens"]);

    let file = std::fs::File::options().append(true).open(&text).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    let changed = again();
    assert!(changed[0].contains("another text"), "{changed:?}");
    assert_eq!(changed[1..], ["the tokens"]);

    let (given, other) = (out.join("tokenizer.json"), dir.path().join("other"));
    assert_eq!(events(&text, &other, Some(&given), false).unwrap(), ["the tokens"]);
    let bytes = |dir: &Path, name| std::fs::read(dir.join(name)).unwrap();
    for name in ["tokenizer.json", "model.safetensors"] {
        assert!(bytes(&out, name) == bytes(&other, name), "{name}");
    }
    let foreign = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/pocket-t5/tokenizer.json");
    let error = events(&text, &dir.path().join("third"), Some(&foreign), false).unwrap_err().to_string();
    assert!(error.contains("8192 pieces") && error.contains("vocabulary.size is 120"), "{error}");
}

#[test]
fn a_run_stops_while_it_reads() {
    let dir = tempfile::tempdir().unwrap();
    let (text, out) = (write_text(dir.path()), dir.path().join("out"));
    let mut readings = 0;
    let mut observe = |event: Event<'_>| {
        readings += usize::from(matches!(event, Event::Reading(_)));
        readings < 2 // the vocabulary's pass is over, that of the tokens is not
    };
    let error = pretrain(&text, &out, None, false, &mut observe).unwrap_err();
    assert!(matches!(error, Error::Stopped), "{error}");
    assert!(out.join("tokenizer.json").exists() && !out.join("tokens.safetensors").exists());
}

/// Writes settings that name their text, with more of them at the end.
fn write_settings(dir: &Path, more: &str) -> PathBuf {
    let path = dir.join("pretrain.toml");
    let text = "\n[text]\npaths = [\"text.tar.xz\"]\nmin_characters = 10\n";
    std::fs::write(&path, format!("{SETTINGS}{text}{more}")).unwrap();
    path
}

/// What a run gave: its report, its losses by step, and the other events.
type Ran = (Report, Vec<(usize, f64)>, Vec<String>);

/// So many steps of a run by a settings file, text and vocabulary being given or as the file says.
fn pretrain_by(settings: &Path, text: &[PathBuf], out: &Path, steps: usize) -> Result<Ran> {
    let config = PretrainConfig::read(settings)?;
    let text = Corpus::choose(text, &config.text)?;
    let (tokenizer, device) = (config.vocabulary.tokenizer.clone(), Device::flex());
    let run_of = Run {
        config,
        text,
        sentences: Vec::new(),
        tokenizer: tokenizer.as_deref(),
        out,
        resume: true,
        overwrite: false,
        stop_after: Some(steps),
        device: &device,
    };
    let (mut losses, mut events) = (Vec::new(), Vec::new());
    let report = run(run_of, &mut |event| {
        match event {
            Event::Reading(reading) if reading.done => events.push(reading.purpose.to_string()),
            Event::Note(text) => events.push(text.to_string()),
            Event::Step(progress) => losses.push((progress.step, progress.loss)),
            _ => {}
        }
        true
    })?;
    Ok((report, losses, events))
}

#[test]
fn settings_say_everything_and_a_mixture_may_follow() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let text = write_text(dir.path());
    let settings = write_settings(dir.path(), "");
    let steps = |losses: &[(usize, f64)]| losses.iter().map(|(step, _)| *step).collect::<Vec<_>>();
    let (first, losses, events) = pretrain_by(&settings, &[], &out, 3).unwrap();
    assert_eq!((steps(&losses), events), (vec![1, 2, 3], vec!["the vocabulary".into(), "the tokens".to_string()]));
    assert!(first.mixture.is_none());

    // the same text by another path
    std::fs::create_dir(dir.path().join("sub")).unwrap();
    let same = dir.path().join("sub/..").join(text.file_name().unwrap());
    let (_, losses, events) = pretrain_by(&settings, &[same], &out, 4).unwrap();
    assert_eq!((steps(&losses), events.len()), (vec![4], 0), "{events:?}");

    let rows: String = (0..300)
        .map(|i| format!("{{\"source\": \"is {i} a number\", \"target\": \"{}\"}}\n", ["yes", "it is one"][i % 2]))
        .collect();
    std::fs::write(dir.path().join("rows.jsonl"), rows).unwrap();
    let mixture = "\n[supervised]\nshare = 0.5\npaths = [\"rows.jsonl\"]\nexclude = [\"builtin-topic\"]\n";
    let settings = write_settings(dir.path(), mixture);
    let (report, losses, events) = pretrain_by(&settings, &[], &out, 6).unwrap();
    assert_eq!(steps(&losses), [5, 6]);
    assert_eq!(events[0], "the supervised mixture");
    assert!(events[1].contains("0 left out for builtin-topic") && events.len() == 2, "{events:?}");
    let found = report.mixture.unwrap();
    assert_eq!(found.rows + found.held_out, 300);
    assert_eq!(report.held_out.keys().collect::<Vec<_>>(), ["supervised", "text"]);
    assert!(report.tokens > first.tokens);

    let log = std::fs::read_to_string(out.join("log.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        lines.iter().map(|line| line["step"].as_u64().unwrap()).collect::<Vec<_>>(),
        (1..=6).collect::<Vec<_>>()
    );
    assert_eq!(lines[5]["tokens"], report.tokens);
    assert!(lines[5]["held_out"]["supervised"].as_f64().unwrap() > 0.0 && lines[4].get("held_out").is_none());
    let curve = std::fs::read_to_string(out.join("curve.svg")).unwrap();
    assert!(curve.contains("held out: supervised") && curve.contains("held out: text"));
}

#[test]
fn a_run_of_fewer_steps_is_the_beginning_of_the_whole() {
    let dir = tempfile::tempdir().unwrap();
    let text = write_text(dir.path());
    let all = train(&text, &dir.path().join("whole"), false, usize::MAX);
    let later = "\n[supervised]\nshare = 0.5\nfrom_step = 4\npaths = [\"nowhere.jsonl\"]\n";
    let (settings, out) = (write_settings(dir.path(), later), dir.path().join("part"));
    let given = std::fs::read_to_string(&settings).unwrap();
    std::fs::write(&settings, given.replace("coverage", "tokenizer = 'whole/tokenizer.json'\n    coverage")).unwrap();
    // the mixture is not read before its step comes
    let (_, losses, _) = pretrain_by(&settings, &[], &out, 4).unwrap();
    assert_eq!(losses.iter().map(|(_, loss)| *loss).collect::<Vec<_>>(), all[..4]);
    for (steps, wanted) in [(5, "nowhere.jsonl"), (7, "--steps 7 is more than the 6 of the schedule")] {
        let error = pretrain_by(&settings, &[], &out, steps).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn text_that_the_settings_name_and_is_absent_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let settings = write_settings(dir.path(), "");
    let error = pretrain_by(&settings, &[], &dir.path().join("out"), 1).unwrap_err().to_string();
    assert!(error.contains("text.tar.xz") && error.contains("text.paths") && error.contains("--text"), "{error}");
}

/// The first character at which two texts part, with what follows.
fn difference<'a>(a: &'a str, b: &'a str) -> (&'a str, &'a str) {
    let at = a.char_indices().zip(b.chars()).find(|((_, a), b)| a != b).map_or(a.len().min(b.len()), |((at, _), _)| at);
    (&a[at..], b.get(at..).unwrap_or_default())
}

#[test]
fn ten_thousand_lines_of_wikipedia_come_back() {
    let Some(_) = crate::shared("data/enwiki-extract") else { return };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/pocket-t5");
    let config = PretrainConfig::read(&folder.join("pretrain.toml")).unwrap();
    // the last lines, but for those that the vocabulary was trained on
    let corpus = Corpus::choose(&[], &config.text).unwrap();
    let share = 1.0 - config.text.builtin_share;
    let mut sample = Sample::new((config.vocabulary.characters as f64 * share) as usize);
    let (mut lines, mut seen) = (VecDeque::new(), 0);
    corpus
        .read("test", &mut |_| true, &mut |passage| {
            seen += 1;
            sample.push(passage);
            lines.push_back(passage.to_string());
            if lines.len() > 20_000 {
                lines.pop_front();
            }
            Ok(())
        })
        .unwrap();
    assert!(seen > 200_000, "{seen} lines");
    let trained_on: HashSet<String> = sample.finish().into_iter().collect();
    let unseen = lines.into_iter().filter(|line| !trained_on.contains(line)).take(10_000);
    let lines: Vec<String> = unseen.collect();
    assert_eq!(lines.len(), 10_000);
    let tokenizer = Tokenizer::from_file(folder.join("tokenizer.json")).unwrap();
    let encoded = tokenizer.encode_batch_fast(lines.clone(), true).unwrap();
    for (line, encoding) in lines.iter().zip(&encoded) {
        let mut wanted = NormalizedString::from(line.as_str());
        NFKC.normalize(&mut wanted).unwrap();
        let wanted = wanted.get().split_whitespace().collect::<Vec<_>>().join(" ");
        let decoded = tokenizer.decode(encoding.get_ids(), true).unwrap();
        assert!(decoded == wanted, "{line}: {:?}", difference(&decoded, &wanted));
    }
    let pieces: usize = encoded.iter().map(tokenizers::Encoding::len).sum();
    let bytes = encoded.iter().flat_map(|encoding| encoding.get_ids()).filter(|id| (3..259).contains(*id)).count();
    eprintln!("{} lines, {pieces} pieces, {bytes} of them bytes", lines.len());
}
