//! Picture ids, TL0PICIDX and frame numbers of a slot.

use super::drops::Drops;

/// A wrapping number that goes on over stretches: +1 where a stretch begins, within it the sender's distances less what
/// was left out.
#[derive(Debug)]
pub(super) struct Continued {
    /// Highest number given, unwrapped.
    highest: u64,
    /// What came last in this stretch, and what it became: all packets of a picture have one number.
    latest: Option<(u16, u16)>,
    stretch: Option<Run>,
}

#[derive(Debug)]
struct Run {
    /// Highest number in, unwrapped.
    highest: u64,
    /// Is added to numbers in (wrapping).
    offset: u64,
    drops: Drops,
}

impl Continued {
    /// Of a slot that has sent nothing yet; the first number it will give.
    pub(super) fn starting_at(first: u16) -> Self {
        Self {
            highest: LAP + u64::from(first) - 1,
            latest: None,
            stretch: None,
        }
    }

    /// A stretch ends; what comes next begins one.
    pub(super) fn interrupt(&mut self) {
        self.latest = None;
        self.stretch = None;
    }

    /// The number out, to be cut to the width it is written in.
    pub(super) fn next(&mut self, value: u16, bits: u32) -> u16 {
        match self.latest {
            Some((latest, out)) if latest == value => out,
            _ => {
                let out = self.next_of(value, bits);
                self.latest = Some((value, out));
                out
            }
        }
    }

    fn next_of(&mut self, value: u16, bits: u32) -> u16 {
        let fresh = || {
            let first = LAP + u64::from(value);
            Run {
                highest: first,
                offset: (self.highest + 1).wrapping_sub(first),
                drops: Drops::from(0),
            }
        };
        let run = self.stretch.get_or_insert_with(fresh);
        let number = run.unwrap(value, bits);
        run.drops.give(number);
        let out = number
            .wrapping_add(run.offset)
            .wrapping_sub(run.drops.shift_anyway(number));
        self.highest = self.highest.max(out);
        out as u16
    }

    /// The number is not sent.
    pub(super) fn leave_out(&mut self, value: u16, bits: u32) {
        self.latest = None;
        if let Some(run) = &mut self.stretch {
            let number = run.unwrap(value, bits);
            run.drops.leave_out(number);
        }
    }
}

impl Run {
    fn unwrap(&mut self, value: u16, bits: u32) -> u64 {
        let distance = (value.wrapping_sub(self.highest as u16) << (16 - bits)).cast_signed() >> (16 - bits);
        let number = self.highest.saturating_add_signed(distance.into());
        self.highest = self.highest.max(number);
        number
    }
}

/// Numbers begin above it, so that older ones have room. A multiple of every width.
const LAP: u64 = 1 << 32;
