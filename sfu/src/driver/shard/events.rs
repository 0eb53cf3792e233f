//! Events on their way to signaling. When it does not read, the newest state of each seat is kept, nothing more.

use std::collections::BTreeMap;

use tokio::sync::mpsc;

use crate::{
    control::{Event, MediaState, RoomId, SeatId, SendOrder, SlotChange, SlotQuality},
    driver::news::{News, ShardIndex},
    engine::id::{EndpointId, PointNumber, SlotId},
};

/// What could not be told yet. As large as the seats of the shard with their slots: without signaling nobody joins.
pub(super) struct EventBook {
    shard: ShardIndex,
    sender: mpsc::Sender<News>,
    seats: BTreeMap<(RoomId, SeatId), Pending>,
    speakers: BTreeMap<RoomId, Option<PointNumber>>,
}

/// What a seat has to be told, its media state first.
#[derive(Default)]
struct Pending {
    /// Of which endpoint it is told: of one alone, for who joins again is told nothing of the former.
    of: Option<EndpointId>,
    media: Option<MediaState>,
    slots: BTreeMap<SlotId, SlotChange>,
    quality: Option<Vec<SlotQuality>>,
    order: Option<SendOrder>,
}

impl Pending {
    /// What the media carried is of no interest any more.
    fn forget_shown(&mut self) {
        self.slots.clear();
        self.quality = None;
        self.order = None;
    }

    fn is_told(&self) -> bool {
        self.media.is_none() && self.slots.is_empty() && self.quality.is_none() && self.order.is_none()
    }

    /// The next thing to tell of a seat.
    fn next(&mut self, room: RoomId, seat: SeatId) -> Option<Event> {
        if let Some(state) = self.media.take() {
            return Some(Event::Media { room, seat, state });
        }
        if !self.slots.is_empty() {
            let changes = std::mem::take(&mut self.slots).into_values().collect();
            return Some(Event::Slots { room, seat, changes });
        }
        if let Some(slots) = self.quality.take() {
            return Some(Event::Quality { room, seat, slots });
        }
        let order = self.order.take()?;
        Some(Event::Send { room, seat, order })
    }
}

impl EventBook {
    /// With nothing to tell.
    pub(super) fn new(shard: ShardIndex, sender: mpsc::Sender<News>) -> Self {
        Self {
            shard,
            sender,
            seats: BTreeMap::new(),
            speakers: BTreeMap::new(),
        }
    }

    /// Whether everything was told.
    pub(super) fn is_empty(&self) -> bool {
        self.seats.is_empty() && self.speakers.is_empty()
    }

    /// Tells an event, now or as soon as there is a place for it.
    pub(super) fn tell(&mut self, of: Option<EndpointId>, event: Event) {
        let event = if self.is_empty() {
            match self.sender.try_reserve() {
                Ok(permit) => return permit.send(self.shard.news(of, event)),
                Err(mpsc::error::TrySendError::Closed(())) => return,
                Err(mpsc::error::TrySendError::Full(())) => event,
            }
        } else {
            event
        };
        match event {
            Event::Media { room, seat, state } => {
                let pending = self.pending(room, seat, of);
                pending.media = Some(state);
                if state == MediaState::Lost {
                    pending.forget_shown();
                }
            }
            Event::Slots { room, seat, changes } => {
                let pending = self.pending(room, seat, of);
                pending
                    .slots
                    .extend(changes.into_iter().map(|change| (change.slot, change)));
            }
            Event::Speaker { room, number } => drop(self.speakers.insert(room, number)),
            Event::Quality { room, seat, slots } => {
                self.pending(room, seat, of).quality = Some(slots);
            }
            Event::Send { room, seat, order } => {
                self.pending(room, seat, of).order = Some(order);
            }
        }
    }

    fn pending(&mut self, room: RoomId, seat: SeatId, of: Option<EndpointId>) -> &mut Pending {
        let pending = self.seats.entry((room, seat)).or_default();
        pending.of = of;
        pending
    }

    /// The seat joined again: nothing of its former media is of interest, its end least of all.
    pub(super) fn forget(&mut self, room: &RoomId, seat: &SeatId) {
        self.seats.remove(&(room.clone(), seat.clone()));
    }

    /// What the slots of a seat's former media showed and got is not told any more: the page has new ones.
    pub(super) fn forget_shown(&mut self, room: &RoomId, seat: &SeatId) {
        let key = (room.clone(), seat.clone());
        if let Some(pending) = self.seats.get_mut(&key) {
            pending.forget_shown();
            if pending.is_told() {
                self.seats.remove(&key);
            }
        }
    }

    /// Tells what there is a place for.
    pub(super) fn flush(&mut self) {
        while !self.is_empty() {
            let Ok(permit) = self.sender.try_reserve() else {
                return;
            };
            if let Some((room, number)) = self.speakers.pop_first() {
                permit.send(self.shard.news(None, Event::Speaker { room, number }));
            } else if let Some(mut entry) = self.seats.first_entry() {
                let (room, seat) = entry.key().clone();
                let pending = entry.get_mut();
                if let Some(event) = pending.next(room, seat) {
                    permit.send(self.shard.news(pending.of, event));
                }
                if pending.is_told() {
                    entry.remove();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::news::What;

    const SHARD: ShardIndex = ShardIndex(3);
    const OF: Option<EndpointId> = Some(EndpointId(9));

    fn told(receiver: &mut mpsc::Receiver<News>) -> Option<Event> {
        let news = receiver.try_recv().ok()?;
        assert_eq!(news.shard, SHARD);
        match news.what {
            What::Event(of, event) => {
                assert_eq!(of, OF);
                Some(event)
            }
            What::Failed => panic!("nothing failed"),
        }
    }

    fn names() -> (RoomId, SeatId) {
        let text = |name: &str| name.to_owned();
        (
            text("room").try_into().expect("a room"),
            text("seat").try_into().expect("a seat"),
        )
    }

    fn slots(time: u32) -> Event {
        let (room, seat) = names();
        let change = |index| SlotChange {
            slot: SlotId::video(index),
            source: None,
            time: Some(time),
        };
        Event::Slots {
            room,
            seat,
            changes: vec![change(0), change((time % 3) as u8)],
        }
    }

    fn media(state: MediaState) -> Event {
        let (room, seat) = names();
        Event::Media { room, seat, state }
    }

    #[test]
    fn whoever_reads_late_gets_the_newest_state_of_each_slot_once() {
        let (sender, mut receiver) = mpsc::channel(1);
        let mut book = EventBook::new(SHARD, sender);
        book.tell(OF, media(MediaState::Connected));
        for time in 0..100 {
            book.tell(OF, slots(time));
        }
        assert_eq!(told(&mut receiver), Some(media(MediaState::Connected)));
        book.flush();
        let Some(Event::Slots { changes, .. }) = told(&mut receiver) else {
            panic!("no slots")
        };
        let times: Vec<_> = changes
            .iter()
            .map(|change| (change.slot.index, change.time))
            .collect();
        assert_eq!(times, [(0, Some(99)), (1, Some(97)), (2, Some(98))]);
        book.flush();
        assert!(book.is_empty() && told(&mut receiver).is_none());
    }

    #[test]
    fn a_seat_that_is_back_is_not_lost() {
        let (sender, mut receiver) = mpsc::channel(1);
        let mut book = EventBook::new(SHARD, sender);
        for event in [slots(1), media(MediaState::Lost)] {
            book.tell(OF, event);
        }
        let (room, seat) = names();
        book.forget(&room, &seat);
        assert_eq!(told(&mut receiver), Some(slots(1)));
        book.flush();
        assert!(book.is_empty() && told(&mut receiver).is_none());
    }

    #[test]
    fn of_quality_and_orders_only_the_newest_is_told() {
        let quality = |height| {
            let (room, seat) = names();
            let slot = SlotQuality {
                slot: SlotId::video(0),
                height: Some(height),
                rate_percent: 100,
                cause: None,
                line: None,
            };
            Event::Quality {
                room,
                seat,
                slots: vec![slot],
            }
        };
        let order = |voice_ms| {
            let (room, seat) = names();
            let order = SendOrder {
                sources: Vec::new(),
                voice_ms,
            };
            Event::Send { room, seat, order }
        };
        let (sender, mut receiver) = mpsc::channel(1);
        let mut book = EventBook::new(SHARD, sender);
        for event in [quality(180), quality(360), order(20), quality(720), order(60)] {
            book.tell(OF, event);
        }
        for expected in [quality(180), quality(720), order(60)] {
            assert_eq!(told(&mut receiver), Some(expected));
            book.flush();
        }
        assert!(book.is_empty() && told(&mut receiver).is_none());
        let (room, seat) = names();
        for event in [quality(180), quality(360), order(20)] {
            book.tell(OF, event);
        }
        book.forget_shown(&room, &seat);
        assert!(book.is_empty());
    }

    #[test]
    fn slots_of_a_lost_seat_are_not_told_and_the_loss_is() {
        let (sender, mut receiver) = mpsc::channel(1);
        let mut book = EventBook::new(SHARD, sender);
        for event in [slots(1), slots(2), media(MediaState::Lost)] {
            book.tell(OF, event);
        }
        assert_eq!(told(&mut receiver), Some(slots(1)));
        book.flush();
        assert_eq!(told(&mut receiver), Some(media(MediaState::Lost)));
        book.flush();
        assert!(book.is_empty() && told(&mut receiver).is_none());
    }
}
