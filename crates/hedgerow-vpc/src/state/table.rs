//! Records by id that can go back to where they were. Between [`Revertible::mark`] and [`Revertible::commit`]
//! what a change touches is kept, record by record, so that taking it back costs what it touched and
//! not what there is.

use std::collections::BTreeMap;
use std::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A map whose changes can be taken back. Reads are those of the map.
#[derive(Debug, Clone)]
pub(crate) struct Table<K, V> {
    records: BTreeMap<K, V>,
    /// What was there before, by key, of what was touched since the mark; absent without one.
    before: Option<BTreeMap<K, Before<V>>>,
}

/// A record before it was touched.
#[derive(Debug, Clone)]
enum Before<V> {
    /// There was none.
    Absent,
    /// It was changed in place: [`Record::keep`].
    Kept(V),
    /// It was taken out or replaced.
    Whole(V),
}

/// What a [`Table`] holds.
pub(crate) trait Record: Clone {
    /// A copy to go back to. Tables in it are marked and left out of the copy.
    fn keep(&mut self) -> Self {
        self.clone()
    }

    /// Goes back to a copy.
    fn go_back(&mut self, kept: Self) {
        *self = kept;
    }

    /// What was done holds.
    fn commit(&mut self) {}
}

/// Types that are small enough to be copied whole.
macro_rules! copied {
    ($($record:ty),* $(,)?) => {
        $(impl $crate::state::table::Record for $record {})*
    };
}
pub(crate) use copied;

copied!(String, BTreeMap<String, String>, Option<std::net::Ipv4Addr>);

impl<K: Ord + Clone, V: Record> Table<K, V> {
    /// The record with this key, to change.
    pub fn get_mut<Q>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: std::borrow::Borrow<Q>,
        Q: Ord + ToOwned<Owned = K> + ?Sized,
    {
        let record = self.records.get_mut(key)?;
        if let Some(before) = &mut self.before
            && !before.contains_key(key)
        {
            before.insert(key.to_owned(), Before::Kept(record.keep()));
        }
        Some(record)
    }

    /// The records that are wanted, to change.
    pub fn select_mut(&mut self, wanted: impl Fn(&V) -> bool) -> impl Iterator<Item = &mut V> {
        let before = &mut self.before;
        let wanted = self.records.iter_mut().filter(move |(_, record)| wanted(record));
        wanted.map(move |(key, record)| {
            if let Some(before) = before
                && !before.contains_key(key)
            {
                before.insert(key.clone(), Before::Kept(record.keep()));
            }
            record
        })
    }

    /// Puts a record in the place of what has its key, if anything.
    pub fn insert(&mut self, key: K, record: V) {
        let Some(before) = &mut self.before else {
            self.records.insert(key, record);
            return;
        };
        let replaced = self.records.insert(key.clone(), record);
        Self::note(before, key, replaced);
    }

    /// Takes a record out.
    pub fn remove<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: std::borrow::Borrow<Q>,
        Q: Ord + ToOwned<Owned = K> + ?Sized,
    {
        let removed = self.records.remove(key)?;
        if let Some(before) = &mut self.before {
            Self::note(before, key.to_owned(), Some(removed.clone()));
        }
        Some(removed)
    }

    /// Takes out what is not to be kept.
    pub fn retain(&mut self, mut kept: impl FnMut(&K, &V) -> bool) {
        let gone = self.records.iter().filter(|(key, record)| !kept(key, record));
        let gone: Vec<K> = gone.map(|(key, _)| key.clone()).collect();
        for key in gone {
            self.remove(&key);
        }
    }

    /// Notes a record that is no longer in the map.
    fn note(before: &mut BTreeMap<K, Before<V>>, key: K, gone: Option<V>) {
        match (before.remove(&key), gone) {
            (None, None) => before.insert(key, Before::Absent),
            (None, Some(whole)) => before.insert(key, Before::Whole(whole)),
            (Some(Before::Kept(kept)), Some(mut whole)) => {
                whole.go_back(kept);
                before.insert(key, Before::Whole(whole))
            }
            (Some(first), _) => before.insert(key, first),
        };
    }
}

impl<K, V> Deref for Table<K, V> {
    type Target = BTreeMap<K, V>;

    fn deref(&self) -> &BTreeMap<K, V> {
        &self.records
    }
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { records: BTreeMap::new(), before: None }
    }
}

impl<K, V> From<BTreeMap<K, V>> for Table<K, V> {
    fn from(records: BTreeMap<K, V>) -> Self {
        Self { records, before: None }
    }
}

/// Marks are no part of what a table says.
impl<K: PartialEq, V: PartialEq> PartialEq for Table<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.records == other.records
    }
}

impl<K: Eq, V: Eq> Eq for Table<K, V> {}

impl<K: Serialize, V: Serialize> Serialize for Table<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.records.serialize(serializer)
    }
}

impl<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>> Deserialize<'de> for Table<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeMap::deserialize(deserializer).map(Self::from)
    }
}

/// A table, whatever it holds.
pub(crate) trait Revertible {
    /// From here on, what is touched can be taken back.
    fn mark(&mut self);
    /// Goes back to the mark.
    fn go_back(&mut self);
    /// What was done since the mark holds.
    fn commit(&mut self);
}

impl<K: Ord + Clone, V: Record> Revertible for Table<K, V> {
    fn mark(&mut self) {
        self.before = Some(BTreeMap::new());
    }

    fn go_back(&mut self) {
        for (key, before) in self.before.take().into_iter().flatten() {
            match before {
                Before::Absent => drop(self.records.remove(&key)),
                Before::Whole(record) => drop(self.records.insert(key, record)),
                Before::Kept(kept) => {
                    if let Some(record) = self.records.get_mut(&key) {
                        record.go_back(kept);
                    }
                }
            }
        }
    }

    fn commit(&mut self) {
        for key in self.before.take().into_iter().flat_map(BTreeMap::into_keys) {
            if let Some(record) = self.records.get_mut(&key) {
                record.commit();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record with a table in it, which is not copied.
    #[derive(Debug, Clone, Default, PartialEq)]
    struct Shelf {
        label: String,
        books: Table<u8, String>,
    }

    impl Record for Shelf {
        fn keep(&mut self) -> Self {
            self.books.mark();
            Self { label: self.label.clone(), books: Table::default() }
        }

        fn go_back(&mut self, kept: Self) {
            self.books.go_back();
            self.label = kept.label;
        }

        fn commit(&mut self) {
            self.books.commit();
        }
    }

    fn shelves() -> Table<String, Shelf> {
        let mut shelves = Table::default();
        for label in ["a", "b"] {
            let mut books = Table::default();
            books.insert(1, "one".to_owned());
            shelves.insert(label.to_owned(), Shelf { label: label.to_owned(), books });
        }
        shelves
    }

    type Change = fn(&mut Table<String, Shelf>);

    /// What may be done to records, in any order.
    const CHANGES: [Change; 8] = [
        |shelves| shelves.insert("a".to_owned(), Shelf::default()),
        |shelves| shelves.insert("c".to_owned(), Shelf::default()),
        |shelves| drop(shelves.remove("a")),
        |shelves| drop(shelves.remove("c")),
        |shelves| shelves.retain(|key, _| key != "b"),
        |shelves| {
            if let Some(shelf) = shelves.get_mut("a") {
                shelf.label = "changed".to_owned();
            }
        },
        |shelves| {
            if let Some(shelf) = shelves.get_mut("a") {
                shelf.books.insert(2, "two".to_owned());
                shelf.books.remove(&1);
            }
        },
        |shelves| {
            for shelf in shelves.select_mut(|shelf| shelf.books.contains_key(&1)) {
                shelf.books.insert(1, shelf.label.clone());
            }
        },
    ];

    #[test]
    fn three_changes_in_any_order_are_taken_back_or_hold() {
        for order in 0..CHANGES.len().pow(3) {
            let steps = [order % 8, order / 8 % 8, order / 64];
            let (mut held, mut back, mut plain) = (shelves(), shelves(), shelves());
            held.mark();
            back.mark();
            for step in steps {
                for table in [&mut held, &mut back, &mut plain] {
                    CHANGES[step](table);
                }
            }
            back.go_back();
            assert_eq!(back, shelves(), "{steps:?} taken back");
            held.commit();
            assert_eq!(held, plain, "{steps:?} hold");
            held.go_back();
            assert_eq!(held, plain, "{steps:?}: nothing to take back any more");
            assert!(held.values().all(|shelf| shelf.books.before.is_none()), "{steps:?}");
        }
    }
}
