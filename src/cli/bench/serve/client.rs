//! The HTTP side of the generator: one request, streamed or whole, and when its parts came.

use super::tally::Ended;
use super::workload::Planned;
use anyhow::{Context, Result, bail};
use axum::body::Bytes;
use axum::http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::{Client as Http, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A way to one server; connections are kept and shared.
pub(super) struct Client {
    http: Http<HttpConnector, Full<Bytes>>,
    base: String,
    authorization: Option<HeaderValue>,
    /// Names that requests give as `model`, the most popular first.
    pub(super) adapters: Vec<String>,
    /// What is asked where no adapter is.
    pub(super) backbone: String,
    /// Beams of each request.
    pub(super) beams: usize,
    pub(super) stream: bool,
    pub(super) timeout: Duration,
}

impl Client {
    /// For `base`, such as `http://127.0.0.1:8080`, with the token of S3DELTA_TOKEN if there is one.
    pub(super) fn new(base: String, stream: bool, timeout: Duration) -> Result<Self> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let http = Http::builder(TokioExecutor::new()).pool_max_idle_per_host(usize::MAX).build(connector);
        let token = std::env::var("S3DELTA_TOKEN").ok();
        let authorization = token.map(|token| HeaderValue::try_from(format!("Bearer {token}"))).transpose()?;
        Ok(Self { http, base, authorization, adapters: Vec::new(), backbone: String::new(), beams: 1, stream, timeout })
    }

    /// The body of a good answer.
    pub(super) async fn get(&self, path: &str) -> Result<Bytes> {
        let response = self.send(Method::GET, path, Bytes::new()).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            bail!("{}{path} answered {status}: {}", self.base, String::from_utf8_lossy(&body));
        }
        Ok(body)
    }

    /// The same as JSON.
    pub(super) async fn json(&self, path: &str) -> Result<Value> {
        serde_json::from_slice(&self.get(path).await?).with_context(|| format!("{path} did not answer JSON"))
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = request.body(Full::new(body))?;
        self.http.request(request).await.with_context(|| format!("the server at {} does not answer", self.base))
    }

    /// Makes one request and follows its answer to the end.
    pub(super) async fn ask(&self, planned: &Planned) -> Ended {
        match tokio::time::timeout(self.timeout, self.exchange(planned)).await {
            Ok(Ok(ended)) => ended,
            Ok(Err(error)) => Ended::Failed(format!("{error:#}")),
            Err(_) => Ended::Failed(format!("no answer within {} s", self.timeout.as_secs_f64())),
        }
    }

    async fn exchange(&self, planned: &Planned) -> Result<Ended> {
        let model = planned.adapter.map_or(&self.backbone, |number| &self.adapters[number]);
        let (ids, tokens) = (&planned.ids, planned.output);
        let mut request = json!({"model": model, "prompt": ids, "max_tokens": tokens, "min_new_tokens": tokens});
        if self.beams > 1 {
            request["num_beams"] = self.beams.into();
        }
        if self.stream {
            request["stream"] = true.into();
            request["stream_options"] = json!({"include_usage": true});
        }
        let response = self.send(Method::POST, "/v1/completions", serde_json::to_vec(&request)?.into()).await?;
        let status = response.status();
        if status != StatusCode::OK {
            let retry_after = response.headers().get(header::RETRY_AFTER);
            let retry_after = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
            response.into_body().collect().await?;
            return Ok(Ended::Refused { status: status.as_u16(), retry_after });
        }
        let mut body = response.into_body();
        if !self.stream {
            return Ok(Ended::Done { first: None, tokens: tokens_of(&body.collect().await?.to_bytes())? });
        }
        let mut events = Events::default();
        let mut first = None;
        while let Some(frame) = body.frame().await {
            let Ok(piece) = frame?.into_data() else { continue };
            if events.push(&piece) > 0 {
                first.get_or_insert_with(Instant::now);
            }
        }
        Ok(Ended::Done { first, tokens: tokens_of(&events.last()?)? })
    }
}

/// The tokens made that a reply, or the last part of a stream, tells.
fn tokens_of(reply: &[u8]) -> Result<u64> {
    let reply: Value = serde_json::from_slice(reply).context("the reply is not JSON")?;
    if let Some(message) = reply["error"]["message"].as_str() {
        bail!("{message}");
    }
    reply["usage"]["completion_tokens"].as_u64().context("the reply tells no usage")
}

/// The data of server-sent events as their bytes come; only the last one is kept.
#[derive(Default)]
struct Events {
    rest: Vec<u8>,
    last: Vec<u8>,
    ended: bool,
}

impl Events {
    /// Takes some bytes and says how many events they complete.
    fn push(&mut self, piece: &[u8]) -> usize {
        let mut events = 0;
        self.rest.extend(piece);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            match line.trim_ascii().strip_prefix(b"data:").map(<[u8]>::trim_ascii) {
                Some(b"[DONE]") => self.ended = true,
                Some(data) => {
                    self.last = data.to_vec();
                    events += 1;
                }
                None => {}
            }
        }
        events
    }

    /// The last event before the end.
    fn last(self) -> Result<Vec<u8>> {
        if !self.ended {
            bail!("the stream broke off");
        }
        Ok(self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_from_any_pieces() {
        let text =
            b"data: {\"a\": 1}\n\n: comment\n\ndata: {\"usage\": {\"completion_tokens\": 7}}\n\ndata: [DONE]\n\n";
        for size in 1..text.len() {
            let mut events = Events::default();
            let found: usize = text.chunks(size).map(|piece| events.push(piece)).sum();
            assert_eq!((found, tokens_of(&events.last().unwrap()).unwrap()), (2, 7), "pieces of {size}");
        }
    }

    #[test]
    fn what_is_no_whole_answer_is_an_error() {
        let mut events = Events::default();
        events.push(b"data: {}\n\n");
        assert_eq!(events.last().unwrap_err().to_string(), "the stream broke off");
        let failed = tokens_of(br#"{"error": {"message": "the engine has stopped"}}"#).unwrap_err();
        assert_eq!(failed.to_string(), "the engine has stopped");
        assert!(tokens_of(b"{}").is_err());
    }
}
