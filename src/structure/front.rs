//! A second objective beside Σp: what serving a structure costs.

use super::{Result, Selection, choose, chosen_probability, reads_source};
use serde::{Deserialize, Serialize};

/// What serving a module costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum ServingCost {
    /// Bytes of its delta weights in memory, in f32.
    Bytes,
    /// Microseconds that it adds to a request, measured on the server's machine.
    Microseconds,
    /// One for each module that is computed from the source, none for those of the decoder: texts are encoded once for all
    /// adapters that spare the encoder.
    PreferDecoder,
}

impl ServingCost {
    /// The cost of a module of so many parameters at a position, unless it must be measured.
    pub fn of(self, position: &str, parameters: usize) -> Option<f64> {
        match self {
            Self::Bytes => Some((parameters * size_of::<f32>()) as f64),
            Self::Microseconds => None,
            Self::PreferDecoder => Some(if reads_source(position) { 1.0 } else { 0.0 }),
        }
    }
}

/// Modules are chosen by the sum of p less this weight times their cost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Objective {
    /// What serving costs.
    pub cost: ServingCost,
    /// How much of Σp a unit of cost is worth; 0 or more.
    pub weight: f64,
}

/// One choice of modules on a Pareto front.
#[derive(Debug, Clone, PartialEq)]
pub struct FrontPoint {
    /// A weight of the cost at which it is the best choice: the middle of all that are where they are known, for the last twice the
    /// least.
    pub weight: f64,
    /// Its Σp.
    pub probability: f64,
    /// Its cost.
    pub cost: f64,
    /// Which modules are chosen.
    pub chosen: Vec<bool>,
}

/// By how much a choice must be better to count, relative to all p and all costs.
const TOLERANCE: f64 = 1e-9;

/// The choice under a budget by Σp less `weight` times the cost, in which a module that is worth nothing is left out.
pub fn choose_by(
    selection: Selection,
    p: &[f64],
    sizes: &[usize],
    budget: usize,
    costs: &[f64],
    weight: f64,
) -> Result<Vec<bool>> {
    let worth = |(p, cost): (&f64, &f64)| (p - weight * cost).max(0.0);
    choose(selection, &p.iter().zip(costs).map(worth).collect::<Vec<_>>(), sizes, budget)
}

/// The choices under a budget of which none has more Σp and less cost than another, from most Σp to least cost: those that are the
/// best at some weight of the cost. Of more than `most`, those are found that cut the widest gaps of the cost.
///
/// Each takes up to two exact choices. Points between them that are the best at no weight are not found.
pub fn front(p: &[f64], sizes: &[usize], costs: &[f64], budget: usize, most: usize) -> Result<Vec<FrontPoint>> {
    let sum = |of: &[f64]| of.iter().sum::<f64>();
    let cheapest = costs.iter().copied().filter(|cost| *cost > 0.0).fold(f64::INFINITY, f64::min);
    let at = |weight: f64| -> Result<FrontPoint> {
        let chosen = choose_by(Selection::Exact, p, sizes, budget, costs, weight)?;
        let (probability, cost) = (chosen_probability(p, &chosen), chosen_probability(costs, &chosen));
        Ok(FrontPoint { weight, probability, cost, chosen })
    };
    // a hair's weight of the cost, so that of equal Σp the cheaper is taken
    let first = at(TOLERANCE * sum(p) / sum(costs).max(f64::MIN_POSITIVE))?;
    if !cheapest.is_finite() {
        return Ok(vec![FrontPoint { weight: 0.0, ..first }]);
    }
    let last = at(2.0 * sum(p) / cheapest)?;
    // with each point, the weight from which on it is the best, once nothing lies between it and the one before
    let mut points = vec![(first, Some(0.0))];
    if last.cost + TOLERANCE * sum(costs) < points[0].0.cost {
        points.push((last, None));
    }
    while points.len() < most {
        let gap = |at: usize| points[at - 1].0.cost - points[at].0.cost;
        let open = (1..points.len()).filter(|at| points[*at].1.is_none());
        let Some(right) = open.max_by(|a, b| gap(*a).total_cmp(&gap(*b))) else { break };
        // where two neighbours are worth the same: a third that is worth more there is a new point
        let (a, b) = (&points[right - 1].0, &points[right].0);
        let weight = (a.probability - b.probability) / (a.cost - b.cost);
        let found = at(weight)?;
        let worth = |point: &FrontPoint| point.probability - weight * point.cost;
        if worth(&found) > worth(a) + TOLERANCE * sum(p) {
            points.insert(right, (found, None));
        } else {
            points[right].1 = Some(weight);
        }
    }
    // the middle of the weights at which it is the best where both ends are known, else the one at which it was found
    let ends: Vec<_> = points.iter().skip(1).map(|(_, begin)| *begin).collect();
    let weighted = points.into_iter().enumerate().map(|(at, (point, begin))| {
        let weight = match (begin, ends.get(at)) {
            (Some(begin), Some(Some(end))) => f64::midpoint(begin, *end),
            (Some(begin), None) => 2.0 * begin,
            _ => point.weight,
        };
        FrontPoint { weight, ..point }
    });
    Ok(weighted.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against all choices: no point is dominated, and at every weight one of them is the best.
        #[test]
        fn every_weight_has_its_best_choice(
            modules in prop::collection::vec((0.01f64..1.0, 1usize..40, 0u8..5), 1..9),
            budget in 1usize..150,
            weights in prop::collection::vec(0.0f64..1.0, 8),
        ) {
            let p: Vec<_> = modules.iter().map(|module| module.0).collect();
            let sizes: Vec<_> = modules.iter().map(|module| module.1).collect();
            let costs: Vec<_> = modules.iter().map(|module| f64::from(module.2)).collect();
            let found = front(&p, &sizes, &costs, budget, 64).unwrap();
            let all: Vec<(f64, f64)> = (0..1usize << p.len())
                .map(|set| (0..p.len()).filter(|i| set >> i & 1 == 1).collect::<Vec<_>>())
                .filter(|set| set.iter().map(|i| sizes[*i]).sum::<usize>() <= budget)
                .map(|set| (set.iter().map(|i| p[*i]).sum(), set.iter().map(|i| costs[*i]).sum()))
                .collect();
            for point in &found {
                let used: usize = sizes.iter().zip(&point.chosen).filter(|(_, taken)| **taken).map(|(size, _)| size).sum();
                prop_assert!(used <= budget);
                let better = |(p, cost): &&(f64, f64)| *p > point.probability + 1e-6 && *cost <= point.cost;
                prop_assert!(all.iter().find(better).is_none(), "{point:?}");
            }
            for weight in weights {
                let best = all.iter().map(|(p, cost)| p - weight * cost).fold(f64::MIN, f64::max);
                let ours = found.iter().map(|point| point.probability - weight * point.cost).fold(f64::MIN, f64::max);
                prop_assert!((best - ours).abs() < 1e-6, "at {weight}: {ours} of {best}, {found:?}");
            }
            let few = front(&p, &sizes, &costs, budget, 3).unwrap();
            prop_assert!(few.len() == found.len().min(3));
            prop_assert!(few[0].chosen == found[0].chosen && few.last().unwrap().cost == found.last().unwrap().cost);
            for point in found.iter().chain(&few) {
                let again = choose_by(Selection::Exact, &p, &sizes, budget, &costs, point.weight).unwrap();
                let worth = |chosen: &[bool]| chosen_probability(&p, chosen) - point.weight * chosen_probability(&costs, chosen);
                prop_assert!((worth(&again) - worth(&point.chosen)).abs() < 1e-6, "{point:?}");
            }
            prop_assert!(found.windows(2).all(|pair| pair[0].cost > pair[1].cost && pair[0].weight <= pair[1].weight));
        }
    }

    #[test]
    fn costs_of_modules() {
        let encoder = "encoder.block.0.layer.0.SelfAttention.q";
        assert_eq!(ServingCost::Bytes.of(encoder, 10), Some(40.0));
        assert_eq!(ServingCost::PreferDecoder.of(encoder, 10), Some(1.0));
        assert_eq!(ServingCost::PreferDecoder.of("decoder.block.0.layer.0.SelfAttention.q", 10), Some(0.0));
        assert_eq!(ServingCost::Microseconds.of(encoder, 10), None);
    }
}
