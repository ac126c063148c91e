//! The Python class `Load`: a load generator with its rare calls. What is frequent stays in Rust, and runs without the GIL.

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::error::CoreError;
use crate::load::{self, Ended, Flow, Group, MIN_BODY, Options, Until};

/// Thousands of clients in one thread, which check what they are told. See `pyrouter.bench`.
#[pyclass(module = "pyrouter._core")]
pub struct Load {
    inner: load::Load,
}

#[pymethods]
impl Load {
    #[new]
    #[pyo3(signature = (server, *, host, tag, body, websocket=false, ack_at_once=false, opening=512))]
    fn new(
        server: &str,
        host: String,
        tag: u32,
        body: usize,
        websocket: bool,
        ack_at_once: bool,
        opening: usize,
    ) -> PyResult<Self> {
        let server: SocketAddr = server
            .parse()
            .map_err(|_| CoreError::new_err(format!("{server:?} is no address and port, like 127.0.0.1:7400")))?;
        if body < MIN_BODY {
            return Err(CoreError::new_err(format!("a body has at least {MIN_BODY} bytes, for what is checked")));
        }
        let options = Options { server, host, websocket, tag, body, ack_at_once, opening: opening.max(1) };
        Ok(Self { inner: load::Load::new(options)? })
    }

    fn add_peers(&mut self, users: Vec<(String, String)>) -> u32 {
        for (name, token) in &users {
            self.inner.add_peer(name, token);
        }
        self.inner.peers()
    }

    #[pyo3(signature = (pairs, *, window, limit, until))]
    fn add_direct(&mut self, pairs: Vec<(u32, u32)>, window: u32, limit: u32, until: &str) -> PyResult<()> {
        let flow = flow(window, limit, until)?;
        for (from, to) in pairs {
            self.check(&[from, to])?;
            self.inner.add_direct(from, to, flow);
        }
        Ok(())
    }

    #[pyo3(signature = (groups, senders, *, window, limit, until))]
    fn add_groups(
        &mut self,
        groups: Vec<Vec<u32>>,
        senders: usize,
        window: u32,
        limit: u32,
        until: &str,
    ) -> PyResult<()> {
        let flow = flow(window, limit, until)?;
        for members in groups {
            self.check(&members)?;
            let group = self.inner.add_group(&members);
            for sender in members.into_iter().take(senders) {
                self.inner.add_to_group(group, sender, flow);
            }
        }
        Ok(())
    }

    fn create_groups(&mut self) {
        self.inner.create_groups();
    }

    fn set_group(&mut self, peers: Vec<u32>, group: &str) -> PyResult<()> {
        self.check(&peers)?;
        let group = Group::named(group).ok_or_else(|| CoreError::new_err("main, aside or others"))?;
        self.inner.set_group(&peers, group);
        Ok(())
    }

    fn connect(&mut self, peers: Vec<u32>) -> PyResult<()> {
        self.check(&peers)?;
        self.inner.connect(&peers);
        Ok(())
    }

    fn leave(&mut self, peers: Vec<u32>) -> PyResult<()> {
        self.check(&peers)?;
        self.inner.leave(&peers);
        Ok(())
    }

    fn stall(&mut self, peers: Vec<u32>) -> PyResult<()> {
        self.check(&peers)?;
        self.inner.stall(&peers);
        Ok(())
    }

    fn unstall(&mut self, peers: Vec<u32>) -> PyResult<()> {
        self.check(&peers)?;
        self.inner.unstall(&peers);
        Ok(())
    }

    fn flap(&mut self, peers: Vec<u32>, every_ms: u64) -> PyResult<()> {
        self.check(&peers)?;
        self.inner.flap(&peers, every_ms);
        Ok(())
    }

    fn slow(&mut self, peers: Vec<u32>, stalled_ms: u64, reading_ms: u64) -> PyResult<()> {
        self.check(&peers)?;
        self.inner.slow(&peers, stalled_ms, reading_ms);
        Ok(())
    }

    fn churn(&mut self, per_s: f64, among: Vec<u32>, away_from_ms: u64, away_to_ms: u64) -> PyResult<()> {
        self.check(&among)?;
        self.inner.churn(per_s, &among, (away_from_ms, away_to_ms));
        Ok(())
    }

    fn rate(&mut self, per_s: f64, to_groups: u32) {
        self.inner.rate(per_s, to_groups);
    }

    fn calm(&mut self) {
        self.inner.calm();
    }

    fn send(&mut self, on: bool) {
        self.inner.send(on);
    }

    fn allow(&mut self, more: u32) {
        self.inner.allow(more);
    }

    #[pyo3(signature = (at_most_ms, wake_fd=None))]
    fn run(&mut self, py: Python<'_>, at_most_ms: u64, wake_fd: Option<i32>) -> PyResult<&'static str> {
        // SAFETY: the caller keeps the descriptor open while this runs, as it says in the stub.
        let wake = wake_fd.filter(|fd| *fd >= 0).map(|fd| unsafe { BorrowedFd::borrow_raw(fd) });
        let inner = &mut self.inner;
        Ok(match py.detach(|| inner.run(at_most_ms, wake))? {
            Ended::Time => "time",
            Ended::Woken => "woken",
            Ended::Trouble => "trouble",
        })
    }

    fn counts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let all = PyDict::new(py);
        for (name, value) in self.inner.counts().list() {
            all.set_item(name, value)?;
        }
        Ok(all)
    }

    fn take_times<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let all = PyDict::new(py);
        for (name, times) in self.inner.take_times() {
            all.set_item(name, times)?;
        }
        Ok(all)
    }

    fn trouble(&self) -> Vec<String> {
        self.inner.trouble().to_vec()
    }

    fn verify(&self) -> Vec<String> {
        self.inner.verify()
    }
}

impl Load {
    fn check(&self, peers: &[u32]) -> PyResult<()> {
        let all = self.inner.peers();
        match peers.iter().find(|peer| **peer >= all) {
            Some(peer) => Err(CoreError::new_err(format!("there is no client {peer}: there are {all}"))),
            None => Ok(()),
        }
    }
}

fn flow(window: u32, limit: u32, until: &str) -> PyResult<Flow> {
    let until = match until {
        "accepted" => Until::Accepted,
        "receipt" => Until::Receipt,
        "everyone" => Until::Everyone,
        _ => return Err(CoreError::new_err("until: accepted, receipt or everyone")),
    };
    Ok(Flow { window, limit, until })
}
