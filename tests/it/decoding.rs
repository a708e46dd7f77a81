//! Decoding against transformers, on what `tests/reference/decoding.py` made with it, and against itself: draws against the
//! exact distribution, and rows in any company against rows alone.

use crate::reference::{assert_close, backbone, folder, tolerance};
use s3delta::t5::{
    Backbone, DecodeSettings, EarlyStopping, Frozen, Generated, Sequences, StepError, generate, processors,
};
use serde_json::{Value, json};
use std::sync::Arc;

const VARIANTS: [&str; 2] = ["tiny-v1.0", "tiny-v1.1"];

fn made(name: &str) -> Value {
    let file = std::fs::File::open(folder("decoding").join(format!("{name}.json"))).unwrap();
    serde_json::from_reader(std::io::BufReader::new(file)).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn id_lists(value: &Value) -> Vec<Vec<u32>> {
    value.as_array().unwrap().iter().map(ids).collect()
}

fn one_or_more(value: &Value) -> Vec<u32> {
    if value.is_array() { ids(value) } else { vec![value.as_u64().unwrap() as u32] }
}

/// Settings by transformers' names.
fn settings(backbone: &Backbone, values: &Value) -> DecodeSettings {
    let mut found = DecodeSettings::new(&backbone.config, 20);
    for (name, value) in values.as_object().unwrap() {
        let (count, number) = (value.as_u64().map(|n| n as usize), value.as_f64());
        match name.as_str() {
            "max_new_tokens" => found.max_new_tokens = count.unwrap(),
            "min_new_tokens" => found.min_new_tokens = count.unwrap(),
            "do_sample" => found.do_sample = value.as_bool().unwrap(),
            "temperature" => found.temperature = number.unwrap(),
            "top_k" => found.top_k = count,
            "top_p" => found.top_p = number.unwrap(),
            "min_p" => found.min_p = number.unwrap(),
            "typical_p" => found.typical_p = number.unwrap(),
            "epsilon_cutoff" => found.epsilon_cutoff = number.unwrap(),
            "eta_cutoff" => found.eta_cutoff = number.unwrap(),
            "num_beams" => found.num_beams = count.unwrap(),
            "num_return_sequences" => found.num_return_sequences = count.unwrap(),
            "length_penalty" => found.length_penalty = number.unwrap(),
            "early_stopping" => {
                found.early_stopping = match value {
                    Value::Bool(true) => EarlyStopping::Full,
                    Value::Bool(false) => EarlyStopping::Heuristic,
                    _ => EarlyStopping::Never,
                }
            }
            "repetition_penalty" => found.repetition_penalty = number.unwrap(),
            "encoder_repetition_penalty" => found.encoder_repetition_penalty = number.unwrap(),
            "no_repeat_ngram_size" => found.no_repeat_ngram_size = count.unwrap(),
            "encoder_no_repeat_ngram_size" => found.encoder_no_repeat_ngram_size = count.unwrap(),
            "bad_words_ids" => found.bad_words_ids = id_lists(value),
            "sequence_bias" => found.sequence_bias = biases(value),
            "forced_bos_token_id" => found.forced_bos_token_id = Some(count.unwrap() as u32),
            "forced_eos_token_id" => found.forced_eos_token_id = one_or_more(value),
            "suppress_tokens" => found.suppress_tokens = ids(value),
            "begin_suppress_tokens" => found.begin_suppress_tokens = ids(value),
            "eos_token_id" => found.eos_token_id = ids(value),
            other => panic!("{other} is no setting"),
        }
    }
    found
}

fn biases(value: &Value) -> Vec<(Vec<u32>, f32)> {
    value.as_array().unwrap().iter().map(|pair| (ids(&pair[0]), pair[1].as_f64().unwrap() as f32)).collect()
}

fn run(backbone: &Backbone, sources: &[Vec<u32>], settings: &DecodeSettings) -> Vec<Vec<Generated>> {
    let encoded = backbone.model.encode(&backbone.model.batch(sources).unwrap(), &Frozen);
    generate(&backbone.model, &encoded, sources, settings, &Frozen).unwrap()
}

/// Where two sequences lie closer than rounding, either may be found: such a one is counted, and 1 % are too many.
#[test]
fn sequences_and_scores_are_transformers() {
    for name in VARIANTS {
        let (backbone, made) = (backbone(name), made(name));
        let sources = id_lists(&made["sources"]);
        let (mut sequences, mut near) = (0, 0);
        for case in made["cases"].as_array().unwrap() {
            let settings = settings(&backbone, &case["settings"]);
            let batch: Vec<_> = ids(&case["rows"]).iter().map(|row| sources[*row as usize].clone()).collect();
            let found = run(&backbone, &batch, &settings).concat();
            let wanted = id_lists(&case["ids"]);
            assert_eq!(found.len(), wanted.len(), "{name}: {}", case["settings"]);
            for (at, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
                let place = format!("{name}: {}, sequence {at}", case["settings"]);
                sequences += 1;
                if let Some(score) = case["scores"][at].as_f64() {
                    // a negative length penalty multiplies the sum of log-probabilities, and what it is away by
                    let factor = (found.ids.len() as f64).powf(-settings.length_penalty).max(1.0);
                    assert_close(&place, &[found.score], &[score as f32], tolerance() * factor as f32);
                }
                if found.ids != *wanted {
                    assert!(case["scores"].is_array(), "{place}: {:?} instead of {wanted:?}", found.ids);
                    eprintln!("{place}: another sequence of the same score {}", found.score);
                    near += 1;
                }
            }
        }
        eprintln!("{name}: {near} near ties in {sequences} sequences");
        assert!(near * 100 <= sequences, "{name}: {near} of {sequences} sequences differ");
    }
}

#[test]
fn a_source_gives_in_a_batch_what_it_gives_alone() {
    for name in VARIANTS {
        let (backbone, made) = (backbone(name), made(name));
        let sources = id_lists(&made["sources"]);
        let draw = json!({"do_sample": true, "num_return_sequences": 5, "temperature": 1.5, "max_new_tokens": 15});
        let search = json!({"do_sample": true, "num_beams": 3, "num_return_sequences": 3, "max_new_tokens": 9});
        for values in [draw, search] {
            let settings = DecodeSettings { seed: 99, ..settings(&backbone, &values) };
            let together = run(&backbone, &sources, &settings);
            assert_eq!(together, run(&backbone, &sources, &settings), "{name}: a seed repeats itself");
            for (row, source) in sources.iter().enumerate() {
                let alone = run(&backbone, std::slice::from_ref(source), &settings).remove(0);
                for (a, b) in together[row].iter().zip(&alone) {
                    assert_eq!(a.ids, b.ids, "{name}, {values}: row {row}");
                    assert_close(name, &[a.score], &[b.score], tolerance() * a.ids.len() as f32);
                }
            }
            let other = run(&backbone, &sources, &DecodeSettings { seed: 100, ..settings });
            assert_ne!(other, together, "{name}: another seed draws otherwise");
        }
    }
}

/// Σ (found − expected)² / expected over tokens of which 5 at least are expected, those below taken together, and its degrees of
/// freedom.
fn chi_square(counts: &[usize], probabilities: &[f64]) -> (f64, usize) {
    let draws = counts.iter().sum::<usize>() as f64;
    let (mut sum, mut bins, mut rest) = (0.0, 0usize, (0.0, 0.0));
    for (count, p) in counts.iter().zip(probabilities) {
        assert!(*p > 0.0 || *count == 0, "a token was drawn that is impossible");
        let expected = p * draws;
        if expected >= 5.0 {
            sum += (*count as f64 - expected).powi(2) / expected;
            bins += 1;
        } else {
            rest = (rest.0 + *count as f64, rest.1 + expected);
        }
    }
    if rest.1 >= 1.0 {
        sum += (rest.0 - rest.1).powi(2) / rest.1;
        bins += 1;
    }
    (sum, bins.saturating_sub(1))
}

/// The value that χ² exceeds once in 10⁶ times, by Wilson and Hilferty: the seeds are fixed, so a right program passes always.
fn most(freedom: usize) -> f64 {
    let k = freedom.max(1) as f64;
    let part = 2.0 / (9.0 * k);
    k * (1.0 - part + 4.753 * part.sqrt()).powi(3)
}

#[test]
fn draws_have_transformers_distribution() {
    const DRAWS: usize = 10_000;
    for name in VARIANTS {
        let (backbone, made) = (backbone(name), made(name));
        let sources = id_lists(&made["sources"]);
        for case in made["draws"].as_array().unwrap() {
            let (row, step) = (case["row"].as_u64().unwrap() as usize, case["step"].as_u64().unwrap() as usize);
            let probabilities: Vec<f64> =
                case["probabilities"].as_array().unwrap().iter().map(|p| p.as_f64().unwrap()).collect();
            let settings = settings(&backbone, &case["settings"]);
            let settings =
                DecodeSettings { num_return_sequences: DRAWS, seed: 7, max_new_tokens: step + 1, ..settings };
            let mut counts = vec![0; probabilities.len()];
            for drawn in &run(&backbone, &sources[row..=row], &settings)[0] {
                counts[drawn.ids[step] as usize] += 1;
            }
            let (found, freedom) = chi_square(&counts, &probabilities);
            let place = format!("{name}: {}, step {step}", case["settings"]);
            eprintln!("{place}: χ² {found:.1} of {freedom} degrees of freedom");
            assert!(found < most(freedom), "{place}: χ² is {found} with {freedom} degrees of freedom");
        }
    }
}

/// One draw each of 10,000 seeds, and the beam that a search with draws gives: with two beams and one step, the better of two
/// tokens that are drawn without replacement.
#[test]
fn seeds_are_independent_and_beams_are_drawn_without_replacement() {
    const SEEDS: u64 = 10_000;
    let (backbone, made) = (backbone("tiny-v1.1"), made("tiny-v1.1"));
    let case = &made["draws"][6];
    let row = case["row"].as_u64().unwrap() as usize;
    assert_eq!((case["step"].as_u64(), &case["settings"]["top_k"]), (Some(0), &json!(12)));
    let p: Vec<f64> = case["probabilities"].as_array().unwrap().iter().map(|p| p.as_f64().unwrap()).collect();
    let source = id_lists(&made["sources"]).swap_remove(row);
    let encoded = backbone.model.encode(&backbone.model.batch(&[&source]).unwrap(), &Frozen);
    let mut cache = backbone.model.start(&encoded, 1, &Frozen);
    let logits = backbone.model.step(&[backbone.config.start], &mut cache, &Frozen);
    let logits = logits.try_into_vec_as::<f32>().unwrap();
    let first = |settings: DecodeSettings| {
        let mut counts = vec![0; p.len()];
        for seed in 0..SEEDS {
            let settings = Arc::new(DecodeSettings { seed, max_new_tokens: 1, ..settings.clone() });
            let made = Sequences::new(settings, source.clone()).advance(&logits).unwrap().made;
            counts[made[0].token.id as usize] += 1;
        }
        counts
    };
    let drawn = settings(&backbone, &case["settings"]);
    let (found, freedom) = chi_square(&first(drawn.clone()), &p);
    assert!(found < most(freedom), "χ² is {found} with {freedom} degrees of freedom");
    let mut best = vec![0.0; p.len()];
    for (a, first) in p.iter().enumerate() {
        for (b, second) in p.iter().enumerate().filter(|(b, _)| *b != a) {
            best[if first > second { a } else { b }] += first * second / (1.0 - first);
        }
    }
    let (found, freedom) = chi_square(&first(DecodeSettings { num_beams: 2, ..drawn }), &best);
    assert!(found < most(freedom), "χ² is {found} with {freedom} degrees of freedom");
}

#[test]
fn each_processor_is_transformers() {
    let made = made("processors");
    let mut classes = std::collections::BTreeSet::new();
    for case in made["cases"].as_array().unwrap() {
        let scores = |name: &str| -> Vec<f32> {
            let each = case[name].as_array().unwrap().iter();
            each.map(|score| score.as_f64().map_or(f32::NEG_INFINITY, |score| score as f32)).collect()
        };
        let (history, arguments) = (ids(&case["history"]), &case["arguments"]);
        let number = |name: &str| arguments[name].as_f64().unwrap();
        let count = |name: &str| arguments[name].as_u64().unwrap() as usize;
        let keep = || count("min_tokens_to_keep");
        let source = || ids(&arguments["encoder_input_ids"][0]);
        let mut found = scores("before");
        let class = case["class"].as_str().unwrap();
        classes.insert(class);
        match class {
            "SequenceBiasLogitsProcessor" => {
                processors::sequence_bias(&mut found, &history, &biases(&arguments["sequence_bias"]))
            }
            "RepetitionPenaltyLogitsProcessor" => {
                processors::repetition_penalty(&mut found, &history, number("penalty") as f32)
            }
            "EncoderRepetitionPenaltyLogitsProcessor" => {
                processors::encoder_repetition_penalty(&mut found, &source(), number("penalty"))
            }
            "NoRepeatNGramLogitsProcessor" => processors::no_repeat_ngram(&mut found, &history, count("ngram_size")),
            "EncoderNoRepeatNGramLogitsProcessor" => {
                processors::encoder_no_repeat_ngram(&mut found, &history, &source(), count("encoder_ngram_size"))
            }
            "NoBadWordsLogitsProcessor" => {
                let (runs, ends) = (id_lists(&arguments["bad_words_ids"]), ids(&arguments["eos_token_id"]));
                processors::bad_words(&mut found, &history, &runs, &ends)
            }
            "MinNewTokensLengthLogitsProcessor" => {
                if history.len() - count("prompt_length_to_skip") < count("min_new_tokens") {
                    processors::suppress(&mut found, &ids(&arguments["eos_token_id"]))
                }
            }
            "ForcedBOSTokenLogitsProcessor" => {
                if history.len() == 1 {
                    processors::force(&mut found, &[count("bos_token_id") as u32])
                }
            }
            "ForcedEOSTokenLogitsProcessor" => {
                if history.len() + 1 == count("max_length") {
                    processors::force(&mut found, &ids(&arguments["eos_token_id"]))
                }
            }
            "SuppressTokensLogitsProcessor" => processors::suppress(&mut found, &ids(&arguments["suppress_tokens"])),
            "SuppressTokensAtBeginLogitsProcessor" => {
                if history.len() == count("begin_index") {
                    processors::suppress(&mut found, &ids(&arguments["begin_suppress_tokens"]))
                }
            }
            "TemperatureLogitsWarper" => processors::temperature(&mut found, number("temperature") as f32),
            "TopKLogitsWarper" => processors::top_k(&mut found, count("top_k").max(keep())),
            "TopPLogitsWarper" => processors::top_p(&mut found, number("top_p"), keep()),
            "MinPLogitsWarper" => processors::min_p(&mut found, number("min_p"), keep()),
            "TypicalLogitsWarper" => processors::typical(&mut found, number("mass"), keep()),
            "EpsilonLogitsWarper" => processors::epsilon_cutoff(&mut found, number("epsilon"), keep()),
            "EtaLogitsWarper" => processors::eta_cutoff(&mut found, number("epsilon"), keep()),
            other => panic!("{other} is no processor"),
        }
        for (id, (found, wanted)) in found.iter().zip(scores("after")).enumerate() {
            let same = *found == wanted || (found - wanted).abs() < 1e-5;
            assert!(same, "{class} {arguments} after {history:?}: {found} instead of {wanted} at {id}");
        }
    }
    assert_eq!(classes.len(), 18);
}

/// OpenAI's formula: score − presence · [made] − frequency · times made.
#[test]
fn presence_and_frequency_count_what_was_made() {
    let mut scores = [1.0f32; 4];
    processors::presence_and_frequency(&mut scores, &[2, 3, 2, 2], 0.5, 0.25);
    assert_eq!(scores, [1.0, 1.0, -0.25, 0.25]);
}

#[test]
fn log_probabilities_are_the_models_whatever_the_processors() {
    let backbone = backbone("tiny-v1.1");
    let source = id_lists(&made("tiny-v1.1")["sources"]).swap_remove(0);
    for values in [
        json!({"repetition_penalty": 1.5, "no_repeat_ngram_size": 2, "max_new_tokens": 9}),
        json!({"do_sample": true, "temperature": 2.0, "num_return_sequences": 3, "max_new_tokens": 9}),
        json!({"num_beams": 4, "num_return_sequences": 4, "max_new_tokens": 9, "repetition_penalty": 1.2}),
    ] {
        let settings = DecodeSettings { top_logprobs: 3, ..settings(&backbone, &values) };
        for found in run(&backbone, std::slice::from_ref(&source), &settings).remove(0) {
            let model = &backbone.model;
            let inputs = [&[backbone.config.start], &found.ids[..found.ids.len() - 1]].concat();
            let encoded = model.encode(&model.batch(&[&source]).unwrap(), &Frozen);
            let logits = model.decode(&encoded, &model.batch(&[inputs]).unwrap(), &Frozen);
            let logits = logits.try_into_vec_as::<f32>().unwrap();
            for (step, logits) in logits.chunks(backbone.config.vocab_size).enumerate() {
                let wanted = processors::log_softmax(logits);
                let id = found.ids[step] as usize;
                assert_close("logprob", &[found.logprobs[step]], &[wanted[id]], tolerance());
                let top = &found.top[step];
                assert!(top.len() == 3 && top.is_sorted_by(|a, b| a.1 >= b.1), "{top:?}");
                let highest = wanted.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                assert_close("top", &[top[0].1], &[highest], tolerance());
                top.iter().for_each(|(id, p)| assert_close("top", &[*p], &[wanted[*id as usize]], tolerance()));
            }
        }
    }
}

#[test]
fn what_cannot_be_chosen_is_an_error() {
    let backbone = backbone("tiny-v1.1");
    let check = |values: Value, logits: &[f32], wanted: StepError| {
        let settings = Arc::new(settings(&backbone, &values));
        let error = Sequences::new(settings, vec![1]).advance(logits).unwrap_err();
        assert_eq!(error, wanted, "{values}");
    };
    let fine = [0.0; 96];
    for search in [json!({}), json!({"num_beams": 2}), json!({"do_sample": true, "num_return_sequences": 2})] {
        for broken in [f32::NAN, f32::INFINITY] {
            let mut logits = fine;
            logits[40] = broken;
            check(search.clone(), &logits, StepError::NotNumbers);
        }
        let mut all = search;
        all["suppress_tokens"] = (0..96).collect::<Vec<u32>>().into();
        check(all, &fine, StepError::NothingAllowed);
    }
}

#[test]
fn settings_that_do_not_go_together_are_refused_by_name() {
    let backbone = backbone("tiny-v1.1");
    let check = |values: Value, wanted: &str| {
        let error = settings(&backbone, &values).check(96).unwrap_err().to_string();
        assert!(error.contains(wanted), "{values}: {error}");
    };
    check(json!({"max_new_tokens": 0}), "`max_new_tokens` is 0");
    check(json!({"max_new_tokens": 3, "min_new_tokens": 4}), "`min_new_tokens` is 4, more than `max_new_tokens` 3");
    check(json!({"num_beams": 0}), "`num_beams` is 0");
    check(json!({"num_beams": 2, "num_return_sequences": 3}), "more than `num_beams` 2");
    check(json!({"num_return_sequences": 3}), "greedy decoding gives one");
    check(json!({"temperature": 0.0}), "`temperature` is 0.0: give 1e-6 to 1e6");
    check(json!({"top_p": 1.5}), "`top_p` is 1.5: give 0 to 1");
    check(json!({"typical_p": 0.0}), "`typical_p` is 0");
    check(json!({"repetition_penalty": 0.0}), "`repetition_penalty` is 0");
    check(json!({"bad_words_ids": [[]]}), "`bad_words_ids` holds an empty run");
    check(json!({"bad_words_ids": [[3, 96]]}), "`bad_words_ids` holds id 96");
    check(json!({"forced_bos_token_id": 96}), "`forced_bos_token_id` holds id 96");
    check(json!({"eos_token_id": [1, 200]}), "`eos_token_id` holds id 200");
    assert_eq!(settings(&backbone, &json!({"num_beams": 4, "num_return_sequences": 4})).check(96), Ok(()));
}
