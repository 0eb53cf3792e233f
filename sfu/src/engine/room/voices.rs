//! Which voices an endpoint hears in its audio slots. A pure function; `docs/speakers.md` tells the rules.

use std::cmp::Reverse;

use super::super::id::{PointNumber, Rank, SourceKind, SourceNumber};

/// All sound of a room, the most wanted first.
#[derive(Debug, Default)]
pub(super) struct Ranking {
    /// Who speaks: the floor's holder, the chair; then screen sound, then who else speaks, the loudest first. Then who is
    /// silent: the floor's holder, the chair, the others as they were given.
    sources: Vec<SourceNumber>,
    /// How many of them are heard at once whoever has a slot now: floor, chair, screens, the [`ALWAYS_HEARD`] loudest.
    urgent: usize,
    /// How many of them make themselves heard at all.
    speaking: usize,
    /// How many of them take a slot from the silent: the floor's holder and the chair are among these even when silent.
    reserved: usize,
    /// How many of them speak as holder of the floor or chair.
    leading: usize,
}

/// So many of the loudest get a slot even if all are taken by people who speak.
const ALWAYS_HEARD: usize = 3;

impl Ranking {
    /// Of the sources that are on with their points' ranks, the point that has the floor, and the points that speak, loudest
    /// first.
    pub(super) fn new(
        on: impl Iterator<Item = (SourceNumber, Rank)>,
        floor: Option<PointNumber>,
        loudest: impl Iterator<Item = PointNumber>,
    ) -> Self {
        let leads = |source: &SourceNumber, rank: Rank| {
            let holds = Some(source.point()) == floor;
            (holds || rank == Rank::Chair).then_some(!holds)
        };
        let mut leaders = Vec::new();
        let (mut screens, mut silent) = (Vec::new(), Vec::new());
        for (source, rank) in on {
            match (source.kind(), leads(&source, rank)) {
                (SourceKind::ScreenSound, _) => screens.push(source),
                (_, Some(order)) => leaders.push((order, source)),
                (_, None) => silent.push(source),
            }
        }
        leaders.sort_unstable();
        let speakers: Vec<SourceNumber> = loudest.map(|point| point.source(SourceKind::Mic)).collect();
        let (mut sources, waiting): (Vec<_>, Vec<_>) = leaders
            .into_iter()
            .map(|(_, source)| source)
            .partition(|source| speakers.contains(source));
        let leading = sources.len();
        sources.append(&mut screens);
        let first = sources.len();
        for speaker in speakers {
            if let Some(index) = silent.iter().position(|&source| source == speaker) {
                sources.push(silent.remove(index));
            }
        }
        let speaking = sources.len();
        sources.extend(waiting);
        let reserved = sources.len();
        sources.append(&mut silent);
        Self {
            sources,
            urgent: speaking.min(first + ALWAYS_HEARD),
            speaking,
            reserved,
            leading,
        }
    }

    /// It speaks as holder of the floor or chair.
    fn leads(&self, source: SourceNumber) -> bool {
        self.sources.iter().take(self.leading).any(|&s| s == source)
    }

    fn place(&self, source: SourceNumber) -> Option<usize> {
        self.sources.iter().position(|&s| s == source)
    }

    /// A source at `place` may take the slot of one from this place on; none if it takes only what is free.
    fn takes_from(&self, place: usize) -> Option<usize> {
        match place {
            _ if place < self.urgent => Some(self.urgent),
            _ if place < self.speaking => Some(self.speaking),
            _ if place < self.reserved => Some(self.reserved),
            _ => None,
        }
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

/// The voices of an endpoint's slots, `most` of them at most: `stage` in the first, then whoever has a slot keeps it, then the
/// ranking fills what is free. With none free the urgent take from those who are not, who speaks from the silent, and floor
/// and chair, even silent, from silent others.
pub(super) fn assign(
    own: PointNumber,
    stage: Option<SourceNumber>,
    heard: &[Option<SourceNumber>],
    ranking: &Ranking,
    most: usize,
) -> Vec<Option<SourceNumber>> {
    let chosen = (most < heard.len()).then(|| choose(own, heard, ranking, most));
    let allowed =
        |source: SourceNumber| source.point() != own && chosen.as_ref().is_none_or(|c| c.contains(&source));
    let stage = stage.filter(|&source| allowed(source));
    let wanted = |source: SourceNumber| allowed(source) && Some(source) != stage;
    let mut rest: Vec<Option<(SourceNumber, usize)>> = heard
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
        let takes_from = ranking.takes_from(place);
        match worst {
            None => *worst = Some((source, place)),
            Some((_, theirs)) if takes_from.is_some_and(|from| *theirs >= from) => {
                *worst = Some((source, place))
            }
            Some(_) => break,
        }
    }
    let rest = rest.into_iter().map(|slot| slot.map(|(source, _)| source));
    std::iter::once(stage).chain(rest).take(heard.len()).collect()
}

/// The voices of a path that carries only `most`: the highest in the ranking. Floor and chair, when they speak, and the very
/// first go before all others, and who speaks before the silent; else one who is heard now gives way only to somebody two places
/// above, so that two who are as loud do not take the slot from each other at every look.
fn choose(
    own: PointNumber,
    heard: &[Option<SourceNumber>],
    ranking: &Ranking,
    most: usize,
) -> Vec<SourceNumber> {
    let all = ranking.sources.iter().enumerate();
    let others = all.filter(|(_, source)| source.point() != own);
    let mut merits: Vec<_> = others
        .enumerate()
        .map(|(place, (at, &source))| {
            let group = 1 + usize::from(at >= ranking.speaking);
            let merit = match place {
                _ if place == 0 || ranking.leads(source) => (0, place),
                _ if heard.contains(&Some(source)) => (group, 2 * place),
                _ => (group, 2 * place + 3),
            };
            (merit, source)
        })
        .collect();
    merits.sort_unstable();
    merits.into_iter().take(most).map(|(_, source)| source).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn point(number: u32) -> PointNumber {
        PointNumber::try_from(number).expect("in range")
    }

    fn mic(number: u32) -> SourceNumber {
        point(number).source(SourceKind::Mic)
    }

    /// Of microphones that are on, with points that are chairs, the holder of the floor, and who speaks, loudest first.
    fn led(chairs: &[u32], floor: Option<u32>, on: &[u32], loudest: &[u32]) -> Ranking {
        let rank = |n| {
            if chairs.contains(&n) {
                Rank::Chair
            } else {
                Rank::Member
            }
        };
        let on = on.iter().map(|&n| (mic(n), rank(n)));
        Ranking::new(on, floor.map(point), loudest.iter().map(|&n| point(n)))
    }

    fn ranking(on: &[u32], loudest: &[u32]) -> Ranking {
        led(&[], None, on, loudest)
    }

    #[test]
    fn a_small_room_is_heard_whole_and_nobody_hears_himself() {
        let slots = assign(point(1), None, &[None; 6], &ranking(&[1, 2, 3, 4, 5, 6], &[]), 6);
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
        let slots = assign(point(1), Some(mic(2)), &before, &ranking(&[1, 2, 3, 4], &[]), 6);
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
        let silent = assign(point(1), None, &full, &ranking(&all, &[]), 6);
        assert_eq!(silent, full);
        let one = assign(point(1), None, &full, &ranking(&all, &[7]), 6);
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
        let fourth = assign(point(1), None, &full, &ranking(&all, &[2, 3, 4, 5, 6, 7]), 6);
        assert_eq!(fourth, full);
        let third = assign(point(1), None, &full, &ranking(&all, &[2, 3, 7, 4, 5, 6]), 6);
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
        let on = on.map(|source| (source, Rank::Member));
        let ranking = Ranking::new(on.into_iter(), None, [2, 3, 4, 5, 6].map(point).into_iter());
        let full = [
            None,
            Some(mic(2)),
            Some(mic(3)),
            Some(mic(4)),
            Some(mic(5)),
            Some(mic(6)),
        ];
        assert_eq!(assign(point(1), None, &full, &ranking, 6)[5], Some(sound));
        let screen = point(9).source(SourceKind::Screen);
        assert_eq!(stage_voice(screen, |_| true), Some(sound));
        assert_eq!(stage_voice(screen, |source| source == mic(9)), Some(mic(9)));
        assert_eq!(
            stage_voice(point(9).source(SourceKind::Camera), |_| true),
            Some(mic(9))
        );
    }

    fn mics(numbers: [u32; 5]) -> Vec<Option<SourceNumber>> {
        std::iter::once(None)
            .chain(numbers.map(|n| Some(mic(n))))
            .collect()
    }

    #[test]
    fn a_chair_has_a_slot_as_long_as_silence_can_give_way() {
        let (all, full) = ([2, 3, 4, 5, 6, 7, 9], mics([2, 3, 4, 5, 6]));
        let silent = assign(point(1), None, &full, &led(&[9], None, &all, &[2, 3, 4, 5]), 6);
        assert_eq!(silent, mics([2, 3, 4, 5, 9]));
        // Five who speak have all slots; when the chair speaks too, it has one at once.
        let busy = led(&[9], None, &all, &[2, 3, 4, 5, 6]);
        assert_eq!(assign(point(1), None, &full, &busy, 6), full);
        let speaks = led(&[9], None, &all, &[2, 3, 4, 5, 6, 9]);
        assert_eq!(assign(point(1), None, &full, &speaks, 6), mics([2, 3, 4, 5, 9]));
        // Nobody silent and unranked takes it back.
        let kept = led(&[9], None, &all, &[]);
        assert_eq!(
            assign(point(1), None, &mics([2, 3, 4, 5, 9]), &kept, 6),
            mics([2, 3, 4, 5, 9])
        );
    }

    #[test]
    fn a_thin_path_hears_the_floor_then_the_chair_then_the_loudest() {
        let all = [2, 3, 4, 5, 6];
        let thin = |ranking: &Ranking, most| {
            let slots = assign(point(1), Some(mic(6)), &[None; 6], ranking, most);
            let mut voices: Vec<u32> = slots.iter().flatten().map(|s| s.point().get()).collect();
            voices.sort_unstable();
            voices
        };
        let speaking = led(&[3], Some(4), &all, &[2, 5, 3, 4, 6]);
        assert_eq!(thin(&speaking, 1), [4]);
        assert_eq!(thin(&speaking, 2), [3, 4]);
        assert_eq!(thin(&speaking, 3), [2, 3, 4]);
        assert!(thin(&speaking, 0).is_empty());
        assert_eq!(thin(&led(&[3], Some(4), &all, &[2, 5, 3]), 1), [3]);
        assert_eq!(thin(&led(&[3], Some(4), &all, &[2, 5]), 1), [2]);
        assert_eq!(thin(&led(&[3], Some(4), &all, &[]), 1), [4]);
    }

    #[test]
    fn on_a_thin_path_two_who_are_as_loud_do_not_take_turns() {
        let all = [2, 3, 4, 5, 6];
        let mut heard = assign(point(1), None, &[None; 6], &ranking(&all, &[2, 3, 4, 5]), 3);
        let before = heard.clone();
        for loudest in [[2, 3, 5, 4], [2, 3, 4, 5], [3, 2, 5, 4], [2, 3, 5, 4]] {
            heard = assign(point(1), None, &heard, &ranking(&all, &loudest), 3);
            assert_eq!(heard, before, "{loudest:?}");
        }
        // Two places above is louder; and who is loudest of all is always heard.
        let louder = assign(point(1), None, &heard, &ranking(&all, &[2, 5, 6, 3, 4]), 3);
        assert!(louder.contains(&Some(mic(5))) && !louder.contains(&Some(mic(4))));
        let loudest = assign(point(1), None, &heard, &ranking(&all, &[6, 2, 3, 4, 5]), 1);
        assert_eq!(loudest.iter().flatten().collect::<Vec<_>>(), [&mic(6)]);
    }

    #[test]
    fn on_a_thin_path_nobody_silent_keeps_the_slot_from_who_speaks() {
        let all = [2, 3, 4];
        let heard = [None, Some(mic(2)), Some(mic(3)), None, None, None];
        let slots = assign(point(1), None, &heard, &ranking(&all, &[2, 4]), 2);
        assert!(slots.contains(&Some(mic(2))) && slots.contains(&Some(mic(4))));
    }

    proptest! {
        #[test]
        fn nobody_is_heard_twice_or_by_himself_and_looking_again_changes_nothing(
            on in prop::collection::btree_set(1u32..20, 0..16),
            chairs in prop::collection::vec(1u32..20, 0..3),
            floor in prop::option::of(1u32..20),
            loudest in Just((1u32..20).collect::<Vec<_>>()).prop_shuffle(),
            speaking in 0usize..20,
            heard in prop::collection::btree_set(2u32..20, 0..6),
            stage in prop::option::of(1u32..20),
            most in 0usize..8,
        ) {
            let on: Vec<u32> = on.into_iter().collect();
            let heard: Vec<_> = heard.into_iter().map(|n| Some(mic(n))).chain([None; 6]).take(6).collect();
            let ranking = led(&chairs, floor, &on, &loudest[..speaking.min(loudest.len())]);
            let stage = stage.filter(|n| on.contains(n)).map(mic);
            let slots = assign(point(1), stage, &heard, &ranking, most);
            let mut voices: Vec<_> = slots.iter().flatten().copied().collect();
            let count = voices.len();
            voices.sort_unstable();
            voices.dedup();
            prop_assert_eq!(voices.len(), count);
            prop_assert!(voices.iter().all(|v| *v != mic(1) && on.contains(&v.point().get())));
            // As many as there are, may be and fit.
            let others = on.iter().filter(|&&n| n != 1).count();
            let fit = 5 + usize::from(stage.is_some_and(|s| s != mic(1)));
            prop_assert_eq!(count, others.min(most).min(fit));
            prop_assert_eq!(assign(point(1), stage, &slots, &ranking, most), slots);
        }
    }
}
