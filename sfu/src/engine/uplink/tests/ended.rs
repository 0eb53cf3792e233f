//! Streams whose sender has said that they end.

use super::*;

#[test]
fn nobody_waits_for_a_stream_that_has_said_goodbye() {
    let t0 = base();
    let mut uplink = Uplink::new(t0, &negotiated(), OWN);
    feed(&mut uplink, t0, &camera(20, b"q", 1, KEY));
    feed(&mut uplink, t0, &camera(40, b"f", 1, DELTA));
    uplink.request_key_frame(t0, SourceKind::Camera, 2);
    uplink.handle_bye(t0 + ms(10), Ssrc(40));
    feed(&mut uplink, t0 + ms(500), &camera(20, b"q", 2, DELTA));
    assert!(said(&mut uplink, t0 + ms(500)).key_frames.is_empty());
}

#[test]
fn a_layer_that_said_goodbye_is_known_when_it_comes_back_and_gives_its_place_to_another() {
    let t0 = base();
    let mut uplink = Uplink::new(t0, &negotiated(), OWN);
    let first = feed(&mut uplink, t0, &camera(40, b"f", 1, KEY)).expect("new");
    let ids: [(u8, &[u8]); 2] = [(MID, b"1"), (RRID, b"f")];
    let probe = Out {
        ssrc: 41,
        payload_type: 97,
        sequence: 1,
        timestamp: 0,
        extensions: &ids,
        payload: &[0; 200],
    };
    assert!(feed(&mut uplink, t0 + ms(10), &probe.bytes()).is_none());
    for ssrc in [40, 41] {
        uplink.handle_bye(t0 + ms(20), Ssrc(ssrc));
    }
    assert_eq!(uplink.last_packet(SourceKind::Camera, 2), None);
    let bare = |sequence, payload| {
        Out {
            ssrc: 40,
            payload_type: 96,
            sequence,
            timestamp: u32::from(sequence) * 3_000,
            extensions: &[],
            payload,
        }
        .bytes()
    };
    let back = feed(&mut uplink, t0 + ms(600), &bare(2, KEY)).expect("known");
    assert_eq!((back.source, back.layer), (SourceKind::Camera, 2));
    assert_ne!(back.stream, first.stream);
    assert!(feed(&mut uplink, t0 + ms(630), &bare(4, DELTA)).is_some());
    let repair = feed(&mut uplink, t0 + ms(650), &rtx(41, 2, 3, DELTA)).expect("known too");
    assert_eq!((repair.layer, repair.wire), (2, 3));

    uplink.handle_bye(t0 + ms(700), Ssrc(40));
    let other = feed(&mut uplink, t0 + ms(1_200), &camera(42, b"f", 9, KEY)).expect("new");
    assert_eq!(other.layer, 2);
    assert!(feed(&mut uplink, t0 + ms(1_300), &bare(5, KEY)).is_none());
    assert_eq!(uplink.stats().unknown, 1);
}

#[test]
fn what_the_path_lost_of_streams_that_ended_stays_counted() {
    let t0 = base();
    let mut uplink = Uplink::new(t0, &negotiated(), OWN);
    let counts = |uplink: &Uplink| (uplink.stats().expected, uplink.stats().received);
    for (sequence, payload) in [(1, KEY), (2, DELTA), (4, DELTA)] {
        assert!(feed(&mut uplink, t0, &camera(20, b"q", sequence, payload)).is_some());
    }
    let ids: [(u8, &[u8]); 2] = [(MID, b"1"), (RRID, b"q")];
    let payload = [&3u16.to_be_bytes(), DELTA].concat();
    let repair = Out {
        ssrc: 21,
        payload_type: 97,
        sequence: 5,
        timestamp: 9_000,
        extensions: &ids,
        payload: &payload,
    };
    assert!(feed(&mut uplink, t0 + ms(10), &repair.bytes()).is_some_and(|seen| seen.repaired));
    assert_eq!(
        counts(&uplink),
        (4, 3),
        "a repair does not change what the path lost"
    );
    assert!(feed(&mut uplink, t0 + ms(600), &camera(22, b"q", 900, KEY)).is_some());
    assert_eq!(counts(&uplink), (5, 4));
    uplink.handle_bye(t0 + ms(700), Ssrc(22));
    uplink.handle_bye(t0 + ms(700), Ssrc(22));
    assert_eq!(counts(&uplink), (5, 4));
    assert!(feed(&mut uplink, t0 + ms(1_200), &camera(22, b"q", 901, KEY)).is_some());
    assert_eq!(counts(&uplink), (6, 5));
}

#[test]
fn a_stream_that_stopped_says_nothing_of_jitter_any_more() {
    let t0 = base();
    let mut uplink = Uplink::new(t0, &negotiated(), OWN);
    assert_eq!(uplink.jitter(), Duration::ZERO);
    // Pictures that are 40 ms late by turns, as long as there are any.
    for n in 0..100u16 {
        let late = ms(u64::from(n % 2) * 40);
        let picture = timed(n, u32::from(n) * 9_000, KEY);
        feed(&mut uplink, t0 + ms(u64::from(n) * 100) + late, &picture);
    }
    assert!(uplink.jitter() > ms(30), "{:?}", uplink.jitter());
    let mut shaken = uplink.jitter();
    for n in 100..300u16 {
        let picture = camera_at(40, b"f", (n, u32::from(n) * 9_000), DELTA);
        feed(&mut uplink, t0 + ms(u64::from(n) * 100), &picture);
        shaken = if n < 140 { uplink.jitter() } else { shaken };
    }
    assert!(shaken > ms(30), "at once: {shaken:?}");
    assert!(uplink.jitter() < ms(1), "{:?}", uplink.jitter());
}
