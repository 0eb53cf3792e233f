//! Offer and answer (RFC 9429, RFC 8866), always in this order and once: the client offers, the node answers, and the
//! only later offer is an ICE restart.
//!
//! [`answer`] reads the offer ([`offer`]), decides about each m-section ([`choose`]) and writes the answer ([`write`]).
//! What the offer has and we do not want is left out; an m-section nobody needs is answered with port 0.
//!
//! # The shape of an answer
//! ICE-lite, one bundle, `setup:passive`, the candidates in every m-section, ids and payload types always the offer's.
//! Each slot has its SSRC for life. `a0` and `v0`, the stage pair, share the MediaStream `stage` and the CNAME `stage`,
//! so that the browser keeps lips and voice together; every other slot is a stream with a CNAME of its own, its id.

mod choose;
mod offer;
#[cfg(test)]
mod tests;
mod write;

use std::{collections::BTreeMap, net::SocketAddr};

use super::{Fingerprint, ice::IceCredentials};
use crate::{
    control::{ClientKind, OFFER_BYTES_MAX, Profile, VideoCodec},
    engine::{
        id::{SlotId, SourceKind},
        packet::Negotiated,
    },
    wire::sdpfrag,
};
pub use write::Plan;

/// Most m-sections of an offer.
pub const SECTIONS_MAX: usize = 64;

/// What an answer is made with.
pub struct AnswerConfig<'a> {
    /// Ours, for this peer.
    pub ice: &'a IceCredentials,
    /// Of our certificate.
    pub fingerprint: Fingerprint,
    /// Addresses the client may send to, best first. More than [`CANDIDATES_MAX`] are cut off.
    pub candidates: &'a [SocketAddr],
    /// Whose offer it is.
    pub client: ClientKind,
    /// How many slots a page gets.
    pub profile: Profile,
    /// Codecs of pictures that the room has, the wanted first. VP8 is always one of them.
    pub video: &'a [VideoCodec],
    /// Which m-section of a page is which source.
    pub sources: &'a BTreeMap<SourceKind, String>,
    /// Random numbers: SSRCs are made of them, each unlike any other of this endpoint.
    pub random: &'a mut dyn FnMut() -> u32,
}

/// Most candidates of an answer: they stand in every m-section.
pub const CANDIDATES_MAX: usize = 8;

/// An answered offer.
#[derive(Debug, Clone)]
pub struct Answered {
    /// The answer.
    pub sdp: String,
    /// The m-section of each slot.
    pub slots: BTreeMap<SlotId, String>,
    /// What was agreed.
    pub media: Negotiated,
    /// The certificate the client will show.
    pub remote: Fingerprint,
    /// What an ICE restart needs of it. Keep it with the peer.
    pub plan: Plan,
}

/// Why an offer cannot be answered. The text names the line, never its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// Longer than [`crate::control::OFFER_BYTES_MAX`].
    #[error("too long")]
    TooLong,
    /// More than [`SECTIONS_MAX`] m-sections, or more attributes than browsers write.
    #[error("too many m-sections")]
    TooManySections,
    /// No SDP.
    #[error("not SDP")]
    Syntax,
    /// No SHA-256 `a=fingerprint`, one that cannot be read, or two different ones.
    #[error("a=fingerprint")]
    Fingerprint,
    /// No `a=ice-ufrag` or `a=ice-pwd` for the bundle, out of range, or several different ones.
    #[error("a=ice-ufrag or a=ice-pwd")]
    Ice,
    /// `a=setup` is not `actpass` or `active`: the client must send the ClientHello.
    #[error("a=setup")]
    Setup,
    /// An m-section without `a=mid`, with one out of range, or with that of another.
    #[error("a=mid")]
    Mid,
    /// `a=group:BUNDLE` names more than [`SECTIONS_MAX`] m-sections.
    #[error("a=group:BUNDLE")]
    Bundle,
    /// A payload type that is no number up to 127, or more of them on an m-line than there are.
    #[error("payload type")]
    PayloadType,
    /// An `a=extmap` that cannot be read, with id 0, or with an id that means something else elsewhere.
    #[error("a=extmap")]
    Extension,
    /// `a=simulcast` with more than three layers, with one twice, or with more than 16 names.
    #[error("a=simulcast")]
    Simulcast,
    /// A named source is no m-section of its kind that sends, or is named twice.
    #[error("sources")]
    Source,
    /// A client without a page sends sound or pictures in no codec that the room has.
    #[error("no codec of this room")]
    Codec,
    /// Nothing of it can be accepted.
    #[error("nothing to accept")]
    Nothing,
    /// A second offer that is no ICE restart of the first: other m-sections, other certificate, or the same ufrag.
    #[error("not an ICE restart")]
    NotRestart,
}

/// Answers the offer of a newcomer.
pub fn answer(offer: &str, config: &mut AnswerConfig<'_>) -> Result<Answered, SdpError> {
    let offer = offer::Offer::parse(offer)?;
    let chosen = choose::choose(&offer, config)?;
    let plan = Plan::new(&offer, &chosen, config);
    Ok(Answered {
        sdp: plan.write(config.ice),
        slots: chosen
            .media
            .slots
            .iter()
            .map(|s| (s.slot, s.mid.as_str().to_owned()))
            .collect(),
        media: chosen.media,
        remote: offer.fingerprint,
        plan,
    })
}

/// Answers the offer of an ICE restart with new credentials of ours: everything else stays, the version grows by one.
/// An error changes nothing.
pub fn answer_restart(offer: &str, plan: &mut Plan, ice: &IceCredentials) -> Result<String, SdpError> {
    let offer = offer::Offer::parse(offer)?;
    plan.restart(&offer)?;
    Ok(plan.write(ice))
}

/// Answers an ICE restart that says nothing but new credentials (RFC 9725 §4.3.3), in the same form. An error changes nothing.
pub fn answer_fragment(fragment: &str, plan: &mut Plan, ice: &IceCredentials) -> Result<String, SdpError> {
    if fragment.len() > OFFER_BYTES_MAX {
        return Err(SdpError::TooLong);
    }
    let fragment = sdpfrag::parse(fragment).ok_or(SdpError::Ice)?;
    plan.restart_ice(fragment.ufrag)?;
    Ok(plan.write_fragment(ice))
}
