//! A command's way to the API: over HTTP to the server that holds the registry, or, where none runs, to the same router
//! in this process.

use super::On;
use super::app::{App, Mode};
use crate::t5::DeviceChoice;
use anyhow::{Context, Result, bail};
use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use futures_util::StreamExt;
use serde::Serialize;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use tokio::runtime::Runtime;
use tower::ServiceExt;

/// An open way to the API.
pub(super) struct Session {
    runtime: Runtime,
    way: Way,
}

enum Way {
    /// A running server's address and the token to show it.
    Server { base: String, token: Option<String> },
    /// The router in this process.
    Here(Router, Box<App>),
}

/// What the API answered.
struct Answer<'a> {
    status: StatusCode,
    body: Box<dyn Read + 'a>,
}

impl Session {
    /// Opens the registry in `home`: through its server if one holds it, else here with this backbone.
    pub(super) fn open(home: &Path, on: &On) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let way = match crate::registry::Registry::open(home) {
            Ok(registry) => {
                let app = App::start(registry, on.config(home)?, Mode::Command)?;
                Way::Here(app.router(), Box::new(app))
            }
            Err(crate::registry::Error::Locked { server: Some(server), .. }) => {
                let token = std::env::var("S3DELTA_TOKEN").ok();
                Way::Server { base: format!("http://{}", server.address), token }
            }
            Err(error) => return Err(error.into()),
        };
        let session = Self { runtime, way };
        if let Way::Server { base, .. } = &session.way {
            session.check_server(base, on)?;
        }
        Ok(session)
    }

    /// Refuses to ask a server for another backbone than it serves, another device, or other threads.
    fn check_server(&self, base: &str, on: &On) -> Result<()> {
        let served = self.get("/v1/backbone")?;
        if let Some(device) = on.compute.device.filter(|device| *device != DeviceChoice::Auto)
            && served["device"] != device.to_string()
        {
            bail!(
                "the server at {base} holds this registry and computes on {}, not {device}: leave --device out, stop the \
                 server, or give another --home",
                served["device"].as_str().unwrap_or("another device")
            );
        }
        if on.compute.threads.is_some() {
            bail!(
                "the server at {base} holds this registry and has threads of its own: leave --threads out, or stop it"
            );
        }
        let name = served["name"].as_str().unwrap_or_default();
        match &on.backbone {
            Some(wanted) if wanted != name => bail!(
                "the server at {base} holds this registry and serves the backbone `{name}`, not `{wanted}`: leave \
                 --backbone out, stop the server, or give another --home"
            ),
            _ => Ok(()),
        }
    }

    /// Waits for this on the calling thread.
    pub(super) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub(super) fn get(&self, path: &str) -> Result<Value> {
        self.json(self.send(Method::GET, path, None, &[])?)
    }

    pub(super) fn bytes(&self, path: &str) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.good(self.send(Method::GET, path, None, &[])?)?.body.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn post(&self, path: &str, body: &impl Serialize) -> Result<Value> {
        self.json(self.send(Method::POST, path, Some("application/json"), &serde_json::to_vec(body)?)?)
    }

    pub(super) fn put(&self, path: &str, body: &[u8]) -> Result<Value> {
        self.json(self.send(Method::PUT, path, Some("application/json"), body)?)
    }

    pub(super) fn delete(&self, path: &str) -> Result<()> {
        self.good(self.send(Method::DELETE, path, None, &[])?).map(drop)
    }

    /// Uploads parts as multipart/form-data: name, file name for binary parts, bytes.
    pub(super) fn upload(&self, path: &str, parts: &[(&str, Option<&str>, Vec<u8>)]) -> Result<Value> {
        let boundary =
            format!("s3delta-{}", blake3::hash(&parts.iter().flat_map(|p| p.2.clone()).collect::<Vec<_>>()).to_hex());
        let mut body = Vec::new();
        for (name, file, bytes) in parts {
            let file = file.map(|file| format!("; filename=\"{file}\"")).unwrap_or_default();
            body.extend(
                format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n").into_bytes(),
            );
            body.extend(bytes);
            body.extend(b"\r\n");
        }
        body.extend(format!("--{boundary}--\r\n").into_bytes());
        self.json(self.send(Method::POST, path, Some(&format!("multipart/form-data; boundary={boundary}")), &body)?)
    }

    /// Every entry of a paged list.
    pub(super) fn list(&self, path: &str) -> Result<Vec<Value>> {
        let mut all = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let sign = if path.contains('?') { '&' } else { '?' };
            let next = cursor.map(|cursor| format!("{sign}cursor={cursor}")).unwrap_or_default();
            let page = self.get(&format!("{path}{next}"))?;
            all.extend(page["data"].as_array().cloned().unwrap_or_default());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = Some(next.into()),
                None => return Ok(all),
            }
        }
    }

    /// Calls `on_event` with the name and data of every server-sent event until it says `false` or the stream ends.
    pub(super) fn events(&self, path: &str, mut on_event: impl FnMut(&str, Value) -> Result<bool>) -> Result<()> {
        let answer = self.good(self.send(Method::GET, path, None, &[])?)?;
        let mut name = String::new();
        for line in BufReader::new(answer.body).lines() {
            let line = line?;
            if let Some(event) = line.strip_prefix("event:") {
                name = event.trim().to_string();
            } else if let Some(data) = line.strip_prefix("data:")
                && !on_event(&name, serde_json::from_str(data.trim())?)?
            {
                return Ok(());
            }
        }
        Ok(())
    }

    fn json(&self, answer: Answer<'_>) -> Result<Value> {
        let mut bytes = Vec::new();
        self.good(answer)?.body.read_to_end(&mut bytes)?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).context("the server's answer is not JSON")
    }

    /// Turns the API's error object into an error with its message.
    fn good<'a>(&self, mut answer: Answer<'a>) -> Result<Answer<'a>> {
        if answer.status.is_success() {
            return Ok(answer);
        }
        let mut text = String::new();
        answer.body.read_to_string(&mut text)?;
        let value: Value = serde_json::from_str(&text).unwrap_or_default();
        match value["error"]["message"].as_str() {
            Some(message) => bail!("{message}"),
            None => bail!("the server answered {}: {text}", answer.status),
        }
    }

    fn send(&self, method: Method, path: &str, content_type: Option<&str>, body: &[u8]) -> Result<Answer<'_>> {
        match &self.way {
            Way::Server { base, token } => {
                let request = Request::builder().method(method).uri(format!("{base}{path}"));
                let request = content_type.iter().fold(request, |r, value| r.header(header::CONTENT_TYPE, *value));
                let request = token.iter().fold(request, |r, t| r.header(header::AUTHORIZATION, format!("Bearer {t}")));
                let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
                let response = agent.run(request.body(body.to_vec())?);
                let response = response.with_context(|| format!("the server at {base} does not answer"))?;
                let (parts, body) = response.into_parts();
                Ok(Answer { status: parts.status, body: Box::new(body.into_reader()) })
            }
            Way::Here(router, _) => {
                let request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
                let request = content_type.iter().fold(request, |r, value| r.header(header::CONTENT_TYPE, *value));
                let request = request.body(Body::from(body.to_vec()))?;
                let response = self.runtime.block_on(router.clone().oneshot(request)).expect("a router is infallible");
                let (parts, body) = response.into_parts();
                let stream = body.into_data_stream();
                Ok(Answer {
                    status: parts.status,
                    body: Box::new(Blocking { runtime: &self.runtime, stream, left: Vec::new() }),
                })
            }
        }
    }
}

impl Drop for Session {
    /// Lets a job that is under way keep a checkpoint, and gives the registry back.
    fn drop(&mut self) {
        if let Way::Here(_, app) = &self.way {
            self.runtime.block_on(app.shutdown());
        }
    }
}

/// Reads an asynchronous body from a thread that may wait.
struct Blocking<'a> {
    runtime: &'a Runtime,
    stream: axum::body::BodyDataStream,
    left: Vec<u8>,
}

impl Read for Blocking<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        while self.left.is_empty() {
            match self.runtime.block_on(self.stream.next()) {
                Some(piece) => self.left = piece.map_err(std::io::Error::other)?.to_vec(),
                None => return Ok(0),
            }
        }
        let count = into.len().min(self.left.len());
        into[..count].copy_from_slice(&self.left[..count]);
        self.left.drain(..count);
        Ok(count)
    }
}
