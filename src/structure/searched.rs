//! Structures from what a search tells: its own, and others from the same p.

use super::{
    DeltaModule, Error, ModuleProbability, Objective, Positions, Provenance, Result, Selection, Space, Structure,
    at_budget, average, choose, choose_by, deviation, logit, sigmoid,
};
use jiff::Timestamp;

impl Structure {
    /// The structure that the mean p of these searches over a space gives under a budget; each has the logits of its p, −∞ where it
    /// pruned. The p of the whole space go into the provenance, of several searches with their deviations.
    pub fn discretise(
        space: &Space,
        searches: &[Vec<f64>],
        budget: usize,
        selection: Selection,
        mut provenance: Provenance,
    ) -> Result<Self> {
        let (chosen, note) = within(selection, &mean(searches), space.sizes(), budget)?;
        let modules = pick(space.modules(), &chosen).cloned().collect();
        provenance.probabilities = told(space, searches);
        provenance.note = note;
        provenance.space = Some(space.name().into());
        provenance.budget = Some(budget);
        Self::new(space.positions().shape(), modules, provenance)
    }

    /// The same search's structure under another budget, of which ζ is solved anew, or by another objective; `costs` are those
    /// of the modules of [`Searched::space`].
    pub fn chosen_anew(
        &self,
        searched: &Searched,
        budget: usize,
        selection: Selection,
        objective: Option<(Objective, &[f64])>,
    ) -> Result<Self> {
        let Searched { provenance, space, .. } = searched;
        let p = searched.p_at(budget);
        let (chosen, note) = match objective {
            None => within(selection, &p, space.sizes(), budget)?,
            Some((Objective { weight, .. }, costs)) => {
                (choose_by(selection, &p, space.sizes(), budget, costs, weight)?, None)
            }
        };
        let modules: Vec<_> = pick(space.modules(), &chosen).cloned().collect();
        if modules.is_empty() {
            let what = match objective {
                Some(_) => "no module is worth its cost at this weight: give a smaller one",
                None => "no module has a probability above 0",
            };
            return Err(Error::Budget(what.into()));
        }
        let provenance = Provenance {
            parents: vec![self.id.clone()],
            created: Timestamp::now(),
            budget: Some(budget),
            note,
            objective: objective.map(|(objective, _)| objective),
            probabilities: searched.told(budget),
            ..provenance.clone()
        };
        Self::new(&self.shape, modules, provenance)
    }

    /// What the newest search told of its space.
    pub fn searched_space(&self) -> Result<Searched> {
        let Some(provenance) = self.searched() else {
            return Err(Error::Document(format!("structure {} has no probabilities to choose from anew", self.id)));
        };
        let modules = provenance.probabilities.iter().map(|entry| entry.module.clone()).collect();
        let name = provenance.space.as_deref().unwrap_or("unnamed");
        let space = Space::from_modules(name, Positions::new(&self.shape), modules)?;
        let p: Vec<_> =
            provenance.probabilities_of(space.modules()).into_iter().map(Option::unwrap_or_default).collect();
        let searches =
            provenance.logits_of(space.modules()).unwrap_or_else(|| vec![p.iter().copied().map(logit).collect()]);
        Ok(Searched { provenance: provenance.clone(), space, p, searches })
    }
}

/// A search's space with what it told of it.
#[derive(Debug, Clone)]
pub struct Searched {
    provenance: Provenance,
    /// The space.
    pub space: Space,
    /// In its order, which a document need not keep.
    p: Vec<f64>,
    /// The logits of each seed's p; of a document that does not tell them those of `p`.
    searches: Vec<Vec<f64>>,
}

impl Searched {
    /// Parameters that the search allowed.
    pub fn budget(&self) -> Option<usize> {
        self.provenance.budget
    }

    /// p of each module, ζ solved anew where the budget is another: of several seeds, the mean of each one's.
    pub fn p_at(&self, budget: usize) -> Vec<f64> {
        if self.is_for(budget) { self.p.clone() } else { mean(&self.searches_at(budget)) }
    }

    /// Whether p are those of this budget as they stand: the L0 control knows no ζ.
    fn is_for(&self, budget: usize) -> bool {
        self.budget() == Some(budget) || self.provenance.settings["l0"].is_number()
    }

    fn searches_at(&self, budget: usize) -> Vec<Vec<f64>> {
        self.searches.iter().map(|logits| at_budget(logits, self.space.sizes(), budget)).collect()
    }

    /// p under a budget as a document tells them.
    fn told(&self, budget: usize) -> Vec<ModuleProbability> {
        if self.is_for(budget) {
            return self.provenance.probabilities.clone();
        }
        told(&self.space, &self.searches_at(budget))
    }
}

/// The choice under a budget, and a note where what a search has pruned leaves it unfilled. Where nothing fits that the search kept,
/// what it pruned is chosen from, the earlier module first.
fn within(selection: Selection, p: &[f64], sizes: &[usize], budget: usize) -> Result<(Vec<bool>, Option<String>)> {
    let chosen = choose(selection, p, sizes, budget)?;
    let used: usize = pick(sizes, &chosen).sum();
    let (pruned, all) = (p.iter().filter(|p| **p == 0.0).count(), p.len());
    if used == 0 {
        let same: Vec<_> = p.iter().map(|p| if *p == 0.0 { 1.0 } else { 0.0 }).collect();
        let note = format!(
            "no module that the search kept fits {budget} parameters: chosen from the {pruned} of {all} pruned"
        );
        return Ok((choose(selection, &same, sizes, budget)?, Some(note)));
    }
    let whole = p.iter().zip(&chosen).all(|(p, chosen)| *chosen || *p == 0.0);
    let fits = p.iter().zip(sizes).any(|(p, size)| *p == 0.0 && used + size <= budget);
    let note = || {
        format!("{used} of {budget} parameters: the search pruned {pruned} of {all} modules, and all others are chosen")
    };
    Ok((chosen, (whole && fits).then(note)))
}

/// Mean p of several searches with these logits.
fn mean(searches: &[Vec<f64>]) -> Vec<f64> {
    average(&probabilities(searches))
}

fn probabilities(searches: &[Vec<f64>]) -> Vec<Vec<f64>> {
    searches.iter().map(|logits| logits.iter().copied().map(sigmoid).collect()).collect()
}

/// p of a space's modules as a document tells them, by their logits in each search.
fn told(space: &Space, searches: &[Vec<f64>]) -> Vec<ModuleProbability> {
    let p = probabilities(searches);
    let (mean, deviation) = (average(&p), deviation(&p));
    // where p was told without logits, one of 1 has none
    let known = searches.iter().flatten().all(|logit| *logit < f64::INFINITY);
    let one = |(at, module): (usize, &DeltaModule)| ModuleProbability {
        module: module.clone(),
        p: mean[at],
        deviation: (searches.len() > 1).then(|| deviation[at]),
        logits: searches.iter().filter(|_| known).map(|of| Some(of[at]).filter(|logit| logit.is_finite())).collect(),
        parameters: space.sizes()[at],
    };
    space.modules().iter().enumerate().map(one).collect()
}

fn pick<'a, T>(of: &'a [T], chosen: &'a [bool]) -> impl Iterator<Item = &'a T> {
    of.iter().zip(chosen).filter(|(_, chosen)| **chosen).map(|(one, _)| one)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structure::{Origin, ServingCost, Shape};

    fn shape() -> Shape {
        Shape::small()
    }

    #[test]
    fn another_budget_chooses_anew() {
        let space = Space::built_in("mix", &shape()).unwrap();
        let logits: Vec<_> = (0..space.len()).map(|i| logit((i % 17) as f64 / 17.0)).collect();
        let p: Vec<_> = logits.iter().copied().map(sigmoid).collect();
        let provenance = Provenance::new(Origin::Search);
        let small = Structure::discretise(&space, &[logits], 500, Selection::Exact, provenance).unwrap();
        assert!(small.parameters() <= 500);
        let (searched, half) = (small.searched_space().unwrap(), space.parameters() / 2);
        assert_eq!(searched.p_at(500), p, "the search's own budget changes nothing");
        let large = small.chosen_anew(&searched, half, Selection::Exact, None).unwrap();
        assert!(large.parameters() > 500 && large.parameters() <= half);
        assert_eq!((&large.provenance[0].parents, large.provenance[0].budget), (&vec![small.id.clone()], Some(half)));
        assert_eq!(
            large.searched_space().unwrap().p_at(half),
            searched.p_at(half),
            "it tells the p that it is chosen by"
        );
        let mut shuffled = small.clone();
        shuffled.provenance[0].probabilities.reverse();
        let again = shuffled.chosen_anew(&shuffled.searched_space().unwrap(), half, Selection::Exact, None).unwrap();
        assert_eq!(again.id, large.id, "whatever the order of the document");
        let mut merged = large.clone();
        merged.merge(small.chosen_anew(&searched, half, Selection::Exact, None).unwrap());
        assert_eq!(merged.provenance.len(), 1);
        let costs: Vec<_> = (0..space.len()).map(|i| if i % 2 == 0 { 1.0 } else { 0.0 }).collect();
        let by = |weight| {
            let objective = Objective { cost: ServingCost::PreferDecoder, weight };
            small.chosen_anew(&searched, half, Selection::Exact, Some((objective, &costs)))
        };
        assert_eq!(by(0.0).unwrap().id, large.id);
        let odd = by(10.0).unwrap();
        let at = |module: &DeltaModule| space.modules().iter().position(|other| other == module).unwrap();
        assert!(odd.modules.iter().all(|module| at(module) % 2 == 1));
        assert_eq!(odd.provenance[0].objective.unwrap().weight, 10.0);
        let nothing = small.chosen_anew(
            &searched,
            half,
            Selection::Exact,
            Some((Objective { cost: ServingCost::Bytes, weight: 10.0 }, &vec![1.0; space.len()])),
        );
        assert!(nothing.unwrap_err().to_string().contains("no module is worth its cost"));
    }

    /// Two searches whose choices are so firm that their p have rounded to 1: another budget's p follow from their logits, sum to no
    /// more than it, tie nowhere, and have deviations. A document without logits is read as before.
    #[test]
    fn firm_searches_hold_for_other_budgets() {
        let space = Space::built_in("mix", &shape()).unwrap();
        let of = |seed: f64| (0..space.len()).map(|i| 60.0 + seed + i as f64 / 2.0).collect::<Vec<f64>>();
        let searches = [of(0.0), of(1.5)];
        let provenance = Provenance::new(Origin::Search);
        let all = Structure::discretise(&space, &searches, space.parameters(), Selection::Exact, provenance).unwrap();
        assert!(all.provenance[0].probabilities.iter().all(|entry| entry.p == 1.0));
        let read = |structure: &Structure| {
            let text = serde_json::to_string(structure).unwrap();
            serde_json::from_str::<Structure>(&text).unwrap().validate().unwrap()
        };
        let (searched, budget) = (read(&all).searched_space().unwrap(), space.parameters() / 10);
        let p = searched.p_at(budget);
        let sum: f64 = p.iter().zip(space.sizes()).map(|(p, size)| p * *size as f64).sum();
        assert!(sum <= budget as f64 && sum > 0.999 * budget as f64, "{sum} of {budget}");
        let first = searches[0].clone();
        let alone = at_budget(&first, space.sizes(), budget).into_iter().map(sigmoid);
        assert!(alone.zip(&p).all(|(alone, p)| (alone - p).abs() < 1e-9), "the second is the first but for ζ");
        assert!(p.windows(2).all(|pair| pair[0] < pair[1] || pair[0] > 0.999_999), "no ties: {p:?}");
        let few = read(&all.chosen_anew(&searched, budget, Selection::Exact, None).unwrap());
        assert!(few.parameters() <= budget && few.parameters() > budget / 2);
        assert!(
            few.provenance[0].probabilities.iter().all(|entry| entry.deviation.is_some() && entry.logits.len() == 2)
        );
        let mut old = all.clone();
        old.provenance[0].probabilities.iter_mut().for_each(|entry| entry.logits.clear());
        let told = read(&old).searched_space().unwrap().p_at(budget);
        assert_eq!(told, vec![1.0; space.len()], "nothing tells them apart");
        let refuse = |change: fn(&mut ModuleProbability)| {
            let mut lying = all.clone();
            change(&mut lying.provenance[0].probabilities[3]);
            lying.validate().unwrap_err().to_string()
        };
        let mut twice = all.clone();
        let entry = twice.provenance[0].probabilities[3].clone();
        twice.provenance[0].probabilities.push(entry);
        assert!(twice.validate().unwrap_err().to_string().contains("is told twice"));
        assert!(refuse(|entry| entry.logits[0] = Some(0.0)).contains("its logits"));
        assert!(refuse(|entry| entry.logits.truncate(1)).contains("its logits"));
        assert!(refuse(|entry| entry.logits[0] = Some(f64::NAN)).contains("its logits"));
    }

    /// A search that pruned all but large modules: a smaller budget has a structure all the same, a larger one says why it is not filled.
    #[test]
    fn what_was_pruned_is_told_of() {
        let space = Space::built_in("mix", &shape()).unwrap();
        let smallest = *space.sizes().iter().min().unwrap();
        let large = |size: &usize| if *size > smallest { 0.0 } else { f64::NEG_INFINITY };
        let logits: Vec<_> = space.sizes().iter().map(large).collect();
        let kept: usize = space.sizes().iter().filter(|size| **size > smallest).sum();
        let at = |budget: usize| {
            let provenance = Provenance::new(Origin::Search);
            let found =
                Structure::discretise(&space, std::slice::from_ref(&logits), budget, Selection::Exact, provenance);
            let found = found.unwrap().validate().unwrap();
            (found.parameters(), found.provenance[0].note.clone().unwrap_or_default())
        };
        let (few, note) = at(smallest);
        assert!(few == smallest && note.starts_with("no module that the search kept fits"), "{few}: {note}");
        let (all, note) = at(space.parameters());
        assert!(
            all == kept && note.starts_with(&format!("{kept} of {} parameters", space.parameters())),
            "{all}: {note}"
        );
        assert_eq!(at(kept / 2).1, "", "what it kept is enough");
    }
}
