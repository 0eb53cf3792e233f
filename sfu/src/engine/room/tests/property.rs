//! Any loss, reordering, duplication and any views: what a decoder relies on holds.

use proptest::prelude::*;

use super::{super::*, kit::*, received::*};

#[derive(Debug, Clone)]
enum Step {
    /// Both cameras send a picture in all layers; packets meet the fates in turn.
    Picture { key: bool },
    /// The receiver wants another source or height on its stage.
    View { source: u32, height: u16 },
    /// A camera's upper layers stop or start.
    Layers(u8),
    /// Its camera goes off and on.
    Blink(u32),
    /// Everything that waits arrives.
    Settle,
}

/// What happens to a packet on the way in.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Arrive,
    Twice,
    Lost,
    /// So many pictures late.
    Late(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        30 => prop::bool::weighted(0.1).prop_map(|key| Step::Picture { key }),
        4 => (2u32..=3, prop_oneof![Just(90u16), Just(300), Just(720)])
            .prop_map(|(source, height)| Step::View { source, height }),
        1 => (1u8..=3).prop_map(Step::Layers),
        1 => (2u32..=3).prop_map(Step::Blink),
        2 => Just(Step::Settle),
    ]
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        80 => Just(Fate::Arrive),
        5 => Just(Fate::Twice),
        5 => Just(Fate::Lost),
        10 => (1usize..4).prop_map(Fate::Late),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_slot_is_one_straight_stream(
        steps in prop::collection::vec(step(), 1..120),
        fates in prop::collection::vec(fate(), 101),
    ) {
        let mut kit = Kit::new(3);
        kit.view(0, &[want(0, camera(2), 720), want(1, camera(3), 90)]);
        let mut waiting: Vec<(usize, u32, Made)> = Vec::new();
        let mut fates = fates.into_iter().cycle();
        for step in steps {
            match step {
                Step::Picture { key } => picture(&mut kit, key, &mut fates, &mut waiting),
                Step::View { source, height } => {
                    kit.view(0, &[want(0, camera(source), height), want(1, camera(5 - source), 90)]);
                }
                Step::Layers(layers) => kit.layers = layers,
                Step::Blink(number) => {
                    settle(&mut kit, &mut waiting);
                    for on in [false, true] {
                        kit.input(Input::Published(EndpointId(number), SourceKind::Camera, on));
                    }
                }
                Step::Settle => settle(&mut kit, &mut waiting),
            }
        }
        settle(&mut kit, &mut waiting);
        check_continuity(kit.placed(1), &kit.lost);
    }
}

fn picture(
    kit: &mut Kit,
    key: bool,
    fates: &mut impl Iterator<Item = Fate>,
    waiting: &mut Vec<(usize, u32, Made)>,
) {
    for number in [2, 3] {
        let key = kit.take_asked(number) || key;
        for layer in 0..kit.layers {
            for made in kit.encode(number, layer, key) {
                match fates.next().unwrap() {
                    Fate::Arrive => kit.arrive(number, &made),
                    Fate::Twice => (0..2).for_each(|_| kit.arrive(number, &made)),
                    Fate::Lost => kit.lose(&made),
                    Fate::Late(pictures) => waiting.push((pictures, number, made)),
                }
            }
        }
    }
    kit.advance(FRAME_MS);
    let due = |entry: &mut (usize, u32, Made)| {
        entry.0 -= 1;
        entry.0 == 0
    };
    let (now, later): (Vec<_>, Vec<_>) = std::mem::take(waiting)
        .into_iter()
        .map(|mut entry| (due(&mut entry), entry))
        .partition(|(due, _)| *due);
    waiting.extend(later.into_iter().map(|(_, entry)| entry));
    now.iter()
        .for_each(|(_, (_, number, made))| kit.arrive_late(*number, made));
}

fn settle(kit: &mut Kit, waiting: &mut Vec<(usize, u32, Made)>) {
    std::mem::take(waiting)
        .iter()
        .for_each(|(_, number, made)| kit.arrive_late(*number, made));
}
