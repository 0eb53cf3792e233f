//! One end of a link: what waits to be said, what was said and not acknowledged, and what the other end said last.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{
    super::{arrival::AudioLevel, history::PacketRef, id::SourceNumber, packet::soonest},
    BATCH_BYTES_MAX, BATCH_PACKETS_MAX, CascadeBatch, Figure, Head, Heard, LinkId, POINTS_MAX, Packet, Place,
    Point, Statement, Want, Ways,
};

/// Packets that wait for the next batch. Full: the oldest is left out, and the other half is let know by a number left out.
const PENDING_MAX: usize = 2_048;
/// Levels in a batch: some 50 a second of each voice that crosses. Those beyond are left out, the next ones come in 20 ms.
const LEVELS_MAX: usize = 256;
/// Key frames asked for with one batch. Those beyond are asked for again by the slots that wait.
const KEY_FRAMES_MAX: usize = 512;
/// A statement that was not acknowledged is said again after so long.
const RESEND: Duration = Duration::from_millis(100);

/// The near end of a link.
#[derive(Debug)]
pub(in crate::engine) struct Link {
    pub(in crate::engine) id: LinkId,
    session: Instant,
    number: u64,
    pub(in crate::engine) points: Said<Point>,
    pub(in crate::engine) wants: Said<Want>,
    pub(in crate::engine) ways: Ways,
    pub(in crate::engine) figures_due: bool,
    key_frames: Vec<(SourceNumber, u8)>,
    levels: Vec<(SourceNumber, AudioLevel)>,
    pending: VecDeque<Packet>,
    pub(in crate::engine) far: Option<Far>,
    /// A statement came that is not acknowledged.
    owes: bool,
}

/// What is known of the other end.
#[derive(Debug)]
pub(in crate::engine) struct Far {
    session: Instant,
    /// The number of its next batch.
    next: u64,
    points_version: u64,
    wants_version: u64,
    /// Its points.
    pub(in crate::engine) points: Vec<Point>,
    /// What it wants of ours, by source.
    pub(in crate::engine) wants: Vec<Want>,
    pub(in crate::engine) ways: Ways,
}

/// A statement of ours.
#[derive(Debug)]
pub(in crate::engine) struct Said<T> {
    all: Vec<T>,
    /// 1 for the first, also if that is empty.
    version: u64,
    acknowledged: u64,
    sent: Option<(u64, Instant)>,
}

/// What a batch brings that has to be acted upon besides its packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::engine) struct News {
    /// The other half is another one than before: what was known of it holds no more.
    pub(in crate::engine) anew: bool,
    pub(in crate::engine) points: bool,
    pub(in crate::engine) wants: bool,
    /// Batches before this one did not come.
    pub(in crate::engine) lost: bool,
}

impl<T: Copy + PartialEq> Said<T> {
    fn new() -> Self {
        Self {
            all: Vec::new(),
            version: 1,
            acknowledged: 0,
            sent: None,
        }
    }

    /// What holds from now on, at most `most` of it. True if that is news.
    pub(in crate::engine) fn set(&mut self, all: &[T], most: usize) -> bool {
        let all = &all[..all.len().min(most)];
        let changed = self.all != all;
        if changed {
            self.all.clear();
            self.all.extend_from_slice(all);
            self.version += 1;
        }
        changed
    }

    pub(in crate::engine) fn all(&self) -> &[T] {
        &self.all
    }

    pub(in crate::engine) fn version(&self) -> u64 {
        self.version
    }

    fn due(&self) -> Option<Due> {
        if self.acknowledged == self.version {
            return None;
        }
        let again = self.sent.filter(|(version, _)| *version == self.version);
        Some(again.map_or(Due::Now, |(_, at)| Due::At(at + RESEND)))
    }

    fn write(&mut self, now: Instant, out: &mut Statement<T>) {
        if self.due().is_some_and(|due| due.has_come(now)) {
            self.sent = Some((self.version, now));
            out.version = self.version;
            out.all.extend_from_slice(&self.all);
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Due {
    Now,
    At(Instant),
}

impl Due {
    fn has_come(self, now: Instant) -> bool {
        match self {
            Self::Now => true,
            Self::At(at) => at <= now,
        }
    }
}

impl Link {
    pub(in crate::engine) fn new(now: Instant, id: LinkId) -> Self {
        Self {
            id,
            session: now,
            number: 0,
            points: Said::new(),
            wants: Said::new(),
            ways: Ways::default(),
            figures_due: true,
            key_frames: Vec::new(),
            levels: Vec::new(),
            pending: VecDeque::new(),
            far: None,
            owes: false,
        }
    }

    /// A packet for the next batch. True if the oldest had to give way.
    pub(in crate::engine) fn push(&mut self, mut packet: Packet) -> bool {
        packet.wants = self.far.as_ref().map_or(0, |far| far.wants_version);
        let full = self.pending.len() >= PENDING_MAX;
        if full {
            self.pending.pop_front();
            self.number += 1; // the other half takes it for a batch that was lost
        }
        self.pending.push_back(packet);
        full
    }

    /// A level without its packet, for the next batch.
    pub(in crate::engine) fn push_level(&mut self, source: SourceNumber, level: AudioLevel) {
        if self.levels.len() < LEVELS_MAX {
            self.levels.push((source, level));
        }
    }

    /// Asks for a key frame with the next batch.
    pub(in crate::engine) fn ask(&mut self, source: SourceNumber, layer: u8) {
        let wish = (source, layer);
        if self.key_frames.len() < KEY_FRAMES_MAX && !self.key_frames.contains(&wish) {
            self.key_frames.push(wish);
        }
    }

    /// There is something to say at once.
    fn is_due(&self, now: Instant) -> bool {
        let is_said = |due: Option<Due>| due.is_some_and(|due| due.has_come(now));
        self.owes
            || self.figures_due
            || !self.pending.is_empty()
            || !self.levels.is_empty()
            || !self.key_frames.is_empty()
            || is_said(self.points.due())
            || is_said(self.wants.due())
    }

    /// When a statement is to be said again.
    pub(in crate::engine) fn poll_timeout(&self) -> Option<Instant> {
        let at = |due: Option<Due>| match due {
            Some(Due::At(at)) => Some(at),
            Some(Due::Now) | None => None,
        };
        soonest(at(self.points.due()), at(self.wants.due()))
    }

    /// Fills a batch with what is due; none if nothing is, else how many packets were left out because their bytes are gone.
    /// `find` gives the payload of a packet, `figures` adds what sources have to offer.
    pub(in crate::engine) fn fill<'p>(
        &mut self,
        now: Instant,
        epoch: Instant,
        batch: &mut CascadeBatch,
        find: impl Fn(PacketRef) -> Option<&'p [u8]>,
        figures: impl FnOnce(&mut Vec<Figure>),
    ) -> Option<u64> {
        batch.clear();
        if !self.is_due(now) {
            return None;
        }
        self.points.write(now, &mut batch.points);
        self.wants.write(now, &mut batch.wants);
        if std::mem::take(&mut self.figures_due) {
            figures(&mut batch.figures);
        }
        batch.key_frames.append(&mut self.key_frames);
        batch.levels.append(&mut self.levels);
        let gone = self.fill_packets(batch, find);
        self.owes = false;
        batch.head = Some(Head {
            session: self.session,
            number: self.number,
            epoch,
            heard: self.far.as_ref().map(|far| Heard {
                session: far.session,
                points: far.points_version,
                wants: far.wants_version,
            }),
            ways: self.ways,
        });
        self.number += 1;
        Some(gone)
    }

    fn fill_packets<'p>(
        &mut self,
        batch: &mut CascadeBatch,
        find: impl Fn(PacketRef) -> Option<&'p [u8]>,
    ) -> u64 {
        let mut gone = 0;
        while batch.packets.len() < BATCH_PACKETS_MAX {
            let Some(packet) = self.pending.front() else {
                break;
            };
            let Place::History(at) = packet.at else { break };
            // One that is gone by now leaves a hole: it waited for two seconds.
            let payload = find(at).filter(|payload| payload.len() <= usize::from(u16::MAX));
            if let Some(payload) = payload {
                let start = batch.payloads.len();
                if start + payload.len() > BATCH_BYTES_MAX {
                    break;
                }
                batch.payloads.extend_from_slice(payload);
                let place = Place::Batch {
                    start: start as u32,
                    length: payload.len() as u16,
                };
                batch.packets.push(Packet { at: place, ..*packet });
            } else {
                gone += 1;
            }
            self.pending.pop_front();
        }
        gone
    }

    /// Takes what a batch says of the link itself. None if it is to be passed over: empty, or of a half that is gone.
    pub(in crate::engine) fn take(&mut self, batch: &CascadeBatch) -> Option<News> {
        let head = batch.head?;
        let mut news = News::default();
        if self.far.as_ref().is_some_and(|far| {
            head.session < far.session || head.number < far.next && head.session == far.session
        }) {
            return None;
        }
        let far = match &mut self.far {
            Some(far) if far.session == head.session => far,
            far => {
                news.anew = far.is_some();
                (self.points.sent, self.wants.sent) = (None, None); // it knows nothing
                far.insert(Far::new(&head))
            }
        };
        news.lost = head.number > far.next;
        far.next = head.number + 1;
        far.ways = head.ways;
        if batch.points.version > far.points_version {
            far.points_version = batch.points.version;
            far.points.clear();
            far.points
                .extend(batch.points.all.iter().copied().take(POINTS_MAX));
            news.points = true;
        }
        if batch.wants.version > far.wants_version {
            far.wants_version = batch.wants.version;
            news.wants = true;
        }
        self.owes |= batch.points.version > 0 || batch.wants.version > 0;
        let heard = head.heard.filter(|heard| heard.session == self.session);
        self.points.acknowledged = heard.map_or(0, |heard| heard.points);
        self.wants.acknowledged = heard.map_or(0, |heard| heard.wants);
        Some(news)
    }
}

impl Far {
    fn new(head: &Head) -> Self {
        Self {
            session: head.session,
            next: head.number,
            points_version: 0,
            wants_version: 0,
            points: Vec::new(),
            wants: Vec::new(),
            ways: head.ways,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::{base, ms};

    fn want(pull: u8) -> Want {
        let point = crate::engine::id::PointNumber::try_from(1).expect("in range");
        Want {
            source: point.source(crate::engine::id::SourceKind::Camera),
            pull,
            wish: None,
        }
    }

    fn fill(link: &mut Link, now: Instant) -> Option<CascadeBatch> {
        let mut batch = CascadeBatch::default();
        link.fill(now, now, &mut batch, |_| None, |_| {})?;
        Some(batch)
    }

    /// All that two ends say until neither has anything more to say.
    fn talk(now: Instant, a: &mut Link, b: &mut Link) {
        for _ in 0..4 {
            if let Some(batch) = fill(a, now) {
                let _ = b.take(&batch);
            }
            if let Some(batch) = fill(b, now) {
                let _ = a.take(&batch);
            }
        }
        assert!(!a.is_due(now) && !b.is_due(now), "they fall silent");
    }

    #[test]
    fn a_statement_is_said_again_until_it_is_acknowledged_and_then_no_more() {
        let t0 = base();
        let (mut a, mut b) = (Link::new(t0, LinkId(1)), Link::new(t0, LinkId(0)));
        talk(t0, &mut a, &mut b);
        assert_eq!(a.poll_timeout(), None);
        assert!(a.wants.set(&[want(1)], 8) && !a.wants.set(&[want(1)], 8));
        for resent in 0..3 {
            let lost = fill(&mut a, t0 + ms(100 * resent)).expect("due");
            assert_eq!(lost.wants.all, [want(1)]);
            assert!(!a.is_due(t0 + ms(100 * resent + 99)));
        }
        assert_eq!(a.poll_timeout(), Some(t0 + ms(300)));
        let batch = fill(&mut a, t0 + ms(300)).expect("due");
        let news = b.take(&batch).expect("a batch of it");
        assert!(news.wants && news.lost && !news.points && !news.anew);
        talk(t0 + ms(300), &mut a, &mut b);
        assert_eq!(a.poll_timeout(), None);
    }

    #[test]
    fn an_end_that_begins_anew_is_told_all_again_and_its_former_batches_are_passed_over() {
        let t0 = base();
        let (mut a, mut b) = (Link::new(t0, LinkId(1)), Link::new(t0, LinkId(0)));
        a.wants.set(&[want(1)], 8);
        talk(t0, &mut a, &mut b);
        a.wants.set(&[want(2)], 8);
        let late = fill(&mut a, t0).expect("due");
        let mut anew = Link::new(t0 + ms(1), LinkId(1));
        let first = fill(&mut anew, t0 + ms(1)).expect("due");
        assert!(b.take(&first).expect("taken").anew);
        assert!(b.take(&late).is_none(), "of the former session");
        assert!(b.take(&first).is_none(), "twice");
        talk(t0 + ms(1), &mut anew, &mut b);
        assert_eq!(
            anew.far.as_ref().map(|far| far.points_version),
            Some(1),
            "and was told all"
        );
    }
}
