//! The two ways of being a point: crate `webrtc`, an independent full stack for tens of points, and the lean one for hundreds.

use std::collections::BTreeMap;

use tokio::sync::watch;

use crate::{
    lean::{self, LeanPoint, Pattern},
    media_path::{MediaPath, MediaReport, SlotLines},
    peer::{Path, Peer},
    sdp::Section,
    sender::Sender,
};

/// The media of one point.
pub(crate) enum Stack {
    Full(Peer, MediaPath),
    Lean(LeanPoint),
}

/// What a point sends.
pub(crate) enum Outgoings {
    /// Real pictures and speech.
    Clips(Box<Sender>),
    /// Packets of a pattern.
    Pattern(Box<Pattern>),
}

impl Stack {
    /// Takes the answer: the connection opens by itself. `whole`: a lean point checks everything that comes, of sources with so many
    /// pictures a second; a full one always does.
    pub(crate) async fn open(
        &self,
        answer: &str,
        sections: &BTreeMap<String, Section>,
        slots: Vec<SlotLines>,
        whole: Option<u32>,
    ) -> anyhow::Result<()> {
        match self {
            Self::Full(peer, media) => {
                media.set_slots(slots);
                peer.set_answer(answer).await
            }
            Self::Lean(point) => point.open(answer, sections, slots, whole),
        }
    }

    /// Changes of the path's state.
    pub(crate) fn path(&self) -> watch::Receiver<Path> {
        match self {
            Self::Full(peer, _) => peer.path(),
            Self::Lean(point) => point.path(),
        }
    }

    /// Begins to send.
    pub(crate) fn start(&self, outgoings: Outgoings) {
        match (self, outgoings) {
            (Self::Full(_, media), Outgoings::Clips(sender)) => media.start(*sender),
            (Self::Lean(point), Outgoings::Clips(sender)) => point.start(lean::Source::Clips(sender)),
            (Self::Lean(point), Outgoings::Pattern(pattern)) => {
                point.start(lean::Source::Pattern(pattern));
            }
            (Self::Full(..), Outgoings::Pattern(_)) => {} // no scenario asks for it
        }
    }

    /// All are there: a pattern grows to its full rate. Pictures have theirs from the beginning.
    pub(crate) fn grow(&self) {
        match self {
            Self::Full(..) => {}
            Self::Lean(point) => point.grow(),
        }
    }

    /// What comes from now on is measured: latency and freezes of before are forgotten. Full points measure from the beginning.
    /// `standing`: others come from now on, and what runs here may not feel it.
    pub(crate) fn measure(&self, standing: bool) {
        match self {
            Self::Full(..) => {}
            Self::Lean(point) => point.measure(standing),
        }
    }

    /// Something else is wanted in these slots.
    pub(crate) fn switch(&self, slots: Vec<String>) {
        match self {
            Self::Full(..) => {}
            Self::Lean(point) => point.switch(slots),
        }
    }

    pub(crate) fn stop_sending(&self) {
        match self {
            Self::Full(_, media) => media.stop_sending(),
            Self::Lean(point) => point.stop_sending(),
        }
    }

    /// Speaks or is silent.
    pub(crate) fn set_speaking(&self, speaking: bool) {
        match self {
            Self::Full(_, media) => media.set_speaking(speaking),
            Self::Lean(point) => point.set_speaking(speaking),
        }
    }

    /// A slot message.
    pub(crate) fn announce(&self, slot: &str, source: u32, time: u32) {
        match self {
            Self::Full(_, media) => media.announce(slot, source, time),
            Self::Lean(point) => point.announce(slot.to_owned(), source, time),
        }
    }

    /// The slot message said that nothing is shown there now.
    pub(crate) fn empty(&self, slot: &str) {
        match self {
            Self::Full(..) => {}
            Self::Lean(point) => point.empty(slot.to_owned()),
        }
    }

    /// The node orders these layers, lowest first. Full points send all of theirs, whatever is ordered.
    pub(crate) fn set_layers(&self, active: Vec<bool>) {
        match self {
            Self::Full(..) => {}
            Self::Lean(point) => point.set_layers(active),
        }
    }

    /// Pictures are wanted in these slots, since then.
    pub(crate) fn want(&self, slots: Vec<String>, since_us: u64) {
        match self {
            Self::Full(..) => {}
            Self::Lean(point) => point.want(slots, since_us),
        }
    }

    /// Stops judging and tells what was seen.
    pub(crate) async fn finish(&self) -> MediaReport {
        match self {
            Self::Full(_, media) => media.finish(),
            Self::Lean(point) => point.finish().await,
        }
    }

    /// Says goodbye to the node.
    pub(crate) async fn close(self) {
        match self {
            Self::Full(peer, _) => peer.close().await,
            Self::Lean(point) => point.close(),
        }
    }
}
