//! What can be said of a line: settings by name, in the arguments, in scripts and on standard input alike.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use sfu::engine::units::Bitrate;
use testkit::{
    link::{Burst, Link},
    trace::Trace,
};

/// Which way packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the clients to the server; from the first TUN device to the second.
    Up,
    /// From the server to the clients.
    Down,
}

impl Direction {
    pub(crate) const BOTH: [Self; 2] = [Self::Up, Self::Down];
}

/// One figure of a direction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Setting {
    Rate(Option<Bitrate>),
    Delay(Duration),
    Jitter(Duration),
    Queue(Duration),
    Loss(f64),
    Burst(f64),
    Reorder(f64),
    Duplicate(f64),
}

impl Setting {
    /// Every key: as arguments name it for both directions, for up and for down, what its value is, what it means.
    pub(crate) const KEYS: [([&str; 3], &str, &str); 8] = [
        (
            ["rate", "up-rate", "down-rate"],
            "KBPS",
            "What passes, in kbit/s of IP packets; `none`: everything; 0: nothing",
        ),
        (
            ["delay-ms", "up-delay-ms", "down-delay-ms"],
            "MS",
            "Time every packet takes one way",
        ),
        (
            ["jitter-ms", "up-jitter-ms", "down-jitter-ms"],
            "MS",
            "Up to this much more, evenly; packets do not overtake because of it",
        ),
        (
            ["loss", "up-loss", "down-loss"],
            "SHARE",
            "Share of packets lost, 0 to 1",
        ),
        (
            ["burst", "up-burst", "down-burst"],
            "PACKETS",
            "Mean number of packets lost in a row; 1: each for itself",
        ),
        (
            ["queue-ms", "up-queue-ms", "down-queue-ms"],
            "MS",
            "Longest wait for the rate; what would wait longer is dropped",
        ),
        (
            ["reorder", "up-reorder", "down-reorder"],
            "SHARE",
            "Share of packets held back by 15 ms, 0 to 1",
        ),
        (
            ["duplicate", "up-duplicate", "down-duplicate"],
            "SHARE",
            "Share of packets that arrive twice, 0 to 1",
        ),
    ];

    /// Whether both say something of the same figure.
    pub(crate) fn is_of_same_key(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// Reads the value of a key.
    pub(crate) fn parse(key: &str, value: &str) -> anyhow::Result<Self> {
        let ms = || number(value, 60_000.0).map(|ms| Duration::from_secs_f64(ms / 1_000.0));
        let share = || number(value, 1.0);
        let setting = match key {
            "rate" if value == "none" => Ok(Self::Rate(None)),
            "rate" => {
                number(value, 1e8).map(|kbps| Self::Rate(Some(Bitrate::bps((kbps * 1_000.0).round() as u64))))
            }
            "delay-ms" => ms().map(Self::Delay),
            "jitter-ms" => ms().map(Self::Jitter),
            "queue-ms" => ms().map(Self::Queue),
            "loss" => share().map(Self::Loss),
            "burst" => number(value, 1e6).map(Self::Burst),
            "reorder" => share().map(Self::Reorder),
            "duplicate" => share().map(Self::Duplicate),
            _ => bail!(
                "{key:?} is no setting: {}",
                Self::KEYS.map(|([key, ..], ..)| key).join(", ")
            ),
        };
        setting.with_context(|| format!("{key}={value}"))
    }
}

/// How one direction is now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Shape {
    link: Link,
    loss: f64,
    burst: f64,
}

impl Shape {
    /// A line that is not felt, with 200 ms of queue once it gets a rate.
    pub(crate) const CLEAN: Self = Self {
        link: Link::good().with_delay_ms(0).with_jitter_ms(0),
        loss: 0.0,
        burst: 1.0,
    };

    /// Changes one figure, keeps the others.
    pub(crate) fn set(&mut self, setting: Setting) {
        match setting {
            Setting::Rate(rate) => self.link.rate = rate,
            Setting::Delay(delay) => self.link.delay = delay,
            Setting::Jitter(jitter) => self.link.jitter = jitter,
            Setting::Queue(queue) => self.link.queue = queue,
            Setting::Loss(loss) => self.loss = loss,
            Setting::Burst(burst) => self.burst = burst,
            Setting::Reorder(reorder) => self.link.reorder = reorder,
            Setting::Duplicate(duplicate) => self.link.duplicate = duplicate,
        }
    }

    /// The link of that shape.
    pub(crate) fn link(&self) -> Link {
        let mut link = self.link;
        if self.burst > 1.0 {
            link.burst = Some(Burst {
                loss: self.loss,
                mean: self.burst,
            });
        } else {
            link.loss = self.loss;
        }
        link
    }
}

/// Settings for one direction or both.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Command {
    pub(crate) sides: &'static [Direction],
    pub(crate) settings: Vec<Setting>,
}

impl Command {
    /// Reads `up|down|both key=value ...`; commas may stand for blanks.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let mut words = words(text);
        let sides: &[Direction] = match words.next() {
            Some("up") => &[Direction::Up],
            Some("down") => &[Direction::Down],
            Some("both") => &Direction::BOTH,
            other => bail!("{:?} is no direction: up, down, both", other.unwrap_or_default()),
        };
        let settings = words.map(|word| {
            let (key, value) = word.split_once('=').context("a setting is key=value")?;
            Setting::parse(key, value)
        });
        let settings: Vec<_> = settings.collect::<anyhow::Result<_>>()?;
        ensure!(!settings.is_empty(), "nothing is set");
        Ok(Self { sides, settings })
    }
}

/// A command with its time, from the start of the line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    pub(crate) at: Duration,
    pub(crate) command: Command,
}

/// Most steps of a script; more are refused.
const STEPS_MAX: usize = 100_000;

/// Reads a script or profile: a command per line, with its time in seconds before it; without one it holds from the start. `#` begins a remark.
/// The steps are in the order of their times.
pub(crate) fn parse_script(text: &str) -> anyhow::Result<Vec<Step>> {
    let mut steps = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        ensure!(steps.len() < STEPS_MAX, "more than {STEPS_MAX} steps");
        steps.push(parse_step(line).with_context(|| format!("line {}", index + 1))?);
    }
    steps.sort_by_key(|step| step.at);
    Ok(steps)
}

/// The steps that make a direction follow a trace.
pub(crate) fn trace_steps(trace: &Trace, side: Direction) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut age = Some(Duration::ZERO);
    while let Some(at) = age {
        if let Some(change) = trace.at(at) {
            let rate = change.rate.map(|rate| Setting::Rate(Some(rate)));
            let delay = change.delay.map(Setting::Delay);
            let loss = change.loss.map(Setting::Loss);
            let command = Command {
                sides: match side {
                    Direction::Up => &[Direction::Up],
                    Direction::Down => &[Direction::Down],
                },
                settings: [rate, delay, loss].into_iter().flatten().collect(),
            };
            steps.push(Step { at, command });
        }
        age = trace.next_after(at);
    }
    steps
}

fn parse_step(line: &str) -> anyhow::Result<Step> {
    let first = words(line).next().unwrap_or_default();
    let Ok(seconds) = first.parse::<f64>() else {
        let command = Command::parse(line)?;
        return Ok(Step {
            at: Duration::ZERO,
            command,
        });
    };
    ensure!((0.0..=1e6).contains(&seconds), "time is 0 to 1,000,000 s");
    let rest = line.split_once(first).map_or("", |(_, rest)| rest);
    Ok(Step {
        at: Duration::from_secs_f64(seconds),
        command: Command::parse(rest)?,
    })
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c == ',' || c.is_whitespace())
        .filter(|word| !word.is_empty())
}

/// A number from 0 to `max`.
fn number(text: &str, max: f64) -> anyhow::Result<f64> {
    let value: f64 = text.parse().context("not a number")?;
    ensure!((0.0..=max).contains(&value), "not from 0 to {max}");
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_read_in_the_order_of_its_times() {
        let text = "# squeeze\n20, down, rate=2500\nboth delay-ms=30 loss=0.03,burst=3.6\n8.5 down rate=300 # thin\n";
        let steps = parse_script(text).expect("a good script");
        let times: Vec<_> = steps.iter().map(|step| step.at.as_millis()).collect();
        assert_eq!(times, [0, 8_500, 20_000]);
        assert_eq!(steps[0].command.sides, Direction::BOTH);
        assert_eq!(
            steps[1].command.settings,
            [Setting::Rate(Some(Bitrate::kbps(300)))]
        );
    }

    #[test]
    fn loss_with_a_burst_comes_in_bursts_and_else_alone() {
        let mut shape = Shape::CLEAN;
        shape.set(Setting::Loss(0.03));
        assert_eq!((shape.link().loss, shape.link().burst), (0.03, None));
        shape.set(Setting::Burst(3.6));
        assert_eq!(shape.link().loss, 0.0);
        assert_eq!(
            shape.link().burst,
            Some(Burst {
                loss: 0.03,
                mean: 3.6
            })
        );
        shape.set(Setting::Loss(0.1));
        assert_eq!(shape.link().burst, Some(Burst { loss: 0.1, mean: 3.6 }));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, word) in [
            ("down rate=x", "line 1"),
            ("up rate=1\nsideways rate=1", "line 2"),
            ("up loss=1.5", "line 1"),
            ("up loss=NaN", "line 1"),
            ("up speed=3", "speed"),
            ("up", "nothing is set"),
            ("-1 up rate=3", "time"),
            ("up rate", "key=value"),
        ] {
            let error = format!("{:#}", parse_script(text).expect_err(text));
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn a_trace_becomes_steps_of_one_direction() {
        let trace = Trace::parse("0,1000,20\n5,300").expect("a good trace");
        let steps = trace_steps(&trace, Direction::Down);
        assert_eq!(steps.len(), 2);
        assert_eq!(steps[1].at, Duration::from_secs(5));
        assert_eq!(steps[1].command.sides, [Direction::Down]);
        assert!(
            steps[1]
                .command
                .settings
                .contains(&Setting::Rate(Some(Bitrate::kbps(300))))
        );
    }

    #[test]
    fn the_profiles_that_come_along_can_be_read() {
        for (name, text) in super::super::PROFILES {
            assert!(!parse_script(text).expect(name).is_empty(), "{name}");
        }
    }
}
