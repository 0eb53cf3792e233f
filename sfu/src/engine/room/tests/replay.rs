//! Slots that turn to something else are served from what the node still has of it.

use super::{super::*, kit::*, received::check_continuity, terms::*};
use crate::engine::{id::SlotId, testing::base, units::Bitrate};

#[test]
fn a_tile_that_grows_and_shrinks_at_once_is_served_from_what_was_kept() {
    let mut kit = Kit::new(2);
    kit.view(0, &[want(0, camera(2), 300)]);
    kit.run(15, |kit| {
        let key = kit.take_asked(2);
        kit.frames(&[2], key);
    });
    for height in [90, 300, 90, 300] {
        kit.view(0, &[want(0, camera(2), height)]);
    }
    kit.run(3, |kit| kit.frames(&[2], false));
    assert!(kit.room.stats().served_from_history >= 4);
    assert_eq!(kit.sent(1).last().unwrap().layer, 1);
    check_continuity(kit.sent(1), &kit.lost);
}

#[test]
fn a_layer_that_stopped_does_not_take_a_tile_back_in_time() {
    let mut kit = Kit::new(2);
    kit.view(0, &[want(0, camera(2), 90)]);
    kit.frames(&[2], true);
    kit.run(2, |kit| kit.frames(&[2], false));
    kit.layers = 1;
    kit.run(11, |kit| kit.frames(&[2], false));
    kit.view(0, &[want(0, camera(2), 300)]);
    let of_higher = |kit: &Kit| kit.sent(1).iter().filter(|packet| packet.layer == 1).count();
    assert_eq!(
        of_higher(&kit),
        0,
        "its key frame is older than what the tile shows"
    );
    assert!(kit.take_asked(2));
    kit.layers = 3;
    kit.frames(&[2], true);
    assert!(of_higher(&kit) > 0);
    check_continuity(kit.sent(1), &kit.lost);
}

/// Point 1 shows a page of four cameras, and turns to four others, of which the node has a key frame and 20 pictures more.
#[test]
fn slots_that_turn_together_make_no_queue_together() {
    let mut kit = Kit::new(0);
    let thin = RoomPolicy {
        way_start: Bitrate::mbps(1),
        ..fast()
    };
    kit.room = Room::new(base(), thin);
    (kit.layers, kit.payload) = (1, 300);
    (1..=10).for_each(|number| kit.join(number));
    let page = |first: u32| -> Vec<_> {
        (0..4)
            .map(|slot| want(slot as u8, camera(first + slot), 90))
            .collect()
    };
    kit.view(0, &page(2));
    kit.view(9, &page(6));
    let all: Vec<u32> = (2..=9).collect();
    kit.frames(&all, true);
    kit.run(20, |kit| kit.frames(&all, false));
    for &number in &all {
        kit.take_asked(number);
    }

    let before = kit.sent(1).len();
    kit.view(0, &page(6));
    let served = kit.room.stats().served_from_history;
    assert!((1..4).contains(&served), "{served} of four");
    kit.run(8, |kit| kit.frames(&all, false));
    let asked: Vec<u32> = all
        .iter()
        .copied()
        .filter(|number| kit.take_asked(*number))
        .collect();
    assert_eq!(
        asked.len() as u64,
        4 - served,
        "for whom there was no room: {asked:?}"
    );
    let shown = |kit: &Kit, slot| {
        let sent = kit.sent(1);
        let last = sent[before..]
            .iter()
            .rfind(|packet| packet.slot == SlotId::video(slot));
        last.map(|packet| packet.source)
    };
    for slot in 0..4 {
        let first = if asked.contains(&(6 + u32::from(slot))) {
            2
        } else {
            6
        };
        assert_eq!(shown(&kit, slot), Some(camera(first + u32::from(slot))));
    }
    kit.frames(&asked, true);
    kit.run(8, |kit| kit.frames(&all, false));
    (0..4).for_each(|slot| assert_eq!(shown(&kit, slot), Some(camera(6 + u32::from(slot)))));
    check_continuity(kit.sent(1), &kit.lost);
}
