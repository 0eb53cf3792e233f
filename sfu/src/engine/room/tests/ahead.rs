//! The stage's packets that go again before anybody asks.

use std::collections::BTreeMap;

use super::{kit::*, received::*, terms::*};
use crate::{
    engine::{
        id::SlotId,
        packet::{Negotiated, Purpose},
        testing::ms,
    },
    wire::rtcp::ReportBlock,
};

/// Point 1 sees point 2 on its stage, and its small picture beside it.
fn room(media: Negotiated) -> Kit {
    let mut kit = Kit::new(0);
    kit.join_with(1, Default::default(), media);
    kit.join(2);
    kit.view(0, &[want(0, camera(2), 720), want(1, camera(2), 180)]);
    kit.frames(&[2], true);
    kit
}

/// So many pictures of point 2, a multiple of three, each 33 ms. Each third time point 1 tells what came 10 ms after it was sent, and of so many packets the last is lost; 0: none.
fn watch(kit: &mut Kit, pictures: usize, loses: usize) {
    let mut read = kit.received.len();
    let mut came: BTreeMap<u16, i64> = BTreeMap::new();
    for picture in 0..pictures {
        kit.frames(&[2], false);
        kit.advance(FRAME_MS);
        for received in kit.received[read..].iter().filter(|r| r.to == 1) {
            let number = received.transport.expect("all have one");
            if loses == 0 || usize::from(number) % loses != loses - 1 {
                came.insert(
                    number,
                    (received.at - kit.start + ms(10)).as_micros() as i64 / 250,
                );
            }
        }
        read = kit.received.len();
        if picture % 3 == 2 {
            let arrivals: Vec<(u16, i64)> = std::mem::take(&mut came).into_iter().collect();
            let first = arrivals[0].0;
            let base = kit.told.last().map_or(first, |last| first.min(last + 1));
            kit.told.extend(arrivals.iter().map(|(number, _)| *number));
            kit.feedback(1, |builder| {
                let told = builder.transport_feedback(1, video_ssrc(0), 0, base, &arrivals);
                assert_eq!(told, Ok(arrivals.len()));
            });
        }
    }
}

/// Point 1 answers the next sender report so long after it was sent.
fn answer_after(kit: &mut Kit, milliseconds: u64) {
    let before = kit.reports(1).len();
    while kit.reports(1).len() == before {
        kit.advance(1);
    }
    let last = kit.reports(1).pop().expect("there is one");
    kit.advance(milliseconds);
    let block = ReportBlock {
        ssrc: video_ssrc(0),
        fraction_lost: 0,
        lost: 0,
        highest_sequence: 0,
        jitter: 0,
        last_sr: (last.ntp >> 16) as u32,
        delay_since_sr: 0,
    };
    kit.feedback(1, |builder| {
        builder.receiver_report(1, &[block]).expect("it fits");
    });
}

/// What went to the stage of point 1 from then on: for the first time, and as RTX.
fn stage(kit: &Kit, from: usize) -> (Vec<Received>, Vec<Received>) {
    let all = kit.received[from..].iter().filter(|r| r.to == 1);
    assert!(
        all.clone()
            .all(|r| r.purpose != Purpose::Repair || r.slot == SlotId::video(0))
    );
    let stage = all.filter(|r| r.slot == SlotId::video(0)).cloned();
    stage.partition(|r| r.purpose == Purpose::Video)
}

#[test]
fn over_a_long_path_with_loss_the_stage_goes_once_more_until_it_is_calm() {
    let mut kit = room(negotiated());
    answer_after(&mut kit, 600);
    watch(&mut kit, 99, 20);
    let from = kit.received.len();
    watch(&mut kit, 51, 20);
    kit.advance(100);
    let (first, again) = stage(&kit, from);
    let places: BTreeMap<u16, &Received> = first.iter().map(|r| (r.wire_sequence, r)).collect();
    let mut seen = 0;
    for repair in &again {
        let Some(packet) = repair.original.and_then(|original| places.get(&original)) else {
            continue; // of a packet from before
        };
        seen += 1;
        assert_eq!((repair.at - packet.at).as_millis(), 40);
        assert_eq!((&repair.payload, repair.time), (&packet.payload, packet.time));
        assert_eq!((repair.ssrc, repair.playout), (rtx_ssrc(0), None));
    }
    assert_eq!((seen, first.len()), (153, 153), "each once");
    // Who asks still is answered: both may be lost.
    let asked = first.last().expect("there is one").wire_sequence;
    let answered = |kit: &Kit| {
        kit.repairs(1)
            .iter()
            .filter(|r| r.original == Some(asked))
            .count()
    };
    let before = answered(&kit);
    kit.nack(1, SlotId::video(0), &[asked, asked]);
    assert_eq!((before, answered(&kit)), (1, 2));
    watch(&mut kit, 450, 0);
    let from = kit.received.len();
    watch(&mut kit, 30, 0);
    assert!(stage(&kit, from).1.is_empty(), "ten calm seconds have passed");
}

#[test]
fn where_a_repair_comes_soon_or_cannot_come_or_nothing_is_lost_it_does_not() {
    let without_rtx = || {
        let mut media = negotiated();
        media.slots.iter_mut().for_each(|slot| slot.rtx_ssrc = None);
        media
    };
    let table = [
        (negotiated(), 600, 20, true),
        (negotiated(), 200, 20, false),
        (negotiated(), 600, 0, false),
        (without_rtx(), 600, 20, false),
    ];
    for (media, round_trip, loses, goes) in table {
        let mut kit = room(media);
        answer_after(&mut kit, round_trip);
        watch(&mut kit, 99, loses);
        let (_, again) = stage(&kit, 0);
        assert_eq!(!again.is_empty(), goes, "{round_trip} ms, {loses}");
    }
}
