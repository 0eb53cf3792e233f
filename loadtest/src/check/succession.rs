//! How a unit follows the one before it in a slot.

use super::{SlotKind, Violation};
use crate::{
    clip::{Clips, FRAMES_PER_SECOND, SOUND_TICKS},
    media::Mark,
};

/// Frames that a node had kept come at least this far apart (1 ms at 90 kHz), so that the newest of them is shown at once;
/// and later frames as well, until a slot whose time stood behind another source's has caught up.
const SERVED_TICKS: u32 = 90;
/// A voice may come back from silence in the slot it left or begin there anew, on the node's own line of time. Its sender's ticks may lie
/// 30 ms beside that, and the line itself is learnt: 50 ms at 48 kHz, less than lips and voice may part.
const AFTER_SILENCE_TICKS: u32 = 2_400;
/// RFC 6464 section 3: digital silence.
const SILENT: u8 = 127;

/// The place of a unit in its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Follows {
    /// The next one.
    GoesOn,
    /// The next one, sent in haste: of those that the node had kept when a picture began.
    Served,
    /// The first of a source or layer.
    Begins,
    /// The same source after a while without it: right if the slot was empty meanwhile, which the slot message tells.
    Resumes,
}

/// A whole unit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unit {
    pub(super) time: u32,
    pub(super) csrc: Option<u32>,
    pub(super) mark: Option<Mark>,
    /// A decoder can begin with it.
    pub(super) key: bool,
}

/// What a slot shows since it began to, or came back.
#[derive(Debug)]
pub(super) struct Stretch {
    /// Pictures a second of the sources.
    fps: u32,
    last: Option<Unit>,
    /// So many more of its units may be served from what was kept: at most a second's, a node keeps no older ones. None can once one
    /// came at its pace.
    servable: u32,
}

impl Default for Stretch {
    fn default() -> Self {
        Self::new(FRAMES_PER_SECOND)
    }
}

impl Stretch {
    /// Of sources with so many pictures a second.
    pub(super) fn new(fps: u32) -> Self {
        Self {
            fps,
            last: None,
            servable: 0,
        }
    }

    /// Nothing came yet.
    pub(super) fn is_new(&self) -> bool {
        self.last.is_none()
    }

    /// Takes the next unit. `hole`: something was lost before it, which excuses what is missing. Faults go to `violate`.
    pub(super) fn follow(
        &mut self,
        kind: SlotKind,
        unit: Unit,
        hole: bool,
        mut violate: impl FnMut(Violation, String),
    ) -> Follows {
        let Some(last) = self.last.replace(unit) else {
            self.servable = self.fps;
            return Follows::Begins;
        };
        let passed = unit.time.wrapping_sub(last.time);
        if passed == 0 || passed > i32::MAX as u32 {
            violate(Violation::Time, format!("{} after {}", unit.time, last.time));
        }
        let follows = self.place(kind, &last, &unit, hole, passed, &mut violate);
        self.servable = match follows {
            Follows::Begins | Follows::Resumes => self.fps,
            Follows::Served => self.servable - 1,
            Follows::GoesOn => 0,
        };
        follows
    }

    fn place(
        &self,
        kind: SlotKind,
        last: &Unit,
        unit: &Unit,
        hole: bool,
        passed: u32,
        violate: &mut impl FnMut(Violation, String),
    ) -> Follows {
        let clip = |unit: &Unit| unit.mark.map(|mark| mark.clip);
        if last.csrc != unit.csrc || clip(last) != clip(unit) {
            return Follows::Begins;
        }
        let (Some(mark), Some(before)) = (unit.mark, last.mark) else {
            return Follows::GoesOn;
        };
        let units = mark.counter.wrapping_sub(before.counter);
        let forward = units != 0 && units <= i32::MAX as u32;
        let left_out = forward && units > 1 && !hole;
        let silence = kind == SlotKind::Voice && left_out && is_silence(&before, &mark, units - 1);
        if left_out && mark.is_back && unit.key {
            return Follows::Begins;
        }
        if left_out && !silence && (kind == SlotKind::Voice || unit.key) {
            return Follows::Resumes;
        }
        // A slot that comes back to a picture within a second is served from the key frame that the node kept, shown before or not.
        let back = before.counter.wrapping_sub(mark.counter);
        if kind == SlotKind::Picture && unit.key && !forward && back <= self.fps {
            return Follows::Resumes;
        }
        if !forward || (left_out && !silence) {
            let (now, source, then) = (mark.counter, mark.source, before.counter);
            violate(Violation::Skipped, format!("unit {now} of {source} after {then}"));
            return Follows::GoesOn;
        }
        let ticks = match kind {
            SlotKind::Voice => SOUND_TICKS,
            SlotKind::Picture => 90_000 / self.fps,
        };
        let due = units.wrapping_mul(ticks);
        let hasty = passed >= units.wrapping_mul(SERVED_TICKS) && passed < due.saturating_sub(ticks / 8);
        if kind == SlotKind::Picture && self.servable > 0 && hasty {
            return Follows::Served;
        }
        // Interrupted before a key frame, the slot left nothing out: that frame waited, and is served when there is room again.
        if kind == SlotKind::Picture && unit.key && units == 1 && passed > due + ticks / 2 {
            return Follows::Resumes;
        }
        let slack = if silence { AFTER_SILENCE_TICKS } else { ticks / 2 };
        if passed.abs_diff(due) > slack {
            let source = mark.source;
            violate(
                Violation::Time,
                format!("{passed} ticks for {units} units of {source}"),
            );
        }
        Follows::GoesOn
    }
}

/// Whether what is missing between two units of a voice was silent: a node may keep silence back, and nothing else. The first
/// unit is then silent itself, for the node tells of silence before it keeps it back, and the second ends it.
fn is_silence(before: &Mark, mark: &Mark, missing: u32) -> bool {
    let speech = &Clips::builtin().speech;
    let silent = |index: usize| speech.get(index).is_some_and(|sound| sound.level >= SILENT);
    let index = usize::from(mark.index);
    if !silent(before.index.into()) || silent(index) {
        return false;
    }
    // Before the first unit of speech there is the silence in which the point listened, however long.
    let run = (0..index).rev().take_while(|&index| silent(index)).count();
    run == index || u32::try_from(run).is_ok_and(|run| run >= missing)
}
