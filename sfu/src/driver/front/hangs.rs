//! Shards that hang: meetings go on without them, and with them again when they go on.

use std::collections::BTreeSet;

use super::Front;
use crate::{
    control::{RoomId, SeatId},
    driver::{news::ShardIndex, shard::Order},
};

impl Front {
    /// Who speaks on a shard that hangs is told to nobody until it goes on: what changes then is that one hangs, or does no more.
    pub(super) fn look_for_hangs(&mut self) {
        let shards = &self.shards;
        let hung: BTreeSet<ShardIndex> = shards.indexes().filter(|&shard| shards.hangs(shard)).collect();
        let before = std::mem::replace(&mut self.hung, hung.clone());
        for &shard in before.symmetric_difference(&hung) {
            for room in self.rooms.on_shard(shard) {
                self.tell_speaker(&room);
            }
        }
    }

    /// A shard hangs, and signaling is told that nobody is there: so it is, as soon as it goes on. *Else a player that signaling let go has media for ever,
    /// and nobody can end it.* Pages and encoders are told to have lost their media, and offer again.
    pub(super) async fn give_up(&mut self, shard: ShardIndex) {
        let rooms = self.rooms.on_shard(shard);
        self.rooms.take_shard(shard);
        for room in rooms {
            self.unlink(&room, shard).await;
            // Done when it goes on, if there is room for it until then; what is left is found by the next snapshot.
            let _ = self.shards.ask(shard, Order::CloseRoom { room }).await;
        }
    }

    /// A shard that hangs was sent a newcomer, who was told that nothing came of it: it seats them all the same when it goes on. *Else nobody ever ends
    /// media that nobody has the answer to.*
    pub(super) async fn expect_late(&mut self, shard: ShardIndex, room: &RoomId, seat: &SeatId) {
        if self.rooms.seat(room, seat) == Ok(shard) {
            // In the place of who sits there, and never connected: the end of either is the end of the seat's media.
            return self.rooms.doubt(room, seat);
        }
        let order = Order::Leave {
            room: room.clone(),
            seat: seat.clone(),
        };
        // Done behind the other.
        let _ = self.shards.ask(shard, order).await;
    }

    /// A seat leaves a shard that hangs, which has nobody's media left there when it goes on. Until then the others do without its half of the room: *else they
    /// keep who moves for a point of that half, from which nothing comes, and neither see nor hear them where they are now.*
    pub(super) async fn move_off(&mut self, shard: ShardIndex, room: &RoomId, seat: &SeatId) {
        let order = Order::Leave {
            room: room.clone(),
            seat: seat.clone(),
        };
        // Done when it goes on.
        let _ = self.shards.ask(shard, order).await;
        if let Ok(placed) = self.rooms.find_mut(room) {
            placed.apart(shard);
        }
        self.unlink(room, shard).await;
    }
}
