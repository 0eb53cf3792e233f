//! What a case is to come to, and whether it did.

use crate::report::Summary;

/// The goal of a case.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Goal {
    /// Microseconds of CPU for each packet, where all comes that is sent.
    Packet(f64),
    /// Milliseconds of CPU in a second for each point that is there and silent.
    Idle(f64),
    /// CPU for each packet, at most so many times that of the first case with this goal, of all that there are.
    Growth(f64),
    /// Latency that the node adds when half a core is busy, in milliseconds.
    Latency { p50: f64, p99: f64 },
    /// A meeting of which nothing is lost or undecodable, with this latency at most, and so much memory for a point beyond its histories.
    Meeting { p99: f64, kb: f64 },
    /// All join within `max` milliseconds, the slowest of a hundred in `p99`, with so much CPU for each; and no picture that ran before
    /// stands still for longer than `gap_ms`.
    Storm {
        max: f64,
        p99: f64,
        cpu_ms: f64,
        gap_ms: f64,
    },
    /// Memory of the server that grows by so many percent at most while points come and go, and nothing lost.
    Flat { percent: f64 },
}

/// Share of the packets that must come for a figure of them to count.
const ENOUGH: f64 = 0.97;

impl Goal {
    /// In words, for the table.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Packet(us) => format!("{us} us"),
            Self::Idle(ms) => format!("{ms} ms/s each"),
            Self::Growth(times) => format!("+{:.0} % at most", (times - 1.0) * 100.0),
            Self::Latency { p50, p99 } => format!("p50 {p50}, p99 {p99} ms"),
            Self::Meeting { p99, kb } => format!("0 lost, p99 {p99} ms, {kb} kB"),
            Self::Storm {
                max,
                p99,
                cpu_ms,
                gap_ms,
            } => {
                let [max, p99] = [max, p99].map(|ms| ms / 1_000.0);
                format!("all {max} s, p99 {p99} s, {cpu_ms} ms, gap {gap_ms} ms")
            }
            Self::Flat { percent } => format!("0 lost, memory +{percent} %"),
        }
    }

    /// What is measured, in words.
    pub(super) fn figure(&self, summary: &Summary) -> String {
        let words = |value: Option<f64>, digits: usize, unit: &str| {
            value.map_or("-".to_owned(), |value| format!("{value:.digits$} {unit}"))
        };
        match self {
            Self::Packet(_) | Self::Growth(_) | Self::Latency { .. } | Self::Meeting { .. } => {
                words(summary.server_cpu_us_per_forwarded, 2, "us")
            }
            Self::Idle(_) => words(idle(summary), 3, "ms/s"),
            Self::Storm { .. } => {
                let each = words(summary.server_cpu_ms_per_join, 1, "ms each");
                let beside = words(summary.server_cpu_ms_per_join_beside_media, 1, "beside media");
                format!("{each}, {beside}")
            }
            Self::Flat { .. } => words(summary.server_rss_growth_percent, 1, "% more"),
        }
    }

    /// Whether it was kept. `expected`: packets a second that should come. `first`: the figure of the case that growth is compared with.
    /// What was not measured is not kept.
    pub(super) fn is_held(&self, summary: &Summary, expected: Option<f64>, first: Option<f64>) -> bool {
        let within = |value: Option<f64>, most: f64| value.is_some_and(|value| value <= most);
        let came = summary.packets_forwarded_per_second;
        let all_came = expected.is_none_or(|expected| came.is_some_and(|came| came >= ENOUGH * expected));
        let latency =
            |p50: f64, p99: f64| within(summary.latency_ms_p50, p50) && within(summary.latency_ms_p99, p99);
        let kept = match *self {
            Self::Packet(us) => within(summary.server_cpu_us_per_forwarded, us),
            Self::Idle(ms) => within(idle(summary), ms),
            Self::Growth(times) => {
                first.is_some_and(|first| within(summary.server_cpu_us_per_forwarded, first * times))
            }
            Self::Latency { p50, p99 } => latency(p50, p99),
            Self::Meeting { p99, kb } => {
                let at_first = [summary.packets_lost_in_node, summary.packets_dropped_before_node];
                let whole = at_first == [Some(0); 2]
                    && summary.packets_lost_after_repair == 0
                    && summary.frames_undecodable == 0;
                whole && latency(p99, p99) && within(beyond_histories(summary), kb)
            }
            Self::Storm {
                max,
                p99,
                cpu_ms,
                gap_ms,
            } => {
                within(summary.join_ms_max, max)
                    && within(summary.join_ms_p99, p99)
                    && within(summary.server_cpu_ms_per_join, cpu_ms)
                    && within(summary.standing_picture_gap_ms_max, gap_ms)
            }
            Self::Flat { percent } => {
                let lost = summary.packets_lost_after_repair + summary.frames_undecodable;
                lost == 0 && within(summary.server_rss_growth_percent, percent)
            }
        };
        kept && all_came && summary.joined == summary.points
    }
}

/// CPU of a point that is there and silent, in milliseconds a second.
fn idle(summary: &Summary) -> Option<f64> {
    let cores = summary.server_cpu_cores?;
    Some(cores * 1e3 / f64::from(summary.joined.max(1)))
}

/// Memory for a point beside the histories, in kB.
pub(super) fn beyond_histories(summary: &Summary) -> Option<f64> {
    Some(summary.server_rss_kb_per_point? - summary.server_history_kb_per_point?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Report;

    fn summary() -> Summary {
        Summary {
            points: 100,
            joined: 100,
            server_cpu_us_per_forwarded: Some(2.0),
            server_cpu_cores: Some(0.005),
            packets_forwarded_per_second: Some(1_000.0),
            latency_ms_p50: Some(0.4),
            latency_ms_p99: Some(2.5),
            join_ms_p99: Some(900.0),
            join_ms_max: Some(4_900.0),
            standing_picture_gap_ms_max: Some(99.0),
            server_cpu_ms_per_join: Some(3.5),
            server_rss_kb_per_point: Some(900.0),
            server_history_kb_per_point: Some(800.0),
            packets_lost_in_node: Some(0),
            packets_dropped_before_node: Some(0),
            server_rss_growth_percent: Some(4.0),
            ..Report::default().summary()
        }
    }

    const GOALS: [Goal; 7] = [
        Goal::Packet(2.4),
        Goal::Idle(0.06),
        Goal::Growth(1.2),
        Goal::Latency { p50: 0.5, p99: 3.0 },
        Goal::Meeting { p99: 20.0, kb: 150.0 },
        Goal::Storm {
            max: 5e3,
            p99: 3e3,
            cpu_ms: 4.0,
            gap_ms: 100.0,
        },
        Goal::Flat { percent: 5.0 },
    ];

    #[test]
    fn each_goal_is_kept_by_what_is_good_enough_and_broken_by_its_own_figure() {
        let held = |goal: &Goal, summary: &Summary| goal.is_held(summary, Some(1_000.0), Some(1.8));
        assert!(GOALS.iter().all(|goal| held(goal, &summary())));
        type Spoil = fn(&mut Summary);
        let spoils: [(Spoil, &[usize]); 18] = [
            (|s| s.server_cpu_us_per_forwarded = Some(2.5), &[0, 2]),
            (|s| s.server_cpu_us_per_forwarded = None, &[0, 2]),
            (|s| s.server_cpu_cores = Some(0.0065), &[1]),
            (|s| s.latency_ms_p50 = Some(0.6), &[3]),
            (|s| s.latency_ms_p99 = Some(21.0), &[3, 4]),
            (|s| s.packets_lost_in_node = Some(1), &[4]),
            (|s| s.packets_dropped_before_node = None, &[4]),
            (|s| s.packets_lost_after_repair = 1, &[4, 6]),
            (|s| s.server_rss_growth_percent = Some(5.1), &[6]),
            (|s| s.server_rss_growth_percent = None, &[6]),
            (|s| s.server_rss_kb_per_point = Some(951.0), &[4]),
            (|s| s.join_ms_p99 = Some(3_001.0), &[5]),
            (|s| s.join_ms_max = Some(5_001.0), &[5]),
            (|s| s.server_cpu_ms_per_join = Some(4.1), &[5]),
            (|s| s.standing_picture_gap_ms_max = Some(101.0), &[5]),
            (|s| s.standing_picture_gap_ms_max = None, &[5]),
            (
                |s| s.packets_forwarded_per_second = Some(900.0),
                &[0, 1, 2, 3, 4, 5, 6],
            ),
            (|s| s.joined = 99, &[0, 1, 2, 3, 4, 5, 6]),
        ];
        for (at, (spoil, broken)) in spoils.iter().enumerate() {
            let mut summary = summary();
            spoil(&mut summary);
            let short: Vec<usize> = (0..GOALS.len())
                .filter(|&goal| !held(&GOALS[goal], &summary))
                .collect();
            assert_eq!(&short, broken, "spoil {at}");
        }
    }
}
