//! One step of bi-level optimisation, on whatever batches.

use super::state::State;
use super::{Gate, Order, Settings};
use crate::delta::{Layout, Single};
use crate::structure::Space;
use crate::t5::Backbone;
use crate::train::{Batch, Error, Report, Result, clip_global_norm, generator, linear_decay, pass};
use rand::RngExt;

/// What all steps of a search share.
pub(crate) struct Bilevel<'a> {
    backbone: &'a Backbone,
    settings: Settings,
    pub(super) layout: Layout,
    pub(super) gate: Gate,
}

/// Gradients of one gated pass.
struct Gated {
    loss: f64,
    /// With respect to δ.
    values: Vec<f32>,
    /// With respect to z.
    gates: Vec<f64>,
}

impl<'a> Bilevel<'a> {
    /// Steps over a space under a budget of parameters.
    ///
    /// # Errors
    /// If a setting is out of its range, or a module stands where the backbone has no place.
    pub(crate) fn new(backbone: &'a Backbone, space: &Space, budget: usize, settings: &Settings) -> Result<Self> {
        let positive = [
            ("learning_rate", settings.learning_rate),
            ("structural_learning_rate", settings.structural_learning_rate),
            ("clip", settings.clip),
            ("tau", settings.tau),
            ("beta", settings.beta),
            ("epsilon", settings.epsilon),
        ];
        if let Some((name, value)) = positive.iter().find(|(_, value)| !(value.is_finite() && *value > 0.0)) {
            return Err(Error::Setting(format!("{name} {value} must be positive")));
        }
        if settings.steps == 0 || settings.batch_size == 0 || settings.evaluations == 0 {
            return Err(Error::Setting("steps, batch_size and evaluations must be at least 1".into()));
        }
        let sizes = space.sizes().iter().map(|size| *size as f64).collect();
        Ok(Self {
            backbone,
            settings: settings.clone(),
            layout: Layout::new(&backbone.positions, space.modules())?,
            gate: Gate { sizes, budget: budget as f64, tau: settings.tau, beta: settings.beta },
        })
    }

    /// Before the first step.
    pub(crate) fn start(&self) -> State {
        State::new(self.layout.init(&mut generator(self.settings.seed, "init", 0)), self.gate.sizes.len())
    }

    /// One step: z from one draw of u, shared by all passes; α by Adam, then δ by AdamW (paper eq. 10–13).
    ///
    /// # Errors
    /// If a loss is no longer a number.
    pub(crate) fn step(&self, state: &mut State, delta: &[Batch], structural: &[Batch]) -> Result<Report> {
        let settings = &self.settings;
        let rate = linear_decay(settings.learning_rate, state.step, settings.steps);
        let structural_rate = linear_decay(settings.structural_learning_rate, state.step, settings.steps);
        let mut draw = generator(settings.seed, "gates", state.step as u64);
        let u: Vec<f64> = state.alpha.iter().map(|_| draw.random()).collect();
        let (p, zeta) = self.gate.probabilities(&state.alpha);
        let z = self.gate.sample(&p, &u);

        let own = self.pass(&state.values, &z, delta)?;
        let virtual_step = perturbed(&state.values, &own.values, -rate);
        let other = self.pass(&virtual_step, &z, structural)?;
        for loss in [own.loss, other.loss] {
            if !loss.is_finite() {
                return Err(Error::Diverged { loss, step: state.step, rate });
            }
        }
        let by_gate = match settings.order {
            Order::First => other.gates,
            Order::Second => {
                // ∇²_αδ L_δ · v by a central difference, in z: ∂z/∂α is the same for both sides
                let v = &other.values;
                let norm = v.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
                let epsilon = settings.epsilon / (norm + 1e-6);
                let plus = self.pass(&perturbed(&state.values, v, epsilon), &z, delta)?.gates;
                let minus = self.pass(&perturbed(&state.values, v, -epsilon), &z, delta)?.gates;
                let sides = plus.iter().zip(&minus).map(|(plus, minus)| (plus - minus) / (2.0 * epsilon));
                other.gates.iter().zip(sides).map(|(direct, second)| direct - rate * second).collect()
            }
        };
        let gradient = self.gate.structural_gradient(&by_gate, &p, &z);
        let mut gradient: Vec<f32> = gradient.iter().map(|g| *g as f32).collect();
        clip_global_norm(&mut gradient, settings.clip);
        state.structural_optimiser.step(&mut state.alpha, &gradient, structural_rate as f32);

        let mut gradient = own.values;
        clip_global_norm(&mut gradient, settings.clip);
        state.delta_optimiser.step(&mut state.values, &gradient, rate as f32);
        state.losses.push(own.loss);
        state.step += 1;
        Ok(Report {
            step: state.step,
            total_steps: settings.steps,
            loss: own.loss,
            structural_loss: Some(other.loss),
            expected_parameters: Some(self.gate.expected_parameters(&p)),
            zeta: Some(zeta),
            // enough for a live picture, little enough for the wire
            probabilities: state.step.is_multiple_of(10).then_some(p),
            dev_score: None,
        })
    }

    /// Gradients with respect to δ and z at once: the gates are folded into the values on the host.
    fn pass(&self, values: &[f32], z: &[f64], batch: &[Batch]) -> Result<Gated> {
        let folded = self.layout.fold_gates(values, z);
        let mut found = pass(self.backbone, &self.layout, &folded, batch)?;
        let gates = self.layout.unfold_gradient(values, z, &mut found.gradient);
        Ok(Gated { loss: found.loss, values: found.gradient, gates })
    }

    /// All modules of the space with these gates.
    pub(super) fn gated(&self, values: &[f32], z: &[f64]) -> Single {
        let folded = self.layout.fold_gates(values, z);
        Single::new(&self.layout, folded, self.backbone.positions.len(), self.backbone.model.device())
    }
}

/// `values + by · direction`.
fn perturbed(values: &[f32], direction: &[f32], by: f64) -> Vec<f32> {
    values.iter().zip(direction).map(|(value, d)| value + (by * f64::from(*d)) as f32).collect()
}
