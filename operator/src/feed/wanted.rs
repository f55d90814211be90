//! Which pools a session sees, and what it must be told. Pure. A pool that may not be seen and one that isn't there are
//! the same thing here, so nothing that is said later can tell them apart.

use crate::publish::{Labels, Published, Snapshot};
use evenkeel_wire::PoolName;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

/// The most entries of a wanted list.
pub(super) const MAX_WANTED: usize = 1_000;

/// Why a wanted list is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum WantedError {
    #[error("{0} wanted pools; name at most {MAX_WANTED}, or `NAMESPACE/*` for all of your own namespace")]
    TooMany(usize),
    #[error("`{0}` names no pool; write NAMESPACE/NAME")]
    Name(String),
    #[error("`{0}` is another namespace's; name its pools one by one, `*` is for your own namespace ({1})")]
    ForeignAll(String, String),
}

/// The pools that a sidecar asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    own: String,
    all_own: bool,
    names: BTreeSet<PoolName>,
}

impl Wanted {
    /// Reads a wanted list of a pod in namespace `own`.
    pub(super) fn try_new(entries: &[String], own: &str) -> Result<Self, WantedError> {
        if entries.len() > MAX_WANTED {
            return Err(WantedError::TooMany(entries.len()));
        }
        let mut wanted = Self { own: own.into(), all_own: false, names: BTreeSet::new() };
        for entry in entries {
            match entry.strip_suffix("/*") {
                Some(namespace) if namespace == own => wanted.all_own = true,
                Some(_) => return Err(WantedError::ForeignAll(short(entry), own.into())),
                None => {
                    let name = entry.parse().map_err(|_| WantedError::Name(short(entry)))?;
                    wanted.names.insert(name);
                }
            }
        }
        Ok(wanted)
    }

    /// The pools of the snapshot that it asks for and may have. `labels` are those of its own namespace.
    pub(super) fn find_visible(&self, labels: Option<&Labels>, snapshot: &Snapshot) -> Snapshot {
        let named = self.names.iter().filter_map(|name| snapshot.get_key_value(name));
        let from = PoolName { namespace: self.own.clone(), name: String::new() };
        let own = snapshot.range((Bound::Included(from), Bound::Unbounded));
        let own = own.take_while(|(name, _)| self.all_own && name.namespace == self.own);
        named
            .chain(own)
            .filter(|(name, pool)| pool.consumers.allows(&name.namespace, &self.own, labels))
            .map(|(name, pool)| (name.clone(), pool.clone()))
            .collect()
    }

    /// The withheld pools that it asks for and may know of: those of its own namespace, and those that it `has` already.
    pub(super) fn find_withheld(&self, withheld: &BTreeSet<PoolName>, has: impl Fn(&PoolName) -> bool) -> Vec<PoolName> {
        let asked = |pool: &PoolName| self.names.contains(pool) || (self.all_own && pool.namespace == self.own);
        let kept = withheld.iter().filter(|pool| asked(pool) && (pool.namespace == self.own || has(pool)));
        kept.cloned().collect()
    }
}

fn short(entry: &str) -> String {
    entry.chars().take(80).collect()
}

/// What a session must be told to know what it should.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    /// In full, the oldest first: where two want one port, the first that comes has it.
    pub(super) send: Vec<(PoolName, Arc<Published>)>,
    /// No longer theirs.
    pub(super) remove: Vec<PoolName>,
}

/// Stands for a revision of which only the sidecar knows what it was. None has this number.
pub(super) const EARLIER: u64 = 0;

/// Compares what a session knows (pool → revision) with what it should. What is `withheld` stays as it was.
pub(super) fn compare(known: &BTreeMap<PoolName, u64>, visible: &Snapshot, withheld: &BTreeSet<PoolName>) -> Step {
    let stays = |name: &PoolName, revision: u64| visible.contains_key(name) || (revision == EARLIER && withheld.contains(name));
    let changed = visible.iter().filter(|(name, pool)| known.get(name) != Some(&pool.revision));
    let mut send: Vec<_> = changed.map(|(name, pool)| (name.clone(), pool.clone())).collect();
    // A stable sort: of one second the order of the names stays.
    send.sort_by_key(|(_, pool)| pool.created);
    Step {
        send,
        remove: known.iter().filter(|(name, revision)| !stays(name, **revision)).map(|(name, _)| name.clone()).collect(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::publish::ConsumerRule;

    fn snapshot(pools: &[(&str, u64, ConsumerRule)]) -> Snapshot {
        let published = |revision: &u64, consumers: &ConsumerRule| {
            Arc::new(Published {
                revision: *revision,
                created: -i64::try_from(*revision).unwrap(),
                generation: 1,
                lines: bytes::Bytes::new(),
                consumers: consumers.clone(),
            })
        };
        pools.iter().map(|(name, revision, rule)| (name.parse().unwrap(), published(revision, rule))).collect()
    }

    fn names(visible: &Snapshot) -> Vec<String> {
        visible.keys().map(PoolName::to_string).collect()
    }

    fn wanted(entries: &[&str]) -> Result<Wanted, WantedError> {
        Wanted::try_new(&entries.iter().map(ToString::to_string).collect::<Vec<_>>(), "shop")
    }

    #[test]
    fn a_foreign_pool_needs_both_the_owners_consent_and_the_request() {
        let labels = Labels::from([("team".into(), "a".into())]);
        let pools = snapshot(&[
            ("shop/cart", 1, ConsumerRule::Same),
            ("shop/pay", 2, ConsumerRule::Same),
            ("stock/all", 3, ConsumerRule::All),
            ("stock/same", 4, ConsumerRule::Same),
            ("stock/some", 5, ConsumerRule::Selector(labels.clone())),
        ]);
        let everything = wanted(&["shop/*", "stock/all", "stock/same", "stock/some", "stock/gone"]).unwrap();
        let seen = everything.find_visible(Some(&labels), &pools);
        assert_eq!(names(&seen), ["shop/cart", "shop/pay", "stock/all", "stock/some"]);
        assert_eq!(names(&everything.find_visible(None, &pools)), ["shop/cart", "shop/pay", "stock/all"]);
        assert_eq!(names(&wanted(&["shop/*"]).unwrap().find_visible(Some(&labels), &pools)), ["shop/cart", "shop/pay"]);
        assert_eq!(names(&wanted(&["shop/pay"]).unwrap().find_visible(None, &pools)), ["shop/pay"]);
    }

    #[test]
    fn a_list_that_asks_for_too_much_is_refused_by_name() {
        assert_eq!(wanted(&["stock/*"]), Err(WantedError::ForeignAll("stock/*".into(), "shop".into())));
        assert_eq!(wanted(&["cart"]), Err(WantedError::Name("cart".into())));
        let many = vec!["shop/a"; MAX_WANTED + 1];
        assert_eq!(wanted(&many), Err(WantedError::TooMany(MAX_WANTED + 1)));
    }

    #[test]
    fn a_step_tells_only_what_differs() {
        let pools = snapshot(&[("shop/cart", 4, ConsumerRule::Same), ("shop/pay", 2, ConsumerRule::Same)]);
        let known = [("shop/cart", 3), ("shop/pay", 2), ("shop/old", 1)];
        let known = known.map(|(name, revision)| (name.parse().unwrap(), revision)).into();
        let step = compare(&known, &pools, &BTreeSet::new());
        assert_eq!(step.send.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>(), ["shop/cart"]);
        assert_eq!(step.remove.iter().map(PoolName::to_string).collect::<Vec<_>>(), ["shop/old"]);
    }

    #[test]
    fn the_oldest_comes_first_so_that_it_has_the_port() {
        let pools = [("shop/a", 1, ConsumerRule::Same), ("shop/b", 7, ConsumerRule::Same), ("shop/c", 7, ConsumerRule::Same)];
        let step = compare(&BTreeMap::new(), &snapshot(&pools), &BTreeSet::new());
        // In these tests a higher revision means an older pool.
        assert_eq!(step.send.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>(), ["shop/b", "shop/c", "shop/a"]);
    }

    #[test]
    fn a_withheld_pool_is_known_to_its_own_namespace_and_to_who_has_it() {
        let withheld = ["shop/cart", "stock/all", "stock/lost"].map(|name| name.parse().unwrap()).into();
        let has = |pool: &PoolName| pool.name == "all";
        let found = wanted(&["shop/*", "stock/all", "stock/lost"]).unwrap().find_withheld(&withheld, has);
        assert_eq!(found.iter().map(PoolName::to_string).collect::<Vec<_>>(), ["shop/cart", "stock/all"]);
        assert!(wanted(&["shop/pay"]).unwrap().find_withheld(&withheld, has).is_empty());
    }
}
