//! Both stores against a map, with crashes between any two operations.

use super::rig::{Directory, LOG, open};
use crate::memory::{MemoryDisk, MemoryStore};
use crate::{Batch, Counts, Key, Kind, Lookup, OpenMode, Row, Scan, SqliteStore, Store, Write};
use proptest::prelude::*;
use std::collections::BTreeMap;

const USERS: [&[u8]; 3] = [b"a", b"ab", b"b"];

#[derive(Clone, Debug)]
enum Step {
    Put(Vec<Write>),
    Get(Vec<Key>),
    Scan(Kind, usize),
    ScanUser(usize, usize),
    Crash,
}

fn keys() -> impl Strategy<Value = Key> {
    let user = 0..USERS.len();
    prop_oneof![
        3 => (0..40_u32).prop_map(super::rig::conversation),
        1 => user.clone().prop_map(|user| Key::user(USERS[user]).unwrap()),
        1 => (user.clone(), 0..4_u8).prop_map(|(user, n)| Key::device(USERS[user], &[n; 8]).unwrap()),
        2 => (user, 0..9_u8).prop_map(|(user, n)| Key::member(USERS[user], &[n; 16]).unwrap()),
    ]
}

fn writes() -> impl Strategy<Value = Write> {
    let value = proptest::option::weighted(0.8, proptest::collection::vec(any::<u8>(), 0..400));
    (keys(), 1..60_u64, value).prop_map(|(key, position, value)| Write { key, position, value })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => proptest::collection::vec(writes(), 1..25).prop_map(Step::Put),
        2 => proptest::collection::vec(keys(), 0..30).prop_map(Step::Get),
        1 => (0..4_usize, 1..20_usize).prop_map(|(kind, rows)| Step::Scan(Kind::ALL[kind], rows)),
        1 => (0..USERS.len(), 1..5_usize).prop_map(|(user, rows)| Step::ScanUser(user, rows)),
        1 => Just(Step::Crash),
    ];
    proptest::collection::vec(step, 1..30)
}

#[derive(Default)]
struct Model {
    rows: BTreeMap<Key, (u64, Vec<u8>)>,
    reflects: u64,
}

impl Model {
    fn put(&mut self, writes: &[Write]) {
        for write in writes {
            self.reflects = self.reflects.max(write.position);
            if self.rows.get(&write.key).is_some_and(|(position, _)| *position >= write.position) {
                continue;
            }
            match &write.value {
                Some(value) => drop(self.rows.insert(write.key.clone(), (write.position, value.clone()))),
                None => drop(self.rows.remove(&write.key)),
            }
        }
    }

    fn get(&self, key: &Key) -> Lookup {
        match self.rows.get(key) {
            None => Lookup::Absent(key.clone()),
            Some((position, value)) => {
                Lookup::Found(Row { key: key.clone(), position: *position, value: value.clone() })
            }
        }
    }

    fn with_prefix(&self, prefix: &[u8]) -> Vec<Lookup> {
        let keys = self.rows.keys().filter(|key| key.as_bytes() != prefix && key.as_bytes().starts_with(prefix));
        keys.map(|key| self.get(key)).collect()
    }

    fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        self.rows.keys().for_each(|key| counts.change(key.kind(), 1));
        counts
    }
}

/// All pages of a scan.
fn scan_all(store: &impl Store, scan: Scan) -> Vec<Lookup> {
    let mut rows = Vec::new();
    let mut next = scan.clone();
    loop {
        let page = store.scan(&next).unwrap();
        assert!(page.rows.len() <= scan.rows);
        rows.extend(page.rows);
        match page.next {
            Some(key) => next = scan.clone().after(key),
            None => return rows,
        }
    }
}

fn run<S: Store>(steps: &[Step], mut store: S, mut crash: impl FnMut(S) -> S) {
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Put(writes) => {
                let mut writes = writes.clone();
                writes.sort_by(|a, b| a.key.cmp(&b.key));
                writes.dedup_by(|a, b| a.key == b.key);
                let put = store.put(&Batch::new(writes.clone()).unwrap()).unwrap();
                assert!(put.healed.is_empty() && put.written + put.kept <= writes.len());
                model.put(&writes);
            }
            Step::Get(keys) => {
                let mut keys = keys.clone();
                let answers = store.get(&keys);
                keys.sort();
                keys.dedup();
                assert_eq!(answers, keys.iter().map(|key| model.get(key)).collect::<Vec<_>>());
            }
            Step::Scan(kind, rows) => {
                let found = scan_all(&store, Scan::kind(*kind).rows(*rows));
                assert_eq!(found, model.with_prefix(&[*kind as u8]));
            }
            Step::ScanUser(user, rows) => {
                let scan = Scan::of_user(Kind::Member, USERS[*user]).unwrap().rows(*rows);
                let prefix = [&[Kind::Member as u8, USERS[*user].len() as u8], USERS[*user]].concat();
                assert_eq!(scan_all(&store, scan), model.with_prefix(&prefix));
            }
            Step::Crash => store = crash(store),
        }
        let summary = store.summary().unwrap();
        assert_eq!((summary.reflects, summary.counts), (model.reflects, model.counts()));
    }
    for kind in Kind::ALL {
        assert_eq!(scan_all(&store, Scan::kind(kind)), model.with_prefix(&[kind as u8]));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn sqlite_store_is_a_map_that_survives_crashes(steps in steps()) {
        let mut directory = Directory::new();
        let store = open(&directory);
        run(&steps, store, |store: SqliteStore| {
            let copy = directory.crashed();
            drop(store);
            directory = copy;
            open(&directory)
        });
        let verified = SqliteStore::verify(directory.path(), LOG, &mut |_| std::ops::ControlFlow::Continue(())).unwrap();
        assert!(verified.is_whole(), "{verified:?}");
    }

    #[test]
    fn memory_store_is_a_map_that_survives_crashes(steps in steps()) {
        let disk = MemoryDisk::default();
        let open = || MemoryStore::open(&disk, LOG, OpenMode::Make).unwrap();
        run(&steps, open(), |store| {
            drop(store);
            open()
        });
    }
}
