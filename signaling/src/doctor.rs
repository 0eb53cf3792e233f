//! `diemcau doctor`: what would keep this machine from serving, in plain words.

use std::process::ExitCode;

use sfu::driver::system::{self, Severity};
use signaling::driver::{auth, checks, config::Config};

/// Time before which a clock is plainly wrong (2026-01-01).
const CLOCK_MIN: u64 = 1_767_225_600;

/// Examines and prints; fails if the server would not run.
pub(crate) fn examine(config: &Config) -> ExitCode {
    let mut findings: Vec<(Severity, String)> = system::examine(&config.media)
        .iter()
        .map(|finding| (finding.severity(), finding.to_string()))
        .collect();
    findings.extend(checks::examine(config).findings(config));
    findings.push(clock());
    for (severity, text) in &findings {
        let mark = match severity {
            Severity::Good => "ok     ",
            Severity::Warning => "warning",
            Severity::Error => "ERROR  ",
        };
        println!("{mark}  {text}");
    }
    match findings.iter().map(|(severity, _)| *severity).max() {
        Some(Severity::Error) => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}

fn clock() -> (Severity, String) {
    if auth::unix_now() < CLOCK_MIN {
        return (
            Severity::Error,
            "the clock is years behind: tokens and certificates will be refused".into(),
        );
    }
    (
        Severity::Good,
        "the clock is plausible; keep it in step by NTP, tokens allow 60 s".into(),
    )
}
