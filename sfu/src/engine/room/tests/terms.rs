//! What every point of the kit negotiated: ids of extensions, payload types, SSRCs, sources and slots.

use super::super::{
    super::{
        id::{ShortId, Ssrc},
        packet::{Codec, ExtensionIds, Negotiated, NegotiatedSlot, NegotiatedSource, PayloadType},
        units::Bitrate,
    },
    *,
};
use crate::engine::id::SlotId;

const EXTENSIONS: ExtensionIds = ExtensionIds {
    mid: Some(4),
    rid: Some(10),
    rrid: Some(11),
    audio_level: Some(1),
    transport_cc: Some(3),
    abs_send_time: None,
    orientation: None,
    playout_delay: Some(6),
    dependency: None,
};
pub(super) const OPUS: u8 = 111;
pub(super) const RED: u8 = 63;
pub(super) const VP8: u8 = 96;
const RTX: u8 = 97;

pub(super) fn audio_ssrc(index: u8) -> u32 {
    0x1000 + u32::from(index)
}

pub(super) fn video_ssrc(index: u8) -> u32 {
    0x2000 + u32::from(index)
}

pub(super) fn rtx_ssrc(index: u8) -> u32 {
    0x3000 + u32::from(index)
}

fn short(text: &str) -> ShortId {
    ShortId::new(text.as_bytes()).unwrap()
}

pub(super) fn negotiated() -> Negotiated {
    let vp8 = vec![PayloadType {
        codec: Codec::Vp8,
        media: VP8,
        rtx: Some(RTX),
    }];
    let opus = vec![PayloadType {
        codec: Codec::Opus,
        media: OPUS,
        rtx: None,
    }];
    let source = |kind, mid, payloads: &Vec<_>, rids: &[&str]| NegotiatedSource {
        kind,
        mid: short(mid),
        payloads: payloads.clone(),
        red: (kind == SourceKind::Mic).then_some(RED),
        rids: rids.iter().map(|rid| short(rid)).collect(),
        ssrcs: Vec::new(),
    };
    let audio = (0..6).map(|i| NegotiatedSlot {
        dependency: None,
        slot: SlotId::audio(i),
        mid: short(&format!("a{i}")),
        ssrc: Ssrc(audio_ssrc(i)),
        rtx_ssrc: None,
        payloads: opus.clone(),
        red: Some(RED),
    });
    let video = (0..4).map(|i| NegotiatedSlot {
        dependency: None,
        slot: SlotId::video(i),
        mid: short(&format!("v{i}")),
        ssrc: Ssrc(video_ssrc(i)),
        rtx_ssrc: Some(Ssrc(rtx_ssrc(i))),
        payloads: vp8.clone(),
        red: None,
    });
    Negotiated {
        extensions: EXTENSIONS,
        sources: vec![
            source(SourceKind::Mic, "0", &opus, &[]),
            source(SourceKind::Camera, "1", &vp8, &["q", "h", "f"]),
        ],
        slots: audio.chain(video).collect(),
    }
}

/// The same of a point that takes no RED.
pub(super) fn without_red() -> Negotiated {
    let mut media = negotiated();
    media.slots.iter_mut().for_each(|slot| slot.red = None);
    media
}

/// No feedback comes here: all ways are taken to carry everything.
pub(super) fn fast() -> RoomPolicy {
    RoomPolicy {
        way_start: Bitrate::mbps(10),
        ..RoomPolicy::default()
    }
}
