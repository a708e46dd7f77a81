//! From probabilities to a structure: which modules to keep under a budget (method.md section 5).

use super::{Error, Result};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

/// How modules are chosen under a budget.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Selection {
    /// By falling p, skipping what does not fit: the reference implementation's way.
    Greedy,
    /// The set with the greatest Σp (0/1 knapsack): the paper's words.
    #[default]
    Exact,
}

/// Largest table of the exact choice, in cells of one bit (1 GiB).
const MOST_CELLS: usize = 1 << 33;

impl Selection {
    /// Whether a choice among modules of these sizes under the budget is one that [`choose`] makes, whatever their p are.
    ///
    /// # Errors
    /// If the exact choice's table would be too large.
    pub fn check(self, sizes: &[usize], budget: usize) -> Result<()> {
        match self {
            Self::Greedy => Ok(()),
            Self::Exact => Table::new(sizes, budget).map(|_| ()),
        }
    }
}

/// What the exact choice goes through: all budgets that are multiples of `unit`, for each module.
struct Table {
    unit: usize,
    /// Budgets: 0 to the whole one.
    width: usize,
}

impl Table {
    /// None where all modules fit together.
    fn new(sizes: &[usize], budget: usize) -> Result<Option<Self>> {
        if sizes.iter().sum::<usize>() <= budget {
            return Ok(None);
        }
        let unit = sizes.iter().copied().fold(0, gcd).max(1);
        let capacity = budget / unit;
        if sizes.len().saturating_mul(capacity + 1) > MOST_CELLS {
            return Err(Error::Budget(format!(
                "the exact choice over {} modules and {capacity} units of {unit} parameters is too large: choose by \
                 selection `greedy`, or give a smaller budget",
                sizes.len()
            )));
        }
        Ok(Some(Self { unit, width: capacity + 1 }))
    }
}

/// Which modules to keep: `p` and `sizes` per module, at most `budget` parameters in all.
///
/// Ties go to the earlier module; one whose p is 0, which a search pruned, is never kept. `Exact` costs
/// `modules × budget / gcd(sizes)` steps.
pub fn choose(selection: Selection, p: &[f64], sizes: &[usize], budget: usize) -> Result<Vec<bool>> {
    if let Some(index) = p.iter().position(|p| p.is_nan()) {
        return Err(Error::Document(format!("the probability of module {index} is not a number")));
    }
    let likely: Vec<_> = (0..p.len()).filter(|module| p[*module] > 0.0).collect();
    let (p_of, sizes_of): (Vec<_>, Vec<_>) = likely.iter().map(|module| (p[*module], sizes[*module])).unzip();
    let kept = match selection {
        Selection::Greedy => greedy(&p_of, &sizes_of, budget),
        Selection::Exact => exact(&p_of, &sizes_of, budget)?,
    };
    let mut chosen = vec![false; p.len()];
    likely.into_iter().zip(kept).for_each(|(module, kept)| chosen[module] = kept);
    Ok(chosen)
}

/// Σp over the chosen modules.
pub fn chosen_probability(p: &[f64], chosen: &[bool]) -> f64 {
    p.iter().zip(chosen).filter(|(_, chosen)| **chosen).map(|(p, _)| p).sum()
}

/// A uniform draw among the modules that still fit, until none does.
pub fn random(sizes: &[usize], budget: usize, rng: &mut impl Rng) -> Vec<bool> {
    let mut chosen = vec![false; sizes.len()];
    let mut left = budget;
    loop {
        let open: Vec<_> = (0..sizes.len()).filter(|i| !chosen[*i] && sizes[*i] <= left).collect();
        if open.is_empty() {
            return chosen;
        }
        let pick = open[rng.random_range(0..open.len())];
        chosen[pick] = true;
        left -= sizes[pick];
    }
}

/// Element-wise mean of several p over the same space (a source task's seeds, or several tasks).
pub fn average(of: &[Vec<f64>]) -> Vec<f64> {
    let count = of.len().max(1) as f64;
    let length = of.first().map_or(0, Vec::len);
    (0..length).map(|i| of.iter().map(|p| p[i]).sum::<f64>() / count).collect()
}

/// Logits are not let below this, so that only what was pruned has p 0.
const FLOOR: f64 = -200.0;

/// p of a logit; 0 at −∞, which is a module that a search pruned.
pub fn sigmoid(logit: f64) -> f64 {
    if logit == f64::NEG_INFINITY {
        return 0.0;
    }
    let x = logit.max(FLOOR);
    if x >= 0.0 { 1.0 / (1.0 + (-x).exp()) } else { x.exp() / (1.0 + x.exp()) }
}

/// The logit of p.
pub fn logit(p: f64) -> f64 {
    (p / (1.0 - p)).ln()
}

/// The logits of p under another budget: all shifted alike, so that Σ p_i |δ_i| is the budget, or just below it. That is ζ solved
/// anew over the same structural parameters, whatever τ is. Where p is 0 or 1 by its logit it stays that.
pub fn at_budget(logits: &[f64], sizes: &[usize], budget: usize) -> Vec<f64> {
    let at = |shift: f64| logits.iter().map(move |logit| logit + shift);
    let size = |shift: f64| at(shift).zip(sizes).map(|(logit, size)| sigmoid(logit) * *size as f64).sum::<f64>();
    let finite = || logits.iter().copied().filter(|logit| logit.is_finite());
    // from where all p are as good as 0 to where all are as good as 1
    let mut low = -300.0 - finite().fold(0.0, f64::max);
    let mut high = 300.0 - finite().fold(0.0, f64::min);
    loop {
        let middle = f64::midpoint(low, high);
        if middle <= low || middle >= high {
            return at(low).collect();
        }
        if size(middle) > budget as f64 {
            high = middle;
        } else {
            low = middle;
        }
    }
}

/// Sample standard deviation of several p of each module over the same space; 0 for one.
pub fn deviation(of: &[Vec<f64>]) -> Vec<f64> {
    let (mean, free) = (average(of), of.len().saturating_sub(1).max(1) as f64);
    let squares = |i: usize| of.iter().map(|p| (p[i] - mean[i]).powi(2)).sum::<f64>();
    (0..mean.len()).map(|i| (squares(i) / free).sqrt()).collect()
}

fn greedy(p: &[f64], sizes: &[usize], budget: usize) -> Vec<bool> {
    let mut order: Vec<_> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*b].total_cmp(&p[*a])); // stable: earlier first on a tie
    let mut chosen = vec![false; p.len()];
    let mut left = budget;
    for index in order {
        if sizes[index] <= left {
            chosen[index] = true;
            left -= sizes[index];
        }
    }
    chosen
}

fn exact(p: &[f64], sizes: &[usize], budget: usize) -> Result<Vec<bool>> {
    let Some(Table { unit, width }) = Table::new(sizes, budget)? else { return Ok(vec![true; p.len()]) };
    let mut best = vec![0.0f64; width];
    let mut taken = vec![0u64; (p.len() * width).div_ceil(64)];
    for (index, (p, size)) in p.iter().zip(sizes).enumerate() {
        let weight = size / unit;
        for room in (weight..width).rev() {
            let with = best[room - weight] + p;
            if with > best[room] {
                best[room] = with;
                let bit = index * width + room;
                taken[bit / 64] |= 1 << (bit % 64);
            }
        }
    }
    let mut chosen = vec![false; p.len()];
    let mut room = width - 1;
    for index in (0..p.len()).rev() {
        let bit = index * width + room;
        if taken[bit / 64] >> (bit % 64) & 1 == 1 {
            chosen[index] = true;
            room -= sizes[index] / unit;
        }
    }
    Ok(chosen)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const P: [f64; 5] = [0.180919, 0.046970, 0.497466, 0.118143, 0.318617];
    const SIZES: [usize; 5] = [2048, 1024, 5120, 1024, 3168];

    #[test]
    fn the_references_test_vector() {
        let greedy = choose(Selection::Greedy, &P, &SIZES, 4096).unwrap();
        assert_eq!(greedy, [false, false, false, false, true]);
        assert!((chosen_probability(&P, &greedy) - 0.318617).abs() < 1e-9);
        let exact = choose(Selection::Exact, &P, &SIZES, 4096).unwrap();
        assert_eq!(exact, [true, true, false, true, false]);
        assert!((chosen_probability(&P, &exact) - 0.346032).abs() < 1e-9);
    }

    #[test]
    fn what_was_pruned_is_never_chosen() {
        for selection in [Selection::Greedy, Selection::Exact] {
            assert_eq!(choose(selection, &[0.0, 0.4, 0.0, 1.0], &[1; 4], 4).unwrap(), [false, true, false, true]);
            assert_eq!(choose(selection, &[0.0; 2], &[1; 2], 4).unwrap(), [false; 2]);
        }
    }

    fn brute_force(p: &[f64], sizes: &[usize], budget: usize) -> f64 {
        let pick = |set: usize| (0..p.len()).filter(move |i| set >> i & 1 == 1);
        let fits = |set: &usize| pick(*set).map(|i| sizes[i]).sum::<usize>() <= budget;
        (0..1usize << p.len()).filter(fits).map(|set| pick(set).map(|i| p[i]).sum::<f64>()).fold(0.0, f64::max)
    }

    #[test]
    fn several_searches_are_summed_up() {
        let of = [vec![0.1, 0.5, 0.0], vec![0.3, 0.5, 0.0]];
        let near = |found: Vec<f64>, wanted: [f64; 3]| found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-12);
        assert!(near(average(&of), [0.2, 0.5, 0.0]));
        assert!(near(deviation(&of), [0.02f64.sqrt(), 0.0, 0.0]));
        assert!(near(deviation(&of[..1]), [0.0; 3]));
    }

    /// Sizes without a common divisor, among which the table of the exact choice would take gigabytes: told before p are known.
    #[test]
    fn a_choice_that_is_too_large_is_refused_at_once() {
        let sizes: Vec<usize> = (0..200).map(|at| 1_000_000 + at).collect();
        let check =
            |selection: Selection, budget: usize| selection.check(&sizes, budget).map_err(|error| error.to_string());
        assert_eq!(check(Selection::Exact, 2_000_000), Ok(()));
        assert_eq!(check(Selection::Exact, 300_000_000), Ok(()), "all fit together");
        assert_eq!(check(Selection::Greedy, 150_000_000), Ok(()));
        let told = check(Selection::Exact, 150_000_000).unwrap_err();
        assert!(told.contains("selection `greedy`"), "{told}");
        assert!(choose(Selection::Exact, &[0.5; 200], &sizes, 150_000_000).is_err());
    }

    proptest! {
        /// ζ solved anew: p = σ((α − ζ)/τ) at one budget becomes that at another, whatever τ.
        #[test]
        fn another_budget_is_another_zeta(
            modules in prop::collection::vec((-5.0f64..5.0, 1usize..5000), 2..30),
            tau in 0.3f64..3.0,
            shares in (0.01f64..0.9, 0.01f64..0.9),
        ) {
            let (alpha, sizes): (Vec<_>, Vec<_>) = modules.into_iter().unzip();
            let total = sizes.iter().sum::<usize>() as f64;
            let size = |p: &[f64]| p.iter().zip(&sizes).map(|(p, size)| p * *size as f64).sum::<f64>();
            let solve = |budget: f64| {
                let p = |zeta: f64| alpha.iter().map(|a| 1.0 / (1.0 + ((zeta - a) / tau).exp())).collect::<Vec<_>>();
                let (mut low, mut high) = (-100.0, 100.0);
                for _ in 0..100 {
                    let middle = f64::midpoint(low, high);
                    if size(&p(middle)) > budget { low = middle } else { high = middle }
                }
                p(high)
            };
            let (budget, before) = ((shares.1 * total) as usize, solve(shares.0 * total));
            // nearer to 1, a p does not hold its logit any more
            prop_assume!(before.iter().all(|p| *p < 1.0 - 1e-8));
            let before: Vec<_> = before.into_iter().map(logit).collect();
            let found: Vec<_> = at_budget(&before, &sizes, budget).into_iter().map(sigmoid).collect();
            prop_assert!(size(&found) <= budget as f64);
            for (found, wanted) in found.iter().zip(solve(budget as f64)) {
                prop_assert!((found - wanted).abs() < 1e-6, "{found} {wanted}");
            }
        }

        #[test]
        fn never_over_budget_and_exact_is_best(
            modules in prop::collection::vec((0.0f64..1.0, 1usize..40), 1..11),
            budget in 0usize..200,
            seed in 0u64..1000,
        ) {
            let (p, sizes): (Vec<_>, Vec<_>) = modules.into_iter().unzip();
            let used = |chosen: &[bool]| sizes.iter().zip(chosen).filter(|(_, c)| **c).map(|(s, _)| s).sum::<usize>();
            let greedy = choose(Selection::Greedy, &p, &sizes, budget).unwrap();
            let exact = choose(Selection::Exact, &p, &sizes, budget).unwrap();
            use rand::SeedableRng;
            let drawn = random(&sizes, budget, &mut rand_chacha::ChaCha8Rng::seed_from_u64(seed));
            prop_assert!(used(&greedy) <= budget && used(&exact) <= budget && used(&drawn) <= budget);
            prop_assert!(sizes.iter().zip(&drawn).all(|(s, c)| *c || used(&drawn) + s > budget));
            let best = chosen_probability(&p, &exact);
            prop_assert!(best >= chosen_probability(&p, &greedy) - 1e-12);
            prop_assert!((best - brute_force(&p, &sizes, budget)).abs() < 1e-9);
            let more = choose(Selection::Exact, &p, &sizes, budget + 7).unwrap();
            prop_assert!(chosen_probability(&p, &more) >= best - 1e-12);
        }
    }
}
