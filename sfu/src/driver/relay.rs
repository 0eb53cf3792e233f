//! The way from one shard to another in the same process: a bounded queue of parcels, and one back for those that were emptied.
//!
//! A shard hands over at most two parcels a turn to each other shard, packets before it sends for itself and the rest behind that, with everything of all
//! rooms in them: a hand-over and at most one wake-up each, whatever is in it. A shard never waits for another: if that one is [`PARCELS_MAX`] of them behind, what
//! there is to hand over is kept and goes in one parcel when it has caught up; what does not fit in that is dropped and counted.
//! What may not be lost is said again by the engine ([`crate::engine::cascade`]).

use std::task::{Context, Poll};

use tokio::sync::mpsc::{self, error::TrySendError};

use super::news::ShardIndex;
use crate::engine::cascade::CascadeBatch;

/// Parcels under way to a shard. Full: its thread did not run for a few milliseconds (a busy shard makes several thousand parcels a second), and more is kept
/// in one.
const PARCELS_MAX: usize = 32;

/// Batches of a parcel, and bytes of payload in them. Above it the newest batch is dropped: the other shard is so far behind that a picture would be late for everybody. A page
/// flip of a whole meeting brings 2.4 MB at once.
const BATCHES_MAX: usize = 256;

/// See [`BATCHES_MAX`]. So what is kept for a shard that has stopped is 132 MB at most.
const PARCEL_BYTES_MAX: usize = 4 << 20;

/// A room, as all shards of a node call it; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RoomTag(pub(crate) u32);

/// What goes over at once, in the order of its making.
pub(crate) type Parcel = Vec<(RoomTag, CascadeBatch)>;

/// The end of a link that one of its shards has.
pub(crate) struct End {
    /// The shard at the other end.
    pub(crate) far: ShardIndex,
    out: mpsc::Sender<Parcel>,
    /// Parcels of `out`, emptied.
    emptied: mpsc::Receiver<Parcel>,
    incoming: mpsc::Receiver<Parcel>,
    /// Where those of `incoming` go back to.
    back: mpsc::Sender<Parcel>,
    /// To be handed over with the next [`Self::flush`].
    filling: Parcel,
    /// Bytes of payload in it.
    filled: usize,
    /// Came while somebody waited.
    first: Option<Parcel>,
    is_over: bool,
}

/// Both ends of a new link between two shards.
pub(crate) fn link(a: ShardIndex, b: ShardIndex) -> (End, End) {
    let (to_b, at_b) = mpsc::channel(PARCELS_MAX);
    let (to_a, at_a) = mpsc::channel(PARCELS_MAX);
    let (back_to_a, back_at_a) = mpsc::channel(PARCELS_MAX);
    let (back_to_b, back_at_b) = mpsc::channel(PARCELS_MAX);
    (
        End::new(b, (to_b, back_at_a), (at_a, back_to_b)),
        End::new(a, (to_a, back_at_b), (at_b, back_to_a)),
    )
}

impl End {
    fn new(
        far: ShardIndex,
        (out, emptied): (mpsc::Sender<Parcel>, mpsc::Receiver<Parcel>),
        (incoming, back): (mpsc::Receiver<Parcel>, mpsc::Sender<Parcel>),
    ) -> Self {
        Self {
            far,
            out,
            emptied,
            incoming,
            back,
            filling: Parcel::new(),
            filled: 0,
            first: None,
            is_over: false,
        }
    }

    /// Adds a batch to what is handed over with the next [`Self::flush`]. The number of packets that found no place.
    pub(crate) fn add(&mut self, room: RoomTag, batch: CascadeBatch, spares: &mut Vec<CascadeBatch>) -> u64 {
        if self.filling.len() < BATCHES_MAX && self.filled + batch.bytes() <= PARCEL_BYTES_MAX {
            self.filled += batch.bytes();
            self.filling.push((room, batch));
            return 0;
        }
        let dropped = batch.packets() as u64;
        spares.push(batch);
        dropped
    }

    /// Hands over what was added, and takes back what was emptied. If the other shard is too far behind it stays for the next call, which
    /// follows soon: a room that is here and there has something to tell every half second, and while packets come every turn calls. The number of packets that go nowhere, because there is no other shard any more.
    pub(crate) fn flush(&mut self, spares: &mut Vec<CascadeBatch>) -> u64 {
        if self.filling.is_empty() {
            return 0;
        }
        let permit = match self.out.try_reserve() {
            Ok(permit) => permit,
            Err(TrySendError::Full(())) => return 0,
            Err(TrySendError::Closed(())) => {
                self.filled = 0;
                let dropped = self.filling.drain(..);
                return dropped
                    .map(|(_, batch)| {
                        let packets = batch.packets() as u64;
                        spares.push(batch);
                        packets
                    })
                    .sum();
            }
        };
        self.filled = 0;
        let mut next = Parcel::new();
        while let Ok(mut emptied) = self.emptied.try_recv() {
            spares.extend(emptied.drain(..).map(|(_, batch)| batch));
            next = emptied;
        }
        permit.send(std::mem::replace(&mut self.filling, next));
        0
    }

    /// Ready when a parcel is there, or the other shard is gone.
    pub(crate) fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.first.is_none() && !self.is_over {
            match self.incoming.poll_recv(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(parcel)) => self.first = Some(parcel),
                Poll::Ready(None) => self.is_over = true,
            }
        }
        Poll::Ready(())
    }

    /// The next parcel that is there.
    pub(crate) fn receive(&mut self) -> Option<Parcel> {
        if let Some(parcel) = self.first.take() {
            return Some(parcel);
        }
        match self.incoming.try_recv() {
            Ok(parcel) => Some(parcel),
            Err(mpsc::error::TryRecvError::Empty) => None,
            Err(mpsc::error::TryRecvError::Disconnected) => {
                self.is_over = true;
                None
            }
        }
    }

    /// A parcel was worked on: its memory goes back to where it came from.
    pub(crate) fn give_back(&self, parcel: Parcel) {
        // Full, or nobody is there: the memory is let go.
        let _ = self.back.try_send(parcel);
    }

    /// The other shard is gone, and nothing comes any more.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ShardIndex = ShardIndex(0);
    const B: ShardIndex = ShardIndex(1);

    fn tags(parcel: &Parcel) -> Vec<u32> {
        parcel.iter().map(|(room, _)| room.0).collect()
    }

    #[test]
    fn a_turn_is_one_parcel_and_its_memory_comes_back() {
        let (mut a, mut b) = link(A, B);
        assert_eq!((a.far, b.far), (B, A));
        let mut spares = Vec::new();
        assert_eq!(a.flush(&mut spares), 0, "nothing to hand over");
        assert!(b.receive().is_none());
        for turn in 0..3 {
            a.add(RoomTag(turn), CascadeBatch::default(), &mut spares);
            a.add(RoomTag(9), CascadeBatch::default(), &mut spares);
            a.flush(&mut spares);
        }
        for turn in 0..3 {
            let parcel = b.receive().expect("in its order");
            assert_eq!(tags(&parcel), [turn, 9]);
            b.give_back(parcel);
        }
        assert!(b.receive().is_none() && spares.is_empty());
        a.add(RoomTag(4), CascadeBatch::default(), &mut spares);
        a.flush(&mut spares);
        assert_eq!(spares.len(), 6, "what was emptied can be filled again");
        drop(a);
        assert_eq!(tags(&b.receive().expect("sent before the end")), [4]);
        assert!(!b.is_over());
        assert!(b.receive().is_none() && b.is_over());
    }

    #[test]
    fn what_a_shard_that_does_not_keep_up_has_no_place_for_comes_in_one_parcel() {
        let (mut a, mut b) = link(A, B);
        let mut spares = Vec::new();
        let turns = (PARCELS_MAX + BATCHES_MAX) as u32 + 5;
        for turn in 0..turns {
            a.add(RoomTag(turn), CascadeBatch::default(), &mut spares);
            a.flush(&mut spares);
        }
        assert_eq!(spares.len(), 5, "the newest of what is too much");
        let parcel = b.receive().expect("the first");
        b.give_back(parcel);
        assert_eq!(a.flush(&mut spares), 0);
        let came: Vec<Parcel> = std::iter::from_fn(|| b.receive()).collect();
        assert_eq!(came.len(), PARCELS_MAX);
        assert_eq!(came.last().map(Vec::len), Some(BATCHES_MAX));
        assert!(came.iter().flat_map(tags).eq(1..turns - 5), "in its order");
        drop(b);
        a.add(RoomTag(9), CascadeBatch::default(), &mut spares);
        let before = spares.len();
        a.flush(&mut spares);
        assert_eq!(spares.len(), before + 1, "there is nobody any more");
    }
}
