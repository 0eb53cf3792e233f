//! What a slot came to, in figures.

/// What can be wrong with a slot. Each is one continuity error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Violation {
    /// The same number came twice, other than by repair.
    Duplicate,
    /// The numbers went on somewhere else.
    Jump,
    /// RTP time went back, stood still, or left the pace of the source.
    Time,
    /// VP8 picture id or TL0PICIDX with an invented gap.
    Picture,
    /// A frame without beginning or end, or a payload that is none.
    Torn,
    /// The first frame of a source or layer is no key frame.
    NoKeyFrame,
    /// Not the bytes that were sent.
    Damaged,
    /// CSRC names another source than the one that sent it, or none.
    WrongSource,
    /// A unit of the source is missing or repeated although the numbers are straight.
    Skipped,
    /// The slot message named another source for this time, or none.
    WrongName,
}

impl Violation {
    /// All, in the order of the report.
    pub(crate) const ALL: [Self; 10] = [
        Self::Duplicate,
        Self::Jump,
        Self::Time,
        Self::Picture,
        Self::Torn,
        Self::NoKeyFrame,
        Self::Damaged,
        Self::WrongSource,
        Self::Skipped,
        Self::WrongName,
    ];
}

/// What a slot received.
#[derive(Debug, Clone, Default)]
pub(crate) struct SlotCounts {
    /// Packets, each number once.
    pub(crate) packets: u64,
    /// Of these, those that came as RTX.
    pub(crate) repaired: u64,
    /// Numbers that never came.
    pub(crate) lost: u64,
    /// Whole frames or sound packets.
    pub(crate) units: u64,
    /// Of the frames, those that a decoder had to drop because something before them was lost.
    pub(crate) undecodable: u64,
    /// Changes of source or layer.
    pub(crate) switches: u64,
    /// How often each violation was seen.
    pub(crate) violations: [u64; Violation::ALL.len()],
}

impl SlotCounts {
    /// All violations together.
    pub(crate) fn errors(&self) -> u64 {
        self.violations.iter().sum()
    }

    /// How often one was seen.
    #[cfg(test)]
    pub(crate) fn seen(&self, violation: Violation) -> u64 {
        self.violations[violation as usize]
    }

    /// Adds another slot's.
    pub(crate) fn add(&mut self, other: &Self) {
        self.packets += other.packets;
        self.repaired += other.repaired;
        self.lost += other.lost;
        self.units += other.units;
        self.undecodable += other.undecodable;
        self.switches += other.switches;
        for (mine, theirs) in self.violations.iter_mut().zip(other.violations) {
            *mine += theirs;
        }
    }
}
