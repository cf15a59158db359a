//! What travels from a table: the value of a key before and after a change.

/// The value of a key before a change and after it; not `None` both.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Diff<V> {
    pub(crate) old: Option<V>,
    pub(crate) new: Option<V>,
}

impl<V> Diff<V> {
    /// The same change in a table whose values are made by `f`, which leaves out those that it gives nothing for;
    /// `None` if nothing is left of the change.
    pub(crate) fn filter_map<U>(self, f: impl Fn(V) -> Option<U>) -> Option<Diff<U>> {
        Diff::between(self.old.and_then(&f), self.new.and_then(&f))
    }

    /// The change from one value to another, if there is any of them.
    pub(crate) fn between(old: Option<V>, new: Option<V>) -> Option<Diff<V>> {
        (old.is_some() || new.is_some()).then_some(Diff { old, new })
    }
}
