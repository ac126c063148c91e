//! Bodies that were asked for, from the first try to read them until each is there or known to be lost.
//!
//! An error of a read says little: the process may be out of descriptors, a page may be readable at the next try. Only a
//! checksum that fails, or a page that the disk refuses twice when it is read alone, means that a record is lost.

use super::{LogError, Ref};
use bytes::Bytes;

/// See the module.
#[derive(Debug)]
pub struct Fetch {
    wanted: Vec<Wanted>,
}

#[derive(Debug)]
struct Wanted {
    at: Ref,
    body: Option<Result<Bytes, LogError>>,
    /// Offset of the page that was refused when the record was read alone.
    refused: Option<u64>,
}

impl Fetch {
    /// Wants the bodies at `refs`.
    pub fn new(refs: &[Ref]) -> Self {
        let wanted = |at: &Ref| Wanted { at: *at, body: None, refused: None };
        Fetch { wanted: refs.iter().map(wanted).collect() }
    }

    /// The bodies in the order in which they were asked for: each is there, or an error for which
    /// [`LogError::is_loss`] tells whether the record is lost. What is still open is an error that is no loss.
    pub fn into_bodies(self) -> Vec<Result<Bytes, LogError>> {
        let open = || LogError::Refused { because: "it was not read yet".to_owned() };
        self.wanted.into_iter().map(|wanted| wanted.body.unwrap_or_else(|| Err(open()))).collect()
    }

    /// A segment is removed, for nobody wants a record of it any more: what was asked for there is not tried again.
    pub fn forget(&mut self, segment: u32) {
        for wanted in self.wanted.iter_mut().filter(|wanted| wanted.at.segment == segment && wanted.body.is_none()) {
            wanted.body = Some(Err(LogError::Refused { because: "its segment was removed".to_owned() }));
        }
    }

    /// Places of what is neither read nor lost.
    pub(super) fn open(&self) -> impl Iterator<Item = usize> {
        self.wanted.iter().enumerate().filter(|(_, wanted)| wanted.body.is_none()).map(|(place, _)| place)
    }

    pub(super) fn at(&self, place: usize) -> Option<Ref> {
        self.wanted.get(place).map(|wanted| wanted.at)
    }

    pub(super) fn settle(&mut self, place: usize, body: Result<Bytes, LogError>) {
        if let Some(wanted) = self.wanted.get_mut(place) {
            wanted.body = Some(body);
        }
    }

    /// Notes that the page at `offset` was refused; whether it was that one at the last try, too.
    pub(super) fn refused_again(&mut self, place: usize, offset: u64) -> bool {
        self.wanted.get_mut(place).is_some_and(|wanted| wanted.refused.replace(offset) == Some(offset))
    }
}
