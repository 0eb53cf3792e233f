//! Who does what when: the script that all points of a run follow.

use std::time::Duration;

use rand::{SeedableRng as _, rngs::StdRng};

use crate::{
    address::Address,
    lean::PatternPlan,
    protocol::{Kind, View, source_number},
    server::Watched,
    trust::Trust,
};

/// What a run is asked to do.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) url: Address,
    /// Whose certificates are taken; nothing: none is met.
    pub(crate) trust: Option<Trust>,
    /// Of the points in turn; never empty.
    pub(crate) tokens: Vec<String>,
    pub(crate) points: u32,
    /// Time that patterns stay at their first rate after the last join.
    pub(crate) hold: Duration,
    /// Time after the last join that is not measured, at most where it is known what should come.
    pub(crate) warm: Duration,
    /// RTP packets that should come in a second, all together.
    pub(crate) expected: Option<f64>,
    pub(crate) meeting: Duration,
    /// Layers of each camera, 1 to 3; 0: no camera.
    pub(crate) layers: usize,
    /// Pictures each point sees.
    pub(crate) slots: usize,
    /// Heights of the first picture and of the others.
    pub(crate) stage_height: u16,
    pub(crate) thumb_height: u16,
    /// Points that speak at once.
    pub(crate) speakers: u32,
    /// How long a view and a speaker stay.
    pub(crate) turn: Duration,
    /// Time between two joins.
    pub(crate) join_pause: Duration,
    /// Points that are there before the others come.
    pub(crate) standing: u32,
    /// How long a point stays on average before another takes its place; nothing: to the end.
    pub(crate) stay: Option<Duration>,
    pub(crate) seed: u64,
    /// Points are lean ones.
    pub(crate) lean: bool,
    /// The kernel gives lean points whole runs (`UDP_GRO`), as a network card with segmentation does.
    pub(crate) joined: bool,
    /// Of lean points, so many check everything that comes.
    pub(crate) verify: u32,
    /// Slots for voices of a lean point; a full one has six.
    pub(crate) voices: usize,
    /// Points that send; the others only receive.
    pub(crate) senders: u32,
    pub(crate) sends: Sends,
    /// Pictures a second.
    pub(crate) fps: u32,
    /// Lean points send all layers, whatever is ordered, as full ones do.
    pub(crate) all_layers: bool,
    pub(crate) watched: Watched,
    /// Points come in by WHIP or WHEP; nothing: by the client protocol.
    pub(crate) entry: Option<Entry>,
}

/// What senders send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sends {
    /// Pictures and speech.
    Clips,
    /// Packets of a pattern, in one layer; lean points alone.
    Pattern(PatternPlan),
}

/// Where points come in, and what for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The endpoint; `{n}` in it is the number of the stream, from 1.
    pub(crate) url: String,
    /// Streams that there are: receiver r plays stream r modulo this.
    pub(crate) streams: u32,
    /// Plays what others send, instead of sending.
    pub(crate) plays: bool,
}

impl Entry {
    /// Where a point comes in.
    pub(crate) fn address(&self, index: u32) -> anyhow::Result<Address> {
        let number = index % self.streams.max(1) + 1;
        self.url.replace("{n}", &number.to_string()).parse()
    }
}

impl Scenario {
    /// What a point looks at in a turn: its first slot shows another point each turn, larger; the next points follow
    /// as thumbnails. `others` are the numbers with a camera, sorted.
    pub(crate) fn views(&self, index: u32, turn: u64, others: &[u32]) -> Vec<View> {
        let first = (u64::from(index) + turn) as usize;
        let count = self.slots.min(others.len());
        (0..count)
            .map(|slot| View {
                slot: format!("v{slot}"),
                source: source_number(others[(first + slot) % others.len()], Kind::Camera),
                height: if slot == 0 {
                    self.stage_height
                } else {
                    self.thumb_height
                },
                pinned: false,
            })
            .collect()
    }

    /// What a point looks at when the roster changed within a turn: whom it sees stays where he is, as on a page; others come into slots
    /// that are empty. `shown` is what it looked at so far, empty in a new turn.
    pub(crate) fn views_after(&self, shown: &[View], index: u32, turn: u64, others: &[u32]) -> Vec<View> {
        let mut views = self.views(index, turn, others);
        let is_there = |view: &View| {
            let number = view.source / source_number(1, Kind::Mic);
            others.binary_search(&number).is_ok() && views.iter().any(|fresh| fresh.slot == view.slot)
        };
        let kept: Vec<&View> = shown.iter().filter(|view| is_there(view)).collect();
        if kept.is_empty() {
            return views;
        }
        let is_kept = |source: u32| kept.iter().any(|view| view.source == source);
        let cameras = others.iter().map(|&number| source_number(number, Kind::Camera));
        let mut fresh = cameras.filter(|&source| !is_kept(source));
        for view in &mut views {
            let source = match kept.iter().find(|kept| kept.slot == view.slot) {
                Some(kept) => Some(kept.source),
                None => fresh.next(),
            };
            view.source = source.unwrap_or(view.source);
        }
        views
    }

    /// Whether TLS is spoken to the server.
    pub(crate) fn is_secure(&self) -> bool {
        match &self.entry {
            Some(entry) => entry.address(0).is_ok_and(|address| address.is_secure),
            None => self.url.is_secure,
        }
    }

    /// Chance of the point in the `index`th seat, after `life` others: none has the stream numbers of another.
    pub(crate) fn rng(&self, (index, life): (u32, u32)) -> StdRng {
        let place = u64::from(index) + u64::from(life) * u64::from(self.points);
        StdRng::seed_from_u64(self.seed.wrapping_add(place))
    }

    /// What opens the room for a point.
    pub(crate) fn token(&self, index: u32) -> &str {
        let at = index as usize % self.tokens.len().max(1);
        self.tokens.get(at).map_or("", String::as_str)
    }

    /// What a point sends, in the order of its offer.
    pub(crate) fn sources(&self, index: u32) -> &'static [Kind] {
        match self.sends {
            _ if index >= self.senders => &[],
            Sends::Clips if self.layers == 0 => &[Kind::Mic],
            Sends::Clips => &[Kind::Mic, Kind::Camera],
            Sends::Pattern(PatternPlan { sound: true, .. }) => &[Kind::Mic],
            Sends::Pattern(_) => &[Kind::Camera],
        }
    }

    /// Whether a point speaks in a turn: the word goes round.
    pub(crate) fn speaks(&self, index: u32, turn: u64) -> bool {
        let points = u64::from(self.points.max(1));
        let place = (u64::from(index) + turn) % points;
        place < u64::from(self.speakers).min(points)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Five points of which three send.
    pub(crate) fn scenario() -> Scenario {
        Scenario {
            url: "http://127.0.0.1:8080".parse().unwrap(),
            trust: None,
            tokens: vec![String::new()],
            points: 5,
            hold: Duration::ZERO,
            warm: Duration::ZERO,
            expected: None,
            meeting: Duration::ZERO,
            layers: 3,
            slots: 3,
            stage_height: 360,
            thumb_height: 180,
            speakers: 2,
            turn: Duration::ZERO,
            join_pause: Duration::ZERO,
            standing: 0,
            stay: None,
            seed: 1,
            lean: false,
            joined: true,
            verify: 0,
            voices: 6,
            senders: 3,
            sends: Sends::Clips,
            fps: 15,
            all_layers: false,
            watched: Watched::default(),
            entry: None,
        }
    }

    #[test]
    fn a_view_names_each_source_once_and_changes_with_the_turn() {
        let others = [2, 3, 4, 5];
        let mut stages = std::collections::BTreeSet::new();
        for turn in 0..4 {
            let views = scenario().views(0, turn, &others);
            assert_eq!(views.len(), 3);
            assert_eq!((views[0].height, views[1].height), (360, 180));
            let sources: std::collections::BTreeSet<_> = views.iter().map(|view| view.source).collect();
            assert_eq!(sources.len(), 3);
            stages.insert(views[0].source);
        }
        assert_eq!(stages.len(), 4, "everybody comes on the stage");
        assert!(scenario().views(0, 0, &[]).is_empty());
        assert_eq!(scenario().views(3, 9, &[7]).len(), 1);
    }

    #[test]
    fn whom_a_point_sees_stays_while_others_come_and_go() {
        let scenario = scenario();
        let sources = |views: &[View]| views.iter().map(|view| view.source).collect::<Vec<_>>();
        let first = scenario.views_after(&[], 0, 1, &[2, 3, 4]);
        let grown = scenario.views_after(&first, 0, 1, &[1, 2, 3, 4, 5, 6]);
        assert_eq!(grown, first);
        let gone = scenario.views_after(&grown, 0, 1, &[1, 2, 4, 5, 6]);
        let changed = sources(&gone)
            .iter()
            .zip(sources(&grown))
            .filter(|(now, then)| *now != then)
            .count();
        assert_eq!(changed, 1, "only the slot of whoever left");
        let mut unique = sources(&gone);
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), 3);
        let two = scenario.views_after(&gone, 0, 1, &[2]);
        assert_eq!(two.len(), 1);
    }

    #[test]
    fn as_many_speak_as_asked_and_everybody_in_turn() {
        for turn in 0..5 {
            assert_eq!((0..5).filter(|&index| scenario().speaks(index, turn)).count(), 2);
        }
        assert!((0..5).all(|index| (0..5).any(|turn| scenario().speaks(index, turn))));
    }

    #[test]
    fn receivers_share_the_streams() {
        let entry = Entry {
            url: "http://a/whep/room/cam-{n}".to_owned(),
            streams: 2,
            plays: true,
        };
        let paths = [0, 1, 2].map(|index| entry.address(index).unwrap().path);
        assert_eq!(paths, ["1", "2", "1"].map(|n| format!("/whep/room/cam-{n}")));
    }
}
