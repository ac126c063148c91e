//! A runtime with connections in this process.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use link::{Framing, put_header};
use log::{Appender, FileDisk};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use wire::types::{ClientFrame, Hello, Send, Target};

use super::*;

/// A directory that goes with the test.
pub struct Directory(pub PathBuf);

impl Directory {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("pyrouter-node-{}-{number}", std::process::id())))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A runtime with in-process connections; `user` is the index of what one got.
pub struct Bench {
    pub runtime: Runtime,
    pub recovery: Recovery,
    pub users: Vec<(u64, UserAnswer)>,
    pub alarms: Vec<&'static str>,
    got: HashMap<usize, Vec<u8>>,
}

/// What the tests run with.
pub fn options() -> Options {
    let mut options = Options::default();
    options.node.create_unknown = true;
    options
}

impl Bench {
    pub fn open(path: &Path) -> Self {
        let bench = Self::of(Runtime::open(path, &options()).unwrap());
        assert!(bench.recovery.findings.is_empty(), "{:?}", bench.recovery.findings);
        assert_eq!(bench.recovery.renewed, None);
        bench
    }

    pub fn of((runtime, recovery): (Runtime, Recovery)) -> Self {
        let (got, users, alarms) = Default::default();
        Self { runtime, recovery, users, alarms, got }
    }

    pub fn connect(&mut self, user: &str, receive: bool) -> (Address, usize) {
        let number = self.got.len() + 1;
        let conn = self.runtime.open_conn(number, true, None);
        self.got.insert(number, Vec::new());
        self.runtime.admit(conn, Identity { user: user.to_owned(), device: 1, expires_ms: 0 });
        self.feed(conn, &ClientFrame::Hello(Hello { protocol: 1, receive, ..Hello::default() }));
        // Frames behind a hello in one read are refused after so many bytes.
        for _ in 0..100 {
            if !self.got[&number].is_empty() {
                break;
            }
            self.step();
        }
        (conn, number)
    }

    pub fn feed(&mut self, conn: Address, frame: &ClientFrame<'_>) {
        let mut payload = Vec::new();
        frame.encode(&mut payload);
        let mut bytes = Vec::new();
        put_header(&mut bytes, Framing::Raw, payload.len());
        bytes.extend_from_slice(&payload);
        assert_eq!(self.runtime.data(conn, &mut bytes), Verdict::Open);
    }

    pub fn send(&mut self, conn: Address, to: &str, id: &str, body: &str) {
        let (id, body) = (id.as_bytes().into(), body.as_bytes().into());
        let (bodies, lists, media) = Default::default();
        let target = Target::User(to.into());
        self.feed(conn, &ClientFrame::Send(Send { id, target, body, bodies, lists, media }));
    }

    pub fn turn(&mut self) {
        self.runtime.turn();
        for request in self.runtime.take_requests() {
            match request {
                Request::User { ticket, answer } => self.users.push((ticket, answer)),
                Request::Alarm { code, .. } => self.alarms.push(code),
                other => panic!("{other:?}"),
            }
        }
        while let Some(write) = self.runtime.next_write() {
            self.got.entry(write.user).or_default().extend_from_slice(write.data);
        }
    }

    /// Some turns, then a wait for log, store or a timer.
    pub fn step(&mut self) {
        for _ in 0..4 {
            self.turn();
        }
        wait(&self.runtime);
    }

    /// Turns, each when something was completed, until connection `number` got `wanted`.
    pub fn until(&mut self, number: usize, wanted: &str) {
        let mut waits = 0;
        loop {
            for _ in 0..4 {
                self.turn();
            }
            let got = self.got.get(&number).map(Vec::as_slice).unwrap_or_default();
            if got.windows(wanted.len()).any(|part| part == wanted.as_bytes()) {
                return;
            }
            waits += 1;
            assert!(waits < 5, "{:?} {:?} {got:?}", self.runtime.diagnosis(), self.runtime.stats());
            wait(&self.runtime);
        }
    }

    /// Turns until so many answers about users came.
    pub fn until_told(&mut self, answers: usize) {
        self.turn();
        while self.users.len() < answers {
            self.step();
        }
    }
}

/// Waits until log or store have completed something, or a timer is due.
pub fn wait(runtime: &Runtime) {
    let waker = runtime.log.waker();
    let delay_ms = runtime.next_timer().map_or(1000, |(_, delay_ms)| delay_ms);
    let delay = Timespec { tv_sec: (delay_ms / 1000) as i64, tv_nsec: (delay_ms % 1000 * 1_000_000) as i64 };
    let _ = poll(&mut [PollFd::new(&waker, PollFlags::IN)], Some(&delay));
    let _ = rustix::io::read(&waker, &mut [0; 8]);
}

/// Appends records to a closed log, as another version might.
pub fn append(directory: &Path, records: &[(u8, &[u8])]) {
    let disk = FileDisk::open(&directory.join("log")).unwrap();
    let recovered = log::recover(&disk, &mut |_| ()).unwrap();
    let options = Options::default().log;
    let mut appender = Appender::new(&recovered, &options);
    for (kind, body) in records {
        appender.append(&[(*kind, &[body])], true, |_| ()).unwrap();
    }
    let mut writer = log::Writer::open(disk, &recovered, &options).unwrap();
    writer.write(&mut appender.take(recovered.last_time_ms)).unwrap();
    writer.close(recovered.last_time_ms).unwrap();
}

/// Names and contents of the log's files.
pub fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let disk = FileDisk::open_read_only(&directory.join("log")).unwrap();
    let mut names = log::Disk::list(&disk).unwrap();
    names.retain(|name| name != "LOCK" && !name.starts_with("reserve-"));
    names.sort();
    names.into_iter().map(|name| (name.clone(), fs::read(directory.join("log").join(name)).unwrap())).collect()
}

/// Copies a directory.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}
