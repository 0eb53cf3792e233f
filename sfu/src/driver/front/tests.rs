//! What the front does with shards that hang or failed.

use tokio::sync::mpsc;

use super::*;
use crate::driver::{config::NodeConfig, node};

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
