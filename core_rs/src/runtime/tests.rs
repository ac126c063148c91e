//! A runtime on a real disk: what is accepted survives it, what is wrong is said, and a panic is the end of it.

use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::shared::{Refusal, Shared};
use super::*;
use crate::link::{Framing, put_header};
use crate::wire::types::{ClientFrame, Hello, Send, Target};

/// A directory that goes with the test.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("pyrouter-runtime-{}-{number}", std::process::id())))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A runtime with in-process connections; `user` is the index of what one got.
struct Bench {
    runtime: Runtime,
    got: HashMap<usize, Vec<u8>>,
}

impl Bench {
    fn open(path: &Path) -> Self {
        let (runtime, recovery) = Runtime::open(path, Options::default()).unwrap();
        assert!(recovery.findings.is_empty(), "{:?}", recovery.findings);
        Self { runtime, got: HashMap::new() }
    }

    fn connect(&mut self, user: &str, receive: bool) -> (ConnId, usize) {
        let number = self.got.len() + 1;
        let conn = self.runtime.open_conn(number, true);
        self.got.insert(number, Vec::new());
        self.runtime.admit(conn, Identity { user: user.to_owned(), device: 1, expires_ms: 0 });
        self.feed(conn, &ClientFrame::Hello(Hello { protocol: 1, receive, ..Hello::default() }));
        (conn, number)
    }

    fn feed(&mut self, conn: ConnId, frame: &ClientFrame<'_>) {
        let mut payload = Vec::new();
        frame.encode(&mut payload);
        let mut bytes = Vec::new();
        put_header(&mut bytes, Framing::Raw, payload.len());
        bytes.extend_from_slice(&payload);
        assert_eq!(self.runtime.data(conn, &mut bytes), Verdict::Open);
    }

    fn send(&mut self, conn: ConnId, to: &str, id: &str, body: &str) {
        let (id, body) = (id.as_bytes().into(), body.as_bytes().into());
        let (bodies, lists, media) = Default::default();
        let target = Target::User(to.into());
        self.feed(conn, &ClientFrame::Send(Send { id, target, body, bodies, lists, media }));
    }

    fn turn(&mut self) {
        self.runtime.turn();
        for request in self.runtime.take_requests() {
            match request {
                Request::Load(key @ Key::User(_)) => self.runtime.loaded(&key, Some(&[])),
                Request::Load(key) => self.runtime.loaded(&key, None),
                other => panic!("{other:?}"),
            }
        }
        while let Some(write) = self.runtime.next_write() {
            self.got.entry(write.user).or_default().extend_from_slice(write.data);
        }
    }

    /// Turns, each when the log has news, until connection `number` got `wanted`.
    fn until(&mut self, number: usize, wanted: &str) {
        loop {
            for _ in 0..4 {
                self.turn();
            }
            let got = self.got.get(&number).map(Vec::as_slice).unwrap_or_default();
            if got.windows(wanted.len()).any(|part| part == wanted.as_bytes()) {
                return;
            }
            wait(&self.runtime);
        }
    }
}

/// Waits until the log has news.
#[allow(unsafe_code)]
fn wait(runtime: &Runtime) {
    // SAFETY: the runtime lives longer than this borrow of its descriptor.
    let fd = unsafe { BorrowedFd::borrow_raw(runtime.wake_fd()) };
    let a_minute = Timespec { tv_sec: 60, tv_nsec: 0 };
    let ready = poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&a_minute));
    assert_eq!(ready, Ok(1), "the log has nothing to say");
    let _ = rustix::io::read(fd, &mut [0; 8]);
}

#[test]
fn i1_what_was_accepted_is_there_after_opening_again_without_closing() {
    let directory = Directory::new();
    let mut bench = Bench::open(&directory.0);
    let (alice, number) = bench.connect("alice", false);
    bench.send(alice, "bob", "first id", "first body");
    bench.until(number, "first id");
    drop(bench);

    let mut bench = Bench::open(&directory.0);
    let (_, number) = bench.connect("bob", true);
    bench.until(number, "first body");
    bench.runtime.close().unwrap();
}

#[test]
fn i1_nothing_is_accepted_before_the_log_has_spoken() {
    let directory = Directory::new();
    let mut bench = Bench::open(&directory.0);
    let (alice, number) = bench.connect("alice", false);
    bench.send(alice, "bob", "first id", "so that bob is known");
    bench.until(number, "first id");
    bench.send(alice, "bob", "second id", "body");
    // Without a turn the batch stays here, however long the log's threads run.
    while let Some(write) = bench.runtime.next_write() {
        assert!(!write.data.windows(9).any(|part| part == b"second id"));
    }
    bench.until(number, "second id");
}

#[test]
fn both_sides_of_a_conversation_get_what_they_are_owed() {
    let directory = Directory::new();
    let mut bench = Bench::open(&directory.0);
    let (alice, alices) = bench.connect("alice", true);
    let (_, bobs) = bench.connect("bob", true);
    for n in 0..100 {
        bench.send(alice, "bob", &format!("id {n}."), &format!("body {n}."));
    }
    bench.until(alices, "id 99.");
    bench.until(bobs, "body 99.");
    let stats = bench.runtime.stats();
    assert_eq!((stats.accepted_total, stats.delivered_total), (100, 100));
}

#[test]
fn closing_writes_what_is_left_and_gives_the_directory_free() {
    let directory = Directory::new();
    let mut bench = Bench::open(&directory.0);
    let (alice, number) = bench.connect("alice", false);
    bench.send(alice, "bob", "first id", "so that bob is known");
    bench.until(number, "first id");
    bench.send(alice, "bob", "second id", "never accepted, written all the same");
    bench.runtime.close().unwrap();

    let report = fsck(&directory.0, None).unwrap();
    assert!(report.is_sound() && report.records > 0, "{report:?}");
    let mut bench = Bench::open(&directory.0);
    let (_, number) = bench.connect("bob", true);
    bench.until(number, "never accepted");
}

#[test]
fn a_directory_in_use_is_refused_with_who_uses_it() {
    let directory = Directory::new();
    let _bench = Bench::open(&directory.0);
    let error = Runtime::open(&directory.0, Options::default()).err().unwrap().to_string();
    assert!(error.contains("in use") && error.contains(&std::process::id().to_string()), "{error}");
}

#[test]
fn a_directory_that_is_made_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let directory = Directory::new();
    let _bench = Bench::open(&directory.0);
    assert_eq!(fs::metadata(&directory.0).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_directory_that_cannot_be_is_refused_by_name() {
    let file = Directory::new();
    fs::write(&file.0, "a file").unwrap();
    let error = Runtime::open(&file.0, Options::default()).err().unwrap().to_string();
    assert!(error.contains(&file.0.display().to_string()), "{error}");
    fs::remove_file(&file.0).unwrap();
    let error = fsck(&file.0, None).err().unwrap().to_string();
    assert!(error.contains("there is no log in it; is it the right one?"), "{error}");
}

#[test]
fn the_next_turn_is_known_in_advance() {
    let directory = Directory::new();
    let mut bench = Bench::open(&directory.0);
    bench.runtime.open_conn(1, false);
    let (at_ms, delay_ms) = bench.runtime.next_timer().unwrap();
    assert!(at_ms > 0 && delay_ms <= 10_050, "the hello's deadline, or something earlier");
}

#[test]
fn i10_a_panic_is_the_end_of_the_router_and_of_nothing_else() {
    let directory = Directory::new();
    let shared = Shared::new(Bench::open(&directory.0).runtime);
    assert!(shared.enter(|runtime| runtime.turn()).is_ok());
    assert_eq!(shared.failed(), None);

    let refused = shared.enter(|_| panic!("as {}", "asked"));
    assert!(matches!(refused, Err(Refusal::Failed(reason)) if reason.contains("as asked")));
    let later = shared.enter(|_| unreachable!("the state may be half changed"));
    assert!(matches!(later, Err(Refusal::Failed(_))));
    assert!(shared.tell_failed().is_some());
    assert_eq!(shared.tell_failed(), None, "told once");

    shared.close().unwrap();
    assert!(
        matches!(shared.enter(|runtime| runtime.turn()), Err(Refusal::Failed(_))),
        "still the reason, not `closed`"
    );
    Bench::open(&directory.0);
}

#[test]
fn what_a_panicking_call_appended_is_not_written_i10() {
    let directory = Directory::new();
    let mut bench = Bench::open(&directory.0);
    let (alice, number) = bench.connect("alice", false);
    bench.send(alice, "bob", "first id", "first body");
    bench.until(number, "first id");
    bench.send(alice, "bob", "second id", "appended, not submitted");
    let shared = Shared::new(bench.runtime);
    assert!(shared.enter(|_| panic!("as asked")).is_err());
    shared.close().unwrap();
    let mut bodies = Vec::new();
    let disk = FileDisk::open_read_only(&directory.0.join("log")).unwrap();
    fsck_log(&disk, &mut |record| bodies.push(record.body.to_vec())).unwrap();
    let holds = |text: &[u8]| bodies.iter().any(|body| body.windows(text.len()).any(|part| part == text));
    assert!(holds(b"first body"));
    assert!(!holds(b"appended, not submitted"));
}

#[test]
fn a_directory_whose_lock_file_was_removed_is_still_held() {
    let directory = Directory::new();
    let _bench = Bench::open(&directory.0);
    fs::remove_file(directory.0.join("log/LOCK")).unwrap();
    let error = Runtime::open(&directory.0, Options::default()).err().unwrap().to_string();
    assert!(error.contains("in use by another process"), "{error}");
}

/// Appends records to a closed log, as another version might.
fn append(directory: &Path, records: &[(u8, &[u8])]) {
    let disk = FileDisk::open(&directory.join("log")).unwrap();
    let recovered = crate::log::recover(&disk, &mut |_| ()).unwrap();
    let options = Options::default().log;
    let mut appender = Appender::new(&recovered, &options);
    for (kind, body) in records {
        appender.append(&[(*kind, &[body])], true, |_| ()).unwrap();
    }
    let mut writer = crate::log::Writer::open(disk, &recovered, &options).unwrap();
    writer.write(&mut appender.take(recovered.last_time_ms)).unwrap();
    writer.close(recovered.last_time_ms).unwrap();
}

/// Names and contents of the log's files.
fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let disk = FileDisk::open_read_only(&directory.join("log")).unwrap();
    let mut names = crate::log::Disk::list(&disk).unwrap();
    names.retain(|name| name != "LOCK" && !name.starts_with("reserve-"));
    names.sort();
    names.into_iter().map(|name| (name.clone(), fs::read(directory.join("log").join(name)).unwrap())).collect()
}

#[test]
fn a_start_that_meets_records_of_a_later_version_is_refused_and_changes_nothing() {
    // A kind that nobody knows; a conversation and a user of a later version; a message that is none.
    let all: [(u8, &[u8]); 4] = [(77, b"whatever"), (2, b"\x09 whatever"), (3, b"\x09 whatever"), (1, b"\xFF\xFF")];
    for record in all {
        let directory = Directory::new();
        let mut bench = Bench::open(&directory.0);
        let (alice, number) = bench.connect("alice", false);
        bench.send(alice, "bob", "first id", "first body");
        bench.until(number, "first id");
        bench.runtime.close().unwrap();
        append(&directory.0, &[record]);
        let before = files(&directory.0);
        for _ in 0..2 {
            let error = Runtime::open(&directory.0, Options::default()).err().unwrap().to_string();
            assert!(error.contains(&format!("record of kind {} at segment 2 offset", record.0)), "{error}");
            assert!(error.contains("run that version") && error.contains("Nothing was changed"), "{error}");
            assert!(files(&directory.0) == before);
        }
        let report = fsck(&directory.0, None).unwrap();
        assert!(!report.is_sound());
        assert!(report.refusals[0].contains("not understood"), "{report:?}");
    }
}

#[test]
fn a_closed_runtime_says_so() {
    let directory = Directory::new();
    let shared = Shared::new(Bench::open(&directory.0).runtime);
    shared.close().unwrap();
    shared.close().unwrap();
    assert!(matches!(shared.enter(|runtime| runtime.turn()), Err(Refusal::Closed)));
}

#[test]
fn i10_a_failure_that_was_told_is_no_error_of_closing() {
    let directory = Directory::new();
    let shared = Shared::new(Bench::open(&directory.0).runtime);
    shared.enter(|runtime| runtime.fail("the cold store is broken")).ok().unwrap();
    assert!(shared.failed().is_some_and(|reason| reason.contains("the cold store is broken")));
    shared.close().unwrap();
}
