//! Sound that goes again to receivers without RED.

use std::collections::BTreeMap;

use super::{super::*, kit::*, received::*, terms::*};
use crate::engine::{id::SlotId, packet::Purpose, testing::ms};

/// Point 1 listens and takes no RED, microphones of the others are on.
fn room(points: u32) -> Kit {
    let mut kit = Kit::new(0);
    kit.join_with(1, Default::default(), without_red());
    (2..=points).for_each(|number| kit.join(number));
    kit
}

fn switch(kit: &mut Kit, number: u32, on: bool) {
    kit.input(Input::Published(EndpointId(number), SourceKind::Mic, on));
}

/// How a receiver tells what it got.
#[derive(Clone, Copy)]
struct Hearing {
    /// Of so many packets the last is lost when it goes the first time; 0: of none.
    loses: usize,
    /// What goes again arrives, if it is not lost too.
    repeats_too: bool,
}

/// So many packets of voice of point 2; each 100 ms point 1 tells what came and when, 10 ms after it was sent.
fn talk(kit: &mut Kit, packets: usize, hearing: Hearing) {
    let mut heard: BTreeMap<u16, i64> = BTreeMap::new();
    let mut read = kit.received.len();
    for packet in 0..packets {
        kit.voice(2, 30);
        kit.advance(20);
        for received in &kit.received[read..] {
            let first = received.purpose == Purpose::Audio;
            let is_lost = match hearing.loses {
                0 => false,
                loses => {
                    place(kit, received.wire_sequence) % loses == loses - 1 && (first || !hearing.repeats_too)
                }
            };
            let number = received.transport.filter(|number| !kit.told.contains(number));
            if let Some(number) = number.filter(|_| received.to == 1 && !is_lost) {
                let ticks = (received.at - kit.start + ms(10)).as_micros() as i64 / 250;
                heard.entry(number).or_insert(ticks);
            }
        }
        read = kit.received.len();
        if packet % 5 == 4 && !heard.is_empty() {
            let arrivals: Vec<(u16, i64)> = std::mem::take(&mut heard).into_iter().collect();
            let next = kit.told.last().map_or(0, |last| last + 1);
            kit.told.extend(arrivals.iter().map(|(number, _)| *number));
            kit.feedback(1, |builder| {
                let base = arrivals[0].0.min(next);
                let told = builder.transport_feedback(1, audio_ssrc(1), 0, base, &arrivals);
                assert_eq!(told, Ok(arrivals.len()));
            });
        }
    }
}

/// The how manyth that went to `a1` of point 1 a packet of that number was, from 0 on.
fn place(kit: &Kit, number: u16) -> usize {
    let first = kit
        .received
        .iter()
        .find(|r| r.to == 1 && r.slot == SlotId::audio(1));
    number
        .wrapping_sub(first.map_or(number, |first| first.wire_sequence))
        .into()
}

/// All that went to `a1` of point 1, the packets and what repeated them.
fn slot(kit: &Kit) -> (Vec<Received>, Vec<Received>) {
    let all = kit
        .received
        .iter()
        .filter(|r| r.to == 1 && r.slot == SlotId::audio(1));
    all.cloned().partition(|r| r.purpose == Purpose::Audio)
}

/// How long after the packet each of its repeats went, by number.
fn repeated(kit: &Kit, from: usize) -> BTreeMap<u16, Vec<u64>> {
    let (first, again) = slot(kit);
    let mut delays: BTreeMap<u16, Vec<u64>> = first[from..]
        .iter()
        .map(|r| (r.wire_sequence, Vec::new()))
        .collect();
    for repeat in again {
        let packet = first.iter().find(|r| r.wire_sequence == repeat.wire_sequence);
        let packet = packet.expect("it went before");
        assert_eq!(packet.bytes, repeat.bytes, "byte for byte");
        let delay = (repeat.at - packet.at).as_millis() as u64;
        if let Some(delays) = delays.get_mut(&repeat.wire_sequence) {
            delays.push(delay);
        }
    }
    delays
}

const NOTHING: Hearing = Hearing {
    loses: 0,
    repeats_too: true,
};
const TENTH: Hearing = Hearing {
    loses: 10,
    repeats_too: true,
};
const QUARTER: Hearing = Hearing {
    loses: 4,
    repeats_too: true,
};

#[test]
fn what_a_path_loses_goes_again_as_it_was_until_it_is_calm() {
    let mut kit = room(2);
    talk(&mut kit, 50, NOTHING);
    assert!(slot(&kit).1.is_empty(), "nothing is lost");
    talk(&mut kit, 100, TENTH);
    let from = slot(&kit).0.len();
    talk(&mut kit, 500, TENTH);
    talk(&mut kit, 20, NOTHING);
    let delays = repeated(&kit, from);
    let of_lost = |(number, _): &(&u16, &Vec<u64>)| place(&kit, **number) % 10 == 9;
    let lost: Vec<_> = delays.iter().filter(of_lost).take(50).collect();
    assert!(
        lost.len() == 50 && lost.iter().all(|(_, delays)| **delays == [60]),
        "{lost:?}"
    );
    // What was told to be there is not repeated: of five packets of a feedback the oldest two.
    let all = delays.len();
    let again = delays.values().filter(|delays| !delays.is_empty()).count();
    assert!(again * 10 > all * 5 && again * 10 < all * 8, "{again} of {all}");
    talk(&mut kit, 550, NOTHING);
    let from = slot(&kit).0.len();
    talk(&mut kit, 50, NOTHING);
    assert!(repeated(&kit, from).values().all(Vec::is_empty));
}

#[test]
fn heavy_loss_is_repeated_more_than_once_and_repeats_do_not_hide_it() {
    let mut kit = room(2);
    talk(&mut kit, 100, QUARTER);
    let from = slot(&kit).0.len();
    // For half a minute all that is lost comes as a repeat, and still it counts.
    talk(&mut kit, 1_500, QUARTER);
    let delays = repeated(&kit, from);
    let lost: Vec<_> = delays
        .iter()
        .rev()
        .skip(20)
        .filter(|(number, _)| place(&kit, **number) % 4 == 3)
        .collect();
    assert!(lost.len() > 300);
    assert!(lost.iter().all(|(_, delays)| delays.first() == Some(&40)));
    assert!(
        lost.iter()
            .all(|(_, delays)| delays.iter().all(|delay| [40, 100, 160].contains(delay)))
    );
    let paths = kit.room.stats().paths;
    let share = paths.lost as f64 / (paths.lost + paths.arrived) as f64;
    assert!((0.2..0.3).contains(&share), "{paths:?}");
}

#[test]
fn where_repeats_are_lost_too_the_next_goes_and_no_later_than_200_ms() {
    let mut kit = room(2);
    let deaf = Hearing {
        repeats_too: false,
        ..QUARTER
    };
    talk(&mut kit, 100, deaf);
    let from = slot(&kit).0.len();
    talk(&mut kit, 200, deaf); // no round trip is known: 100 ms, over which feedback spares too few for a third
    talk(&mut kit, 10, NOTHING);
    let twice = repeated(&kit, from)
        .into_values()
        .filter(|delays| *delays == [40, 100])
        .count();
    assert!(twice >= 45, "{twice}");
    // The node is held up: what would come too late does not go at all.
    talk(&mut kit, 10, deaf);
    let before = slot(&kit).1.len();
    kit.wake(kit.now + ms(250));
    assert_eq!(slot(&kit).1.len(), before);
}

#[test]
fn the_last_words_before_a_silence_or_another_voice_go_again_too() {
    let mut kit = room(3);
    switch(&mut kit, 3, false);
    talk(&mut kit, 150, TENTH);
    let from = slot(&kit).0.len() - 1;
    switch(&mut kit, 2, false);
    switch(&mut kit, 3, true);
    kit.advance(400);
    let last = repeated(&kit, from);
    assert_eq!(last.into_values().next(), Some(vec![60]));
}

#[test]
fn who_takes_red_gets_no_repeats_and_who_hears_them_is_told_of_all_that_was_sent() {
    let mut kit = Kit::new(2);
    talk(&mut kit, 200, QUARTER);
    let (first, again) = slot(&kit);
    assert!(again.is_empty() && first.iter().any(|r| r.payload_type == RED));
    let mut kit = room(2);
    talk(&mut kit, 200, QUARTER);
    kit.advance(1_500);
    let (first, again) = slot(&kit);
    let report = kit.reports(1).into_iter().rfind(|r| r.ssrc == audio_ssrc(1));
    let sent = (first.len() + again.len()) as u32;
    assert!(!again.is_empty());
    assert_eq!(report.map(|r| r.packets), Some(sent));
}
