//! Choosing among scores.

use super::super::kernels;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
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

/// Draws a place with probability `softmax(scores)`; none where no token can be made.
pub(super) fn draw(scores: &[f32], random: &mut ChaCha8Rng) -> Option<usize> {
    Some(draw_several(scores, 1, random)?[0])
}

/// Draws `n` different places, one after the other, each with probability `softmax(scores)` over those left. Where no more
/// of them are likely at all, the best of the rest follow.
///
/// By an exponential race: a place of weight w = exp(score) arrives at −ln(1 − u) / w, where u of [0, 1) is the place's own
/// number, and the first to arrive are drawn in that order (Efraimidis and Spirakis, "Weighted random sampling with a
/// reservoir", 2006). Rounding of the scores moves each arrival by as little, so that a row draws in any batch what it draws
/// alone, unless two arrive together; on one number over cumulated weights it would move all places behind it.
pub(super) fn draw_several(scores: &[f32], n: usize, random: &mut ChaCha8Rng) -> Option<Vec<usize>> {
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if most == f32::NEG_INFINITY {
        return None;
    }
    let mut numbers = Xoshiro256PlusPlus::from_rng(random);
    let mut first: Vec<(usize, f64)> = Vec::with_capacity(n + 1);
    for (at, score) in scores.iter().enumerate() {
        let u: f64 = numbers.random();
        // a tiny temperature makes scores infinite, whose difference is no number
        let weight = if *score == most { 1.0 } else { f64::from((score - most).exp()) };
        // −ln(1 − u) is u at least: nearly all are too late by that alone
        let open = if first.len() < n { f64::INFINITY } else { first[n - 1].1 };
        if weight > 0.0 && u < open * weight {
            let arrival = -(-u).ln_1p() / weight;
            let place = first.partition_point(|(_, other)| *other <= arrival);
            first.insert(place, (at, arrival));
            first.truncate(n);
        }
    }
    let mut drawn: Vec<usize> = first.into_iter().map(|(at, _)| at).collect();
    if drawn.len() < n {
        let rest = top(scores.len(), n, |at| if drawn.contains(&at) { f32::NEG_INFINITY } else { scores[at] });
        let rest: Vec<_> = rest.into_iter().map(|(at, _)| at).filter(|at| !drawn.contains(at)).collect();
        drawn.extend(rest.into_iter().take(n - drawn.len()));
    }
    Some(drawn)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The scores of a row in another batch differ by rounding. Over as many tokens as T5 has, all nearly as likely, one number
    /// over cumulated weights then gives another token in every tenth draw.
    #[test]
    fn rounding_moves_hardly_a_draw() {
        const VOCAB: usize = 32_128;
        let mut noise = Xoshiro256PlusPlus::seed_from_u64(0);
        let scores: Vec<f32> = (0..VOCAB).map(|_| noise.random_range(-0.3..0.3)).collect();
        let rounded: Vec<f32> = scores.iter().map(|score| score + noise.random_range(-1e-5..1e-5)).collect();
        let draws = |scores: &[f32], n: usize| -> Vec<Vec<usize>> {
            (0..500).map(|seed| draw_several(scores, n, &mut ChaCha8Rng::seed_from_u64(seed)).unwrap()).collect()
        };
        for n in [1, 6] {
            let (exact, rounded) = (draws(&scores, n), draws(&rounded, n));
            let parted = exact.iter().zip(&rounded).filter(|(a, b)| a != b).count();
            assert!(parted <= 1, "{parted} of {} draws of {n}", exact.len());
            let mut first: Vec<_> = exact.iter().map(|drawn| drawn[0]).collect();
            first.sort_unstable();
            first.dedup();
            assert!(first.len() > 480, "{} different tokens in 500 draws", first.len());
        }
    }

    #[test]
    fn what_is_not_likely_at_all_comes_last_and_best_first() {
        let scores = [-200.0, 3.0, f32::NEG_INFINITY, -190.0, 2.5];
        for seed in 0..20 {
            let drawn = draw_several(&scores, 4, &mut ChaCha8Rng::seed_from_u64(seed)).unwrap();
            assert_eq!((drawn.len(), &drawn[2..]), (4, [3, 0].as_slice()), "{drawn:?}");
        }
        let none = [f32::NEG_INFINITY; 3];
        assert_eq!(draw(&none, &mut ChaCha8Rng::seed_from_u64(0)), None);
    }
}
