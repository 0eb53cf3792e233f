//! Which ways share a line that nobody declared: their packets wait in one queue, so their waits rise and fall together (shared bottleneck
//! detection; RFC 8382 tells what it is for and what it must beware of).
//!
//! RFC 8382 compares figures that sum up delays, because its senders may be far apart. One node sees every wait, and compares the waits
//! themselves. Whoever shares a line gets its part of what all of them found out together ([`level`]).

use std::time::Duration;

use super::id::EndpointId;

/// Waits are kept as the longest of each span: queues that matter stand longer, and feedback of two ways never comes at the same moment.
const SPAN: Duration = Duration::from_millis(250);
/// Spans kept: 24 s, in which a full line is felt more than once.
const SPANS: usize = 96;
/// What is kept: the span that lasts still, too. It must not take the place of the oldest one that is looked at.
const KEPT: usize = SPANS + 1;
/// A way is not judged before it was felt for so many.
const SPANS_MIN: u64 = 32;
/// Ways are compared so often.
const LOOK_EVERY: u64 = 8;
/// Waits that vary by less (standard deviation, ms) tell of no queue, only of bursts.
const SWING_MIN: f32 = 8.0;
/// One queue: so alike are the waits of two ways (correlation), and by no more does one vary than the other, times. Queues of two lines that
/// carry the same pictures begin together, but are not equally long.
const ALIKE: f32 = 0.8;
const SWING_RATIO: f32 = 1.6;
/// Who is found to share a line does so until its waits differ by more than that from those of the others.
const ALIKE_STILL: f32 = 0.5;
/// A wait up to that (ms) is a picture's own packets, one behind the other: it tells nothing of a queue that others would feel, too.
const BURST: f32 = 25.0;
/// A queue (ms), and how many of them must have come and gone: one may be chance.
const QUEUE: f32 = 40.0;
const QUEUES_MIN: usize = 2;
/// Two minutes without any queue: nobody knows any more.
const FORGOTTEN: u64 = 480;
/// Groups that are compared with; a room of 239 points has fewer thin lines that are full at once.
const GROUPS_MAX: usize = 32;

/// The longest waits of one way, span by span, in ms.
#[derive(Debug, Clone)]
pub(super) struct Waits {
    longest: [u16; KEPT],
    /// Numbers of the first and the newest span, from the room's epoch on.
    told: Option<(u64, u64)>,
}

/// Waits one after the other, the oldest first.
type Wave = [f32; SPANS];

impl Waits {
    /// Nothing felt yet.
    pub(super) fn new() -> Self {
        Self {
            longest: [0; KEPT],
            told: None,
        }
    }

    /// So long the latest packets waited, at that age of the room.
    pub(super) fn add(&mut self, age: Duration, wait: Duration) {
        let span = span_of(age);
        let (first, newest) = self.told.unwrap_or((span, span));
        for passed in newest + 1..=span.min(newest + KEPT as u64) {
            self.longest[place(passed)] = 0;
        }
        self.told = Some((first, newest.max(span)));
        if span >= newest {
            let longest = &mut self.longest[place(span)];
            *longest = (*longest).max(u16::try_from(wait.as_millis()).unwrap_or(u16::MAX));
        }
    }

    /// The spans before that one; nothing told is nothing waited. None before there are enough of them.
    fn wave(&self, before: u64) -> Option<Wave> {
        let (first, newest) = self.told?;
        if before < first + SPANS_MIN {
            return None;
        }
        Some(std::array::from_fn(|at| {
            let span = (before + at as u64).checked_sub(SPANS as u64);
            let told = span.filter(|span| (first..=newest).contains(span) && span + KEPT as u64 > newest);
            told.map_or(0.0, |span| f32::from(self.longest[place(span)]))
        }))
    }
}

/// Groups of ways that share a line.
#[derive(Debug, Default)]
pub(super) struct Bottlenecks {
    groups: Vec<Group>,
    looked: u64,
}

#[derive(Debug)]
struct Group {
    /// Two or more, ascending.
    members: Vec<EndpointId>,
    /// The span in which its queue was felt last.
    felt: u64,
}

/// Ways that are compared as one.
#[derive(Debug)]
struct Cluster {
    members: Vec<EndpointId>,
    sum: Wave,
    /// When the group that it was felt its queue last; none for a single way.
    felt: Option<u64>,
}

impl Bottlenecks {
    /// The members of each group, no way in two of them.
    pub(super) fn groups(&self) -> impl Iterator<Item = &[EndpointId]> {
        self.groups.iter().map(|group| group.members.as_slice())
    }

    /// Looks again who shares a line, if it is time. `ways`: all of them, ascending.
    pub(super) fn look<'a>(&mut self, age: Duration, ways: impl Iterator<Item = (EndpointId, &'a Waits)>) {
        let now = span_of(age);
        if now < self.looked + LOOK_EVERY {
            return;
        }
        self.looked = now;
        let is_member = |id: EndpointId| self.groups().any(|group| group.binary_search(&id).is_ok());
        let waves: Vec<(EndpointId, Wave)> = ways
            .filter_map(|(id, waits)| Some((id, waits.wave(now)?)))
            .filter(|(id, wave)| swing(wave) >= SWING_MIN || is_member(*id))
            .collect();
        let mut clusters: Vec<Cluster> = self
            .groups
            .iter()
            .filter_map(|group| group.still(&waves))
            .collect();
        let is_free =
            |id: EndpointId, clusters: &[Cluster]| !clusters.iter().any(|c| c.members.contains(&id));
        let is_single =
            |(id, wave): &&(EndpointId, Wave)| is_free(*id, &clusters) && swing(wave) >= SWING_MIN;
        let mut singles: Vec<_> = waves.iter().filter(is_single).collect();
        if clusters.len() + singles.len() > GROUPS_MAX {
            // One queue may be chance: those that felt more are compared first.
            singles.sort_by_key(|(_, wave)| queues(wave) < QUEUES_MIN);
        }
        clusters.extend(singles.into_iter().map(|(id, wave)| Cluster {
            members: vec![*id],
            sum: *wave,
            felt: None,
        }));
        let groups = merged(clusters).into_iter();
        self.groups = groups.filter_map(|cluster| cluster.group(now)).collect();
    }
}

impl Group {
    /// What is left of it: who went its own way is out. In a time without queues nobody can say.
    fn still(&self, waves: &[(EndpointId, Wave)]) -> Option<Cluster> {
        let is_of = |id: &EndpointId| self.members.binary_search(id).is_ok();
        let mine = || waves.iter().filter(|(id, _)| is_of(id));
        let all = sum(mine().map(|(_, wave)| wave));
        let count = mine().count() as f32;
        let is_felt = swing(&all.map(|sum| stood(sum / count))) >= SWING_MIN;
        let members: Vec<_> = mine()
            .filter(|(_, wave)| {
                let others = std::array::from_fn(|at| stood((all[at] - wave[at]) / (count - 1.0)));
                !is_felt || alike(&wave.map(stood), &others) >= ALIKE_STILL
            })
            .collect();
        (!members.is_empty()).then(|| Cluster {
            members: members.iter().map(|(id, _)| *id).collect(),
            sum: sum(members.iter().map(|(_, wave)| wave)),
            felt: Some(self.felt),
        })
    }
}

impl Cluster {
    fn mean(&self) -> Wave {
        self.sum.map(|sum| sum / self.members.len() as f32)
    }

    fn shares_with(&self, other: &Self) -> bool {
        let (mine, others) = (self.mean(), other.mean());
        let (a, b) = (swing(&mine), swing(&others));
        a.min(b) >= SWING_MIN && a.max(b) <= a.min(b) * SWING_RATIO && alike(&mine, &others) >= ALIKE
    }

    fn join(&mut self, other: Self) {
        self.members.extend(other.members);
        self.sum = sum([&self.sum, &other.sum].into_iter());
        self.felt = self.felt.max(other.felt);
    }

    /// It is one if there are two who share a line, and what they felt was no chance.
    fn group(mut self, now: u64) -> Option<Group> {
        let mean = self.mean();
        let felt = if swing(&mean) >= SWING_MIN {
            now
        } else {
            self.felt?
        };
        let is_sure = self.felt.is_some() || queues(&mean) >= QUEUES_MIN;
        self.members.sort_unstable();
        (self.members.len() > 1 && is_sure && now < felt + FORGOTTEN).then_some(Group {
            members: self.members,
            felt,
        })
    }
}

/// Those together that share a line.
fn merged(clusters: Vec<Cluster>) -> Vec<Cluster> {
    let mut found: Vec<Cluster> = Vec::new();
    for cluster in clusters {
        match found.iter().position(|other| other.shares_with(&cluster)) {
            Some(at) => found[at].join(cluster),
            None if found.len() < GROUPS_MAX => found.push(cluster),
            None => {}
        }
    }
    found
}

/// What of a wait may be a queue that others feel, too.
fn stood(wait: f32) -> f32 {
    (wait - BURST).max(0.0)
}

/// How many queues came.
fn queues(wave: &Wave) -> usize {
    let begins = |pair: &&[f32]| pair[0] < QUEUE && pair[1] >= QUEUE;
    wave.windows(2).filter(begins).count()
}

fn sum<'a>(waves: impl Iterator<Item = &'a Wave>) -> Wave {
    waves.fold([0.0; SPANS], |sum, wave| {
        std::array::from_fn(|at| sum[at] + wave[at])
    })
}

fn mean(wave: &Wave) -> f32 {
    wave.iter().sum::<f32>() / SPANS as f32
}

/// Standard deviation.
fn swing(wave: &Wave) -> f32 {
    let mean = mean(wave);
    let squares: f32 = wave.iter().map(|wait| (wait - mean).powi(2)).sum();
    (squares / SPANS as f32).sqrt()
}

/// Correlation, -1 to 1; 0 where one of them does not vary.
fn alike(a: &Wave, b: &Wave) -> f32 {
    let (mean_a, mean_b) = (mean(a), mean(b));
    let products: f32 = a.iter().zip(b).map(|(x, y)| (x - mean_a) * (y - mean_b)).sum();
    let swings = swing(a) * swing(b) * SPANS as f32;
    if swings > 0.0 { products / swings } else { 0.0 }
}

fn span_of(age: Duration) -> u64 {
    u64::try_from(age.as_millis() / SPAN.as_millis()).unwrap_or(u64::MAX / 4)
}

fn place(span: u64) -> usize {
    (span % KEPT as u64) as usize
}

/// What everybody gets of the sum of `(target, wanted)`: an equal part, and what some do not want goes to the others.
pub(super) fn level(ways: &[(u64, u64)]) -> u64 {
    let mut left: u64 = ways.iter().map(|(target, wanted)| target.min(wanted)).sum();
    let mut wanted: Vec<u64> = ways.iter().map(|(_, wanted)| *wanted).collect();
    wanted.sort_unstable();
    for (at, wanted) in wanted.iter().enumerate() {
        let part = left / (ways.len() - at) as u64;
        if *wanted >= part {
            return part;
        }
        left -= wanted;
    }
    u64::MAX
}

#[cfg(test)]
#[path = "bottleneck_tests.rs"]
mod tests;
