//! Who is in a room, and which of their sources are on.

use std::time::Instant;

use super::{
    super::{
        id::{EndpointId, SourceKind},
        packet::NewEndpoint,
        page::ClientState,
    },
    Room,
    endpoint::Endpoint,
};

impl Room {
    pub(super) fn join(&mut self, now: Instant, new: NewEndpoint) -> Option<()> {
        self.check_join(new.endpoint, new.number).ok()?;
        let (id, number, published) = (new.endpoint, new.number, new.published.clone());
        if self.endpoints.contains(id) {
            self.leave(now, id);
        }
        if let Some(&far) = self.numbers.get(&number) {
            self.remove(now, far);
        }
        self.numbers.insert(number, id);
        let way_start = new.way_start.unwrap_or(self.policy.way_start);
        let mut endpoint = Endpoint::new(self.epoch, now, way_start, new);
        endpoint.incarnation = self.cascade.next_incarnation();
        self.endpoints.insert(endpoint);
        self.pull_again(number);
        self.cascade.points_changed();
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
        let number = self.endpoints.get(id)?.number;
        self.remove(now, id)?;
        self.cascade.points_changed();
        if self.cascade.tells_of(number) {
            self.reconcile(now);
        }
        self.plan_now(now);
        self.assign_voices(now, None);
        Some(())
    }

    /// Nothing is left of it, in no slot either.
    pub(super) fn remove(&mut self, now: Instant, id: EndpointId) -> Option<()> {
        self.endpoints.get(id)?;
        for kind in SourceKind::ALL {
            self.switch(now, id, kind, false);
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
        Some(())
    }

    /// What a page says of itself.
    pub(super) fn set_client(&mut self, now: Instant, id: EndpointId, client: ClientState) -> Option<()> {
        let endpoint = self.endpoints.get_mut(id)?;
        let changed = endpoint.cpu.handle(now, &client);
        endpoint.window.handle_client(&client);
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
        let number = self.endpoints.get(id)?.source(kind).number;
        if self.switch(now, id, kind, on)? {
            self.cascade.points_changed();
            self.source_changed(now, number);
        }
        Some(())
    }

    /// A source goes on or off. True if it was not; then plan and voices are to be made anew.
    pub(super) fn switch(
        &mut self,
        now: Instant,
        id: EndpointId,
        kind: SourceKind,
        on: bool,
    ) -> Option<bool> {
        let source = self.endpoints.get_mut(id)?.source_mut(kind);
        if source.on == on {
            return Some(false);
        }
        let number = source.number;
        source.stop(now, &mut self.histories);
        source.on = on;
        if !on {
            self.empty_all(now, number);
            self.cascade.voices.forget(number);
        }
        if kind == SourceKind::Mic && !on {
            self.speaker.forget(number.point());
            self.look_for_speaker(now);
        }
        Some(true)
    }
}
