//! The few lines of an answer that a point needs beyond what the peer connection reads itself.

use std::collections::BTreeMap;

/// Identifiers of header extensions in one m-section.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Extensions {
    pub(crate) mid: Option<u8>,
    pub(crate) rid: Option<u8>,
    pub(crate) rrid: Option<u8>,
    pub(crate) audio_level: Option<u8>,
    pub(crate) transport_cc: Option<u8>,
}

/// One m-section of an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) accepted: bool,
    pub(crate) extensions: Extensions,
    /// SSRC of what is sent to us.
    pub(crate) ssrc: Option<u32>,
    /// SSRC of its repairs.
    pub(crate) rtx_ssrc: Option<u32>,
}

pub(crate) const URI_MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
pub(crate) const URI_RID: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
pub(crate) const URI_RRID: &str = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id";
pub(crate) const URI_AUDIO_LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
pub(crate) const URI_TRANSPORT_CC: &str =
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";

/// The m-sections of an answer by media id.
pub(crate) fn sections(sdp: &str) -> BTreeMap<String, Section> {
    let mut sections = BTreeMap::new();
    for part in sdp.split("\nm=").skip(1) {
        let mut section = Section {
            accepted: part
                .split_ascii_whitespace()
                .nth(1)
                .is_some_and(|port| port != "0"),
            ..Section::default()
        };
        let mut mid = None;
        for line in part.lines() {
            read_line(line.trim_end(), &mut section, &mut mid);
        }
        if let Some(mid) = mid {
            sections.insert(mid, section);
        }
    }
    sections
}

/// The media ids of an offer or answer in the order of its m-sections.
pub(crate) fn mids(sdp: &str) -> Vec<String> {
    let lines = sdp
        .lines()
        .filter_map(|line| line.trim_end().strip_prefix("a=mid:"));
    lines.map(str::to_owned).collect()
}

fn read_line(line: &str, section: &mut Section, mid: &mut Option<String>) {
    let Some((name, value)) = line.strip_prefix("a=").and_then(|line| line.split_once(':')) else {
        return;
    };
    match name {
        "mid" => *mid = Some(value.to_owned()),
        "extmap" => {
            let Some((id, uri)) = value.split_once(' ') else {
                return;
            };
            let id = id.split('/').next().and_then(|id| id.parse().ok());
            match uri.trim() {
                URI_MID => section.extensions.mid = id,
                URI_RID => section.extensions.rid = id,
                URI_RRID => section.extensions.rrid = id,
                URI_AUDIO_LEVEL => section.extensions.audio_level = id,
                URI_TRANSPORT_CC => section.extensions.transport_cc = id,
                _ => {}
            }
        }
        "ssrc-group" => {
            if let Some(("FID", pair)) = value.split_once(' ')
                && let Some((media, rtx)) = pair.split_once(' ')
            {
                section.ssrc = media.parse().ok();
                section.rtx_ssrc = rtx.trim().parse().ok();
            }
        }
        "ssrc" if section.ssrc.is_none() => {
            section.ssrc = value.split(' ').next().and_then(|ssrc| ssrc.parse().ok());
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read() {
        let sdp = "v=0\r\na=group:BUNDLE 0 1 2\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=extmap:1 \
                   urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\na=extmap:9/recvonly \
                   urn:ietf:params:rtp-hdrext:sdes:mid\r\nm=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=mid:1\r\n\
                   a=ssrc-group:FID 414657039 414657040\r\na=ssrc:414657039 cname:s6\r\na=ssrc:414657040 cname:s6\r\n\
                   m=video 0 UDP/TLS/RTP/SAVPF 96\r\na=mid:2\r\na=inactive\r\n";
        let sections = sections(sdp);
        assert_eq!(sections.len(), 3);
        assert_eq!(mids(sdp), ["0", "1", "2"]);
        assert_eq!(sections["0"].extensions.audio_level, Some(1));
        assert_eq!(sections["0"].extensions.mid, Some(9));
        assert_eq!(
            (sections["1"].ssrc, sections["1"].rtx_ssrc),
            (Some(414_657_039), Some(414_657_040))
        );
        assert!(sections["1"].accepted && !sections["2"].accepted);
    }
}
