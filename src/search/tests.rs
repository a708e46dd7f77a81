//! The search against torch: numbers of `tests/reference/search.py`.

use super::state::State;
use super::step::{Bilevel, Draw};
use super::{DevGates, Gate, Order, Settings};
use crate::delta::Tracked;
use crate::structure::{Selection, Space, choose};
use crate::t5::Backbone;
use crate::train::Batch;
use burn::tensor::Device;
use safetensors::SafeTensors;
use serde::Deserialize;
use std::path::{Path, PathBuf};

fn reference(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(file)
}

#[derive(Deserialize)]
struct Case {
    tau: f64,
    beta: f64,
    alpha: Vec<f32>,
    sizes: Vec<usize>,
    budget: usize,
    u: Vec<f64>,
    g: Vec<f64>,
    zeta: f64,
    p: Vec<f64>,
    z: Vec<f64>,
    dalpha: Vec<f64>,
    greedy: Vec<bool>,
}

#[track_caller]
fn close(what: &str, found: &[f64], wanted: &[f64]) {
    let far = found.iter().zip(wanted).any(|(a, b)| (a - b).abs() > 1e-9 * (1.0 + b.abs()));
    assert!(!far && found.len() == wanted.len(), "{what}: {found:?} is not {wanted:?}");
}

#[test]
fn the_gate_is_torchs_in_a_hundred_cases() {
    let cases: Vec<Case> = serde_json::from_slice(&std::fs::read(reference("gates.json")).unwrap()).unwrap();
    assert_eq!(cases.len(), 100);
    let near = |end: f64| cases.iter().any(|case| case.p.iter().any(|p| (p - end).abs() < 1.5e-7));
    assert!(near(0.0) && near(1.0), "no case tests where p is cut off");
    for case in cases {
        let sizes = case.sizes.iter().map(|size| *size as f64).collect();
        let gate = Gate { sizes, budget: case.budget as f64, tau: case.tau, beta: case.beta, l0: None };
        let (p, zeta) = gate.probabilities(&case.alpha);
        close("zeta", &[zeta], &[case.zeta]);
        close("p", &p.iter().map(|p| p.clamp(1e-7, 1.0 - 1e-7)).collect::<Vec<_>>(), &case.p);
        let z = gate.sample(&p, &case.u);
        close("z", &z, &case.z);
        close("dalpha", &gate.structural_gradient(&case.g, &p, &z), &case.dalpha);
        assert_eq!(choose(Selection::Greedy, &p, &case.sizes, case.budget).unwrap(), case.greedy);
    }
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// A file of torch's numbers.
struct Numbers(Vec<u8>);

impl Numbers {
    fn open(file: &str) -> Self {
        Self(std::fs::read(reference(file)).unwrap())
    }

    fn tensor(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = tensors.tensor(name).unwrap();
        let values = tensor.data().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()));
        (tensor.shape().to_vec(), values.collect())
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        self.tensor(name).1
    }

    fn doubles(&self, name: &str) -> Vec<f64> {
        self.floats(name).into_iter().map(f64::from).collect()
    }

    fn batch(&self, backbone: &Backbone, name: &str) -> Vec<Batch> {
        let rows = |part: &str| -> Vec<Vec<u32>> {
            let (shape, ids) = self.tensor(&format!("{name}.{part}"));
            ids.chunks(shape[1]).map(|row| row.iter().map(|id| *id as u32).collect()).collect()
        };
        let (sources, targets) = (rows("sources"), rows("targets"));
        let [sources, targets] = [&sources, &targets].map(|rows| rows.iter().map(Vec::as_slice).collect::<Vec<_>>());
        Batch::cut(backbone, &sources, &targets).unwrap()
    }
}

/// A second-order step against double backward in float64.
#[test]
fn the_second_order_is_double_backward() {
    let numbers = Numbers::open("tiny-v1.1/second-order.safetensors");
    let (floats, doubles) = (|name| numbers.floats(name), |name| numbers.doubles(name));
    let backbone = Backbone::open(&reference("tiny-v1.1"), &Device::flex()).unwrap();
    let (delta, structural) = (numbers.batch(&backbone, "delta"), numbers.batch(&backbone, "structural"));
    let space = Space::built_in("mix", backbone.shape()).unwrap();
    let search = Bilevel::new(&backbone, &space, space.parameters() / 2, &Settings::default()).unwrap();
    let (theta, z, xi) = (floats("theta"), doubles("z"), doubles("xi")[0]);
    let own = search.pass(0, 0, &theta, &z, &delta, Tracked::All).unwrap();
    let ahead: Vec<f32> = theta.iter().zip(&own.values).map(|(value, g)| value - (xi * f64::from(*g)) as f32).collect();
    let other = search.pass(0, 1, &ahead, &z, &structural, Tracked::All).unwrap();
    for (found, wanted) in [own.loss, other.loss].iter().zip(doubles("losses")) {
        assert!((found / wanted - 1.0).abs() < 1e-4, "{found} {wanted}");
    }
    let v: Vec<f64> = other.values.iter().map(|v| f64::from(*v)).collect();
    // a rate at which the second-order part counts as much as the other
    let rate = 1.0;
    let whole = search.seeing_through(0, rate, &theta, &z, &other, &delta).unwrap();
    let wanted: Vec<f64> =
        doubles("direct").iter().zip(doubles("second")).map(|(direct, second)| direct - rate * second).collect();
    let second: Vec<f64> = other.gates.iter().zip(&whole).map(|(direct, whole)| (direct - whole) / rate).collect();
    let length = |of: &[f64]| of.iter().map(|x| x * x).sum::<f64>().sqrt();
    assert!(cosine(&doubles("direct"), &wanted) < 0.99, "the second order does not count in this case");
    let (v_wanted, direct, second_wanted) = (doubles("v"), doubles("direct"), doubles("second"));
    let all = [
        ("v", v, v_wanted),
        ("direct", other.gates, direct),
        ("second", second, second_wanted),
        ("whole", whole, wanted),
    ];
    for (name, found, wanted) in all {
        assert_eq!(found.len(), wanted.len(), "{name}");
        let (angle, ratio) = (cosine(&found, &wanted), length(&found) / length(&wanted));
        // the central difference is as wide as the method says, which shortens the second-order part a little
        assert!(angle > 0.999 && (ratio - 1.0).abs() < 0.05, "{name}: cosine {angle}, ratio of lengths {ratio}");
    }
}

/// Three steps of every order by torch's optimisers in float64, gradients through the gate by autograd: where δ and α are then.
#[test]
fn whole_steps_are_torchs() {
    let numbers = Numbers::open("tiny-v1.1/steps.safetensors");
    let backbone = Backbone::open(&reference("tiny-v1.1"), &Device::flex()).unwrap();
    let space = Space::built_in("mix", backbone.shape()).unwrap();
    let budget = (0.3 * space.parameters() as f64) as usize;
    let u = numbers.doubles("u");
    let mut ends = Vec::new();
    for (name, order) in [("first", Order::First), ("second", Order::Second), ("reference", Order::Reference)] {
        let settings = Settings {
            order,
            steps: 4,
            learning_rate: 0.02,
            structural_learning_rate: 0.1,
            tau: 0.8,
            beta: 1.3,
            clip: 0.5,
            ..Settings::default()
        };
        let mut search = Bilevel::new(&backbone, &space, budget, &settings).unwrap();
        let mut state = search.start();
        state.values = numbers.floats("theta");
        for step in 0..3 {
            let batch = |part: &str| numbers.batch(&backbone, &format!("{part}.{step}"));
            let draw = |_: &Bilevel<'_>, state: &State, purpose: Draw| {
                let place = 2 * state.step + usize::from(purpose == Draw::Update);
                u[place * space.len()..(place + 1) * space.len()].to_vec()
            };
            search.step_by(&mut state, &batch("delta"), &batch("structural"), draw).unwrap();
        }
        let start = numbers.doubles("theta");
        let moved =
            |values: &[f32]| -> Vec<f64> { values.iter().zip(&start).map(|(a, b)| f64::from(*a) - b).collect() };
        let (theta, alpha) = (numbers.floats(&format!("{name}.theta")), numbers.doubles(&format!("{name}.alpha")));
        let found: Vec<f64> = state.alpha.iter().map(|a| f64::from(*a)).collect();
        let far = found.iter().zip(&alpha).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        let angle = cosine(&moved(&state.values), &moved(&theta));
        assert!(far < 2e-3 && angle > 0.9999, "{name}: alpha is {far} off, cosine of the way of theta {angle}");
        ends.push(alpha);
    }
    // so that no order passes for another
    let differ = |a: &[f64], b: &[f64]| a.iter().zip(b).any(|(a, b)| (a - b).abs() > 2e-2);
    assert!(differ(&ends[0], &ends[1]) && differ(&ends[1], &ends[2]) && differ(&ends[0], &ends[2]));
}

/// A dev score by the hard set has the modules that would be chosen, whole, and no other.
#[test]
fn hard_dev_gates_are_the_choice() {
    let backbone = Backbone::open(&reference("tiny-v1.1"), &Device::flex()).unwrap();
    let space = Space::built_in("mix", backbone.shape()).unwrap();
    let budget = space.parameters() / 3;
    let p: Vec<f64> = (0..space.len()).map(|at| (at * 37 % 101) as f64 / 102.0 + 0.001).collect();
    let chosen = choose(Selection::Greedy, &p, space.sizes(), budget).unwrap();
    assert!(chosen.contains(&true) && chosen.contains(&false));
    let gates = |dev_gates| {
        let settings = Settings { dev_gates, selection: Selection::Greedy, ..Settings::default() };
        Bilevel::new(&backbone, &space, budget, &settings).unwrap().evaluation_gates(&p).unwrap()
    };
    assert_eq!(gates(DevGates::Hard), chosen.iter().map(|chosen| f64::from(u8::from(*chosen))).collect::<Vec<_>>());
    assert_eq!(gates(DevGates::Soft), p);
}

/// However much collapses, what remains of a search fills its budget, with a module that fits it.
#[test]
fn pruning_leaves_what_fills_the_budget() {
    let backbone = Backbone::open(&reference("tiny-v1.1"), &Device::flex()).unwrap();
    let space = Space::built_in("mix", backbone.shape()).unwrap();
    let smallest = *space.sizes().iter().min().unwrap();
    let large: Vec<f64> = space.sizes().iter().map(|size| if *size > smallest { 0.9 } else { 1e-6 }).collect();
    let one: Vec<f64> = (0..space.len()).map(|at| if at == 3 { 0.9 } else { 1e-6 * at as f64 }).collect();
    for (p, budget) in [(&large, smallest), (&one, space.parameters() / 2)] {
        let settings = Settings { prune_below: 0.5, ..Settings::default() };
        let search = Bilevel::new(&backbone, &space, budget, &settings).unwrap();
        let mut state = search.start();
        search.prune(&mut state, p);
        let left: Vec<usize> = state
            .alpha
            .iter()
            .zip(space.sizes())
            .filter(|(alpha, _)| alpha.is_finite())
            .map(|(_, size)| *size)
            .collect();
        assert!(left.len() < space.len(), "something is pruned");
        assert!(
            left.iter().sum::<usize>() >= budget && left.iter().any(|size| *size <= budget),
            "{left:?} of {budget}"
        );
    }
}

/// What is not tracked is zero, what is has the bits of a pass that tracks all.
#[test]
fn a_pass_for_gates_has_the_gradients_of_a_whole_one() {
    let backbone = Backbone::open(&reference("tiny-v1.1"), &Device::flex()).unwrap();
    let space = Space::built_in("full", backbone.shape()).unwrap();
    let search = Bilevel::new(&backbone, &space, space.parameters() / 2, &Settings::default()).unwrap();
    let ids: Vec<Vec<u32>> =
        (0..20).map(|row| (0..5 + row % 3).map(|at| 3 + (row * 7 + at * 5) % 60).collect()).collect();
    let ids: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
    let batch = Batch::cut(&backbone, &ids, &ids).unwrap();
    let values: Vec<f32> = (0..search.layout.len()).map(|at| ((at * 37 % 101) as f32 - 50.0) / 500.0).collect();
    let z = vec![0.5; space.len()];
    let whole = search.pass(0, 0, &values, &z, &batch, Tracked::All).unwrap();
    let both = search.passes(0, 0, &[&values, &values], &z, &batch, Tracked::Outer).unwrap();
    for gates in both {
        assert_eq!((gates.loss, &gates.gates), (whole.loss, &whole.gates));
        assert!(gates.values.iter().zip(&whole.values).all(|(found, whole)| found == whole || *found == 0.0));
        assert!(
            gates.values.iter().zip(&whole.values).any(|(found, whole)| found != whole),
            "something is not tracked"
        );
    }
}
