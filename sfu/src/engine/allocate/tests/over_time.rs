//! Rooms that change while time passes: what is held, what is given back, where it settles.

use std::time::Duration;

use super::{super::*, kit::*};
use crate::engine::{
    id::{EndpointId, LineIndex},
    testing::ms,
    units::Bitrate,
};

/// One receiver with a stage alone on its way, told one estimate a second. How often its picture changed.
fn changes(estimates: impl IntoIterator<Item = u64>) -> (u32, String) {
    let mut scene = one(None);
    let (mut allocation, mut changes, mut last) = (Allocation::default(), 0, None);
    for estimate in estimates {
        scene.points[0].estimate = Some(Bitrate::kbps(estimate));
        allocation = scene.allocate(&allocation);
        let now = allocation.slots_of(EndpointId(1))[0]
            .picture
            .map(|p| (p.height, p.rate_percent));
        changes += u32::from(last.is_some() && last != Some(now));
        last = Some(now);
        scene.after(Duration::from_secs(1));
    }
    (changes, row(&allocation, 1))
}

#[test]
fn a_noisy_estimate_does_not_make_the_picture_go_up_and_down() {
    let noisy = |second: u64| 1_000 + 200 * (second * 7 % 11) / 10 - 100;
    let (changed, _) = changes((0..120).map(noisy));
    assert!(changed <= 2, "{changed} changes");
    // An estimate that truly swings by the half costs fewer and fewer raises.
    let (changed, _) = changes((0..120).map(|second| if second % 10 < 5 { 1_000 } else { 500 }));
    assert!(changed <= 12, "{changed} changes");
}

#[test]
fn down_at_once_and_up_again_when_there_is_room_to_spare() {
    let (changed, end) = changes([3_000, 3_000, 350, 350, 350, 350, 350, 350, 3_000]);
    assert_eq!(
        (changed, end.as_str()),
        (2, "3 voices | 720@100 | 180@50 | 180@50")
    );
    let (_, end) = changes([3_000, 350, 3_000]);
    assert_eq!(
        end, "3 voices | 180@100 Path | - Path | - Path",
        "three seconds are not over"
    );
    let (_, end) = changes([700, 700, 690, 690, 690, 690, 690, 690, 700]);
    assert_eq!(
        end, "3 voices | 360@100 Path | 180@25 Path | - Path",
        "no room to spare"
    );
}

#[test]
fn a_small_picture_that_was_away_begins_anew_after_it_fitted_for_two_seconds() {
    let wide_then_thin = [3_000, 3_000, 350, 350, 350, 350, 350, 350];
    let end = |then: &[u64]| changes(wide_then_thin.iter().chain(then).copied()).1;
    let (away, back) = (
        "3 voices | 180@100 Path | - Path | - Path",
        "3 voices | 180@100 Path | 180@50 | - Path",
    );
    assert_eq!([end(&[520]), end(&[520; 2]), end(&[520; 3])], [away, away, back]);
    assert_eq!(end(&[520, 520, 350, 520, 520]), away, "from the beginning");
}

/// A way is found wider a moment after a picture had to go for what was known of it.
#[test]
fn on_a_way_that_nothing_limited_yet_what_had_to_go_comes_back_as_soon_as_it_is_wider() {
    let end_after = |time: u64, breath: u64| {
        let mut scene = one(Some(Bitrate::mbps(3)));
        let first = scene.fresh();
        scene.after(Duration::from_secs(1));
        scene.points[0].estimate = Some(Bitrate::kbps(350));
        let taken = scene.allocate(&first);
        assert_eq!(row(&taken, 1), "3 voices | 180@100 Path | - Path | - Path");
        scene.after(ms(time));
        scene.points[0].estimate = Some(Bitrate::kbps(620));
        scene.points[0].breath = Bitrate::kbps(breath);
        row(&scene.allocate(&taken), 1)
    };
    let away = "3 voices | 180@100 Path | - Path | - Path";
    assert_eq!(
        [end_after(400, 310), end_after(600, 0), end_after(2_000, 0)],
        [away; 3]
    );
    let back = "3 voices | 360@50 Path | - Path | - Path";
    assert_eq!(end_after(600, 310), back);
}

#[test]
fn what_is_taken_from_a_picture_before_anybody_saw_it_is_no_step_down() {
    let end_after = |time: u64| {
        let mut scene = one(Some(Bitrate::kbps(380)));
        let first = scene.fresh();
        assert_eq!(row(&first, 1), "3 voices | 180@100 Path | 180@25 Path | - Path");
        scene.after(ms(time));
        scene.points[0].estimate = Some(Bitrate::kbps(320));
        let taken = scene.allocate(&first);
        assert_eq!(row(&taken, 1), "3 voices | 180@100 Path | - Path | - Path");
        scene.after(ms(100));
        scene.points[0].estimate = Some(Bitrate::kbps(520));
        row(&scene.allocate(&taken), 1)
    };
    assert_eq!(
        end_after(100),
        "3 voices | 180@100 Path | 180@25 Path | 180@25 Path"
    );
    assert_eq!(end_after(600), "3 voices | 180@100 Path | - Path | 180@50");
}

#[test]
fn a_page_turn_and_a_larger_tile_are_served_at_once() {
    let mut scene = one(Some(Bitrate::mbps(3)));
    scene.allocate(&Allocation::default());
    scene.points[0].estimate = Some(Bitrate::kbps(500));
    let squeezed = scene.allocate(&scene.fresh());
    scene.points[0].estimate = Some(Bitrate::kbps(620));
    scene.points[0].demands[0] = demand(0, 4, Kind::Stage, 720);
    assert_eq!(
        row(&scene.allocate(&squeezed), 1),
        "3 voices | 360@100 Path | - Path | - Path"
    );
}

/// What the stage's camera is ordered at, kb/s, by second, where one receiver's way is taken to carry so much.
fn ordered(ways: impl IntoIterator<Item = (u64, Option<u64>)>) -> Vec<u64> {
    let mut scene = one(None);
    let mut allocation = Allocation::default();
    let mut second = |(estimate, even): (u64, Option<u64>)| {
        scene.points[0].estimate = Some(Bitrate::kbps(estimate));
        scene.points[0].even = even.map(Bitrate::kbps);
        allocation = scene.allocate(&allocation);
        scene.after(Duration::from_secs(1));
        let order = allocation.source(camera(2)).and_then(|source| source.layers[2]);
        order.map_or(0, |order| order.bitrate_max.as_bps() / 1_000)
    };
    ways.into_iter().map(&mut second).collect()
}

#[test]
fn a_bitrate_that_changed_rests_for_two_seconds_and_then_grows_by_a_step() {
    let rising = ordered((0..9).map(|second| (2_000 + 100 * second, None)));
    let changes: Vec<usize> = (1..9).filter(|&at| rising[at] != rising[at - 1]).collect();
    assert_eq!(changes, [2, 4, 6, 8], "{rising:?}");
    let jump = |to| ordered([(1_400, None), (to, None), (to, None)]);
    let (step, leap) = (jump(1_800), jump(2_600));
    assert!(
        step[1] == step[0] && (step[1] + 1..=step[1] * 115 / 100).contains(&step[2]),
        "{step:?}"
    );
    assert!(leap[1] > leap[0] * 140 / 100, "at once: {leap:?}");
    let falling = ordered([(2_600, None), (2_500, None), (2_400, None)]);
    assert!(
        falling[2] < falling[1] && falling[1] < falling[0],
        "at once: {falling:?}"
    );
}

#[test]
fn encoders_do_not_follow_an_estimate_above_what_the_way_is_known_to_take() {
    let free = ordered([(2_400, None)])[0];
    let known = |estimate, even| ordered([(estimate, Some(even))])[0];
    assert_eq!(known(2_400, 2_400 * 100 / 110), free, "a tenth less");
    assert_eq!(
        known(2_800, 2_000),
        known(2_400, 2_000),
        "however far the estimate grows"
    );
    assert!(
        known(2_100, 2_200) > ordered([(2_100, None)])[0],
        "an estimate below it leaves that free by itself"
    );
}

#[test]
fn what_a_line_gets_back_is_given_on_at_once() {
    let mut scene = district(0);
    scene.lines[0].down = Bitrate::mbps(9);
    let wide = scene.fresh();
    scene.after(Duration::from_secs(1));
    scene.lines[0].down = Bitrate::mbps(6);
    let squeezed = scene.allocate(&wide);
    assert_eq!(row(&squeezed, 4), "3 voices | 360@100 LineBudget");
    scene.after(Duration::from_secs(1));
    assert_eq!(scene.allocate(&squeezed).receivers, squeezed.receivers);
    scene.points[0].demands.clear();
    scene.points[1].demands.clear();
    assert_eq!(row(&scene.allocate(&squeezed), 4), "3 voices | 720@50 LineBudget");
}

/// Ten points behind a line watch a camera whose third layer takes 560 kb/s and, every other second, `more`: how often a picture changed in a
/// minute, and the most that all of them got.
fn changes_behind(breath: u64, more: u64) -> (usize, u64) {
    let mut scene = district(0);
    scene.lines[0].down = Bitrate::kbps(7_200);
    scene.lines[0].breath = Bitrate::kbps(breath);
    let (mut former, mut rows, mut changes, mut most) = (Allocation::default(), Vec::new(), 0, 0);
    for second in 0..60 {
        scene.points[10].camera = Some(layers([150, 450, if second % 2 == 0 { 560 } else { more }]));
        former = scene.allocate(&former);
        let now: Vec<String> = (1..=10).map(|point| row(&former, point)).collect();
        let changed = rows.iter().zip(&now).filter(|(before, now)| before != now);
        changes += changed.count();
        rows = now;
        most = most.max(former.line(LineIndex(0)).map_or(0, |line| line.down.as_bps()));
        scene.after(Duration::from_secs(1));
    }
    (changes, most / 1_000)
}

#[test]
fn what_is_given_already_may_breathe_and_nothing_is_given_anew_of_that() {
    let (changes, most) = changes_behind(0, 590);
    assert!(changes > 4 && most <= 7_200, "{changes} {most}");
    assert_eq!(
        changes_behind(400, 590),
        (0, 10 * (150 + 590)),
        "within the breath"
    );
    let (changes, most) = changes_behind(400, 640);
    assert!(changes > 4 && most <= 7_600, "beyond it: {changes} {most}");
    let mut scene = district(0);
    scene.lines[0].down = Bitrate::kbps(7_200);
    scene.lines[0].breath = Bitrate::kbps(400);
    scene.points[10].camera = Some(layers([150, 450, 590]));
    let down = scene.fresh().line(LineIndex(0)).map(|line| line.down);
    assert!(down <= Some(Bitrate::kbps(7_200)), "anew: {down:?}");
}

/// How often each picture of a receiver went up within two minutes, where all cameras breathe by 4 % and the node has time for so much.
fn raises_under(node_kbps: u64) -> Vec<u32> {
    const SMALL: usize = 7;
    let mut demands = vec![demand(0, 2, Kind::Stage, 720)];
    demands.extend((1..=SMALL).map(|slot| demand(slot as u8, slot + 2, Kind::Thumbnail, 180)));
    let mut points = vec![Point::new(&demands)];
    points.extend((0..=SMALL).map(|_| Point::new(&[])));
    let mut scene = Scene::new(points);
    scene.points[0].estimate = Some(Bitrate::mbps(10));
    scene.policy.node_max = Some(Bitrate::kbps(node_kbps));
    let (mut former, mut raises) = (Allocation::default(), vec![0; SMALL + 1]);
    for second in 0..120 {
        for (at, point) in scene.points.iter_mut().enumerate().skip(1) {
            let breath = |rate: u64| rate * (96 + (second * 7 + at as u64 * 5) % 9) / 100;
            point.camera = Some(layers([150, 450, 1_500].map(breath)));
        }
        let next = scene.allocate(&former);
        let level = |slot: &SlotGrant| slot.picture.map(|picture| (picture.layer, picture.temporal));
        let (before, after) = (former.slots_of(EndpointId(1)), next.slots_of(EndpointId(1)));
        for ((before, after), raises) in before.iter().zip(after).zip(&mut raises) {
            *raises += u32::from(level(after) > level(before));
        }
        former = next;
        scene.after(Duration::from_secs(1));
    }
    raises
}

#[test]
fn pictures_do_not_go_up_and_down_at_what_the_node_has_time_for() {
    for node_kbps in (1_000..3_000).step_by(50) {
        let raises = raises_under(node_kbps);
        assert!(
            raises.iter().all(|&raises| raises <= 3),
            "{node_kbps} kb/s: {raises:?}"
        );
    }
}

/// A camera with one encoding on the stage of a way that nothing limited yet: it grows above what the estimate says, and less of it comes anew.
#[test]
fn a_picture_that_outgrows_an_open_way_stays_and_does_not_begin_there() {
    let grows = |breath: u64, from: u64, to: u64| {
        let mut scene = call_of_two(2_000, from);
        let alone = |rate: u64| {
            let [only, ..] = layers([rate; LAYERS_MAX]);
            let all = Offer {
                rates: [only.rates[TEMPORAL_MAX - 1]; TEMPORAL_MAX],
                height: Some(720),
                ..only
            };
            Some([all, Offer::default(), Offer::default()])
        };
        scene.points[0].breath = Bitrate::kbps(breath);
        scene.points[1].camera = alone(from);
        let former = scene.fresh();
        scene.after(Duration::from_secs(1));
        scene.points[1].camera = alone(to);
        let sees = |allocation: &Allocation| allocation.slots_of(EndpointId(1))[0].picture.is_some();
        (
            sees(&former),
            sees(&scene.allocate(&former)),
            sees(&scene.fresh()),
        )
    };
    let table = [
        (0, 1_500, 1_900, (true, true, true)),
        (0, 1_500, 2_400, (true, false, false)),
        (1_000, 1_500, 2_400, (true, true, false)),
        (1_000, 1_500, 3_400, (true, false, false)),
    ];
    for (breath, from, to, expected) in table {
        assert_eq!(grows(breath, from, to), expected, "{breath} {from} {to}");
    }
}

#[test]
fn a_layer_that_is_wanted_is_asked_for_then_arrives_then_is_given() {
    let mut scene = one(Some(Bitrate::mbps(3)));
    let live = |scene: &mut Scene, highest: usize| {
        let camera = scene.points[1].camera.as_mut().expect("a camera");
        for (layer, offer) in camera.iter_mut().enumerate() {
            offer.live = layer <= highest;
        }
    };
    live(&mut scene, 0);
    let first = scene.fresh();
    assert_eq!(row(&first, 1), "3 voices | 180@100 NotSent | 180@50 | 180@50");
    assert_eq!(order(&first, 2), "60 250 2230 at 30");
    scene.after(Duration::from_secs(1));
    live(&mut scene, 2);
    let second = scene.allocate(&first);
    assert_eq!(row(&second, 1), "3 voices | 720@100 | 180@50 | 180@50");
}

/// One camera on the stage of one way that carries so much.
fn call_of_two(kbps: u64, sends: u64) -> Scene {
    let mut scene = Scene::new(vec![
        Point::new(&[demand(0, 2, Kind::Stage, 720)]),
        Point::new(&[]),
    ]);
    scene.points[0].voices = 1;
    scene.points[0].estimate = Some(Bitrate::kbps(kbps));
    scene.points[1].camera = Some(layers([60, 250, sends]));
    scene
}

#[test]
fn a_way_that_shrinks_a_little_makes_the_camera_send_less_and_keeps_all_of_its_pictures() {
    let wide = call_of_two(1_500, 1_270);
    let full = wide.allocate(&wide.fresh());
    assert_eq!(row(&full, 1), "1 voices | 720@100");
    let shrunk = Scene {
        now: wide.now + ms(1_000),
        ..call_of_two(1_200, 1_270)
    };
    let lower = shrunk.allocate(&full);
    assert_eq!(row(&lower, 1), "1 voices | 720@100", "it will do as it is told");
    let ordered = |allocation: &Allocation| allocation.source(camera(2)).and_then(|of| of.layers[2]);
    let bitrate = ordered(&lower).map(|order| order.bitrate_max.as_bps() / 1_000);
    assert_eq!(bitrate, Some(980), "1,200 less the voice, a tenth and headers");
    // It does not: after three seconds it gets what fits of what is sent.
    let stubborn = Scene {
        now: shrunk.now + ms(3_000),
        ..shrunk.clone()
    };
    assert_eq!(row(&stubborn.allocate(&lower), 1), "1 voices | 720@50 Path");
    // A way that shrinks much is another thing.
    let halved = Scene {
        now: wide.now + ms(1_000),
        ..call_of_two(930, 1_270)
    };
    assert_eq!(row(&halved.allocate(&full), 1), "1 voices | 360@100 Path");
}

#[test]
fn a_third_copy_of_voices_goes_before_pictures_as_long_as_half_of_the_way_is_left_for_them() {
    let copies = |kbps: u64| {
        let mut scene = call_of_two(kbps, 1_000);
        scene.points[0].redundancy = Some(Bitrate::kbps(50));
        (scene.points[0].third, scene.points[0].loss) = (Some(Bitrate::kbps(25)), Loss::Random);
        let allocation = scene.fresh();
        let grant = allocation.receiver(EndpointId(1)).expect("a receiver");
        (row(&allocation, 1), grant.redundancy, grant.third)
    };
    let with = |pictures: &str, third: bool| (format!("1 voices | {pictures}"), true, third);
    assert_eq!(
        copies(1_100),
        with("720@100", true),
        "it is asked for smaller pictures"
    );
    assert_eq!(copies(240), with("180@100 Path", true), "of what is left over");
    assert_eq!(
        copies(200),
        with("180@100 Path", false),
        "pictures need their half, and take it"
    );
}

#[test]
fn what_goes_ahead_of_requests_has_an_eighth_and_no_more_than_leaves_the_stage_its_room() {
    let given = |kbps: u64, loss: Loss, former: &Allocation| {
        let mut scene = call_of_two(kbps, 1_000);
        (scene.points[0].ahead, scene.points[0].loss) = (Some(Bitrate::kbps(200)), loss);
        let allocation = scene.allocate(former);
        let grant = *allocation.receiver(EndpointId(1)).expect("a receiver");
        (grant.ahead.as_bps() / 1_000, allocation)
    };
    let none = Allocation::default();
    let table = [600, 800, 1_200, 4_000].map(|kbps| given(kbps, Loss::Random, &none).0);
    assert_eq!(table, [0, 100, 150, 200]);
    let others = [Loss::None, Loss::Queueing].map(|loss| given(4_000, loss, &none).0);
    assert_eq!(others, [0, 0]);
    // Room to spare to begin, room alone to go on.
    let had = given(1_200, Loss::Random, &none).1;
    assert_eq!(
        [&none, &had].map(|former| given(700, Loss::Random, former).0),
        [0, 87]
    );
}

#[test]
fn a_second_repeat_of_voices_comes_before_pictures_and_the_first_before_it() {
    let repeats = |kbps: u64| {
        let mut scene = call_of_two(kbps, 1_000);
        scene.points[0].redundancy = Some(Bitrate::kbps(50));
        scene.points[0].third = Some(Bitrate::kbps(50));
        (scene.points[0].repeats, scene.points[0].loss) = (true, Loss::Random);
        let allocation = scene.fresh();
        let grant = allocation.receiver(EndpointId(1)).expect("a receiver");
        (grant.redundancy, grant.third)
    };
    let table = [80, 140, 200, 1_100].map(repeats);
    let [none, one, both] = [(false, false), (true, false), (true, true)];
    assert_eq!(table, [none, one, both, both]);
}

#[test]
fn a_layer_that_never_arrives_gives_its_room_back() {
    let mut scene = one(Some(Bitrate::kbps(1_700)));
    for offer in &mut scene.points[1].camera.as_mut().expect("a camera")[1..] {
        offer.live = false;
    }
    scene.points[0].demands[1] = demand(1, 3, Kind::Pinned, 720);
    let pending = scene.fresh();
    assert_eq!(
        row(&pending, 1),
        "3 voices | 180@100 NotSent | 360@100 Path | 180@50"
    );
    scene.after(ARRIVAL);
    let given_up = scene.allocate(&pending);
    assert_eq!(
        row(&given_up, 1),
        "3 voices | 180@100 NotSent | 720@50 Path | 180@50"
    );
}

#[test]
fn a_camera_that_nobody_sees_falls_to_five_pictures_a_second_after_a_while() {
    let mut scene = one(None);
    let seen = scene.fresh();
    assert_eq!(order(&seen, 1), "60 off off at 5");
    assert_eq!(order(&seen, 2), "60 250 2500 at 30");
    scene.points[0].demands.clear();
    scene.after(Duration::from_secs(4));
    let kept = scene.allocate(&seen);
    assert_eq!(order(&kept, 2), "60 off 800 at 30");
    scene.after(Duration::from_secs(1));
    assert_eq!(order(&scene.allocate(&kept), 2), "60 off off at 5");
}

/// A minute of a room whose senders obey: each layer takes what it was ordered at, a second later. What everybody got in
/// each second.
fn obeyed(mut scene: Scene) -> Vec<Vec<String>> {
    let mut allocation = Allocation::default();
    let second = |_| {
        allocation = scene.allocate(&allocation);
        for order in &allocation.sources {
            let point = &mut scene.points[order.endpoint.0 as usize - 1];
            for (offer, order) in point.camera.iter_mut().flatten().zip(&order.layers) {
                let Some(order) = order else { continue };
                offer.live = order.active;
                offer.rates = shares(order.bitrate_max.as_bps()).map(Bitrate::bps);
            }
        }
        scene.after(Duration::from_secs(1));
        (1..=scene.points.len())
            .map(|point| row(&allocation, point))
            .collect()
    };
    (0..60).map(second).collect()
}

#[test]
fn a_room_whose_senders_obey_settles() {
    for estimate in (200..4_000).step_by(50) {
        let seconds = obeyed(one(Some(Bitrate::kbps(estimate))));
        let changes = seconds.windows(2).filter(|pair| pair[0][0] != pair[1][0]).count();
        assert!(
            changes <= 4,
            "{estimate} kb/s: {changes} changes, {:?}",
            seconds.iter().map(|s| &s[0]).collect::<Vec<_>>()
        );
        assert_eq!(seconds[40], seconds[59], "{estimate} kb/s");
        assert!(
            !seconds[59][0].contains("NotSent"),
            "{estimate} kb/s: {}",
            seconds[59][0]
        );
    }
    for down in (1_500..12_000).step_by(500) {
        let mut scene = district(3);
        scene.lines[0].down = Bitrate::kbps(down);
        let seconds = obeyed(scene);
        assert_eq!(seconds[40], seconds[59], "{down} kb/s");
        let not_sent = seconds[59].iter().find(|row| row.contains("NotSent"));
        assert_eq!(not_sent, None, "{down} kb/s");
    }
}
