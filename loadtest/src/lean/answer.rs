//! What a lean point writes in its offer, and reads of the path in the answer (RFC 8839, RFC 8842, RFC 8853).

use std::{fmt::Write as _, net::SocketAddr};

use anyhow::Context as _;
use rand::RngExt as _;

use crate::{
    clip::RIDS,
    sdp::{URI_AUDIO_LEVEL, URI_MID, URI_RID, URI_RRID, URI_TRANSPORT_CC},
    sender::{PT_OPUS, PT_RTX, PT_VP8, Ssrcs},
};

/// ICE credentials of a point (RFC 8839 section 5.4).
#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    pub(super) ufrag: String,
    pub(super) password: String,
}

impl Credentials {
    pub(super) fn random(rng: &mut impl rand::Rng) -> Self {
        let mut word = |length| -> String {
            (0..length)
                .map(|_| char::from(b'a' + rng.random_range(0..26)))
                .collect()
        };
        Self {
            ufrag: word(8),
            password: word(24),
        }
    }
}

/// What is in an offer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sections<'s> {
    /// Sends a microphone.
    pub(crate) mic: bool,
    /// Sends a camera in as many layers as there are SSRCs; none: no camera.
    pub(crate) ssrcs: &'s Ssrcs,
    /// Slots for voices.
    pub(crate) voices: usize,
    /// Slots for pictures.
    pub(crate) pictures: usize,
}

/// Whom to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Remote {
    pub(super) address: SocketAddr,
    pub(super) ufrag: String,
    pub(super) password: String,
    /// It begins the handshake of DTLS, as those who answer may choose (RFC 8842 section 5.3); else we do. Who answers `actpass`, which is no answer,
    /// does so as well (Janus).
    pub(super) begins: bool,
}

impl Remote {
    /// Of an answer: its credentials and, of its candidates over UDP, the loopback for a server on this machine, else the first that is
    /// none, of IPv4 where there is one, as our sockets are.
    pub(super) fn read(answer: &str, local: bool) -> anyhow::Result<Self> {
        let line = |name: &str| {
            let mut lines = answer.lines();
            lines.find_map(|line| line.trim_end().strip_prefix(name))
        };
        let mut addresses: Vec<SocketAddr> = answer
            .lines()
            .filter_map(|line| line.trim_end().strip_prefix("a=candidate:"))
            .filter_map(candidate)
            .collect();
        addresses.sort_by_key(|address| match local {
            true => (!address.ip().is_loopback(), false),
            false => (address.ip().is_loopback(), address.is_ipv6()),
        });
        Ok(Self {
            address: *addresses.first().context("the answer has no candidate")?,
            ufrag: line("a=ice-ufrag:")
                .context("the answer has no ufrag")?
                .to_owned(),
            password: line("a=ice-pwd:")
                .context("the answer has no password")?
                .to_owned(),
            begins: matches!(line("a=setup:"), Some("active" | "actpass")),
        })
    }
}

/// Address of a candidate over UDP (RFC 8839 section 5.1).
fn candidate(value: &str) -> Option<SocketAddr> {
    let words: Vec<&str> = value.split_ascii_whitespace().collect();
    let [_, _, transport, _, host, port, ..] = words[..] else {
        return None;
    };
    if !transport.eq_ignore_ascii_case("udp") {
        return None;
    }
    Some(SocketAddr::new(host.parse().ok()?, port.parse().ok()?))
}

/// The offer: sources first, then voices, then pictures; the mid of a section is its place.
pub(super) fn offer(credentials: &Credentials, fingerprint: &str, sections: &Sections<'_>) -> String {
    let Sections {
        mic,
        ssrcs,
        voices,
        pictures,
    } = *sections;
    let mut kinds = Vec::new();
    kinds.extend(mic.then_some((false, true)));
    kinds.extend((!ssrcs.layers.is_empty()).then_some((true, true)));
    kinds.extend(std::iter::repeat_n((false, false), voices));
    kinds.extend(std::iter::repeat_n((true, false), pictures));
    let mids: Vec<String> = (0..kinds.len()).map(|mid| mid.to_string()).collect();
    let mut out = format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {}\r\na=extmap-allow-mixed\r\n",
        mids.join(" ")
    );
    for ((video, sends), mid) in kinds.into_iter().zip(mids) {
        let _ = write!(
            out,
            "m={}\r\nc=IN IP4 0.0.0.0\r\na=mid:{mid}\r\na={}\r\na=rtcp-mux\r\na=rtcp-rsize\r\na=ice-ufrag:{}\r\n\
             a=ice-pwd:{}\r\na=fingerprint:sha-256 {fingerprint}\r\na=setup:actpass\r\n{}",
            media(video),
            if sends { "sendonly" } else { "recvonly" },
            credentials.ufrag,
            credentials.password,
            codecs(video),
        );
        match (video, sends) {
            (true, true) => out.push_str(&layers(ssrcs)),
            (false, true) => {
                let _ = write!(out, "a=ssrc:{} cname:point\r\n", ssrcs.mic);
            }
            (_, false) => {}
        }
    }
    out
}

fn media(video: bool) -> String {
    match video {
        true => format!("video 9 UDP/TLS/RTP/SAVPF {PT_VP8} {PT_RTX}"),
        false => format!("audio 9 UDP/TLS/RTP/SAVPF {PT_OPUS}"),
    }
}

fn codecs(video: bool) -> String {
    let extensions = format!("a=extmap:3 {URI_TRANSPORT_CC}\r\na=extmap:9 {URI_MID}\r\n");
    match video {
        true => format!(
            "{extensions}a=extmap:10 {URI_RID}\r\na=extmap:11 {URI_RRID}\r\na=rtpmap:{PT_VP8} VP8/90000\r\n\
             a=rtcp-fb:{PT_VP8} transport-cc\r\na=rtcp-fb:{PT_VP8} ccm fir\r\na=rtcp-fb:{PT_VP8} nack\r\n\
             a=rtcp-fb:{PT_VP8} nack pli\r\na=rtpmap:{PT_RTX} rtx/90000\r\na=fmtp:{PT_RTX} apt={PT_VP8}\r\n"
        ),
        false => format!(
            "{extensions}a=extmap:1 {URI_AUDIO_LEVEL}\r\na=rtpmap:{PT_OPUS} opus/48000/2\r\n\
             a=fmtp:{PT_OPUS} minptime=10;useinbandfec=1\r\na=rtcp-fb:{PT_OPUS} transport-cc\r\n"
        ),
    }
}

/// One layer is named by its SSRCs, several by their rids.
fn layers(ssrcs: &Ssrcs) -> String {
    if let [(media, rtx)] = ssrcs.layers[..] {
        return format!(
            "a=ssrc-group:FID {media} {rtx}\r\na=ssrc:{media} cname:point\r\na=ssrc:{rtx} cname:point\r\n"
        );
    }
    let rids = &RIDS[..ssrcs.layers.len()];
    let lines: String = rids.iter().map(|rid| format!("a=rid:{rid} send\r\n")).collect();
    format!("{lines}a=simulcast:send {}\r\n", rids.join(";"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sdp;

    #[test]
    fn an_offer_has_its_sources_before_its_slots() {
        let credentials = Credentials {
            ufrag: "abcd".into(),
            password: "0123456789abcdef01234567".into(),
        };
        let ssrcs = Ssrcs {
            mic: 16,
            layers: vec![(17, 18), (19, 20), (21, 22)],
        };
        let sections = Sections {
            mic: true,
            ssrcs: &ssrcs,
            voices: 2,
            pictures: 1,
        };
        let text = offer(&credentials, "AB:CD", &sections);
        assert_eq!(sdp::mids(&text), ["0", "1", "2", "3", "4"]);
        let heads: Vec<&str> = text.lines().filter(|line| line.starts_with("m=")).collect();
        assert!(heads[0].starts_with("m=audio") && heads[1].starts_with("m=video"));
        assert!(heads[3].starts_with("m=audio") && heads[4].starts_with("m=video"));
        assert!(text.contains("a=simulcast:send q;h;f\r\n"));
        let one = Ssrcs {
            mic: 16,
            layers: vec![(17, 18)],
        };
        let text = offer(
            &credentials,
            "AB:CD",
            &Sections {
                mic: false,
                ssrcs: &one,
                ..sections
            },
        );
        assert!(text.contains("a=ssrc-group:FID 17 18\r\n") && !text.contains("simulcast"));
    }

    #[test]
    fn the_path_is_read_and_the_loopback_wanted_on_this_machine() {
        let answer = "a=ice-ufrag:ab\r\na=ice-pwd:cd\r\na=candidate:1 1 udp 2130706431 192.0.2.1 7882 typ host\r\n\
                      a=candidate:2 1 tcp 1 192.0.2.9 9 typ host tcptype passive\r\na=candidate:nonsense\r\n\
                      a=candidate:3 1 UDP 2130706175 127.0.0.1 7882 typ host\r\n";
        let address = |local| Remote::read(answer, local).unwrap().address.to_string();
        assert_eq!(address(true), "127.0.0.1:7882");
        assert_eq!(address(false), "192.0.2.1:7882");
        let first =
            "a=candidate:8 1 udp 9 127.0.0.1 1 typ host\r\na=candidate:9 1 udp 9 2001:db8::1 1 typ host\r\n";
        let read = Remote::read(&format!("{first}{answer}"), false).unwrap();
        assert_eq!(read.address.to_string(), "192.0.2.1:7882");
        let begins = |setup: &str| Remote::read(&format!("{answer}{setup}"), true).unwrap().begins;
        assert!(begins("a=setup:active\r\n") && begins("a=setup:actpass\r\n"));
        assert!(!begins("a=setup:passive\r\n") && !begins(""));
        assert!(Remote::read("a=ice-ufrag:ab\r\na=ice-pwd:cd\r\n", true).is_err());
    }
}
