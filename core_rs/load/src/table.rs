//! Things that are numbered in the order in which they were made, and stay.
//!
//! A number that was given out stays good, for nothing is ever removed; one that came over the wire is checked with [`Table::get`] first.

use std::ops::{Index, IndexMut};

#[derive(Debug)]
pub(super) struct Table<T>(Vec<T>);

impl<T> Table<T> {
    pub fn add(&mut self, one: T) -> u32 {
        self.0.push(one);
        self.len() - 1
    }

    pub fn len(&self) -> u32 {
        self.0.len() as u32
    }

    pub fn get(&self, number: u32) -> Option<&T> {
        self.0.get(number as usize)
    }

    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Index<u32> for Table<T> {
    type Output = T;

    #[inline]
    fn index(&self, number: u32) -> &T {
        &self.0[number as usize]
    }
}

impl<T> IndexMut<u32> for Table<T> {
    #[inline]
    fn index_mut(&mut self, number: u32) -> &mut T {
        &mut self.0[number as usize]
    }
}
