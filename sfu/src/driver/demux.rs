//! Whose datagram is it: the table of paths. A binding request on a new path names its endpoint itself
//! ([`addressed_to`](super::peer::ice::addressed_to)).

use std::collections::HashMap;

use super::peer::Path;
use crate::engine::id::EndpointId;

/// Where datagrams of known paths belong. Each peer limits its own paths
/// ([`PATHS_MAX`](super::peer::ice::PATHS_MAX)) and says which it forgot, so the table is as large as endpoints x that.
#[derive(Debug, Default)]
pub(crate) struct Demux {
    owners: HashMap<Path, EndpointId>,
}

impl Demux {
    /// The endpoint that proved to be at the other end of that path.
    pub(crate) fn owner(&self, path: &Path) -> Option<EndpointId> {
        self.owners.get(path).copied()
    }

    /// The endpoint passed an integrity-checked binding request on that path, whoever had it before.
    pub(crate) fn claim(&mut self, path: Path, endpoint: EndpointId) {
        self.owners.insert(path, endpoint);
    }

    /// The path leads to that endpoint no more; nothing happens if it leads to another by now.
    pub(crate) fn release(&mut self, path: &Path, endpoint: EndpointId) {
        if self.owner(path) == Some(endpoint) {
            self.owners.remove(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_belongs_to_whoever_claimed_it_last() {
        let at = |port| std::net::SocketAddr::new([127, 0, 0, 1].into(), port);
        let path = Path {
            local: at(7882),
            remote: at(1),
        };
        let mut demux = Demux::default();
        demux.claim(path, EndpointId(1));
        demux.claim(path, EndpointId(2));
        demux.release(&path, EndpointId(1));
        assert_eq!(demux.owner(&path), Some(EndpointId(2)));
        demux.release(&path, EndpointId(2));
        assert_eq!(demux.owner(&path), None);
    }
}
