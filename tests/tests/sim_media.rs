//! The goals of the media engine, each over a few seeds. `make sim-report` runs the same meetings over many and prints them.

use testkit::{
    report::{Goal, Row, Scenario},
    scenario,
    seeds::seeds,
};

/// Figures that do not reach their goal yet, each with a bound that it must not get worse than. `make sim-report` says `short` for
/// them. Seeds replay exactly, so the bounds are what these seeds give today and little more. Whoever makes one better takes its line away or draws the bound in.
const SHORT: &[(&str, Goal)] = &[];

/// Every figure of the scenario is as it should be, or no worse than it is known to be, with every seed.
fn assert_holds(scenario: &Scenario, count: u64) {
    let rows = scenario.play(&seeds(count));
    let fits = |row: &Row| {
        let name = scenario.measures[row.measure].name;
        let bound = SHORT.iter().find(|(short, _)| *short == name);
        row.held || bound.is_some_and(|(_, bound)| bound.is_met(row.worst))
    };
    assert!(rows.iter().all(fits), "{}", scenario.table(&rows));
}

#[test]
fn who_comes_into_a_running_meeting_sees_pictures_that_move() {
    assert_holds(&scenario::NEWCOMERS_AND_LEAVERS, 2);
}

#[test]
fn a_squeezed_line_keeps_voices_and_loses_resolution_first() {
    assert_holds(&scenario::SQUEEZE, 5);
}

#[test]
fn a_satellite_with_random_loss_is_used() {
    assert_holds(&scenario::SATELLITE, 5);
}

#[test]
fn voices_and_one_picture_survive_bursts_of_loss() {
    assert_holds(&scenario::BURSTS, 10);
}

#[test]
fn voices_survive_bursts_of_loss_also_without_red() {
    assert_holds(&scenario::BURSTS_PLAIN, 10);
}

#[test]
fn ten_points_share_a_line_that_nobody_told_them_of() {
    assert_holds(&scenario::SITE_UNKNOWN, 3);
}

#[test]
fn a_node_with_too_much_to_do_gives_everybody_less_and_then_all_again() {
    assert_holds(&scenario::NODE_BUSY, 3);
}

#[test]
fn ten_points_share_the_budget_of_a_known_line() {
    assert_holds(&scenario::SITE_KNOWN, 3);
}

#[test]
fn ten_cameras_behind_a_thin_line_leave_the_stage_its_picture() {
    assert_holds(&scenario::CAMERAS_BEHIND, 3);
}

#[test]
fn pages_of_a_great_meeting_turn_fast_and_ask_for_few_key_frames() {
    assert_holds(&scenario::PAGES, 2);
}

#[test]
fn a_higher_layer_is_reached_soon_after_a_quiet_minute() {
    assert_holds(&scenario::APPLICATION_LIMITED, 5);
}

#[test]
fn a_line_between_two_is_used_by_their_picture() {
    assert_holds(&scenario::ONE_CAMERA, 5);
}

#[test]
fn players_of_one_large_stream_have_it_soon() {
    assert_holds(&scenario::PLAYERS_OF_ONE, 5);
}

#[test]
fn receivers_that_tell_little_get_voices_and_a_picture() {
    for scenario in [&scenario::REMB, &scenario::REPORTS, &scenario::REMB_EXTREMES] {
        assert_holds(scenario, 3);
    }
}

#[test]
fn where_headers_count_voices_come_in_long_packets() {
    for scenario in [&scenario::LONG_PACKETS, &scenario::LONG_PACKETS_KNOWN] {
        assert_holds(scenario, 3);
    }
}

#[test]
fn nothing_bad_that_a_point_sends_reaches_the_others() {
    for scenario in scenario::BAD {
        assert_holds(scenario, 3);
    }
}
