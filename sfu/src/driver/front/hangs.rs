//! Shards that hang: meetings go on without them, and with them again when they go on.

use super::Front;
use crate::{
    control::{RoomId, SeatId},
    driver::{shard::Order, shards::ShardIndex},
};

impl Front {
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
