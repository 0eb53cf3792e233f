//! Which SSRC is what: streams are learnt from what their packets say of themselves, and remembered.
//!
//! Browsers write `mid`, `rid` and `repaired-rtp-stream-id` (RFC 8852, RFC 8843 §15) only into the first packets of a
//! stream. RTX may come before any media of its layer. So a packet is told by its payload type and these ids, never by
//! the order of arrival; a client without the ids is told by the SSRCs of its offer, and if it has none there by payload
//! types that one source alone has (RFC 9143 §9.2).

use super::{
    id::{MediaKind, ShortId, SourceKind, Ssrc},
    packet::{Codec, ExtensionIds, Negotiated, NegotiatedSource, PayloadType},
};
use crate::wire::rtp::RtpPacket;

/// Simulcast layers of a source; more rids than that are left out, their packets are unknown.
pub(super) const LAYERS_MAX: usize = 3;
/// Layers of an endpoint: camera and screen of three, two of sound. What an offer has beyond is unknown. With their repairs
/// these are sixteen streams.
const LAYERS_ALL_MAX: usize = 8;
/// Sources of an endpoint, one of each kind.
const SOURCES_MAX: usize = 4;

/// A layer stream or the repairs of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Media,
    Repair,
}

/// What a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    /// Index into [`Streams::layers`].
    pub(super) layer: usize,
    pub(super) role: Role,
    /// The codec; of RTX that of the packet in it.
    pub(super) codec: Codec,
    /// It is RED: its payload has other packets of the codec in it.
    pub(super) redundant: bool,
    /// Its SSRC is not the one known for this layer and role.
    pub(super) new: bool,
}

/// A layer that was negotiated.
#[derive(Debug, Clone, Copy)]
pub(super) struct LayerId {
    pub(super) source: SourceKind,
    pub(super) layer: u8,
    pub(super) layers: u8,
    /// Lost packets are asked for.
    pub(super) repairable: bool,
    rid: Option<ShortId>,
    /// Index into [`Streams::sources`].
    index: usize,
    media: Option<Ssrc>,
    repair: Option<Ssrc>,
}

/// The streams of an endpoint: for each layer at most one SSRC of media and one of repairs.
#[derive(Debug)]
pub(super) struct Streams {
    extensions: ExtensionIds,
    sources: Vec<NegotiatedSource>,
    layers: Vec<LayerId>,
}

impl Streams {
    /// All that an answered offer lets the endpoint send.
    pub(super) fn new(media: &Negotiated) -> Self {
        let sources: Vec<_> = media.sources.iter().take(SOURCES_MAX).cloned().collect();
        let layers = sources
            .iter()
            .enumerate()
            .flat_map(|(i, source)| layers(i, source))
            .take(LAYERS_ALL_MAX)
            .collect();
        Self {
            extensions: media.extensions,
            sources,
            layers,
        }
    }

    /// The layers, in the order of the offer.
    pub(super) fn layers(&self) -> &[LayerId] {
        &self.layers
    }

    /// The layer whose media has that SSRC.
    pub(super) fn by_media_ssrc(&self, ssrc: Ssrc) -> Option<usize> {
        self.layers.iter().position(|l| l.media == Some(ssrc))
    }

    /// What that packet is; none if nothing that was negotiated.
    pub(super) fn identify(&self, packet: &RtpPacket<'_>) -> Option<Identity> {
        let ssrc = Ssrc(packet.ssrc());
        if let Some((layer, role)) = self.known(ssrc) {
            let source = &self.sources[self.layers[layer].index];
            let (codec, typed) = codec(source, packet.payload_type())?;
            return (typed == role).then_some(Identity {
                layer,
                role,
                codec,
                redundant: source.red == Some(packet.payload_type()),
                new: false,
            });
        }
        let (index, named) = self.source_of(packet, ssrc)?;
        let (codec, role) = codec(&self.sources[index], packet.payload_type())?;
        let layer = match named {
            Some(layer) => layer,
            None => self.layer_of(packet, index, role)?,
        };
        Some(Identity {
            layer,
            role,
            codec,
            redundant: self.sources[index].red == Some(packet.payload_type()),
            new: true,
        })
    }

    /// Blocks of RED in that layer may have that payload type.
    pub(super) fn is_opus(&self, layer: usize, payload_type: u8) -> bool {
        let payloads = &self.sources[self.layers[layer].index].payloads;
        payloads
            .iter()
            .any(|p| p.codec == Codec::Opus && p.media == payload_type)
    }

    /// Remembers the SSRC; the former one of that layer and role is forgotten, and only so is any.
    pub(super) fn learn(&mut self, ssrc: Ssrc, layer: usize, role: Role) {
        let layer = &mut self.layers[layer];
        match role {
            Role::Media => layer.media = Some(ssrc),
            Role::Repair => layer.repair = Some(ssrc),
        }
    }

    fn known(&self, ssrc: Ssrc) -> Option<(usize, Role)> {
        self.layers.iter().enumerate().find_map(|(i, l)| match ssrc {
            _ if l.media == Some(ssrc) => Some((i, Role::Media)),
            _ if l.repair == Some(ssrc) => Some((i, Role::Repair)),
            _ => None,
        })
    }

    /// The source, and the layer if the offer names the SSRC.
    fn source_of(&self, packet: &RtpPacket<'_>, ssrc: Ssrc) -> Option<(usize, Option<usize>)> {
        if let Some(mid) = extension_id(packet, self.extensions.mid) {
            return Some((self.sources.iter().position(|s| s.mid == mid)?, None));
        }
        let by_ssrc = self.sources.iter().enumerate().find_map(|(index, source)| {
            let place = source
                .ssrcs
                .iter()
                .position(|&(media, rtx)| media == ssrc || rtx == Some(ssrc))?;
            let layer = self
                .layers
                .iter()
                .position(|l| l.index == index && usize::from(l.layer) == place)?;
            Some((index, Some(layer)))
        });
        by_ssrc.or_else(|| Some((self.only_one_with(packet.payload_type())?, None)))
    }

    /// The only source that has the payload type and no SSRC in the offer.
    fn only_one_with(&self, payload_type: u8) -> Option<usize> {
        let is_it =
            |source: &NegotiatedSource| source.ssrcs.is_empty() && codec(source, payload_type).is_some();
        let mut found = (0..self.sources.len()).filter(|&at| is_it(&self.sources[at]));
        found.next().filter(|_| found.next().is_none())
    }

    fn layer_of(&self, packet: &RtpPacket<'_>, index: usize, role: Role) -> Option<usize> {
        let id = match role {
            Role::Media => self.extensions.rid,
            Role::Repair => self.extensions.rrid,
        };
        let rid = extension_id(packet, id);
        // Without simulcast there is one layer and no rid; what a client then writes there names nothing.
        self.layers
            .iter()
            .position(|l| l.index == index && (l.rid.is_none() || l.rid == rid))
    }
}

fn layers(index: usize, source: &NegotiatedSource) -> impl Iterator<Item = LayerId> {
    let count = source.rids.len().clamp(1, LAYERS_MAX);
    let rtx = source.payloads.iter().any(|p| p.rtx.is_some());
    let repairable = rtx || source.media() == MediaKind::Video;
    (0..count).map(move |layer| LayerId {
        source: source.kind,
        layer: layer as u8,
        layers: count as u8,
        repairable,
        rid: source.rids.get(layer).copied(),
        index,
        media: None,
        repair: None,
    })
}

fn codec(source: &NegotiatedSource, payload_type: u8) -> Option<(Codec, Role)> {
    if source.red == Some(payload_type) {
        return Some((Codec::Opus, Role::Media));
    }
    source
        .payloads
        .iter()
        .find_map(|&PayloadType { codec, media, rtx }| match payload_type {
            t if t == media => Some((codec, Role::Media)),
            t if rtx == Some(t) => Some((codec, Role::Repair)),
            _ => None,
        })
}

fn extension_id(packet: &RtpPacket<'_>, id: Option<u8>) -> Option<ShortId> {
    packet.extension(id?).and_then(ShortId::new)
}
