//! Which packets pass into a slot. A change of source or layer happens at a key frame of the new one only.

use super::{arrival::Picture, id::SourceNumber, seq::RtpTime, thinning::Thinning, wanted::Wanted};

/// A stream of packets that a slot can show: one layer of one source, from one start of its encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerStream {
    /// Whose.
    pub source: SourceNumber,
    /// 0 is the lowest.
    pub layer: u8,
    /// Which of the uplink's streams.
    pub stream: u32,
}

/// What a slot should show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Which source.
    pub source: SourceNumber,
    /// Its simulcast layer, or the highest spatial layer where it sends all in one stream; any while none is known to be
    /// live.
    pub layer: Option<u8>,
    /// Its highest temporal layer, 0 is the lowest; [`ALL_TEMPORAL`] for all there are.
    pub temporal: u8,
}

/// Streams of a source, by the layer each of them carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerSet(u8);

impl LayerSet {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// All there may be.
    pub const ALL: Self = Self(u8::MAX);

    /// Those in either.
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// That layer alone; all of them above the seventh, of which there are none.
    pub fn of(layer: u8) -> Self {
        1u8.checked_shl(layer.into()).map_or(Self::ALL, Self)
    }

    /// That layer is in it.
    pub fn has(self, layer: u8) -> bool {
        self.0 & Self::of(layer).0 != 0
    }
}

/// All temporal layers.
pub const ALL_TEMPORAL: u8 = u8::MAX;

/// What to do with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on what is shown.
    Forward,
    /// It begins something new to show.
    Switch,
    /// Of what is shown, but of a temporal or spatial layer that is not wanted: it leaves no gap.
    Thin,
    /// Of a source the slot shows or waits for, but not this packet.
    Drop,
    /// The slot has nothing to do with this source.
    Foreign,
}

/// What a slot shows and should show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    shown: Option<LayerStream>,
    target: Option<Target>,
    /// What is shown has its spatial layers in one stream.
    svc: bool,
    thinning: Thinning,
}

impl Selector {
    /// What flows.
    pub fn shown(&self) -> Option<LayerStream> {
        self.shown
    }

    /// What should flow.
    pub fn target(&self) -> Option<Target> {
        self.target
    }

    /// What should flow from now on. What flows goes on until the target begins.
    pub fn set_target(&mut self, target: Option<Target>) {
        self.target = target;
    }

    /// Nothing flows until the target begins.
    pub fn interrupt(&mut self) {
        self.shown = None;
    }

    /// The layer that flows: simulcast, or spatial.
    pub fn layer(&self) -> Option<u8> {
        let shown = self.shown?;
        Some(if self.svc {
            self.thinning.level().spatial
        } else {
            shown.layer
        })
    }

    /// That stream flows, and of its source a lower layer is to flow.
    pub fn leaves(&self, stream: LayerStream) -> bool {
        let is_lower = |target: Target| target.source == stream.source && target.layer < Some(stream.layer);
        self.shown == Some(stream)
            && !self.svc
            && self.target.filter(|t| t.layer.is_some()).is_some_and(is_lower)
    }

    /// That stream is what is to flow.
    pub fn is_target(&self, stream: LayerStream) -> bool {
        let is = |target: Target| target.source == stream.source && target.layer == Some(stream.layer);
        self.target.is_some_and(is)
    }

    /// The highest temporal layer that flows, of those there are.
    pub fn temporal(&self) -> u8 {
        self.thinning.level().temporal
    }

    /// The highest layers that flow.
    pub(super) fn level(&self) -> Wanted {
        self.thinning.level()
    }

    /// May this packet pass? `starts`: a decoder can begin with it. `picture` is what it says of its picture, and `time`
    /// that picture's RTP time in its stream.
    pub fn judge(
        &mut self,
        packet: LayerStream,
        starts: bool,
        time: RtpTime,
        picture: Option<&Picture>,
    ) -> Verdict {
        if self.shown == Some(packet) {
            let wanted = self.wanted(packet.source);
            return match picture {
                Some(picture) if !self.thinning.judge(time, picture, wanted) => Verdict::Thin,
                _ => Verdict::Forward,
            };
        }
        let shown_source = self.shown.is_some_and(|shown| shown.source == packet.source);
        let svc = is_svc(picture);
        match self.target.filter(|target| target.source == packet.source) {
            Some(target) if starts && target.layer.is_none_or(|layer| svc || layer == packet.layer) => {
                Verdict::Switch
            }
            Some(_) => Verdict::Drop,
            None if shown_source => Verdict::Drop,
            None => Verdict::Foreign,
        }
    }

    /// There is no room for a picture that begins. One of what is shown that those behind it can do without is not wanted any more.
    pub fn leave_out(&mut self, packet: LayerStream, time: RtpTime, picture: Option<&Picture>) {
        if let Some(picture) = picture.filter(|_| self.shown == Some(packet)) {
            self.thinning.leave_out(time, picture);
        }
    }

    /// A packet that a decoder can begin with was taken: a stretch begins.
    pub fn switched(&mut self, packet: LayerStream, time: RtpTime, picture: Option<&Picture>) {
        self.shown = Some(packet);
        self.svc = is_svc(picture);
        self.thinning.begin(time, self.wanted(packet.source));
    }

    /// A packet that passes is the last one of its picture to do so, though others of higher layers come behind it.
    pub fn ends_picture(&self, time: RtpTime, picture: &Picture) -> bool {
        self.thinning.ends(time, picture)
    }

    /// A packet of what is shown is of a picture newer than any before.
    pub fn is_new(&self, time: RtpTime) -> bool {
        self.thinning.newest().is_some_and(|newest| newest < time)
    }

    /// What flows while another source is awaited goes on as it is.
    fn wanted(&self, source: SourceNumber) -> Wanted {
        self.target
            .filter(|target| target.source == source)
            .map_or(self.thinning.level(), |target| Wanted {
                temporal: target.temporal,
                spatial: target.layer.unwrap_or(u8::MAX),
            })
    }

    /// Which simulcast streams of that source may pass, now or at their next key frame, until the target or what is shown
    /// changes. (Where a source sends all its layers in one stream, that one may.)
    pub fn may_pass(&self, source: SourceNumber) -> LayerSet {
        let shown = self.shown.filter(|shown| shown.source == source);
        let target = self.target.filter(|target| target.source == source);
        let awaited = target.map_or(LayerSet::NONE, |target| {
            target.layer.map_or(LayerSet::ALL, LayerSet::of)
        });
        shown
            .map_or(LayerSet::NONE, |shown| LayerSet::of(shown.layer))
            .or(awaited)
    }

    /// Waits for a key frame of that source. `current` is the stream that a layer of it arrives in now.
    pub fn waits_for(&self, source: SourceNumber, current: impl Fn(u8) -> Option<u32>) -> bool {
        let Some(target) = self.target.filter(|target| target.source == source) else {
            return false;
        };
        let Some(shown) = self.shown.filter(|shown| shown.source == source) else {
            return true;
        };
        let layer = target.layer.unwrap_or(shown.layer);
        let other = if self.svc {
            target.layer > self.layer()
        } else {
            layer != shown.layer
        };
        other || current(layer).is_some_and(|stream| stream != shown.stream)
    }
}

fn is_svc(picture: Option<&Picture>) -> bool {
    picture.is_some_and(|picture| picture.spatial.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(source: u32, layer: u8, stream: u32) -> LayerStream {
        LayerStream {
            source: SourceNumber::try_from(source).expect("in range"),
            layer,
            stream,
        }
    }

    fn target(source: u32, layer: Option<u8>) -> Option<Target> {
        Some(Target {
            source: SourceNumber::try_from(source).expect("in range"),
            layer,
            temporal: ALL_TEMPORAL,
        })
    }

    /// What [`Selector::may_pass`] promises those who do not even offer the other layers.
    #[test]
    fn a_layer_that_may_not_pass_never_does() {
        let layers = [None, Some(0), Some(1), Some(2)];
        for (shown, awaited, source) in layers
            .into_iter()
            .flat_map(|shown| layers.map(|awaited| (shown, awaited)))
            .flat_map(|(shown, awaited)| [4, 5, 9].map(|source| (shown, awaited, source)))
        {
            let mut selector = Selector::default();
            if let Some(layer) = shown {
                selector.set_target(target(5, None));
                selector.switched(stream(5, layer, layer.into()), RtpTime(0), None);
            }
            selector.set_target(target(source, awaited));
            for of in [4, 5, 9] {
                let may = selector.may_pass(stream(of, 0, 0).source);
                for (layer, starts) in [0, 1, 2]
                    .into_iter()
                    .flat_map(|layer| [(layer, false), (layer, true)])
                {
                    let verdict = judge(&mut selector.clone(), stream(of, layer, layer.into()), starts);
                    let passes = matches!(verdict, Verdict::Forward | Verdict::Switch);
                    assert!(
                        may.has(layer) || !passes,
                        "{shown:?} {awaited:?} {source} {of} {layer}"
                    );
                }
            }
        }
    }

    fn judge(selector: &mut Selector, packet: LayerStream, starts: bool) -> Verdict {
        selector.judge(packet, starts, RtpTime(0), None)
    }

    #[test]
    fn the_old_one_flows_until_a_key_frame_of_the_new_one() {
        let (a, b_low, b_high) = (stream(5, 0, 0), stream(9, 0, 0), stream(9, 2, 2));
        let mut selector = Selector::default();
        assert_eq!(judge(&mut selector, a, true), Verdict::Foreign);
        selector.set_target(target(5, None));
        assert_eq!(
            (judge(&mut selector, a, false), judge(&mut selector, a, true)),
            (Verdict::Drop, Verdict::Switch)
        );
        selector.switched(a, RtpTime(0), None);
        selector.set_target(target(9, Some(2)));
        assert!(selector.waits_for(b_high.source, |_| Some(2)) && !selector.waits_for(a.source, |_| Some(0)));
        assert_eq!(judge(&mut selector, a, false), Verdict::Forward);
        assert_eq!(
            (
                judge(&mut selector, b_low, true),
                judge(&mut selector, b_high, false)
            ),
            (Verdict::Drop, Verdict::Drop)
        );
        assert_eq!(judge(&mut selector, b_high, true), Verdict::Switch);
        selector.switched(b_high, RtpTime(0), None);
        assert_eq!(judge(&mut selector, a, true), Verdict::Foreign);
        assert!(!selector.waits_for(b_high.source, |_| Some(2)));
    }

    #[test]
    fn a_layer_is_left_only_for_a_lower_one_of_its_source() {
        let (low, high) = (stream(5, 0, 0), stream(5, 2, 2));
        let mut selector = Selector::default();
        selector.set_target(target(5, Some(2)));
        selector.switched(high, RtpTime(0), None);
        assert!(!selector.leaves(high), "it is what is wanted");
        for (other, leaves) in [
            (target(5, Some(0)), true),
            (target(5, None), false),
            (target(9, Some(0)), false),
            (None, false),
        ] {
            selector.set_target(other);
            assert_eq!(
                (selector.leaves(high), selector.leaves(low)),
                (leaves, false),
                "{other:?}"
            );
        }
    }

    #[test]
    fn a_restarted_encoder_is_a_new_beginning() {
        let mut selector = Selector::default();
        selector.set_target(target(5, Some(1)));
        selector.switched(stream(5, 1, 1), RtpTime(0), None);
        assert!(selector.waits_for(stream(5, 1, 1).source, |_| Some(4)));
        assert_eq!(judge(&mut selector, stream(5, 1, 4), false), Verdict::Drop);
        assert_eq!(judge(&mut selector, stream(5, 1, 4), true), Verdict::Switch);
    }
}
