//! `diemcau-load line`: a bad line in user space, over UDP sockets or between two TUN devices.
//!
//! `state` is the line without sockets, `setting` what can be said of it, `driver` the loop, `udp` and `tun` its two kinds of `ends`.

mod driver;
mod ends;
mod setting;
mod state;
#[cfg(target_os = "linux")]
mod tun;
mod udp;

use std::{
    net::{SocketAddr, ToSocketAddrs as _},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use clap::{Arg, ArgMatches, Command as ClapCommand, FromArgMatches};
use testkit::trace::Trace;

use setting::{Command, Direction, Setting, Step, parse_script, trace_steps};
use state::LineState;

use crate::outcome::OrBadArguments as _;

/// Profiles known by name.
const PROFILES: [(&str, &str); 4] = [
    ("satellite", include_str!("../../profiles/satellite.line")),
    ("fibre", include_str!("../../profiles/fibre.line")),
    ("microwave", include_str!("../../profiles/microwave.line")),
    ("mobile", include_str!("../../profiles/mobile.line")),
];

/// Plays a bad line: every client that sends to `--listen` reaches `--to`, and back, as over one line that all of them share.
///
/// Up is from the clients to the server, down the other way. Every setting exists for both directions (`--rate`), for up alone (`--up-rate`)
/// and for down alone (`--down-rate`). A packet is lost by chance first, then waits for the rate, then takes delay and jitter. The rate counts
/// whole IP packets: over UDP 28 bytes are added to each (48 with IPv6).
///
/// While it runs, lines on standard input change it: `down rate=300`, `both loss=0.05 burst=3.6`, `quit`. Standard output has one JSON object per
/// line: first where it listens, then each change as it is made and, once a second, what each direction did. It ends with `quit`, SIGINT, after
/// `--seconds`, or when nobody reads its output.
///
/// Exit status: 0 it ended as told; 1 it could not start; 2 bad arguments, or a file of them that cannot be read.
#[derive(Debug, clap::Args)]
pub(crate) struct LineArgs {
    /// Address to listen at for clients; port 0: a free one.
    #[arg(long, value_name = "IP:PORT", required_unless_present = "tun")]
    listen: Option<SocketAddr>,
    /// The server to reach.
    #[arg(long, value_name = "HOST:PORT", required_unless_present = "tun")]
    to: Option<String>,
    /// Instead of sockets: makes two TUN devices and is the line between them; up is from the first to the second. Linux, needs CAP_NET_ADMIN.
    #[arg(long, value_name = "NAME,NAME", value_parser = two_names, conflicts_with_all = ["listen", "to"])]
    tun: Option<(String, String)>,
    /// A profile by name (satellite, fibre, microwave, mobile) or a file of `[SECONDS] up|down|both KEY=VALUE ...` lines; other settings go over it.
    #[arg(long, value_name = "NAME|FILE")]
    profile: Option<String>,
    /// A file of lines `SECONDS up|down|both KEY=VALUE ...`: what changes when.
    #[arg(long, value_name = "FILE")]
    script: Option<String>,
    /// A trace for the way up: a file of rows `time_s, kbps[, delay_ms[, loss]]`.
    #[arg(long, value_name = "FILE")]
    up_trace: Option<String>,
    /// A trace for the way down.
    #[arg(long, value_name = "FILE")]
    down_trace: Option<String>,
    /// Seed of the losses; the same seed and packets give the same losses in each direction.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Ends after this time; without it: never by itself.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    seconds: Option<u64>,
    #[command(flatten)]
    settings: Settings,
}

/// The subcommand for the argument parser.
pub(crate) fn command() -> ClapCommand {
    <LineArgs as clap::Args>::augment_args(ClapCommand::new("line"))
}

/// Plays the line that the arguments describe until it is told to end.
pub(crate) fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let args = LineArgs::from_arg_matches(matches).unwrap_or_else(|error| error.exit());
    let steps = steps(&args).or_bad_arguments()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime")?;
    runtime.block_on(play(&args, steps))
}

async fn play(args: &LineArgs, steps: Vec<Step>) -> anyhow::Result<()> {
    let span = args.seconds.map(Duration::from_secs);
    if let Some(names) = &args.tun {
        return play_tun(names, args.seed, steps, span).await;
    }
    let (Some(listen), Some(to)) = (args.listen, args.to.as_deref()) else {
        bail!("--listen and --to are both needed");
    };
    let to = to
        .to_socket_addrs()
        .with_context(|| format!("--to {to}"))?
        .find(|to| to.is_ipv4() == listen.is_ipv4())
        .with_context(|| format!("--to {to} has no address of the family of --listen"))?;
    let ends = udp::Udp::open(listen, to)?;
    let line = LineState::new(Instant::now(), args.seed, steps);
    driver::run(line, ends, span).await
}

#[cfg(target_os = "linux")]
async fn play_tun(
    (up, down): &(String, String),
    seed: u64,
    steps: Vec<Step>,
    span: Option<Duration>,
) -> anyhow::Result<()> {
    let ends = tun::Tun::open(up, down)?;
    let line = LineState::new(Instant::now(), seed, steps);
    driver::run(line, ends, span).await
}

#[cfg(not(target_os = "linux"))]
async fn play_tun(_: &(String, String), _: u64, _: Vec<Step>, _: Option<Duration>) -> anyhow::Result<()> {
    bail!("--tun needs Linux")
}

/// All that is said of the line: profile first, then the settings, then traces and script at their times.
fn steps(args: &LineArgs) -> anyhow::Result<Vec<Step>> {
    let mut steps = Vec::new();
    if let Some(name) = &args.profile {
        let known = PROFILES.iter().find(|(known, _)| known == name);
        let text = match known {
            Some((_, text)) => (*text).to_owned(),
            None => read(name)?,
        };
        steps = parse_script(&text).with_context(|| name.clone())?;
        // What is given as arguments holds for good, and not until the profile says something else.
        steps = without(steps, &args.settings.0);
    }
    let given = args.settings.0.iter().map(|command| Step {
        at: Duration::ZERO,
        command: command.clone(),
    });
    steps.extend(given);
    let traces = [
        (&args.up_trace, Direction::Up),
        (&args.down_trace, Direction::Down),
    ];
    for (file, side) in traces {
        if let Some(file) = file {
            let trace = Trace::parse(&read(file)?).with_context(|| file.clone())?;
            steps.extend(trace_steps(&trace, side));
        }
    }
    if let Some(file) = &args.script {
        steps.extend(parse_script(&read(file)?).with_context(|| file.clone())?);
    }
    Ok(steps)
}

/// Steps without the settings that are given for the same direction.
fn without(steps: Vec<Step>, given: &[Command]) -> Vec<Step> {
    let is_given = |side: &Direction, setting: &Setting| {
        let commands = given.iter().filter(|command| command.sides.contains(side));
        let mut settings = commands.flat_map(|command| &command.settings);
        settings.any(|given| given.is_of_same_key(setting))
    };
    let left = steps.iter().flat_map(|step| {
        SIDES[1..].iter().filter_map(move |&(_, sides)| {
            let concerned = sides.iter().find(|side| step.command.sides.contains(side))?;
            let settings = step.command.settings.iter().copied();
            let settings = settings.filter(|setting| !is_given(concerned, setting)).collect();
            let command = Command { sides, settings };
            Some(Step { at: step.at, command })
        })
    });
    left.collect()
}

fn two_names(text: &str) -> Result<(String, String), &'static str> {
    let (up, down) = text
        .split_once(',')
        .ok_or("two names with a comma between them")?;
    Ok((up.to_owned(), down.to_owned()))
}

fn read(file: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))
}

/// The settings given as arguments: every key for both directions and for each, the latter over the former.
#[derive(Debug, Clone)]
struct Settings(Vec<Command>);

/// Whom the arguments of a key concern, in the order of their names in [`Setting::KEYS`].
const SIDES: [(&str, &[Direction]); 3] = [
    ("Settings, both ways", &Direction::BOTH),
    ("Settings, up alone", &[Direction::Up]),
    ("Settings, down alone", &[Direction::Down]),
];

impl clap::Args for Settings {
    fn augment_args(mut command: ClapCommand) -> ClapCommand {
        for (index, (heading, _)) in SIDES.into_iter().enumerate() {
            for (names, value, help) in Setting::KEYS {
                let read = move |text: &str| Setting::parse(names[0], text).map_err(|e| format!("{e:#}"));
                let arg = Arg::new(names[index])
                    .long(names[index])
                    .value_name(value)
                    .help(help)
                    .help_heading(heading)
                    .value_parser(read);
                command = command.arg(arg);
            }
        }
        command
    }

    fn augment_args_for_update(command: ClapCommand) -> ClapCommand {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Settings {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let commands = SIDES.into_iter().enumerate().map(|(index, (_, sides))| Command {
            sides,
            settings: Setting::KEYS
                .iter()
                .filter_map(|(names, ..)| matches.get_one(names[index]).copied())
                .collect(),
        });
        Ok(Self(commands.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<LineArgs, clap::Error> {
        let matches = command().try_get_matches_from(words)?;
        LineArgs::from_arg_matches(&matches)
    }

    #[test]
    fn a_setting_of_one_direction_goes_over_that_of_both_and_both_over_the_profile() {
        let args = parse(&[
            "line",
            "--listen",
            "127.0.0.1:0",
            "--to",
            "127.0.0.1:9",
            "--down-rate",
            "300",
            "--rate",
            "900",
            "--profile",
            "satellite",
        ])
        .expect("good arguments");
        let mut line = LineState::<()>::new(Instant::now(), 1, steps(&args).expect("a known profile"));
        let rate = |direction, line: &mut LineState<()>| {
            line.take_report(direction, Duration::from_secs(1)).rate_kbps
        };
        assert_eq!(rate(Direction::Up, &mut line), Some(900));
        assert_eq!(rate(Direction::Down, &mut line), Some(300));
    }

    #[test]
    fn a_setting_that_is_given_outlives_the_steps_of_a_profile_and_not_those_of_a_script() {
        let (minute, second) = (Duration::from_secs(75), Duration::from_secs(1));
        let script = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(script.path(), "70 both rate=700\n").expect("written");
        let script = script.path().to_str().expect("a name");
        let common = [
            "line",
            "--listen",
            "127.0.0.1:0",
            "--to",
            "127.0.0.1:9",
            "--profile",
            "microwave",
        ];
        for (words, up, down) in [
            (&[][..], 2_000, 2_000),
            (&["--rate", "1500"], 1_500, 1_500),
            (&["--up-rate", "1500"], 1_500, 2_000),
            (&["--loss", "0.1"], 2_000, 2_000),
            (&["--rate", "1500", "--script", script], 700, 700),
        ] {
            let args = parse(&[&common[..], words].concat()).expect("good arguments");
            let began = Instant::now();
            let mut line = LineState::<()>::new(began, 1, steps(&args).expect("a known profile"));
            line.handle_timeout(began + minute);
            let rates = Direction::BOTH.map(|side| line.take_report(side, second).rate_kbps);
            assert_eq!(rates, [Some(up), Some(down)], "{words:?}");
        }
    }

    #[test]
    fn arguments_that_cannot_be_are_refused() {
        command().debug_assert();
        for words in [
            &["line"][..],
            &["line", "--listen", "127.0.0.1:0"],
            &["line", "--tun", "a"],
            &["line", "--tun", "a,b", "--listen", "127.0.0.1:0"],
            &["line", "--listen", "127.0.0.1:0", "--to", "x:1", "--loss", "2"],
        ] {
            assert!(parse(words).is_err(), "{words:?}");
        }
    }
}
