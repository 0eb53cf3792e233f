//! All endpoints of a room, and when each of them wants to be told the time.
//!
//! Whoever is looked at to be changed may have another deadline afterwards: it is noted here and asked once, when the next
//! deadline is wanted. So a turn costs what it changed, however many sit in the room.
//!
//! To answer, an endpoint looks at some thirty places of its memory, more than a packet needs. Most packets bring no time nearer, so who is sent one
//! says himself whether he is to be asked ([`Endpoint::take_sooner`]), and who sent one is asked if that brought something nearer. A time that was noted may then be
//! too soon, never too late.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use super::{super::id::EndpointId, endpoint::Endpoint};

/// All endpoints of a room.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    /// Each in a place of its own: the tree's nodes are half empty, and an endpoint is large.
    all: BTreeMap<EndpointId, Box<Entry>>,
    /// Those that may want another time than is in `due`, each once.
    moved: Vec<EndpointId>,
    due: BTreeSet<(Instant, EndpointId)>,
    /// Those with packets since all were asked last.
    #[cfg(debug_assertions)]
    quiet: Vec<EndpointId>,
}

#[derive(Debug)]
struct Entry {
    endpoint: Endpoint,
    /// As it is in `due`: no later than it wants to be told the time.
    due: Option<Instant>,
    moved: bool,
}

impl Endpoints {
    pub(super) fn insert(&mut self, endpoint: Endpoint) {
        let id = endpoint.id;
        self.remove(id);
        let entry = Box::new(Entry {
            endpoint,
            due: None,
            moved: true,
        });
        self.all.insert(id, entry);
        self.moved.push(id);
    }

    pub(super) fn remove(&mut self, id: EndpointId) -> Option<Endpoint> {
        let entry = self.all.remove(&id)?;
        if let Some(at) = entry.due {
            self.due.remove(&(at, id));
        }
        if entry.moved {
            self.moved.retain(|&moved| moved != id);
        }
        Some(entry.endpoint)
    }

    pub(super) fn get(&self, id: EndpointId) -> Option<&Endpoint> {
        self.all.get(&id).map(|entry| &entry.endpoint)
    }

    pub(super) fn get_mut(&mut self, id: EndpointId) -> Option<&mut Endpoint> {
        let entry = self.all.get_mut(&id)?;
        if !std::mem::replace(&mut entry.moved, true) {
            self.moved.push(id);
        }
        Some(&mut entry.endpoint)
    }

    /// For a packet to it or from it, or what it tells of packets. If that may bring a time nearer, [`Self::ask`] is to be called behind it.
    pub(super) fn get_for_packet(&mut self, id: EndpointId) -> Option<&mut Endpoint> {
        #[cfg(debug_assertions)]
        self.quiet.push(id);
        Some(&mut self.all.get_mut(&id)?.endpoint)
    }

    /// It may want another time than before.
    pub(super) fn ask(&mut self, id: EndpointId) {
        let _ = self.get_mut(id);
    }

    pub(super) fn contains(&self, id: EndpointId) -> bool {
        self.all.contains_key(&id)
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// In the order of their ids.
    pub(super) fn keys(&self) -> impl Iterator<Item = EndpointId> {
        self.all.keys().copied()
    }

    /// In the order of their ids.
    pub(super) fn values(&self) -> impl Iterator<Item = &Endpoint> {
        self.all.values().map(|entry| &entry.endpoint)
    }

    /// In the order of their ids.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Endpoint> {
        let moved = &mut self.moved;
        self.all.iter_mut().map(|(&id, entry)| {
            if !std::mem::replace(&mut entry.moved, true) {
                moved.push(id);
            }
            &mut entry.endpoint
        })
    }

    /// The soonest time that any of them wants to be told.
    pub(super) fn poll_timeout(&mut self) -> Option<Instant> {
        self.settle();
        self.due.first().map(|&(at, _)| at)
    }

    /// Those whose time has come, in the order of their ids.
    pub(super) fn due(&mut self, now: Instant) -> Vec<EndpointId> {
        self.settle();
        let come = self.due.iter().take_while(|(at, _)| *at <= now);
        let mut ids: Vec<EndpointId> = come.map(|&(_, id)| id).collect();
        ids.sort_unstable();
        ids
    }

    /// Asks all that were changed.
    fn settle(&mut self) {
        while let Some(id) = self.moved.pop() {
            let Some(entry) = self.all.get_mut(&id) else {
                continue;
            };
            entry.moved = false;
            let wanted = entry.endpoint.poll_timeout();
            let former = std::mem::replace(&mut entry.due, wanted);
            if former == wanted {
                continue;
            }
            if let Some(at) = former {
                self.due.remove(&(at, id));
            }
            if let Some(at) = wanted {
                self.due.insert((at, id));
            }
        }
        #[cfg(debug_assertions)]
        self.check_quiet();
    }

    /// Nobody who was not asked wants to be told the time sooner than is noted.
    #[cfg(debug_assertions)]
    fn check_quiet(&mut self) {
        let mut quiet = std::mem::take(&mut self.quiet);
        for id in quiet.drain(..) {
            let Some(entry) = self.all.get_mut(&id) else {
                continue;
            };
            let wanted = entry.endpoint.poll_timeout();
            let is_noted = wanted.is_none_or(|at| entry.due.is_some_and(|due| due <= at));
            assert!(is_noted, "noted {:?}, wanted {wanted:?}", entry.due);
        }
        self.quiet = quiet;
    }
}
