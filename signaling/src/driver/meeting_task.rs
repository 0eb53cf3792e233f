//! The one task that owns all meetings. Everybody else talks to it by message, so there is no lock and no second truth.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Instant,
};

use sfu::control::{Command, ControlError, Event, Network, Reply, RoomId, RoomPolicy, RoomSnapshot};
use tokio::sync::{mpsc, oneshot};

use super::{
    auth::{self, Keys},
    config::RoomConfig,
    media::{self, Call},
    metrics::Metrics,
    outbox::Outbox,
};
use crate::{
    engine::{
        effect::{Effect, Op, SessionId},
        meeting::{Input, Meeting, Request},
        network::LineNames,
        seat::{Claim, Person},
        whip::{Answer, Ask, AskerId, Refusal},
    },
    protocol::{CloseCode, ErrorCode},
};

/// Messages waiting for the task. Full: senders wait, so that sessions are read more slowly.
const QUEUE_LEN: usize = 4096;

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

/// What the link to the node reports.
#[derive(Debug)]
pub enum News {
    /// It is there; all it knows.
    Up {
        /// Of its snapshot.
        rooms: Vec<RoomSnapshot>,
    },
    /// It is away.
    Down,
    /// A reply.
    Reply {
        /// Where it goes.
        room: RoomId,
        /// Of which command.
        op: Op,
        /// What came of it.
        result: Result<Reply, ControlError>,
    },
    /// Something happened in it.
    Event(Event),
}

/// The door to the task.
pub type Sender = mpsc::Sender<Message>;

/// Starts the task with the rooms of the configuration, and the lines that meetings share.
pub fn start(
    rooms: &[RoomConfig],
    (network, line_names): (Network, LineNames),
    keys: Arc<Keys>,
    calls: media::Calls,
    metrics: Arc<Metrics>,
) -> Sender {
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
        asking: HashMap::new(),
        askers: 0,
        network,
        keys,
        calls,
        metrics,
        outcomes: Vec::new(),
    };
    tokio::spawn(task.run(receiver));
    sender
}

struct Task {
    rooms: BTreeMap<RoomId, Meeting>,
    sessions: HashMap<SessionId, (RoomId, Outbox)>,
    /// HTTP requests that wait, and how many there ever were.
    asking: HashMap<AskerId, oneshot::Sender<Result<Answer, Refusal>>>,
    askers: u64,
    network: Network,
    keys: Arc<Keys>,
    calls: media::Calls,
    metrics: Arc<Metrics>,
    /// Replies that were known at once: the node is away, or does not keep up.
    outcomes: Vec<(RoomId, Input)>,
}

impl Task {
    async fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        loop {
            let deadline = self.rooms.values().filter_map(Meeting::poll_timeout).min();
            tokio::select! {
                message = messages.recv() => match message {
                    Some(message) => self.handle(Instant::now(), message),
                    None => return,
                },
                () = at(deadline) => {
                    let now = Instant::now();
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
        }
    }

    fn handle(&mut self, now: Instant, message: Message) {
        match message {
            Message::Enter {
                session,
                version,
                room,
                person,
                claim,
                outbox,
            } => {
                if !self.rooms.contains_key(&room) {
                    outbox.close(CloseCode::UnknownRoom, Some(ErrorCode::UnknownRoom));
                    return;
                }
                self.sessions.insert(session, (room.clone(), outbox));
                self.tell(
                    now,
                    &room,
                    Input::Enter {
                        session,
                        version,
                        person,
                        claim,
                    },
                );
            }
            Message::Ask { session, request } => {
                // A session that was just closed may have asked before it knew.
                if let Some((room, _)) = self.sessions.get(&session) {
                    self.tell(now, &room.clone(), Input::Ask { session, request });
                }
            }
            Message::Http { room, ask, reply } => self.ask_http(now, &room, ask, reply),
            Message::Gone { session } => {
                if let Some((room, _)) = self.sessions.remove(&session) {
                    self.tell(now, &room, Input::Gone { session });
                }
            }
            Message::Media(news) => self.news(now, news),
            Message::Stop { done } => {
                for (_, outbox) in self.sessions.values() {
                    outbox.close(CloseCode::GoingAway, None);
                }
                // Nobody waits any more if the server was told twice.
                let _ = done.send(());
            }
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
            News::Up { rooms } => {
                // First of all: points that join find their lines.
                let network = self.network.clone();
                self.call(None, Command::SetNetwork { network });
                let mut known: BTreeMap<RoomId, RoomSnapshot> =
                    rooms.into_iter().map(|room| (room.room.clone(), room)).collect();
                let ours: Vec<RoomId> = self.rooms.keys().cloned().collect();
                for room in ours {
                    let snapshot = known.remove(&room);
                    self.tell(now, &room, Input::NodeUp { room: snapshot });
                }
                for room in known.into_keys() {
                    tracing::info!(%room, "a room that is no longer configured is closed");
                    self.call(None, Command::CloseRoom { room });
                }
            }
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
                let text: axum::extract::ws::Utf8Bytes = message.encode().into();
                for session in to {
                    if let Some((_, outbox)) = self.sessions.get(&session) {
                        outbox.send(text.clone());
                    }
                }
            }
            Effect::Grant { to, claim, grant } => {
                let resume = self.keys.sign_resume(&claim, auth::unix_now());
                if let Some((_, outbox)) = self.sessions.get(&to) {
                    outbox.send(grant.into_message(&claim, resume).encode().into());
                }
            }
            Effect::Close { session, code } => {
                if let Some((_, outbox)) = self.sessions.remove(&session) {
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
        let call = Call { waits, command };
        // Full: the node does not keep up. Whoever waits is told; the rest is set right by the next reconciliation.
        if let Err(mpsc::error::TrySendError::Full(call) | mpsc::error::TrySendError::Closed(call)) =
            self.calls.try_send(call)
        {
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
