//! The table for people.

use std::fmt::Write as _;

use super::{Report, Summary};
use crate::{check::Violation, sender::SenderCounts};

/// Faults shown per point; the counts are whole.
const LINES_PER_POINT: usize = 6;

impl Report {
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
        if let Some(rejoins) = summary.rejoins.filter(|&rejoins| rejoins > 0) {
            row("came back", format!("{rejoins} times"));
        }
        if let Some(points) = summary.told_to_come_later.filter(|&points| points > 0) {
            row("told to come later", format!("{points} points"));
        }
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
        let latency = [summary.latency_ms_p50, summary.latency_ms_p99];
        row("latency p50, p99", latency.map(ms).join(", "));
        let join = [summary.join_ms_p50, summary.join_ms_p99];
        row("join p50, p99", join.map(ms).join(", "));
        self.rows_of_load(&summary, &mut row);
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

    /// What is known of lean points and of a server that is watched.
    fn rows_of_load(&self, summary: &Summary, row: &mut dyn FnMut(&str, String)) {
        let ms = |value: Option<f64>| value.map_or("-".to_owned(), |ms| format!("{ms:.1} ms"));
        if let Some(rate) = summary.packets_forwarded_per_second {
            row("forwarded", format!("{rate:.0} packets/s"));
            let [gaps, drops, before] = [
                summary.packets_lost_in_node,
                summary.packets_dropped_by_tester,
                summary.packets_dropped_before_node,
            ]
            .map(known);
            row(
                "lost at first",
                format!("{gaps} in the node, {drops} in the tester's sockets; {before} before the node"),
            );
            if let Some(count) = summary.packets_not_sent_by_tester.filter(|&count| count > 0) {
                row("not sent by the tester", count.to_string());
            }
            if let Some(full) = self.server.told_full {
                row("not sent by the node", full.to_string());
            }
            let (first, key) = (
                [summary.first_packet_ms_p50, summary.first_packet_ms_p99],
                [summary.first_key_frame_ms_p50, summary.first_key_frame_ms_p99],
            );
            row("first packet p50, p99", first.map(ms).join(", "));
            row("first key frame p50, p99", key.map(ms).join(", "));
            row("freezes", known(summary.freezes));
            row("longest gap of a picture", ms(summary.picture_gap_ms_max));
        }
        if let Some(streams) = summary.standing_streams {
            let gap = ms(summary.standing_picture_gap_ms_max);
            row(
                "longest gap in the storm",
                format!("{gap}, of {streams} pictures that ran before"),
            );
        }
        if !summary.layer_mix.is_empty() {
            let mix = summary.layer_mix.iter();
            let mix: Vec<String> = mix
                .map(|(height, share)| format!("{height}: {share} %"))
                .collect();
            row("slots by height", mix.join(", "));
        }
        self.rows_of_server(summary, row);
        let cores = summary.tester_cpu_cores;
        let cores = cores.map_or("-".to_owned(), |cores| format!("{cores:.2} cores"));
        row("tester CPU", cores);
    }

    fn rows_of_server(&self, summary: &Summary, row: &mut dyn FnMut(&str, String)) {
        if let Some(cores) = summary.server_cpu_cores {
            let each = self.server.cpu_seconds.iter();
            let each: Vec<String> = each.map(|s| format!("{:.2}", s / self.seconds)).collect();
            row("server CPU", format!("{cores:.2} cores ({})", each.join(" + ")));
            if let Some(us) = summary.server_cpu_us_per_forwarded {
                row("server CPU per packet", format!("{us:.2} us"));
            }
        }
        if let Some((kb, all)) = summary.server_rss_kb_per_point.zip(self.server.rss_kb) {
            row("server memory per point", format!("{kb:.0} kB of {all} kB"));
        }
        if let Some(ms) = summary.server_cpu_ms_per_join {
            let beside = summary.server_cpu_ms_per_join_beside_media;
            let beside = beside.map_or_else(String::new, |ms| format!(", {ms:.2} ms beside media"));
            row("server CPU per join", format!("{ms:.2} ms{beside}"));
        }
        if let Some(percent) = summary.server_rss_growth_percent {
            row(
                "server memory, growth",
                format!("{percent:.1} % from the second quarter to the last"),
            );
        }
        if let Some(run) = summary.gso_run_mean {
            row("packets in a run", format!("{run:.2}"));
        }
    }
}

/// A count, or a dash where nobody counted.
fn known(count: Option<u64>) -> String {
    count.map_or("-".to_owned(), |count| count.to_string())
}
