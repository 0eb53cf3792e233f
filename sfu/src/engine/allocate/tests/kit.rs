//! A small room as data, and its allocation as words.

use std::time::{Duration, Instant};

use super::super::*;
use crate::engine::{
    id::{EndpointId, LineIndex, PointNumber, Rank, SlotId, SourceKind, SourceNumber},
    shortfall::{Cause, Shortfall},
    testing::base,
    units::Bitrate,
};

/// A room that owns what a [`Problem`] borrows. Point `n` is endpoint `n`, from 1.
#[derive(Debug, Clone)]
pub(super) struct Scene {
    pub(super) now: Instant,
    pub(super) points: Vec<Point>,
    pub(super) lines: Vec<Line>,
    pub(super) policy: Policy,
    /// What another half of the room wants.
    pub(super) wanted: Vec<Wanted>,
    /// Receivers, senders, and the sources of each are told the other way round.
    pub(super) turned: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Point {
    pub(super) rank: Rank,
    pub(super) estimate: Option<Bitrate>,
    pub(super) breath: Bitrate,
    pub(super) even: Option<Bitrate>,
    pub(super) uplink: Option<Bitrate>,
    pub(super) lines: Vec<LineIndex>,
    pub(super) voices: u8,
    pub(super) redundancy: Option<Bitrate>,
    pub(super) third: Option<Bitrate>,
    pub(super) ahead: Option<Bitrate>,
    pub(super) repeats: bool,
    pub(super) loss: Loss,
    pub(super) cpu_steps: u8,
    pub(super) encoder_steps: u8,
    pub(super) demands: Vec<Demand>,
    pub(super) camera: Option<[Offer; LAYERS_MAX]>,
    pub(super) screen: Option<[Offer; LAYERS_MAX]>,
    pub(super) nested: bool,
}

pub(super) const VOICE: Bitrate = Bitrate::kbps(50);

/// Layers of that many kb/s with temporal layers, all arriving.
pub(super) fn layers(rates: [u64; LAYERS_MAX]) -> [Offer; LAYERS_MAX] {
    rates.map(|rate| Offer {
        can: true,
        live: true,
        height: None,
        rates: shares(rate * 1_000).map(Bitrate::bps),
    })
}

fn source(point: usize, kind: SourceKind) -> SourceNumber {
    let number = PointNumber::try_from(point as u32).expect("points count from 1");
    number.source(kind)
}

pub(super) fn camera(point: usize) -> SourceNumber {
    source(point, SourceKind::Camera)
}

pub(super) fn demand(slot: u8, of: usize, kind: Kind, height: u16) -> Demand {
    Demand {
        slot: SlotId::video(slot),
        source: camera(of),
        kind,
        height,
        fps: if kind == Kind::Thumbnail { 15 } else { 0 },
        decodable: true,
    }
}

impl Point {
    pub(super) fn new(demands: &[Demand]) -> Self {
        Self {
            rank: Rank::Member,
            estimate: None,
            breath: Bitrate::ZERO,
            even: None,
            uplink: None,
            lines: Vec::new(),
            voices: 3,
            redundancy: None,
            third: None,
            ahead: None,
            repeats: false,
            loss: Loss::None,
            cpu_steps: 0,
            encoder_steps: 0,
            demands: demands.to_vec(),
            camera: Some(layers([150, 450, 1_500])),
            screen: None,
            nested: false,
        }
    }
}

impl Scene {
    pub(super) fn new(points: Vec<Point>) -> Self {
        Self {
            now: base(),
            points,
            lines: Vec::new(),
            policy: Policy::default(),
            wanted: Vec::new(),
            turned: false,
        }
    }

    /// Everybody stands behind line 0.
    pub(super) fn behind(mut self, down: Bitrate, up: Bitrate) -> Self {
        let line = LineIndex(0);
        self.lines = vec![Line {
            line,
            down,
            breath: Bitrate::ZERO,
            up,
        }];
        self.points.iter_mut().for_each(|point| point.lines = vec![line]);
        self
    }

    pub(super) fn after(&mut self, time: Duration) {
        self.now += time;
    }

    pub(super) fn allocate(&self, previous: &Allocation) -> Allocation {
        let id = |at: usize| EndpointId(at as u32 + 1);
        let sources: Vec<Vec<Source>> = (1..)
            .zip(&self.points)
            .map(|(at, point)| self.sources(at, point))
            .collect();
        let mut receivers: Vec<Receiver<'_>> = self
            .points
            .iter()
            .enumerate()
            .map(|(at, point)| Receiver {
                endpoint: id(at),
                rank: point.rank,
                estimate: point.estimate,
                breath: point.breath,
                even: point.even,
                lines: &point.lines,
                voices: point.voices,
                sounding: point.voices,
                voice: VOICE,
                redundancy: point.redundancy,
                third: point.third,
                ahead: point.ahead,
                repeats: point.repeats,
                loss: point.loss,
                cpu_steps: point.cpu_steps,
                demands: &point.demands,
            })
            .collect();
        let mut senders: Vec<Sender<'_>> = self
            .points
            .iter()
            .enumerate()
            .map(|(at, point)| Sender {
                endpoint: id(at),
                lines: &point.lines,
                estimate: point.uplink,
                sound: VOICE,
                encoder_steps: point.encoder_steps,
                sources: &sources[at],
            })
            .collect();
        if self.turned {
            receivers.reverse();
            senders.reverse();
        }
        allocate(
            &Problem {
                now: self.now,
                receivers: &receivers,
                senders: &senders,
                lines: &self.lines,
                beyond: Beyond {
                    wanted: &self.wanted,
                    ..Beyond::default()
                },
                policy: self.policy,
            },
            previous,
        )
    }

    fn sources(&self, at: usize, point: &Point) -> Vec<Source> {
        let of = |kind, layers: Option<[Offer; LAYERS_MAX]>| {
            layers.map(|layers| Source {
                number: source(at, kind),
                nested: point.nested,
                layers,
            })
        };
        let sources = [
            of(SourceKind::Camera, point.camera),
            of(SourceKind::Screen, point.screen),
        ];
        let mut sources: Vec<Source> = sources.into_iter().flatten().collect();
        if self.turned {
            sources.reverse();
        }
        sources
    }

    pub(super) fn fresh(&self) -> Allocation {
        self.allocate(&Allocation::default())
    }
}

/// A receiver's line of a table: voices, then each slot as height@percent or `-`, with the reason.
pub(super) fn row(allocation: &Allocation, point: usize) -> String {
    let endpoint = EndpointId(point as u32);
    let grant = allocation.receiver(endpoint).expect("a receiver");
    let slots = allocation.slots_of(endpoint).iter().map(|slot| {
        let picture = slot
            .picture
            .map_or_else(|| "-".to_owned(), |p| format!("{}@{}", p.height, p.rate_percent));
        let reason = slot.shortfall.map(|shortfall| format!(" {:?}", shortfall.cause));
        format!(" | {picture}{}", reason.unwrap_or_default())
    });
    format!("{} voices{}", grant.voices, slots.collect::<String>())
}

/// A source's line of a table: each layer's kb/s or `off`, pictures a second, the reason.
pub(super) fn order(allocation: &Allocation, point: usize) -> String {
    let order = allocation.source(camera(point)).expect("a source");
    let layers: Vec<String> = order
        .layers
        .iter()
        .flatten()
        .map(|layer| match layer.active {
            true => format!("{}", layer.bitrate_max.as_bps() / 1_000),
            false => "off".to_owned(),
        })
        .collect();
    let fps = order
        .layers
        .iter()
        .flatten()
        .next()
        .map_or(0, |layer| layer.fps_max);
    let reason = order.shortfall.map(|shortfall| format!(" {:?}", shortfall.cause));
    format!("{} at {fps}{}", layers.join(" "), reason.unwrap_or_default())
}

pub(super) const LINE: Option<Shortfall> = Some(Shortfall {
    cause: Cause::LineBudget,
    line: Some(LineIndex(0)),
});

/// Point 11 in the town speaks; ten points of a district watch it.
pub(super) fn district(thumbnails: u8) -> Scene {
    let point = || {
        let mut demands = vec![demand(0, 11, Kind::Stage, 720)];
        demands.extend((1..=thumbnails).map(|slot| demand(slot, usize::from(slot), Kind::Thumbnail, 180)));
        Point::new(&demands)
    };
    let mut scene = Scene::new((0..10).map(|_| point()).collect()).behind(Bitrate::mbps(8), Bitrate::mbps(8));
    scene.points[3].rank = Rank::Chair;
    scene.points[7].rank = Rank::Secretary;
    scene.points.push(Point::new(&[]));
    scene
}

/// One receiver that hears three voices, with the stage and two thumbnails.
pub(super) fn one(estimate: Option<Bitrate>) -> Scene {
    let mut scene = Scene::new(vec![
        Point::new(&[
            demand(0, 2, Kind::Stage, 720),
            demand(1, 3, Kind::Thumbnail, 180),
            demand(2, 4, Kind::Thumbnail, 180),
        ]),
        Point::new(&[]),
        Point::new(&[]),
        Point::new(&[]),
    ]);
    scene.points[0].estimate = estimate;
    scene
}
