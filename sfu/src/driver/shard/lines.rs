//! The lines that rooms share. What a room may take of a line is the line's budget by the share of endpoints behind it that
//! are the room's: of all endpoints of the node, those on other shards included.

use std::{collections::BTreeMap, time::Instant};

use super::{RoomKey, Shard};
use crate::{
    control::{ControlError, LineId, Network},
    engine::{
        id::LineIndex,
        packet::{Input, LineShare},
        units::Bitrate,
    },
};

/// How many endpoints are behind each line.
pub(crate) type Behind = BTreeMap<LineIndex, u64>;

/// The network, and what rooms were told of it.
#[derive(Default)]
pub(super) struct Lines {
    network: Network,
    /// What each room may take, as it was told last; rooms that were told of no line are not here.
    told: BTreeMap<RoomKey, Vec<LineShare>>,
    /// Endpoints on other shards.
    elsewhere: Behind,
    /// Somebody came or went, or the network changed.
    is_stale: bool,
}

impl Lines {
    /// The lines on the way to a site.
    pub(super) fn way(&self, site: Option<&str>) -> Vec<LineIndex> {
        let way = site.and_then(|site| self.network.sites.get(site));
        way.cloned().unwrap_or_default()
    }

    /// Which line that is.
    pub(super) fn id(&self, line: LineIndex) -> Option<&LineId> {
        Some(&self.network.lines.get(usize::from(line.0))?.id)
    }

    /// What meetings may take of it, down and up.
    pub(super) fn budget(&self, line: LineIndex) -> Option<(Bitrate, Bitrate)> {
        let budget = self.network.lines.get(usize::from(line.0))?;
        Some((budget.down, budget.up))
    }

    /// What a room may take.
    pub(super) fn told(&self, room: RoomKey) -> &[LineShare] {
        self.told.get(&room).map_or(&[], Vec::as_slice)
    }

    /// Somebody with lines on the way came or went.
    pub(super) fn handle_change(&mut self) {
        self.is_stale = true;
    }

    /// Whether shares are to be made anew.
    pub(super) fn is_stale(&self) -> bool {
        self.is_stale
    }

    /// The shares of all rooms whose share changed; `ways` are the room and the way of each endpoint.
    fn share<'a>(
        &mut self,
        ways: impl Iterator<Item = (RoomKey, &'a [LineIndex])>,
    ) -> Vec<(RoomKey, Vec<LineShare>)> {
        self.is_stale = false;
        let mut behind: Behind = self.elsewhere.clone();
        let mut of_room: BTreeMap<RoomKey, BTreeMap<LineIndex, u64>> = BTreeMap::new();
        for (room, way) in ways {
            for &line in way {
                *behind.entry(line).or_default() += 1;
                *of_room.entry(room).or_default().entry(line).or_default() += 1;
            }
        }
        let mut shares: BTreeMap<RoomKey, Vec<LineShare>> = BTreeMap::new();
        for (room, lines) in of_room {
            let list = shares.entry(room).or_default();
            for (line, own) in lines {
                let all = behind.get(&line).copied().unwrap_or(own);
                if let Some((down, up)) = self.budget(line) {
                    let (down, up) = (part(down, own, all), part(up, own, all));
                    list.push(LineShare { line, down, up });
                }
            }
        }
        let mut news: Vec<(RoomKey, Vec<LineShare>)> = shares
            .iter()
            .filter(|&(room, share)| self.told.get(room) != Some(share))
            .map(|(&room, share)| (room, share.clone()))
            .collect();
        let over = self.told.keys().filter(|room| !shares.contains_key(room));
        news.extend(over.map(|&room| (room, Vec::new())));
        self.told = shares;
        news
    }
}

/// Rounded down, so that the parts are never more than the whole.
fn part(whole: Bitrate, own: u64, all: u64) -> Bitrate {
    let bits = u128::from(whole.as_bps()) * u128::from(own) / u128::from(all.max(1));
    Bitrate::bps(u64::try_from(bits).unwrap_or(u64::MAX))
}

impl Shard {
    /// Another network. Seats keep the site they joined from and get the lines on its way.
    pub(super) fn set_network(
        &mut self,
        now: Instant,
        network: Network,
        elsewhere: Behind,
    ) -> Result<(), ControlError> {
        self.set_elsewhere(elsewhere);
        if network == self.lines.network {
            return Ok(());
        }
        tracing::info!(
            lines = network.lines.len(),
            sites = network.sites.len(),
            "network"
        );
        self.lines.network = network;
        // The same place may be another line now: every room is told anew.
        self.lines.told.values_mut().for_each(Vec::clear);
        self.lines.handle_change();
        let mut moved = Vec::new();
        for (&endpoint, seat) in &mut self.seats {
            let way = self.lines.way(seat.site.as_deref());
            seat.way.clone_from(&way);
            moved.push((seat.room, endpoint, way));
        }
        for (room, endpoint, way) in moved {
            self.tell_room(room, |room| room.handle(now, Input::Way(endpoint, way)));
        }
        Ok(())
    }

    /// Others came or went on other shards.
    pub(super) fn set_elsewhere(&mut self, elsewhere: Behind) {
        if elsewhere != self.lines.elsewhere {
            self.lines.elsewhere = elsewhere;
            self.lines.handle_change();
        }
    }

    /// Tells rooms what they may take of their lines, if that is another share than before.
    pub(super) fn share_lines(&mut self, now: Instant) {
        if !self.lines.is_stale() {
            return;
        }
        let ways = self.seats.values().map(|seat| (seat.room, seat.way.as_slice()));
        for (room, shares) in self.lines.share(ways) {
            self.tell_room(room, |room| room.handle(now, Input::Lines(shares)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::LineBudget;

    const A: RoomKey = RoomKey(1);
    const B: RoomKey = RoomKey(2);
    const NEAR: LineIndex = LineIndex(0);
    const FAR: LineIndex = LineIndex(1);

    fn lines() -> Lines {
        let line = |id: &str| LineBudget {
            id: id.to_owned().try_into().expect("an id"),
            down: Bitrate::bps(1_000),
            up: Bitrate::bps(100),
        };
        Lines {
            network: Network {
                lines: vec![line("near"), line("far")],
                sites: BTreeMap::from([("x".to_owned(), vec![NEAR, FAR])]),
            },
            ..Lines::default()
        }
    }

    fn share(line: LineIndex, down: u64, up: u64) -> LineShare {
        LineShare {
            line,
            down: Bitrate::bps(down),
            up: Bitrate::bps(up),
        }
    }

    #[test]
    fn a_line_is_shared_by_the_number_of_endpoints_behind_it() {
        let mut lines = lines();
        let far = lines.way(Some("x"));
        assert_eq!((lines.way(None), lines.way(Some("y"))), (vec![], vec![]));
        let near = vec![NEAR];
        let news = lines.share([(A, &far[..]), (A, &near), (B, &near), (B, &[])].into_iter());
        assert_eq!(
            news,
            [
                (A, vec![share(NEAR, 666, 66), share(FAR, 1_000, 100)]),
                (B, vec![share(NEAR, 333, 33)])
            ]
        );
        assert_eq!(lines.told(A), news[0].1);
    }

    #[test]
    fn endpoints_on_other_shards_count() {
        let mut lines = lines();
        lines.elsewhere = Behind::from([(NEAR, 3), (FAR, 1)]);
        let (near, far) = (vec![NEAR], vec![FAR]);
        let news = lines.share([(A, &near[..]), (B, &far)].into_iter());
        assert_eq!(
            news,
            [(A, vec![share(NEAR, 250, 25)]), (B, vec![share(FAR, 500, 50)])]
        );
    }

    #[test]
    fn only_rooms_whose_share_changed_are_told() {
        let mut lines = lines();
        let (near, far) = (vec![NEAR], vec![FAR]);
        lines.share([(A, &near[..]), (B, &far)].into_iter());
        assert_eq!(lines.share([(A, &near[..]), (B, &far)].into_iter()), []);
        let two = lines.share([(A, &near[..]), (B, &far), (B, &far)].into_iter());
        assert_eq!(two, [], "all of a line is a room's, however many sit behind it");
        assert_eq!(lines.share([(A, &near[..])].into_iter()), [(B, vec![])]);
        assert_eq!(lines.share(std::iter::empty()), [(A, vec![])]);
        assert_eq!(lines.share(std::iter::empty()), []);
    }
}
