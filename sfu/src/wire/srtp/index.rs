//! Packet indices: which one a sequence number stands for, and which have been seen (RFC 3711 §3.3.1, §3.3.2).

/// One past the greatest index of an SRTP packet.
pub(super) const INDEX_END: u64 = 1 << 48;

/// How far behind the greatest index a packet may come.
pub(super) const WINDOW: u64 = 1_024;

const WORDS: usize = (WINDOW / 64) as usize;

/// The index that a sequence number most likely stands for, beside the greatest one known (RFC 3711 appendix A: the one
/// nearest to it). `None` where that would be below zero or beyond 48 bits.
pub(super) fn estimate(greatest: u64, sequence: u16) -> Option<u64> {
    let last = greatest as u16;
    let ahead = sequence.wrapping_sub(last);
    let index = if ahead < 0x8000 || (ahead == 0x8000 && sequence > last) {
        greatest + u64::from(ahead)
    } else {
        greatest.checked_sub(u64::from(last.wrapping_sub(sequence)))?
    };
    (index < INDEX_END).then_some(index)
}

/// The indices of a stream that have been seen, as far back as [`WINDOW`].
#[derive(Clone)]
pub(super) struct Window {
    greatest: u64,
    /// Bit `index % WINDOW`.
    seen: [u64; WORDS],
}

impl Window {
    /// Of a stream whose first packet is that.
    pub(super) fn starting_with(index: u64) -> Self {
        let mut window = Self {
            greatest: index,
            seen: [0; WORDS],
        };
        window.mark(index);
        window
    }

    /// The greatest index seen.
    pub(super) fn greatest(&self) -> u64 {
        self.greatest
    }

    /// It has not been seen for certain: neither too old nor marked.
    pub(super) fn is_fresh(&self, index: u64) -> bool {
        if index > self.greatest {
            return true;
        }
        let (word, bit) = place(index);
        self.greatest - index < WINDOW && self.seen.get(word).is_some_and(|word| word & bit == 0)
    }

    /// Marks an index as seen. Only for one that is fresh and whose packet is authentic.
    pub(super) fn mark(&mut self, index: u64) {
        if index > self.greatest {
            // Places between the old greatest and the new one are of a former round.
            for skipped in (self.greatest + 1..=index).take(WINDOW as usize) {
                self.set(skipped, false);
            }
            self.greatest = index;
        }
        self.set(index, true);
    }

    fn set(&mut self, index: u64, to: bool) {
        let (word, bit) = place(index);
        if let Some(word) = self.seen.get_mut(word) {
            *word = if to { *word | bit } else { *word & !bit };
        }
    }
}

fn place(index: u64) -> (usize, u64) {
    let place = index % WINDOW;
    ((place / 64) as usize, 1 << (place % 64))
}
