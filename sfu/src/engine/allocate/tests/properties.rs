//! What holds for every room, each named after its sentence.

use std::time::Duration;

use proptest::prelude::*;

use super::{
    super::*,
    kit::{Point, Scene, VOICE, camera, demand, layers},
};
use crate::engine::{
    id::{EndpointId, LineIndex, Rank, SourceKind},
    shortfall::Cause,
    units::Bitrate,
};

const POINTS: usize = 7;

fn kbps(range: std::ops::Range<u64>) -> impl Strategy<Value = Bitrate> {
    range.prop_map(Bitrate::kbps)
}

fn any_camera() -> impl Strategy<Value = Option<[Offer; LAYERS_MAX]>> {
    let rates = (20_u64..200, 100_u64..800, 400_u64..4_000);
    let flags = proptest::array::uniform3((any::<bool>(), prop::bool::weighted(0.8), 0_u8..3));
    prop::option::weighted(
        0.9,
        (rates, flags).prop_map(|((low, middle, high), flags)| {
            let mut offers = layers([low, middle, high]);
            for (offer, (can, live, shape)) in offers.iter_mut().zip(flags) {
                (offer.can, offer.live) = (can || live, live);
                match shape {
                    0 => offer.rates = [Bitrate::ZERO; TEMPORAL_MAX],
                    1 => offer.rates = [offer.rates[2]; TEMPORAL_MAX],
                    _ => {}
                }
            }
            offers
        }),
    )
}

fn any_demand(slot: u8) -> impl Strategy<Value = Demand> {
    let kinds = prop::sample::select(vec![
        Kind::Stage,
        Kind::Pinned,
        Kind::Screen,
        Kind::Speaker,
        Kind::Thumbnail,
        Kind::Thumbnail,
    ]);
    let heights = prop::sample::select(vec![90_u16, 180, 300, 360, 720, 1_080]);
    (1..=POINTS + 1, kinds, heights, prop::bool::weighted(0.95)).prop_map(
        move |(of, kind, height, decodable)| Demand {
            decodable,
            ..demand(slot, of, kind, height)
        },
    )
}

fn any_point() -> impl Strategy<Value = Point> {
    let ways = (
        prop::option::weighted(0.8, kbps(0..4_000)),
        prop::option::weighted(0.3, kbps(0..4_000)),
        prop::option::weighted(0.5, kbps(0..4_000)),
        prop::collection::btree_set((0_u16..4).prop_map(LineIndex), 0..3),
    );
    let machine = (0_u8..3, 0_u8..3);
    let rank = prop::sample::select(vec![Rank::Member, Rank::Member, Rank::Secretary, Rank::Chair]);
    let loss = prop::sample::select(vec![Loss::None, Loss::Random, Loss::Queueing]);
    let demands = (0_usize..6).prop_flat_map(|count| (0..count as u8).map(any_demand).collect::<Vec<_>>());
    (
        ways,
        machine,
        rank,
        loss,
        0_u8..8,
        demands,
        any_camera(),
        any::<[bool; 3]>(),
    )
        .prop_map(
            |(
                (estimate, even, uplink, lines),
                (cpu_steps, encoder_steps),
                rank,
                loss,
                voices,
                demands,
                camera,
                [red, third, nested],
            )| Point {
                rank,
                estimate,
                breath: estimate
                    .filter(|_| red)
                    .map_or(Bitrate::ZERO, |estimate| estimate.percent(50)),
                even,
                uplink,
                lines: lines.into_iter().collect(),
                voices,
                redundancy: red.then_some(Bitrate::kbps(60)),
                third: third.then_some(Bitrate::kbps(30)),
                ahead: third.then_some(Bitrate::kbps(90)),
                repeats: nested,
                loss,
                cpu_steps: cpu_steps / 2 * cpu_steps,
                encoder_steps: encoder_steps / 2 * encoder_steps,
                demands,
                camera,
                screen: None,
                nested,
            },
        )
}

fn any_scene() -> impl Strategy<Value = Scene> {
    let lines = proptest::array::uniform3((kbps(0..6_000), kbps(0..6_000)));
    let points = prop::collection::vec(any_point(), 1..POINTS);
    let node = prop::option::weighted(0.3, kbps(300..4_000));
    let policy = (
        prop::sample::select(vec![180_u16, 720, 2_160]),
        kbps(500..20_000),
        node,
    );
    (lines, points, policy).prop_map(|(lines, points, (height_max, receiver_max, node_max))| {
        let mut scene = Scene::new(points);
        // Line 3 is on some ways and has no limit.
        scene.lines = (0..)
            .map(LineIndex)
            .zip(lines)
            .map(|(line, (down, up))| Line {
                line,
                down,
                breath: Bitrate::bps(down.as_bps() / 20),
                up,
            })
            .collect();
        scene.policy = Policy {
            height_max,
            receiver_max,
            node_max,
        };
        scene
    })
}

/// A former moment of the same room: other estimates, budgets, pictures that were wanted.
fn any_past() -> impl Strategy<Value = (Scene, Scene, u64)> {
    (any_scene(), any_scene(), 0_u64..40).prop_map(|(scene, other, seconds)| {
        let mut past = scene.clone();
        for (point, other) in past.points.iter_mut().zip(&other.points) {
            point.estimate = other.estimate;
            point.uplink = other.uplink;
            if other.cpu_steps == 0 {
                point.demands.clone_from(&other.demands);
            }
        }
        past.lines = other.lines;
        let mut scene = scene;
        scene.now = past.now + Duration::from_secs(seconds);
        (past, scene, seconds)
    })
}

/// What another half of the room wants of a source of this one.
fn any_wanted() -> impl Strategy<Value = Wanted> {
    let kinds = prop::sample::select(vec![Kind::Stage, Kind::Speaker, Kind::Thumbnail]);
    let layers = proptest::array::uniform3(prop::option::of(kbps(50..3_000)));
    (1..=POINTS, kinds, any::<bool>(), layers).prop_map(|(of, kind, is_brisk, layers)| Wanted {
        source: camera(of),
        kind,
        is_brisk,
        layers,
    })
}

/// Points that show a screen too, for which those look who want one.
fn with_screens(mut scene: Scene, screens: &[Option<[Offer; LAYERS_MAX]>], wanted: &[Wanted]) -> Scene {
    for (point, screen) in scene.points.iter_mut().zip(screens) {
        point.screen = *screen;
        let wants = point
            .demands
            .iter_mut()
            .filter(|demand| demand.kind == Kind::Screen);
        wants.for_each(|demand| demand.source = demand.source.point().source(SourceKind::Screen));
    }
    scene.wanted = wanted.to_vec();
    scene
}

/// The same told in another order, as far as the order says nothing: within a kind the first demand is the most important one, and of a way the
/// first line that is full is the one that is named.
fn turned(scene: &Scene) -> Scene {
    let mut turned = scene.clone();
    turned.turned = true;
    turned.lines.reverse();
    turned.wanted.reverse();
    for point in &mut turned.points {
        point.demands.sort_by_key(|demand| std::cmp::Reverse(demand.kind));
    }
    turned
}

/// The same with the slots of each receiver by their names: they are in the order of its demands.
fn by_slot(mut allocation: Allocation) -> Allocation {
    for receiver in &allocation.receivers {
        let (first, end) = receiver.slots;
        allocation.slots[first..end].sort_by_key(|slot| slot.slot);
    }
    allocation
}

fn pictures(allocation: &Allocation, point: usize) -> Vec<Option<(u8, u8)>> {
    let slots = allocation.slots_of(EndpointId(point as u32 + 1)).iter();
    slots
        .map(|slot| slot.picture.map(|picture| (picture.layer, picture.temporal)))
        .collect()
}

fn first_voice_above(allocation: &Allocation, estimate: Bitrate, grant: &ReceiverGrant) -> bool {
    let sees = allocation
        .slots_of(grant.endpoint)
        .iter()
        .any(|slot| slot.picture.is_some());
    estimate < VOICE && grant.voices == 1 && !sees && !grant.redundancy
}

fn check_budgets(scene: &Scene, allocation: &Allocation) -> Result<(), TestCaseError> {
    for line in &scene.lines {
        let behind = |point: &&(usize, &Point)| point.1.lines.contains(&line.line);
        let points: Vec<(usize, &Point)> = scene.points.iter().enumerate().collect();
        let down: u64 = points
            .iter()
            .filter(behind)
            .filter_map(|(at, _)| allocation.receiver(EndpointId(*at as u32 + 1)))
            .map(|grant| grant.used.as_bps())
            .sum();
        let most = line.down.as_bps() + line.breath.as_bps();
        prop_assert!(down <= most, "{down} > {line:?}");
        prop_assert_eq!(
            allocation.line(line.line).map(|of| of.down),
            Some(Bitrate::bps(down))
        );
        let sound = VOICE.as_bps() * points.iter().filter(behind).count() as u64;
        let up: u64 = points
            .iter()
            .filter(behind)
            .filter_map(|(at, _)| allocation.source(camera(at + 1)))
            .flat_map(|order| order.layers.iter().flatten())
            .filter(|layer| layer.active)
            .map(|layer| layer.bitrate_max.as_bps())
            .sum();
        prop_assert!(
            up == 0 || sound + up <= line.up.as_bps(),
            "{sound} + {up} > {line:?}"
        );
        prop_assert_eq!(
            allocation.line(line.line).map(|of| of.up),
            Some(Bitrate::bps(sound + up))
        );
    }
    for (at, point) in scene.points.iter().enumerate() {
        let grant = allocation
            .receiver(EndpointId(at as u32 + 1))
            .expect("everybody has one");
        let carries = point.estimate.unwrap_or(Bitrate::mbps(1_000));
        let limit = Bitrate::bps(carries.as_bps() + point.breath.as_bps()).min(scene.policy.most());
        prop_assert!(
            grant.used <= limit || first_voice_above(allocation, limit, grant),
            "{grant:?}"
        );
        let slots = allocation.slots_of(grant.endpoint).iter();
        let pictures: u64 = slots
            .filter_map(|slot| slot.picture)
            .map(|p| p.rate.as_bps())
            .sum();
        let red = if grant.redundancy { 60_000 } else { 0 };
        let red = if grant.third { red / 2 * 3 } else { red };
        let voices = u64::from(grant.voices) * (VOICE.as_bps() + red);
        let ahead = grant.ahead.as_bps();
        prop_assert!(ahead <= 90_000 && ahead * 8 <= point.estimate.map_or(0, Bitrate::as_bps));
        prop_assert_eq!(grant.used.as_bps(), pictures + voices + ahead);
        prop_assert!(grant.wanted >= grant.used);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_line_and_no_way_gets_more_than_it_takes_whatever_was_before((past, scene, _) in any_past()) {
        let former = past.allocate(&Allocation::default());
        check_budgets(&past, &former)?;
        check_budgets(&scene, &scene.allocate(&former))?;
    }

    #[test]
    fn whatever_is_less_than_wanted_has_a_reason_and_nothing_else_has((past, scene, _) in any_past()) {
        let allocation = scene.allocate(&past.allocate(&Allocation::default()));
        for (at, point) in scene.points.iter().enumerate() {
            let endpoint = EndpointId(at as u32 + 1);
            let slots = allocation.slots_of(endpoint);
            prop_assert_eq!(slots.len(), point.demands.len());
            for (slot, demand) in slots.iter().zip(&point.demands) {
                let of = (1..).zip(&scene.points).find(|(of, _)| camera(*of) == demand.source);
                let wanted = of.and_then(|(_, of)| layer_for(demand.height, &of.camera?));
                let temporal = if demand.fps == 0 { 2 } else { 1 };
                let is_met = wanted.is_some_and(|wanted| slot.picture.is_some_and(|picture| {
                    picture.layer > wanted || picture.layer == wanted && picture.temporal >= temporal
                }));
                prop_assert_eq!(slot.shortfall.is_none(), is_met, "{:?} of {:?}", slot, demand);
                let has_line = slot.shortfall.is_some_and(|shortfall| shortfall.line.is_some());
                let names_line = matches!(
                    slot.shortfall.map(|shortfall| shortfall.cause),
                    Some(Cause::LineBudget | Cause::SenderLine)
                );
                prop_assert_eq!(has_line, names_line);
            }
            let grant = allocation.receiver(endpoint).expect("everybody has one");
            prop_assert_eq!(grant.shortfall.is_some(), grant.voices < point.voices.min(VOICES_MAX));
        }
    }

    #[test]
    fn an_answer_handed_back_at_the_same_time_gives_itself((past, scene, _) in any_past()) {
        let former = past.allocate(&Allocation::default());
        prop_assert_eq!(&past.allocate(&former), &former);
        let answer = scene.allocate(&former);
        prop_assert_eq!(scene.allocate(&former), answer.clone());
        prop_assert_eq!(scene.allocate(&answer), answer);
    }

    #[test]
    fn the_order_of_the_lists_does_not_matter(
        (past, scene, _) in any_past(),
        screens in prop::collection::vec(any_camera(), POINTS),
        wanted in prop::collection::vec(any_wanted(), 0..4),
    ) {
        let [past, scene] = [past, scene].map(|scene| with_screens(scene, &screens, &wanted));
        let answer = scene.allocate(&past.fresh());
        let other = turned(&scene).allocate(&turned(&past).fresh());
        prop_assert_eq!(by_slot(answer), by_slot(other));
    }

    #[test]
    fn what_is_given_is_also_asked_for((past, scene, _) in any_past()) {
        let (mut past, mut scene) = (past, scene);
        for point in past.points.iter_mut().chain(&mut scene.points) {
            (point.uplink, point.encoder_steps) = (None, 0);
        }
        for line in past.lines.iter_mut().chain(&mut scene.lines) {
            line.up = Bitrate::mbps(100);
        }
        let allocation = scene.allocate(&past.allocate(&Allocation::default()));
        for slot in &allocation.slots {
            let Some(picture) = slot.picture else { continue };
            let order = allocation.source(slot.source).expect("what is given has a source");
            let layer = order.layers[usize::from(picture.layer)];
            prop_assert!(layer.is_none_or(|layer| layer.active), "{slot:?} {order:?}");
        }
    }

    #[test]
    fn voices_come_before_pictures((past, scene, _) in any_past()) {
        let allocation = scene.allocate(&past.allocate(&Allocation::default()));
        let mut mute = scene.clone();
        mute.points.iter_mut().for_each(|point| point.demands.clear());
        let silent = mute.allocate(&past.allocate(&Allocation::default()));
        for (with, without) in allocation.receivers.iter().zip(&silent.receivers) {
            prop_assert_eq!(with.voices, without.voices);
        }
    }

    #[test]
    fn more_budget_never_gives_a_receiver_alone_less(scene in any_scene(), more in kbps(0..2_000)) {
        let mut alone = scene;
        for point in alone.points.iter_mut().skip(1) {
            point.demands.clear();
            point.voices = 0;
        }
        alone.points[0].estimate = Some(alone.points[0].estimate.unwrap_or(Bitrate::kbps(900)));
        let mut richer = alone.clone();
        let estimate = richer.points[0].estimate.unwrap_or_default();
        richer.points[0].estimate = Some(Bitrate::bps(estimate.as_bps() + more.as_bps()));
        // The sender's side is the same for both, so that layers to come take the same room.
        for point in alone.points.iter_mut().chain(&mut richer.points) {
            for offer in point.camera.iter_mut().flatten() {
                offer.can &= offer.live;
            }
        }
        let (less, more) = (alone.allocate(&Allocation::default()), richer.allocate(&Allocation::default()));
        let used = |allocation: &Allocation| allocation.receivers[0].used;
        let shown = |allocation: &Allocation| pictures(allocation, 0);
        let repair = |allocation: &Allocation| {
            let grant = &allocation.receivers[0];
            (grant.redundancy, grant.third, grant.ahead)
        };
        // No smaller pictures may take less where their senders are asked for less. And from some budget on copies of voices come before them,
        // and repair ahead of time.
        let is_smaller = shown(&less).iter().zip(&shown(&more)).any(|(less, more)| more < less);
        let is_due_to_repair = repair(&less) < repair(&more);
        let takes_more = used(&less) <= used(&more);
        prop_assert!(!is_smaller || takes_more || is_due_to_repair, "{:?} then {:?}", shown(&less), shown(&more));
        prop_assert!(less.receivers[0].voices <= more.receivers[0].voices);
    }

    #[test]
    fn the_past_delays_raises_and_is_believed_where_less_was_just_asked_for(estimate in kbps(0..4_000), former in kbps(0..4_000), seconds in 0_u64..40) {
        let mut scene = Scene::new(vec![
            Point::new(&[demand(0, 2, Kind::Stage, 720), demand(1, 3, Kind::Thumbnail, 180)]),
            Point::new(&[]),
            Point::new(&[]),
        ]);
        scene.points[0].estimate = Some(former);
        let past = scene.allocate(&Allocation::default());
        scene.points[0].estimate = Some(estimate);
        scene.now += Duration::from_secs(seconds);
        let (with, without) = (scene.allocate(&past), scene.allocate(&Allocation::default()));
        let stage = |allocation: &Allocation| pictures(allocation, 0)[0];
        let ordered = |allocation: &Allocation, layer: usize| {
            let order = allocation.source(camera(2)).and_then(|order| order.layers[layer]);
            order.map(|order| (order.active, order.bitrate_max))
        };
        // It was just asked for less, or goes on with less than it would be asked for anew.
        let is_smaller = (0..LAYERS_MAX).any(|layer| {
            let now = ordered(&with, layer);
            now < ordered(&past, layer) || now < ordered(&without, layer)
        });
        prop_assert!(is_smaller || stage(&with) <= stage(&without));
        if estimate <= former && !is_smaller {
            // A step down is made at once and in full.
            prop_assert_eq!(stage(&with), stage(&without));
        }
        let later = {
            scene.now += Duration::from_secs(60);
            scene.points[0].estimate = Some(Bitrate::bps(estimate.as_bps() / 100 * 116));
            scene.allocate(&with)
        };
        prop_assert!(stage(&later) >= stage(&without), "a raise with room to spare is made in the end");
    }

    #[test]
    fn nobody_climbs_while_somebody_of_the_same_kind_behind_the_same_line_has_nothing(
        down in kbps(0..6_000),
        points in 2_usize..8,
        kind in prop::sample::select(vec![Kind::Stage, Kind::Pinned, Kind::Thumbnail]),
        ranks in prop::collection::vec(prop::sample::select(vec![Rank::Member, Rank::Chair]), 8),
    ) {
        let demands = [demand(0, points + 1, kind, 720)];
        let mut scene = Scene::new((0..points).map(|_| Point::new(&demands)).collect())
            .behind(down, Bitrate::mbps(100));
        for (point, rank) in scene.points.iter_mut().zip(ranks) {
            point.rank = rank;
        }
        scene.points.push(Point::new(&[]));
        scene.points[points].voices = 0;
        let allocation = scene.allocate(&Allocation::default());
        let given: Vec<_> = (0..points).map(|point| pictures(&allocation, point)[0]).collect();
        let (least, most) = (given.iter().min(), given.iter().max());
        let is_blind = least == Some(&None);
        prop_assert!(!is_blind || most <= Some(&Some((0, 0))), "{given:?}");
        let voices = allocation.receivers.iter().take(points).map(|grant| grant.voices);
        let (least, most) = (voices.clone().min().unwrap_or(0), voices.max().unwrap_or(0));
        prop_assert!(most - least <= 1);
        prop_assert!(least == 3 || given.iter().all(|picture| picture.is_none()) || down.as_bps() == 0);
    }
}
