//! Who wants to be told the time when. A peer that waits costs nothing until its moment comes.

use std::{collections::BTreeSet, hash::Hash, time::Instant};

use rustc_hash::FxHashMap;

/// One deadline for each key at most. As large as what lives in the shard.
#[derive(Debug)]
pub(crate) struct Timers<K> {
    by_time: BTreeSet<(Instant, K)>,
    by_key: FxHashMap<K, Instant>,
}

impl<K: Copy + Ord + Hash> Timers<K> {
    /// None wanted.
    pub(crate) fn new() -> Self {
        Self {
            by_time: BTreeSet::new(),
            by_key: FxHashMap::default(),
        }
    }

    /// Replaces the deadline of a key; none: it has no deadline.
    pub(crate) fn set(&mut self, key: K, deadline: Option<Instant>) {
        let former = match deadline {
            Some(at) => self.by_key.insert(key, at),
            None => self.by_key.remove(&key),
        };
        if former == deadline {
            return;
        }
        if let Some(at) = former {
            self.by_time.remove(&(at, key));
        }
        if let Some(at) = deadline {
            self.by_time.insert((at, key));
        }
    }

    /// The soonest deadline.
    pub(crate) fn soonest(&self) -> Option<Instant> {
        self.by_time.first().map(|&(at, _)| at)
    }

    /// Takes a key whose deadline has come.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<K> {
        let &(at, key) = self.by_time.first()?;
        if at > now {
            return None;
        }
        self.by_time.pop_first();
        self.by_key.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn deadlines_come_in_their_order_and_only_the_last_one_set_counts() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timers = Timers::new();
        timers.set('a', Some(at(30)));
        timers.set('b', Some(at(20)));
        timers.set('c', Some(at(10)));
        timers.set('a', Some(at(5)));
        timers.set('c', None);
        assert_eq!(timers.soonest(), Some(at(5)));
        assert_eq!(timers.pop_due(at(4)), None);
        assert_eq!(timers.pop_due(at(20)), Some('a'));
        assert_eq!(timers.pop_due(at(20)), Some('b'));
        assert_eq!((timers.pop_due(at(90)), timers.soonest()), (None, None));
    }
}
