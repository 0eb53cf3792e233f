//! Clients without a page, by WHIP and WHEP: what they send and get, and how they restart.

use super::*;

#[test]
fn who_publishes_without_a_page_sends_the_first_of_each_kind() {
    use SourceKind::{Camera, Mic};
    for (offer, sections) in [
        (GSTREAMER_WHIP, 2),
        (AIORTC_WHIP, 2),
        (CHROMIUM, 14),
        (FIREFOX_ALL, 8),
    ] {
        let answered = answer_to(offer, ClientKind::Publisher).expect("answers");
        let mut kinds: Vec<_> = answered.media.sources.iter().map(|s| s.kind).collect();
        kinds.sort_unstable();
        assert_eq!(kinds, [Mic, Camera]);
        assert!(answered.slots.is_empty(), "it receives nothing");
        let accepted = answered.sdp.lines().filter(|line| *line == "a=recvonly").count();
        assert_eq!(accepted, 2);
        let all = answered.sdp.lines().filter(|line| line.starts_with("m="));
        assert_eq!(all.count(), sections, "an m-section for each of the offer");
    }
    let mid = |kind| {
        let media = answer_to(GSTREAMER_WHIP, ClientKind::Publisher)
            .expect("answers")
            .media;
        let source = media.sources.into_iter().find(|s| s.kind == kind);
        source.expect("accepted").mid.as_str().to_owned()
    };
    assert_eq!((mid(Mic), mid(Camera)), ("audio1".into(), "video0".into()));
    assert_eq!(
        answer_to(AIORTC_WHEP, ClientKind::Publisher).err(),
        Some(SdpError::Nothing)
    );
}

#[test]
fn what_is_sent_without_a_codec_of_the_room_is_refused_with_all_the_rest() {
    let publish = |offer: &str, video| answer_to_in(offer, ClientKind::Publisher, &[video]);
    let count = |answered: Answered| answered.media.sources.len();
    let hevc = GSTREAMER_WHIP.replace("VP8/90000", "H265/90000");
    let voiceless = GSTREAMER_WHIP.replace("OPUS/48000/2", "L16/48000/2");
    for (offer, video, expected) in [
        (GSTREAMER_WHIP, VideoCodec::Vp8, Ok(2)),
        (&hevc, VideoCodec::Vp8, Err(SdpError::Codec)),
        (&voiceless, VideoCodec::Vp8, Err(SdpError::Codec)),
        (OBS_WHIP, VideoCodec::Vp8, Err(SdpError::Codec)),
        (OBS_WHIP, VideoCodec::H264, Ok(2)),
    ] {
        assert_eq!(publish(offer, video).map(count), expected);
    }
    // What it does not want to send, or has taken back, is nothing to refuse.
    let silent = hevc.replacen("a=sendonly", "a=inactive", 1);
    let rejected = hevc.replace("m=video 9 ", "m=video 0 ");
    for offer in [silent, rejected] {
        assert_eq!(publish(&offer, VideoCodec::Vp8).map(count), Ok(1));
    }
}

#[test]
fn who_plays_without_a_page_has_the_stage_pair() {
    let both = [SlotId::audio(0), SlotId::video(0)];
    let sendrecv = AIORTC_WHEP.replace("a=recvonly", "a=sendrecv");
    for offer in [GSTREAMER_WHEP, AIORTC_WHEP, CHROMIUM, &sendrecv] {
        let answered = answer_to(offer, ClientKind::Player).expect("answers");
        assert_eq!(answered.slots.keys().copied().collect::<Vec<_>>(), both);
        assert!(answered.media.sources.is_empty(), "it sends nothing");
        let accepted = answered.sdp.lines().filter(|line| *line == "a=sendonly").count();
        assert_eq!(accepted, 2);
    }
    assert_eq!(
        answer_to(AIORTC_WHIP, ClientKind::Player).err(),
        Some(SdpError::Nothing)
    );
}

/// OBS writes the highest layer first, and up to four of them.
#[test]
fn who_publishes_without_a_page_sends_one_encoding() {
    let layered = |rids: &str| {
        let declared: String = rids
            .split(';')
            .map(|rid| format!("a=rid:{rid} send\r\n"))
            .collect();
        format!("{OBS_WHIP}{declared}a=simulcast:send {rids}\r\n")
    };
    for rids in ["0;1;2", "0;1;2;3"] {
        let answered =
            answer_to_in(&layered(rids), ClientKind::Publisher, &[VideoCodec::H264]).expect("answers");
        let camera = &answered.media.sources[1];
        assert_eq!(
            (camera.kind, camera.rids.len()),
            (SourceKind::Camera, 0),
            "{rids}"
        );
        assert!(!answered.sdp.contains("a=simulcast") && !answered.sdp.contains("a=rid"));
    }
}

/// RFC 7587 §7: one format, whatever stands there. GStreamer's `whepclientsrc` names no channels, `whipclientsink` those of its microphone.
#[test]
fn opus_is_taken_and_answered_in_the_words_of_the_offer() {
    for (offer, client, agreed) in [
        (GSTREAMER_WHEP, ClientKind::Player, (2, 0)),
        (GSTREAMER_WHIP, ClientKind::Publisher, (0, 2)),
    ] {
        for words in ["OPUS/48000", "OPUS/48000/1", "opus/48000/2"] {
            let offer = offer.replace("OPUS/48000/2", words);
            let answered = answer_to(&offer, client).expect("answers");
            let media = &answered.media;
            assert_eq!((media.slots.len(), media.sources.len()), agreed, "{words}");
            assert!(
                answered.sdp.contains(&format!("a=rtpmap:111 {words}\r\n")),
                "{words}"
            );
        }
    }
}

#[test]
fn a_fragment_restarts_ice_once_for_each_new_ufrag() {
    let mut answered = answer_to(AIORTC_WHIP, ClientKind::Publisher).expect("answers");
    let fragment = |ufrag: &str| format!("a=ice-ufrag:{ufrag}\r\na=ice-pwd:0123456789abcdef01234567\r\n");
    let ice = ice(2);
    let answer = answer_fragment(&fragment("new1"), &mut answered.plan, &ice).expect("a restart");
    let expected = [
        "a=ice-lite",
        "a=group:BUNDLE 0 1",
        "m=audio 9 UDP/TLS/RTP/SAVPF 96",
        "a=mid:0",
    ];
    assert_eq!(answer.lines().take(4).collect::<Vec<_>>(), expected);
    assert!(answer.contains(&format!("a=ice-ufrag:{}\r\n", ice.ufrag)));
    assert_eq!(answer.matches("a=candidate:").count(), 2);
    let again = answer_fragment(&fragment("new1"), &mut answered.plan, &ice);
    assert_eq!(again, Err(SdpError::NotRestart));
    let bad = answer_fragment("a=ice-ufrag:new2\r\n", &mut answered.plan, &ice);
    assert_eq!(bad, Err(SdpError::Ice));
    assert!(answer_fragment(&fragment("new2"), &mut answered.plan, &ice).is_ok());
}
