//! `diemcau-load bench`: the goals of forwarding on this machine, each against a server of its own, beside the bare loop.

mod cases;

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::{ArgMatches, Command, FromArgMatches};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Child,
    sync::watch,
};

use cases::{Asks, Case, Shape, cases};

use crate::{
    course,
    limit::{self, Way},
    machine,
    report::{Report, Summary},
    scenario::{Scenario, Sends},
    server::Watched,
};

/// Longest wait for the server to say that it is ready, and to end.
const SERVER_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the bare loop is measured for each case.
const LIMIT_SPAN: Duration = Duration::from_secs(1);

/// The room of the cases: with place for all of their points.
const ROOM: &str = "[[rooms]]\nid = \"demo\"\npoints_max = 1000\n";

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
    /// Only cases whose names hold these words.
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
        let pids = match self.asks {
            Asks::Storm => vec![ready.node_pid, ready.own_pid],
            _ => vec![ready.node_pid],
        };
        Scenario {
            url: ready.http.clone(),
            tokens: vec![ready.token.clone()],
            points: self.points,
            hold: Duration::ZERO,
            warm: Duration::from_secs(match (self.asks, self.shape) {
                (Asks::Storm, _) => 0,
                (_, Shape::Pattern(_)) => 30,
                _ => 8,
            }),
            expected: match self.shape {
                Shape::Pattern(plan) => Some(plan.expected(self.senders, self.points)),
                _ => None,
            },
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
            join_pause: Duration::from_millis(if self.asks == Asks::Storm { 0 } else { 20 }),
            standing: 0,
            stay: None,
            seed: 1,
            lean: true,
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
            joined: true,
            span: LIMIT_SPAN,
        };
        limit::measure(&case).ok().map(|ns| ns / 1_000.0)
    }

    fn row(&self, report: &Report) -> String {
        let summary = report.summary();
        let ms = |value: Option<f64>| value.map_or("-".to_owned(), |ms| format!("{ms:.1}"));
        let us = summary.server_cpu_us_per_forwarded;
        let run = summary.gso_run_mean;
        let bare = run.and_then(|run| self.bare_loop(run));
        let figure = match self.asks {
            Asks::Packet | Asks::Meeting => us.map_or("-".to_owned(), |us| format!("{us:.2} us")),
            Asks::Idle => summary.server_cpu_cores.map_or("-".to_owned(), |cores| {
                format!("{:.3} ms/s", cores * 1e3 / f64::from(self.points))
            }),
            Asks::Storm => {
                let cpu = summary.server_cpu_ms_per_join;
                format!(
                    "{} ms each",
                    cpu.map_or("-".to_owned(), |cpu| format!("{cpu:.1}"))
                )
            }
        };
        let ratio = us.zip(bare).map_or("-".to_owned(), |(us, bare)| {
            format!("{:.2} x {bare:.2}", us / bare)
        });
        format!(
            "{:<68} {figure:>12} {:>18} {:>6} {ratio:>12} {:>9} {:>7} {:>13} {:>6} {:>6}",
            self.name,
            self.goal,
            run.map_or("n/a".to_owned(), |run| format!("{run:.1}")),
            ms(summary.packets_forwarded_per_second.map(f64::round)),
            format!(
                "{}+{}",
                summary.packets_lost_in_node, summary.packets_dropped_by_tester
            ),
            format!("{} {}", ms(summary.latency_ms_p50), ms(summary.latency_ms_p99)),
            summary
                .server_cpu_cores
                .map_or("-".to_owned(), |cores| format!("{cores:.2}")),
            format!("{:.2}", summary.tester_cpu_cores),
        ) + &self.more(&summary)
    }

    /// What a crowd's case tells beyond the row.
    fn more(&self, summary: &Summary) -> String {
        let ms = |value: Option<f64>| value.map_or("-".to_owned(), |ms| format!("{ms:.0} ms"));
        match self.asks {
            Asks::Packet | Asks::Idle => String::new(),
            Asks::Meeting | Asks::Storm => format!(
                "\n    {} of {} joined; join p50 {} p99 {} max {}; first key frame p50 {} p99 {}; {:.0} kB per point; {} undecodable, {} freezes; {:?}",
                summary.joined,
                summary.points,
                ms(summary.join_ms_p50),
                ms(summary.join_ms_p99),
                ms(summary.join_ms_max),
                ms(summary.first_key_frame_ms_p50),
                ms(summary.first_key_frame_ms_p99),
                summary.server_rss_kb_per_point.unwrap_or_default(),
                summary.frames_undecodable,
                summary.freezes,
                summary.layer_mix,
            ),
        }
    }
}

/// Runs the cases.
pub(crate) fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let args = BenchArgs::from_arg_matches(matches).unwrap_or_else(|error| error.exit());
    let program = match &args.server {
        Some(program) => program.clone(),
        None => std::env::current_exe()?.with_file_name("diemcau"),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(bench(&args, &program))
}

async fn bench(args: &BenchArgs, program: &Path) -> anyhow::Result<()> {
    println!("{}", machine::describe());
    println!(
        "loopback, tester on the same cores, its receivers with UDP_GRO; lost: in the node + in the tester's sockets\n"
    );
    println!(
        "{:<68} {:>12} {:>18} {:>6} {:>12} {:>9} {:>7} {:>13} {:>6} {:>6}",
        "case", "node CPU", "goal", "run", "x bare loop", "packets/s", "lost", "p50 p99 ms", "node", "tester"
    );
    let mut json = args
        .json
        .as_ref()
        .map(std::fs::File::create)
        .transpose()
        .context("--json")?;
    // Nobody stops it early but by ending it, and its servers with it.
    let (_stop, stopped) = watch::channel(false);
    for case in cases().iter().filter(|case| case.name.contains(&args.only)) {
        let server = Server::start(program).await?;
        let scenario = case.scenario(&server.ready, args.seconds);
        let report = course::run(scenario, stopped.clone()).await;
        server.stop().await;
        println!("{}", case.row(&report));
        for words in report
            .reports
            .iter()
            .filter_map(|report| report.failure.as_ref())
            .take(3)
        {
            println!("    {words}");
        }
        if let Some(file) = &mut json {
            let result = serde_json::json!({"case": case.name, "result": report.summary()});
            serde_json::to_writer(&mut *file, &result)?;
            std::io::Write::write_all(file, b"\n")?;
        }
    }
    Ok(())
}

/// What the server says when it is ready.
#[derive(Debug, Deserialize)]
struct Ready {
    http: String,
    metrics: String,
    node_pid: u32,
    token: String,
    #[serde(skip)]
    own_pid: u32,
}

/// A server of this program's own.
struct Server {
    ready: Ready,
    child: Child,
    data: PathBuf,
}

impl Server {
    async fn start(program: &Path) -> anyhow::Result<Self> {
        let data = std::env::temp_dir().join(format!("diemcau-bench-{}", std::process::id()));
        std::fs::create_dir_all(&data).context("a folder for the server")?;
        let config = data.join("bench.toml");
        std::fs::write(&config, ROOM).context("a configuration for the server")?;
        let mut child = tokio::process::Command::new(program)
            .args(["serve", "--listen", "127.0.0.1:0", "--ready-json", "--data"])
            .arg(&data)
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let out = child.stdout.take().context("no output")?;
        let mut lines = BufReader::new(out).lines();
        let Ok(line) = tokio::time::timeout(SERVER_TIMEOUT, lines.next_line()).await else {
            bail!("the server is not ready in time");
        };
        let line = line?.context("the server ended before it was ready")?;
        let mut ready: Ready = serde_json::from_str(&line).context("what the server said")?;
        ready.own_pid = child.id().unwrap_or_default();
        Ok(Self { ready, child, data })
    }

    /// Ends both of its processes.
    async fn stop(mut self) {
        let pid = Pid::from_raw(self.ready.own_pid.cast_signed());
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = tokio::time::timeout(SERVER_TIMEOUT, self.child.wait()).await;
        let _ = std::fs::remove_dir_all(&self.data);
    }
}
