//! Reads an offer: what is said in it, checked, with session-level values brought down to the m-sections.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Cursor,
};

use rtc::sdp::description::{common::Attribute, media::MediaDescription, session::SessionDescription};

use super::{Fingerprint, SECTIONS_MAX, SdpError};
use crate::{control::OFFER_BYTES_MAX, engine::id::ShortId};

/// Most attributes of an m-section, or of the session. Browsers with all their codecs write about 150. A longer one is refused.
const ATTRIBUTES_MAX: usize = 1_024;

/// Most formats of an m-line: there are no more payload types. A longer one is refused.
const FORMATS_MAX: usize = 128;

/// A checked offer.
pub(super) struct Offer {
    pub(super) fingerprint: Fingerprint,
    /// The client's. The node never checks, so it needs the ufrag only to know an ICE restart.
    pub(super) ufrag: String,
    /// The client takes both forms of header extensions in one stream (RFC 8285 §6).
    pub(super) allows_mixed: bool,
    pub(super) sections: Vec<Section>,
}

/// Who sends in an m-section, as the client sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

impl Direction {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "sendrecv" => Some(Self::SendRecv),
            "sendonly" => Some(Self::SendOnly),
            "recvonly" => Some(Self::RecvOnly),
            "inactive" => Some(Self::Inactive),
            _ => None,
        }
    }

    /// As the other side says it.
    pub(super) fn mirrored(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "recvonly",
            Self::RecvOnly => "sendonly",
            Self::Inactive => "inactive",
        }
    }
}

/// A header extension (RFC 8285 §5).
pub(super) struct Extension {
    pub(super) id: u8,
    pub(super) direction: Option<Direction>,
    pub(super) uri: String,
}

/// An m-section.
pub(super) struct Section {
    /// `audio`, `video`, `application` or another word.
    pub(super) media: String,
    pub(super) protocol: String,
    pub(super) formats: Vec<String>,
    pub(super) mid: ShortId,
    pub(super) direction: Direction,
    /// RTP over DTLS in the bundle, multiplexed with RTCP, and not rejected by the client.
    pub(super) is_open: bool,
    /// The payload types of an RTP section, each once.
    pub(super) payload_types: Vec<u8>,
    pub(super) extensions: Vec<Extension>,
    attributes: Vec<Attribute>,
    /// Places of the attributes that say something of a payload type; `None`: of all of them.
    by_payload: BTreeMap<Option<u8>, Vec<usize>>,
}

impl Section {
    /// Values of all attributes of that name.
    pub(super) fn values<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        values(&self.attributes, key)
    }

    /// What an attribute such as `rtpmap:111 opus/48000/2` says of a payload type.
    pub(super) fn of_payload<'a>(&'a self, key: &'a str, payload_type: u8) -> impl Iterator<Item = &'a str> {
        let places = [Some(payload_type), None].map(|which| self.by_payload.get(&which));
        let attributes = places
            .into_iter()
            .flatten()
            .flatten()
            .map(|&at| &self.attributes[at]);
        attributes
            .filter(move |a| a.key == key)
            .filter_map(|a| Some(of_what(a)?.1))
    }
}

/// What an attribute speaks of, and what it says of it.
fn of_what(attribute: &Attribute) -> Option<(&str, &str)> {
    let (what, rest) = attribute.value.as_deref()?.trim().split_once(' ')?;
    Some((what, rest.trim()))
}

/// Each attribute is read once, and not once for each payload type: a long offer must not hold up the node.
fn by_payload(attributes: &[Attribute]) -> BTreeMap<Option<u8>, Vec<usize>> {
    let mut places: BTreeMap<Option<u8>, Vec<usize>> = BTreeMap::new();
    for (at, attribute) in attributes.iter().enumerate() {
        let Some((what, _)) = of_what(attribute) else {
            continue;
        };
        let which = what.parse().ok();
        if which.is_none() && (what != "*" || attribute.key != "rtcp-fb") {
            continue;
        }
        places.entry(which).or_default().push(at);
    }
    places
}

fn values<'a>(attributes: &'a [Attribute], key: &'a str) -> impl Iterator<Item = &'a str> {
    attributes
        .iter()
        .filter(move |a| a.key == key)
        .filter_map(|a| a.value.as_deref())
        .map(str::trim)
}

fn has(attributes: &[Attribute], key: &str) -> bool {
    attributes.iter().any(|a| a.key == key)
}

impl Offer {
    /// Reads and checks an offer.
    pub(super) fn parse(text: &str) -> Result<Self, SdpError> {
        if text.len() > OFFER_BYTES_MAX {
            return Err(SdpError::TooLong);
        }
        let count = text
            .split(['\r', '\n'])
            .filter(|line| line.starts_with("m="))
            .count();
        if count > SECTIONS_MAX {
            return Err(SdpError::TooManySections);
        }
        let session =
            SessionDescription::unmarshal(&mut Cursor::new(text.as_bytes())).map_err(|_| SdpError::Syntax)?;
        let media = &session.media_descriptions;
        let is_long = |attributes: &[Attribute]| attributes.len() > ATTRIBUTES_MAX;
        let are_long = is_long(&session.attributes) || media.iter().any(|m| is_long(&m.attributes));
        if media.len() > SECTIONS_MAX || are_long {
            return Err(SdpError::TooManySections);
        }
        let bundle: Vec<&str> = values(&session.attributes, "group")
            .filter_map(|group| group.strip_prefix("BUNDLE"))
            .flat_map(str::split_whitespace)
            .collect();
        if bundle.len() > SECTIONS_MAX {
            return Err(SdpError::Bundle);
        }
        let mut mids = BTreeSet::new();
        let mut sections = Vec::with_capacity(media.len());
        for description in media {
            let section = read_section(&session, description, &bundle)?;
            if !mids.insert(section.mid) {
                return Err(SdpError::Mid);
            }
            sections.push(section);
        }
        let (ufrag, _) = read_ice(&session, &bundle)?;
        // RFC 8285 §6: for all of the session, as Chromium writes it, or in each section, as Firefox does.
        let mixes = |attributes: &[Attribute]| has(attributes, "extmap-allow-mixed");
        let mut open = media.iter().zip(&sections).filter(|(_, section)| section.is_open);
        let allows_mixed = mixes(&session.attributes) || open.all(|(media, _)| mixes(&media.attributes));
        Ok(Self {
            fingerprint: read_fingerprint(&session)?,
            ufrag,
            allows_mixed,
            sections,
        })
    }
}

fn read_section(
    session: &SessionDescription,
    description: &MediaDescription,
    bundle: &[&str],
) -> Result<Section, SdpError> {
    let attributes = &description.attributes;
    let name = &description.media_name;
    let mid = values(attributes, "mid")
        .next()
        .and_then(|mid| ShortId::new(mid.as_bytes()))
        .ok_or(SdpError::Mid)?;
    let direction = [attributes, &session.attributes]
        .into_iter()
        .find_map(|list| list.iter().find_map(|a| Direction::parse(&a.key)))
        .unwrap_or(Direction::SendRecv);
    let is_rtp = name.protos.iter().any(|p| p.ends_with("RTP")) && name.protos.iter().any(|p| p == "SAVPF");
    if name.formats.len() > FORMATS_MAX {
        return Err(SdpError::PayloadType);
    }
    let mut payload_types = match is_rtp {
        true => name
            .formats
            .iter()
            .map(|f| payload_type(f))
            .collect::<Result<_, _>>()?,
        false => Vec::new(),
    };
    let mut seen = BTreeSet::new();
    payload_types.retain(|&payload_type| seen.insert(payload_type));
    // With `max-bundle` Firefox writes port 0 and `a=bundle-only` for all but the first (RFC 9143 §6).
    let is_rejected = name.port.value == 0 && !has(attributes, "bundle-only");
    let is_bundled = bundle.contains(&mid.as_str()) && has(attributes, "rtcp-mux");
    let is_open = is_rtp && !is_rejected && is_bundled;
    if is_open {
        check_setup(session, description)?;
    }
    Ok(Section {
        media: name.media.clone(),
        protocol: name.protos.join("/"),
        formats: name.formats.clone(),
        mid,
        direction,
        is_open,
        payload_types,
        extensions: values(attributes, "extmap")
            .map(read_extension)
            .collect::<Result<_, _>>()?,
        attributes: attributes.clone(),
        by_payload: by_payload(attributes),
    })
}

fn payload_type(format: &str) -> Result<u8, SdpError> {
    format
        .parse()
        .ok()
        .filter(|&pt| pt <= 127)
        .ok_or(SdpError::PayloadType)
}

/// We are passive: the client must be ready to send the ClientHello (RFC 8842 §5.1). The first offer of a client and its
/// restarts say `actpass`.
fn check_setup(session: &SessionDescription, description: &MediaDescription) -> Result<(), SdpError> {
    let mut setup = values(&description.attributes, "setup").chain(values(&session.attributes, "setup"));
    match setup.next() {
        Some("actpass" | "active") => Ok(()),
        _ => Err(SdpError::Setup),
    }
}

/// `ID[/direction] URI [attributes]`. Ids above 14 need two-byte headers, which are never answered: left to be ignored.
fn read_extension(value: &str) -> Result<Extension, SdpError> {
    let mut words = value.split_whitespace();
    let (Some(first), Some(uri)) = (words.next(), words.next()) else {
        return Err(SdpError::Extension);
    };
    let (id, direction) = match first.split_once('/') {
        Some((id, direction)) => (id, Some(Direction::parse(direction).ok_or(SdpError::Extension)?)),
        None => (first, None),
    };
    match id.parse::<u8>() {
        Ok(id) if id != 0 => Ok(Extension {
            id,
            direction,
            uri: uri.to_owned(),
        }),
        _ => Err(SdpError::Extension),
    }
}

/// An attribute wherever it stands, at session level or in any m-section.
fn anywhere<'a>(session: &'a SessionDescription, key: &'a str) -> impl Iterator<Item = &'a str> {
    let media = session
        .media_descriptions
        .iter()
        .flat_map(move |m| values(&m.attributes, key));
    values(&session.attributes, key).chain(media)
}

/// The one SHA-256 fingerprint; other hashes may stand beside it.
fn read_fingerprint(session: &SessionDescription) -> Result<Fingerprint, SdpError> {
    let mut found = None;
    for value in anywhere(session, "fingerprint") {
        let Some((hash, digits)) = value.split_once(' ') else {
            return Err(SdpError::Fingerprint);
        };
        if hash.eq_ignore_ascii_case("sha-256") {
            let fingerprint = Fingerprint::parse(digits.trim()).ok_or(SdpError::Fingerprint)?;
            if *found.get_or_insert(fingerprint) != fingerprint {
                return Err(SdpError::Fingerprint);
            }
        }
    }
    found.ok_or(SdpError::Fingerprint)
}

/// The client's credentials: those of the m-section that the bundle names first count for all of it (RFC 9143 §7.1.2), for
/// the others may still have their own, as those of aiortc do. Lengths: RFC 8839 §5.4.
fn read_ice(session: &SessionDescription, bundle: &[&str]) -> Result<(String, String), SdpError> {
    let media = &session.media_descriptions;
    let is_first = |m: &&MediaDescription| values(&m.attributes, "mid").next() == bundle.first().copied();
    let first = media.iter().find(is_first).or(media.first());
    let one = |key, lengths: std::ops::RangeInclusive<usize>| {
        let own: BTreeSet<&str> = first
            .into_iter()
            .flat_map(|m| values(&m.attributes, key))
            .collect();
        let all = if own.is_empty() {
            values(&session.attributes, key).collect()
        } else {
            own
        };
        let mut all = all.into_iter();
        match (all.next(), all.next()) {
            (Some(value), None) if lengths.contains(&value.len()) => Ok(value.to_owned()),
            _ => Err(SdpError::Ice),
        }
    };
    Ok((one("ice-ufrag", 4..=256)?, one("ice-pwd", 22..=256)?))
}
