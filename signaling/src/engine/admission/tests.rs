//! The door in virtual time.

use proptest::prelude::*;

use super::*;
use crate::protocol::ClientMessage;

fn asking(session: u64, id: u32, offer_bytes: usize) -> Asking {
    let text = format!(
        r#"{{"type":"join","id":{id},"name":"An","profile":"phone","sources":{{"mic":"0"}},"published":[],"offer":"{}"}}"#,
        "x".repeat(offer_bytes)
    );
    let Ok(ClientMessage::Join(join)) = ClientMessage::decode(&text) else {
        panic!("a join")
    };
    Asking {
        session: SessionId(session),
        join,
        seat: SeatId::try_from(format!("{session}")).expect("a seat"),
    }
}

#[allow(clippy::disallowed_methods, reason = "any moment will do to begin with")]
fn base() -> Instant {
    Instant::now()
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Who passed at that moment, in order.
fn passed(door: &mut Admission, now: Instant) -> Vec<u64> {
    std::iter::from_fn(|| door.poll_passed(now))
        .map(|a| a.session.0)
        .collect()
}

fn told(door: &mut Admission, now: Instant) -> Vec<(u64, u32)> {
    door.places(now).map(|p| (p.session.0, p.place)).collect()
}

#[test]
fn the_cap_refuses_newcomers() {
    let policy = RoomPolicy {
        points_max: 2,
        ..RoomPolicy::default()
    };
    assert_eq!(decide(Role::Guest, 1, &policy), Ok(()));
    assert_eq!(decide(Role::Guest, 2, &policy), Err(ErrorCode::RoomFull));
}

#[test]
fn a_whole_province_passes_at_once_and_the_rest_in_line_at_the_rate() {
    let (mut door, start) = (Admission::new(Pace::default()), base());
    let mut places = Vec::new();
    let mut at_once = 0;
    for session in 0..500 {
        match door.ask(start, asking(session, 1, 10)) {
            Answer::Passes(_) => at_once += 1,
            Answer::Waits {
                place,
                replaced: None,
            } => places.push(place),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((at_once, places), (300, (1..=200).collect::<Vec<u32>>()));
    let mut got = Vec::new();
    for millisecond in 0..=1_000 {
        got.extend(passed(&mut door, start + ms(millisecond)));
    }
    assert_eq!(
        got,
        (300..500).collect::<Vec<u64>>(),
        "in the order they came, in a second"
    );
    assert_eq!(
        door.poll_timeout(start + ms(1_000)),
        None,
        "nobody waits, nothing to do"
    );
    // After the rush one passes every 5 ms, and after a long pause the bucket is no fuller than it can be.
    assert!(matches!(
        door.ask(start + ms(1_000), asking(500, 1, 10)),
        Answer::Waits { place: 1, .. }
    ));
    assert_eq!(passed(&mut door, start + ms(1_005)), [500]);
    let later = start + Duration::from_secs(3_600);
    let free = (0..400).filter(|&s| matches!(door.ask(later, asking(1_000 + s, 1, 10)), Answer::Passes(_)));
    assert_eq!(free.count(), 300);
}

#[test]
fn everybody_in_line_is_told_its_place_once_a_second() {
    let pace = Pace {
        per_second: 1,
        burst: 1,
    };
    let (mut door, start) = (Admission::new(pace), base());
    for session in 0..4 {
        door.ask(start, asking(session, 1, 10));
    }
    assert_eq!(told(&mut door, start + ms(999)), []);
    assert_eq!(door.poll_timeout(start), Some(start + ms(1_000)));
    assert_eq!(passed(&mut door, start + ms(1_000)), [1]);
    assert_eq!(told(&mut door, start + ms(1_000)), [(2, 1), (3, 2)]);
    assert_eq!(told(&mut door, start + ms(1_001)), [], "told already");
    assert_eq!(passed(&mut door, start + ms(2_000)), [2]);
    assert_eq!(told(&mut door, start + ms(2_000)), [(3, 1)]);
    assert_eq!(passed(&mut door, start + ms(3_000)), [3]);
    assert_eq!(
        (told(&mut door, start + ms(4_000)), door.poll_timeout(start)),
        (vec![], None)
    );
}

#[test]
fn whoever_goes_makes_room_and_whoever_asks_again_keeps_its_place() {
    let pace = Pace {
        per_second: 1,
        burst: 1,
    };
    let (mut door, start) = (Admission::new(pace), base());
    for session in 0..4 {
        door.ask(start, asking(session, 7, 10));
    }
    let again = door.ask(start, asking(2, 8, 20));
    assert_eq!(
        again,
        Answer::Waits {
            place: 2,
            replaced: Some(7)
        }
    );
    door.forget(SessionId(1));
    door.forget(SessionId(77));
    let now = start + ms(1_000);
    let passing = door.poll_passed(now).expect("its turn");
    assert_eq!((passing.session, passing.join.id), (SessionId(2), 8));
    assert_eq!(told(&mut door, now), [(3, 1)]);
}

#[test]
fn a_join_in_line_says_what_is_published_when_its_turn_comes() {
    let pace = Pace {
        per_second: 1,
        burst: 1,
    };
    let (mut door, start) = (Admission::new(pace), base());
    assert!(!door.publish(SessionId(1), SourceKind::Mic, true), "nobody waits");
    door.ask(start, asking(0, 1, 10));
    door.ask(start, asking(1, 1, 10));
    assert!(door.publish(SessionId(1), SourceKind::Mic, true));
    assert!(
        door.publish(SessionId(1), SourceKind::Camera, true),
        "not in the offer: passed over"
    );
    let passing = door.poll_passed(start + ms(1_000)).expect("its turn");
    assert_eq!(Vec::from_iter(passing.join.published), [SourceKind::Mic]);
}

#[test]
fn the_line_is_bounded_in_joins_and_in_bytes() {
    let pace = Pace {
        per_second: 1,
        burst: 1,
    };
    let start = base();
    for (bytes, expected) in [(10, LINE_MAX), (200_000, LINE_BYTES_MAX / 200_000)] {
        let mut door = Admission::new(pace);
        let answers = (0..1_200).map(|session| door.ask(start, asking(session, 1, bytes)));
        let waits = answers
            .filter(|answer| matches!(answer, Answer::Waits { .. }))
            .count();
        assert_eq!(
            (waits, door.waiting()),
            (expected, expected),
            "{bytes} bytes each"
        );
        // Room again as soon as somebody goes.
        door.forget(SessionId(1));
        assert!(matches!(
            door.ask(start, asking(5_000, 1, bytes)),
            Answer::Waits { .. }
        ));
    }
}

proptest! {
    /// However they come and go: never more than the bucket has pass, nobody overtakes, and whoever waits has a time.
    #[test]
    fn no_more_pass_than_the_bucket_has_and_in_order(
        pace in (1_u16..50, 1_u16..20),
        steps in prop::collection::vec((0_u64..200, 0_u64..12, 0_u8..4), 1..200),
    ) {
        let pace = Pace { per_second: pace.0, burst: pace.1 };
        let (mut door, start) = (Admission::new(pace), base());
        let (mut now, mut passes, mut asked, mut next) = (start, 0_u64, Vec::new(), 0_u64);
        for (wait, session, what) in steps {
            now += ms(wait);
            while let Some(passing) = door.poll_passed(now) {
                prop_assert_eq!(Some(passing.session.0), asked.first().copied(), "in order");
                asked.remove(0);
                passes += 1;
            }
            if what == 0 {
                let gone = asked.get(session as usize).copied().unwrap_or(u64::MAX);
                door.forget(SessionId(gone));
                asked.retain(|&other| other != gone);
            } else {
                next += 1;
                match door.ask(now, asking(next, 1, 10)) {
                    Answer::Passes(_) => {
                        prop_assert!(asked.is_empty(), "it overtook the line");
                        passes += 1;
                    }
                    Answer::Waits { place, .. } => {
                        asked.push(next);
                        prop_assert_eq!(place as usize, asked.len());
                    }
                    Answer::Full(_) => prop_assert!(false, "far from full"),
                }
            }
            let most = u128::from(pace.burst) + (now - start).as_nanos() * u128::from(pace.per_second) / 1_000_000_000 + 1;
            prop_assert!(u128::from(passes) <= most, "{passes} of {most}");
            prop_assert_eq!(door.waiting(), asked.len());
            prop_assert_eq!(door.poll_timeout(now).is_some(), !asked.is_empty());
        }
    }
}
