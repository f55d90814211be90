//! A copy of all objects of one kind, as facts. A list that is under way fills a second map, so that what is read is
//! always a whole state: before the first list is through nothing, during a later one the last good one.

use super::facts::Key;
use std::collections::BTreeMap;

/// What a watch says of one kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen<V> {
    /// A list begins.
    Restarted,
    /// A part of that list.
    Listed(Key, V),
    /// The list is whole.
    ListEnded,
    /// An object is new or has changed.
    Put(Key, V),
    /// An object is gone.
    Deleted(Key),
}

/// An object whose fact has changed, with what it was before.
#[derive(Debug, Clone, PartialEq)]
pub struct Changed<V> {
    /// The object.
    pub key: Key,
    /// What was known of it.
    pub before: Option<V>,
}

/// The facts of one kind.
#[derive(Debug)]
pub struct Cache<V> {
    live: BTreeMap<Key, V>,
    incoming: BTreeMap<Key, V>,
    synced: bool,
}

impl<V> Default for Cache<V> {
    fn default() -> Self {
        Self { live: BTreeMap::new(), incoming: BTreeMap::new(), synced: false }
    }
}

impl<V: PartialEq> Cache<V> {
    /// Takes in what a watch says and tells whose facts have changed by it. An object that is said again as it was
    /// known changes nothing.
    pub fn observe(&mut self, seen: Seen<V>) -> Vec<Changed<V>> {
        match seen {
            Seen::Restarted => {
                self.incoming.clear();
                Vec::new()
            }
            Seen::Listed(key, fact) => {
                self.incoming.insert(key, fact);
                Vec::new()
            }
            Seen::ListEnded => {
                self.synced = true;
                let listed = std::mem::take(&mut self.incoming);
                self.replace(listed)
            }
            Seen::Put(key, fact) => {
                if self.live.get(&key) == Some(&fact) {
                    return Vec::new();
                }
                let before = self.live.insert(key.clone(), fact);
                vec![Changed { key, before }]
            }
            Seen::Deleted(key) => match self.live.remove(&key) {
                Some(before) => vec![Changed { key, before: Some(before) }],
                None => Vec::new(),
            },
        }
    }

    fn replace(&mut self, listed: BTreeMap<Key, V>) -> Vec<Changed<V>> {
        let mut before = std::mem::replace(&mut self.live, listed);
        let mut changed = Vec::new();
        for (key, fact) in &self.live {
            match before.remove(key) {
                Some(known) if known == *fact => {}
                known => changed.push(Changed { key: key.clone(), before: known }),
            }
        }
        changed.extend(before.into_iter().map(|(key, fact)| Changed { key, before: Some(fact) }));
        changed
    }

    /// Whether a whole list has been seen.
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    /// All that is known whose namespace is that of `prefix` and whose name begins with its name.
    pub fn iter_prefix<'a>(&'a self, prefix: &'a Key) -> impl Iterator<Item = (&'a Key, &'a V)> {
        let begins = |key: &Key| key.namespace == prefix.namespace && key.name.starts_with(&prefix.name);
        self.live.range(prefix..).take_while(move |(key, _)| begins(key))
    }

    /// What is known of an object.
    pub fn find(&self, key: &Key) -> Option<&V> {
        self.live.get(key)
    }

    /// Corrects what is known of an object that is known.
    pub fn update(&mut self, key: &Key, correct: impl FnOnce(&mut V)) {
        if let Some(fact) = self.live.get_mut(key) {
            correct(fact);
        }
    }

    /// All that is known.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &V)> {
        self.live.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::new("shop", name)
    }

    fn listed(cache: &mut Cache<u32>, facts: &[(&str, u32)]) -> Vec<Changed<u32>> {
        assert!(cache.observe(Seen::Restarted).is_empty());
        for (name, fact) in facts {
            assert!(cache.observe(Seen::Listed(key(name), *fact)).is_empty());
        }
        cache.observe(Seen::ListEnded)
    }

    #[test]
    fn nothing_is_known_before_the_first_list_is_whole() {
        let mut cache = Cache::default();
        cache.observe(Seen::Restarted);
        cache.observe(Seen::Listed(key("a"), 1));
        assert!(!cache.is_synced());
        assert_eq!(cache.find(&key("a")), None);
        assert_eq!(cache.observe(Seen::ListEnded).len(), 1);
        assert!(cache.is_synced());
        assert_eq!(cache.find(&key("a")), Some(&1));
    }

    #[test]
    fn a_relist_keeps_the_old_state_until_it_is_whole_and_tells_differences_only() {
        let mut cache = Cache::default();
        listed(&mut cache, &[("a", 1), ("b", 2), ("c", 3)]);
        cache.observe(Seen::Restarted);
        cache.observe(Seen::Listed(key("a"), 1));
        assert_eq!(cache.find(&key("c")), Some(&3));
        let changed = listed(&mut cache, &[("a", 1), ("b", 5), ("d", 4)]);
        let names: Vec<_> = changed.iter().map(|c| (c.key.name.as_str(), c.before)).collect();
        assert_eq!(names, [("b", Some(2)), ("d", None), ("c", Some(3))]);
    }

    #[test]
    fn a_fact_that_is_said_again_changes_nothing() {
        let mut cache = Cache::default();
        listed(&mut cache, &[("a", 1)]);
        assert!(cache.observe(Seen::Put(key("a"), 1)).is_empty());
        assert_eq!(cache.observe(Seen::Put(key("a"), 2))[0].before, Some(1));
        assert_eq!(cache.observe(Seen::Deleted(key("a")))[0].before, Some(2));
        assert!(cache.observe(Seen::Deleted(key("a"))).is_empty());
    }
}
