//! Receivers that tell nothing of what is sent to them.

use super::{kit::*, received::*, terms::*};
use crate::engine::{id::SlotId, packet::Purpose, testing::ms};
use crate::wire::rtcp::ReportBlock;

/// Point 1 sees point 2, and gives no transport-wide feedback.
fn player() -> Kit {
    let mut kit = Kit::new(0);
    kit.payload = 1_000;
    let mut media = negotiated();
    media.extensions.transport_cc = None;
    kit.join_with(1, Default::default(), media);
    kit.join(2);
    kit.view(0, &[want(0, camera(2), 720)]);
    kit
}

/// So many seconds of picture and voice of point 2. `reports`: point 1 does, each second. Packets of pictures and of voices that it got in the last one.
fn run(kit: &mut Kit, seconds: u64, reports: bool) -> (usize, usize) {
    for step in 0..seconds * 50 {
        if step % 50 == 0 && reports {
            let block = ReportBlock {
                ssrc: video_ssrc(0),
                fraction_lost: 0,
                lost: 0,
                highest_sequence: 0,
                jitter: 0,
                last_sr: 0,
                delay_since_sr: 0,
            };
            kit.feedback(1, |builder| {
                builder.receiver_report(1, &[block]).unwrap();
            });
        }
        kit.voice(2, 30);
        if step % 2 == 0 {
            kit.frames(&[2], step % 50 == 0);
        }
        kit.advance(20);
    }
    let since = kit.now - ms(1_000);
    let sent = kit.sent(1);
    let count = |is: fn(&Received) -> bool| sent.iter().filter(|r| r.at >= since && is(r)).count();
    (
        count(|r| r.slot == SlotId::video(0)),
        count(|r| r.purpose == Purpose::Audio),
    )
}

#[test]
fn a_player_without_feedback_that_reports_nothing_hears_and_sees_again_when_it_does() {
    let mut kit = player();
    let (pictures, voices) = run(&mut kit, 5, true);
    assert!(pictures >= 25 && voices >= 45, "{pictures}, {voices}");
    let (pictures, voices) = run(&mut kit, 20, false);
    assert!(pictures == 0 && voices >= 45, "{pictures}, {voices}");
    let (pictures, voices) = run(&mut kit, 5, true);
    assert!(pictures >= 25 && voices >= 45, "{pictures}, {voices}");
}

#[test]
fn a_player_of_a_picture_alone_is_there_again_with_a_report_that_says_nothing() {
    let mut kit = player();
    let pictures = |kit: &mut Kit, seconds: u64, reports: bool| {
        for step in 0..seconds * 25 {
            if step % 25 == 0 && reports {
                // Of whom nothing came there is no block (RFC 3550 §6.4.2).
                kit.feedback(1, |builder| {
                    builder.receiver_report(1, &[]).unwrap();
                });
            }
            kit.frames(&[2], step % 25 == 0);
            kit.advance(40);
        }
        let since = kit.now - ms(1_000);
        kit.sent(1).iter().filter(|r| r.at >= since).count()
    };
    assert!(pictures(&mut kit, 5, true) >= 25);
    assert_eq!(pictures(&mut kit, 20, false), 0);
    assert!(pictures(&mut kit, 5, true) >= 25);
}
