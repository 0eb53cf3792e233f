//! What a run came to: a table for people, one JSON object for scripts.

mod table;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    bot::rejoin::ForNow, check::SlotCounts, histogram::Histogram, media_path::MediaReport,
    sender::SenderCounts, server::ServerFigures,
};

/// The object of `--json`. Its keys stay.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Summary {
    /// Points asked for.
    pub(crate) points: u32,
    /// Of these, those whose media path came up.
    pub(crate) joined: u32,
    /// Times that a lean point came back, whom the server had no room for or whose media was lost.
    pub(crate) rejoins: Option<u64>,
    /// Lean points that were told to come later, once or more often: there was no room for them at the time.
    pub(crate) told_to_come_later: Option<u64>,
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
    /// The same of each ten seconds of the meeting that lie in it as a whole, in their order; null where nothing came. Known of lean points that count by headers.
    pub(crate) latency_ms_p99_course: Option<Vec<Option<f64>>>,
    /// From the opening of the socket to media connected; null if nobody joined.
    pub(crate) join_ms_p50: Option<f64>,
    /// The same.
    pub(crate) join_ms_p99: Option<f64>,
    /// The slowest join.
    pub(crate) join_ms_max: Option<f64>,
    /// From the opening of the socket to the first packet of anybody. This and the next are known of lean points.
    pub(crate) first_packet_ms_p50: Option<f64>,
    /// The same.
    pub(crate) first_packet_ms_p99: Option<f64>,
    /// From the wish for a picture (of the first ones: from the opening of the socket) to its first key frame, of each slot.
    pub(crate) first_key_frame_ms_p50: Option<f64>,
    /// The same.
    pub(crate) first_key_frame_ms_p99: Option<f64>,
    /// The greatest latency.
    pub(crate) latency_ms_max: Option<f64>,
    /// Numbers that did not come the first time, of points whose sockets had room for all. Null if the tester did not send everything.
    pub(crate) packets_lost_in_node: Option<u64>,
    /// Datagrams that the tester's own sockets had no room for, a run of them as one: it is too slow, not the node.
    pub(crate) packets_dropped_by_tester: Option<u64>,
    /// Packets of lean points that the tester's kernel did not take.
    pub(crate) packets_not_sent_by_tester: Option<u64>,
    /// Datagrams that the node's own sockets had no room for since it began: what came in too fast for it. Known on the loopback.
    pub(crate) packets_dropped_before_node: Option<u64>,
    /// Packets that the node did not send because the kernel had no room, by its own count.
    pub(crate) packets_not_sent_by_node: Option<u64>,
    /// Packets that came as repairs.
    pub(crate) packets_repaired: u64,
    /// Frames that no decoder could use.
    pub(crate) frames_undecodable: u64,
    /// Times a picture stood still; known of lean points that count by headers.
    pub(crate) freezes: Option<u64>,
    /// Longest time between two frames of one source in one slot.
    pub(crate) picture_gap_ms_max: Option<f64>,
    /// Pictures that ran steadily, of those who were there, when a storm began; null where nobody stood there.
    pub(crate) standing_streams: Option<u64>,
    /// Longest time between two pictures of one of these since then, before the slot was given to another.
    pub(crate) standing_picture_gap_ms_max: Option<f64>,
    /// RTP packets that came in a second of the meeting.
    pub(crate) packets_forwarded_per_second: Option<f64>,
    /// CPU time of the processes watched for each of them, in microseconds.
    pub(crate) server_cpu_us_per_forwarded: Option<f64>,
    /// CPU time of the processes watched, as a share of one core.
    pub(crate) server_cpu_cores: Option<f64>,
    /// CPU time of the processes watched from before the first join until all had joined, for each who did.
    pub(crate) server_cpu_ms_per_join: Option<f64>,
    /// The same without the media that was forwarded meanwhile, each packet taken for what one costs in the meeting.
    pub(crate) server_cpu_ms_per_join_beside_media: Option<f64>,
    /// CPU time of the load tester, as a share of one core.
    pub(crate) tester_cpu_cores: Option<f64>,
    /// Memory that the processes watched took for the points, for each of them.
    pub(crate) server_rss_kb_per_point: Option<f64>,
    /// Of that, what the server tells that it keeps of all streams.
    pub(crate) server_history_kb_per_point: Option<f64>,
    /// The same in the course of the meeting, all of it, in kB.
    pub(crate) server_rss_kb: Option<Vec<u64>>,
    /// By how much its last quarter is above its second, in percent: near zero if nothing is left behind.
    pub(crate) server_rss_growth_percent: Option<f64>,
    /// Packets of a run that the node sent in one system call, on average.
    pub(crate) gso_run_mean: Option<f64>,
    /// Share of slots by the height of what they get, `none` for nothing, in percent.
    pub(crate) layer_mix: BTreeMap<String, f64>,
}

/// What one point saw.
#[derive(Debug, Default)]
pub(crate) struct PointReport {
    /// Microseconds from opening the socket to media connected; none if it did not come so far.
    pub(crate) join_us: Option<u64>,
    /// The same of all who had this seat, one after the other.
    pub(crate) joins: Histogram,
    /// Why it failed.
    pub(crate) failure: Option<String>,
    /// It shall come back.
    pub(crate) come_back: Option<ForNow>,
    /// How often those who had this seat did.
    pub(crate) rejoins: u64,
    /// Whoever had this seat was told to come later.
    pub(crate) told_later: bool,
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
    /// Microseconds from opening the socket to the first packet; as what follows, known of lean points.
    pub(crate) first_packet_us: Option<u64>,
    pub(crate) first_key: Histogram,
    pub(crate) gaps: Option<u64>,
    pub(crate) freezes: Option<u64>,
    pub(crate) longest_gap_us: u64,
    /// Of those who were there before a storm.
    pub(crate) running: u64,
    pub(crate) running_gap_us: Option<u64>,
    /// Packets that the kernel did not take from the tester.
    pub(crate) not_sent: u64,
    /// How often a slot was seen to get which height; 0: nothing.
    pub(crate) layer_mix: BTreeMap<u16, u64>,
}

impl PointReport {
    /// Takes what its media saw, of a point that opened its socket then.
    pub(crate) fn take(&mut self, media: MediaReport, opened_us: u64) {
        self.received = media.received;
        self.sent = media.sent;
        self.latency = media.latency;
        self.nacks = media.nacks;
        self.key_frame_requests = media.key_frame_requests;
        self.first_packet_us = media.first_packet_us.map(|at| at.saturating_sub(opened_us));
        self.first_key = media.first_key;
        // Of a run of packets that finds no room the kernel counts one: how many of the gaps are its own nobody knows.
        let is_deaf = media.dropped.is_some_and(|drops| drops > 0);
        self.gaps = media.gaps.filter(|_| !is_deaf);
        self.freezes = media.freezes;
        self.longest_gap_us = media.longest_gap_us;
        self.running = media.running;
        self.running_gap_us = media.running_gap_us;
        self.not_sent = media.not_sent;
        self.log.extend(media.log);
    }

    /// Takes what another in the same seat saw.
    pub(crate) fn add(&mut self, other: Self) {
        self.join_us = self.join_us.or(other.join_us);
        self.failure = self.failure.take().or(other.failure);
        self.joins.add(&other.joins);
        self.rejoins += other.rejoins;
        self.told_later |= other.told_later;
        self.received.add(&other.received);
        self.sent.packets += other.sent.packets;
        self.sent.repairs += other.sent.repairs;
        self.sent.key_frames += other.sent.key_frames;
        self.sent.late += other.sent.late;
        self.latency.add(&other.latency);
        self.protocol_errors += other.protocol_errors;
        self.nacks += other.nacks;
        self.key_frame_requests += other.key_frame_requests;
        self.first_packet_us = self.first_packet_us.or(other.first_packet_us);
        self.first_key.add(&other.first_key);
        self.gaps = sum([self.gaps, other.gaps]);
        self.freezes = sum([self.freezes, other.freezes]);
        self.longest_gap_us = self.longest_gap_us.max(other.longest_gap_us);
        self.running += other.running;
        self.running_gap_us = self.running_gap_us.max(other.running_gap_us);
        self.not_sent += other.not_sent;
        for (height, count) in other.layer_mix {
            *self.layer_mix.entry(height).or_default() += count;
        }
        let room = LOG_MAX.saturating_sub(self.log.len());
        self.log.extend(other.log.into_iter().take(room));
    }
}

/// Most lines about faults that are kept of a seat.
const LOG_MAX: usize = 16;

/// What all points saw.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) points: u32,
    /// Of these, those who were there before the others came.
    pub(crate) standing: u32,
    pub(crate) seconds: f64,
    pub(crate) reports: Vec<PointReport>,
    pub(crate) server: ServerFigures,
    /// RTP packets that lean points heard in the meeting.
    pub(crate) heard: Option<u64>,
    /// The same while points joined, for each join.
    pub(crate) join_heard: Option<f64>,
    /// CPU seconds of the server for each join.
    pub(crate) join_cpu: Option<f64>,
    /// Memory that the server took since before the first join.
    pub(crate) rss_kb_grown: Option<u64>,
    /// Its memory in the course of the meeting, in kB.
    pub(crate) rss_kb: Vec<u64>,
    /// Latency in the course of the meeting, of lean points.
    pub(crate) latency_course: Option<Vec<Histogram>>,
    /// Datagrams that the tester's own sockets dropped, if they were looked at.
    pub(crate) tester_drops: Option<u64>,
    /// Datagrams that the node's sockets dropped since it began, if it is on this machine.
    pub(crate) node_drops: Option<u64>,
}

impl Report {
    /// The figures that stay.
    pub(crate) fn summary(&self) -> Summary {
        let all = self.histograms();
        let received = self.received();
        let sum = |of: fn(&PointReport) -> u64| -> u64 { self.reports.iter().map(of).sum() };
        let not_sent = sum(|report| report.not_sent);
        let cpu: f64 = self.server.cpu_seconds.iter().sum();
        let watched = !self.server.cpu_seconds.is_empty() && self.seconds > 0.0;
        let heard = self.heard.filter(|&heard| heard > 0);
        Summary {
            points: self.points,
            joined: self.joined(),
            rejoins: self.heard.map(|_| sum(|report| report.rejoins)),
            told_to_come_later: self.heard.map(|_| sum(|report| report.told_later.into())),
            seconds: rounded(self.seconds),
            packets_forwarded: received.packets,
            packets_lost_after_repair: received.lost,
            continuity_errors: received.errors() + sum(|report| report.protocol_errors),
            latency_ms_p50: all.latency.quantile_ms(0.5),
            latency_ms_p99: all.latency.quantile_ms(0.99),
            latency_ms_p99_course: self.latency_course.as_deref().map(course),
            latency_ms_max: all.latency.quantile_ms(1.0),
            join_ms_p50: all.join.quantile_ms(0.5),
            join_ms_p99: all.join.quantile_ms(0.99),
            join_ms_max: all.join.quantile_ms(1.0),
            first_packet_ms_p50: all.first_packet.quantile_ms(0.5),
            first_packet_ms_p99: all.first_packet.quantile_ms(0.99),
            first_key_frame_ms_p50: all.first_key.quantile_ms(0.5),
            first_key_frame_ms_p99: all.first_key.quantile_ms(0.99),
            packets_lost_in_node: self
                .known(|report| report.gaps)
                .filter(|_| self.tester_drops.is_some() && not_sent == 0),
            packets_dropped_by_tester: self.tester_drops,
            packets_not_sent_by_tester: self.heard.map(|_| not_sent),
            packets_dropped_before_node: self.node_drops,
            packets_not_sent_by_node: self.server.told_full,
            packets_repaired: received.repaired,
            frames_undecodable: received.undecodable,
            freezes: self.known(|report| report.freezes),
            picture_gap_ms_max: self.longest_ms(|report| Some(report.longest_gap_us).filter(|&us| us > 0)),
            standing_streams: (self.standing > 0 && self.heard.is_some())
                .then(|| sum(|report| report.running)),
            standing_picture_gap_ms_max: self.longest_ms(|report| report.running_gap_us),
            packets_forwarded_per_second: heard.map(|heard| rounded(heard as f64 / self.seconds)),
            server_cpu_us_per_forwarded: heard
                .filter(|_| watched)
                .map(|heard| rounded(cpu * 1e6 / heard as f64)),
            server_cpu_cores: watched.then(|| rounded(cpu / self.seconds)),
            server_cpu_ms_per_join: self.join_cpu.map(|cpu| rounded(cpu * 1e3)),
            server_cpu_ms_per_join_beside_media: self
                .join_cpu
                .zip(self.join_heard)
                .zip(heard.filter(|_| watched))
                .map(|((each, packets), heard)| rounded((each - packets * cpu / heard as f64) * 1e3)),
            tester_cpu_cores: self
                .server
                .tester_cpu_seconds
                .map(|spent| rounded(spent / self.seconds.max(0.001))),
            server_rss_kb_per_point: self.rss_kb_grown.map(|grown| self.each(grown as f64)),
            server_history_kb_per_point: self
                .server
                .history_bytes
                .map(|bytes| self.each(bytes as f64 / 1_024.0)),
            server_rss_kb: Some(self.rss_kb.clone()).filter(|samples| !samples.is_empty()),
            server_rss_growth_percent: growth_percent(&self.rss_kb),
            gso_run_mean: self.server.gso_run_mean.map(rounded),
            layer_mix: self.layer_mix(),
        }
    }

    /// Of those who know; nothing if nobody does.
    fn known(&self, of: fn(&PointReport) -> Option<u64>) -> Option<u64> {
        self.reports
            .iter()
            .fold(None, |all, report| sum([all, of(report)]))
    }

    /// The longest of all, in milliseconds.
    fn longest_ms(&self, of: fn(&PointReport) -> Option<u64>) -> Option<f64> {
        let longest_us = self.reports.iter().filter_map(of).max();
        longest_us.map(|us| rounded(us as f64 / 1_000.0))
    }

    /// For each who joined.
    fn each(&self, all: f64) -> f64 {
        rounded(all / f64::from(self.joined().max(1)))
    }

    fn histograms(&self) -> Histograms {
        let mut all = Histograms::default();
        for report in &self.reports {
            all.latency.add(&report.latency);
            all.first_key.add(&report.first_key);
            all.join.add(&report.joins);
            let first = report.first_packet_us.into_iter();
            first.for_each(|us| all.first_packet.record(us));
        }
        all
    }

    fn layer_mix(&self) -> BTreeMap<String, f64> {
        let mut mix: BTreeMap<u16, u64> = BTreeMap::new();
        for (&height, &count) in self.reports.iter().flat_map(|report| &report.layer_mix) {
            *mix.entry(height).or_default() += count;
        }
        let all: u64 = mix.values().sum();
        mix.into_iter()
            .map(|(height, count)| {
                let name = match height {
                    0 => "none".to_owned(),
                    height => height.to_string(),
                };
                (name, (count as f64 * 1_000.0 / all as f64).round() / 10.0)
            })
            .collect()
    }

    /// Everybody joined and stayed, nothing lost, nothing wrong.
    pub(crate) fn passed(&self) -> bool {
        let summary = self.summary();
        self.stayed() && summary.packets_lost_after_repair == 0 && summary.continuity_errors == 0
    }

    /// Everybody joined, and nobody was thrown out.
    pub(crate) fn stayed(&self) -> bool {
        self.joined() == self.points && self.reports.iter().all(|report| report.failure.is_none())
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

/// By how much the last quarter of samples is above the second: the first is when caches fill. Nothing of fewer than sixty.
fn growth_percent(samples: &[u64]) -> Option<f64> {
    let quarter = samples.len() / 4;
    let mean = |of: &[u64]| of.iter().sum::<u64>() as f64 / of.len() as f64;
    let second = samples.get(quarter..2 * quarter).filter(|_| quarter >= 15)?;
    let last = &samples[samples.len() - quarter..];
    Some(rounded((mean(last) / mean(second) - 1.0) * 100.0))
}

/// Of both, if both are known; else the one that is.
fn sum(figures: [Option<u64>; 2]) -> Option<u64> {
    figures.into_iter().flatten().reduce(|all, each| all + each)
}

fn course(windows: &[Histogram]) -> Vec<Option<f64>> {
    windows.iter().map(|window| window.quantile_ms(0.99)).collect()
}

/// To three decimals.
fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

/// What all points together waited for.
#[derive(Default)]
struct Histograms {
    latency: Histogram,
    join: Histogram,
    first_packet: Histogram,
    first_key: Histogram,
}

#[cfg(test)]
mod tests;
