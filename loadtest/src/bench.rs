//! `diemcau-load bench`: the goals of forwarding on this machine, each against a server of its own, beside the bare loop.

mod cases;
mod goal;
mod own_server;
mod scale;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use clap::{ArgMatches, Command, FromArgMatches};
use tokio::sync::watch;

use self::{
    cases::{Case, Shape, cases, soak},
    goal::{Goal, beyond_histories},
    own_server::{Ready, Server},
};
use crate::{
    course, interrupt,
    json_lines::JsonLines,
    limit::{self, Way},
    machine,
    outcome::{OrBadArguments as _, say},
    report::{Report, Summary},
    scenario::{Scenario, Sends},
    server::Watched,
};

/// How long the bare loop is measured for each case.
const LIMIT_SPAN: Duration = Duration::from_secs(1);

/// Runs the cases of the goals, each against a server that it starts, and prints what a packet costs beside what it costs the bare loop
/// with the same runs.
///
/// Reports and judges nothing: the exit status tells whether the cases could be run.
#[derive(Debug, Clone, clap::Args)]
struct BenchArgs {
    /// The program `diemcau`. Default: the one beside this.
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// How long each case is measured.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// Only cases whose names hold these words. `soak`, which is to last 20 minutes (`--seconds 1200`), is played only so.
    #[arg(long, default_value = "")]
    only: String,
    /// The results as JSON too, one object per line.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// The subcommand for the argument parser.
pub(crate) fn command() -> Command {
    <BenchArgs as clap::Args>::augment_args(Command::new("bench"))
}

pub(crate) use self::scale::{command as scale_command, run as run_scale};

impl Case {
    fn scenario(&self, ready: &Ready, seconds: u64) -> Scenario {
        let (sends, slots, stage, all_layers, voices) = match self.shape {
            Shape::Pattern(plan) if plan.sound => (Sends::Pattern(plan), 0, 720, true, 3),
            Shape::Pattern(plan) => (Sends::Pattern(plan), self.senders as usize, 720, true, 0),
            Shape::Nothing => (Sends::Clips, 4, 720, true, 3),
            Shape::Room {
                stage,
                thumbs,
                all_layers,
            } => (Sends::Clips, 1 + thumbs, stage, all_layers, 3),
        };
        let storm = matches!(self.goal, Goal::Storm { .. });
        let both = storm || self.stay.is_some();
        let pids = match both {
            true => vec![ready.node_pid, ready.own_pid],
            false => vec![ready.node_pid],
        };
        Scenario {
            url: ready.http.clone(),
            trust: None,
            tokens: vec![ready.token.clone()],
            points: self.points,
            hold: Duration::ZERO,
            warm: Duration::from_secs(match self.shape {
                _ if storm => 0,
                Shape::Pattern(_) => 30,
                _ => 8,
            }),
            expected: self.expected(),
            meeting: Duration::from_secs(seconds),
            layers: if matches!(sends, Sends::Pattern(_)) { 1 } else { 3 },
            slots,
            stage_height: stage,
            thumb_height: if matches!(sends, Sends::Pattern(_)) {
                720
            } else {
                180
            },
            speakers: 3,
            turn: Duration::from_secs(30),
            join_pause: Duration::from_millis(if storm { 0 } else { 20 }),
            standing: self.standing,
            stay: self.stay,
            seed: 1,
            lean: true,
            joined: self.joined,
            verify: 0,
            voices,
            senders: self.senders,
            sends,
            fps: 25,
            all_layers,
            watched: Watched {
                pids,
                metrics: Some(ready.metrics.clone()),
            },
            entry: None,
        }
    }

    /// What the bare loop needs for the same packets with the same runs, in microseconds.
    fn bare_loop(&self, run: f64) -> Option<f64> {
        let Shape::Pattern(plan) = self.shape else {
            return None;
        };
        let case = limit::Case {
            way: Way::Batched {
                run: run.round().max(1.0) as usize,
            },
            bytes: plan.bytes,
            receivers: self.points as usize,
            rate: plan.rate * self.senders,
            joined: self.joined,
            span: LIMIT_SPAN,
        };
        limit::measure(&case).ok().map(|ns| ns / 1_000.0)
    }

    /// Packets a second that should come.
    fn expected(&self) -> Option<f64> {
        match self.shape {
            Shape::Pattern(plan) => Some(plan.expected(self.senders, self.points)),
            _ => None,
        }
    }

    /// `first`: CPU per packet in the case that growth is compared with.
    fn row(&self, report: &Report, first: Option<f64>) -> String {
        let summary = report.summary();
        let ms = |value: Option<f64>| value.map_or("-".to_owned(), |ms| format!("{ms:.1}"));
        let run = summary.gso_run_mean;
        let bare = run.and_then(|run| self.bare_loop(run));
        let ratio = summary.server_cpu_us_per_forwarded.zip(bare);
        let held = report.stayed() && self.goal.is_held(&summary, self.expected(), first);
        let verdict = match held {
            true => "held",
            false if matches!(self.goal, Goal::Growth(_)) && first.is_none() && report.stayed() => "-",
            false => "short",
        };
        format!(
            "{:<68} {:>12} {:>24} {verdict:>7} {:>6} {:>12} {:>9} {:>7} {:>13} {:>6} {:>6}",
            self.name,
            self.goal.figure(&summary),
            self.goal.words(),
            run.map_or("n/a".to_owned(), |run| format!("{run:.1}")),
            ratio.map_or("-".to_owned(), |(us, bare)| format!(
                "{:.2} x {bare:.2}",
                us / bare
            )),
            ms(summary.packets_forwarded_per_second.map(f64::round)),
            [summary.packets_lost_in_node, summary.packets_dropped_by_tester]
                .map(count)
                .join("+"),
            format!("{} {}", ms(summary.latency_ms_p50), ms(summary.latency_ms_p99)),
            summary
                .server_cpu_cores
                .map_or("-".to_owned(), |cores| format!("{cores:.2}")),
            summary
                .tester_cpu_cores
                .map_or("-".to_owned(), |cores| format!("{cores:.2}")),
        ) + &self.more(&summary)
    }

    /// What a crowd's case tells beyond the row.
    fn more(&self, summary: &Summary) -> String {
        let ms = |value: Option<f64>| value.map_or("-".to_owned(), |ms| format!("{ms:.0} ms"));
        match self.goal {
            Goal::Packet(_) | Goal::Idle(_) | Goal::Growth(_) => String::new(),
            Goal::Latency { .. } => format!(
                "\n    at {:.0} packets a second to each receiver",
                // A sender hears all but himself: senders and receivers together hear each sender once less than there are points.
                summary.packets_forwarded_per_second.unwrap_or_default()
                    / f64::from(self.points.saturating_sub(1).max(1))
            ),
            Goal::Meeting { .. } | Goal::Storm { .. } | Goal::Flat { .. } => format!(
                "\n    {} of {} joined; join p50 {} p99 {} max {}; first key frame p50 {} p99 {}; {:.0} kB per point, {:.0} beside histories; {} undecodable, {} freezes{}; {:?}",
                summary.joined,
                summary.points,
                ms(summary.join_ms_p50),
                ms(summary.join_ms_p99),
                ms(summary.join_ms_max),
                ms(summary.first_key_frame_ms_p50),
                ms(summary.first_key_frame_ms_p99),
                summary.server_rss_kb_per_point.unwrap_or_default(),
                beyond_histories(summary).unwrap_or_default(),
                summary.frames_undecodable,
                count(summary.freezes),
                self.standing_gap(summary),
                summary.layer_mix,
            ),
        }
    }
}

impl Case {
    /// What those saw who were there before the others, where somebody was.
    fn standing_gap(&self, summary: &Summary) -> String {
        let ms = |value: Option<f64>| value.map_or("-".to_owned(), |ms| format!("{ms:.0} ms"));
        match self.standing {
            0 => String::new(),
            _ => format!(
                "; longest gap {} of {} running streams",
                ms(summary.standing_picture_gap_ms_max),
                count(summary.standing_streams)
            ),
        }
    }
}

fn count(value: Option<u64>) -> String {
    value.map_or("-".to_owned(), |count| count.to_string())
}

/// Runs the cases.
pub(crate) fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let args = BenchArgs::from_arg_matches(matches).unwrap_or_else(|error| error.exit());
    let program = program(args.server.as_ref())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let chosen = chosen(&args.only).or_bad_arguments()?;
    runtime.block_on(async { bench(&args, &chosen, &program, &interrupt::listen()?).await })
}

/// What the other cases of growth are compared with: CPU per packet in the first of all of them, if nobody was missing there.
fn growth_base(case: &Case, report: &Report) -> Option<f64> {
    let first = cases()
        .into_iter()
        .find(|case| matches!(case.goal, Goal::Growth(_)))?;
    let is_base = case.name == first.name && report.stayed();
    report.summary().server_cpu_us_per_forwarded.filter(|_| is_base)
}

/// The cases whose names hold the words.
fn chosen(words: &str) -> anyhow::Result<Vec<Case>> {
    let mut chosen = cases();
    if !words.is_empty() {
        chosen.push(soak());
    }
    chosen.retain(|case| case.name.contains(words));
    ensure!(!chosen.is_empty(), "--only: no case has `{words}` in its name");
    Ok(chosen)
}

async fn bench(
    args: &BenchArgs,
    chosen: &[Case],
    program: &Path,
    stopped: &watch::Receiver<bool>,
) -> anyhow::Result<()> {
    say(machine::describe())?;
    say(
        "loopback, tester on the same cores, its receivers with UDP_GRO where nothing else is said; lost: in the node + in the tester's sockets\n",
    )?;
    say(format_args!(
        "{:<68} {:>12} {:>24} {:>7} {:>6} {:>12} {:>9} {:>7} {:>13} {:>6} {:>6}",
        "case",
        "node CPU",
        "goal",
        "verdict",
        "run",
        "x bare loop",
        "packets/s",
        "lost",
        "p50 p99 ms",
        "node",
        "tester"
    ))?;
    let mut json = JsonLines::to_file(args.json.as_deref()).or_bad_arguments()?;
    let mut first = None;
    for case in chosen {
        let (case, report) = measure(case, args.seconds, async |case, seconds| {
            play(case, program, seconds, stopped).await
        })
        .await?;
        let summary = report.summary();
        first = first.or_else(|| growth_base(&case, &report));
        say(case.row(&report, first))?;
        for words in report
            .reports
            .iter()
            .filter_map(|report| report.failure.as_ref())
            .take(3)
        {
            say(format_args!("    {words}"))?;
        }
        json.write(&serde_json::json!({"case": case.name, "result": summary}))?;
    }
    Ok(())
}

/// Half of a core, how often and how long it is looked for.
const HALF: f64 = 0.5;
const LOOKS: u32 = 2;
const LOOK_SECONDS: u64 = 3;
/// Rates that are tried for half a core: what a way is taken to carry at most lies above.
const RATES: std::ops::RangeInclusive<f64> = 10.0..=500.0;

/// Plays a case, as it was played. For the latency at half load the rate is found first.
async fn measure(
    case: &Case,
    seconds: u64,
    play: impl AsyncFn(&Case, u64) -> anyhow::Result<Report>,
) -> anyhow::Result<(Case, Report)> {
    let mut case = case.clone();
    for _ in 0..LOOKS {
        let (Goal::Latency { .. }, Shape::Pattern(plan)) = (case.goal, case.shape) else {
            break;
        };
        let tried = play(&case, LOOK_SECONDS).await?.summary();
        let cores = tried.server_cpu_cores.filter(|&cores| cores > 0.0);
        let rate = f64::from(plan.rate) * HALF / cores.context("the node's CPU time cannot be seen")?;
        case = case.at_rate(rate.clamp(*RATES.start(), *RATES.end()) as u32);
    }
    let report = play(&case, seconds).await?;
    Ok((case, report))
}

/// Plays a case against a server of its own. What was stopped is no measurement, and its server is ended all the same.
async fn play(
    case: &Case,
    program: &Path,
    seconds: u64,
    stopped: &watch::Receiver<bool>,
) -> anyhow::Result<Report> {
    let server = Server::start(program, case.shards, stopped.clone()).await?;
    let report = course::run(case.scenario(&server.ready, seconds), stopped.clone()).await;
    server.stop().await;
    ensure!(!*stopped.borrow(), "interrupted");
    Ok(report)
}

/// The program `diemcau`: the one that is named, or the one beside this.
fn program(named: Option<&PathBuf>) -> anyhow::Result<PathBuf> {
    match named {
        Some(program) => Ok(program.clone()),
        None => Ok(std::env::current_exe()?.with_file_name("diemcau")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{report::PointReport, server::ServerFigures};

    /// Of a case whose points all joined, with half a millisecond at most and so much CPU.
    fn report(case: &Case, packets_per_second: u64, cpu_seconds: f64) -> Report {
        let joined = || {
            let mut point = PointReport {
                join_us: Some(1),
                ..PointReport::default()
            };
            point.latency.record(400);
            point
        };
        Report {
            points: case.points,
            seconds: 1.0,
            reports: (0..case.points).map(|_| joined()).collect(),
            heard: Some(packets_per_second),
            server: ServerFigures {
                cpu_seconds: vec![cpu_seconds],
                ..ServerFigures::default()
            },
            ..Report::default()
        }
    }

    #[tokio::test]
    async fn at_half_load_all_came_that_was_played_and_not_what_was_tried_first() {
        let half = chosen("half load").unwrap().remove(0);
        for (came, verdict) in [(70_000, " short "), (545_000, " held ")] {
            let play = async |case: &Case, _| Ok(report(case, came, 0.05));
            let (case, report) = measure(&half, 10, play).await.unwrap();
            assert!(matches!(case.shape, Shape::Pattern(plan) if plan.rate == 500));
            let row = case.row(&report, None);
            assert!(row.starts_with(&half.name) && row.contains(verdict), "{row}");
        }
    }

    #[test]
    fn growth_is_from_the_first_of_its_cases_and_from_nothing_if_that_was_not_played_whole() {
        let points = chosen("one shard").unwrap();
        let (first, last) = (&points[0], &points[points.len() - 1]);
        let whole = report(first, 1_000, 0.002);
        assert_eq!(growth_base(first, &whole), Some(2.0));
        assert_eq!(growth_base(last, &report(last, 1_000, 0.002)), None);
        let mut broken = report(first, 1_000, 0.002);
        broken.reports[0].failure = Some("gone".to_owned());
        assert_eq!(growth_base(first, &broken), None);
        let verdict = |report: &Report, base| {
            let row = last.row(report, base);
            let words = row.split(" at most ").nth(1).unwrap();
            words.split_whitespace().next().unwrap().to_owned()
        };
        let mut grown = report(last, 1_000, 0.0025);
        assert_eq!(verdict(&grown, Some(2.0)), "short");
        assert_eq!(verdict(&grown, Some(2.2)), "held");
        assert_eq!(verdict(&grown, None), "-", "compared with nothing");
        grown.reports[0].failure = Some("gone".to_owned());
        assert_eq!(verdict(&grown, None), "short");
    }

    #[test]
    fn words_that_no_case_has_are_refused_and_not_a_bench_of_nothing() {
        assert_eq!(chosen("").unwrap().len(), cases().len());
        assert!(
            chosen("M239")
                .unwrap()
                .iter()
                .all(|case| case.name.contains("M239"))
        );
        assert!(matches!(
            chosen("soak").unwrap()[..],
            [Case { stay: Some(_), .. }]
        ));
        assert!(chosen("zzz").unwrap_err().to_string().contains("`zzz`"));
    }
}
