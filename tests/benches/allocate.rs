//! What it costs to decide for a whole room. Benchmarks report; a person judges.

use std::time::Instant;

use divan::Bencher;
use sfu::engine::{
    allocate::{
        Allocation, Beyond, Demand, Kind, Line, Loss, Offer, Policy, Problem, Receiver, Sender, Source,
        allocate,
    },
    id::{EndpointId, LineIndex, PointNumber, Rank, SlotId, SourceKind, SourceNumber},
    units::Bitrate,
};

const POINTS: u32 = 239;
const LINES: u16 = 345;

fn main() {
    divan::main();
}

fn camera(point: u32) -> SourceNumber {
    let number = PointNumber::try_from(point % POINTS + 1).expect("points count from 1");
    number.source(SourceKind::Camera)
}

/// A stage, a speaker and thumbnails, spread over all cameras.
fn demands(point: u32, count: u8) -> Vec<Demand> {
    let demand = |slot: u8| Demand {
        slot: SlotId::video(slot),
        source: camera(point * 7 + u32::from(slot) * 13),
        kind: match slot {
            0 => Kind::Stage,
            1 => Kind::Speaker,
            _ => Kind::Thumbnail,
        },
        height: if slot == 0 { 720 } else { 180 },
        fps: if slot < 2 { 0 } else { 15 },
        decodable: true,
    };
    (0..count).map(demand).collect()
}

fn offer(kbps: u64) -> Offer {
    Offer {
        can: true,
        live: true,
        height: None,
        rates: [kbps / 2, kbps * 7 / 10, kbps].map(Bitrate::kbps),
    }
}

/// 239 points behind 345 lines, three on each way, each point with that many pictures; the answer before is at hand.
#[divan::bench(args = [12, 18])]
fn room(bencher: Bencher<'_, '_>, pictures: u8) {
    let budget = |line: u16| Bitrate::mbps(if line == 0 { 1_000 } else { 4 });
    let lines: Vec<Line> = (0..LINES)
        .map(|line| Line {
            line: LineIndex(line),
            down: budget(line),
            breath: Bitrate::ZERO,
            up: budget(line),
        })
        .collect();
    let way = |point: u32| [0, point as u16 % 100 + 1, point as u16 % 244 + 101].map(LineIndex);
    let ways: Vec<[LineIndex; 3]> = (0..POINTS).map(way).collect();
    let wanted: Vec<Vec<Demand>> = (0..POINTS).map(|point| demands(point, pictures)).collect();
    let source = |point: u32| Source {
        number: camera(point),
        nested: false,
        layers: [offer(150), offer(450), offer(1_500)],
    };
    let sources: Vec<[Source; 1]> = (0..POINTS).map(|point| [source(point)]).collect();
    let receivers: Vec<Receiver<'_>> = (0..POINTS)
        .zip(ways.iter().zip(&wanted))
        .map(|(point, (lines, demands))| Receiver {
            endpoint: EndpointId(point),
            rank: Rank::Member,
            estimate: Some(Bitrate::kbps(600 + 37 * u64::from(point % 100))),
            breath: Bitrate::ZERO,
            even: None,
            lines,
            voices: 3,
            sounding: 3,
            voice: Bitrate::kbps(50),
            redundancy: None,
            third: None,
            ahead: None,
            repeats: false,
            loss: Loss::None,
            cpu_steps: 0,
            demands,
        })
        .collect();
    let senders: Vec<Sender<'_>> = (0..POINTS)
        .zip(ways.iter().zip(&sources))
        .map(|(point, (lines, sources))| Sender {
            endpoint: EndpointId(point),
            lines,
            estimate: Some(Bitrate::mbps(3)),
            sound: Bitrate::kbps(50),
            encoder_steps: 0,
            sources,
        })
        .collect();
    let problem = Problem {
        now: Instant::now(),
        receivers: &receivers,
        senders: &senders,
        lines: &lines,
        beyond: Beyond::default(),
        policy: Policy::default(),
    };
    let previous = allocate(&problem, &Allocation::default());
    bencher.bench_local(|| allocate(&problem, &previous));
}
