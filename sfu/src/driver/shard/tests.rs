//! One shard, told what to do without a thread or a socket.

use tracing::{
    Metadata, Subscriber,
    span::{Attributes, Id, Record},
};

use super::*;
use crate::{control::ControlError, driver::news::What};

const SHARD: ShardIndex = ShardIndex(0);

/// A shard that no thread runs, with a room, and what is told of it.
fn shard(now: Instant) -> (Shard, RoomKey, mpsc::Receiver<News>) {
    let (news, told) = mpsc::channel(8);
    let identity = Arc::new(Identity::new(false).expect("an identity"));
    let events = EventBook::new(SHARD, news);
    let meter = Meter::new(now, watch::channel(Load::default()).0);
    let mut shard = Shard::new(Rc::from([]), identity, events, meter);
    let opening = Opening {
        room: room(),
        tag: RoomTag(1),
        policy: RoomPolicy::default(),
        floor: None,
    };
    let opened = shard.handle_order(now, Order::OpenRoom(Box::new(opening)));
    assert!(matches!(opened, Ok(Done::Opened)));
    let key = shard.names[&room()];
    (shard, key, told)
}

fn room() -> RoomId {
    "sang".to_owned().try_into().expect("a room")
}

/// A log that cannot be written.
struct FullDisk;

impl Subscriber for FullDisk {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &tracing::Event<'_>) {
        panic!("no space left on device")
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[test]
fn a_shard_that_failed_says_so_whatever_becomes_of_the_log() {
    let (news, mut told) = mpsc::channel(1);
    let guarded = AssertUnwindSafe(|| guard(SHARD, &news, || panic!("a bug")));
    let logged = tracing::subscriber::with_default(FullDisk, || catch_unwind(guarded));
    assert!(logged.is_err(), "it cannot be written");
    let news = told.try_recv().map(|news| news.what);
    assert!(matches!(news, Ok(What::Failed)));
}

#[test]
fn a_room_that_panicked_is_not_asked_again_and_ends_with_the_turn() {
    let now = Instant::now();
    let (mut shard, key, mut told) = shard(now);
    assert!(shard.with_room(key, |_| panic!("a bug")).is_none());
    let asked = shard.with_room(key, |room| room.handle_timeout(now));
    assert!(asked.is_none(), "nobody knows what it would do");
    shard.drain(now);
    assert_eq!((shard.tally.room_panics, shard.rooms.len()), (1, 0));
    let news = told.try_recv().map(|news| news.what);
    assert!(matches!(
        news,
        Ok(What::Event(None, Event::Speaker { number: None, .. }))
    ));
}

#[test]
fn a_room_is_not_told_of_a_shard_to_which_no_way_leads_any_more() {
    let now = Instant::now();
    let (mut shard, key, _told) = shard(now);
    let far = ShardIndex(1);
    let link = || Order::Link { room: room(), far };
    let (end, other) = crate::driver::relay::link(SHARD, far);
    let connect = Order::Connect(Box::new(end));
    assert!(shard.handle_order(now, connect).is_ok());
    // It panicked.
    drop(other);
    shard.take_parcels(now);
    let linked = shard.handle_order(now, link()).err();
    assert_eq!(linked, Some(ControlError::Unavailable));
    assert!(shard.rooms[&key].links.is_empty());
}

#[test]
fn what_waits_to_be_told_is_told_behind_a_snapshot_too() {
    let now = Instant::now();
    let (mut shard, _, mut told) = shard(now);
    let numbers: Vec<u32> = (1..20).collect();
    for &of in &numbers {
        let number = Some(of.try_into().expect("a number"));
        shard.events.tell(None, Event::Speaker { room: room(), number });
    }
    assert!(shard.handle_order(now, Order::Snapshot).is_ok());
    let mut last = None;
    while let Ok(news) = told.try_recv() {
        shard.drain(now);
        if let What::Event(None, Event::Speaker { number, .. }) = news.what {
            last = number.map(PointNumber::get);
        }
    }
    assert_eq!(last.as_ref(), numbers.last(), "what the channel held is older");
}

#[test]
fn a_room_that_is_open_hears_who_has_the_floor_when_it_is_opened_again() {
    let now = Instant::now();
    let (mut shard, key, _told) = shard(now);
    for floor in [Some(7), None] {
        let floor = floor.map(|of: u32| of.try_into().expect("a number"));
        let opening = Opening {
            room: room(),
            tag: RoomTag(1),
            policy: RoomPolicy::default(),
            floor,
        };
        let opened = shard.handle_order(now, Order::OpenRoom(Box::new(opening)));
        assert!(matches!(opened, Ok(Done::Nothing)));
        assert_eq!(shard.rooms[&key].room.floor(), floor);
    }
}
