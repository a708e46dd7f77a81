//! `/v1/predictions`: labels for inputs, by the adapter's own task.

use super::{
    ApiError, AppState, ErrorBody, Result,
    auth::{Infer, May},
    extract::Json,
    model::Served,
};
use crate::{
    registry::TaskRef,
    serve::{self, ScoreRequest},
    task::{Definition, Target},
};
use axum::extract::State;
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tokio::sync::Semaphore;

/// Rows of one request that are in the engine's queue at a time, so that a large request leaves room for others.
const IN_FLIGHT: usize = 64;

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
}

/// What was predicted.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct PredictionResponse {
    /// One entry for each adapter, in the order of the request.
    pub data: Vec<AdapterPredictions>,
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
    /// The probability of each, which sum to 1.
    pub scores: BTreeMap<String, f64>,
    /// The expected value, where the task asks for a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
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
    let questions = state.blocking(move |state| prepare(state, request)).await?;
    // together, so that the engine batches the adapters' rows with each other
    let places = Semaphore::new(IN_FLIGHT);
    let answers = questions.into_iter().map(|question| question.ask(&state.engine, &places));
    Ok(Json(PredictionResponse { data: try_join_all(answers).await? }))
}

/// All that one adapter is asked.
struct Question {
    reference: String,
    model: Served,
    definition: Definition,
    labels: Vec<String>,
    targets: Vec<Vec<u32>>,
    inputs: Vec<Vec<u32>>,
}

fn prepare(state: &AppState, request: PredictionRequest) -> Result<Vec<Question>> {
    let wrong = |param: &str, message: String| ApiError::unservable("request_invalid", message).at(param);
    let (references, param) = match (request.adapter, request.adapters) {
        (Some(adapter), None) => (vec![adapter], "adapter"),
        (None, Some(adapters)) if !adapters.is_empty() => (adapters, "adapters"),
        _ => return Err(wrong("adapter", "give either `adapter`, or `adapters` with at least one".into())),
    };
    let (asked, most) = (request.inputs.len() * references.len(), state.config.inputs);
    if asked == 0 || asked > most {
        return Err(wrong("inputs", format!("{asked} inputs, counted once per adapter: give 1 to {most}")));
    }
    let question = |reference: String| {
        let model = state.served(&reference).map_err(|error| error.at(param))?;
        let definition = definition(state, &reference, &model, request.task.as_deref())?;
        let labels = definition.label_words();
        let targets = labels.iter().map(|label| state.encode(label)).collect::<Result<_>>()?;
        let inputs = request.inputs.iter().enumerate().map(|(index, fields)| {
            let ids = definition.render(fields).map_err(ApiError::from).and_then(|text| state.encode(&text));
            ids.map_err(|error| error.at(format!("inputs[{index}]")))
        });
        let inputs = inputs.collect::<Result<_>>()?;
        Ok(Question { reference, model, definition, labels, targets, inputs })
    };
    references.into_iter().map(question).collect()
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
    async fn ask(self, engine: &serve::Engine, places: &Semaphore) -> Result<AdapterPredictions> {
        let Self { reference, model, definition, labels, targets, inputs } = self;
        let score = |ids| {
            let request = ScoreRequest { adapter: model.adapter.clone(), ids, targets: targets.clone() };
            async move {
                // nobody closes it
                let _place = places.acquire().await;
                engine.score(request)?.await.unwrap_or(Err(serve::Error::Stopped))
            }
        };
        let scores: Vec<Vec<f32>> = try_join_all(inputs.into_iter().map(score)).await?;
        let predictions = scores.iter().map(|scores| predict(&definition.target, &labels, scores)).collect();
        let task = definition.name;
        Ok(AdapterPredictions { adapter: reference, adapter_generation: model.generation, task, predictions })
    }
}

/// Probabilities by softmax over the labels' log-probabilities.
fn predict(target: &Target, labels: &[String], scores: &[f32]) -> Prediction {
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f64> = scores.iter().map(|score| f64::from(score - most).exp()).collect();
    let sum: f64 = weights.iter().sum();
    let probabilities: Vec<f64> = weights.iter().map(|weight| weight / sum).collect();
    // the first of equals, as everywhere
    let best = (0..labels.len()).rev().max_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap_or(0);
    let value = matches!(target, Target::Regression { .. }).then(|| {
        let numbers = labels.iter().map(|label| label.parse::<f64>().unwrap_or_default());
        numbers.zip(&probabilities).map(|(number, p)| number * p).sum()
    });
    let label = labels.get(best).cloned().unwrap_or_default();
    Prediction { label, scores: labels.iter().cloned().zip(probabilities).collect(), value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softmax_and_expectation() {
        let words = |words: &[&str]| words.iter().map(|word| word.to_string()).collect::<Vec<_>>();
        let classes = Target::Classification { labels: Vec::new() };
        let (half, quarter) = (0.5f32.ln(), 0.25f32.ln());
        let found = predict(&classes, &words(&["a", "b", "c"]), &[quarter, half, quarter]);
        assert_eq!((found.label.as_str(), found.value), ("b", None));
        assert!((found.scores["b"] - 0.5).abs() < 1e-6 && (found.scores.values().sum::<f64>() - 1.0).abs() < 1e-12);
        let numbers = Target::Regression { minimum: 0.0, maximum: 2.0, step: 1.0 };
        let found = predict(&numbers, &words(&["0.0", "1.0", "2.0"]), &[quarter - 9.0, half - 9.0, half - 9.0]);
        assert_eq!(found.label, "1.0");
        assert!((found.value.unwrap() - 1.2).abs() < 1e-6);
    }
}
