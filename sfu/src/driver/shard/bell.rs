//! Where a shard sleeps: until a datagram, somebody who wakes it, or a deadline.
//!
//! A wait is one system call. The runtime of the other threads would make it two to four: it tells its own loop of each new deadline, and looks at
//! a socket again whenever that can be written to. What other threads hand over wakes a shard only if it sleeps.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Wake, Waker},
    time::Duration,
};

use mio::{Events, Interest, Poll, Token};

use crate::driver::udp::Socket;

/// Events of one wait: one for each socket, and one for whoever wakes. With more sockets the rest comes with the next wait.
const EVENTS: usize = 64;

/// The waker among the places of sockets.
const WAKE: Token = Token(usize::MAX);

/// Wakes the thread, if it sleeps.
struct Rope {
    waker: mio::Waker,
    sleeps: AtomicBool,
}

impl Wake for Rope {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.sleeps.swap(false, Ordering::SeqCst) && self.waker.wake().is_err() {
            // Whoever comes next tries again.
            self.sleeps.store(true, Ordering::SeqCst);
        }
    }
}

/// The sleep of one thread.
pub(super) struct Bell {
    poll: Poll,
    events: Events,
    rope: Arc<Rope>,
    waker: Waker,
    /// By the places of sockets: something may be there.
    readable: Vec<bool>,
}

impl Bell {
    /// Rings when one of the sockets can be read.
    ///
    /// # Errors
    /// The system refuses a descriptor.
    pub(super) fn new(sockets: &mut [Socket]) -> io::Result<Self> {
        let poll = Poll::new()?;
        let rope = Arc::new(Rope {
            waker: mio::Waker::new(poll.registry(), WAKE)?,
            sleeps: AtomicBool::new(false),
        });
        for (place, socket) in sockets.iter_mut().enumerate() {
            poll.registry()
                .register(socket.source(), Token(place), Interest::READABLE)?;
        }
        Ok(Self {
            poll,
            events: Events::with_capacity(EVENTS),
            waker: Waker::from(rope.clone()),
            rope,
            readable: vec![true; sockets.len()],
        })
    }

    /// From now on whoever is asked with [`Self::context`] wakes. To be said before they are asked, so that nothing that comes in between
    /// is slept through.
    pub(super) fn lie_down(&self) {
        self.rope.sleeps.store(true, Ordering::SeqCst);
    }

    /// For those who may wake it.
    pub(super) fn context(&self) -> Context<'_> {
        Context::from_waker(&self.waker)
    }

    /// Sleeps for so long at most, to a whole millisecond above; none: as long as nothing comes. Not at all if a socket still has something.
    pub(super) fn sleep(&mut self, most: Option<Duration>) {
        let is_readable = self.readable.contains(&true);
        let most = if is_readable { Some(Duration::ZERO) } else { most };
        // An error is an interruption.
        if self.poll.poll(&mut self.events, most).is_ok() {
            for event in &self.events {
                if let Some(readable) = self.readable.get_mut(event.token().0) {
                    *readable = true;
                }
            }
        }
        self.rope.sleeps.store(false, Ordering::SeqCst);
    }

    /// Whether something may be at the socket of that place.
    pub(super) fn is_readable(&self, place: usize) -> bool {
        self.readable.get(place).copied().unwrap_or(false)
    }

    /// The socket of that place was found empty.
    pub(super) fn emptied(&mut self, place: usize) {
        if let Some(readable) = self.readable.get_mut(place) {
            *readable = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, sync::mpsc, thread, time::Instant};

    use super::*;
    use crate::driver::udp::{Batch, Left, bind_all};

    /// Longer than any test runs.
    const LONG: Duration = Duration::from_secs(3_600);

    #[test]
    fn a_datagram_wakes_and_whoever_was_asked_does() {
        let host: IpAddr = "127.0.0.1".parse().expect("address");
        let bound = bind_all(&[host], 0, 1 << 16).expect("bound");
        let mut sockets: Vec<Socket> = bound
            .into_iter()
            .map(|bound| Socket::new(bound).expect("a socket"))
            .collect();
        let mut bell = Bell::new(&mut sockets).expect("a bell");
        let mut batch = Batch::new();
        assert!(
            bell.is_readable(0) && !bell.is_readable(1),
            "whatever came before is looked for"
        );
        assert_eq!(sockets[0].receive(&mut batch), Left::Nothing);
        bell.emptied(0);

        let other = std::net::UdpSocket::bind((host, 0)).expect("a socket");
        other.send_to(b"here", sockets[0].local()).expect("sent");
        bell.lie_down();
        bell.sleep(Some(LONG));
        assert!(bell.is_readable(0));
        assert_eq!(sockets[0].receive(&mut batch), Left::Nothing);
        assert_eq!(batch.datagrams().count(), 1);
        bell.emptied(0);

        bell.lie_down();
        let waker = bell.context().waker().clone();
        let (asleep, begins) = mpsc::channel();
        let waking = thread::spawn(move || {
            begins.recv().expect("told");
            waker.wake();
        });
        asleep.send(()).expect("it listens");
        bell.sleep(Some(LONG));
        waking.join().expect("it woke");
        assert!(!bell.is_readable(0), "not by a datagram");
    }

    #[test]
    fn whoever_is_awake_is_not_woken_and_a_deadline_ends_a_sleep() {
        let mut bell = Bell::new(&mut []).expect("a bell");
        bell.context().waker().wake_by_ref();
        let began = Instant::now();
        let most = Duration::from_millis(3);
        bell.lie_down();
        bell.sleep(Some(most));
        assert!(began.elapsed() >= most, "nothing woke it");
        bell.lie_down();
        bell.context().waker().wake_by_ref();
        bell.sleep(Some(LONG));
    }
}
