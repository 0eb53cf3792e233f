use super::*;

/// Waits of ways over so many spans: `of(way, span)` in ms, felt from the first span on.
fn felt(
    ways: u32,
    spans: std::ops::Range<u64>,
    mut of: impl FnMut(u32, u64) -> u64,
) -> Vec<(EndpointId, Waits)> {
    let mut all: Vec<_> = (0..ways).map(|way| (EndpointId(way), Waits::new())).collect();
    for span in spans {
        for (id, waits) in &mut all {
            waits.add(SPAN * span as u32, Duration::from_millis(of(id.0, span)));
        }
    }
    all
}

fn look(found: &mut Bottlenecks, at: u64, ways: &[(EndpointId, Waits)]) -> Vec<Vec<u32>> {
    found.look(SPAN * at as u32, ways.iter().map(|(id, waits)| (*id, waits)));
    let groups = found.groups();
    groups
        .map(|members| members.iter().map(|id| id.0).collect())
        .collect()
}

/// Two queues of a second within 24 s, with some noise of bursts.
fn queue(way: u32, span: u64) -> u64 {
    let noise = (u64::from(way) * 7 + span * 13) % 9;
    noise + if span % 40 < 4 { 90 } else { 5 }
}

#[test]
fn whose_waits_rise_and_fall_together_share_a_line() {
    let ways = felt(5, 0..90, |way, span| match way {
        0..3 => queue(way, span),
        3 => queue(way, span + 11), // a line of its own, full at other times
        _ => u64::from(way) + span % 5,
    });
    assert_eq!(look(&mut Bottlenecks::default(), 90, &ways), [[0, 1, 2]]);
}

#[test]
fn one_queue_is_chance_and_queues_of_different_length_are_of_different_lines() {
    let once = felt(3, 0..90, |way, span| queue(way, span.clamp(20, 50)));
    assert_eq!(look(&mut Bottlenecks::default(), 90, &once), [[0_u32; 0]; 0]);
    let unequal = felt(2, 0..90, |way, span| queue(way, span) * (1 + 2 * u64::from(way)));
    assert_eq!(look(&mut Bottlenecks::default(), 90, &unequal), [[0_u32; 0]; 0]);
}

#[test]
fn many_who_felt_one_queue_each_take_the_places_of_nobody_who_felt_more() {
    let most = GROUPS_MAX as u32;
    // Each at another time, so that no two are alike.
    let chance = |way: u32, span: u64| if span == 2 * u64::from(way) + 10 { 150 } else { 3 };
    let ways = felt(most + 3, 0..90, |way, span| {
        if way < most {
            chance(way, span)
        } else {
            queue(way, span)
        }
    });
    let found = look(&mut Bottlenecks::default(), 90, &ways);
    assert_eq!(found, [[most, most + 1, most + 2]]);
}

#[test]
fn who_was_found_stays_while_nothing_waits_and_is_out_with_a_queue_of_its_own() {
    let mut found = Bottlenecks::default();
    let calm = |way: u32, span: u64| if span < 90 { queue(way, span) } else { 3 };
    let ways = felt(3, 0..300, calm);
    assert_eq!(look(&mut found, 90, &felt(3, 0..90, queue)), [[0, 1, 2]]);
    assert_eq!(look(&mut found, 300, &ways), [[0, 1, 2]]);
    let alone = felt(3, 0..400, |way, span| match (way, span) {
        (0, 300..) => queue(way, span + 17),
        (_, 300..) => queue(way, span),
        _ => calm(way, span),
    });
    assert_eq!(look(&mut found, 400, &alone), [[1, 2]]);
    let long = felt(
        3,
        0..1_100,
        |way, span| if span < 400 { queue(way, span) } else { 3 },
    );
    assert_eq!(look(&mut found, 1_100, &long), [[0_u32; 0]; 0], "forgotten");
}

#[test]
fn bursts_of_its_own_do_not_take_a_way_out_of_its_group() {
    let mut found = Bottlenecks::default();
    assert_eq!(look(&mut found, 90, &felt(3, 0..90, queue)), [[0, 1, 2]]);
    // Short queues that are hardly longer than the pictures of one of them.
    let bursts = felt(3, 0..400, |way, span| match (way, span % 40) {
        _ if span < 90 => queue(way, span),
        (_, 0 | 1) => 42,
        (0, _) => 34 * (span % 2),
        _ => 3,
    });
    assert_eq!(look(&mut found, 400, &bursts), [[0, 1, 2]]);
}

#[test]
fn who_was_told_of_the_span_that_lasts_still_is_looked_at_over_the_same_time_as_the_others() {
    // The one queue that is left is the oldest span of all that are looked at.
    let wait = |way: u32, span: u64| match span {
        0..90 => queue(way, span),
        200 => 300,
        _ => (u64::from(way) * 7 + span * 13) % 9,
    };
    let now = 200 + SPANS as u64;
    let mut found = Bottlenecks::default();
    assert_eq!(look(&mut found, 90, &felt(3, 0..90, queue)), [[0, 1, 2]]);
    let mut ways = felt(3, 0..now, wait);
    ways[0].1.add(SPAN * now as u32, Duration::from_millis(3));
    assert_eq!(look(&mut found, now, &ways), [[0, 1, 2]]);
}

#[test]
fn a_way_that_was_felt_for_a_moment_or_long_ago_is_not_judged() {
    let short = felt(2, 70..90, queue);
    assert_eq!(look(&mut Bottlenecks::default(), 90, &short), [[0_u32; 0]; 0]);
    let old = felt(2, 0..90, queue);
    assert_eq!(look(&mut Bottlenecks::default(), 900, &old), [[0_u32; 0]; 0]);
}

#[test]
fn an_equal_part_of_the_sum_and_what_some_do_not_want_goes_to_the_others() {
    for (ways, expected) in [
        (vec![(100, 900), (700, 900)], 400),
        (vec![(100, 150), (700, 900), (400, 900)], 525),
        (vec![(300, 200), (300, 250)], 250),
        (vec![], u64::MAX),
    ] {
        assert_eq!(level(&ways), expected, "{ways:?}");
    }
}
