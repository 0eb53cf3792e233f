//! What the parts of the fast path cost, each by itself. Benchmarks report; a person judges.

use std::time::{Duration, Instant};

use divan::{Bencher, black_box};
use sfu::engine::{
    arrival::{Picture, PictureId},
    bwe::{Estimator, Sent},
    history::{History, HistoryLimit},
    id::{MediaKind, PointNumber},
    packet::{Codec, StreamOrigin},
    rewriter::{Original, Rewriter},
    seq::{RtpTime, Seq},
    speaker::Speaker,
};
use sfu::wire::rtcp::{self, Builder, Rtcp, TICK_MICROS};

fn main() {
    divan::main();
}

/// Packet `number` of a camera that makes frames of five packets.
fn picture(number: u64) -> Original {
    let frame = number / 5;
    Original {
        timestamp: RtpTime(frame * 3_000),
        capture: Duration::from_micros(33_333) * frame as u32,
        lasts: 0,
        marker: number % 5 == 4,
        codec: Codec::Vp8,
        video: Some(Picture {
            starts_picture: number.is_multiple_of(5),
            picture_id: Some(PictureId {
                value: frame as u16 & 0x7fff,
                wide: true,
            }),
            tl0_pic_idx: Some(frame as u8),
            temporal: Some(0),
            ..Picture::default()
        }),
        frame: None,
    }
}

/// The slot's number, time and picture ids for one packet.
#[divan::bench]
fn rewrite(bencher: Bencher<'_, '_>) {
    let origin = StreamOrigin {
        sequence: 1_000,
        rtx_sequence: 2_000,
        timestamp: 3_000,
        picture_id: 400,
        tl0_pic_idx: 50,
    };
    let mut rewriter = Rewriter::new(MediaKind::Video, 90_000, origin);
    let mut number = 0;
    rewriter.begin(Seq(0), &picture(0)).expect("the first");
    bencher.bench_local(move || {
        number += 1;
        rewriter.follow(Seq(number), &picture(number)).expect("in order")
    });
}

/// One level of a voice, in a room where that many are heard.
#[divan::bench(args = [3, 20, 239])]
fn speaker_feed(bencher: Bencher<'_, '_>, voices: u32) {
    let start = Instant::now();
    let mut speaker = Speaker::new();
    let mut count = 0;
    bencher.bench_local(move || {
        count += 1;
        let point = PointNumber::try_from(count % voices + 1).expect("from 1");
        let now = start + Duration::from_micros(20_000 / u64::from(voices) * u64::from(count));
        speaker.feed(now, point, (count % 90) as u8, true);
    });
}

/// Who is loudest, and the ranking behind it: ten times a second.
#[divan::bench(args = [3, 20, 239])]
fn speaker_update(bencher: Bencher<'_, '_>, voices: u32) {
    let start = Instant::now();
    let mut speaker = Speaker::new();
    for point in 1..=voices {
        let number = PointNumber::try_from(point).expect("from 1");
        speaker.feed(start, number, (point % 60) as u8, true);
    }
    bencher.bench_local(move || {
        let changed = speaker.update(start);
        (changed, speaker.loudest(start).take(6).map(black_box).count())
    });
}

/// A packet of a repair found by its number, and one that is gone, in two seconds of a layer at 4 Mb/s.
#[divan::bench(args = [true, false])]
fn history_lookup(bencher: Bencher<'_, '_>, is_there: bool) {
    let now = Instant::now();
    let mut history: History = History::new(HistoryLimit::video(2, 3));
    let payload = [7; 1_150];
    let kept = (0..800).filter(|&number| history.insert(now, Seq(number), (), &payload));
    assert_eq!(kept.count(), 800);
    let mut at = 0;
    bencher.bench_local(move || {
        at = (at + 37) % 200;
        let wanted = if is_there { 600 + at } else { 10_000 + at };
        let found = history.get(now, Seq(wanted)).map(|(_, payload)| payload.len());
        assert_eq!(found.is_some(), is_there);
        found
    });
}

/// A full packet kept for repairs.
#[divan::bench]
fn history_insert(bencher: Bencher<'_, '_>) {
    let start = Instant::now();
    let mut history: History = History::new(HistoryLimit::video(2, 3));
    let (payload, mut number) = ([7; 1_150], 0);
    bencher.bench_local(move || {
        number += 1;
        let now = start + Duration::from_micros(2_400) * number as u32;
        history.insert(now, Seq(number), (), &payload)
    });
}

/// Thirty packets to a receiver, `together` at a time, and the feedback that tells of them 100 ms later: what the estimate of a way costs.
#[divan::bench(args = [1, 5])]
fn estimate(bencher: Bencher<'_, '_>, together: u64) {
    const PACKETS: u64 = 30;
    const SPAN_US: u64 = 100_000;
    let begun = Instant::now();
    let at = |us: u64| begun + Duration::from_micros(us);
    let mut estimator = Estimator::new(begun);
    let (mut us, mut arrived, mut out) = (0, Vec::new(), Vec::new());
    bencher.bench_local(move || {
        arrived.clear();
        out.clear();
        for nth in 0..PACKETS {
            let sent = us + nth / together * together * SPAN_US / PACKETS;
            let number = estimator.handle_sent(at(sent), 1_200, Sent::Media);
            let ticks = (sent + 20_000 + nth % together * 250) / TICK_MICROS;
            arrived.push((number, i64::try_from(ticks).expect("a short time")));
        }
        us += SPAN_US;
        let told = Builder::new(&mut out, 1_200).transport_feedback(1, 2, 0, arrived[0].0, &arrived);
        assert_eq!(told, Ok(arrived.len()));
        for packet in rtcp::packets(&out).flatten() {
            if let Rtcp::TransportFeedback(feedback) = packet {
                estimator.handle_feedback(at(us), &feedback, 1_000);
            }
        }
        black_box(estimator.target())
    });
}
