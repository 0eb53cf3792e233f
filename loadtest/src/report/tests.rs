use super::*;

#[test]
fn the_json_object_has_the_keys_that_stay() {
    let report = Report {
        points: 2,
        seconds: 3.0,
        reports: vec![PointReport::default()],
        ..Report::default()
    };
    let json = serde_json::to_value(report.summary()).unwrap();
    let keys: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
    for key in [
        "packets_lost_in_node",
        "server_cpu_us_per_forwarded",
        "server_rss_kb_per_point",
        "gso_run_mean",
        "layer_mix",
    ] {
        assert!(keys.iter().any(|known| known == key), "{key}");
    }
    for key in [
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
    ] {
        assert!(keys.iter().any(|known| known == key), "{key}");
    }
    assert!(!report.passed(), "nobody joined");
}

#[test]
fn a_lost_packet_or_an_error_fails_the_run() {
    let joined = || PointReport {
        join_us: Some(80_000),
        joins: Histogram::default(),
        ..PointReport::default()
    };
    let mut report = Report {
        points: 1,
        seconds: 1.0,
        reports: vec![joined()],
        ..Report::default()
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
    report.reports[0] = joined();
    assert!(report.stayed());
    report.reports[0].failure = Some("the socket closed".to_owned());
    assert!(!report.stayed() && !report.passed());
}

#[test]
fn what_was_not_measured_is_null_and_breaks_its_limit() {
    let full = Report {
        points: 1,
        seconds: 1.0,
        reports: vec![PointReport::default()],
        ..Report::default()
    };
    let json = serde_json::to_value(full.summary()).unwrap();
    for key in [
        "packets_lost_in_node",
        "packets_dropped_by_tester",
        "packets_dropped_before_node",
        "packets_not_sent_by_tester",
        "freezes",
        "rejoins",
        "told_to_come_later",
        "picture_gap_ms_max",
        "standing_picture_gap_ms_max",
        "latency_ms_p99_course",
        "server_cpu_cores",
        "server_rss_kb",
        "tester_cpu_cores",
    ] {
        assert!(json.get(key).is_some_and(serde_json::Value::is_null), "{key}");
    }
    let mut lean = full;
    lean.tester_drops = Some(1);
    assert_eq!(lean.summary().standing_streams, None, "nobody stands");
    (lean.standing, lean.heard) = (1, Some(9));
    lean.reports[0].running = 2;
    lean.reports[0].running_gap_us = Some(90_000);
    lean.reports[0].gaps = Some(3);
    lean.reports.push(PointReport::default());
    lean.reports[1].add(PointReport {
        gaps: Some(2),
        freezes: Some(0),
        ..PointReport::default()
    });
    let summary = lean.summary();
    assert_eq!(
        (summary.packets_lost_in_node, summary.freezes),
        (Some(5), Some(0))
    );
    assert_eq!(summary.standing_streams, Some(2));
    assert_eq!(summary.standing_picture_gap_ms_max, Some(90.0));
}

#[test]
fn the_node_is_blamed_for_gaps_only_where_the_tester_sent_and_heard_everything() {
    let point = |gaps, dropped| {
        let mut point = PointReport::default();
        let media = MediaReport {
            gaps: Some(gaps),
            dropped,
            ..MediaReport::default()
        };
        point.take(media, 0);
        point
    };
    let mut report = Report {
        reports: vec![point(3, Some(0)), point(64, Some(1)), point(2, None)],
        heard: Some(9),
        tester_drops: Some(1),
        ..Report::default()
    };
    let summary = report.summary();
    assert_eq!(summary.packets_lost_in_node, Some(5));
    assert_eq!(summary.packets_dropped_by_tester, Some(1));
    assert_eq!(summary.packets_not_sent_by_tester, Some(0));
    report.reports[2].not_sent = 1;
    let summary = report.summary();
    assert_eq!(summary.packets_lost_in_node, None, "what was not sent is no loss");
    assert_eq!(summary.packets_not_sent_by_tester, Some(1));
    report.reports = vec![point(64, Some(1)), point(8, Some(2))];
    let summary = report.summary();
    assert_eq!(summary.packets_lost_in_node, None, "nobody heard everything");
}

#[test]
fn ten_seconds_in_which_nothing_came_have_their_place_in_the_course() {
    let mut slow = Histogram::default();
    slow.record(7_000);
    let told = course(&[slow.clone(), Histogram::default(), slow]);
    assert_eq!(
        told.iter().map(Option::is_some).collect::<Vec<_>>(),
        [true, false, true]
    );
}

#[test]
fn a_join_beside_media_is_what_forwarding_does_not_explain() {
    let report = Report {
        points: 2,
        seconds: 10.0,
        reports: vec![PointReport {
            join_us: Some(80_000),
            ..PointReport::default()
        }],
        server: ServerFigures {
            cpu_seconds: vec![2.0],
            ..ServerFigures::default()
        },
        heard: Some(1_000_000),
        join_heard: Some(2_000.0),
        join_cpu: Some(0.010),
        ..Report::default()
    };
    let summary = report.summary();
    // 2 us a packet: 4 ms of the ten.
    assert_eq!(summary.server_cpu_ms_per_join, Some(10.0));
    assert_eq!(summary.server_cpu_ms_per_join_beside_media, Some(6.0));
}

#[test]
fn memory_that_grows_shows_and_its_beginning_does_not() {
    let flat: Vec<u64> = [500; 15].into_iter().chain([1_000; 45]).collect();
    assert_eq!(growth_percent(&flat), Some(0.0));
    let growing: Vec<u64> = (0..80).map(|sample| 1_000 + 10 * sample).collect();
    assert!(growth_percent(&growing).unwrap() > 10.0);
    assert_eq!(growth_percent(&[1; 59]), None);
}
