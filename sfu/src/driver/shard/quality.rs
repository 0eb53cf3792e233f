//! What slots get and what points are to send: from the engine to signaling, and the reports for whoever looks.

use std::time::Instant;

use super::{RoomKey, Seat, Shard};
use crate::{
    control::{Event, LineReport, PointReport, RoomReport, SendOrder, SlotQuality, SourceOrder},
    engine::{
        id::{EndpointId, LineIndex},
        packet::{LineShare, SlotGrade, SourceGrade},
        shortfall::Shortfall,
        units::Bitrate,
    },
};

impl Shard {
    pub(super) fn tell_quality(&mut self, key: RoomKey, endpoint: EndpointId, grades: &[SlotGrade]) {
        let (Some(entry), Some(seat)) = (self.rooms.get(&key), self.seats.get_mut(&endpoint)) else {
            return;
        };
        let lines = &self.lines;
        let quality = |grade: &SlotGrade| SlotQuality {
            slot: grade.slot,
            height: grade.height,
            rate_percent: grade.rate_percent,
            cause: grade.shortfall.map(|short| short.cause),
            line: line_of(grade.shortfall).and_then(|line| lines.id(line)).cloned(),
        };
        let slots: Vec<SlotQuality> = grades.iter().map(quality).collect();
        seat.quality = Some(slots.clone());
        let (room, seat) = (entry.id.clone(), seat.id.clone());
        self.events
            .tell(Some(endpoint), Event::Quality { room, seat, slots });
    }

    pub(super) fn tell_order(
        &mut self,
        key: RoomKey,
        endpoint: EndpointId,
        sources: Vec<SourceGrade>,
        voice_ms: u8,
    ) {
        let (Some(entry), Some(seat)) = (self.rooms.get(&key), self.seats.get_mut(&endpoint)) else {
            return;
        };
        let lines = &self.lines;
        let order = |grade: SourceGrade| SourceOrder {
            source: grade.source,
            layers: grade.layers,
            cause: grade.shortfall.map(|short| short.cause),
            line: line_of(grade.shortfall).and_then(|line| lines.id(line)).cloned(),
        };
        let order = SendOrder {
            sources: sources.into_iter().map(order).collect(),
            voice_ms,
        };
        seat.order = Some(order.clone());
        let (room, seat) = (entry.id.clone(), seat.id.clone());
        self.events
            .tell(Some(endpoint), Event::Send { room, seat, order });
    }

    /// What a seat was told last, to whoever could not know it yet.
    pub(super) fn tell_again(&mut self, endpoint: EndpointId) {
        let Some(seat) = self.seats.get(&endpoint) else {
            return;
        };
        let Some(entry) = self.rooms.get(&seat.room) else {
            return;
        };
        let names = || (entry.id.clone(), seat.id.clone());
        if let Some(slots) = seat.quality.clone() {
            let (room, seat) = names();
            self.events
                .tell(Some(endpoint), Event::Quality { room, seat, slots });
        }
        if let Some(order) = seat.order.clone() {
            let (room, seat) = names();
            self.events
                .tell(Some(endpoint), Event::Send { room, seat, order });
        }
    }

    /// What is known of a room; none if there is none, or if it failed.
    pub(super) fn report(&mut self, now: Instant, key: RoomKey) -> Option<RoomReport> {
        let mut points = self.with_room(key, |room| room.report(now))?;
        let mut used: Vec<(LineShare, u64, u64)> =
            self.lines.told(key).iter().map(|&share| (share, 0, 0)).collect();
        for endpoint in self.rooms.get(&key)?.seats.values() {
            let Some(seat) = self.seats.get_mut(endpoint) else {
                continue;
            };
            if let Ok(place) = points.binary_search_by_key(&seat.number, |point| point.number) {
                seat.complete(&mut points[place]);
            }
            let (down, up) = (seat.sent.look(now).as_bps(), seat.received.look(now).as_bps());
            for (_, all_down, all_up) in used
                .iter_mut()
                .filter(|(share, ..)| seat.way.contains(&share.line))
            {
                *all_down += down;
                *all_up += up;
            }
        }
        let line = |(share, down, up): (LineShare, u64, u64)| {
            Some(LineReport {
                id: self.lines.id(share.line)?.clone(),
                budget_down: share.down,
                used_down: Bitrate::bps(down),
                budget_up: share.up,
                used_up: Bitrate::bps(up),
            })
        };
        let lines = used.into_iter().filter_map(line).collect();
        Some(RoomReport { points, lines })
    }

    /// Adds what is known of everybody now to the figures of the node.
    pub(super) fn look_at_quality(&mut self, now: Instant) {
        self.quality.begin();
        let keys: Vec<RoomKey> = self.names.values().copied().collect();
        for key in keys {
            let Some(report) = self.report(now, key) else {
                continue;
            };
            report.points.iter().for_each(|point| self.quality.observe(point));
            report
                .lines
                .into_iter()
                .for_each(|line| self.quality.add_line(line));
        }
    }
}

impl Seat {
    /// What was told says why; before anything was, the room says what flows.
    fn complete(&self, point: &mut PointReport) {
        if let Some(quality) = &self.quality {
            point.slots.clone_from(quality);
        }
        if let Some(order) = &self.order {
            point.send.clone_from(order);
        }
    }
}

fn line_of(shortfall: Option<Shortfall>) -> Option<LineIndex> {
    shortfall?.line
}
