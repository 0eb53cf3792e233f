//! How many files this process may have open: each WebSocket is one, and a page that loads takes some more.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::http::admission::SESSIONS_MAX;

/// Files that are no connection of a page: listeners, the node's socket, logs, keys, the runtime's own.
const RESERVED: usize = 100;

/// Files for each WebSocket: itself, and as many again for the loading of pages.
const FILES_EACH: usize = 2;

/// Fewer places than this are no server.
const PLACES_MIN: usize = 10;

/// The limit leaves no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this process may have no more than {files} files open, and needs {} at least; raise the limit \
     (LimitNOFILE= of systemd, or: ulimit -n 8192)",
    RESERVED + PLACES_MIN * FILES_EACH
)]
pub struct TooFew {
    files: usize,
}

/// What the limit has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    /// WebSockets, at most [`SESSIONS_MAX`].
    pub(super) sessions: usize,
    /// Connections, WebSockets among them.
    pub(super) connections: usize,
}

/// Raises the limit as far as the system lets us, and tells what it has room for.
///
/// # Errors
/// See [`TooFew`].
pub(super) fn room() -> Result<Room, TooFew> {
    let wanted = (RESERVED + SESSIONS_MAX * FILES_EACH) as u64;
    let limit = getrlimit(Resource::Nofile);
    let may = limit.maximum.map_or(wanted, |hard| hard.min(wanted));
    let raised = Rlimit {
        current: Some(may),
        maximum: limit.maximum,
    };
    // None: no limit at all.
    let has = limit.current.unwrap_or(wanted);
    let has = if has < may && setrlimit(Resource::Nofile, raised).is_ok() {
        may
    } else {
        has
    };
    let files = usize::try_from(has).unwrap_or(usize::MAX);
    room_of(files)
}

fn room_of(files: usize) -> Result<Room, TooFew> {
    let places = files.saturating_sub(RESERVED) / FILES_EACH;
    if places < PLACES_MIN {
        return Err(TooFew { files });
    }
    let sessions = places.min(SESSIONS_MAX);
    Ok(Room {
        sessions,
        connections: sessions * FILES_EACH,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_places_for_pages_within_the_limits() {
        for (files, places) in [
            (120, 10),
            (256, 78),
            (1_024, 462),
            (4_100, 2_000),
            (1 << 20, 2_000),
        ] {
            let room = room_of(files).expect("enough");
            assert_eq!(
                (room.sessions, room.connections),
                (places, 2 * places),
                "{files} files"
            );
            assert!(room.connections + RESERVED <= files);
        }
        for files in [0, 64, 119] {
            assert_eq!(room_of(files), Err(TooFew { files }));
        }
    }
}
