# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, auto_pickle=False
# cython: autotestdict=False
"""Connections between an asyncio loop and the core: bytes in, bytes out, no rules.

In: every transport reads into the one buffer of its driver, and the core takes the bytes from there at once. Out: nothing
is called back. Once per loop turn the driver gives the core a turn and then drains it: what a connection is owed leaves in
one `send`, straight from the core's memory; what the socket does not take then goes to the transport, which waits for it.
Where there is TLS, or a transport of an unknown kind, everything goes through the transport, and connections that are owed
the same bytes share one bytes object.

Here: the table's check, and the driver. connection.pxi: a socket's connection; local.pxi: one inside this process. They
are parts of this one module, for two could not share their types without a package of their own.

Rules
- A connection keeps its place here small (64 bytes): no dict, no weak references, no part in garbage collection. The
  cycle transport <-> protocol is cut in `connection_lost`, which both loops always call.
- A descriptor is written to only while it is certainly this connection's: see `put` in connection.pxi.
- The core holds a connection by its bare address: from `open` until `lost`, or until `http_prefix` hands it over.
- The transport may hold one write that the socket did not take; then `pause_writing` comes, and the core keeps the rest.
- A socket that fills the whole read buffer is read again only in the next turn, so that a flood is its own affair (I6).
- An exception that belongs to a connection ends that connection, never the drain (I10).

This module must never know what the bytes mean.
"""

import asyncio
import sys
from asyncio import BufferedProtocol

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.object cimport PyObject
from cpython.pycapsule cimport PyCapsule_GetContext, PyCapsule_GetPointer, PyCapsule_IsValid
from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from posix.unistd cimport read as posix_read

from core_table cimport (
    PR_ABORT,
    PR_API_VERSION,
    PR_CLOSE,
    PR_CLOSED,
    PR_FAILED,
    PR_HTTP,
    PR_MORE,
    PR_OPEN,
    PR_PAUSE,
    PR_REQUESTS,
    PR_RESUME,
    pr_api,
    pr_write,
)

from pyrouter import _core


cdef extern from *:
    """
    #ifndef PYROUTER_STAMP
    #define PYROUTER_STAMP ""
    #endif
    """
    const char *PYROUTER_STAMP


cdef extern from "sys/socket.h":
    enum:
        MSG_DONTWAIT
        MSG_NOSIGNAL
    ssize_t send(int fd, const void *data, size_t size, int flags)


API_VERSION = PR_API_VERSION

# One read takes at most this much; one connection is given at most this much of a turn.
cdef enum:
    READ_BYTES = 256 * 1024
    # Before `welcome` nobody has an account yet, and what was read must be kept: one read takes at most this much.
    EARLY_READ_BYTES = 16 * 1024

# Distinct shared byte strings that a drain remembers; a power of two.
cdef enum:
    SHARED_SLOTS = 16

# Buckets of the times that turns take: four to a power of two, from 1 µs (1,024 ns) to 17 s.
cdef enum:
    TURN_BUCKETS = 96

# Bits of Connection.flags.
cdef enum:
    CORE_PAUSED = 1  # the core wants to read no more for now
    TURN_PAUSED = 2  # had its share of this turn
    CLOSING = 4      # what still comes from the peer is of no interest
    HELD = 8         # the transport was given bytes to wait for, and may still have them
    IDENTIFIED = 16  # the core reads on after hello: its user is known; or nothing is kept any more


def build_stamp() -> str:
    """The stamp of the sources that this extension was built from; empty if built without the build backend."""
    return PYROUTER_STAMP.decode("ascii")


cdef pr_api *table_of(object capsule) except NULL:
    cdef pr_api *api
    if not PyCapsule_IsValid(capsule, "pyrouter._core.api"):
        raise ImportError(f"pyrouter._conn: {capsule!r} is not the core's table of functions; rebuild pyrouter")
    api = <pr_api *>PyCapsule_GetPointer(capsule, "pyrouter._core.api")
    if api.version != PR_API_VERSION or api.size != sizeof(pr_api):
        raise ImportError(
            f"pyrouter._conn was built for version {PR_API_VERSION} of the core's table ({sizeof(pr_api)} bytes), but "
            f"pyrouter._core has version {api.version} ({api.size} bytes): the two are of different builds; "
            "reinstall pyrouter-server, or run `make build` in a checkout"
        )
    return api


table_of(_core.api)


def plain_transports(loop) -> tuple[type, ...]:
    """The types of the loop's transports that write to a stream socket what they are given, and nothing else.

    Compared with a transport's own type: one that wraps another (TLS) may answer to everything that the inner one does.
    """
    uvloop = sys.modules.get("uvloop.loop")
    if uvloop is not None and isinstance(loop, uvloop.Loop):
        return (uvloop.TCPTransport, uvloop.UnixTransport)
    if isinstance(loop, asyncio.SelectorEventLoop):
        plain = getattr(asyncio.selector_events, "_SelectorSocketTransport", None)  # private: without it, only slower
        return () if plain is None else (plain,)
    return ()


cdef inline uint64_t clock_ns() noexcept:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <uint64_t>now.tv_sec * 1_000_000_000 + <uint64_t>now.tv_nsec


cdef inline int bucket_of(uint64_t ns) noexcept:
    cdef uint64_t part = ns >> 10
    cdef int power = 0
    while part > 7:
        part >>= 1
        power += 1
    return min(4 * power + <int>part, TURN_BUCKETS - 1)


cdef uint64_t longest_ns(int bucket) noexcept:
    """The longest time that a bucket takes."""
    cdef int power = bucket // 4 - 1
    if power < 0:
        return <uint64_t>(bucket + 1) << 10
    return <uint64_t>(4 + bucket % 4 + 1) << (10 + power)


@cython.final
cdef class Driver:
    cdef pr_api *api
    cdef void *ctx
    cdef uint8_t *read
    cdef object core, capsule, loop, on_requests, on_http
    cdef object buffer, view      # the read buffer and what transports see of it
    cdef object lend_buffer, lend_early, turn_now  # bound methods, once
    cdef object early_view        # the first EARLY_READ_BYTES of the read buffer
    cdef tuple plain              # types of transport whose sockets may be written to directly
    cdef object is_closing        # the method of all of these
    cdef object timer             # the TimerHandle of the earliest deadline, if any
    cdef uint64_t timer_at        # that deadline on the core's clock; 0: none
    cdef object emptied_future
    cdef double linger_s
    cdef int wake_fd
    cdef bint alive               # made, and neither closed nor failed
    cdef bint scheduled, draining
    cdef PyObject *first          # the open connections, newest first; borrowed, each leaves by itself
    cdef Py_ssize_t count
    cdef list full                # those that wait for the next turn to be read again
    cdef set locals
    cdef uint64_t turn_began      # when the present turn read its first bytes, ns; 0: between two turns
    cdef uint64_t turns[TURN_BUCKETS]
    cdef uint64_t turns_ns
    cdef uint64_t shared_keys[SHARED_SLOTS]
    cdef PyObject *shared_bytes[SHARED_SLOTS]

    def __init__(self, core, loop, on_requests, on_http=None, *, double linger_s=5.0):
        capsule = core.capsule
        api = table_of(capsule)
        # The core has one driver at a time and keeps it until it is closed: so the addresses that it holds stay good.
        core.attach(self.wake)
        self.capsule, self.api, self.ctx = capsule, api, PyCapsule_GetContext(capsule)
        self.linger_s = linger_s
        self.core, self.loop, self.on_requests, self.on_http = core, loop, on_requests, on_http
        self.buffer = bytearray(READ_BYTES)
        self.view = memoryview(self.buffer)
        self.early_view = self.view[:EARLY_READ_BYTES]
        self.read = <uint8_t *>PyByteArray_AS_STRING(self.buffer)
        self.full = []
        self.locals = set()
        self.lend_buffer, self.lend_early, self.turn_now = self._lend_buffer, self._lend_early, self._turn_due
        self.plain = plain_transports(loop)
        self.is_closing = self.plain[0].is_closing if self.plain else None
        self.wake_fd = core.wake_fd
        try:
            loop.add_reader(self.wake_fd, self._readable)
        except BaseException:
            core.attach(None)
            raise
        self.alive = True
        self.schedule()

    @property
    def connections(self):
        return self.count

    def turn_times(self):
        return self.turns_ns, [(longest_ns(at), self.turns[at]) for at in range(TURN_BUCKETS)]

    def diagnosis(self):
        return {
            "alive": self.alive,
            "scheduled": self.scheduled,
            "draining": self.draining,
            "timer_at_ms": self.timer_at,
            "turns": sum(self.turns[at] for at in range(TURN_BUCKETS)),
            "waiting_to_be_read": len(self.full),
            "local_connections": len(self.locals),
        }

    cdef inline void begin_turn(self) noexcept:
        if self.turn_began == 0:
            self.turn_began = clock_ns()

    cdef inline void end_turn(self) noexcept:
        cdef uint64_t took = clock_ns() - self.turn_began
        self.turns[bucket_of(took)] += 1
        self.turns_ns += took
        self.turn_began = 0

    def accept(self):
        return Connection(self)

    def wake(self):
        self.schedule()

    cdef inline int schedule(self) except -1:
        if not self.scheduled and self.alive:
            self.scheduled = True
            self.loop.call_soon(self.turn_now)
        return 0

    def _readable(self):
        cdef uint64_t times = 0
        posix_read(self.wake_fd, &times, sizeof(times))  # an eventfd: reading makes it quiet again
        self.schedule()

    def _lend_buffer(self, sizehint):
        return self.view

    def _lend_early(self, sizehint):
        return self.early_view

    def _timer_due(self):
        self.timer, self.timer_at = None, 0
        self.take_turn()

    def _turn_due(self):
        self.take_turn()

    def turn(self):
        # A loop that was closed with connections open has closed their descriptors, and told nobody.
        if self.alive and not self.loop.is_closed():
            self.take_turn()

    cdef int take_turn(self) except -1:
        cdef int state
        self.scheduled = False
        if not self.alive:
            return 0
        if self.draining:
            self.schedule()
            return 0
        self.begin_turn()
        self.draining = True
        try:
            state = self.api.turn(self.ctx)
            if state >= 0 and self.drain() < 0:
                state = PR_FAILED
        except BaseException:  # one that nobody may swallow: the rest is still in the core
            self.schedule()
            raise
        finally:
            self.draining = False
            self.forget_shared()
            self.end_turn()
        if state < 0:
            self.fail()
            return 0
        if self.full:
            self.read_again()
        if state & PR_MORE:
            self.schedule()
        self.arm()
        if state & PR_REQUESTS:
            self.on_requests()
        return 0

    cdef int drain(self) except? -2:
        cdef pr_write write
        cdef int got
        while True:
            got = self.api.next_write(self.ctx, &write)
            if got <= 0:
                return got
            owner = <object>write.user
            try:
                if isinstance(owner, Connection):
                    deliver(self, <Connection>owner, &write)
                else:
                    (<LocalConnection>owner).deliver(&write)
            except BaseException as error:
                self.broken(owner, error)
                if not isinstance(error, Exception):
                    raise

    cdef broken(self, owner, error):
        """End the connection that `error` belongs to, and tell the loop's owner."""
        if isinstance(owner, Connection):
            transport = (<Connection>owner).transport
            if transport is not None:
                transport.abort()
            if isinstance(error, OSError):  # the peer is gone; its transport knows
                return
        else:
            (<LocalConnection>owner).end(True)
        self.report(owner, error)

    cdef report(self, owner, error):
        self.loop.call_exception_handler(
            {"message": "pyrouter: a connection failed and was closed", "exception": error, "protocol": owner}
        )

    cdef object bytes_of(self, pr_write *write):
        cdef size_t slot
        if write.shared == 0:
            return PyBytes_FromStringAndSize(<const char *>write.data, write.len)
        slot = write.shared & (SHARED_SLOTS - 1)
        if self.shared_keys[slot] != write.shared:
            data = PyBytes_FromStringAndSize(<const char *>write.data, write.len)
            Py_INCREF(data)
            Py_XDECREF(self.shared_bytes[slot])
            self.shared_bytes[slot] = <PyObject *>data
            self.shared_keys[slot] = write.shared
        return <object>self.shared_bytes[slot]

    cdef void forget_shared(self):
        cdef size_t slot
        for slot in range(<size_t>SHARED_SLOTS):
            if self.shared_keys[slot] != 0:
                self.shared_keys[slot] = 0
                Py_XDECREF(self.shared_bytes[slot])
                self.shared_bytes[slot] = NULL

    cdef read_again(self):
        cdef Connection conn
        waiting, self.full = self.full, []
        for conn in waiting:
            conn.flags &= ~TURN_PAUSED
            if not conn.flags & CORE_PAUSED and conn.transport is not None:
                conn.transport.resume_reading()

    cdef arm(self):
        cdef uint64_t delay_ms = 0
        cdef uint64_t at = self.api.next_timer(self.ctx, &delay_ms)
        # A timer that is set too early costs one empty turn; moving it each time would cost more.
        if at == 0 or (self.timer_at != 0 and self.timer_at <= at):
            return
        if self.timer is not None:
            self.timer.cancel()
        self.timer_at = at
        self.timer = self.loop.call_later(max(delay_ms, <uint64_t>1) / 1000.0, self._timer_due)

    cdef leave(self):
        """Let go of the loop and end everything that is open."""
        cdef PyObject *at = self.first
        cdef Connection conn
        self.alive = False
        self.loop.remove_reader(self.wake_fd)
        if self.timer is not None:
            self.timer.cancel()
        self.timer, self.turn_now, self.lend_buffer, self.lend_early = None, None, None, None
        while at is not NULL:
            conn = <Connection>at
            at = conn.next
            conn.transport.abort()
        for local in list(self.locals):
            (<LocalConnection>local).end(True)

    cdef fail(self):
        if self.alive:
            self.leave()
            self.on_requests()

    def close(self):
        if self.alive:
            self.leave()
        if self.core is not None:
            self.core.attach(None)
            self.core = None

    def emptied(self):
        if self.emptied_future is None or self.emptied_future.done():
            self.emptied_future = self.loop.create_future()
        if self.count == 0:
            self.emptied_future.set_result(None)
        return self.emptied_future

    cdef enter(self, Connection conn):
        conn.next = self.first
        if self.first is not NULL:
            (<Connection>self.first).prev = <PyObject *>conn
        self.first = <PyObject *>conn
        self.count += 1

    cdef exit(self, Connection conn):
        if conn.prev is not NULL:
            (<Connection>conn.prev).next = conn.next
        elif self.first is <PyObject *>conn:
            self.first = conn.next
        else:
            return  # was not entered
        if conn.next is not NULL:
            (<Connection>conn.next).prev = conn.prev
        conn.prev = conn.next = NULL
        self.count -= 1
        if self.count == 0 and self.emptied_future is not None and not self.emptied_future.done():
            self.emptied_future.set_result(None)


include "connection.pxi"
include "local.pxi"
