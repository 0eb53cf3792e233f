//! Whatever comes, in whatever order.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is lost and comes again within the second, early or twice, the slot is as good as straight.
    #[test]
    fn repaired_loss_is_no_fault(
        fates in proptest::collection::vec((0..10u8, 1..12usize), 60..120),
    ) {
        let packets = frames(40);
        let mut order: Vec<(usize, Arrived)> = Vec::new();
        for (at, packet) in packets.iter().enumerate() {
            let (fate, delay) = fates[at % fates.len()];
            // The first packet fixes where the slot begins.
            match fate {
                0 if at > 0 => order.push((at + delay, Arrived { repair: true, ..packet.clone() })),
                1 if at > 0 => {
                    order.push((at, packet.clone()));
                    order.push((at + delay, Arrived { repair: true, ..packet.clone() }));
                }
                _ => order.push((at, packet.clone())),
            }
        }
        order.sort_by_key(|(at, _)| *at);
        let last_us = packets.last().unwrap().at_us;
        let mut check = SlotCheck::new(SlotKind::Picture);
        check.announce(CAMERA, packets[0].time);
        for (at, mut packet) in order {
            packet.at_us = packets.get(at).map_or(last_us, |original| original.at_us);
            check.handle(packet, &ours);
        }
        check.finish(u64::MAX, &ours);
        prop_assert_eq!(check.counts().errors(), 0, "{:?}", check.log());
        prop_assert_eq!(check.counts().lost, 0);
        prop_assert_eq!(check.counts().packets, packets.len() as u64);
        prop_assert_eq!(check.counts().units, 40);
    }

    /// What is lost for good is counted, once each, and never called anything else.
    #[test]
    fn loss_is_counted_as_loss(lost in proptest::collection::btree_set(1..100usize, 0..20)) {
        let packets = frames(40);
        let last = packets.len() - 1;
        let lost: BTreeSet<_> = lost.into_iter().filter(|&at| at < last).collect();
        let kept = packets.into_iter().enumerate().filter(|(at, _)| !lost.contains(at)).map(|(_, packet)| packet);
        let check = judge(SlotKind::Picture, kept);
        prop_assert_eq!(check.counts().lost, lost.len() as u64);
        prop_assert_eq!(check.counts().errors(), 0, "{:?}", check.log());
    }

    #[test]
    fn any_packets_are_judged_without_panic(
        packets in proptest::collection::vec(
            (any::<u16>(), any::<u32>(), any::<bool>(), any::<Option<u32>>(),
             proptest::collection::vec(any::<u8>(), 0..40), any::<bool>()), 0..60),
        voice in any::<bool>(),
    ) {
        let kind = if voice { SlotKind::Voice } else { SlotKind::Picture };
        let packets = packets.into_iter().zip(0u64..).map(|((sequence, time, marker, csrc, payload, repair), i)| {
            Arrived { sequence, time, marker, csrc, payload: payload.into(), at_us: i * 30_000, repair }
        });
        judge(kind, packets);
    }
}
