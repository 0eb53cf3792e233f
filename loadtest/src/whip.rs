//! Points that come by WHIP (RFC 9725) or WHEP, to any server: one HTTP request with an offer, one to end.

use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use tokio::sync::{mpsc, watch};

use crate::{
    address::Address,
    bot::rejoin::{self, ForNow},
    http,
    lean::{LeanPoint, Pattern, Sections, Source},
    media_path::SlotLines,
    peer::Path,
    report::PointReport,
    scenario::{Entry, Scenario, Sends},
    sdp,
    sender::{Outgoing, Ssrcs},
    shared::{Phase, STEP_TIMEOUT, Shared, until},
};

/// Longest wait for the end of a session: less than a point has for leaving.
const END_TIMEOUT: Duration = Duration::from_secs(2);
/// Times that an offer is sent on.
const REDIRECTS_MAX: u32 = 3;

/// Plays the point in the `index`th seat, after `life` others, whose coming in began then, to its end. Lets `settled` go when it has come in.
pub(crate) async fn play(
    scenario: &Scenario,
    entry: &Entry,
    (index, life): (u32, u32),
    opened_us: u64,
    shared: &Shared,
    mut phase: watch::Receiver<Phase>,
    settled: &mut Option<mpsc::Sender<()>>,
) -> PointReport {
    let mut report = PointReport::default();
    let mut session = None;
    let mut ending = phase.clone();
    let joining = join(scenario, entry, (index, life), shared, &mut session);
    let joined = tokio::select! {
        joined = tokio::time::timeout(STEP_TIMEOUT, joining) => {
            joined.context("it took too long").and_then(|joined| joined)
        }
        () = until(&mut ending, Phase::Leaving) => Err(anyhow!("the time was over")),
    };
    match joined {
        Ok(point) => {
            let us = shared.clock.now().us - opened_us;
            report.join_us = Some(us);
            report.joins.record(us);
            shared.joins.count();
            *settled = None;
            stay(&point, &mut phase, &mut report).await;
            report.take(point.finish().await, opened_us);
            if entry.plays && report.first_packet_us.is_none() {
                report.failure.get_or_insert_with(|| "nothing came".to_owned());
            }
            point.close();
        }
        Err(error) => {
            report.failure = Some(format!("did not come in: {error:#}"));
            report.come_back = error.downcast_ref().copied();
        }
    }
    if let Some(session) = session
        && let Err(error) = end(scenario, index, session).await
    {
        report.log.push(format!("did not end its session: {error:#}"));
    }
    report
}

/// Follows the course, until everybody leaves or the path is lost.
async fn stay(point: &LeanPoint, phase: &mut watch::Receiver<Phase>, report: &mut PointReport) {
    let mut path = point.path();
    let mut steps = phase.clone();
    let mut next = Some(Phase::Meeting);
    loop {
        tokio::select! {
            () = until(&mut steps, next.unwrap_or(Phase::Draining)), if next.is_some() => {
                next = match next {
                    Some(Phase::Meeting) => {
                        point.grow();
                        Some(Phase::Measured)
                    }
                    _ => {
                        point.measure(false);
                        None
                    }
                };
            }
            () = until(&mut path, Path::Lost) => {
                report.failure = Some("the media path was lost".to_owned());
                report.come_back = Some(ForNow::default());
                return;
            }
            () = until(phase, Phase::Draining) => break,
        }
    }
    point.stop_sending();
    until(phase, Phase::Leaving).await;
}

/// Ends the session that is there; the server may have given it up already. One that does not do it in time sees the goodbye of DTLS.
async fn end(scenario: &Scenario, index: u32, session: anyhow::Result<Address>) -> anyhow::Result<()> {
    let session = session?;
    let headers: [(&str, &str); 1] = [("Authorization", &bearer(scenario, index))];
    let ended = http::request("DELETE", &session, &headers, "", scenario.trust.as_ref());
    let answer = tokio::time::timeout(END_TIMEOUT, ended)
        .await
        .context("no answer in time")??;
    ensure!(
        matches!(answer.status, 200..=299 | 404 | 410),
        "the server says {}",
        answer.status
    );
    Ok(())
}

fn bearer(scenario: &Scenario, index: u32) -> String {
    format!("Bearer {}", scenario.token(index))
}

/// Offers, takes the answer, and waits for the path. Where the session is goes into `session`, whether or not the path opens.
async fn join(
    scenario: &Scenario,
    entry: &Entry,
    (index, life): (u32, u32),
    shared: &Shared,
    session: &mut Option<anyhow::Result<Address>>,
) -> anyhow::Result<LeanPoint> {
    let Sends::Pattern(plan) = scenario.sends else {
        bail!("only patterns are sent by WHIP")
    };
    let lean = shared.lean.as_ref().context("lean points are needed")?;
    let mut rng = scenario.rng((index, life));
    let sends = !entry.plays;
    let ssrcs = Ssrcs::random(&mut rng, usize::from(sends && !plan.sound));
    let endpoint = entry.address(index)?;
    let point = LeanPoint::new(lean, crate::bot::host(&endpoint), scenario.joined, &mut rng)?;
    let offer = point.offer(&Sections {
        mic: sends && plan.sound,
        ssrcs: &ssrcs,
        voices: usize::from(entry.plays && plan.sound),
        pictures: usize::from(entry.plays && !plan.sound),
    });
    let (answer, endpoint) = ask(scenario, index, endpoint, &offer).await?;
    if answer.status != 201 {
        let error = anyhow!("the server says {}", answer.status);
        let for_now = rejoin::of_answer(answer.status, answer.header("Retry-After"));
        return Err(rejoin::marked(error, for_now));
    }
    *session = Some(made(&endpoint, answer.header("location")));
    let sections = sdp::sections(&answer.body);
    let mut path = point.path();
    point.open(
        &answer.body,
        &sections,
        slots(&answer.body, plan.sound, entry.plays),
        None,
    )?;
    if entry.plays {
        point.want(vec!["v0".to_owned()], shared.clock.now().us);
        point.expect("v0".to_owned());
    }
    let state = path.wait_for(|&path| path != Path::Opening).await;
    ensure!(
        state.is_ok_and(|path| *path == Path::Connected),
        "the media path did not open"
    );
    if sends {
        let section = sections.get("0").filter(|section| section.accepted);
        let extensions = section
            .context("the answer refuses the source")?
            .extensions
            .clone();
        let outgoing = Outgoing {
            point: index + 1,
            ssrcs,
            mic_mid: "0".to_owned(),
            camera_mid: "0".to_owned(),
            mic_extensions: extensions.clone(),
            camera_extensions: extensions,
            fps: scenario.fps,
        };
        let pattern = Pattern::new(plan, outgoing, shared.clock.now(), &mut rng);
        point.start(Source::Pattern(Box::new(pattern)));
    }
    Ok(point)
}

/// Makes the offer, where the server sends it on to if need be (RFC 9725 section 4.6: 307 and 308). Its answer, and who gave it.
async fn ask(
    scenario: &Scenario,
    index: u32,
    mut endpoint: Address,
    offer: &str,
) -> anyhow::Result<(http::Answer, Address)> {
    let bearer = bearer(scenario, index);
    let headers = [
        ("Authorization", bearer.as_str()),
        ("Content-Type", "application/sdp"),
    ];
    for _ in 0..=REDIRECTS_MAX {
        let answer = http::request("POST", &endpoint, &headers, offer, scenario.trust.as_ref()).await?;
        let (307 | 308, Some(other)) = (answer.status, answer.header("location")) else {
            return Ok((answer, endpoint));
        };
        let other = refer(&endpoint, other).context("where the server sends on to")?;
        endpoint = other.context("the server sends on from https to http")?;
    }
    bail!("the server sends on more than {REDIRECTS_MAX} times")
}

/// The slot of a player: its stream's SSRC, where the answer names it; else the first that comes is it.
fn slots(answer: &str, sound: bool, plays: bool) -> Vec<SlotLines> {
    if !plays {
        return Vec::new();
    }
    let section = sdp::sections(answer).remove("0").unwrap_or_default();
    let (name, kind) = match sound {
        true => ("a0", crate::check::SlotKind::Voice),
        false => ("v0", crate::check::SlotKind::Picture),
    };
    vec![SlotLines {
        name: name.to_owned(),
        kind,
        ssrc: section.ssrc.unwrap_or(0),
        rtx_ssrc: section.rtx_ssrc,
    }]
}

/// Where a session is that was made there (RFC 9725 section 4.2 demands that it is told).
fn made(endpoint: &Address, location: Option<&str>) -> anyhow::Result<Address> {
    let location = location.context("the server does not say where it is")?;
    let session = refer(endpoint, location).context("the session's address")?;
    session.context("it began by https and is said to be at http")
}

/// Whom a `Location` names. Nothing where the token would leave TLS for it.
fn refer(endpoint: &Address, location: &str) -> anyhow::Result<Option<Address>> {
    let named = endpoint.refer(location)?;
    Ok(Some(named).filter(|named| named.is_secure || !endpoint.is_secure))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;
    use crate::{
        connection::tests::{self as tls, Authority},
        course,
        lean::{Lean, PatternPlan},
        media_path::{Clock, OurPoints},
        report::Summary,
        shared::Joins,
        trust::Trust,
    };

    #[test]
    fn a_session_is_ended_where_it_is_but_never_without_the_tls_that_it_began_in() {
        let session = |endpoint: &str, location: &str| {
            let found = made(&endpoint.parse().unwrap(), Some(location));
            found
                .map(|found| format!("{}{}", found.origin(), found.path))
                .map_err(|error| error.to_string())
        };
        let found = |text: &str| Ok(text.to_owned());
        assert_eq!(session("http://a:1/whip/x", "/s/1"), found("http://a:1/s/1"));
        assert_eq!(session("http://a:1/whip/x", "http://b/s"), found("http://b/s"));
        assert_eq!(session("https://a/whip/x", "s/1"), found("https://a/whip/s/1"));
        assert_eq!(
            session("https://a/whip/x", "http://a/s/1"),
            Err("it began by https and is said to be at http".to_owned())
        );
    }

    /// Answers each request with the next of these; what was asked, by its first line and token.
    async fn serve(listener: TcpListener, answers: &[&str]) -> Vec<String> {
        let mut asked = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut text = String::new();
            let mut bytes = [0; 4_096];
            while !text.contains("\r\n\r\n") {
                let length = stream.read(&mut bytes).await.unwrap();
                text.push_str(std::str::from_utf8(&bytes[..length]).unwrap());
            }
            let words = |start: &str| {
                text.lines()
                    .find(|line| line.starts_with(start))
                    .map(str::to_owned)
            };
            let first = text.lines().next().unwrap_or_default();
            asked.push(format!("{first} {}", words("Authorization").unwrap_or_default()));
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        asked
    }

    async fn listen() -> (TcpListener, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/whip/x", listener.local_addr().unwrap());
        (listener, url)
    }

    fn scenario() -> Scenario {
        Scenario {
            tokens: vec!["a".to_owned(), "b".to_owned()],
            sends: Sends::Pattern(PatternPlan {
                rate: 1,
                bytes: 200,
                frame: 1,
                sound: true,
                even: true,
                sizes: crate::lean::Sizes::Equal,
            }),
            ..crate::scenario::tests::scenario()
        }
    }

    #[tokio::test]
    async fn an_offer_follows_where_it_is_sent_with_the_token_of_its_seat_but_not_for_ever() {
        let on = "HTTP/1.1 307 On\r\nLocation: /other\r\n\r\n";
        let made = "HTTP/1.1 201 Created\r\nLocation: s/1\r\n\r\n";
        for (answers, status) in [
            (&[made][..], Some(201)),
            (&[on, on, on, made], Some(201)),
            (&[on, "HTTP/1.1 503 Later\r\n\r\n"], Some(503)),
            (&[on, on, on, on], None),
            (&["HTTP/1.1 302 Found\r\nLocation: /other\r\n\r\n"], Some(302)),
        ] {
            let (listener, url) = listen().await;
            let scenario = scenario();
            let asking = ask(&scenario, 1, url.parse().unwrap(), "v=0");
            let (asked, answer) = tokio::join!(serve(listener, answers), asking);
            assert_eq!(answer.ok().map(|(answer, _)| answer.status), status);
            assert!(
                asked
                    .iter()
                    .all(|line| line.starts_with("POST /") && line.ends_with("Bearer b"))
            );
        }
    }

    #[tokio::test]
    async fn an_offer_that_is_sent_on_to_https_is_made_to_whom_is_trusted_there() {
        let authority = Authority::new("own");
        let made = async |mut stream: tokio_rustls::server::TlsStream<tokio::net::TcpStream>| {
            let mut request = [0; 4_096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(b"HTTP/1.1 201 Created\r\n\r\n").await;
            let _ = stream.shutdown().await;
        };
        let port = tls::serve(authority.acceptor(|_| {}, &["127.0.0.1"]), made).await;
        let on = format!("HTTP/1.1 308 On\r\nLocation: https://127.0.0.1:{port}/x\r\n\r\n");
        let answers = [on.as_str()];
        for (trust, words) in [
            (authority.trust(), None),
            (
                Trust::nobody(&anyhow!("name one with --ca")),
                Some("name one with --ca"),
            ),
        ] {
            let (listener, url) = listen().await;
            let scenario = Scenario {
                trust: Some(trust),
                ..scenario()
            };
            let asking = ask(&scenario, 1, url.parse().unwrap(), "v=0");
            let (_, answer) = tokio::join!(serve(listener, &answers), asking);
            match words {
                None => assert_eq!(answer.unwrap().0.status, 201),
                Some(words) => assert_eq!(answer.unwrap_err().to_string(), words),
            }
        }
    }

    #[tokio::test]
    async fn a_session_whose_path_cannot_open_is_ended_or_it_is_told_why_not() {
        let made = "HTTP/1.1 201 Created\r\nLocation: /s/1\r\n\r\nno answer";
        let nowhere = "HTTP/1.1 201 Created\r\n\r\nno answer";
        for (answers, why) in [
            (&[made, "HTTP/1.1 200 OK\r\n\r\n"][..], None),
            (&[made, "HTTP/1.1 404 Not Found\r\n\r\n"], None),
            (&[made, "HTTP/1.1 410 Gone\r\n\r\n"], None),
            (&[made, "HTTP/1.1 403 No\r\n\r\n"], Some("the server says 403")),
            (
                &[made, "HTTP/1.1 307 On\r\nLocation: /s/2\r\n\r\n"],
                Some("the server says 307"),
            ),
            (&[made], Some("")),
            (&[nowhere], Some("the server does not say where it is")),
        ] {
            let (listener, url) = listen().await;
            let scenario = scenario();
            let (clock, ours) = (Clock::new(), OurPoints::default());
            let lean = Lean::start(clock, ours.clone()).unwrap();
            let shared = Shared {
                clock,
                ours,
                lean: Some(lean.clone()),
                joins: Joins::default(),
            };
            let entry = Entry {
                url,
                streams: 1,
                plays: false,
            };
            let (_phase, phases) = watch::channel(Phase::Joining);
            let mut settled = None;
            let playing = play(&scenario, &entry, (0, 0), 0, &shared, phases, &mut settled);
            let (asked, report) = tokio::join!(serve(listener, answers), playing);
            assert!(report.failure.is_some());
            assert!(
                asked
                    .iter()
                    .skip(1)
                    .all(|line| line.starts_with("DELETE /s/1 ") && line.ends_with("Bearer a")),
                "{asked:?}"
            );
            let words = report.log.concat();
            match why {
                None => assert_eq!(words, ""),
                Some(why) => assert!(
                    words.contains(&format!("did not end its session: {why}")),
                    "{words}"
                ),
            }
            assert!(!lean.has_sockets(), "its socket is given up");
        }
    }

    /// Plays one point against a server that answers so, and stops when `stop` says so: what was asked until when, and what came of it.
    async fn run(answers: &[&str], stop: bool) -> (Vec<String>, Duration, Summary) {
        let (listener, url) = listen().await;
        let scenario = Scenario {
            points: 1,
            lean: true,
            entry: Some(Entry {
                url,
                streams: 1,
                plays: false,
            }),
            ..scenario()
        };
        let began = Instant::now();
        let (stopping, stopped) = watch::channel(false);
        let serving = async {
            let asked = tokio::time::timeout(STEP_TIMEOUT, serve(listener, answers)).await;
            let asked = asked.expect("it asks so often");
            stopping.send_replace(stop);
            (asked, began.elapsed())
        };
        let ((asked, time), report) = tokio::join!(serving, course::run(scenario, stopped));
        (asked, time, report.summary())
    }

    const LATER: &str = "HTTP/1.1 503 Later\r\nRetry-After: 1\r\n\r\n";

    #[tokio::test]
    async fn who_is_told_to_come_later_does_and_not_before() {
        let made = "HTTP/1.1 201 Created\r\nLocation: /s/1\r\n\r\nno answer";
        let busy = "HTTP/1.1 429 Busy\r\n\r\n";
        let ended = "HTTP/1.1 200 OK\r\n\r\n";
        let (asked, time, summary) = run(&[LATER, busy, made, ended], false).await;
        let methods = asked.iter().filter_map(|line| line.split(' ').next());
        assert_eq!(methods.collect::<Vec<_>>(), ["POST", "POST", "POST", "DELETE"]);
        assert!(time >= Duration::from_secs(1), "{time:?}");
        assert_eq!((summary.told_to_come_later, summary.rejoins), (Some(1), Some(2)));
    }

    #[tokio::test]
    async fn who_is_sent_away_until_the_end_has_not_come_in_and_who_is_refused_for_good_stays_away() {
        let (_, _, summary) = run(&[LATER], true).await;
        let told = (summary.joined, summary.told_to_come_later, summary.rejoins);
        assert_eq!(told, (0, Some(1), Some(0)));
        let (_, _, summary) = run(&["HTTP/1.1 403 No\r\nRetry-After: 1\r\n\r\n"], false).await;
        assert_eq!((summary.told_to_come_later, summary.rejoins), (Some(0), Some(0)));
    }
}
