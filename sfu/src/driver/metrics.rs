//! The node's counters, for Prometheus. Plain numbers while packets run; made into text when somebody asks.

use prometheus::{Encoder, GaugeVec, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

use super::{shard::Counted, tally::Tally};

/// A value of the one label of a metric, and its count.
type Row = (&'static str, u64);

/// Everything as Prometheus text.
pub(crate) fn text(counted: &Counted) -> String {
    let registry = Registry::new();
    for (name, help, value) in [
        ("diemcau_rooms", "Rooms that are open", counted.rooms_open),
        (
            "diemcau_endpoints",
            "Endpoints with media, or on their way to it",
            counted.endpoints,
        ),
        (
            "diemcau_endpoints_connected",
            "Endpoints whose handshake is done",
            counted.endpoints_connected,
        ),
        (
            "diemcau_history_bytes",
            "Memory of the payloads that are kept for repairs and for whoever looks next, with their entries",
            counted.history_bytes,
        ),
    ] {
        add_gauge(&registry, name, help, value);
    }
    add_traffic(&registry, counted);
    add_runs(&registry, &counted.tally);
    add_refused(&registry, counted);
    add_dropped(&registry, counted);
    add_paths(&registry, counted);
    add_outcomes(&registry, counted);
    add_cascade(&registry, counted);
    add_shards(&registry, counted);
    let mut bytes = Vec::new();
    TextEncoder::new()
        .encode(&registry.gather(), &mut bytes)
        .expect("a vector takes all bytes");
    let mut text = String::from_utf8(bytes).expect("names and help are text");
    text.push_str(&counted.quality.text());
    text
}

/// What came and what went.
fn add_traffic(registry: &Registry, counted: &Counted) {
    let Counted { tally, rooms, .. } = counted;
    let (received, sent) = (&tally.received, &tally.rtp_sent);
    add(
        registry,
        "diemcau_datagrams_received_total",
        "Datagrams received",
        "class",
        &[
            ("stun", received[0]),
            ("dtls", received[1]),
            ("rtp", received[2]),
            ("rtcp", received[3]),
            ("other", received[4]),
        ],
    );
    add(
        registry,
        "diemcau_rtp_packets_total",
        "RTP packets: in, those that were new; out, by why they were sent",
        "kind",
        &[
            ("in", rooms.received),
            ("out_audio", sent[0]),
            ("out_repair", sent[1]),
            ("out_video", sent[2]),
            ("out_padding", sent[3]),
            ("out_repeat", sent[4]),
        ],
    );
    add(
        registry,
        "diemcau_bytes_total",
        "Bytes of UDP payload",
        "dir",
        &[("in", tally.bytes_received), ("out", tally.bytes_sent)],
    );
    add(
        registry,
        "diemcau_sent_total",
        "What was sent otherwise",
        "kind",
        &[
            ("rtcp", tally.rtcp_sent),
            ("handshake", tally.handshake_datagrams_sent),
            ("datagrams", tally.datagrams_sent),
            ("runs", tally.runs_sent),
            ("system_calls", tally.send_calls),
        ],
    );
}

/// How long the runs of media are.
fn add_runs(registry: &Registry, tally: &Tally) {
    add(
        registry,
        "diemcau_media_sends_total",
        "RTP packets to be sent, and in how many runs: packets of one receiver that the kernel takes as one",
        "kind",
        &[
            ("packets", tally.rtp_sent.iter().sum()),
            ("runs", tally.media_runs),
        ],
    );
}

/// What was refused at the door.
fn add_refused(registry: &Registry, counted: &Counted) {
    let Counted { tally, rooms, .. } = counted;
    add(
        registry,
        "diemcau_datagrams_refused_total",
        "Datagrams dropped at the door, by reason",
        "reason",
        &[
            ("not_ours", tally.gate_refused[0]),
            ("unverified", tally.gate_refused[1]),
            ("stun_rate", tally.gate_refused[2]),
            ("stun", tally.stun_refused),
            ("dtls", tally.dtls_refused),
            ("dtls_queue", tally.handshakes_dropped),
            ("srtp_path", tally.media_refused[0]),
            ("srtp_no_keys", tally.media_refused[1]),
            ("srtp_malformed", tally.media_refused[2]),
            ("srtp_replayed", tally.media_refused[3]),
            ("srtp_not_authentic", tally.media_refused[4]),
            ("srtp_not_encrypted", tally.media_refused[5]),
            ("srtp_streams", tally.media_refused[6]),
            ("rtp_malformed", rooms.malformed),
            ("rtp_source_off", rooms.source_off),
            ("rtp_silent", rooms.silent),
            ("rtp_not_kept", rooms.not_kept),
            ("rtcp_malformed", rooms.rtcp_malformed),
            ("rtcp_unknown", rooms.rtcp_unknown),
        ],
    );
}

/// What was not sent.
fn add_dropped(registry: &Registry, counted: &Counted) {
    let Counted { tally, rooms, .. } = counted;
    add(
        registry,
        "diemcau_packets_dropped_total",
        "Packets not sent, by reason",
        "reason",
        &[
            ("before_switch", rooms.dropped.before_switch),
            ("too_late", rooms.dropped.too_late),
            ("overlap", rooms.dropped.overlap),
            ("codec", rooms.dropped.codec),
            ("queue", rooms.dropped.queue),
            ("jump", rooms.dropped.jump),
            ("buffer_full", tally.send_full),
            ("send_failed", tally.send_failed),
            ("no_path", tally.no_path),
            ("payload_gone", tally.payload_gone),
            ("not_written", tally.not_written),
            ("not_sealed", tally.not_sealed),
        ],
    );
    add(
        registry,
        "diemcau_repairs_refused_total",
        "Numbers asked for again and not sent, by reason",
        "reason",
        &[
            ("unknown", rooms.refused.unknown),
            ("recent", rooms.refused.recent),
            ("budget", rooms.refused.budget),
            ("gone", rooms.refused.gone),
            ("past", rooms.refused.past),
        ],
    );
}

/// How well packets come and go.
fn add_paths(registry: &Registry, counted: &Counted) {
    let (uplinks, paths) = (&counted.rooms.uplinks, &counted.rooms.paths);
    add(
        registry,
        "diemcau_uplink_packets_total",
        "Media packets of senders, by what became of them",
        "kind",
        &[
            ("new", uplinks.packets),
            ("repaired", uplinks.repaired),
            ("recovered", uplinks.recovered),
            ("lost", uplinks.given_up),
            ("duplicate", uplinks.duplicates),
            ("probe", uplinks.probes),
            ("padding", uplinks.padding),
            ("excess", uplinks.excess),
            ("unknown", uplinks.unknown),
            ("stray", uplinks.stray),
            ("malformed", uplinks.malformed),
        ],
    );
    add(
        registry,
        "diemcau_uplink_feedback_total",
        "What senders were asked for, and their reports that were not believed",
        "kind",
        &[
            ("nack", uplinks.nacked),
            ("pli", uplinks.key_frame_requests),
            ("report_refused", uplinks.reports_refused),
        ],
    );
    add(
        registry,
        "diemcau_path_packets_total",
        "Packets to receivers, by what their feedback says: late ones were said to be lost before",
        "fate",
        &[
            ("arrived", paths.arrived),
            ("lost", paths.lost),
            ("late", paths.late),
            ("unknown", paths.unknown),
        ],
    );
}

/// What rooms and connections came to.
fn add_outcomes(registry: &Registry, counted: &Counted) {
    let Counted { tally, rooms, .. } = counted;
    let lost = &tally.lost;
    add(
        registry,
        "diemcau_room_events_total",
        "What happened in rooms",
        "kind",
        &[
            ("switch", rooms.switches),
            ("key_frame_request", rooms.key_frame_requests),
            ("command_refused", rooms.commands_refused),
        ],
    );
    add(
        registry,
        "diemcau_handshakes_total",
        "What handshakes and connections came to",
        "result",
        &[
            ("connected", tally.connected),
            ("lost_handshake", lost[0]),
            ("lost_fingerprint", lost[1]),
            ("lost_profile", lost[2]),
            ("lost_closed", lost[3]),
            ("lost_consent", lost[4]),
        ],
    );
    add(
        registry,
        "diemcau_srtp_total",
        "Connections, by how their packets are protected",
        "profile",
        &[
            ("aes_gcm", tally.connected - tally.connected_weak),
            ("aes_cm_sha1", tally.connected_weak),
        ],
    );
    add(
        registry,
        "diemcau_panics_total",
        "Bugs that ended a room, a peer or a shard",
        "part",
        &[
            ("room", tally.room_panics),
            ("peer", tally.peer_panics),
            ("shard", counted.shard_panics),
        ],
    );
}

/// What went between shards.
fn add_cascade(registry: &Registry, counted: &Counted) {
    let cascade = &counted.rooms.cascade;
    add(
        registry,
        "diemcau_cascade_packets_total",
        "RTP packets between shards that have points of the same room, each counted for each shard it goes to",
        "kind",
        &[
            ("out", cascade.sent),
            ("in", cascade.received),
            ("replayed", cascade.replayed),
        ],
    );
    add(
        registry,
        "diemcau_cascade_dropped_total",
        "Packets that did not get to another shard: it did not keep up, or they were too many at once",
        "reason",
        &[
            ("full", counted.tally.cascade_dropped),
            ("excess", cascade.dropped),
        ],
    );
    add(
        registry,
        "diemcau_cascade_events_total",
        "What shards tell each other of the same room",
        "kind",
        &[
            ("key_frame_request", cascade.key_frame_requests),
            ("hole", cascade.holes),
            ("refused", cascade.refused),
        ],
    );
}

/// How full and how busy each shard is.
fn add_shards(registry: &Registry, counted: &Counted) {
    let gauge = |name, help| {
        let gauge = GaugeVec::new(Opts::new(name, help), &["shard"]).expect("names are constants");
        registry
            .register(Box::new(gauge.clone()))
            .expect("each name is there once");
        gauge
    };
    let endpoints = gauge("diemcau_shard_endpoints", "Endpoints of a shard");
    let busy = gauge(
        "diemcau_shard_busy_ratio",
        "Time of a shard's thread on a processor over the last seconds",
    );
    for &(shard, count, permille) in &counted.shards {
        let label = shard.0.to_string();
        endpoints.with_label_values(&[&label]).set(count as f64);
        busy.with_label_values(&[&label]).set(f64::from(permille) / 1e3);
    }
}

fn add(registry: &Registry, name: &str, help: &str, label: &str, rows: &[Row]) {
    let counter = IntCounterVec::new(Opts::new(name, help), &[label]).expect("names are constants");
    for &(value, count) in rows {
        counter.with_label_values(&[value]).inc_by(count);
    }
    registry
        .register(Box::new(counter))
        .expect("each name is there once");
}

fn add_gauge(registry: &Registry, name: &str, help: &str, value: u64) {
    let gauge = IntGauge::new(name, help).expect("names are constants");
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    registry
        .register(Box::new(gauge))
        .expect("each name is there once");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        driver::{
            gate::GateRefused,
            peer::{LostReason, MediaRefused},
        },
        engine::packet::Purpose,
        wire::{Class, srtp::OpenError},
    };

    #[test]
    fn counts_stand_under_the_name_of_what_was_counted() {
        let mut counted = Counted::default();
        let tally = &mut counted.tally;
        tally.received[Class::Rtcp as usize] = 1;
        tally.gate_refused[GateRefused::StunRate as usize] = 2;
        (0..3).for_each(|_| tally.count_refused(MediaRefused::Open(OpenError::Replayed)));
        tally.lost[LostReason::Consent as usize] = 4;
        tally.rtp_sent[Purpose::Repair as usize] = 5;
        tally.send_full = 9;
        counted.endpoints = 6;
        counted.rooms.uplinks.nacked = 7;
        counted.rooms.paths.lost = 8;
        let text = text(&counted);
        for line in [
            "diemcau_datagrams_received_total{class=\"rtcp\"} 1",
            "diemcau_datagrams_refused_total{reason=\"stun_rate\"} 2",
            "diemcau_datagrams_refused_total{reason=\"srtp_replayed\"} 3",
            "diemcau_handshakes_total{result=\"lost_consent\"} 4",
            "diemcau_rtp_packets_total{kind=\"out_repair\"} 5",
            "diemcau_endpoints 6",
            "diemcau_packets_dropped_total{reason=\"buffer_full\"} 9",
            "diemcau_uplink_feedback_total{kind=\"nack\"} 7",
            "diemcau_path_packets_total{fate=\"lost\"} 8",
        ] {
            assert!(
                text.lines().any(|other| other == line),
                "{line} is not in\n{text}"
            );
        }
    }
}
