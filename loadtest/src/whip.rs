//! Points that come by WHIP (RFC 9725) or WHEP, to any server: one HTTP request with an offer, one to end.

use anyhow::{Context as _, bail, ensure};
use rand::{SeedableRng as _, rngs::StdRng};
use tokio::sync::watch;

use crate::{
    address::Address,
    bot::{STEP_TIMEOUT, Shared, until},
    course::Phase,
    http,
    lean::{LeanPoint, Pattern, Sections, Source},
    media_path::SlotLines,
    peer::Path,
    report::PointReport,
    scenario::{Scenario, Sends},
    sdp,
    sender::{Outgoing, Ssrcs},
};

/// Where points come in, and what for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The endpoint; `{n}` in it is the number of the stream, from 1.
    pub(crate) url: String,
    /// Streams that there are: receiver r plays stream r modulo this.
    pub(crate) streams: u32,
    /// Plays what others send, instead of sending.
    pub(crate) plays: bool,
}

impl Entry {
    /// Where a point comes in.
    pub(crate) fn address(&self, index: u32) -> anyhow::Result<Address> {
        let number = index % self.streams.max(1) + 1;
        self.url.replace("{n}", &number.to_string()).parse()
    }
}

/// A session on its way.
struct Session {
    point: LeanPoint,
    /// What ends it.
    location: Option<Address>,
}

/// Plays one point to its end. Lets `settled` go when it has come in or failed to.
pub(crate) async fn play(
    scenario: &Scenario,
    entry: &Entry,
    index: u32,
    shared: &Shared,
    mut phase: watch::Receiver<Phase>,
    settled: Option<tokio::sync::mpsc::Sender<()>>,
) -> PointReport {
    let mut report = PointReport::default();
    let opened_us = shared.clock.now().us;
    let joined = tokio::time::timeout(STEP_TIMEOUT, join(scenario, entry, index, shared)).await;
    let session = match joined.context("it took too long").and_then(|joined| joined) {
        Ok(session) => session,
        Err(error) => {
            report.failure = Some(format!("did not come in: {error:#}"));
            return report;
        }
    };
    let us = shared.clock.now().us - opened_us;
    report.join_us = Some(us);
    report.joins.record(us);
    drop(settled);
    let mut path = session.point.path();
    let mut steps = phase.clone();
    let mut next = Some(Phase::Meeting);
    loop {
        tokio::select! {
            () = until(&mut steps, next.unwrap_or(Phase::Draining)), if next.is_some() => {
                next = match next {
                    Some(Phase::Meeting) => {
                        session.point.grow();
                        Some(Phase::Measured)
                    }
                    _ => {
                        session.point.measure(false);
                        None
                    }
                };
            }
            () = until(&mut path, Path::Lost) => {
                report.failure = Some("the media path was lost".to_owned());
                break;
            }
            () = until(&mut phase, Phase::Draining) => break,
        }
    }
    session.point.stop_sending();
    until(&mut phase, Phase::Leaving).await;
    report.take(session.point.finish().await, opened_us);
    if entry.plays && report.first_packet_us.is_none() {
        report.failure.get_or_insert_with(|| "nothing came".to_owned());
    }
    session.point.close();
    if let Some(location) = session.location {
        // A server that does not end it sees the goodbye of DTLS.
        let headers: [(&str, &str); 1] = [("Authorization", &bearer(scenario))];
        let _ = http::request("DELETE", &location, &headers, "", scenario.trust.as_ref()).await;
    }
    report
}

fn bearer(scenario: &Scenario) -> String {
    format!("Bearer {}", scenario.token(0))
}

/// Offers, takes the answer, and waits for the path.
async fn join(scenario: &Scenario, entry: &Entry, index: u32, shared: &Shared) -> anyhow::Result<Session> {
    let Sends::Pattern(plan) = scenario.sends else {
        bail!("only patterns are sent by WHIP")
    };
    let lean = shared.lean.as_ref().context("lean points are needed")?;
    let mut rng = StdRng::seed_from_u64(scenario.seed.wrapping_add(index.into()));
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
    let headers = [
        ("Authorization", bearer(scenario)),
        ("Content-Type", "application/sdp".to_owned()),
    ];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let answer = http::request("POST", &endpoint, &headers, &offer, scenario.trust.as_ref()).await?;
    ensure!(answer.status == 201, "the server says {}", answer.status);
    let location = match answer.header("location") {
        Some(location) => session(&endpoint, location)?,
        None => None,
    };
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
    Ok(Session { point, location })
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

/// What ends the session that a `Location` names. Nothing where the token would leave TLS for it.
fn session(endpoint: &Address, location: &str) -> anyhow::Result<Option<Address>> {
    let session = endpoint.refer(location).context("the session's address")?;
    Ok(Some(session).filter(|session| session.is_secure || !endpoint.is_secure))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receivers_share_the_streams() {
        let entry = Entry {
            url: "http://a/whep/room/cam-{n}".to_owned(),
            streams: 2,
            plays: true,
        };
        let paths = [0, 1, 2].map(|index| entry.address(index).unwrap().path);
        assert_eq!(paths, ["1", "2", "1"].map(|n| format!("/whep/room/cam-{n}")));
    }

    #[test]
    fn a_session_is_ended_where_it_is_but_never_without_the_tls_that_it_began_in() {
        let session = |endpoint: &str, location: &str| {
            let found = session(&endpoint.parse().unwrap(), location).unwrap();
            found.map(|found| format!("{}{}", found.origin(), found.path))
        };
        let found = |text: &str| Some(text.to_owned());
        assert_eq!(session("http://a:1/whip/x", "/s/1"), found("http://a:1/s/1"));
        assert_eq!(session("http://a:1/whip/x", "http://b/s"), found("http://b/s"));
        assert_eq!(session("https://a/whip/x", "s/1"), found("https://a/whip/s/1"));
        assert_eq!(session("https://a/whip/x", "http://a/s/1"), None);
    }
}
