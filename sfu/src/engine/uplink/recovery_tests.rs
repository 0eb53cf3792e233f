//! Senders of RED over lines that lose in bursts.

use proptest::prelude::*;

use super::{super::tests::*, *};
use crate::{
    engine::{
        id::Ssrc,
        testing::{base, bursts, ms},
    },
    wire::{red, rtp::HeaderFields},
};

/// A microphone that sends RED with copies of these packets back.
struct Sender {
    back: &'static [usize],
    /// Sent so far: time and payload. Number `n` stands at `n`.
    sent: Vec<(u32, Vec<u8>)>,
}

const OPUS: u8 = 111;
/// Before both wraps.
const FIRST: u16 = 65_500;
const BEGIN: u32 = u32::MAX - 50_000;

impl Sender {
    fn new(back: &'static [usize]) -> Self {
        Self {
            back,
            sent: Vec::new(),
        }
    }

    /// A packet of that much sound at the end of what was sent, `pause` ticks later.
    fn speak(&mut self, toc: u8, pause: u32) -> Vec<u8> {
        let time = self.sent.last().map_or(BEGIN, |(time, payload)| {
            time.wrapping_add(Toc::parse(payload).expect("Opus").ticks() + pause)
        });
        let number = self.sent.len();
        self.sent
            .push((time, vec![toc, number as u8, (number >> 8) as u8, 7]));
        let block = |back: usize| {
            let (then, payload) = &self.sent[number.checked_sub(back)?];
            let offset = u16::try_from(time.wrapping_sub(*then)).ok()?;
            (offset <= red::OFFSET_MAX).then_some(Block {
                payload_type: OPUS,
                offset,
                payload,
            })
        };
        let older: Vec<_> = self.back.iter().filter_map(|&back| block(back)).collect();
        let primary = Block {
            payload_type: OPUS,
            offset: 0,
            payload: &self.sent[number].1,
        };
        let mut payload = [0; 200];
        let length = red::write(&older, &primary, &mut payload).expect("fits");
        packet(RED, FIRST.wrapping_add(number as u16), time, &payload[..length])
    }

    /// What arrives of it is what was sent, under its own number and time.
    fn check(&self, arrival: &Arrival<'_>) -> usize {
        let number = usize::from(arrival.sequence.wire().wrapping_sub(FIRST));
        let (time, payload) = &self.sent[number];
        assert_eq!(
            (arrival.payload, arrival.timestamp.wire()),
            (&payload[..], *time),
            "{number}"
        );
        number
    }
}

fn packet(payload_type: u8, sequence: u16, timestamp: u32, payload: &[u8]) -> Vec<u8> {
    let fields = HeaderFields {
        marker: false,
        padding: false,
        payload_type,
        sequence,
        timestamp,
        ssrc: 10,
    };
    let mut bytes = vec![0; 300];
    let header =
        crate::wire::rtp::write_header(&fields, None, &[(LEVEL, &[0x80 | 30])], &mut bytes).expect("room");
    bytes.truncate(header);
    bytes.extend_from_slice(payload);
    bytes
}

/// The numbers of all that a packet brought, in the order they are passed on.
fn feed(uplink: &mut Uplink, sender: &Sender, now: std::time::Instant, bytes: &[u8]) -> Vec<usize> {
    let packet = RtpPacket::parse(bytes).expect("well-formed");
    let own = uplink.handle_rtp(now, &packet);
    let mut numbers = Vec::new();
    while let Some(arrival) = uplink.poll_recovered(&packet) {
        assert!(arrival.repaired && arrival.level.is_some());
        numbers.push(sender.check(&arrival));
    }
    numbers.extend(own.map(|arrival| sender.check(&arrival)));
    numbers
}

/// 20 ms and 60 ms of CELT and SILK.
const MS20: u8 = 31 << 3;
const MS60: u8 = 3 << 3;

/// Share of 20 s of sound passed on, with 30 % lost in bursts; and the share that was lost.
fn heard(back: &'static [usize], seed: u64) -> (f64, f64) {
    let (t0, mut sender) = (base(), Sender::new(back));
    let mut uplink = Uplink::new(t0, &negotiated(), OWN);
    let losses = bursts(1_000, seed);
    let mut passed = std::collections::BTreeSet::new();
    for (n, &lost) in losses.iter().enumerate() {
        let bytes = sender.speak(MS20, 0);
        if !lost || n == 0 {
            for number in feed(&mut uplink, &sender, t0 + ms(20 * n as u64), &bytes) {
                assert!(passed.insert(number), "{number} twice");
            }
        }
    }
    let share = |count: usize| count as f64 / losses.len() as f64;
    (
        share(passed.len()),
        share(losses.iter().filter(|&&lost| lost).count()),
    )
}

#[test]
fn of_thirty_percent_lost_in_bursts_spaced_blocks_bring_back_most() {
    let mean = |back| (0..20).map(|seed| heard(back, seed).0).sum::<f64>() / 20.0;
    let lost = (0..20).map(|seed| heard(&[], seed).1).sum::<f64>() / 20.0;
    assert!((0.27..0.33).contains(&lost), "{lost}");
    let (plain, next, spaced) = (mean(&[]), mean(&[1]), mean(&[9, 3]));
    println!("lost {lost:.3}, heard: plain {plain:.3}, one back {next:.3}, three and nine back {spaced:.3}");
    assert!(
        plain < 0.74 && next > plain + 0.06 && spaced > 0.93,
        "{plain} {next} {spaced}"
    );
}

#[test]
fn what_was_lost_comes_before_the_packet_that_brings_it_and_only_once() {
    let (t0, mut sender) = (base(), Sender::new(&[2, 1]));
    let mut uplink = Uplink::new(t0, &negotiated(), OWN);
    let packets: Vec<_> = (0..8).map(|_| sender.speak(MS20, 0)).collect();
    let mut give = |n: usize| feed(&mut uplink, &sender, t0 + ms(20 * n as u64), &packets[n]);
    assert_eq!(give(0), [0]);
    assert_eq!(give(3), [1, 2, 3]);
    assert!(give(2).is_empty());
    assert_eq!(give(5), [4, 5]);
    assert_eq!(give(6), [6]);
    assert!(give(6).is_empty());
    let stats = uplink.stats();
    assert_eq!((stats.packets, stats.recovered, stats.duplicates), (7, 3, 2));
}

#[test]
fn nothing_from_before_the_stream_and_nothing_uncertain_is_taken() {
    let (t0, mut sender) = (base(), Sender::new(&[3, 2, 1]));
    let mut uplink = Uplink::new(t0, &negotiated(), OWN);
    let lost: Vec<_> = (0..4).map(|_| sender.speak(MS20, 0)).collect();
    let first = sender.speak(MS20, 0);
    assert_eq!(feed(&mut uplink, &sender, t0, &first), [4]);
    drop(lost);
    // A pause hides between them: a block 60 ms back may be any of the last three. The one that ends where the packet
    // begins is certain.
    sender.speak(MS20, 0);
    sender.speak(MS20, 960);
    sender.speak(MS20, 0);
    let next = sender.speak(MS20, 0);
    assert_eq!(feed(&mut uplink, &sender, t0 + ms(100), &next), [7, 8]);
    // The frames became longer on the way: 60 ms back may be one long packet or three short ones.
    sender.speak(MS20, 0);
    sender.speak(MS20, 0);
    sender.speak(MS60, 0);
    let next = sender.speak(MS60, 0);
    assert_eq!(feed(&mut uplink, &sender, t0 + ms(300), &next), [11, 12]);
}

#[test]
fn damaged_and_foreign_payloads_are_counted_and_their_numbers_stay_free() {
    let (t0, sender) = (base(), Sender::new(&[]));
    let mut uplink = Uplink::new(t0, &negotiated(), OWN);
    let foreign = [96, MS20, 1, 2]; // a primary that is no Opus
    for payload in [&[0xEF, 0x0F][..], &foreign] {
        assert!(feed(&mut uplink, &sender, t0, &packet(RED, FIRST, BEGIN, payload)).is_empty());
    }
    assert_eq!(uplink.stats().malformed, 2);
    // A redundant block of another type is left alone, the primary passes.
    let mut sender = Sender::new(&[]);
    sender.speak(MS20, 0);
    let primary = Block {
        payload_type: OPUS,
        offset: 0,
        payload: &sender.sent[0].1.clone(),
    };
    let older = Block {
        payload_type: 96,
        offset: 960,
        payload: &[MS20],
    };
    let mut payload = [0; 50];
    let length = red::write(&[older], &primary, &mut payload).expect("fits");
    let bytes = packet(RED, FIRST, BEGIN, &payload[..length]);
    assert_eq!(feed(&mut uplink, &sender, t0, &bytes), [0]);
    assert_eq!(
        uplink.last_packet(crate::engine::id::SourceKind::Mic, 0),
        Some(t0)
    );
    assert_eq!(
        uplink.inbounds().next().map(|inbound| inbound.ssrc),
        Some(Ssrc(10))
    );
}

proptest! {
    #[test]
    fn whatever_is_lost_and_however_the_sender_pauses_nothing_false_passes_and_nothing_twice(
        changes in 0usize..150,
        back in prop::sample::select(vec![&[1][..], &[2, 1], &[3, 2, 1], &[9, 3], &[]]),
        packets in prop::collection::vec((prop::bool::weighted(0.6), prop::bool::weighted(0.1), 0u32..20), 1..150),
    ) {
        let (t0, mut sender) = (base(), Sender::new(back));
        let mut uplink = Uplink::new(t0, &negotiated(), OWN);
        let mut passed = std::collections::BTreeSet::new();
        for (n, (arrives, pauses, steps)) in packets.into_iter().enumerate() {
            let pause = if pauses { steps * 480 } else { 0 };
            let bytes = sender.speak(if n > changes { MS60 } else { MS20 }, pause);
            if arrives {
                for number in feed(&mut uplink, &sender, t0 + ms(20 * n as u64), &bytes) {
                    prop_assert!(passed.insert(number), "{} twice", number);
                }
            }
        }
    }

    #[test]
    fn any_red_payload_is_survived(payloads in prop::collection::vec((any::<u16>(), any::<u32>(), prop::collection::vec(any::<u8>(), 0..40)), 1..40)) {
        let (t0, mut uplink) = (base(), Uplink::new(base(), &negotiated(), OWN));
        for (n, (sequence, timestamp, payload)) in payloads.iter().enumerate() {
            let bytes = packet(RED, *sequence, *timestamp, payload);
            let packet = RtpPacket::parse(&bytes).expect("well-formed");
            let _ = uplink.handle_rtp(t0 + ms(n as u64), &packet);
            let mut count = 0;
            while uplink.poll_recovered(&packet).is_some() {
                count += 1;
            }
            prop_assert!(count < red::BLOCKS_MAX);
        }
    }
}
