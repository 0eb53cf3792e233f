//! Tests of RTCP.

use proptest::{collection::vec, prelude::*};

use super::*;

/// Builds one compound without a limit that matters.
fn built(build: impl FnOnce(&mut Builder<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    build(&mut Builder::new(&mut out, 100_000));
    assert_eq!(out.len() % 4, 0);
    out
}

fn one(compound: &[u8]) -> Result<Rtcp<'_>, RtcpError> {
    let mut packets = packets(compound);
    let first = packets.next().expect("one packet");
    assert!(packets.next().is_none());
    first
}

fn block() -> impl Strategy<Value = ReportBlock> {
    (any::<[u32; 5]>(), any::<u8>(), -0x80_0000..0x80_0000_i32).prop_map(|(words, fraction_lost, lost)| {
        let [ssrc, highest_sequence, jitter, last_sr, delay_since_sr] = words;
        ReportBlock {
            ssrc,
            fraction_lost,
            lost,
            highest_sequence,
            jitter,
            last_sr,
            delay_since_sr,
        }
    })
}

/// Reads everything there is to read, and returns how many items that were.
fn read_all(packet: &Rtcp<'_>) -> usize {
    match packet {
        Rtcp::SenderReport(report) => report.reports().count(),
        Rtcp::ReceiverReport(report) => report.reports().count(),
        Rtcp::SourceDescription(description) => description.cnames().map(|(_, name)| name.len().min(1)).sum(),
        Rtcp::Goodbye(goodbye) => goodbye.ssrcs().count(),
        Rtcp::Nack(nack) => nack.lost().count(),
        Rtcp::Fir(fir) => fir.entries().count(),
        Rtcp::Remb(remb) => remb.ssrcs().count(),
        Rtcp::TransportFeedback(feedback) => feedback.statuses().count(),
        Rtcp::PictureLoss(_) | Rtcp::Other { .. } => 0,
    }
}

#[test]
fn a_report_stands_as_rfc_3550_draws_it() {
    let info = SenderInfo {
        ntp: 0x0102_0304_0506_0708,
        rtp: 9,
        packets: 10,
        octets: 11,
    };
    let report = ReportBlock {
        ssrc: 0xAABB_CCDD,
        fraction_lost: 64,
        lost: -2,
        highest_sequence: 0x0001_0203,
        jitter: 5,
        last_sr: 0x0304_0506,
        delay_since_sr: 0x1_0000,
    };
    let compound = built(|builder| assert_eq!(builder.sender_report(1, &info, &[report]), Ok(1)));
    #[rustfmt::skip]
    let expected = [
        0x81, 200, 0, 12, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 9, 0, 0, 0, 10, 0, 0, 0, 11,
        0xAA, 0xBB, 0xCC, 0xDD, 64, 0xFF, 0xFF, 0xFE, 0, 1, 2, 3, 0, 0, 0, 5, 3, 4, 5, 6, 0, 1, 0, 0,
    ];
    assert_eq!(compound, expected);
    let Ok(Rtcp::SenderReport(read)) = one(&compound) else {
        panic!("a sender report")
    };
    assert_eq!((read.ssrc, read.info), (1, info));
    assert_eq!(read.reports().collect::<Vec<_>>(), [report]);
}

#[test]
fn a_nack_packs_sixteen_followers_into_a_word() {
    let lost = [0xFFFE, 0xFFFF, 0, 14, 15, 100];
    let compound = built(|builder| assert_eq!(builder.nack(1, 2, &lost), Ok(6)));
    // 0xFFFE with +1, +2, +16; then 15 is +17: a word of its own.
    assert_eq!(compound[..4], [0x81, 205, 0, 5]);
    assert_eq!(
        compound[12..],
        [0xFF, 0xFE, 0x80, 0x03, 0, 15, 0, 0, 0, 100, 0, 0]
    );
    let Ok(Rtcp::Nack(nack)) = one(&compound) else {
        panic!("a nack")
    };
    assert_eq!((nack.sender_ssrc, nack.media_ssrc), (1, 2));
    assert_eq!(nack.lost().collect::<Vec<_>>(), lost);
}

#[test]
fn picture_requests_stand_as_their_documents_draw_them() {
    let compound = built(|builder| builder.picture_loss(1, 2).expect("room"));
    assert_eq!(compound, [0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2]);
    assert!(matches!(
        one(&compound),
        Ok(Rtcp::PictureLoss(PictureLoss {
            sender_ssrc: 1,
            media_ssrc: 2
        }))
    ));

    let head = [0x84, 206, 0, 6, 0, 0, 0, 1, 0, 0, 0, 0];
    let entries = [0, 0, 0, 2, 3, 0, 0, 0, 0, 0, 0, 4, 5, 0, 0, 0];
    let compound = [&head[..], &entries].concat();
    let Ok(Rtcp::Fir(fir)) = one(&compound) else {
        panic!("a full intra request")
    };
    assert_eq!(fir.entries().collect::<Vec<_>>(), [(2, 3), (4, 5)]);
}

#[test]
fn remb_holds_eighteen_significant_bits() {
    let compound = built(|builder| assert_eq!(builder.remb(1, 0x3_FFFF << 3 | 7, &[0xABCD]), Ok(1)));
    assert_eq!(
        compound[12..],
        [
            b'R',
            b'E',
            b'M',
            b'B',
            1,
            3 << 2 | 3,
            0xFF,
            0xFF,
            0,
            0,
            0xAB,
            0xCD
        ]
    );
    let Ok(Rtcp::Remb(remb)) = one(&compound) else {
        panic!("an estimate")
    };
    assert_eq!(
        (remb.bitrate, remb.ssrcs().collect::<Vec<_>>()),
        (0x3_FFFF << 3, vec![0xABCD])
    );
    // 2^17 * 2^63 is more than 64 bits hold.
    let mut lie = compound.clone();
    lie[17] = 63 << 2 | 2;
    assert!(matches!(one(&lie), Err(RtcpError::Value)));
    // Another application's message is none of ours.
    let mut other = compound;
    other[12] = b'X';
    assert!(matches!(
        one(&other),
        Ok(Rtcp::Other {
            packet_type: 206,
            count: 15
        })
    ));
}

/// Packets of Chromium 156 as they came: the flag is set and the count is what the last word lacks.
#[test]
fn transport_feedback_of_a_browser_is_padded_to_whole_words() {
    type Captured = (&'static str, &'static [(u16, Option<i16>)]);
    let captured: [Captured; 4] = [
        (
            "afcd000652e6f9a41062c04100010005014f1a0120050215475b0001",
            &[
                (1, Some(2)),
                (2, Some(21)),
                (3, Some(71)),
                (4, Some(91)),
                (5, Some(0)),
            ],
        ),
        (
            "afcd0006b5c777938fae8c27009b0005014f31192005452c00155401",
            &[
                (155, Some(69)),
                (156, Some(44)),
                (157, Some(0)),
                (158, Some(21)),
                (159, Some(84)),
            ],
        ),
        (
            "afcd000752e6f9a485bac35301770007014f513b2007290001002e5050000003",
            &[],
        ),
        (
            "afcd0007b5c777938fae8c27026b0008014f6853200888160000013a4e500002",
            &[],
        ),
    ];
    for (hex, expected) in captured {
        let bytes: Vec<u8> = (0..hex.len() / 2)
            .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("hex"))
            .collect();
        let Ok(Rtcp::TransportFeedback(feedback)) = one(&bytes) else {
            panic!("feedback: {:?}", one(&bytes))
        };
        let statuses: Vec<_> = feedback.statuses().collect();
        assert_eq!(statuses.len(), usize::from(feedback.status_count));
        assert!(expected.is_empty() || statuses == expected, "{statuses:?}");
        // What follows it in a compound is read too; a count of more than there is stays wrong.
        let twice = [&bytes[..], &bytes].concat();
        assert_eq!(packets(&twice).filter(Result::is_ok).count(), 2);
        let mut lie = bytes.clone();
        *lie.last_mut().expect("not empty") = 200;
        assert!(matches!(one(&lie), Err(RtcpError::Padding)));
    }
}

#[test]
fn padding_may_stand_at_the_end_of_a_compound_only() {
    let mut padded = built(|builder| builder.picture_loss(1, 2).expect("room"));
    padded.extend([0, 0, 0, 4]);
    padded[0] |= 0x20;
    padded[3] += 1;
    assert!(matches!(one(&padded), Ok(Rtcp::PictureLoss(_))));
    for count in [0, 1, 3, 5, 16, 255] {
        padded[15] = count;
        assert!(matches!(one(&padded), Err(RtcpError::Padding)), "{count}");
    }
    padded[15] = 4;
    let twice = [&padded[..], &padded].concat();
    assert!(matches!(packets(&twice).next(), Some(Err(RtcpError::Padding))));
}

#[test]
fn an_error_inside_a_packet_leaves_the_next_readable_and_one_of_the_frame_does_not() {
    let mut compound = built(|builder| {
        builder.receiver_report(1, &[]).expect("room");
        builder.picture_loss(1, 2).expect("room");
    });
    compound[0] |= 5; // five report blocks that are not there
    let read: Vec<_> = packets(&compound).collect();
    assert!(matches!(
        read[..],
        [Err(RtcpError::Truncated), Ok(Rtcp::PictureLoss(_))]
    ));
    compound[3] = 200;
    let read: Vec<_> = packets(&compound).collect();
    assert!(matches!(read[..], [Err(RtcpError::Truncated)]));
    compound[0] = 0x01;
    assert!(matches!(packets(&compound).next(), Some(Err(RtcpError::Version))));
}

#[test]
fn transport_feedback_stands_as_its_draft_draws_it() {
    // Reference time 1 (64 ms): 256 ticks. Numbers 10 and 12 arrive, 11 is lost, 13 arrives before 12.
    let compound = built(|builder| {
        let arrivals = [(10, 256 + 4), (12, 256 + 8), (13, 256 + 6)];
        assert_eq!(builder.transport_feedback(1, 2, 3, 10, &arrivals), Ok(3));
    });
    #[rustfmt::skip]
    let expected = [
        0x8F, 205, 0, 6, 0, 0, 0, 1, 0, 0, 0, 2, 0, 10, 0, 4, 0, 0, 1, 3,
        0b1101_0001, 0b1000_0000, // two bits each: small, lost, small, large
        4, 4, 0xFF, 0xFE, 0, 0,
    ];
    assert_eq!(compound, expected);
    let Ok(Rtcp::TransportFeedback(feedback)) = one(&compound) else {
        panic!("feedback")
    };
    assert_eq!((feedback.base_sequence, feedback.status_count), (10, 4));
    assert_eq!((feedback.reference_time, feedback.feedback_count), (1, 3));
    let statuses: Vec<_> = feedback.statuses().collect();
    assert_eq!(
        statuses,
        [(10, Some(4)), (11, None), (12, Some(4)), (13, Some(-2))]
    );
}

#[test]
fn all_chunk_types_are_read_and_the_reserved_symbol_is_refused() {
    let feedback = |count: u8, rest: &[u8]| {
        let mut packet = vec![
            0x8F, 205, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0xFF, 0xFF, 0, count, 0xFF, 0xFF, 0xFF, 0,
        ];
        packet.extend(rest);
        packet.resize(packet.len().next_multiple_of(4), 0);
        packet[3] = (packet.len() / 4 - 1) as u8;
        packet
    };
    let read = |count, rest: &[u8]| match one(&feedback(count, rest)) {
        Ok(Rtcp::TransportFeedback(feedback)) => {
            assert_eq!(feedback.reference_time, -1);
            Ok(feedback.statuses().collect::<Vec<_>>())
        }
        Ok(_) => panic!("feedback"),
        Err(error) => Err(error),
    };
    // A run of three small ones over the wrap of the numbers.
    assert_eq!(
        read(3, &[0x20, 3, 1, 2, 3]),
        Ok(vec![(65_535, Some(1)), (0, Some(2)), (1, Some(3))])
    );
    // One bit each: lost, received; then a run that says more than the count.
    let statuses = read(16, &[0x90, 0, 0x40, 9, 7, 0xFF, 0, 1, 0]).expect("well formed");
    assert_eq!(
        (statuses.len(), statuses[0].1, statuses[1].1),
        (16, None, Some(7))
    );
    assert_eq!((statuses[14].1, statuses[15].1), (Some(-256), Some(256)));
    // Two bits each.
    assert_eq!(
        read(2, &[0xE4, 0, 0x80, 0, 9]),
        Ok(vec![(65_535, Some(-32_768)), (0, Some(9))])
    );
    for refused in [&[0x60, 1, 0, 0][..], &[0xF0, 0, 0, 0]] {
        assert_eq!(read(1, refused), Err(RtcpError::Value));
    }
    // The reserved symbol behind the count means nothing.
    assert_eq!(read(1, &[0xDF, 0xFF, 5]), Ok(vec![(65_535, Some(5))]));
    // Fewer chunks than the count, fewer deltas than the symbols, no packet at all.
    for (count, refused) in [(200, &[0x20, 9][..]), (9, &[0x20, 9]), (0, &[0, 0])] {
        assert_eq!(read(count, refused), Err(RtcpError::Truncated));
    }
}

#[test]
fn a_whole_round_of_lost_numbers_takes_a_few_bytes_and_is_bounded() {
    let compound = built(|builder| {
        assert_eq!(builder.transport_feedback(1, 2, 0, 1, &[(0x8000, 0)]), Ok(1));
    });
    assert!(compound.len() <= 32, "{}", compound.len());
    let Ok(Rtcp::TransportFeedback(feedback)) = one(&compound) else {
        panic!("feedback")
    };
    assert_eq!(
        feedback
            .statuses()
            .filter(|(_, delta)| delta.is_some())
            .collect::<Vec<_>>(),
        [(0x8000, Some(0))]
    );
}

/// Writes one packet.
type Call<'c> = Box<dyn Fn(&mut Builder<'_>) -> Result<usize, NoRoom> + 'c>;

#[test]
fn nothing_is_written_beyond_the_limit() {
    let blocks = [ReportBlock::default(); 40];
    let numbers: Vec<u16> = (0..3_000).map(|n| n * 20).collect();
    let ssrcs: Vec<u32> = (0..300).collect();
    let arrivals: Vec<_> = (0..4_000).map(|n| (n * 3, i64::from(n) * 300)).collect();
    for limit in 0..1_300 {
        let mut out = vec![9; 5];
        let calls: [Call<'_>; 7] = [
            Box::new(|b| b.sender_report(1, &SenderInfo::default(), &blocks)),
            Box::new(|b| b.receiver_report(1, &blocks)),
            Box::new(|b| b.source_description(1, b"d3f1").map(|()| 1)),
            Box::new(|b| b.nack(1, 2, &numbers)),
            Box::new(|b| b.picture_loss(1, 2).map(|()| 1)),
            Box::new(|b| b.remb(1, 1_000_000, &ssrcs)),
            Box::new(|b| b.transport_feedback(1, 2, 0, 0, &arrivals)),
        ];
        for call in &calls {
            out.truncate(5);
            let result = call(&mut Builder::new(&mut out, limit));
            assert!(out.len() <= 5 + limit);
            match result {
                Ok(_) => assert!(one(&out[5..]).is_ok()),
                Err(NoRoom) => assert_eq!(out.len(), 5),
            }
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in vec(any::<u8>(), 0..120)) {
        for packet in packets(&bytes).flatten() {
            prop_assert!(read_all(&packet) <= usize::from(u16::MAX));
        }
    }

    /// Well framed, so that the bodies are reached.
    #[test]
    fn any_body_is_read_without_panic(
        packet_type in 200..208_u8,
        count in 0..32_u8,
        words in vec(any::<u32>(), 0..24),
        small in any::<bool>(),
    ) {
        let mut bytes = vec![0x80 | count, packet_type, 0, words.len() as u8];
        for word in words {
            // Small words make the lengths in the body likely to be possible.
            bytes.extend(if small { word & 0x0103_0305 } else { word }.to_be_bytes());
        }
        if let Ok(packet) = one(&bytes) {
            prop_assert!(read_all(&packet) <= usize::from(u16::MAX));
        }
    }

    #[test]
    fn reports_are_read_back(ssrc: u32, words: [u32; 3], ntp: u64, blocks in vec(block(), 0..40)) {
        let info = SenderInfo { ntp, rtp: words[0], packets: words[1], octets: words[2] };
        let kept = blocks.len().min(31);
        let compound = built(|builder| {
            assert_eq!(builder.sender_report(ssrc, &info, &blocks), Ok(kept));
            assert_eq!(builder.receiver_report(ssrc, &blocks), Ok(kept));
        });
        let read: Vec<_> = packets(&compound).collect::<Result<_, _>>().expect("own packets");
        let [Rtcp::SenderReport(sender), Rtcp::ReceiverReport(receiver)] = read[..] else { panic!("two reports") };
        prop_assert_eq!((sender.ssrc, sender.info, receiver.ssrc), (ssrc, info, ssrc));
        prop_assert_eq!(&sender.reports().collect::<Vec<_>>(), &blocks[..kept]);
        prop_assert_eq!(&receiver.reports().collect::<Vec<_>>(), &blocks[..kept]);
    }

    #[test]
    fn names_and_goodbyes_are_read_back(ssrc: u32, name in vec(any::<u8>(), 0..300), gone in vec(any::<u32>(), 1..32)) {
        let mut compound = built(|builder| builder.source_description(ssrc, &name).expect("room"));
        let count = gone.len() as u8;
        compound.extend([0x80 | count, 203, 0, count]);
        compound.extend(gone.iter().flat_map(|ssrc| ssrc.to_be_bytes()));
        let read: Vec<_> = packets(&compound).collect::<Result<_, _>>().expect("own packets");
        let [Rtcp::SourceDescription(description), Rtcp::Goodbye(goodbye)] = read[..] else { panic!("two packets") };
        prop_assert_eq!(description.cnames().collect::<Vec<_>>(), [(ssrc, &name[..name.len().min(255)])]);
        prop_assert_eq!(goodbye.ssrcs().collect::<Vec<_>>(), gone);
    }

    #[test]
    fn lost_numbers_are_read_back(base: u16, steps in vec(1..40_u16, 1..60), limit in 16..200_usize) {
        let lost: Vec<u16> = steps.iter().scan(base, |at, step| { *at = at.wrapping_add(*step); Some(*at) }).collect();
        let (mut told, mut rest) = (Vec::new(), &lost[..]);
        while !rest.is_empty() {
            let mut out = Vec::new();
            let written = Builder::new(&mut out, limit).nack(1, 2, rest).expect("room for one");
            prop_assert!(out.len() <= limit);
            let Ok(Rtcp::Nack(nack)) = one(&out) else { panic!("a nack") };
            told.extend(nack.lost());
            rest = &rest[written..];
        }
        prop_assert_eq!(told, lost);
    }

    #[test]
    fn an_estimate_is_read_back_to_18_bits(bitrate: u64, ssrcs in vec(any::<u32>(), 0..300)) {
        let compound = built(|builder| assert_eq!(builder.remb(7, bitrate, &ssrcs), Ok(ssrcs.len().min(255))));
        let Ok(Rtcp::Remb(remb)) = one(&compound) else { panic!("an estimate") };
        prop_assert!(remb.bitrate <= bitrate && bitrate - remb.bitrate <= bitrate >> 17);
        prop_assert_eq!(&remb.ssrcs().collect::<Vec<_>>(), &ssrcs[..ssrcs.len().min(255)]);
    }

    /// Steps of 1 make runs, mixed ones vectors; deltas are small, large, negative, or too great for one packet.
    #[test]
    fn arrivals_are_read_back(
        base: u16,
        epoch in -1_000_000..1_000_000_000_i64,
        steps in vec((prop_oneof![8 => Just(1_u16), 3 => 2..4_u16, 1 => 5..9_000_u16],
            prop_oneof![8 => 0..30_i64, 2 => -300..600_i64, 1 => -33_000..40_000_i64]), 1..200),
        limit in 32..1_200_usize,
    ) {
        let arrivals: Vec<(u16, i64)> = steps.iter().scan((base.wrapping_sub(1), epoch), |(number, ticks), (step, delta)| {
            (*number, *ticks) = (number.wrapping_add(*step), *ticks + delta);
            Some((*number, *ticks))
        }).collect();
        let (mut rest, mut base) = (&arrivals[..], base);
        while !rest.is_empty() {
            let mut out = Vec::new();
            let written = Builder::new(&mut out, limit).transport_feedback(1, 2, 9, base, rest).expect("room for one");
            prop_assert!(out.len() <= limit && out.len() % 4 == 0);
            let Ok(Rtcp::TransportFeedback(feedback)) = one(&out) else { panic!("feedback") };
            prop_assert_eq!(feedback.base_sequence, base);
            let (mut at, mut expected) = (i64::from(feedback.reference_time) * 256, rest[..written].iter());
            for (index, (number, delta)) in feedback.statuses().enumerate() {
                prop_assert_eq!(number, base.wrapping_add(index as u16));
                if let Some(delta) = delta {
                    at += i64::from(delta);
                    prop_assert_eq!(Some(&(number, at)), expected.next());
                }
            }
            prop_assert!(expected.next().is_none());
            rest = &rest[written..];
            base = arrivals[arrivals.len() - rest.len() - 1].0.wrapping_add(1);
        }
    }
}
