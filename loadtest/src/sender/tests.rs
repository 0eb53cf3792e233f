//! The sender in virtual time: pace, names, key frames on request, repairs, reports.

use rand::{SeedableRng as _, rngs::StdRng};

use super::*;
use crate::media::{read_descriptor, unmark_frame, unmark_sound};

struct Bench {
    sender: Sender,
    epoch: Instant,
    ssrcs: Ssrcs,
}

impl Bench {
    fn new() -> Self {
        let mut rng = StdRng::seed_from_u64(7);
        let ssrcs = Ssrcs::random(&mut rng, 3);
        let mic = Extensions {
            mid: Some(4),
            audio_level: Some(1),
            transport_cc: Some(3),
            ..Extensions::default()
        };
        let camera = Extensions {
            mid: Some(4),
            rid: Some(10),
            rrid: Some(11),
            transport_cc: Some(3),
            ..Extensions::default()
        };
        let outgoing = Outgoing {
            point: 5,
            ssrcs: ssrcs.clone(),
            mic_mid: "0".into(),
            camera_mid: "1".into(),
            mic_extensions: mic,
            camera_extensions: camera,
            fps: crate::clip::FRAMES_PER_SECOND,
        };
        let epoch = Instant::now();
        let sender = Sender::new(
            outgoing,
            Now {
                instant: epoch,
                us: 0,
            },
            &mut rng,
        );
        Self { sender, epoch, ssrcs }
    }

    fn at(&self, ms: u64) -> Now {
        Now {
            instant: self.epoch + Duration::from_millis(ms),
            us: ms * 1_000,
        }
    }

    /// Runs from one time to another as a driver does.
    fn run(&mut self, from_ms: u64, to_ms: u64) -> (Vec<Packet>, Vec<SenderReport>) {
        let (mut packets, mut reports) = (Vec::new(), Vec::new());
        for ms in from_ms..to_ms {
            let now = self.at(ms);
            if self.sender.poll_timeout() <= now.instant {
                self.sender.handle_timeout(now, &mut packets, &mut reports);
            }
        }
        (packets, reports)
    }

    fn layer(&self, layer: usize) -> u32 {
        self.ssrcs.layers[layer].0
    }
}

fn of(packets: &[Packet], ssrc: u32) -> Vec<&Packet> {
    packets
        .iter()
        .filter(|packet| packet.header.ssrc == ssrc)
        .collect()
}

/// Whether each frame of a stream is a key frame.
fn keys(packets: &[Packet], ssrc: u32) -> Vec<bool> {
    let starts = of(packets, ssrc).into_iter().filter_map(|packet| {
        let (descriptor, data) = read_descriptor(&packet.payload)?;
        descriptor.start.then(|| crate::clip::is_key_frame(data))
    });
    starts.collect()
}

#[test]
fn a_second_has_fifty_sounds_and_fifteen_frames_of_each_layer() {
    let mut bench = Bench::new();
    let (packets, reports) = bench.run(0, 10_000);
    let sounds = of(&packets, bench.ssrcs.mic);
    assert!((499..=500).contains(&sounds.len()), "{}", sounds.len());
    for pair in sounds.windows(2) {
        assert_eq!(
            pair[1].header.timestamp.wrapping_sub(pair[0].header.timestamp),
            SOUND_TICKS
        );
        assert_eq!(
            pair[1]
                .header
                .sequence_number
                .wrapping_sub(pair[0].header.sequence_number),
            1
        );
    }
    assert!(
        sounds
            .iter()
            .all(|packet| unmark_sound(&packet.payload).is_some())
    );
    for layer in 0..3 {
        let keys = keys(&packets, bench.layer(layer));
        assert!((149..=150).contains(&keys.len()), "{}", keys.len());
        assert_eq!(keys.iter().filter(|&&key| key).count(), 3, "at 0, 4 and 8 s");
    }
    assert!(packets.iter().all(|packet| packet.payload.len() + 40 <= 1_200));
    // Four streams, each second.
    assert_eq!(reports.len(), 40);
    assert_eq!(bench.sender.counts().late, 0);
}

#[test]
fn transport_numbers_are_one_sequence_over_all_streams() {
    let mut bench = Bench::new();
    let (packets, _) = bench.run(0, 1_000);
    let numbers = packets.iter().map(|packet| {
        let number = packet.header.get_extension(3).expect("every packet has one");
        u16::from_be_bytes([number[0], number[1]])
    });
    let numbers: Vec<_> = numbers.collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)));
}

#[test]
fn streams_are_named_until_the_far_side_has_reported() {
    let mut bench = Bench::new();
    let named = |packet: &&Packet| packet.header.get_extension(10).is_some();
    let (packets, _) = bench.run(0, 500);
    let layer = bench.layer(1);
    assert!(
        of(&packets, layer)
            .iter()
            .all(|packet| packet.header.get_extension(10).as_deref() == Some(b"h"))
    );
    bench.sender.handle_report(layer);
    let (packets, _) = bench.run(500, 1_000);
    assert!(!of(&packets, layer).iter().any(named));
    assert!(
        of(&packets, bench.layer(0)).iter().all(named),
        "only the one that was reported about"
    );
}

#[test]
fn a_request_makes_a_key_frame_of_every_layer_at_once_but_not_too_often() {
    let mut bench = Bench::new();
    bench.run(0, 1_000);
    bench.sender.handle_key_frame_request(bench.layer(2));
    let (packets, _) = bench.run(1_000, 1_070);
    for layer in 0..3 {
        assert_eq!(keys(&packets, bench.layer(layer)), [true]);
    }
    bench.sender.handle_key_frame_request(bench.layer(0));
    let (packets, _) = bench.run(1_070, 1_200);
    assert!(!keys(&packets, bench.layer(0)).contains(&true), "too soon");
    let (packets, _) = bench.run(1_200, 1_500);
    assert!(keys(&packets, bench.layer(0)).contains(&true), "kept in mind");
    bench.sender.handle_key_frame_request(0xdead_beef);
    let (packets, _) = bench.run(1_500, 3_000);
    assert!(
        !keys(&packets, bench.layer(0)).contains(&true),
        "of nobody's stream"
    );
    assert_eq!(bench.sender.counts().key_frames, 2);
}

#[test]
fn a_layer_that_comes_back_begins_with_a_key_frame_however_soon() {
    let mut bench = Bench::new();
    bench.run(0, 1_000);
    let high = bench.ssrcs.layers[2].0;
    let ssrc = bench.ssrcs.layers[0].0;
    bench.sender.handle_key_frame_request(ssrc);
    bench.run(1_000, 1_070); // the next may come a while later only
    bench.sender.set_layers([true, true, false]);
    let (without, _) = bench.run(1_070, 1_140);
    assert!(without.iter().all(|packet| packet.header.ssrc != high));
    bench.sender.set_layers([true, true, true]);
    let (with, _) = bench.run(1_140, 2_000);
    let first = with.iter().find(|packet| packet.header.ssrc == high);
    let (descriptor, frame) = read_descriptor(&first.expect("it is back").payload).expect("VP8");
    assert!(descriptor.start && crate::clip::is_key_frame(frame));
    let low = with.iter().filter(|packet| packet.header.ssrc == ssrc).count();
    assert!(low >= 12, "the others went on: {low}");
}

#[test]
fn a_missing_packet_is_sent_again_as_rtx_under_its_layers_name() {
    let mut bench = Bench::new();
    let (packets, _) = bench.run(0, 500);
    let layer = bench.layer(1);
    let missing = of(&packets, layer)[3].clone();
    let (now, mut out) = (bench.at(500), Vec::new());
    let number = missing.header.sequence_number;
    bench
        .sender
        .handle_nack(now, layer, &[number, number.wrapping_sub(100)], &mut out);
    bench.sender.handle_nack(now, layer, &[number], &mut out);
    bench.sender.handle_nack(now, 1, &[number], &mut out);
    let [again] = &out[..] else {
        panic!("{} packets", out.len())
    };
    assert_eq!(
        (again.header.ssrc, again.header.payload_type),
        (bench.ssrcs.layers[1].1, PT_RTX)
    );
    assert_eq!(again.header.timestamp, missing.header.timestamp);
    assert_eq!(again.header.get_extension(11).as_deref(), Some(&b"h"[..]));
    assert_eq!(again.payload[..2], number.to_be_bytes());
    assert_eq!(again.payload[2..], missing.payload);
    bench
        .sender
        .handle_nack(bench.at(510), layer, &[number], &mut out);
    assert_eq!(out.len(), 2, "the repair may be lost too");
    assert_eq!(
        out[1].header.sequence_number,
        out[0].header.sequence_number.wrapping_add(1)
    );
}

#[test]
fn whoever_speaks_is_loud_and_whoever_does_not_is_silent() {
    let mut bench = Bench::new();
    let levels = |packets: &[Packet], ssrc| -> Vec<u8> {
        let level = |packet: &Packet| {
            packet
                .header
                .get_extension(1)
                .map_or(255, |level| level[0] & 0x7f)
        };
        of(packets, ssrc).into_iter().map(level).collect()
    };
    let mic = bench.ssrcs.mic;
    let (packets, _) = bench.run(0, 2_000);
    assert!(levels(&packets, mic).iter().all(|&level| level >= 100));
    bench.sender.set_speaking(true);
    let (packets, _) = bench.run(2_000, 5_000);
    assert!(levels(&packets, mic).iter().filter(|&&level| level < 30).count() > 75);
}

#[test]
fn a_report_is_on_the_line_of_the_streams_time() {
    let mut bench = Bench::new();
    let (packets, reports) = bench.run(0, 3_000);
    let layer = bench.layer(0);
    let first = of(&packets, layer)[0];
    let (_, mark) = {
        let (_, data) = read_descriptor(&first.payload).unwrap();
        let mut unit = data.to_vec();
        for packet in of(&packets, layer).iter().skip(1) {
            if unmark_frame(&unit).is_some() {
                break;
            }
            unit.extend_from_slice(read_descriptor(&packet.payload).unwrap().1);
        }
        let (frame, mark) = unmark_frame(&unit).unwrap();
        (frame.len(), mark)
    };
    for report in reports.iter().filter(|report| report.ssrc == layer) {
        let us = ((report.ntp_time >> 32) - 2_208_988_800) * 1_000_000
            + (((report.ntp_time & 0xffff_ffff) * 1_000_000) >> 32);
        let ticks = report.rtp_time.wrapping_sub(first.header.timestamp);
        let expected = (us - mark.sent_us) * 90 / 1_000;
        // Frames leave on whole milliseconds here.
        assert!(u64::from(ticks).abs_diff(expected) <= 200, "{ticks} {expected}");
    }
}

#[test]
fn a_sender_that_slept_for_long_does_not_send_all_at_once() {
    let mut bench = Bench::new();
    bench.run(0, 100);
    let (packets, _) = bench.run(60_000, 60_100);
    assert!(of(&packets, bench.ssrcs.mic).len() < 10);
    assert_eq!(bench.sender.counts().late, 1);
}
