//! `diemcau-load scale`: the same meeting with more and more points, as JSON and as a drawing.

use std::{fmt::Write as _, path::PathBuf};

use anyhow::{Context as _, anyhow};
use clap::{ArgMatches, Command, FromArgMatches};
use tokio::sync::watch;

use super::{cases::plain_meeting, play, program};
use crate::{
    interrupt,
    json_lines::JsonLines,
    machine,
    outcome::{OrBadArguments as _, say},
    report::Summary,
};

/// The same meeting with more and more points (stage 360p, three voices), each against a server of one shard that it starts: how what a packet costs,
/// how long it takes and what a point takes of memory change.
#[derive(Debug, Clone, clap::Args)]
struct ScaleArgs {
    /// The program `diemcau`. Default: the one beside this.
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// How many points, a step each.
    #[arg(long, value_delimiter = ',', default_values_t = [10, 50, 100, 239, 500], value_parser = clap::value_parser!(u32).range(2..=1_000))]
    points: Vec<u32>,
    /// How long each step is measured.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// The results as JSON, one object per line.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The drawing.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// Steps that are drawn at most.
const STEPS_MAX: usize = 20;

/// The subcommand for the argument parser.
pub(crate) fn command() -> Command {
    <ScaleArgs as clap::Args>::augment_args(Command::new("scale"))
}

/// Plays the steps.
pub(crate) fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let args = ScaleArgs::from_arg_matches(matches).unwrap_or_else(|error| error.exit());
    if args.points.len() > STEPS_MAX {
        return Err(anyhow!("more than {STEPS_MAX} steps")).or_bad_arguments();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let steps = runtime.block_on(async { steps(&args, &interrupt::listen()?).await })?;
    if let Some(file) = &args.svg {
        let drawing = draw(&steps, &machine::describe());
        std::fs::write(file, drawing).with_context(|| file.display().to_string())?;
    }
    Ok(())
}

async fn steps(args: &ScaleArgs, stopped: &watch::Receiver<bool>) -> anyhow::Result<Vec<Summary>> {
    let program = program(args.server.as_ref())?;
    let mut json = JsonLines::to_file(args.json.as_deref()).or_bad_arguments()?;
    let mut steps = Vec::new();
    say(format_args!("{}, one shard\n", machine::describe()))?;
    say(format_args!(
        "{:>7} {:>7} {:>11} {:>8} {:>10} {:>10} {:>9} {:>5}",
        "points", "joined", "packets/s", "us each", "p50 p99 ms", "kB a point", "ms a join", "run"
    ))?;
    for &points in &args.points {
        let summary = play(&plain_meeting(points), &program, args.seconds, stopped)
            .await?
            .summary();
        let words = |value: Option<f64>, digits: usize| {
            value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
        };
        say(format_args!(
            "{points:>7} {:>7} {:>11} {:>8} {:>10} {:>10} {:>9} {:>5}",
            summary.joined,
            words(summary.packets_forwarded_per_second, 0),
            words(summary.server_cpu_us_per_forwarded, 2),
            [summary.latency_ms_p50, summary.latency_ms_p99]
                .map(|ms| words(ms, 1))
                .join(" "),
            words(summary.server_rss_kb_per_point, 0),
            words(summary.server_cpu_ms_per_join, 1),
            words(summary.gso_run_mean, 1),
        ))?;
        json.write(&summary)?;
        steps.push(summary);
    }
    Ok(steps)
}

/// A curve: its colour, its name with its unit, its figure of a step.
struct Curve {
    color: &'static str,
    name: &'static str,
    of: fn(&Summary) -> Option<f64>,
}

/// What a panel shows, over the number of points.
const PANELS: [&[Curve]; 3] = [
    &[Curve {
        color: "#1565c0",
        name: "CPU of the node for a packet, us",
        of: |step| step.server_cpu_us_per_forwarded,
    }],
    &[
        Curve {
            color: "#c62828",
            name: "latency p99, ms",
            of: |step| step.latency_ms_p99,
        },
        Curve {
            color: "#ef6c00",
            name: "p50, ms",
            of: |step| step.latency_ms_p50,
        },
    ],
    &[
        Curve {
            color: "#2e7d32",
            name: "memory of the node for a point, kB",
            of: |step| step.server_rss_kb_per_point,
        },
        Curve {
            color: "#9e9d24",
            name: "its histories, kB",
            of: |step| step.server_history_kb_per_point,
        },
    ],
];

/// Of a panel in pixels, without its scales.
const WIDTH: f64 = 280.0;
const HEIGHT: f64 = 180.0;
/// Room for the scales beside it and below it, and for the names above it.
const EDGE: f64 = 44.0;
const ABOVE: f64 = 40.0;
const BELOW: f64 = 40.0;
/// Lines across a panel.
const LINES: u32 = 4;

fn draw(steps: &[Summary], machine: &str) -> String {
    let (width, height) = (PANELS.len() as f64 * (WIDTH + 2.0 * EDGE), ABOVE + HEIGHT + BELOW);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <desc>{}</desc>\n<rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n",
        machine.replace('&', "&amp;").replace('<', "&lt;")
    );
    for (at, curves) in PANELS.iter().enumerate() {
        let left = at as f64 * (WIDTH + 2.0 * EDGE) + EDGE;
        draw_panel(&mut svg, left, curves, steps);
    }
    svg.push_str("</svg>\n");
    svg
}

/// Curves over the number of points, which begins at zero as their figures do.
fn draw_panel(svg: &mut String, left: f64, curves: &[Curve], steps: &[Summary]) {
    let greatest = |figures: &mut dyn Iterator<Item = f64>| figures.fold(1.0, f64::max);
    let last = greatest(&mut steps.iter().map(|step| f64::from(step.points)));
    let figures = curves.iter().flat_map(|curve| steps.iter().filter_map(curve.of));
    let top = round_up(greatest(&mut figures.into_iter()));
    let x = |points: u32| left + f64::from(points) / last * WIDTH;
    let y = |figure: f64| ABOVE + HEIGHT - figure / top * HEIGHT;
    // Writing into a string does not fail.
    for line in 0..=LINES {
        let figure = top * f64::from(line) / f64::from(LINES);
        let at = y(figure);
        let _ = writeln!(
            svg,
            "<path d=\"M{left:.1} {at:.1}h{WIDTH}\" stroke=\"#ddd\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{figure}</text>",
            left - 6.0,
            at + 4.0
        );
    }
    let mut free_from = f64::MIN;
    for step in steps {
        let at = x(step.points);
        if at < free_from {
            continue; // its number would lie on the one before
        }
        free_from = at + 24.0;
        let _ = writeln!(
            svg,
            "<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            ABOVE + HEIGHT + 18.0,
            step.points
        );
    }
    for (place, curve) in curves.iter().enumerate() {
        let color = curve.color;
        let points: Vec<(f64, f64)> = steps
            .iter()
            .filter_map(|step| Some((x(step.points), y((curve.of)(step)?))))
            .collect();
        let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"1.5\"/>",
            path.join(" ")
        );
        for (x, y) in points {
            let _ = writeln!(
                svg,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\" fill=\"{color}\"/>"
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"{left:.1}\" y=\"{:.1}\" fill=\"{color}\">{}</text>",
            14.0 + 15.0 * place as f64,
            curve.name
        );
    }
}

/// One, two or five times a power of ten, times [`LINES`], at or above a figure: its lines have short names.
fn round_up(figure: f64) -> f64 {
    let each = figure / f64::from(LINES);
    let power = 10f64.powf(each.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|step| step * power >= each);
    step.unwrap_or(10.0) * power * f64::from(LINES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Report;

    #[test]
    fn a_drawing_has_every_step_in_every_curve_that_was_measured() {
        let steps: Vec<Summary> = [10, 50, 500]
            .map(|points| Summary {
                points,
                server_cpu_us_per_forwarded: Some(4.0),
                latency_ms_p50: Some(0.5),
                latency_ms_p99: Some(8.0 + f64::from(points)),
                ..Report::default().summary()
            })
            .into();
        let svg = draw(&steps, "a <machine>");
        assert_eq!(svg.matches("<circle").count(), 9, "memory was not measured");
        assert!(svg.contains("a &lt;machine>") && svg.contains(">500</text>"));
        assert_eq!([3.0, 4.1, 90.0, 800.0].map(round_up), [4.0, 8.0, 200.0, 800.0]);
    }
}
