//! Answers that are kept for a while.
//!
//! Invariants: there are never more than the limit, and none is older than its time; whoever asks for a key that
//! somebody is asking for waits for that answer. Every entry lives equally long, so the oldest is the next to go,
//! whether its time is over or there is no room. It does not know where answers come from.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::OnceCell;

/// The place of one answer: empty until somebody has got it.
pub(crate) type Place<V> = Arc<OnceCell<V>>;

pub(crate) struct Cache<K, V> {
    entries: usize,
    time: Duration,
    places: HashMap<K, (u64, Place<V>)>,
    /// In the order in which they were made, with their numbers.
    order: VecDeque<(Instant, u64, K)>,
    made: u64,
}

impl<K, V> Cache<K, V> {
    pub(crate) fn new(entries: usize, time: Duration) -> Self {
        Cache { entries, time, places: HashMap::new(), order: VecDeque::new(), made: 0 }
    }
}

impl<K: Hash + Eq + Clone, V> Cache<K, V> {
    /// The place of a key.
    pub(crate) fn place(&mut self, key: &K, now: Instant) -> Place<V> {
        while let Some((since, number, _)) = self.order.front()
            && (now.duration_since(*since) >= self.time || self.order.len() > self.entries)
        {
            let number = *number;
            self.let_go(number);
        }
        if let Some((_, place)) = self.places.get(key) {
            return Arc::clone(place);
        }
        let place = Place::default();
        if self.entries == 0 || self.time.is_zero() {
            return place;
        }
        if let Some((_, number, _)) = self.order.front().filter(|_| self.order.len() == self.entries) {
            let number = *number;
            self.let_go(number);
        }
        self.made += 1;
        self.places.insert(key.clone(), (self.made, Arc::clone(&place)));
        self.order.push_back((now, self.made, key.clone()));
        place
    }

    fn let_go(&mut self, number: u64) {
        let Some((_, _, key)) = self.order.pop_front() else { return };
        if self.places.get(&key).is_some_and(|(made, _)| *made == number) {
            self.places.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_kept_for_its_time_and_while_there_is_room() {
        let (mut cache, start) = (Cache::new(2, Duration::from_secs(10)), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let fill = |place: Place<u32>, value| place.set(value).expect("it is empty");
        fill(cache.place(&"a", at(0)), 1);
        fill(cache.place(&"b", at(1)), 2);
        assert_eq!(cache.place(&"a", at(9)).get(), Some(&1));
        assert_eq!(cache.place(&"a", at(10)).get(), None, "its time is over");
        assert_eq!(cache.place(&"b", at(10)).get(), Some(&2));
        assert_eq!(cache.place(&"c", at(10)).get(), None);
        assert_eq!(cache.place(&"b", at(10)).get(), None, "there was no room for three");
        assert!(cache.places.len() <= 2 && cache.order.len() <= 2);
    }

    #[test]
    fn who_asks_for_the_same_shares_one_place_and_without_entries_nobody_does() {
        let (mut cache, now) = (Cache::<_, u32>::new(1, Duration::from_secs(1)), Instant::now());
        assert!(Arc::ptr_eq(&cache.place(&1, now), &cache.place(&1, now)));
        let mut none = Cache::<_, u32>::new(0, Duration::from_secs(1));
        assert!(!Arc::ptr_eq(&none.place(&1, now), &none.place(&1, now)));
    }
}
