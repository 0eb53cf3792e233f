//! WHIP (RFC 9725) and WHEP: media without a page. A `POST` of an offer makes a session, whose address is its name; whoever
//! made it restarts its ICE and ends it there. `docs/WHIP.md` tells how it is used.

use axum::{
    Router,
    body::Body,
    extract::{
        Path, Query, Request, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::{MethodRouter, delete, post},
};
use futures_util::StreamExt;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use serde::Deserialize;
use sfu::{
    control::{RoomId, SeatId},
    engine::id::PointNumber,
    wire::sdpfrag,
};
use std::num::NonZeroU32;
use tokio::sync::oneshot;

use super::{App, problem};
use crate::{
    driver::{
        auth::{self, RoomToken},
        meeting_task::Message,
    },
    engine::{
        effect::{Answer, Refusal},
        whep::Played,
        whip::{Ask, Key, Protocol},
    },
    names::{DisplayName, Token},
    protocol::{ErrorCode, Offer},
};

/// Largest offer or fragment: one sound and one picture in all codecs of a browser take some 10 KiB.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Requests a second of all clients with a good token, and how many may come at once.
const RATE: u32 = 100;
const BURST: u32 = 400;

/// Above the rate or the limits a client shall come again after so many seconds.
const RETRY_AFTER_SECONDS: u16 = 5;

const SDP: &str = "application/sdp";
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// The path segment that means no point, but who is on the stage.
const STAGE: &str = "stage";

const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

/// How often sessions are made and touched, by all together.
pub(crate) fn limiter() -> DefaultDirectRateLimiter {
    let quota = Quota::per_second(NonZeroU32::new(RATE).expect("not zero"));
    RateLimiter::direct(quota.allow_burst(NonZeroU32::new(BURST).expect("not zero")))
}

/// Endpoints and sessions of both.
pub(super) fn router() -> Router<App> {
    let endpoint = |made: MethodRouter<App>| {
        made.options(async || options(&ACCEPT_POST, SDP, "POST, OPTIONS"))
            .fallback(async || not_allowed("POST, OPTIONS"))
    };
    let session = |protocol: Protocol| {
        delete(async move |state, path, headers| end(protocol, state, path, headers).await)
            .patch(async move |state, path, request| restart(protocol, state, path, request).await)
            .options(async || options(&ACCEPT_PATCH, FRAGMENT, "PATCH, DELETE, OPTIONS"))
            .fallback(async || not_allowed("PATCH, DELETE, OPTIONS"))
    };
    Router::new()
        .route("/whip/{room}", endpoint(post(publish)))
        .route("/whep/{room}/{point}", endpoint(post(play)))
        .route("/whip/{room}/session/{session}", session(Protocol::Whip))
        .route("/whep/{room}/session/{session}", session(Protocol::Whep))
        .layer(from_fn(cors))
}

/// Pages of any origin may ask: what opens a room is the token in the request, and no browser adds one by itself.
async fn cors(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            "Location, ETag, Accept-Patch, Retry-After",
        ),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

fn options(accepts: &HeaderName, form: &'static str, methods: &'static str) -> Response {
    let headers = [
        (accepts.clone(), form),
        (header::ALLOW, methods),
        (header::ACCESS_CONTROL_ALLOW_METHODS, methods),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "Authorization, Content-Type, If-Match",
        ),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
    ];
    (StatusCode::OK, headers).into_response()
}

/// GET, HEAD and PUT too (RFC 9725 §4.2).
fn not_allowed(methods: &'static str) -> Response {
    let mut response = problem::of(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "Method Not Allowed",
    );
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static(methods));
    response
}

/// Why a request is answered by a problem document.
#[derive(Debug)]
enum Refused {
    Engine(Refusal),
    /// 400
    BadFragment,
    /// 413
    TooLarge,
    /// 415
    MediaType,
    /// 428
    NoIfMatch,
}

impl<T: Into<Refusal>> From<T> for Refused {
    fn from(refusal: T) -> Self {
        Self::Engine(refusal.into())
    }
}

impl Refused {
    /// What is no text is no fragment, as it is no offer.
    fn of_fragment(self) -> Self {
        match self {
            Self::Engine(Refusal::Code(ErrorCode::BadSdp)) => Self::BadFragment,
            other => other,
        }
    }

    fn code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Engine(Refusal::Code(code)) => (status(*code), code.as_str()),
            Self::Engine(Refusal::NameTaken) => (StatusCode::CONFLICT, "name_taken"),
            Self::Engine(Refusal::UnknownPoint) => (StatusCode::NOT_FOUND, "unknown_point"),
            Self::Engine(Refusal::UnknownSession) => (StatusCode::NOT_FOUND, "unknown_session"),
            Self::Engine(Refusal::NotMatched) => (StatusCode::PRECONDITION_FAILED, "precondition_failed"),
            Self::BadFragment => (StatusCode::BAD_REQUEST, "bad_sdp"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            Self::MediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"),
            Self::NoIfMatch => (StatusCode::PRECONDITION_REQUIRED, "precondition_required"),
        }
    }

    fn into_response(self, app: &App) -> Response {
        let (status, code) = self.code();
        app.metrics.refusals.with_label_values(&[code]).inc();
        let mut response = problem::of(status, code, status.canonical_reason().unwrap_or(code));
        let headers = response.headers_mut();
        match status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS.into());
            }
            _ => {}
        }
        response
    }
}

fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::BadMessage | ErrorCode::BadName => StatusCode::BAD_REQUEST,
        ErrorCode::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::BadToken | ErrorCode::TokenExpired => StatusCode::UNAUTHORIZED,
        ErrorCode::UnknownRoom => StatusCode::NOT_FOUND,
        ErrorCode::RoomFull | ErrorCode::State => StatusCode::CONFLICT,
        ErrorCode::BadSdp => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorCode::NotAllowed => StatusCode::FORBIDDEN,
        ErrorCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// `?name=`
#[derive(Debug, Deserialize)]
struct Naming {
    name: Option<String>,
}

async fn publish(
    State(app): State<App>,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<Naming>, QueryRejection>,
    request: Request,
) -> Response {
    let made = async {
        let Path(room) = path.map_err(|_| ErrorCode::UnknownRoom)?;
        let (room, token) = admit(&app, &room, request.headers())?;
        let Query(naming) = query.map_err(|_| ErrorCode::BadName)?;
        let name = naming.name.map(chosen_name).transpose()?;
        let (seat, offer) = (random_session(), offer(request).await?);
        let publish = Ask::Publish {
            person: token.person,
            name,
            seat: seat.clone(),
            offer,
        };
        let created = ask(&app, &room, publish).await?;
        Ok(answered(created, Some(("whip", &room, &seat))))
    };
    made.await
        .unwrap_or_else(|refused: Refused| refused.into_response(&app))
}

async fn play(
    State(app): State<App>,
    path: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Response {
    let made = async {
        let Path((room, point)) = path.map_err(|_| Refusal::UnknownPoint)?;
        let (room, token) = admit(&app, &room, request.headers())?;
        let (seat, offer) = (random_session(), offer(request).await?);
        let play = Ask::Play {
            person: token.person,
            played: played(point)?,
            seat: seat.clone(),
            offer,
        };
        let created = ask(&app, &room, play).await?;
        Ok(answered(created, Some(("whep", &room, &seat))))
    };
    made.await
        .unwrap_or_else(|refused: Refused| refused.into_response(&app))
}

type SessionPath = Result<Path<(String, String)>, PathRejection>;

/// Trickled candidates and ICE restarts (RFC 9725 §4.3).
async fn restart(
    protocol: Protocol,
    State(app): State<App>,
    path: SessionPath,
    request: Request,
) -> Response {
    let done = async {
        let (room, key) = session(&app, protocol, path, request.headers())?;
        let matched = request.headers().get(header::IF_MATCH).cloned();
        let matched = matched.ok_or(Refused::NoIfMatch)?;
        let fragment = body(request, FRAGMENT).await.map_err(Refused::of_fragment)?;
        sdpfrag::parse(&fragment).ok_or(Refused::BadFragment)?;
        let patch = match matched.as_bytes() {
            // The example of RFC 9725 §4.3.3 has it in quotes, and no ETag of ours is called so.
            b"*" | br#""*""# => Ask::Restart { key, fragment },
            etags => {
                let etags = etags_of(etags);
                Ask::Trickle { key, etags }
            }
        };
        Ok(answered(ask(&app, &room, patch).await?, None))
    };
    done.await
        .unwrap_or_else(|refused: Refused| refused.into_response(&app))
}

async fn end(protocol: Protocol, State(app): State<App>, path: SessionPath, headers: HeaderMap) -> Response {
    let done = async {
        let (room, key) = session(&app, protocol, path, &headers)?;
        Ok(answered(ask(&app, &room, Ask::End { key }).await?, None))
    };
    done.await
        .unwrap_or_else(|refused: Refused| refused.into_response(&app))
}

/// Asks the meeting and waits for what comes of it.
async fn ask(app: &App, room: &RoomId, ask: Ask) -> Result<Answer, Refusal> {
    let (reply, answer) = oneshot::channel();
    let message = Message::Http {
        room: room.clone(),
        ask,
        reply,
    };
    let sent = app.meetings.send(message).await;
    sent.map_err(|_| ErrorCode::Unavailable)?;
    answer.await.unwrap_or(Err(ErrorCode::Unavailable.into()))
}

/// `made`: protocol, room and name of a session that is new.
fn answered(answer: Answer, made: Option<(&str, &RoomId, &SeatId)>) -> Response {
    let no_store = (header::CACHE_CONTROL, "no-store".to_owned());
    let etag = |etag: u32| (header::ETAG, format!("\"{etag}\""));
    match answer {
        Answer::Created { sdp, etag: tag } => {
            let location = made.map(|(protocol, room, seat)| format!("/{protocol}/{room}/session/{seat}"));
            let headers = [
                (header::CONTENT_TYPE, SDP.to_owned()),
                (header::LOCATION, location.unwrap_or_default()),
                (ACCEPT_PATCH, FRAGMENT.to_owned()),
                etag(tag),
                no_store,
            ];
            (StatusCode::CREATED, headers, sdp).into_response()
        }
        Answer::Restarted { fragment, etag: tag } => {
            let headers = [(header::CONTENT_TYPE, FRAGMENT.to_owned()), etag(tag), no_store];
            (StatusCode::OK, headers, fragment).into_response()
        }
        Answer::Matched => StatusCode::NO_CONTENT.into_response(),
        Answer::Ended => StatusCode::OK.into_response(),
    }
}

/// Whose request it is, by its bearer token (RFC 6750): one that is good, for that room.
fn admit(app: &App, room: &str, headers: &HeaderMap) -> Result<(RoomId, RoomToken), Refused> {
    let (room, token) = read_token(app, room, headers)?;
    if token.is_expired(auth::unix_now()) {
        return Err(ErrorCode::TokenExpired.into());
    }
    if app.whip_rate.check().is_err() {
        return Err(ErrorCode::RateLimited.into());
    }
    Ok((room, token))
}

/// A session, and who asks for it. The life of a token limits the making of sessions only.
fn session(
    app: &App,
    protocol: Protocol,
    path: SessionPath,
    headers: &HeaderMap,
) -> Result<(RoomId, Key), Refused> {
    let Path((room, session)) = path.map_err(|_| Refusal::UnknownSession)?;
    let (room, token) = read_token(app, &room, headers)?;
    if app.whip_rate.check().is_err() {
        return Err(ErrorCode::RateLimited.into());
    }
    let seat = SeatId::try_from(session).map_err(|_| Refusal::UnknownSession)?;
    let subject = token.person.subject;
    let key = Key {
        protocol,
        seat,
        subject,
    };
    Ok((room, key))
}

fn read_token(app: &App, room: &str, headers: &HeaderMap) -> Result<(RoomId, RoomToken), Refused> {
    let value = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let bearer = value.and_then(|value| value.split_once(' '));
    let bearer = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let token = bearer.and_then(|(_, token)| Token::try_from(token.trim().to_owned()).ok());
    let token = token.ok_or(ErrorCode::BadToken)?;
    let read = app
        .keys
        .read_room(&token, auth::unix_now())
        .map_err(ErrorCode::from)?;
    if read.room.as_str() == room {
        Ok((read.room.clone(), read))
    } else {
        Err(ErrorCode::NotAllowed.into())
    }
}

async fn offer(request: Request) -> Result<Offer, Refused> {
    let text = body(request, SDP).await?;
    Ok(Offer::try_from(text).map_err(|_| ErrorCode::BadSdp)?)
}

/// The text of a body of that type, no more than [`BODY_BYTES_MAX`] of it.
async fn body(request: Request, form: &str) -> Result<String, Refused> {
    let kind = request.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()?.split(';').next());
    if !kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case(form)) {
        return Err(Refused::MediaType);
    }
    read(request.into_body()).await
}

async fn read(body: Body) -> Result<String, Refused> {
    let mut bytes = Vec::new();
    let mut stream = body.into_data_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| ErrorCode::BadSdp)?;
        if bytes.len() + chunk.len() > BODY_BYTES_MAX {
            return Err(Refused::TooLarge);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(String::from_utf8(bytes).map_err(|_| ErrorCode::BadSdp)?)
}

/// Numbers and the stage have their meaning in the paths of players, so no point is called so. Octets of a query that are no UTF-8 come as U+FFFD: nobody asks for
/// that, and two names would be one.
fn chosen_name(name: String) -> Result<DisplayName, ErrorCode> {
    let name = DisplayName::try_from(name).map_err(|_| ErrorCode::BadName)?;
    if name.as_str().contains(char::REPLACEMENT_CHARACTER) {
        return Err(ErrorCode::BadName);
    }
    let is_taken = name.as_str() == STAGE || name.as_str().bytes().all(|b| b.is_ascii_digit());
    if is_taken {
        Err(ErrorCode::BadName)
    } else {
        Ok(name)
    }
}

fn played(point: String) -> Result<Played, Refusal> {
    if point == STAGE {
        return Ok(Played::Stage);
    }
    if point.bytes().all(|b| b.is_ascii_digit()) {
        let number = point
            .parse()
            .ok()
            .and_then(|number: u32| PointNumber::try_from(number).ok());
        return number.map(Played::Number).ok_or(Refusal::UnknownPoint);
    }
    let name = DisplayName::try_from(point).map_err(|_| Refusal::UnknownPoint)?;
    Ok(Played::Name(name))
}

/// Strong ETags of the form that we give (RFC 9110 §8.8.3); others can only be somebody else's.
fn etags_of(list: &[u8]) -> Vec<u32> {
    let list = std::str::from_utf8(list).unwrap_or_default();
    let tags = list.split(',').map(str::trim);
    tags.filter_map(|tag| tag.strip_prefix('"')?.strip_suffix('"')?.parse().ok())
        .collect()
}

fn random_session() -> SeatId {
    SeatId::try_from(format!("{:032x}", rand::random::<u128>())).expect("hexadecimal")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_played_is_the_stage_a_number_or_a_name() {
        let number = |n: u32| PointNumber::try_from(n).ok().map(Played::Number);
        assert_eq!(played("stage".into()), Ok(Played::Stage));
        assert_eq!(played("12".into()).ok(), number(12));
        assert!(matches!(played("Cầu 1".into()), Ok(Played::Name(_))));
        for nobody in ["0", "", "9999999999", "a\u{202E}b"] {
            assert_eq!(played(nobody.into()), Err(Refusal::UnknownPoint), "{nobody}");
        }
    }

    #[test]
    fn a_name_that_means_something_else_in_a_path_is_refused() {
        for bad in ["stage", "12", "", " ", "a\nb", "a\u{FFFD}"] {
            assert_eq!(chosen_name(bad.into()), Err(ErrorCode::BadName), "{bad}");
        }
        for good in ["cam-1", "Cầu 1", "12a", "Stage"] {
            assert!(chosen_name(good.into()).is_ok(), "{good}");
        }
    }

    #[tokio::test]
    async fn a_body_that_is_no_text_is_a_bad_offer_or_a_bad_fragment() {
        let request = |form: &str| {
            let builder = Request::builder().header(header::CONTENT_TYPE, form);
            builder.body(Body::from(vec![b'v', 0xFF])).unwrap()
        };
        let refused = body(request(SDP), SDP).await.unwrap_err();
        assert_eq!(refused.code(), (StatusCode::UNPROCESSABLE_ENTITY, "bad_sdp"));
        let refused = body(request(FRAGMENT), FRAGMENT).await.unwrap_err().of_fragment();
        assert_eq!(refused.code(), (StatusCode::BAD_REQUEST, "bad_sdp"));
    }

    #[test]
    fn only_etags_of_our_form_are_read() {
        assert_eq!(etags_of(br#""1""#), [1]);
        assert_eq!(etags_of(br#" "1" , "x", W/"2", 3, "4""#), [1, 4]);
        assert!(etags_of(b"\xFF").is_empty());
    }
}
