//! Who sits on which shard.

use super::{Front, SITE_BYTES_MAX};
use crate::{
    control::{ControlError, Join, Reply, RoomId, SEAT_BYTES_MAX, SeatId},
    driver::{
        news::ShardIndex,
        placement::{self, Standing},
        relay,
        shard::{Done, Opening, Order},
    },
    engine::id::EndpointId,
};

/// Endpoints are numbered below this; the engine has the numbers above for its own.
const ENDPOINTS_END: u32 = 1 << 31;

impl Front {
    pub(super) async fn join(&mut self, join: Join) -> Result<Reply, ControlError> {
        let site_fits = join.site.as_ref().is_none_or(|site| site.len() <= SITE_BYTES_MAX);
        if !site_fits || join.seat_note.len() > SEAT_BYTES_MAX {
            return Err(ControlError::BadValue);
        }
        let (room, seat, number, site) = (
            join.room.clone(),
            join.seat.clone(),
            join.number,
            join.site.clone(),
        );
        self.rooms.check_join(&room, &seat, number, self.endpoints_max)?;
        self.shards.restart_missing();
        let shard = self.place(&room, &seat).ok_or(ControlError::Unavailable)?;
        self.last_endpoint = self.last_endpoint.wrapping_add(1) % ENDPOINTS_END;
        let endpoint = EndpointId(self.last_endpoint);
        let (newcomer, joined) = self.answer(join, endpoint, shard)?;
        if let Ok(former) = self.rooms.seat(&room, &seat)
            && former != shard
        {
            self.move_off(former, &room, &seat).await;
        }
        self.tell_network(shard).await?;
        self.open_at(shard, &room).await?;
        // In the table before the shard hears of it: whoever asks meanwhile must find it.
        let former = self
            .rooms
            .seat_at(&room, &seat, (number, site), (shard, endpoint));
        self.count();
        self.tell_elsewhere().await;
        let taken = self.shards.ask(shard, Order::Join(Box::new(newcomer))).await;
        if taken.is_err() {
            self.rooms.seat_back(&room, seat.clone(), former);
            if self.shards.hangs(shard) {
                self.expect_late(shard, &room, &seat).await;
            }
        }
        self.count();
        self.close_empty(&room).await;
        taken.map(|_| joined)
    }

    /// A seat that offers again stays on its shard, unless that hangs or failed a moment ago: its media has ended then.
    pub(super) fn place(&self, room: &RoomId, seat: &SeatId) -> Option<ShardIndex> {
        if let Ok(shard) = self.rooms.seat(room, seat)
            && self.shards.is_running(shard)
        {
            return Some(shard);
        }
        let placed = self.rooms.find(room).ok()?;
        let standing = |shard: ShardIndex| {
            self.shards.is_running(shard).then(|| Standing {
                endpoints: self.rooms.seats_on(shard),
                of_room: placed.seats_on(shard),
                busy: self.shards.busy(shard),
            })
        };
        let standings: Vec<_> = self.shards.indexes().map(standing).collect();
        let place = placement::place(&standings, self.room_shard_max)?;
        self.shards.indexes().nth(place)
    }

    /// A shard has the room open afterwards, as it was set last.
    pub(super) async fn open_at(&mut self, shard: ShardIndex, room: &RoomId) -> Result<(), ControlError> {
        let placed = self.rooms.find(room)?;
        let order = Order::OpenRoom(Box::new(Opening {
            room: room.clone(),
            tag: placed.tag,
            policy: placed.policy.clone(),
            floor: placed.floor,
        }));
        let opened = self.shards.ask(shard, order).await?;
        let placed = self.rooms.find_mut(room)?;
        placed.open_at(shard);
        if matches!(opened, Done::Opened) {
            placed.apart(shard);
        }
        // Also those that it should have been told of before: that may have been interrupted.
        for other in placed.unlinked(shard) {
            if !self.shards.is_running(other) {
                // Told when it goes on. One that failed has it no more.
                continue;
            }
            let told = self.link(room, shard, other).await;
            let placed = self.rooms.find_mut(room)?;
            match told {
                Ok(()) => placed.linked(shard, other),
                Err(ControlError::UnknownRoom) => self.forget_half(room, other).await,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// A shard has a room no more: it closed its half, or that failed, and the seats of that are on their way out. The others go on. *Else
    /// nothing of the meeting can be looked into, and nobody be given the floor, until somebody joins.*
    pub(super) async fn forget_half(&mut self, room: &RoomId, shard: ShardIndex) {
        if let Ok(placed) = self.rooms.find_mut(room) {
            placed.closed_at(shard);
        }
        self.unlink(room, shard).await;
    }

    /// Shards that have a room forget the half of one that has it no more: who comes back elsewhere is not taken for who was there.
    pub(super) async fn unlink(&mut self, room: &RoomId, far: ShardIndex) {
        let Ok(placed) = self.rooms.find(room) else { return };
        for &shard in placed.shards().iter().filter(|&&shard| shard != far) {
            let room = room.clone();
            // One that does not run knows nobody.
            let _ = self.shards.ask(shard, Order::Unlink { room, far }).await;
        }
    }

    /// Halves that were kept from each other, because one of them hung, find each other when it goes on.
    pub(super) async fn join_halves(&mut self) {
        let runs = |shard: &ShardIndex| self.shards.is_running(*shard);
        let apart: Vec<(ShardIndex, RoomId)> = self
            .shards
            .indexes()
            .filter(runs)
            .flat_map(|shard| {
                self.rooms
                    .on_shard(shard)
                    .into_iter()
                    .map(move |room| (shard, room))
            })
            .filter(|(shard, room)| {
                let placed = self.rooms.find(room);
                placed.is_ok_and(|placed| placed.unlinked(*shard).iter().any(runs))
            })
            .collect();
        for (shard, room) in apart {
            // What does not work is tried with the next look.
            let _ = self.open_at(shard, &room).await;
        }
    }

    /// Two shards that have a room tell each other of it.
    async fn link(&mut self, room: &RoomId, a: ShardIndex, b: ShardIndex) -> Result<(), ControlError> {
        let (a, b) = (a.min(b), a.max(b));
        if !self.linked.contains(&(a, b)) {
            let (at_a, at_b) = relay::link(a, b);
            self.shards.ask(a, Order::Connect(Box::new(at_a))).await?;
            self.shards.ask(b, Order::Connect(Box::new(at_b))).await?;
            self.linked.insert((a, b));
        }
        for (near, far) in [(a, b), (b, a)] {
            let room = room.clone();
            self.shards.ask(near, Order::Link { room, far }).await?;
        }
        Ok(())
    }

    pub(super) async fn leave(&mut self, room: RoomId, seat: SeatId) -> Result<Reply, ControlError> {
        if let Ok(shard) = self.rooms.seat(&room, &seat) {
            let order = Order::Leave {
                room: room.clone(),
                seat: seat.clone(),
            };
            // One that hangs does so when it goes on.
            let _ = self.shards.ask(shard, order).await;
            self.rooms.unseat(&room, &seat);
            self.count();
            self.tell_elsewhere().await;
        }
        // Also if it lost its media before: nobody else may sit there.
        self.close_empty(&room).await;
        Ok(Reply::Done)
    }

    /// Shards that nobody of the room sits on any more close it, if there is another that somebody sits on.
    async fn close_empty(&mut self, room: &RoomId) {
        let Ok(placed) = self.rooms.find(room) else {
            return;
        };
        let (empty, used): (Vec<ShardIndex>, Vec<_>) = placed
            .shards()
            .iter()
            .partition(|&&shard| placed.seats_on(shard) == 0);
        if used.is_empty() {
            return;
        }
        for shard in empty {
            let order = Order::CloseRoom { room: room.clone() };
            // One that does not run has closed it.
            let _ = self.shards.ask(shard, order).await;
            self.forget_half(room, shard).await;
        }
    }
}
