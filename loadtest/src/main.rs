//! `diemcau-load`: plays meeting points against a running Điểm Cầu; `diemcau-load line`: plays a bad line before it.
//!
//! Each point joins as a page does, sends real pictures and speech, looks at others by a script, and checks what comes.
//! So the same run is a load, and a proof that what the server forwards is whole, in order, and under the right name.

mod address;
mod args;
#[cfg(target_os = "linux")]
mod bench;
mod bot;
mod check;
mod clip;
mod connection;
mod course;
mod histogram;
mod http;
mod interrupt;
mod json_lines;
mod lean;
#[cfg(target_os = "linux")]
mod limit;
mod line;
mod machine;
mod media;
mod media_path;
mod outcome;
mod peer;
mod process;
mod protocol;
mod report;
mod runs;
mod scenario;
mod sdp;
mod sender;
mod server;
mod shared;
mod signal;
mod sites;
mod slo;
mod stack;
mod trust;
mod whip;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser};

use crate::{
    args::RoomArgs,
    outcome::{exit, unjudged},
};

/// Plays simulated meeting points against a running Điểm Cầu and checks what they receive.
///
/// Without a subcommand it plays a `room`.
///
/// Exit status: 0 all is well; 1 somebody could not join or stay, something was lost or wrong, or a limit of --slo was exceeded
/// or not measured; 2 bad arguments, or a file of them that cannot be read.
#[derive(Debug, Parser)]
#[command(name = "diemcau-load", version)]
struct Args {
    #[command(flatten)]
    room: RoomArgs,
}

fn main() -> ExitCode {
    // Points are played when no subcommand is named, so their arguments stand beside it and not under a name of their own.
    let command = runs::commands(Args::command()).subcommand(line::command());
    #[cfg(target_os = "linux")]
    let command = command
        .subcommand(limit::command())
        .subcommand(bench::command())
        .subcommand(bench::scale_command());
    let command = command
        .subcommand_negates_reqs(true)
        .args_conflicts_with_subcommands(true);
    let matches = command.get_matches();
    match matches.subcommand() {
        Some(("line", matches)) => return exit(unjudged(line::run(matches))),
        #[cfg(target_os = "linux")]
        Some(("limit", matches)) => return exit(unjudged(limit::run(matches))),
        #[cfg(target_os = "linux")]
        Some(("bench", matches)) => return exit(unjudged(bench::run(matches))),
        #[cfg(target_os = "linux")]
        Some(("scale", matches)) => return exit(unjudged(bench::run_scale(matches))),
        _ => {}
    }
    let (name, matches) = match matches.subcommand() {
        Some((name, matches)) => (name, matches),
        None => ("room", &matches),
    };
    exit(runs::play(name, matches))
}

/// The libraries below log a line per bad packet: they speak only when asked twice.
pub(crate) fn start_log(verbose: u8) {
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
