//! The media of one point at work in its peer connection.
//!
//! `webrtc` does ICE, DTLS, SDP, SRTP and RTCP reports; this stage sits at the application's end of its chain of
//! interceptors, where every opened packet passes and from where packets may be sent. So the sending clock, repairs and
//! checks run inside the connection's own driver, without a task or a queue per track.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant, SystemTime},
};

use rtc::{
    interceptor::{AttributedPacket, Interceptor, Packet, StreamInfo, TaggedPacket},
    rtcp::{
        payload_feedbacks::{
            full_intra_request::FullIntraRequest, picture_loss_indication::PictureLossIndication,
        },
        receiver_report::ReceiverReport,
        sender_report::SenderReport,
        transport_feedbacks::transport_layer_nack::{TransportLayerNack, nack_pairs_from_sequence_numbers},
    },
    rtp,
    sansio::Protocol,
    shared::{TransportContext, error::Error},
};

use crate::{
    check::{Arrived, SlotCheck, SlotCounts, SlotKind},
    histogram::Histogram,
    sender::{Now, Sender, SenderCounts},
};

/// How often repairs, names and sending are looked at when nothing else is due.
const TICK: Duration = Duration::from_millis(20);

/// The clock of the load tester: one for all points, so that a latency is a difference of two of its readings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    epoch: Instant,
    epoch_us: u64,
}

impl Clock {
    /// A clock that counts from 1970.
    pub(crate) fn new() -> Self {
        let since_1970 = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            epoch: Instant::now(),
            epoch_us: since_1970.as_micros() as u64,
        }
    }

    /// A reading.
    pub(crate) fn now(&self) -> Now {
        self.at(Instant::now())
    }

    /// The reading at an instant.
    pub(crate) fn at(&self, instant: Instant) -> Now {
        let since = instant.saturating_duration_since(self.epoch);
        Now {
            instant,
            us: self.epoch_us + since.as_micros() as u64,
        }
    }
}

/// Numbers of this load tester's points, shared by all of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct OurPoints(Arc<Mutex<BTreeSet<u32>>>);

impl OurPoints {
    pub(crate) fn insert(&self, point: u32) {
        lock(&self.0).insert(point);
    }

    pub(crate) fn contains(&self, point: u32) -> bool {
        lock(&self.0).contains(&point)
    }
}

/// Locks are held for the length of one packet; a panic elsewhere does not make the figures wrong.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A slot as the answer describes it.
#[derive(Debug, Clone)]
pub(crate) struct SlotLines {
    pub(crate) name: String,
    pub(crate) kind: SlotKind,
    pub(crate) ssrc: u32,
    pub(crate) rtx_ssrc: Option<u32>,
}

/// A slot with its judge.
#[derive(Debug)]
struct IncomingSlot {
    name: String,
    ssrc: u32,
    rtx_ssrc: Option<u32>,
    check: SlotCheck,
}

/// The figures of one point's media.
#[derive(Debug, Default)]
pub(crate) struct MediaReport {
    pub(crate) received: SlotCounts,
    pub(crate) sent: SenderCounts,
    pub(crate) latency: Histogram,
    pub(crate) nacks: u64,
    pub(crate) key_frame_requests: u64,
    pub(crate) log: Vec<String>,
    /// When the first packet came, by the tester's clock. This and what follows is known of lean points only.
    pub(crate) first_packet_us: Option<u64>,
    /// From the wish for a picture to its first key frame, per slot.
    pub(crate) first_key: Histogram,
    /// Numbers that did not come the first time.
    pub(crate) gaps: Option<u64>,
    /// Times a picture stood still (W3C webrtc-stats, `freezeCount`); nothing where no picture is judged by headers.
    pub(crate) freezes: Option<u64>,
    /// Longest time between two frames of one source.
    pub(crate) longest_gap_us: u64,
    /// Streams that ran when a storm began, of a point that stood there, and the longest time between two pictures of one of them since.
    pub(crate) running: u64,
    pub(crate) running_gap_us: Option<u64>,
    /// Packets that the kernel did not take.
    pub(crate) not_sent: u64,
    /// Datagrams that its socket had no room for.
    pub(crate) dropped: Option<u64>,
}

/// The bot's handle on its media: the connection's chain owns the other end, hence the lock (taken once per packet,
/// never contended for long).
#[derive(Debug, Clone)]
pub(crate) struct MediaPath {
    state: Arc<Mutex<State>>,
    clock: Clock,
    ours: OurPoints,
}

#[derive(Debug, Default)]
struct State {
    sender: Option<Sender>,
    sending: bool,
    judging: bool,
    slots: Vec<IncomingSlot>,
    by_ssrc: BTreeMap<u32, (usize, bool)>,
    rtp: Vec<rtp::Packet>,
    reports: Vec<SenderReport>,
    out: VecDeque<Packet>,
    next_tick: Option<Instant>,
    nacks: u64,
    key_frame_requests: u64,
}

impl MediaPath {
    /// Media that is still silent and deaf.
    pub(crate) fn new(clock: Clock, ours: OurPoints) -> Self {
        Self {
            state: Arc::default(),
            clock,
            ours,
        }
    }

    /// The stage for the connection's chain.
    pub(crate) fn stage(&self) -> Stage {
        Stage {
            path: self.clone(),
            passed: VecDeque::new(),
        }
    }

    /// Slots are known: what comes is judged from here on.
    pub(crate) fn set_slots(&self, slots: Vec<SlotLines>) {
        let judged = slots.into_iter().map(|slot| IncomingSlot {
            name: slot.name,
            ssrc: slot.ssrc,
            rtx_ssrc: slot.rtx_ssrc,
            check: SlotCheck::new(slot.kind),
        });
        let slots: Vec<IncomingSlot> = judged.collect();
        let mut state = lock(&self.state);
        state.by_ssrc = slots
            .iter()
            .enumerate()
            .flat_map(|(at, slot)| {
                [
                    Some((slot.ssrc, (at, false))),
                    slot.rtx_ssrc.map(|rtx| (rtx, (at, true))),
                ]
            })
            .flatten()
            .collect();
        state.slots = slots;
        state.judging = true;
    }

    /// Begins to send.
    pub(crate) fn start(&self, sender: Sender) {
        let mut state = lock(&self.state);
        state.sender = Some(sender);
        state.sending = true;
    }

    /// Stops sending; what is on its way is still judged.
    pub(crate) fn stop_sending(&self) {
        lock(&self.state).sending = false;
    }

    /// Speaks or is silent.
    pub(crate) fn set_speaking(&self, speaking: bool) {
        if let Some(sender) = &mut lock(&self.state).sender {
            sender.set_speaking(speaking);
        }
    }

    /// A slot message.
    pub(crate) fn announce(&self, slot: &str, source: u32, time: u32) {
        let mut state = lock(&self.state);
        if let Some(slot) = state.slots.iter_mut().find(|candidate| candidate.name == slot) {
            slot.check.announce(source, time);
        }
    }

    /// Whole units received so far.
    #[cfg(test)]
    pub(crate) fn units(&self) -> u64 {
        lock(&self.state)
            .slots
            .iter()
            .map(|slot| slot.check.counts().units)
            .sum()
    }

    /// Whether a repair is still awaited.
    #[cfg(test)]
    pub(crate) fn units_missing(&self) -> bool {
        lock(&self.state).slots.iter().any(|slot| slot.check.is_waiting())
    }

    /// Stops judging and tells what was seen.
    pub(crate) fn finish(&self) -> MediaReport {
        let mut state = lock(&self.state);
        state.judging = false;
        state.sending = false;
        let (now_us, ours) = (self.clock.now().us, |point| self.ours.contains(point));
        let mut report = MediaReport {
            sent: state.sender.as_ref().map(Sender::counts).unwrap_or_default(),
            nacks: state.nacks,
            key_frame_requests: state.key_frame_requests,
            ..MediaReport::default()
        };
        for slot in &mut state.slots {
            slot.check.finish(now_us, &ours);
            report.received.add(slot.check.counts());
            report.latency.add(slot.check.latency());
            report.log.extend(
                slot.check
                    .log()
                    .iter()
                    .map(|line| format!("{}: {line}", slot.name)),
            );
        }
        report
    }
}

impl State {
    fn handle_rtp(&mut self, now: Now, packet: rtp::Packet, ours: &dyn Fn(u32) -> bool) {
        let Some(&(at, repair)) = self.by_ssrc.get(&packet.header.ssrc) else {
            return;
        };
        if !self.judging {
            return;
        }
        let mut arrived = Arrived {
            sequence: packet.header.sequence_number,
            time: packet.header.timestamp,
            marker: packet.header.marker,
            csrc: packet.header.csrc.first().copied(),
            payload: packet.payload,
            at_us: now.us,
            repair,
        };
        if repair {
            // RFC 4588: the original number, then the original payload. Less is padding that probes the path.
            if arrived.payload.len() <= 2 {
                return;
            }
            arrived.sequence = u16::from_be_bytes([arrived.payload[0], arrived.payload[1]]);
            arrived.payload = arrived.payload.slice(2..);
        }
        self.slots[at].check.handle(arrived, ours);
        self.ask(now, at);
    }

    /// Asks for what slot `at` misses.
    fn ask(&mut self, now: Now, at: usize) {
        let slot = &mut self.slots[at];
        if slot.rtx_ssrc.is_none() {
            return;
        }
        let missing = slot.check.poll_nacks(now.us);
        if !missing.is_empty() {
            self.nacks += 1;
            self.out.push_back(Packet::Rtcp(vec![Box::new(TransportLayerNack {
                sender_ssrc: 1,
                media_ssrc: slot.ssrc,
                nacks: nack_pairs_from_sequence_numbers(&missing),
            })]));
        }
        if slot.check.poll_key_frame_request(now.us) {
            self.key_frame_requests += 1;
            self.out
                .push_back(Packet::Rtcp(vec![Box::new(PictureLossIndication {
                    sender_ssrc: 1,
                    media_ssrc: slot.ssrc,
                })]));
        }
    }

    fn handle_rtcp(&mut self, now: Now, packets: &[Box<dyn rtc::rtcp::Packet>]) {
        let Some(sender) = &mut self.sender else { return };
        for packet in packets {
            let packet = packet.as_any();
            if let Some(nack) = packet.downcast_ref::<TransportLayerNack>() {
                let missing: Vec<u16> = nack.nacks.iter().flat_map(|pair| pair.packet_list()).collect();
                if self.sending {
                    sender.handle_nack(now, nack.media_ssrc, &missing, &mut self.rtp);
                }
            } else if let Some(pli) = packet.downcast_ref::<PictureLossIndication>() {
                sender.handle_key_frame_request(pli.media_ssrc);
            } else if let Some(fir) = packet.downcast_ref::<FullIntraRequest>() {
                fir.fir
                    .iter()
                    .for_each(|entry| sender.handle_key_frame_request(entry.ssrc));
            } else if let Some(report) = packet.downcast_ref::<ReceiverReport>() {
                report
                    .reports
                    .iter()
                    .for_each(|block| sender.handle_report(block.ssrc));
            } else if let Some(report) = packet.downcast_ref::<SenderReport>() {
                report
                    .reports
                    .iter()
                    .for_each(|block| sender.handle_report(block.ssrc));
            }
        }
        self.flush();
    }

    fn handle_timeout(&mut self, now: Now, ours: &dyn Fn(u32) -> bool) {
        if self.sending
            && let Some(sender) = &mut self.sender
        {
            sender.handle_timeout(now, &mut self.rtp, &mut self.reports);
        }
        if self.next_tick.is_some_and(|tick| tick > now.instant) {
            return self.flush();
        }
        self.next_tick = Some(now.instant + TICK);
        if self.judging {
            for at in 0..self.slots.len() {
                self.slots[at].check.handle_timeout(now.us, ours);
                self.ask(now, at);
            }
        }
        self.flush();
    }

    /// Always something: so the connection's driver looks here often enough to notice that sending has begun.
    fn poll_timeout(&self, clock: &Clock) -> Instant {
        let sender = self
            .sender
            .as_ref()
            .filter(|_| self.sending)
            .map(Sender::poll_timeout);
        let tick = self.next_tick.unwrap_or(clock.epoch);
        sender.map_or(tick, |sender| sender.min(tick))
    }

    fn flush(&mut self) {
        self.out.extend(self.rtp.drain(..).map(Packet::Rtp));
        let reports = self.reports.drain(..);
        self.out
            .extend(reports.map(|report| Packet::Rtcp(vec![Box::new(report)])));
    }
}

/// The stage in the chain.
pub(crate) struct Stage {
    path: MediaPath,
    passed: VecDeque<TaggedPacket>,
}

impl Stage {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.path.state)
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Stage {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    /// Everything that comes ends here.
    fn handle_read(&mut self, message: TaggedPacket) -> Result<(), Error> {
        let now = self.path.clock.at(message.now);
        let ours = |point| self.path.ours.contains(point);
        match message.message.packet {
            Packet::Rtp(packet) => self.state().handle_rtp(now, packet, &ours),
            Packet::Rtcp(packets) => self.state().handle_rtcp(now, &packets),
            _ => {}
        }
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        None
    }

    fn handle_write(&mut self, message: TaggedPacket) -> Result<(), Error> {
        self.passed.push_back(message);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        if let Some(message) = self.passed.pop_front() {
            return Some(message);
        }
        let packet = self.state().out.pop_front()?;
        Some(TaggedPacket {
            now: Instant::now(),
            transport: TransportContext::default(),
            message: AttributedPacket::new(packet),
        })
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        let now = self.path.clock.at(now);
        let ours = |point| self.path.ours.contains(point);
        self.state().handle_timeout(now, &ours);
        Ok(())
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        Some(self.state().poll_timeout(&self.path.clock))
    }
}

impl Interceptor for Stage {
    fn bind_local_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _info: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _info: &StreamInfo) {}
}
