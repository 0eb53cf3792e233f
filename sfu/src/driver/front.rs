//! What of a request is done before the shard hears of it: reading offers and writing answers, 0.6 ms each, which would
//! stall running streams.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

use rand::RngExt;
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    api::Handler,
    metrics,
    peer::{
        dtls::Identity,
        ice::IceCredentials,
        sdp::{self, AnswerConfig, Plan, SdpError},
    },
    shard::{Done, Newcomer, Order, ToShard},
};
use crate::{
    control::{
        ClientKind, Command, ControlError, Join, LINES_MAX, LINES_ON_WAY_MAX, LineId, Network, Reply, RoomId,
        SEAT_BYTES_MAX, SITES_MAX, SeatId, VERSION, VIDEO_CODECS_MAX, VideoCodec,
    },
    engine::{
        id::{EndpointId, LineIndex, SourceKind},
        packet::{Negotiated, StreamOrigin},
        units::Bitrate,
    },
};

/// Longest name of a site in a [`Join`], in bytes.
const SITE_BYTES_MAX: usize = 96;

/// What the way to a player that cannot be probed is taken to carry at first: one picture of a camera that sends but one. What
/// its reports say afterwards is believed.
const PLAYER_START: Bitrate = Bitrate::mbps(3);

/// The control protocol's [`Handler`] of a node with one shard.
pub(crate) struct Front {
    /// The shard.
    pub(crate) shard: mpsc::Sender<ToShard>,
    /// Whose fingerprint stands in the answers.
    pub(crate) identity: Arc<Identity>,
    /// What clients are told.
    pub(crate) announced: Vec<SocketAddr>,
    /// Random at each start.
    pub(crate) epoch: u64,
    /// Whether signaling is there.
    pub(crate) served: watch::Sender<bool>,
    /// The last endpoint; the next has the next number, so that none is used again while its packets are under way.
    pub(crate) last_endpoint: u32,
    /// Codecs of the rooms that are open.
    pub(crate) video: BTreeMap<RoomId, Vec<VideoCodec>>,
    /// [`Command::Shutdown`] was given.
    pub(crate) is_ending: bool,
}

impl Handler for Front {
    async fn handle(&mut self, command: Command) -> Result<Reply, ControlError> {
        let order = match command {
            Command::Hello { version: VERSION } => return Ok(self.welcome()),
            Command::Hello { version } => return Err(ControlError::Version { theirs: version }),
            Command::Join(join) => return self.join(*join).await,
            Command::Restart { room, seat, offer } => {
                let answer = |plan: &mut Plan, ice: &IceCredentials| sdp::answer_restart(&offer, plan, ice);
                return self.restart(room, seat, answer).await;
            }
            Command::RestartIce { room, seat, fragment } => {
                let answer =
                    |plan: &mut Plan, ice: &IceCredentials| sdp::answer_fragment(&fragment, plan, ice);
                return self.restart(room, seat, answer).await;
            }
            Command::Shutdown => {
                self.is_ending = true;
                return Ok(Reply::Done);
            }
            Command::SetNetwork { network } if is_network(&network) => Order::SetNetwork { network },
            Command::SetClient { room, seat, client } if client.concealed_ppm <= 1_000_000 => {
                Order::SetClient { room, seat, client }
            }
            Command::SetNetwork { .. } | Command::SetClient { .. } => return Err(ControlError::BadValue),
            Command::Inspect { room } => Order::Inspect { room },
            Command::Snapshot => Order::Snapshot,
            Command::Metrics => Order::Count,
            Command::OpenRoom { policy, .. } if policy.video.len() > VIDEO_CODECS_MAX => {
                return Err(ControlError::BadValue);
            }
            Command::OpenRoom { room, policy } => {
                let video = policy.video.clone();
                let order = Order::OpenRoom {
                    room: room.clone(),
                    policy,
                };
                self.ask(order).await?;
                self.video.insert(room, video);
                return Ok(Reply::Done);
            }
            Command::CloseRoom { room } => {
                self.video.remove(&room);
                Order::CloseRoom { room }
            }
            Command::Leave { room, seat } => Order::Leave { room, seat },
            Command::SetView { room, seat, wants } => Order::SetView { room, seat, wants },
            Command::SetVoice { room, seat, source } => Order::SetVoice { room, seat, source },
            Command::SetPublished {
                room,
                seat,
                source,
                on,
            } => Order::SetPublished {
                room,
                seat,
                source,
                on,
            },
            Command::SetFloor { room, number } => Order::SetFloor { room, number },
        };
        match self.ask(order).await? {
            Done::Snapshot(rooms) => Ok(Reply::Snapshot { rooms }),
            Done::Counted(counted) => Ok(Reply::Metrics {
                text: metrics::text(&counted),
            }),
            Done::Inspected(room) => Ok(Reply::Inspected { room }),
            Done::Nothing | Done::Plan(..) => Ok(Reply::Done),
        }
    }

    fn set_served(&mut self, served: bool) {
        self.served.send_replace(served);
    }

    fn is_ending(&self) -> bool {
        self.is_ending
    }
}

impl Front {
    fn welcome(&self) -> Reply {
        Reply::Welcome {
            version: VERSION,
            pid: std::process::id(),
            epoch: self.epoch,
            media: self.announced.clone(),
        }
    }

    async fn join(&mut self, join: Join) -> Result<Reply, ControlError> {
        let site_fits = join.site.as_ref().is_none_or(|site| site.len() <= SITE_BYTES_MAX);
        if !site_fits || join.seat_note.len() > SEAT_BYTES_MAX {
            return Err(ControlError::BadValue);
        }
        self.last_endpoint = self.last_endpoint.wrapping_add(1);
        let (newcomer, joined) = self.answer(join, EndpointId(self.last_endpoint))?;
        self.ask(Order::Join(Box::new(newcomer))).await?;
        Ok(joined)
    }

    /// Reads the offer and makes everything that is random: the reply, and what the shard has to know.
    fn answer(&self, join: Join, endpoint: EndpointId) -> Result<(Newcomer, Reply), ControlError> {
        let mut rng = rand::rng();
        let credentials = IceCredentials::new(endpoint.0, &mut rng);
        let mut config = AnswerConfig {
            ice: &credentials,
            fingerprint: self.identity.fingerprint(),
            candidates: &self.announced,
            client: join.client,
            profile: join.profile,
            video: self.video.get(&join.room).map_or(&[], Vec::as_slice),
            sources: &join.sources,
            random: &mut || rng.random(),
        };
        let answered = sdp::answer(&join.offer, &mut config).map_err(refused)?;
        let origins = answered.media.slots.iter().map(|_| origin(&mut rng)).collect();
        let sources: Vec<SourceKind> = answered.media.sources.iter().map(|s| s.kind).collect();
        let published = match join.client {
            ClientKind::Page => join.published,
            ClientKind::Publisher => sources.clone(),
            ClientKind::Player => Vec::new(),
        };
        let newcomer = Newcomer {
            room: join.room,
            seat: join.seat,
            number: join.number,
            note: join.seat_note,
            site: join.site,
            rank: join.rank,
            way_start: way_start(join.client, &answered.media),
            published,
            endpoint,
            credentials,
            remote: answered.remote,
            plan: Box::new(answered.plan),
            media: answered.media,
            origins,
        };
        Ok((
            newcomer,
            Reply::Joined {
                answer: answered.sdp,
                slots: answered.slots,
                sources,
            },
        ))
    }

    async fn restart(
        &mut self,
        room: RoomId,
        seat: SeatId,
        answer: impl FnOnce(&mut Plan, &IceCredentials) -> Result<String, SdpError>,
    ) -> Result<Reply, ControlError> {
        let found = self
            .ask(Order::Plan {
                room: room.clone(),
                seat: seat.clone(),
            })
            .await?;
        let Done::Plan(endpoint, mut plan) = found else {
            return Err(ControlError::Unavailable);
        };
        let credentials = IceCredentials::new(endpoint.0, &mut rand::rng());
        let answer = answer(&mut plan, &credentials).map_err(refused)?;
        self.ask(Order::Restart {
            room,
            seat,
            endpoint,
            plan,
            credentials,
        })
        .await?;
        Ok(Reply::Restarted { answer })
    }

    async fn ask(&self, order: Order) -> Result<Done, ControlError> {
        ask(&self.shard, order).await
    }
}

/// Whether a network keeps its limits: as many lines and sites as are served, each line once, ways of lines that are
/// there, none of them twice.
fn is_network(network: &Network) -> bool {
    let ids: BTreeSet<&LineId> = network.lines.iter().map(|line| &line.id).collect();
    let is_way = |way: &[LineIndex]| {
        let places: BTreeSet<LineIndex> = way.iter().copied().collect();
        way.len() <= LINES_ON_WAY_MAX
            && places.len() == way.len()
            && way.iter().all(|line| usize::from(line.0) < network.lines.len())
    };
    network.lines.len() <= LINES_MAX
        && ids.len() == network.lines.len()
        && network.sites.len() <= SITES_MAX
        && network
            .sites
            .iter()
            .all(|(site, way)| site.len() <= SITE_BYTES_MAX && is_way(way))
}

/// Gives the shard an order and waits for what comes of it.
pub(crate) async fn ask(shard: &mpsc::Sender<ToShard>, order: Order) -> Result<Done, ControlError> {
    let (reply, result) = oneshot::channel();
    shard
        .send(ToShard { order, reply })
        .await
        .map_err(|_| ControlError::Unavailable)?;
    result.await.map_err(|_| ControlError::Unavailable)?
}

/// A page's way is found out from below. Nobody knows what carries a picture of 1 Mbit/s before it was sent once, if there is no
/// smaller one and no transport-wide feedback.
fn way_start(client: ClientKind, media: &Negotiated) -> Option<Bitrate> {
    let is_blind = client == ClientKind::Player && media.extensions.transport_cc.is_none();
    is_blind.then_some(PLAYER_START)
}

fn refused(error: SdpError) -> ControlError {
    match error {
        SdpError::NotRestart => ControlError::State,
        error => ControlError::BadSdp {
            reason: error.to_string(),
        },
    }
}

/// RFC 3550 §5.1: numbers begin at random.
fn origin(rng: &mut impl RngExt) -> StreamOrigin {
    StreamOrigin {
        // Below 2^15: a receiver without keys for the first packets must not miss the first wrap (RFC 3711 §3.3.1).
        sequence: rng.random_range(0..1 << 15),
        rtx_sequence: rng.random_range(0..1 << 15),
        timestamp: rng.random(),
        picture_id: rng.random_range(0..1 << 15),
        tl0_pic_idx: rng.random(),
    }
}
