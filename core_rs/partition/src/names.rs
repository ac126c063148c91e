//! Users' names and the slots that stand for them in memory. A symbol table, and nothing more: it decides nothing.
//!
//! A slot lives while something refers to it: rows count their references with [`Names::hold`] and [`Names::release`].

use std::hash::BuildHasher;

use compact_str::CompactString;
use hashbrown::{DefaultHashBuilder, HashTable};
use slab::Slab;

use crate::ids::UserSlot;

#[derive(Debug)]
struct Name {
    text: CompactString,
    holders: u32,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Names {
    names: Slab<Name>,
    by_text: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Names {
    /// The slot of a name that is in memory.
    pub fn find(&self, text: &str) -> Option<UserSlot> {
        let same = |&slot: &u32| self.names.get(slot as usize).is_some_and(|name| name.text == text);
        self.by_text.find(self.hasher.hash_one(text), same).map(|&slot| UserSlot::new(slot as usize))
    }

    /// The slot of a name, with one reference more.
    pub fn hold(&mut self, text: &str) -> UserSlot {
        let slot = match self.find(text) {
            Some(slot) => slot,
            None => {
                let place = self.names.insert(Name { text: text.into(), holders: 0 });
                let (names, hasher) = (&self.names, &self.hasher);
                let rehash = |&slot: &u32| names.get(slot as usize).map_or(0, |name| hasher.hash_one(&*name.text));
                self.by_text.insert_unique(hasher.hash_one(text), place as u32, rehash);
                UserSlot::new(place)
            }
        };
        self.hold_again(slot);
        slot
    }

    /// One reference more to a slot that is held already.
    pub fn hold_again(&mut self, slot: UserSlot) {
        if let Some(name) = self.names.get_mut(slot.place()) {
            name.holders += 1;
        }
    }

    /// One reference less. True when it was the last: the slot is free, and may become another user's.
    pub fn release(&mut self, slot: UserSlot) -> bool {
        let Some(name) = self.names.get_mut(slot.place()) else { return false };
        name.holders = name.holders.saturating_sub(1);
        if name.holders > 0 {
            return false;
        }
        let hash = self.hasher.hash_one(&*name.text);
        if let Ok(entry) = self.by_text.find_entry(hash, |&found| found as usize == slot.place()) {
            entry.remove();
        }
        self.names.remove(slot.place());
        true
    }

    /// The name; empty for a slot that is free.
    pub fn text(&self, slot: UserSlot) -> &str {
        self.names.get(slot.place()).map_or("", |name| &name.text)
    }

    /// How many are in memory.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_lives_while_it_is_held() {
        let mut names = Names::default();
        let ann = names.hold("ann");
        assert_eq!(names.hold("ann"), ann);
        assert!(!names.release(ann));
        assert_eq!(names.find("ann"), Some(ann));
        assert!(names.release(ann));
        assert_eq!(names.find("ann"), None);
        assert!(names.is_empty());
    }
}
