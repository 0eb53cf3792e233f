//! Tables: small rooms, and what everybody gets.

use std::time::{Duration, Instant};

use super::*;
use crate::engine::{
    id::{EndpointId, LineIndex, PointNumber, Rank, SlotId, SourceKind, SourceNumber},
    shortfall::{Cause, Shortfall},
    testing::{base, ms},
};

/// A room that owns what a [`Problem`] borrows. Point `n` is endpoint `n`, from 1.
#[derive(Debug, Clone)]
pub(super) struct Scene {
    pub(super) now: Instant,
    pub(super) points: Vec<Point>,
    pub(super) lines: Vec<Line>,
    pub(super) policy: Policy,
}

#[derive(Debug, Clone)]
pub(super) struct Point {
    pub(super) rank: Rank,
    pub(super) estimate: Option<Bitrate>,
    pub(super) uplink: Option<Bitrate>,
    pub(super) lines: Vec<LineIndex>,
    pub(super) voices: u8,
    pub(super) redundancy: Option<Bitrate>,
    pub(super) third: bool,
    pub(super) loss: Loss,
    pub(super) cpu_steps: u8,
    pub(super) encoder_steps: u8,
    pub(super) demands: Vec<Demand>,
    pub(super) camera: Option<[Offer; LAYERS_MAX]>,
    pub(super) nested: bool,
}

pub(super) const VOICE: Bitrate = Bitrate::kbps(50);

/// Layers of that many kb/s with temporal layers, all arriving.
pub(super) fn layers(rates: [u64; LAYERS_MAX]) -> [Offer; LAYERS_MAX] {
    rates.map(|rate| Offer {
        can: true,
        live: true,
        height: None,
        rates: shares(rate * 1_000).map(Bitrate::bps),
    })
}

pub(super) fn camera(point: usize) -> SourceNumber {
    let number = PointNumber::try_from(point as u32).expect("points count from 1");
    number.source(SourceKind::Camera)
}

pub(super) fn demand(slot: u8, of: usize, kind: Kind, height: u16) -> Demand {
    Demand {
        slot: SlotId::video(slot),
        source: camera(of),
        kind,
        height,
        fps: if kind == Kind::Thumbnail { 15 } else { 0 },
        decodable: true,
    }
}

impl Point {
    pub(super) fn new(demands: &[Demand]) -> Self {
        Self {
            rank: Rank::Member,
            estimate: None,
            uplink: None,
            lines: Vec::new(),
            voices: 3,
            redundancy: None,
            third: false,
            loss: Loss::None,
            cpu_steps: 0,
            encoder_steps: 0,
            demands: demands.to_vec(),
            camera: Some(layers([150, 450, 1_500])),
            nested: false,
        }
    }
}

impl Scene {
    pub(super) fn new(points: Vec<Point>) -> Self {
        Self {
            now: base(),
            points,
            lines: Vec::new(),
            policy: Policy::default(),
        }
    }

    /// Everybody stands behind line 0.
    pub(super) fn behind(mut self, down: Bitrate, up: Bitrate) -> Self {
        let line = LineIndex(0);
        self.lines = vec![Line { line, down, up }];
        self.points.iter_mut().for_each(|point| point.lines = vec![line]);
        self
    }

    pub(super) fn after(&mut self, time: Duration) {
        self.now += time;
    }

    pub(super) fn allocate(&self, previous: &Allocation) -> Allocation {
        let id = |at: usize| EndpointId(at as u32 + 1);
        let sources: Vec<Vec<Source>> = (1..)
            .zip(&self.points)
            .map(|(at, point)| {
                let number = camera(at);
                point
                    .camera
                    .iter()
                    .map(|&layers| Source {
                        number,
                        nested: point.nested,
                        layers,
                    })
                    .collect()
            })
            .collect();
        let receivers: Vec<Receiver<'_>> = self
            .points
            .iter()
            .enumerate()
            .map(|(at, point)| Receiver {
                endpoint: id(at),
                rank: point.rank,
                estimate: point.estimate,
                lines: &point.lines,
                voices: point.voices,
                voice: VOICE,
                redundancy: point.redundancy,
                third: point.third,
                loss: point.loss,
                cpu_steps: point.cpu_steps,
                demands: &point.demands,
            })
            .collect();
        let senders: Vec<Sender<'_>> = self
            .points
            .iter()
            .enumerate()
            .map(|(at, point)| Sender {
                endpoint: id(at),
                lines: &point.lines,
                estimate: point.uplink,
                sound: VOICE,
                encoder_steps: point.encoder_steps,
                sources: &sources[at],
            })
            .collect();
        allocate(
            &Problem {
                now: self.now,
                receivers: &receivers,
                senders: &senders,
                lines: &self.lines,
                policy: self.policy,
            },
            previous,
        )
    }

    fn fresh(&self) -> Allocation {
        self.allocate(&Allocation::default())
    }
}

/// A receiver's line of a table: voices, then each slot as height@percent or `-`, with the reason.
fn row(allocation: &Allocation, point: usize) -> String {
    let endpoint = EndpointId(point as u32);
    let grant = allocation.receiver(endpoint).expect("a receiver");
    let slots = allocation.slots_of(endpoint).iter().map(|slot| {
        let picture = slot
            .picture
            .map_or_else(|| "-".to_owned(), |p| format!("{}@{}", p.height, p.rate_percent));
        let reason = slot.shortfall.map(|shortfall| format!(" {:?}", shortfall.cause));
        format!(" | {picture}{}", reason.unwrap_or_default())
    });
    format!("{} voices{}", grant.voices, slots.collect::<String>())
}

/// A source's line of a table: each layer's kb/s or `off`, pictures a second, the reason.
fn order(allocation: &Allocation, point: usize) -> String {
    let order = allocation.source(camera(point)).expect("a source");
    let layers: Vec<String> = order
        .layers
        .iter()
        .flatten()
        .map(|layer| match layer.active {
            true => format!("{}", layer.bitrate_max.as_bps() / 1_000),
            false => "off".to_owned(),
        })
        .collect();
    let fps = order
        .layers
        .iter()
        .flatten()
        .next()
        .map_or(0, |layer| layer.fps_max);
    let reason = order.shortfall.map(|shortfall| format!(" {:?}", shortfall.cause));
    format!("{} at {fps}{}", layers.join(" "), reason.unwrap_or_default())
}

const LINE: Option<Shortfall> = Some(Shortfall {
    cause: Cause::LineBudget,
    line: Some(LineIndex(0)),
});

/// Point 11 in the town speaks; ten points of a district watch it.
fn district(thumbnails: u8) -> Scene {
    let point = || {
        let mut demands = vec![demand(0, 11, Kind::Stage, 720)];
        demands.extend((1..=thumbnails).map(|slot| demand(slot, usize::from(slot), Kind::Thumbnail, 180)));
        Point::new(&demands)
    };
    let mut scene = Scene::new((0..10).map(|_| point()).collect()).behind(Bitrate::mbps(8), Bitrate::mbps(8));
    scene.points[3].rank = Rank::Chair;
    scene.points[7].rank = Rank::Secretary;
    scene.points.push(Point::new(&[]));
    scene
}

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

/// One receiver that hears three voices, with the stage and two thumbnails.
fn one(estimate: Option<Bitrate>) -> Scene {
    let mut scene = Scene::new(vec![
        Point::new(&[
            demand(0, 2, Kind::Stage, 720),
            demand(1, 3, Kind::Thumbnail, 180),
            demand(2, 4, Kind::Thumbnail, 180),
        ]),
        Point::new(&[]),
        Point::new(&[]),
        Point::new(&[]),
    ]);
    scene.points[0].estimate = estimate;
    scene
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
fn a_third_copy_of_voices_takes_only_what_pictures_leave() {
    let copies = |kbps: u64| {
        let mut scene = call_of_two(kbps, 1_000);
        scene.points[0].redundancy = Some(Bitrate::kbps(50));
        (scene.points[0].third, scene.points[0].loss) = (true, Loss::Random);
        let allocation = scene.fresh();
        let grant = allocation.receiver(EndpointId(1)).expect("a receiver");
        (row(&allocation, 1), grant.redundancy, grant.third)
    };
    let full = || "1 voices | 720@100".to_owned();
    assert_eq!(copies(1_100), (full(), true, false));
    assert_eq!(copies(1_300), (full(), true, true));
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
fn each_reason_is_the_one_that_binds() {
    let stage = |scene: &Scene| row(&scene.fresh(), 1).split(" | ").nth(1).map(str::to_owned);
    type Change = fn(&mut Scene);
    let table: [(&str, Change); 9] = [
        ("720@100", |_| ()),
        ("360@100 Policy", |scene| scene.policy.height_max = 360),
        ("360@100 ReceiverCpu", |scene| scene.points[0].cpu_steps = 1),
        ("180@100 ReceiverCpu", |scene| scene.points[0].cpu_steps = 9),
        ("- Codec", |scene| scene.points[0].demands[0].decodable = false),
        ("- NotSent", |scene| scene.points[1].camera = None),
        ("360@50 Policy", |scene| {
            scene.policy.receiver_max = Bitrate::kbps(599)
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
