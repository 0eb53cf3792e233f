//! A meeting under any order of what people and the node may do: every page's copy of the roster stays equal, without
//! gaps, numbers belong to one seat for ever, reconciling twice changes nothing; and every HTTP request has one answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use proptest::prelude::*;
use sfu::control::{
    Command, ControlError, Event, MediaState, Reply, RoomId, RoomPolicy, RoomSnapshot, SeatId, SeatSnapshot,
};
use sfu::engine::id::PointNumber;
use signaling::{
    engine::{
        effect::{Answer, Effect, Grant},
        id::{AskerId, Op, SessionId},
        meeting::{Input, Meeting, Request},
        network::LineNames,
        seat::{Claim, Person},
        whep::Played,
        whip::{Ask, Key, Protocol},
    },
    names::Role,
    protocol::{Change, ClientMessage, Offer, Point, ServerMessage},
};

/// What a page knows: points by number, the last change in them, who has the floor.
type Known = (BTreeMap<u32, Point>, u64, Option<PointNumber>);

#[derive(Debug, Clone)]
enum Step {
    Enter(u8),
    Resume(u8, u8),
    Join(u8),
    Publish(u8, bool),
    GiveFloor(u8, u8),
    TakeFloor(u8),
    Leave(u8),
    Gone(u8),
    Whip,
    Whep(u8),
    End(u8),
    Reply(bool),
    Media(u8, bool),
    NodeDown,
    NodeUp,
    NodeAgain,
    Wait(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let session = 0..5_u8;
    prop_oneof![
        3 => session.clone().prop_map(Step::Enter),
        2 => (session.clone(), 0..4_u8).prop_map(|(s, c)| Step::Resume(s, c)),
        4 => session.clone().prop_map(Step::Join),
        2 => (session.clone(), any::<bool>()).prop_map(|(s, on)| Step::Publish(s, on)),
        2 => (session.clone(), 1..8_u8).prop_map(|(s, n)| Step::GiveFloor(s, n)),
        1 => session.clone().prop_map(Step::TakeFloor),
        1 => session.clone().prop_map(Step::Leave),
        2 => session.clone().prop_map(Step::Gone),
        2 => Just(Step::Whip),
        2 => (0..8_u8).prop_map(Step::Whep),
        1 => (0..8_u8).prop_map(Step::End),
        6 => any::<bool>().prop_map(Step::Reply),
        3 => (session, any::<bool>()).prop_map(|(s, up)| Step::Media(s, up)),
        1 => Just(Step::NodeDown),
        1 => Just(Step::NodeUp),
        1 => Just(Step::NodeAgain),
        1 => (0..90_u8).prop_map(Step::Wait),
    ]
}

/// The node, the pages and what must hold.
struct World {
    meeting: Meeting,
    now: Instant,
    /// Session of each of the five people, and how many there were.
    open: [Option<SessionId>; 5],
    sessions: u64,
    copies: BTreeMap<SessionId, Known>,
    /// Who has the floor, as the node was told.
    floor: Option<PointNumber>,
    waiting: Vec<(Op, Command)>,
    seats: BTreeMap<SeatId, SeatSnapshot>,
    owners: BTreeMap<u32, SeatId>,
    claims: Vec<Claim>,
    /// HTTP requests without an answer, with the session that they are to make; and how many there were.
    asking: BTreeMap<AskerId, Option<(Protocol, SeatId)>>,
    askers: u64,
    /// What they made, whether it is there still or not.
    made: Vec<(Protocol, SeatId)>,
    /// Seats that the node was told to give up and not told of again.
    left: BTreeSet<SeatId>,
}

fn policy() -> RoomPolicy {
    RoomPolicy {
        points_max: 4,
        players_max: 2,
        ..RoomPolicy::default()
    }
}

impl World {
    fn new() -> Self {
        let id = RoomId::try_from("demo".to_owned()).expect("an id");
        Self {
            meeting: Meeting::new(id, "Demo".into(), policy(), LineNames::default()),
            now: Instant::now(),
            open: [None; 5],
            sessions: 0,
            copies: BTreeMap::new(),
            floor: None,
            waiting: Vec::new(),
            seats: BTreeMap::new(),
            owners: BTreeMap::new(),
            claims: Vec::new(),
            asking: BTreeMap::new(),
            askers: 0,
            made: Vec::new(),
            left: BTreeSet::new(),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Enter(who) => self.enter(who, None),
            Step::Resume(who, claim) => {
                if let Some(claim) = self.claims.iter().rev().nth(usize::from(claim)).cloned() {
                    self.enter(who, Some(Ok(Box::new(claim))));
                }
            }
            Step::Join(who) => {
                let text = r#"{"type":"join","id":1,"name":"A","profile":"phone","sources":{"mic":"0"},"published":["mic"],"offer":"v=0"}"#;
                let Ok(ClientMessage::Join(join)) = ClientMessage::decode(text) else {
                    panic!("a join")
                };
                let seat = SeatId::try_from(format!("s{}", self.sessions * 1000 + self.owners.len() as u64))
                    .expect("an id");
                self.ask(who, Request::Join { join, seat });
            }
            Step::Publish(who, on) => {
                self.ask(
                    who,
                    Request::Publish {
                        source: sfu::engine::id::SourceKind::Mic,
                        on,
                    },
                );
            }
            Step::GiveFloor(who, number) => {
                let point = PointNumber::try_from(u32::from(number)).expect("a number");
                self.ask(who, Request::GiveFloor { id: 7, point });
            }
            Step::TakeFloor(who) => self.ask(who, Request::TakeFloor { id: 7 }),
            Step::Leave(who) => self.ask(who, Request::Leave),
            Step::Gone(who) => {
                if let Some(session) = self.open[usize::from(who)].take() {
                    self.copies.remove(&session);
                    self.tell(Input::Gone { session });
                }
            }
            Step::Whip => self.http(Protocol::Whip, 0),
            Step::Whep(number) => self.http(Protocol::Whep, number),
            Step::End(index) => {
                let Some((protocol, seat)) = self.made.get(usize::from(index)).cloned() else {
                    return;
                };
                let subject = "s".into();
                let key = Key {
                    protocol,
                    seat,
                    subject,
                };
                self.ask_http(Ask::End { key }, None);
            }
            Step::Reply(well) => self.reply(well),
            Step::Media(index, up) => {
                let Some(seat) = self.seats.keys().nth(usize::from(index)).cloned() else {
                    return;
                };
                let state = if up {
                    MediaState::Connected
                } else {
                    MediaState::Lost
                };
                if !up {
                    self.seats.remove(&seat);
                }
                let room = RoomId::try_from("demo".to_owned()).expect("an id");
                self.tell(Input::NodeEvent(Event::Media { room, seat, state }));
            }
            Step::NodeDown => {
                self.waiting.clear();
                self.tell(Input::NodeDown);
            }
            Step::NodeUp => {
                self.waiting.clear();
                self.tell(Input::NodeUp {
                    room: Some(self.snapshot()),
                    etag: 1,
                });
            }
            Step::NodeAgain => self.tell(Input::NodeAgain {
                room: Some(self.snapshot()),
            }),
            Step::Wait(seconds) => {
                self.now += Duration::from_secs(seconds.into());
                self.meeting.handle_timeout(self.now);
                self.drain();
            }
        }
    }

    fn enter(&mut self, who: u8, claim: Option<Result<Box<Claim>, signaling::protocol::ErrorCode>>) {
        self.step(Step::Gone(who));
        self.sessions += 1;
        let session = SessionId(self.sessions);
        self.open[usize::from(who)] = Some(session);
        let person = Person {
            subject: "s".into(),
            name: None,
            site: None,
            role: Role::Secretary,
        };
        self.tell(Input::Enter {
            session,
            version: signaling::protocol::VERSION,
            person,
            expired: false,
            claim,
        });
    }

    fn ask(&mut self, who: u8, request: Request) {
        if let Some(session) = self.open[usize::from(who)] {
            self.tell(Input::Ask { session, request });
        }
    }

    /// Number 0 is the stage.
    fn http(&mut self, protocol: Protocol, number: u8) {
        let person = Person {
            subject: "s".into(),
            name: None,
            site: None,
            role: Role::Delegate,
        };
        let seat = SeatId::try_from(format!("h{}", self.askers)).expect("an id");
        let offer = Offer::try_from("v=0".to_owned()).expect("an offer");
        let made = Some((protocol, seat.clone()));
        let played = PointNumber::try_from(u32::from(number)).map_or(Played::Stage, Played::Number);
        let ask = match protocol {
            Protocol::Whip => Ask::Publish {
                person,
                name: None,
                seat,
                offer,
            },
            Protocol::Whep => Ask::Play {
                person,
                played,
                seat,
                offer,
            },
        };
        self.ask_http(ask, made);
    }

    fn ask_http(&mut self, ask: Ask, made: Option<(Protocol, SeatId)>) {
        let asker = AskerId(self.askers);
        self.askers += 1;
        self.asking.insert(asker, made);
        self.tell(Input::Http { asker, ask });
    }

    fn reply(&mut self, well: bool) {
        if self.waiting.is_empty() {
            return;
        }
        let (op, command) = self.waiting.remove(0);
        let Command::Join(join) = command else {
            panic!("only joins are asked here")
        };
        if !well {
            return self.tell(Input::NodeReply {
                op,
                result: Err(ControlError::Unavailable),
            });
        }
        let snapshot = SeatSnapshot {
            seat: join.seat.clone(),
            number: join.number,
            seat_note: join.seat_note,
            published: join.published,
            connected: false,
            slots: vec![],
        };
        if !self.left.contains(&join.seat) {
            self.seats.insert(join.seat, snapshot);
        }
        self.tell(Input::NodeReply {
            op,
            result: Ok(Reply::Joined {
                answer: "v=0".into(),
                slots: BTreeMap::new(),
                sources: Vec::new(),
            }),
        });
    }

    fn snapshot(&self) -> RoomSnapshot {
        RoomSnapshot {
            room: RoomId::try_from("demo".to_owned()).expect("an id"),
            policy: policy(),
            number_max: 0,
            floor: self.floor,
            speaker: None,
            seats: self.seats.values().cloned().collect(),
        }
    }

    fn tell(&mut self, input: Input) {
        self.meeting.handle(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(effect) = self.meeting.poll_effect() {
            match effect {
                Effect::Send { to, message } => {
                    for session in to {
                        assert!(
                            self.open.contains(&Some(session)),
                            "nothing is sent to a session that is gone"
                        );
                        self.deliver(session, &message);
                    }
                }
                Effect::Grant { to, claim, grant } => {
                    let (Grant::Joined {
                        points,
                        sequence,
                        floor,
                        ..
                    }
                    | Grant::Resumed {
                        points,
                        sequence,
                        floor,
                        ..
                    }) = *grant;
                    assert!(
                        points.iter().any(|point| point.number == claim.number),
                        "oneself is in the list"
                    );
                    let points = points
                        .into_iter()
                        .map(|point| (point.number.get(), point))
                        .collect();
                    self.copies.insert(to, (points, sequence, floor));
                    self.claims.push(*claim);
                }
                Effect::Close { session, .. } => {
                    self.copies.remove(&session);
                    for open in &mut self.open {
                        *open = open.filter(|&known| known != session);
                    }
                }
                Effect::Answer { to, result } => {
                    let asked = self.asking.remove(&to).expect("asked, and not answered yet");
                    if let Ok(Answer::Created { .. }) = result {
                        self.made.extend(asked);
                    }
                }
                Effect::Command { op, command } => self.command(op, *command),
            }
        }
    }

    fn deliver(&mut self, session: SessionId, message: &ServerMessage) {
        if let ServerMessage::Floor { number } = message {
            let (.., floor) = self.copies.get_mut(&session).expect("has a seat");
            assert_ne!(floor, number, "only news are told");
            *floor = *number;
        }
        let ServerMessage::Point {
            sequence,
            change,
            point,
        } = message
        else {
            return;
        };
        let Some((points, known, _)) = self.copies.get_mut(&session) else {
            panic!("who has no seat learns nothing of the roster");
        };
        assert_eq!(*sequence, *known + 1, "no gap, nothing twice");
        *known = *sequence;
        match change {
            Change::Left => assert!(points.remove(&point.number.get()).is_some()),
            Change::Joined => assert!(points.insert(point.number.get(), point.clone()).is_none()),
            Change::Changed => assert!(points.insert(point.number.get(), point.clone()).is_some()),
        }
    }

    fn command(&mut self, op: Option<Op>, command: Command) {
        match &command {
            Command::Join(join) => {
                let owner = self
                    .owners
                    .entry(join.number.get())
                    .or_insert_with(|| join.seat.clone());
                assert_eq!(*owner, join.seat, "a number is one seat's for ever");
                self.left.remove(&join.seat);
            }
            Command::Leave { seat, .. } => {
                self.seats.remove(seat);
                // The node takes commands in order: a join that it has not answered yet came before this.
                self.left.insert(seat.clone());
            }
            Command::SetFloor { number, .. } => self.floor = *number,
            _ => {}
        }
        if let Some(op) = op {
            self.waiting.push((op, command));
        }
    }

    fn check(&self) {
        let copies: BTreeSet<String> = self.copies.values().map(|copy| format!("{copy:?}")).collect();
        assert!(copies.len() <= 1, "all pages see the same: {copies:#?}");
        if let Some((points, _, floor)) = self.copies.values().next() {
            assert_eq!(points.len(), self.meeting.points());
            assert!(floor.is_none_or(|number| points.contains_key(&number.get())));
            assert_eq!(*floor, self.floor, "the node knows what the pages know");
        }
        assert!(self.meeting.points() <= 4, "the cap holds");
        assert!(self.meeting.players() <= 2, "that of players too");
        assert!(self.meeting.publishers() <= self.meeting.points());
        assert!(
            self.asking.len() <= self.waiting.len(),
            "whoever waits, waits for the node"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_order_keeps_all_copies_equal_and_reconciling_twice_changes_nothing(
        steps in prop::collection::vec(step(), 1..60)
    ) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
            world.check();
        }
        world.step(Step::NodeUp);
        let before: Vec<_> = world.copies.values().map(|(_, sequence, floor)| (*sequence, *floor)).collect();
        world.step(Step::NodeUp);
        let after: Vec<_> = world.copies.values().map(|(_, sequence, floor)| (*sequence, *floor)).collect();
        prop_assert_eq!(before, after);
    }
}

/// A room of four was full of media when signaling restarted, and somebody who had left came back before the node did.
#[test]
fn running_media_comes_before_a_claimed_seat() {
    let mut before = World::new();
    for who in 0..4 {
        before.step(Step::Enter(who));
        before.step(Step::Join(who));
        before.step(Step::Reply(true));
    }
    let former = before.claims.remove(0);
    before.step(Step::Leave(0));
    before.step(Step::Enter(4));
    before.step(Step::Join(4));
    before.step(Step::Reply(true));

    let mut after = World::new();
    after.seats = before.seats;
    after.claims.push(former);
    after.step(Step::Resume(0, 0));
    assert_eq!(after.meeting.points(), 1);
    after.step(Step::NodeUp);
    after.check();
    assert_eq!(after.meeting.points(), 4, "the four whose media runs");
    assert_eq!(
        after.open[0], None,
        "the fifth is sent away, to come back like anybody else"
    );
}
