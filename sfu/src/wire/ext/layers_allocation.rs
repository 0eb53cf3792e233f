//! Video layers allocation (`http://www.webrtc.org/experiments/rtp-hdrext/video-layers-allocation00`): the bitrates, sizes
//! and picture rates that a sender means its layers to have.

use crate::wire::be;

/// Simulcast streams, and spatial layers of each, that it can name.
const STREAMS: usize = 4;
/// Layers that it can name.
pub const LAYERS_MAX: usize = STREAMS * 4;

/// What a layer is meant to have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LayerTarget {
    /// Simulcast stream, in the order of the offer's rids.
    pub stream: u8,
    /// Spatial layer in it.
    pub spatial: u8,
    /// Bitrate in kbit/s of temporal layer 0, of 0 and 1, and so on.
    pub kbps: [u32; 4],
    /// Temporal layers, 1 to 4.
    pub temporal_layers: u8,
    /// Width, height and pictures a second, if told.
    pub picture: Option<(u16, u16, u8)>,
}

/// What a sender says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LayersAllocation {
    /// Stream of the packet that says it.
    pub stream: u8,
    layers: [LayerTarget; LAYERS_MAX],
    count: u8,
}

impl LayersAllocation {
    /// The layers that are sent, streams and in them spatial layers ascending. None: all are off.
    pub fn layers(&self) -> &[LayerTarget] {
        self.layers.get(..usize::from(self.count)).unwrap_or_default()
    }

    /// Reads a value. `None` if it is cut off.
    pub fn read(value: &[u8]) -> Option<Self> {
        let first = be::u8(value, 0)?;
        let mut allocation = Self {
            stream: first >> 6,
            ..Self::default()
        };
        if value.len() == 1 {
            return (first == 0).then_some(allocation);
        }
        let streams = first >> 4 & 3;
        let mut at = 1;
        let mut masks = [first & 0x0F; STREAMS];
        if first & 0x0F == 0 {
            // Each stream has its own mask of spatial layers, two in a byte.
            for (stream, mask) in (0..=streams).zip(&mut masks) {
                let byte = be::u8(value, at + usize::from(stream / 2))?;
                *mask = if stream % 2 == 0 { byte >> 4 } else { byte & 0x0F };
            }
            at += usize::from(streams / 2) + 1;
        }
        for (stream, mask) in (0..=streams).zip(masks) {
            for spatial in (0..4).filter(|spatial| mask >> spatial & 1 == 1) {
                *allocation.layers.get_mut(usize::from(allocation.count))? = LayerTarget {
                    stream,
                    spatial,
                    ..LayerTarget::default()
                };
                allocation.count += 1;
            }
        }
        allocation.read_targets(value, at)?;
        Some(allocation)
    }

    fn read_targets(&mut self, value: &[u8], mut at: usize) -> Option<()> {
        let count = usize::from(self.count);
        let layers = self.layers.get_mut(..count)?;
        for (index, layer) in layers.iter_mut().enumerate() {
            let byte = be::u8(value, at + index / 4)?;
            layer.temporal_layers = (byte >> (6 - 2 * (index % 4)) & 3) + 1;
        }
        at += count.div_ceil(4);
        for layer in layers.iter_mut() {
            for kbps in layer.kbps.iter_mut().take(layer.temporal_layers.into()) {
                *kbps = leb128(value, &mut at)?;
            }
        }
        if at == value.len() {
            return Some(());
        }
        for layer in layers {
            let (width, height) = (be::u16(value, at)?, be::u16(value, at + 2)?);
            let rate = be::u8(value, at + 4)?;
            layer.picture = Some((width.saturating_add(1), height.saturating_add(1), rate));
            at += 5;
        }
        Some(())
    }
}

/// Seven bits a byte, the lowest first (AV1 §4.10.5). More than 32 bits are refused.
fn leb128(value: &[u8], at: &mut usize) -> Option<u32> {
    let mut number = 0u64;
    for byte in 0..5 {
        let next = be::u8(value, *at)?;
        *at += 1;
        number |= u64::from(next & 0x7F) << (7 * byte);
        if next & 0x80 == 0 {
            return u32::try_from(number).ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn three_streams_of_three_temporal_layers() {
        // Stream 1 of 3 says it; one spatial layer each; 3 temporal layers each; rates; sizes.
        let mut value = vec![0b0110_0001, 0b1010_1000];
        for kbps in [50u8, 70, 100] {
            value.push(kbps);
        }
        value.extend([0x96, 0x01, 0xC8, 0x01, 0xAC, 0x02]); // 150, 200, 300
        value.extend([0xF4, 0x03, 0xD0, 0x0F, 0xA0, 0x1F]); // 500, 2000, 4000
        let without = LayersAllocation::read(&value).expect("whole");
        assert_eq!((without.stream, without.layers().len()), (1, 3));
        assert_eq!(without.layers()[1].kbps, [150, 200, 300, 0]);
        assert_eq!(
            (without.layers()[2].kbps[2], without.layers()[2].picture),
            (4_000, None)
        );
        for (width, height) in [(319u16, 179u16), (639, 359), (1279, 719)] {
            value.extend(width.to_be_bytes());
            value.extend(height.to_be_bytes());
            value.push(30);
        }
        let with = LayersAllocation::read(&value).expect("whole");
        assert_eq!(with.layers()[2].picture, Some((1280, 720, 30)));
        for cut in (0..value.len()).filter(|&cut| cut != 11 + 3 + 3) {
            assert_eq!(LayersAllocation::read(&value[..cut]), None, "{cut}");
        }
    }

    #[test]
    fn masks_of_their_own_and_nothing_at_all() {
        // Two streams: spatial layers 0 and 1 of the first, none of the second; one temporal layer each.
        let value = [0b0001_0000, 0b0011_0000, 0, 10, 20];
        let read = LayersAllocation::read(&value).expect("whole");
        let layers: Vec<_> = read
            .layers()
            .iter()
            .map(|l| (l.stream, l.spatial, l.kbps[0]))
            .collect();
        assert_eq!(layers, [(0, 0, 10), (0, 1, 20)]);
        assert_eq!(LayersAllocation::read(&[0]), Some(LayersAllocation::default()));
        assert_eq!(
            (LayersAllocation::read(&[]), LayersAllocation::read(&[1])),
            (None, None)
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(value in proptest::collection::vec(any::<u8>(), 0..120)) {
            if let Some(read) = LayersAllocation::read(&value) {
                prop_assert!(read.layers().iter().all(|l| (1..=4).contains(&l.temporal_layers)));
            }
        }
    }
}
