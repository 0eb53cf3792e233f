//! Lines that lose, double and delay, both ways.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;

/// What becomes of a packet on the line.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Arrives,
    Late(u8),
    Twice(u8),
    Lost,
}

/// Sends `fates.len()` packets, one each 5 ms, and answers NACKs `rtt` later; `rtx_lost` and `nack_lost` say which
/// repairs and requests are lost. Gives the uplink, all that arrived, and the NACKs for each number.
fn run(
    fates: &[Fate],
    rtt: Duration,
    mut line_loses: impl FnMut() -> bool,
) -> (Uplink, Vec<Seen>, BTreeMap<u16, u32>) {
    let t0 = base();
    let mut uplink = Uplink::new(t0, &negotiated(), OWN);
    let mut line: BTreeMap<(Instant, usize), Vec<u8>> = BTreeMap::new();
    for (n, fate) in fates.iter().enumerate() {
        let (at, packet) = (
            t0 + ms(n as u64 * 5),
            camera(20, b"q", n as u16, if n == 0 { KEY } else { DELTA }),
        );
        match *fate {
            Fate::Lost if n > 0 => {}
            Fate::Late(late) if n > 0 => drop(line.insert((at + ms(late.into()), n), packet)),
            Fate::Twice(late) => {
                line.insert((at, n), packet.clone());
                line.insert((at + ms(late.into()), n + fates.len()), packet);
            }
            _ => drop(line.insert((at, n), packet)),
        }
    }
    let (mut seen, mut nacks, mut repairs) = (Vec::new(), BTreeMap::new(), 0u16);
    let mut asked: VecDeque<(Instant, u16)> = VecDeque::new();
    let end = t0 + ms(fates.len() as u64 * 5) + Duration::from_secs(4);
    let mut now = t0;
    while now < end {
        while let Some(entry) = line.first_entry().filter(|e| e.key().0 <= now) {
            seen.extend(feed(&mut uplink, now, &entry.remove()));
        }
        for (_, number) in said(&mut uplink, now).nacks {
            *nacks.entry(number).or_default() += 1;
            if !line_loses() {
                asked.push_back((now + rtt, number));
            }
        }
        while asked.front().is_some_and(|&(at, _)| at <= now) {
            let (_, number) = asked.pop_front().expect("looked at");
            repairs += 1;
            let ids: [(u8, &[u8]); 2] = [(MID, b"1"), (RRID, b"q")];
            let payload = [&number.to_be_bytes(), DELTA].concat();
            let timestamp = u32::from(number) * 3_000;
            let (ssrc, payload_type, sequence, extensions) = (21, 97, repairs, &ids);
            let packet = Out {
                ssrc,
                payload_type,
                sequence,
                timestamp,
                extensions,
                payload: &payload,
            };
            if !line_loses() {
                seen.extend(feed(&mut uplink, now, &packet.bytes()));
            }
        }
        let next = line.first_key_value().map(|((at, _), _)| *at);
        let next = soonest(soonest(next, asked.front().map(|a| a.0)), uplink.poll_timeout());
        now = next.unwrap_or(end).max(now + Duration::from_micros(100));
    }
    (uplink, seen, nacks)
}

#[test]
fn at_five_percent_loss_each_way_all_comes_back_with_at_most_two_requests_for_each() {
    for (seed, rtt) in [(1u64, 50), (2, 50), (3, 20), (4, 150), (5, 300)] {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut lost = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % 20 == 0
        };
        let fates: Vec<_> = (0..6_000)
            .map(|n| {
                if n < 5_990 && lost() {
                    Fate::Lost
                } else {
                    Fate::Arrives
                }
            })
            .collect();
        let missing = fates.iter().filter(|f| matches!(f, Fate::Lost)).count() as u64;
        let (uplink, seen, nacks) = run(&fates, ms(rtt), lost);
        let numbers: BTreeSet<_> = seen.iter().map(|s| s.wire).collect();
        assert_eq!((seen.len(), numbers.len()), (6_000, 6_000), "seed {seed}");
        let sent: u64 = nacks.values().map(|&n| u64::from(n)).sum();
        assert!(
            sent <= missing * 2,
            "seed {seed}: {sent} requests for {missing} lost"
        );
        assert!(
            uplink.repair_time() < ms(rtt * 3 / 2 + 20),
            "seed {seed}: {:?}",
            uplink.repair_time()
        );
        assert_eq!(uplink.stats().given_up, 0);
    }
}

#[test]
fn a_path_out_of_order_is_learnt() {
    let fates: Vec<_> = (0..3_000)
        .map(|n| {
            if n % 10 == 5 {
                Fate::Late(20)
            } else {
                Fate::Arrives
            }
        })
        .collect();
    let (_, seen, nacks) = run(&fates, ms(50), || false);
    assert_eq!(seen.len(), 3_000);
    assert!(nacks.values().sum::<u32>() < 40, "{nacks:?}");
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => Just(Fate::Arrives),
        1 => (0u8..120).prop_map(Fate::Late),
        1 => (0u8..200).prop_map(Fate::Twice),
        2 => Just(Fate::Lost),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn each_packet_is_passed_on_at_most_once_and_asked_for_at_most_ten_times(
        fates in prop::collection::vec(fate(), 1..200), losses in prop::collection::vec(any::<bool>(), 1..40), rtt in 1u64..400
    ) {
        let mut losses = losses.into_iter().chain([false]).cycle();
        let (uplink, seen, nacks) = run(&fates, ms(rtt), || losses.next() == Some(true));
        let numbers: BTreeSet<_> = seen.iter().map(|s| s.wire).collect();
        prop_assert_eq!(numbers.len(), seen.len());
        prop_assert!(nacks.values().all(|&n| n <= 10));
        let last = fates.iter().rposition(|f| !matches!(f, Fate::Lost)).unwrap_or(0);
        let arrived = seen.len() as u64 + uplink.stats().given_up;
        prop_assert!(arrived > last as u64, "{} of {}", arrived, last + 1);
    }

    #[test]
    fn any_packets_cost_bounded_memory_and_each_number_passes_once(
        packets in prop::collection::vec((0u64..40, 0u32..6, any::<bool>(), any::<u16>(), 0u16..400, any::<u32>()), 1..400)
    ) {
        let t0 = base();
        let (mut uplink, mut now, mut numbers) = (Uplink::new(t0, &negotiated(), OWN), t0, BTreeSet::new());
        for (later, ssrc, wild, jump, near, timestamp) in packets {
            now += ms(later);
            let ids: [(u8, &[u8]); 4] = [(MID, b"1"), (RID, b"q"), (RRID, b"q"), (TWCC, &jump.to_be_bytes())];
            let payload_type = if ssrc < 4 { 96 } else { 97 };
            let sequence = if wild { jump } else { near };
            let payload = [&near.to_be_bytes(), DELTA].concat();
            let bytes = Out { ssrc, payload_type, sequence, timestamp, extensions: &ids, payload: &payload }.bytes();
            let packet = RtpPacket::parse(&bytes).expect("well-formed");
            if let Some(arrival) = uplink.handle_rtp(now, &packet) {
                prop_assert!(numbers.insert((arrival.stream, arrival.sequence)));
            }
            uplink.handle_sender_report(now, Ssrc(ssrc), u64::from(timestamp) << 20, timestamp);
            said(&mut uplink, now);
        }
    }
}
