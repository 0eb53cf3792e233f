//! What a run came to: a table for people, one JSON object for scripts.

use std::fmt::Write as _;

use serde::Serialize;

use crate::{
    check::{SlotCounts, Violation},
    sender::SenderCounts,
};

/// The object of `--json`. Its keys stay.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Summary {
    /// Points asked for.
    pub(crate) points: u32,
    /// Of these, those whose media path came up.
    pub(crate) joined: u32,
    /// Length of the meeting, from the last join (or the last try) to the end of sending.
    pub(crate) seconds: f64,
    /// Media packets that the points received, each number of each slot once.
    pub(crate) packets_forwarded: u64,
    /// Numbers that never came.
    pub(crate) packets_lost_after_repair: u64,
    /// Everything else that was wrong with what came.
    pub(crate) continuity_errors: u64,
    /// From the sender's payload to the receiver, per packet; null if none came.
    pub(crate) latency_ms_p50: Option<f64>,
    /// The same.
    pub(crate) latency_ms_p99: Option<f64>,
    /// From the opening of the socket to media connected; null if nobody joined.
    pub(crate) join_ms_p50: Option<f64>,
    /// The same.
    pub(crate) join_ms_p99: Option<f64>,
}

/// What one point saw.
#[derive(Debug, Default)]
pub(crate) struct PointReport {
    /// Microseconds from opening the socket to media connected; none if it did not come so far.
    pub(crate) join_us: Option<u64>,
    /// Why it failed.
    pub(crate) failure: Option<String>,
    pub(crate) received: SlotCounts,
    pub(crate) sent: SenderCounts,
    pub(crate) latency: Histogram,
    /// Messages of the server that are not of the protocol, errors, gaps in the roster.
    pub(crate) protocol_errors: u64,
    /// Requests for repair and for key frames that it sent.
    pub(crate) nacks: u64,
    pub(crate) key_frame_requests: u64,
    /// The first few faults, in words.
    pub(crate) log: Vec<String>,
}

/// What all points saw.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) points: u32,
    pub(crate) seconds: f64,
    pub(crate) reports: Vec<PointReport>,
}

impl Report {
    /// The figures that stay.
    pub(crate) fn summary(&self) -> Summary {
        let (mut latency, mut join) = (Histogram::default(), Histogram::default());
        for report in &self.reports {
            latency.add(&report.latency);
            if let Some(us) = report.join_us {
                join.record(us);
            }
        }
        let received = self.received();
        let protocol: u64 = self.reports.iter().map(|report| report.protocol_errors).sum();
        Summary {
            points: self.points,
            joined: self.joined(),
            seconds: (self.seconds * 1000.0).round() / 1000.0,
            packets_forwarded: received.packets,
            packets_lost_after_repair: received.lost,
            continuity_errors: received.errors() + protocol,
            latency_ms_p50: latency.quantile_ms(0.5),
            latency_ms_p99: latency.quantile_ms(0.99),
            join_ms_p50: join.quantile_ms(0.5),
            join_ms_p99: join.quantile_ms(0.99),
        }
    }

    /// Everybody joined and stayed, nothing lost, nothing wrong.
    pub(crate) fn passed(&self) -> bool {
        let summary = self.summary();
        summary.joined == summary.points
            && summary.packets_lost_after_repair == 0
            && summary.continuity_errors == 0
            && self.reports.iter().all(|report| report.failure.is_none())
    }

    /// The table.
    pub(crate) fn table(&self) -> String {
        let summary = self.summary();
        let received = self.received();
        let (mut sent, mut nacks, mut plis) = (SenderCounts::default(), 0, 0);
        for report in &self.reports {
            sent.packets += report.sent.packets;
            sent.repairs += report.sent.repairs;
            sent.key_frames += report.sent.key_frames;
            sent.late += report.sent.late;
            nacks += report.nacks;
            plis += report.key_frame_requests;
        }
        let mut out = String::new();
        let mut row = |name: &str, value: String| {
            let _ = writeln!(out, "{name:<28} {value}");
        };
        let ms = |value: Option<f64>| value.map_or("-".to_owned(), |ms| format!("{ms:.1} ms"));
        row(
            "points joined",
            format!("{} of {}", summary.joined, summary.points),
        );
        row("meeting", format!("{:.1} s", summary.seconds));
        row(
            "packets sent",
            format!("{} ({} again, as asked)", sent.packets, sent.repairs),
        );
        row(
            "packets received",
            format!("{} ({} repaired)", summary.packets_forwarded, received.repaired),
        );
        row(
            "frames and sounds",
            format!("{} ({} not decodable)", received.units, received.undecodable),
        );
        row("switches in slots", received.switches.to_string());
        row("lost after repair", summary.packets_lost_after_repair.to_string());
        row("continuity errors", summary.continuity_errors.to_string());
        for violation in Violation::ALL {
            let count = received.violations[violation as usize];
            if count > 0 {
                row(&format!("  {violation:?}"), count.to_string());
            }
        }
        row("NACK, PLI sent", format!("{nacks}, {plis}"));
        row("key frames when asked", sent.key_frames.to_string());
        row(
            "latency p50, p99",
            format!("{}, {}", ms(summary.latency_ms_p50), ms(summary.latency_ms_p99)),
        );
        row(
            "join p50, p99",
            format!("{}, {}", ms(summary.join_ms_p50), ms(summary.join_ms_p99)),
        );
        if sent.late > 0 {
            row(
                "senders late",
                format!("{} times: this machine is too slow for so many points", sent.late),
            );
        }
        for (number, report) in self.reports.iter().enumerate() {
            for line in report.failure.iter().chain(&report.log).take(LINES_PER_POINT) {
                row(&format!("  point {}", number + 1), line.clone());
            }
        }
        out
    }

    fn joined(&self) -> u32 {
        self.reports
            .iter()
            .filter(|report| report.join_us.is_some())
            .count() as u32
    }

    fn received(&self) -> SlotCounts {
        let mut all = SlotCounts::default();
        for report in &self.reports {
            all.add(&report.received);
        }
        all
    }
}

/// Faults shown per point; the counts are whole.
const LINES_PER_POINT: usize = 6;

/// Counts of microseconds in buckets of about 3 %: bounded, whatever the number of samples.
#[derive(Debug, Clone)]
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    samples: u64,
}

const STEPS_BITS: u32 = 5;
const STEPS: u64 = 1 << STEPS_BITS;
/// Up to 2^32 us; longer ones count as that.
const BUCKETS: usize = ((32 - STEPS_BITS as usize) + 1) << STEPS_BITS;

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: vec![0; BUCKETS],
            samples: 0,
        }
    }
}

impl Histogram {
    /// Counts one sample.
    pub(crate) fn record(&mut self, us: u64) {
        self.buckets[Self::bucket(us)] += 1;
        self.samples += 1;
    }

    /// Counts another's samples too.
    pub(crate) fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.samples += other.samples;
    }

    /// The sample below which `share` of all lie, in milliseconds to two decimals; none without samples.
    pub(crate) fn quantile_ms(&self, share: f64) -> Option<f64> {
        let rank = ((self.samples as f64 * share).ceil() as u64).clamp(1, self.samples.max(1));
        let mut below = 0;
        let found = self.buckets.iter().position(|count| {
            below += count;
            below >= rank
        })?;
        Some((Self::middle(found) as f64 / 10.0).round() / 100.0)
    }

    fn bucket(us: u64) -> usize {
        let us = us.min(u64::from(u32::MAX));
        if us < STEPS {
            return us as usize;
        }
        let shift = us.ilog2() - STEPS_BITS;
        (((shift as usize) + 1) << STEPS_BITS) + ((us >> shift) - STEPS) as usize
    }

    fn middle(bucket: usize) -> u64 {
        let (row, step) = (bucket >> STEPS_BITS, (bucket as u64) & (STEPS - 1));
        if row == 0 {
            return step;
        }
        let shift = row as u32 - 1;
        ((STEPS + step) << shift) + (1 << shift) / 2
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_json_object_has_the_keys_that_stay() {
        let report = Report {
            points: 2,
            seconds: 3.0,
            reports: vec![PointReport::default()],
        };
        let json = serde_json::to_value(report.summary()).unwrap();
        let keys: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
        let mut want = [
            "points",
            "joined",
            "seconds",
            "packets_forwarded",
            "packets_lost_after_repair",
            "continuity_errors",
            "latency_ms_p50",
            "latency_ms_p99",
            "join_ms_p50",
            "join_ms_p99",
        ];
        want.sort_unstable();
        let mut keys: Vec<_> = keys.iter().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, want);
        assert!(!report.passed(), "nobody joined");
    }

    #[test]
    fn a_lost_packet_or_an_error_fails_the_run() {
        let joined = || PointReport {
            join_us: Some(80_000),
            ..PointReport::default()
        };
        let mut report = Report {
            points: 1,
            seconds: 1.0,
            reports: vec![joined()],
        };
        assert!(report.passed());
        report.reports[0].received.lost = 1;
        assert!(!report.passed());
        report.reports[0] = joined();
        report.reports[0].received.violations[0] = 1;
        assert!(!report.passed());
        report.reports[0] = joined();
        report.reports[0].protocol_errors = 1;
        assert!(!report.passed());
    }

    proptest! {
        #[test]
        fn quantiles_are_within_four_percent(mut samples in proptest::collection::vec(0..100_000_000u64, 1..200)) {
            let mut histogram = Histogram::default();
            samples.iter().for_each(|&us| histogram.record(us));
            samples.sort_unstable();
            for share in [0.5, 0.99] {
                let exact = samples[((samples.len() as f64 * share).ceil() as usize).max(1) - 1] as f64 / 1000.0;
                let found = histogram.quantile_ms(share).unwrap();
                prop_assert!((found - exact).abs() <= exact * 0.04 + 0.01, "{} {}", found, exact);
            }
        }
    }
}
