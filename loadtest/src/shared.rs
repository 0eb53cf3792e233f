//! What the points of a run have in common: how far it is, its clock, their loop, and how long each waits.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;

use crate::{
    lean::Lean,
    media_path::{Clock, OurPoints},
};

/// Longest wait for an answer of the server, and for the media path to open.
pub(crate) const STEP_TIMEOUT: Duration = Duration::from_secs(15);

/// What the points of a run have in common.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) ours: OurPoints,
    /// The loop of lean points; without it points are full ones.
    pub(crate) lean: Option<Arc<Lean>>,
    pub(crate) joins: Joins,
}

/// How often a point joined so far, whoever had its seat before.
#[derive(Debug, Clone, Default)]
pub(crate) struct Joins(Arc<AtomicU64>);

impl Joins {
    /// One more.
    pub(crate) fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn so_far(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Where the run is. Every point follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Points join; those that are there send, and look at each other.
    Joining,
    /// All are there, as far as they will be.
    Meeting,
    /// What comes from now on is measured.
    Measured,
    /// Nothing new is sent; what is on its way arrives or is lost.
    Draining,
    /// Everybody goes.
    Leaving,
}

/// Waits until something has come as far as this, or will not change any more.
pub(crate) async fn until<T: PartialOrd>(state: &mut watch::Receiver<T>, wanted: T) {
    // Without a sender nothing changes any more: as good as the end.
    let _ = state.wait_for(|state| *state >= wanted).await;
}
