//! One source while things are given out: what its layers may take, and since when.

use std::time::{Duration, Instant};

use super::{
    super::{quality::LayerOrder, shortfall::Shortfall, units::Bitrate},
    ladder::{Range, height, range},
    outcome::SourceOrder,
    problem::{LAYERS_MAX, Sender, Source},
    wish::Wish,
};

/// A layer that nobody wants any more goes on for so long: stopping and starting it costs a key frame each time.
const KEEP: Duration = Duration::from_secs(5);
/// The lowest layer can be squeezed that far, whatever its height.
const LOWEST: u64 = 60_000;
/// What arrives above this share of what was ordered comes from a sender that does not do as it is told, in percent.
const OBEYED_PERCENT: u64 = 130;
/// A bitrate that is to grow by less than this stays, in percent. One that is too great for somebody never does: so what is ordered lies below what the
/// least of recent estimates allowed, by up to that much.
const SAME_PERCENT: u64 = 5;
/// What changed rests for so long before it grows: for a second after each change an encoder makes a sixth less than it may (libwebrtc sets up its rate control anew).
const REST: Duration = Duration::from_secs(2);
/// Then it grows by no more than that: an estimate may stand at 1.5 times what was ever seen to arrive.
const STEP_PERCENT: u64 = 15;
/// Beyond that a probe has shown it: it is used at once.
const LEAP_PERCENT: u64 = 40;

/// One source while things are given out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Feed<'a> {
    pub(super) sender: usize,
    pub(super) source: &'a Source,
    pub(super) former: Option<&'a SourceOrder>,
    pub(super) wish: Wish,
    pub(super) bitrates: [Option<u64>; LAYERS_MAX],
    pub(super) denied: [Option<Shortfall>; LAYERS_MAX],
}

impl<'a> Feed<'a> {
    pub(super) fn new(sender: usize, source: &'a Source, former: Option<&'a SourceOrder>) -> Self {
        Self {
            sender,
            source,
            former,
            wish: Wish::default(),
            bitrates: [None; LAYERS_MAX],
            denied: [None; LAYERS_MAX],
        }
    }

    pub(super) fn height(&self, layer: usize) -> u16 {
        height(layer, &self.source.layers[layer])
    }

    pub(super) fn lowest(&self) -> Option<usize> {
        self.source.layers.iter().position(|offer| offer.can)
    }

    /// The highest layer that its machine can encode.
    pub(super) fn highest(&self, sender: &Sender<'_>) -> usize {
        let highest = self
            .source
            .layers
            .iter()
            .rposition(|offer| offer.can)
            .unwrap_or(0);
        let lowest = self.lowest().unwrap_or(0);
        highest.saturating_sub(sender.encoder_steps.into()).max(lowest)
    }

    pub(super) fn range(&self, layer: usize) -> Range {
        let range = range(self.height(layer));
        if self.lowest() == Some(layer) {
            Range {
                least: LOWEST,
                ..range
            }
        } else {
            range
        }
    }

    /// Of a layer, with those that it needs.
    pub(super) fn together(&self, layer: usize, of: impl Fn(&Self, usize) -> u64) -> u64 {
        let first = if self.source.nested { 0 } else { layer };
        (first..=layer).map(|layer| of(self, layer)).sum()
    }

    pub(super) fn former_bitrate(&self, layer: usize) -> Option<u64> {
        let order = self.former?.layers[layer].filter(|order| order.active)?;
        Some(order.bitrate_max.as_bps())
    }

    /// It is ordered smaller than before, of a sender that did as it was told.
    fn is_lowered(&self, layer: usize) -> bool {
        let (Some(bitrate), Some(former)) = (self.bitrates[layer], self.former_bitrate(layer)) else {
            return false;
        };
        let arrives = self.source.layers[layer].rates.iter().max();
        let obeys = arrives.is_none_or(|rate| rate.as_bps() <= former / 100 * OBEYED_PERCENT);
        bitrate < former && obeys
    }

    /// What a wanted layer should be sent at.
    pub(super) fn target(&self, now: Instant, layer: usize, takes: u64) -> u64 {
        let range = self.range(layer);
        let most = if self.fps(now) < FPS_FULL {
            range.usual / 3 * 2
        } else {
            range.most
        };
        takes.min(most).max(range.least)
    }

    /// What is ordered on the way to `target`: beside a former bitrate that it is not far above, that one or a step above it.
    pub(super) fn towards(&self, now: Instant, layer: usize, target: u64) -> u64 {
        let Some(former) = self.former_bitrate(layer) else {
            return target;
        };
        let more = |percent: u64| former + former / 100 * percent;
        let changed = self.former.and_then(|former| former.changed_at);
        let rests = changed.is_some_and(|at| now.saturating_duration_since(at) < REST);
        match target {
            _ if target < former || target > more(LEAP_PERCENT) => target,
            _ if rests || target <= more(SAME_PERCENT) => former,
            _ => target.min(more(STEP_PERCENT)),
        }
    }

    pub(super) fn recent(&self, now: Instant, at: impl Fn(&SourceOrder) -> Option<Instant>) -> bool {
        let at = self.former.and_then(at);
        at.is_some_and(|at| now.saturating_duration_since(at) < KEEP)
    }

    pub(super) fn is_watched(&self) -> bool {
        self.wish.layers.iter().any(Option::is_some)
    }

    fn fps(&self, now: Instant) -> u8 {
        if self.wish.is_brisk || self.recent(now, |former| former.brisk_at) {
            FPS_FULL
        } else if self.is_watched() || self.recent(now, |former| former.watched_at) {
            FPS_THUMBNAIL
        } else {
            FPS_UNWATCHED
        }
    }

    pub(super) fn order(&self, now: Instant, sender: &Sender<'_>) -> SourceOrder {
        let former = self.former.filter(|former| former.endpoint == sender.endpoint);
        let fps_max = self.fps(now);
        let mut order = SourceOrder {
            number: self.source.number,
            endpoint: sender.endpoint,
            layers: [None; LAYERS_MAX],
            shortfall: self.denied.iter().copied().flatten().next(),
            kind: self.wish.kind,
            denied: self.denied,
            wanted_at: [None; LAYERS_MAX],
            asked_at: [None; LAYERS_MAX],
            lowered_at: [None; LAYERS_MAX],
            changed_at: former.and_then(|former| former.changed_at),
            watched_at: former.and_then(|former| former.watched_at),
            brisk_at: former.and_then(|former| former.brisk_at),
        };
        if self.is_watched() {
            order.watched_at = Some(now);
        }
        if self.wish.is_brisk {
            order.brisk_at = Some(now);
        }
        for layer in (0..LAYERS_MAX).filter(|&layer| self.source.layers[layer].can) {
            let bitrate = self.bitrates[layer];
            order.layers[layer] = Some(LayerOrder {
                active: bitrate.is_some(),
                bitrate_max: Bitrate::bps(bitrate.unwrap_or(self.range(layer).least)),
                fps_max,
            });
            order.wanted_at[layer] = match self.wish.layers[layer] {
                Some(_) => Some(now),
                None => former.and_then(|former| former.wanted_at[layer]),
            };
            let asked_at = self
                .former_bitrate(layer)
                .and(former.and_then(|former| former.asked_at[layer]));
            order.lowered_at[layer] = if self.is_lowered(layer) {
                Some(now)
            } else {
                former.and_then(|former| former.lowered_at[layer])
            };
            order.asked_at[layer] = bitrate.map(|_| asked_at.unwrap_or(now));
        }
        if former.is_none_or(|former| former.layers != order.layers) {
            order.changed_at = Some(now);
        }
        order
    }
}

/// Pictures a second of what anybody looks at closely.
const FPS_FULL: u8 = 30;
/// Of what is only seen small.
const FPS_THUMBNAIL: u8 = 15;
/// Of what nobody sees. It never stops, so that it shows within a picture or two when somebody turns to it.
const FPS_UNWATCHED: u8 = 5;
