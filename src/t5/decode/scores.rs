//! Choosing among scores.

use super::super::kernels;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// The greatest score's place, the first on a tie; none where no token can be made.
pub(super) fn greatest(scores: &[f32]) -> Option<usize> {
    let most = kernels::greatest(scores);
    if most == f32::NEG_INFINITY { None } else { scores.iter().position(|score| *score == most) }
}

/// The `n` greatest of `score(0..count)` with their places, greatest first, the first of equals first.
pub(super) fn top(count: usize, n: usize, score: impl Fn(usize) -> f32) -> Vec<(usize, f32)> {
    let mut best: Vec<(usize, f32)> = Vec::with_capacity(n + 1);
    for at in 0..count {
        let score = score(at);
        if best.len() < n || best.last().is_some_and(|(_, least)| score > *least) {
            let place = best.partition_point(|(_, other)| *other >= score);
            best.insert(place, (at, score));
            best.truncate(n);
        }
    }
    best
}

/// Draws a place with probability `softmax(scores)`, by one number of `random`: places are laid side by side in their order, as
/// wide as they are likely, and the number falls on one of them. None where no token can be made.
pub(super) fn draw(scores: &[f32], random: &mut ChaCha8Rng) -> Option<usize> {
    let weights = weights(scores)?;
    Some(draw_weighted(&weights, random.random()))
}

/// Draws `n` different places, one after the other, each with probability `softmax(scores)` over those left. Where no more
/// of them are likely at all, the best of the rest follow.
pub(super) fn draw_several(scores: &[f32], n: usize, random: &mut ChaCha8Rng) -> Option<Vec<usize>> {
    let mut weights = weights(scores)?;
    let mut drawn = Vec::with_capacity(n);
    while drawn.len() < n && weights.iter().any(|weight| *weight > 0.0) {
        let place = draw_weighted(&weights, random.random());
        weights[place] = 0.0;
        drawn.push(place);
    }
    let missing = n - drawn.len();
    let left = |at: usize| if drawn.contains(&at) { f32::NEG_INFINITY } else { scores[at] };
    let rest = top(scores.len(), n, left).into_iter().map(|(at, _)| at).filter(|at| !drawn.contains(at));
    let rest: Vec<_> = rest.take(missing).collect();
    drawn.extend(rest);
    Some(drawn)
}

/// exp(s − max s), as f64 so that a sum over a large vocabulary is exact enough; none where all are −∞.
fn weights(scores: &[f32]) -> Option<Vec<f64>> {
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    // a tiny temperature makes scores infinite, whose difference is no number
    let weight = |score: &f32| if *score == most { 1.0 } else { f64::from((score - most).exp()) };
    (most > f32::NEG_INFINITY).then(|| scores.iter().map(weight).collect())
}

/// The place on which `u` of [0, 1) falls; some weight is more than 0.
fn draw_weighted(weights: &[f64], u: f64) -> usize {
    let mut left = u * weights.iter().sum::<f64>();
    let mut last = 0;
    for (at, weight) in weights.iter().enumerate() {
        if *weight > 0.0 {
            if left < *weight {
                return at;
            }
            (left, last) = (left - weight, at);
        }
    }
    last // what rounding has left over
}
