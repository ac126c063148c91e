//! A log as pyrouter's is: a thread that writes everything queued with one call and syncs it with one, into reserved files.

use crate::usage::{cpu_us, io};
use rustix::fs::{FallocateFlags, fallocate};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Instant;

const SEGMENT: u64 = 64 << 20;

/// What the log's thread measured.
#[derive(Default)]
pub struct Synced {
    /// How long each fdatasync took, microseconds.
    pub syncs: Vec<f64>,
    pub bytes: u64,
    pub device_bytes: u64,
    pub cpu_us: f64,
}

pub struct Log {
    queue: Sender<u64>,
    thread: JoinHandle<Synced>,
}

impl Log {
    /// With room for `bytes`, reserved before this returns.
    pub fn start(directory: &Path, bytes: u64) -> Log {
        let (queue, queued) = channel();
        let names: Vec<PathBuf> = (0..=bytes / SEGMENT).map(|number| directory.join(format!("log-{number}"))).collect();
        let files: Vec<File> = names.iter().map(|name| reserve(name)).collect();
        let thread = std::thread::spawn(move || {
            let synced = run(&files, &queued);
            for name in names {
                std::fs::remove_file(name).expect("the log's files can be removed");
            }
            synced
        });
        Log { queue, thread }
    }

    /// Appends so many bytes; returns at once.
    pub fn append(&self, bytes: u64) {
        self.queue.send(bytes).expect("the log's thread runs");
    }

    pub fn end(self) -> Synced {
        drop(self.queue);
        self.thread.join().expect("the log's thread does not panic")
    }
}

fn reserve(name: &Path) -> File {
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(name).expect("a log file can be made");
    fallocate(&file, FallocateFlags::empty(), 0, SEGMENT).expect("a log file can be reserved");
    file.sync_all().expect("a log file can be synced");
    file
}

fn run(files: &[File], queued: &Receiver<u64>) -> Synced {
    let content = vec![0x5A; 1 << 20];
    let mut synced = Synced::default();
    let (cpu, device) = (cpu_us(), io("write_bytes"));
    let mut segment = 0;
    let mut offset = 0;
    while let Ok(first) = queued.recv() {
        let mut wanted = first + queued.try_iter().sum::<u64>();
        synced.bytes += wanted;
        while wanted > 0 {
            if offset == SEGMENT && segment + 1 < files.len() {
                (segment, offset) = (segment + 1, 0);
            }
            let room = (SEGMENT - offset).max(u64::from(segment + 1 == files.len()));
            let now = wanted.min(room).min(content.len() as u64);
            files[segment].write_all_at(&content[..now as usize], offset).expect("the log can be written");
            offset += now;
            wanted -= now;
        }
        let start = Instant::now();
        files[segment].sync_data().expect("the log can be synced");
        synced.syncs.push(start.elapsed().as_secs_f64() * 1e6);
    }
    synced.device_bytes = io("write_bytes") - device;
    synced.cpu_us = cpu_us() - cpu;
    synced
}
