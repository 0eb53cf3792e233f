//! Offers and what they are answered with.

use rand::RngExt;

use super::Front;
use crate::{
    control::{ClientKind, ControlError, Join, Reply, RoomId, SeatId},
    driver::{
        news::ShardIndex,
        peer::{
            ice::IceCredentials,
            sdp::{self, AnswerConfig, Plan, SdpError},
        },
        shard::{Done, Newcomer, Order},
    },
    engine::{
        id::{EndpointId, SourceKind},
        packet::{Negotiated, StreamOrigin},
        units::Bitrate,
    },
};

/// What the way to a player that cannot be probed is taken to carry at first: one picture of a camera that sends but one. What
/// its reports say afterwards is believed.
const PLAYER_START: Bitrate = Bitrate::mbps(3);

impl Front {
    /// Reads the offer and makes everything that is random: the reply, and what the shard has to know.
    pub(super) fn answer(
        &self,
        join: Join,
        endpoint: EndpointId,
        shard: ShardIndex,
    ) -> Result<(Newcomer, Reply), ControlError> {
        let mut rng = rand::rng();
        let credentials = IceCredentials::new(endpoint.0, &mut rng);
        let mut config = AnswerConfig {
            ice: &credentials,
            fingerprint: self.identity.fingerprint(),
            candidates: self.shards.announced(shard),
            client: join.client,
            profile: join.profile,
            video: &self.rooms.find(&join.room)?.policy.video,
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

    /// Answers an ICE restart of a seat where it is.
    pub(super) async fn restart(
        &mut self,
        room: RoomId,
        seat: SeatId,
        answer: impl FnOnce(&mut Plan, &IceCredentials) -> Result<String, SdpError>,
    ) -> Result<Reply, ControlError> {
        let shard = self.rooms.seat(&room, &seat)?;
        let order = Order::Plan {
            room: room.clone(),
            seat: seat.clone(),
        };
        let Done::Plan(endpoint, mut plan) = self.shards.ask(shard, order).await? else {
            return Err(ControlError::Unavailable);
        };
        let credentials = IceCredentials::new(endpoint.0, &mut rand::rng());
        let answer = answer(&mut plan, &credentials).map_err(refused)?;
        let order = Order::Restart {
            room,
            seat,
            endpoint,
            plan,
            credentials,
        };
        self.shards.ask(shard, order).await?;
        Ok(Reply::Restarted { answer })
    }
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
