//! A media node from its start to its end.

pub(super) mod error;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use super::{
    api::{self, EVENTS_LEN, Listener},
    config::NodeConfig,
    front::Front,
    news::News,
    peer::dtls::Identity,
    shards::Shards,
};

pub use self::error::NodeError;

#[cfg(feature = "faults")]
pub use super::shard::Fault;

/// Connections that said hello and wait to be served: each ends the one before it.
const GREETED_LEN: usize = 8;

/// A node that no signaling speaks to ends itself after this time, whoever is in it: nobody could manage it any more.
pub const ALONE_TIME_MAX: Duration = Duration::from_secs(600);

/// A node that no signaling speaks to and nobody is in ends itself after this time.
pub const EMPTY_TIME_MAX: Duration = Duration::from_secs(60);

/// Why a node ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By [`Command::Shutdown`](crate::control::Command::Shutdown).
    Asked,
    /// By the caller's `shutdown`, such as a signal.
    Stopped,
    /// No signaling spoke to it for [`ALONE_TIME_MAX`], or for [`EMPTY_TIME_MAX`] while it was empty.
    Alone,
}

/// Runs a node until it is asked to end, `shutdown` resolves, or nobody needs it any more. Its process id, media addresses
/// and settings are in the welcome of the control protocol. A shard that fails is replaced; those who were on it are told to be lost.
///
/// # Errors
/// It could not start.
pub async fn run(
    config: NodeConfig,
    listener: Listener,
    shutdown: impl Future<Output = ()>,
) -> Result<Ended, NodeError> {
    let (front, news) = begin(config)?;
    live(front, news, listener, shutdown).await
}

/// The same, with shards in which something goes wrong when they are told to: by their place, counted from 0. One that was replaced is not told any more.
///
/// # Errors
/// It could not start.
#[cfg(feature = "faults")]
pub async fn run_with_faults(
    config: NodeConfig,
    listener: Listener,
    mut faults: mpsc::Receiver<(usize, Fault)>,
) -> Result<Ended, NodeError> {
    use super::shard::{Order, ToShard};

    let (front, news) = begin(config)?;
    let shards = front.shards.orders();
    tokio::spawn(async move {
        while let Some((place, fault)) = faults.recv().await {
            let (reply, _) = tokio::sync::oneshot::channel();
            let order = Order::Fail(fault);
            // One that has failed already cannot be told.
            let _ = shards[place].send(ToShard { order, reply }).await;
        }
    });
    live(front, news, listener, std::future::pending()).await
}

/// Everything but who speaks to it.
pub(super) fn begin(config: NodeConfig) -> Result<(Front, mpsc::Receiver<News>), NodeError> {
    config.check()?;
    let identity = Arc::new(Identity::new(config.weak_srtp)?);
    let (news, news_receiver) = mpsc::channel(EVENTS_LEN);
    let (endpoints_max, rooms_max) = (config.endpoints_max, config.rooms_max);
    let room_shard_max = config.room_shard_max;
    let front = Front {
        shards: Shards::start(config, identity.clone(), news)?,
        rooms: Default::default(),
        identity,
        served: watch::channel(false).0,
        endpoints: watch::channel(0).0,
        endpoints_max,
        rooms_max,
        room_shard_max,
        last_endpoint: rand::random(),
        network: Default::default(),
        networked: Default::default(),
        is_stale: false,
        linked: Default::default(),
        hung: Default::default(),
        counters: Default::default(),
        events: Default::default(),
        is_ending: false,
    };
    Ok((front, news_receiver))
}

async fn live(
    mut front: Front,
    news: mpsc::Receiver<News>,
    listener: Listener,
    shutdown: impl Future<Output = ()>,
) -> Result<Ended, NodeError> {
    let (served, endpoints) = (front.served.subscribe(), front.endpoints.subscribe());
    let (greeted, greeted_receiver) = mpsc::channel(GREETED_LEN);
    let accepting = tokio::spawn(api::accept(listener, greeted));
    let ended = tokio::select! {
        () = api::serve(greeted_receiver, news, &mut front) => front.is_ending.then_some(Ended::Asked),
        () = alone(served, endpoints) => Some(Ended::Alone),
        () = shutdown => Some(Ended::Stopped),
    };
    accepting.abort();
    front.shards.stop().await;
    ended.ok_or(NodeError::Shards)
}

/// Resolves when nobody will come any more.
async fn alone(mut served: watch::Receiver<bool>, mut endpoints: watch::Receiver<u32>) {
    let mut alone_since = Instant::now();
    let mut empty_since = Instant::now();
    let mut was_empty = true;
    loop {
        let is_served = *served.borrow_and_update();
        let is_empty = *endpoints.borrow_and_update() == 0;
        if is_served {
            alone_since = Instant::now();
        }
        if is_empty && !was_empty {
            empty_since = Instant::now();
        }
        was_empty = is_empty;
        let mut end = alone_since + ALONE_TIME_MAX;
        if is_empty {
            end = end.min(alone_since.max(empty_since) + EMPTY_TIME_MAX);
        }
        tokio::select! {
            change = served.changed() => if change.is_err() { return },
            change = endpoints.changed() => if change.is_err() { return },
            () = tokio::time::sleep_until(end), if !is_served => return,
        }
        if is_served {
            alone_since = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds until a node ends, told (second, served, endpoints) changes.
    async fn ends_after(changes: &[(u64, bool, u32)]) -> u64 {
        let start = Instant::now();
        let (served, served_receiver) = watch::channel(false);
        let (endpoints, endpoints_receiver) = watch::channel(0);
        let end = tokio::spawn(alone(served_receiver, endpoints_receiver));
        for &(second, is_served, count) in changes {
            tokio::time::sleep_until(start + Duration::from_secs(second)).await;
            assert!(!end.is_finished(), "before second {second}");
            served.send_replace(is_served);
            endpoints.send_replace(count);
        }
        end.await.expect("no panic");
        start.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_without_signaling_ends() {
        assert_eq!(ends_after(&[]).await, 60);
        assert_eq!(ends_after(&[(50, true, 0), (7_000, false, 0)]).await, 7_060);
    }

    #[tokio::test(start_paused = true)]
    async fn a_meeting_goes_on_for_ten_minutes_without_signaling() {
        assert_eq!(ends_after(&[(1, true, 3), (100, false, 3)]).await, 700);
        assert_eq!(
            ends_after(&[(1, true, 3), (100, false, 3), (300, false, 0)]).await,
            360
        );
        assert_eq!(
            ends_after(&[(1, true, 3), (100, false, 3), (300, true, 3), (400, false, 3)]).await,
            1_000
        );
    }
}
