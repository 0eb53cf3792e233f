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

/// A curve: its colour, its name, what it shows of a moment.
struct Curve {
    color: &'static str,
    name: &'static str,
    of: fn(&Sample) -> f64,
}

const CURVES: [Curve; 2] = [
    Curve {
        color: "#1565c0",
        name: "sent",
        of: |sample| sample.sent,
    },
    Curve {
        color: "#c62828",
        name: "estimate",
        of: |sample| sample.estimate,
    },
];

/// From seconds and kb/s to places in the drawing.
struct Scale {
    last: f64,
    top: f64,
}

impl Scale {
    fn of(samples: &[Sample]) -> Self {
        let figures = samples.iter().flat_map(|sample| [sample.line, sample.estimate]);
        Self {
            last: samples.last().map_or(1.0, |sample| sample.at),
            top: (figures.fold(1.0, f64::max) / 1_000.0).ceil() * 1_000.0,
        }
    }

    fn x(&self, at: f64) -> f64 {
        EDGE + at / self.last * WIDTH
    }

    fn y(&self, kbps: f64) -> f64 {
        12.0 + HEIGHT - kbps.min(self.top) / self.top * HEIGHT
    }

    fn path(&self, samples: &[Sample], of: fn(&Sample) -> f64) -> String {
        let points = samples
            .iter()
            .map(|sample| format!("{:.1},{:.1}", self.x(sample.at), self.y(of(sample))));
        points.collect::<Vec<_>>().join(" ")
    }
}

fn draw(samples: &[Sample]) -> Result<String, std::fmt::Error> {
    let scale = Scale::of(samples);
    let (width, height) = (WIDTH + 2.0 * EDGE, HEIGHT + 60.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    draw_scales(&mut svg, &scale)?;
    let (left, right, ground) = (scale.x(0.0), scale.x(scale.last), scale.y(0.0));
    let line = scale.path(samples, |sample| sample.line);
    writeln!(
        svg,
        "<polygon points=\"{left:.1},{ground:.1} {line} {right:.1},{ground:.1}\" fill=\"#cfd8dc\"/>"
    )?;
    let name = |place: f64, color: &str, words: &str| {
        let (at, y) = (EDGE + 160.0 * place, HEIGHT + 43.0);
        format!(
            "<rect x=\"{at}\" y=\"{y:.1}\" width=\"14\" height=\"6\" fill=\"{color}\"/><text x=\"{:.1}\" \
             y=\"{:.1}\">{words}</text>",
            at + 20.0,
            y + 7.0
        )
    };
    let mut names = name(0.0, "#cfd8dc", "what the line takes");
    for (place, curve) in (1u8..).zip(&CURVES) {
        names.push_str(&name(place.into(), curve.color, curve.name));
        let points = scale.path(samples, curve.of);
        let color = curve.color;
        writeln!(
            svg,
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"1.5\"/>"
        )?;
    }
    writeln!(svg, "{names}\n</svg>")?;
    Ok(svg)
}

fn draw_scales(svg: &mut String, scale: &Scale) -> std::fmt::Result {
    for mbps in 0..=(scale.top / 1_000.0) as u32 {
        let at = scale.y(f64::from(mbps) * 1_000.0);
        writeln!(
            svg,
            "<path d=\"M{EDGE} {at:.1}h{WIDTH}\" stroke=\"#ddd\"/><text x=\"8\" y=\"{:.1}\">{mbps} Mb/s</text>",
            at + 4.0
        )?;
    }
    for seconds in (0..=scale.last as u32).step_by(20) {
        let (at, y) = (scale.x(seconds.into()), HEIGHT + 30.0);
        writeln!(
            svg,
            "<text x=\"{at:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{seconds} s</text>"
        )?;
    }
    Ok(())
}
