//! The rounds in which pictures climb.

/// Rounds of [`Pictures::give`](super::pictures::Pictures::give), see `docs/allocation.md`.
pub(super) mod round {
    pub(in super::super) const FIRST: u8 = 0;
    pub(in super::super) const STAGE: u8 = 1;
    pub(in super::super) const BASE: u8 = 10;
    pub(in super::super) const UPPER: u8 = 20;
    pub(in super::super) const END: u8 = 30;
    /// Nothing more to climb.
    pub(in super::super) const OUT: u8 = u8::MAX;
}

/// Which pictures are due in which round. Most rounds have few of them, and a room has thousands.
pub(super) struct Due {
    /// Of a round, 64 pictures each.
    pub(super) words: usize,
    /// Round by round.
    bits: Vec<u64>,
}

impl Due {
    pub(super) fn new(count: usize) -> Self {
        let words = count.div_ceil(64);
        Self {
            words,
            bits: vec![0; words * usize::from(round::END)],
        }
    }

    /// One that is out is due in none.
    pub(super) fn put(&mut self, at: usize, round: u8) {
        if round < round::END {
            self.bits[usize::from(round) * self.words + at / 64] |= 1 << (at % 64);
        }
    }

    /// Those of one word, in their order, and has them no longer.
    pub(super) fn take(&mut self, round: u8, word: usize) -> impl Iterator<Item = usize> + use<> {
        let mut bits = std::mem::take(&mut self.bits[usize::from(round) * self.words + word]);
        std::iter::from_fn(move || {
            let at = (bits != 0).then(|| word * 64 + bits.trailing_zeros() as usize)?;
            bits &= bits - 1;
            Some(at)
        })
    }
}
