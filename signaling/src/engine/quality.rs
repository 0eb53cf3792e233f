//! What slots get and what points are to send: passed on as the node says it, the newest kept for whoever resumes. And what pages say of themselves: to the node, together.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use sfu::control::{self, CLIENTS_MAX, ClientState, Command, LineId, SeatId, SendOrder};

use super::{id::SessionId, meeting::Meeting};
use crate::protocol::{ErrorCode, ServerMessage, SlotQuality, SourceOrder, Stats};

/// What pages said of themselves since the node was told: told together, for each command wakes a good part of it.
#[derive(Debug, Default)]
pub(super) struct Pages {
    said: BTreeMap<SeatId, ClientState>,
    /// When the node is told.
    pub(super) due: Option<Instant>,
}

/// What pages say gathers for so long. Each says it once a second.
const GATHER: Duration = Duration::from_millis(500);

impl Meeting {
    pub(super) fn stats(&mut self, now: Instant, session: SessionId, stats: Stats) -> Result<(), ErrorCode> {
        let (seat_id, seat) = self.seat_of(session)?;
        let has_media = seat.media;
        let is_known = self.pages.said.contains_key(&seat_id);
        // A room has no more seats than that.
        if has_media && (is_known || self.pages.said.len() < CLIENTS_MAX) {
            self.pages.said.insert(seat_id, stats.into());
            self.pages.due.get_or_insert(now + GATHER);
        }
        Ok(())
    }

    /// What pages said goes to the node when its time has come.
    pub(super) fn tell_pages(&mut self, now: Instant) {
        if self.pages.due.is_none_or(|due| due > now) {
            return;
        }
        let said = std::mem::take(&mut self.pages).said;
        self.command(Command::SetClients {
            room: self.id.clone(),
            clients: said.into_iter().collect(),
        });
    }

    pub(super) fn quality_event(&mut self, seat_id: &SeatId, slots: Vec<control::SlotQuality>) {
        let Some(seat) = self.seats.get_mut(seat_id) else {
            return;
        };
        let session = seat.session;
        let message = session.map(|_| self.line_names.quality(&slots));
        seat.quality = Some(slots);
        if let (Some(session), Some(message)) = (session, message) {
            self.send(session, message);
        }
    }

    pub(super) fn send_event(&mut self, seat_id: &SeatId, order: SendOrder) {
        let Some(seat) = self.seats.get_mut(seat_id) else {
            return;
        };
        let session = seat.session;
        let message = session.map(|_| self.line_names.order(&order));
        seat.order = Some(order);
        if let (Some(session), Some(message)) = (session, message) {
            self.send(session, message);
        }
    }

    /// To a session that took its seat again: what it missed.
    pub(super) fn tell_quality(&mut self, session: SessionId) {
        let Ok((_, seat)) = self.seat_of(session) else {
            return;
        };
        let (quality, order) = (seat.quality.clone(), seat.order.clone());
        if let Some(slots) = quality {
            let message = self.line_names.quality(&slots);
            self.send(session, message);
        }
        if let Some(order) = order {
            let message = self.line_names.order(&order);
            self.send(session, message);
        }
    }
}

impl super::network::LineNames {
    fn quality(&self, slots: &[control::SlotQuality]) -> ServerMessage {
        let slots = slots.iter().map(|slot| SlotQuality {
            slot: slot.slot,
            height: slot.height,
            rate: slot.rate_percent,
            cause: slot.cause,
            line: slot.line.clone(),
            line_name: self.of(slot.line.as_ref()),
        });
        ServerMessage::Quality {
            slots: slots.collect(),
        }
    }

    fn order(&self, order: &SendOrder) -> ServerMessage {
        let sources = order.sources.iter().map(|source| SourceOrder {
            source: source.source,
            layers: source.layers.iter().copied().map(Into::into).collect(),
            cause: source.cause,
            line: source.line.clone(),
            line_name: self.of(source.line.as_ref()),
        });
        ServerMessage::Send {
            voice_ms: order.voice_ms,
            sources: sources.collect(),
        }
    }

    fn of(&self, line: Option<&LineId>) -> Option<String> {
        self.get(line?).map(str::to_owned)
    }
}
