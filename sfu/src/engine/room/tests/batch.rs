//! Packets that come together go to one receiver after the other, and are taken in parts.

use super::{super::*, kit::*};
use crate::wire::rtcp;

/// Points 1 and 2 see the camera of point 3, which has sent a key frame.
fn room() -> Kit {
    let mut kit = Kit::new(3);
    kit.layers = 1;
    for viewer in [0, 1] {
        kit.view(viewer, &[want(0, camera(3), 90)]);
    }
    kit.frames(&[3], true);
    kit.run(3, |kit| kit.frames(&[3], false));
    kit
}

/// So many packets of point 3's camera come; `between` happens behind each.
fn come(kit: &mut Kit, pictures: usize, mut between: impl FnMut(&mut Kit)) {
    for _ in 0..pictures {
        for made in kit.encode(3, 0, false) {
            kit.room.handle_rtp(kit.now, EndpointId(3), &made.bytes);
            between(kit);
        }
    }
}

/// To whom, of what is taken at once.
fn take(kit: &mut Kit, most: usize) -> (Vec<u32>, bool) {
    let mut forwards = Vec::new();
    let more = kit.room.poll_forwards(most, &mut forwards);
    (forwards.iter().map(|forward| forward.to.0).collect(), more)
}

#[test]
fn each_receiver_gets_all_that_came_before_the_next_gets_any() {
    let mut kit = room();
    come(&mut kit, 3, |_| ());
    assert_eq!(take(&mut kit, 1), (vec![1; 3], true));
    assert_eq!(take(&mut kit, 1), (vec![2; 3], false));
    come(&mut kit, 3, |_| ());
    assert_eq!(take(&mut kit, usize::MAX), (vec![1, 1, 1, 2, 2, 2], false));
}

#[test]
fn a_batch_that_finds_no_place_yet_is_given_once() {
    let mut kit = room();
    come(&mut kit, 2, |_| ());
    // As when more than is taken at once waits already: repairs, or what a pacer held.
    assert_eq!(take(&mut kit, 0), (vec![], true));
    assert_eq!(kit.room.stats().dropped.too_late, 0);
    assert_eq!(take(&mut kit, usize::MAX), (vec![1, 1, 2, 2], false));
    assert_eq!(kit.room.stats().dropped.too_late, 0, "nothing was offered twice");
    // What comes meanwhile goes behind it.
    come(&mut kit, 1, |_| ());
    assert_eq!(take(&mut kit, 0), (vec![], true));
    come(&mut kit, 1, |_| ());
    assert_eq!(take(&mut kit, usize::MAX), (vec![1, 2, 1, 2], false));
}

#[test]
fn reports_that_come_between_packets_do_not_part_them() {
    let mut kit = room();
    let mut report = Vec::new();
    let block = rtcp::ReportBlock::default();
    let mut builder = rtcp::Builder::new(&mut report, 200);
    builder.receiver_report(9, &[block]).unwrap();
    come(&mut kit, 3, |kit| {
        kit.room.handle_rtcp(kit.now, EndpointId(2), &report);
        kit.room.handle_timeout(kit.now);
    });
    assert_eq!(take(&mut kit, usize::MAX), (vec![1, 1, 1, 2, 2, 2], false));
}

#[test]
fn what_happens_amid_a_batch_does_not_overtake_it() {
    let mut kit = room();
    come(&mut kit, 2, |_| ());
    assert_eq!(take(&mut kit, 1), (vec![1; 2], true));
    // Point 2 leaves before it was given what came: that was sent to it all the same, and nothing behind it.
    kit.room.handle(kit.now, Input::Leave(EndpointId(2)));
    assert_eq!(take(&mut kit, 1).0, vec![2; 2]);
    come(&mut kit, 2, |_| ());
    assert_eq!(take(&mut kit, usize::MAX), (vec![1; 2], false));
    // More packets than those that wait: the former go first.
    come(&mut kit, 1, |_| ());
    assert!(!kit.room.batch.is_empty());
    kit.room.handle(kit.now, Input::View(EndpointId(1), Vec::new()));
    come(&mut kit, 1, |_| ());
    assert_eq!(take(&mut kit, usize::MAX), (vec![1], false));
}
