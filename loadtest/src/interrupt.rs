//! SIGINT and SIGTERM: the first ends a run early, with all that it has to clear away; a second one ends the program at once.

use anyhow::Context as _;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

/// The exit status of who was interrupted, as shells have it.
const INTERRUPTED: i32 = 130;

/// Turns true when the program is told to end. Needs a runtime.
pub(crate) fn listen() -> anyhow::Result<watch::Receiver<bool>> {
    let of_kind = |kind| signal(kind).context("cannot hear signals");
    let mut signals = (
        of_kind(SignalKind::interrupt())?,
        of_kind(SignalKind::terminate())?,
    );
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        any(&mut signals).await;
        stop.send_replace(true);
        any(&mut signals).await;
        std::process::exit(INTERRUPTED);
    });
    Ok(stopped)
}

async fn any((interrupt, terminate): &mut (Signal, Signal)) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
