//! What is known of each point of a room, for operators and figures: read now and then, never per packet.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{
    super::{
        bwe::PathLoss,
        emodel::{self, Impairment},
        page::ClientState,
        quality::{PointReport, SendOrder, SlotQuality},
        selector::LayerStream,
        slot::Slot,
        units::Bitrate,
        uplink::UplinkStats,
    },
    Endpoint, Room,
};
use crate::wire::rtcp::ReportBlock;

/// Losses are those since the last look, if that is this long ago; else those of the look before.
const WINDOW_MIN: Duration = Duration::from_secs(1);
/// Jitter buffer of voices where the page said nothing of it yet.
const AUDIO_DELAY: Duration = Duration::from_millis(60);

/// Loss both ways since the last look.
#[derive(Debug, Default)]
pub(super) struct Window {
    since: Option<Instant>,
    path: PathLoss,
    /// The highest number that blocks told of each stream; at most one for each slot.
    highest: BTreeMap<u32, u32>,
    /// In 256ths of a packet, lost and all that blocks told of since the last look.
    blocks: (u64, u64),
    uplink: UplinkStats,
    loss_permille: u32,
    loss_up_permille: u32,
    /// What the page said of its voices when it last played any: made up (in millionths), and their jitter buffer.
    voices: Option<(u32, Duration)>,
}

impl Window {
    /// What a page says of itself: nothing of voices in a second in which none was to be played.
    pub(super) fn handle_client(&mut self, client: &ClientState) {
        if client.audio_delay_ms > 0 {
            let buffer = Duration::from_millis(client.audio_delay_ms.into());
            self.voices = Some((client.concealed_ppm, buffer));
        }
    }

    /// A block of a receiver that tells of no single packets: a share of those since its last one.
    pub(super) fn handle_block(&mut self, block: &ReportBlock) {
        let number = block.highest_sequence;
        let former = self.highest.insert(block.ssrc, number);
        // More than a second brings, or back: it began anew.
        let more = u16::try_from(number.wrapping_sub(former.unwrap_or(number))).unwrap_or(0);
        self.blocks.0 += u64::from(more) * u64::from(block.fraction_lost);
        self.blocks.1 += u64::from(more) * 256;
    }

    /// Looks, and begins anew if it is time to.
    fn look(&mut self, now: Instant, path: PathLoss, uplink: UplinkStats) {
        if self.since.is_some_and(|since| now < since + WINDOW_MIN) {
            return;
        }
        let was = &self.path;
        // What was said to be lost and came after all was not.
        let lost = (path.lost - was.lost).saturating_sub(path.late - was.late);
        let known = (path.arrived - was.arrived) + (path.lost - was.lost);
        let (lost_of_blocks, of_blocks) = std::mem::take(&mut self.blocks);
        self.loss_permille = permille(lost * 256 + lost_of_blocks, known * 256 + of_blocks);
        let was = &self.uplink;
        let expected = uplink.expected - was.expected;
        let lost = expected.saturating_sub(uplink.received - was.received);
        self.loss_up_permille = permille(lost, expected);
        (self.since, self.path, self.uplink) = (Some(now), path, uplink);
    }

    /// Score of the voices that are heard. What the page says was made up counts, after all repair; before it says
    /// anything, loss on the way. The delay is half a round trip and the jitter buffer.
    fn score(&self, round_trip: Duration) -> f32 {
        let (loss_ppm, buffer, impairment) = match self.voices {
            Some((made_up, buffer)) => (made_up, buffer, Impairment::OPUS),
            None => (self.loss_permille * 1_000, AUDIO_DELAY, Impairment::OPUS_FEC),
        };
        emodel::voice(loss_ppm, round_trip / 2 + buffer, impairment)
    }
}

fn permille(part: u64, whole: u64) -> u32 {
    (part.min(whole) * 1_000 / whole.max(1)) as u32
}

impl Room {
    /// Everybody in this half, by number. Losses are those since the last look, at least a second.
    pub fn report(&mut self, now: Instant) -> Vec<PointReport> {
        let now = self.advance(now);
        for endpoint in self.endpoints.values_mut() {
            let (path, uplink) = (endpoint.way.loss(), endpoint.uplink.stats());
            endpoint.window.look(now, path, uplink);
        }
        let everybody = self.numbers.values().filter_map(|&id| self.endpoints.get(id));
        let here = everybody.filter(|endpoint| endpoint.home.is_none());
        here.map(|endpoint| self.report_of(endpoint)).collect()
    }

    fn report_of(&self, endpoint: &Endpoint) -> PointReport {
        let slots = endpoint.video.iter().filter(|slot| slot.target().is_some());
        let grant = self.plan.allocation.receiver(endpoint.id);
        let takes = endpoint.slots().next().is_some();
        let (outbound, hears) = (&endpoint.outbound, !endpoint.audio.is_empty());
        PointReport {
            number: endpoint.number,
            connected: endpoint.connected,
            estimate: takes.then(|| endpoint.way.target()),
            allocated: grant.map_or(Bitrate::ZERO, |grant| grant.used),
            wanted: grant.map_or(Bitrate::ZERO, |grant| grant.wanted),
            rtt_ms: outbound
                .measured()
                .map(|round_trip| round_trip.as_millis() as u32),
            loss_permille: endpoint.window.loss_permille,
            loss_up_permille: endpoint.window.loss_up_permille,
            jitter_up_ms: endpoint.uplink.jitter().as_millis() as u32,
            voice_mos: hears.then(|| endpoint.window.score(outbound.round_trip())),
            client: endpoint.client.clone(),
            slots: slots.map(|slot| self.quality_of(slot)).collect(),
            send: SendOrder::default(),
        }
    }

    fn quality_of(&self, slot: &Slot) -> SlotQuality {
        let height = |shown: LayerStream| self.source(shown.source)?.height(shown.layer);
        SlotQuality {
            slot: slot.id,
            height: slot.shown().and_then(height),
            rate_percent: if slot.shown().is_some() { 100 } else { 0 },
            cause: None,
            line: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::testing::{base, ms},
        *,
    };

    fn path(arrived: u64, lost: u64, late: u64) -> PathLoss {
        PathLoss {
            arrived,
            lost,
            late,
            unknown: 0,
        }
    }

    fn uplink(expected: u64, received: u64) -> UplinkStats {
        UplinkStats {
            expected,
            received,
            ..UplinkStats::default()
        }
    }

    #[test]
    fn losses_are_those_since_the_last_look_of_a_second_ago() {
        let mut window = Window::default();
        window.look(base(), path(90, 10, 0), uplink(100, 100));
        assert_eq!((window.loss_permille, window.loss_up_permille), (100, 0));
        window.look(base() + ms(999), path(90, 110, 0), uplink(100, 100));
        assert_eq!(window.loss_permille, 100, "too soon");
        window.look(base() + ms(1_000), path(150, 50, 20), uplink(200, 180));
        assert_eq!((window.loss_permille, window.loss_up_permille), (200, 200));
        window.look(base() + ms(2_000), path(150, 50, 50), uplink(200, 181));
        assert_eq!((window.loss_permille, window.loss_up_permille), (0, 0));
    }

    #[test]
    fn a_second_of_silence_does_not_change_the_score_of_voices() {
        let mut window = Window::default();
        let client = |concealed_ppm, audio_delay_ms| ClientState {
            concealed_ppm,
            audio_delay_ms,
            ..ClientState::default()
        };
        window.look(base(), path(70, 30, 0), uplink(0, 0));
        let unsaid = window.score(ms(100));
        window.handle_client(&client(20_000, 200));
        let said = window.score(ms(100));
        assert!(said > unsaid + 1.0, "{said} and {unsaid}");
        window.handle_client(&client(0, 0));
        assert_eq!(window.score(ms(100)), said);
    }
}
