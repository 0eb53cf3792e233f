//! Decides what of an offer is accepted: of a page sources by their mids, then slots in the order of their m-sections; of
//! WHIP and WHEP the first sound and the first picture.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    AnswerConfig, SdpError,
    offer::{Direction, Extension, Offer, Section},
};
use crate::{
    control::{AUDIO_SLOTS, ClientKind, VIDEO_CODECS_MAX},
    engine::{
        id::{MediaKind, ShortId, SlotId, SourceKind, Ssrc},
        packet::{Codec, ExtensionIds, Negotiated, NegotiatedSlot, NegotiatedSource, PayloadType},
    },
};

/// Most simulcast layers of a source.
const LAYERS_MAX: usize = 3;

/// Most layers that `a=simulcast` may name, declared or not. An offer that names more is refused.
const NAMED_LAYERS_MAX: usize = 16;

/// Most SSRCs that are remembered of an m-section; further ones are ignored.
const SSRCS_MAX: usize = 8;

pub(super) const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
pub(super) const RID: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
pub(super) const RRID: &str = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id";
pub(super) const AUDIO_LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
pub(super) const TRANSPORT_CC: &str =
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
pub(super) const DEPENDENCY: &str =
    "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";
pub(super) const PLAYOUT_DELAY: &str = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay";

/// What an m-section becomes.
pub(super) enum Role {
    /// Port 0.
    Refused,
    /// By its place in [`Negotiated::sources`].
    Source(usize),
    /// By its place in [`Negotiated::slots`].
    Slot(usize),
}

/// What is accepted.
pub(super) struct Chosen {
    /// One per m-section.
    pub(super) roles: Vec<Role>,
    pub(super) media: Negotiated,
}

/// Decides about every m-section.
pub(super) fn choose(offer: &Offer, config: &mut AnswerConfig<'_>) -> Result<Chosen, SdpError> {
    let wanted = config.video.iter().take(VIDEO_CODECS_MAX);
    let wanted: Vec<Codec> = wanted.copied().map(Codec::from).collect();
    let named = match config.client {
        ClientKind::Page => named_sources(offer, config.sources)?,
        ClientKind::Publisher => first_sources(offer, &wanted)?,
        ClientKind::Player => BTreeMap::new(),
    };
    let (audio_max, video_max) = slots_max(config);
    let mut ssrcs = Ssrcs::of(offer, config.random);
    let mut media = Negotiated {
        extensions: extension_ids(offer, config.client)?,
        ..Negotiated::default()
    };
    let described = media.extensions.dependency.filter(|_| offer.allows_mixed);
    let mut slots = (0, 0);
    let mut roles = Vec::with_capacity(offer.sections.len());
    for section in &offer.sections {
        let payloads = payloads(section, &wanted, named.contains_key(&section.mid));
        roles.push(match (named.get(&section.mid), media_kind(section)) {
            _ if payloads.is_empty() => Role::Refused,
            (Some(&kind), _) => {
                media
                    .sources
                    .push(source(section, kind, payloads, config.client)?);
                Role::Source(media.sources.len() - 1)
            }
            (None, Some(kind)) if is_slot(section, config.client) => {
                let (next, most) = match kind {
                    MediaKind::Audio => (&mut slots.0, audio_max),
                    MediaKind::Video => (&mut slots.1, video_max),
                };
                if *next >= most {
                    Role::Refused
                } else {
                    media.slots.push(slot(
                        section,
                        SlotId { kind, index: *next },
                        payloads,
                        &mut ssrcs,
                        described,
                    ));
                    *next += 1;
                    Role::Slot(media.slots.len() - 1)
                }
            }
            _ => Role::Refused,
        });
    }
    if media.sources.is_empty() && media.slots.is_empty() {
        return Err(SdpError::Nothing);
    }
    let described = |source: &NegotiatedSource| source.payloads.iter().any(|p| p.codec == Codec::Av1);
    if !offer.allows_mixed || !media.sources.iter().any(described) {
        media.extensions.dependency = None;
    }
    Ok(Chosen { roles, media })
}

/// Most slots of sound and of pictures.
fn slots_max(config: &AnswerConfig<'_>) -> (u8, u8) {
    match config.client {
        ClientKind::Page => (AUDIO_SLOTS, config.profile.video_slots()),
        ClientKind::Publisher => (0, 0),
        ClientKind::Player => (1, 1),
    }
}

/// A player may offer to send too (`sendrecv`): it is not taken up on it.
fn is_slot(section: &Section, client: ClientKind) -> bool {
    match section.direction {
        Direction::RecvOnly => true,
        Direction::SendRecv => client == ClientKind::Player,
        Direction::SendOnly | Direction::Inactive => false,
    }
}

/// What a WHIP client sends: the first m-section of each kind that can be taken. It should say `sendonly` (RFC 9725 §4.2), some
/// say `sendrecv`. All of it or nothing: *else an encoder whose picture was refused is "live", and nobody is told that it sends
/// sound alone.*
fn first_sources(offer: &Offer, wanted: &[Codec]) -> Result<BTreeMap<ShortId, SourceKind>, SdpError> {
    let mut named = BTreeMap::new();
    for kind in [SourceKind::Mic, SourceKind::Camera] {
        let is_sent = |section: &&Section| {
            let sends = matches!(section.direction, Direction::SendOnly | Direction::SendRecv);
            sends && section.is_open && media_kind(section) == Some(kind.media())
        };
        let mut sent = offer.sections.iter().filter(is_sent).peekable();
        if sent.peek().is_none() {
            continue;
        }
        let first = sent.find(|section| !payloads(section, wanted, true).is_empty());
        named.insert(first.ok_or(SdpError::Codec)?.mid, kind);
    }
    Ok(named)
}

/// Which m-section of a page is which source. Each must be of its kind, and send.
fn named_sources(
    offer: &Offer,
    sources: &BTreeMap<SourceKind, String>,
) -> Result<BTreeMap<ShortId, SourceKind>, SdpError> {
    let mut named = BTreeMap::new();
    for (&kind, mid) in sources {
        let section = offer
            .sections
            .iter()
            .find(|s| s.mid.as_str() == mid)
            .ok_or(SdpError::Source)?;
        let sends = matches!(section.direction, Direction::SendOnly | Direction::SendRecv);
        let is_its_kind = media_kind(section) == Some(kind.media());
        if !sends || !is_its_kind || named.insert(section.mid, kind).is_some() {
            return Err(SdpError::Source);
        }
    }
    Ok(named)
}

fn media_kind(section: &Section) -> Option<MediaKind> {
    match section.media.as_str() {
        "audio" => Some(MediaKind::Audio),
        "video" => Some(MediaKind::Video),
        _ => None,
    }
}

/// Ids in the whole bundle. One id must mean one thing in all of it (RFC 9143 §10); where a URI has several ids, the
/// first is used. Of clients that are no pages (aiortc) an id with two meanings is passed over.
///
/// Orientation is left out on purpose: nothing forwards it, and without it browsers turn the picture themselves.
fn extension_ids(offer: &Offer, client: ClientKind) -> Result<ExtensionIds, SdpError> {
    let mut meanings: BTreeMap<u8, &str> = BTreeMap::new();
    let all = || {
        offer
            .sections
            .iter()
            .filter(|s| s.is_open)
            .flat_map(|s| &s.extensions)
    };
    let mut ambiguous = BTreeSet::new();
    for Extension { id, uri, .. } in all() {
        if *meanings.entry(*id).or_insert(uri) != uri {
            ambiguous.insert(*id);
        }
    }
    if client == ClientKind::Page && !ambiguous.is_empty() {
        return Err(SdpError::Extension);
    }
    let is_clear = |e: &&Extension| e.id <= 14 && !ambiguous.contains(&e.id);
    let id = |uri: &str| all().filter(is_clear).find(|e| e.uri == uri).map(|e| e.id);
    Ok(ExtensionIds {
        mid: id(MID),
        rid: id(RID),
        rrid: id(RRID),
        audio_level: id(AUDIO_LEVEL),
        transport_cc: id(TRANSPORT_CC),
        abs_send_time: None,
        orientation: None,
        playout_delay: id(PLAYOUT_DELAY),
        dependency: id(DEPENDENCY),
    })
}

/// The codecs accepted, each with its RTX; none of an m-section that is not open. A slot takes VP8 and all that the room wants; a source is given one to send
/// with, the first of those that the client has.
fn payloads(section: &Section, wanted: &[Codec], is_source: bool) -> Vec<PayloadType> {
    let mut codecs = match section.media.as_str() {
        _ if !section.is_open => return Vec::new(),
        "audio" => vec![Codec::Opus],
        "video" if is_source => [wanted, &[Codec::Vp8]].concat(),
        "video" => [&[Codec::Vp8], wanted].concat(),
        _ => return Vec::new(),
    };
    let mut seen = BTreeSet::new();
    codecs.retain(|codec| seen.insert(*codec));
    let found = codecs
        .into_iter()
        .filter_map(|codec| payload_type(section, codec));
    found.take(if is_source { 1 } else { usize::MAX }).collect()
}

/// Payload types of the m-line that can be told from RTCP on the same port (RFC 5761 §4): with the marker bit, 64 to 95 are packet types of that.
fn usable_types(section: &Section) -> impl Iterator<Item = u8> {
    let types = section.payload_types.iter().copied();
    types.filter(|pt| !(64..=95).contains(pt))
}

/// The first payload type of that codec that the m-line lists, in a form that we know.
fn payload_type(section: &Section, codec: Codec) -> Option<PayloadType> {
    let is_rtx = |pt: u8| {
        section
            .of_payload("rtpmap", pt)
            .any(|map| map.eq_ignore_ascii_case("rtx/90000"))
    };
    let types = || usable_types(section);
    let media =
        types().find(|&pt| rtpmap(section, pt, codec).is_some() && is_known_form(section, codec, pt))?;
    let repairs = |pt: u8| parameter(section, pt, "apt").is_some_and(|apt| apt.parse() == Ok(media));
    Some(PayloadType {
        codec,
        media,
        rtx: types().find(|&pt| codec != Codec::Opus && is_rtx(pt) && repairs(pt)),
    })
}

/// What `a=rtpmap` says of a payload type of that codec, in the words of the offer.
pub(super) fn rtpmap(section: &Section, payload_type: u8, codec: Codec) -> Option<&str> {
    let names = names(codec);
    section
        .of_payload("rtpmap", payload_type)
        .find(|map| names.iter().any(|name| map.eq_ignore_ascii_case(name)))
}

/// Name, clock and channels as `a=rtpmap` has them. Opus is one format whatever stands there (RFC 7587 §7 wants `/2`): *GStreamer
/// writes how many channels its microphone has, or nothing where it plays, and was mute.*
const fn names(codec: Codec) -> &'static [&'static str] {
    match codec {
        Codec::Opus => &["opus/48000/2", "opus/48000/1", "opus/48000"],
        Codec::Vp8 => &["VP8/90000"],
        Codec::H264 => &["H264/90000"],
        Codec::Vp9 => &["VP9/90000"],
        Codec::Av1 => &["AV1/90000"],
    }
}

/// A parameter of `a=fmtp`.
pub(super) fn parameter<'a>(section: &'a Section, payload_type: u8, name: &'a str) -> Option<&'a str> {
    let parameters = section
        .of_payload("fmtp", payload_type)
        .flat_map(|fmtp| fmtp.split(';'));
    parameters
        .filter_map(|p| p.trim().split_once('='))
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

/// The profile that all senders and receivers of the codec have.
fn is_known_form(section: &Section, codec: Codec, payload_type: u8) -> bool {
    let value = |name| parameter(section, payload_type, name);
    match codec {
        Codec::Opus | Codec::Vp8 => true,
        // RFC 6184 §8.1: constrained baseline is profile 66 with constraint_set1; fragments need mode 1.
        Codec::H264 => {
            let profile = value("profile-level-id").and_then(|id| u32::from_str_radix(id, 16).ok());
            value("packetization-mode") == Some("1")
                && profile.is_some_and(|id| id >> 16 == 0x42 && id & 0x4000 != 0)
        }
        Codec::Vp9 => value("profile-id").is_none_or(|profile| profile == "0"),
        Codec::Av1 => value("profile").is_none_or(|profile| profile == "0"),
    }
}

/// RED over the Opus that is accepted, if the m-line lists it: `red/48000/2` whose blocks are all of that type (RFC 2198 §5).
fn red(section: &Section, payloads: &[PayloadType]) -> Option<u8> {
    let opus = payloads.iter().find(|p| p.codec == Codec::Opus)?.media;
    usable_types(section).find(|&pt| {
        let is_red = section
            .of_payload("rtpmap", pt)
            .any(|map| map.eq_ignore_ascii_case("red/48000/2"));
        is_red
            && section
                .of_payload("fmtp", pt)
                .any(|types| types.split('/').all(|block| block.parse() == Ok(opus)))
    })
}

fn source(
    section: &Section,
    kind: SourceKind,
    payloads: Vec<PayloadType>,
    client: ClientKind,
) -> Result<NegotiatedSource, SdpError> {
    // Without a page the order of layers is anybody's: *of OBS, which writes the highest first, tiles got the largest picture.*
    let rids = if kind.media() == MediaKind::Video && client == ClientKind::Page {
        layers(section)?
    } else {
        Vec::new()
    };
    let rtx: BTreeMap<u32, u32> = section
        .values("ssrc-group")
        .filter_map(repair_pair)
        .take(SSRCS_MAX)
        .collect();
    let mut ssrcs: Vec<(Ssrc, Option<Ssrc>)> = Vec::new();
    for ssrc in offered_ssrcs(section) {
        let is_known = ssrcs.iter().any(|(known, _)| known.0 == ssrc) || rtx.values().any(|&r| r == ssrc);
        if !is_known && ssrcs.len() < SSRCS_MAX {
            ssrcs.push((Ssrc(ssrc), rtx.get(&ssrc).copied().map(Ssrc)));
        }
    }
    Ok(NegotiatedSource {
        kind,
        mid: section.mid,
        red: red(section, &payloads).filter(|_| kind == SourceKind::Mic),
        payloads,
        rids,
        ssrcs,
    })
}

/// `FID media rtx` (RFC 5576 §4.2).
fn repair_pair(group: &str) -> Option<(u32, u32)> {
    let mut words = group.strip_prefix("FID ")?.split_whitespace().map(str::parse);
    match (words.next(), words.next(), words.next()) {
        (Some(Ok(media)), Some(Ok(rtx)), None) => Some((media, rtx)),
        _ => None,
    }
}

fn offered_ssrcs(section: &Section) -> impl Iterator<Item = u32> {
    section
        .values("ssrc")
        .filter_map(|value| value.split(' ').next()?.parse().ok())
}

/// Restriction ids of `a=simulcast:send q;h;f` that have an `a=rid:x send` (RFC 8853). Of alternatives the first;
/// a layer that begins paused (`~`) counts. Our client writes the lowest first.
fn layers(section: &Section) -> Result<Vec<ShortId>, SdpError> {
    let Some(value) = section.values("simulcast").next() else {
        return Ok(Vec::new());
    };
    let mut words = value.split_whitespace();
    let list = std::iter::from_fn(|| Some((words.next()?, words.next()?))).find(|(way, _)| *way == "send");
    let named = list.map_or("", |(_, list)| list).split(';');
    if named.clone().count() > NAMED_LAYERS_MAX {
        return Err(SdpError::Simulcast);
    }
    let mut rids: Vec<ShortId> = Vec::new();
    for layer in named {
        let name = layer
            .split(',')
            .next()
            .unwrap_or_default()
            .trim_start_matches('~');
        let is_declared = section.values("rid").any(|rid| {
            let mut words = rid.split_whitespace();
            (words.next(), words.next()) == (Some(name), Some("send"))
        });
        let Some(rid) = ShortId::new(name.as_bytes()).filter(|_| is_declared) else {
            continue;
        };
        if rids.contains(&rid) || rids.len() >= LAYERS_MAX {
            return Err(SdpError::Simulcast);
        }
        rids.push(rid);
    }
    Ok(rids)
}

fn slot(
    section: &Section,
    slot: SlotId,
    payloads: Vec<PayloadType>,
    ssrcs: &mut Ssrcs<'_>,
    described: Option<u8>,
) -> NegotiatedSlot {
    let has_rtx = payloads.iter().any(|p| p.rtx.is_some());
    let ssrc = ssrcs.next();
    let reads = |e: &Extension| !matches!(e.direction, Some(Direction::SendOnly | Direction::Inactive));
    let takes_descriptor = payloads.iter().any(|p| p.codec == Codec::Av1)
        && section
            .extensions
            .iter()
            .any(|e| e.uri == DEPENDENCY && Some(e.id) == described && reads(e));
    NegotiatedSlot {
        dependency: described.filter(|_| takes_descriptor),
        slot,
        mid: section.mid,
        ssrc,
        rtx_ssrc: has_rtx.then(|| ssrcs.next()),
        red: red(section, &payloads),
        payloads,
    }
}

/// Makes SSRCs that nobody in this session has.
struct Ssrcs<'a> {
    used: BTreeSet<u32>,
    random: &'a mut dyn FnMut() -> u32,
}

impl<'a> Ssrcs<'a> {
    fn of(offer: &Offer, random: &'a mut dyn FnMut() -> u32) -> Self {
        Self {
            used: offer.sections.iter().flat_map(offered_ssrcs).chain([0]).collect(),
            random,
        }
    }

    /// Counts up from a random number, so that it ends whatever the source of chance gives.
    fn next(&mut self) -> Ssrc {
        let mut ssrc = (self.random)();
        while !self.used.insert(ssrc) {
            ssrc = ssrc.wrapping_add(1);
        }
        Ssrc(ssrc)
    }
}
