//! What the offer and answer of a scripted point came to.

use sfu::engine::{
    id::{ShortId, SlotId, SourceKind, Ssrc},
    packet::{Codec, ExtensionIds, Negotiated, NegotiatedSlot, NegotiatedSource, PayloadType},
};

use crate::{feedback::Feedback, peer::Script};

/// Id of the transport-wide number.
pub(crate) const TRANSPORT_CC: u8 = 5;
/// Id of the playout delay.
pub(crate) const PLAYOUT_DELAY: u8 = 6;
const EXTENSIONS: ExtensionIds = ExtensionIds {
    mid: Some(1),
    rid: Some(2),
    rrid: Some(3),
    audio_level: Some(4),
    transport_cc: Some(TRANSPORT_CC),
    abs_send_time: None,
    orientation: None,
    dependency: None,
    playout_delay: Some(PLAYOUT_DELAY),
};
pub(crate) const OPUS: PayloadType = PayloadType {
    codec: Codec::Opus,
    media: 111,
    rtx: None,
};
pub(crate) const VP8: PayloadType = PayloadType {
    codec: Codec::Vp8,
    media: 96,
    rtx: Some(97),
};

/// Payload type of RED.
pub(crate) const RED: u8 = 63;

/// Sources and slots of a point whose SSRCs begin at `base`.
pub(crate) fn negotiated(base: u32, script: Script) -> Negotiated {
    let id = |text: &str| ShortId::new(text.as_bytes()).expect("a short id");
    let mut sources = Vec::new();
    if script.mic {
        let ssrcs = vec![(Ssrc(base + 2), None)];
        sources.push(NegotiatedSource {
            kind: SourceKind::Mic,
            mid: id("0"),
            payloads: vec![OPUS],
            red: script.red.then_some(RED),
            rids: Vec::new(),
            ssrcs,
        });
    }
    if script.camera {
        let all = ["q", "h", "f"].map(id);
        let rids = if script.one_layer { &all[2..] } else { &all }.to_vec();
        sources.push(NegotiatedSource {
            kind: SourceKind::Camera,
            mid: id("1"),
            payloads: vec![VP8],
            red: None,
            rids,
            ssrcs: Vec::new(),
        });
    }
    let audio = (0..6).map(|i| (SlotId::audio(i), vec![OPUS], None));
    let video =
        (0..script.video_slots).map(|i| (SlotId::video(i), vec![VP8], Some(Ssrc(base + 200 + u32::from(i)))));
    let slots = audio
        .chain(video)
        .enumerate()
        .map(|(i, (slot, payloads, rtx_ssrc))| NegotiatedSlot {
            dependency: None,
            slot,
            mid: id(&(i + 2).to_string()),
            ssrc: Ssrc(base + 100 + i as u32),
            rtx_ssrc,
            payloads,
            red: (script.red && rtx_ssrc.is_none()).then_some(RED),
        });
    let transport_cc = EXTENSIONS
        .transport_cc
        .filter(|_| script.feedback == Feedback::TransportWide);
    Negotiated {
        extensions: ExtensionIds {
            transport_cc,
            ..EXTENSIONS
        },
        sources,
        slots: slots.collect(),
    }
}
