//! `s3delta serve`: the API and the web page.

use super::app::{App, Mode};
use super::{Compute, On};
use crate::api;
use crate::registry::Registry;
use crate::t5::WeightFormat;
use anyhow::Result;
use std::net::IpAddr;
use std::path::Path;

#[derive(Debug, Default, clap::Args)]
#[command(after_help = "\
Examples:
  s3delta serve
  s3delta serve --backbone ./t5-large --device cuda:0 --port 9000
  s3delta serve --encoder-cache-bytes 1073741824
  s3delta serve --backbone ./t5-large --device cpu --weights int8
  s3delta tokens create ops --scope admin && s3delta serve --host 0.0.0.0

What is not given comes from S3DELTA_* variables, then HOME/s3delta.toml.")]
pub(crate) struct Args {
    /// Address to listen on [default: 127.0.0.1]. Beyond this machine it needs a token, see `s3delta tokens`.
    #[arg(long)]
    host: Option<IpAddr>,
    /// Port; 0 picks a free one [default: 8080].
    #[arg(long)]
    port: Option<u16>,
    /// Listen beyond this machine without any token.
    #[arg(long)]
    insecure: bool,
    /// Bytes of encoded texts kept for requests that ask about them again, 0 for none [default: 268435456].
    #[arg(long, value_name = "BYTES")]
    encoder_cache_bytes: Option<usize>,
    /// f32, or int8: requests are computed with weights rounded to 8 bits, on the CPU; jobs keep to f32, so that both are held
    /// [default: f32].
    #[arg(long, value_name = "FORMAT")]
    weights: Option<WeightFormat>,
    #[command(flatten)]
    on: On,
}

impl Args {
    /// What the quickstart serves with.
    pub(super) fn after_quickstart(compute: Compute, backbone: &str, port: Option<u16>) -> Self {
        Self { port, on: On { backbone: Some(backbone.into()), compute }, ..Self::default() }
    }

    pub(crate) fn run(&self, home: &Path) -> Result<()> {
        let mut config = self.on.config(home)?;
        config.host = self.host.unwrap_or(config.host);
        config.port = self.port.unwrap_or(config.port);
        config.encoder_cache_bytes = self.encoder_cache_bytes.unwrap_or(config.encoder_cache_bytes);
        config.insecure |= self.insecure;
        config.weights = self.weights.map_or(config.weights, |weights| weights.to_string());
        let registry = Registry::open(home)?;
        let runtime = tokio::runtime::Runtime::new()?;
        runtime.block_on(async {
            let tokens = api::Tokens::open(home)?;
            // before the backbone is read, so that a port in use is told at once
            let listener = api::bind(&config, &tokens).await?;
            let app = tokio::task::block_in_place(|| App::start(registry.clone(), config, Mode::Server(tokens)))?;
            let address = listener.local_addr()?;
            registry.announce(&address.to_string())?;
            read_ahead(registry);
            eprintln!("serving {} on http://{address}/", app.backbone());
            api::serve(listener, app.state.clone(), stopped()).await?;
            app.shutdown().await;
            Ok(())
        })
    }
}

/// Reads structures into memory beside the first requests. Nothing waits for the thread, not even the end.
fn read_ahead(registry: Registry) {
    let read = move || match registry.read_structures_ahead() {
        Ok(structures) => tracing::debug!(structures, "{structures} structures are in memory"),
        Err(error) => tracing::warn!(%error, "structures cannot be read ahead: {error}"),
    };
    if let Err(error) = std::thread::Builder::new().name("read-ahead".into()).spawn(read) {
        tracing::warn!(%error, "structures are not read ahead: {error}");
    }
}

/// Ends with Ctrl-C or SIGTERM.
async fn stopped() {
    let interrupt = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    #[cfg(unix)]
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    tokio::select! {
        () = interrupt => {}
        () = terminate => {}
    }
}
