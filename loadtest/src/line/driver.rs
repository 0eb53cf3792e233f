//! The loop: one clock read per batch, everything else is decided by the line.

use std::{
    io::{BufRead as _, Read as _, Write as _},
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use serde::Serialize;
use serde_json::json;
use tokio::{sync::mpsc, time::MissedTickBehavior};

use super::{
    ends::{BATCH, Ends},
    setting::{Command, Direction},
    state::{LineState, SideReport},
};

/// Timers of the runtime go by the millisecond, late: packets due within half of one go now, so that the mean error is nothing.
const EARLY: Duration = Duration::from_micros(500);
/// Longest line read from standard input in bytes; the rest of a longer one counts as lines of its own.
const INPUT_MAX: u64 = 4_096;
/// Pause between two looks whether the terminal is this program's, as long as it is not.
const FOREGROUND_PAUSE: Duration = Duration::from_millis(500);
/// Lines of output that wait for a slow reader; more are left out.
const OUTPUT_MAX: usize = 256;

#[derive(Serialize)]
struct Report<'a> {
    t: f64,
    flows: usize,
    refused: u64,
    up: &'a SideReport,
    down: &'a SideReport,
}

/// Plays the line between the ends until it is told to end or `span` is over.
pub(crate) async fn run<E: Ends>(
    mut line: LineState<E::Flow>,
    mut ends: E,
    span: Option<Duration>,
) -> anyhow::Result<()> {
    let began = Instant::now();
    let out = Output::start()?;
    out.put(&json!({ "line": ends.describe() }));
    let mut input = read_input()?;
    let mut arrivals = Vec::with_capacity(BATCH);
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    second.reset();
    let mut reported = began;
    let mut done = std::pin::pin!(end(span));
    while !out.is_closed() {
        let deadline = line.poll_timeout();
        tokio::select! {
            received = ends.receive(&mut arrivals) => received?,
            () = until(deadline) => {}
            Some(text) = input.recv() => {
                if text == "quit" {
                    break;
                }
                handle_input(&mut line, &out, began, &text);
            }
            _ = second.tick() => {
                let now = Instant::now();
                report(&mut line, &mut ends, &out, began, now - reported);
                reported = now;
            }
            () = &mut done => break,
        }
        let now = Instant::now();
        line.handle_timeout(now);
        for packet in arrivals.drain(..) {
            line.handle_packet(
                now,
                packet.direction,
                packet.flow,
                packet.bytes,
                packet.wire_bytes,
            );
        }
        while let Some(packet) = line.poll_transmit(now + EARLY) {
            ends.send(packet);
        }
    }
    report(&mut line, &mut ends, &out, began, reported.elapsed());
    out.finish();
    Ok(())
}

fn report<E: Ends>(
    line: &mut LineState<E::Flow>,
    ends: &mut E,
    out: &Output,
    began: Instant,
    span: Duration,
) {
    let now = Instant::now();
    ends.tidy(now);
    let [up, down] = Direction::BOTH.map(|direction| line.take_report(direction, span));
    let report = Report {
        t: age(began, now),
        flows: ends.flows(),
        refused: ends.take_refused(),
        up: &up,
        down: &down,
    };
    out.put(&report);
}

/// A line from standard input; answered in the output, so that who wrote it knows when it holds.
fn handle_input<F: Clone>(line: &mut LineState<F>, out: &Output, began: Instant, text: &str) {
    let t = age(began, Instant::now());
    match Command::parse(text) {
        Ok(command) => {
            line.handle_command(&command);
            out.put(&json!({ "t": t, "set": text }));
        }
        Err(error) => out.put(&json!({ "t": t, "error": format!("{error:#}") })),
    }
}

/// Seconds to the millisecond.
fn age(began: Instant, now: Instant) -> f64 {
    (now - began).as_millis() as f64 / 1_000.0
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until((deadline - EARLY).into()).await,
        None => std::future::pending().await,
    }
}

/// SIGINT, or the time is over.
async fn end(span: Option<Duration>) {
    let over = async {
        match span {
            Some(span) => tokio::time::sleep(span).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = over => {}
        Ok(()) = tokio::signal::ctrl_c() => {}
    }
}

/// The lines of standard input, from a thread of its own: reading it cannot be given up. Its end does not end the line.
fn read_input() -> anyhow::Result<mpsc::Receiver<String>> {
    let (sender, receiver) = mpsc::channel(16);
    let read = move || {
        let mut stdin = std::io::stdin().lock();
        let mut bytes = Vec::new();
        loop {
            // Whoever reads the terminal from the background (`... &`) is stopped, the line with it (SIGTTIN).
            while is_in_background() {
                thread::sleep(FOREGROUND_PAUSE);
            }
            bytes.clear();
            match (&mut stdin).take(INPUT_MAX).read_until(b'\n', &mut bytes) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            let text = String::from_utf8_lossy(&bytes).trim().to_owned();
            if !text.is_empty() && sender.blocking_send(text).is_err() {
                return;
            }
        }
    };
    thread::Builder::new()
        .name("input".into())
        .spawn(read)
        .context("no thread for standard input")?;
    Ok(receiver)
}

/// Whether standard input is the terminal that this program was started at, and others are in front of it.
#[cfg(target_os = "linux")]
fn is_in_background() -> bool {
    let front = rustix::termios::tcgetpgrp(std::io::stdin());
    front.is_ok_and(|front| front != rustix::process::getpgrp())
}

#[cfg(not(target_os = "linux"))]
fn is_in_background() -> bool {
    false
}

/// Standard output, written by a thread of its own so that a slow reader does not hold up packets.
struct Output {
    lines: SyncSender<String>,
    closed: std::cell::Cell<bool>,
    writer: thread::JoinHandle<()>,
}

impl Output {
    fn start() -> anyhow::Result<Self> {
        let (lines, waiting) = sync_channel(OUTPUT_MAX);
        let writer = thread::Builder::new()
            .name("output".into())
            .spawn(move || write_lines(&waiting))
            .context("no thread for standard output")?;
        Ok(Self {
            lines,
            closed: std::cell::Cell::new(false),
            writer,
        })
    }

    fn put(&self, value: &impl Serialize) {
        let Ok(text) = serde_json::to_string(value) else {
            return;
        };
        if let Err(TrySendError::Disconnected(_)) = self.lines.try_send(text) {
            self.closed.set(true);
        }
    }

    /// Nobody reads any more.
    fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Waits until all is written.
    fn finish(self) {
        drop(self.lines);
        // A writer that panicked has written what it could.
        let _ = self.writer.join();
    }
}

fn write_lines(waiting: &Receiver<String>) {
    let mut stdout = std::io::stdout().lock();
    for line in waiting {
        if writeln!(stdout, "{line}").and_then(|()| stdout.flush()).is_err() {
            return;
        }
    }
}
