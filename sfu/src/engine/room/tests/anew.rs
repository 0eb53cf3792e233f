//! Senders that begin anew without a pause.

use super::{kit::*, received::Received};

#[test]
fn a_camera_whose_time_goes_back_is_shown_on() {
    for back in [60_000, 90_000, 900_000] {
        let mut kit = Kit::new(2);
        kit.layers = 1;
        kit.view(0, &[want(0, camera(2), 180)]);
        let send = |kit: &mut Kit, back: u32| {
            let key = kit.take_asked(2);
            for mut made in kit.encode(2, 0, key) {
                let time = u32::from_be_bytes(made.bytes[4..8].try_into().unwrap());
                made.bytes[4..8].copy_from_slice(&time.wrapping_sub(back).to_be_bytes());
                kit.arrive(2, &made);
            }
        };
        kit.run(60, |kit| send(kit, 0));
        let before = kit.sent(1).len();
        assert!(before > 30, "{before}");
        kit.run(60, |kit| send(kit, back));
        let sent = kit.sent(1);
        assert!(sent.len() - before > 50, "{back}: {}", sent.len() - before);
        let goes_on = |pair: &[Received]| pair[1].time.wrapping_sub(pair[0].time) < 90_000;
        assert!(sent.windows(2).all(goes_on), "{back}");
    }
}
