//! A room in halves: what receivers in one of them get of senders in another.

use std::collections::{BTreeSet, VecDeque};

use proptest::prelude::*;

use super::{
    super::{
        super::cascade::{CascadeBatch, LinkId},
        *,
    },
    kit::*,
    received::*,
};
use crate::engine::{
    id::{Rank, SlotId},
    page::Want,
    testing::ms,
};

/// Halves linked in pairs. Point `n` sits in the half that `sits` names.
struct Halves {
    kits: Vec<Kit>,
    now: Instant,
    /// On the way: when it comes, from which half to which.
    wire: VecDeque<(Instant, usize, usize, CascadeBatch)>,
    delay: Duration,
    /// Of so many batches one is lost, by chance; 0: none is.
    lose_every: u64,
    chance: u64,
    /// Points by half.
    seats: Vec<Vec<u32>>,
}

impl Halves {
    fn new(seats: &[&[u32]]) -> Self {
        let mut kits: Vec<Kit> = seats.iter().map(|_| Kit::new(0)).collect();
        let now = kits.iter().map(|kit| kit.now).max().expect("at least one");
        kits.iter_mut().for_each(|kit| kit.now = now);
        let mut halves = Self {
            kits,
            now,
            wire: VecDeque::new(),
            delay: ms(1),
            lose_every: 0,
            chance: 7,
            seats: seats.iter().map(|seats| seats.to_vec()).collect(),
        };
        for (a, b) in halves.pairs() {
            halves.kits[a].room.link(now, LinkId(b as u8));
        }
        for (kit, seats) in halves.kits.iter_mut().zip(seats) {
            seats.iter().for_each(|&number| kit.join(number));
            kit.drain();
        }
        halves.advance(20);
        halves
    }

    fn pairs(&self) -> Vec<(usize, usize)> {
        let all = 0..self.kits.len();
        all.clone()
            .flat_map(|a| all.clone().map(move |b| (a, b)))
            .filter(|(a, b)| a != b)
            .collect()
    }

    fn half(&self, number: u32) -> usize {
        self.seats
            .iter()
            .position(|seats| seats.contains(&number))
            .expect("it has a seat")
    }

    fn of(&mut self, number: u32) -> &mut Kit {
        let half = self.half(number);
        &mut self.kits[half]
    }

    fn view(&mut self, number: u32, wants: &[Want]) {
        self.of(number).view(number - 1, wants);
        self.exchange();
    }

    /// A picture of each of these cameras, a key frame where one was asked for.
    fn frames(&mut self, points: &[u32]) {
        for &number in points {
            let kit = self.of(number);
            let key = kit.take_asked(number);
            kit.frames(&[number], key);
        }
        self.exchange();
    }

    fn voice(&mut self, number: u32, level: u8) {
        self.of(number).voice(number, level);
        self.exchange();
    }

    /// What was said goes on its way, and what has come is taken.
    fn exchange(&mut self) {
        for from in 0..self.kits.len() {
            for (to, batch) in std::mem::take(&mut self.kits[from].crossed) {
                let to = usize::from(to.0);
                if !self.is_lost() {
                    self.wire.push_back((self.now + self.delay, from, to, batch));
                }
            }
        }
        while self.wire.front().is_some_and(|(at, ..)| *at <= self.now) {
            let Some((_, from, to, batch)) = self.wire.pop_front() else {
                break;
            };
            let kit = &mut self.kits[to];
            kit.room.handle_cascade(self.now, LinkId(from as u8), &batch);
            kit.drain();
        }
    }

    fn is_lost(&mut self) -> bool {
        self.chance = self
            .chance
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.lose_every > 0 && (self.chance >> 33).is_multiple_of(self.lose_every)
    }

    fn advance(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds {
            self.now += ms(1);
            for kit in &mut self.kits {
                kit.advance(1);
            }
            self.exchange();
        }
    }

    fn run(&mut self, times: usize, mut each: impl FnMut(&mut Self)) {
        for _ in 0..times {
            each(self);
            self.advance(FRAME_MS);
        }
    }

    /// The source that each video slot shows.
    fn shown(&self, number: u32) -> Vec<Option<SourceNumber>> {
        let slots = self.kits[self.half(number)].room.slots(EndpointId(number));
        let source = |index| {
            slots
                .iter()
                .find(|change| change.slot == SlotId::video(index))?
                .source
        };
        (0..4).map(source).collect()
    }

    fn heard(&self, number: u32) -> BTreeSet<SourceNumber> {
        let voices = self.kits[self.half(number)].hears(number);
        voices.into_iter().flatten().collect()
    }

    fn sent(&self, half: usize) -> u64 {
        self.kits[half].room.stats().cascade.sent
    }
}

#[test]
fn pictures_of_the_other_half_come_with_their_names_in_the_layer_that_is_wanted() {
    let mut halves = Halves::new(&[&[1, 2], &[3, 4]]);
    halves.run(20, |halves| halves.frames(&[3, 4]));
    assert_eq!(halves.sent(1), 0, "nobody wants them");
    halves.view(1, &[want(1, camera(3), 360)]);
    halves.run(30, |halves| halves.frames(&[3, 4]));
    let got = halves.kits[0].sent(1);
    assert!(got.len() > 40, "{}", got.len());
    assert!(got.iter().all(|r| (r.source, r.layer) == (camera(3), 1)));
    let told = halves.kits[0].slots(1).pop().expect("told");
    assert_eq!((told.source, told.time), (Some(camera(3)), Some(got[0].time)));
    check_continuity(got, &BTreeSet::new());
    // Two packets of each picture of that layer, and the key frame that was asked for; nothing of the others.
    let crossed = halves.sent(1);
    assert!(crossed <= 70, "{crossed}");
    halves.view(1, &[]);
    halves.run(3, |halves| halves.frames(&[3, 4]));
    let before = halves.sent(1);
    halves.run(20, |halves| halves.frames(&[3, 4]));
    assert_eq!(halves.sent(1), before, "wanted no more");
}

#[test]
fn a_page_that_turns_is_served_from_what_the_other_half_keeps() {
    let mut halves = Halves::new(&[&[1, 2], &[3, 4]]);
    // Cameras that nobody watches send a key frame every two seconds.
    halves.run(90, |halves| halves.frames(&[3, 4]));
    halves.run(70, |halves| {
        let is_young = |kit: &Kit| {
            kit.room
                .kept(kit.now, camera(4), 0)
                .is_some_and(|kept| kept.len() > 3)
        };
        if !is_young(&halves.kits[1]) {
            halves.frames(&[3, 4]);
        }
    });
    let asked = halves.kits[1].room.stats().cascade.key_frame_requests;
    halves.view(1, &[want(1, camera(4), 90)]);
    halves.advance(10);
    assert_eq!(
        halves.shown(1)[1],
        Some(camera(4)),
        "without a picture of the sender's"
    );
    assert_eq!(halves.kits[1].room.stats().cascade.key_frame_requests, asked);
    halves.run(20, |halves| halves.frames(&[3, 4]));
    let got = halves.kits[0].sent(1);
    assert!(got.len() > 15);
    check_continuity(got, &BTreeSet::new());
}

#[test]
fn a_layer_that_stopped_does_not_take_a_tile_of_the_other_half_back_in_time() {
    let mut halves = Halves::new(&[&[1], &[2]]);
    halves.view(1, &[want(0, camera(2), 90)]);
    halves.run(60, |halves| halves.frames(&[2]));
    halves.of(2).frames(&[2], true);
    halves.run(2, |halves| halves.frames(&[2]));
    halves.of(2).layers = 1;
    halves.run(11, |halves| halves.frames(&[2]));
    assert!(!halves.of(2).take_asked(2));
    halves.view(1, &[want(0, camera(2), 300)]);
    halves.advance(10);
    let of_higher = |halves: &Halves| halves.kits[0].sent(1).iter().any(|r| r.layer == 1);
    assert!(
        !of_higher(&halves),
        "its key frame is older than what the tile shows"
    );
    assert!(halves.of(2).asked(2));
    halves.of(2).layers = 3;
    halves.run(2, |halves| halves.frames(&[2]));
    assert!(of_higher(&halves));
    check_continuity(halves.kits[0].sent(1), &BTreeSet::new());
}

#[test]
fn what_is_wanted_is_asked_of_the_sender_by_its_own_half() {
    let mut halves = Halves::new(&[&[1], &[3]]);
    let active = |halves: &Halves| -> Vec<bool> {
        let orders = halves.kits[1].orders.get(&3).cloned().unwrap_or_default();
        orders
            .iter()
            .flat_map(|order| order.layers.iter().map(|layer| layer.active))
            .collect()
    };
    halves.run(30, |halves| halves.frames(&[3]));
    assert_eq!(active(&halves), [true, false, false], "nobody watches it");
    halves.view(1, &[want(0, camera(3), 720)]);
    halves.run(30, |halves| halves.frames(&[3]));
    assert!(active(&halves)[2], "{:?}", halves.kits[1].orders);
    let got = halves.kits[0].sent(1);
    assert_eq!(got.last().map(|r| r.layer), Some(2));
    halves.view(1, &[]);
    halves.run(200, |halves| halves.frames(&[3]));
    assert_eq!(
        active(&halves),
        [true, false, false],
        "kept for a while, then off"
    );
}

#[test]
fn key_frames_are_asked_of_a_sender_no_more_often_for_all_halves_together() {
    let mut halves = Halves::new(&[&[1, 2], &[3], &[5, 6]]);
    for number in [1, 2, 5, 6] {
        halves.view(number, &[want(0, camera(3), 180)]);
    }
    halves.run(60, |halves| halves.frames(&[3]));
    let before = halves.kits[1].room.stats().uplinks.key_frame_requests;
    halves.run(90, |halves| {
        halves.of(3).frames(&[3], false);
        for number in [1, 2, 5, 6] {
            halves.of(number).picture_loss(number, SlotId::video(0));
        }
        halves.exchange();
    });
    let asked = halves.kits[1].room.stats().uplinks.key_frame_requests - before;
    assert!((4..=6).contains(&asked), "{asked} in three seconds");
}

#[test]
fn a_camera_that_is_watched_from_the_other_half_alone_is_not_asked_to_stay_warm() {
    let mut halves = Halves::new(&[&[1], &[3]]);
    halves.view(1, &[want(0, camera(3), 360)]);
    halves.run(60, |halves| halves.frames(&[3]));
    assert_eq!(halves.kits[0].sent(1).last().map(|r| r.layer), Some(1));
    let asked = |halves: &Halves| halves.kits[1].room.stats().uplinks.key_frame_requests;
    let before = asked(&halves);
    halves.run(300, |halves| halves.frames(&[3]));
    assert_eq!(asked(&halves), before);
}

#[test]
fn who_begins_anew_without_a_pause_is_asked_for_a_key_frame_by_the_half_that_watches() {
    let mut halves = Halves::new(&[&[1], &[2]]);
    halves.kits[0].layers = 1;
    halves.view(2, &[want(0, camera(1), 180)]);
    halves.run(60, |halves| halves.frames(&[1]));
    assert_eq!(halves.shown(2)[0], Some(camera(1)));
    let (asked, got) = (
        halves.kits[0].room.stats().uplinks.key_frame_requests,
        halves.kits[1].sent(2).len(),
    );
    halves.run(90, |halves| {
        let kit = halves.of(1);
        let key = kit.take_asked(1);
        for mut made in kit.encode(1, 0, key) {
            made.bytes[8..12].copy_from_slice(&9_999u32.to_be_bytes());
            kit.arrive(1, &made);
        }
        halves.exchange();
    });
    let asked = halves.kits[0].room.stats().uplinks.key_frame_requests - asked;
    let got = halves.kits[1].sent(2).len() - got;
    assert!((1..=2).contains(&asked) && got > 75, "{asked} {got}");
    check_continuity(halves.kits[1].sent(2), &BTreeSet::new());
}

#[test]
fn voices_are_heard_in_both_halves_and_no_more_cross_than_are_heard() {
    let mut halves = Halves::new(&[&[1, 2], &[3, 4, 5, 6, 7, 8, 9, 10, 11, 12]]);
    let all = |halves: &mut Halves| {
        for number in 3..=12 {
            halves.voice(number, 25 + number as u8);
        }
        halves.voice(2, 30);
        halves.advance(20);
    };
    (0..100).for_each(|_| all(&mut halves));
    assert!(halves.heard(3).contains(&mic(2)));
    let heard = halves.heard(1);
    assert!((3..=5).all(|number| heard.contains(&mic(number))), "{heard:?}");
    let before = halves.sent(1);
    (0..50).for_each(|_| all(&mut halves));
    assert_eq!(halves.sent(1) - before, 300, "six of ten");
    check_continuity(halves.kits[0].sent(1), &BTreeSet::new());
}

#[test]
fn silence_costs_the_link_a_level_and_speech_crosses_from_its_first_packet() {
    let mut halves = Halves::new(&[&[1, 2], &[3, 4]]);
    let speak = |halves: &mut Halves, times, level| {
        for _ in 0..times {
            halves.voice(3, level);
            halves.advance(20);
        }
    };
    speak(&mut halves, 100, 127);
    let before = halves.sent(1);
    speak(&mut halves, 50, 127);
    assert_eq!(halves.sent(1), before);
    let got = halves.kits[0].sent(1).len();
    speak(&mut halves, 10, 30);
    assert_eq!(halves.kits[0].sent(1).len() - got, 10);
    // Each half looks by itself, ten times a second.
    speak(&mut halves, 10, 30);
    let speaker = |half: usize| halves.kits[half].room.speaker.current();
    assert_eq!((speaker(0), speaker(1)), (Some(point(3)), Some(point(3))));
}

#[test]
fn the_chair_crosses_however_many_are_louder() {
    let mut halves = Halves::new(&[&[1], &[]]);
    halves.seats[1] = (3..=12).collect();
    for number in 3..=12 {
        let rank = if number == 12 { Rank::Chair } else { Rank::Member };
        halves.kits[1].join_as(number, rank);
    }
    for _ in 0..100 {
        (3..=12).for_each(|number| halves.voice(number, 20 + number as u8));
        halves.advance(20);
    }
    assert!(halves.heard(1).contains(&mic(12)), "{:?}", halves.heard(1));
}

#[test]
fn who_leaves_goes_from_both_halves_and_may_come_back_in_either() {
    let mut halves = Halves::new(&[&[1, 2], &[3, 4]]);
    halves.view(1, &[want(0, camera(3), 180)]);
    halves.run(10, |halves| halves.frames(&[3]));
    assert_eq!(halves.shown(1)[0], Some(camera(3)));
    halves.of(3).input(Input::Leave(EndpointId(3)));
    halves.advance(5);
    assert_eq!(halves.shown(1)[0], None);
    halves.of(3).join(3);
    halves.run(20, |halves| halves.frames(&[3]));
    assert_eq!(halves.shown(1)[0], Some(camera(3)));
    // It comes over before the other half knows that it is gone from there.
    halves.kits[0].join(3);
    halves.of(3).input(Input::Leave(EndpointId(3)));
    halves.seats = vec![vec![1, 2, 3], vec![4]];
    halves.run(20, |halves| halves.frames(&[3]));
    assert_eq!(halves.shown(1)[0], Some(camera(3)));
    assert_eq!((halves.kits[0].room.len(), halves.kits[1].room.len()), (3, 1));
    assert_eq!(halves.kits[1].room.numbers.len(), 4, "and it is known there too");
}

#[test]
fn a_link_that_is_cut_empties_slots_and_one_that_is_back_fills_them() {
    let mut halves = Halves::new(&[&[1, 2], &[3, 4]]);
    halves.view(1, &[want(0, camera(3), 360), want(1, camera(2), 180)]);
    halves.run(15, |halves| halves.frames(&[2, 3]));
    let now = halves.now;
    halves.kits[0].room.unlink(now, LinkId(1));
    halves.run(5, |halves| halves.frames(&[2, 3]));
    assert_eq!(halves.shown(1), [None, Some(camera(2)), None, None]);
    halves.view(1, &[want(0, camera(3), 180), want(1, camera(2), 180)]);
    // Only this end linked anew: the other one finds out.
    let now = halves.now;
    halves.kits[0].room.link(now, LinkId(1));
    halves.run(40, |halves| halves.frames(&[2, 3]));
    assert_eq!(halves.shown(1), [Some(camera(3)), Some(camera(2)), None, None]);
    let before = halves.sent(1);
    halves.run(10, |halves| halves.frames(&[2, 3]));
    let crossed = halves.sent(1) - before;
    assert!(
        (10..20).contains(&crossed),
        "{crossed}: nothing of the layer that was wanted before"
    );
    check_continuity(halves.kits[0].sent(1), &BTreeSet::new());
}

#[test]
fn a_half_whose_last_link_is_cut_has_nothing_left_to_say() {
    let mut halves = Halves::new(&[&[1, 2], &[3, 4]]);
    halves.view(1, &[want(0, camera(3), 360)]);
    halves.run(15, |halves| halves.frames(&[1, 2, 3]));
    let kit = &mut halves.kits[0];
    kit.room.unlink(kit.now, LinkId(1));
    kit.now += ms(600);
    for _ in 0..10 {
        kit.wake(kit.now);
    }
    let due = kit.room.poll_timeout();
    assert!(due.is_none_or(|at| at > kit.now), "a deadline that has passed");
}

#[test]
fn a_layer_dies_in_the_other_half_too_if_the_batch_that_says_so_is_lost() {
    let mut halves = Halves::new(&[&[1, 2], &[3, 4]]);
    halves.view(1, &[want(0, camera(3), 180)]);
    halves.run(15, |halves| halves.frames(&[3]));
    let lives = |halves: &Halves| {
        let source = halves.kits[0].room.source(camera(3)).expect("it is told of");
        source.offers(3).iter().any(|offer| offer.live)
    };
    assert!(lives(&halves));
    let is_last = |batch: &CascadeBatch| {
        let mut offers = batch.figures.iter().flat_map(|figure| figure.layers);
        !batch.figures.is_empty() && offers.all(|offer| !offer.live)
    };
    let mut lost = 0;
    // Half a second until they are dead, and one and a half.
    for _ in 0..2_000 {
        halves.now += ms(1);
        halves.kits.iter_mut().for_each(|kit| kit.advance(1));
        halves.kits[1].crossed.retain(|(_, batch)| {
            let is_lost = lost == 0 && is_last(batch);
            lost += u32::from(is_lost);
            !is_lost
        });
        halves.exchange();
    }
    assert_eq!((lost, lives(&halves)), (1, false));
    // And then neither says anything any more.
    halves.advance(3_000);
    assert!(
        halves
            .kits
            .iter_mut()
            .all(|kit| kit.room.cascade.poll_timeout().is_none())
    );
}

#[test]
fn batches_that_are_lost_cost_pictures_but_nobody_and_nothing_that_is_wanted() {
    for lose_every in 3..=9 {
        let mut halves = Halves::new(&[&[1, 2], &[3, 4]]);
        halves.lose_every = lose_every;
        halves.of(3).input(Input::Leave(EndpointId(3)));
        halves.of(3).join(3);
        halves.view(1, &[want(0, camera(3), 180), want(1, camera(4), 360)]);
        halves.run(60, |halves| halves.frames(&[3, 4]));
        assert_eq!(
            halves.shown(1),
            [Some(camera(3)), Some(camera(4)), None, None],
            "{lose_every}"
        );
        assert!(halves.kits[0].room.stats().cascade.holes > 0);
    }
}

/// What happens in a meeting.
#[derive(Debug, Clone)]
enum Step {
    View {
        number: u32,
        slot: u8,
        source: u32,
        height: u16,
    },
    Blink(u32),
    Rejoin(u32),
    Pictures(usize),
}

const POINTS: u32 = 5;

fn step() -> impl Strategy<Value = Step> {
    let height = prop_oneof![Just(90u16), Just(300), Just(720)];
    prop_oneof![
        6 => (1..=POINTS, 0u8..4, 1..=POINTS, height)
            .prop_map(|(number, slot, source, height)| Step::View { number, slot, source, height }),
        1 => (1..=POINTS).prop_map(Step::Blink),
        1 => (1..=POINTS).prop_map(Step::Rejoin),
        4 => (1usize..8).prop_map(Step::Pictures),
    ]
}

/// The meeting with its points spread like that; what everybody sees at its end.
fn meeting(seats: &[&[u32]], steps: &[Step], delay: u64) -> Vec<Vec<Option<SourceNumber>>> {
    let mut halves = Halves::new(seats);
    halves.delay = ms(delay);
    let everybody: Vec<u32> = (1..=POINTS).collect();
    let mut views = vec![BTreeMap::new(); POINTS as usize + 1];
    for step in steps {
        match *step {
            Step::View {
                number,
                slot,
                source,
                height,
            } => {
                let view: &mut BTreeMap<u8, Want> = &mut views[number as usize];
                view.insert(slot, want(slot, camera(source), height));
                let wants: Vec<Want> = view.values().copied().collect();
                halves.view(number, &wants);
            }
            Step::Blink(number) => {
                for on in [false, true] {
                    halves
                        .of(number)
                        .input(Input::Published(EndpointId(number), SourceKind::Camera, on));
                    halves.exchange();
                }
            }
            Step::Rejoin(number) => {
                halves.of(number).input(Input::Leave(EndpointId(number)));
                halves.exchange();
                let kit = halves.of(number);
                // As a receiver it is another one, with numbers of its own.
                check_continuity(kit.sent(number), &BTreeSet::new());
                kit.received.retain(|received| received.to != number);
                kit.join(number);
                views[number as usize].clear();
            }
            Step::Pictures(times) => halves.run(times, |halves| halves.frames(&everybody)),
        }
    }
    halves.run(40, |halves| halves.frames(&everybody));
    for number in 1..=POINTS {
        check_continuity(halves.of(number).sent(number), &BTreeSet::new());
    }
    everybody.iter().map(|&number| halves.shown(number)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_meeting_in_halves_shows_what_it_shows_in_one_room(
        steps in prop::collection::vec(step(), 1..25),
        delay in 0u64..40,
    ) {
        let whole = meeting(&[&[1, 2, 3, 4, 5]], &steps, delay);
        prop_assert_eq!(&meeting(&[&[1, 2], &[3, 4, 5]], &steps, delay), &whole);
        prop_assert_eq!(&meeting(&[&[1, 5], &[3], &[2, 4]], &steps, delay), &whole);
    }
}
