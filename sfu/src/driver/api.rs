//! The node's side of the control protocol: who may speak, and how requests and events share one connection.
//!
//! The newest connection that said [`Command::Hello`] is the only one that is served; an older one is closed. Without
//! one, events are dropped: whoever comes next starts from a snapshot.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::{UnixListener, UnixStream},
    sync::{Semaphore, mpsc},
    time::timeout,
};

use super::{
    frames::{Connection, FrameError},
    news::News,
};
use crate::control::{Command, ControlError, Event, FromNode, Reply, Request, VERSION};

/// How long a new connection may take to say hello; then it is closed.
const HELLO_TIME_MAX: Duration = Duration::from_secs(5);

/// Connections that have not said hello. Above it the next ones wait in the kernel's queue.
const STRANGERS_MAX: usize = 8;

/// Events that wait for the connection to take them. Full: the shard keeps the newest state of each seat itself.
pub(crate) const EVENTS_LEN: usize = 1_024;

/// A connection as the node sees it.
type Served = Connection<Request, FromNode>;

/// Where signaling comes to a node.
#[derive(Debug)]
pub enum Listener {
    /// A Unix socket. Its file is removed when the listener is dropped.
    Unix(UnixListener, SocketFile),
    /// The same process.
    InProcess(Incoming),
}

/// Connections from the same process.
#[derive(Debug)]
pub struct Incoming(mpsc::Receiver<Served>);

/// Connects to a node in the same process; clones reach the same node.
#[derive(Debug, Clone)]
pub struct Connector(mpsc::Sender<Served>);

/// The file of a listening socket, removed when dropped.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // It may be gone already, with its folder.
        let _ = fs::remove_file(&self.0);
    }
}

impl Listener {
    /// Listens on a Unix socket at that path, for this user alone. The file of a node that has died is replaced.
    ///
    /// # Errors
    /// A node listens there ([`io::ErrorKind::AddrInUse`]), or the path cannot be used.
    pub fn bind(path: &Path) -> io::Result<Self> {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        // Made under another name, so that nobody can connect before the mode is set.
        let mut fresh = path.as_os_str().to_owned();
        fresh.push(".new");
        let fresh = PathBuf::from(fresh);
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&fresh)?;
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600))?;
        fs::rename(&fresh, path)?;
        Ok(Self::Unix(listener, SocketFile(path.to_owned())))
    }

    /// For signaling in the same process.
    pub fn in_process() -> (Self, Connector) {
        let (sender, receiver) = mpsc::channel(STRANGERS_MAX);
        (Self::InProcess(Incoming(receiver)), Connector(sender))
    }

    async fn accept(&mut self) -> io::Result<Served> {
        match self {
            Self::Unix(listener, _) => {
                let (stream, _): (UnixStream, _) = listener.accept().await?;
                Ok(Connection::over(stream))
            }
            Self::InProcess(Incoming(receiver)) => match receiver.recv().await {
                Some(connection) => Ok(connection),
                // Nobody can connect any more; the node ends by its own rule.
                None => std::future::pending().await,
            },
        }
    }
}

impl Connector {
    /// A new connection; none if the node has ended.
    pub(super) async fn connect(&self) -> Option<Connection<FromNode, Request>> {
        let (ours, theirs) = Connection::pair();
        self.0.send(theirs).await.ok()?;
        Some(ours)
    }
}

/// What answers requests.
pub(crate) trait Handler: Send {
    /// Does a command and says what came of it. Requests of a connection come one after the other.
    fn handle(&mut self, command: Command) -> impl Future<Output = Result<Reply, ControlError>> + Send;
    /// Something happened in a shard. Then take what is to be told of it from [`Handler::poll_event`].
    fn handle_news(&mut self, news: News);
    /// The next event for signaling.
    fn poll_event(&mut self) -> Option<Event>;
    /// Signaling is there, or not.
    fn set_served(&mut self, served: bool);
    /// Whether the last command was the one to end.
    fn is_ending(&self) -> bool;
}

/// Accepts connections for ever and hands on those that said hello in this protocol's version.
pub(crate) async fn accept(mut listener: Listener, greeted: mpsc::Sender<Greeted>) {
    let strangers = Arc::new(Semaphore::new(STRANGERS_MAX));
    loop {
        let permit = strangers.clone().acquire_owned().await;
        let connection = match listener.accept().await {
            Ok(connection) => connection,
            Err(error) => {
                // Such as too many open files: it passes, and must not become a busy loop.
                tracing::warn!(%error, "control connection not accepted");
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
        };
        let greeted = greeted.clone();
        tokio::spawn(async move {
            let _permit = permit;
            if let Ok(Some(connection)) = timeout(HELLO_TIME_MAX, hello(connection)).await {
                // Closed only when the node ends.
                let _ = greeted.send(connection).await;
            }
        });
    }
}

/// A connection that said hello, and the id to welcome it by.
pub(crate) struct Greeted {
    connection: Served,
    hello: Request,
}

async fn hello(mut connection: Served) -> Option<Greeted> {
    let hello = connection.incoming.next().await.ok()?;
    let error = match hello.command {
        Command::Hello { version: VERSION } => return Some(Greeted { connection, hello }),
        Command::Hello { .. } => ControlError::Version { theirs: VERSION },
        _ => ControlError::State,
    };
    let refusal = FromNode::Reply {
        id: hello.id,
        result: Err(error),
    };
    // It is closed in any case.
    let _ = connection.outgoing.send(refusal).await;
    None
}

/// Serves the newest connection until the handler ends.
pub(crate) async fn serve(
    mut greeted: mpsc::Receiver<Greeted>,
    mut news: mpsc::Receiver<News>,
    handler: &mut impl Handler,
) {
    let mut next: Option<Greeted> = None;
    loop {
        let Some(connection) = next.take() else {
            handler.set_served(false);
            tokio::select! {
                newest = greeted.recv() => match newest {
                    Some(newest) => next = Some(newest),
                    None => return,
                },
                happened = news.recv() => match happened {
                    Some(happened) => ignore(happened, handler),
                    None => return,
                },
            }
            continue;
        };
        handler.set_served(true);
        tokio::select! {
            newest = greeted.recv() => {
                tracing::info!("a newer control connection takes over");
                next = newest;
            }
            ended = converse(connection, &mut news, handler) => {
                tracing::info!(%ended, "control connection ended");
                if handler.is_ending() {
                    return;
                }
            }
        }
    }
}

/// What happens while nobody is there is told to nobody.
fn ignore(news: News, handler: &mut impl Handler) {
    handler.handle_news(news);
    while handler.poll_event().is_some() {}
}

/// One connection from its hello to its end.
async fn converse(
    greeted: Greeted,
    news: &mut mpsc::Receiver<News>,
    handler: &mut impl Handler,
) -> FrameError {
    let Greeted {
        mut connection,
        hello,
    } = greeted;
    // Events from before the hello belong to nobody.
    while let Ok(happened) = news.try_recv() {
        ignore(happened, handler);
    }
    let mut request = Some(hello);
    loop {
        if let Some(Request { id, command }) = request.take() {
            // Whoever answers must know what happened before it was asked.
            take(news, handler);
            let result = handler.handle(command).await;
            // What happened before the reply is told before the reply.
            take(news, handler);
            if let Err(error) = tell(&mut connection, handler).await {
                return error;
            }
            if let Err(error) = connection.outgoing.send(FromNode::Reply { id, result }).await {
                return error;
            }
            if handler.is_ending() {
                return FrameError::Closed;
            }
        }
        tokio::select! {
            next = connection.incoming.next() => match next {
                Ok(next) => request = Some(next),
                Err(error) => return error,
            },
            happened = news.recv() => {
                let Some(happened) = happened else { return FrameError::Closed };
                handler.handle_news(happened);
                if let Err(error) = tell(&mut connection, handler).await {
                    return error;
                }
            }
        }
    }
}

/// All that happened and was not taken yet, as much as the channel holds.
fn take(news: &mut mpsc::Receiver<News>, handler: &mut impl Handler) {
    for _ in 0..EVENTS_LEN {
        let Ok(happened) = news.try_recv() else { return };
        handler.handle_news(happened);
    }
}

/// Tells what there is to tell.
async fn tell(connection: &mut Served, handler: &mut impl Handler) -> Result<(), FrameError> {
    while let Some(event) = handler.poll_event() {
        connection.outgoing.send(FromNode::Event(event)).await?;
    }
    Ok(())
}
