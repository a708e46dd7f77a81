//! `/v1/completions`, compatible with OpenAI's: text for a prompt, at once or as a stream.

use super::{
    ApiError, AppState, ErrorBody, Result,
    auth::{Infer, May},
    extract::Json,
    generation::{Row, parts, start},
    model::Served,
    observe::RequestId,
};
use crate::serve::FinishReason;
use axum::{
    Extension,
    extract::State,
    response::{
        IntoResponse, Response,
        sse::{KeepAlive, Sse},
    },
};
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};

/// Tokens made where a request does not say.
const DEFAULT_TOKENS: usize = 64;
/// Stop texts of a request.
const MOST_STOPS: usize = 4;

/// What to continue. T5 reads the prompt with its encoder and writes the text with its decoder.
#[derive(Debug, Clone, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CompletionRequest {
    /// An adapter (`name`, `name@alias`, `name@digest`), or the backbone's name.
    pub model: String,
    /// One text or several, or their token ids.
    pub prompt: Prompt,
    /// Most tokens to make for each prompt; 64 if absent.
    pub max_tokens: Option<usize>,
    /// Whether to send the text as it is made.
    pub stream: Option<bool>,
    /// How to stream.
    pub stream_options: Option<StreamOptions>,
    /// One text or up to four at which to stop; they are not sent.
    pub stop: Option<Stop>,
    /// Only 1.
    pub n: Option<usize>,
    /// Only 1.
    pub best_of: Option<usize>,
    /// Only 0: the most likely token is taken.
    pub temperature: Option<f64>,
    /// Only 1.
    pub top_p: Option<f64>,
    /// Only 1.
    pub top_k: Option<i64>,
    /// Only 1.
    pub num_beams: Option<usize>,
    /// Without effect, as nothing is drawn.
    pub seed: Option<i64>,
    /// Not available.
    pub logprobs: Option<u32>,
    /// Only false: the prompt is no part of the text.
    pub echo: Option<bool>,
    /// Not available.
    pub suffix: Option<String>,
    /// Only 0.
    pub presence_penalty: Option<f64>,
    /// Only 0.
    pub frequency_penalty: Option<f64>,
    /// Only empty.
    #[schema(value_type = Option<Object>)]
    pub logit_bias: Option<serde_json::Map<String, serde_json::Value>>,
    /// Without effect.
    pub user: Option<String>,
}

/// How to stream.
#[derive(Debug, Clone, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StreamOptions {
    /// Whether a last part tells the usage.
    #[serde(default)]
    pub include_usage: bool,
}

/// One text or several, or their token ids.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(untagged, expecting = "`prompt` must be a text, a list of texts, a list of token ids, or a list of such lists")]
pub enum Prompt {
    /// A text.
    Text(String),
    /// Several texts.
    Texts(Vec<String>),
    /// Token ids; the end token is added where it is missing.
    Ids(Vec<u32>),
    /// Several lists of token ids.
    IdLists(Vec<Vec<u32>>),
}

impl Default for Prompt {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

/// Where to stop.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(untagged, expecting = "`stop` must be a text or a list of texts")]
pub enum Stop {
    /// One text.
    One(String),
    /// Several.
    Several(Vec<String>),
}

/// The text made.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Completion {
    /// Id of the reply.
    pub id: String,
    /// Always `text_completion`.
    pub object: &'static str,
    /// When, in seconds since 1970.
    pub created: i64,
    /// The model as requested.
    pub model: String,
    /// Digest of the generation that answered; null for the bare backbone.
    pub adapter_generation: Option<String>,
    /// One for each prompt.
    pub choices: Vec<Choice>,
    /// Tokens read and made; in a stream only at its end, and only if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// The text for one prompt, or a part of it.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Choice {
    /// Which prompt.
    pub index: usize,
    /// The text.
    pub text: String,
    /// Always null.
    pub logprobs: Option<()>,
    /// Why it ended; null while it has not.
    pub finish_reason: Option<FinishReason>,
}

/// Tokens read and made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Usage {
    /// Tokens of all prompts.
    pub prompt_tokens: usize,
    /// Tokens made.
    pub completion_tokens: usize,
    /// Both.
    pub total_tokens: usize,
}

/// Continues prompts.
#[utoipa::path(post, path = "/v1/completions", tag = "models", request_body = CompletionRequest,
    security(("bearer" = ["infer"])),
    responses((status = 200, content((Completion = "application/json"), (String = "text/event-stream"))),
        (status = "default", body = ErrorBody)))]
pub(crate) async fn create_completion(
    _: May<Infer>,
    State(state): State<AppState>,
    Extension(id): Extension<RequestId>,
    Json(request): Json<CompletionRequest>,
) -> Result<Response> {
    let max_new_tokens = request.check(&state)?;
    let stops = request.stops()?;
    let (reference, prompt) = (request.model.clone(), request.prompt.clone());
    let (model, prompts) = state.blocking(move |state| prepare(state, &reference, prompt)).await?;
    let head = Completion {
        id: format!("cmpl-{}", id.0),
        object: "text_completion",
        created: jiff::Timestamp::now().as_second(),
        model: request.model,
        adapter_generation: model.generation.clone(),
        choices: Vec::new(),
        usage: None,
    };
    let prompt_tokens = prompts.iter().map(Vec::len).sum();
    let rows = start(&state, &model, prompts, max_new_tokens, &stops)?;
    if request.stream == Some(true) {
        let usage = request.stream_options.is_some_and(|options| options.include_usage);
        let parts = parts(head, model, rows, usage.then_some(prompt_tokens), id);
        return Ok(Sse::new(parts).keep_alive(KeepAlive::default()).into_response());
    }
    let done = try_join_all(rows.into_iter().map(Row::whole)).await?;
    let completion_tokens = done.iter().map(|(_, tokens)| tokens).sum();
    let choices = done.into_iter().map(|(choice, _)| choice).collect();
    Ok(Json(Completion { choices, usage: Some(usage(prompt_tokens, completion_tokens)), ..head }).into_response())
}

impl CompletionRequest {
    /// Refuses what would have no effect; the most tokens to make.
    fn check(&self, state: &AppState) -> Result<usize> {
        let one = |value: Option<usize>| value.is_none_or(|value| value == 1);
        let zero = |value: Option<f64>| value.is_none_or(|value| value == 0.0);
        let rules = [
            ("n", one(self.n), "leave it out or give 1: each prompt gets one text"),
            ("best_of", one(self.best_of), "leave it out or give 1: nothing is drawn"),
            ("num_beams", one(self.num_beams), "leave it out or give 1: there is no beam search yet"),
            ("temperature", zero(self.temperature), "leave it out or give 0: the most likely token is taken"),
            ("top_p", self.top_p.is_none_or(|p| p == 1.0), "leave it out or give 1: nothing is drawn"),
            ("top_k", self.top_k.is_none_or(|k| k == 1), "leave it out or give 1: the most likely token is taken"),
            ("logprobs", self.logprobs.is_none(), "leave it out: use /v1/predictions for scores of labels"),
            ("echo", self.echo != Some(true), "leave it out: an encoder reads the prompt, it is no part of the text"),
            ("suffix", self.suffix.is_none(), "leave it out"),
            ("presence_penalty", zero(self.presence_penalty), "leave it out or give 0"),
            ("frequency_penalty", zero(self.frequency_penalty), "leave it out or give 0"),
            ("logit_bias", self.logit_bias.as_ref().is_none_or(|bias| bias.is_empty()), "leave it out"),
        ];
        if let Some((name, _, fix)) = rules.into_iter().find(|(_, fine, _)| !fine) {
            return Err(
                ApiError::unservable("parameter_unsupported", format!("`{name}` is not available: {fix}")).at(name)
            );
        }
        let most = state.config.output_tokens;
        match self.max_tokens.unwrap_or(DEFAULT_TOKENS.min(most)) {
            tokens if (1..=most).contains(&tokens) => Ok(tokens),
            tokens => {
                let message = format!("`max_tokens` is {tokens}: give 1 to {most} (the setting `output_tokens`)");
                Err(ApiError::unservable("request_invalid", message).at("max_tokens"))
            }
        }
    }

    fn stops(&self) -> Result<Vec<String>> {
        let stops = match self.stop.clone() {
            None => Vec::new(),
            Some(Stop::One(stop)) => vec![stop],
            Some(Stop::Several(stops)) => stops,
        };
        if stops.len() > MOST_STOPS || stops.iter().any(String::is_empty) {
            let message = format!("`stop` must be at most {MOST_STOPS} texts, none of them empty");
            return Err(ApiError::unservable("request_invalid", message).at("stop"));
        }
        Ok(stops)
    }
}

/// The model and the prompts' ids.
fn prepare(state: &AppState, reference: &str, prompt: Prompt) -> Result<(Served, Vec<Vec<u32>>)> {
    let model = state.served(reference).map_err(|error| error.at("model"))?;
    let encode = |texts: Vec<String>| texts.iter().map(|text| state.encode(text)).collect::<Result<Vec<_>>>();
    let prompts = match prompt {
        Prompt::Text(text) => encode(vec![text]),
        Prompt::Texts(texts) => encode(texts),
        Prompt::Ids(ids) => check_ids(state, vec![ids]),
        Prompt::IdLists(lists) => check_ids(state, lists),
    };
    let prompts = prompts.map_err(|error| error.at("prompt"))?;
    let most = state.config.inputs;
    if prompts.is_empty() || prompts.len() > most {
        let message = format!("`prompt` holds {} texts: give 1 to {most}", prompts.len());
        return Err(ApiError::unservable("request_invalid", message).at("prompt"));
    }
    Ok((model, prompts))
}

fn check_ids(state: &AppState, mut lists: Vec<Vec<u32>>) -> Result<Vec<Vec<u32>>> {
    let vocabulary = state.engine.backbone().shape.vocab_size;
    // what an empty text encodes to is the end token alone
    let end = state.engine.tokenizer().encode("")?;
    for ids in &mut lists {
        if let Some(id) = ids.iter().find(|id| **id as usize >= vocabulary) {
            let message = format!("token id {id} is outside of the vocabulary of {vocabulary}");
            return Err(ApiError::unservable("request_invalid", message));
        }
        if !ids.ends_with(&end) {
            ids.extend(&end);
        }
        state.check_length(ids.len())?;
    }
    Ok(lists)
}

pub(crate) fn usage(prompt_tokens: usize, completion_tokens: usize) -> Usage {
    Usage { prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens }
}
