//! Writing transport-wide feedback.

use super::{
    Builder, NoRoom, format, packet_type,
    transport::{REFERENCE_TICKS, Symbol},
};

/// Longest run that a run-length chunk can tell.
const RUN_MAX: u16 = 0x1FFF;

/// Bytes of the packet before its chunks.
const HEAD_LEN: usize = 20;

impl Builder<'_> {
    /// Tells when packets of the transport arrived.
    ///
    /// `arrivals` are (number, arrival in ticks of 250 us since any fixed point) in ascending order of the numbers,
    /// wrapping; `base` is the first number spoken of: those from it to the first arrival, and those left out between
    /// arrivals, are told as lost. `count` numbers the feedback packets.
    ///
    /// Returns how many arrivals were written, at least one; fewer than given where the limit is reached, two arrivals
    /// are more than 8.19 s apart, or numbers do not ascend. Go on with the rest in another feedback packet whose `base`
    /// follows the last number written.
    pub fn transport_feedback(
        &mut self,
        sender: u32,
        media: u32,
        count: u8,
        base: u16,
        arrivals: &[(u16, i64)],
    ) -> Result<usize, NoRoom> {
        let start = self.out.len();
        let &(first, first_ticks) = arrivals.first().ok_or(NoRoom)?;
        // A base behind the first arrival is a caller's slip: nothing is told as lost then.
        let base = if first.wrapping_sub(base) < 0x8000 {
            base
        } else {
            first
        };
        let reference = first_ticks.div_euclid(REFERENCE_TICKS);
        self.feedback(
            packet_type::TRANSPORT_FEEDBACK,
            format::TRANSPORT_WIDE,
            sender,
            media,
            8,
        )?;
        self.out.extend_from_slice(&base.to_be_bytes());
        self.out.extend_from_slice(&[0, 0]);
        let [.., t0, t1, t2] = reference.to_be_bytes();
        self.out.extend_from_slice(&[t0, t1, t2, count]);

        let mut plan = Plan {
            statuses: 0,
            deltas_len: 0,
            last: reference.wrapping_mul(REFERENCE_TICKS),
        };
        let mut chunks = Chunks::default();
        let mut written = 0;
        for &(number, ticks) in arrivals {
            let (chunks_before, len_before) = (chunks, self.out.len());
            let Some((missing, delta)) = plan.step(base, number, ticks) else {
                break;
            };
            chunks.push(self.out, Symbol::Lost, missing);
            chunks.push(self.out, symbol(delta), 1);
            let len = self.out.len() - start + Chunks::FLUSHED_LEN + plan.deltas_len;
            if start + len.next_multiple_of(4) > self.end {
                chunks = chunks_before;
                self.out.truncate(len_before);
                break;
            }
            written += 1;
        }
        if written == 0 {
            self.out.truncate(start);
            return Err(NoRoom);
        }
        chunks.flush(self.out);
        let statuses = self.deltas(base, reference, arrivals.get(..written).unwrap_or_default());
        if let Some(slot) = self
            .out
            .get_mut(start + HEAD_LEN - 6..)
            .and_then(|rest| rest.first_chunk_mut())
        {
            *slot = statuses.to_be_bytes();
        }
        let padded = start + (self.out.len() - start).next_multiple_of(4);
        self.out.resize(padded, 0);
        self.finish(start);
        Ok(written)
    }

    /// Appends the deltas of arrivals that were planned, and returns how many packets are spoken of.
    fn deltas(&mut self, base: u16, reference: i64, arrivals: &[(u16, i64)]) -> u16 {
        let mut plan = Plan {
            statuses: 0,
            deltas_len: 0,
            last: reference.wrapping_mul(REFERENCE_TICKS),
        };
        for &(number, ticks) in arrivals {
            let Some((_, delta)) = plan.step(base, number, ticks) else {
                break;
            };
            match u8::try_from(delta) {
                Ok(small) => self.out.push(small),
                Err(_) => self.out.extend_from_slice(&delta.to_be_bytes()),
            }
        }
        plan.statuses
    }
}

fn symbol(delta: i16) -> Symbol {
    if u8::try_from(delta).is_ok() {
        Symbol::Small
    } else {
        Symbol::Large
    }
}

/// What has been told so far.
struct Plan {
    /// Packets spoken of.
    statuses: u16,
    /// Bytes of their deltas.
    deltas_len: usize,
    /// Ticks of the last arrival, or of the reference time.
    last: i64,
}

impl Plan {
    /// Packets missing before this arrival, and its delta. `None`, and nothing changed, if the packet cannot tell it.
    fn step(&mut self, base: u16, number: u16, ticks: i64) -> Option<(u16, i16)> {
        let index = number.wrapping_sub(base);
        let missing = index.checked_sub(self.statuses)?;
        let statuses = index.checked_add(1)?;
        let delta = i16::try_from(ticks.checked_sub(self.last)?).ok()?;
        *self = Self {
            statuses,
            deltas_len: self.deltas_len + if symbol(delta) == Symbol::Small { 1 } else { 2 },
            last: ticks,
        };
        Some((missing, delta))
    }
}

/// Symbols on their way into chunks: as long a run as it goes, else 14 symbols of one bit, else 7 of two.
#[derive(Clone, Copy)]
struct Chunks {
    /// The first 14 pending symbols; all further ones are equal to them.
    pending: [Symbol; 14],
    len: u16,
    uniform: bool,
    large: bool,
}

impl Default for Chunks {
    fn default() -> Self {
        Self {
            pending: [Symbol::Lost; 14],
            len: 0,
            uniform: true,
            large: false,
        }
    }
}

impl Chunks {
    /// Bytes that [`Chunks::flush`] writes at most.
    const FLUSHED_LEN: usize = 2;

    fn push(&mut self, out: &mut Vec<u8>, symbol: Symbol, mut times: u16) {
        while times > 0 {
            let taken = self.takes(symbol).min(times);
            if taken == 0 {
                self.emit(out);
                continue;
            }
            self.add(symbol, taken);
            times -= taken;
        }
    }

    /// How many of this symbol can be added before something has to be emitted.
    fn takes(&self, symbol: Symbol) -> u16 {
        if self.len == 0 || (self.uniform && self.pending.first() == Some(&symbol)) {
            return RUN_MAX - self.len;
        }
        let vector: u16 = if self.large || symbol == Symbol::Large {
            7
        } else {
            14
        };
        vector.saturating_sub(self.len)
    }

    fn add(&mut self, symbol: Symbol, times: u16) {
        self.uniform &= self.len == 0 || self.pending.first() == Some(&symbol);
        self.large |= symbol == Symbol::Large;
        let (from, to) = (
            usize::from(self.len).min(14),
            usize::from(self.len + times).min(14),
        );
        if let Some(slots) = self.pending.get_mut(from..to) {
            slots.fill(symbol);
        }
        self.len += times;
    }

    /// Emits one chunk, and keeps the symbols that it does not tell.
    fn emit(&mut self, out: &mut Vec<u8>) {
        if self.uniform || (!self.large && self.len == 14) {
            return self.flush(out);
        }
        // At least 7, one of them large or a large one to come: the first 7 go out with two bits each.
        let (told, kept) = self.pending.split_at(7);
        let kept_len = usize::from(self.len.saturating_sub(7));
        out.extend_from_slice(&two_bit(told).to_be_bytes());
        let mut next = Self::default();
        for symbol in kept.iter().take(kept_len) {
            next.add(*symbol, 1);
        }
        *self = next;
    }

    /// Emits all that is pending, as one chunk.
    fn flush(&mut self, out: &mut Vec<u8>) {
        let known = self.pending.get(..usize::from(self.len)).unwrap_or(&self.pending);
        let [first, ..] = self.pending;
        let chunk = match self.len {
            0 => return,
            len if self.uniform => (first as u16) << 13 | len,
            _ if self.large => two_bit(known),
            _ => one_bit(known),
        };
        out.extend_from_slice(&chunk.to_be_bytes());
        *self = Self::default();
    }
}

/// Up to 7 symbols of two bits, the first highest (§3.1.4).
fn two_bit(symbols: &[Symbol]) -> u16 {
    let shifts = (0..7).rev().map(|place| 2 * place);
    symbols
        .iter()
        .zip(shifts)
        .fold(0xC000, |word, (symbol, shift)| word | (*symbol as u16) << shift)
}

/// Up to 14 symbols of one bit, the first highest (§3.1.4).
fn one_bit(symbols: &[Symbol]) -> u16 {
    symbols
        .iter()
        .zip((0..14).rev())
        .fold(0x8000, |word, (symbol, shift)| word | (*symbol as u16) << shift)
}
