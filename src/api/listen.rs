//! The socket: who may be let in at all, and how the server stops.

use super::{AppState, Tokens, metrics, router};
use crate::config::Config;
use axum::serve::ListenerExt;
use std::{future::IntoFuture, io, net::SocketAddr, pin::pin, time::Duration};
use tokio::{net::TcpListener, sync::watch};

/// Why the server does not listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// It would be open to everyone.
    #[error(
        "{host} is reachable from other machines and there are no tokens: create one (`s3delta tokens create`), listen on \
         127.0.0.1, or accept the risk with --insecure"
    )]
    Open {
        /// The address.
        host: std::net::IpAddr,
    },
    /// The system refused.
    #[error("cannot listen on {address}: {source}")]
    Refused {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// Listens where the settings say.
///
/// # Errors
/// [`BindError::Open`] beyond loopback without tokens, unless the settings accept that.
pub async fn bind(config: &Config, tokens: &Tokens) -> Result<TcpListener, BindError> {
    let host = config.host;
    if !host.is_loopback() && tokens.is_empty() && !config.insecure {
        return Err(BindError::Open { host });
    }
    let address = SocketAddr::new(host, config.port);
    TcpListener::bind(address).await.map_err(|source| BindError::Refused { address, source })
}

/// How long errors may take on their way to clients before the process ends.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How often histograms are put in order.
const UPKEEP: Duration = Duration::from_secs(5);

/// Puts histograms' samples together now and then: they stay in memory until then, and nobody may ever ask for `/metrics`.
async fn upkeep() {
    let mut every = tokio::time::interval(UPKEEP);
    loop {
        every.tick().await;
        metrics::recorder().run_upkeep();
    }
}

/// Answers requests until `stop` comes; then lets the running job keep a checkpoint and gives requests their time to end.
pub async fn serve(listener: TcpListener, state: AppState, stop: impl Future<Output = ()>) -> io::Result<()> {
    let (tell, mut told) = watch::channel(false);
    let stopping = async move {
        let _ = told.wait_for(|stop| *stop).await;
    };
    // else a stream's next part waits until the client has confirmed the one before, which it puts off for 40 ms
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection sends in larger parts: {error}");
        }
    });
    let server = axum::serve(listener, router(state.clone())).with_graceful_shutdown(stopping);
    let mut server = pin!(server.into_future());
    tokio::select! {
        ended = &mut server => return ended,
        () = upkeep() => {}
        () = stop => {}
    }
    tracing::info!("the server stops");
    let _ = tell.send(true);
    // ends the event streams too, which would otherwise keep their connections
    let jobs = state.jobs.clone();
    let stopped = tokio::task::spawn_blocking(move || jobs.shutdown());
    let time = Duration::from_secs(state.config.shutdown_seconds);
    if tokio::time::timeout(time, &mut server).await.is_err() {
        tracing::warn!("requests did not end within {} s and are dropped", time.as_secs());
        state.over.cancel();
        state.engine.abort().await;
        // those who wait for an answer hear that there will be none
        let _ = tokio::time::timeout(LAST_WORDS, &mut server).await;
    }
    stopped.await.map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[tokio::test]
    async fn beyond_loopback_needs_tokens_or_a_flag() {
        let open = Config { host: Ipv4Addr::UNSPECIFIED.into(), port: 0, ..Config::default() };
        let refused = bind(&open, &Tokens::default()).await.unwrap_err().to_string();
        assert!(refused.contains("--insecure"), "{refused}");
        assert!(bind(&Config { insecure: true, ..open.clone() }, &Tokens::default()).await.is_ok());
        assert!(bind(&Config { port: 0, ..Config::default() }, &Tokens::default()).await.is_ok());
        let home = tempfile::tempdir().unwrap();
        let mut tokens = Tokens::open(home.path()).unwrap();
        tokens.create("ci", std::collections::BTreeSet::new()).unwrap();
        assert!(bind(&open, &tokens).await.is_ok());
    }
}
