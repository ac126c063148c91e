//! What a crash must not change (I14): the rows that a start makes of the log are those that there were, byte by byte. Only what
//! is lazy, and was not logged, may be as it was before.

use partition::names::Names;
use partition::rows::{Conversation, Device, Member};
use seam::RowKey;

use super::world::World;

/// Rows, and whether everything lazy is logged.
pub struct Exact {
    rows: Vec<(RowKey, Vec<u8>)>,
    logged: bool,
}

impl World {
    /// What is exact now; `None` while something is on its way to the disk.
    pub fn exact(&mut self) -> Option<Exact> {
        let (last, durable) = self.batches();
        if self.node.log().pending_bytes() > 0 || last > durable || self.node.failed().is_some() {
            return None;
        }
        let state = &self.node.partition.state;
        Some(Exact { rows: state.rows(), logged: !state.is_dirty() })
    }
}

impl Exact {
    /// The same after a crash.
    pub fn check(&self, after: &[(RowKey, Vec<u8>)]) {
        let keys = |rows: &[(RowKey, Vec<u8>)]| rows.iter().map(|row| row.0.clone()).collect::<Vec<_>>();
        assert_eq!(keys(&self.rows), keys(after), "I14: rows");
        for ((key, was), (_, is)) in self.rows.iter().zip(after).filter(|(was, is)| was != is) {
            match key {
                RowKey::Device(..) if !self.logged => devices(key, was, is),
                RowKey::Conversation(_) if !self.logged => conversations(key, was, is),
                _ => panic!("I14: {}", told(key, was, is)),
            }
        }
    }
}

fn told(key: &RowKey, was: &[u8], is: &[u8]) -> String {
    let row = |bytes: &[u8]| match key {
        RowKey::Device(..) => format!("{:?}", Device::decode(bytes)),
        RowKey::Conversation(_) => format!("{:?}", Conversation::decode(bytes, &mut Names::default())),
        _ => format!("{bytes:?}"),
    };
    format!("{key:?}\nwas {}\nis  {}", row(was), row(is))
}

fn devices(key: &RowKey, was: &[u8], is: &[u8]) {
    let told = told(key, was, is);
    let (was, mut is) = (Device::decode(was).unwrap(), Device::decode(is).unwrap());
    assert!(is.seen_s <= was.seen_s && is.receives <= was.receives && is.receipts <= was.receipts, "{told}");
    (is.seen_s, is.receives, is.receipts) = (was.seen_s, was.receives, was.receipts);
    is.owed.retain(|owed| owed.version > was.receipts);
    // What was confirmed and not logged is known again.
    is.repeats.retain(|repeat| was.repeats.iter().any(|known| known == repeat));
    assert_eq!(was, is, "{told}");
}

fn conversations(key: &RowKey, was: &[u8], is: &[u8]) {
    let (told, mut names) = (told(key, was, is), Names::default());
    let was = Conversation::decode(was, &mut names).unwrap();
    let mut is = Conversation::decode(is, &mut names).unwrap();
    for (was, is) in was.members.iter().flatten().zip(is.members.iter_mut().flatten()) {
        let facts = |m: &Member| [m.delivered, m.read, m.version, m.read_version, m.owed];
        assert!(facts(is).iter().zip(facts(was)).all(|(is, was)| *is <= was), "{told}");
        (is.delivered, is.read) = (was.delivered, was.read);
        (is.version, is.read_version, is.owed) = (was.version, was.read_version, was.owed);
        for (was, is) in was.cursors.iter().zip(&mut is.cursors) {
            assert!(is.acked <= was.acked && is.fresh >= was.fresh, "{told}");
            (is.acked, is.fresh) = (was.acked, was.fresh);
        }
    }
    assert_eq!(was, is, "{told}");
}
