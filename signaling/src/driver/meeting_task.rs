//! The one task that owns all meetings. Everybody else talks to it by message, so there is no lock and no second truth.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Instant,
};

use sfu::control::{Command, ControlError, Network, RoomId, RoomPolicy, RoomSnapshot};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::{
    auth::{self, Keys},
    calls::{Call, Calls, News},
    config::RoomConfig,
    metrics::Metrics,
    outbox::Outbox,
};
use crate::{
    engine::{
        admission::{Admission, Answer as Turn, Asking, Pace, Place},
        effect::{Answer, Effect, Refusal},
        id::{AskerId, Op, SessionId},
        meeting::{Input, Meeting, Request},
        network::LineNames,
        seat::{Claim, Person},
        whip::Ask,
    },
    protocol::{CloseCode, ErrorCode, ServerMessage},
};

/// Messages waiting for the task. Full: senders wait, so that sessions are read more slowly.
const QUEUE_LEN: usize = 4096;

/// The protocol's first version in which a client is told its place in line.
const VERSION_WITH_PLACES: u16 = 3;
/// Most sessions of WHIP and WHEP in all rooms. Above it a new one is refused as [`ErrorCode::RateLimited`].
const HTTP_SESSIONS_MAX: usize = 1_000;

/// Most requests for WHIP and WHEP that wait for the node. Above it a new one is refused as [`ErrorCode::Unavailable`].
const ASKING_MAX: usize = 1_000;

/// Something the task is told.
#[derive(Debug)]
pub enum Message {
    /// A session showed a good token.
    Enter {
        /// Which.
        session: SessionId,
        /// Of the protocol, as its `hello` says.
        version: u16,
        /// The token's room.
        room: RoomId,
        /// Whose.
        person: Person,
        /// The token is past its end.
        expired: bool,
        /// Its resume token, if it brought one: the seat it claims, or why not.
        claim: Option<Result<Box<Claim>, ErrorCode>>,
        /// How to tell it something.
        outbox: Outbox,
    },
    /// A session asks.
    Ask {
        /// Which.
        session: SessionId,
        /// What.
        request: Request,
    },
    /// A request for WHIP or WHEP.
    Http {
        /// Where.
        room: RoomId,
        /// What is asked.
        ask: Ask,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<Answer, Refusal>>,
    },
    /// A session's socket is closed.
    Gone {
        /// Which.
        session: SessionId,
    },
    /// News of the node.
    Media(News),
    /// The server stops: every session is closed with 1001. Answered when they were told.
    Stop {
        /// Told.
        done: oneshot::Sender<()>,
    },
}

/// The door to the task.
pub type Sender = mpsc::Sender<Message>;

/// Starts the task, which ends only with the process, with the rooms of the configuration, how fast they let people in, and the lines that meetings share.
pub fn start(
    (rooms, pace): (&[RoomConfig], Pace),
    (network, line_names): (Network, LineNames),
    keys: Arc<Keys>,
    calls: Calls,
    metrics: Arc<Metrics>,
) -> (Sender, JoinHandle<()>) {
    let (sender, receiver) = mpsc::channel(QUEUE_LEN);
    let rooms = rooms.iter().map(|room| {
        let policy = RoomPolicy {
            points_max: room.points_max,
            players_max: room.players_max,
            video: room.video.clone(),
            ..RoomPolicy::default()
        };
        (
            room.id.clone(),
            Meeting::new(room.id.clone(), room.title.clone(), policy, line_names.clone()),
        )
    });
    let task = Task {
        rooms: rooms.collect(),
        sessions: HashMap::new(),
        admission: Admission::new(pace),
        asking: HashMap::new(),
        askers: 0,
        network,
        keys,
        calls,
        metrics,
        outcomes: Vec::new(),
    };
    (sender, tokio::spawn(task.run(receiver)))
}

struct Task {
    rooms: BTreeMap<RoomId, Meeting>,
    sessions: HashMap<SessionId, Open>,
    admission: Admission,
    /// HTTP requests that wait, and how many there ever were.
    asking: HashMap<AskerId, oneshot::Sender<Result<Answer, Refusal>>>,
    askers: u64,
    network: Network,
    keys: Arc<Keys>,
    calls: Calls,
    metrics: Arc<Metrics>,
    /// Replies that were known at once: the node is away, or does not keep up.
    outcomes: Vec<(RoomId, Input)>,
}

/// A session of some room.
struct Open {
    room: RoomId,
    outbox: Outbox,
    /// Of the protocol.
    version: u16,
}

impl Task {
    async fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        loop {
            let rooms = self.rooms.values().filter_map(Meeting::poll_timeout);
            let deadline = rooms.chain(self.admission.poll_timeout(Instant::now())).min();
            tokio::select! {
                message = messages.recv() => match message {
                    Some(message) => self.handle(Instant::now(), message),
                    None => return,
                },
                () = at(deadline) => {
                    let now = Instant::now();
                    self.let_in(now);
                    let rooms: Vec<RoomId> = self.rooms.keys().cloned().collect();
                    for room in rooms {
                        if let Some(meeting) = self.rooms.get_mut(&room) {
                            meeting.handle_timeout(now);
                        }
                        self.drain(now, &room);
                    }
                }
            }
            let sum = |of: fn(&Meeting) -> usize| self.rooms.values().map(|room| of(room) as i64).sum();
            self.metrics.points.set(sum(Meeting::points));
            self.metrics.publishers.set(sum(Meeting::publishers));
            self.metrics.players.set(sum(Meeting::players));
            self.metrics.queued.set(self.admission.waiting() as i64);
        }
    }

    fn handle(&mut self, now: Instant, message: Message) {
        match message {
            Message::Enter {
                session,
                version,
                room,
                person,
                expired,
                claim,
                outbox,
            } => {
                if !self.rooms.contains_key(&room) {
                    outbox.close(CloseCode::UnknownRoom, Some(ErrorCode::UnknownRoom));
                    return;
                }
                let open = Open {
                    room: room.clone(),
                    outbox,
                    version,
                };
                self.sessions.insert(session, open);
                self.tell(
                    now,
                    &room,
                    Input::Enter {
                        session,
                        version,
                        person,
                        expired,
                        claim,
                    },
                );
            }
            Message::Ask { session, request } => {
                // A session that was just closed may have asked before it knew.
                if self.sessions.contains_key(&session) {
                    self.ask(now, session, request);
                }
            }
            Message::Http { room, ask, reply } => self.ask_http(now, &room, ask, reply),
            Message::Gone { session } => {
                self.admission.forget(session);
                if let Some(Open { room, .. }) = self.sessions.remove(&session) {
                    self.tell(now, &room, Input::Gone { session });
                }
            }
            Message::Media(news) => self.news(now, news),
            Message::Stop { done } => {
                for Open { outbox, .. } in self.sessions.values() {
                    outbox.close(CloseCode::GoingAway, None);
                }
                // Nobody waits any more if the server was told twice.
                let _ = done.send(());
            }
        }
    }

    /// Joins go by the door, everything else goes to the meeting.
    fn ask(&mut self, now: Instant, session: SessionId, request: Request) {
        match request {
            Request::Join { join, seat } => {
                let id = join.id;
                let asking = Asking { session, join, seat };
                match self.admission.ask(now, asking) {
                    Turn::Passes(asking) => self.join(now, asking),
                    Turn::Full(_) => self.refuse(session, id, ErrorCode::Unavailable),
                    Turn::Waits { place, replaced } => {
                        if let Some(former) = replaced {
                            self.refuse(session, former, ErrorCode::State);
                        }
                        self.tell_place(&Place {
                            session,
                            join: id,
                            place,
                        });
                    }
                }
            }
            Request::Publish { source, on } => {
                let waits = self.admission.publish(session, source, on);
                // Who joins again has a seat, and everybody sees what it says; who joins first has none.
                if !waits || self.has_seat(session) {
                    self.pass(now, session, Request::Publish { source, on });
                }
            }
            Request::Leave => {
                self.admission.forget(session);
                self.pass(now, session, Request::Leave);
            }
            request => self.pass(now, session, request),
        }
    }

    /// Lets in whose turn has come, and tells the others where they stand.
    fn let_in(&mut self, now: Instant) {
        while let Some(asking) = self.admission.poll_passed(now) {
            self.join(now, asking);
        }
        let places: Vec<Place> = self.admission.places(now).collect();
        places.iter().for_each(|place| self.tell_place(place));
    }

    fn join(&mut self, now: Instant, Asking { session, join, seat }: Asking) {
        self.pass(now, session, Request::Join { join, seat });
    }

    fn pass(&mut self, now: Instant, session: SessionId, request: Request) {
        if let Some(room) = self.sessions.get(&session).map(|open| open.room.clone()) {
            self.tell(now, &room, Input::Ask { session, request });
        }
    }

    fn has_seat(&self, session: SessionId) -> bool {
        let room = self.sessions.get(&session).map(|open| &open.room);
        room.and_then(|room| self.rooms.get(room))
            .is_some_and(|meeting| meeting.has_seat(session))
    }

    fn tell_place(&self, place: &Place) {
        let open = self.sessions.get(&place.session);
        if let Some(open) = open.filter(|open| open.version >= VERSION_WITH_PLACES) {
            let message = ServerMessage::Queued {
                id: place.join,
                place: place.place,
            };
            open.outbox.send(message.encode().into());
        }
    }

    fn refuse(&self, session: SessionId, id: u32, code: ErrorCode) {
        self.metrics.refusals.with_label_values(&[code.as_str()]).inc();
        if let Some(open) = self.sessions.get(&session) {
            let id = Some(id);
            open.outbox
                .send(ServerMessage::Error { id, code }.encode().into());
        }
    }

    fn ask_http(
        &mut self,
        now: Instant,
        room: &RoomId,
        ask: Ask,
        reply: oneshot::Sender<Result<Answer, Refusal>>,
    ) {
        let is_new = matches!(ask, Ask::Publish { .. } | Ask::Play { .. });
        let sessions = self.rooms.values().map(|room| room.publishers() + room.players());
        let refused = if !self.rooms.contains_key(room) {
            Some(ErrorCode::UnknownRoom)
        } else if self.asking.len() >= ASKING_MAX {
            Some(ErrorCode::Unavailable)
        } else if is_new && sessions.sum::<usize>() + self.asking.len() >= HTTP_SESSIONS_MAX {
            Some(ErrorCode::RateLimited)
        } else {
            None
        };
        if let Some(code) = refused {
            // A client that is gone needs no answer.
            let _ = reply.send(Err(code.into()));
            return;
        }
        let asker = AskerId(self.askers);
        self.askers += 1;
        self.asking.insert(asker, reply);
        self.tell(now, room, Input::Http { asker, ask });
    }

    fn news(&mut self, now: Instant, news: News) {
        match news {
            News::Up { rooms } => self.reconcile(now, rooms, |room| Input::NodeUp {
                room,
                etag: rand::random(),
            }),
            News::Again { rooms } => self.reconcile(now, rooms, |room| Input::NodeAgain { room }),
            News::Down => {
                let ours: Vec<RoomId> = self.rooms.keys().cloned().collect();
                for room in ours {
                    self.tell(now, &room, Input::NodeDown);
                }
            }
            News::Reply { room, op, result } => self.tell(now, &room, Input::NodeReply { op, result }),
            News::Event(event) => {
                let room = event.room().clone();
                self.tell(now, &room, Input::NodeEvent(event));
            }
        }
    }

    /// Every room is told what the node knows of it.
    fn reconcile(
        &mut self,
        now: Instant,
        rooms: Vec<RoomSnapshot>,
        input: fn(Option<RoomSnapshot>) -> Input,
    ) {
        // First of all: points that join find their lines.
        let network = self.network.clone();
        self.call(None, Command::SetNetwork { network });
        let mut known: BTreeMap<RoomId, RoomSnapshot> =
            rooms.into_iter().map(|room| (room.room.clone(), room)).collect();
        let is_gone = |room: &&RoomId| !self.rooms.contains_key(*room);
        let gone: Vec<RoomId> = known.keys().filter(is_gone).cloned().collect();
        // Before others take their places.
        for room in gone {
            tracing::info!(%room, "a room that is no longer configured is closed");
            self.call(None, Command::CloseRoom { room });
        }
        let ours: Vec<RoomId> = self.rooms.keys().cloned().collect();
        for room in ours {
            let snapshot = known.remove(&room);
            self.tell(now, &room, input(snapshot));
        }
    }

    fn tell(&mut self, now: Instant, room: &RoomId, input: Input) {
        if let Some(meeting) = self.rooms.get_mut(room) {
            meeting.handle(now, input);
            self.drain(now, room);
        }
    }

    /// Does what the meeting wants, until it wants nothing more.
    fn drain(&mut self, now: Instant, room: &RoomId) {
        loop {
            while let Some(effect) = self.rooms.get_mut(room).and_then(Meeting::poll_effect) {
                self.perform(room, effect);
            }
            let Some((room, input)) = self.outcomes.pop() else {
                return;
            };
            if let Some(meeting) = self.rooms.get_mut(&room) {
                meeting.handle(now, input);
            }
        }
    }

    fn perform(&mut self, room: &RoomId, effect: Effect) {
        match effect {
            Effect::Send { to, message } => {
                if let ServerMessage::Error { code, .. } = &message {
                    self.metrics.refusals.with_label_values(&[code.as_str()]).inc();
                }
                let text: Utf8Bytes = message.encode().into();
                for session in to {
                    if let Some(Open { outbox, .. }) = self.sessions.get(&session) {
                        outbox.send(text.clone());
                    }
                }
            }
            Effect::Grant { to, claim, grant } => {
                let resume = self.keys.sign_resume(&claim, auth::unix_now());
                if let Some(Open { outbox, .. }) = self.sessions.get(&to) {
                    outbox.send(grant.into_message(&claim, resume).encode().into());
                }
            }
            Effect::Close { session, code } => {
                self.admission.forget(session);
                if let Some(Open { outbox, .. }) = self.sessions.remove(&session) {
                    outbox.close(code, None);
                }
            }
            Effect::Answer { to, result } => {
                if let Some(reply) = self.asking.remove(&to) {
                    // Of a client that is gone the session ends by itself: no media ever comes.
                    let _ = reply.send(result);
                }
            }
            Effect::Command { op, command } => self.call(op.map(|op| (room.clone(), op)), *command),
        }
    }

    fn call(&mut self, waits: Option<(RoomId, Op)>, command: Command) {
        // Full: the node does not keep up. Whoever waits is told; the rest is set right by the next snapshot, which the link takes for it.
        if let Err(call) = self.calls.send(Call { waits, command }) {
            self.metrics.commands_dropped.inc();
            if let Some((room, op)) = call.waits {
                let result = Err(ControlError::Unavailable);
                self.outcomes.push((room, Input::NodeReply { op, result }));
            }
        }
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
