//! The cases: what is played, what is asked, and the goal.

use std::time::Duration;

use super::goal::Goal;
use crate::lean::{PatternPlan, Sizes};

/// One case.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) goal: Goal,
    pub(super) points: u32,
    pub(super) senders: u32,
    pub(super) shape: Shape,
    /// Receivers take the runs that the kernel joins (`UDP_GRO`).
    pub(super) joined: bool,
    /// Shards of the server; nothing: as many as it takes by itself.
    pub(super) shards: Option<u32>,
    /// Of the points, those who are there before the others come.
    pub(super) standing: u32,
    /// How long a point stays on average before another takes its place; nothing: to the end.
    pub(super) stay: Option<Duration>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    /// Each sees all senders.
    Pattern(PatternPlan),
    /// Nobody sends.
    Nothing,
    /// Pictures and voices: the height of the stage, thumbnails, whether what nobody sees is sent.
    Room {
        stage: u16,
        thumbs: usize,
        all_layers: bool,
    },
}

impl Case {
    fn new(name: String, goal: Goal, (points, senders): (u32, u32), shape: Shape) -> Self {
        Self {
            name,
            goal,
            points,
            senders,
            shape,
            joined: true,
            shards: None,
            standing: 0,
            stay: None,
        }
    }

    /// Packets from so many senders to so many others; to none: to each other.
    fn of_packets(senders: u32, receivers: u32, plan: PatternPlan, goal: Goal) -> Self {
        let to = if receivers == 0 { senders } else { receivers };
        let PatternPlan {
            rate, frame, bytes, ..
        } = plan;
        let leave = match (plan.sound, plan.even) {
            (true, _) => "sound".to_owned(),
            (_, true) => "evenly spaced".to_owned(),
            (_, false) => format!("frames of {frame}"),
        };
        let name = format!("{senders} -> {to}, {rate}/s, {bytes} B, {leave}");
        Self::new(name, goal, (senders + receivers, senders), Shape::Pattern(plan))
    }

    /// The case with equal sizes and with sizes as libwebrtc makes them, each with and without `UDP_GRO` at the receivers. Where every packet
    /// is alone, sizes are no matter.
    fn variants(self) -> Vec<Self> {
        let Shape::Pattern(plan) = self.shape else {
            return vec![self];
        };
        let sizes: &[Sizes] = match plan.even {
            true => &[Sizes::Equal],
            false => &[Sizes::Equal, Sizes::Parted],
        };
        let each = sizes.iter().flat_map(|&sizes| {
            [true, false].map(|joined| {
                let part = if sizes == Sizes::Parted {
                    ", libwebrtc's sizes"
                } else {
                    ""
                };
                let take = if joined { "" } else { ", no GRO" };
                Self {
                    name: format!("{}{part}{take}", self.name),
                    shape: Shape::Pattern(PatternPlan { sizes, ..plan }),
                    joined,
                    ..self.clone()
                }
            })
        });
        each.collect()
    }

    /// The same with so many packets a second, if it is of packets.
    pub(super) fn at_rate(&self, rate: u32) -> Self {
        let mut case = self.clone();
        if let Shape::Pattern(plan) = &mut case.shape {
            plan.rate = rate;
        }
        case
    }
}

/// Packets of 1,200 bytes, so many a second, in frames or evenly spaced.
fn packets(rate: u32, frame: u32, even: bool) -> PatternPlan {
    PatternPlan {
        sound: false,
        rate,
        frame,
        even,
        bytes: 1_200,
        sizes: Sizes::Equal,
    }
}

/// A meeting of so many who see a stage at that height, no thumbnails, and hear three voices. One shard forwards all of it: what a packet
/// costs there is what is to grow little.
pub(super) fn plain_meeting(points: u32) -> Case {
    let name = format!("{points} points, stage 360p, 3 voices, one shard");
    let shape = Shape::Room {
        stage: 360,
        thumbs: 0,
        all_layers: false,
    };
    Case {
        shards: Some(1),
        ..Case::new(name, Goal::Growth(1.2), (points, points), shape)
    }
}

/// So many join at once, and those who stand there go on seeing each other.
fn storm(joining: u32, standing: u32) -> Case {
    let (name, points) = (
        format!("{joining} joins at once, {standing} points standing"),
        joining + standing,
    );
    let goal = Goal::Storm {
        max: 5_000.0,
        p99: 3_000.0,
        cpu_ms: 4.0,
        gap_ms: 100.0,
    };
    let shape = Shape::Room {
        stage: 720,
        thumbs: 11,
        all_layers: false,
    };
    Case {
        standing,
        ..Case::new(name, goal, (points, points), shape)
    }
}

/// Seats that are taken over and over by others: what of them stays behind in the server? It takes minutes to see that, so it is played only when asked
/// for by its name.
pub(super) fn soak() -> Case {
    let shape = Shape::Room {
        stage: 360,
        thumbs: 3,
        all_layers: false,
    };
    let name = "soak: 20 points at a time, each for some 10 s";
    Case {
        stay: Some(Duration::from_secs(10)),
        ..Case::new(name.to_owned(), Goal::Flat { percent: 5.0 }, (20, 20), shape)
    }
}

/// All cases but the [`soak`], in the order they are run.
pub(super) fn cases() -> Vec<Case> {
    let sound = PatternPlan {
        sound: true,
        bytes: 160,
        ..packets(50, 1, true)
    };
    // Small ones: no way is taken to carry more than 20 Mb/s, and half a core is more than that in large ones. From many senders: frames
    // that follow each other faster than a camera's are taken for what the node had kept.
    let half = PatternPlan {
        bytes: 300,
        ..packets(60, 5, false)
    };
    let case = |name: &str, goal, points, shape| Case::new(name.to_owned(), goal, points, shape);
    let crowded = Shape::Room {
        stage: 720,
        thumbs: 11,
        all_layers: true,
    };
    let fans = [
        Case::of_packets(1, 100, packets(300, 5, false), Goal::Packet(2.4)),
        Case::of_packets(1, 100, packets(300, 10, false), Goal::Packet(2.4)),
        Case::of_packets(1, 100, packets(600, 20, false), Goal::Packet(2.4)),
        Case::of_packets(1, 100, packets(300, 1, true), Goal::Packet(5.0)),
        Case::of_packets(1, 100, packets(600, 1, true), Goal::Packet(5.0)),
        Case::of_packets(10, 0, packets(150, 5, false), Goal::Packet(4.0)),
        Case::of_packets(1, 200, sound, Goal::Packet(5.0)),
    ];
    let mut cases: Vec<Case> = fans.into_iter().flat_map(Case::variants).collect();
    let mut latency = Case::of_packets(10, 100, half, Goal::Latency { p50: 0.5, p99: 3.0 });
    latency.name = "latency at half load: 10 -> 100, 300 B, frames of 5".to_owned();
    cases.push(latency);
    cases.push(case(
        "100 idle points",
        Goal::Idle(0.06),
        (100, 0),
        Shape::Nothing,
    ));
    cases.extend([50, 200, 500].map(plain_meeting));
    cases.push(case(
        "M239: 239 points, all layers, stage 720p, 11 thumbnails, 3 voices",
        Goal::Meeting { p99: 20.0, kb: 150.0 },
        (239, 239),
        crowded,
    ));
    cases.push(storm(239, 20));
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_have_names_of_their_own_and_more_points_than_senders_where_somebody_only_looks() {
        let cases = cases();
        let names: std::collections::BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(names.len(), cases.len());
        assert!(cases.iter().all(|case| case.senders <= case.points));
    }

    #[test]
    fn growth_is_compared_on_one_shard_and_a_storm_comes_upon_somebody() {
        for case in cases() {
            let of_growth = matches!(case.goal, Goal::Growth(_));
            assert_eq!(case.shards, of_growth.then_some(1), "{}", case.name);
            assert_eq!(case.name.ends_with("one shard"), of_growth, "{}", case.name);
            let of_storm = matches!(case.goal, Goal::Storm { .. });
            assert_eq!(case.standing > 0, of_storm, "{}", case.name);
        }
    }
}
