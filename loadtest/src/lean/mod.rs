//! Points by the hundred: real ICE, DTLS and SRTP, but one thread for all of them and no more work than counting needs.
//!
//! Every point has a socket of its own, for a node tells points apart by their addresses. The loop owns the points; the tasks that
//! speak with the server send it work to do with one of them.

mod answer;
mod batch;
mod egress;
mod feedback;
mod latency;
mod motion;
mod pattern;
mod point;
mod running;
mod tally;
mod transport;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use mio::{Events, Interest, Poll, Token, Waker};
use tokio::sync::{oneshot, watch};

use self::{
    answer::{Credentials, Remote, offer},
    batch::Batch,
    egress::Egress,
    latency::Windows,
    point::{Point, Slot},
    transport::{Identity, Transport},
};
use crate::{
    histogram::Histogram,
    media_path::{Clock, MediaReport, OurPoints, SlotLines},
    peer::Path,
    process,
    sdp::Section,
};

pub(crate) use self::{
    answer::Sections,
    pattern::{BYTES_MIN, Pattern, PatternPlan, Sizes},
    point::Source,
};

/// Longest sleep of the loop.
const SLEEP_MAX: Duration = Duration::from_millis(100);
/// Sockets looked at after one wake-up.
const EVENTS: usize = 256;
/// Pieces of work that wait; whoever has more waits himself.
const WORK_MAX: usize = 4_096;
/// The waker among the places of points.
const WAKE: Token = Token(usize::MAX);

type Act = Box<dyn FnOnce(&mut Point, &Clock) + Send>;

/// What the loop is told to do.
enum Work {
    Add(usize, Box<Point>),
    With(usize, Act),
    Remove(usize),
    /// The latency of each window from the first of these times to the last.
    Latency([u64; 2], oneshot::Sender<Vec<Histogram>>),
}

/// The loop, and what its points share. It ends with the last handle.
pub(crate) struct Lean {
    work: mpsc::SyncSender<Work>,
    wake: Waker,
    identity: Arc<Identity>,
    clock: Clock,
    ours: OurPoints,
    heard: Arc<AtomicU64>,
    /// The next point's place.
    next: AtomicUsize,
    ports: Mutex<BTreeSet<u16>>,
    /// Ports of the nodes that were spoken to.
    nodes: Mutex<BTreeSet<u16>>,
    /// What the sockets dropped that are closed.
    dropped: Mutex<Option<u64>>,
    thread: Option<JoinHandle<()>>,
}

impl Lean {
    /// Starts the loop.
    pub(crate) fn start(clock: Clock, ours: OurPoints) -> anyhow::Result<Arc<Self>> {
        let poll = Poll::new()?;
        let wake = Waker::new(poll.registry(), WAKE)?;
        let (work, todo) = mpsc::sync_channel(WORK_MAX);
        let heard = Arc::new(AtomicU64::new(0));
        let mut driver = Driver {
            heard: heard.clone(),
            poll,
            todo,
            clock,
            points: BTreeMap::new(),
            due: BTreeSet::new(),
            batch: Batch::new(),
            egress: Egress::new(),
            windows: Windows::default(),
        };
        let thread = std::thread::Builder::new().name("points".to_owned());
        let thread = thread.spawn(move || driver.run()).context("a thread")?;
        Ok(Arc::new(Self {
            work,
            wake,
            identity: Arc::new(Identity::new()?),
            clock,
            ours,
            heard,
            next: AtomicUsize::new(0),
            ports: Mutex::default(),
            nodes: Mutex::default(),
            dropped: Mutex::default(),
            thread: Some(thread),
        }))
    }

    /// RTP packets that came so far, whatever they were.
    pub(crate) fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    /// Latency of each window between two times, as points that count by headers had it.
    pub(crate) async fn latency(&self, between_us: [u64; 2]) -> Vec<Histogram> {
        let (tell, told) = oneshot::channel();
        self.tell(Work::Latency(between_us, tell));
        told.await.unwrap_or_default()
    }

    /// Datagrams that points had no room for in their sockets, the closed ones too; nothing where the kernel tells of none of them.
    pub(crate) fn dropped(&self) -> Option<u64> {
        let closed = *self.dropped.lock().unwrap_or_else(PoisonError::into_inner);
        let open = process::dropped(&self.lock_ports());
        [closed, open]
            .into_iter()
            .flatten()
            .reduce(|all, drops| all + drops)
    }

    /// Datagrams that nodes on this machine had no room for in their sockets, since they began; nothing where none is seen.
    pub(crate) fn dropped_by_nodes(&self) -> Option<u64> {
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        process::dropped(&nodes)
    }

    /// Whether a point has its socket still.
    #[cfg(test)]
    pub(crate) fn has_sockets(&self) -> bool {
        !self.lock_ports().is_empty()
    }

    fn lock_ports(&self) -> MutexGuard<'_, BTreeSet<u16>> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, work: Work) {
        // The loop outlives its handles, and ends with the channel.
        let _ = self.work.send(work);
        let _ = self.wake.wake();
    }
}

impl Drop for Lean {
    fn drop(&mut self) {
        let (closed, _) = mpsc::sync_channel(1);
        drop(std::mem::replace(&mut self.work, closed));
        let _ = self.wake.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The handle on one point in the loop.
pub(crate) struct LeanPoint {
    lean: Arc<Lean>,
    place: usize,
    credentials: Credentials,
    local: SocketAddr,
    path: watch::Receiver<Path>,
    /// Datagrams that its socket had no room for, once it is judged or closed; nothing where the kernel does not tell.
    dropped: OnceLock<Option<u64>>,
    is_closed: AtomicBool,
}

impl LeanPoint {
    /// A point with its socket; with `joined` the kernel gives it whole runs (`UDP_GRO`).
    pub(crate) fn new(
        lean: &Arc<Lean>,
        host: IpAddr,
        joined: bool,
        rng: &mut impl rand::Rng,
    ) -> anyhow::Result<Self> {
        let lean = lean.clone();
        let place = lean.next.fetch_add(1, Ordering::Relaxed);
        let now = lean.clock.now().instant;
        let (point, path) =
            Point::new(SocketAddr::new(host, 0), joined, lean.ours.clone(), now).context("a socket")?;
        let local = point.socket.local_addr().context("a socket")?;
        lean.lock_ports().insert(local.port());
        lean.tell(Work::Add(place, Box::new(point)));
        Ok(Self {
            lean,
            place,
            credentials: Credentials::random(rng),
            local,
            path,
            dropped: OnceLock::new(),
            is_closed: AtomicBool::new(false),
        })
    }

    /// Its offer.
    pub(crate) fn offer(&self, sections: &Sections<'_>) -> String {
        offer(&self.credentials, &self.lean.identity.fingerprint(), sections)
    }

    /// Takes the answer: the connection opens by itself. `whole`: everything that comes is checked, of sources with so many pictures
    /// a second.
    pub(crate) fn open(
        &self,
        answer: &str,
        sections: &BTreeMap<String, Section>,
        slots: Vec<SlotLines>,
        whole: Option<u32>,
    ) -> anyhow::Result<()> {
        let remote = Remote::read(answer, self.local.ip().is_loopback())?;
        if remote.address.ip().is_loopback() {
            let mut nodes = self.lean.nodes.lock().unwrap_or_else(PoisonError::into_inner);
            nodes.insert(remote.address.port());
        }
        let transport_id = sections
            .values()
            .find_map(|section| section.extensions.transport_cc);
        let slots: Vec<Slot> = slots
            .into_iter()
            .map(|slot| Slot::new(slot.name, slot.ssrc, slot.rtx_ssrc, slot.kind, whole))
            .collect();
        let (identity, credentials, local) =
            (self.lean.identity.clone(), self.credentials.clone(), self.local);
        self.with(move |point, clock| {
            let transport = Transport::new(identity, local, &credentials, remote, clock.now().instant);
            point.open(transport, transport_id, slots);
        });
        Ok(())
    }

    /// Changes of the path's state.
    pub(crate) fn path(&self) -> watch::Receiver<Path> {
        self.path.clone()
    }

    pub(crate) fn start(&self, source: Source) {
        self.with(move |point, _| point.start(source));
    }

    /// A pattern grows to its full rate.
    pub(crate) fn grow(&self) {
        self.with(|point, clock| point.grow(clock.now().instant));
    }

    /// What comes from now on is measured. `standing`: others come from now on, and what runs here may not feel it.
    pub(crate) fn measure(&self, standing: bool) {
        self.with(move |point, clock| point.measure(clock.now().us, standing));
    }

    /// Something else is wanted in these slots.
    pub(crate) fn switch(&self, slots: Vec<String>) {
        self.with(move |point, clock| {
            let now_us = clock.now().us;
            slots.iter().for_each(|slot| point.switch(slot, now_us));
        });
    }

    pub(crate) fn stop_sending(&self) {
        self.with(|point, clock| point.stop_sending(clock.now().us));
    }

    pub(crate) fn set_speaking(&self, speaking: bool) {
        self.with(move |point, _| {
            if let Some(sender) = point.sender() {
                sender.set_speaking(speaking);
            }
        });
    }

    /// Sends these layers alone, lowest first.
    pub(crate) fn set_layers(&self, active: Vec<bool>) {
        self.with(move |point, _| {
            if let Some(sender) = point.sender() {
                sender.set_layers(active);
            }
        });
    }

    pub(crate) fn announce(&self, slot: String, source: u32, time: u32) {
        self.with(move |point, clock| point.announce(&slot, (source, time), clock.now().us));
    }

    /// A picture is to come in that slot, and nobody will announce it.
    pub(crate) fn expect(&self, slot: String) {
        self.with(move |point, clock| point.expect(&slot, clock.now().us));
    }

    /// Nothing is shown in that slot now.
    pub(crate) fn empty(&self, slot: String) {
        self.with(move |point, _| point.empty(&slot));
    }

    /// Pictures are wanted in these slots, since then.
    pub(crate) fn want(&self, slots: Vec<String>, since_us: u64) {
        self.with(move |point, _| slots.iter().for_each(|slot| point.want(slot, since_us)));
    }

    /// Stops judging and tells what was seen.
    pub(crate) async fn finish(&self) -> MediaReport {
        let (tell, told) = oneshot::channel();
        self.with(move |point, clock| {
            let _ = tell.send(point.finish(clock.now()));
        });
        let mut report = told.await.unwrap_or_default();
        report.dropped = self.dropped();
        report
    }

    /// Says goodbye and gives the socket up.
    pub(crate) fn close(&self) {
        if self.is_closed.swap(true, Ordering::Relaxed) {
            return;
        }
        self.with(|point, clock| point.close(clock.now().instant));
        let dropped = self.dropped();
        if self.lean.lock_ports().remove(&self.local.port())
            && let Some(drops) = dropped
        {
            let mut all = self.lean.dropped.lock().unwrap_or_else(PoisonError::into_inner);
            *all.get_or_insert(0) += drops;
        }
        self.lean.tell(Work::Remove(self.place));
    }

    fn dropped(&self) -> Option<u64> {
        let port = self.local.port();
        *self
            .dropped
            .get_or_init(|| process::dropped(&BTreeSet::from([port])))
    }

    fn with(&self, act: impl FnOnce(&mut Point, &Clock) + Send + 'static) {
        self.lean.tell(Work::With(self.place, Box::new(act)));
    }
}

impl Drop for LeanPoint {
    fn drop(&mut self) {
        self.close();
    }
}

/// The loop.
struct Driver {
    heard: Arc<AtomicU64>,
    poll: Poll,
    todo: mpsc::Receiver<Work>,
    clock: Clock,
    points: BTreeMap<usize, (Box<Point>, Instant)>,
    /// When points want to be told the time.
    due: BTreeSet<(Instant, usize)>,
    batch: Batch,
    egress: Egress,
    windows: Windows,
}

impl Driver {
    fn run(&mut self) {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            let now = Instant::now();
            let pause = self.due.first().map_or(SLEEP_MAX, |(due, _)| {
                due.saturating_duration_since(now).min(SLEEP_MAX)
            });
            // An error is an interruption.
            let _ = self.poll.poll(&mut events, Some(pause));
            for event in events.iter().filter(|event| event.token() != WAKE) {
                self.receive(event.token().0);
            }
            if !self.work() {
                return;
            }
            self.tick();
        }
    }

    fn receive(&mut self, place: usize) {
        let Some((point, due)) = self.points.get_mut(&place) else {
            return;
        };
        let now = self.clock.now();
        let heard = point.receive(now, &mut self.batch, &mut self.egress);
        point
            .latest
            .drain(..)
            .for_each(|us| self.windows.record(now.us, us));
        self.heard.fetch_add(heard, Ordering::Relaxed);
        renew(&mut self.due, place, due, point.poll_timeout());
    }

    /// Does what it was told. False: nobody is left to tell it anything.
    fn work(&mut self) -> bool {
        loop {
            match self.todo.try_recv() {
                Ok(Work::Add(place, mut point)) => {
                    let registry = self.poll.registry();
                    // Without it the point hears nothing, and does not join.
                    let _ = registry.register(&mut point.socket, Token(place), Interest::READABLE);
                    let due = point.poll_timeout();
                    self.due.insert((due, place));
                    self.points.insert(place, (point, due));
                }
                Ok(Work::With(place, act)) => {
                    if let Some((point, due)) = self.points.get_mut(&place) {
                        act(point, &self.clock);
                        renew(&mut self.due, place, due, point.poll_timeout());
                    }
                }
                Ok(Work::Remove(place)) => {
                    if let Some((mut point, due)) = self.points.remove(&place) {
                        self.due.remove(&(due, place));
                        let _ = self.poll.registry().deregister(&mut point.socket);
                    }
                }
                Ok(Work::Latency(between_us, tell)) => {
                    let _ = tell.send(self.windows.between(between_us));
                }
                Err(mpsc::TryRecvError::Empty) => return true,
                Err(mpsc::TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn tick(&mut self) {
        let turn = self.clock.now().instant;
        while let Some(&(due, place)) = self.due.first().filter(|(due, _)| *due <= turn) {
            self.due.remove(&(due, place));
            let Some((point, due)) = self.points.get_mut(&place) else {
                continue;
            };
            // Of its own: what those before it had to say would count as the node's delay.
            point.handle_timeout(self.clock.now(), &mut self.egress);
            // What is due again at once waits for the next turn.
            *due = point.poll_timeout().max(turn + Duration::from_micros(1));
            self.due.insert((*due, place));
        }
    }
}

fn renew(dues: &mut BTreeSet<(Instant, usize)>, place: usize, due: &mut Instant, next: Instant) {
    if *due != next {
        dues.remove(&(*due, place));
        dues.insert((next, place));
        *due = next;
    }
}
