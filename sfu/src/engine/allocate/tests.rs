//! Tables: small rooms, and what everybody gets.

mod kit;
mod over_time;
mod properties;

use super::*;
use crate::engine::{
    id::{EndpointId, LineIndex},
    units::Bitrate,
};
use kit::*;

#[test]
fn ten_points_behind_eight_megabits_all_hear_three_voices_and_see_the_stage_at_360p() {
    let allocation = district(0).fresh();
    for point in 1..=10 {
        let expected = match point {
            4 | 8 => "3 voices | 720@50 LineBudget",
            1 => "3 voices | 720@50 LineBudget",
            _ => "3 voices | 360@100 LineBudget",
        };
        assert_eq!(row(&allocation, point), expected, "point {point}");
        assert_eq!(allocation.slots_of(EndpointId(point as u32))[0].shortfall, LINE);
    }
    let line = allocation.line(LineIndex(0)).expect("a line with a limit");
    assert_eq!(line.down, Bitrate::kbps(10 * (150 + 450) + 3 * 600));
}

#[test]
fn the_stage_comes_before_thumbnails_and_the_chair_before_members() {
    let allocation = district(4).fresh();
    for point in 1..=10 {
        let stage = allocation.slots_of(EndpointId(point))[0]
            .picture
            .expect("a picture");
        assert!(
            stage.height >= 360,
            "point {point}: {}",
            row(&allocation, point as usize)
        );
    }
    assert!(allocation.line(LineIndex(0)).expect("a line").down <= Bitrate::mbps(8));
    let seen = |point: u32| {
        let slots = allocation.slots_of(EndpointId(point)).iter();
        slots.filter(|slot| slot.picture.is_some()).count()
    };
    assert!((1..=10).all(|point| seen(4) >= seen(point)));
    assert!((1..=10).all(|point| seen(point).abs_diff(seen(1)) <= 1), "fair");
}

#[test]
fn a_way_gives_step_by_step_what_it_carries() {
    let table = [
        (None, "3 voices | 720@100 | 180@50 | 180@50"),
        (Some(3_000), "3 voices | 720@100 | 180@50 | 180@50"),
        (Some(1_500), "3 voices | 720@50 Path | 180@50 | 180@50"),
        (Some(1_000), "3 voices | 360@100 Path | 180@50 | 180@50"),
        (Some(500), "3 voices | 360@50 Path | - Path | - Path"),
        (Some(300), "3 voices | 180@100 Path | - Path | - Path"),
        (Some(240), "3 voices | 180@25 Path | - Path | - Path"),
        (Some(200), "3 voices | - VoicesOnly | - VoicesOnly | - VoicesOnly"),
        (Some(160), "3 voices | - VoicesOnly | - VoicesOnly | - VoicesOnly"),
        (Some(159), "1 voices | - OneVoice | - OneVoice | - OneVoice"),
        (Some(100), "1 voices | - OneVoice | - OneVoice | - OneVoice"),
        (Some(50), "1 voices | - OneVoice | - OneVoice | - OneVoice"),
        (Some(0), "1 voices | - OneVoice | - OneVoice | - OneVoice"),
    ];
    for (estimate, expected) in table {
        let allocation = one(estimate.map(Bitrate::kbps)).fresh();
        assert_eq!(row(&allocation, 1), expected, "{estimate:?} kb/s");
    }
}

#[test]
fn ten_cameras_behind_four_megabits_up_send_the_stage_at_720p_and_the_others_small() {
    let mut scene =
        Scene::new((0..10).map(|_| Point::new(&[])).collect()).behind(Bitrate::mbps(100), Bitrate::mbps(4));
    let demands: Vec<Demand> = (1..=10)
        .map(|of| {
            if of == 5 {
                demand(0, 5, Kind::Stage, 720)
            } else {
                demand(of as u8, of, Kind::Thumbnail, 180)
            }
        })
        .collect();
    scene.points.push(Point::new(&demands));
    let allocation = scene.fresh();
    let line = allocation.line(LineIndex(0)).expect("a line with a limit");
    assert!(line.up <= Bitrate::mbps(4));
    assert_eq!(order(&allocation, 5), "60 250 2500 at 30");
    for point in (1..=10).filter(|&point| point != 5) {
        let kbps = match point {
            1..=3 => 100,
            4 => 90,
            _ => 60,
        };
        assert_eq!(
            order(&allocation, point),
            format!("{kbps} off off at 15"),
            "point {point}"
        );
    }
}

#[test]
fn what_has_no_room_on_the_way_up_is_off_and_says_so() {
    let mut scene = Scene::new((0..10).map(|_| Point::new(&[])).collect())
        .behind(Bitrate::mbps(100), Bitrate::kbps(1_000));
    scene.points.push(Point::new(&[
        demand(0, 5, Kind::Stage, 720),
        demand(1, 1, Kind::Thumbnail, 180),
        demand(2, 9, Kind::Thumbnail, 180),
    ]));
    let allocation = scene.fresh();
    assert_eq!(order(&allocation, 5), "60 260 off at 30 SenderLine");
    assert_eq!(order(&allocation, 1), "60 off off at 15");
    assert_eq!(order(&allocation, 9), "60 off off at 15");
    assert_eq!(order(&allocation, 10), "off off off at 5 SenderLine");
}

#[test]
fn each_reason_is_the_one_that_binds() {
    let stage = |scene: &Scene| row(&scene.fresh(), 1).split(" | ").nth(1).map(str::to_owned);
    type Change = fn(&mut Scene);
    let table: [(&str, Change); 10] = [
        ("720@100", |_| ()),
        ("360@100 Policy", |scene| scene.policy.height_max = 360),
        ("360@100 ReceiverCpu", |scene| scene.points[0].cpu_steps = 1),
        ("180@100 ReceiverCpu", |scene| scene.points[0].cpu_steps = 9),
        ("- Codec", |scene| scene.points[0].demands[0].decodable = false),
        ("- NotSent", |scene| scene.points[1].camera = None),
        ("360@50 Policy", |scene| {
            scene.policy.receiver_max = Bitrate::kbps(599)
        }),
        ("360@50 Node", |scene| {
            scene.policy.node_max = Some(Bitrate::kbps(599))
        }),
        ("360@100 SenderCpu", |scene| {
            scene.points[1].encoder_steps = 1;
            scene.points[1].camera.as_mut().expect("a camera")[2].live = false;
        }),
        ("360@100 SenderPath", |scene| {
            scene.points[1].uplink = Some(Bitrate::kbps(700));
            scene.points[1].camera.as_mut().expect("a camera")[2].live = false;
        }),
    ];
    for (expected, change) in table {
        let mut scene = one(None);
        change(&mut scene);
        assert_eq!(stage(&scene).as_deref(), Some(expected));
    }
}

#[test]
fn of_a_way_and_the_policy_the_lesser_is_named_whatever_may_breathe() {
    for (estimate, policy, expected) in [(580, 550, "360@50 Policy"), (550, 580, "360@50 Path")] {
        let mut scene = one(None);
        let former = scene.fresh();
        scene.points[0].estimate = Some(Bitrate::kbps(estimate));
        scene.points[0].breath = Bitrate::kbps(estimate / 2);
        scene.policy.receiver_max = Bitrate::kbps(policy);
        let answer = scene.allocate(&former);
        assert_eq!(row(&answer, 1).split(" | ").nth(1), Some(expected));
        assert_eq!(scene.allocate(&answer), answer);
    }
}

#[test]
fn redundancy_goes_first_when_loss_is_queueing_and_last_when_it_is_not() {
    let mut scene = one(Some(Bitrate::kbps(700)));
    scene.points[0].redundancy = Some(Bitrate::kbps(60));
    let redundancy = |scene: &Scene| {
        let allocation = scene.fresh();
        (allocation.receivers[0].redundancy, row(&allocation, 1))
    };
    let all = |rest: &str| format!("3 voices | {rest}");
    assert_eq!(
        redundancy(&scene),
        (false, all("360@100 Path | 180@25 Path | - Path"))
    );
    scene.points[0].loss = Loss::Queueing;
    assert_eq!(
        redundancy(&scene),
        (false, all("360@100 Path | 180@25 Path | - Path"))
    );
    scene.points[0].loss = Loss::Random;
    assert_eq!(redundancy(&scene), (true, all("360@50 Path | - Path | - Path")));
    scene.points[0].loss = Loss::Queueing;
    scene.points[0].estimate = Some(Bitrate::mbps(5));
    assert!(redundancy(&scene).0);
}

#[test]
fn long_voice_packets_are_asked_of_whom_only_thin_ways_hear() {
    let mut scene = one(Some(Bitrate::kbps(100)));
    let long = |scene: &Scene| -> Vec<bool> {
        scene
            .fresh()
            .senders
            .iter()
            .map(|sender| sender.long_packets)
            .collect()
    };
    assert_eq!(long(&scene), [false; 4], "the others hear well");
    for point in &mut scene.points[1..] {
        point.estimate = Some(Bitrate::kbps(120));
    }
    assert_eq!(long(&scene), [true; 4]);
    scene.points[2].estimate = None;
    assert_eq!(
        long(&scene),
        [false, false, true, false],
        "only point 3 itself hears well"
    );
}

#[test]
fn an_estimate_is_to_grow_to_what_is_wanted_and_no_further() {
    let wanted = |scene: &Scene| scene.fresh().receivers[0].wanted.as_bps() / 1_000;
    // Voices 150, stage 1,500, two thumbnails of 105, and the margin.
    assert_eq!(wanted(&one(Some(Bitrate::kbps(500)))), 1_860 * 115 / 100);
    assert_eq!(wanted(&one(None)), 1_860, "it has all it wants");
    let mut scene = one(Some(Bitrate::kbps(500))).behind(Bitrate::mbps(1), Bitrate::mbps(9));
    scene.points[1..].iter_mut().for_each(|point| point.voices = 0);
    assert_eq!(wanted(&scene), 1_150, "never more than the line");
}

#[test]
fn layers_that_go_in_one_stream_are_asked_for_and_paid_for_together() {
    // Nested: layers that are on for a large thumbnail.
    for (nested, on) in [(false, [true, false, true]), (true, [true; 3])] {
        let mut scene = Scene::new(vec![
            Point::new(&[demand(0, 2, Kind::Thumbnail, 720)]),
            Point::new(&[]),
        ]);
        scene.points[1].nested = nested;
        for offer in scene.points[1].camera.iter_mut().flatten().skip(1) {
            (offer.live, offer.rates) = (false, [Bitrate::ZERO; TEMPORAL_MAX]);
        }
        let allocation = scene.allocate(&Allocation::default());
        let order = allocation.source(camera(2)).expect("it sends");
        assert_eq!(order.layers.map(|layer| layer.is_some_and(|l| l.active)), on);
        let sent: u64 = order
            .layers
            .iter()
            .flatten()
            .filter(|layer| layer.active)
            .map(|layer| layer.bitrate_max.as_bps())
            .sum();
        let sender = allocation.sender(EndpointId(2)).expect("is there");
        assert_eq!(sender.used.as_bps(), sent + VOICE.as_bps());
        let picture = allocation.slots_of(EndpointId(1))[0]
            .picture
            .expect("the lowest layer");
        // Half of the pictures are enough for a thumbnail.
        assert_eq!(picture.rate.as_bps(), shares(150_000)[1]);
    }
    // Too little for all three: a layer is not taken for what it adds alone.
    let level = |nested: bool, estimate: u64| {
        let mut scene = Scene::new(vec![
            Point::new(&[demand(0, 2, Kind::Stage, 720)]),
            Point::new(&[]),
        ]);
        scene.points[0].voices = 0;
        scene.points[0].estimate = Some(Bitrate::kbps(estimate));
        scene.points[1].nested = nested;
        let all = scene.points[1].camera.iter_mut().flatten();
        all.for_each(|offer| offer.rates = [Bitrate::ZERO; TEMPORAL_MAX]);
        let allocation = scene.allocate(&Allocation::default());
        allocation.slots_of(EndpointId(1))[0]
            .picture
            .map(|p| (p.layer, p.temporal))
    };
    assert_eq!(
        (level(false, 520), level(true, 520)),
        (Some((1, 2)), Some((1, 1)))
    );
}
