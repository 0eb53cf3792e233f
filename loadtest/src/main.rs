//! `diemcau-load`: plays meeting points against a running Điểm Cầu; `diemcau-load line`: plays a bad line before it.
//!
//! Each point joins as a page does, sends real pictures and speech, looks at others by a script, and checks what comes.
//! So the same run is a load, and a proof that what the server forwards is whole, in order, and under the right name.

mod bot;
mod check;
mod clip;
mod line;
mod media;
mod media_path;
mod peer;
mod protocol;
mod report;
mod scenario;
mod sdp;
mod sender;
mod signal;

use std::{process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use tokio::sync::watch;

use crate::{report::Summary, scenario::Scenario};

/// Plays simulated meeting points against a running Điểm Cầu and checks what they receive.
///
/// Every point sends a camera (VP8 in simulcast, 15 pictures/s: 180p 100 kbit/s, 360p 350, 720p 900) and a microphone
/// (Opus 24 kbit/s), and receives up to six voices and `--slots` pictures. With the defaults a point sends about 200
/// and receives about 400 packets a second; 20 points fit beside the server on two cores.
///
/// Exit status: 0 all is well; 1 somebody could not join or stay, something was lost or wrong; 2 bad arguments.
#[derive(Debug, Parser)]
#[command(name = "diemcau-load", version)]
struct Args {
    /// The server's page, `http` of `diemcau serve --ready-json`.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: String,
    /// A token that opens the room for any number of points, `token` of `diemcau serve --ready-json`.
    #[arg(long, env = "DIEMCAU_TOKEN", hide_env_values = true)]
    token: String,
    /// How many points join.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1000))]
    points: u32,
    /// How long they stay after the last has joined.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Writes the result as one JSON object to a file; `-`: to standard output, the table goes to standard error.
    #[arg(long, value_name = "FILE|-")]
    json: Option<String>,
    /// Layers each camera sends, from 180p up.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=3))]
    layers: u8,
    /// Pictures each point sees: the first large, the others as thumbnails.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(0..=18))]
    slots: u8,
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
    /// Seed of all that is random in a point: stream numbers and clock phases.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Logs to standard error; twice: in detail.
    #[arg(long, short, action = clap::ArgAction::Count)]
    verbose: u8,
}

fn main() -> ExitCode {
    // Points are played when no subcommand is named, so their arguments stand beside it and not under a name of their own.
    let command = Args::command()
        .subcommand(line::command())
        .subcommand_negates_reqs(true)
        .args_conflicts_with_subcommands(true);
    let matches = command.get_matches();
    if let Some(("line", matches)) = matches.subcommand() {
        return exit(line::run(matches).map(|()| true));
    }
    let args = Args::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    start_log(args.verbose);
    exit(play(&args))
}

fn exit(result: anyhow::Result<bool>) -> ExitCode {
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("diemcau-load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn play(args: &Args) -> anyhow::Result<bool> {
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
    let report = scenario::run(scenario(args), stopped).await;
    let table = report.table();
    match args.json.as_deref() {
        Some("-") => {
            eprint!("{table}");
            write_json(&report.summary(), std::io::stdout().lock())?;
        }
        Some(path) => {
            print!("{table}");
            let file = std::fs::File::create(path).with_context(|| format!("cannot write {path}"))?;
            write_json(&report.summary(), file)?;
        }
        None => print!("{table}"),
    }
    Ok(report.passed())
}

fn scenario(args: &Args) -> Scenario {
    Scenario {
        url: args.url.clone(),
        token: args.token.clone(),
        points: args.points,
        meeting: Duration::from_secs(args.seconds),
        layers: usize::from(args.layers),
        slots: usize::from(args.slots),
        stage_height: args.stage_height,
        thumb_height: args.thumb_height,
        speakers: args.speakers,
        turn: Duration::from_secs(args.turn),
        join_pause: Duration::from_millis(args.join_pause),
        seed: args.seed,
    }
}

fn write_json(summary: &Summary, mut out: impl std::io::Write) -> anyhow::Result<()> {
    serde_json::to_writer(&mut out, summary)?;
    writeln!(out)?;
    Ok(out.flush()?)
}

/// The libraries below log a line per bad packet: they speak only when asked twice.
fn start_log(verbose: u8) {
    let filter = match verbose {
        0 => "off",
        1 => "off,loadtest=info,diemcau_load=info",
        _ => "warn,rtc_dtls=error,loadtest=debug,diemcau_load=debug",
    };
    let filter = tracing_subscriber::EnvFilter::new(filter);
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}
