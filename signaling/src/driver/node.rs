//! The media node as this binary runs it: a process of its own, or inside the server.

use std::path::Path;

use anyhow::Context;
use sfu::driver::{
    api::{Connector, Listener},
    config::NodeConfig,
    node,
};
use tokio::signal::unix::{SignalKind, signal};

/// Runs a node on that control socket until it is told to end, by signaling or by a signal, or nobody needs it.
///
/// # Errors
/// A socket cannot be opened, or the node failed.
pub fn run(config: NodeConfig, control: &Path) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = Listener::bind(control)
            .with_context(|| format!("the control socket {} cannot be opened", control.display()))?;
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let shutdown = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        let ended = node::run(config, listener, shutdown).await?;
        tracing::info!(?ended, "the media node ended");
        Ok(())
    })
}

/// Starts a node in this process, on a thread of its own.
///
/// # Errors
/// The system refuses a thread.
pub fn start_here(config: NodeConfig) -> std::io::Result<Connector> {
    let (listener, connector) = Listener::in_process();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let run = move || {
        // Asked to end by the control protocol, so that its peers are told.
        match runtime.block_on(node::run(config, listener, std::future::pending())) {
            Ok(ended) => tracing::info!(?ended, "the media node ended"),
            Err(error) => tracing::error!(%error, "the media node failed"),
        }
    };
    std::thread::Builder::new().name("node".into()).spawn(run)?;
    Ok(connector)
}
