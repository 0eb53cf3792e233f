//! The subcommands that play points: which steps they come to, and how those are told.

use std::{path::Path, time::Duration};

use clap::{ArgMatches, Command, FromArgMatches};
use tokio::sync::watch;

use crate::{
    args::{ChurnArgs, FanArgs, RoomArgs, SessionArgs, StackKind, StormArgs, Target, WhepArgs, WhipArgs},
    course,
    json_lines::JsonLines,
    report::Report,
    scenario::{Scenario, Sends},
    server::Watched,
    sites,
    slo::Slo,
    whip::Entry,
};

impl SessionArgs {
    fn plan(&self, name: &str, points: u32, entry: Entry) -> Plan {
        let fan = FanArgs {
            target: self.target.clone(),
            senders: 1,
            receivers: 0,
            rate: vec![self.rate],
            packets: self.packets.clone(),
            seconds: self.seconds,
            warm: self.warm,
            join_pause: self.join_pause,
        };
        let (_, mut scenario) = fan.scenario(self.rate);
        scenario.points = points;
        scenario.expected = None;
        scenario.entry = Some(entry);
        Plan {
            target: self.target.clone(),
            steps: vec![(name.to_owned(), scenario)],
            flat: false,
        }
    }
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
        .subcommand(<WhipArgs as clap::Args>::augment_args(Command::new("whip")))
        .subcommand(<WhepArgs as clap::Args>::augment_args(Command::new("whep")))
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
        "whip" => {
            let args: WhipArgs = read(matches);
            let entry = Entry {
                url: args.endpoint,
                streams: args.streams,
                plays: false,
            };
            let mut plan = args.session.plan(name, args.streams, entry);
            for (_, scenario) in &mut plan.steps {
                scenario.hold = Duration::from_secs(args.hold);
            }
            plan
        }
        "whep" => {
            let args: WhepArgs = read(matches);
            let entry = Entry {
                url: args.endpoint,
                streams: args.streams,
                plays: true,
            };
            args.session.plan(name, args.players, entry)
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
    let mut plan = plan(name, matches);
    let known = serde_json::to_value(Report::default().summary())?;
    let slo = plan.target.slo.as_deref().map(|file| Slo::read(file, &known));
    let slo = slo.transpose()?.unwrap_or_default();
    if let Some((sites, command)) = plan.target.sites.as_ref().zip(plan.target.token_command.as_ref()) {
        for (_, scenario) in &mut plan.steps {
            scenario.tokens = sites::tokens(command, &sites::seats(sites, scenario.points)?)?;
        }
    }
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
    json: JsonLines,
    table_aside: bool,
}

impl Telling {
    fn open(json: Option<&str>) -> anyhow::Result<Self> {
        let table_aside = json == Some("-");
        let json = if table_aside {
            JsonLines::to_stdout()
        } else {
            JsonLines::to_file(json.map(Path::new))?
        };
        Ok(Self { json, table_aside })
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
        self.json.write(&report.summary())
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
            tokens: token.into_iter().collect(),
            seed,
            points: self.points,
            hold: Duration::ZERO,
            warm: Duration::ZERO,
            expected: None,
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
            joined: true,
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
            entry: None,
        }
    }
}

impl FanArgs {
    fn scenarios(&self) -> Vec<(String, Scenario)> {
        self.rate.iter().map(|&rate| self.scenario(rate)).collect()
    }

    fn scenario(&self, rate: u32) -> (String, Scenario) {
        let packets = &self.packets;
        let plan = packets.plan(rate);
        let frames = match (packets.sound, packets.even) {
            (true, _) => "sound".to_owned(),
            (false, true) => format!("evenly spaced, frames of {}", packets.frame),
            (false, false) => format!("frames of {}", packets.frame),
        };
        let (senders, receivers) = (self.senders, self.receivers);
        let name = format!(
            "{senders} -> {receivers}, {rate} packets/s of {} B, {frames}",
            packets.bytes
        );
        let Target { url, token, seed, .. } = self.target.clone();
        let scenario = Scenario {
            url,
            tokens: token.into_iter().collect(),
            seed,
            points: senders + receivers,
            hold: Duration::ZERO,
            warm: Duration::from_secs(self.warm),
            expected: Some(plan.expected(senders, senders + receivers)),
            meeting: Duration::from_secs(self.seconds),
            layers: 1,
            slots: if plan.sound { 0 } else { senders as usize },
            stage_height: 720,
            thumb_height: 720,
            speakers: senders,
            turn: Duration::from_secs(86_400),
            join_pause: Duration::from_millis(self.join_pause),
            standing: 0,
            stay: None,
            lean: true,
            joined: !packets.single,
            verify: 0,
            voices: if plan.sound { 6 } else { 0 },
            senders,
            sends: Sends::Pattern(plan),
            fps: crate::clip::FRAMES_PER_SECOND,
            all_layers: true,
            watched: self.target.watched(),
            entry: None,
        };
        (name, scenario)
    }
}
