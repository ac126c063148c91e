# A socket's connection: a protocol for asyncio's and uvloop's transports, and what the core's flags do to its transport.
#
# Rules: five words, flags and a descriptor; whatever becomes of its loop, the core hears `lost` once. See _conn.pyx.


@cython.final
@cython.no_gc
@cython.freelist(64)
cdef class Connection:
    cdef Driver driver
    cdef object transport
    cdef uint64_t conn        # the core's number; 0: the core does not know it
    cdef PyObject *prev       # its neighbours in the driver's list, borrowed
    cdef PyObject *next
    cdef int flags
    cdef int fd               # of a socket that may be written to directly; else -1

    def __cinit__(self, Driver driver not None):
        self.driver = driver
        self.fd = -1

    def __dealloc__(self):
        # Only if a loop was thrown away with its transports: the core must not keep the address.
        if self.conn != 0:
            self.driver.api.lost(self.driver.ctx, self.conn)
        self.driver.exit(self)

    @property
    def __class__(self):
        # asyncio asks isinstance(…, BufferedProtocol). A Python subclass would say so by itself, but would be tracked by
        # garbage collection: 16 bytes more, and one more object for each collection to visit.
        return BufferedProtocol

    @property
    def id(self):
        return self.conn

    def connection_made(self, transport):
        cdef Driver driver = self.driver
        self.transport = transport
        driver.enter(self)
        if type(transport) in driver.plain:
            self.fd = transport.get_extra_info("socket").fileno()
        if driver.alive:
            self.conn = driver.api.open(driver.ctx, <void *>self, 0)
        if self.conn == 0:
            transport.abort()
        # One write may wait in the transport. High is 1 and not 0 because TLS pauses at `>=`, and may do so right here.
        transport.set_write_buffer_limits(1, 0)
        driver.schedule()

    # uvloop keeps both of these with the connection, and a bound method takes 64 bytes: so the one is the same for all
    # identified connections, and for all others, and the other is the connection itself.
    @property
    def get_buffer(self):
        return self.driver.lend_buffer if self.flags & IDENTIFIED else self.driver.lend_early

    @property
    def buffer_updated(self):
        return self

    def __call__(self, Py_ssize_t nbytes):
        cdef Driver driver = self.driver
        cdef int verdict
        if self.conn == 0 or self.flags & CLOSING:
            return
        driver.begin_turn()
        verdict = driver.api.data(driver.ctx, self.conn, driver.read, nbytes)
        if verdict == PR_HTTP:
            hand_over(driver, self)
            driver.schedule()  # this turn ends, too
            return
        if verdict == PR_CLOSED:
            self.flags |= CLOSING
        elif verdict < 0:
            driver.fail()
            return
        elif nbytes == (READ_BYTES if self.flags & IDENTIFIED else EARLY_READ_BYTES):
            self.flags |= TURN_PAUSED
            driver.full.append(self)
            self.transport.pause_reading()
        driver.schedule()

    def eof_received(self):
        # What is owed leaves now: after this the transport takes nothing more.
        if self.conn != 0:
            self.driver.take_turn()
        return False

    def pause_writing(self):
        if self.conn != 0:
            self.driver.api.writable(self.driver.ctx, self.conn, 0)

    def resume_writing(self):
        if self.conn != 0:
            self.driver.api.writable(self.driver.ctx, self.conn, 1)
            self.driver.schedule()

    def connection_lost(self, exc):
        cdef Driver driver = self.driver
        if self.conn != 0:
            driver.api.lost(driver.ctx, self.conn)
            self.conn = 0
            driver.schedule()
        self.transport, self.fd = None, -1
        driver.exit(self)


cdef int put(Driver driver, Connection conn, pr_write *write) except -1:
    """Send it from where it lies; what the socket does not take, and every error, is the transport's affair.

    A transport that closes gives its descriptor back, and the next socket that is accepted gets the number: both loops
    do so after `connection_lost`, and say before that they are closing. Bytes that the transport holds go first.
    """
    cdef ssize_t sent
    transport = conn.transport
    if conn.flags & HELD and not transport.get_write_buffer_size():
        conn.flags &= ~HELD
    if conn.fd < 0 or conn.flags & HELD or driver.is_closing(transport):
        transport.write(driver.bytes_of(write))
        return 0
    sent = send(conn.fd, write.data, write.len, MSG_DONTWAIT | MSG_NOSIGNAL)
    if sent == <ssize_t>write.len:
        return 0
    conn.flags |= HELD
    if sent <= 0:  # nothing now, or never again: the transport tries again, and hears which
        transport.write(driver.bytes_of(write))
    else:
        transport.write(PyBytes_FromStringAndSize(<const char *>write.data + sent, write.len - sent))
    return 0


cdef int deliver(Driver driver, Connection conn, pr_write *write) except -1:
    transport = conn.transport
    if transport is None:
        return 0
    if write.flags & PR_ABORT:
        transport.abort()
        return 0
    if write.len != 0:
        put(driver, conn, write)
    if write.flags & PR_CLOSE:
        say_last(driver, conn)
    elif write.flags & PR_PAUSE:
        conn.flags |= CORE_PAUSED
        transport.pause_reading()
    elif write.flags & PR_RESUME:
        conn.flags &= ~CORE_PAUSED
        read_large(conn)  # the core paused it at its hello
        if not conn.flags & TURN_PAUSED:
            transport.resume_reading()
    return 0


cdef int read_large(Connection conn) except -1:
    """From now on one read takes as much as there is room for. The transport asks anew which buffer it reads into."""
    if not conn.flags & IDENTIFIED:
        conn.flags |= IDENTIFIED
        conn.transport.set_protocol(conn)
    return 0


cdef say_last(Driver driver, Connection conn):
    """Close, so that the peer can read why: closing at once with bytes unread would reset the connection under them."""
    transport, conn.fd = conn.transport, -1
    conn.flags = (conn.flags & ~(CORE_PAUSED | TURN_PAUSED)) | CLOSING
    driver.loop.call_later(driver.linger_s, transport.abort)
    if transport.can_write_eof():
        transport.write_eof()
        read_large(conn)  # what still comes is not kept
        transport.resume_reading()
    else:
        transport.close()


cdef hand_over(Driver driver, Connection conn):
    cdef const uint8_t *data = NULL
    cdef size_t size = 0
    transport = conn.transport
    if driver.api.http_prefix(driver.ctx, conn.conn, &data, &size) < 0:
        driver.fail()
        return
    prefix = PyBytes_FromStringAndSize(<const char *>data, size)
    conn.conn = 0
    if driver.on_http is None:
        transport.close()
        return
    conn.transport, conn.fd = None, -1
    driver.exit(conn)
    transport.set_write_buffer_limits()
    driver.on_http(transport, prefix)
