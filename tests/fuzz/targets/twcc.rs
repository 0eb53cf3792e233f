//! Any list of arrivals as transport-wide feedback: what is written is read back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sfu::wire::rtcp::{self, Builder, Rtcp};

fuzz_target!(|input: (u16, u16, Vec<(u16, i16)>)| {
    let (base, limit, steps) = input;
    let (mut number, mut ticks) = (base, 0_i64);
    let arrivals: Vec<(u16, i64)> = steps
        .iter()
        .map(|(step, delta)| {
            (number, ticks) = (number.wrapping_add(*step), ticks + i64::from(*delta) * 2);
            (number, ticks)
        })
        .collect();
    let mut out = Vec::new();
    let Ok(written) = Builder::new(&mut out, limit.into()).transport_feedback(1, 2, 3, base, &arrivals)
    else {
        assert!(out.is_empty());
        return;
    };
    assert!(out.len() <= usize::from(limit));
    let Some(Ok(Rtcp::TransportFeedback(feedback))) = rtcp::packets(&out).next() else {
        panic!("feedback")
    };
    let mut at = i64::from(feedback.reference_time) * 256;
    let read: Vec<(u16, i64)> = feedback
        .statuses()
        .filter_map(|(number, delta)| {
            at += i64::from(delta?);
            Some((number, at))
        })
        .collect();
    assert_eq!(read, arrivals[..written]);
});
