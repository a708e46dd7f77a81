//! The gate of method.md section 3: binary concrete samples of probabilities from a shifted global sigmoid; and the one of the
//! L0 control (section 5), which has a penalty in place of the shift (Louizos et al. 2018, eq. 10 to 12).

use crate::structure::{logit, sigmoid};

/// p and u stay this far from 0 and 1.
const MARGIN: f64 = 1e-7;
/// Ends l and r of the interval to which the L0 control stretches gates before it cuts them off at 0 and 1.
const STRETCH: (f64, f64) = (-0.1, 1.1);

/// The gate's constants for one search space and budget.
#[derive(Debug, Clone)]
pub struct Gate {
    /// Parameters |δ_i| of each module.
    pub sizes: Vec<f64>,
    /// Parameters allowed, B.
    pub budget: f64,
    /// Temperature τ of the sigmoid.
    pub tau: f64,
    /// Temperature β of the binary concrete distribution.
    pub beta: f64,
    /// λ₀ of the L0 control; `None` is the method itself.
    pub l0: Option<f64>,
}

impl Gate {
    /// ζ: the least shift, to double precision, with Σ p_i |δ_i| ≤ B (paper eq. 17).
    ///
    /// The left side falls strictly as ζ rises. The root lies between those that the least and the greatest α alone
    /// would give; bisection on that bracket keeps the feasible end.
    fn zeta(&self, alpha: &[f64]) -> f64 {
        let share = (self.budget / self.sizes.iter().sum::<f64>()).clamp(1e-12, 1.0 - 1e-12);
        let shift = self.tau * logit(share);
        let least = alpha.iter().copied().fold(f64::INFINITY, f64::min);
        let greatest = alpha.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (mut low, mut high) = (least - shift - self.tau, greatest - shift + self.tau);
        loop {
            let middle = f64::midpoint(low, high);
            if middle <= low || middle >= high {
                return high;
            }
            let size: f64 =
                alpha.iter().zip(&self.sizes).map(|(a, size)| sigmoid((a - middle) / self.tau) * size).sum();
            if size > self.budget {
                low = middle;
            } else {
                high = middle;
            }
        }
    }

    /// p_i = σ((α_i − ζ)/τ) (paper eq. 14, 15; the normaliser has value 1 and acts on gradients alone), and ζ, which is 0 in
    /// the L0 control. Samples and gradients see p cut off near 0 and 1; what is told of a search does not.
    pub fn probabilities(&self, alpha: &[f32]) -> (Vec<f64>, f64) {
        let (logits, zeta) = self.logits(alpha);
        (logits.into_iter().map(sigmoid).collect(), zeta)
    }

    /// (α_i − ζ)/τ, of which p_i is the sigmoid, and ζ: these tell modules apart whose p are too near to 0 or 1 to do so.
    pub fn logits(&self, alpha: &[f32]) -> (Vec<f64>, f64) {
        let alpha: Vec<f64> = alpha.iter().map(|a| f64::from(*a)).collect();
        let zeta = if self.l0.is_some() { 0.0 } else { self.zeta(&alpha) };
        (alpha.iter().map(|alpha| (alpha - zeta) / self.tau).collect(), zeta)
    }

    /// α of these p, so that p at the budget's share of the space has α = 0; p itself in the L0 control, which has no ζ.
    pub fn alpha(&self, p: &[Option<f64>]) -> Vec<f32> {
        let known = || p.iter().zip(&self.sizes).filter_map(|(p, size)| p.map(|p| (p, size)));
        let share = known().map(|(p, size)| p * size).sum::<f64>() / known().map(|(_, size)| size).sum::<f64>();
        let zeta = if self.l0.is_some() { 0.0 } else { logit(cut(share)) };
        let alpha = |p: f64| self.tau * (logit(cut(p)) - zeta);
        p.iter().map(|p| p.map_or(0.0, |p| alpha(p) as f32)).collect()
    }

    /// z_i = σ((logit u_i + logit p_i)/β), so that P(z > ½) = p (paper eq. 7); stretched and cut off in the L0 control.
    pub fn sample(&self, p: &[f64], u: &[f64]) -> Vec<f64> {
        let z = |(p, u): (&f64, &f64)| sigmoid((logit(cut(*u)) + logit(cut(*p))) / self.beta);
        p.iter().zip(u).map(|pair| self.stretched(z(pair))).collect()
    }

    /// The gates of an evaluation: z = p, stretched and cut off in the L0 control.
    pub fn soft(&self, p: &[f64]) -> Vec<f64> {
        p.iter().map(|p| self.stretched(*p)).collect()
    }

    fn stretched(&self, z: f64) -> f64 {
        let (l, r) = STRETCH;
        if self.l0.is_some() { (z * (r - l) + l).clamp(0.0, 1.0) } else { z }
    }

    /// ∂L/∂α from g_i = ∂L/∂z_i in closed form; no gradient flows through ζ, and the normaliser makes the p compete:
    /// `(1/τ) p_j (1 − p_j) [G_j − Σ G_i p_i / Σ p_i]`, `G_i = g_i z_i (1 − z_i) / (β p_i (1 − p_i))`, which is 0 where p_i is cut
    /// off for the sample.
    ///
    /// In the L0 control nothing competes, and the penalty's gradient is added.
    pub fn structural_gradient(&self, g: &[f64], p: &[f64], z: &[f64]) -> Vec<f64> {
        if let Some(penalty) = self.l0 {
            return self.l0_gradient(penalty, g, p, z);
        }
        let through = |((g, p), z): ((&f64, &f64), &f64)| {
            if cut(*p) == *p { g * z * (1.0 - z) / (self.beta * p * (1.0 - p)) } else { 0.0 }
        };
        let big: Vec<f64> = g.iter().zip(p).zip(z).map(through).collect();
        let mean = big.iter().zip(p).map(|(g, p)| g * p).sum::<f64>() / p.iter().sum::<f64>();
        big.iter().zip(p).map(|(g, p)| p * (1.0 - p) / self.tau * (g - mean)).collect()
    }

    /// `g_j (r − l) s_j (1 − s_j) / (β τ)` of the gate s before it was stretched to z, 0 where z was cut off, and that of
    /// `λ₀ Σ σ(logit p_j − β log(−l/r))`, the expected number of gates above 0.
    fn l0_gradient(&self, penalty: f64, g: &[f64], p: &[f64], z: &[f64]) -> Vec<f64> {
        let (l, r) = STRETCH;
        let gradient = |((g, p), z): ((&f64, &f64), &f64)| {
            let s = (z - l) / (r - l);
            let through = if *z > 0.0 && *z < 1.0 { g * (r - l) * s * (1.0 - s) / self.beta } else { 0.0 };
            let open = sigmoid(logit(cut(*p)) - self.beta * (-l / r).ln());
            (through + penalty * open * (1.0 - open)) / self.tau
        };
        g.iter().zip(p).zip(z).map(gradient).collect()
    }

    /// `E[N] = Σ p_i |δ_i|` (paper eq. 16).
    pub fn expected_parameters(&self, p: &[f64]) -> f64 {
        p.iter().zip(&self.sizes).map(|(p, size)| p * size).sum()
    }
}

/// As far from 0 and 1 as samples need it.
fn cut(p: f64) -> f64 {
    p.clamp(MARGIN, 1.0 - MARGIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl Gate {
        /// p at a ζ that is held.
        fn shifted(&self, alpha: &[f64], zeta: f64) -> Vec<f64> {
            alpha.iter().map(|alpha| sigmoid((alpha - zeta) / self.tau)).collect()
        }
    }

    fn gate(sizes: &[f64], budget: f64) -> Gate {
        Gate { sizes: sizes.to_vec(), budget, tau: 1.0, beta: 1.0, l0: None }
    }

    #[track_caller]
    fn close(found: &[f64], wanted: &[f64]) {
        let far = found.iter().zip(wanted).any(|(a, b)| (a - b).abs() > 6e-7);
        assert!(!far && found.len() == wanted.len(), "{found:?} is not {wanted:?}");
    }

    /// The vector of method.md section 3, taken from the reference implementation.
    #[test]
    fn the_references_test_vector() {
        let gate = gate(&[2048.0, 1024.0, 5120.0, 1024.0, 3168.0], 4096.0);
        let alpha = [0.5, -1.0, 2.0, 0.0, 1.25];
        let zeta = gate.zeta(&alpha);
        close(&[zeta], &[2.010_136_5]);
        let p = gate.shifted(&alpha, zeta);
        close(&p, &[0.180919, 0.046970, 0.497466, 0.118143, 0.318617]);
        let z = gate.sample(&p, &[0.3, 0.6, 0.5, 0.9, 0.1]);
        close(&z, &[0.086477, 0.068838, 0.497466, 0.546636, 0.049390]);
        let gradient = gate.structural_gradient(&[1.0, -2.0, 0.5, 3.0, -1.0], &p, &z);
        close(&gradient, &[-0.046583, -0.166135, -0.086861, 0.655183, -0.230933]);
    }

    #[test]
    fn equal_alpha_gives_the_budgets_share() {
        let gate = gate(&[10.0, 20.0, 30.0], 6.0);
        let p = gate.probabilities(&[0.0; 3]).0;
        close(&p, &[0.1; 3]);
    }

    /// Σ of the closed form against a central difference of z through p, with the normaliser written out.
    fn numeric(gate: &Gate, alpha: &[f64], u: &[f64], g: &[f64]) -> Vec<f64> {
        let zeta = gate.zeta(alpha);
        let value = |alpha: &[f64], detached: f64| {
            let soft = gate.shifted(alpha, zeta); // ζ held
            let total: f64 = soft.iter().sum();
            let p: Vec<f64> = soft.iter().map(|p| p * detached / total).collect();
            gate.sample(&p, u).iter().zip(g).map(|(z, g)| z * g).sum::<f64>()
        };
        let detached: f64 = gate.shifted(alpha, zeta).iter().sum();
        let shifted = |j: usize, h: f64| {
            let mut alpha = alpha.to_vec();
            alpha[j] += h;
            value(&alpha, detached)
        };
        (0..alpha.len()).map(|j| (shifted(j, 1e-5) - shifted(j, -1e-5)) / 2e-5).collect()
    }

    #[test]
    fn alpha_of_p_gives_p_back() {
        let gate = gate(&[2048.0, 1024.0, 5120.0, 1024.0], 4096.0);
        let p = gate.probabilities(&[0.5, -1.0, 2.0, 0.25]).0;
        let known: Vec<_> = p.iter().map(|p| Some(*p)).collect();
        close(&gate.probabilities(&gate.alpha(&known)).0, &p);
        let share = p.iter().zip(&gate.sizes).map(|(p, size)| p * size).sum::<f64>() / 9216.0;
        assert_eq!(gate.alpha(&[Some(share), Some(share), Some(share), None]), [0.0; 4]);
        let control = Gate { l0: Some(0.0), tau: 0.7, ..gate };
        close(&control.probabilities(&control.alpha(&[Some(0.9); 4])).0, &[0.9; 4]);
    }

    /// However firm the choice is, what a search tells gives another budget's p as the search of that budget would.
    #[test]
    fn what_is_told_holds_for_another_budget() {
        let sizes = [100.0, 300.0, 50.0, 80.0, 200.0, 10.0];
        let alpha = [0.4, -0.6, 0.05, -0.2, 0.1, 0.0];
        for (tau, from, to) in [(1.0, 30.0, 400.0), (0.05, 30.0, 400.0), (0.01, 30.0, 400.0), (0.01, 700.0, 30.0)] {
            let of = |budget: f64| Gate { tau, ..gate(&sizes, budget) };
            let (told, wanted) = (of(from).logits(&alpha).0, of(to).probabilities(&alpha).0);
            let found = crate::structure::at_budget(&told, &sizes.map(|size| size as usize), to as usize);
            let found: Vec<_> = found.into_iter().map(sigmoid).collect();
            found.iter().zip(&wanted).for_each(|(a, b)| assert!((a - b).abs() < 1e-6, "τ {tau}: {found:?} {wanted:?}"));
        }
    }

    /// Of the L0 control: the gradient of `Σ g z(α) + λ₀ Σ P(z > 0)` by a central difference, and gates that are cut off.
    #[test]
    fn the_l0_control() {
        let gate = Gate { l0: Some(0.3), tau: 0.7, beta: 0.66, ..gate(&[1.0; 5], 2.0) };
        let (alpha, u, g) = ([0.3, -1.0, 1.5, -4.0, 4.0], [0.4, 0.6, 0.3, 0.1, 0.9], [1.0, -2.0, 0.5, 3.0, -1.0]);
        let value = |alpha: &[f64]| {
            let p = gate.shifted(alpha, 0.0);
            let open = |p: &f64| sigmoid(logit(cut(*p)) - gate.beta * (0.1f64 / 1.1).ln());
            let through: f64 = gate.sample(&p, &u).iter().zip(&g).map(|(z, g)| z * g).sum();
            through + 0.3 * p.iter().map(open).sum::<f64>()
        };
        let (p, zeta) = gate.probabilities(&alpha.map(|a: f64| a as f32));
        let z = gate.sample(&p, &u);
        assert_eq!((zeta, z[3], z[4]), (0.0, 0.0, 1.0));
        let numeric: Vec<f64> = (0..5)
            .map(|j| {
                let shifted = |h: f64| {
                    let mut alpha = alpha;
                    alpha[j] += h;
                    value(&alpha)
                };
                (shifted(1e-5) - shifted(-1e-5)) / 2e-5
            })
            .collect();
        close(&gate.structural_gradient(&g, &p, &z), &numeric);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_closed_form_is_the_derivative(
            modules in prop::collection::vec((-3.0f64..3.0, 1.0f64..50.0, 0.01f64..0.99, -2.0f64..2.0), 2..12),
            share in 0.05f64..0.95,
        ) {
            let alpha: Vec<_> = modules.iter().map(|m| m.0).collect();
            let sizes: Vec<_> = modules.iter().map(|m| m.1).collect();
            let u: Vec<_> = modules.iter().map(|m| m.2).collect();
            let g: Vec<_> = modules.iter().map(|m| m.3).collect();
            let gate = gate(&sizes, share * sizes.iter().sum::<f64>());
            let p = gate.shifted(&alpha, gate.zeta(&alpha));
            let closed = gate.structural_gradient(&g, &p, &gate.sample(&p, &u));
            for (a, b) in closed.iter().zip(numeric(&gate, &alpha, &u, &g)) {
                prop_assert!((a - b).abs() < 1e-6, "{a} {b}");
            }
        }

        #[test]
        fn never_over_budget_and_more_budget_never_lowers_p(
            modules in prop::collection::vec((-8.0f64..8.0, 1.0f64..5000.0), 1..40),
            share in 0.001f64..0.9,
        ) {
            let (alpha, sizes): (Vec<_>, Vec<_>) = modules.into_iter().unzip();
            let total: f64 = sizes.iter().sum();
            let small = gate(&sizes, share * total);
            let p = small.shifted(&alpha, small.zeta(&alpha));
            prop_assert!(small.expected_parameters(&p) <= small.budget);
            prop_assert!(small.expected_parameters(&p) >= small.budget * (1.0 - 1e-6));
            let large = gate(&sizes, share * total * 1.1);
            let more = large.shifted(&alpha, large.zeta(&alpha));
            prop_assert!(p.iter().zip(&more).all(|(a, b)| b >= a));
        }
    }
}
