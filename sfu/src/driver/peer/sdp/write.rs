//! Writes the answer. Its style is what Chromium, Firefox and aiortc were seen to take.

use std::{fmt::Write, net::SocketAddr, sync::Arc};

use super::{
    AnswerConfig, CANDIDATES_MAX, SdpError,
    choose::{
        AUDIO_LEVEL, Chosen, DEPENDENCY, MID, PLAYOUT_DELAY, RID, RRID, Role, TRANSPORT_CC, parameter, rtpmap,
    },
    offer::{Offer, Section},
};
use crate::{
    driver::peer::{Fingerprint, ice::IceCredentials},
    engine::{
        id::{MediaKind, ShortId, SlotId, SourceKind},
        packet::{Codec, ExtensionIds, NegotiatedSlot, NegotiatedSource, PayloadType},
    },
};

/// Feedback we use where the offer has it. No `goog-remb`: with transport-wide feedback it is not needed.
const VIDEO_FEEDBACK: [&str; 4] = ["transport-cc", "ccm fir", "nack", "nack pli"];
const AUDIO_FEEDBACK: [&str; 1] = ["transport-cc"];

/// An answer without the credentials: what an ICE restart writes again.
#[derive(Debug, Clone)]
pub struct Plan {
    session: u32,
    version: u64,
    /// The client's, to know a restart.
    remote: Fingerprint,
    ufrag: String,
    fingerprint: Fingerprint,
    candidates: Vec<SocketAddr>,
    /// Dependency descriptors do not fit the short form of header extensions.
    mixed: bool,
    sections: Vec<Planned>,
}

/// An m-section of the answer.
#[derive(Debug, Clone)]
struct Planned {
    media: String,
    mid: ShortId,
    is_accepted: bool,
    /// Lines before those of ICE, and after them: such as others have too, and its own.
    head: String,
    shared: Arc<str>,
    own: String,
}

/// Without room for more, and what is the same in many sections once: a seat keeps them for its life.
fn fit(sections: &mut [Planned]) {
    for at in 0..sections.len() {
        let (former, rest) = sections.split_at_mut(at);
        let Some(section) = rest.first_mut() else { return };
        section.head.shrink_to_fit();
        section.own.shrink_to_fit();
        if let Some(same) = former.iter().find(|former| former.shared == section.shared) {
            section.shared = same.shared.clone();
        }
    }
}

impl Plan {
    pub(super) fn new(offer: &Offer, chosen: &Chosen, config: &mut AnswerConfig<'_>) -> Self {
        let sections = offer.sections.iter().zip(&chosen.roles).map(|(section, role)| {
            let ids = &chosen.media.extensions;
            match *role {
                Role::Refused => refused(section),
                Role::Source(at) => plan_source(section, ids, &chosen.media.sources[at]),
                Role::Slot(at) => plan_slot(section, ids, &chosen.media.slots[at]),
            }
        });
        let mut sections: Vec<Planned> = sections.collect();
        fit(&mut sections);
        Self {
            sections,
            mixed: chosen.media.extensions.dependency.is_some()
                || chosen.media.slots.iter().any(|slot| slot.dependency.is_some()),
            session: (config.random)(),
            version: 1,
            remote: offer.fingerprint,
            ufrag: offer.ufrag.clone(),
            fingerprint: config.fingerprint,
            candidates: config.candidates.iter().copied().take(CANDIDATES_MAX).collect(),
        }
    }

    /// Takes the offer of an ICE restart, or changes nothing.
    pub(super) fn restart(&mut self, offer: &Offer) -> Result<(), SdpError> {
        let are_same = offer.sections.len() == self.sections.len()
            && offer.sections.iter().zip(&self.sections).all(|(theirs, ours)| {
                theirs.mid == ours.mid && theirs.media == ours.media && (theirs.is_open || !ours.is_accepted)
            });
        if !are_same || offer.fingerprint != self.remote || offer.ufrag == self.ufrag {
            return Err(SdpError::NotRestart);
        }
        self.ufrag.clone_from(&offer.ufrag);
        self.version += 1;
        Ok(())
    }

    /// Takes the new ufrag of an ICE restart, or changes nothing.
    pub(super) fn restart_ice(&mut self, ufrag: &str) -> Result<(), SdpError> {
        if ufrag == self.ufrag {
            return Err(SdpError::NotRestart);
        }
        ufrag.clone_into(&mut self.ufrag);
        self.version += 1;
        Ok(())
    }

    /// What of the answer is about ICE (RFC 8840 §9): credentials and candidates, once for the whole bundle.
    pub(super) fn write_fragment(&self, ice: &IceCredentials) -> String {
        let mut out = "a=ice-lite\r\n".to_owned();
        out.push_str(&self.bundle());
        if let Some(section) = self.sections.iter().find(|s| s.is_accepted) {
            out.push_str(section.head.split_inclusive('\n').next().unwrap_or_default());
            line(&mut out, format_args!("a=mid:{}", section.mid.as_str()));
        }
        out + &credentials(ice) + &self.candidates()
    }

    /// The group of all that is accepted.
    fn bundle(&self) -> String {
        let mids = self.sections.iter().filter(|s| s.is_accepted);
        let mids: Vec<&str> = mids.map(|section| section.mid.as_str()).collect();
        format!("a=group:BUNDLE {}\r\n", mids.join(" "))
    }

    /// The answer.
    pub(super) fn write(&self, ice: &IceCredentials) -> String {
        let transport = self.transport(ice);
        let mut out = format!(
            "v=0\r\no=- {} {} IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n",
            self.session, self.version
        );
        out.push_str(&self.bundle());
        out.push_str("a=ice-lite\r\na=msid-semantic: WMS *\r\n");
        if self.mixed {
            out.push_str("a=extmap-allow-mixed\r\n");
        }
        line(
            &mut out,
            format_args!("a=fingerprint:sha-256 {}", self.fingerprint),
        );
        for section in &self.sections {
            out.push_str(&section.head);
            if section.is_accepted {
                out.push_str(&transport);
            }
            out.push_str(&section.shared);
            out.push_str(&section.own);
        }
        out
    }

    /// Lines that are the same in every accepted m-section. Candidates stand in all of them: some clients read the
    /// first, some the last.
    fn transport(&self, ice: &IceCredentials) -> String {
        let mut out = credentials(ice);
        out.push_str("a=setup:passive\r\na=rtcp-mux\r\na=rtcp-rsize\r\n");
        out.push_str(&self.candidates());
        out
    }

    fn candidates(&self) -> String {
        let mut out = String::new();
        for (candidate, at) in self.candidates.iter().zip(1u32..) {
            // RFC 8445 §5.1.2.1: host, preferred in our order, component 1.
            let priority = (126 << 24) | ((65_536 - at) << 8) | 255;
            let (ip, port) = (candidate.ip(), candidate.port());
            line(
                &mut out,
                format_args!("a=candidate:{at} 1 udp {priority} {ip} {port} typ host"),
            );
        }
        out.push_str("a=end-of-candidates\r\n");
        out
    }
}

fn credentials(ice: &IceCredentials) -> String {
    format!("a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n", ice.ufrag, ice.password())
}

/// A line and its end.
fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = out.write_fmt(text);
    out.push_str("\r\n");
}

/// Port 0 and out of the bundle (RFC 9429 §5.3.1). Media, protocol and formats are words of the offer.
fn refused(section: &Section) -> Planned {
    let (media, protocol) = (&section.media, &section.protocol);
    let format = section.formats.first().map_or("0", String::as_str);
    let mut head = format!("m={media} 0 {protocol} {format}\r\nc=IN IP4 0.0.0.0\r\n");
    line(&mut head, format_args!("a=mid:{}", section.mid.as_str()));
    head.push_str("a=inactive\r\n");
    Planned {
        media: media.clone(),
        mid: section.mid,
        is_accepted: false,
        head,
        shared: "".into(),
        own: String::new(),
    }
}

fn accepted(section: &Section, payload_types: &[u8], direction: &str, shared: &str, own: String) -> Planned {
    let mut head = format!("m={} 9 {}", section.media, section.protocol);
    for payload_type in payload_types {
        let _ = write!(head, " {payload_type}");
    }
    head.push_str("\r\nc=IN IP4 0.0.0.0\r\n");
    line(&mut head, format_args!("a=mid:{}", section.mid.as_str()));
    line(&mut head, format_args!("a={direction}"));
    Planned {
        media: section.media.clone(),
        mid: section.mid,
        is_accepted: true,
        head,
        shared: shared.into(),
        own,
    }
}

fn payload_types(payloads: &[PayloadType]) -> impl Iterator<Item = u8> {
    payloads.iter().flat_map(|p| [Some(p.media), p.rtx]).flatten()
}

fn plan_source(section: &Section, ids: &ExtensionIds, source: &NegotiatedSource) -> Planned {
    let mut body = String::new();
    let wanted: &[_] = match source.kind.media() {
        MediaKind::Audio => &[
            (MID, ids.mid),
            (AUDIO_LEVEL, ids.audio_level),
            (TRANSPORT_CC, ids.transport_cc),
        ],
        MediaKind::Video => &[
            (MID, ids.mid),
            (RID, ids.rid),
            (RRID, ids.rrid),
            (TRANSPORT_CC, ids.transport_cc),
            (
                DEPENDENCY,
                ids.dependency
                    .filter(|_| source.payloads.iter().any(|p| p.codec == Codec::Av1)),
            ),
        ],
    };
    extensions(&mut body, section, wanted);
    // A voice may pause (DTX); music and film from a screen must not, and keep their two channels.
    let opus = match source.kind {
        SourceKind::ScreenSound => "minptime=10;useinbandfec=1;stereo=1",
        _ => "minptime=10;useinbandfec=1;usedtx=1",
    };
    codecs(&mut body, section, &source.payloads, opus);
    redundant(&mut body, source.red, &source.payloads);
    for rid in &source.rids {
        line(&mut body, format_args!("a=rid:{} recv", rid.as_str()));
    }
    if !source.rids.is_empty() {
        let list: Vec<&str> = source.rids.iter().map(ShortId::as_str).collect();
        line(&mut body, format_args!("a=simulcast:recv {}", list.join(";")));
    }
    // What stands first is what a browser sends: RED, so that a voice survives the way up.
    let types: Vec<u8> = source
        .red
        .into_iter()
        .chain(payload_types(&source.payloads))
        .collect();
    accepted(section, &types, "recvonly", &body, String::new())
}

fn plan_slot(section: &Section, ids: &ExtensionIds, slot: &NegotiatedSlot) -> Planned {
    let (mut shared, mut own) = (String::new(), String::new());
    let wanted: &[_] = match slot.slot.kind {
        MediaKind::Audio => &[(MID, ids.mid), (TRANSPORT_CC, ids.transport_cc)],
        MediaKind::Video => &[
            (MID, ids.mid),
            (TRANSPORT_CC, ids.transport_cc),
            (PLAYOUT_DELAY, ids.playout_delay),
            (DEPENDENCY, slot.dependency),
        ],
    };
    extensions(&mut shared, section, wanted);
    codecs(&mut shared, section, &slot.payloads, "minptime=10;useinbandfec=1");
    redundant(&mut shared, slot.red, &slot.payloads);
    let stream = stream(slot.slot);
    line(&mut own, format_args!("a=msid:{stream} {}", slot.slot));
    if let Some(rtx) = slot.rtx_ssrc {
        line(
            &mut own,
            format_args!("a=ssrc-group:FID {} {}", slot.ssrc.0, rtx.0),
        );
    }
    for ssrc in [Some(slot.ssrc), slot.rtx_ssrc].into_iter().flatten() {
        line(&mut own, format_args!("a=ssrc:{} cname:{stream}", ssrc.0));
    }
    let types: Vec<u8> = payload_types(&slot.payloads).chain(slot.red).collect();
    accepted(section, &types, "sendonly", &shared, own)
}

/// MediaStream id and CNAME of a slot: browsers synchronise what shares them, so only the stage pair does.
fn stream(slot: SlotId) -> String {
    if slot.index == 0 {
        "stage".to_owned()
    } else {
        slot.to_string()
    }
}

/// Those of the wanted extensions that this m-section offers under the bundle's id.
fn extensions(out: &mut String, section: &Section, wanted: &[(&str, Option<u8>)]) {
    for &(uri, id) in wanted {
        let Some(offered) = section
            .extensions
            .iter()
            .find(|e| e.uri == uri && Some(e.id) == id)
        else {
            continue;
        };
        match offered.direction {
            None => line(out, format_args!("a=extmap:{} {uri}", offered.id)),
            Some(direction) => line(
                out,
                format_args!("a=extmap:{}/{} {uri}", offered.id, direction.mirrored()),
            ),
        }
    }
}

/// RED of two blocks or more of Opus, in the words of the offer.
fn redundant(out: &mut String, red: Option<u8>, payloads: &[PayloadType]) {
    let opus = payloads.iter().find(|p| p.codec == Codec::Opus);
    if let (Some(red), Some(PayloadType { media, .. })) = (red, opus) {
        line(out, format_args!("a=rtpmap:{red} red/48000/2"));
        line(out, format_args!("a=fmtp:{red} {media}/{media}"));
    }
}

fn codecs(out: &mut String, section: &Section, payloads: &[PayloadType], opus: &str) {
    for PayloadType { codec, media, rtx } in payloads {
        let feedback: &[&str] = match codec {
            Codec::Opus => &AUDIO_FEEDBACK,
            Codec::Vp8 | Codec::H264 | Codec::Vp9 | Codec::Av1 => &VIDEO_FEEDBACK,
        };
        if let Some(map) = rtpmap(section, *media, *codec) {
            line(out, format_args!("a=rtpmap:{media} {map}"));
        }
        match codec {
            Codec::Opus => line(out, format_args!("a=fmtp:{media} {opus}")),
            Codec::H264 => {
                let level = parameter(section, *media, "profile-level-id").unwrap_or("42e01f");
                let form = "level-asymmetry-allowed=1;packetization-mode=1";
                line(
                    out,
                    format_args!("a=fmtp:{media} {form};profile-level-id={level}"),
                );
            }
            Codec::Vp9 => line(out, format_args!("a=fmtp:{media} profile-id=0")),
            Codec::Av1 => line(out, format_args!("a=fmtp:{media} profile=0")),
            Codec::Vp8 => {}
        }
        for wanted in feedback {
            if section
                .of_payload("rtcp-fb", *media)
                .any(|offered| offered == *wanted)
            {
                line(out, format_args!("a=rtcp-fb:{media} {wanted}"));
            }
        }
        if let Some(rtx) = rtx {
            line(out, format_args!("a=rtpmap:{rtx} rtx/90000"));
            line(out, format_args!("a=fmtp:{rtx} apt={media}"));
        }
    }
}
