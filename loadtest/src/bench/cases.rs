//! The cases: what is played, what is asked, and the goal.

use crate::lean::PatternPlan;

/// What a case is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asks {
    /// What a packet costs.
    Packet,
    /// What a point costs that is there and silent.
    Idle,
    /// What a whole meeting comes to.
    Meeting,
    /// How a crowd joins.
    Storm,
}

/// One case.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) goal: &'static str,
    pub(super) asks: Asks,
    pub(super) points: u32,
    pub(super) senders: u32,
    pub(super) shape: Shape,
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
    fn new(
        name: String,
        goal: &'static str,
        asks: Asks,
        (points, senders): (u32, u32),
        shape: Shape,
    ) -> Self {
        Self {
            name,
            goal,
            asks,
            points,
            senders,
            shape,
        }
    }

    /// Packets of 1,200 bytes from so many senders to so many others; to none: to each other.
    fn of_packets(
        senders: u32,
        receivers: u32,
        rate: u32,
        frame: u32,
        even: bool,
        goal: &'static str,
    ) -> Self {
        let plan = PatternPlan {
            sound: false,
            rate,
            frame,
            even,
            bytes: 1_200,
        };
        let to = if receivers == 0 { senders } else { receivers };
        let leave = match even {
            true => "evenly spaced".to_owned(),
            false => format!("frames of {frame}"),
        };
        let name = format!("{senders} -> {to}, {rate}/s, 1200 B, {leave}");
        Self::new(
            name,
            goal,
            Asks::Packet,
            (senders + receivers, senders),
            Shape::Pattern(plan),
        )
    }
}

/// All cases, in the order they are run.
pub(super) fn cases() -> Vec<Case> {
    let sound = PatternPlan {
        sound: true,
        rate: 50,
        frame: 1,
        even: true,
        bytes: 160,
    };
    let case = |name: &str, goal, asks, points, shape| Case::new(name.to_owned(), goal, asks, points, shape);
    let room = |stage, thumbs, all_layers| Shape::Room {
        stage,
        thumbs,
        all_layers,
    };
    let sizes = [50, 200, 500].map(|points| {
        let name = format!("{points} points, stage 360p, 3 voices");
        let shape = room(360, 0, false);
        Case::new(name, "+20 % at most", Asks::Packet, (points, points), shape)
    });
    let whole = "M239: 239 points, all layers, stage 720p, 11 thumbnails, 3 voices";
    let mut cases = vec![
        Case::of_packets(1, 100, 300, 5, false, "2.4 us"),
        Case::of_packets(1, 100, 300, 10, false, "2.4 us"),
        Case::of_packets(1, 100, 600, 20, false, "2.4 us"),
        Case::of_packets(1, 100, 300, 10, true, "5 us"),
        Case::of_packets(10, 0, 150, 5, false, "4 us"),
        case(
            "sound 1 -> 200, 50/s, 160 B",
            "5 us",
            Asks::Packet,
            (201, 1),
            Shape::Pattern(sound),
        ),
        case(
            "100 idle points",
            "0.06 ms/s each",
            Asks::Idle,
            (100, 0),
            Shape::Nothing,
        ),
    ];
    cases.extend(sizes);
    cases.push(case(
        whole,
        "0 lost, p99 20 ms",
        Asks::Meeting,
        (239, 239),
        room(720, 11, true),
    ));
    let crowd = room(720, 11, false);
    cases.push(case(
        "239 joins at once",
        "p99 3 s, 4 ms each",
        Asks::Storm,
        (239, 239),
        crowd,
    ));
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
}
