//! Which codecs are agreed upon, and in which form.

use super::*;

#[test]
fn a_room_s_codecs_are_answered_as_far_as_the_client_has_them() {
    use VideoCodec::{Av1, H264, Vp8, Vp9};
    let all = [Codec::Vp8, Codec::H264, Codec::Vp9, Codec::Av1];
    // Offer, what the room wants, what the camera sends with, what a slot takes.
    let cases: [(&str, &[VideoCodec], Codec, &[Codec]); 6] = [
        (CHROMIUM_ALL, &[], Codec::Vp8, &all[..1]),
        (CHROMIUM_ALL, &[H264], Codec::H264, &all[..2]),
        (CHROMIUM_ALL, &[H264, Vp9, Av1, Vp8], Codec::H264, &all),
        (CHROMIUM_ALL, &[Vp9], Codec::Vp9, &[Codec::Vp8, Codec::Vp9]),
        (FIREFOX_ALL, &[H264], Codec::Vp8, &all[..1]),
        (FIREFOX_ALL, &[H264, Av1], Codec::Av1, &[Codec::Vp8, Codec::Av1]),
    ];
    for (number, (offer, video, sends, takes)) in cases.into_iter().enumerate() {
        let answered = answer_in(offer, Profile::Laptop, &all_sources(), video).expect("answers");
        let camera = &answered.media.sources[1];
        assert_eq!(
            camera.payloads.iter().map(|p| p.codec).collect::<Vec<_>>(),
            [sends],
            "{number}"
        );
        let slot = answered
            .media
            .slots
            .iter()
            .find(|s| s.slot == SlotId::video(0))
            .expect("a slot");
        assert_eq!(
            slot.payloads.iter().map(|p| p.codec).collect::<Vec<_>>(),
            takes,
            "{number}"
        );
        assert!(slot.payloads.iter().all(|p| p.rtx.is_some()), "{number}");
    }
}

#[test]
fn of_the_forms_of_h264_constrained_baseline_in_mode_1_is_taken() {
    let answered =
        answer_in(CHROMIUM_ALL, Profile::Laptop, &all_sources(), &[VideoCodec::H264]).expect("answers");
    assert_eq!(
        (
            answered.media.sources[1].payloads[0].media,
            answered.media.sources[1].payloads[0].rtx
        ),
        (108, Some(109))
    );
    let form = "a=fmtp:108 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f";
    assert!(answered.sdp.contains(form));
    assert!(!answered.sdp.contains("42001f") && !answered.sdp.contains("4d001f"));
}

#[test]
fn av1_comes_with_its_descriptor_where_long_extensions_are_allowed() {
    let av1 =
        |offer: &str| answer_in(offer, Profile::Laptop, &all_sources(), &[VideoCodec::Av1]).expect("answers");
    let mixed = CHROMIUM_ALL.replacen("a=msid-semantic", "a=extmap-allow-mixed\r\na=msid-semantic", 1);
    let answered = av1(&mixed);
    assert!(answered.media.extensions.dependency.is_some());
    assert!(answered.sdp.contains("a=extmap-allow-mixed") && answered.sdp.contains("#dependency-descriptor"));
    let slots_take = |answered: &Answered| {
        let slots = answered
            .media
            .slots
            .iter()
            .filter(|s| s.slot.kind == MediaKind::Video);
        slots.map(|slot| slot.dependency).collect::<Vec<_>>()
    };
    assert_eq!(slots_take(&answered), [Some(12)]);
    let vp9 = answer_in(&mixed, Profile::Laptop, &all_sources(), &[VideoCodec::Vp9]).expect("answers");
    assert_eq!(slots_take(&vp9), [None], "AV1 alone needs it");
    // Firefox sends it and reads it not.
    // Firefox allows both forms in each section, and not for the session.
    let firefox = FIREFOX_ALL;
    let firefox = av1(firefox);
    assert_eq!(
        (firefox.media.extensions.dependency, slots_take(&firefox)),
        (Some(8), vec![None])
    );
    let plain = CHROMIUM_ALL.replace("a=extmap-allow-mixed\r\n", "");
    let answered = av1(&plain);
    assert_eq!(answered.media.extensions.dependency, None);
    assert!(!answered.sdp.contains("#dependency-descriptor"));
    assert!(
        !answer_all(&mixed)
            .expect("answers")
            .sdp
            .contains("extmap-allow-mixed")
    );
}

/// RFC 5761 §4: with the marker bit they would be taken for RTCP, and no picture would ever end.
#[test]
fn payload_types_that_look_like_rtcp_are_not_agreed_upon() {
    let renumbered = |media: &str, from: u8, to: u8| {
        let list = |pt: u8| media.replace(&format!("{from}"), &format!("{pt}"));
        CHROMIUM
            .replace(media, &list(to))
            .replace(&format!(":{from} "), &format!(":{to} "))
            .replace(&format!("apt={from}"), &format!("apt={to}"))
    };
    let videos = |offer: &str| {
        let media = answer_all(offer).expect("answers").media;
        let slots = media
            .slots
            .into_iter()
            .filter(|s| s.slot.kind == MediaKind::Video);
        slots.flat_map(|slot| slot.payloads).collect::<Vec<_>>()
    };
    let types = |media, rtx| {
        let codec = Codec::Vp8;
        [PayloadType { codec, media, rtx }].repeat(videos(CHROMIUM).len())
    };
    assert_eq!(videos(CHROMIUM), types(96, Some(97)));
    assert_eq!(videos(&renumbered("SAVPF 96 97", 97, 64)), types(96, None));
    assert_eq!(videos(&renumbered("SAVPF 96 97", 97, 63)), types(96, Some(63)));
    assert_eq!(videos(&renumbered("SAVPF 96 97", 96, 95)), []);
}
