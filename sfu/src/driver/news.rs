//! What shards say to the node by themselves.

use crate::{control::Event, engine::id::EndpointId};

/// Which shard, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ShardIndex(pub(crate) u16);

impl ShardIndex {
    /// Its place in a list of all.
    pub(crate) fn place(self) -> usize {
        usize::from(self.0)
    }

    /// An event of it, of that endpoint if it is of a seat.
    pub(crate) fn news(self, of: Option<EndpointId>, event: Event) -> News {
        News {
            shard: self,
            what: What::Event(of, event),
        }
    }
}

/// Something happened in a shard.
#[derive(Debug)]
pub(crate) struct News {
    /// Where.
    pub(crate) shard: ShardIndex,
    /// What.
    pub(crate) what: What,
}

/// What happened in a shard.
#[derive(Debug)]
pub(crate) enum What {
    /// Something for signaling. Of which endpoint, if it is of a seat: who joins again is another one, and what happened to the former is no news of it.
    Event(Option<EndpointId>, Event),
    /// It panicked, and everything in it is gone. The last that is heard of it.
    Failed,
}
