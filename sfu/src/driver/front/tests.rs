//! What the front does with shards that hang or failed.

use tokio::sync::mpsc;

use super::*;
use crate::{
    control::{Join, LineBudget, Profile},
    driver::{
        config::NodeConfig,
        node,
        shard::{Fault, ToShard},
        shards,
    },
    engine::{
        id::{LineIndex, SourceKind},
        units::Bitrate,
    },
};

const A: ShardIndex = ShardIndex(0);
const B: ShardIndex = ShardIndex(1);

fn room() -> RoomId {
    "sang".to_owned().try_into().expect("a room")
}

fn seat(name: &str) -> SeatId {
    name.to_owned().try_into().expect("a seat")
}

fn number(number: u32) -> PointNumber {
    number.try_into().expect("a number")
}

fn begin() -> (Front, mpsc::Receiver<News>) {
    let config = NodeConfig {
        port: 0,
        shards: 2,
        addresses: vec!["127.0.0.1".parse().expect("an address")],
        ..NodeConfig::default()
    };
    node::begin(config).expect("a node")
}

/// The front of a node with two shards. With a room that both have: "an" (1) is on the first, "binh" (2) on the second.
async fn front() -> (Front, mpsc::Receiver<News>) {
    let (mut front, news) = begin();
    let opened = front.open_room(room(), RoomPolicy::default()).await;
    assert_eq!(opened, Ok(Reply::Done));
    for (name, of, shard) in [("an", 1, A), ("binh", 2, B)] {
        assert_eq!(front.open_at(shard, &room()).await, Ok(()));
        let at = (shard, EndpointId(of));
        front.rooms.seat_at(&room(), &seat(name), (number(of), None), at);
    }
    (front, news)
}

#[tokio::test]
async fn nobody_is_sent_to_a_shard_that_failed_before_that_is_heard() {
    let (mut front, _news) = front().await;
    assert_eq!(front.place(&room(), &seat("an")), Some(A));
    assert!(front.shards.ask(A, Order::Stop).await.is_ok());
    front.shards.orders()[A.place()].closed().await;
    assert_eq!(front.place(&room(), &seat("an")), Some(B));
    assert_eq!(front.open_at(B, &room()).await, Ok(()), "it needs no other");
}

#[tokio::test]
async fn who_leaves_without_media_leaves_no_half_open_behind() {
    let (mut front, _news) = front().await;
    let (room, seat, state) = (room(), seat("binh"), MediaState::Lost);
    let lost = Event::Media {
        room: room.clone(),
        seat: seat.clone(),
        state,
    };
    front.handle_news(B.news(Some(EndpointId(2)), lost));
    assert_eq!(front.leave(room.clone(), seat).await, Ok(Reply::Done));
    assert_eq!(front.rooms.find(&room).expect("open").shards(), [A]);
}

/// A shard stands still until what this answers with is dropped. Nobody noticed yet.
fn hold(front: &Front, shard: ShardIndex) -> std::sync::mpsc::Sender<()> {
    let (release, held) = std::sync::mpsc::channel();
    let (reply, _) = tokio::sync::oneshot::channel();
    let order = Order::Fail(Fault::Hold(held));
    let given = front.shards.orders()[shard.place()].try_send(ToShard { order, reply });
    assert!(given.is_ok());
    release
}

/// The same, and it was noticed.
async fn hang(front: &mut Front, shard: ShardIndex) -> std::sync::mpsc::Sender<()> {
    let release = hold(front, shard);
    assert!(front.handle(Command::Metrics).await.is_ok());
    assert!(front.shards.hangs(shard));
    release
}

async fn goes_on(front: &Front, shard: ShardIndex, release: std::sync::mpsc::Sender<()>) {
    drop(release);
    while front.shards.hangs(shard) {
        tokio::task::yield_now().await;
    }
}

/// Who speaks, as told last.
fn speaker(front: &mut Front) -> Option<u32> {
    let mut told = None;
    while let Some(event) = front.poll_event() {
        if let Event::Speaker { number, .. } = event {
            told = Some(number.map(PointNumber::get));
        }
    }
    told.expect("something is told of it")
}

#[tokio::test]
async fn who_spoke_on_a_shard_that_hangs_speaks_no_more_until_it_goes_on() {
    let (mut front, _news) = front().await;
    let speaks = |front: &mut Front, shard: ShardIndex, of: u32| {
        let (room, number) = (room(), Some(number(of)));
        front.handle_news(shard.news(None, Event::Speaker { room, number }));
    };
    speaks(&mut front, A, 1);
    speaks(&mut front, B, 2);
    assert_eq!(speaker(&mut front), Some(1), "by the first shard");
    let release = hang(&mut front, A).await;
    assert!(front.handle(Command::Metrics).await.is_ok());
    assert_eq!(speaker(&mut front), Some(2));
    speaks(&mut front, B, 3);
    assert_eq!(speaker(&mut front), Some(3));
    goes_on(&front, A, release).await;
    assert!(front.handle(Command::Metrics).await.is_ok());
    assert_eq!(speaker(&mut front), Some(1));
}

fn network() -> Network {
    let line = LineBudget {
        id: "co-to".to_owned().try_into().expect("an id"),
        down: Bitrate::kbps(4_000),
        up: Bitrate::kbps(1_000),
    };
    Network {
        lines: vec![line],
        sites: BTreeMap::from([("co-to".to_owned(), vec![LineIndex(0)])]),
    }
}

#[tokio::test]
async fn a_shard_that_hangs_hears_of_the_network_when_it_goes_on() {
    let (mut front, _news) = front().await;
    let release = hang(&mut front, A).await;
    let network = network();
    assert_eq!(
        front.handle(Command::SetNetwork { network }).await,
        Ok(Reply::Done)
    );
    assert!(front.networked.keys().eq([&B]));
    goes_on(&front, A, release).await;
    assert!(front.handle(Command::Metrics).await.is_ok());
    assert!(front.networked.keys().eq([&A, &B]));
}

#[tokio::test]
async fn a_shard_that_hangs_keeps_the_network_from_no_other() {
    let (mut front, _news) = front().await;
    let _release = hold(&front, A);
    let network = network();
    let set = front.handle(Command::SetNetwork { network }).await;
    assert_eq!(set, Err(ControlError::Unavailable), "not everywhere");
    assert!(front.networked.keys().eq([&B]));
}

#[tokio::test]
async fn what_a_snapshot_leaves_out_is_not_there_when_its_shard_goes_on() {
    let (mut front, _news) = front().await;
    let release = hold(&front, A);
    let told = front.handle(Command::Snapshot).await;
    let Ok(Reply::Snapshot { rooms }) = told else {
        panic!("{told:?}")
    };
    assert_eq!((rooms.len(), rooms[0].seats.len()), (1, 0));
    assert_eq!(front.rooms.seats_on(A), 0);
    goes_on(&front, A, release).await;
    let asked = front.shards.ask(A, Order::Snapshot).await;
    assert!(matches!(asked, Ok(Done::Snapshot(rooms)) if rooms.is_empty()));
    assert_eq!(front.open_at(A, &room()).await, Ok(()), "for who comes then");
}

/// With one shard, which does what it is told until it is to seat somebody, and hangs then. What it is told behind that.
async fn front_hanging() -> (Front, mpsc::Receiver<Order>) {
    let (mut front, _) = begin();
    let (held, mut given) = shards::tests::held();
    front.shards = held;
    let (behind, told) = mpsc::channel(8);
    tokio::spawn(async move {
        let mut late = None;
        while let Some(ToShard { order, reply }) = given.recv().await {
            match order {
                Order::Join(_) => late = Some(reply),
                order if late.is_some() => assert!(behind.send(order).await.is_ok()),
                Order::OpenRoom(_) => assert!(reply.send(Ok(Done::Opened)).is_ok()),
                _ => assert!(reply.send(Ok(Done::Nothing)).is_ok()),
            }
        }
    });
    let opened = front.open_room(room(), RoomPolicy::default()).await;
    assert_eq!(opened, Ok(Reply::Done));
    (front, told)
}

fn join() -> Join {
    let mids = SourceKind::ALL.into_iter().zip(["0", "1", "2", "3"]);
    Join {
        room: room(),
        seat: seat("an"),
        number: number(1),
        site: None,
        rank: Default::default(),
        client: Default::default(),
        profile: Profile::Phone,
        sources: mids.map(|(kind, mid)| (kind, mid.to_owned())).collect(),
        published: Vec::new(),
        offer: include_str!("../peer/sdp/fixtures/chromium.sdp").to_owned(),
        seat_note: String::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn who_was_refused_because_a_shard_hangs_does_not_sit_there_when_it_goes_on() {
    let (mut front, mut told) = front_hanging().await;
    assert_eq!(front.join(join()).await, Err(ControlError::Unavailable));
    assert_eq!(front.rooms.seats(), 0);
    drop(front); // nothing more is told
    assert!(matches!(told.recv().await, Some(Order::Leave { seat: of, .. }) if of == seat("an")));
}

#[tokio::test(start_paused = true)]
async fn a_seat_whose_offer_a_shard_takes_too_late_has_lost_its_media_when_either_is_lost() {
    let (mut front, _told) = front_hanging().await;
    let at = (A, EndpointId(7));
    front.rooms.seat_at(&room(), &seat("an"), (number(1), None), at);
    assert_eq!(front.join(join()).await, Err(ControlError::Unavailable));
    let (room, seat, state) = (room(), seat("an"), MediaState::Lost);
    let lost = Event::Media { room, seat, state };
    front.handle_news(A.news(Some(EndpointId(front.last_endpoint)), lost.clone()));
    assert_eq!(front.poll_event(), Some(lost));
}
