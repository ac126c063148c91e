//! Sockets, epoll and the clock: the only system calls of the load.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, connect, recv, send, socket_with, sockopt,
};
use rustix::time::{ClockId, clock_gettime};

pub(super) use rustix::event::epoll::{Event, EventFlags};

/// Events that one turn takes.
const EVENTS: usize = 1024;

/// CLOCK_MONOTONIC, ns: the same in every process of a machine.
#[inline]
pub(super) fn clock_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// What is watched.
pub(super) struct Poll(OwnedFd);

impl Poll {
    pub fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(epoll::CreateFlags::CLOEXEC)?))
    }

    pub fn events() -> Vec<Event> {
        Vec::with_capacity(EVENTS)
    }

    pub fn add(&self, fd: impl AsFd, key: u64, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::add(&self.0, fd, epoll::EventData::new_u64(key), flags)?)
    }

    pub fn modify(&self, fd: impl AsFd, key: u64, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::modify(&self.0, fd, epoll::EventData::new_u64(key), flags)?)
    }

    pub fn delete(&self, fd: impl AsFd) {
        // Only fails for what is not watched.
        let _ = epoll::delete(&self.0, fd);
    }

    /// Waits at most so long, in whole milliseconds upwards, and replaces `events` by what has happened.
    pub fn wait(&self, events: &mut Vec<Event>, at_most_ns: u64) -> io::Result<()> {
        events.clear();
        let ms = at_most_ns.div_ceil(1_000_000).min(60_000) as i64;
        let timeout = Timespec { tv_sec: ms / 1000, tv_nsec: ms % 1000 * 1_000_000 };
        match epoll::wait(&self.0, spare_capacity(events), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Addresses of this machine that connections to itself come from.
const SOURCES: u32 = 64;

/// Where the connection of a client comes from, to a server on the loopback interface.
///
/// From one address the kernel has some 28,000 ports to one server, and searches them one by one once most are taken or still
/// rest from an earlier connection: for a thousand connections that takes seconds. All of 127.0.0.0/8 is this machine.
pub(super) fn source(server: SocketAddr, client: u32) -> Option<SocketAddrV4> {
    match server.ip() {
        IpAddr::V4(address) if address.is_loopback() => {
            Some(SocketAddrV4::new(Ipv4Addr::new(127, 1, 0, 1 + (client % SOURCES) as u8), 0))
        }
        _ => None,
    }
}

/// A socket on its way to `server`; whether it is connected already.
pub(super) fn open(server: SocketAddr, source: Option<SocketAddrV4>) -> io::Result<(OwnedFd, bool)> {
    let family = if server.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    if let Some(source) = source {
        // Without it, the kernel chooses address and port.
        let _ = bind(&socket, &source);
    }
    match connect(&socket, &server) {
        Ok(()) => Ok((socket, true)),
        Err(Errno::INPROGRESS) => Ok((socket, false)),
        Err(error) => Err(error.into()),
    }
}

/// Why connecting failed, if it did.
pub(super) fn connected(socket: BorrowedFd<'_>) -> io::Result<()> {
    Ok(sockopt::socket_error(socket)??)
}

/// Bytes that came; `None`: none at the moment; 0: the end.
#[inline]
pub(super) fn read(socket: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<Option<usize>> {
    match recv(socket, into, RecvFlags::DONTWAIT) {
        Ok((len, _)) => Ok(Some(len)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// How many bytes were taken.
#[inline]
pub(super) fn write(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    match send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
        Ok(len) => Ok(len),
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        Err(error) => Err(error.into()),
    }
}
