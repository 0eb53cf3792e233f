//! What happens in a meeting, and when.

use std::{cmp::Ordering, time::Instant};

use bytes::Bytes;
use sfu::engine::packet::SourceGrade;

use crate::encoder::Outgoing;

#[derive(Debug, Clone)]
pub(crate) enum Event {
    Frame(usize),
    Voice(usize),
    Ask(usize),
    Report(usize),
    Feedback(usize),
    Trace(usize),
    Obey {
        peer: usize,
        sources: Vec<SourceGrade>,
        voice_ms: u8,
    },
    Leave(usize, Outgoing),
    Up {
        peer: usize,
        rtcp: bool,
        bytes: Bytes,
    },
    Down {
        peer: usize,
        rtcp: bool,
        bytes: Bytes,
    },
}

impl Event {
    /// Whose it is.
    pub(crate) fn peer(&self) -> usize {
        match self {
            Self::Frame(peer)
            | Self::Voice(peer)
            | Self::Ask(peer)
            | Self::Report(peer)
            | Self::Feedback(peer)
            | Self::Trace(peer)
            | Self::Leave(peer, _)
            | Self::Obey { peer, .. }
            | Self::Up { peer, .. }
            | Self::Down { peer, .. } => *peer,
        }
    }
}

/// An event with its time; those of one time happen in the order they were thought of.
#[derive(Debug)]
pub(crate) struct Scheduled {
    pub(crate) at: Instant,
    pub(crate) order: u64,
    pub(crate) event: Event,
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Scheduled {}
