//! One step of bi-level optimisation, on whatever batches.

use super::live::{Live, searched};
use super::state::State;
use super::{DevGates, Gate, Masks, Order, Settings};
use crate::delta::{Layout, Single, Tracked};
use crate::structure::{DeltaModule, Space, choose};
use crate::t5::Backbone;
use crate::train::{Batch, Error, Point, Report, Result, clip_global_norm, generator, linear_decay, passes};
use rand::RngExt;

/// Saliency moves α by this much at most, in units of τ.
const MOST_SALIENT: f64 = 4.0;

/// What all steps of a search share.
pub(crate) struct Bilevel<'a> {
    backbone: &'a Backbone,
    settings: Settings,
    modules: Vec<DeltaModule>,
    /// Of the whole space.
    pub(super) layout: Layout,
    gate: Gate,
    live: Live,
}

/// What u is drawn for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Draw {
    /// A step's passes.
    Step,
    /// The update of δ in the reference's order.
    Update,
}

/// Gradients of one gated pass.
pub(super) struct Gated {
    pub(super) loss: f64,
    /// With respect to δ; of a pass for gates, only the outer factors'.
    pub(super) values: Vec<f32>,
    /// With respect to z.
    pub(super) gates: Vec<f64>,
}

impl<'a> Bilevel<'a> {
    /// Steps over a space under a budget of parameters.
    ///
    /// # Errors
    /// If a setting is out of its range, or a module stands where the backbone has no place.
    pub(crate) fn new(backbone: &'a Backbone, space: &Space, budget: usize, settings: &Settings) -> Result<Self> {
        settings.check()?;
        if ![0, space.len()].contains(&settings.warm_start.len()) {
            let given = settings.warm_start.len();
            return Err(Error::Setting(format!("warm_start has {given} values for {} modules", space.len())));
        }
        let sizes: Vec<_> = space.sizes().iter().map(|size| *size as f64).collect();
        let layout = Layout::new(&backbone.positions, space.modules())?;
        let gate = Gate { sizes, budget: budget as f64, tau: settings.tau, beta: settings.beta, l0: settings.l0 };
        let live = Live::new((0..space.len()).collect(), &layout, layout.clone(), &gate);
        Ok(Self { backbone, settings: settings.clone(), modules: space.modules().to_vec(), layout, gate, live })
    }

    /// Before the first step.
    pub(crate) fn start(&self) -> State {
        let values = self.layout.init(&mut generator(self.settings.seed, "init", 0));
        let alpha = match self.settings.warm_start.as_slice() {
            [] => vec![0.0; self.modules.len()],
            p => self.gate.alpha(p),
        };
        State::new(values, alpha)
    }

    /// α by each module's saliency at its initial values, over these batches: the logarithm of `‖∂L/∂θ‖₁` of its outer factors θ,
    /// by which the loss would fall in a step of the sign of the gradient; the median is 0.
    pub(super) fn salient(
        &self,
        values: &[f32],
        batches: impl IntoIterator<Item = Result<Vec<Batch>>>,
    ) -> Result<Vec<f32>> {
        let mut sums = vec![0.0; self.modules.len()];
        let all = vec![1.0; self.modules.len()];
        for batch in batches {
            let gradient = self.pass(0, 0, values, &all, &batch?, Tracked::Outer)?.values;
            for (sum, range) in sums.iter_mut().zip(self.layout.ranges()) {
                *sum += gradient[range].iter().map(|g| f64::from(g.abs())).sum::<f64>();
            }
        }
        let logarithms: Vec<f64> = sums.iter().map(|sum| sum.max(f64::MIN_POSITIVE).ln()).collect();
        let mut sorted = logarithms.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted[sorted.len() / 2]; // a dead module's logarithm would move the mean
        let alpha =
            |logarithm: &f64| (self.settings.tau * (logarithm - middle).clamp(-MOST_SALIENT, MOST_SALIENT)) as f32;
        Ok(logarithms.iter().map(alpha).collect())
    }

    /// One step: z from one draw of u, shared by all passes; α by Adam, then δ by AdamW (paper eq. 10–13).
    ///
    /// # Errors
    /// If a loss is no longer a number.
    pub(crate) fn step(&mut self, state: &mut State, delta: &[Batch], structural: &[Batch]) -> Result<Report> {
        self.step_by(state, delta, structural, Self::draw)
    }

    /// The same by u of another's: of the modules searched, for one of a step's two purposes.
    pub(super) fn step_by(
        &mut self,
        state: &mut State,
        delta: &[Batch],
        structural: &[Batch],
        draw: impl Fn(&Self, &State, Draw) -> Vec<f64>,
    ) -> Result<Report> {
        self.follow(state)?;
        let (settings, live) = (&self.settings, &self.live);
        let rate = linear_decay(settings.learning_rate, state.step, settings.steps);
        let structural_rate = linear_decay(settings.structural_learning_rate, state.step, settings.steps);
        let (p, zeta) = live.gate.probabilities(&live.pick(&state.alpha));
        let z = live.gate.sample(&p, &draw(self, state, Draw::Step));
        let values = live.gather(&state.values);

        let own = self.pass(state.step, 0, &values, &z, delta, Tracked::All)?;
        let ahead = match settings.order {
            Order::First | Order::Second => perturbed(&values, &own.values, -rate),
            Order::Reference => {
                let mut ahead = state.values.clone();
                let gradient = live.scatter(&own.values, ahead.len());
                state.delta_optimiser.clone().step(&mut ahead, &gradient, rate as f32);
                live.gather(&ahead)
            }
        };
        let first = settings.order == Order::First;
        let tracked = if first { Tracked::Outer } else { Tracked::All };
        let other = self.pass(state.step, 1, &ahead, &z, structural, tracked)?;
        for loss in [own.loss, other.loss] {
            if !loss.is_finite() {
                return Err(Error::Diverged { loss, step: state.step, rate });
            }
        }
        let by_gate =
            if first { other.gates } else { self.seeing_through(state.step, rate, &values, &z, &other, delta)? };
        let gradient = live.gate.structural_gradient(&by_gate, &p, &z);
        let mut whole = vec![0.0; state.alpha.len()];
        live.modules.iter().zip(gradient).for_each(|(module, g)| whole[*module] = g as f32);
        if !whole.iter().all(|g| g.is_finite()) {
            return Err(Error::DivergedStructure { step: state.step, rate: structural_rate });
        }
        clip_global_norm(&mut whole, settings.clip);
        state.structural_optimiser.step(&mut state.alpha, &whole, structural_rate as f32);

        let gradient = if settings.order == Order::Reference {
            let (p, _) = live.gate.probabilities(&live.pick(&state.alpha));
            let z = live.gate.sample(&p, &draw(self, state, Draw::Update));
            self.pass(state.step, 4, &values, &z, delta, Tracked::All)?.values
        } else {
            own.values
        };
        let mut gradient = live.scatter(&gradient, state.values.len());
        clip_global_norm(&mut gradient, settings.clip);
        state.delta_optimiser.step(&mut state.values, &gradient, rate as f32);
        state.losses.push(own.loss);
        state.step += 1;
        let expected = live.gate.expected_parameters(&p);
        Ok(Report {
            step: state.step,
            total_steps: settings.steps,
            loss: own.loss,
            structural_loss: Some(other.loss),
            expected_parameters: Some(expected),
            zeta: settings.l0.is_none().then_some(zeta),
            // enough for a live picture, little enough for the wire
            probabilities: state.step.is_multiple_of(10).then(|| live.spread(&p, self.modules.len())),
            dev_score: None,
        })
    }

    /// The logit of p of every module of the space, −∞ where it is searched no further.
    pub(super) fn logits(&self, alpha: &[f32]) -> Result<Vec<f64>> {
        let live = self.live(alpha)?;
        let mut all = vec![f64::NEG_INFINITY; self.modules.len()];
        let (logits, _) = live.gate.logits(&live.pick(alpha));
        live.modules.iter().zip(logits).for_each(|(module, logit)| all[*module] = logit);
        Ok(all)
    }

    /// All modules of the space with the gates of a dev evaluation at these p.
    pub(super) fn evaluated(&self, values: &[f32], p: &[f64]) -> Result<Single> {
        let folded = self.layout.fold_gates(values, &self.evaluation_gates(p)?);
        Ok(Single::new(&self.layout, folded, self.backbone.positions.len(), self.backbone.model.device()))
    }

    pub(super) fn evaluation_gates(&self, p: &[f64]) -> Result<Vec<f64>> {
        match self.settings.dev_gates {
            DevGates::Soft => Ok(self.gate.soft(p)),
            DevGates::Hard => {
                let sizes: Vec<_> = self.gate.sizes.iter().map(|size| *size as usize).collect();
                let chosen = choose(self.settings.selection, p, &sizes, self.gate.budget as usize)?;
                Ok(chosen.into_iter().map(|chosen| f64::from(u8::from(chosen))).collect())
            }
        }
    }

    /// Searches those modules no further whose p has collapsed, of whose α nothing is left then: the least likely first, as long as
    /// what remains can fill the budget and one of it fits.
    pub(super) fn prune(&self, state: &mut State, p: &[f64]) {
        let share = self.gate.budget / self.gate.sizes.iter().sum::<f64>();
        // the likeliest stays, whatever its p: the L0 control may close all gates
        let most = p.iter().copied().fold(0.0, f64::max);
        let least = (self.settings.prune_below * share).min(most);
        let mut collapsed: Vec<_> = searched(&state.alpha).filter(|module| p[*module] < least).collect();
        collapsed.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
        let size = |module: usize| self.gate.sizes[module];
        for module in collapsed {
            let rest: Vec<_> = searched(&state.alpha).filter(|other| *other != module).map(size).collect();
            if rest.iter().sum::<f64>() >= self.gate.budget && rest.iter().any(|size| *size <= self.gate.budget) {
                state.alpha[module] = f32::NEG_INFINITY;
            }
        }
    }

    /// Goes on with the modules that the state still searches.
    fn follow(&mut self, state: &State) -> Result<()> {
        if self.live.modules.len() != searched(&state.alpha).count() {
            self.live = self.live(&state.alpha)?;
        }
        Ok(())
    }

    /// The modules that are searched at these α.
    fn live(&self, alpha: &[f32]) -> Result<Live> {
        let picked: Vec<_> = searched(alpha).map(|module| self.modules[module].clone()).collect();
        let layout = Layout::new(&self.backbone.positions, &picked)?;
        Ok(Live::new(searched(alpha).collect(), &self.layout, layout, &self.gate))
    }

    /// u of the modules searched: a module's draw does not depend on which others are.
    fn draw(&self, state: &State, purpose: Draw) -> Vec<f64> {
        let purpose = match purpose {
            Draw::Step => "gates",
            Draw::Update => "gates of the update",
        };
        let mut draw = generator(self.settings.seed, purpose, state.step as u64);
        let all: Vec<f64> = state.alpha.iter().map(|_| draw.random()).collect();
        self.live.modules.iter().map(|module| all[*module]).collect()
    }

    /// The gates' gradient that sees through the virtual step: that of `other` less `ξ ∇²_zδ L_δ · v`, v being the gradient of
    /// `other`'s δ. The product is a central difference of the gates' gradient along v; ∂z/∂α is the same for both sides.
    pub(super) fn seeing_through(
        &self,
        step: usize,
        rate: f64,
        values: &[f32],
        z: &[f64],
        other: &Gated,
        delta: &[Batch],
    ) -> Result<Vec<f64>> {
        let v = &other.values;
        let norm = v.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        let epsilon = self.settings.epsilon / (norm + 1e-6);
        let [plus, minus] = [epsilon, -epsilon].map(|by| perturbed(values, v, by));
        let sides = self.passes(step, 2, &[&plus, &minus], z, delta, Tracked::Outer)?;
        let second = sides[0].gates.iter().zip(&sides[1].gates).map(|(plus, minus)| (plus - minus) / (2.0 * epsilon));
        Ok(other.gates.iter().zip(second).map(|(direct, second)| direct - rate * second).collect())
    }

    pub(super) fn pass(
        &self,
        step: usize,
        number: usize,
        values: &[f32],
        z: &[f64],
        batch: &[Batch],
        tracked: Tracked,
    ) -> Result<Gated> {
        Ok(self.passes(step, number, &[values], z, batch, tracked)?.remove(0))
    }

    /// Gradients with respect to δ and z at once, at several δ: the gates are folded into the values on the host. `number` is
    /// that of the first of these passes in the step.
    pub(super) fn passes(
        &self,
        step: usize,
        number: usize,
        points: &[&[f32]],
        z: &[f64],
        batch: &[Batch],
        tracked: Tracked,
    ) -> Result<Vec<Gated>> {
        let layout = &self.live.layout;
        let folded: Vec<_> = points.iter().map(|values| layout.fold_gates(values, z)).collect();
        let at: Vec<_> = folded
            .iter()
            .enumerate()
            .map(|(index, values)| Point { values, tracked, dropout: self.dropout(step, number + index) })
            .collect();
        let found = passes(self.backbone, layout, &at, batch)?;
        let each = found.into_iter().zip(points).map(|(mut pass, values)| {
            let gates = layout.unfold_gradient(values, z, &mut pass.gradient);
            Gated { loss: pass.loss, values: pass.gradient, gates }
        });
        Ok(each.collect())
    }

    /// Rate and masks' seed of the step's pass with this number.
    fn dropout(&self, step: usize, number: usize) -> Option<(f64, u64)> {
        let rate = self.settings.dropout;
        let index = match self.settings.masks {
            Masks::Shared => step * 8,
            Masks::Free => step * 8 + number,
        };
        (rate > 0.0).then(|| (rate, generator(self.settings.seed, "dropout", index as u64).random()))
    }
}

/// `values + by · direction`.
fn perturbed(values: &[f32], direction: &[f32], by: f64) -> Vec<f32> {
    values.iter().zip(direction).map(|(value, d)| value + (by * f64::from(*d)) as f32).collect()
}
