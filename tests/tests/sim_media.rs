//! The goals of the media engine, each over a few seeds. `make sim-report` runs the same meetings over many and prints them.

use testkit::{report::Scenario, scenario, world::seeds};

/// Every figure of the scenario is as it should be, with every seed.
fn assert_holds(scenario: &Scenario, count: u64) {
    let rows = scenario.play(&seeds(count));
    assert!(
        rows.iter().all(|row| row.held),
        "{}\n{}",
        scenario.shortfall(&rows).unwrap_or_default(),
        scenario.table(&rows)
    );
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
fn ten_points_share_a_line_that_nobody_told_them_of() {
    assert_holds(&scenario::SITE_UNKNOWN, 3);
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
fn nothing_bad_that_a_point_sends_reaches_the_others() {
    for scenario in scenario::BAD {
        assert_holds(scenario, 3);
    }
}
