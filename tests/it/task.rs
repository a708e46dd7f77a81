//! Ready-made tasks read from the shared data, where it is there.

use s3delta::task::{self, Definition, Excluded, Rows, Split, Task};
use std::path::{Path, PathBuf};

/// The folder of public data, if it is there.
fn data() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(|parent| parent.join("shared"));
    let folder = std::env::var_os("S3DELTA_SHARED").map(PathBuf::from).or_else(beside)?.join("data");
    if !folder.is_dir() {
        eprintln!("skipped: no shared data at {}", folder.display());
        return None;
    }
    Some(folder)
}

fn read(name: &str) -> Option<Task> {
    Some(task::open(name, Some(&data()?)).unwrap())
}

/// One line a task: rows of train, dev and test (method.md section 6 over the counts of the data's READMEs), rows of
/// each label word over all splits, and the beginning of the first source and target.
#[track_caller]
fn check(name: &str, rows: [usize; 3], labels: &[(&str, usize)], first: (&str, &str)) {
    let Some(task) = read(name) else { return };
    assert_eq!(Split::ALL.map(|split| task.split(split).len()), rows, "{name}");
    let all = || Split::ALL.iter().flat_map(|split| task.split(*split));
    for (word, count) in labels {
        assert_eq!(all().filter(|row| row.label == *word).count(), *count, "{name} {word}");
    }
    let row = task.split(Split::Test).first().unwrap();
    let found = (task.source_text(row), task.target_text(row));
    assert!(found.0.starts_with(first.0) && found.1 == first.1, "{name} gave {found:?}");
    // stored and read again, it is the same task
    let again = Task::from_json(&task.to_bytes()).unwrap();
    assert_eq!((again.digest(), again), (task.digest(), task));
}

#[test]
fn rows_are_as_the_readmes_count_them() {
    let sst2 = [("positive", 38013), ("negative", 30208)];
    check("sst2", [65349, 2000, 872], &sst2, ("sst2 sentence: it 's a charming and often affecting", "positive"));
    check("cola", [8551, 521, 522], &[("acceptable", 6744), ("unacceptable", 2850)], ("cola sentence: ", "acceptable"));
    let mrpc = [("equivalent", 2753 + 1147), ("not_equivalent", 1323 + 578)];
    check("mrpc", [3668, 408, 1725], &mrpc, ("mrpc sentence1: PCCW's chief operating officer, Mike", "equivalent"));
    check(
        "rte",
        [2490, 138, 139],
        &[("entailment", 1395), ("not_entailment", 1372)],
        ("rte sentence1: Cairo is now home to some 15", "not_entailment"),
    );
    let stsb = "stsb sentence1: A girl is styling her hair. sentence2: A girl is brushing her hair.";
    check("stsb", [5749, 1500, 1379], &[], (stsb, "2.4"));
    check("mr", [8530, 1066, 1066], &[("positive", 5331), ("negative", 5331)], ("mr sentence: ", "negative"));
    check("subj", [8000, 1000, 1000], &[("objective", 5000), ("subjective", 5000)], ("subj sentence: ", "objective"));
    let trec = [("description", 1300), ("entity", 1344), ("abbreviation", 95), ("human", 1288), ("number", 1009)];
    check("trec", [4952, 500, 500], &trec, ("trec question: How far is it from Denver to Aspen ?", "number"));
    let ag_news = [("science", 4438), ("world", 4409), ("sports", 4358), ("business", 4396)];
    check("ag_news", [9001, 1000, 7600], &ag_news, ("ag_news text: Unions representing workers at", "business"));
}

#[test]
fn quotes_and_control_characters_stay_in_the_texts() {
    let find = |name: &str, part: &str| {
        read(name).is_none_or(|task| {
            let mut rows = Split::ALL.iter().flat_map(|split| task.split(*split));
            rows.any(|row| row.fields.values().any(|text| text.contains(part)))
        })
    };
    assert!(find("mrpc", "whom he called \"the witness\", of"));
    // 124 rows of the train file have a cell that begins with a quote
    assert!(find("stsb", "\""));
    // NEL, which some readers take for the end of a line
    assert!(find("subj", "\u{85}"));
}

#[test]
fn sst2_and_mr_overlap_as_the_readme_says() {
    let (Some(mut sst2), Some(mut mr)) = (read("sst2"), read("mr")) else { return };
    let whole = sst2.clone();
    assert_eq!(task::exclude_overlap(&mut sst2, &mr).test, 731);
    assert_eq!(sst2.split(Split::Test).len(), 872 - 731);
    // 5,225 rows of MR stand in the file train.tsv
    let mut train = whole.clone();
    let definition = include_str!("../../src/task/ready/sst2.toml").replacen("\"dev.tsv\"", "", 1);
    let only = Task::read(Definition::from_toml(&definition).unwrap(), &data().unwrap()).unwrap();
    train.rows = Rows { test: Vec::new(), ..only.rows };
    let Excluded { train, dev, test } = task::exclude_overlap(&mut mr, &train);
    assert_eq!(train + dev + test, 5225);
}
