//! How long a seat is somebody's, and what becomes of it when sessions, media and joins end in any order.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use sfu::{
    control::{
        Command, ControlError, Event, MediaState, Reply, RoomId, RoomPolicy, RoomSnapshot, SeatId,
        SeatSnapshot,
    },
    engine::id::{PointNumber, SourceKind},
};
use signaling::{
    engine::{
        effect::{Effect, Grant},
        id::{Op, SessionId},
        meeting::{AWAY_MAX, Input, Meeting, RETURN_MAX, Request},
        network::LineNames,
        seat::{Claim, Person},
    },
    names::Role,
    protocol::{ClientMessage, ErrorCode, ResumedMedia, ServerMessage, VERSION},
};

const SECOND: Duration = Duration::from_secs(1);

/// A meeting whose node answers when the test says so.
struct Bench {
    meeting: Meeting,
    now: Instant,
    sessions: u64,
    told: Vec<(SessionId, ServerMessage)>,
    granted: Vec<(Claim, Grant)>,
    waiting: Vec<Op>,
    commands: Vec<Command>,
}

fn room() -> RoomId {
    RoomId::try_from("demo".to_owned()).expect("an id")
}

impl Bench {
    fn new() -> Self {
        Self::new_beside(RoomPolicy::default(), None)
    }

    /// Beside a node that knows that of the room.
    fn new_beside(policy: RoomPolicy, known: Option<RoomSnapshot>) -> Self {
        let meeting = Meeting::new(room(), "Demo".into(), policy, LineNames::default());
        let mut bench = Self {
            meeting,
            now: Instant::now(),
            sessions: 0,
            told: Vec::new(),
            granted: Vec::new(),
            waiting: Vec::new(),
            commands: Vec::new(),
        };
        bench.tell(Input::NodeUp { room: known, etag: 1 });
        bench
    }

    /// With a point that is in and has media, its session and its claim.
    fn with_a_point() -> (Self, SessionId, Claim) {
        let mut bench = Self::new();
        let session = bench.enter(false, None);
        bench.join(session);
        bench.answer(true);
        let claim = bench.granted[0].0.clone();
        bench.media(&claim.seat, MediaState::Connected);
        (bench, session, claim)
    }

    fn enter(&mut self, expired: bool, claim: Option<&Claim>) -> SessionId {
        self.sessions += 1;
        let session = SessionId(self.sessions);
        let person = Person {
            subject: "s".into(),
            name: None,
            site: None,
            role: Role::Delegate,
        };
        self.tell(Input::Enter {
            session,
            version: VERSION,
            person,
            expired,
            claim: claim.map(|claim| Ok(Box::new(claim.clone()))),
        });
        session
    }

    fn join(&mut self, session: SessionId) {
        let text = r#"{"type":"join","id":1,"name":"A","profile":"phone","sources":{"mic":"0"},"published":[],"offer":"v=0"}"#;
        let Ok(ClientMessage::Join(join)) = ClientMessage::decode(text) else {
            panic!("a join")
        };
        let seat = SeatId::try_from(format!("s{}", self.sessions)).expect("an id");
        self.ask(session, Request::Join { join, seat });
    }

    fn ask(&mut self, session: SessionId, request: Request) {
        self.tell(Input::Ask { session, request });
    }

    /// To the oldest command that somebody waits for.
    fn answer(&mut self, well: bool) {
        let joined = Reply::Joined {
            answer: "v=0".into(),
            slots: BTreeMap::new(),
            sources: Vec::new(),
        };
        let result = well.then_some(joined).ok_or(ControlError::State);
        let op = self.waiting.remove(0);
        self.tell(Input::NodeReply { op, result });
    }

    fn media(&mut self, seat: &SeatId, state: MediaState) {
        let (room, seat) = (room(), seat.clone());
        self.tell(Input::NodeEvent(Event::Media { room, seat, state }));
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.meeting.handle_timeout(self.now);
        self.drain();
    }

    fn tell(&mut self, input: Input) {
        self.meeting.handle(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(effect) = self.meeting.poll_effect() {
            match effect {
                Effect::Send { to, message } => {
                    self.told
                        .extend(to.into_iter().map(|session| (session, message.clone())));
                }
                Effect::Grant { claim, grant, .. } => self.granted.push((*claim, *grant)),
                Effect::Command { op, command } => {
                    self.waiting.extend(op);
                    self.commands.push(*command);
                }
                Effect::Close { .. } | Effect::Answer { .. } => {}
            }
        }
    }

    /// Codes that a session was refused with.
    fn refused(&self, session: SessionId) -> Vec<ErrorCode> {
        let code = |(to, message): &(SessionId, ServerMessage)| match message {
            ServerMessage::Error { code, .. } | ServerMessage::Bye { code } if *to == session => Some(*code),
            _ => None,
        };
        self.told.iter().filter_map(code).collect()
    }

    fn was_told(&self, session: SessionId, message: &ServerMessage) -> bool {
        self.told
            .iter()
            .any(|(to, told)| *to == session && told == message)
    }

    /// As the last grant says.
    fn resumed(&self) -> ResumedMedia {
        match self.granted.last() {
            Some((_, Grant::Resumed { media, .. })) => *media,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_seat_is_kept_for_a_minute_after_session_and_media_are_both_gone() {
    for media_ends_after in [Duration::ZERO, 30 * SECOND, 600 * SECOND] {
        let (mut bench, session, claim) = Bench::with_a_point();
        bench.tell(Input::Gone { session });
        bench.wait(media_ends_after);
        bench.media(&claim.seat, MediaState::Lost);
        bench.wait(AWAY_MAX - SECOND);
        assert_eq!(bench.meeting.points(), 1, "{media_ends_after:?}");
        bench.wait(SECOND);
        assert_eq!(bench.meeting.points(), 0, "{media_ends_after:?}");
    }
}

#[test]
fn a_token_past_its_end_keeps_a_seat_and_gets_none() {
    // Who is in, or is not known because the server began anew, has the seat again.
    let (mut bench, session, claim) = Bench::with_a_point();
    bench.tell(Input::Gone { session });
    let again = bench.enter(true, Some(&claim));
    assert_eq!(
        (bench.refused(again), bench.resumed()),
        (vec![], ResumedMedia::Kept)
    );
    let mut anew = Bench::new();
    let again = anew.enter(true, Some(&claim));
    assert_eq!(
        (anew.refused(again), anew.resumed()),
        (vec![], ResumedMedia::Lost)
    );
    anew.join(again);
    anew.answer(true);
    assert_eq!(anew.meeting.points(), 1);

    // The line was away, not the person.
    let (mut bench, session, claim) = Bench::with_a_point();
    bench.media(&claim.seat, MediaState::Lost);
    bench.tell(Input::Gone { session });
    bench.wait(AWAY_MAX);
    bench.wait(RETURN_MAX - SECOND);
    assert_eq!(bench.meeting.points(), 0);
    let again = bench.enter(true, Some(&claim));
    assert_eq!((bench.refused(again), bench.meeting.points()), (vec![], 1));

    // Who left, or was away for too long, has not.
    let leaves = |bench: &mut Bench, session| bench.ask(session, Request::Leave);
    let is_away = |bench: &mut Bench, session| {
        bench.media(&claim.seat, MediaState::Lost);
        bench.tell(Input::Gone { session });
        bench.wait(AWAY_MAX);
        bench.wait(RETURN_MAX);
    };
    for ends in [&leaves as &dyn Fn(&mut Bench, SessionId), &is_away] {
        let (mut bench, session, claim) = Bench::with_a_point();
        ends(&mut bench, session);
        assert_eq!(bench.meeting.points(), 0);
        let late = bench.enter(true, Some(&claim));
        bench.join(late);
        assert_eq!(bench.refused(late), [ErrorCode::TokenExpired; 2]);
        let good = bench.enter(false, Some(&claim));
        assert_eq!((bench.refused(good), bench.meeting.points()), (vec![], 1));
    }
}

/// What a node that took every join knows of the room.
fn snapshot(commands: &[Command]) -> RoomSnapshot {
    let joins = commands.iter().filter_map(|command| match command {
        Command::Join(join) => Some(join),
        _ => None,
    });
    let seats: Vec<_> = joins
        .map(|join| SeatSnapshot {
            seat: join.seat.clone(),
            number: join.number,
            seat_note: join.seat_note.clone(),
            published: join.published.clone(),
            connected: true,
            slots: Vec::new(),
        })
        .collect();
    RoomSnapshot {
        room: room(),
        policy: RoomPolicy::default(),
        number_max: seats.len() as u32,
        floor: None,
        speaker: None,
        seats,
    }
}

#[test]
fn who_is_in_for_longer_than_both_tokens_live_has_the_seat_again_after_a_break() {
    let (mut bench, session, claim) = Bench::with_a_point();
    let claim = Claim {
        expired: true,
        ..claim
    };
    bench.tell(Input::Gone { session });
    let again = bench.enter(true, Some(&claim));
    assert_eq!(
        (bench.refused(again), bench.resumed()),
        (vec![], ResumedMedia::Kept)
    );

    // A signaling that began anew knows the seat from the node.
    let mut anew = Bench::new_beside(RoomPolicy::default(), Some(snapshot(&bench.commands)));
    let again = anew.enter(true, Some(&claim));
    assert_eq!(
        (anew.refused(again), anew.resumed()),
        (vec![], ResumedMedia::Kept)
    );

    // Where nobody holds it the token makes none, and two that have ended keep no session open.
    for (expired, sessions) in [(false, 1), (true, 0)] {
        let mut empty = Bench::new();
        let late = empty.enter(expired, Some(&claim));
        assert_eq!(empty.refused(late), [ErrorCode::TokenExpired]);
        assert_eq!((empty.meeting.points(), empty.meeting.sessions()), (0, sessions));
    }
}

#[test]
fn a_cap_that_is_lower_after_a_restart_keeps_newcomers_out_and_throws_nobody_out() {
    let (mut before, ..) = Bench::with_a_point();
    for _ in 1..4 {
        let session = before.enter(false, None);
        before.join(session);
        before.answer(true);
    }
    let policy = RoomPolicy {
        points_max: 3,
        ..RoomPolicy::default()
    };
    let mut after = Bench::new_beside(policy, Some(snapshot(&before.commands)));
    assert_eq!(after.meeting.points(), 4);
    let leaves = |command: &Command| matches!(command, Command::Leave { .. });
    assert!(!after.commands.iter().any(leaves));
    let fifth = after.enter(false, None);
    after.join(fifth);
    assert_eq!(after.refused(fifth), [ErrorCode::RoomFull]);
}

#[test]
fn commands_that_were_lost_are_given_again_and_who_joins_goes_on() {
    let (mut bench, session, claim) = Bench::with_a_point();
    let seated = |claim: &Claim, published: &[SourceKind]| SeatSnapshot {
        seat: claim.seat.clone(),
        number: claim.number,
        seat_note: String::new(),
        published: published.to_vec(),
        connected: true,
        slots: Vec::new(),
    };
    let nobodys = SeatSnapshot {
        seat: SeatId::try_from("left".to_owned()).expect("an id"),
        number: PointNumber::try_from(9).expect("a number"),
        ..seated(&claim, &[])
    };
    let newcomer = bench.enter(false, None);
    bench.join(newcomer);
    bench.commands.clear();
    let snapshot = RoomSnapshot {
        room: room(),
        policy: RoomPolicy::default(),
        number_max: 9,
        floor: None,
        speaker: None,
        seats: vec![seated(&claim, &[SourceKind::Mic]), nobodys.clone()],
    };
    bench.tell(Input::NodeAgain { room: Some(snapshot) });
    let off = Command::SetPublished {
        room: room(),
        seat: claim.seat.clone(),
        source: SourceKind::Mic,
        on: false,
    };
    let view = Command::SetView {
        room: room(),
        seat: claim.seat.clone(),
        wants: Vec::new(),
    };
    let leave = Command::Leave {
        room: room(),
        seat: nobodys.seat,
    };
    for lost in [off, view, leave] {
        assert!(
            bench.commands.contains(&lost),
            "{lost:?} is not in {:?}",
            bench.commands
        );
    }
    assert_eq!(bench.refused(newcomer), []);
    bench.answer(true);
    assert_eq!(bench.meeting.points(), 2);

    // New media of a seat that has some: what the node has of it is the former one's, or is told with the answer.
    bench.join(session);
    bench.tell(Input::NodeAgain { room: None });
    bench.answer(true);
    let lost = ServerMessage::Media {
        state: MediaState::Lost,
    };
    assert!(!bench.was_told(session, &lost));
}

#[test]
fn who_resumes_while_the_former_session_joins_is_told_to_join() {
    let (mut bench, session, claim) = Bench::with_a_point();
    bench.join(session);
    bench.enter(false, Some(&claim));
    assert_eq!(bench.resumed(), ResumedMedia::Lost, "the answer comes to nobody");
    bench.answer(true);
    assert_eq!(bench.granted.len(), 2);
}

#[test]
fn what_happens_while_a_join_is_asked_holds_when_it_is_refused() {
    let publish = Request::Publish {
        source: SourceKind::Mic,
        on: true,
    };
    let (mut bench, session, claim) = Bench::with_a_point();
    bench.join(session);
    bench.media(&claim.seat, MediaState::Lost);
    let lost = ServerMessage::Media {
        state: MediaState::Lost,
    };
    assert!(!bench.was_told(session, &lost), "new media may come");
    bench.answer(false);
    assert!(bench.was_told(session, &lost));

    let (mut bench, session, claim) = Bench::with_a_point();
    bench.join(session);
    bench.ask(session, publish);
    let on = Command::SetPublished {
        room: room(),
        seat: claim.seat,
        source: SourceKind::Mic,
        on: true,
    };
    assert!(!bench.commands.contains(&on));
    bench.answer(false);
    assert!(bench.commands.contains(&on), "of the media it had");
}
