//! Plays a meeting over a line that does what a trace says, and draws what the node believed of it: SVG on standard output.
//!
//! `sim-plot tests/traces/mobile.csv`; `SIM_SEED` chooses the seed (1).

use std::{error::Error, fmt::Write, fs, time::Duration};

use testkit::{link::Link, peer::Script, seeds::seeds, trace::Trace, world::World};

/// A moment: seconds, then kb/s of the line, of the estimate and of what was sent.
struct Sample {
    at: f64,
    line: f64,
    estimate: f64,
    sent: f64,
}

const STEP: Duration = Duration::from_millis(500);
/// Of the drawing in pixels, without the scales.
const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 260.0;
/// Room for the scales.
const EDGE: f64 = 48.0;

fn main() -> Result<(), Box<dyn Error>> {
    let file = std::env::args().nth(1).ok_or("which trace?")?;
    let trace = Trace::parse(&fs::read_to_string(&file)?)?;
    let samples = play(&trace, seeds(1).first().copied().unwrap_or(1));
    println!("{}", draw(&samples)?);
    Ok(())
}

/// A stage and three large tiles: more than any of these lines takes.
fn play(trace: &Trace, seed: u64) -> Vec<Sample> {
    let mut world = World::new(seed);
    for _ in 0..4 {
        world.join(Script::publisher(), Link::good(), Link::good());
    }
    let down = Link::good().with_queue_ms(300);
    let watcher = world.join(Script::watcher(4), Link::good(), down);
    world.view(watcher, &[(0, 0, 720), (1, 1, 720), (2, 2, 720), (3, 3, 360)]);
    world.follow(watcher, trace.clone());
    let began = world.now;
    let mut samples = Vec::new();
    while world.now - began + STEP <= trace.length() {
        let from = world.now;
        world.run_for(STEP);
        let ticks = world.down_record(watcher).between(from, world.now);
        let bytes: u64 = ticks.iter().map(|tick| tick.bytes).sum();
        let report = world.room.report(world.now);
        let estimate = report.last().and_then(|point| point.estimate);
        let line = world.down(watcher).link.rate;
        samples.push(Sample {
            at: (world.now - began).as_secs_f64(),
            line: line.map_or(0.0, |rate| rate.as_bps() as f64 / 1e3),
            estimate: estimate.map_or(0.0, |rate| rate.as_bps() as f64 / 1e3),
            sent: bytes as f64 * 8.0 / 1e3 / STEP.as_secs_f64(),
        });
    }
    samples
}

fn draw(samples: &[Sample]) -> Result<String, std::fmt::Error> {
    let last = samples.last().map_or(1.0, |sample| sample.at);
    let most = samples
        .iter()
        .flat_map(|sample| [sample.line, sample.estimate])
        .fold(1.0, f64::max);
    let top = (most / 1_000.0).ceil() * 1_000.0;
    let x = |at: f64| EDGE + at / last * WIDTH;
    let y = |kbps: f64| 12.0 + HEIGHT - kbps.min(top) / top * HEIGHT;
    let path = |of: fn(&Sample) -> f64| {
        let points = samples
            .iter()
            .map(|sample| format!("{:.1},{:.1}", x(sample.at), y(of(sample))));
        points.collect::<Vec<_>>().join(" ")
    };
    let (width, height) = (WIDTH + 2.0 * EDGE, HEIGHT + 60.0);
    let mut svg = String::new();
    writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">"
    )?;
    writeln!(svg, "<rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>")?;
    for mbps in 0..=(top / 1_000.0) as u32 {
        let at = y(f64::from(mbps) * 1_000.0);
        writeln!(
            svg,
            "<path d=\"M{EDGE} {at:.1}h{WIDTH}\" stroke=\"#ddd\"/><text x=\"8\" y=\"{:.1}\">{mbps} Mb/s</text>",
            at + 4.0
        )?;
    }
    for tens in 0..=(last / 20.0) as u32 {
        let at = x(f64::from(tens) * 20.0);
        writeln!(
            svg,
            "<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{} s</text>",
            HEIGHT + 30.0,
            tens * 20
        )?;
    }
    let (left, right, ground) = (x(0.0), x(last), y(0.0));
    writeln!(
        svg,
        "<polygon points=\"{left:.1},{ground:.1} {} {right:.1},{ground:.1}\" fill=\"#cfd8dc\"/>",
        path(|sample| sample.line)
    )?;
    let lines: [(&str, &str, fn(&Sample) -> f64); 2] = [
        ("#1565c0", "sent", |sample| sample.sent),
        ("#c62828", "estimate", |sample| sample.estimate),
    ];
    writeln!(
        svg,
        "<rect x=\"{EDGE}\" y=\"{:.1}\" width=\"14\" height=\"8\" fill=\"#cfd8dc\"/><text x=\"68\" y=\"{:.1}\">what the line takes</text>",
        HEIGHT + 42.0,
        HEIGHT + 50.0
    )?;
    for (place, (color, name, of)) in (1u8..).zip(lines) {
        let at = EDGE + 160.0 * f64::from(place);
        writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"1.5\"/>",
            path(of)
        )?;
        writeln!(
            svg,
            "<rect x=\"{at}\" y=\"{:.1}\" width=\"14\" height=\"3\" fill=\"{color}\"/><text x=\"{}\" y=\"{:.1}\">{name}</text>",
            HEIGHT + 44.0,
            at + 20.0,
            HEIGHT + 50.0
        )?;
    }
    writeln!(svg, "</svg>")?;
    Ok(svg)
}
