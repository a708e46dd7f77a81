//! Seeded splits and draws, the same on every platform.

use super::layout::SplitRule;
use super::{Row, Rows};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

/// Rows drawn for a split that is not there, unless the definition says how many.
const MOST_DRAWN: usize = 2000;

/// Fills the splits that the data does not have (method.md section 6): without test, dev is halved into dev and test;
/// without dev, it is drawn from train; without both, test is drawn from train first.
pub(super) fn complete(rows: Rows, rule: &SplitRule) -> Rows {
    let Rows { mut train, mut dev, mut test } = rows;
    let total = train.len();
    let seed = rule.seed;
    if test.is_empty() && !dev.is_empty() && rule.test.is_none() {
        let half = dev.len() / 2;
        (dev, test) = draw(dev, half, seed);
    } else if test.is_empty() {
        let count = rule.test.unwrap_or_else(|| MOST_DRAWN.min(total / 10));
        (test, train) = draw(train, count, seed ^ 0x7e57);
    }
    if dev.is_empty() {
        let count = rule.dev.unwrap_or_else(|| MOST_DRAWN.min(total / 10));
        (dev, train) = draw(train, count, seed);
    }
    Rows { train, dev, test }
}

/// Parts `rows` into `count` drawn by `seed` and the rest, every label in proportion; both keep the rows' order.
/// Labels that are mostly different (numbers) are not parted by.
pub(super) fn draw(rows: Vec<Row>, count: usize, seed: u64) -> (Vec<Row>, Vec<Row>) {
    let total = rows.len();
    let count = count.min(total);
    let mut by_label: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (i, row) in rows.iter().enumerate() {
        by_label.entry(&row.label).or_default().push(i);
    }
    let mut groups: Vec<_> = by_label.into_values().collect();
    if groups.len() * 4 > total {
        groups = vec![(0..total).collect()];
    }
    // largest remainders: the whole parts of count · size / total, then one more for the largest fractions
    let mut shares: Vec<_> = groups.iter().map(|group| count * group.len() / total).collect();
    let mut order: Vec<_> = (0..groups.len()).collect();
    order.sort_by_key(|i| std::cmp::Reverse(count * groups[*i].len() % total));
    let left = count - shares.iter().sum::<usize>();
    for i in order.into_iter().take(left) {
        shares[i] += 1;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut chosen = vec![false; total];
    for (group, share) in groups.iter_mut().zip(shares) {
        group.shuffle(&mut rng);
        for i in &group[..share] {
            chosen[*i] = true;
        }
    }
    let (mut drawn, mut rest) = (Vec::with_capacity(count), Vec::with_capacity(total - count));
    for (row, chosen) in rows.into_iter().zip(chosen) {
        if chosen { drawn.push(row) } else { rest.push(row) }
    }
    (drawn, rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{Definition, Split, Task};

    /// `count` rows, every third of label `a`, the others `b`.
    fn rows(count: usize) -> Vec<Row> {
        let label = |i: usize| if i.is_multiple_of(3) { "a" } else { "b" };
        let row = |i: usize| Row { fields: [("x".into(), i.to_string())].into(), label: label(i).into() };
        (0..count).map(row).collect()
    }

    fn label_count(rows: &[Row], label: &str) -> usize {
        rows.iter().filter(|row| row.label == label).count()
    }

    /// One line a case: rows of train, dev and test in the data, the rule's numbers, and the rows that result.
    #[track_caller]
    fn check(data: [usize; 3], dev: Option<usize>, test: Option<usize>, wanted: [usize; 3]) {
        let mut all = rows(data.iter().sum());
        let test_rows = all.split_off(data[0] + data[1]);
        let dev_rows = all.split_off(data[0]);
        let whole = Rows { train: all, dev: dev_rows, test: test_rows };
        let found = complete(whole.clone(), &SplitRule { seed: 3, dev, test });
        assert_eq!(Split::ALL.map(|split| found.split(split).len()), wanted);
        let number = |rows: &Rows| {
            let mut all: Vec<_> =
                Split::ALL.iter().flat_map(|split| rows.split(*split)).map(|row| row.fields["x"].clone()).collect();
            all.sort();
            all
        };
        assert_eq!(number(&found), number(&whole), "each row stands in one split");
        assert_eq!(found, complete(whole, &SplitRule { seed: 3, dev, test }), "same seed, same rows");
    }

    #[test]
    fn absent_splits_are_made() {
        check([30, 9, 9], None, None, [30, 9, 9]);
        check([30, 9, 0], None, None, [30, 4, 5]);
        check([30, 9, 0], None, Some(6), [24, 9, 6]);
        check([30, 0, 9], Some(6), None, [24, 6, 9]);
        check([30, 0, 9], None, None, [27, 3, 9]);
        check([30, 0, 0], Some(6), Some(3), [21, 6, 3]);
        check([30_000, 0, 10], None, None, [28_000, 2000, 10]);
        check([3, 0, 9], Some(6), None, [0, 3, 9]);
        check([0, 0, 0], None, None, [0, 0, 0]);
    }

    #[test]
    fn draws_keep_proportion_and_order() {
        let (drawn, rest) = draw(rows(300), 31, 1);
        assert_eq!((drawn.len(), rest.len()), (31, 269));
        assert_eq!(label_count(&drawn, "a"), 10);
        let numbers: Vec<usize> = drawn.iter().map(|row| row.fields["x"].parse().unwrap()).collect();
        assert!(numbers.is_sorted());
        assert_ne!(drawn, draw(rows(300), 31, 2).0);
        assert_eq!(draw(rows(3), 9, 1).0.len(), 3);
    }

    #[test]
    fn tasks_are_thinned() {
        let definition = "name='t'\ntemplate='{x}'\nmetric='accuracy'\n[target]\nkind='classification'
            labels=[{value='a',word='a'},{value='b',word='b'}]";
        let split = Rows { train: rows(91), dev: rows(3), test: rows(3) };
        let task = Task::new(Definition::from_toml(definition).unwrap(), split).unwrap();
        let thin = task.take(30, 5);
        assert_eq!((thin.rows.train.len(), label_count(&thin.rows.train, "a")), (30, 10));
        assert_eq!((&thin.rows.dev, &thin.rows.test), (&task.rows.dev, &task.rows.test));
        assert_eq!(task.take(91, 5), task);
        let two = task.take_of(Split::Test, 2, 5);
        assert_eq!((two.rows.test.len(), &two.rows.train), (2, &task.rows.train));
        assert_ne!(thin.digest(), task.digest());
    }

    #[test]
    fn rows_that_do_not_fit_are_refused() {
        let definition = "name='t'\ntemplate='{x}'\nmetric='accuracy'\n[target]\nkind='classification'
            labels=[{value='1',word='a'},{value='2',word='b'}]";
        let definition = Definition::from_toml(definition).unwrap();
        let check = |change: fn(&mut Rows), wanted: &str| {
            let mut split = Rows { train: rows(3), dev: rows(3), test: rows(3) };
            change(&mut split);
            let found = Task::new(definition.clone(), split).map_err(|error| error.to_string());
            let found = found.map(|task| task.rows.train[1].label.clone()).unwrap_or_else(|error| error);
            assert!(found.contains(wanted), "{found}");
        };
        check(|rows| rows.train[1].label = "1".into(), "a");
        check(|rows| rows.dev[2].label = "c".into(), "row 2 of `dev`: label `c` is not one of `1`, `2`");
        check(|rows| _ = rows.test[0].fields.insert("y".into(), "1".into()), "row 0 of `test`: unknown field `y`");
        check(|rows| rows.test[0].fields.clear(), "the field `x` is missing");
        check(|rows| rows.dev.clear(), "the split `dev` has no row");
    }

    #[test]
    fn the_json_form_round_trips_and_names_what_is_unknown() {
        let text = r#"{"definition": {"name": "t", "template": "{x}", "metric": "accuracy", "target": {"kind": "classification",
            "labels": [{"value": "0", "word": "no"}, {"value": "1", "word": "yes"}]}}, "rows": {"train": [ROW], "dev": [ROW],
            "test": [ROW]}}"#;
        let good = text.replace("ROW", r#"{"fields": {"x": "one"}, "label": "1"}"#);
        let task = Task::from_json(good.as_bytes()).unwrap();
        assert_eq!(task.rows.train[0].label, "yes");
        assert_eq!(Task::from_json(&task.to_bytes()).unwrap(), task);
        let error = Task::from_json(text.replace("ROW", r#"{"field": {}, "label": "1"}"#).as_bytes()).unwrap_err();
        assert!(error.to_string().contains("unknown field `field`"), "{error}");
        assert!(Task::from_json(b"{").is_err());
    }
}
