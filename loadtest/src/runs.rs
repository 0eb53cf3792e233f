//! The subcommands that play points, and what they have in common: whom to play against, whom to watch, how to tell.

use std::{io::Write as _, time::Duration};

use anyhow::Context as _;
use clap::{ArgMatches, Command, FromArgMatches, ValueEnum};
use tokio::sync::watch;

use crate::{
    course,
    lean::{BYTES_MIN, PatternPlan},
    report::Report,
    scenario::{Scenario, Sends},
    server::Watched,
    slo::Slo,
};

/// Whom to play against, whom to watch, how to tell.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Target {
    /// The server's page, `http` of `diemcau serve --ready-json`.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: String,
    /// A token that opens the room for any number of points, `token` of `diemcau serve --ready-json`.
    #[arg(long, env = "DIEMCAU_TOKEN", hide_env_values = true)]
    token: String,
    /// Writes the result to a file, one JSON object per step; `-`: to standard output, the table goes to standard error.
    #[arg(long, value_name = "FILE|-")]
    json: Option<String>,
    /// Processes of the server on this machine, whose CPU time and memory are told: `node_pid`, and that of `serve`.
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pid: Vec<u32>,
    /// The server's private listener, `metrics` of `diemcau serve --ready-json`: tells how many packets a system call sent.
    #[arg(long, value_name = "URL")]
    metrics: Option<String>,
    /// Limits that a result must keep, a TOML file: `key = most`, and `key = least` in a table `[least]`; keys are those of --json.
    #[arg(long, value_name = "FILE")]
    slo: Option<String>,
    /// Seed of all that is random in a point: stream numbers and clock phases.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Logs to standard error; twice: in detail.
    #[arg(long, short, action = clap::ArgAction::Count)]
    verbose: u8,
}

/// Which points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StackKind {
    /// Crate `webrtc`, an independent full stack: tens of points, everything checked.
    Full,
    /// One thread for all points, real ICE, DTLS and SRTP, packets counted by their headers: hundreds of points.
    Lean,
}

/// Points in a room that behave as pages do.
///
/// Every point sends a camera (VP8 in simulcast; at the default 15 pictures/s: 180p 100 kbit/s, 360p 350, 720p 900) and a microphone
/// (Opus 24 kbit/s), and receives voices and `--slots` pictures. With the defaults a point sends about 200 and receives about 400
/// packets a second; 20 full points fit beside the server on two cores, and hundreds of lean ones.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RoomArgs {
    #[command(flatten)]
    target: Target,
    /// How many points join.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1000))]
    points: u32,
    /// How long they stay after the last has joined.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Which points.
    #[arg(long, value_enum, default_value_t = StackKind::Full)]
    stack: StackKind,
    /// Lean points that check everything that comes, as full ones do.
    #[arg(long, value_name = "N", default_value_t = 0)]
    verify: u32,
    /// Points that send; the others only look and listen. Default: all.
    #[arg(long, value_name = "N")]
    senders: Option<u32>,
    /// Layers each camera sends, from 180p up.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=3))]
    layers: u8,
    /// Lean points send all layers, whether anybody looks or not; full ones always do.
    #[arg(long)]
    all_layers: bool,
    /// Pictures a second of lean points; at 25 the 720p layer has 1.5 Mbit/s.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(5..=60))]
    fps: u32,
    /// Pictures each point sees: the first large, the others as thumbnails.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(0..=18))]
    slots: u8,
    /// Voices that a lean point hears; a full one hears 6.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u8).range(0..=6))]
    voices: u8,
    /// Height in pixels at which the first picture is wanted.
    #[arg(long, default_value_t = 360, value_parser = clap::value_parser!(u16).range(1..=2160))]
    stage_height: u16,
    /// Height in pixels at which the other pictures are wanted.
    #[arg(long, default_value_t = 180, value_parser = clap::value_parser!(u16).range(1..=2160))]
    thumb_height: u16,
    /// Points that speak at once; the word goes round.
    #[arg(long, default_value_t = 2)]
    speakers: u32,
    /// Seconds until the next points speak and everybody looks at somebody else.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    turn: u64,
    /// Milliseconds between two joins.
    #[arg(long, default_value_t = 100)]
    join_pause: u64,
}

/// All points join at once, or within a time: joins, first pictures, and what those feel who are there already.
///
/// Takes the arguments of `room`; by default 239 lean points, 11 thumbnails and a stage.
#[derive(Debug, Clone, clap::Args)]
struct StormArgs {
    #[command(flatten)]
    room: RoomArgs,
    /// Milliseconds within which they join.
    #[arg(long, value_name = "MS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(0..=600_000))]
    within: u64,
    /// Points of these that are there before, for whom the storm may not be felt.
    #[arg(long, value_name = "N", default_value_t = 0)]
    standing: u32,
}

/// Points come and go all the time.
///
/// Takes the arguments of `room`; lean points by default.
#[derive(Debug, Clone, clap::Args)]
struct ChurnArgs {
    #[command(flatten)]
    room: RoomArgs,
    /// Seconds that a point stays on average, from half to one and a half times as long; then another takes its place.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    stay: u64,
}

/// Packets of one size at one rate from few points to many: what forwarding costs.
///
/// Lean points. Each sender has one layer of packets without pictures; everybody else sees all of the senders (with --sound: hears
/// the loudest). One step, and one line, for each rate.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct FanArgs {
    #[command(flatten)]
    target: Target,
    /// Points that send, and see each other.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=18))]
    senders: u32,
    /// Points that only receive.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=1000))]
    receivers: u32,
    /// Packets a second of each sender; several: one step each.
    #[arg(long, value_delimiter = ',', default_values_t = [300], value_parser = clap::value_parser!(u32).range(1..=5000))]
    rate: Vec<u32>,
    /// Packets of a frame.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=60))]
    frame: u32,
    /// The packets of a frame leave one by one over its time, not all at once.
    #[arg(long)]
    even: bool,
    /// Sound instead of pictures, every packet alone.
    #[arg(long)]
    sound: bool,
    /// Bytes of a packet as it is forwarded, with its tag.
    #[arg(long, default_value_t = 1_200, value_parser = clap::value_parser!(u16).range(BYTES_MIN as i64..=1_200))]
    bytes: u16,
    /// How long each step takes after the last has joined.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Seconds before a step is measured: estimates grow, slots fill.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=600))]
    warm: u64,
    /// Milliseconds between two joins.
    #[arg(long, default_value_t = 20)]
    join_pause: u64,
}

/// Adds the subcommands.
pub(crate) fn commands(command: Command) -> Command {
    let room = |name| <RoomArgs as clap::Args>::augment_args(Command::new(name));
    let storm = <StormArgs as clap::Args>::augment_args(Command::new("storm"));
    let churn = <ChurnArgs as clap::Args>::augment_args(Command::new("churn"));
    let soak = room("soak")
        .about("A meeting that goes on: the server's memory, flat or not (with --pid)")
        .long_about(None);
    command
        .subcommand(room("room"))
        .subcommand(<FanArgs as clap::Args>::augment_args(Command::new("fan")))
        .subcommand(lean_by_default(
            storm,
            &[
                ("points", "239"),
                ("slots", "12"),
                ("voices", "3"),
                ("seconds", "5"),
            ],
        ))
        .subcommand(lean_by_default(churn, &[("points", "20"), ("seconds", "60")]))
        .subcommand(lean_by_default(soak, &[("points", "20"), ("seconds", "1200")]))
}

fn lean_by_default(command: Command, defaults: &[(&'static str, &'static str)]) -> Command {
    let defaults = defaults.iter().chain(&[("stack", "lean")]);
    defaults.fold(command, |command, &(name, value)| {
        command.mut_arg(name, |arg| arg.default_value(value))
    })
}

/// Growth of the server's memory in a soak that is none, in percent.
const FLAT_PERCENT: f64 = 5.0;

/// Steps with their names, and whether the server's memory must stay flat.
struct Plan {
    target: Target,
    steps: Vec<(String, Scenario)>,
    flat: bool,
}

fn read<A: FromArgMatches>(matches: &ArgMatches) -> A {
    A::from_arg_matches(matches).unwrap_or_else(|error| error.exit())
}

/// What a subcommand plays.
fn plan(name: &str, matches: &ArgMatches) -> Plan {
    let room = |args: &RoomArgs, change: &dyn Fn(&mut Scenario)| {
        let mut scenario = args.scenario();
        change(&mut scenario);
        Plan {
            target: args.target.clone(),
            steps: vec![(name.to_owned(), scenario)],
            flat: name == "soak",
        }
    };
    match name {
        "fan" => {
            let args: FanArgs = read(matches);
            Plan {
                target: args.target.clone(),
                steps: args.scenarios(),
                flat: false,
            }
        }
        "storm" => {
            let args: StormArgs = read(matches);
            room(&args.room, &|scenario| {
                scenario.standing = args.standing.min(scenario.points);
                let joining = (scenario.points - scenario.standing).max(1);
                scenario.join_pause = Duration::from_millis(args.within) / joining;
            })
        }
        "churn" => {
            let args: ChurnArgs = read(matches);
            room(&args.room, &|scenario| {
                scenario.stay = Some(Duration::from_secs(args.stay))
            })
        }
        _ => room(&read(matches), &|_| {}),
    }
}

/// Plays what the subcommand says; whether all is well.
pub(crate) fn play(name: &str, matches: &ArgMatches) -> anyhow::Result<bool> {
    let plan = plan(name, matches);
    let known = serde_json::to_value(Report::default().summary())?;
    let slo = plan.target.slo.as_deref().map(|file| Slo::read(file, &known));
    let slo = slo.transpose()?.unwrap_or_default();
    crate::start_log(plan.target.verbose);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(plan, &slo))
}

async fn run(plan: Plan, slo: &Slo) -> anyhow::Result<bool> {
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            stop.send_replace(true);
        }
        // A second one ends the program at once: the first has taken the default away.
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(130);
        }
    });
    let mut telling = Telling::open(plan.target.json.as_deref())?;
    let (several, mut well) = (plan.steps.len() > 1, true);
    for (name, scenario) in plan.steps {
        let report = course::run(scenario, stopped.clone()).await;
        let summary = report.summary();
        let mut broken = slo.broken(&serde_json::to_value(&summary)?);
        if let Some(percent) = summary.server_rss_growth_percent.filter(|_| plan.flat)
            && percent > FLAT_PERCENT
        {
            broken.push(format!(
                "the server's memory grew by {percent} %, at most {FLAT_PERCENT} % is flat"
            ));
        }
        telling.tell(several.then_some(name.as_str()), &report, &broken)?;
        well &= report.passed() && broken.is_empty();
        if *stopped.borrow() {
            break;
        }
    }
    Ok(well)
}

/// Where results go.
struct Telling {
    json: Option<Box<dyn std::io::Write>>,
    table_aside: bool,
}

impl Telling {
    fn open(json: Option<&str>) -> anyhow::Result<Self> {
        let out: Option<Box<dyn std::io::Write>> = match json {
            None => None,
            Some("-") => Some(Box::new(std::io::stdout())),
            Some(path) => {
                let file = std::fs::File::create(path).with_context(|| format!("cannot write {path}"))?;
                Some(Box::new(file))
            }
        };
        Ok(Self {
            json: out,
            table_aside: json == Some("-"),
        })
    }

    /// Tells of a step; one of several by its name.
    fn tell(&mut self, name: Option<&str>, report: &Report, broken: &[String]) -> anyhow::Result<()> {
        let head = name.map(|name| format!("\n{name}\n")).unwrap_or_default();
        let limits: String = broken.iter().map(|words| format!("LIMIT: {words}\n")).collect();
        let table = format!("{head}{}{limits}", report.table());
        if self.table_aside {
            eprint!("{table}");
        } else {
            print!("{table}");
        }
        if let Some(out) = &mut self.json {
            serde_json::to_writer(&mut *out, &report.summary())?;
            writeln!(out)?;
            out.flush()?;
        }
        Ok(())
    }
}

impl Target {
    fn watched(&self) -> Watched {
        Watched {
            pids: self.pid.clone(),
            metrics: self.metrics.clone(),
        }
    }
}

impl RoomArgs {
    fn scenario(&self) -> Scenario {
        let Target { url, token, seed, .. } = self.target.clone();
        Scenario {
            url,
            token,
            seed,
            points: self.points,
            warm: Duration::ZERO,
            meeting: Duration::from_secs(self.seconds),
            layers: usize::from(self.layers),
            slots: usize::from(self.slots),
            stage_height: self.stage_height,
            thumb_height: self.thumb_height,
            speakers: self.speakers,
            turn: Duration::from_secs(self.turn),
            join_pause: Duration::from_millis(self.join_pause),
            standing: 0,
            stay: None,
            lean: self.stack == StackKind::Lean,
            verify: self.verify,
            voices: usize::from(self.voices),
            senders: match self.stack {
                StackKind::Full => self.points,
                StackKind::Lean => self.senders.unwrap_or(self.points),
            },
            sends: Sends::Clips,
            fps: match self.stack {
                StackKind::Full => crate::clip::FRAMES_PER_SECOND,
                StackKind::Lean => self.fps,
            },
            all_layers: self.all_layers,
            watched: self.target.watched(),
        }
    }
}

impl FanArgs {
    fn scenarios(&self) -> Vec<(String, Scenario)> {
        self.rate.iter().map(|&rate| self.scenario(rate)).collect()
    }

    fn scenario(&self, rate: u32) -> (String, Scenario) {
        let plan = PatternPlan {
            sound: self.sound,
            rate,
            frame: if self.sound { 1 } else { self.frame },
            even: self.even || self.sound,
            bytes: usize::from(self.bytes),
        };
        let frames = match (self.sound, self.even) {
            (true, _) => "sound".to_owned(),
            (false, true) => format!("evenly spaced, frames of {}", self.frame),
            (false, false) => format!("frames of {}", self.frame),
        };
        let (senders, receivers) = (self.senders, self.receivers);
        let name = format!(
            "{senders} -> {receivers}, {rate} packets/s of {} B, {frames}",
            self.bytes
        );
        let Target { url, token, seed, .. } = self.target.clone();
        let scenario = Scenario {
            url,
            token,
            seed,
            points: senders + receivers,
            warm: Duration::from_secs(self.warm),
            meeting: Duration::from_secs(self.seconds),
            layers: 1,
            slots: if self.sound { 0 } else { senders as usize },
            stage_height: 720,
            thumb_height: 720,
            speakers: senders,
            turn: Duration::from_secs(86_400),
            join_pause: Duration::from_millis(self.join_pause),
            standing: 0,
            stay: None,
            lean: true,
            verify: 0,
            voices: if self.sound { 6 } else { 0 },
            senders,
            sends: Sends::Pattern(plan),
            fps: crate::clip::FRAMES_PER_SECOND,
            all_layers: true,
            watched: self.target.watched(),
        };
        (name, scenario)
    }
}
