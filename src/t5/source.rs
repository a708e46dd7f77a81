//! The parameters of a T5 by their checkpoint names: one table for loading, training and saving.

use super::{Config, Result, Weight};
use burn::tensor::Tensor;

/// One parameter of the model, held as a matrix `[rows, Σ widths]`.
///
/// Linear maps that share their input stand side by side and transposed against the checkpoint, whose tensors are
/// `[width, rows]`; embeddings, norms (`rows` = 1) and position biases are as in the checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct ParameterSpec {
    /// Checkpoint name and width of each part.
    pub parts: Vec<(String, usize)>,
    /// Rows of the matrix.
    pub rows: usize,
    /// Whether the checkpoint holds the transpose.
    pub transposed: bool,
}

impl ParameterSpec {
    fn linear(at: &str, names: &[&str], d_in: usize, d_out: usize) -> Self {
        let parts = names.iter().map(|name| (format!("{at}.{name}.weight"), d_out)).collect();
        Self { parts, rows: d_in, transposed: true }
    }

    fn plain(name: String, rows: usize, width: usize) -> Self {
        Self { parts: vec![(name, width)], rows, transposed: false }
    }

    /// The output layer where it is the embedding's transpose.
    pub(super) fn tied_head(config: &Config) -> Self {
        Self { parts: vec![("shared.weight".into(), config.vocab_size)], rows: config.d_model, transposed: true }
    }

    /// Columns of the matrix.
    pub fn width(&self) -> usize {
        self.parts.iter().map(|(_, width)| width).sum()
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.rows * self.width()
    }

    /// Never true.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Shape of one part in the checkpoint; norms are vectors there.
    pub fn checkpoint_shape(&self, width: usize) -> Vec<usize> {
        match (self.transposed, self.rows) {
            (true, rows) => vec![width, rows],
            (false, 1) => vec![width],
            (false, rows) => vec![rows, width],
        }
    }
}

/// Gives the parameters of a model as it is built: from a file, or as leaves of a graph.
pub trait ParameterSource {
    /// The matrix `[spec.rows, spec.width()]`. For a tied model the embedding is asked for once more, transposed, since a
    /// transposed view is several times slower to multiply by at few rows.
    ///
    /// # Errors
    /// If the source lacks it or holds another shape.
    fn take(&mut self, spec: &ParameterSpec) -> Result<Tensor<2>>;

    /// The weight of linear maps, in the form that the source has it in: the matrix, if nothing else is said.
    ///
    /// # Errors
    /// As [`ParameterSource::take`].
    fn take_linear(&mut self, spec: &ParameterSpec) -> Result<Weight> {
        self.take(spec).map(Weight::from)
    }
}

/// Every parameter in the order in which the model takes them. A tied model has no `lm_head.weight`.
///
/// | checkpoint | here |
/// |---|---|
/// | `shared.weight` `[vocab, d]` | the embedding, and transposed the output layer where tied |
/// | `….SelfAttention.{q,k,v}.weight` `[inner, d]` | one `[d, 3 inner]` |
/// | `….EncDecAttention.{k,v}.weight` | one `[d, 2 inner]` |
/// | `….DenseReluDense.{wi_0,wi_1}.weight` `[d_ff, d]` | one `[d, 2 d_ff]` |
/// | `….o.weight`, `….wi.weight`, `….wo.weight`, `….EncDecAttention.q.weight`, `lm_head.weight` | transposed |
/// | norms `[d]`, `….relative_attention_bias.weight` `[buckets, heads]` | as they are |
///
/// The first block of a stack holds its position bias; UMT5 has one in every block.
pub fn parameter_specs(config: &Config, tied: bool) -> Vec<ParameterSpec> {
    let (d, inner) = (config.d_model, config.inner());
    let mut specs = vec![ParameterSpec::plain("shared.weight".into(), config.vocab_size, d)];
    let norm = |at: String| ParameterSpec::plain(format!("{at}.weight"), 1, d);
    for (stack, layers) in [("encoder", config.encoder_layers), ("decoder", config.decoder_layers)] {
        for block in 0..layers {
            let at = format!("{stack}.block.{block}.layer");
            let own = format!("{at}.0.SelfAttention");
            if config.has_position_bias(block) {
                let bias = format!("{own}.relative_attention_bias.weight");
                specs.push(ParameterSpec::plain(bias, config.buckets, config.num_heads));
            }
            specs.push(norm(format!("{at}.0.layer_norm")));
            specs.push(ParameterSpec::linear(&own, &["q", "k", "v"], d, inner));
            specs.push(ParameterSpec::linear(&own, &["o"], inner, d));
            let mut last = 1;
            if stack == "decoder" {
                last = 2;
                let cross = format!("{at}.1.EncDecAttention");
                specs.push(norm(format!("{at}.1.layer_norm")));
                specs.push(ParameterSpec::linear(&cross, &["q"], d, inner));
                specs.push(ParameterSpec::linear(&cross, &["k", "v"], d, inner));
                specs.push(ParameterSpec::linear(&cross, &["o"], inner, d));
            }
            let feed = format!("{at}.{last}.DenseReluDense");
            specs.push(norm(format!("{at}.{last}.layer_norm")));
            specs.push(ParameterSpec::linear(&feed, config.activation.inputs(), d, config.d_ff));
            specs.push(ParameterSpec::linear(&feed, &["wo"], config.d_ff, d));
        }
        specs.push(norm(format!("{stack}.final_layer_norm")));
    }
    if !tied {
        let parts = vec![("lm_head.weight".into(), config.vocab_size)];
        specs.push(ParameterSpec { parts, rows: d, transposed: true });
    }
    specs
}
