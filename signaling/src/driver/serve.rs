//! The server put together: listeners, meetings, the link to the node; and its orderly end.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use axum_server::{Handle, accept::DefaultAcceptor, tls_rustls::RustlsAcceptor};
use sfu::control::{Network, RoomId};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

use super::{
    auth::{self, Keys, RoomToken},
    calls,
    certificate::{self, Pair},
    checks::{self, Examined},
    config::Config,
    connections::{Connections, HEAD_TIME_MAX, Http1},
    files,
    http::{self, App, Origins, Shared, admission::Places},
    media::{self, Child, Link, NodeSettings, Place, Status},
    meeting_task::{self, Message},
    metrics::{self, Metrics, Shown},
    node_look,
};
use crate::{
    engine::{network::LineNames, seat::Person},
    names::Role,
};

/// How long the node may take until it is there, at start.
const NODE_TIME_MAX: Duration = Duration::from_secs(15);

/// Failed attempts in a row after which a start is given up: a former node may need a moment to let go of its port.
const NODE_FAILURES_MAX: u32 = 5;

/// How long open requests and sessions may take to end.
const GRACE: Duration = Duration::from_secs(2);

/// Connections to the private listener: some that look at metrics.
const PRIVATE_CONNECTIONS_MAX: usize = 64;

/// Life of the demo room's token.
pub const DEMO_LIFE_SECONDS: u64 = 24 * 3600;

/// A server that serves.
#[derive(Debug)]
pub struct Server {
    /// `http://address` or `https://address` of the public listener.
    pub http: String,
    /// What join links begin with.
    pub public_url: String,
    /// `http://address/metrics` of the private listener.
    pub metrics: String,
    /// The node's process.
    pub node_pid: u32,
    /// Addresses that clients are told to send media to.
    pub media: Vec<SocketAddr>,
    keys: Arc<Keys>,
    handles: Vec<Handle<SocketAddr>>,
    listeners: Vec<JoinHandle<std::io::Result<()>>>,
    meetings: meeting_task::Sender,
    meeting_task: JoinHandle<()>,
    linked: Linked,
    _lock: fs::File,
}

/// Where the node of a server shall run.
#[derive(Debug)]
pub enum NodePlace {
    /// A process of this program.
    Process(PathBuf),
    /// In this process.
    Here,
}

/// Starts to serve. Returns when pages and media can come.
///
/// # Errors
/// A port is taken, a file cannot be used, the node does not start; each in words for people.
pub async fn start(config: &Config, place: NodePlace) -> anyhow::Result<Server> {
    let server = start_until(config, place, std::future::pending()).await?;
    Ok(server.expect("nobody stops it"))
}

/// The same, unless `stop` comes while the node is waited for: then the node ends, and there is no server.
///
/// # Errors
/// See [`start`].
pub async fn start_until(
    config: &Config,
    place: NodePlace,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<Option<Server>> {
    let Ground {
        lock,
        keys,
        network,
        doors,
    } = take(config)?;
    let metrics = Arc::new(Metrics::new());
    let (calls, called) = calls::calls();
    let (looks, looks_receiver) = node_look::looks();
    let (status, media_status) = watch::channel(Status::Down);
    let rooms = (&config.rooms[..], config.joins.pace());
    let (meetings, meeting_task) = meeting_task::start(rooms, network, keys.clone(), calls, metrics.clone());
    let link = Link {
        place: place_of(config, place)?,
        calls: called,
        meetings: meetings.clone(),
        status,
        looks: looks_receiver,
        metrics: metrics.clone(),
    };
    let linked = Linked::start(link);
    let behind = Behind {
        meetings: meetings.clone(),
        keys: keys.clone(),
        looks,
        metrics: metrics.clone(),
    };
    let opened = tokio::select! {
        opened = open(config, doors, behind, media_status) => opened.map(Some),
        () = stop => Ok(None),
    };
    match opened {
        Ok(Some(opened)) => Ok(Some(Server {
            public_url: config
                .http
                .public_url
                .clone()
                .unwrap_or_else(|| opened.http.clone()),
            http: opened.http,
            metrics: opened.metrics,
            node_pid: opened.node_pid,
            media: opened.media,
            keys,
            handles: opened.handles.into(),
            listeners: opened.listeners.into(),
            meetings,
            meeting_task,
            linked,
            _lock: lock,
        })),
        not_opened => {
            // Where this server cannot start the node of a former one goes on.
            if not_opened.is_ok() || metrics.node_starts.get() > 0 {
                linked.end().await;
            }
            not_opened.map(|_| None)
        }
    }
}

/// What a server stands on.
struct Ground {
    lock: fs::File,
    keys: Arc<Keys>,
    network: (Network, LineNames),
    doors: Doors,
}

/// Takes what was found, and makes what is not there yet.
fn take(config: &Config) -> anyhow::Result<Ground> {
    let Examined {
        filter,
        room,
        folder,
        keys,
        network,
        tls,
        public,
        private,
        warnings,
    } = checks::examine(config);
    filter?;
    let (room, lock) = (room?, folder?.take()?);
    let keys = Arc::new(match keys? {
        Some(keys) => keys,
        None => Keys::load_or_create(&config.data)?,
    });
    let network = network?;
    let doors = Doors {
        tls: tls?,
        public: public?,
        private: private.context("completed by the configuration")??,
        room,
    };
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    Ok(Ground {
        lock,
        keys,
        network,
        doors,
    })
}

/// The link to the node, and how to end it.
#[derive(Debug)]
struct Linked {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Linked {
    fn start(link: Link) -> Self {
        let (stop, stops) = oneshot::channel();
        let task = tokio::spawn(link.run(stops));
        Self { stop, task }
    }

    /// The node goes on for the next server.
    async fn leave(self) {
        drop(self.stop);
        let _ = self.task.await;
    }

    /// The node ends with it.
    async fn end(self) {
        // It may have ended by itself only with a panic, which its task shows.
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

/// Where clients come in.
struct Doors {
    public: std::net::TcpListener,
    private: std::net::TcpListener,
    tls: Option<Pair>,
    room: files::Room,
}

/// What they come to.
struct Behind {
    meetings: meeting_task::Sender,
    keys: Arc<Keys>,
    looks: node_look::Looks,
    metrics: Arc<Metrics>,
}

/// Doors that are open.
struct Opened {
    http: String,
    metrics: String,
    node_pid: u32,
    media: Vec<SocketAddr>,
    handles: [Handle<SocketAddr>; 2],
    listeners: [JoinHandle<std::io::Result<()>>; 2],
}

/// Nobody is let in before the node's seats are known: who resumes finds the seat.
async fn open(
    config: &Config,
    doors: Doors,
    behind: Behind,
    mut media: watch::Receiver<Status>,
) -> anyhow::Result<Opened> {
    let (node_pid, media_addresses) = node_up(&mut media).await?;
    let (listen, private_listen) = (doors.public.local_addr()?, doors.private.local_addr()?);
    let tls = doors.tls.is_some();
    let app = App::from(Shared {
        meetings: behind.meetings,
        keys: behind.keys,
        origins: Origins::new(&config.http.origins, listen, tls),
        media,
        metrics: behind.metrics.clone(),
        tls,
        places: Places::new(doors.room.sessions),
        whip_rate: http::whip::limiter(),
    });
    let handles = [Handle::new(), Handle::new()];
    let connections = Connections::new(doors.room.connections, behind.metrics.clone());
    let router = http::router(app);
    let public = listen_public(doors.public, doors.tls, connections, router, handles[0].clone())?;
    let shown = Shown {
        metrics: behind.metrics.clone(),
        looks: behind.looks,
        rooms: config.metrics.debug.unwrap_or(private_listen.ip().is_loopback()),
    };
    let private = listen_private(doors.private, behind.metrics, shown, handles[1].clone())?;
    Ok(Opened {
        http: format!("{}://{}", if tls { "https" } else { "http" }, reachable(listen)),
        metrics: format!("http://{private_listen}/metrics"),
        node_pid,
        media: media_addresses,
        handles,
        listeners: [public, private],
    })
}

fn place_of(config: &Config, place: NodePlace) -> anyhow::Result<Place> {
    Ok(match place {
        NodePlace::Process(program) => {
            let data = std::path::absolute(&config.data)?;
            let socket = media::socket_path(&data)?;
            Place::Process(Child {
                program,
                data,
                socket,
                settings: NodeSettings {
                    media: config.media.clone(),
                    log: config.log.clone(),
                },
            })
        }
        NodePlace::Here => Place::Here(super::node::start_here(config.media.clone())?),
    })
}

/// Waits for the node.
async fn node_up(status: &mut watch::Receiver<Status>) -> anyhow::Result<(u32, Vec<SocketAddr>)> {
    let decided = |status: &Status| match status {
        Status::Up { .. } => true,
        Status::Failing { failures, .. } => *failures >= NODE_FAILURES_MAX,
        Status::Down => false,
    };
    // The link's task holds the sender as long as it runs.
    let _ = timeout(NODE_TIME_MAX, status.wait_for(decided)).await;
    match status.borrow().clone() {
        Status::Up { pid, media } => Ok((pid, media)),
        Status::Failing { reason, .. } => bail!("the media node does not start: {reason}"),
        Status::Down => bail!("the media node does not answer in time"),
    }
}

impl Server {
    /// A token that opens the demo room for any number of points, for [`DEMO_LIFE_SECONDS`].
    pub fn demo_token(&self, room: &RoomId) -> String {
        let now = auth::unix_now();
        let person = Person {
            subject: "demo".into(),
            name: None,
            site: None,
            role: Role::Delegate,
        };
        let token = RoomToken {
            room: room.clone(),
            person,
            not_before: now,
            expires: now + DEMO_LIFE_SECONDS,
        };
        self.keys.sign_room(&token).into()
    }

    /// Waits until a part that nobody can do without has ended: which. The others go on and serve nobody.
    pub async fn broken(&mut self) -> &'static str {
        first_ended(&mut self.meeting_task, &mut self.linked.task).await
    }

    /// Ends everything in order: sessions are told, listeners close, the node ends.
    pub async fn stop(mut self) {
        self.close().await;
        self.linked.end().await;
    }

    /// The same but for the node, which goes on for the next server: who was in comes back to the same media, also whoever only sees
    /// the socket end because the process went before it was told.
    pub async fn leave(mut self) {
        self.close().await;
        self.linked.leave().await;
    }

    async fn close(&mut self) {
        let (done, told) = oneshot::channel();
        if self.meetings.send(Message::Stop { done }).await.is_ok() {
            // The task answers at once or has ended.
            let _ = timeout(GRACE, told).await;
        }
        for handle in &self.handles {
            handle.graceful_shutdown(Some(GRACE));
        }
        for listener in self.listeners.drain(..) {
            if let Ok(Err(error)) = listener.await {
                tracing::warn!(%error, "a listener ended badly");
            }
        }
    }
}

/// The link follows the meetings when those end, so they come first.
async fn first_ended(meetings: &mut JoinHandle<()>, link: &mut JoinHandle<()>) -> &'static str {
    tokio::select! {
        biased;
        _ = meetings => "the task of the meetings",
        _ = link => "the link to the media node",
    }
}

/// An address that clients can use for a listener: a wildcard becomes this machine's first address that it hears.
fn reachable(listen: SocketAddr) -> SocketAddr {
    if !listen.ip().is_unspecified() {
        return listen;
    }
    let own = sfu::driver::addresses::own(false).unwrap_or_default();
    SocketAddr::new(first_heard(listen, &own), listen.port())
}

/// Of this machine's addresses the first that a listener on all of them hears: one on 0.0.0.0 has none of IPv6.
fn first_heard(listen: SocketAddr, own: &[IpAddr]) -> IpAddr {
    let mut heard = own.iter().filter(|ip| ip.is_ipv4() || listen.is_ipv6());
    heard.next().copied().unwrap_or(Ipv4Addr::LOCALHOST.into())
}

fn listen_public(
    listener: std::net::TcpListener,
    tls: Option<Pair>,
    connections: Connections,
    router: axum::Router,
    handle: Handle<SocketAddr>,
) -> anyhow::Result<JoinHandle<std::io::Result<()>>> {
    let Some(pair) = tls else {
        return listen_plain(listener, connections, router, handle);
    };
    let acceptor = Http1::new(connections, RustlsAcceptor::new(certificate::keep(pair)));
    let mut server = axum_server::from_tcp(listener)?.acceptor(acceptor).handle(handle);
    limit(server.http_builder());
    Ok(tokio::spawn(server.serve(router.into_make_service())))
}

fn listen_private(
    listener: std::net::TcpListener,
    counters: Arc<Metrics>,
    shown: Shown,
    handle: Handle<SocketAddr>,
) -> anyhow::Result<JoinHandle<std::io::Result<()>>> {
    let connections = Connections::new(PRIVATE_CONNECTIONS_MAX, counters);
    listen_plain(listener, connections, metrics::router(shown), handle)
}

fn listen_plain(
    listener: std::net::TcpListener,
    connections: Connections,
    router: axum::Router,
    handle: Handle<SocketAddr>,
) -> anyhow::Result<JoinHandle<std::io::Result<()>>> {
    let mut server = axum_server::from_tcp(listener)?
        .acceptor(Http1::new(connections, DefaultAcceptor))
        .handle(handle);
    limit(server.http_builder());
    Ok(tokio::spawn(server.serve(router.into_make_service())))
}

/// Against slow and endless heads.
fn limit<E>(builder: &mut hyper_util::server::conn::auto::Builder<E>) {
    builder
        .http1()
        .timer(hyper_util::rt::TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_buf_size(64 * 1024);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_that_is_printed_is_one_that_the_listener_hears() {
        let all = ["2001:db8::5", "10.0.0.5", "10.0.0.6"].map(|ip| ip.parse().expect("an address"));
        for (listen, own, printed) in [
            ("0.0.0.0:443", &all[..], "10.0.0.5"),
            ("[::]:443", &all[..], "2001:db8::5"),
            ("0.0.0.0:443", &all[..1], "127.0.0.1"),
        ] {
            let heard = first_heard(listen.parse().expect("an address"), own);
            assert_eq!(heard.to_string(), printed, "{listen}");
        }
    }

    #[tokio::test]
    async fn a_task_that_panics_is_told() {
        let forever = || tokio::spawn(std::future::pending());
        let broken = || tokio::spawn(async { panic!("as a test") });
        let told = first_ended(&mut broken(), &mut forever()).await;
        assert_eq!(told, "the task of the meetings");
        let told = first_ended(&mut forever(), &mut broken()).await;
        assert_eq!(told, "the link to the media node");
    }
}
