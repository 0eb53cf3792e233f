//! How good meetings are, as figures of the whole node for Prometheus: spreads of what points have, slots that are short
//! and why, lines and what they carry.

use std::{
    collections::BTreeMap,
    fmt::Write,
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::{
    control::{Cause, LineId, LineReport, PointReport},
    engine::units::Bitrate,
};

/// A rate is that since the last look, if that is this long ago; else that of the look before.
const WINDOW_MIN: Duration = Duration::from_secs(1);

/// IP and UDP headers of a datagram, which a line carries too.
const fn head_bytes(remote: SocketAddr) -> u64 {
    if remote.is_ipv4() { 28 } else { 48 }
}

/// What goes one way between the node and a client, headers included.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flow {
    bytes: u64,
    seen: (Instant, u64),
    rate: Bitrate,
}

impl Flow {
    /// Nothing yet.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            bytes: 0,
            seen: (now, 0),
            rate: Bitrate::ZERO,
        }
    }

    /// One datagram with so many bytes of payload.
    pub(super) fn add(&mut self, remote: SocketAddr, payload: usize) {
        self.bytes += payload as u64 + head_bytes(remote);
    }

    /// The rate since the last look.
    pub(super) fn look(&mut self, now: Instant) -> Bitrate {
        let (at, bytes) = self.seen;
        let time = now.saturating_duration_since(at);
        if time >= WINDOW_MIN {
            let bits = u128::from(self.bytes - bytes) * 8_000_000 / time.as_micros().max(1);
            self.rate = Bitrate::bps(u64::try_from(bits).unwrap_or(u64::MAX));
            self.seen = (now, self.bytes);
        }
        self.rate
    }
}

/// Observations by size.
#[derive(Debug, Clone)]
struct Spread {
    /// Upper ends of the steps, ascending; there is one step more above them.
    ends: &'static [f64],
    counts: Vec<u64>,
    sum: f64,
}

impl Spread {
    fn new(ends: &'static [f64]) -> Self {
        Self {
            ends,
            counts: vec![0; ends.len() + 1],
            sum: 0.0,
        }
    }

    fn add(&mut self, other: &Self) {
        self.counts
            .iter_mut()
            .zip(&other.counts)
            .for_each(|(all, more)| *all += more);
        self.sum += other.sum;
    }

    fn observe(&mut self, value: f64) {
        let place = self.ends.iter().take_while(|&&end| value > end).count();
        if let Some(count) = self.counts.get_mut(place) {
            *count += 1;
        }
        self.sum += value;
    }

    /// As a histogram of the text format, its steps cumulative.
    fn write(&self, out: &mut String, name: &str, help: &str) {
        head(out, name, help, "histogram");
        let mut below = 0;
        let ends = self.ends.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
        for (end, count) in ends.zip(&self.counts) {
            below += count;
            line(out, format_args!("{name}_bucket{{le=\"{end}\"}} {below}"));
        }
        line(out, format_args!("{name}_sum {}", self.sum));
        line(out, format_args!("{name}_count {below}"));
    }
}

/// All figures. The spreads grow by one observation of each connected point at each look; slots and lines are as they are at
/// the last look.
#[derive(Debug, Clone)]
pub(crate) struct Quality {
    estimates: Spread,
    losses: Spread,
    losses_up: Spread,
    round_trips: Spread,
    opinions: Spread,
    /// Slots with something wanted in them.
    slots: u64,
    short: BTreeMap<Cause, u64>,
    /// Only those that somebody is behind; at most [`crate::control::LINES_MAX`].
    lines: BTreeMap<LineId, LineReport>,
}

impl Default for Quality {
    fn default() -> Self {
        Self {
            estimates: Spread::new(&[64e3, 160e3, 350e3, 700e3, 1.5e6, 3e6, 6e6, 12e6, 25e6]),
            losses: Spread::new(LOSS_STEPS),
            losses_up: Spread::new(LOSS_STEPS),
            round_trips: Spread::new(&[0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 2.0]),
            opinions: Spread::new(&[1.5, 2.0, 2.5, 3.0, 3.5, 3.8, 4.0, 4.2, 4.4]),
            slots: 0,
            short: BTreeMap::new(),
            lines: BTreeMap::new(),
        }
    }
}

/// As ratios.
const LOSS_STEPS: &[f64] = &[0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5];

impl Quality {
    /// A look begins: slots and lines are counted anew.
    pub(super) fn begin(&mut self) {
        self.slots = 0;
        self.short.clear();
        self.lines.clear();
    }

    /// One point, connected or not.
    pub(super) fn observe(&mut self, point: &PointReport) {
        if !point.connected {
            return;
        }
        // Of nothing that is sent nothing is lost either.
        if let Some(estimate) = point.estimate {
            self.estimates.observe(estimate.as_bps() as f64);
            self.losses.observe(f64::from(point.loss_permille) / 1e3);
        }
        self.losses_up.observe(f64::from(point.loss_up_permille) / 1e3);
        if let Some(rtt_ms) = point.rtt_ms {
            self.round_trips.observe(f64::from(rtt_ms) / 1e3);
        }
        if let Some(mos) = point.voice_mos {
            self.opinions.observe(f64::from(mos));
        }
        self.slots += point.slots.len() as u64;
        for cause in point.slots.iter().filter_map(|slot| slot.cause) {
            *self.short.entry(cause).or_default() += 1;
        }
    }

    /// Adds what was seen of a shard that is no more: the spreads stay, slots and lines do not.
    pub(super) fn add_past(&mut self, other: &Self) {
        self.estimates.add(&other.estimates);
        self.losses.add(&other.losses);
        self.losses_up.add(&other.losses_up);
        self.round_trips.add(&other.round_trips);
        self.opinions.add(&other.opinions);
    }

    /// Adds what another shard has seen.
    pub(super) fn add(&mut self, other: &Self) {
        self.add_past(other);
        self.slots += other.slots;
        for (&cause, short) in &other.short {
            *self.short.entry(cause).or_default() += short;
        }
        other.lines.values().for_each(|line| self.add_line(line.clone()));
    }

    /// What a line carries of one room; the lines of all rooms add up.
    pub(super) fn add_line(&mut self, line: LineReport) {
        match self.lines.get_mut(&line.id) {
            None => drop(self.lines.insert(line.id.clone(), line)),
            Some(all) => add_line(all, &line),
        }
    }

    /// As Prometheus text.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        let spreads = [
            (
                &self.estimates,
                "diemcau_estimate_bps",
                "What the ways to points carry, by estimate, each point once a look",
            ),
            (
                &self.losses,
                "diemcau_path_loss_ratio",
                "Loss on the ways to points since the last look, each point once a look",
            ),
            (
                &self.losses_up,
                "diemcau_uplink_loss_ratio",
                "Loss on the ways from points before repair, each point once a look",
            ),
            (
                &self.round_trips,
                "diemcau_round_trip_seconds",
                "Round trips to points, each point once a look",
            ),
            (
                &self.opinions,
                "diemcau_voice_mos",
                "Score of the voices that points hear (ITU-T G.107), each point once a look",
            ),
        ];
        for (spread, name, help) in spreads {
            spread.write(&mut out, name, help);
        }
        head(
            &mut out,
            "diemcau_slots_wanted",
            "Video slots with something wanted in them",
            "gauge",
        );
        line(&mut out, format_args!("diemcau_slots_wanted {}", self.slots));
        head(
            &mut out,
            "diemcau_slots_short",
            "Video slots that get less than wanted, by what is in the way",
            "gauge",
        );
        for cause in CAUSES {
            let short = self.short.get(&cause).copied().unwrap_or(0);
            line(
                &mut out,
                format_args!("diemcau_slots_short{{cause=\"{}\"}} {short}", label(cause)),
            );
        }
        let used = |line: &LineReport| [("down", line.used_down), ("up", line.used_up)];
        self.write_lines(
            &mut out,
            "diemcau_line_used_bps",
            "What meetings take of a line",
            used,
        );
        let budget = |line: &LineReport| [("down", line.budget_down), ("up", line.budget_up)];
        self.write_lines(
            &mut out,
            "diemcau_line_budget_bps",
            "What meetings may take of a line",
            budget,
        );
        out
    }

    fn write_lines(
        &self,
        out: &mut String,
        name: &str,
        help: &str,
        of: impl Fn(&LineReport) -> [(&'static str, Bitrate); 2],
    ) {
        head(out, name, help, "gauge");
        for report in self.lines.values() {
            for (direction, rate) in of(report) {
                // The alphabet of a line's id has nothing to escape.
                let id = &report.id;
                let rate = rate.as_bps();
                line(
                    out,
                    format_args!("{name}{{line=\"{id}\",direction=\"{direction}\"}} {rate}"),
                );
            }
        }
    }
}

/// Adds what a line carries elsewhere.
pub(super) fn add_line(all: &mut LineReport, more: &LineReport) {
    let add = |a: &mut Bitrate, b: Bitrate| *a = Bitrate::bps(a.as_bps().saturating_add(b.as_bps()));
    add(&mut all.budget_down, more.budget_down);
    add(&mut all.used_down, more.used_down);
    add(&mut all.budget_up, more.budget_up);
    add(&mut all.used_up, more.used_up);
}

fn head(out: &mut String, name: &str, help: &str, kind: &str) {
    line(out, format_args!("# HELP {name} {help}"));
    line(out, format_args!("# TYPE {name} {kind}"));
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("a string takes all text");
}

/// All causes, so that each has a value from the start.
const CAUSES: [Cause; 12] = [
    Cause::Path,
    Cause::LineBudget,
    Cause::SenderPath,
    Cause::SenderLine,
    Cause::SenderCpu,
    Cause::ReceiverCpu,
    Cause::NotSent,
    Cause::Codec,
    Cause::Policy,
    Cause::Node,
    Cause::VoicesOnly,
    Cause::OneVoice,
];

/// The value of a label: the same word as in messages.
const fn label(cause: Cause) -> &'static str {
    match cause {
        Cause::Path => "path",
        Cause::LineBudget => "line_budget",
        Cause::SenderPath => "sender_path",
        Cause::SenderLine => "sender_line",
        Cause::SenderCpu => "sender_cpu",
        Cause::ReceiverCpu => "receiver_cpu",
        Cause::NotSent => "not_sent",
        Cause::Codec => "codec",
        Cause::Policy => "policy",
        Cause::Node => "node",
        Cause::VoicesOnly => "voices_only",
        Cause::OneVoice => "one_voice",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        control::{ClientState, SendOrder, SlotQuality},
        engine::{id::SlotId, testing::base},
    };

    fn point(number: u32, mos: f32, cause: Option<Cause>) -> PointReport {
        PointReport {
            number: number.try_into().expect("in range"),
            connected: true,
            estimate: Some(Bitrate::kbps(160)),
            allocated: Bitrate::ZERO,
            wanted: Bitrate::ZERO,
            rtt_ms: Some(40),
            loss_permille: 30,
            loss_up_permille: 0,
            jitter_up_ms: 0,
            voice_mos: Some(mos),
            client: ClientState::default(),
            slots: vec![SlotQuality {
                slot: SlotId::video(0),
                height: None,
                rate_percent: 0,
                cause,
                line: None,
            }],
            send: SendOrder::default(),
        }
    }

    fn line_of(id: &str, used: u64) -> LineReport {
        LineReport {
            id: id.to_owned().try_into().expect("an id"),
            budget_down: Bitrate::bps(4_000),
            used_down: Bitrate::bps(used),
            budget_up: Bitrate::bps(1_000),
            used_up: Bitrate::ZERO,
        }
    }

    #[test]
    fn figures_stand_under_their_names_and_lines_of_rooms_add_up() {
        let mut quality = Quality::default();
        for _ in 0..2 {
            quality.begin();
            quality.observe(&point(1, 4.3, None));
            quality.observe(&point(2, 2.2, Some(Cause::LineBudget)));
            let away = point(3, 1.0, Some(Cause::Path));
            quality.observe(&PointReport {
                connected: false,
                ..away
            });
            quality.add_line(line_of("co-to--tinh", 100));
            quality.add_line(line_of("co-to--tinh", 50));
        }
        let text = quality.text();
        for expected in [
            "# TYPE diemcau_voice_mos histogram",
            "diemcau_voice_mos_bucket{le=\"2\"} 0",
            "diemcau_voice_mos_bucket{le=\"2.5\"} 2",
            "diemcau_voice_mos_bucket{le=\"+Inf\"} 4",
            "diemcau_voice_mos_count 4",
            "diemcau_estimate_bps_bucket{le=\"64000\"} 0",
            "diemcau_estimate_bps_bucket{le=\"160000\"} 4",
            "diemcau_path_loss_ratio_bucket{le=\"0.02\"} 0",
            "diemcau_path_loss_ratio_bucket{le=\"0.05\"} 4",
            "diemcau_slots_wanted 2",
            "diemcau_slots_short{cause=\"line_budget\"} 1",
            "diemcau_slots_short{cause=\"path\"} 0",
            "diemcau_line_used_bps{line=\"co-to--tinh\",direction=\"down\"} 150",
            "diemcau_line_budget_bps{line=\"co-to--tinh\",direction=\"up\"} 2000",
        ] {
            assert!(
                text.lines().any(|line| line == expected),
                "{expected} is not in\n{text}"
            );
        }
    }

    #[test]
    fn who_only_sends_is_no_receiver() {
        let mut quality = Quality::default();
        quality.begin();
        quality.observe(&PointReport {
            estimate: None,
            rtt_ms: None,
            voice_mos: None,
            ..point(1, 1.0, None)
        });
        let text = quality.text();
        for (name, count) in [
            ("diemcau_estimate_bps", 0),
            ("diemcau_path_loss_ratio", 0),
            ("diemcau_uplink_loss_ratio", 1),
            ("diemcau_round_trip_seconds", 0),
            ("diemcau_voice_mos", 0),
        ] {
            let expected = format!("{name}_count {count}");
            assert!(
                text.lines().any(|line| line == expected),
                "{expected} is not in\n{text}"
            );
        }
    }

    #[test]
    fn causes_have_the_words_of_messages() {
        for cause in CAUSES {
            let word = serde_json::to_value(cause).expect("a word");
            assert_eq!(word, label(cause));
        }
    }

    #[test]
    fn a_flow_is_what_went_since_the_last_look_of_a_second_ago() {
        let (v4, v6) = (
            "192.0.2.1:1".parse().expect("v4"),
            "[2001:db8::1]:1".parse().expect("v6"),
        );
        let began = base();
        let mut flow = Flow::new(began);
        flow.add(v4, 97);
        flow.add(v6, 77);
        assert_eq!(flow.look(began + Duration::from_millis(999)), Bitrate::ZERO);
        assert_eq!(flow.look(began + Duration::from_secs(2)), Bitrate::bps(1_000));
        flow.add(v4, 1_000);
        assert_eq!(
            flow.look(began + Duration::from_millis(2_500)),
            Bitrate::bps(1_000)
        );
        assert_eq!(flow.look(began + Duration::from_secs(3)), Bitrate::bps(8_224));
    }
}
