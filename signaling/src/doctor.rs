//! `diemcau doctor`: what would keep this machine from serving, in plain words.

use std::{net::TcpListener, process::ExitCode, time::SystemTime};

use sfu::driver::system::{self, Severity};
use signaling::driver::{certificate::Files, config::Config};

/// Time before which a clock is plainly wrong (2026-01-01).
const CLOCK_MIN: u64 = 1_767_225_600;

/// Examines and prints; fails if the server would not run.
pub(crate) fn examine(config: &Config) -> ExitCode {
    let mut findings: Vec<(Severity, String)> = system::examine(&config.media)
        .iter()
        .map(|finding| (finding.severity(), finding.to_string()))
        .collect();
    findings.push(port(config.http.listen, "page and WebSocket"));
    if let Some(listen) = config.metrics.listen {
        findings.push(port(listen, "metrics"));
    }
    findings.push(clock());
    findings.push(certificate(config));
    findings.push(data(config));
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

fn port(listen: std::net::SocketAddr, what: &str) -> (Severity, String) {
    match TcpListener::bind(listen) {
        Ok(_) => (Severity::Good, format!("TCP {listen} is free ({what})")),
        Err(error) => (
            Severity::Error,
            format!("TCP {listen} cannot be used ({what}): {error}"),
        ),
    }
}

fn clock() -> (Severity, String) {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    if now < CLOCK_MIN {
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

fn certificate(config: &Config) -> (Severity, String) {
    let configured = config.http.certificate.clone().zip(config.http.key.clone());
    let files = match configured {
        Some((certificate, key)) => Files { certificate, key },
        None if config.http.listen.ip().is_loopback() => {
            return (
                Severity::Good,
                "no certificate: pages of this machine alone (loopback) need none".into(),
            );
        }
        None => Files::of(&config.data),
    };
    if files.exist() {
        (
            Severity::Good,
            format!("certificate {}", files.certificate.display()),
        )
    } else {
        let text = format!(
            "no certificate {}; run:  diemcau cert init",
            files.certificate.display()
        );
        (Severity::Error, text)
    }
}

fn data(config: &Config) -> (Severity, String) {
    let shown = config.data.display();
    match std::fs::metadata(&config.data) {
        Ok(found) if found.is_dir() && !found.permissions().readonly() => {
            (Severity::Good, format!("data folder {shown}"))
        }
        Ok(_) => (Severity::Error, format!("data folder {shown} cannot be written")),
        Err(_) => (
            Severity::Good,
            format!("data folder {shown} will be made at the first start"),
        ),
    }
}
