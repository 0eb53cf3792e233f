//! A trace: what a line gave at which time, read from text, applied to a link.
//!
//! One row per line of text: `time_s, kbps[, delay_ms[, loss]]`; an empty field says nothing about that figure. Lines that are empty or begin
//! with `#` and a head line of names are passed over. A row holds until the next; before the first the link stays as it is.

use std::{fmt, time::Duration};

use sfu::engine::units::Bitrate;

use crate::link::Link;

/// What a line gives over time.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    rows: Vec<(Duration, Change)>,
}

/// What a row says of the link; none: nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Change {
    /// What passes from now on.
    pub rate: Option<Bitrate>,
    /// Time every packet takes from now on.
    pub delay: Option<Duration>,
    /// Share of packets lost from now on, 0 to 1.
    pub loss: Option<f64>,
}

impl Change {
    /// Makes the link as the row says.
    pub fn apply(self, link: &mut Link) {
        if let Some(rate) = self.rate {
            link.rate = Some(rate);
        }
        if let Some(delay) = self.delay {
            link.delay = delay;
        }
        if let Some(loss) = self.loss {
            link.loss = loss;
        }
    }
}

impl Trace {
    /// Most rows of a trace; more are refused. A day at one row a second.
    pub const ROWS_MAX: usize = 86_400;

    /// Reads a trace.
    ///
    /// # Errors
    /// The first row that is not as it should be, by its line.
    pub fn parse(text: &str) -> Result<Self, TraceError> {
        let mut rows: Vec<(Duration, Change)> = Vec::new();
        let mut may_be_head = true;
        for (index, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            let is_head = std::mem::take(&mut may_be_head) && line.starts_with("time_s");
            if line.is_empty() || is_head {
                may_be_head |= line.is_empty();
                continue;
            }
            let wrong = |what| TraceError {
                line: index + 1,
                what,
            };
            let row = read_row(line).map_err(wrong)?;
            if rows.last().is_some_and(|(last, _)| *last >= row.0) {
                return Err(wrong("time goes on from row to row"));
            }
            if rows.len() == Self::ROWS_MAX {
                return Err(wrong("more than 86,400 rows"));
            }
            rows.push(row);
        }
        if rows.is_empty() {
            return Err(TraceError {
                line: 0,
                what: "a trace has rows",
            });
        }
        Ok(Self { rows })
    }

    /// What holds `age` after the begin: the newest word on each figure. None before the first row.
    pub fn at(&self, age: Duration) -> Option<Change> {
        let count = self.rows.partition_point(|(time, _)| *time <= age);
        let past = &self.rows[..count];
        past.last()?;
        let newest = |has: fn(&Change) -> bool| past.iter().rev().map(|(_, change)| change).find(|c| has(c));
        Some(Change {
            rate: newest(|c| c.rate.is_some()).and_then(|c| c.rate),
            delay: newest(|c| c.delay.is_some()).and_then(|c| c.delay),
            loss: newest(|c| c.loss.is_some()).and_then(|c| c.loss),
        })
    }

    /// When, after `age`, the next row begins to hold; none: the last one holds for ever.
    pub fn next_after(&self, age: Duration) -> Option<Duration> {
        let count = self.rows.partition_point(|(time, _)| *time <= age);
        self.rows.get(count).map(|(time, _)| *time)
    }

    /// When the last row begins to hold.
    pub fn length(&self) -> Duration {
        self.rows.last().map_or(Duration::ZERO, |(time, _)| *time)
    }
}

/// A row that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceError {
    /// Which line of the text, from 1; 0: the whole.
    pub line: usize,
    /// What it should be.
    pub what: &'static str,
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for TraceError {}

fn read_row(line: &str) -> Result<(Duration, Change), &'static str> {
    let mut fields = line.split(',').map(str::trim);
    let time = fields.next().unwrap_or_default();
    let time = number(time, 1e6)?.ok_or("a row begins with its time in seconds")?;
    let kbps = number(fields.next().unwrap_or_default(), 1e8)?;
    let delay = number(fields.next().unwrap_or_default(), 60_000.0)?;
    let loss = number(fields.next().unwrap_or_default(), 1.0)?;
    if fields.next().is_some() {
        return Err("a row has at most four fields: time_s, kbps, delay_ms, loss");
    }
    let change = Change {
        rate: kbps.map(|kbps| Bitrate::bps((kbps * 1_000.0).round() as u64)),
        delay: delay.map(|ms| Duration::from_secs_f64(ms / 1_000.0)),
        loss,
    };
    Ok((Duration::from_secs_f64(time), change))
}

/// A number from 0 to `max`, or an empty field.
fn number(field: &str, max: f64) -> Result<Option<f64>, &'static str> {
    if field.is_empty() {
        return Ok(None);
    }
    let value: f64 = field.parse().map_err(|_| "a field is a number")?;
    if (0.0..=max).contains(&value) {
        Ok(Some(value))
    } else {
        Err("time 0 to 1,000,000 s, rate to 100 Gb/s, delay to 60 s, loss 0 to 1")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_row_holds_until_the_next_and_an_empty_field_says_nothing() {
        let text = "# a line\n\ntime_s,kbps,delay_ms,loss\n1, 4000, 300, 0.03\n5,350 # squeezed\n9,,20\n";
        let trace = Trace::parse(text).expect("a good trace");
        assert_eq!(trace.at(Duration::from_millis(999)), None);
        let mut link = Link::good();
        trace.at(s(6)).expect("begun").apply(&mut link);
        assert_eq!(link.rate, Some(Bitrate::kbps(350)));
        assert_eq!((link.delay, link.loss), (Duration::from_millis(300), 0.03));
        trace.at(s(100)).expect("begun").apply(&mut link);
        assert_eq!(link.delay, Duration::from_millis(20));
        assert_eq!(link.rate, Some(Bitrate::kbps(350)));
        assert_eq!(trace.next_after(s(1)), Some(s(5)));
        assert_eq!(trace.next_after(s(9)), None);
        assert_eq!(trace.length(), s(9));
    }

    #[test]
    fn a_bad_row_is_named_by_its_line() {
        for (text, line) in [
            ("", 0),
            ("0,100\nx,100", 2),
            ("0,100\n0,200", 2),
            ("0,-1", 1),
            ("0,NaN", 1),
            ("0,1,2,1.5", 1),
            ("0,1,2,0,9", 1),
            ("0,100\ntime_s,kbps", 2),
            (",100", 1),
        ] {
            assert_eq!(Trace::parse(text).expect_err(text).line, line, "{text}");
        }
    }

    #[test]
    fn the_traces_that_come_along_can_be_read() {
        for (text, length) in [
            (include_str!("../traces/mobile.csv"), s(120)),
            (include_str!("../traces/microwave.csv"), s(180)),
        ] {
            let trace = Trace::parse(text).expect("a good trace");
            assert_eq!(trace.length(), length);
            let rates = (0..length.as_secs()).map(|age| trace.at(s(age)).and_then(|change| change.rate));
            let rates: Vec<Bitrate> = rates.map(|rate| rate.expect("it says rates")).collect();
            let (least, most) = (rates.iter().min(), rates.iter().max());
            assert!(
                least < most && most < Some(&Bitrate::mbps(100)),
                "{least:?} to {most:?}"
            );
        }
    }
}
