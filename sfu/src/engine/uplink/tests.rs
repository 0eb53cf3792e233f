//! A browser of few words sends to an uplink.

mod ended;
mod line;

use super::{
    super::{
        id::ShortId,
        packet::{NegotiatedSource, PayloadType, soonest},
        testing::{base, ms},
    },
    *,
};
use crate::wire::{
    rtcp::{self, ReportBlock, Rtcp},
    rtp::{HeaderFields, write_header},
};

const MID: u8 = 1;
const RID: u8 = 2;
const RRID: u8 = 3;
const TWCC: u8 = 4;
pub(super) const LEVEL: u8 = 5;
pub(super) const RED: u8 = 63;
pub(super) const OWN: Ssrc = Ssrc(77);

fn id(text: &str) -> ShortId {
    ShortId::new(text.as_bytes()).expect("short")
}

/// Microphone, camera of three layers, screen without rids, known by its SSRCs.
pub(super) fn negotiated() -> Negotiated {
    let vp8 = vec![PayloadType {
        codec: Codec::Vp8,
        media: 96,
        rtx: Some(97),
    }];
    let opus = vec![PayloadType {
        codec: Codec::Opus,
        media: 111,
        rtx: None,
    }];
    let source = |kind, mid, payloads, rids: &[&str], ssrcs| NegotiatedSource {
        kind,
        mid: id(mid),
        payloads,
        red: (kind == SourceKind::Mic).then_some(RED),
        rids: rids.iter().map(|r| id(r)).collect(),
        ssrcs,
    };
    Negotiated {
        extensions: ExtensionIds {
            mid: Some(MID),
            rid: Some(RID),
            rrid: Some(RRID),
            transport_cc: Some(TWCC),
            audio_level: Some(LEVEL),
            ..ExtensionIds::default()
        },
        sources: vec![
            source(SourceKind::Mic, "0", opus, &[], vec![(Ssrc(10), None)]),
            source(SourceKind::Camera, "1", vp8.clone(), &["q", "h", "f"], vec![]),
            source(
                SourceKind::Screen,
                "2",
                vp8,
                &[],
                vec![(Ssrc(50), Some(Ssrc(51)))],
            ),
        ],
        slots: vec![],
    }
}

/// A packet to be written.
#[derive(Clone, Copy)]
struct Out<'a> {
    ssrc: u32,
    payload_type: u8,
    sequence: u16,
    timestamp: u32,
    extensions: &'a [(u8, &'a [u8])],
    payload: &'a [u8],
}

impl Out<'_> {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; 1_500];
        let fields = HeaderFields {
            marker: false,
            padding: false,
            payload_type: self.payload_type,
            sequence: self.sequence,
            timestamp: self.timestamp,
            ssrc: self.ssrc,
        };
        let header = write_header(&fields, None, self.extensions, &mut bytes).expect("room");
        bytes.truncate(header);
        bytes.extend_from_slice(self.payload);
        bytes
    }
}

const KEY: &[u8] = &[0x10, 0x00, 1, 2, 3];
const DELTA: &[u8] = &[0x10, 0x01, 1, 2, 3];

/// Media of a camera layer, as a browser begins a stream: with mid and rid.
fn camera(ssrc: u32, rid: &'static [u8], sequence: u16, payload: &[u8]) -> Vec<u8> {
    camera_at(ssrc, rid, (sequence, u32::from(sequence) * 3_000), payload)
}

/// The same at that RTP time.
fn camera_at(ssrc: u32, rid: &'static [u8], (sequence, timestamp): (u16, u32), payload: &[u8]) -> Vec<u8> {
    let extensions: [(u8, &[u8]); 2] = [(MID, b"1"), (RID, rid)];
    Out {
        ssrc,
        payload_type: 96,
        sequence,
        timestamp,
        extensions: &extensions,
        payload,
    }
    .bytes()
}

/// Its repair, later in the stream: no ids any more.
fn rtx(ssrc: u32, sequence: u16, original: u16, payload: &[u8]) -> Vec<u8> {
    let payload = [&original.to_be_bytes(), payload].concat();
    let timestamp = u32::from(original) * 3_000;
    Out {
        ssrc,
        payload_type: 97,
        sequence,
        timestamp,
        extensions: &[],
        payload: &payload,
    }
    .bytes()
}

struct Seen {
    source: SourceKind,
    layer: u8,
    stream: u32,
    wire: u16,
    repaired: bool,
    key_frame: bool,
    capture: Duration,
}

fn feed(uplink: &mut Uplink, now: Instant, bytes: &[u8]) -> Option<Seen> {
    let packet = RtpPacket::parse(bytes).expect("well-formed");
    let arrival = uplink.handle_rtp(now, &packet)?;
    assert!(!arrival.payload.is_empty());
    Some(Seen {
        source: arrival.source,
        layer: arrival.layer,
        stream: arrival.stream,
        wire: arrival.sequence.wire(),
        repaired: arrival.repaired,
        key_frame: arrival.video.is_some_and(|v| v.key_frame),
        capture: arrival.capture,
    })
}

#[derive(Default, Debug)]
struct Said {
    nacks: Vec<(u32, u16)>,
    key_frames: Vec<u32>,
    reports: Vec<ReportBlock>,
    transport: usize,
}

/// All RTCP due now.
fn said(uplink: &mut Uplink, now: Instant) -> Said {
    let (mut said, mut out) = (Said::default(), Vec::new());
    uplink.handle_timeout(now);
    for _ in 0..100 {
        if !uplink.poll_rtcp(now, &mut out) {
            assert!(
                uplink.poll_timeout().is_none_or(|at| at > now),
                "asks for a call that does nothing"
            );
            return said;
        }
        assert!(out.len() <= COMPOUND_MAX);
        for packet in rtcp::packets(&out) {
            match packet.expect("well-formed") {
                Rtcp::Nack(n) => said.nacks.extend(n.lost().map(|s| (n.media_ssrc, s))),
                Rtcp::PictureLoss(p) => said.key_frames.push(p.media_ssrc),
                Rtcp::ReceiverReport(r) => said.reports.extend(r.reports()),
                Rtcp::TransportFeedback(f) => {
                    said.transport += f.statuses().filter(|s| s.1.is_some()).count()
                }
                Rtcp::SourceDescription(s) => assert!(s.cnames().all(|(_, name)| name == CNAME)),
                other => panic!("unexpected {other:?}"),
            }
        }
    }
    panic!("no end of compounds")
}

#[test]
fn streams_are_told_by_payload_type_and_ids_whichever_comes_first() {
    let t0 = base();
    let mut uplink = Uplink::new(t0, &negotiated(), OWN);
    let ids: [(u8, &[u8]); 2] = [(MID, b"1"), (RRID, b"h")];
    let probe = Out {
        ssrc: 31,
        payload_type: 97,
        sequence: 1,
        timestamp: 0,
        extensions: &ids,
        payload: &[0; 200],
    };
    assert!(feed(&mut uplink, t0, &probe.bytes()).is_none());
    assert_eq!(uplink.stats().probes, 1);
    for (ssrc, rid, layer) in [(30, &b"h"[..], 1), (20, b"q", 0), (40, b"f", 2)] {
        let ids: [(u8, &[u8]); 2] = [(MID, b"1"), (RID, rid)];
        let first = Out {
            ssrc,
            payload_type: 96,
            sequence: 7,
            timestamp: 0,
            extensions: &ids,
            payload: KEY,
        }
        .bytes();
        let seen = feed(&mut uplink, t0, &first).expect("new");
        assert_eq!(
            (seen.source, seen.layer, seen.key_frame),
            (SourceKind::Camera, layer, true)
        );
        let bare = Out {
            sequence: 9,
            extensions: &[],
            payload: DELTA,
            ..probe
        };
        let seen = feed(
            &mut uplink,
            t0,
            &Out {
                ssrc,
                payload_type: 96,
                ..bare
            }
            .bytes(),
        )
        .expect("remembered");
        assert_eq!((seen.layer, seen.key_frame), (layer, false));
    }
    let seen = feed(&mut uplink, t0 + ms(10), &rtx(31, 2, 8, DELTA)).expect("8 is missing");
    assert_eq!((seen.layer, seen.wire, seen.repaired), (1, 8, true));
}

#[test]
fn without_ids_the_offer_tells() {
    let t0 = base();
    let mut uplink = Uplink::new(t0, &negotiated(), OWN);
    let packet = |ssrc, payload_type, sequence, payload| {
        Out {
            ssrc,
            payload_type,
            sequence,
            timestamp: 0,
            extensions: &[],
            payload,
        }
        .bytes()
    };
    assert_eq!(
        feed(&mut uplink, t0, &packet(10, 111, 1, &[1, 2])).map(|s| s.source),
        Some(SourceKind::Mic)
    );
    assert_eq!(
        feed(&mut uplink, t0, &packet(50, 96, 1, KEY)).map(|s| s.source),
        Some(SourceKind::Screen)
    );
    assert!(feed(&mut uplink, t0, &packet(50, 96, 3, DELTA)).is_some());
    assert!(feed(&mut uplink, t0, &rtx(51, 1, 2, DELTA)).is_some_and(|s| s.repaired));
    let before = uplink.stats().unknown;
    for (ssrc, payload_type) in [(99, 96), (50, 97), (51, 96), (10, 96), (50, 0)] {
        assert!(feed(&mut uplink, t0, &packet(ssrc, payload_type, 9, KEY)).is_none());
    }
    assert_eq!(uplink.stats().unknown, before + 5);
}

#[test]
fn a_restarted_encoder_is_another_stream_and_one_that_never_rests_is_refused() {
    let t0 = base();
    let mut uplink = Uplink::new(t0, &negotiated(), OWN);
    let first = feed(&mut uplink, t0, &camera(20, b"q", 5, KEY)).expect("new");
    let second = feed(&mut uplink, t0 + ms(600), &camera(21, b"q", 900, KEY)).expect("new");
    assert_ne!(first.stream, second.stream);
    for n in 0..1_000u32 {
        let flapping = camera(20 + n % 2, b"q", n as u16 + 901, KEY);
        feed(&mut uplink, t0 + ms(600 + u64::from(n)), &flapping);
    }
    assert!(uplink.streams_begun <= 4, "{}", uplink.streams_begun);
    // A sequence that leaps on one SSRC is another stream too, from its second packet on.
    let now = t0 + ms(5_000);
    let ssrc = uplink.inbound(SourceKind::Camera, 0).expect("there").ssrc.0;
    assert!(feed(&mut uplink, now, &camera(ssrc, b"q", 30_000, KEY)).is_none());
    let third = feed(&mut uplink, now, &camera(ssrc, b"q", 30_001, KEY)).expect("follows");
    assert_eq!(third.stream, uplink.streams_begun - 1);
}

/// Media of the lowest camera layer at that RTP time.
fn timed(sequence: u16, timestamp: u32, payload: &[u8]) -> Vec<u8> {
    camera_at(20, b"q", (sequence, timestamp), payload)
}

#[test]
fn an_encoder_whose_time_begins_anew_is_another_stream_and_gets_its_first_packet_back() {
    let t0 = base();
    let mut uplink = Uplink::new(t0, &negotiated(), OWN);
    let first = feed(&mut uplink, t0, &timed(5, 900_000, KEY)).expect("new");
    // Padding has any time; a picture that others lean on may come behind them; one wild time is not believed.
    assert!(feed(&mut uplink, t0 + ms(10), &timed(6, 0, &[])).is_none());
    assert!(feed(&mut uplink, t0 + ms(20), &timed(7, 903_000, DELTA)).is_some());
    let earlier =
        feed(&mut uplink, t0 + ms(30), &timed(8, 870_000, DELTA)).expect("a third of a second back");
    assert!(feed(&mut uplink, t0 + ms(40), &timed(9, 100, DELTA)).is_none());
    let goes_on = feed(&mut uplink, t0 + ms(50), &timed(10, 906_000, DELTA)).expect("as before");
    assert!(earlier.stream == first.stream && goes_on.stream == first.stream);

    // A second back, with padding between.
    assert!(feed(&mut uplink, t0 + ms(600), &timed(11, 816_000, KEY)).is_none());
    assert!(feed(&mut uplink, t0 + ms(610), &timed(12, 816_000, &[])).is_none());
    let anew = feed(&mut uplink, t0 + ms(640), &timed(13, 819_000, DELTA)).expect("follows");
    assert_ne!(anew.stream, first.stream);
    assert!(anew.capture > goes_on.capture);
    assert_eq!(said(&mut uplink, t0 + ms(640)).nacks, [(20, 11)]);
    let ids: [(u8, &[u8]); 2] = [(MID, b"1"), (RRID, b"q")];
    let payload = [&11u16.to_be_bytes(), KEY].concat();
    let repair = Out {
        ssrc: 21,
        payload_type: 97,
        sequence: 1,
        timestamp: 816_000,
        extensions: &ids,
        payload: &payload,
    };
    let head = feed(&mut uplink, t0 + ms(700), &repair.bytes()).expect("is missing");
    assert_eq!((head.stream, head.wire, head.key_frame), (anew.stream, 11, true));
    assert!(head.capture < anew.capture);
    assert!(feed(&mut uplink, t0 + ms(710), &timed(14, 822_000, DELTA)).is_some());
}

#[test]
fn padding_begins_no_stream() {
    let t0 = base();
    let mut uplink = Uplink::new(t0, &negotiated(), OWN);
    assert!(feed(&mut uplink, t0, &timed(5, 900_000, &[])).is_none());
    assert_eq!((uplink.streams_begun, uplink.stats().padding), (0, 1));
    assert!(feed(&mut uplink, t0 + ms(10), &timed(6, 3_000, KEY)).is_some());
    assert!(feed(&mut uplink, t0 + ms(20), &timed(7, 6_000, DELTA)).is_some());
}

#[test]
fn a_voice_never_goes_back_in_time() {
    let t0 = base();
    let mut uplink = Uplink::new(t0, &negotiated(), OWN);
    let voice = |sequence, timestamp| {
        Out {
            ssrc: 10,
            payload_type: 111,
            sequence,
            timestamp,
            extensions: &[],
            payload: &[0x78, 2],
        }
        .bytes()
    };
    let first = feed(&mut uplink, t0, &voice(1, 48_000)).expect("new");
    assert!(feed(&mut uplink, t0 + ms(20), &voice(3, 49_920)).is_some());
    assert!(
        feed(&mut uplink, t0 + ms(30), &voice(2, 48_960)).is_some(),
        "late"
    );
    assert!(feed(&mut uplink, t0 + ms(40), &voice(4, 48_100)).is_none());
    let goes_on = feed(&mut uplink, t0 + ms(60), &voice(5, 51_840)).expect("as before");
    assert_eq!(goes_on.stream, first.stream);
    assert!(feed(&mut uplink, t0 + ms(600), &voice(6, 47_000)).is_none());
    let anew = feed(&mut uplink, t0 + ms(620), &voice(7, 47_960)).expect("follows");
    assert_ne!(anew.stream, first.stream);
    assert!(said(&mut uplink, t0 + ms(640)).nacks.is_empty());
}

#[test]
fn what_cannot_be_repaired_breaks_the_layer_until_a_key_frame() {
    let t0 = base();
    let mut uplink = Uplink::new(t0, &negotiated(), OWN);
    feed(&mut uplink, t0, &camera(20, b"q", 1, KEY));
    feed(&mut uplink, t0, &camera(20, b"q", 3, DELTA));
    let (mut now, mut asked) = (t0, 0);
    while let Some(next) = uplink.inbound(SourceKind::Camera, 0).and_then(Inbound::due) {
        now = now.max(next) + ms(1);
        asked += said(&mut uplink, now).nacks.len();
    }
    assert!(
        (3..=10).contains(&asked) && now <= t0 + ms(1_520),
        "{asked} {:?}",
        now - t0
    );
    assert_eq!(
        uplink.poll_broken(),
        Some(Broken {
            source: SourceKind::Camera,
            layer: 0
        })
    );
    assert_eq!(uplink.poll_broken(), None);
    assert!(
        feed(&mut uplink, now, &rtx(22, 1, 2, DELTA)).is_none(),
        "given up: a hole stays a hole"
    );
    // A gap too wide to be listed breaks at once.
    feed(&mut uplink, now, &camera(20, b"q", 1_500, DELTA));
    assert_eq!(
        uplink.poll_broken(),
        Some(Broken {
            source: SourceKind::Camera,
            layer: 0
        })
    );
    feed(&mut uplink, now, &camera(20, b"q", 1_600, DELTA));
    feed(&mut uplink, now, &camera(20, b"q", 1_601, KEY));
    uplink.handle_timeout(now + ms(5_000));
    assert_eq!((uplink.poll_broken(), uplink.stats().given_up), (None, 100));
}

#[test]
fn reports_say_what_the_path_lost_and_when_the_sender_last_reported() {
    let t0 = base();
    let mut uplink = Uplink::new(t0, &negotiated(), OWN);
    assert!(uplink.poll_timeout().is_none());
    for n in (0..100u16).filter(|n| n % 4 != 1) {
        feed(
            &mut uplink,
            t0 + ms(u64::from(n)),
            &timed(65_500u16.wrapping_add(n), u32::from(n) * 3_000, KEY),
        );
    }
    uplink.handle_sender_report(t0 + ms(100), Ssrc(20), 0x1234_5678_9ABC_DEF0, 0);
    let reports = said(&mut uplink, t0 + ms(600)).reports;
    let [block] = reports[..] else {
        panic!("{reports:?}")
    };
    assert_eq!((block.ssrc, block.lost, block.fraction_lost), (20, 25, 64));
    assert_eq!(block.highest_sequence, 65_536 + 63);
    assert_eq!((block.last_sr, block.delay_since_sr), (0x5678_9ABC, 32_768));
    assert!(block.jitter > 0);
    assert!(
        said(&mut uplink, t0 + ms(3_000)).reports.is_empty(),
        "nothing came since"
    );
}

#[test]
fn a_key_frame_is_asked_of_the_lowest_layer_that_lives() {
    let t0 = base();
    let mut uplink = Uplink::new(t0, &negotiated(), OWN);
    uplink.request_key_frame(t0, SourceKind::Camera, 2);
    assert!(said(&mut uplink, t0).key_frames.is_empty() && uplink.poll_timeout().is_none());
    for n in 0..30u16 {
        let now = t0 + ms(u64::from(n) * 100);
        if n < 5 {
            feed(&mut uplink, now, &camera(20, b"q", n, DELTA));
        }
        feed(&mut uplink, now, &camera(40, b"f", n, DELTA));
    }
    assert_eq!(said(&mut uplink, t0 + ms(2_900)).key_frames, [40]);
    feed(&mut uplink, t0 + ms(2_950), &camera(40, b"f", 30, KEY));
    assert!(said(&mut uplink, t0 + ms(4_000)).key_frames.is_empty());
}

#[test]
fn a_layer_that_died_is_asked_for_no_more() {
    let t0 = base();
    let mut uplink = Uplink::new(t0, &negotiated(), OWN);
    let (mut key, mut asked) = (false, 0);
    for n in 0..1_900u16 {
        let now = t0 + ms(u64::from(n) * 33);
        let payload = if std::mem::take(&mut key) { KEY } else { DELTA };
        feed(&mut uplink, now, &camera(20, b"q", n, payload));
        feed(&mut uplink, now, &camera(30, b"h", n, payload));
        match n {
            0..30 => drop(feed(&mut uplink, now, &camera(40, b"f", n, DELTA))),
            30 => uplink.request_key_frame(now, SourceKind::Camera, 2),
            _ if n % 150 == 0 => uplink.request_key_frame(now, SourceKind::Camera, 0),
            _ => {}
        }
        key = !said(&mut uplink, now).key_frames.is_empty();
        asked += usize::from(key);
    }
    assert!((12..18).contains(&asked), "{asked}");
}

#[test]
fn sound_is_not_asked_for_again_and_tells_its_level() {
    let t0 = base();
    let mut uplink = Uplink::new(t0, &negotiated(), OWN);
    for sequence in [1u16, 2, 9] {
        let ids: [(u8, &[u8]); 2] = [(MID, b"0"), (LEVEL, &[0x80 | 30])];
        let out = Out {
            ssrc: 1,
            payload_type: 111,
            sequence,
            timestamp: 0,
            extensions: &ids,
            payload: &[1],
        };
        let bytes = out.bytes();
        let arrival = uplink
            .handle_rtp(t0, &RtpPacket::parse(&bytes).expect("well-formed"))
            .expect("new");
        assert_eq!(
            arrival.level,
            Some(AudioLevel {
                voice: true,
                level: 30
            })
        );
    }
    assert!(said(&mut uplink, t0 + ms(100)).nacks.is_empty());
}
