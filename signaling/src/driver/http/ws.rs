//! One WebSocket: from the upgrade to the close frame. Frames become messages here, and nothing more is decided than
//! whether a client keeps the rules of the protocol.

use std::{
    num::NonZeroU32,
    sync::atomic::{AtomicU8, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use axum::{
    extract::{self, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use sfu::control::SeatId;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{MissedTickBehavior, timeout},
};
use tokio_tungstenite::tungstenite::{
    Error, Message as Frame,
    protocol::{CloseFrame, frame::coding},
};

use super::{App, problem};
use crate::{
    driver::{
        auth::{self, RoomToken},
        meeting_task::Message,
        outbox::{Closing, Inbox, Out, Outbox, outbox},
        pace::Pace,
        socket::{self, Sink, Source},
    },
    engine::{id::SessionId, meeting::Request},
    names::Token,
    protocol::{BadFrame, ClientMessage, CloseCode, ErrorCode, ServerMessage, VERSION, VERSION_MIN},
};

const HELLO_TIME_MAX: Duration = Duration::from_secs(5);
const PING_EVERY: Duration = Duration::from_secs(8);
/// A page waits 30 s for a long list on a thin line, and its answers stand behind that.
const PINGS_UNANSWERED_MAX: u8 = 3;

/// Messages a second, and how many may come at once.
const RATE: u32 = 50;
const BURST: u32 = 200;

/// Reports of a page that are taken a second. Above it they are passed over: each is newer than the last.
const STATS_RATE: u32 = 2;

/// Refusals for rate, above the messages that passed meanwhile, that are answered before the session ends: whoever goes on at twice the rate
/// does so on purpose.
const RATE_REFUSALS_MAX: u32 = 100;

/// So many bad messages within [`BAD_WINDOW`] end the session.
const BAD_MAX: usize = 5;
const BAD_WINDOW: Duration = Duration::from_secs(10);

/// How long a client that does not read is waited for with its close frame.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(5);

/// `GET /ws`. Origin first: a page of another site gets no socket at all.
pub(super) async fn upgrade(State(app): State<App>, request: extract::Request) -> Response {
    let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    if !app.origins.allows(text(header::ORIGIN), text(header::HOST)) {
        app.metrics.refusals.with_label_values(&["origin"]).inc();
        return problem::forbidden();
    }
    let Ok(answer) = socket::answer(&request) else {
        return problem::of(
            StatusCode::UPGRADE_REQUIRED,
            "upgrade_required",
            "A WebSocket is wanted here",
        );
    };
    if let Err(refused) = app.places.knock() {
        app.metrics.refusals.with_label_values(&[refused.as_str()]).inc();
        return refused.into_response();
    }
    socket::open(request, async move |sink, source| {
        app.metrics.sessions.inc();
        Session::run(&app, sink, source).await;
        app.metrics.sessions.dec();
    });
    answer
}

static NEXT_SESSION: AtomicU64 = AtomicU64::new(1);

struct Session<'a> {
    app: &'a App,
    id: SessionId,
    outbox: Outbox,
    rate: DefaultDirectRateLimiter,
    stats_rate: DefaultDirectRateLimiter,
    rate_refusals: Refusals,
    bad: Vec<Instant>,
    /// From a good `hello` on: who only opens a socket takes nobody's.
    place: Option<OwnedSemaphorePermit>,
}

/// Messages that were refused for rate, less one for each that passed since: one passes now and then, however many come.
#[derive(Default)]
struct Refusals(u32);

impl Refusals {
    /// Whether there are too many with this one.
    fn count(&mut self, passes: bool) -> bool {
        self.0 = if passes {
            self.0.saturating_sub(1)
        } else {
            self.0 + 1
        };
        self.0 > RATE_REFUSALS_MAX
    }
}

/// Why reading ended.
enum End {
    /// With a close frame, after everything that was queued.
    Close(Closing),
    /// The socket is gone.
    Gone,
}

impl<'a> Session<'a> {
    async fn run(app: &'a App, mut sink: Sink, mut source: Source) {
        let id = SessionId(NEXT_SESSION.fetch_add(1, Ordering::Relaxed));
        let (outbox, mut inbox) = outbox();
        let quota = Quota::per_second(NonZeroU32::new(RATE).expect("not zero"))
            .allow_burst(NonZeroU32::new(BURST).expect("not zero"));
        let stats_quota = Quota::per_second(NonZeroU32::new(STATS_RATE).expect("not zero"));
        let (rate, bad) = (RateLimiter::direct(quota), Vec::new());
        let mut session = Self {
            app,
            id,
            outbox,
            rate,
            stats_rate: RateLimiter::direct(stats_quota),
            rate_refusals: Refusals::default(),
            bad,
            place: None,
        };
        let unanswered = AtomicU8::new(0);
        let mut overrun = inbox.overrun();
        let closing = tokio::select! {
            end = session.read(&mut source, &unanswered) => match end {
                End::Close(closing) => flush(&mut sink, &mut inbox, closing).await,
                End::Gone => None,
            },
            closing = write(&mut sink, &mut inbox, &unanswered) => closing,
            () = async { drop(overrun.wait_for(|&overran| overran).await) } => Some(Closing { code: CloseCode::SlowReader, bye: None }),
        };
        // Free for the next one before the other side is waited for.
        if let Some(_place) = session.place.take() {
            let _ = app.meetings.send(Message::Gone { session: id }).await;
        }
        if let Some(Closing { code, bye }) = closing {
            app.metrics
                .closes
                .with_label_values(&[&(code as u16).to_string()])
                .inc();
            let close = async {
                if let Some(code) = bye {
                    sink.feed(ServerMessage::Bye { code }.encode().into()).await?;
                }
                sink.control(Frame::Close(Some(CloseFrame {
                    code: coding::CloseCode::from(code as u16),
                    reason: "".into(),
                })))
                .await?;
                sink.flush().await?;
                // Until the other side closes too, so that no unread byte turns the close into a reset.
                while let Some(Ok(_)) = source.next().await {}
                Ok::<(), Error>(())
            };
            // A client that is gone or does not read cannot be told.
            let _ = timeout(CLOSE_TIME_MAX, close).await;
        }
    }

    /// Reads frames until the session ends.
    async fn read(&mut self, source: &mut Source, unanswered: &AtomicU8) -> End {
        let hello_until = tokio::time::Instant::now() + HELLO_TIME_MAX;
        loop {
            let next = if self.place.is_some() {
                source.next().await
            } else {
                match tokio::time::timeout_at(hello_until, source.next()).await {
                    Ok(next) => next,
                    Err(_) => return close(CloseCode::NoHello, None),
                }
            };
            let frame = match next {
                Some(Ok(frame)) => frame,
                Some(Err(Error::Capacity(_))) => return close(CloseCode::TooLarge, None),
                Some(Err(_)) | None => return End::Gone,
            };
            // Whatever it says, it lives: its answer to a ping may stand behind a long list that is still on its way to it.
            unanswered.store(0, Ordering::Relaxed);
            let passes = self.rate.check().is_ok();
            let goes_on = self.rate_refusals.count(passes);
            if !passes {
                if goes_on {
                    return close(CloseCode::Rate, Some(ErrorCode::RateLimited));
                }
                self.refuse(None, ErrorCode::RateLimited);
                continue;
            }
            let end = match frame {
                Frame::Text(text) => self.message(&text).await,
                Frame::Binary(_) => self.bad_message(None, ErrorCode::BadMessage),
                Frame::Close(_) => Some(End::Gone),
                Frame::Ping(_) | Frame::Pong(_) | Frame::Frame(_) => None,
            };
            if let Some(end) = end {
                return end;
            }
        }
    }

    async fn message(&mut self, text: &str) -> Option<End> {
        let message = match ClientMessage::decode(text) {
            Ok(message) => message,
            Err(BadFrame::TooLarge) => return Some(close(CloseCode::TooLarge, None)),
            Err(BadFrame::Refused {
                code: ErrorCode::BadToken,
                ..
            }) => {
                return Some(close(CloseCode::BadToken, Some(ErrorCode::BadToken)));
            }
            Err(BadFrame::Refused {
                id,
                code: ErrorCode::BadMessage,
            }) => {
                return self.bad_message(id, ErrorCode::BadMessage);
            }
            Err(BadFrame::Refused { id, code }) => {
                self.refuse(id, code);
                return None;
            }
        };
        let request = match message {
            ClientMessage::Ping { id } => {
                self.tell(&ServerMessage::Pong { id });
                return None;
            }
            ClientMessage::Hello {
                version,
                token,
                resume,
            } => return self.hello(version, &token, resume).await,
            ClientMessage::Join(join) => Request::Join {
                join,
                seat: random_seat(),
            },
            ClientMessage::Restart { id, offer } => Request::Restart { id, offer },
            ClientMessage::View { slots } => Request::View(slots),
            ClientMessage::Publish { source, on } => Request::Publish { source, on },
            ClientMessage::GiveFloor { id, point } => Request::GiveFloor { id, point },
            ClientMessage::TakeFloor { id } => Request::TakeFloor { id },
            ClientMessage::Stats(stats) => {
                // The next one says more than this one.
                if self.stats_rate.check().is_err() {
                    return None;
                }
                Request::Stats(stats)
            }
            ClientMessage::Leave {} => Request::Leave,
        };
        if self.place.is_none() {
            self.refuse(request.id(), ErrorCode::State);
            return None;
        }
        self.to_meetings(Message::Ask {
            session: self.id,
            request,
        })
        .await
    }

    async fn hello(&mut self, version: u16, token: &Token, resume: Option<Token>) -> Option<End> {
        if self.place.is_some() {
            self.refuse(None, ErrorCode::State);
            return None;
        }
        if !(VERSION_MIN..=VERSION).contains(&version) {
            return Some(close(CloseCode::BadMessages, Some(ErrorCode::BadMessage)));
        }
        let now = auth::unix_now();
        let claim = resume.map(|resume| self.app.keys.read_resume(&resume, now));
        let read = self.app.keys.read_room(token, now).and_then(|read| {
            // Past its end a room token opens a session for a seat that is there, and the meeting gives no other. The resume token
            // may have ended too: only the meeting knows whether that seat is held.
            let resumes = matches!(&claim, Some(Ok(claim)) if claim.room == read.room && claim.subject == read.person.subject);
            if read.is_expired(now) && !resumes {
                Err(auth::TokenError::Expired)
            } else {
                Ok(read)
            }
        });
        let read = match read {
            Ok(read) => read,
            Err(error) => {
                let code = ErrorCode::from(error);
                self.app
                    .metrics
                    .refusals
                    .with_label_values(&[code.as_str()])
                    .inc();
                return Some(close(CloseCode::BadToken, Some(code)));
            }
        };
        let expired = read.is_expired(now);
        let RoomToken { room, person, .. } = read;
        let claim = claim.map(|read| read.map(Box::new).map_err(ErrorCode::from));
        match self.app.places.take() {
            Ok(place) => self.place = Some(place),
            Err(refused) => {
                // The last one went since the upgrade.
                self.app
                    .metrics
                    .refusals
                    .with_label_values(&[refused.as_str()])
                    .inc();
                return Some(close(CloseCode::GoingAway, Some(ErrorCode::Unavailable)));
            }
        }
        let outbox = self.outbox.clone();
        self.to_meetings(Message::Enter {
            session: self.id,
            version,
            room,
            person,
            expired,
            claim,
            outbox,
        })
        .await
    }

    /// Answers a message that is none, and counts it.
    fn bad_message(&mut self, id: Option<u32>, code: ErrorCode) -> Option<End> {
        let now = Instant::now();
        self.bad.retain(|&at| now.duration_since(at) < BAD_WINDOW);
        self.bad.push(now);
        if self.bad.len() >= BAD_MAX {
            return Some(close(CloseCode::BadMessages, Some(code)));
        }
        self.refuse(id, code);
        None
    }

    fn refuse(&self, id: Option<u32>, code: ErrorCode) {
        self.app
            .metrics
            .refusals
            .with_label_values(&[code.as_str()])
            .inc();
        self.tell(&ServerMessage::Error { id, code });
    }

    fn tell(&self, message: &ServerMessage) {
        self.outbox.send(message.encode().into());
    }

    async fn to_meetings(&self, message: Message) -> Option<End> {
        let sent = self.app.meetings.send(message).await;
        // The task ends only with the process.
        sent.is_err().then(|| close(CloseCode::GoingAway, None))
    }
}

/// Writes what is queued, and pings, until the queue says close or the socket is gone.
async fn write(sink: &mut Sink, inbox: &mut Inbox, unanswered: &AtomicU8) -> Option<Closing> {
    let mut pings = tokio::time::interval(PING_EVERY);
    // Those that were missed while the socket took nothing are not asked for all at once.
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pings.tick().await;
    let mut pace = Pace::default();
    loop {
        tokio::select! {
            out = inbox.next() => match out? {
                Out::Text(text) => sink.feed(text).await.ok()?,
                Out::Close(closing) => return Some(closing),
            },
            _ = pings.tick() => {
                if unanswered.fetch_add(1, Ordering::Relaxed) >= PINGS_UNANSWERED_MAX {
                    return None;
                }
                sink.control(Frame::Ping(Default::default())).await.ok()?;
            }
        }
        // When many join, everybody is told of each: what has gathered meanwhile goes with the same system call.
        while let Some(out) = inbox.ready() {
            match out {
                Out::Text(text) => sink.feed(text).await.ok()?,
                Out::Close(closing) => {
                    sink.flush().await.ok()?;
                    return Some(closing);
                }
            }
        }
        sink.flush().await.ok()?;
        // Nothing is in hand meanwhile: whoever ends the session writes what waits.
        if let Some(until) = pace.wrote(Instant::now()) {
            tokio::time::sleep_until(until.into()).await;
        }
    }
}

/// Writes what is still queued before a close that reading decided on. A close that was queued first wins.
async fn flush(sink: &mut Sink, inbox: &mut Inbox, closing: Closing) -> Option<Closing> {
    let rest = async {
        while let Some(out) = inbox.ready() {
            match out {
                Out::Text(text) => sink.feed(text).await.ok()?,
                Out::Close(first) => return Some(first),
            }
        }
        sink.flush().await.ok()?;
        Some(closing)
    };
    timeout(CLOSE_TIME_MAX, rest).await.ok()?
}

fn close(code: CloseCode, bye: Option<ErrorCode>) -> End {
    End::Close(Closing { code, bye })
}

fn random_seat() -> SeatId {
    SeatId::try_from(format!("{:032x}", rand::random::<u128>())).expect("hexadecimal")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_goes_on_above_the_rate_ends_also_if_one_passes_now_and_then() {
        // Five seconds of so many a second, of which the rate lets its part pass.
        let ends = |a_second: u32| {
            let mut refusals = Refusals::default();
            let mut passed = 0;
            (1..=5 * a_second).any(|sent| {
                let passes = passed < sent * RATE / a_second;
                passed += u32::from(passes);
                refusals.count(passes)
            })
        };
        assert!(ends(500) && ends(150));
        assert!(!ends(RATE) && !ends(RATE + 10), "a hasty one is only refused");
    }
}
