//! Redundant audio data (RFC 2198): one RTP payload with former packets before the present one.
//!
//! Headers come first, the oldest block's first: 4 bytes for each redundant block (flag, payload type, offset in RTP time,
//! length), 1 byte for the primary. Then the blocks in the same order; the primary takes what is left.

/// Blocks of a payload, the primary included. A payload of more is refused: no sender known makes one.
pub const BLOCKS_MAX: usize = 4;
/// Greatest distance of a redundant block, in RTP time (14 bits, RFC 2198 §3).
pub const OFFSET_MAX: u16 = (1 << 14) - 1;
/// Longest redundant block (10 bits, RFC 2198 §3).
pub const LENGTH_MAX: usize = (1 << 10) - 1;
/// Bytes of header before a redundant block's data, and before the primary's.
pub const HEADER_LEN: usize = 4;
/// See [`HEADER_LEN`].
pub const PRIMARY_HEADER_LEN: usize = 1;

/// One block.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Block<'p> {
    /// What it is encoded as.
    pub payload_type: u8,
    /// How long before the packet's RTP time; 0 for the primary.
    pub offset: u16,
    /// Its bytes; a redundant block may be empty.
    pub payload: &'p [u8],
}

/// A payload taken apart. The blocks point into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Red<'p> {
    older: [Block<'p>; BLOCKS_MAX - 1],
    redundant: usize,
    primary: Block<'p>,
}

impl<'p> Red<'p> {
    /// Reads a payload. `None` if it ends within what its headers promise, or has more than [`BLOCKS_MAX`] blocks.
    pub fn parse(payload: &'p [u8]) -> Option<Self> {
        let mut older = [(Block::default(), 0); BLOCKS_MAX - 1];
        let (mut redundant, mut rest) = (0, payload);
        let primary = loop {
            let (&first, after) = rest.split_first()?;
            rest = after;
            let payload_type = first & 0x7F;
            if first & 0x80 == 0 {
                break payload_type;
            }
            let ([high, middle, low], after) = rest.split_first_chunk::<3>()?;
            rest = after;
            let (block, length) = older.get_mut(redundant)?;
            block.payload_type = payload_type;
            block.offset = u16::from(*high) << 6 | u16::from(*middle) >> 2;
            *length = usize::from(*middle & 3) << 8 | usize::from(*low);
            redundant += 1;
        };
        for (block, length) in &mut older {
            // Those that are not there have no length.
            (block.payload, rest) = rest.split_at_checked(*length)?;
        }
        Some(Self {
            older: older.map(|(block, _)| block),
            redundant,
            primary: Block {
                payload_type: primary,
                offset: 0,
                payload: rest,
            },
        })
    }

    /// The former packets, in the order they stand in: the oldest first, if the sender does as RFC 2198 says.
    pub fn redundant(&self) -> &[Block<'p>] {
        self.older.get(..self.redundant).unwrap_or(&[])
    }

    /// The present packet.
    pub fn primary(&self) -> &Block<'p> {
        &self.primary
    }
}

/// Writes a payload: the redundant blocks in the order given, which is to be the oldest first, then the primary (its offset
/// is not written). Returns its length; none if a block has no place in its fields, there are more than [`BLOCKS_MAX`], or
/// `out` is too short.
pub fn write(redundant: &[Block<'_>], primary: &Block<'_>, out: &mut [u8]) -> Option<usize> {
    if redundant.len() >= BLOCKS_MAX {
        return None;
    }
    let mut end = 0;
    let mut put = |bytes: &[u8]| {
        out.get_mut(end..end + bytes.len())?.copy_from_slice(bytes);
        end += bytes.len();
        Some(end)
    };
    for block in redundant {
        if block.payload_type > 0x7F || block.offset > OFFSET_MAX || block.payload.len() > LENGTH_MAX {
            return None;
        }
        let fields = u32::from(block.offset) << 10 | block.payload.len() as u32;
        let [_, high, middle, low] = fields.to_be_bytes();
        put(&[0x80 | block.payload_type, high, middle, low])?;
    }
    put(&[primary.payload_type & 0x7F])?;
    for block in redundant {
        put(block.payload)?;
    }
    put(primary.payload)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_packet_as_a_browser_writes_it() {
        // One block of opus (111), 960 ticks back, 3 bytes long; then the primary.
        let bytes = [0xEF, 0x0F, 0x00, 0x03, 0x6F, 1, 2, 3, 9, 8];
        let red = Red::parse(&bytes).expect("whole");
        let older = Block {
            payload_type: 111,
            offset: 960,
            payload: &[1, 2, 3],
        };
        let primary = Block {
            payload_type: 111,
            offset: 0,
            payload: &[9, 8],
        };
        assert_eq!((red.redundant(), red.primary()), (&[older][..], &primary));
        let mut out = [0; 10];
        assert_eq!(write(&[older], &primary, &mut out), Some(10));
        assert_eq!(out, bytes);
        assert_eq!(write(&[older], &primary, &mut out[..9]), None);
    }

    #[test]
    fn a_primary_alone_is_a_payload_and_what_ends_too_soon_is_none() {
        let alone = Red::parse(&[111, 5]).expect("whole");
        assert_eq!((alone.redundant().len(), alone.primary().payload), (0, &[5][..]));
        assert_eq!(Red::parse(&[111]).map(|red| red.primary().payload.len()), Some(0));
        for cut in [
            &[][..],
            &[0xEF],
            &[0xEF, 0x0F, 0],
            &[0xEF, 0x0F, 0, 3],
            &[0xEF, 0x0F, 0, 3, 0x6F, 1, 2],
        ] {
            assert_eq!(Red::parse(cut), None);
        }
    }

    #[test]
    fn more_than_the_fields_or_the_limit_hold_is_refused() {
        let long = [0; LENGTH_MAX + 1];
        let block = |offset, payload| Block {
            payload_type: 111,
            offset,
            payload,
        };
        let mut out = [0; 4_096];
        let primary = block(0, &[1]);
        assert_eq!(write(&[block(OFFSET_MAX + 1, &[])], &primary, &mut out), None);
        assert_eq!(write(&[block(0, &long)], &primary, &mut out), None);
        assert_eq!(write(&[block(1, &[]); BLOCKS_MAX], &primary, &mut out), None);
        assert!(
            write(
                &[block(OFFSET_MAX, &long[1..]); BLOCKS_MAX - 1],
                &primary,
                &mut out
            )
            .is_some()
        );
        let five = [0xEF, 0, 0, 0].repeat(BLOCKS_MAX);
        assert_eq!(Red::parse(&[&five[..], &[111, 1]].concat()), None);
        assert!(Red::parse(&[&five[4..], &[111, 1]].concat()).is_some());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            older in prop::collection::vec((0u8..128, 0u16..=OFFSET_MAX, prop::collection::vec(any::<u8>(), 0..=LENGTH_MAX)), 0..BLOCKS_MAX),
            payload_type in 0u8..128,
            primary in prop::collection::vec(any::<u8>(), 0..1_200),
        ) {
            let blocks: Vec<_> = older.iter().map(|(payload_type, offset, payload)| Block {
                payload_type: *payload_type,
                offset: *offset,
                payload,
            }).collect();
            let primary = Block { payload_type, offset: 0, payload: &primary };
            let mut out = vec![0; 5_000];
            let length = write(&blocks, &primary, &mut out).expect("room");
            let headers = HEADER_LEN * blocks.len() + PRIMARY_HEADER_LEN;
            let bodies: usize = blocks.iter().map(|b| b.payload.len()).sum();
            prop_assert_eq!(length, headers + bodies + primary.payload.len());
            let red = Red::parse(&out[..length]).expect("whole");
            prop_assert_eq!(red.redundant(), &blocks[..]);
            prop_assert_eq!(red.primary(), &primary);
        }

        #[test]
        fn any_bytes_are_read_without_panic_and_every_block_lies_in_them(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Some(red) = Red::parse(&bytes) {
                let all: usize = red.redundant().iter().map(|b| HEADER_LEN + b.payload.len()).sum();
                prop_assert_eq!(all + PRIMARY_HEADER_LEN + red.primary().payload.len(), bytes.len());
            }
        }
    }
}
