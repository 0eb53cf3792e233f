//! The shards of a node: threads that are each a whole SFU, with sockets and a port of their own. One that fails is replaced by
//! another on the same port; the others do not notice.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    thread,
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

use super::{
    addresses,
    config::NodeConfig,
    news::{News, ShardIndex},
    node::error::NodeError,
    peer::dtls::Identity,
    shard::{self, Done, Load, Order, Parts, ToShard},
    udp::{self, Bound},
};
use crate::control::ControlError;

/// Orders that wait for a shard. There are more than one only while it hangs. Full: further ones are refused.
const ORDERS_LEN: usize = 256;

/// A shard that says nothing to an order for so long hangs. Much longer than the longest turn, and short enough that whoever asks the node does
/// not give it up.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);

/// Shards that have not ended after this time end with the process. Less than the service waits for its node.
const STOP_TIME_MAX: Duration = Duration::from_secs(3);

/// All shards of a node.
pub(crate) struct Shards {
    config: NodeConfig,
    addresses: Vec<IpAddr>,
    identity: Arc<Identity>,
    news: mpsc::Sender<News>,
    shards: Vec<Running>,
}

/// A shard, or what is left of it.
struct Running {
    /// Closed while it does not run.
    orders: mpsc::Sender<ToShard>,
    /// Where its clients send to.
    announced: Vec<SocketAddr>,
    load: watch::Receiver<Load>,
    thread: Option<thread::JoinHandle<()>>,
    port: u16,
    /// It failed, that was heard, and no other could be started in its place. One of which it was not heard yet is not to be started again before: its end would pass for
    /// that of the next.
    is_missing: bool,
    /// What it did not answer in time; answered late it goes on.
    late: Option<oneshot::Receiver<Result<Done, ControlError>>>,
}

impl Running {
    fn hangs(&self) -> bool {
        self.late.as_ref().is_some_and(oneshot::Receiver::is_empty)
    }

    /// One that hangs is told, for the case that it goes on, and not waited for: the others have work to do. What is for now alone would take the place of
    /// what still has to be done then.
    async fn ask(&mut self, order: Order) -> Result<Done, ControlError> {
        if self.hangs() && order.is_for_now() {
            return Err(ControlError::Unavailable);
        }
        let (reply, mut result) = oneshot::channel();
        self.orders
            .try_send(ToShard { order, reply })
            .map_err(|_| ControlError::Unavailable)?;
        if self.hangs() {
            return Err(ControlError::Unavailable);
        }
        match timeout(ANSWER_TIME_MAX, &mut result).await {
            Ok(answer) => answer.map_err(|_| ControlError::Unavailable)?,
            Err(_) => {
                tracing::error!("a shard hangs: nobody is sent there until it goes on");
                self.late = Some(result);
                Err(ControlError::Unavailable)
            }
        }
    }
}

impl Shards {
    /// Starts as many as the configuration says.
    ///
    /// # Errors
    /// There is no address to listen on, a port is taken, or the system refuses a thread.
    pub(crate) fn start(
        config: NodeConfig,
        identity: Arc<Identity>,
        news: mpsc::Sender<News>,
    ) -> Result<Self, NodeError> {
        let addresses = addresses::listen_on(&config).map_err(NodeError::Listen)?;
        if addresses.is_empty() {
            let none = "no address but loopback, which media.loopback takes";
            return Err(NodeError::Listen(io::Error::new(
                io::ErrorKind::AddrNotAvailable,
                none,
            )));
        }
        let mut shards = Self {
            config,
            addresses,
            identity,
            news,
            shards: Vec::new(),
        };
        for index in 0..shards.config.shard_count() {
            let bound = shards
                .bind(shards.config.shard_port(index))
                .map_err(NodeError::Listen)?;
            shards.look_at_buffers(&bound);
            let shard = shards
                .start_one(ShardIndex(index), bound)
                .map_err(NodeError::Start)?;
            shards.shards.push(shard);
        }
        Ok(shards)
    }

    /// What they were started with.
    pub(crate) fn config(&self) -> &NodeConfig {
        &self.config
    }

    fn bind(&self, port: u16) -> io::Result<Vec<Bound>> {
        udp::bind_all(&self.addresses, port, self.config.buffer_bytes)
    }

    /// Addresses that the machine has no more are passed over while it has one of them: those of IPv6 may be for some days only.
    fn bind_again(&self, port: u16) -> io::Result<Vec<Bound>> {
        let addresses = udp::still_here(&self.addresses);
        if addresses.is_empty() || addresses.len() == self.addresses.len() {
            return self.bind(port);
        }
        let gone = self.addresses.len() - addresses.len();
        tracing::warn!(gone, "addresses that this machine has no more are passed over");
        udp::bind_all(&addresses, port, self.config.buffer_bytes)
    }

    fn look_at_buffers(&self, bound: &[Bound]) {
        let asked = self.config.buffer_bytes;
        for socket in bound {
            let (receive_bytes, send_bytes) = (socket.receive_bytes, socket.send_bytes);
            if receive_bytes.min(send_bytes) < asked {
                tracing::warn!(
                    asked,
                    receive_bytes,
                    send_bytes,
                    "the kernel gives smaller UDP buffers than asked"
                );
            }
        }
    }

    fn start_one(&self, index: ShardIndex, bound: Vec<Bound>) -> io::Result<Running> {
        let locals: Vec<SocketAddr> = bound.iter().map(|bound| bound.local).collect();
        let (orders, orders_receiver) = mpsc::channel(ORDERS_LEN);
        let (load, load_receiver) = watch::channel(Load::default());
        let thread = shard::start(Parts {
            index,
            bound,
            identity: self.identity.clone(),
            orders: orders_receiver,
            news: self.news.clone(),
            load,
        })?;
        Ok(Running {
            orders,
            announced: self.config.announced(index.0, &locals),
            load: load_receiver,
            thread: Some(thread),
            port: locals.first().map_or(0, SocketAddr::port),
            is_missing: false,
            late: None,
        })
    }

    /// Another shard takes the place of one that failed, on the same port. If that cannot be, the place stays empty until the next try.
    pub(crate) fn restart(&mut self, index: ShardIndex) {
        let Some(former) = self.shards.get(index.place()) else {
            return;
        };
        let started = self
            .bind_again(former.port)
            .and_then(|bound| self.start_one(index, bound));
        match (started, self.shards.get_mut(index.place())) {
            (Ok(shard), Some(place)) => *place = shard,
            (Err(error), place) => {
                tracing::error!(shard = index.0, %error, "a shard cannot be started again");
                place.into_iter().for_each(|place| place.is_missing = true);
            }
            (Ok(_), None) => {}
        }
    }

    /// Tries again to start those that do not run.
    pub(crate) fn restart_missing(&mut self) {
        for index in self.indexes() {
            if self
                .shards
                .get(index.place())
                .is_some_and(|shard| shard.is_missing)
            {
                self.restart(index);
            }
        }
    }

    /// All of them, running or not.
    pub(crate) fn indexes(&self) -> impl Iterator<Item = ShardIndex> + use<> {
        (0..self.shards.len()).map(|place| ShardIndex(place as u16))
    }

    /// Whether it takes orders and does them.
    pub(crate) fn is_running(&self, index: ShardIndex) -> bool {
        let shard = self.shards.get(index.place());
        shard.is_some_and(|shard| !shard.orders.is_closed() && !shard.hangs())
    }

    /// Whether it takes orders, and did not answer the last in time.
    pub(crate) fn hangs(&self, index: ShardIndex) -> bool {
        let shard = self.shards.get(index.place());
        shard.is_some_and(|shard| !shard.orders.is_closed() && shard.hangs())
    }

    /// Where clients of a shard send to.
    pub(crate) fn announced(&self, index: ShardIndex) -> &[SocketAddr] {
        let shard = self.shards.get(index.place());
        shard.map_or(&[], |shard| &shard.announced)
    }

    /// Where clients send to, those of all shards.
    pub(crate) fn all_announced(&self) -> Vec<SocketAddr> {
        self.shards
            .iter()
            .flat_map(|shard| shard.announced.clone())
            .collect()
    }

    /// How busy a shard is, in thousandths of a core.
    pub(crate) fn busy(&self, index: ShardIndex) -> u16 {
        let shard = self.shards.get(index.place());
        shard.map_or(0, |shard| shard.load.borrow().busy)
    }

    /// Gives a shard an order and waits for what comes of it.
    ///
    /// # Errors
    /// What the shard says, or that it is gone or hangs.
    pub(crate) async fn ask(&mut self, index: ShardIndex, order: Order) -> Result<Done, ControlError> {
        let shard = self.shards.get_mut(index.place());
        shard.ok_or(ControlError::Unavailable)?.ask(order).await
    }

    /// What a test makes shards fail by.
    #[cfg(feature = "faults")]
    pub(crate) fn orders(&self) -> Vec<mpsc::Sender<ToShard>> {
        self.shards.iter().map(|shard| shard.orders.clone()).collect()
    }

    /// Ends all shards and waits for their threads, but not for one that hangs.
    pub(crate) async fn stop(self) {
        for shard in &self.shards {
            let (reply, _) = oneshot::channel();
            let order = Order::Stop;
            // One that is gone already needs no order.
            let _ = shard.orders.try_send(ToShard { order, reply });
        }
        let all_ended = async {
            for shard in &self.shards {
                shard.orders.closed().await;
            }
        };
        if timeout(STOP_TIME_MAX, all_ended).await.is_err() {
            tracing::error!("a shard hangs, and ends with the process");
        }
        let ended = self.shards.into_iter().filter(|shard| shard.orders.is_closed());
        let threads: Vec<_> = ended.filter_map(|shard| shard.thread).collect();
        let ended = tokio::task::spawn_blocking(|| {
            for thread in threads {
                // Panics were caught and counted in there.
                let _ = thread.join();
            }
        });
        let _ = ended.await;
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const ONLY: ShardIndex = ShardIndex(0);

    fn shards() -> Shards {
        let config = NodeConfig {
            port: 0,
            shards: 1,
            addresses: vec!["127.0.0.1".parse().expect("an address")],
            ..NodeConfig::default()
        };
        let identity = Arc::new(Identity::new(false).expect("an identity"));
        Shards::start(config, identity, mpsc::channel(8).0).expect("a shard")
    }

    /// Its thread has ended, and the port is free.
    async fn end(shards: &mut Shards) {
        assert!(shards.ask(ONLY, Order::Stop).await.is_ok());
        let thread = shards.shards[0].thread.take().expect("a thread");
        thread.join().expect("no panic");
    }

    #[tokio::test]
    async fn a_shard_is_started_again_on_the_addresses_that_are_left() {
        let mut shards = shards();
        let before = shards.all_announced();
        end(&mut shards).await;
        shards.addresses.push("192.0.2.1".parse().expect("an address"));
        shards.restart(ONLY);
        assert!(shards.is_running(ONLY));
        assert_eq!(shards.all_announced(), before);
        end(&mut shards).await;
        shards.addresses.remove(0);
        shards.restart(ONLY);
        assert!(shards.shards[0].is_missing, "there is no other");
        shards.stop().await;
    }

    /// A shard that is given orders and does nothing, beside what a test sees of it.
    pub(crate) fn held() -> (Shards, mpsc::Receiver<ToShard>) {
        let (orders, given) = mpsc::channel(ORDERS_LEN);
        let shard = Running {
            orders,
            announced: Vec::new(),
            load: watch::channel(Load::default()).1,
            thread: None,
            port: 0,
            is_missing: false,
            late: None,
        };
        let shards = Shards {
            config: NodeConfig::default(),
            addresses: Vec::new(),
            identity: Arc::new(Identity::new(false).expect("an identity")),
            news: mpsc::channel(1).0,
            shards: vec![shard],
        };
        (shards, given)
    }

    #[tokio::test(start_paused = true)]
    async fn a_shard_that_hangs_is_waited_for_once_until_it_goes_on() {
        let (mut shards, mut given) = held();
        let began = tokio::time::Instant::now();
        let close = || Order::CloseRoom {
            room: "sang".to_owned().try_into().expect("a room"),
        };
        for _ in 0..ORDERS_LEN + 1 {
            for order in [close(), Order::Count] {
                let asked = shards.ask(ONLY, order).await;
                assert_eq!(asked.err(), Some(ControlError::Unavailable));
                assert!(shards.hangs(ONLY) && !shards.is_running(ONLY));
            }
        }
        assert_eq!(began.elapsed(), ANSWER_TIME_MAX);
        while let Ok(ToShard { reply, order }) = given.try_recv() {
            assert!(
                matches!(order, Order::CloseRoom { .. }),
                "questions take no place"
            );
            // Whoever asked is gone.
            let _ = reply.send(Ok(Done::Nothing));
        }
        assert!(!shards.hangs(ONLY) && shards.is_running(ONLY));
        let answering = tokio::spawn(async move {
            let ToShard { reply, .. } = given.recv().await.expect("asked");
            let _ = reply.send(Ok(Done::Opened));
        });
        let asked = shards.ask(ONLY, Order::Count).await;
        assert!(matches!(asked, Ok(Done::Opened)));
        answering.await.expect("no panic");
        assert!(!shards.hangs(ONLY) && !shards.is_running(ONLY), "gone");
    }

    #[tokio::test(start_paused = true)]
    async fn a_shard_that_hangs_does_not_keep_the_node_from_ending() {
        let (shards, mut given) = held();
        shards.stop().await;
        let order = given.try_recv().map(|given| given.order);
        assert!(matches!(order, Ok(Order::Stop)), "told all the same");
    }
}
