//! Which voices an endpoint hears in its audio slots. A pure function.

use std::cmp::Reverse;

use super::super::id::{PointNumber, SourceKind, SourceNumber};

/// All sound of a room, the most wanted first.
#[derive(Debug, Default)]
pub(super) struct Ranking {
    /// Screen sound, then who speaks, the loudest first, then the silent.
    pub(super) sources: Vec<SourceNumber>,
    /// How many of them are screen sound or among the [`ALWAYS_HEARD`] loudest.
    pub(super) urgent: usize,
    /// How many of them make themselves heard at all.
    pub(super) speaking: usize,
}

/// So many of the loudest get a slot even if all are taken by people who speak.
const ALWAYS_HEARD: usize = 3;

impl Ranking {
    /// Of the sources that are on, and the points that speak, loudest first.
    pub(super) fn new(
        on: impl Iterator<Item = SourceNumber>,
        loudest: impl Iterator<Item = PointNumber>,
    ) -> Self {
        let (mut sources, mut silent): (Vec<_>, Vec<_>) =
            on.partition(|source| source.kind() == SourceKind::ScreenSound);
        let screens = sources.len();
        for point in loudest {
            let mic = point.source(SourceKind::Mic);
            if let Some(index) = silent.iter().position(|&source| source == mic) {
                sources.push(silent.remove(index));
            }
        }
        let speaking = sources.len();
        sources.append(&mut silent);
        Self {
            sources,
            urgent: speaking.min(screens + ALWAYS_HEARD),
            speaking,
        }
    }

    fn place(&self, source: SourceNumber) -> Option<usize> {
        self.sources.iter().position(|&s| s == source)
    }
}

/// What goes with the picture on the stage: of a camera the voice, of a screen its sound or else the voice.
pub(super) fn stage_voice(
    picture: SourceNumber,
    is_on: impl Fn(SourceNumber) -> bool,
) -> Option<SourceNumber> {
    let point = picture.point();
    let sound = point.source(SourceKind::ScreenSound);
    let voice = if picture.kind() == SourceKind::Screen && is_on(sound) {
        sound
    } else {
        point.source(SourceKind::Mic)
    };
    is_on(voice).then_some(voice)
}

/// The voices of an endpoint's slots: `stage` in the first, then whoever has a slot keeps it, then the ranking fills what is
/// free. With none free the urgent take from those who are not, and who speaks from the silent.
pub(super) fn assign(
    own: PointNumber,
    stage: Option<SourceNumber>,
    now: &[Option<SourceNumber>],
    ranking: &Ranking,
) -> Vec<Option<SourceNumber>> {
    let stage = stage.filter(|source| source.point() != own);
    let wanted = |source: SourceNumber| source.point() != own && Some(source) != stage;
    let mut rest: Vec<Option<(SourceNumber, usize)>> = now
        .iter()
        .skip(1)
        .map(|slot| {
            slot.filter(|&s| wanted(s))
                .and_then(|s| Some((s, ranking.place(s)?)))
        })
        .collect();
    for (place, &source) in ranking
        .sources
        .iter()
        .enumerate()
        .filter(|(_, source)| wanted(**source))
    {
        if rest.iter().flatten().any(|(taken, _)| *taken == source) {
            continue;
        }
        // The first free slot, else the last of the ranking.
        let worst = rest
            .iter_mut()
            .min_by_key(|slot| Reverse(slot.map_or(usize::MAX, |(_, place)| place)));
        let Some(worst) = worst else { break };
        let floor = if place < ranking.urgent {
            ranking.urgent
        } else {
            ranking.speaking
        };
        match worst {
            None => *worst = Some((source, place)),
            Some((_, theirs)) if place < ranking.speaking && *theirs >= floor => {
                *worst = Some((source, place))
            }
            Some(_) => break,
        }
    }
    let rest = rest.into_iter().map(|slot| slot.map(|(source, _)| source));
    std::iter::once(stage).chain(rest).take(now.len()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(number: u32) -> PointNumber {
        PointNumber::try_from(number).expect("in range")
    }

    fn mic(number: u32) -> SourceNumber {
        point(number).source(SourceKind::Mic)
    }

    fn ranking(on: &[u32], loudest: &[u32]) -> Ranking {
        Ranking::new(on.iter().map(|&n| mic(n)), loudest.iter().map(|&n| point(n)))
    }

    #[test]
    fn a_small_room_is_heard_whole_and_nobody_hears_himself() {
        let slots = assign(point(1), None, &[None; 6], &ranking(&[1, 2, 3, 4, 5, 6], &[]));
        assert_eq!(
            slots,
            [
                None,
                Some(mic(2)),
                Some(mic(3)),
                Some(mic(4)),
                Some(mic(5)),
                Some(mic(6))
            ]
        );
    }

    #[test]
    fn the_stage_has_its_own_slot_and_is_not_heard_twice() {
        let before = [None, Some(mic(2)), Some(mic(3)), None, None, None];
        let slots = assign(point(1), Some(mic(2)), &before, &ranking(&[1, 2, 3, 4], &[]));
        assert_eq!(
            slots,
            [Some(mic(2)), Some(mic(4)), Some(mic(3)), None, None, None]
        );
    }

    #[test]
    fn who_speaks_takes_from_the_silent_and_the_loudest_from_anybody() {
        let full = [
            None,
            Some(mic(2)),
            Some(mic(3)),
            Some(mic(4)),
            Some(mic(5)),
            Some(mic(6)),
        ];
        let all = [2, 3, 4, 5, 6, 7, 8];
        let silent = assign(point(1), None, &full, &ranking(&all, &[]));
        assert_eq!(silent, full);
        let one = assign(point(1), None, &full, &ranking(&all, &[7]));
        assert_eq!(
            one[1..],
            [
                Some(mic(2)),
                Some(mic(3)),
                Some(mic(4)),
                Some(mic(5)),
                Some(mic(7))
            ]
        );
        let fourth = assign(point(1), None, &full, &ranking(&all, &[2, 3, 4, 5, 6, 7]));
        assert_eq!(fourth, full);
        let third = assign(point(1), None, &full, &ranking(&all, &[2, 3, 7, 4, 5, 6]));
        assert_eq!(
            third[1..],
            [
                Some(mic(2)),
                Some(mic(3)),
                Some(mic(4)),
                Some(mic(5)),
                Some(mic(7))
            ]
        );
    }

    #[test]
    fn screen_sound_comes_first_and_goes_with_its_screen_on_the_stage() {
        let sound = point(9).source(SourceKind::ScreenSound);
        let on = [sound, mic(2), mic(3), mic(4), mic(5), mic(6), mic(9)];
        let ranking = Ranking::new(on.into_iter(), [2, 3, 4, 5, 6].map(point).into_iter());
        let full = [
            None,
            Some(mic(2)),
            Some(mic(3)),
            Some(mic(4)),
            Some(mic(5)),
            Some(mic(6)),
        ];
        assert_eq!(assign(point(1), None, &full, &ranking)[5], Some(sound));
        let screen = point(9).source(SourceKind::Screen);
        assert_eq!(stage_voice(screen, |_| true), Some(sound));
        assert_eq!(stage_voice(screen, |source| source == mic(9)), Some(mic(9)));
        assert_eq!(
            stage_voice(point(9).source(SourceKind::Camera), |_| true),
            Some(mic(9))
        );
    }
}
