//! The subcommands that play points: which steps they come to, and how those are told.

use std::{env, path::Path, time::Duration};

use anyhow::{Context as _, bail, ensure};
use clap::{ArgMatches, Command, FromArgMatches};
use serde::Serialize;

use crate::{
    args::{ChurnArgs, FanArgs, RoomArgs, SessionArgs, StackKind, StormArgs, Target, WhepArgs, WhipArgs},
    course, interrupt,
    json_lines::JsonLines,
    outcome::{OrBadArguments as _, say, say_aside},
    report::{Report, Summary},
    scenario::{Entry, Scenario, Sends},
    server::Watched,
    sites,
    slo::Slo,
    trust::Trust,
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
                // Nobody looks at somebody else while they come: whose picture stands still then has the storm to thank for it.
                ("turn", "30"),
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
fn plan(name: &str, matches: &ArgMatches) -> anyhow::Result<Plan> {
    let room = |args: &RoomArgs, change: &dyn Fn(&mut Scenario)| {
        let mut scenario = args.scenario()?;
        change(&mut scenario);
        Ok(Plan {
            target: args.target.clone(),
            steps: vec![(name.to_owned(), scenario)],
            flat: name == "soak",
        })
    };
    let plan = match name {
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
            return room(&args.room, &|scenario| {
                scenario.standing = args.standing.min(scenario.points);
                let joining = (scenario.points - scenario.standing).max(1);
                scenario.join_pause = Duration::from_millis(args.within) / joining;
            });
        }
        "churn" => {
            let args: ChurnArgs = read(matches);
            return room(&args.room, &|scenario| {
                scenario.stay = Some(Duration::from_secs(args.stay))
            });
        }
        _ => return room(&read(matches), &|_| {}),
    };
    Ok(plan)
}

/// Plays what the subcommand says; whether all is well.
pub(crate) fn play(name: &str, matches: &ArgMatches) -> anyhow::Result<bool> {
    let mut plan = plan(name, matches).or_bad_arguments()?;
    let (slo, telling) = prepare(&mut plan).or_bad_arguments()?;
    crate::start_log(plan.target.verbose);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(plan, &slo, telling))
}

/// Reads and opens what the arguments name, and looks whether it is there: what fails later costs a run.
fn prepare(plan: &mut Plan) -> anyhow::Result<(Slo, Telling)> {
    let target = &plan.target;
    if let Some(pid) = target.watched().unseen() {
        bail!("--pid: no process {pid} can be seen on this machine");
    }
    let known = serde_json::to_value(Report::default().summary())?;
    let slo = target.slo.as_deref().map(|file| Slo::read(file, &known));
    let slo = slo.transpose().context("--slo")?.unwrap_or_default();
    let needs_trust = plan.steps.iter().any(|(_, scenario)| scenario.is_secure()) || target.ca.is_some();
    if needs_trust || plan.steps.iter().any(|(_, scenario)| scenario.entry.is_some()) {
        let system = env::var_os("SSL_CERT_FILE").filter(|file| !file.is_empty());
        let trust = match Trust::read(target.ca.as_deref(), system.as_deref().map(Path::new)) {
            // A server of WHIP that is named by http:// may send on to https://, or not.
            Err(error) if !needs_trust => Trust::nobody(&error),
            trust => trust?,
        };
        for (_, scenario) in &mut plan.steps {
            scenario.trust = Some(trust.clone());
        }
    }
    if let Some((sites, command)) = target.sites.as_ref().zip(target.token_command.as_ref()) {
        for (_, scenario) in &mut plan.steps {
            let seats = sites::seats(sites, scenario.points).context("--sites")?;
            scenario.tokens = sites::tokens(command, &seats)?;
        }
    }
    Ok((slo, Telling::open(target.json.as_deref()).context("--json")?))
}

async fn run(plan: Plan, slo: &Slo, mut telling: Telling) -> anyhow::Result<bool> {
    let stopped = interrupt::listen()?;
    let (count, mut well) = (plan.steps.len(), true);
    for (at, (name, scenario)) in plan.steps.into_iter().enumerate() {
        say_aside(format_args!(
            "{} of {count}: {}",
            at + 1,
            outlook(&name, &scenario)
        ));
        let rate = rate(&scenario);
        let report = course::run(scenario, stopped.clone()).await;
        let summary = report.summary();
        let mut broken = slo.broken(&serde_json::to_value(&summary)?);
        if plan.flat {
            broken.extend(not_flat(&summary));
        }
        let step = Step {
            step: &name,
            rate,
            result: summary,
        };
        telling.tell(count > 1, &step, &report, &broken)?;
        well &= report.passed() && broken.is_empty();
        if *stopped.borrow() {
            break;
        }
    }
    Ok(well)
}

/// Why the server's memory cannot be said to have stayed flat.
fn not_flat(summary: &Summary) -> Option<String> {
    match summary.server_rss_growth_percent {
        None => Some(
            "the server's memory was not measured: that needs --pid, alive to the end, and 60 samples, one a second at most"
                .to_owned(),
        ),
        Some(percent) if percent > FLAT_PERCENT => Some(format!(
            "the server's memory grew by {percent} %, at most {FLAT_PERCENT} % is flat"
        )),
        Some(_) => None,
    }
}

/// What a step is about to do, in a line: some take minutes before they tell anything.
fn outlook(name: &str, scenario: &Scenario) -> String {
    let Scenario {
        points,
        standing,
        warm,
        meeting,
        ..
    } = scenario;
    let after = match standing {
        0 => String::new(),
        _ => format!(", {standing} of them before the others"),
    };
    let warm = match warm.as_secs() {
        0 => String::new(),
        secs => format!(", {secs} s at most pass"),
    };
    format!(
        "{name}: {points} points join{after}{warm}, {} s are measured",
        meeting.as_secs()
    )
}

/// Packets a second of each sender, where they are of a pattern.
fn rate(scenario: &Scenario) -> Option<u32> {
    match scenario.sends {
        Sends::Pattern(plan) => Some(plan.rate),
        Sends::Clips => None,
    }
}

/// The JSON object of a step: which one it was, then its figures.
#[derive(Debug, Serialize)]
struct Step<'s> {
    step: &'s str,
    rate: Option<u32>,
    #[serde(flatten)]
    result: Summary,
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

    /// Tells of a step; in the table one of several by its name.
    fn tell(
        &mut self,
        several: bool,
        step: &Step<'_>,
        report: &Report,
        broken: &[String],
    ) -> anyhow::Result<()> {
        let head = match several {
            true => format!("\n{}\n", step.step),
            false => String::new(),
        };
        let limits: String = broken.iter().map(|words| format!("LIMIT: {words}\n")).collect();
        let table = format!("{head}{}{limits}", report.table());
        let table = table.trim_end_matches('\n');
        match self.table_aside {
            true => say_aside(table),
            false => say(table)?,
        }
        self.json.write(step)
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
    fn scenario(&self) -> anyhow::Result<Scenario> {
        ensure!(
            self.senders.is_none() || self.stack == StackKind::Lean,
            "--senders is for lean points: all full ones send; take --stack lean"
        );
        let Target { url, token, seed, .. } = self.target.clone();
        Ok(Scenario {
            url,
            trust: None,
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
            senders: self.senders.unwrap_or(self.points),
            sends: Sends::Clips,
            fps: match self.stack {
                StackKind::Full => crate::clip::FRAMES_PER_SECOND,
                StackKind::Lean => self.fps,
            },
            all_layers: self.all_layers,
            watched: self.target.watched(),
            entry: None,
        })
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
            trust: None,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn plan_of(words: &[&str]) -> anyhow::Result<Plan> {
        let matches = commands(Command::new("diemcau-load"))
            .try_get_matches_from([&["diemcau-load"], words].concat())
            .unwrap();
        let (name, matches) = matches.subcommand().unwrap();
        plan(name, matches)
    }

    #[test]
    fn each_step_tells_which_it_is() {
        let plan = plan_of(&["fan", "--token", "t", "--rate", "100,200"]).unwrap();
        let told = plan.steps.iter().map(|(name, scenario)| {
            let step = Step {
                step: name,
                rate: rate(scenario),
                result: Report::default().summary(),
            };
            serde_json::to_value(step).unwrap()
        });
        let told: Vec<_> = told.collect();
        assert_eq!((&told[0]["rate"], &told[1]["rate"]), (&100.into(), &200.into()));
        assert_ne!(told[0]["step"], told[1]["step"]);
        assert_eq!(told[0]["points"], 0, "the figures stand beside them");
        let words = outlook(&plan.steps[1].0, &plan.steps[1].1);
        assert!(
            words.contains("200 packets/s") && words.contains("101 points join") && !words.contains('\n')
        );
        let room = plan_of(&["room", "--token", "t"]).unwrap();
        assert_eq!((room.steps[0].0.as_str(), rate(&room.steps[0].1)), ("room", None));
    }

    #[test]
    fn memory_that_nobody_measured_is_not_flat() {
        let told = |percent| {
            not_flat(&Summary {
                server_rss_growth_percent: percent,
                ..Report::default().summary()
            })
        };
        assert_eq!(told(Some(FLAT_PERCENT)), None);
        assert!(told(Some(FLAT_PERCENT + 0.1)).is_some_and(|words| words.contains("grew")));
        assert!(told(None).is_some_and(|words| words.contains("not measured")));
    }

    #[test]
    fn senders_are_chosen_among_lean_points_alone() {
        let lean = plan_of(&["room", "--token", "t", "--stack", "lean", "--senders", "1"]).unwrap();
        assert_eq!(lean.steps[0].1.senders, 1);
        let full = plan_of(&["room", "--token", "t", "--senders", "1"]);
        assert!(full.is_err_and(|error| error.to_string().contains("--stack lean")));
    }

    #[test]
    fn an_endpoint_that_may_send_on_to_https_has_whom_to_trust_or_why_not() {
        for name in ["whip", "whep"] {
            let words = [name, "--endpoint", "http://127.0.0.1:1/x", "--token", "t"];
            let mut plan = plan_of(&words).unwrap();
            prepare(&mut plan).unwrap();
            assert!(plan.steps.iter().all(|(_, scenario)| scenario.trust.is_some()));
        }
        let mut plan = plan_of(&["room", "--token", "t"]).unwrap();
        prepare(&mut plan).unwrap();
        assert!(plan.steps[0].1.trust.is_none(), "a page is sent nowhere");
    }

    #[test]
    fn whom_and_what_the_arguments_name_is_looked_at_before_anything_is_played() {
        let prepared = |words: &[&str]| {
            let words = [&["room", "--token", "t"], words].concat();
            prepare(&mut plan_of(&words).unwrap()).map(|_| ())
        };
        assert!(prepared(&[]).is_ok());
        for words in [
            ["--pid", "4294967295"],
            ["--slo", "/dev/null/limits.toml"],
            ["--json", "/dev/null/result.json"],
            ["--ca", "/dev/null/ca.crt"],
        ] {
            let error = prepared(&words).unwrap_err();
            assert!(format!("{error:#}").starts_with(words[0]), "{error:#}");
        }
    }
}
