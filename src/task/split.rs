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

/// The numbers below `count` in an order drawn by `seed`.
pub(super) fn shuffled(count: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<_> = (0..count).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    order
}
