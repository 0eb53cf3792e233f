//! Who is in a room, and which of their sources are on.

use std::time::Instant;

use super::{
    super::{
        id::{EndpointId, SourceKind},
        packet::NewEndpoint,
    },
    Room,
    endpoint::Endpoint,
};
use crate::control::ClientState;

impl Room {
    pub(super) fn join(&mut self, now: Instant, new: NewEndpoint) -> Option<()> {
        self.check_join(new.endpoint, new.number).ok()?;
        let (id, number, published) = (new.endpoint, new.number, new.published.clone());
        if self.endpoints.contains(id) {
            self.leave(now, id);
        }
        self.numbers.insert(number, id);
        let way_start = new.way_start.unwrap_or(self.policy.way_start);
        self.endpoints
            .insert(Endpoint::new(self.epoch, now, way_start, new));
        for kind in published {
            self.set_published(now, id, kind, true);
        }
        Some(())
    }

    pub(super) fn connected(&mut self, now: Instant, id: EndpointId) -> Option<()> {
        self.endpoints.get_mut(id)?.connected = true;
        self.plan_now(now);
        self.assign_voices(now, Some(id));
        self.touch(id);
        Some(())
    }

    pub(super) fn leave(&mut self, now: Instant, id: EndpointId) -> Option<()> {
        self.endpoints.get(id)?;
        for kind in SourceKind::ALL {
            self.set_published(now, id, kind, false);
        }
        let endpoint = self.endpoints.remove(id)?;
        endpoint.add_to(&mut self.stats);
        self.numbers.remove(&endpoint.number);
        self.dirty.retain(|&dirty| dirty != id);
        for source in self
            .endpoints
            .values_mut()
            .flat_map(|endpoint| &mut endpoint.sources)
        {
            source.subscribers.retain(|subscriber| subscriber.endpoint != id);
        }
        self.plan_now(now);
        Some(())
    }

    /// What a page says of itself.
    pub(super) fn set_client(&mut self, now: Instant, id: EndpointId, client: ClientState) -> Option<()> {
        let endpoint = self.endpoints.get_mut(id)?;
        let changed = endpoint.cpu.handle(now, &client);
        endpoint.client = client;
        if changed {
            self.plan_now(now);
        }
        Some(())
    }

    pub(super) fn set_published(
        &mut self,
        now: Instant,
        id: EndpointId,
        kind: SourceKind,
        on: bool,
    ) -> Option<()> {
        let source = self.endpoints.get_mut(id)?.source_mut(kind);
        if source.on == on {
            return Some(());
        }
        let number = source.number;
        source.stop(now, &mut self.histories);
        source.on = on;
        if !on {
            self.empty_all(now, number);
        }
        if kind == SourceKind::Mic && !on {
            self.speaker.forget(number.point());
            self.look_for_speaker(now);
        }
        self.source_changed(now, number);
        Some(())
    }
}
