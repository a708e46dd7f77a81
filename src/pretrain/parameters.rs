//! All parameters of a model as one flat vector, in the order of [`parameter_specs`].

use super::config::Precision;
use crate::t5::{Backbone, Config, Error, ParameterSource, ParameterSpec, Result, T5, Weight, parameter_specs};
use burn::tensor::{Device, FloatDType, Gradients, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Values and their layout; the model is untied (v1.1).
#[derive(Debug, Clone)]
pub struct Parameters {
    /// The layout.
    pub specs: Vec<ParameterSpec>,
    /// Matrix after matrix, row by row.
    pub values: Vec<f32>,
}

/// Tracked matrices in the order of the layout.
pub(super) struct Leaves(Vec<Tensor<2>>);

/// Gives uploaded matrices in their order.
struct Uploaded<I> {
    matrices: I,
    /// Whether nothing changes them any more.
    frozen: bool,
}

impl<I: Iterator<Item = Tensor<2>>> ParameterSource for Uploaded<I> {
    fn take(&mut self, _: &ParameterSpec) -> Result<Tensor<2>> {
        Ok(self.matrices.next().expect("one matrix for each entry of the layout"))
    }

    fn take_linear(&mut self, spec: &ParameterSpec) -> Result<Weight> {
        let matrix = self.take(spec)?;
        Ok(if self.frozen { Weight::frozen(matrix) } else { Weight::from(matrix) })
    }
}

impl Parameters {
    /// T5's initialisation at factor 1, from a seed.
    ///
    /// | parameter | standard deviation |
    /// |---|---|
    /// | `shared` | 1 |
    /// | `q` | (d_model · d_kv)^-½, for scores are not scaled |
    /// | `k`, `v`, `wi_0`, `wi_1`, relative attention bias | d_model^-½ |
    /// | `o` | (heads · d_kv)^-½ |
    /// | `wo` | d_ff^-½ |
    /// | `lm_head` | d_model^-½ (t5x; transformers has 1, which begins far above the uniform loss) |
    /// | norms | all values 1 |
    pub fn init(config: &Config, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let specs = parameter_specs(config, false);
        let value = |deviation: Option<f64>| match deviation {
            None => 1.0,
            Some(deviation) => (normal(&mut rng) * deviation) as f32,
        };
        let values = deviations(&specs, config).map(value).collect();
        Self { specs, values }
    }

    /// The parameters that a source gives, such as the file of a checkpoint with an output layer of its own.
    ///
    /// # Errors
    /// If the source lacks one.
    pub fn read(config: &Config, source: &mut dyn ParameterSource) -> Result<Self> {
        let specs = parameter_specs(config, false);
        let mut values = Vec::with_capacity(specs.iter().map(ParameterSpec::len).sum());
        for spec in &specs {
            let matrix =
                source.take(spec)?.try_into_vec_as::<f32>().map_err(|error| Error::Input(error.to_string()))?;
            values.extend(matrix);
        }
        Ok(Self { specs, values })
    }

    /// `like` with these parameters in place of its own, frozen, on its device; known by the digest of the values.
    ///
    /// # Errors
    /// If they are of another shape.
    pub fn backbone(&self, like: &Backbone) -> Result<Backbone> {
        if self.specs != parameter_specs(&like.config, false) {
            return Err(Error::Input(format!("the parameters have another shape than `{}`", like.name)));
        }
        let bytes: Vec<u8> = self.values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let digest = blake3::hash(&bytes).to_hex()[..32].to_string();
        Ok(like.with_model(self.frozen(&like.config, like.model.device())?, digest))
    }

    /// How large each value is at the start: the standard deviation of its initialisation, 1 for norms.
    pub(super) fn scales(&self, config: &Config) -> Vec<f32> {
        deviations(&self.specs, config).map(|deviation| deviation.unwrap_or(1.0) as f32).collect()
    }

    /// The matrices on a device, in the order of the layout.
    pub(super) fn upload(&self, device: &Device) -> Vec<Tensor<2>> {
        let mut rest = self.values.as_slice();
        let matrix = |spec: &ParameterSpec| {
            let (now, after) = rest.split_at(spec.len());
            rest = after;
            Tensor::from_data(TensorData::new(now.to_vec(), [spec.rows, spec.width()]), device)
        };
        self.specs.iter().map(matrix).collect()
    }

    /// The model as a frozen one, for evaluation.
    pub(super) fn frozen(&self, config: &Config, device: &Device) -> Result<T5> {
        build(config, device, self.upload(device), true)
    }

    /// The model with f32 leaves of its own over uploaded matrices, its linear maps in `precision`.
    pub(super) fn tracked(
        &self,
        config: &Config,
        matrices: &[Tensor<2>],
        precision: Precision,
        device: &Device,
    ) -> Result<(T5, Leaves)> {
        let leaves: Vec<_> = matrices.iter().map(|matrix| matrix.clone().autodiff().require_grad()).collect();
        let used = leaves.iter().zip(&self.specs).map(|(leaf, spec)| match precision {
            Precision::Bf16 if spec.transposed => leaf.clone().cast(FloatDType::BF16),
            _ => leaf.clone(),
        });
        Ok((build(config, device, used.collect(), false)?, Leaves(leaves)))
    }
}

fn build(config: &Config, device: &Device, matrices: Vec<Tensor<2>>, frozen: bool) -> Result<T5> {
    let positions = crate::structure::Positions::new(&config.shape());
    let mut source = Uploaded { matrices: matrices.into_iter(), frozen };
    T5::build(config, &positions, false, &mut source, device)
}

impl Leaves {
    /// The gradients as one flat vector; zero where the loss does not depend on a matrix.
    pub(super) fn gradient(&self, gradients: &mut Gradients) -> Vec<f32> {
        let mut flat = Vec::new();
        for leaf in &self.0 {
            match leaf.grad_remove(gradients) {
                Some(gradient) => {
                    flat.extend(gradient.into_data().try_into_vec::<f32>().expect("gradients of f32 leaves are f32"));
                }
                None => flat.resize(flat.len() + leaf.dims().iter().product::<usize>(), 0.0),
            }
        }
        flat
    }
}

/// The deviation of every value, in order; `None` for norms.
fn deviations<'a>(specs: &'a [ParameterSpec], config: &'a Config) -> impl Iterator<Item = Option<f64>> + 'a {
    let row = move |spec: &'a ParameterSpec| {
        spec.parts.iter().flat_map(move |(name, width)| std::iter::repeat_n(deviation(name, config), *width))
    };
    specs.iter().flat_map(move |spec| (0..spec.rows).flat_map(move |_| row(spec)))
}

/// `None` for norms.
fn deviation(name: &str, config: &Config) -> Option<f64> {
    let (d, d_kv, inner, d_ff) = (config.d_model as f64, config.d_kv as f64, config.inner() as f64, config.d_ff as f64);
    let stem = name.strip_suffix(".weight").unwrap_or(name);
    match stem.rsplit('.').next().unwrap_or(stem) {
        "shared" => Some(1.0),
        "q" => Some((d * d_kv).powf(-0.5)),
        "o" => Some(inner.powf(-0.5)),
        "wo" => Some(d_ff.powf(-0.5)),
        "layer_norm" | "final_layer_norm" => None,
        _ => Some(d.powf(-0.5)),
    }
}

/// A standard normal number, by Box and Muller.
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let (u, v): (f64, f64) = (rng.random(), rng.random());
    (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}
