//! Answers to offers that Chromium 156 and Firefox ESR 153 made, and refusals of what is no offer for us.

mod codecs;
mod limits;
mod pageless;

use rand::{SeedableRng, rngs::StdRng};

use super::*;
use crate::engine::{
    id::{MediaKind, ShortId, Ssrc},
    packet::{Codec, ExtensionIds, PayloadType},
};

/// Four sources, 6 voices, 4 pictures; codecs cut down to opus, VP8 and RTX.
const CHROMIUM: &str = include_str!("fixtures/chromium.sdp");
const FIREFOX: &str = include_str!("fixtures/firefox.sdp");
/// All codecs, 2 voices, 1 picture and a data channel.
const CHROMIUM_ALL: &str = include_str!("fixtures/chromium_all.sdp");
const FIREFOX_ALL: &str = include_str!("fixtures/firefox_all.sdp");

/// webrtcbin 1.22: mids of its own, a second m-section of port 0, no header extensions, no NACK.
const GSTREAMER_WHIP: &str = include_str!("fixtures/gstreamer_whip.sdp");
const GSTREAMER_WHEP: &str = include_str!("fixtures/gstreamer_whep.sdp");
/// aiortc 1.4: credentials of its own for each m-section, no transport-wide feedback.
const AIORTC_WHIP: &str = include_str!("fixtures/aiortc_whip.sdp");
const AIORTC_WHEP: &str = include_str!("fixtures/aiortc_whep.sdp");
/// OBS 32 as its library (libdatachannel) writes offers, by hand: one codec of pictures, that of its encoder.
const OBS_WHIP: &str = include_str!("fixtures/obs_whip.sdp");

const OFFERS: [&str; 4] = [CHROMIUM, FIREFOX, CHROMIUM_ALL, FIREFOX_ALL];

fn all_sources() -> BTreeMap<SourceKind, String> {
    use SourceKind::{Camera, Mic, Screen, ScreenSound};
    [(Mic, "0"), (Camera, "1"), (Screen, "2"), (ScreenSound, "3")]
        .map(|(k, mid)| (k, mid.to_owned()))
        .into()
}

fn ice(seed: u64) -> IceCredentials {
    IceCredentials::new(7, &mut StdRng::seed_from_u64(seed))
}

fn answer_as(
    offer: &str,
    profile: Profile,
    sources: &BTreeMap<SourceKind, String>,
) -> Result<Answered, SdpError> {
    answer_in(offer, profile, sources, &[VideoCodec::Vp8])
}

/// In a room that wants these codecs.
fn answer_in(
    offer: &str,
    profile: Profile,
    sources: &BTreeMap<SourceKind, String>,
    video: &[VideoCodec],
) -> Result<Answered, SdpError> {
    answer_client(offer, ClientKind::Page, profile, sources, video)
}

/// Of a client that has no page.
fn answer_to(offer: &str, client: ClientKind) -> Result<Answered, SdpError> {
    answer_to_in(offer, client, &[VideoCodec::Vp8])
}

/// The same in a room that wants these codecs.
fn answer_to_in(offer: &str, client: ClientKind, video: &[VideoCodec]) -> Result<Answered, SdpError> {
    answer_client(offer, client, Profile::Phone, &BTreeMap::new(), video)
}

fn answer_client(
    offer: &str,
    client: ClientKind,
    profile: Profile,
    sources: &BTreeMap<SourceKind, String>,
    video: &[VideoCodec],
) -> Result<Answered, SdpError> {
    let mut last = 1_000;
    let mut random = || {
        last += 1;
        last
    };
    let candidates = [
        ([192, 0, 2, 1], 7882).into(),
        ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 7882).into(),
    ];
    answer(
        offer,
        &mut AnswerConfig {
            ice: &ice(1),
            fingerprint: Fingerprint::of(b"ours"),
            candidates: &candidates,
            client,
            profile,
            video,
            sources,
            random: &mut random,
        },
    )
}

fn answer_all(offer: &str) -> Result<Answered, SdpError> {
    answer_as(offer, Profile::Laptop, &all_sources())
}

fn readable(answered: &Answered) -> String {
    answered.sdp.replace("\r\n", "\n")
}

#[test]
fn the_answer_to_chromium() {
    insta::assert_snapshot!(readable(&answer_all(CHROMIUM).expect("answers")));
}

#[test]
fn the_answer_to_firefox() {
    insta::assert_snapshot!(readable(&answer_all(FIREFOX).expect("answers")));
}

#[test]
fn the_answer_to_chromium_with_all_its_codecs_and_a_data_channel() {
    insta::assert_snapshot!(readable(&answer_all(CHROMIUM_ALL).expect("answers")));
}

#[test]
fn what_was_agreed_is_what_the_offers_say() {
    let firefox = answer_all(FIREFOX).expect("answers").media;
    let expected = ExtensionIds {
        mid: Some(3),
        rid: Some(9),
        rrid: Some(10),
        audio_level: Some(1),
        transport_cc: Some(7),
        playout_delay: Some(6),
        ..ExtensionIds::default()
    };
    assert_eq!(firefox.extensions, expected);
    for (offer, opus, vp8) in [(CHROMIUM_ALL, 111, (96, 97)), (FIREFOX_ALL, 109, (120, 124))] {
        let media = answer_all(offer).expect("answers").media;
        let kinds: Vec<_> = media.sources.iter().map(|s| s.kind).collect();
        use SourceKind::{Camera, Mic, Screen, ScreenSound};
        assert_eq!(kinds, [Mic, Camera, Screen, ScreenSound]);
        let rids: Vec<_> = media.sources[1].rids.iter().map(ShortId::as_str).collect();
        assert_eq!(rids, ["q", "h", "f"]);
        let slots: Vec<_> = media.slots.iter().map(|s| s.slot).collect();
        assert_eq!(slots, [SlotId::audio(0), SlotId::audio(1), SlotId::video(0)]);
        for slot in &media.slots {
            let expected = match slot.slot.kind {
                MediaKind::Audio => PayloadType {
                    codec: Codec::Opus,
                    media: opus,
                    rtx: None,
                },
                MediaKind::Video => PayloadType {
                    codec: Codec::Vp8,
                    media: vp8.0,
                    rtx: Some(vp8.1),
                },
            };
            assert_eq!(slot.payloads, [expected]);
            assert_eq!(slot.rtx_ssrc.is_some(), slot.slot.kind == MediaKind::Video);
        }
    }
    let screen = &answer_all(CHROMIUM).expect("answers").media.sources[2];
    assert_eq!(screen.ssrcs, [(Ssrc(327_639_918), Some(Ssrc(2_055_675_823)))]);
}

#[test]
fn redundancy_is_taken_of_microphones_first_and_of_slots_where_it_is_offered() {
    let answered = answer_all(CHROMIUM_ALL).expect("answers");
    let red = |kind| {
        answered
            .media
            .sources
            .iter()
            .find(|s| s.kind == kind)
            .and_then(|s| s.red)
    };
    assert_eq!(
        (red(SourceKind::Mic), red(SourceKind::ScreenSound)),
        (Some(63), None)
    );
    for slot in &answered.media.slots {
        assert_eq!(slot.red, (slot.slot.kind == MediaKind::Audio).then_some(63));
    }
    let lines = |start: &str| answered.sdp.lines().filter(|l| l.starts_with(start)).count();
    assert_eq!(lines("m=audio 9 UDP/TLS/RTP/SAVPF 63 111"), 1);
    assert_eq!(lines("m=audio 9 UDP/TLS/RTP/SAVPF 111 63"), 2);
    assert_eq!(
        (lines("a=rtpmap:63 red/48000/2"), lines("a=fmtp:63 111/111")),
        (3, 3)
    );
    // A pause of a voice and in-band FEC are asked of it, music does not pause.
    assert_eq!(lines("a=fmtp:111 minptime=10;useinbandfec=1;usedtx=1"), 1);
    assert_eq!(lines("a=fmtp:111 minptime=10;useinbandfec=1;stereo=1"), 1);
    let other = CHROMIUM_ALL.replace("a=fmtp:63 111/111", "a=fmtp:63 111/9");
    let media = answer_all(&other).expect("answers").media;
    assert!(media.sources.iter().all(|s| s.red.is_none()) && media.slots.iter().all(|s| s.red.is_none()));
    let firefox = answer_all(FIREFOX_ALL).expect("answers").media;
    assert!(firefox.sources.iter().all(|s| s.red.is_none()));
}

#[test]
fn every_ssrc_of_an_endpoint_is_its_own() {
    for constant in [0, 327_639_918, u32::MAX] {
        let (sources, ice) = (all_sources(), ice(1));
        let mut random = || constant; // the worst source of chance
        let mut config = AnswerConfig {
            ice: &ice,
            fingerprint: Fingerprint::of(b"ours"),
            candidates: &[],
            client: ClientKind::Page,
            profile: Profile::Tv,
            sources: &sources,
            video: &[VideoCodec::Vp8],
            random: &mut random,
        };
        let media = answer(CHROMIUM, &mut config).expect("answers").media;
        let mut ssrcs: Vec<_> = media
            .slots
            .iter()
            .flat_map(|s| [Some(s.ssrc), s.rtx_ssrc])
            .flatten()
            .collect();
        ssrcs.extend(
            media
                .sources
                .iter()
                .flat_map(|s| &s.ssrcs)
                .flat_map(|(m, r)| [Some(*m), *r])
                .flatten(),
        );
        let count = ssrcs.len();
        ssrcs.sort();
        ssrcs.dedup();
        assert_eq!((ssrcs.len(), ssrcs[0].0 != 0), (count, true));
    }
}

#[test]
fn slots_beyond_the_profile_get_port_zero() {
    let tv = offer_with_slots(27 + 3);
    for (profile, expected) in [(Profile::Phone, 8), (Profile::Laptop, 18), (Profile::Tv, 27)] {
        let answered = answer_as(&tv, profile, &BTreeMap::new()).expect("answers");
        assert_eq!(answered.slots.len(), expected);
        assert_eq!(answered.sdp.matches("m=video 0 ").count(), 30 - expected);
        let bundle = answered
            .sdp
            .lines()
            .find(|l| l.starts_with("a=group:BUNDLE"))
            .expect("a bundle");
        assert_eq!(bundle.split(' ').count(), 1 + expected);
    }
}

/// An offer with that many m-sections for pictures.
fn offer_with_slots(count: usize) -> String {
    let mut offer = String::from("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE");
    (0..count).for_each(|mid| offer.push_str(&format!(" {mid}")));
    offer.push_str(&format!(
        "\r\na=fingerprint:sha-256 {}\r\n",
        Fingerprint::of(b"theirs")
    ));
    for mid in 0..count {
        offer.push_str(&format!(
            "m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:{mid}\r\na=recvonly\r\na=rtcp-mux\r\n\
             a=setup:actpass\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\na=rtpmap:96 VP8/90000\r\n"
        ));
    }
    offer
}

#[test]
fn an_ice_restart_changes_credentials_and_version_alone() {
    for offer in OFFERS {
        let mut answered = answer_all(offer).expect("answers");
        let again = restarted(offer);
        let sdp = answer_restart(&again, &mut answered.plan, &ice(2)).expect("answers");
        let (old, new) = (ice(1), ice(2));
        let version = |sdp: &str| sdp.lines().nth(1).map(|o| o.split(' ').nth(2).map(str::to_owned));
        assert_eq!(
            (version(&answered.sdp), version(&sdp)),
            (Some(Some("1".into())), Some(Some("2".into())))
        );
        let as_before = sdp
            .replace(
                &format!("ice-ufrag:{}", new.ufrag),
                &format!("ice-ufrag:{}", old.ufrag),
            )
            .replace(new.password(), old.password())
            .replacen(" 2 IN IP4", " 1 IN IP4", 1);
        assert_eq!(as_before, answered.sdp);
        // The same offer once more is no restart, nor is one of somebody else or with other m-sections.
        for wrong in [
            again.clone(),
            again.replace("a=mid:2\r", "a=mid:other\r"),
            other_certificate(&restarted(&again)),
        ] {
            let result = answer_restart(&wrong, &mut answered.plan, &ice(3));
            assert!(matches!(result, Err(SdpError::NotRestart)), "{result:?}");
        }
    }
}

/// The offer with another ufrag.
fn restarted(offer: &str) -> String {
    offer.replace("a=ice-ufrag:", "a=ice-ufrag:x")
}

fn other_certificate(offer: &str) -> String {
    let lines = offer
        .split("\r\n")
        .map(|line| match line.strip_prefix("a=fingerprint:sha-256 ") {
            Some(_) => format!("a=fingerprint:sha-256 {}", Fingerprint::of(b"another")),
            None => line.to_owned(),
        });
    lines.collect::<Vec<_>>().join("\r\n")
}

/// The offer without the lines that begin so.
fn without(offer: &str, prefix: &str) -> String {
    offer
        .split("\r\n")
        .filter(|line| !line.starts_with(prefix))
        .collect::<Vec<_>>()
        .join("\r\n")
}

#[test]
fn offers_that_cannot_be_answered_are_refused_with_their_reason() {
    let fingerprint = answer_all(FIREFOX).expect("answers").remote.to_string();
    let two = format!(
        "{}\r\na=fingerprint:sha-256 {}\r\n",
        CHROMIUM.trim_end(),
        Fingerprint::of(b"second")
    );
    let cases: Vec<(String, SdpError)> = vec![
        (String::new(), SdpError::Syntax),
        ("v=0\r\no=- x y z".to_owned(), SdpError::Syntax),
        (
            format!("{FIREFOX}{}", "a=x\r\n".repeat(60_000)),
            SdpError::TooLong,
        ),
        (offer_with_slots(200), SdpError::TooManySections),
        (without(FIREFOX, "a=fingerprint"), SdpError::Fingerprint),
        (FIREFOX.replace("sha-256", "sha-1"), SdpError::Fingerprint),
        (FIREFOX.replace(&fingerprint, "AA:BB"), SdpError::Fingerprint),
        (two, SdpError::Fingerprint),
        (without(CHROMIUM, "a=ice-ufrag"), SdpError::Ice),
        (without(CHROMIUM, "a=ice-pwd"), SdpError::Ice),
        (
            CHROMIUM.replacen("a=ice-ufrag:", "a=ice-ufrag:other\r\na=ice-ufrag:", 1),
            SdpError::Ice,
        ),
        (
            CHROMIUM.replace("a=setup:actpass", "a=setup:passive"),
            SdpError::Setup,
        ),
        (
            CHROMIUM.replace("a=setup:actpass", "a=setup:holdconn"),
            SdpError::Setup,
        ),
        (without(CHROMIUM, "a=setup"), SdpError::Setup),
        (without(CHROMIUM, "a=mid"), SdpError::Mid),
        (CHROMIUM.replace("a=mid:2", "a=mid:1"), SdpError::Mid),
        (
            CHROMIUM.replace("a=mid:2", "a=mid:12345678901234567"),
            SdpError::Mid,
        ),
        (CHROMIUM.replace("SAVPF 111", "SAVPF 128"), SdpError::PayloadType),
        (CHROMIUM.replace("SAVPF 111", "SAVPF opus"), SdpError::PayloadType),
        (
            CHROMIUM.replace("a=extmap:1 ", "a=extmap:0 "),
            SdpError::Extension,
        ),
        (
            CHROMIUM.replace("a=extmap:1 ", "a=extmap:4 "),
            SdpError::Extension,
        ),
        (CHROMIUM.replace("send q;h;f", "send q;h;q"), SdpError::Simulcast),
        (without(CHROMIUM, "a=group"), SdpError::Nothing),
        (without(CHROMIUM, "a=rtcp-mux"), SdpError::Nothing),
        (
            CHROMIUM.replace("opus", "speex").replace("VP8", "H261"),
            SdpError::Nothing,
        ),
        (CHROMIUM.replace("a=sendonly", "a=recvonly"), SdpError::Source),
    ];
    for (number, (offer, reason)) in cases.into_iter().enumerate() {
        assert_eq!(answer_all(&offer).err(), Some(reason), "case {number}");
    }
    for (kind, mid) in [
        (SourceKind::Mic, "99"),
        (SourceKind::Mic, "1"),
        (SourceKind::Camera, "5"),
    ] {
        let sources = BTreeMap::from([(kind, mid.to_owned())]);
        assert_eq!(
            answer_as(CHROMIUM, Profile::Tv, &sources).err(),
            Some(SdpError::Source),
            "{mid}"
        );
    }
}

#[test]
fn ids_that_need_long_headers_are_ignored() {
    let offer = CHROMIUM.replace("a=extmap:1 ", "a=extmap:15 ");
    let answered = answer_all(&offer).expect("answers");
    assert_eq!(answered.media.extensions.audio_level, None);
    assert!(!answered.sdp.contains("audio-level"));
}

#[test]
fn a_source_nobody_named_and_a_rejected_section_get_port_zero() {
    let sources = BTreeMap::from([(SourceKind::Mic, "0".to_owned())]);
    let answered = answer_as(CHROMIUM, Profile::Laptop, &sources).expect("answers");
    assert_eq!(answered.media.sources.len(), 1);
    assert_eq!(answered.sdp.matches(" 0 UDP/TLS/RTP/SAVPF").count(), 3);
    let rejected = FIREFOX.replacen("a=bundle-only\r\n", "", 1); // port 0 means it, without that line
    let answered = answer_all(&rejected).expect("answers");
    assert_eq!(answered.media.sources.len(), 3);
}

#[test]
fn the_password_stands_in_the_answer_and_in_no_debug() {
    let answered = answer_all(CHROMIUM).expect("answers");
    assert!(answered.sdp.contains(ice(1).password()));
    assert!(!format!("{:?}", answered.plan).contains(ice(1).password()));
}

proptest::proptest! {
    /// An offer with pieces cut out, doubled and overwritten is answered or refused, never a panic, and an answer never
    /// holds a line that was smuggled in.
    #[test]
    fn damaged_offers_are_survived(
        which in 0usize..4,
        cuts in proptest::collection::vec((0usize..16_000, 0usize..60, "[ -~\r\n]{0,12}"), 1..6),
    ) {
        let mut offer = OFFERS[which].to_owned();
        for (at, length, text) in cuts {
            let at = at % offer.len();
            let end = (at + length).min(offer.len());
            offer.replace_range(at..end, &text);
        }
        if let Ok(mut answered) = answer_all(&offer) {
            let is_line = |line: &str| matches!(line.as_bytes(), [b'v' | b'o' | b's' | b't' | b'a' | b'm' | b'c', b'=', ..]);
            proptest::prop_assert!(answered.sdp.split_terminator("\r\n").all(is_line));
            let _ = answer_restart(&restarted(&offer), &mut answered.plan, &ice(2));
        }
    }

    #[test]
    fn any_text_is_survived(text in "(v=0\r\n)?[ -~\r\n]{0,400}") {
        let _ = answer_all(&text);
    }
}
