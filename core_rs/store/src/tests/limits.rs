//! Each limit at its edge.

use super::rig::{Directory, conversation, get, open, put, put_rows, row};
use crate::memory::{MemoryDisk, MemoryStore};
use crate::{
    Batch, Key, Kind, Lookup, MAX_ANSWER_BYTES, MAX_BATCH_BYTES, MAX_BATCH_ROWS, MAX_KEYS, MAX_PAGE_BYTES,
    MAX_PAGE_ROWS, MAX_VALUE, OpenMode, Scan, Store, StoreError, Write,
};

fn write(n: u32, len: usize) -> Write {
    Write { key: conversation(n), position: 1, value: Some(vec![0; len]) }
}

fn too_large(batch: Result<Batch, StoreError>) -> bool {
    matches!(batch, Err(StoreError::TooLarge { .. }))
}

#[test]
fn batch_has_at_least_one_row_at_most_the_bound_and_each_key_once() {
    assert!(matches!(Batch::new(Vec::new()), Err(StoreError::Misused(_))));
    let rows = |count: usize| (0..count as u32).map(|n| write(n, 0)).collect();
    let batch = Batch::new(rows(MAX_BATCH_ROWS)).unwrap();
    assert!(batch.writes().is_sorted_by(|a, b| a.key < b.key));
    assert!(too_large(Batch::new(rows(MAX_BATCH_ROWS + 1))));
    assert!(matches!(Batch::new(vec![write(1, 0), write(2, 0), write(1, 0)]), Err(StoreError::Misused(_))));
}

#[test]
fn batch_takes_values_up_to_the_bounds_of_one_and_of_all() {
    assert!(Batch::new(vec![write(0, MAX_VALUE)]).is_ok());
    assert!(too_large(Batch::new(vec![write(0, MAX_VALUE + 1)])));
    let key = conversation(0).as_bytes().len();
    let full = MAX_BATCH_BYTES / MAX_VALUE;
    let mut writes: Vec<Write> = (0..full as u32).map(|n| write(n, MAX_VALUE - key)).collect();
    assert!(Batch::new(writes.clone()).is_ok());
    writes[0].value = Some(vec![0; MAX_VALUE - key + 1]);
    assert!(too_large(Batch::new(writes)));
}

/// Both stores, so that a simulation meets the limits of the real one.
fn each_store(check: impl Fn(&dyn Store)) {
    let directory = Directory::new();
    check(&open(&directory));
    check(&MemoryStore::open(&MemoryDisk::default(), super::rig::LOG, OpenMode::Make).unwrap());
}

struct Any<'a>(&'a dyn Store);

impl Store for Any<'_> {
    fn identity(&self) -> crate::Identity {
        self.0.identity()
    }
    fn summary(&self) -> Result<crate::Summary, StoreError> {
        self.0.summary()
    }
    fn put(&self, batch: &Batch) -> Result<crate::Put, StoreError> {
        self.0.put(batch)
    }
    fn get(&self, keys: &[Key]) -> Vec<Lookup> {
        self.0.get(keys)
    }
    fn scan(&self, scan: &Scan) -> Result<crate::Page, StoreError> {
        self.0.scan(scan)
    }
}

#[test]
fn largest_value_and_largest_position_come_back() {
    each_store(|store| {
        let store = Any(store);
        let value: Vec<u8> = (0..MAX_VALUE).map(|n| n as u8).collect();
        put(&store, &conversation(1), u64::MAX, &value);
        assert_eq!(get(&store, &conversation(1)), Lookup::Found(row(conversation(1), u64::MAX, &value)));
        assert_eq!(store.summary().unwrap().reflects, u64::MAX);
        put(&store, &conversation(2), 0, b"");
        assert_eq!(get(&store, &conversation(2)), Lookup::Found(row(conversation(2), 0, b"")));
    });
}

#[test]
fn question_beyond_the_bound_of_keys_is_answered_without_an_absence() {
    each_store(|store| {
        let mut keys: Vec<Key> = (0..=MAX_KEYS as u32).map(conversation).collect();
        let answers = store.get(&keys);
        assert_eq!(answers.len(), MAX_KEYS + 1);
        assert!(matches!(answers.last(), Some(Lookup::Unreadable(_, StoreError::TooLarge { .. }))));
        assert!(answers.is_sorted_by(|a, b| a.key() < b.key()));
        keys.pop();
        keys.push(keys[0].clone());
        let answers = store.get(&keys);
        assert_eq!(answers.len(), MAX_KEYS);
        assert!(answers.iter().all(|answer| matches!(answer, Lookup::Absent(_))));
    });
}

#[test]
fn answers_beyond_the_bound_of_bytes_are_unreadable_and_come_when_asked_for_alone() {
    each_store(|store| {
        let store = Any(store);
        let full = (MAX_ANSWER_BYTES / MAX_VALUE) as u32;
        put_rows(&store, (0..full).map(|n| row(conversation(n), 1, &vec![0; MAX_VALUE])));
        let whole = |keys: &[Key]| store.get(keys).iter().filter(|it| matches!(it, Lookup::Found(_))).count();
        let mut keys: Vec<Key> = (0..full).map(conversation).collect();
        assert_eq!(whole(&keys), full as usize);
        let last = Key::user(b"last").unwrap();
        put(&store, &last, 1, b"v");
        keys.push(last.clone());
        assert_eq!(whole(&keys), full as usize);
        assert!(matches!(store.get(&keys).last(), Some(Lookup::Unreadable(_, StoreError::TooLarge { .. }))));
        assert_eq!(whole(&[last]), 1);
    });
}

#[test]
fn page_of_a_scan_is_bounded_in_rows_and_bytes() {
    each_store(|store| {
        let store = Any(store);
        put_rows(&store, (0..=MAX_PAGE_ROWS as u32).map(|n| row(conversation(n), 1, b"v")));
        let scan = Scan::kind(Kind::Conversation);
        let first = store.scan(&scan).unwrap();
        assert_eq!(first.rows.len(), MAX_PAGE_ROWS);
        let second = store.scan(&scan.clone().after(first.next.unwrap())).unwrap();
        assert_eq!((second.rows.len(), second.next), (1, None));
        assert_eq!(store.scan(&scan.clone().rows(0)).unwrap().rows.len(), 1);
        assert_eq!(store.scan(&scan.rows(MAX_PAGE_ROWS + 1)).unwrap().rows.len(), MAX_PAGE_ROWS);

        let user = |name: &[u8], len| row(Key::user(name).unwrap(), 1, &vec![0; len]);
        put_rows(&store, [user(b"a", MAX_PAGE_BYTES), user(b"b", MAX_PAGE_BYTES / 2), user(b"c", MAX_PAGE_BYTES / 2)]);
        let mut scan = Scan::kind(Kind::User);
        for _ in 0..2 {
            let page = store.scan(&scan).unwrap();
            assert_eq!(page.rows.len(), 1);
            scan = Scan::kind(Kind::User).after(page.next.unwrap());
        }
        let page = store.scan(&scan).unwrap();
        assert_eq!((page.rows.len(), page.next), (1, None));
    });
}

#[test]
fn scan_of_a_user_ends_where_the_user_ends() {
    each_store(|store| {
        let store = Any(store);
        // The second name begins with the first, and its devices with the first's name and device.
        let device = |user: &[u8], n| Key::device(user, &[n; 8]).unwrap();
        let mine = [device(b"a", 0), device(b"a", b'b'), device(b"a", 0xff)];
        let others = [device(b"ab", 0), device(b"aa", 1), device(b"b", 0)];
        put_rows(&store, mine.iter().chain(&others).map(|key| row(key.clone(), 1, b"")));
        put_rows(&store, [row(Key::member(b"a", &[0; 16]).unwrap(), 1, b""), row(Key::user(b"a").unwrap(), 1, b"")]);
        let page = store.scan(&Scan::of_user(Kind::Device, b"a").unwrap()).unwrap();
        assert_eq!(page.rows.iter().map(Lookup::key).collect::<Vec<_>>(), mine.iter().collect::<Vec<_>>());
        assert_eq!(page.next, None);
        assert!(matches!(Scan::of_user(Kind::Conversation, b"a"), Err(StoreError::Misused(_))));
    });
}
