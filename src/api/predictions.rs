//! `/v1/predictions`: labels for inputs, by the adapter's own task.

use super::{
    ApiError, AppState, ErrorBody, Result,
    auth::{Infer, May},
    completions::deadline,
    extract::Json,
    model::Served,
};
use crate::{
    registry::TaskRef,
    serve::{self, List, ScoreRequest, Shared},
    task::{Definition, Target},
};
use axum::extract::State;
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Instant;

/// What to predict.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PredictionRequest {
    /// An adapter; or the backbone's name, with `task`.
    pub adapter: Option<String>,
    /// Several of them, each asked about every input.
    pub adapters: Option<Vec<String>>,
    /// Task whose template and labels to use; the one that each adapter was trained on if absent.
    pub task: Option<String>,
    /// The fields of each input, as the task's template names them.
    pub inputs: Vec<BTreeMap<String, String>>,
    /// Tell only so many of the likeliest labels; all if absent.
    pub top_k: Option<usize>,
    /// Seconds after which the request is given up with 504; without end if absent.
    pub timeout: Option<f64>,
}

/// What was predicted.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct PredictionResponse {
    /// One entry for each adapter, in the order of the request.
    pub data: Vec<AdapterPredictions>,
    /// What answering took.
    pub usage: PredictionUsage,
}

/// What answering took. An input counts once for each adapter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct PredictionUsage {
    /// Inputs answered.
    pub inputs: usize,
    /// Those whose encoding was there already: that of the same text for another adapter that leaves the encoder alone, or for
    /// an earlier request.
    pub encoder_shared: usize,
    /// Those whose cross-attention keys and values were there as well.
    pub keys_values_shared: usize,
    /// Tokens of the inputs.
    pub prompt_tokens: usize,
    /// Tokens of those whose encoding was there already.
    pub cached_tokens: usize,
}

/// One adapter's predictions.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct AdapterPredictions {
    /// The adapter as requested.
    pub adapter: String,
    /// Digest of the generation that answered; null for the bare backbone.
    pub adapter_generation: Option<String>,
    /// The task.
    pub task: String,
    /// One for each input.
    pub predictions: Vec<Prediction>,
}

/// The prediction for one input.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Prediction {
    /// The most likely label word, or candidate number.
    pub label: String,
    /// The probability of each, which sum to 1; of the likeliest ones alone if `top_k` was given.
    pub scores: BTreeMap<String, f64>,
    /// The likeliest ones, best first, if `top_k` was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top: Option<Vec<LabelScore>>,
    /// The expected value, where the task asks for a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
}

/// A label with its probability among all labels.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct LabelScore {
    /// The label word, or candidate number.
    pub label: String,
    /// Its probability.
    pub probability: f64,
}

/// Predicts labels.
#[utoipa::path(post, path = "/v1/predictions", tag = "models", request_body = PredictionRequest,
    security(("bearer" = ["infer"])),
    responses((status = 200, body = PredictionResponse), (status = "default", body = ErrorBody)))]
pub(crate) async fn create_prediction(
    _: May<Infer>,
    State(state): State<AppState>,
    Json(request): Json<PredictionRequest>,
) -> Result<Json<PredictionResponse>> {
    // before the inputs are read, as for completions
    state.engine.check_room()?;
    let (top_k, deadline) = (request.top_k, deadline(request.timeout)?);
    let questions = state.read(deadline, move |state| prepare(state, request)).await?;
    // input by input, so that adapters that may share its encoding ask for it at the same time
    let inputs = questions[0].inputs.len();
    let asked = (0..inputs).flat_map(|input| questions.iter().map(move |question| (question, input)));
    let list = List::new(&state.engine);
    let answers =
        try_join_all(asked.map(|(question, input)| question.ask(input, deadline, &state.engine, &list))).await?;
    let mut usage = PredictionUsage::default();
    answers.iter().for_each(|answer| usage.count(answer));
    let of = |(at, question): (usize, Question)| {
        let answers = answers.iter().skip(at).step_by(answers.len() / inputs);
        question.told(answers.map(|answer| answer.scores.as_slice()), top_k)
    };
    let data = questions.into_iter().enumerate().map(of).collect();
    Ok(Json(PredictionResponse { data, usage }))
}

/// All that one adapter is asked.
struct Question {
    reference: String,
    /// The field that names it.
    param: &'static str,
    model: Served,
    definition: Definition,
    labels: Vec<String>,
    targets: Vec<Vec<u32>>,
    inputs: Vec<Vec<u32>>,
}

/// The answer for one input.
struct Answer {
    /// Summed log-probability of each label.
    scores: Vec<f32>,
    shared: Shared,
    tokens: usize,
}

impl PredictionUsage {
    fn count(&mut self, answer: &Answer) {
        let Answer { shared, tokens, .. } = answer;
        self.inputs += 1;
        self.encoder_shared += usize::from(shared.encoder);
        self.keys_values_shared += usize::from(shared.keys_values);
        self.prompt_tokens += tokens;
        self.cached_tokens += if shared.encoder { *tokens } else { 0 };
    }
}

fn prepare(state: &AppState, request: PredictionRequest) -> Result<Vec<Question>> {
    let wrong = |param: &str, message: String| ApiError::unservable("request_invalid", message).at(param);
    let (references, param) = match (request.adapter, request.adapters) {
        (Some(adapter), None) => (vec![adapter], "adapter"),
        (None, Some(adapters)) if !adapters.is_empty() => (adapters, "adapters"),
        _ => return Err(wrong("adapter", "give either `adapter`, or `adapters` with at least one".into())),
    };
    if request.top_k == Some(0) {
        return Err(wrong("top_k", "`top_k` is 0: give at least 1, or leave it out for all labels".into()));
    }
    let (asked, most) = (request.inputs.len() * references.len(), state.config.inputs);
    if asked == 0 || asked > most {
        return Err(wrong("inputs", format!("{asked} inputs, counted once per adapter: give 1 to {most}")));
    }
    let question = |reference: String| {
        let model = state.served(&reference).map_err(|error| error.at(param))?;
        let definition = definition(state, &reference, &model, request.task.as_deref())?;
        let labels = definition.label_words();
        let targets = labels.iter().map(|label| label_ids(state, label)).collect::<Result<_>>()?;
        let inputs = request.inputs.iter().enumerate().map(|(index, fields)| {
            let ids = definition.render(fields).map_err(ApiError::from).and_then(|text| state.encode(&text));
            ids.map_err(|error| error.at(format!("inputs[{index}]")))
        });
        let inputs = inputs.collect::<Result<_>>()?;
        Ok(Question { reference, param, model, definition, labels, targets, inputs })
    };
    references.into_iter().map(question).collect()
}

/// The ids of a label, which a decoder is to make.
fn label_ids(state: &AppState, label: &str) -> Result<Vec<u32>> {
    let (ids, most) = (state.encode(label).map_err(|error| error.at("task"))?, state.config.output_tokens);
    if ids.len() <= most {
        return Ok(ids);
    }
    let start: String = label.chars().take(40).collect();
    let message = format!(
        "the label `{start}…` has {} tokens, the limit is {most}: shorten it, or raise `output_tokens`",
        ids.len()
    );
    Err(ApiError::unservable("request_not_servable", message).at("task"))
}

/// The task of the request, or else the one that the adapter was trained on, as it was then.
fn definition(state: &AppState, reference: &str, model: &Served, task: Option<&str>) -> Result<Definition> {
    let record = match (task, &model.task) {
        (Some(task), _) => state.registry.task(task).map_err(|error| ApiError::from(error).at("task"))?,
        (None, Some(TaskRef { name, digest })) => {
            let record = state.registry.task(name).map_err(|error| ApiError::from(error).at("task"))?;
            if record.digest != *digest {
                let message = format!(
                    "{reference} was trained on another version of task {name}, which was replaced since: re-train it, \
                     or give `task`: \"{name}\" to use the present template and labels"
                );
                return Err(ApiError::conflict("task_changed", message).at("task"));
            }
            record
        }
        (None, None) => {
            let message = format!("{reference} was not trained on a stored task: name one in `task`");
            return Err(ApiError::unservable("task_missing", message).at("task"));
        }
    };
    serde_json::from_value(record.definition).map_err(ApiError::internal)
}

impl Question {
    async fn ask(
        &self,
        input: usize,
        deadline: Option<Instant>,
        engine: &serve::Engine,
        list: &List,
    ) -> Result<Answer> {
        let (place, _entry) = list.enter(self.model.adapter.as_deref(), deadline).await?;
        let (ids, targets) = (self.inputs[input].clone(), self.targets.clone());
        let tokens = ids.len();
        let request = ScoreRequest { adapter: self.model.adapter.clone(), ids, targets };
        let mut scoring = engine.score_at(place, request, deadline)?;
        let scores = (&mut scoring).await.unwrap_or(Err(serve::Error::Stopped));
        let scores = scores.map_err(|error| ApiError::refused(error, self.param, "inputs"))?;
        Ok(Answer { scores, shared: scoring.shared(), tokens })
    }

    fn told<'a>(self, scores: impl Iterator<Item = &'a [f32]>, top_k: Option<usize>) -> AdapterPredictions {
        let Self { reference, model, definition, labels, .. } = self;
        let predictions = scores.map(|scores| predict(&definition.target, &labels, scores, top_k)).collect();
        let task = definition.name;
        AdapterPredictions { adapter: reference, adapter_generation: model.generation, task, predictions }
    }
}

/// Probabilities by softmax over the labels' log-probabilities.
fn predict(target: &Target, labels: &[String], scores: &[f32], top_k: Option<usize>) -> Prediction {
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f64> = scores.iter().map(|score| f64::from(score - most).exp()).collect();
    let sum: f64 = weights.iter().sum();
    let probabilities: Vec<f64> = weights.iter().map(|weight| weight / sum).collect();
    // best first, the first of equals before the others, as everywhere
    let mut order: Vec<usize> = (0..labels.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    let value = matches!(target, Target::Regression { .. }).then(|| {
        let numbers = labels.iter().map(|label| label.parse::<f64>().unwrap_or_default());
        numbers.zip(&probabilities).map(|(number, p)| number * p).sum()
    });
    let label = order.first().map(|best| labels[*best].clone()).unwrap_or_default();
    let told = &order[..top_k.unwrap_or(labels.len()).min(labels.len())];
    let scores = told.iter().map(|at| (labels[*at].clone(), probabilities[*at])).collect();
    let one = |at: &usize| LabelScore { label: labels[*at].clone(), probability: probabilities[*at] };
    let top = top_k.map(|_| told.iter().map(one).collect());
    Prediction { label, scores, top, value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softmax_and_expectation() {
        let words = |words: &[&str]| words.iter().map(|word| word.to_string()).collect::<Vec<_>>();
        let classes = Target::Classification { labels: Vec::new() };
        let (half, quarter) = (0.5f32.ln(), 0.25f32.ln());
        let found = predict(&classes, &words(&["a", "b", "c"]), &[quarter, half, quarter], None);
        assert_eq!((found.label.as_str(), found.value), ("b", None));
        assert!((found.scores["b"] - 0.5).abs() < 1e-6 && (found.scores.values().sum::<f64>() - 1.0).abs() < 1e-12);
        assert_eq!(found.top, None);
        let found = predict(&classes, &words(&["a", "b", "c"]), &[quarter, half, quarter], Some(2));
        let top: Vec<_> = found.top.iter().flatten().map(|top| top.label.as_str()).collect();
        assert_eq!((top, found.scores.len()), (vec!["b", "a"], 2), "the first of equals goes before the others");
        assert!((found.scores["b"] - 0.5).abs() < 1e-6, "the probability is that among all labels");
        let found = predict(&classes, &words(&["a"]), &[half], Some(9));
        assert_eq!(found.scores.len(), 1);
        let numbers = Target::Regression { minimum: 0.0, maximum: 2.0, step: 1.0 };
        let found = predict(&numbers, &words(&["0.0", "1.0", "2.0"]), &[quarter - 9.0, half - 9.0, half - 9.0], None);
        assert_eq!(found.label, "1.0");
        assert!((found.value.unwrap() - 1.2).abs() < 1e-6);
    }
}
