//! Whether the store beside the log is the one that the log says there must be.
//!
//! The store has the log's salt as its identity. The log says whether a row was ever put into the store. What this cannot
//! tell: whether the store is an older copy; single rows that are older than the log says are found when they are loaded.

use crate::log::LogError;

/// What stands beside the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreFound {
    /// No store.
    Missing,
    /// One without rows.
    Empty,
    /// One with rows that no router has opened yet: `pyrouter token` made it.
    Unowned,
    /// The store of the log with this salt.
    Of(u32),
}

impl StoreFound {
    /// Whether a log with this salt, if it has one already, may be opened beside it; `stored`: it says that it put rows there.
    ///
    /// # Errors
    /// [`LogError::Store`], with what to do.
    pub fn check(self, salt: Option<u32>, stored: bool) -> Result<(), LogError> {
        let wrong = match self {
            StoreFound::Of(id) if salt == Some(id) => None,
            StoreFound::Of(_) if salt.is_none() => Some(
                "the cold store cold.db belongs to a log that is not there: put the folder log/ back, or restore the data \
                 directory from a copy",
            ),
            StoreFound::Of(_) => Some(
                "the cold store cold.db belongs to another log: put the one back that belongs to this data directory, or \
                 restore both from one copy",
            ),
            _ if !stored => None,
            StoreFound::Missing => Some(
                "the cold store cold.db is missing, although users and conversations were put there: put it back, or \
                 restore the data directory from a copy",
            ),
            StoreFound::Empty => Some(
                "the cold store cold.db is empty, although users and conversations were put there: put the right one \
                 back, or restore the data directory from a copy",
            ),
            StoreFound::Unowned => Some(
                "the cold store cold.db was made anew, although users and conversations were put into another one: put \
                 that one back, or restore the data directory from a copy",
            ),
        };
        wrong.map_or(Ok(()), |what| Err(LogError::Store(what)))
    }
}

#[cfg(test)]
mod tests {
    use super::StoreFound::*;

    #[test]
    fn a_log_starts_beside_its_own_store_and_without_one_only_if_it_put_nothing_there() {
        for (found, salt, stored, fine) in [
            (Missing, None, false, true),
            (Empty, None, false, true),
            (Unowned, None, false, true),
            (Missing, Some(7), false, true),
            (Unowned, Some(7), false, true),
            (Of(7), Some(7), false, true),
            (Of(7), Some(7), true, true),
            (Of(7), Some(8), false, false),
            (Of(7), Some(8), true, false),
            (Of(7), None, false, false),
            (Missing, Some(7), true, false),
            (Empty, Some(7), true, false),
            (Unowned, Some(7), true, false),
        ] {
            assert_eq!(found.check(salt, stored).is_ok(), fine, "{found:?} {salt:?} {stored}");
        }
    }
}
