//! Records in a set, found by their identity: the name stands once, in the record.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// What has an identity that never changes.
pub(crate) trait Identified {
    fn id(&self) -> &str;
}

/// A record that is equal to any other of its identity.
#[derive(Debug)]
pub(crate) struct ById<T>(pub(crate) Arc<T>);

impl<T: Identified> Borrow<str> for ById<T> {
    fn borrow(&self) -> &str {
        self.0.id()
    }
}

impl<T: Identified> Hash for ById<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id().hash(state);
    }
}

impl<T: Identified> PartialEq for ById<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.id() == other.0.id()
    }
}

impl<T: Identified> Eq for ById<T> {}
